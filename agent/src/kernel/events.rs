//! The event stream.

use std::os::fd::{AsRawFd, RawFd};

use aya::maps::{MapData, RingBuf};
use holdfast_abi::Event;

/// Events from the kernel. Wait for the descriptor to become readable, then call
/// [`EventStream::next`] until it returns `None`.
pub struct EventStream {
    ring: RingBuf<MapData>,
}

impl EventStream {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring }
    }

    /// The next event, if there is one now.
    #[expect(clippy::should_implement_trait, reason = "not an iterator: None means 'not now'")]
    pub fn next(&mut self) -> Option<Event> {
        loop {
            let item = self.ring.next()?;
            if item.len() < size_of::<Event>() {
                // Only programs of another ABI could send one, and those have other pins.
                tracing::error!(
                    bytes = item.len(),
                    "an event from the kernel is too short; skipped"
                );
                continue;
            }
            // SAFETY: `Event` is plain data, for which any bytes are a value, and there are enough
            // of them.
            #[expect(unsafe_code, reason = "reads plain data from the kernel's ring buffer")]
            return Some(unsafe { item.as_ptr().cast::<Event>().read_unaligned() });
        }
    }
}

impl AsRawFd for EventStream {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}
