//! The manifest on the disk: append-only segments, closed when they are full, summarised when there
//! is no more room.
//!
//! What it takes of the disk never exceeds its bound. A batch is in the file, and the ring's
//! position with it, before its records leave the ring: the next agent goes on behind what an
//! earlier one has kept. A batch that a crash cut short is cut off, as all of it is still in the
//! ring.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};

use super::batch::{Batch, Seen};
use super::line::{Actor, VERSION};
use super::segment::{self, Scan, Sealed, Summarised, digest, hasher_of, scan};
use super::{Gap, GapWhy, Line, Place, Summary};
use crate::clock::{self, Now, rfc3339};
use crate::kernel::Gone;
use crate::text;

/// Shares of the bound: one segment is at most a 16th of it, and so are all sums.
const SEGMENTS: u64 = 16;
const SUMS: u64 = 16;
/// The names of roots are at most such a share.
pub(super) const ROOTS: u64 = 32;
/// The largest segment, whatever the bound: some 50,000 records. While it is summed up the kernel's
/// ring fills, and that has room for 70,000.
const MAX_SEGMENT: u64 = 4 << 20;

/// What the audit log has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Sealed(Sealed),
    Summarised(Summarised),
}

/// The segment that is written to.
struct Active {
    file: File,
    number: u64,
    length: u64,
    hasher: Context,
    seen: Seen,
    began: Now,
    /// Whether what comes after `length` has to be cut off before anything else.
    settle: bool,
    /// Its last line says that it is closed.
    ended: bool,
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
            hasher: Context::new(&SHA256),
            seen: Seen::default(),
            began: now,
            settle: false,
            ended: false,
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
    batch: Batch,
    /// The next record does not fit into the segment.
    is_full: bool,
    ring: String,
    /// Up to where its records are kept.
    position: u64,
    lost: BTreeMap<String, u64>,
    /// Time of the last line of an earlier agent.
    time: Option<String>,
    dirty: bool,
    changes: Vec<Change>,
}

impl Store {
    /// Opens what is in `dir`, and makes it if it is not there. `ring`: the kernel's ring, and up
    /// to where its records are kept, as far as the kernel was told.
    pub(super) fn open(
        dir: &Path,
        max_bytes: u64,
        ring: (&str, u64),
        now: Now,
    ) -> io::Result<Self> {
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
            batch: Batch::default(),
            is_full: false,
            ring: ring.0.to_owned(),
            position: ring.1,
            lost: BTreeMap::new(),
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
        let mut cut_off = 0;
        if let Some(number) = newest {
            let path = segment::path(&self.dir, number);
            let mut newer = scan(&path, &mut |_| {})?;
            if newer.length == 0 {
                // A crash between making it and its first line.
                fs::remove_file(&path)?;
            } else if !newer.head || newer.ended {
                // Closed, perhaps without anybody having heard of it; or none of this version.
                let (sha256, bytes) = digest(&path)?;
                self.previous = Some(sha256.clone());
                self.closed.push_back((number, bytes));
                if newer.ended {
                    self.changes.push(Change::Sealed(newer.sealed(number, sha256, bytes)));
                    found = newer;
                }
            } else {
                let file = OpenOptions::new().append(true).open(&path)?;
                // Of another ring a batch that was cut short is all there is.
                let is_same = newer.ring == self.ring;
                let length = if is_same { newer.settled } else { newer.length };
                cut_off = newer.length + newer.torn - length;
                file.set_len(length)?;
                if length < newer.length {
                    newer = scan(&path, &mut |_| {})?;
                }
                let (hasher, length) = hasher_of(&path)?;
                let time = |time: &Option<String>| {
                    let millis = clock::parse_rfc3339_millis(time.as_deref()?)?;
                    Some(millis * 1_000_000)
                };
                let span = time(&newer.from).zip(time(&newer.to));
                let seen = Seen { records: newer.records, span };
                let new = Active::new(file, number, now);
                self.active = Some(Active { length, hasher, seen, ..new });
                self.batch.next = newer.next;
                found = newer;
            }
        }
        (self.lost, self.time) = (found.lost, found.time);
        if !found.head && newest.is_none() && self.summary.through == 0 {
            return Ok(());
        }
        let from = self.time.clone().unwrap_or_else(|| rfc3339(0)).min(now.wall());
        let gap = |lost, why| {
            let (from, to) = (from.clone(), now.wall());
            Line::Gap(Gap { from, to, zone: None, lost, why, total: 0 })
        };
        let is_same = found.ring == self.ring;
        if is_same {
            self.position = self.position.max(found.position);
        } else {
            self.lost.clear();
            let (time, ring, position) = (now.wall(), self.ring.clone(), self.position);
            // Until the gap is there a segment that is begun is of the ring before.
            self.ring = found.ring;
            self.append(&gap(None, GapWhy::NewRing), now)?;
            self.ring.clone_from(&ring);
            self.append(&Line::Ring { time, ring, position }, now)?;
        }
        if cut_off > 0 {
            // What it was of is still in the ring, unless the host went down.
            let lost = is_same.then_some(0);
            self.append(&gap(lost, GapWhy::Torn), now)?;
        }
        Ok(())
    }

    /// Adds a line that is no record's, between batches. When this returns it is in the file; if it
    /// fails nothing of it is.
    pub(super) fn append(&mut self, line: &Line, now: Now) -> io::Result<()> {
        let bytes = bytes(line)?;
        if !self.has_room(bytes.len()) {
            self.close(now)?;
        }
        if self.active.is_none() {
            self.begin(now)?;
        }
        self.write(&bytes)?;
        if let Line::Gap(Gap { zone: Some(zone), total: total @ 1.., .. }) = line {
            self.lost.insert(zone.clone(), *total);
        }
        Ok(())
    }

    /// Adds a record to the batch; see [`Batch::record`]. Whether there was room for it: if not, it
    /// begins the next batch.
    pub(super) fn add(
        &mut self,
        gone: &Gone<'_>,
        now: Now,
        place: impl FnOnce() -> Place,
        actor: impl FnOnce() -> Actor,
    ) -> io::Result<bool> {
        if self.is_full {
            self.close(now)?;
            self.is_full = false;
        }
        if self.active.is_none() {
            self.begin(now)?;
        }
        let (length, seen) = (self.batch.length(), self.batch.seen);
        let clock = now.wall_ns.saturating_sub_unsigned(now.boot_ns);
        self.batch.record(gone, clock, place, actor)?;
        let has_others = seen.records > 0;
        self.is_full = !self.has_room(self.batch.length() + KEPT_ROOM)
            && (has_others || self.active.as_ref().is_some_and(|active| active.seen.records > 0));
        if self.is_full {
            self.batch.cut(length, seen);
        }
        Ok(!self.is_full)
    }

    /// Bytes in the batch.
    pub(super) fn pending(&self) -> usize {
        self.batch.length()
    }

    /// Puts the batch into the file, all of it or nothing: the ring's records up to `position`.
    /// Returns how many there are.
    pub(super) fn commit(&mut self, position: u64) -> io::Result<u64> {
        if self.batch.seen.records > 0 {
            self.batch.line(&Line::Kept(position))?;
        }
        let (bytes, seen) = self.batch.take();
        let outcome = if seen.records > 0 { self.write(&bytes) } else { Ok(()) };
        self.batch.reuse(bytes);
        if let Err(error) = outcome {
            self.batch.forget();
            return Err(error);
        }
        if let Some(active) = self.active.as_mut().filter(|_| seen.records > 0) {
            active.seen = active.seen.and(seen);
            self.position = position;
        }
        Ok(seen.records)
    }

    /// Has names asked for again.
    pub(super) fn forget_names(&mut self) {
        self.batch.forget_names();
    }

    /// Up to where the ring's records are kept.
    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// Whether so many bytes fit into the segment, if there is one; an empty one takes anything.
    fn has_room(&self, bytes: usize) -> bool {
        let limit = self.segment_limit();
        self.active.as_ref().is_none_or(|active| active.length + bytes as u64 + END_ROOM <= limit)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(active) = &mut self.active else { return Err(io::Error::other("no segment")) };
        active.put(bytes)?;
        active.length += bytes.len() as u64;
        active.ended = false;
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
        (self.batch.next, self.is_full) = (0, false);
        self.batch.forget();
        let head = Line::Head {
            version: VERSION,
            segment: number,
            previous: self.previous.clone(),
            time: now.wall(),
            ring: self.ring.clone(),
            position: self.position,
            lost: self.lost.clone(),
        };
        let outcome = bytes(&head).and_then(|bytes| self.write(&bytes));
        if outcome.is_err() {
            self.active = None;
        }
        outcome
    }

    /// Closes the segment that is written to, if it has records.
    pub(super) fn close(&mut self, now: Now) -> io::Result<()> {
        let is_full = !self.has_room(0);
        let Some(active) = self.active.as_mut().filter(|it| is_full || it.seen.records > 0) else {
            return Ok(());
        };
        let Seen { records, span } = active.seen;
        if !active.ended {
            self.write(&bytes(&Line::End { time: now.wall(), records })?)?;
        }
        if let Some(active) = &mut self.active {
            active.ended = true;
        }
        self.sync()?;
        if let Some(active) = self.active.take() {
            let sha256 = text::hex(active.hasher.finish().as_ref());
            self.previous = Some(sha256.clone());
            self.closed.push_back((active.number, active.length));
            self.changes.push(Change::Sealed(Sealed {
                segment: active.number,
                sha256,
                bytes: active.length,
                records,
                from: span.map(|(first, _)| rfc3339(first)),
                to: span.map(|(_, last)| rfc3339(last)),
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
        let summed =
            if number > self.summary.through { self.sum_up(number, &path) } else { Ok(()) };
        match summed.and_then(|()| fs::remove_file(&path)) {
            // Somebody has removed it: `verify` says so.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            outcome => outcome?,
        }
        self.closed.pop_front();
        Ok(())
    }

    fn sum_up(&mut self, number: u64, path: &Path) -> io::Result<()> {
        let (sha256, _) = digest(path)?;
        let mut summary = self.summary.clone();
        let mut taking = summary.take_in();
        let (mut records, mut files, mut bytes) = (0_u64, 0_u64, 0_u64);
        let found = scan(path, &mut |line| {
            taking.line(&line);
            match line {
                Line::Gone(record) if record.file.undone => {
                    files = files.saturating_sub(record.file.files);
                    bytes = bytes.saturating_sub(record.file.bytes);
                }
                Line::Gone(record) => {
                    records += 1;
                    files += record.file.files;
                    bytes = bytes.saturating_add(record.file.bytes);
                }
                _ => {}
            }
        })?;
        if found.unreadable > 0 {
            let (from, to) = (found.began.unwrap_or_else(|| rfc3339(0)), found.time);
            let to = to.unwrap_or_else(|| rfc3339(i64::MAX));
            let (lost, why) = (Some(found.unreadable), GapWhy::Unreadable);
            let gap = Line::Gap(Gap { from, to, zone: None, lost, why, total: 0 });
            taking.line(&gap);
        }
        (summary.through, summary.sha256) = (number, Some(sha256.clone()));
        self.keep_sums(summary)?;
        let gone = Summarised { segment: number, sha256, records, files, bytes };
        self.changes.push(Change::Summarised(gone));
        Ok(())
    }

    /// Writes other sums, as short as they have to be.
    fn keep_sums(&mut self, mut summary: Summary) -> io::Result<()> {
        summary.fit((self.max_bytes / SUMS) as usize)?;
        self.summary_bytes = summary.write(&self.dir)?;
        self.summary = summary;
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
        if self.summary_bytes > max_bytes / SUMS {
            self.keep_sums(self.summary.clone())?;
        }
        if self.active.as_ref().is_some_and(|active| active.length > self.segment_limit()) {
            self.close(now)?;
        }
        self.make_room(self.segment_limit())
    }

    fn segment_limit(&self) -> u64 {
        (self.max_bytes / SEGMENTS).min(MAX_SEGMENT)
    }

    /// Records of a zone that are known to be missing, since the ring is there.
    pub(super) fn lost(&self, zone: &str) -> u64 {
        self.lost.get(zone).copied().unwrap_or(0)
    }

    /// The kernel counts a zone anew.
    pub(super) fn forget_lost(&mut self, zone: &str) {
        self.lost.remove(zone);
    }

    /// Time of the last line of an earlier agent; absent if there never was one.
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

/// A line as it is in the file.
fn bytes(line: &Line) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Kept free in a segment for its last line, and in a batch for its own.
const END_ROOM: u64 = 128;
const KEPT_ROOM: usize = 32;

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
