//! What single ops cost: those that destroy, those that never do, and whole jobs.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::time::ClockId;

use super::now;
use crate::harness::Tool;
use crate::harness::agent::age_files;

const ROUNDS: usize = 3;

/// Nanoseconds of `-icount`, so instructions.
#[derive(Clone, Copy)]
pub(super) struct Cost {
    /// Of the thread that makes the call.
    pub(super) thread: u64,
    /// Of everything meanwhile: the agent, the kernel's threads, the disk.
    pub(super) machine: u64,
}

impl Cost {
    /// What one of `count` calls of `op` takes.
    fn of(count: usize, op: impl FnOnce() -> Result<()>) -> Result<Self> {
        let clocks = || (now(ClockId::ThreadCPUTime), now(ClockId::Monotonic));
        let before = clocks();
        op()?;
        let (thread, machine) = clocks();
        let count = count as u64;
        Ok(Self { thread: (thread - before.0) / count, machine: (machine - before.1) / count })
    }

    /// The best of either clock.
    fn best(self, other: Self) -> Self {
        let (thread, machine) = (self.thread.min(other.thread), self.machine.min(other.machine));
        Self { thread, machine }
    }
}

type Step = fn(&Path) -> Result<()>;

/// Ops, each with what is there before.
const OPS: [(&str, Step, Step); 11] = [
    ("unlink", file, |path| Ok(fs::remove_file(path)?)),
    ("rmdir", dir, |path| Ok(fs::remove_dir(path)?)),
    ("rename", file, |path| Ok(fs::rename(path, path.with_extension("new"))?)),
    ("rename over a file", both, |path| Ok(fs::rename(path, path.with_extension("old"))?)),
    ("open with O_TRUNC", |path| Ok(fs::write(path, "x")?), file),
    ("create", nothing, file),
    ("mkdir", nothing, dir),
    ("chmod", file, |path| Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)),
    ("hard link", file, |path| Ok(fs::hard_link(path, path.with_extension("new"))?)),
    ("append", file, |path| Ok(OpenOptions::new().append(true).open(path)?.write_all(b"x")?)),
    ("read", |path| Ok(fs::write(path, "x")?), |path| Ok(fs::read(path).map(drop)?)),
];
/// Calls of each.
const CALLS: usize = 1000;

/// Jobs in a directory of their own, by the shell. The clock is the machine's: they have threads of
/// their own.
const JOBS: [(&str, &str, &str); 4] = [
    ("tar x, 1,000 files", PACK, "tar -xf p.tar"),
    ("rm -rf, 1,000 files", TREE, "rm -rf tree"),
    ("cp -a and mv over, 1,000 files", TREE, "cp -a tree new; mv tree old; mv new tree"),
    ("maildir, 500 mails come and go", "mkdir tmp new cur", MAIL),
];
const TREE: &str =
    "for d in $(seq 20); do mkdir -p tree/$d; (cd tree/$d; seq 50 | xargs touch); done";
const PACK: &str = "mkdir tree; cd tree; for d in $(seq 20); do mkdir $d; (cd $d; \
                    seq 50 | xargs touch); done; cd ..; tar -cf p.tar tree; rm -rf tree";
const MAIL: &str = "cd tmp; seq 500 | xargs touch; mv -t ../new *; cd ../new; mv -t ../cur *; \
                    cd ../cur; seq 500 | xargs rm";

fn nothing(_: &Path) -> Result<()> {
    Ok(())
}

fn file(path: &Path) -> Result<()> {
    Ok(fs::File::create(path).map(drop)?)
}

fn dir(path: &Path) -> Result<()> {
    Ok(fs::create_dir(path)?)
}

fn both(path: &Path) -> Result<()> {
    file(path)?;
    file(&path.with_extension("old"))
}

/// A column of a table: where, and what each row costs there.
pub(super) struct Column {
    place: &'static str,
    costs: Vec<(&'static str, Cost)>,
}

/// Measures all ops in one directory.
pub(super) fn ops(place: &'static str, dir: &Path) -> Result<Column> {
    let mut costs = Vec::new();
    for (name, prepare, op) in OPS {
        let dir = dir.join(name.replace(' ', "-"));
        let cost = best(|| {
            fs::create_dir_all(&dir)?;
            let paths: Vec<_> = (0..CALLS).map(|n| dir.join(format!("f{n:05}"))).collect();
            paths.iter().try_for_each(|path| prepare(path))?;
            let cost = Cost::of(CALLS, || paths.iter().try_for_each(|path| op(path)))?;
            fs::remove_dir_all(&dir)?;
            Ok(cost)
        })?;
        eprintln!("  {name}, {place}, {}: {}", dir.display(), cost.thread);
        costs.push((name, cost));
    }
    Ok(Column { place, costs })
}

/// Measures all jobs in one directory.
pub(super) fn jobs(place: &'static str, dir: &Path) -> Result<Column> {
    let dir = dir.join("job");
    let mut costs = Vec::new();
    for (name, prepare, job) in JOBS {
        let cost = best(|| {
            fs::create_dir_all(&dir)?;
            let run = |script| Tool::new("sh").args(["-c", script]).cwd(&dir).ok().map(drop);
            run(prepare)?;
            let cost = Cost::of(1, || run(job))?;
            fs::remove_dir_all(&dir)?;
            Ok(cost)
        })?;
        eprintln!("  {name}, {place}: {}", cost.machine);
        costs.push((name, cost));
    }
    Ok(Column { place, costs })
}

/// What removing files costs that are there, in this order. They are old, and not in memory alone.
pub(super) fn removing(make: impl Fn() -> Result<Vec<PathBuf>>) -> Result<Cost> {
    best(|| {
        let files = make()?;
        age_files()?;
        rustix::fs::sync();
        Cost::of(files.len(), || {
            // Also what is refused costs something.
            files.iter().for_each(|path| drop(fs::remove_file(path)));
            Ok(())
        })
    })
}

fn best(round: impl Fn() -> Result<Cost>) -> Result<Cost> {
    let rounds = (0..ROUNDS).map(|_| round()).collect::<Result<Vec<_>>>()?;
    rounds.into_iter().reduce(Cost::best).context("no rounds")
}

/// A table in Markdown of what ops cost, or jobs. The first column is what the others are compared
/// with.
pub(super) fn print(title: &str, columns: &[Column], clock: fn(&Cost) -> u64) {
    print!("\n| {title} |");
    columns.iter().for_each(|column| print!(" {} | |", column.place));
    println!("\n|---|{}", "---:|---:|".repeat(columns.len()));
    for (row, (name, bare)) in columns[0].costs.iter().enumerate() {
        print!("| {name} |");
        for column in columns {
            let (figure, bare) = (clock(&column.costs[row].1), clock(bare));
            print!(" {figure} | {:.3} |", figure as f64 / bare as f64);
        }
        println!();
    }
}
