//! The last signed head, in a file of its own beside the segments: what was on this disk once has
//! to be there when the agent starts again. It is there before the first record is: a log without
//! it is one from which somebody has taken it.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::chain::{self, Hash, Head};
use super::key::{HostKey, PublicKey};
use crate::files::write_whole;

/// The file.
pub(crate) const FILE: &str = "head.json";

/// A head, and where the log ended with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Number of the segment.
    pub(crate) segment: u64,
    /// Length of the segment; 0 in the note that is written before the first record.
    pub(crate) length: u64,
    /// The head.
    pub(crate) head: Head,
}

/// What such a file is found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// There is none.
    Missing,
    /// It is as the key has signed it.
    Signed(Mark),
    /// It is not.
    Wrong,
}

#[derive(Serialize, Deserialize)]
struct Document {
    segment: u64,
    length: u64,
    seq: u64,
    hash: String,
}

impl Mark {
    /// Writes it, durably.
    pub(super) fn write(&self, dir: &Path, key: &HostKey) -> io::Result<()> {
        let Self { segment, length, head } = *self;
        let document = Document { segment, length, seq: head.seq, hash: head.hash.to_string() };
        let line = serde_json::to_vec(&document)?;
        write_whole(dir, FILE, &chain::sign(line, key), 0o600)
    }

    /// Reads it. It counts if one of these keys has signed it.
    pub(crate) fn read(dir: &Path, keys: &[PublicKey]) -> io::Result<Found> {
        let line = match fs::read(dir.join(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
            line => line?,
        };
        let is_signed = keys.iter().any(|key| chain::is_signed(&line, key));
        Ok(Self::parse(&line).filter(|_| is_signed).map_or(Found::Wrong, Found::Signed))
    }

    /// Whether there is one that says, whoever wrote it, that there were records. Where there are
    /// none, nobody knows the key.
    pub(super) fn tells_of_records(dir: &Path) -> bool {
        match fs::read(dir.join(FILE)) {
            Ok(line) => Self::parse(&line).is_none_or(|mark| mark.length > 0),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let document: Document = serde_json::from_slice(line).ok()?;
        let Document { segment, length, seq, hash } = document;
        Some(Self { segment, length, head: Head { seq, hash: Hash::parse(&hash)? } })
    }
}
