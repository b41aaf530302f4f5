//! The machine's power really fails, twice, while releases are recorded.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{key, log_dir};
use crate::harness::agent::BINARY;
use crate::harness::{Ctx, Tool, check, check_eq, cli, hold, until};
use crate::runner::{BOOTS, Scenario, boot_number};

pub(crate) const SCENARIOS: &[Scenario] =
    &[Scenario::once("audit_log_survives_power_cuts", power).across_reboots()];

/// On the disk that lasts: a line for each release that was acknowledged.
const ACKNOWLEDGED: &str = "/data/audit-acknowledged";

/// Releases a file again and again, and writes down on the disk what was acknowledged.
const RELEASE: &str = "exec >/dev/null 2>&1 </dev/null
while :; do \"$1\" hold release \"$2\" --files 1 && echo \"$2\" >> \"$3\" && sync \"$3\"; done";

fn power(ctx: &mut Ctx<'_>) -> Result<()> {
    let number = boot_number();
    if number > 1 {
        came_back(ctx)?;
    }
    if number < BOOTS {
        until_the_power_fails(ctx)?;
    }
    Ok(())
}

fn acknowledged() -> usize {
    fs::read_to_string(ACKNOWLEDGED).map_or(0, |text| text.lines().count())
}

fn until_the_power_fails(ctx: &mut Ctx<'_>) -> Result<()> {
    let before = acknowledged();
    // What is spent outlives a reboot: each boot has a zone of its own.
    ctx.zone = format!("{}-{}", ctx.zone, boot_number());
    let tree = ctx.holding(1, 3000, 3)?;
    let unit = ctx.unit("rm")?;
    let rm = hold::rm(&tree, 0..1, &unit).start()?;
    let id = ctx.held_at(&tree, rm.pid(), 3)?.id;
    let script = ["-c", RELEASE, "release", BINARY];
    let id = id.to_string();
    let releaser = Tool::new("bash").args(script).args([&id, ACKNOWLEDGED]).start()?;
    until("releases are acknowledged", Duration::from_secs(120), || {
        Ok((acknowledged() >= before + 5).then_some(()))
    })?;
    // Neither is ended: their handles would kill them. The power fails while they are at it.
    std::mem::forget((rm, releaser));
    Ok(())
}

fn came_back(ctx: &mut Ctx<'_>) -> Result<()> {
    let acknowledged = acknowledged();
    check!(acknowledged >= 5, "{acknowledged} releases acknowledged before the power failed");
    ctx.lab.ensure(ctx.trace)?;
    let (outcome, summary) = cli::verify(Path::new(&log_dir()), &["--key", &key()?])?;
    check_eq!(outcome.code, Some(0), "exit status of `holdfast audit verify`: {summary}");
    let records = cli::audit().context("the log")?;
    let recorded = records.iter().filter(|r| cli::text(r, "type") == "release").count();
    check!(recorded >= acknowledged, "{recorded} releases recorded, {acknowledged} acknowledged");
    ctx.lab
        .note(format!("boot {}: {acknowledged} acknowledged, {recorded} recorded", boot_number()));
    Ok(())
}
