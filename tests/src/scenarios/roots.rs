//! Roots that come, go and come back: guarded within seconds of being there.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use holdfast_abi::Op;

use crate::harness::{Budget, Ctx, Tool, Tree, check, check_eq, cli, until};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::each("a_root_that_appears_later", appears),
    Scenario::each("a_root_that_is_removed_and_made_again", recreated),
    Scenario::once("a_new_root_that_matches_a_glob", new_match),
    Scenario::once("explain_names_zone_tenant_and_budgets", explain),
];

fn appears(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    ctx.enforce(&root, Budget::files(12))?;
    let zone = ctx.zone.clone();
    ctx.metrics_until("the missing root in the metrics", |metrics| {
        metrics.sum("holdfast_roots_missing", &[("zone", &zone)]) == 1.0
    })?;
    let tree = Tree::make(&root, 2, 20)?;
    ctx.metrics_until("the root that appeared in the metrics", |metrics| {
        metrics.sum("holdfast_roots", &[("zone", &zone)]) == 1.0
            && metrics.sum("holdfast_roots_missing", &[("zone", &zone)]) == 0.0
    })?;
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).arg(tree.tenant(1)).run()?.refused()?;
    tree.lost_exactly(12)
}

/// Removes files of its own making until the agent counts one in this zone; how many it counted.
fn guarded_again(ctx: &Ctx<'_>, root: &Path, before: f64) -> Result<u64> {
    let probe = root.join("probe");
    until("removals in the new root are counted", Duration::from_secs(60), || {
        fs::write(&probe, "x")?;
        fs::remove_file(&probe)?;
        std::thread::sleep(Duration::from_millis(500));
        let counted = ctx.lab.metrics()?.ops(&ctx.zone, "allow") - before;
        Ok((counted > 0.0).then_some(counted as u64))
    })
}

fn recreated(ctx: &mut Ctx<'_>) -> Result<()> {
    const BUDGET: u64 = 30;
    let root = ctx.base.join("zone");
    fs::create_dir(&root)?;
    // No budget lists detach, so that the root can go.
    ctx.enforce(&root, Budget::files(BUDGET).ops(&[Op::Remove]))?;
    Tool::new("rmdir").arg(&root).ok()?;
    let tree = Tree::make(&root, 1, 60)?;
    let spent = guarded_again(ctx, &root, ctx.lab.metrics()?.ops(&ctx.zone, "allow"))?;
    check!(spent < BUDGET, "spent {spent} while waiting");
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).run()?.refused()?;
    let total = spent + tree.gone()?;
    // Whether the removal of the root itself was charged depends on whether some budget lists that op.
    check!(
        total == BUDGET || total == BUDGET - 1,
        "{total} charged removals in the new root under a budget of {BUDGET}"
    );
    Ok(())
}

fn new_match(ctx: &mut Ctx<'_>) -> Result<()> {
    fs::create_dir(ctx.base.join("web1"))?;
    ctx.enforce(&ctx.base.join("web*"), Budget::files(9))?;
    let tree = Tree::make(&ctx.base.join("web2"), 1, 20)?;
    let zone = ctx.zone.clone();
    ctx.metrics_until("two roots in the metrics", |metrics| {
        metrics.sum("holdfast_roots", &[("zone", &zone)]) == 2.0
    })?;
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).run()?.refused()?;
    tree.lost_exactly(9)
}

fn explain(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(2, 5, 7)?;
    let path = tree.file(1, 3);
    let outcome = cli::holdfast(["explain".as_ref(), path.as_os_str()])?.ok()?;
    for expected in [ctx.zone.as_str(), "customer-001", "everyone per zone, 1h"] {
        check!(
            outcome.stdout.contains(expected),
            "{}",
            outcome.describe(&format!("should name {expected:?}"))
        );
    }
    let json = cli::holdfast(["explain".as_ref(), path.as_os_str(), "--json".as_ref()])?.ok()?;
    let value: serde_json::Value = serde_json::from_str(&json.stdout)?;
    check_eq!(cli::text(&value, "zone"), ctx.zone, "zone in JSON");
    check_eq!(tree.gone()?, 0, "explaining destroys nothing");
    let outside = cli::holdfast(["explain", "/etc/hostname"])?.ok()?;
    check!(!outside.stdout.contains(&ctx.zone), "{}", outside.describe("names a zone"));
    Ok(())
}
