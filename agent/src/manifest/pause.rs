//! How long nothing is tried after a failure: writing to a full disk begins with summing a segment
//! up, again and again in vain.

use std::time::Duration;

use crate::clock::Now;

/// After the first failure.
const SHORTEST: Duration = Duration::from_millis(200);
/// However often it failed.
const LONGEST: Duration = Duration::from_secs(10);

/// A pause that gets longer with each failure.
#[derive(Debug, Default)]
pub(super) struct Pause {
    length: Duration,
    since: Option<Now>,
}

impl Pause {
    /// It failed: twice as long as the last time.
    pub(super) fn failed(&mut self, now: Now) {
        self.length = (self.length * 2).clamp(SHORTEST, LONGEST);
        self.since = Some(now);
    }

    /// It worked.
    pub(super) fn worked(&mut self) {
        *self = Self::default();
    }

    /// Whether it is to be tried.
    pub(super) fn is_over(&self, now: Now) -> bool {
        self.since.is_none_or(|since| now.since(since) >= self.length)
    }
}
