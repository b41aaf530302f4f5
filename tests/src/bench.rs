//! What the guard costs: instructions for an op or a job, with and without it; and how soon a
//! release takes effect. It prints Markdown, and its progress to standard error.
//!
//! It needs a VM whose clock moves one nanosecond for each instruction (`qemu -icount
//! shift=0,sleep=off -smp 1`): then clocks count instructions, the same ones every time. On any
//! other machine the figures are nanoseconds and depend on the weather.

mod latency;
mod ops;
mod peers;
mod sizes;
mod spawn;
mod start;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};
use toml::{Table, Value};

use crate::harness::wait::PATIENCE;
use crate::harness::{Lab, proc, until};
use crate::runner::Fs;
use ops::Column;
use peers::Found;

/// Measures and prints everything.
pub(crate) fn run() -> Result<()> {
    let kernel = rustix::system::uname();
    println!("## Linux {}", kernel.release().to_string_lossy());
    // For some time after its first mount, the kernel writes the rest of a new filesystem.
    until("ext4lazyinit ends", PATIENCE, || Ok((!runs("ext4lazyinit")?).then_some(())))?;
    // As deep as those in the zone: each level is a part of what an op costs.
    let free = Fs::ALL.map(|fs| deep(&base(fs).join("free"), 1));
    let zones = Fs::ALL.map(|fs| deep(&zone(fs), 1));
    let both = |place, dirs: &[PathBuf]| -> Result<Vec<Column>> {
        dirs.iter().map(|dir| ops::ops(place, dir)).collect()
    };
    let mut ops = vec![both("no guard", &free)?];
    let free_jobs = ops::jobs("no guard", &free[1])?;
    let bare = sizes::bare()?;
    let free_thread = spawn::measure()?;

    let mut lab = Lab::default();
    Fs::ALL.iter().try_for_each(|&fs| fs::create_dir_all(zone(fs)))?;
    lab.write_policy(&policy(Terms::ROOMY)?)?;
    let start = start::measure()?;
    lab.start(false)?;
    let guarded_thread = spawn::measure()?;
    ops.push(both("in no zone", &free)?);
    ops.push(both("in a zone", &zones)?);
    let jobs = [free_jobs, ops::jobs("in no zone", &free[1])?, ops::jobs("in a zone", &zones[1])?];
    let (guarded, with_accounts) = sizes::guarded(&mut lab)?;
    let latency = latency::measure(&mut lab, &base(Fs::Tmpfs).join("held"))?;
    lab.finish()?;
    let peers = peers::measure(&free);

    let mut spreads = Vec::new();
    for (n, fs) in Fs::ALL.iter().enumerate() {
        let ops: Vec<_> = ops.iter().map(|place| &place[n]).collect();
        let sizes =
            [&sizes::column("no guard", &bare, n), &sizes::column("with the guard", &guarded, n)];
        for (what, columns) in [("", ops.as_slice()), ("unlink, ", &sizes)] {
            let title = |clock| format!("{what}{}, {clock}", fs.name());
            ops::print(&title("the calling thread"), columns, |cost| cost.thread);
            ops::print(&title("the whole machine"), columns, |cost| cost.machine);
            spreads.extend(columns.iter().flat_map(|column| column.spreads(fs.name())));
        }
    }
    for (name, found) in peers.iter().filter_map(|(name, found)| Some((name, found.as_ref().ok()?)))
    {
        for (op, costs) in peers::OPS.iter().zip(&found.costs) {
            let figure = |fs: &Fs| format!("{op}, {}, {name}", fs.name());
            let costs = costs.iter().zip(&Fs::ALL);
            spreads.extend(costs.map(|(cost, fs)| (cost.spread, figure(fs))));
        }
    }
    ops::print("jobs on tmpfs, the whole machine", &jobs.each_ref(), |cost| cost.machine);
    print_peers(&ops, &peers)?;
    let ratio = guarded_thread as f64 / free_thread as f64;
    let share = 100.0 * start.verifier as f64 / start.ready as f64;
    let (command, socket) = (latency.command, latency.socket);
    println!("\n| | |\n|---|---|");
    for (what, found) in [
        (
            "a thread, from its making to its end",
            format!("{free_thread} without, {guarded_thread} with the guard ({ratio:.3})"),
        ),
        ("an op, until a hold has stopped its thread", latency.held.to_string()),
        ("the same thread and op within budget, to its end", latency.within.to_string()),
        ("from a release to the op done, by `holdfast hold release`", command.to_string()),
        ("the same by the control socket", socket.to_string()),
        (
            "from the agent's start until the guard is up",
            format!("{} million, {share:.0} % of it in the verifier", start.ready / 1_000_000),
        ),
        ("memory after that", start.memory),
        ("memory with 16,000 accounts", with_accounts),
    ] {
        println!("| {what} | {found} |");
    }
    print_spreads(spreads);
    Ok(())
}

/// By how many thousandths the rounds of a figure differ on the thread's clock, and which that is.
fn print_spreads(mut spreads: Vec<(u64, String)>) {
    spreads.sort_unstable_by(|a, b| b.cmp(a));
    let many = spreads.iter().filter(|(spread, _)| *spread >= ops::AGREE).count();
    println!(
        "\nOf {} figures on the thread's clock, {many} have rounds that differ by 1 % or more. \
              Those that differ most:\n",
        spreads.len()
    );
    for (spread, figure) in &spreads[..spreads.len().min(many.max(3))] {
        println!("- {:.1} %: {figure}", *spread as f64 / 10.0);
    }
}

/// Whether a process or a thread of the kernel has that name.
fn runs(name: &str) -> Result<bool> {
    let comm = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("comm"));
    Ok(fs::read_dir("/proc")?.flatten().any(|entry| comm(entry).is_ok_and(|c| c.trim() == name)))
}

/// What the agent has in memory, and what the maps that it has open take of the kernel's.
fn memory(pid: u32) -> Result<String> {
    let mut maps = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))?.flatten() {
        let info = fs::read_to_string(entry.path()).unwrap_or_default();
        let field = |name: &str| -> Option<u64> {
            info.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
        };
        if let (Some(id), Some(bytes)) = (field("map_id:"), field("memlock:")) {
            maps.insert(id, bytes);
        }
    }
    let kernel = maps.values().sum::<u64>() / 1024;
    Ok(format!("{} of the agent, {kernel} kB of the kernel's maps", proc::resident(pid)?))
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

/// What the shipped policy is changed to.
#[derive(Clone, Copy)]
struct Terms {
    /// A thousand times the limits.
    roomy: bool,
    mode: &'static str,
    zones: usize,
    /// The budget of each user counts everyone.
    all_users: bool,
}

impl Terms {
    const ROOMY: Self = Self { roomy: true, mode: "observe", zones: 1, all_users: false };
}

/// The shipped policy's first zone on both filesystems.
fn policy(terms: Terms) -> Result<String> {
    let Terms { roomy, mode, zones, all_users } = terms;
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
    for budget in budgets.iter_mut().filter_map(Value::as_table_mut) {
        if all_users && budget.get("per").and_then(Value::as_str) == Some("user") {
            budget.insert("who".into(), "everyone".into());
        }
        if !roomy {
            continue;
        }
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

/// A table of each op that peers are compared by: the guard's rows, then theirs.
fn print_peers(guard: &[Vec<Column>], peers: &[(&str, Result<Found>)]) -> Result<()> {
    let prefix = |place| if place == "no guard" { "" } else { "holdfast, " };
    for (n, op) in peers::OPS.iter().enumerate() {
        print!("\n| {op}, beside other tools |");
        Fs::ALL.iter().for_each(|fs| print!(" {} thread | | machine | |", fs.name()));
        println!(" deletions seen |\n|---|{}---|", "---:|".repeat(4 * Fs::ALL.len()));
        let mut rows = Vec::new();
        for places in guard {
            let costs: Option<Vec<_>> = places.iter().map(|column| column.cost(op)).collect();
            let name = format!("{}{}", prefix(places[0].place), places[0].place);
            rows.push((name, costs.context("no such op")?, ""));
        }
        let bare = rows[0].1.clone();
        for (name, found) in peers {
            match found {
                Ok(found) => {
                    rows.push(((*name).to_owned(), found.costs[n].clone(), &found.seen));
                }
                Err(why) => {
                    let why = format!("{why:#}").replace(['|', '\n'], " ");
                    rows.push((format!("{name}: does not run here ({why})"), Vec::new(), ""));
                }
            }
        }
        for (name, costs, seen) in rows {
            print!("| {name} |");
            for (cost, bare) in costs.iter().zip(&bare) {
                for (figure, bare) in [(cost.thread, bare.thread), (cost.machine, bare.machine)] {
                    print!(" {figure} | {:.3} |", figure as f64 / bare as f64);
                }
            }
            let missing = bare.len() - costs.len();
            println!("{} {seen} |", " | | | |".repeat(missing));
        }
    }
    Ok(())
}
