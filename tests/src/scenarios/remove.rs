//! Everyday ways to delete a tree: each is stopped at exactly the budget.

use anyhow::Result;
use holdfast_abi::Per;

use crate::harness::{Budget, Ctx, Outcome, Tool, check, check_eq, cli, sh};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::each("rm_rf", rm_rf),
    Scenario::each("rm_rf_star_at_the_root", rm_rf_star),
    Scenario::each("find_delete", find_delete),
    Scenario::each("find_exec_rm", find_exec_rm),
    Scenario::each("xargs_p8_rm", xargs_p8_rm),
    Scenario::each("shell_loop_rm", shell_loop_rm),
    Scenario::each("rsync_delete_from_an_empty_source", rsync_delete),
    Scenario::each("directories_cost_one_file_each", directories_cost),
    Scenario::each("a_removal_within_budget_succeeds", within_budget),
];

const BUDGET: u64 = 37;

/// Four tenants with forty files; everything beyond the budget must still be there.
fn attack(ctx: &mut Ctx<'_>, with: impl FnOnce(&str) -> Result<Outcome>) -> Result<Outcome> {
    attack_on(ctx, 40, BUDGET, with)
}

/// The same on a small scale, for attacks that need a process for each file: these are slow in an
/// emulated machine.
fn small_attack(ctx: &mut Ctx<'_>, with: impl FnOnce(&str) -> Result<Outcome>) -> Result<Outcome> {
    attack_on(ctx, 6, 11, with)
}

fn attack_on(
    ctx: &mut Ctx<'_>,
    files: u64,
    budget: u64,
    with: impl FnOnce(&str) -> Result<Outcome>,
) -> Result<Outcome> {
    let tree = ctx.guarded(4, files, budget)?;
    let outcome = with(&tree.root.display().to_string())?;
    tree.lost_exactly(budget)?;
    ctx.counted("allow", budget)?;
    let event = ctx.event("the trip", |event| cli::text(event, "verdict") == "deny")?;
    check_eq!(cli::text(&event, "op"), "remove", "op of the trip's event");
    Ok(outcome)
}

fn rm_rf(ctx: &mut Ctx<'_>) -> Result<()> {
    let outcome = attack(ctx, |root| Tool::new("rm").args(["-rf", root]).run())?;
    outcome.refused().map(drop)
}

/// Toy Story 2, 1998: `rm -r -f *` at the root of the project.
fn rm_rf_star(ctx: &mut Ctx<'_>) -> Result<()> {
    let outcome = attack(ctx, |root| sh("cd \"$1\" && /bin/rm -r -f *", [root]))?;
    outcome.refused().map(drop)
}

fn find_delete(ctx: &mut Ctx<'_>) -> Result<()> {
    let outcome =
        attack(ctx, |root| Tool::new("find").args([root, "-mindepth", "1", "-delete"]).run())?;
    outcome.refused().map(drop)
}

/// A process for every file: a guard that looks at single processes sees nothing.
fn find_exec_rm(ctx: &mut Ctx<'_>) -> Result<()> {
    let args = ["-type", "f", "-exec", "rm", "{}", ";"];
    let outcome = small_attack(ctx, |root| Tool::new("find").arg(root).args(args).run())?;
    check!(
        outcome.stderr.contains("Operation not permitted"),
        "{}",
        outcome.describe("should have said what was refused")
    );
    Ok(())
}

fn xargs_p8_rm(ctx: &mut Ctx<'_>) -> Result<()> {
    let outcome =
        attack(ctx, |root| sh("find \"$1\" -type f -print0 | xargs -0 -n4 -P8 rm", [root]))?;
    outcome.refused().map(drop)
}

fn shell_loop_rm(ctx: &mut Ctx<'_>) -> Result<()> {
    let script = "for f in \"$1\"/*/*; do rm \"$f\"; done";
    let outcome = small_attack(ctx, |root| sh(script, [root]))?;
    outcome.refused().map(drop)
}

/// A mirror job whose source failed to mount.
fn rsync_delete(ctx: &mut Ctx<'_>) -> Result<()> {
    let source = ctx.outside()?.display().to_string() + "/";
    let outcome = attack(ctx, |root| {
        Tool::new("rsync").args(["-a", "--delete", &source, &format!("{root}/")]).run()
    })?;
    check!(!outcome.succeeded(), "{}", outcome.describe("should have failed"));
    Ok(())
}

fn directories_cost(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(20, 0, 7)?;
    sh("rmdir \"$1\"/*", [&tree.root])?.refused()?;
    tree.lost_exactly(7)
}

fn within_budget(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(3, 10)?;
    ctx.enforce(&tree.root, Budget::files(11).per(Per::Unit))?;
    Tool::new("rm").arg("-r").arg(tree.tenant(1)).ok()?;
    tree.lost_exactly(11)?;
    ctx.nothing_denied()
}
