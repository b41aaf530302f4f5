//! The audit log: one JSON document per line, only ever appended to, in segments of a limited size.
//!
//! Every record has `seq` (rises by one, also across restarts), `time`, `prev` (the SHA-256 of the
//! line before) and `type`. Heads of that chain are signed with the host's key. What is written
//! down in docs/audit.md is what an auditor checks.
//!
//! It never decides what is recorded, never deletes a segment, and never drops anything silently: a
//! last line that a crash cut short is kept aside, and records that could not be written are
//! counted; both are records.

mod chain;
mod check;
mod findings;
mod key;
mod log;
mod mark;
mod own;
mod queue;
pub(crate) mod read;
mod record;
mod recover;
pub(crate) mod segments;
mod verify;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

pub(crate) use check::verify;
pub(crate) use key::{PUBLIC_FILE, PublicKey};
pub(crate) use log::{AuditFacts, AuditLog, Trouble};
pub(crate) use queue::RECORDS as MOST_RECORDS;
pub(crate) use record::{AllowanceRef, HoldRef, Pause, PolicyZone, Record};
pub(crate) use recover::Recovered;
pub(crate) use verify::{Expected, Summary};
#[cfg(test)]
pub(crate) use {chain::Hash, findings::Findings, verify::Bad};

/// When a segment is full, and when a head is signed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// A segment that is so long gets no more records.
    pub(crate) segment_bytes: u64,
    /// At most so many records come before a checkpoint.
    pub(crate) checkpoint_records: u64,
    /// At most so long after a record comes one.
    pub(crate) checkpoint_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            checkpoint_records: 1000,
            checkpoint_after: Duration::from_secs(3),
        }
    }
}

/// The log cannot be opened.
#[derive(Debug, Error)]
pub(crate) enum AuditError {
    /// A system call failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The operation.
        what: &'static str,
        /// Its object.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// Somebody else writes to it.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The log.
        path: PathBuf,
    },
}

impl AuditError {
    fn io(what: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { what, path: path.to_owned(), source: source.into() }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod types_tests;
