//! What is spent stays spent: over a reboot, and over an unload and a new start.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use holdfast_abi::Per;
use serde_json::Value;

use crate::harness::agent::STATE_DIR;
use crate::harness::{Budget, Ctx, Tree, Unit, Zone, check, check_eq, cli, hold, until};
use crate::runner::{Scenario, boot_number};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::once("budgets_outlive_reboots", reboots).across_reboots(),
    Scenario::once("budgets_outlive_an_unload", unload).waits(),
    Scenario::once("damaged_budgets_file_is_told", damaged).waits(),
];

const BUDGET: u64 = 8;
/// The same in every boot, unlike a scenario's own.
const ZONES: [&str; 2] = ["lasting-zone", "lasting-unit"];
const UNIT: &str = "lasting.service";

fn tree(zone: &str) -> Tree {
    Tree { root: PathBuf::from("/data").join(zone), tenants: 1, files: 60 }
}

fn zones() -> [Zone; 2] {
    let [zone, unit] = ZONES;
    let budget = || Budget::files(BUDGET).window("7d");
    [
        Zone::new(zone, &tree(zone).root).budget(budget()),
        Zone::new(unit, &tree(unit).root).budget(budget().per(Per::Unit)),
    ]
}

/// How many files a process of this unit can remove.
fn removed(tree: &Tree, unit: &Unit) -> Result<u64> {
    let before = tree.files_gone()?;
    hold::unlink(&tree.tenant(0), unit)?.run()?;
    Ok(tree.files_gone()? - before)
}

/// What `holdfast budget list` says that the actors of a zone have spent.
fn spent(zone: &str) -> Result<Vec<u64>> {
    let outcome = cli::holdfast(["budget", "list", "--json"])?.ok()?;
    let list: Value = serde_json::from_str(&outcome.stdout).context("not JSON")?;
    let budgets = list["budgets"].as_array().context("no budgets")?;
    let own = budgets.iter().filter(|budget| budget["zone"] == zone);
    let accounts = own.filter_map(|budget| budget["accounts"].as_array()).flatten();
    accounts.map(|account| cli::number(&account["spent"], "files")).collect()
}

/// The power fails twice. A budget for everyone is spent from the first op on, one of a unit as
/// soon as the unit is there again.
fn reboots(ctx: &mut Ctx<'_>) -> Result<()> {
    let (all, own) = (tree(ZONES[0]), tree(ZONES[1]));
    if boot_number() == 1 {
        for tree in [&all, &own] {
            Tree::make(&tree.root, 1, 60)?;
        }
    }
    ctx.guard(&zones())?;
    let first = boot_number() == 1;
    let other = ctx.unit("other")?;
    check_eq!(removed(&all, &other)?, if first { BUDGET } else { 0 }, "files of the zone");
    let unit = Unit::new(UNIT)?;
    if !first {
        until("the unit's window is back", Duration::from_secs(20), || {
            Ok((spent(ZONES[1])? == [BUDGET]).then_some(()))
        })?;
    }
    check_eq!(removed(&own, &unit)?, if first { BUDGET } else { 0 }, "files of the unit");
    check_eq!(removed(&own, &other)?, BUDGET, "files of a unit that is new in this boot");
    drop(other);
    // What was spent is written every few seconds. The unit is there when the power fails.
    std::thread::sleep(Duration::from_secs(14));
    std::mem::forget(unit);
    Ok(())
}

/// A guard that is unloaded and started again goes on with what was spent, also what was spent
/// while no agent ran.
fn unload(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(1, 60, 2 * BUDGET)?;
    let unit = ctx.unit("rm")?;
    for file in 0..BUDGET {
        fs::remove_file(tree.file(0, file))?;
    }
    ctx.lab.kill()?;
    check_eq!(removed(&tree, &unit)?, BUDGET, "files removed while no agent ran");
    cli::holdfast(["unpin", "--force"])?.ok()?;
    ctx.lab.start(ctx.trace)?;
    check_eq!(removed(&tree, &unit)?, 0, "files removed after a new start");
    check_eq!(spent(&ctx.zone)?, [2 * BUDGET], "files spent");
    Ok(())
}

/// A file that cannot be read, or is missing, is told by status and doctor; the guard is up all the
/// same.
fn damaged(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(1, 60, BUDGET)?;
    let unit = ctx.unit("rm")?;
    let file = Path::new(STATE_DIR).join("budgets.json");
    for text in [Some("broken"), None] {
        check_eq!(removed(&tree, &unit)?, BUDGET, "files removed");
        ctx.lab.stop()?;
        cli::holdfast(["unpin", "--force"])?.ok()?;
        match text {
            Some(text) => fs::write(&file, text)?,
            None => fs::remove_file(&file)?,
        }
        ctx.lab.start(ctx.trace)?;
        let warnings = cli::status()?.1["warnings"].to_string();
        check!(warnings.contains("budgets begin anew"), "{warnings}");
        let doctor = cli::holdfast(["doctor"])?;
        check!(doctor.stdout.contains("budgets.json"), "{}", doctor.describe("should tell"));
    }
    let kept = fs::read_to_string(file.with_extension("json.damaged"))?;
    check_eq!(kept, "broken", "what is kept of the file");
    check_eq!(removed(&tree, &unit)?, BUDGET, "files removed");
    Ok(())
}
