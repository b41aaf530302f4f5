//! Processes that race: some delete in directories that others move. Each writes down what it does,
//! and when: before it begins and when it is done, so that nothing is unknown of one that is
//! killed.
//! A line that is whole ends with a point.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::time::{ClockId, clock_gettime};

use super::Random;

/// Files that are made, and then deleted, at once.
pub(crate) const BATCH: u64 = 16;
/// Where in a directory they are.
pub(crate) const BELOW: [&str; 3] = ["", "a", "b/c"];

/// How both kinds of processes are started.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Racer {
    /// Tells this process from all others; what it draws at random depends on it.
    #[arg(long)]
    pub(crate) number: u64,
    /// What it does is appended here.
    #[arg(long)]
    pub(crate) log: PathBuf,
    /// It ends when this file appears.
    #[arg(long)]
    pub(crate) over: PathBuf,
}

/// Nanoseconds of a clock that all processes share.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The name of a file of a process.
pub(crate) fn file_name(process: u64, file: u64) -> String {
    format!("w{process}-{file}")
}

impl Racer {
    /// Deletes in directories that can be anywhere. Of each batch the log has `made DIR FIRST TIME`
    /// and `deleted TIME…`: the first began at the first time, and ended at the next.
    pub(crate) fn delete(&self, dirs: &[PathBuf]) -> Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let open = |dir: &PathBuf| rustix::fs::open(dir, flags, Mode::empty());
        let dirs = dirs.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let mut random = Random::new(self.number);
        for first in (0..).step_by(BATCH as usize) {
            let dir = random.below(dirs.len() as u64);
            let below = Path::new(BELOW[random.below(BELOW.len() as u64) as usize]);
            let at = &dirs[dir as usize];
            let names = (first..first + BATCH).map(|file| below.join(file_name(self.number, file)));
            let names: Vec<_> = names.collect();
            for name in &names {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
                rustix::fs::openat(at, name, flags, Mode::from_raw_mode(0o600)).context("make")?;
            }
            self.note(&format!("made {dir} {first} {}", now()))?;
            let mut times = vec![now().to_string()];
            for name in &names {
                rustix::fs::unlinkat(at, name, AtFlags::empty()).context("delete")?;
                times.push(now().to_string());
            }
            self.note(&format!("deleted {}", times.join(" ")))?;
            if self.over.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(random.below(6)));
        }
        Ok(())
    }

    /// Moves directories of these numbers from place to place; nobody else moves those. The log has
    /// `move DIR FROM TO TIME` and `moved TIME`.
    pub(crate) fn move_around(&self, dirs: &[u64], places: &[PathBuf]) -> Result<()> {
        let mut random = Random::new(self.number);
        while !self.over.exists() {
            let dir = dirs[random.below(dirs.len() as u64) as usize];
            let from = place_of(dir, places).context("a directory is nowhere")?;
            let to = random.below(places.len() as u64) as usize;
            if to == from {
                continue;
            }
            let at = |place: usize| dir_in(&places[place], dir);
            self.note(&format!("move {dir} {from} {to} {}", now()))?;
            fs::rename(at(from), at(to)).context("move")?;
            self.note(&format!("moved {}", now()))?;
            // Some follow at once; between others, what the kernel knows of places is valid.
            if random.below(4) > 0 {
                std::thread::sleep(Duration::from_millis(random.below(20)));
            }
        }
        Ok(())
    }

    fn note(&self, line: &str) -> Result<()> {
        let mut log = File::options().create(true).append(true).open(&self.log)?;
        Ok(log.write_all(format!("{line} .\n").as_bytes())?)
    }
}

pub(crate) fn dir_in(place: &Path, dir: u64) -> PathBuf {
    place.join(format!("d{dir}"))
}

/// The place that a directory is at.
pub(crate) fn place_of(dir: u64, places: &[PathBuf]) -> Option<usize> {
    places.iter().position(|place| dir_in(place, dir).exists())
}
