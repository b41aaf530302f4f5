//! A debugger can keep SIGSTOP from a process, but not the guard.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::harness::hold::{self, still_held};
use crate::harness::{Ctx, Tool, check, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::each("debugger_suppressing_sigstop_releases_nothing", suppressed),
    Scenario::once("traced_process_is_held_and_released", followed),
    Scenario::once("process_traced_before_hold_is_held", traced_before),
];

const BUDGET: u64 = 30;

fn helper(words: &[&str]) -> Result<Tool> {
    Ok(Tool::new(std::env::current_exe()?).arg("helper").args(words))
}

/// Waits until somebody traces this process.
fn traced(pid: u32) -> Result<()> {
    until("the process is traced", Duration::from_secs(60), || {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
        Ok(tracer.is_some_and(|tracer| tracer.trim() != "0").then_some(()))
    })
}

fn suppressed(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 100, BUDGET)?;
    let unit = ctx.unit("rm")?;
    let rm = hold::rm(&tree, 0..1, &unit).start()?;
    ctx.held_at(&tree, rm.pid(), BUDGET)?;
    let outcome = helper(&["suppress", &rm.pid().to_string(), "4"])?.run()?.quietly()?;
    let times: u64 = outcome.stdout.trim().parse().context("not a number")?;
    check!(times > 10, "only {times} signals were kept from it");
    still_held(&tree, rm.pid(), BUDGET)?;
    ctx.held_at(&tree, rm.pid(), BUDGET)?.release(5)?;
    ctx.held_at(&tree, rm.pid(), BUDGET + 5)?.reset()?;
    ctx.held_at(&tree, rm.pid(), 2 * BUDGET + 5).map(drop)
}

/// What `strace -p` does with a process that is held already.
fn followed(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 60, BUDGET)?;
    let unit = ctx.unit("rm")?;
    let rm = hold::rm(&tree, 0..1, &unit).start()?;
    ctx.held_at(&tree, rm.pid(), BUDGET)?;
    let tracer = helper(&["follow", &rm.pid().to_string()])?.start()?;
    traced(rm.pid())?;
    still_held(&tree, rm.pid(), BUDGET)?;
    ctx.held_at(&tree, rm.pid(), BUDGET)?.release(10)?;
    ctx.held_at(&tree, rm.pid(), BUDGET + 10)?.release(100)?;
    rm.wait()?.quietly()?;
    tree.lost_exactly(61)?;
    stops_seen(&tracer.wait()?.quietly()?.stdout)
}

/// What `strace rm -rf` does.
fn traced_before(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 60, BUDGET)?;
    let unit = ctx.unit("rm")?;
    let go = ctx.base.join("go");
    let deleter = hold::unlink(&tree.tenant(0), &unit)?.arg("--go").arg(&go).start()?;
    // In the cgroup it is the deleter itself.
    until("the deleter is in its unit", Duration::from_secs(60), || {
        Ok(unit.pids()?.contains(&deleter.pid()).then_some(()))
    })?;
    let tracer = helper(&["follow", &deleter.pid().to_string()])?.start()?;
    traced(deleter.pid())?;
    fs::write(&go, "")?;
    ctx.held_at(&tree, deleter.pid(), BUDGET)?.release(7)?;
    ctx.held_at(&tree, deleter.pid(), BUDGET + 7)?.release(100)?;
    deleter.wait()?.quietly()?;
    tree.lost_exactly(60)?;
    stops_seen(&tracer.wait()?.quietly()?.stdout)
}

fn stops_seen(said: &str) -> Result<()> {
    let numbers: Vec<u64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [syscalls, group_stops] = numbers[..] else {
        anyhow::bail!("the tracer said {said:?}");
    };
    check!(syscalls > 20 && group_stops >= 1, "{syscalls} and {group_stops} stops");
    Ok(())
}
