//! One paused thread, as the book keeps it.

use holdfast_abi::{Held, TaskKey, Verdict};

use super::stat::TaskState;
use super::survey::News;

/// A thread that is paused.
#[derive(Clone)]
pub(crate) struct Paused {
    /// Which.
    pub(crate) key: TaskKey,
    /// As the kernel keeps it.
    pub(crate) held: Held,
    /// What was found out about it.
    pub(crate) news: News,
    /// Whether an agent before this one has seen it, or could have.
    pub(crate) adopted: bool,
    /// What /proc says now.
    pub(super) state: TaskState,
    /// Since when it was seen running, and how often.
    pub(super) restless: Option<(u64, u32)>,
}

impl Paused {
    /// Whether it is held; else it is throttled.
    pub(crate) fn is_held(&self) -> bool {
        is_held(&self.held)
    }
}

/// The same of what the kernel keeps.
pub(super) fn is_held(held: &Held) -> bool {
    held.event.verdict != Verdict::Throttle as u8
}

impl std::fmt::Debug for Paused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Paused")
            .field("key", &self.key)
            .field("hold", &self.held.hold)
            .field("since_ns", &self.held.since_ns)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
