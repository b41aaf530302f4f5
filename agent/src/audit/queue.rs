//! Records that are not on the disk for certain yet, in memory. They get their number and the hash
//! of the record before when they are written: if that fails they can be written again, elsewhere.
//!
//! It has a limit. What comes when it is full is counted, with the time of the first and the last.

use std::collections::VecDeque;

use crate::clock::Now;

/// Most records.
pub(crate) const RECORDS: usize = 8192;
/// Most bytes.
const BYTES: usize = 8 << 20;

/// One record.
#[derive(Debug)]
pub(super) struct Entry {
    /// When it was added.
    pub(super) time: String,
    /// A JSON object that begins with `type`.
    pub(super) body: Vec<u8>,
    /// Whether its line is signed.
    pub(super) signed: bool,
}

/// Records that were not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) records: u64,
    pub(super) from: String,
    pub(super) to: String,
}

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// How many at the front are in the file, and may not be on the disk.
    written: usize,
    lost: Option<Lost>,
    lost_total: u64,
}

impl Queue {
    /// Adds a record. Events leave the last quarter of the room to what people do and decide.
    /// Whether there was room.
    pub(super) fn push(&mut self, entry: Entry, is_event: bool, now: Now) -> bool {
        let share = if is_event { 3 } else { 4 };
        if self.entries.len() >= RECORDS / 4 * share
            || self.bytes + entry.body.len() > BYTES / 4 * share
        {
            self.lose(now);
            return false;
        }
        self.add(entry);
        true
    }

    /// Adds a record for which there is always room: there are few of its kind.
    pub(super) fn add(&mut self, entry: Entry) {
        self.bytes += entry.body.len();
        self.entries.push_back(entry);
    }

    /// Puts a record before everything else. Nothing may have been written.
    pub(super) fn add_first(&mut self, entry: Entry) {
        debug_assert_eq!(self.written, 0, "what is written has its place");
        self.bytes += entry.body.len();
        self.entries.push_front(entry);
    }

    /// Counts a record that is not kept.
    pub(super) fn lose(&mut self, now: Now) {
        self.lose_some(1, now, now);
    }

    /// The same for several: the first and the last of them came then.
    pub(super) fn lose_some(&mut self, records: u64, from: Now, to: Now) {
        self.lost_total += records;
        match &mut self.lost {
            Some(lost) => (lost.records, lost.to) = (lost.records + records, to.wall()),
            None => self.lost = Some(Lost { records, from: from.wall(), to: to.wall() }),
        }
    }

    /// What was lost and is not in the log yet.
    pub(super) const fn lost(&self) -> Option<&Lost> {
        self.lost.as_ref()
    }

    /// That so much was lost is in the log now.
    pub(super) fn told(&mut self, lost: Option<&Lost>) {
        if self.lost.as_ref() == lost {
            self.lost = None;
        }
    }

    /// How many were lost in all.
    pub(super) const fn lost_total(&self) -> u64 {
        self.lost_total
    }

    /// The next that is to be written.
    pub(super) fn next(&self) -> Option<&Entry> {
        self.entries.get(self.written)
    }

    /// It is in the file.
    pub(super) const fn wrote(&mut self) {
        self.written += 1;
    }

    /// Everything that is in the file is on the disk. How many that were.
    pub(super) fn durable(&mut self) -> u64 {
        let count = std::mem::take(&mut self.written);
        for entry in self.entries.drain(..count) {
            self.bytes -= entry.body.len();
        }
        count as u64
    }

    /// What is in the file does not count.
    pub(super) const fn rewind(&mut self) {
        self.written = 0;
    }

    /// Whether anything is in the file and may not be on the disk.
    pub(super) const fn is_dirty(&self) -> bool {
        self.written > 0
    }

    /// How many wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.entries.len() - self.written
    }

    /// How many there are in all: [`Queue::cut`] goes back to that.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes back what was added since there were so many. Nothing of that may count as written.
    pub(super) fn cut(&mut self, len: usize) {
        debug_assert!(self.written <= len, "what is written stays");
        for entry in self.entries.drain(len.min(self.entries.len())..) {
            self.bytes -= entry.body.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry { time: String::new(), body: b"{}".to_vec(), signed: false }
    }

    fn at(seconds: i64) -> Now {
        Now { boot_ns: 0, wall_ns: seconds * 1_000_000_000 }
    }

    #[test]
    fn event_flood_leaves_room_for_decisions() {
        let mut queue = Queue::default();
        for second in 0..10_000 {
            queue.push(entry(), true, at(second));
        }
        assert_eq!(queue.len(), RECORDS / 4 * 3);
        assert!(queue.push(entry(), false, at(0)), "a decision");
        let lost = queue.lost().cloned().unwrap();
        assert_eq!(lost.records, 10_000 - 6144);
        assert_eq!((&lost.from, &lost.to), (&at(6144).wall(), &at(9999).wall()));
        queue.told(Some(&lost));
        assert_eq!((queue.lost(), queue.lost_total()), (None, 3856));
        for _ in 0..RECORDS {
            queue.push(entry(), false, at(0));
        }
        assert_eq!(queue.len(), RECORDS, "there is a limit for everything");
    }

    #[test]
    fn queue_bytes_are_limited_and_freed() {
        let mut queue = Queue::default();
        let large = || Entry { body: vec![b' '; 1 << 20], ..entry() };
        while queue.push(large(), false, at(0)) {}
        assert_eq!(queue.len(), 8);
        for _ in 0..8 {
            queue.wrote();
        }
        assert_eq!((queue.durable(), queue.bytes), (8, 0));
        assert!(queue.push(large(), false, at(0)));
    }
}
