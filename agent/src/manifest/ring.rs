//! Where records come from.

use std::io;

use crate::kernel::{DestroyedStream, Gone, Lost};

/// The kernel's ring, or a test's. Positions in it never fall.
pub(super) trait Ring: Send + 'static {
    /// Names it: another one has another name.
    fn id(&self) -> &str;

    /// Up to where records are kept.
    fn kept(&self) -> u64;

    /// See [`DestroyedStream::next`].
    fn next(&mut self, at: &mut u64) -> Option<Option<Gone<'_>>>;

    /// Everything before a position is kept.
    fn keep(&mut self, to: u64);

    /// What could not be sent, zone by zone.
    fn lost(&self) -> io::Result<Vec<Lost>>;
}

impl Ring for DestroyedStream {
    fn id(&self) -> &str {
        self.id()
    }

    fn kept(&self) -> u64 {
        self.kept()
    }

    fn next(&mut self, at: &mut u64) -> Option<Option<Gone<'_>>> {
        self.next(at)
    }

    fn keep(&mut self, to: u64) {
        self.keep(to);
    }

    fn lost(&self) -> io::Result<Vec<Lost>> {
        self.lost().map_err(io::Error::other)
    }
}
