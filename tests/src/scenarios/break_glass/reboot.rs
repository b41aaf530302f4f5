//! A code that was used stays used across reboots, and a reboot ends what is open.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::harness::break_glass::{self, Glass, audited, closes, refused_for};
use crate::harness::{Budget, Ctx, Tool, Tree, Zone, check_eq, cli, hold};
use crate::runner::{Scenario, boot_number};

pub(crate) const SCENARIOS: &[Scenario] =
    &[Scenario::once("reboot_renews_no_break_glass_code", reboots).across_reboots()];

const BUDGET: u64 = 4;
/// The codes, which the guest's own disk forgets.
const KEPT: &str = "/data/kept-codes";
/// The same in every boot, unlike a scenario's own.
const ZONE: &str = "lasting-glass";

fn guard(ctx: &mut Ctx<'_>, tree: &Tree) -> Result<()> {
    ctx.guard_glass(&[Zone::new(ZONE, &tree.root).budget(Budget::files(BUDGET))])
}

fn tree() -> Tree {
    Tree { root: PathBuf::from("/data/lasting-glass"), tenants: 3, files: 20 }
}

fn remove(ctx: &Ctx<'_>, tenant: u64) -> Result<String> {
    let unit = ctx.unit(&format!("rm-{tenant}"))?;
    Ok(hold::unlink(&tree().tenant(tenant), &unit)?.run()?.ok()?.stdout.trim().to_owned())
}

/// A code is used once, across reboots.
fn reboots(ctx: &mut Ctx<'_>) -> Result<()> {
    if boot_number() == 1 {
        return first(ctx);
    }
    let codes: Vec<String> = fs::read_to_string(KEPT)?.lines().map(str::to_owned).collect();
    guard(ctx, &tree())?;
    let glass = Glass::new(ZONE);
    if boot_number() == 2 {
        // It was open when the power failed.
        let report = closes("rebooted")?;
        check_eq!(cli::number(&report["files"], "spent")?, 20, "files spent in {report}");
        audited("break_glass_close", ZONE)?;
        check_eq!(remove(ctx, 1)?, BUDGET.to_string(), "files removed in the second boot");
    }
    for code in &codes[..2] {
        refused_for(ctx, "used_code", || glass.host_wide(code).run()?.code(3))?;
    }
    if boot_number() == 3 {
        glass.host_wide(&codes[2]).run()?.ok()?;
        check_eq!(remove(ctx, 2)?, "20", "files removed with a code of the first boot");
        break_glass::close()?;
    }
    Ok(())
}

fn first(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = Tree::make(&tree().root, 3, 20)?;
    guard(ctx, &tree)?;
    let codes = break_glass::codes(3)?;
    fs::write(Path::new(KEPT), codes.join("\n"))?;
    Tool::new("sync").ok()?;
    let glass = Glass::new(ZONE);
    glass.host_wide(&codes[0]).run()?.ok()?;
    break_glass::close()?;
    glass.host_wide(&codes[1]).run()?.ok()?;
    check_eq!(remove(ctx, 0)?, "20", "files removed in the first boot");
    // What was spent is written every few seconds.
    std::thread::sleep(std::time::Duration::from_secs(8));
    Ok(())
}
