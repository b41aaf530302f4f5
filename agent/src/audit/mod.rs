//! The audit log: one JSON document per line, only ever appended to.
//!
//! Every record has `seq` (rises by one, also across restarts), `time`, `type` and `prev`. `prev` is reserved for the
//! hash of the record before it and is `null` until records are chained.
//!
//! It never decides what is recorded, and never drops anything silently: a last line that a crash cut short is kept
//! aside and reported, and records that could not be written are counted.

mod record;
mod recover;

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::Serialize;
use thiserror::Error;

use crate::clock::Now;

pub(crate) use record::{AllowanceRef, HoldRef, Pause, PolicyZone, Record};
pub(crate) use recover::Recovered;

/// Name of the log below the state directory.
const DIRECTORY: &str = "audit";
const FILE: &str = "audit.jsonl";

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

/// The open log. Nobody else can have it open for writing at the same time.
#[derive(Debug)]
pub(crate) struct AuditLog {
    file: File,
    /// Length of all complete lines.
    length: u64,
    next_seq: u64,
    /// Lines that are not in the file yet.
    pending: Vec<u8>,
    pending_records: u64,
    /// Whether the file has lines that may not be on the disk yet.
    dirty: bool,
    /// Records that could not be written.
    lost: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    time: String,
    prev: Option<&'a str>,
    #[serde(flatten)]
    record: &'a Record,
}

impl AuditLog {
    /// Opens the log below `state_dir`, making both if they are not there.
    pub(crate) fn open(state_dir: &Path, now: Now) -> Result<(Self, Recovered), AuditError> {
        let dir = state_dir.join(DIRECTORY);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(|error| AuditError::io("make", &dir, error))?;
        let path = dir.join(FILE);
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let file = options.open(&path).map_err(|error| AuditError::io("open", &path, error))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(AuditError::InUse { path }),
            outcome => outcome.map_err(|error| AuditError::io("lock", &path, error))?,
        }
        file.set_permissions(std::fs::Permissions::from_mode(0o600))
            .map_err(|error| AuditError::io("restrict", &path, error))?;
        let recovered = recover::recover(&file, &path, now)?;
        // A new file is only there for good once its directory is on the disk.
        File::open(&dir)
            .and_then(|dir| dir.sync_all())
            .map_err(|error| AuditError::io("write to disk", &dir, error))?;
        let log = Self {
            file,
            length: recovered.length,
            next_seq: recovered.last_seq.map_or(1, |seq| seq + 1),
            pending: Vec::new(),
            pending_records: 0,
            dirty: false,
            lost: 0,
        };
        Ok((log, recovered))
    }

    /// Adds a record. It is in the file after the next [`AuditLog::flush`].
    pub(crate) fn append(&mut self, record: &Record, now: Now) {
        let line = Line { seq: self.next_seq, time: now.wall(), prev: None, record };
        match serde_json::to_writer(&mut self.pending, &line) {
            Ok(()) => {
                self.pending.push(b'\n');
                self.pending_records += 1;
                self.next_seq += 1;
            }
            Err(error) => {
                // Records are plain structures: this cannot happen, and if it does it shows.
                tracing::error!(%error, "an audit record cannot be written as JSON");
                self.lost += 1;
            }
        }
    }

    /// Writes what was added to the file. If that fails nothing of it stays there; it is counted as lost and its
    /// numbers are used again.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let (lines, records) =
            (std::mem::take(&mut self.pending), std::mem::take(&mut self.pending_records));
        match self.file.write_all(&lines) {
            Ok(()) => {
                self.length += lines.len() as u64;
                self.dirty = true;
                Ok(())
            }
            Err(error) => {
                self.lost += records;
                self.next_seq -= records;
                self.file.set_len(self.length)?;
                Err(error)
            }
        }
    }

    /// Writes everything to the disk, if there is anything new.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        if self.dirty {
            self.file.sync_data()?;
            self.dirty = false;
        }
        Ok(())
    }

    /// Records that could not be written.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests;
