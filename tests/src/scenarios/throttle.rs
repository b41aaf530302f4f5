//! Throttled: over budget a process goes on, but in no window with more than the budget.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};

use crate::harness::hold::{self, continue_all_the_time};
use crate::harness::{Budget, Ctx, Tool, Tree, check, check_eq, cli, proc, until};
use crate::runner::{Fs, Scenario};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::each("throttle_allows_sixty_files_per_minute", three_minutes)
        .waits()
        .on(&[Fs::Ext4])
        .traced(),
    Scenario::each("throttled_job_ends_within_budget", to_the_end)
        .waits()
        .on(&[Fs::Tmpfs])
        .traced(),
    Scenario::each("foreign_sigcont_leaves_throttle_unchanged", sigcont).waits(),
    Scenario::once("release_resumes_throttled_process_at_once", release).waits(),
    Scenario::once("many_throttled_processes_share_one_budget", many).waits(),
    Scenario::once("throttled_process_waits_for_next_agent", agent_gone).waits(),
    Scenario::once("what_cannot_be_throttled_is_denied", denied),
    Scenario::once("op_beyond_every_window_is_denied", too_large),
];

/// Guards a tree with a budget for all together, and a throttle for what goes over.
fn throttling(ctx: &mut Ctx<'_>, files: u64, budget: u64, window: &str) -> Result<Tree> {
    let tree = ctx.tree(1, files)?;
    let zone = ctx.new_zone(&tree.root).throttle();
    ctx.guard(&[zone.budget(Budget::files(budget).window(window))])?;
    Ok(tree)
}

/// How many files were gone at a moment between two times.
struct Sample {
    before: Instant,
    after: Instant,
    gone: u64,
}

/// Looks at the tree again and again, until `over`.
fn watch(tree: &Tree, mut over: impl FnMut() -> Result<bool>) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    loop {
        let before = Instant::now();
        let gone = tree.gone()?;
        samples.push(Sample { before, after: Instant::now(), gone });
        if over()? {
            return Ok(samples);
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// Insists that no two samples show more than the budget in less than the window.
fn samples_within(samples: &[Sample], budget: u64, window: Duration) -> Result<()> {
    for (n, first) in samples.iter().enumerate() {
        let inside = samples[n..].iter().take_while(|last| last.after - first.before <= window);
        for last in inside {
            let lost = last.gone - first.gone;
            check!(lost <= budget, "{lost} files went in {:?}", last.after - first.before);
        }
    }
    Ok(())
}

/// When each file went: the burst that the budget allows by the trace, what came after by the audit
/// log.
fn times(ctx: &Ctx<'_>, files: usize) -> Result<Vec<u64>> {
    let mut found = (0, 0);
    let all = until("the trace and the audit log have every file", Duration::from_secs(60), || {
        let mut times = Vec::new();
        for event in ctx.events()?.iter().filter(|event| is_allowed(event, false)) {
            times.push(cli::number(event, "time_ns")?);
        }
        found.0 = times.len();
        for record in cli::audit()? {
            let event = &record["event"];
            if cli::text(event, "zone") == ctx.zone && is_allowed(event, true) {
                times.push(cli::number(event, "time_ns")?);
            }
        }
        found.1 = times.len() - found.0;
        Ok((times.len() >= files).then_some(times))
    });
    let mut all =
        all.with_context(|| format!("{} in the trace, {} in the log", found.0, found.1))?;
    check_eq!(all.len(), files, "files by trace ({}) and audit log ({})", found.0, found.1);
    all.sort_unstable();
    Ok(all)
}

fn is_allowed(event: &serde_json::Value, paced: bool) -> bool {
    cli::text(event, "verdict") == "allow" && event["paced"].as_bool() == Some(paced)
}

/// Insists that no window of that length, wherever it starts, has more than the budget.
fn times_within(times: &[u64], budget: usize, window: Duration) -> Result<()> {
    let window = window.as_nanos() as u64;
    for (n, first) in times.iter().enumerate() {
        let inside = times[n..].iter().take_while(|time| **time < first + window).count();
        check!(inside <= budget, "{inside} files went in the window that starts at {first}");
    }
    Ok(())
}

/// For three minutes.
fn three_minutes(ctx: &mut Ctx<'_>) -> Result<()> {
    const WINDOW: Duration = Duration::from_secs(60);
    let tree = throttling(ctx, 1000, 60, "1m")?;
    let unit = ctx.unit("deleter")?;
    let deleter = hold::unlink(&tree.root, &unit)?.arg("--raw").start()?;
    let started = Instant::now();
    let samples = watch(&tree, || Ok(started.elapsed() > 3 * WINDOW))?;
    let zone = ctx.zone.clone();
    ctx.metrics_until("it counts as throttled", |metrics| {
        metrics.sum("holdfast_throttled_processes", &[("zone", &zone)]) == 1.0
    })?;
    proc::signal(deleter.pid(), rustix::process::Signal::KILL)?;
    deleter.wait()?;
    let gone = tree.gone()?;
    samples_within(&samples, 60, WINDOW)?;
    times_within(&times(ctx, gone as usize)?, 60, WINDOW)?;
    check!(gone >= 100, "only {gone} files went in three minutes");
    ctx.lab.note(format!("{gone} files went in three minutes at 60 a minute"));
    ctx.nothing_denied()?;
    tree.lost_exactly(gone)
}

fn to_the_end(ctx: &mut Ctx<'_>) -> Result<()> {
    const WINDOW: Duration = Duration::from_secs(10);
    const FILES: u64 = 100;
    let tree = throttling(ctx, FILES, 31, "10s")?;
    let unit = ctx.unit("deleter")?;
    let deleter = hold::unlink(&tree.root, &unit)?.arg("--raw").start()?;
    let samples = watch(&tree, || Ok(proc::state(deleter.pid())?.is_none()))?;
    let outcome = deleter.wait()?.quietly()?;
    check_eq!(outcome.stdout.trim(), FILES.to_string(), "files it says it removed");
    tree.lost_exactly(FILES)?;
    samples_within(&samples, 31, WINDOW)?;
    times_within(&times(ctx, FILES as usize)?, 31, WINDOW)?;
    let zone = ctx.zone.clone();
    // An op that was paused counts once: when it went on.
    let destroyed = [("zone", zone.as_str())];
    ctx.metrics_until("the metrics count each file once", |metrics| {
        metrics.sum("holdfast_destroyed_files_total", &destroyed) == FILES as f64
    })?;
    ctx.nothing_denied()
}

/// All that its budget allows is spent: for most of a minute there is nothing to be had, however
/// often it asks.
fn sigcont(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = throttling(ctx, 100, 20, "1m")?;
    let unit = ctx.unit("rm")?;
    let before = clock_gettime(ClockId::Boottime).tv_sec;
    let rm = hold::rm(&tree, 0..1, &unit).start()?;
    ctx.held_at(&tree, rm.pid(), 20)?;
    continue_all_the_time(rm.pid(), 5)?;
    let gone = tree.gone()?;
    let passed = clock_gettime(ClockId::Boottime).tv_sec - before;
    check!(passed < 60, "this machine is too slow to show anything: {passed} s");
    check_eq!(gone, 20, "files gone");
    Ok(())
}

/// A share of its budget comes every two minutes; a release comes now.
fn release(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = throttling(ctx, 100, 20, "1h")?;
    let unit = ctx.unit("rm")?;
    let rm = hold::rm(&tree, 0..1, &unit).start()?;
    let throttled = ctx.held_at(&tree, rm.pid(), 20)?;
    check_eq!(cli::text(&throttled.value, "state"), "throttled", "state");
    throttled.release(10)?;
    ctx.held_at(&tree, rm.pid(), 30)?.kill()?;
    rm.wait()?.killed_by(rustix::process::Signal::KILL)?;
    tree.lost_exactly(30)
}

fn many(ctx: &mut Ctx<'_>) -> Result<()> {
    const WINDOW: Duration = Duration::from_secs(10);
    let tree = throttling(ctx, 80, 31, "10s")?;
    let unit = ctx.unit("xargs")?;
    let script = "find \"$1\" -type f -print0 | xargs -0 -P4 -n1 rm";
    let job = Tool::new("bash").args(["-c", script, "script"]).arg(&tree.root).unit(&unit);
    let job = job.start()?;
    let samples = watch(&tree, || Ok(proc::state(job.pid())?.is_none()))?;
    job.wait()?.quietly()?;
    tree.lost_exactly(80)?;
    samples_within(&samples, 31, WINDOW)?;
    ctx.nothing_denied()
}

fn agent_gone(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = throttling(ctx, 60, 20, "5s")?;
    let unit = ctx.unit("deleter")?;
    let deleter = hold::unlink(&tree.root, &unit)?.arg("--raw").start()?;
    until("the first budget is spent", Duration::from_secs(60), || {
        Ok((tree.gone()? >= 20).then_some(()))
    })?;
    ctx.lab.kill()?;
    proc::stops(deleter.pid())?;
    let gone = tree.gone()?;
    std::thread::sleep(Duration::from_secs(12));
    hold::still_held(&tree, deleter.pid(), gone)?;
    ctx.lab.start(false)?;
    let outcome = deleter.wait()?.quietly()?;
    check_eq!(outcome.stdout.trim(), "60", "files it says it removed");
    tree.lost_exactly(60)
}

fn denied(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = throttling(ctx, 60, 20, "1h")?;
    let unit = ctx.unit("ring")?;
    let own = std::env::current_exe()?;
    let ring = Tool::new(own).args(["helper", "uring"]).arg(&tree.root).unit(&unit);
    check_eq!(ring.run()?.quietly()?.stdout.trim(), "ok=20 eperm=40 other=0", "completions");
    let outside = ctx.outside()?;
    Tool::new("mv").arg(tree.tenant(0)).arg(&outside).unit(&unit).run()?.refused()?;
    tree.lost_exactly(20)
}

/// It would wait for ever.
fn too_large(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 2)?;
    let zone = ctx.new_zone(&tree.root).throttle();
    ctx.guard(&[zone.budget(Budget::bytes(40).window("10s"))])?;
    Tool::new("rm").arg(tree.file(0, 0)).run()?.refused()?;
    let event = ctx.event("a denial", |event| event["verdict"] == "deny")?;
    check_eq!(event["not_held"], "too_large", "why it was not throttled");
    tree.lost_exactly(0)
}
