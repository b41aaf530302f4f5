//! Where records come from.

use std::io;

use crate::kernel::{DestroyedStream, Gone, Lost, Taken};

/// The kernel's ring, or a test's.
pub(super) trait Ring: Send + 'static {
    /// Names it: another one has another name.
    fn id(&self) -> &str;

    /// Has the next record handled; only when that went well does it leave the ring.
    fn take<E>(&mut self, handle: impl FnOnce(Gone<'_>) -> Result<(), E>) -> Taken<E>;

    /// What could not be sent, zone by zone.
    fn lost(&self) -> io::Result<Vec<Lost>>;
}

impl Ring for DestroyedStream {
    fn id(&self) -> &str {
        self.id()
    }

    fn take<E>(&mut self, handle: impl FnOnce(Gone<'_>) -> Result<(), E>) -> Taken<E> {
        self.take(handle)
    }

    fn lost(&self) -> io::Result<Vec<Lost>> {
        self.lost().map_err(io::Error::other)
    }
}
