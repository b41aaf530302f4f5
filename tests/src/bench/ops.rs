//! What single ops cost: those that destroy, those that never do, and whole jobs.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use rustix::time::ClockId;

use super::now;
use crate::harness::Tool;
use crate::harness::agent::age_files;

/// A figure is that of so many rounds, one after another, in which the thread's clock agrees.
const ROUNDS: usize = 3;
/// They agree within so many thousandths.
pub(super) const AGREE: u64 = 10;
/// What still changes after so many rounds is shown as it is, with its spread.
const MOST_ROUNDS: usize = 10;

/// Nanoseconds of `-icount`, so instructions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// Of the thread that makes the call.
    pub(super) thread: u64,
    /// Of everything meanwhile: the agent, the kernel's threads, the disk.
    pub(super) machine: u64,
    /// By how many thousandths the rounds differed on the thread's clock.
    pub(super) spread: u64,
    /// How many there were.
    pub(super) rounds: u64,
}

impl Cost {
    /// What one of `count` calls of `op` takes. What was written before is on the disk, so that a
    /// commit of the journal, or the writing back, is not in one round and out of another.
    fn of(count: usize, op: impl FnOnce() -> Result<()>) -> Result<Self> {
        rustix::fs::sync();
        let clocks = || (now(ClockId::ThreadCPUTime), now(ClockId::Monotonic));
        let before = clocks();
        op()?;
        let (thread, machine) = clocks();
        let count = count as u64;
        let (thread, machine) = (thread - before.0, machine - before.1);
        Ok(Self { thread: thread / count, machine: machine / count, spread: 0, rounds: 1 })
    }

    /// The best of either clock, and how far the thread's are apart.
    fn best(rounds: &[Self]) -> Option<Self> {
        let threads = || rounds.iter().map(|round| round.thread);
        let (thread, most) = (threads().min()?, threads().max()?);
        let machine = rounds.iter().map(|round| round.machine).min()?;
        let spread = (most - thread) * 1000 / thread.max(1);
        Some(Self { thread, machine, spread, rounds: rounds.len() as u64 })
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
pub(super) const CALLS: usize = 1000;

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
    pub(super) place: &'static str,
    pub(super) costs: Vec<(String, Cost)>,
}

impl Column {
    /// What a row costs here.
    pub(super) fn cost(&self, row: &str) -> Option<Cost> {
        self.costs.iter().find(|(name, _)| name == row).map(|(_, cost)| *cost)
    }

    /// How far the rounds of each row are apart, and which row that is.
    pub(super) fn spreads(&self, fs: &str) -> impl Iterator<Item = (u64, String)> {
        let row = move |name: &String| format!("{name}, {fs}, {}", self.place);
        self.costs.iter().map(move |(name, cost)| (cost.spread, row(name)))
    }
}

/// Measures all ops in one directory.
pub(super) fn ops(place: &'static str, dir: &Path) -> Result<Column> {
    let costs = OPS.iter().map(|(name, ..)| Ok(((*name).to_owned(), op(name, dir)?)));
    let costs = costs.collect::<Result<Vec<_>>>()?;
    costs.iter().for_each(|(name, cost)| eprintln!("  {name}, {place}: {cost:?}"));
    Ok(Column { place, costs })
}

/// Measures one of the ops in a directory.
pub(super) fn op(name: &str, dir: &Path) -> Result<Cost> {
    let (_, prepare, op) = OPS.iter().find(|(op, ..)| *op == name).context("no such op")?;
    let dir = dir.join(name.replace(' ', "-"));
    let paths: Vec<_> = (0..CALLS).map(|n| dir.join(format!("f{n:05}"))).collect();
    steady(|| {
        fs::create_dir_all(&dir)?;
        paths.iter().try_for_each(|path| prepare(path))?;
        let cost = Cost::of(CALLS, || paths.iter().try_for_each(|path| op(path)))?;
        // The directory stays as large as it is.
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.is_dir() { fs::remove_dir(path)? } else { fs::remove_file(path)? }
        }
        Ok(cost)
    })
}

/// Measures all jobs in one directory.
pub(super) fn jobs(place: &'static str, dir: &Path) -> Result<Column> {
    let dir = dir.join("job");
    let mut costs = Vec::new();
    for (name, prepare, job) in JOBS {
        let round = || {
            fs::create_dir_all(&dir)?;
            let run = |script| -> Result<()> {
                // Waited for by the kernel: to look every few milliseconds would be in the figure.
                let mut shell = Tool::new("sh").args(["-c", script]).cwd(&dir).command()?;
                let status = shell.stdout(Stdio::null()).status()?;
                ensure!(status.success(), "`{script}` ended with {status}");
                Ok(())
            };
            run(prepare)?;
            let cost = Cost::of(1, || run(job))?;
            fs::remove_dir_all(&dir)?;
            Ok(cost)
        };
        let rounds = (0..ROUNDS).map(|_| round()).collect::<Result<Vec<_>>>()?;
        let cost = Cost::best(&rounds).context("no rounds")?;
        eprintln!("  {name}, {place}: {}", cost.machine);
        costs.push((name.to_owned(), cost));
    }
    Ok(Column { place, costs })
}

/// What removing files costs that are there, in this order. They are old.
pub(super) fn removing(files: &[PathBuf]) -> Result<Cost> {
    steady(|| {
        // Those that were denied are still there.
        let gone = files.iter().filter(|path| !path.exists());
        gone.into_iter().try_for_each(|path| fs::write(path, "x"))?;
        age_files()?;
        Cost::of(files.len(), || {
            // Also what is refused costs something.
            files.iter().for_each(|path| drop(fs::remove_file(path)));
            Ok(())
        })
    })
}

/// Goes on until the last rounds agree: the first of a filesystem or an agent fill caches.
fn steady(mut round: impl FnMut() -> Result<Cost>) -> Result<Cost> {
    let mut rounds = Vec::new();
    loop {
        rounds.push(round()?);
        let last = &rounds[rounds.len().saturating_sub(ROUNDS)..];
        let cost = Cost::best(last).context("no rounds")?;
        let agree = last.len() == ROUNDS && cost.spread < AGREE;
        if agree || rounds.len() == MOST_ROUNDS {
            return Ok(Cost { rounds: rounds.len() as u64, ..cost });
        }
    }
}

/// A table in Markdown of what ops cost, or jobs. The first column is what the others are compared
/// with.
pub(super) fn print(title: &str, columns: &[&Column], clock: fn(&Cost) -> u64) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What `steady` makes of rounds that cost so much, in turn: the best, its spread, the rounds.
    fn of(costs: &[u64]) -> (u64, u64, u64) {
        let mut costs = costs.iter().copied().cycle();
        let round = |thread| Cost { thread, machine: thread, spread: 0, rounds: 1 };
        let cost = steady(|| Ok(round(costs.next().unwrap()))).unwrap();
        (cost.thread, cost.spread, cost.rounds)
    }

    #[test]
    fn rounds_go_on_until_they_agree() {
        assert_eq!(of(&[1000]), (1000, 0, 3));
        assert_eq!(of(&[3000, 2000, 1009, 1000, 1005, 1000]), (1000, 9, 5));
    }

    #[test]
    fn rounds_that_never_agree_show_it() {
        assert_eq!(of(&[1000, 1100]), (1000, 100, 10));
    }
}
