//! Takes events from the kernel, and finds the names that belong to their numbers.

use std::time::Duration;

use holdfast_abi as abi;
use tokio::io::unix::AsyncFd;

use super::message::Decided;
use crate::clock::Now;
use crate::kernel::EventStream;
use crate::roots::{Mounts, absolute, place_of};
use crate::units::Units;

/// Events taken at once, so that questions are answered in between.
const BATCH: usize = 256;
/// How long a mount table is used where nothing is known to have changed.
const MOUNTS_HOLD: Duration = Duration::from_secs(3);

/// What is needed to name places.
#[derive(Debug, Default)]
pub(super) struct Source {
    mounts: Mounts,
    read: Option<Now>,
}

impl Source {
    /// Mounts may have changed: a device number can be another filesystem's.
    pub(super) const fn mounts_changed(&mut self) {
        self.read = None;
    }

    /// Finds the names for one event.
    pub(super) fn decided(&mut self, raw: abi::Event, units: &mut Units, now: Now) -> Decided {
        if self.read.is_none_or(|read| now.since(read) >= MOUNTS_HOLD) {
            // Without the table paths begin at their filesystem's root.
            self.mounts = Mounts::read().unwrap_or_default();
            self.read = Some(now);
        }
        let unit = units.name(raw.unit, Some(raw.pid), now);
        let length = (raw.path_len as usize).min(raw.path.len());
        let place = place_of(&raw.path[..length]);
        let path = if raw.flags & abi::FLAG_PATH_CUT != 0 {
            place
        } else {
            absolute(&self.mounts, (raw.dev >> 20, raw.dev & 0xf_ffff), &place)
        };
        Decided { raw, unit, path }
    }
}

/// Waits for events, and takes some. Never returns without a stream.
pub(super) async fn batch(stream: &mut Option<AsyncFd<EventStream>>) -> Vec<abi::Event> {
    let Some(stream) = stream else {
        return std::future::pending().await;
    };
    let mut batch = Vec::new();
    match stream.readable_mut().await {
        Ok(mut ready) => {
            while batch.len() < BATCH {
                match ready.get_inner_mut().next() {
                    Some(event) => batch.push(event),
                    None => {
                        ready.clear_ready();
                        break;
                    }
                }
            }
        }
        Err(error) => {
            tracing::error!(%error, "waiting for events of the kernel failed");
            // Not in a busy loop.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    batch
}
