//! Released amounts are exact, and the program never learns that it was held.

use std::time::Duration;

use anyhow::Result;
use holdfast_abi::Per;

use crate::harness::hold::{self, still_held};
use crate::harness::tree::count;
use crate::harness::{Budget, Ctx, check_eq, proc};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::each("held_rm_rf_ends_without_error", rm_rf),
    Scenario::each("held_process_sees_no_error", no_error),
    Scenario::each("budget_reset_grants_one_more_budget", reset),
    Scenario::once("released_amounts_add_up", adds_up),
    Scenario::once("release_remainder_serves_next_process", left_over),
    Scenario::each("a_release_leaves_other_units_held", other_units),
    Scenario::once("release_leaves_other_users_held", other_users),
];

/// The whole promise, with the tool that breaks it most: it is released by the file.
fn rm_rf(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(5, 1000, 100)?;
    let unit = ctx.unit("rm")?;
    let rm = hold::rm(&tree, 0..5, &unit).start()?;
    let held = ctx.held_at(&tree, rm.pid(), 100)?;
    check_eq!(proc::state(rm.pid())?, Some('T'), "state of rm");
    held.release(200)?;
    ctx.held_at(&tree, rm.pid(), 300)?;
    let unlimited = ctx.hold_zone(&tree, Budget::files(1_000_000));
    ctx.guard(&[unlimited])?;
    // A new limit is no decision.
    still_held(&tree, rm.pid(), 300)?;
    ctx.held(rm.pid())?.reset()?;
    rm.wait()?.quietly()?;
    tree.lost_exactly(5005)?;
    ctx.nothing_held()?;
    ctx.nothing_denied()?;
    ctx.counted("allow", 5005)?;
    ctx.counted("hold", 2)?;
    ctx.holds_ended("released", 2)
}

/// What every single call returned, as the C library tells it and as the kernel does: never EINTR,
/// never 513.
fn no_error(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(2, 300)?;
    ctx.guard(&[ctx.hold_zone(&tree, Budget::files(100).per(Per::Unit))])?;
    for (tenant, extra) in [(0, None), (1, Some("--raw"))] {
        let unit = ctx.unit(&format!("deleter-{tenant}"))?;
        let deleter = hold::unlink(&tree.tenant(tenant), &unit)?.args(extra).start()?;
        let before = tenant * 300;
        ctx.held_at(&tree, deleter.pid(), before + 100)?.release(100)?;
        let held = ctx.held_at(&tree, deleter.pid(), before + 200)?;
        for _ in 0..20 {
            proc::signal(deleter.pid(), rustix::process::Signal::CONT)?;
        }
        still_held(&tree, deleter.pid(), before + 200)?;
        held.reset()?;
        let outcome = deleter.wait()?.quietly()?;
        check_eq!(outcome.stdout.trim(), "300", "files it says it removed");
        check_eq!(count(&tree.tenant(tenant))?.files, 0, "files left");
    }
    Ok(())
}

fn reset(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(2, 100, 40)?;
    let unit = ctx.unit("rm")?;
    let rm = hold::rm(&tree, 0..2, &unit).start()?;
    for spent in [40, 80, 120] {
        ctx.held_at(&tree, rm.pid(), spent)?.reset()?;
    }
    ctx.held_at(&tree, rm.pid(), 160)?.kill()?;
    rm.wait()?;
    tree.lost_exactly(160)
}

fn adds_up(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 100, 20)?;
    let unit = ctx.unit("rm")?;
    let rm = hold::rm(&tree, 0..1, &unit).start()?;
    for (gone, files) in [(20, 5), (25, 7), (32, 1), (33, 3)] {
        ctx.held_at(&tree, rm.pid(), gone)?.release(files)?;
    }
    ctx.held_at(&tree, rm.pid(), 36)?;
    ctx.counted("allow", 36)
}

/// A job of many processes gets one release, not one for each process.
fn left_over(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(3, 20, 5)?;
    let unit = ctx.unit("job")?;
    let first = hold::unlink(&tree.tenant(0), &unit)?.start()?;
    ctx.held_at(&tree, first.pid(), 5)?.release(40)?;
    first.wait()?.quietly()?;
    check_eq!(tree.gone()?, 20, "files gone once the first process is through");
    let second = hold::unlink(&tree.tenant(1), &unit)?.start()?;
    second.wait()?.quietly()?;
    let third = hold::unlink(&tree.tenant(2), &unit)?.start()?;
    ctx.held_at(&tree, third.pid(), 45).map(drop)
}

fn other_units(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(2, 60)?;
    ctx.guard(&[ctx.hold_zone(&tree, Budget::files(20).per(Per::Unit))])?;
    let units = [ctx.unit("a")?, ctx.unit("b")?];
    let first = hold::rm(&tree, 0..1, &units[0]).start()?;
    let one = ctx.held_at(&tree, first.pid(), 20)?;
    let second = hold::rm(&tree, 1..2, &units[1]).start()?;
    let both = || Ok(vec![first.pid(), second.pid()]);
    ctx.all_held_at(&tree, 40, both)?;
    one.release(15)?;
    ctx.all_held_at(&tree, 55, both)?;
    check_eq!(count(&tree.tenant(0))?.files, 25, "files left to the one that was released");
    check_eq!(count(&tree.tenant(1))?.files, 40, "files left to the other");
    one.reset()?;
    ctx.all_held_at(&tree, 75, both)?;
    check_eq!(count(&tree.tenant(1))?.files, 40, "files left to the other in the end");
    Ok(())
}

fn other_users(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(2, 60)?;
    ctx.guard(&[ctx.hold_zone(&tree, Budget::files(20).per(Per::Zone))])?;
    let unit = ctx.unit("shared")?;
    let first = hold::rm(&tree, 0..1, &unit).login(1001).start()?;
    let one = ctx.held_at(&tree, first.pid(), 20)?;
    check_eq!(one.number("user", "uid")?, 1001, "user of the hold");
    let second = hold::rm(&tree, 1..2, &unit).login(1002).start()?;
    let both = || Ok(vec![first.pid(), second.pid()]);
    ctx.all_held_at(&tree, 20, both)?;
    one.release(15)?;
    ctx.all_held_at(&tree, 35, both)?;
    check_eq!(count(&tree.tenant(1))?.files, 60, "files left to the other");
    std::thread::sleep(Duration::from_millis(500));
    still_held(&tree, second.pid(), 35)
}
