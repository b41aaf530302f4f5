//! Without an agent nobody can be let go on, and so nobody new is held; who is held stays so until
//! there is one again.

use std::time::Duration;

use anyhow::Result;
use holdfast_abi::Per;
use rustix::process::Signal;

use crate::harness::hold::{self, Hold, continue_all_the_time, still_held};
use crate::harness::tool::Running;
use crate::harness::{Budget, Ctx, Tree, Unit, check, check_eq, cli, proc, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::once("three_held_processes_outlive_the_agent", three).waits(),
    Scenario::once("briefly_absent_agent_still_holds", moment),
    Scenario::once("a_frozen_agent_holds_nobody_new", frozen).waits(),
    Scenario::once("unload_refuses_while_processes_are_held", unpin),
];

/// Longer than the kernel believes in an agent that it has not heard of.
const SILENCE: Duration = Duration::from_secs(13);
const BUDGET: u64 = 20;

/// Three jobs in units of their own, each held at its budget.
fn three_held(ctx: &mut Ctx<'_>, tree: &Tree, units: &[Unit]) -> Result<(Vec<Running>, Vec<Hold>)> {
    ctx.guard(&[ctx.hold_zone(tree, Budget::files(BUDGET).per(Per::Unit))])?;
    let jobs: Vec<_> = (0..3)
        .zip(units)
        .map(|(n, unit)| hold::rm(tree, n..n + 1, unit).start())
        .collect::<Result<_>>()?;
    let pids: Vec<_> = jobs.iter().map(Running::pid).collect();
    let holds = ctx.all_held_at(tree, 3 * BUDGET, || Ok(pids.clone()))?;
    check_eq!(holds.len(), 3, "holds");
    Ok((jobs, holds))
}

fn three(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(4, 60)?;
    let units = [ctx.unit("a")?, ctx.unit("b")?, ctx.unit("c")?];
    let (mut jobs, before) = three_held(ctx, &tree, &units)?;
    let pids: Vec<_> = jobs.iter().map(Running::pid).collect();
    ctx.lab.kill()?;
    std::thread::sleep(SILENCE);
    continue_all_the_time(pids[0], 2)?;
    for &pid in &pids {
        still_held(&tree, pid, 3 * BUDGET)?;
    }
    // Somebody new gets its budget, and is denied what goes beyond.
    let late = ctx.unit("late")?;
    hold::rm(&tree, 3..4, &late).run()?.refused()?;
    tree.lost_exactly(4 * BUDGET)?;
    ctx.lab.start(false)?;
    check_eq!(cli::text(&cli::status()?.1, "started"), "adopted", "how the agent came up");
    let after = ctx.all_held_at(&tree, 4 * BUDGET, || Ok(pids.clone()))?;
    let ids = |holds: &[Hold]| holds.iter().map(|hold| hold.id).collect::<Vec<_>>();
    check_eq!(ids(&after), ids(&before), "numbers of the holds");
    let of = |pid: u32| after.iter().find(|hold| hold.pids() == [pid]);
    for (n, &pid) in pids.iter().enumerate() {
        let Some(hold) = of(pid) else { anyhow::bail!("no hold of process {pid} alone") };
        hold.release(5)?;
        let gone = 4 * BUDGET + 5 * (n as u64 + 1);
        ctx.all_held_at(&tree, gone, || Ok(pids.clone()))?;
    }
    // To the end, by what is left of the tenant.
    ctx.held(pids[0])?.release(100)?;
    jobs.remove(0).wait()?.quietly()?;
    check!(!tree.tenant(0).exists(), "the first job should be through");
    ctx.event("a denial while no agent was there", |event| {
        cli::text(event, "not_held") == "agent_gone"
    })
    .map(drop)
}

/// As in an upgrade: shorter than the kernel's patience.
fn moment(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(2, 60, BUDGET)?;
    let unit = ctx.unit("rm")?;
    let rm = hold::rm(&tree, 0..1, &unit).start()?;
    ctx.held_at(&tree, rm.pid(), BUDGET)?;
    ctx.lab.stop()?;
    let second = hold::rm(&tree, 1..2, &unit).start()?;
    proc::stops(second.pid())?;
    ctx.lab.start(false)?;
    let both = || Ok(vec![rm.pid(), second.pid()]);
    let holds = ctx.all_held_at(&tree, BUDGET, both)?;
    holds[0].release(10)?;
    ctx.all_held_at(&tree, BUDGET + 10, both).map(drop)
}

/// A stopped agent is there, but could let nobody go on.
fn frozen(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(2, 60, BUDGET)?;
    let units = [ctx.unit("before")?, ctx.unit("after")?];
    let rm = hold::rm(&tree, 0..1, &units[0]).start()?;
    ctx.held_at(&tree, rm.pid(), BUDGET)?;
    let agent = ctx.lab.pid()?;
    proc::signal(agent, Signal::STOP)?;
    std::thread::sleep(SILENCE);
    let late = hold::rm(&tree, 1..2, &units[1]).run();
    let held = still_held(&tree, rm.pid(), BUDGET);
    proc::signal(agent, Signal::CONT)?;
    late?.refused()?;
    held?;
    ctx.held_at(&tree, rm.pid(), BUDGET)?.release(5)?;
    ctx.held_at(&tree, rm.pid(), BUDGET + 5).map(drop)
}

/// The guard does not come off over somebody's head; and if it has to, whoever is held can go on.
fn unpin(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 60, BUDGET)?;
    let unit = ctx.unit("rm")?;
    let rm = hold::rm(&tree, 0..1, &unit).start()?;
    ctx.held_at(&tree, rm.pid(), BUDGET)?;
    ctx.lab.stop()?;
    let pid = rm.pid().to_string();
    let refused = cli::holdfast(["unpin"])?;
    check!(!refused.succeeded(), "{}", refused.describe("should have failed"));
    check!(refused.stderr.contains(&pid), "{}", refused.describe("should say who is held"));
    still_held(&tree, rm.pid(), BUDGET)?;
    ctx.lab.start(false)?;
    ctx.held_at(&tree, rm.pid(), BUDGET)?;
    ctx.lab.stop()?;
    let forced = cli::holdfast(["unpin", "--force"])?.ok()?;
    check!(forced.said().contains(&pid), "{}", forced.describe("should say who is stopped"));
    still_held(&tree, rm.pid(), BUDGET)?;
    // Links take effect a moment after the last of their references is gone.
    until("whoever is continued goes on", Duration::from_secs(60), || {
        proc::signal(rm.pid(), Signal::CONT)?;
        Ok(proc::state(rm.pid())?.is_none().then_some(()))
    })?;
    rm.wait()?.quietly()?;
    tree.lost_exactly(61)
}
