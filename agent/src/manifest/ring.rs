//! Where records come from.

use std::io;

use crate::kernel::{DestroyedStream, Gone, Lost};

/// The kernel's ring, or a test's. Positions in it never fall.
pub(super) trait Ring: Send + 'static {
    /// Names it: another one has another name.
    fn id(&self) -> &str;

    /// Up to where records were taken off.
    fn taken(&self) -> u64;

    /// See [`DestroyedStream::next`].
    fn next(&mut self, at: &mut u64) -> Option<Option<Gone<'_>>>;

    /// Takes everything before a position off.
    fn take(&mut self, to: u64);

    /// What could not be sent, zone by zone.
    fn lost(&self) -> io::Result<Vec<Lost>>;
}

impl Ring for DestroyedStream {
    fn id(&self) -> &str {
        self.id()
    }

    fn taken(&self) -> u64 {
        self.taken()
    }

    fn next(&mut self, at: &mut u64) -> Option<Option<Gone<'_>>> {
        self.next(at)
    }

    fn take(&mut self, to: u64) {
        self.take(to);
    }

    fn lost(&self) -> io::Result<Vec<Lost>> {
        self.lost().map_err(io::Error::other)
    }
}
