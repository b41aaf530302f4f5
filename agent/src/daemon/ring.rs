//! The last events, in memory.

use std::collections::VecDeque;
use std::sync::Arc;

/// How many events are kept.
pub(crate) const KEPT: usize = 1024;

/// The last [`KEPT`] events, each as a line of JSON.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    lines: VecDeque<Arc<str>>,
    dropped: u64,
}

impl Ring {
    /// Adds one, and forgets the oldest if there is no room.
    pub(crate) fn push(&mut self, line: Arc<str>) {
        if self.lines.len() == KEPT {
            self.lines.pop_front();
            self.dropped += 1;
        }
        self.lines.push_back(line);
    }

    /// Oldest first.
    pub(crate) fn lines(&self) -> Vec<Arc<str>> {
        self.lines.iter().cloned().collect()
    }

    /// How many are kept.
    pub(crate) fn kept(&self) -> u64 {
        self.lines.len() as u64
    }

    /// How many were forgotten.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_is_counted() {
        let mut ring = Ring::default();
        for n in 0..KEPT + 3 {
            ring.push(n.to_string().into());
        }
        assert_eq!((ring.kept(), ring.dropped()), (KEPT as u64, 3));
        assert_eq!(&*ring.lines()[0], "3");
    }
}
