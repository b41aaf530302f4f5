//! Ancestors of processes that were paused: `su` and its like stop themselves when their child is
//! stopped, and nobody but a shell with job control would continue them.

use std::collections::{BTreeMap, HashSet};

use holdfast_abi::{MAX_HELD, TaskKey};

use super::paused::Paused;

/// How long they are looked after, in nanoseconds: one that waits for its child learns of the pause
/// later, and stops itself then.
const LASTS: u64 = 5_000_000_000;
/// How many are; they were continued with their child already.
const MOST: usize = MAX_HELD as usize;

/// Who may have to be continued, and until when that is looked after.
#[derive(Debug, Default)]
pub(super) struct Waking {
    until: BTreeMap<TaskKey, u64>,
}

impl Waking {
    /// A child of these is no longer paused.
    pub(super) fn add(&mut self, wrappers: Vec<TaskKey>, now: u64) {
        for wrapper in wrappers {
            if self.until.len() < MOST || self.until.contains_key(&wrapper) {
                self.until.insert(wrapper, now + LASTS);
            }
        }
    }

    /// Those that have no paused child, and are not paused themselves.
    pub(super) fn due<'a>(
        &mut self,
        paused: impl Iterator<Item = &'a Paused>,
        now: u64,
    ) -> Vec<TaskKey> {
        self.until.retain(|_, until| now < *until);
        if self.until.is_empty() {
            return Vec::new();
        }
        let (mut waiting, mut own) = (HashSet::new(), HashSet::new());
        for paused in paused {
            if own.insert(paused.key.pid) {
                waiting.extend(paused.news.process.wrappers());
            }
        }
        let is_due = |key: &&TaskKey| !waiting.contains(*key) && !own.contains(&key.pid);
        self.until.keys().filter(is_due).copied().collect()
    }
}
