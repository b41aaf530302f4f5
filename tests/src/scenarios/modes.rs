//! Observing and enforcing, and policies that change while the guard runs.

use std::fs;

use anyhow::Result;
use holdfast_abi::Per;

use crate::harness::{Budget, Ctx, Tool, Zone, check_eq, cli, sh};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::each("observing_zone_reports_without_denying", observe),
    Scenario::each("from_observe_to_enforce", observe_then_enforce),
    Scenario::each("reload_keeps_what_is_spent", spent_stays_spent),
    Scenario::each("raising_a_limit_by_reload", raise_limit),
    Scenario::each("zone_without_matching_budget_allows", no_matching_budget),
    Scenario::each("several_roots_share_a_zones_budget", several_roots),
    Scenario::each("glob_roots", globs),
    Scenario::once("sighup_reloads", sighup),
];

fn observe(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(4, 25)?;
    ctx.guard(&[ctx.new_zone(&tree.root).observe().budget(Budget::files(30))])?;
    sh("rm -r \"$1\"/*", [&tree.root])?.ok()?;
    tree.lost_exactly(104)?;
    ctx.counted("allow", 30)?;
    ctx.counted("observe", 74)?;
    ctx.nothing_denied()?;
    let event = ctx.event("what was observed", |event| cli::text(event, "verdict") == "observe")?;
    check_eq!(cli::text(&event, "reason"), "files", "reason of the first event");
    Ok(())
}

/// A latch that was only observed does not bind once the zone enforces, and what was not charged is
/// not owed.
fn observe_then_enforce(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(4, 25)?;
    let zone = ctx.new_zone(&tree.root).budget(Budget::files(30));
    ctx.guard(&[zone.clone().observe()])?;
    sh("rm -r \"$1\"/customer-000", [&tree.root])?.ok()?;
    tree.lost_exactly(26)?;
    ctx.guard(&[zone])?;
    sh("rm -r \"$1\"/*", [&tree.root])?.refused()?;
    tree.lost_exactly(30)
}

fn spent_stays_spent(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(2, 40)?;
    let zone = ctx.new_zone(&tree.root).budget(Budget::files(30));
    ctx.guard(std::slice::from_ref(&zone))?;
    sh("rm \"$1\"/customer-000/file-000?.dat", [&tree.root])?.ok()?;
    tree.lost_exactly(10)?;
    // Another zone comes, this one stays as it is.
    let elsewhere = ctx.outside()?;
    let other = Zone::new(&format!("{}-other", ctx.zone), &elsewhere).budget(Budget::files(1));
    ctx.guard(&[other, zone])?;
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).arg(tree.tenant(1)).run()?.refused()?;
    tree.lost_exactly(30)
}

fn raise_limit(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(2, 40)?;
    let zone = ctx.new_zone(&tree.root);
    ctx.guard(&[zone.clone().budget(Budget::files(20))])?;
    for file in 0..20 {
        fs::remove_file(tree.file(0, file))?;
    }
    ctx.guard(&[zone.budget(Budget::files(50))])?;
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).arg(tree.tenant(1)).run()?.refused()?;
    tree.lost_exactly(50)
}

fn no_matching_budget(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(2, 20)?;
    ctx.enforce(&tree.root, Budget::files(1).who(holdfast_abi::Who::Owners))?;
    sh("rm -r \"$1\"/*", [&tree.root])?.ok()?;
    tree.lost_exactly(42)?;
    ctx.counted("allow", 42)
}

fn several_roots(ctx: &mut Ctx<'_>) -> Result<()> {
    let first = ctx.tree(1, 30)?;
    let second = crate::harness::Tree::make(&ctx.base.join("second"), 1, 30)?;
    let zone = ctx.new_zone(&first.root).path(&second.root);
    ctx.guard(&[zone.budget(Budget::files(40).per(Per::Zone))])?;
    sh("rm -rf \"$1\"/* \"$2\"/*", [&first.root, &second.root])?.refused()?;
    check_eq!(first.gone()? + second.gone()?, 40, "files gone from both roots");
    Ok(())
}

fn globs(ctx: &mut Ctx<'_>) -> Result<()> {
    let mut trees = Vec::new();
    for name in ["web1", "web2", "db1"] {
        trees.push(crate::harness::Tree::make(&ctx.base.join(name).join("srv"), 1, 30)?);
    }
    let pattern = ctx.base.join("web[0-9]/s*");
    ctx.enforce(&pattern, Budget::files(12))?;
    sh("rm -rf \"$1\"/*/srv/*", [&ctx.base])?.refused()?;
    check_eq!(trees[2].gone()?, 31, "gone from the directory the pattern leaves out");
    check_eq!(trees[0].gone()? + trees[1].gone()?, 12, "gone from the two it names");
    Ok(())
}

fn sighup(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(1, 40, 5)?;
    let before = ctx.lab.metrics()?.sum("holdfast_policy_reload_timestamp_seconds", &[]);
    let wider = ctx.new_zone(&tree.root).budget(Budget::files(25));
    ctx.lab.write_policy(&crate::harness::policy::render(&[wider]))?;
    Tool::new("kill").args(["-HUP", &ctx.lab.pid()?.to_string()]).ok()?;
    let zone = ctx.zone.clone();
    ctx.metrics_until("the new limit in the metrics", |metrics| {
        metrics.sum("holdfast_budget_limit_files", &[("zone", &zone)]) == 25.0
            && metrics.sum("holdfast_policy_reload_timestamp_seconds", &[]) >= before
    })?;
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).run()?.refused()?;
    tree.lost_exactly(25)
}
