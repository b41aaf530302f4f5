//! Ends of a hold that are no release: killed through holdfast, or by somebody else.

use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;

use crate::harness::hold;
use crate::harness::{Ctx, check, check_eq, cli, proc, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::each("hold_kill_ends_the_process", kill),
    Scenario::once("hold_kill_sends_the_chosen_signal", kill_with_signal),
    Scenario::each("foreign_sigkill_ends_the_hold", killed_by_others),
    Scenario::once("a_killed_cgroup_leaves_no_hold", cgroup_killed),
    Scenario::once("successor_of_killed_process_is_held", next_process),
];

fn kill(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 60, 20)?;
    let unit = ctx.unit("rm")?;
    let rm = hold::rm(&tree, 0..1, &unit).start()?;
    ctx.held_at(&tree, rm.pid(), 20)?.kill()?;
    rm.wait()?.killed_by(Signal::KILL)?;
    ctx.nothing_held()?;
    tree.lost_exactly(20)?;
    ctx.holds_ended("killed", 1)?;
    let record = ctx.audited("kill")?;
    check!(record.to_string().contains("KILL"), "the record names the signal: {record}");
    Ok(())
}

fn kill_with_signal(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 60, 20)?;
    let unit = ctx.unit("rm")?;
    let rm = hold::rm(&tree, 0..1, &unit).start()?;
    let id = ctx.held_at(&tree, rm.pid(), 20)?.id.to_string();
    for wrong in ["CONT", "STOP", "NONSENSE", "0"] {
        let refused = hold::run(["kill", &id, "--signal", wrong])?;
        check!(!refused.succeeded(), "{}", refused.describe("should have failed"));
    }
    ctx.held_at(&tree, rm.pid(), 20)?;
    hold::run(["kill", &id, "--signal", "TERM"])?.ok()?;
    rm.wait()?.killed_by(Signal::TERM)?;
    ctx.nothing_held()?;
    tree.lost_exactly(20)?;
    ctx.holds_ended("killed", 1)
}

fn killed_by_others(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 60, 20)?;
    let unit = ctx.unit("rm")?;
    let rm = hold::rm(&tree, 0..1, &unit).start()?;
    let id = ctx.held_at(&tree, rm.pid(), 20)?.id.to_string();
    proc::signal(rm.pid(), Signal::KILL)?;
    rm.wait()?.killed_by(Signal::KILL)?;
    ctx.nothing_held()?;
    tree.lost_exactly(20)?;
    ctx.holds_ended("gone", 1)?;
    let zone = ctx.zone.clone();
    ctx.metrics_until("nothing is held by the metrics", |metrics| {
        metrics.sum("holdfast_held_processes", &[("zone", &zone)]) == 0.0
    })?;
    // Nothing is left that could be released, at the latest once the agent has forgotten it.
    until("the hold is forgotten", Duration::from_secs(60), || {
        Ok((!hold::run(["show", &id])?.succeeded()).then_some(()))
    })
}

/// What OOM kills and service managers do: everything at once, and nobody asks the agent.
fn cgroup_killed(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(3, 60, 20)?;
    let unit = ctx.unit("service")?;
    let jobs: Vec<_> =
        (0..3).map(|n| hold::rm(&tree, n..n + 1, &unit).start()).collect::<Result<_>>()?;
    ctx.all_held_at(&tree, 20, || unit.stopped("rm", 3))?;
    unit.kill()?;
    for job in jobs {
        job.wait()?.killed_by(Signal::KILL)?;
    }
    ctx.nothing_held()?;
    tree.lost_exactly(20)?;
    ctx.holds_ended("gone", 3)
}

fn next_process(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(2, 60, 20)?;
    let unit = ctx.unit("rm")?;
    let first = hold::rm(&tree, 0..1, &unit).start()?;
    ctx.held_at(&tree, first.pid(), 20)?.kill()?;
    first.wait()?.killed_by(Signal::KILL)?;
    let second = hold::rm(&tree, 1..2, &unit).start()?;
    let held = ctx.held_at(&tree, second.pid(), 20)?;
    let text = hold::run(["show", &held.id.to_string()])?.ok()?.stdout;
    check!(text.contains(&second.pid().to_string()), "the one that is there is shown: {text}");
    let next = held.next().map(|event| cli::text(event, "op").to_owned());
    check_eq!(next.as_deref(), Some("remove"), "op that waits");
    held.release(3)?;
    ctx.held_at(&tree, second.pid(), 23).map(drop)
}
