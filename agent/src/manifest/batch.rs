//! Lines on their way to the file. They get there in one write, and their records leave the
//! kernel's ring after it.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::mem;

use holdfast_abi as abi;

use super::line::{Actor, Dir, FileLine, Line, wall_ns};
use super::{Name, Place};
use crate::kernel::Gone;

/// Directories, and actors, whose numbers are remembered; then a line explains them again.
const MOST: usize = 8192;
/// So far the wall clock may have moved before a line says so.
const MOST_OFF: u64 = 1_000_000;

/// Unit, allowance, process, thread, users and name of the thread.
type ActorKey = [u64; 6];

/// A batch, and what its lines can refer to in the segment.
#[derive(Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    pub(super) seen: Seen,
    /// Rises by one, within a segment.
    pub(super) next: u32,
    dirs: HashMap<Box<[u8]>, u32>,
    actors: HashMap<ActorKey, u32>,
    clock: Option<i64>,
    key: Vec<u8>,
    name: Name,
}

/// Records, and the wall-clock times of the first and the last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) records: u64,
    pub(super) span: Option<(i64, i64)>,
}

impl Seen {
    /// Both, one after the other.
    pub(super) fn and(self, later: Self) -> Self {
        let first = self.span.or(later.span).map(|span| span.0);
        let last = later.span.or(self.span).map(|span| span.1);
        Self { records: self.records + later.records, span: first.zip(last) }
    }
}

impl Batch {
    /// Bytes in it.
    pub(super) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a line.
    pub(super) fn line(&mut self, line: &impl serde::Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.bytes, line)?;
        self.bytes.push(b'\n');
        Ok(())
    }

    /// Adds a record, after what explains it. `clock`: when boot time began. `place` and `actor`
    /// are asked for once for all files of a directory and all ops of an actor.
    pub(super) fn record(
        &mut self,
        gone: &Gone<'_>,
        clock: i64,
        place: impl FnOnce() -> Place,
        actor: impl FnOnce() -> Actor,
    ) -> io::Result<()> {
        if self.clock.is_none_or(|known| known.abs_diff(clock) >= MOST_OFF) {
            self.line(&Line::Clock(clock))?;
            self.clock = Some(clock);
        }
        let mut name = mem::take(&mut self.name);
        name.0.clear();
        let dir = self.dir(gone, &mut name, place)?;
        let actor = self.actor(gone, actor)?;
        let file = FileLine::of(gone.head, dir, actor, name);
        self.line(&file)?;
        self.name = file.name;
        // As a reader has it: by the clock line that is in the file.
        let at = wall_ns(gone.head.time_ns, self.clock.unwrap_or(clock));
        self.seen = self.seen.and(Seen { records: 1, span: Some((at, at)) });
        Ok(())
    }

    /// The number of the directory, and `name` below it: none where the name is the tenant's own,
    /// or could not be read. Such a record has a directory line of its own, with all of its path.
    fn dir(
        &mut self,
        gone: &Gone<'_>,
        name: &mut Name,
        place: impl FnOnce() -> Place,
    ) -> io::Result<u32> {
        let head = gone.head;
        let end = gone.names.iter().position(|&byte| byte == 0).unwrap_or(0);
        let (own, above) = gone.names.split_at(end);
        // Whether there is a name: of one that is empty nothing else is the same.
        let shares = !own.is_empty();
        let cut = u32::from(head.flags & (abi::GONE_CUT | abi::GONE_STRICT)) << 16;
        self.key.clear();
        for number in [
            head.zone,
            head.root,
            head.tenant,
            pair(head.dev, head.tenant_depth),
            pair(head.owner, cut | u32::from(head.mode)),
            above.len() as u64,
        ] {
            self.key.extend(number.to_ne_bytes());
        }
        self.key.extend(above);
        self.key.extend(gone.tenant);
        if shares && let Some(&dir) = self.dirs.get(&self.key[..]) {
            name.0.extend(own);
            return Ok(dir);
        }
        let mut place = place();
        let parent = match place.path.0.strip_suffix(own) {
            Some([]) => Some(0),
            Some([.., b'/']) => Some(place.path.0.len() - own.len() - 1),
            _ => None,
        };
        let parent = parent.filter(|_| shares);
        if let Some(length) = parent {
            place.path.0.truncate(length);
            name.0.extend(own);
        }
        let dir = self.number();
        let (mode, owner) = (head.mode, head.owner);
        self.line(&Line::Dir(dir, Dir { place, mode, owner }))?;
        if parent.is_some() {
            remember(&mut self.dirs, self.key[..].into(), dir);
        }
        Ok(dir)
    }

    fn actor(&mut self, gone: &Gone<'_>, actor: impl FnOnce() -> Actor) -> io::Result<u32> {
        let head = gone.head;
        let comm = u128::from_ne_bytes(head.comm);
        let key = [
            head.unit,
            head.allowance,
            pair(head.pid, head.tid),
            pair(head.uid, head.login_uid),
            comm as u64,
            (comm >> 64) as u64,
        ];
        if let Some(&known) = self.actors.get(&key) {
            return Ok(known);
        }
        let number = self.number();
        self.line(&Line::Actor(number, actor()))?;
        remember(&mut self.actors, key, number);
        Ok(number)
    }

    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    /// Takes everything from so many bytes on out again. What it explained is not forgotten.
    pub(super) fn cut(&mut self, length: usize, seen: Seen) {
        self.bytes.truncate(length);
        self.seen = seen;
    }

    /// Takes its bytes, and gives it room for the next ones.
    pub(super) fn take(&mut self) -> (Vec<u8>, Seen) {
        (mem::take(&mut self.bytes), mem::take(&mut self.seen))
    }

    /// Gives room back.
    pub(super) fn reuse(&mut self, mut bytes: Vec<u8>) {
        bytes.clear();
        self.bytes = bytes;
    }

    /// What numbers mean is explained again: names have changed.
    pub(super) fn forget_names(&mut self) {
        self.dirs.clear();
        self.actors.clear();
    }

    /// Nothing is explained yet: the segment is new, or lines did not get into it.
    pub(super) fn forget(&mut self) {
        self.forget_names();
        self.clock = None;
    }
}

fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn remember<K: Eq + Hash>(numbers: &mut HashMap<K, u32>, key: K, number: u32) {
    if numbers.len() >= MOST {
        numbers.clear();
    }
    numbers.insert(key, number);
}
