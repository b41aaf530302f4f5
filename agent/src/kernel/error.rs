//! What can go wrong at the kernel boundary.

use thiserror::Error;

/// An operation on the kernel side that failed.
#[derive(Debug, Error)]
pub enum KernelError {
    /// Not built yet.
    #[error("the kernel side is not built yet")]
    NotBuilt,
}
