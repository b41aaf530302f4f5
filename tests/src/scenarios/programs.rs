//! `holdfast programs` counts what the kernel programs do, and nothing after it has ended.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::tool::Running;
use crate::harness::{Ctx, Tool, check, check_eq, cli, proc, sys, until};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::once("programs_counts_each_run", counts),
    Scenario::once("hardened_jit_takes_the_programs", hardened),
];

/// The switch for everybody, which the command has no need of.
const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";
const HARDEN: &str = "/proc/sys/net/core/bpf_jit_harden";
const OPS: u64 = 1_000;

/// `holdfast programs`, which has begun to count.
fn counting(dir: &Path) -> Result<Running> {
    let notes = dir.join("notes");
    let script = "exec holdfast programs --json --seconds 3600 2>\"$1\"";
    let running = Tool::new("sh").args(["-c", script, "sh"]).arg(&notes).start()?;
    until("it counts", Duration::from_secs(60), || {
        let said = fs::read_to_string(&notes).unwrap_or_default();
        Ok(said.contains("counting runs").then_some(()))
    })?;
    Ok(running)
}

fn program<'a>(report: &'a Value, name: &str) -> Result<&'a Value> {
    let programs = report["programs"].as_array().context("no programs")?;
    let found = programs.iter().find(|program| program["name"] == name);
    found.with_context(|| format!("no {name} in {report}"))
}

/// Runs that the kernel has counted of a program since it was loaded.
fn counted(id: u64) -> Result<u64> {
    let program = sys::program(u32::try_from(id)?)?;
    let path = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
    let text = fs::read_to_string(path)?;
    let runs = text.lines().find_map(|line| line.strip_prefix("run_cnt:"));
    Ok(runs.with_context(|| text.clone())?.trim().parse()?)
}

/// Also while no agent runs, whose self-test would be counted, too.
fn counts(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(1, OPS + 100, 2 * OPS)?;
    ctx.lab.kill()?;
    check_eq!(fs::read_to_string(STATS)?.trim(), "0", "statistics before");
    let running = counting(&ctx.base)?;
    for file in 0..OPS {
        fs::remove_file(tree.file(0, file))?;
    }
    check_eq!(fs::read_to_string(STATS)?.trim(), "0", "the switch for everybody meanwhile");
    proc::signal(running.pid(), Signal::INT)?;
    let outcome = running.wait()?.ok()?;
    let report: Value = serde_json::from_str(&outcome.stdout)?;
    let unlink = program(&report, "hf_unlink")?;
    check_eq!(cli::number(unlink, "runs")?, OPS, "runs of hf_unlink");
    check!(cli::number(unlink, "run_ns")? > 0, "{unlink}");
    check_eq!(cli::text(unlink, "hook"), "lsm inode_unlink", "its hook");
    for figure in ["jited_bytes", "verified_instructions"] {
        check!(cli::number(unlink, figure)? > 0, "{unlink}");
    }
    check_eq!(cli::number(program(&report, "hf_rmdir")?, "runs")?, 0, "runs of hf_rmdir");
    // It has ended, and with it the counting.
    let id = cli::number(unlink, "id")?;
    let before = counted(id)?;
    check!(before >= OPS, "{before}");
    for file in OPS..OPS + 100 {
        fs::remove_file(tree.file(0, file))?;
    }
    check_eq!(counted(id)?, before, "runs that are counted after it has ended");
    check_eq!(fs::read_to_string(STATS)?.trim(), "0", "statistics afterwards");
    let refused = Tool::new("holdfast").arg("programs").uid(65_534).run()?.code(1)?;
    check!(refused.stderr.contains("only root"), "{}", refused.describe("should say why"));
    let none = cli::holdfast(["programs", "--pin-dir", "/sys/fs/bpf/other"])?.code(1)?;
    check!(none.stderr.contains("no guard is pinned"), "{}", none.describe("should say why"));
    ctx.lab.start(false)
}

/// Puts the kernel's setting back, come what may.
struct Unhardened(String);

impl Drop for Unhardened {
    fn drop(&mut self) {
        fs::write(HARDEN, self.0.trim()).ok();
    }
}

/// With constants blinded (`net.core.bpf_jit_harden=2`) the kernel compiles other programs.
fn hardened(ctx: &mut Ctx<'_>) -> Result<()> {
    let restore = Unhardened(fs::read_to_string(HARDEN)?);
    fs::write(HARDEN, "2")?;
    ctx.lab.stop()?;
    cli::holdfast(["unpin", "--force"])?.ok()?;
    let tree = ctx.guarded(1, 20, 5)?;
    check_eq!(cli::text(&cli::status()?.1, "started"), "fresh", "how the agent came up");
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).run()?.refused()?;
    tree.lost_exactly(5)?;
    drop(restore);
    // What comes next has the programs of everybody else.
    ctx.lab.stop()?;
    cli::holdfast(["unpin", "--force"])?.ok()?;
    ctx.lab.start(false)
}
