//! Roots that come, go and come back: guarded within seconds of being there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use holdfast_abi::Op;

use crate::harness::{Budget, Ctx, Tool, Tree, check, check_eq, cli, until};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::each("a_root_that_appears_later", appears),
    Scenario::each("recreated_path_is_guarded_again", recreated),
    Scenario::once("new_glob_match_is_guarded", new_match),
    Scenario::each("renamed_ancestor_keeps_the_zone", ancestor_renamed),
    Scenario::each("glob_does_not_follow_symlinks", symlink_below_glob),
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
    // Whether the removal of the root itself was charged depends on whether some budget lists that
    // op.
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

fn ancestor_renamed(ctx: &mut Ctx<'_>) -> Result<()> {
    const BUDGET: u64 = 30;
    let (srv, old) = (ctx.base.join("srv"), ctx.base.join("srv.old"));
    let tree = Tree::make(&srv.join("customers"), 2, 40)?;
    ctx.enforce(&tree.root, Budget::files(BUDGET))?;
    fs::remove_file(tree.file(0, 0))?;
    Tool::new("mv").arg(&srv).arg(&old).ok()?;
    let moved = Tree { root: old.join("customers"), ..tree };
    until_kept(ctx)?;
    let metrics = ctx.lab.metrics()?;
    let labels = [("zone", ctx.zone.as_str())];
    check_eq!(metrics.sum("holdfast_roots_kept", &labels), 1.0, "kept roots in the metrics");
    check_eq!(metrics.sum("holdfast_roots_missing", &labels), 1.0, "missing in the metrics");
    fs::remove_file(moved.file(0, 1))?;
    ctx.counted("allow", 2)?;
    let explained = cli::holdfast(["explain".as_ref(), moved.file(0, 2).as_os_str()])?.ok()?;
    check!(explained.stdout.contains(&ctx.zone), "{}", explained.describe("should name the zone"));

    cli::holdfast(["policy", "reload"])?.ok()?;
    until_kept(ctx)?;
    fs::remove_file(moved.file(0, 2))?;
    ctx.counted("allow", 3)?;

    ctx.lab.kill()?;
    fs::remove_file(moved.file(0, 3))?;
    ctx.lab.start(ctx.trace)?;
    until_kept(ctx)?;
    ctx.counted("allow", 4)?;
    Tool::new("rm").arg("-rf").arg(moved.tenant(0)).arg(moved.tenant(1)).run()?.refused()?;
    moved.lost_exactly(BUDGET)
}

/// Waits until the zone's path is missing and its root is kept nevertheless.
fn until_kept(ctx: &Ctx<'_>) -> Result<()> {
    until("status shows the path missing and the root kept", Duration::from_secs(60), || {
        let (_, status) = cli::status()?;
        let zones = status["zones"].as_array().into_iter().flatten();
        let zone = zones.into_iter().find(|zone| cli::text(zone, "name") == ctx.zone);
        let is_kept = zone.is_some_and(|zone| {
            let paths = zone["paths"].as_array().into_iter().flatten();
            paths.filter(|path| path["state"] == "missing").count() == 1
                && zone["kept_roots"] == 1
                && zone["state"] == "enforcing"
        });
        Ok(is_kept.then_some(()))
    })
}

fn symlink_below_glob(ctx: &mut Ctx<'_>) -> Result<()> {
    let homes = ctx.base.join("homes");
    let alice = Tree::make(&homes.join("alice/www"), 1, 20)?;
    let other = Tree::make(&ctx.outside()?.join("other"), 1, 20)?;
    let point_at_other = |user: &str| -> Result<()> {
        fs::create_dir(homes.join(user))?;
        Ok(symlink(&other.root, homes.join(user).join("www"))?)
    };
    // One that is there when the policy is loaded, one that comes later with a real directory
    // beside it.
    point_at_other("mallory")?;
    ctx.enforce(&homes.join("*/www"), Budget::files(9))?;
    point_at_other("mallet")?;
    let bob = Tree::make(&homes.join("bob/www"), 1, 20)?;
    let zone = ctx.zone.clone();
    ctx.metrics_until("two roots in the metrics", |metrics| {
        metrics.sum("holdfast_roots", &[("zone", &zone)]) == 2.0
    })?;
    until("status names both links", Duration::from_secs(60), || {
        let (_, status) = cli::status()?;
        let zones = status["zones"].as_array().into_iter().flatten();
        let mut paths = zones.flat_map(|zone| zone["paths"].as_array().into_iter().flatten());
        let is_told = paths.any(|path| {
            let text = cli::text(path, "why");
            ["symbolic links", "mallory/www", "mallet/www"].iter().all(|part| text.contains(part))
        });
        Ok(is_told.then_some(()))
    })?;
    Tool::new("rm").arg("-rf").arg(&other.root).ok()?;
    check!(!other.root.exists(), "what the links point at is in no zone");
    Tool::new("rm").arg("-rf").arg(bob.tenant(0)).arg(alice.tenant(0)).run()?.refused()?;
    check_eq!(bob.gone()? + alice.gone()?, 9, "files and directories gone from both roots");
    Ok(())
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
