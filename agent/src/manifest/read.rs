//! Reads the manifest from the disk, with or without an agent.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use super::segment::{self, scan};
use super::{Line, Offs, Summary};

/// What is on the disk besides lines.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// What is left of segments that are gone.
    pub(crate) summary: Summary,
    /// When zones were not recorded, by what is left of those segments and by those that are there.
    pub(crate) off: Offs,
    /// Complete lines that are none of ours.
    pub(crate) unreadable: u64,
    /// Whether there is a manifest at all.
    pub(crate) is_there: bool,
}

impl Records {
    /// Goes through every line of every segment in `dir`, oldest first, but for records that were
    /// taken back.
    pub(crate) fn read(
        dir: &Path,
        visit: &mut dyn FnMut(Line),
    ) -> Result<Self, (PathBuf, io::Error)> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| (path, error)
        };
        // In this order: a segment that becomes sums meanwhile is in one of both.
        let numbers = match segment::list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            numbers => numbers.map_err(failed(dir))?,
        };
        let mut found =
            Self { summary: Summary::read(dir).map_err(failed(dir))?, ..Self::default() };
        found.is_there = !numbers.is_empty() || found.summary.through > 0;
        let through = found.summary.through;
        let mut switches = Vec::new();
        let numbers = || numbers.iter().copied().filter(|&number| number > through);
        let mut taken_back = HashMap::new();
        for number in numbers() {
            let path = segment::path(dir, number);
            match segment::taken_back(&path) {
                Ok(records) => taken_back.extend(records),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err((path, error)),
            }
        }
        for number in numbers() {
            let path = segment::path(dir, number);
            let scanned = scan(&path, &mut |line| {
                if let Line::Switch { time, zone, manifest } = &line {
                    switches.push((number, zone.clone(), time.clone(), *manifest));
                }
                match &line {
                    Line::Gone(record)
                        if record.file.undone || taken_back.remove(&record.key()).is_some() => {}
                    _ => visit(line),
                }
            });
            match scanned {
                Ok(scan) => found.unreadable += scan.unreadable,
                // The agent has just summarised it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    found.summary = Summary::read(dir).map_err(failed(dir))?;
                }
                Err(error) => return Err((path, error)),
            }
        }
        // What they take back is in sums already.
        let mut sums = found.summary.take_in();
        taken_back.values().for_each(|record| sums.line(record));
        found.off = found.summary.off.clone();
        // Some may have been summarised since they were read.
        for (_, zone, time, manifest) in
            switches.iter().filter(|(number, ..)| *number > found.summary.through)
        {
            found.off.switch(zone, time, *manifest);
        }
        Ok(found)
    }
}
