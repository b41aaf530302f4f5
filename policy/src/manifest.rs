//! What a policy says about the manifest: how much of the disk it may take.

use crate::problem::Fault;
use crate::units::{format_bytes, parse_bytes};

/// What the manifest may take of the disk if the policy does not say: some 2,700,000 ops.
pub const DEFAULT_MANIFEST_BYTES: u64 = 256 << 20;
/// The least it can be given: in less there is nothing left to recover by.
pub const MIN_MANIFEST_BYTES: u64 = 1 << 20;
/// The most: more is no list that somebody reads.
pub const MAX_MANIFEST_BYTES: u64 = 1 << 40;

/// `[manifest]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Bytes on disk, at most.
    pub max_bytes: u64,
}

impl Default for Manifest {
    fn default() -> Self {
        Self { max_bytes: DEFAULT_MANIFEST_BYTES }
    }
}

/// Reads how much of the disk it may take, such as `256MiB`.
pub(crate) fn parse_max_bytes(text: &str) -> Result<u64, Fault> {
    bounded(i128::from(parse_bytes(text)?))
}

/// The same from a number of bytes.
pub(crate) fn bounded(bytes: i128) -> Result<u64, Fault> {
    match u64::try_from(bytes) {
        Ok(bytes) if (MIN_MANIFEST_BYTES..=MAX_MANIFEST_BYTES).contains(&bytes) => Ok(bytes),
        _ => Err(Fault::new(
            format!("a manifest of {bytes} bytes is out of bounds"),
            format!(
                "it can take from {} to {} of the disk; to have none for a zone, write \
                 `manifest = false` there",
                format_bytes(MIN_MANIFEST_BYTES),
                format_bytes(MAX_MANIFEST_BYTES)
            ),
        )),
    }
}
