//! A guest's power, for whoever reads what it prints: it can be made to fail at a moment that the
//! guest does not know.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A guest's power. After it has failed the guest is booted again, with what its data disk was
/// given so far.
#[derive(Clone, Debug, Default)]
pub struct Power(Arc<Mutex<Option<Instant>>>);

impl Power {
    /// Has it fail after so long.
    pub fn cut_in(&self, delay: Duration) {
        *self.moment() = Some(Instant::now() + delay);
    }

    /// It is there again.
    pub(super) fn restore(&self) {
        *self.moment() = None;
    }

    /// How long it will still be there; nothing if nobody cuts it.
    pub(super) fn left(&self) -> Option<Duration> {
        self.moment().map(|moment| moment.saturating_duration_since(Instant::now()))
    }

    fn moment(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        // A panic elsewhere leaves nothing half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
