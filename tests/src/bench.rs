//! What the guard costs: instructions for an op or a job, with and without it; and how soon a
//! release takes effect. It prints Markdown, and its progress to standard error.
//!
//! It needs a VM whose clock moves one nanosecond for each instruction (`qemu -icount
//! shift=0,sleep=off -smp 1`): then clocks count instructions, the same ones every time. On any
//! other machine the figures are nanoseconds and depend on the weather.

mod latency;
mod ops;
mod spawn;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};
use toml::{Table, Value};

use crate::harness::{Lab, cli, proc};
use crate::runner::Fs;
use ops::{Column, Cost};

/// Files that are removed in a round.
const FILES: u64 = 3000;

/// Measures and prints everything.
pub(crate) fn run() -> Result<()> {
    let kernel = rustix::system::uname();
    println!("## Linux {}", kernel.release().to_string_lossy());
    let mut tables: Vec<Vec<Column>> = Vec::new();
    let mut jobs = Vec::new();
    let mut free = Vec::new();
    for fs in Fs::ALL {
        tables.push(vec![ops::ops("no guard", &base(fs).join("free"))?]);
        free.push(ops::removing(|| files(&base(fs).join("free"), 1))?);
    }
    jobs.push(ops::jobs("no guard", &base(Fs::Tmpfs).join("free"))?);
    let free_thread = spawn::measure()?;

    let mut lab = Lab::default();
    Fs::ALL.iter().try_for_each(|&fs| fs::create_dir_all(zone(fs)))?;
    lab.write_policy(&policy(true, "observe", 1)?)?;
    lab.start(false)?;
    let guarded_thread = spawn::measure()?;
    for (table, fs) in tables.iter_mut().zip(Fs::ALL) {
        table.push(ops::ops("in no zone", &base(fs).join("free"))?);
        table.push(ops::ops("in a zone", &deep(&zone(fs), 1))?);
    }
    jobs.push(ops::jobs("in no zone", &base(Fs::Tmpfs).join("free"))?);
    jobs.push(ops::jobs("in a zone", &deep(&zone(Fs::Tmpfs), 1))?);

    let mut rows: Vec<(String, Vec<Cost>)> = vec![("no guard".to_owned(), free)];
    let mut row = |case: &str, dir: &dyn Fn(Fs) -> PathBuf, tenants| {
        let costs = Fs::ALL.map(|fs| ops::removing(|| files(&dir(fs), tenants)));
        rows.push((case.to_owned(), costs.into_iter().collect::<Result<_>>()?));
        eprintln!("  removing {case}: {}", rows[rows.len() - 1].1[0].thread);
        Ok::<_, anyhow::Error>(())
    };
    row("in no zone", &|fs| base(fs).join("free"), 1)?;
    row("in no zone, beside what a pattern matches", &|fs| base(fs).join("other"), 1)?;
    for depth in [1, 8, 64] {
        row(&format!("in a zone, {depth} levels down"), &|fs| deep(&zone(fs), depth), 1)?;
    }
    for tenants in [10, 1000, 3000] {
        row(&format!("in a zone, {tenants} tenants in turn"), &zone, tenants)?;
    }
    let resident = proc::resident(lab.pid()?)?;
    let reload = |lab: &mut Lab, policy: &str| -> Result<()> {
        lab.write_policy(policy)?;
        cli::holdfast(["policy", "reload"])?.ok().map(drop)
    };
    reload(&mut lab, &policy(true, "observe", 60)?)?;
    row("in one of 60 zones", &|fs| deep(&zone(fs), 1), 1)?;
    reload(&mut lab, &policy(false, "observe", 1)?)?;
    row("over budget, observed", &|fs| deep(&zone(fs), 1), 1)?;
    reload(&mut lab, &policy(false, "enforce", 1)?)?;
    row("over budget, denied", &|fs| deep(&zone(fs), 2), 1)?;
    let latency = latency::measure(&mut lab, &base(Fs::Tmpfs).join("held"))?;
    lab.finish()?;

    for (table, fs) in tables.iter().zip(Fs::ALL) {
        ops::print(&format!("{}, the calling thread", fs.name()), table, |cost| cost.thread);
        ops::print(&format!("{}, the whole machine", fs.name()), table, |cost| cost.machine);
    }
    ops::print("jobs on tmpfs, the whole machine", &jobs, |cost| cost.machine);
    print_rows(&rows);
    let ratio = guarded_thread as f64 / free_thread as f64;
    println!("\n| | |\n|---|---|");
    println!(
        "| a thread, from its making to its end | {free_thread} without, {guarded_thread} with the guard ({ratio:.3}) |"
    );
    println!("| resident memory of the agent | {resident} |");
    println!("| from a release to the op done, by `holdfast hold release` | {} |", latency.command);
    println!("| the same by the control socket | {} |", latency.socket);
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

/// Files to remove: of one directory, or of so many in turn.
fn files(dir: &Path, tenants: u64) -> Result<Vec<PathBuf>> {
    let dir = |tenant: u64| match tenants {
        1 => dir.to_owned(),
        _ => dir.join(format!("t{tenant}")),
    };
    (0..tenants).try_for_each(|tenant| fs::create_dir_all(dir(tenant)))?;
    let paths = (0..FILES).map(|n| dir(n % tenants).join(format!("f{n:04}")));
    // Those that were denied are still there.
    let make = |path: PathBuf| match path.exists() {
        true => Ok(path),
        false => fs::write(&path, "x").map(|()| path).map_err(Into::into),
    };
    paths.map(make).collect()
}

/// The shipped policy's first zone on both filesystems, as one of so many; `roomy` gives it a
/// thousand times the limits.
fn policy(roomy: bool, mode: &str, zones: usize) -> Result<String> {
    let mut policy: Table = crate::scenarios::SHIPPED.parse()?;
    let all = policy.get_mut("zone").and_then(Value::as_array_mut).context("no zones")?;
    all.truncate(1);
    let zone_table = all.first_mut().and_then(Value::as_table_mut).context("no zone")?;
    // A path, and a pattern that matches nothing.
    let paths = |&fs: &Fs| {
        [zone(fs), base(fs).join("pattern*/site")].map(|path| path.display().to_string())
    };
    let paths: Vec<_> = Fs::ALL.iter().flat_map(paths).collect();
    zone_table.insert("paths".into(), paths.into());
    zone_table.insert("mode".into(), mode.into());
    zone_table.insert("on_trip".into(), "deny".into());
    zone_table.remove("hold_timeout");
    let budgets =
        zone_table.get_mut("budget").and_then(Value::as_array_mut).context("no budgets")?;
    for budget in budgets.iter_mut().filter_map(Value::as_table_mut).filter(|_| roomy) {
        for (limit, most) in [("files", 1_000_000_000), ("tenants", 60)] {
            if budget.contains_key(limit) {
                budget.insert(limit.into(), most.into());
            }
        }
        if budget.contains_key("bytes") {
            budget.insert("bytes".into(), "1000TiB".into());
        }
    }
    let first = all[0].clone();
    for n in 1..zones {
        let mut other = first.clone();
        let dir = base(Fs::Tmpfs).join(format!("zones/{n}"));
        fs::create_dir_all(&dir)?;
        let table = other.as_table_mut().context("no zone")?;
        table.insert("name".into(), format!("other-{n}").into());
        table.insert("paths".into(), vec![dir.display().to_string()].into());
        all.push(other);
    }
    Ok(toml::to_string(&policy)?)
}

/// Nanoseconds of a clock.
fn now(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn print_rows(rows: &[(String, Vec<Cost>)]) {
    print!("\n| unlink |");
    Fs::ALL.iter().for_each(|fs| print!(" {} thread | | machine | |", fs.name()));
    println!("\n|---|{}", "---:|".repeat(4 * Fs::ALL.len()));
    for (case, costs) in rows {
        print!("| {case} |");
        for (cost, bare) in costs.iter().zip(&rows[0].1) {
            for (figure, bare) in [(cost.thread, bare.thread), (cost.machine, bare.machine)] {
                print!(" {figure} | {:.3} |", figure as f64 / bare as f64);
            }
        }
        println!();
    }
}
