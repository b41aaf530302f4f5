//! The manifest on the disk: append-only segments, closed when they are full, summarised when there is no more room.
//!
//! What it takes of the disk never exceeds its bound. A line is in the file before a record counts as kept; what a crash cut
//! short is cut off, and said.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::line::Key;
use super::segment::{self, Scan, Sealed, Summarised, digest, hasher_of, scan};
use super::{Gap, GapWhy, Line, Record, Summary};
use crate::clock::Now;
use crate::text;

/// Shares of the bound: one segment is at most a 16th of it, and so are all sums.
const SEGMENTS: u64 = 16;
const SUMS: u64 = 16;
/// The names of roots are at most such a share.
pub(super) const ROOTS: u64 = 32;
/// The largest segment, whatever the bound.
const MAX_SEGMENT: u64 = 16 << 20;

/// What the audit log has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Sealed(Sealed),
    Summarised(Summarised),
}

/// The segment that is written to.
#[derive(Debug)]
struct Active {
    file: File,
    number: u64,
    length: u64,
    hasher: Sha256,
    records: u64,
    from: Option<String>,
    to: Option<String>,
    began: Now,
    /// Whether what comes after `length` has to be cut off before anything else.
    settle: bool,
    #[cfg(test)]
    fault: Fault,
}

/// What fails in a test.
#[cfg(test)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fault {
    #[default]
    None,
    /// Writing, as on a full disk, and then cutting off what was written.
    WriteAndCut,
}

impl Active {
    fn new(file: File, number: u64, now: Now) -> Self {
        Self {
            file,
            number,
            length: 0,
            hasher: Sha256::new(),
            records: 0,
            from: None,
            to: None,
            began: now,
            settle: false,
            #[cfg(test)]
            fault: Fault::None,
        }
    }

    /// Adds to the file. If that fails nothing counts of what is there.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.settle()?;
        self.settle = true;
        #[cfg(test)]
        if self.fault == Fault::WriteAndCut {
            self.file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        let outcome = self.file.write_all(bytes);
        if outcome.is_ok() {
            self.settle = false;
        } else {
            // If that fails, too, it is done before anything is written again.
            drop(self.settle());
        }
        outcome
    }

    fn settle(&mut self) -> io::Result<()> {
        if self.settle {
            #[cfg(test)]
            if self.fault == Fault::WriteAndCut {
                return Err(io::ErrorKind::Other.into());
            }
            self.file.set_len(self.length)?;
            self.settle = false;
        }
        Ok(())
    }
}

/// All of it. One process has it open at a time: the agent's lock sees to that.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    max_bytes: u64,
    active: Option<Active>,
    /// Number and length of segments that are closed.
    closed: VecDeque<(u64, u64)>,
    /// SHA-256 of the last of them, or of the last that was summarised.
    previous: Option<String>,
    summary: Summary,
    summary_bytes: u64,
    ring: String,
    lost: BTreeMap<String, u64>,
    last: Option<Key>,
    /// Time of the last line.
    time: Option<String>,
    dirty: bool,
    changes: Vec<Change>,
}

impl Store {
    /// Opens what is in `dir`, and makes it if it is not there. `ring` is the kernel's ring.
    pub(super) fn open(dir: &Path, max_bytes: u64, ring: &str, now: Now) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let summary = Summary::read(dir)?;
        let mut numbers = segment::list(dir)?;
        // Summarised, and then a crash kept them from being removed.
        for &number in numbers.iter().filter(|&&number| number <= summary.through) {
            fs::remove_file(segment::path(dir, number))?;
        }
        numbers.retain(|&number| number > summary.through);
        let mut store = Self {
            dir: dir.to_owned(),
            max_bytes,
            active: None,
            closed: VecDeque::new(),
            previous: summary.sha256.clone(),
            summary_bytes: Summary::length(dir),
            summary,
            ring: ring.to_owned(),
            lost: BTreeMap::new(),
            last: None,
            time: None,
            dirty: false,
            changes: Vec::new(),
        };
        let newest = numbers.pop();
        for number in numbers {
            store.closed.push_back((number, fs::metadata(segment::path(dir, number))?.len()));
        }
        store.go_on(newest, now)?;
        Ok(store)
    }

    /// Goes on where an earlier agent stopped.
    fn go_on(&mut self, newest: Option<u64>, now: Now) -> io::Result<()> {
        let mut found = Scan::default();
        if let Some(&(number, _)) = self.closed.back() {
            let path = segment::path(&self.dir, number);
            found = scan(&path, &mut |_| {})?;
            let (sha256, bytes) = digest(&path)?;
            self.previous = Some(sha256.clone());
            if found.ended {
                // An agent that was killed may have closed it without anybody having heard of it.
                self.changes.push(Change::Sealed(found.sealed(number, sha256, bytes)));
            }
        }
        if let Some(number) = newest {
            let path = segment::path(&self.dir, number);
            let newer = scan(&path, &mut |_| {})?;
            if !newer.head && newer.length == 0 {
                // A crash between making it and its first line.
                fs::remove_file(&path)?;
            } else {
                let last = newer.last.clone().or(found.last.take());
                found = Scan { last, ..newer };
                self.adopt(number, &path, &found, now)?;
            }
        }
        let was_there = found.head;
        (self.lost, self.last, self.time) = (found.lost, found.last, found.time);
        if was_there && found.ring != self.ring {
            self.lost.clear();
            self.last = None;
            let gap = Gap {
                from: self.time.clone().unwrap_or_default(),
                to: now.wall(),
                zone: None,
                lost: None,
                why: GapWhy::NewRing,
                total: 0,
            };
            self.append(&Line::Gap(gap), now)?;
            self.append(&Line::Ring { time: now.wall(), ring: self.ring.clone() }, now)?;
        }
        if was_there && found.torn > 0 {
            // What it was of is still in the ring, unless the host went down.
            let lost = if found.ring == self.ring { Some(0) } else { None };
            let from = self.time.clone().unwrap_or_default();
            let (to, zone, why) = (now.wall(), None, GapWhy::Torn);
            self.append(&Line::Gap(Gap { from, to, zone, lost, why, total: 0 }), now)?;
        }
        Ok(())
    }

    fn adopt(&mut self, number: u64, path: &Path, found: &Scan, now: Now) -> io::Result<()> {
        if found.ended {
            // It may have been closed without anybody having heard of it.
            let (sha256, bytes) = digest(path)?;
            self.previous = Some(sha256.clone());
            self.closed.push_back((number, bytes));
            self.changes.push(Change::Sealed(found.sealed(number, sha256, bytes)));
            return Ok(());
        }
        let file = OpenOptions::new().append(true).open(path)?;
        file.set_len(found.length)?;
        let (hasher, length) = hasher_of(path)?;
        let (from, to, records) = (found.from.clone(), found.to.clone(), found.records);
        let new = Active::new(file, number, now);
        self.active = Some(Active { length, hasher, records, from, to, ..new });
        Ok(())
    }

    /// Adds a line. When this returns it is in the file; if it fails nothing of it is.
    pub(super) fn append(&mut self, line: &Line, now: Now) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        let limit = self.segment_limit();
        let is_full = |active: &Active| {
            active.records > 0 && active.length + bytes.len() as u64 + END_ROOM > limit
        };
        if self.active.as_ref().is_some_and(is_full) {
            self.close(now)?;
        }
        if self.active.is_none() {
            self.begin(now)?;
        }
        self.write(&bytes)?;
        self.note(line);
        Ok(())
    }

    fn note(&mut self, line: &Line) {
        match line {
            Line::Gone(record) => {
                if let Some(active) = &mut self.active {
                    active.records += 1;
                    active.from.get_or_insert_with(|| record.time.clone());
                    active.to = Some(record.time.clone());
                }
                self.last = Some(record.key());
                self.time = Some(record.time.clone());
            }
            Line::Gap(gap) => {
                if let Some(zone) = gap.zone.as_ref().filter(|_| gap.total > 0) {
                    self.lost.insert(zone.clone(), gap.total);
                }
            }
            Line::Head { .. }
            | Line::Ring { .. }
            | Line::Switch { .. }
            | Line::Stop { .. }
            | Line::End { .. } => {}
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(active) = &mut self.active else { return Err(io::Error::other("no segment")) };
        active.put(bytes)?;
        active.length += bytes.len() as u64;
        active.hasher.update(bytes);
        self.dirty = true;
        Ok(())
    }

    fn begin(&mut self, now: Now) -> io::Result<()> {
        self.make_room(self.segment_limit())?;
        let number = self.closed.back().map_or(self.summary.through, |(number, _)| *number) + 1;
        let path = segment::path(&self.dir, number);
        let mut options = OpenOptions::new();
        // One without a head may be left of a time when the disk was full.
        let file = options.append(true).create(true).mode(0o600).open(&path)?;
        file.set_len(0)?;
        File::open(&self.dir)?.sync_all()?;
        self.active = Some(Active::new(file, number, now));
        let head = Line::Head {
            segment: number,
            previous: self.previous.clone(),
            time: now.wall(),
            ring: self.ring.clone(),
            lost: self.lost.clone(),
        };
        let mut bytes = serde_json::to_vec(&head)?;
        bytes.push(b'\n');
        let outcome = self.write(&bytes);
        if outcome.is_err() {
            self.active = None;
        }
        outcome
    }

    /// Closes the segment that is written to, if it has records.
    pub(super) fn close(&mut self, now: Now) -> io::Result<()> {
        let Some(active) = self.active.as_ref().filter(|active| active.records > 0) else {
            return Ok(());
        };
        let mut bytes =
            serde_json::to_vec(&Line::End { time: now.wall(), records: active.records })?;
        bytes.push(b'\n');
        self.write(&bytes)?;
        self.sync()?;
        if let Some(active) = self.active.take() {
            let sha256 = text::hex(&active.hasher.finalize());
            self.previous = Some(sha256.clone());
            self.closed.push_back((active.number, active.length));
            self.changes.push(Change::Sealed(Sealed {
                segment: active.number,
                sha256,
                bytes: active.length,
                records: active.records,
                from: active.from,
                to: active.to,
            }));
        }
        Ok(())
    }

    /// Closes the segment if it was begun so long ago.
    pub(super) fn close_older(&mut self, than: std::time::Duration, now: Now) -> io::Result<()> {
        match &self.active {
            Some(active) if now.since(active.began) >= than => self.close(now),
            _ => Ok(()),
        }
    }

    /// Sums the oldest segments up until so much more can be written.
    fn make_room(&mut self, more: u64) -> io::Result<()> {
        loop {
            let closed: u64 = self.closed.iter().map(|(_, length)| length).sum();
            // While new sums, or names of roots, are written, the old ones are still there.
            let sums =
                2 * self.summary_bytes.max(self.max_bytes / SUMS) + 2 * (self.max_bytes / ROOTS);
            let Some(&(oldest, _)) = self.closed.front() else { return Ok(()) };
            if closed + sums + more <= self.max_bytes {
                return Ok(());
            }
            self.summarise(oldest)?;
        }
    }

    fn summarise(&mut self, number: u64) -> io::Result<()> {
        let path = segment::path(&self.dir, number);
        // It is in the sums already if only removing it failed the last time.
        if number > self.summary.through {
            self.sum_up(number, &path)?;
        }
        fs::remove_file(&path)?;
        self.closed.pop_front();
        Ok(())
    }

    fn sum_up(&mut self, number: u64, path: &Path) -> io::Result<()> {
        let (sha256, _) = digest(path)?;
        let mut summary = self.summary.clone();
        let mut taking = summary.take_in();
        let (mut files, mut bytes) = (0_u64, 0_u64);
        let found = scan(path, &mut |line| {
            taking.line(&line);
            match line {
                Line::Gone(record) if record.undone => {
                    files = files.saturating_sub(record.files);
                    bytes = bytes.saturating_sub(record.bytes);
                }
                Line::Gone(record) => {
                    files += record.files;
                    bytes = bytes.saturating_add(record.bytes);
                }
                _ => {}
            }
        })?;
        (summary.through, summary.sha256) = (number, Some(sha256.clone()));
        summary.fit((self.max_bytes / SUMS) as usize)?;
        self.summary_bytes = summary.write(&self.dir)?;
        self.summary = summary;
        let records = found.records;
        let gone = Summarised { segment: number, sha256, records, files, bytes };
        self.changes.push(Change::Summarised(gone));
        Ok(())
    }

    /// Writes everything to the disk, if there is anything new.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if let Some(active) = self.active.as_ref().filter(|_| self.dirty) {
            active.file.sync_data()?;
        }
        self.dirty = false;
        Ok(())
    }

    /// Another bound.
    pub(super) fn set_limit(&mut self, max_bytes: u64, now: Now) -> io::Result<()> {
        self.max_bytes = max_bytes;
        if self.active.as_ref().is_some_and(|active| active.length > self.segment_limit()) {
            self.close(now)?;
        }
        self.make_room(self.segment_limit())
    }

    fn segment_limit(&self) -> u64 {
        (self.max_bytes / SEGMENTS).min(MAX_SEGMENT)
    }

    /// Whether this is the record that was added last: it was kept, and then the agent was killed before it took it off the ring.
    pub(super) fn has_last(&self, record: &Record) -> bool {
        self.last.as_ref() == Some(&record.key())
    }

    /// Records of a zone that are known to be missing, since the ring is there.
    pub(super) fn lost(&self, zone: &str) -> u64 {
        self.lost.get(zone).copied().unwrap_or(0)
    }

    /// The kernel counts a zone anew.
    pub(super) fn forget_lost(&mut self, zone: &str) {
        self.lost.remove(zone);
    }

    /// Time of the last line; absent if there never was one.
    pub(super) fn time(&self) -> Option<&str> {
        self.time.as_deref()
    }

    /// Bytes on the disk.
    pub(super) fn bytes(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(|(_, length)| length).sum();
        closed + self.summary_bytes + self.active.as_ref().map_or(0, |active| active.length)
    }

    /// The oldest segment that still has its records.
    pub(super) fn oldest(&self) -> Option<PathBuf> {
        let number = self.closed.front().map(|(number, _)| *number);
        let number = number.or(self.active.as_ref().map(|active| active.number))?;
        Some(segment::path(&self.dir, number))
    }

    /// What the audit log has to know, once.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }
}

/// Kept free in a segment for its last line.
const END_ROOM: u64 = 128;

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
