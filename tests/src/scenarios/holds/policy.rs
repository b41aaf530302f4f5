//! What the policy says about holds: how long, and what becomes of those who are held when it
//! changes.

use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::Signal;

use crate::harness::hold::{self, still_held};
use crate::harness::policy::render;
use crate::harness::tool::Running;
use crate::harness::{Budget, Ctx, Tool, Tree, Unit, Zone, check, check_eq, cli, policy, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::each("undecided_hold_becomes_a_denial", timeout).waits(),
    Scenario::each("from_hold_to_deny", hold_to_deny),
    Scenario::each("from_hold_to_observe", hold_to_observe),
    Scenario::once("from_hold_to_throttle", hold_to_throttle).waits(),
    Scenario::once("a_zone_that_goes_lets_go", zone_goes),
    Scenario::once("removed_zone_takes_its_releases_along", release_for_a_former_zone),
    Scenario::once("a_bad_policy_leaves_holds_alone", bad_policy),
    Scenario::once("primary_zone_holds_by_default", defaults),
];

const BUDGET: u64 = 20;

/// A job that is held at its budget.
fn held(ctx: &mut Ctx<'_>, tree: &Tree, unit: &Unit, zone: &Zone) -> Result<Running> {
    ctx.guard(std::slice::from_ref(zone))?;
    let rm = hold::rm(tree, 0..1, unit).start()?;
    ctx.held_at(tree, rm.pid(), BUDGET)?;
    Ok(rm)
}

fn timeout(ctx: &mut Ctx<'_>) -> Result<()> {
    let (tree, unit) = (ctx.tree(1, 60)?, ctx.unit("rm")?);
    let zone = ctx.hold_zone(&tree, Budget::files(BUDGET)).hold_timeout("10s");
    let started = Instant::now();
    let rm = held(ctx, &tree, &unit, &zone)?;
    rm.wait()?.refused()?;
    check!(started.elapsed() >= Duration::from_secs(10), "it was denied before its time");
    tree.lost_exactly(BUDGET)?;
    ctx.nothing_held()?;
    ctx.holds_ended("expired", 1)?;
    ctx.audited("expire")?;
    let event = ctx.event("the denial", |event| cli::text(event, "verdict") == "deny")?;
    check_eq!(cli::text(&event, "reason"), "hold_expired", "reason of the denial");
    // Until the latch is over that actor is denied, and not held for another ten seconds each time.
    let again = hold::rm(&tree, 0..1, &unit).run()?;
    again.refused()?;
    tree.lost_exactly(BUDGET)
}

/// As a new policy says: the op that waits fails, promptly.
fn hold_to_deny(ctx: &mut Ctx<'_>) -> Result<()> {
    let (tree, unit) = (ctx.tree(1, 60)?, ctx.unit("rm")?);
    let zone = ctx.hold_zone(&tree, Budget::files(BUDGET));
    let rm = held(ctx, &tree, &unit, &zone)?;
    ctx.guard(&[ctx.new_zone(&tree.root).budget(Budget::files(BUDGET))])?;
    rm.wait()?.refused()?;
    tree.lost_exactly(BUDGET)?;
    ctx.nothing_held()?;
    ctx.holds_ended("resumed", 1)
}

fn hold_to_observe(ctx: &mut Ctx<'_>) -> Result<()> {
    let (tree, unit) = (ctx.tree(1, 60)?, ctx.unit("rm")?);
    let zone = ctx.hold_zone(&tree, Budget::files(BUDGET));
    let rm = held(ctx, &tree, &unit, &zone)?;
    ctx.guard(&[zone.observe()])?;
    rm.wait()?.quietly()?;
    tree.lost_exactly(61)?;
    ctx.nothing_held()
}

fn hold_to_throttle(ctx: &mut Ctx<'_>) -> Result<()> {
    let (tree, unit) = (ctx.tree(1, 60)?, ctx.unit("rm")?);
    let zone = ctx.hold_zone(&tree, Budget::files(BUDGET).window("10s"));
    let rm = held(ctx, &tree, &unit, &zone)?;
    ctx.guard(&[zone.throttle()])?;
    rm.wait()?.quietly()?;
    tree.lost_exactly(61)
}

/// What is in no zone any more is nobody's business.
fn zone_goes(ctx: &mut Ctx<'_>) -> Result<()> {
    let (tree, unit) = (ctx.tree(1, 60)?, ctx.unit("rm")?);
    let zone = ctx.hold_zone(&tree, Budget::files(BUDGET));
    let rm = held(ctx, &tree, &unit, &zone)?;
    let other = Zone::new(&format!("{}-other", ctx.zone), &ctx.outside()?);
    ctx.guard(&[other.budget(Budget::files(1000))])?;
    rm.wait()?.quietly()?;
    tree.lost_exactly(61)?;
    until("no hold of the zone that went is listed", Duration::from_secs(60), || {
        Ok(hold::all()?.iter().all(|hold| hold.zone() != ctx.zone).then_some(()))
    })
}

/// The next zone may get the place in the kernel of one that went, but nothing that was decided for
/// it.
fn release_for_a_former_zone(ctx: &mut Ctx<'_>) -> Result<()> {
    let (tree, unit) = (ctx.tree(1, 60)?, ctx.unit("rm")?);
    let zone = ctx.hold_zone(&tree, Budget::files(BUDGET));
    let rm = held(ctx, &tree, &unit, &zone)?;
    ctx.held(rm.pid())?.release(1000)?;
    rm.wait()?.quietly()?;
    let other = Tree::make(&ctx.base.join("other"), 1, 60)?;
    let next = Zone::new(&format!("{}-next", ctx.zone), &other.root);
    ctx.guard(&[next.hold().budget(Budget::files(BUDGET))])?;
    let rm = hold::rm(&other, 0..1, &unit).start()?;
    ctx.held_at(&other, rm.pid(), BUDGET).map(drop)
}

fn bad_policy(ctx: &mut Ctx<'_>) -> Result<()> {
    let (tree, unit) = (ctx.tree(1, 60)?, ctx.unit("rm")?);
    let zone = ctx.hold_zone(&tree, Budget::files(BUDGET));
    let rm = held(ctx, &tree, &unit, &zone)?;
    let good = render(std::slice::from_ref(&zone));
    let mistakes = [
        good.replace("on_trip = \"hold\"", "on_trip = \"hld\""),
        good.replace("on_trip = \"hold\"", "on_trip = \"hold\"\nhold_timeout = \"9s\""),
        good.replace("on_trip = \"hold\"", "on_trip = \"deny\"\nhold_timeout = \"1h\""),
        good.replace("on_trip = \"hold\"", "on_trip = \"deny\"\ntell_terminal = false"),
        good.replace("on_trip = \"hold\"", "on_trip = \"hold\"\ntell_terminal = \"no\""),
    ];
    for bad in &mistakes {
        let refused = ctx.lab.try_policy(bad)?.code(3)?;
        let located = ["policy.toml:7:", "policy.toml:8:"];
        let is_located = located.iter().any(|place| refused.said().contains(place));
        check!(is_located, "{}", refused.describe("should name the line"));
        still_held(&tree, rm.pid(), BUDGET)?;
    }
    ctx.lab.try_policy(&good)?.ok()?;
    ctx.held_at(&tree, rm.pid(), BUDGET)?.release(5)?;
    ctx.held_at(&tree, rm.pid(), BUDGET + 5)?.kill()?;
    rm.wait()?.killed_by(Signal::KILL).map(drop)
}

/// A primary zone holds, a backup denies.
fn defaults(ctx: &mut Ctx<'_>) -> Result<()> {
    let customers = Tree::make(&ctx.base.join("customers"), 1, 60)?;
    let backups = Tree::make(&ctx.base.join("backups"), 1, 60)?;
    let (first, second) = (format!("{}-a", ctx.zone), format!("{}-b", ctx.zone));
    let zones = [
        Zone::new(&first, &customers.root).hold().budget(Budget::files(BUDGET)),
        Zone::new(&second, &backups.root).backup().budget(Budget::files(BUDGET)),
    ];
    ctx.guard(&zones)?;
    let silent: Vec<_> = policy::render(&zones)
        .lines()
        .filter(|line| !line.starts_with("on_trip"))
        .map(str::to_owned)
        .collect();
    ctx.lab.try_policy(&silent.join("\n"))?.ok()?;
    let unit = ctx.unit("rm")?;
    Tool::new("rm").arg("-rf").arg(backups.tenant(0)).unit(&unit).run()?.refused()?;
    backups.lost_exactly(BUDGET)?;
    let rm = hold::rm(&customers, 0..1, &unit).start()?;
    let held = ctx.held_at(&customers, rm.pid(), BUDGET)?;
    check_eq!(held.zone(), first, "zone that holds");
    let shown = cli::holdfast(["policy", "show"])?.ok()?.stdout;
    for expected in ["on_trip = \"hold\"", "on_trip = \"deny\"", "hold_timeout = \"30m\""] {
        check!(shown.contains(expected), "`policy show` lacks {expected}: {shown}");
    }
    Ok(())
}
