//! Counters, deletion log and reality after very many deletions: equal, or what is lost is said.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{document, manifest};
use crate::harness::tree::count;
use crate::harness::{Budget, Ctx, Tool, check_eq};
use crate::runner::{Fs, Scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::each("deletion_log_of_eight_processes", eight_processes).shared(),
    Scenario::once("deletion_log_on_one_processor", one_processor).on(&[Fs::Tmpfs]),
    Scenario::once("deletion_log_of_four_threads", four_threads).on(&[Fs::Tmpfs]),
];

/// Who deletes, and how much.
struct Load {
    processes: u64,
    threads: u64,
    /// Files of each process in a round. All that a tmpfs of the guest has room for is 130,000.
    files: u64,
    rounds: u64,
    /// Agent and processes share the first processor.
    one_processor: bool,
}

fn eight_processes(ctx: &mut Ctx<'_>) -> Result<()> {
    let (files, rounds) = ctx.usual_or_nightly((1_500, 1), (12_500, 10));
    remove(ctx, &Load { processes: 8, threads: 1, files, rounds, one_processor: false })
}

fn one_processor(ctx: &mut Ctx<'_>) -> Result<()> {
    let files = ctx.usual_or_nightly(5_000, 50_000);
    remove(ctx, &Load { processes: 1, threads: 1, files, rounds: 1, one_processor: true })
}

fn four_threads(ctx: &mut Ctx<'_>) -> Result<()> {
    let (files, rounds) = ctx.usual_or_nightly((8_000, 1), (100_000, 4));
    remove(ctx, &Load { processes: 1, threads: 4, files, rounds, one_processor: false })
}

fn tenant(root: &Path, process: u64) -> PathBuf {
    root.join(format!("customer-{process}"))
}

/// A file's path from its tenant's directory.
fn name(round: u64, file: u64) -> String {
    format!("round-{round}/file-{file:06}")
}

fn remove(ctx: &mut Ctx<'_>, load: &Load) -> Result<()> {
    let root = ctx.base.join("zone");
    fs::create_dir_all(&root)?;
    ctx.enforce(&root, Budget::files(1_000_000_000))?;
    let agent = ctx.lab.pid()?.to_string();
    let run_on =
        |processors| Tool::new("taskset").args(["-a", "-p", "-c", processors, &agent]).ok();
    if load.one_processor {
        run_on("0")?;
    }
    let rounds = (0..load.rounds).map(|round| round_of(ctx, &root, load, round));
    let outcome: Result<Duration> = rounds.sum();
    if load.one_processor {
        run_on("0-1")?;
    }
    recorded(ctx, &root, load, outcome?)
}

/// Makes the files of a round and has them removed; how long that took.
fn round_of(ctx: &Ctx<'_>, root: &Path, load: &Load, round: u64) -> Result<Duration> {
    let dir = |process| tenant(root, process).join(format!("round-{round}"));
    std::thread::scope(|scope| -> Result<()> {
        let make = |process| -> Result<()> {
            fs::create_dir_all(dir(process))?;
            (0..load.files).try_for_each(|file| {
                File::create(tenant(root, process).join(name(round, file))).map(drop)
            })?;
            Ok(())
        };
        let makers: Vec<_> =
            (0..load.processes).map(|process| scope.spawn(move || make(process))).collect();
        makers.into_iter().try_for_each(|maker| maker.join().ok().context("it panicked")?)
    })?;
    let go = ctx.base.join(format!("go-{round}"));
    let (own, threads) = (std::env::current_exe()?, load.threads.to_string());
    let deleter = |process| {
        let tool = match load.one_processor {
            true => Tool::new("taskset").args(["-c", "0"]).arg(&own),
            false => Tool::new(&own),
        };
        let tool = tool.args(["helper", "unlink", "--threads", &threads, "--go"]);
        tool.arg(&go).arg(dir(process)).start()
    };
    let deleters = (0..load.processes).map(deleter).collect::<Result<Vec<_>>>()?;
    File::create(&go)?;
    let start = Instant::now();
    for deleter in deleters {
        let gone = deleter.wait()?.ok()?.stdout;
        check_eq!(gone.trim(), load.files.to_string(), "files removed by a process");
    }
    Ok(start.elapsed())
}

/// Insists that what is gone is counted and recorded, each file once, or said to be lost.
fn recorded(ctx: &mut Ctx<'_>, root: &Path, load: &Load, time: Duration) -> Result<()> {
    let total = load.processes * load.files * load.rounds;
    check_eq!(count(root)?.files, 0, "files left");
    let name_of_zone = ctx.zone.clone();
    let zone = [("zone", name_of_zone.as_str())];
    ctx.metrics_until("every file is counted", |metrics| {
        metrics.sum("holdfast_destroyed_files_total", &zone) == total as f64
    })?;
    let told = document(&manifest(&ctx.zone, ["--json"])?.ok()?)?;
    let sum = |what: &str, key: &str| -> u64 {
        let rows = told[what].as_array().into_iter().flatten();
        rows.filter_map(|row: &Value| row[key].as_u64()).sum()
    };
    let (records, lost) = (sum("tenants", "records"), sum("gaps", "lost"));
    ctx.lab.note(format!(
        "{total} files removed in {:.1} s: {records} recorded, {lost} said to be lost",
        time.as_secs_f64()
    ));
    check_eq!(sum("summarised", "records"), 0, "records that became sums");
    check_eq!(records + lost, total, "recorded and lost, together");
    ctx.metrics_until("what is lost is in the metrics", |metrics| {
        metrics.sum("holdfast_manifest_lost_total", &zone) == lost as f64
    })?;
    let shown = manifest(&ctx.zone, [""; 0])?.ok()?;
    // There can be gaps of other scenarios: of a ring that is gone.
    let says = format!("GAP: {lost} ops are missing");
    check_eq!(shown.stdout.contains(&says), lost > 0, "whether the page says that ops are lost");
    let mut names = 0;
    for process in 0..load.processes {
        let tenant = format!("customer-{process}");
        let args = ["--from0", "--tenant", &tenant].map(OsStr::new);
        let listed = manifest(&ctx.zone, args)?.ok()?.stdout;
        let listed: BTreeSet<&str> = listed.split_terminator('\0').collect();
        let all = (0..load.rounds)
            .flat_map(|round| (0..load.files).map(move |file| format!("./{}", name(round, file))));
        let known = all.filter(|name| listed.contains(name.as_str())).count();
        check_eq!(known, listed.len(), "names of {tenant} that are those of its files");
        names += known as u64;
    }
    check_eq!(names, records, "different names in the list, of all that is recorded");
    Ok(())
}
