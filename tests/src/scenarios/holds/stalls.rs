//! Something that the agent writes to stands still: its disk, or what reads its log. Who goes over
//! budget is held all the same, and questions are answered.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use holdfast_abi::Per;
use serde_json::Value;

use crate::harness::agent::STATE_DIR;
use crate::harness::device::{make_ext4, mount_ext4};
use crate::harness::tool::Running;
use crate::harness::{Budget, Ctx, Tool, Tree, Unit, check, check_eq, cli, hold, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::once("frozen_state_disk_stops_no_hold", |ctx| on_a_disk(ctx, frozen))
        .waits()
        .of_the_agent(),
    Scenario::once("a_stalled_log_stops_no_hold", stalled).waits().of_the_agent(),
];

/// Longer than the kernel believes in an agent that it has not heard of.
const SILENCE: Duration = Duration::from_secs(13);
/// For so long the disk stands still.
const FROZEN: Duration = Duration::from_secs(60);
const BUDGET: u64 = 5;

/// The state of an agent of its own is on a disk of its own.
fn on_a_disk(ctx: &mut Ctx<'_>, scenario: fn(&mut Ctx<'_>) -> Result<()>) -> Result<()> {
    ctx.lab.ensure(ctx.trace)?;
    ctx.lab.stop()?;
    let image = ctx.base.join("state.img");
    fs::create_dir_all(&ctx.base)?;
    make_ext4(&image, 96 << 20, &[])?;
    mount_ext4(&image, Path::new(STATE_DIR))?;
    let outcome = ctx.lab.start(ctx.trace).and_then(|()| scenario(ctx));
    // Unless that has been done.
    drop(Tool::new("fsfreeze").args(["-u", STATE_DIR]).run());
    let stopped = ctx.lab.stop();
    Tool::new("umount").arg(STATE_DIR).ok()?;
    fs::remove_file(&image)?;
    outcome.and(stopped)?;
    ctx.lab.start(ctx.trace)
}

/// Jobs that are held, each in a unit of its own.
struct Jobs {
    tree: Tree,
    units: Vec<Unit>,
    running: Vec<Running>,
}

impl Jobs {
    fn new(ctx: &mut Ctx<'_>, count: usize) -> Result<Self> {
        let tree = ctx.tree(count as u64, 60)?;
        ctx.guard(&[ctx.hold_zone(&tree, Budget::files(BUDGET).per(Per::Unit))])?;
        let names = ["a", "b", "c", "d"];
        let units: Result<_> = names[..count].iter().map(|name| ctx.unit(name)).collect();
        Ok(Self { tree, units: units?, running: Vec::new() })
    }

    /// One more goes over its budget, and is held.
    fn one_more(&mut self, ctx: &Ctx<'_>) -> Result<()> {
        let number = self.running.len();
        let tenant = number as u64;
        let job = hold::rm(&self.tree, tenant..tenant + 1, &self.units[number]).start()?;
        self.running.push(job);
        let pids = || Ok(self.running.iter().map(Running::pid).collect());
        ctx.all_held_at(&self.tree, BUDGET * self.running.len() as u64, pids).map(drop)
    }

    fn kill(self, ctx: &Ctx<'_>) -> Result<()> {
        for job in self.running {
            ctx.held(job.pid())?.kill()?;
            job.wait()?;
        }
        Ok(())
    }
}

/// Of this zone and kind.
fn records(ctx: &Ctx<'_>, kind: &str) -> Result<Vec<Value>> {
    let is_it = |r: &Value| cli::text(r, "type") == kind && cli::text(r, "zone") == ctx.zone;
    Ok(cli::audit()?.into_iter().filter(is_it).collect())
}

fn frozen(ctx: &mut Ctx<'_>) -> Result<()> {
    let mut jobs = Jobs::new(ctx, 4)?;
    jobs.one_more(ctx)?;
    let first = ctx.held(jobs.running[0].pid())?;
    Tool::new("fsfreeze").args(["-f", STATE_DIR]).ok()?;
    let since = Instant::now();
    std::thread::sleep(SILENCE);
    jobs.one_more(ctx)?;
    let refused = hold::run(["release", &first.id.to_string(), "--files", "3"])?.code(1)?;
    check!(refused.stderr.contains("has not answered"), "{}", refused.stderr);
    until("it is said", Duration::from_secs(60), || {
        let (outcome, status) = cli::status()?;
        check_eq!(outcome.code, Some(0), "exit status of `holdfast status`");
        Ok((status["audit"]["writable"] == false).then_some(()))
    })?;
    check_eq!(ctx.lab.metrics()?.sum("holdfast_audit_writable", &[]), 0.0, "audit_writable");
    // The next one does not have to wait to hear that.
    hold::run(["release", &first.id.to_string(), "--files", "3"])?.code(1)?;
    jobs.one_more(ctx)?;
    while since.elapsed() < FROZEN {
        check_eq!(cli::status()?.0.code, Some(0), "exit status of `holdfast status`");
        std::thread::sleep(Duration::from_secs(2));
    }
    jobs.one_more(ctx)?;
    Tool::new("fsfreeze").args(["-u", STATE_DIR]).ok()?;
    until("the audit log is written again", Duration::from_secs(60), || {
        let audit = cli::status()?.1["audit"].take();
        Ok((audit["writable"] == true && audit["waiting"] == 0).then_some(()))
    })?;
    first.release(3)?;
    let pids = || Ok(jobs.running.iter().map(Running::pid).collect());
    ctx.all_held_at(&jobs.tree, 4 * BUDGET + 3, pids)?;
    // A release that was refused is either not on record, or nothing came of it.
    let came = records(ctx, "release_outcome")?;
    let nothing = came.iter().filter(|record| record.get("error").is_some()).count();
    let released = records(ctx, "release")?.len();
    check_eq!(came.len() - nothing, 1, "releases that took effect");
    check!((1..=1 + nothing).contains(&released), "{released} on record, {nothing} refused");
    // The first is held once more after its release; that may be on record already.
    let holds = records(ctx, "hold")?.len();
    check!((4..=5).contains(&holds), "{holds} holds on record");
    let log = Path::new(STATE_DIR).join("audit");
    let (outcome, summary) = cli::verify(&log, &[])?;
    check_eq!(outcome.code, Some(0), "exit status of `holdfast audit verify`: {summary}");
    jobs.kill(ctx)
}

/// Standard error is a pipe that nobody reads.
fn stalled(ctx: &mut Ctx<'_>) -> Result<()> {
    ctx.lab.ensure(ctx.trace)?;
    ctx.lab.stop()?;
    let pipe = ctx.base.join("log");
    fs::create_dir_all(&ctx.base)?;
    Tool::new("mkfifo").arg(&pipe).ok()?;
    // Open for reading and writing: nobody waits for anybody, and nobody reads.
    let both = File::options().read(true).write(true).open(&pipe).context("the pipe")?;
    ctx.lab.log_to(Some(both));
    let outcome = ctx.lab.start(ctx.trace).and_then(|()| without_a_reader(ctx));
    ctx.lab.log_to(None);
    let stopped = ctx.lab.stop();
    fs::remove_file(&pipe)?;
    outcome.and(stopped)?;
    ctx.lab.start(ctx.trace)
}

fn without_a_reader(ctx: &mut Ctx<'_>) -> Result<()> {
    let mut jobs = Jobs::new(ctx, 2)?;
    jobs.one_more(ctx)?;
    let bad = |n: usize| format!("[[zone]]\nname = \"Bad {n}\"\nrole = \"x\"\npaths = [\"x\"]\n");
    let bad: String = (0..200).map(bad).collect();
    let dropped =
        || -> Result<f64> { Ok(ctx.lab.metrics()?.sum("holdfast_log_dropped_total", &[])) };
    for _ in 0..60 {
        ctx.lab.try_policy(&bad)?.code(3)?;
        if dropped()? > 0.0 {
            break;
        }
    }
    check!(dropped()? > 0.0, "the pipe and the queue are full, and what was dropped is counted");
    std::thread::sleep(SILENCE);
    jobs.one_more(ctx)?;
    check_eq!(cli::status()?.0.code, Some(0), "exit status of `holdfast status`");
    ctx.held(jobs.running[0].pid())?.release(3)?;
    let pids = || Ok(jobs.running.iter().map(Running::pid).collect());
    ctx.all_held_at(&jobs.tree, 2 * BUDGET + 3, pids)?;
    jobs.kill(ctx)
}
