//! What a stranger is told, and the places where the trip can be seen.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::screen::{Screen, grouped};
use super::{AREAS, Area, FILES, SCRIPT, TENANTS};
use crate::harness::{Lab, Outcome, cli, until};

/// Whose story this is, and the script.
pub(super) fn tell(screen: &Screen, areas: &[Area]) {
    screen.title("holdfast: no script destroys more than its budget");
    screen.line(
        "In June 2012 a hosting company ran an update script over its servers. Two lines were",
    );
    screen.line(
        "missing from it: the one that limits the run to the target servers, and the one that",
    );
    screen.line(
        "keeps a delete command of an older script from running. Production and backups were",
    );
    screen.line("updated in one go. 5,698 customers lost everything. Here it happens again:");
    println!();
    for area in areas {
        screen.line(&format!(
            "  {:<17}{} tenants with {} files each, role {}",
            area.path, TENANTS, FILES, area.role
        ));
    }
    screen.heading("The script");
    for line in SCRIPT.lines().skip_while(|line| !line.starts_with("# The line that limits")) {
        let missing = line.trim_start().starts_with("#   ");
        println!(
            "  {} {}",
            screen.dim("│"),
            if missing { screen.red(line) } else { line.to_owned() }
        );
    }
    screen.note("Red: what was missing. Everything else really runs, in this virtual machine.");
}

/// The end of the script's output as its operator had it on the screen.
pub(super) fn operator_saw(screen: &Screen, outcome: &Outcome) {
    screen.heading("What the script's operator saw");
    let lines: Vec<_> = outcome.stderr.lines().collect();
    for line in lines.iter().take(3) {
        screen.wrapped(line);
    }
    let more = lines.len().saturating_sub(3) as u64;
    screen.note(&format!("  … and {} more lines like these", grouped(more)));
}

/// The trips, as `holdfast events` tells them.
pub(super) fn events(screen: &Screen) -> Result<()> {
    screen.heading("holdfast events");
    let text = until("both trips among the events", Duration::from_secs(60), || {
        let outcome = cli::holdfast(["events"])?.ok()?;
        let all = AREAS.iter().all(|area| outcome.stdout.contains(area.name));
        Ok(all.then_some(outcome.stdout))
    })?;
    for area in AREAS {
        let is_first = |line: &&str| line.contains(area.name);
        screen.wrapped(text.lines().find(is_first).context("no event of that zone")?);
    }
    Ok(())
}

/// The lines a monitoring system sees.
pub(super) fn metrics(screen: &Screen, lab: &Lab) -> Result<()> {
    screen.heading("/metrics");
    let page = lab.metrics()?.text;
    for name in [
        "holdfast_guard_up",
        "holdfast_trips_total",
        "holdfast_destroyed_files_total",
        "holdfast_ops_total",
    ] {
        let shown = |line: &&str| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && !line.ends_with(" 0")
                && (name == "holdfast_guard_up"
                    || AREAS.iter().any(|area| line.contains(area.name)))
        };
        for line in page.lines().filter(shown) {
            screen.wrapped(line);
        }
    }
    Ok(())
}

/// The first denial in the audit log.
pub(super) fn audit(screen: &Screen) -> Result<()> {
    screen.heading("the audit log");
    let record = until("the trip in the audit log", Duration::from_secs(60), || {
        Ok(cli::audit()?.into_iter().find(|record| record.to_string().contains("\"deny\"")))
    })?;
    screen.wrapped(&record.to_string());
    println!();
    Ok(())
}
