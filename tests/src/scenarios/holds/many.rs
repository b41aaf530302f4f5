//! Fork storms, threads, loops: everything of an actor that goes over is held, and the sum is
//! exact.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::harness::hold::{self, continue_all_the_time, still_held};
use crate::harness::{Budget, Ctx, Tool, check, check_eq, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::each("xargs_p8_is_held_at_budget", xargs),
    Scenario::each("eight_threads_are_held_at_budget", threads),
    Scenario::once("uncovered_threads_wait_for_next_release", uncovered_threads).waits(),
    Scenario::each("shell_loop_is_held_at_budget", shell_loop).shared(),
    Scenario::once("hundred_processes_are_held_at_once", hundred),
];

fn xargs(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(4, 100, 60)?;
    let unit = ctx.unit("xargs")?;
    let script = "find \"$1\" -type f -print0 | xargs -0 -P8 -n1 rm";
    let job = Tool::new("bash").args(["-c", script, "script"]).arg(&tree.root).unit(&unit);
    let job = job.start()?;
    let eight = || unit.stopped("rm", 8);
    let holds = ctx.all_held_at(&tree, 60, eight)?;
    check_eq!(holds.len(), 1, "holds for one unit and user");
    holds[0].release(100)?;
    let holds = ctx.all_held_at(&tree, 160, eight)?;
    let killed = holds.first().context("no hold")?;
    killed.kill()?;
    let outcome = job.wait()?;
    check!(!outcome.succeeded(), "{}", outcome.describe("should have failed"));
    ctx.nothing_held()?;
    tree.lost_exactly(160)?;
    ctx.counted("allow", 160)?;
    ctx.holds_ended("killed", 8)
}

fn threads(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(8, 60, 111)?;
    let unit = ctx.unit("threads")?;
    let deleter = hold::unlink(&tree.root, &unit)?.args(["--threads", "8", "--raw"]).start()?;
    let held = ctx.held_at(&tree, deleter.pid(), 111)?;
    check_eq!(held.processes().len(), 1, "processes in the hold");
    held.release(100)?;
    ctx.held_at(&tree, deleter.pid(), 211)?.release(50)?;
    ctx.held_at(&tree, deleter.pid(), 261)?.kill()?;
    deleter.wait()?.killed_by(Signal::KILL)?;
    tree.lost_exactly(261)?;
    ctx.counted("allow", 261)
}

/// They were continued by a decision, and it was not about them: the end of the window lets none of
/// them through.
fn uncovered_threads(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(8, 60)?;
    ctx.guard(&[ctx.hold_zone(&tree, Budget::files(40).window("15s"))])?;
    let unit = ctx.unit("threads")?;
    let deleter = hold::unlink(&tree.root, &unit)?.args(["--threads", "8", "--raw"]).start()?;
    ctx.held_at(&tree, deleter.pid(), 40)?.release(3)?;
    ctx.held_at(&tree, deleter.pid(), 43)?;
    // Until every thread has come to its next op, and not only those that came first.
    until("all eight threads are held", Duration::from_secs(60), || {
        continue_all_the_time(deleter.pid(), 2)?;
        let held = ctx.held_at(&tree, deleter.pid(), 43)?;
        Ok((held.threads().count() == 8).then_some(()))
    })?;
    std::thread::sleep(Duration::from_secs(17));
    continue_all_the_time(deleter.pid(), 2)?;
    still_held(&tree, deleter.pid(), 43)
}

/// A loop that calls `rm` 5,000 times.
fn shell_loop(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 5000, 100)?;
    let unit = ctx.unit("loop")?;
    let script = "cd \"$1\"; for file in *; do rm \"$file\" || exit 7; done";
    let job = Tool::new("bash").args(["-c", script, "script"]).arg(tree.tenant(0)).unit(&unit);
    let job = job.start()?;
    let one = || unit.stopped("rm", 1);
    let first = ctx.all_held_at(&tree, 100, one)?;
    first[0].release(200)?;
    let second = ctx.all_held_at(&tree, 300, one)?;
    check!(first[0].pids() != second[0].pids(), "each rm is a process of its own");
    second[0].kill()?;
    check_eq!(job.wait()?.code, Some(7), "exit status of the loop");
    tree.lost_exactly(300)?;
    ctx.counted("allow", 300)
}

/// Each in its own time, from the same start.
fn hundred(ctx: &mut Ctx<'_>) -> Result<()> {
    const PROCESSES: usize = 100;
    let tree = ctx.holding(PROCESSES as u64, 3, 50)?;
    let unit = ctx.unit("hundred")?;
    let script = "for dir in \"$1\"/*; do \"$2\" helper unlink --go \"$3\" \"$dir\" & done; wait";
    let go = ctx.base.join("go");
    let own = std::env::current_exe()?;
    let job = Tool::new("bash").args(["-c", script, "script"]);
    let job = job.arg(&tree.root).arg(&own).arg(&go).unit(&unit).start()?;
    fs::write(&go, "")?;
    let name = own.file_name().context("no name")?.to_string_lossy();
    let name: String = name.chars().take(15).collect();
    // Those whose files are all gone have ended; every other is held.
    let held = || {
        let pids = unit.named(&name)?;
        let (held, gone) = (unit.stopped(&name, pids.len())?, tree.gone()?);
        Ok(if gone == 50 && held.len() >= PROCESSES - 50 / 3 { held } else { Vec::new() })
    };
    let holds = ctx.all_held_at(&tree, 50, held)?;
    check_eq!(holds.len(), 1, "holds for one unit and user");
    holds[0].release(300)?;
    job.wait()?.quietly()?;
    tree.lost_exactly(300)
}
