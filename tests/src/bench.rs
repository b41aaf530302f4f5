//! What the guard costs: kernel instructions for one unlink and for other ops, with and without it;
//! and how soon a release takes effect.
//!
//! It needs a VM whose clock moves one nanosecond for each instruction (`qemu -icount shift=0,sleep=off -smp 1`): then
//! CLOCK_MONOTONIC counts instructions, the same ones every time. On any other machine the figures are
//! nanoseconds of wall-clock and depend on the weather.

mod latency;
mod ops;
mod spawn;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::time::{ClockId, clock_gettime};
use toml::{Table, Value};

use crate::harness::agent::age_files;
use crate::harness::{Lab, cli, proc};
use crate::runner::Fs;

const FILES: u64 = 3000;
const ROUNDS: usize = 3;
const DEPTHS: [usize; 3] = [1, 4, 8];

struct Row {
    case: String,
    /// Best round on each filesystem.
    figures: [u64; Fs::ALL.len()],
}

/// Measures and prints the table.
pub(crate) fn run() -> Result<()> {
    println!(
        "unlink over {FILES} files, best of {ROUNDS} rounds, in instructions (nanoseconds of -icount)\n"
    );
    let mut rows = vec![measure("no guard", &|fs| base(fs).join("free"))?];
    let mut ops = vec![ops::measure("no guard", &base(Fs::Tmpfs).join("free"))?];
    let free_thread = spawn::measure()?;
    let mut lab = Lab::default();
    lab.write_policy(&policy(true)?)?;
    for fs in Fs::ALL {
        fs::create_dir_all(zone(fs))?;
    }
    lab.start(false)?;
    rows.push(measure("guard on, directory in no zone", &|fs| base(fs).join("free"))?);
    let guarded_thread = spawn::measure()?;
    rows.push(measure("beside what a pattern matches", &|fs| base(fs).join("other"))?);
    ops.push(ops::measure("in no zone", &base(Fs::Tmpfs).join("free"))?);
    ops.push(ops::measure("in a zone", &deep(&zone(Fs::Tmpfs), 1))?);
    for depth in DEPTHS {
        let case = format!("in a zone, within budget, depth {depth}");
        rows.push(measure(&case, &|fs| deep(&zone(fs), depth))?);
    }
    let resident = proc::resident(lab.pid()?)?;
    lab.write_policy(&policy(false)?)?;
    cli::holdfast(["policy", "reload"])?.ok()?;
    rows.push(measure("in a zone, over budget, observed, depth 1", &|fs| deep(&zone(fs), 1))?);
    let latency = latency::measure(&mut lab, &base(Fs::Tmpfs).join("held"))?;
    lab.finish()?;
    print(&rows);
    println!();
    ops::print(&ops);
    let ratio = guarded_thread as f64 / free_thread as f64;
    println!(
        "\na new thread, from its making to its end: {free_thread} without, {guarded_thread} with the guard ({ratio:.3})"
    );
    println!("resident memory of the agent: {resident}");
    println!("from release to the op done, by `holdfast hold release`: {}", latency.command);
    println!("from release to the op done, by the control socket:     {}", latency.socket);
    Ok(())
}

fn base(fs: Fs) -> PathBuf {
    Path::new(fs.mount()).join("bench")
}

fn zone(fs: Fs) -> PathBuf {
    base(fs).join("zone")
}

/// A directory that many levels below a zone's root.
fn deep(zone: &Path, depth: usize) -> PathBuf {
    (1..=depth).fold(zone.to_owned(), |dir, level| dir.join(format!("level-{level}")))
}

/// The shipped policy's first zone, observing both filesystems; `roomy` gives it a thousand times the limits.
fn policy(roomy: bool) -> Result<String> {
    let mut policy: Table = crate::scenarios::SHIPPED.parse()?;
    let zones = policy.get_mut("zone").and_then(Value::as_array_mut).context("no zones")?;
    zones.truncate(1);
    let zone_table = zones.first_mut().and_then(Value::as_table_mut).context("no zone")?;
    // A path, and a pattern that matches nothing.
    let paths = |&fs: &Fs| {
        [zone(fs), base(fs).join("pattern*/site")].map(|path| path.display().to_string())
    };
    let paths: Vec<_> = Fs::ALL.iter().flat_map(paths).collect();
    zone_table.insert("paths".into(), paths.into());
    zone_table.insert("mode".into(), "observe".into());
    let budgets =
        zone_table.get_mut("budget").and_then(Value::as_array_mut).context("no budgets")?;
    for budget in budgets.iter_mut().filter_map(Value::as_table_mut).filter(|_| roomy) {
        if let Some(files) = budget.get("files").and_then(Value::as_integer) {
            budget.insert("files".into(), (files * 1000).into());
        }
        if budget.contains_key("bytes") {
            budget.insert("bytes".into(), "1000TiB".into());
        }
    }
    Ok(toml::to_string(&policy)?)
}

fn measure(case: &str, dir: &dyn Fn(Fs) -> PathBuf) -> Result<Row> {
    let mut figures = [u64::MAX; Fs::ALL.len()];
    for (figure, fs) in figures.iter_mut().zip(Fs::ALL) {
        for _ in 0..ROUNDS {
            let per_unlink = round(&dir(fs))? / FILES;
            *figure = per_unlink.min(*figure);
        }
        eprintln!("  {case} on {}: {figure}", fs.name());
    }
    Ok(Row { case: case.to_owned(), figures })
}

/// Makes the files and counts what removing them takes.
fn round(dir: &Path) -> Result<u64> {
    fs::create_dir_all(dir)?;
    let names: Vec<_> = (0..FILES).map(|n| format!("f{n:05}")).collect();
    for name in &names {
        fs::write(dir.join(name), "x")?;
    }
    // Over budget what is new would go all the same.
    age_files()?;
    rustix::fs::sync();
    let dir = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    let before = now(ClockId::Monotonic);
    for name in &names {
        rustix::fs::unlinkat(&dir, name.as_str(), AtFlags::empty())?;
    }
    Ok(now(ClockId::Monotonic) - before)
}

/// Nanoseconds of a clock.
fn now(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn print(rows: &[Row]) {
    print!("{:<44}", "");
    for fs in Fs::ALL {
        print!("{:>10} {:>8}", fs.name(), "ratio");
    }
    println!();
    for row in rows {
        print!("{:<44}", row.case);
        for (figure, bare) in row.figures.iter().zip(rows[0].figures) {
            print!("{figure:>10} {:>8.3}", *figure as f64 / bare as f64);
        }
        println!();
    }
}
