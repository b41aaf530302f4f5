//! What the log says about itself.

use serde::{Deserialize, Serialize};

/// Records that the log adds by itself. `head` and `checkpoint` are signed.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Own {
    /// A segment begins.
    Head {
        /// Version of what is described in docs/audit.md.
        format: u32,
        /// Number of the segment, as in its name.
        segment: u64,
        /// The host's name.
        host: String,
        /// What its signatures are checked with.
        key: String,
        /// `first`, `full`, `new_key`, `damaged`, `behind`, `replaced` or `taken_over`.
        why: &'static str,
        /// The log of a version that did not chain its records.
        #[serde(skip_serializing_if = "Option::is_none")]
        previous_log: Option<PreviousLog>,
    },
    /// Everything up to here is signed.
    Checkpoint {
        /// `time`, `count`, `decision`, `full` or `stop`.
        why: &'static str,
    },
    /// A crash cut the end of the log short. What was there was kept aside.
    Torn {
        /// The segment.
        file: String,
        /// Where in it.
        offset: u64,
        /// How many bytes.
        bytes: u64,
        /// Their SHA-256.
        sha256: String,
        /// Where they are now.
        kept_in: String,
    },
    /// The log was found shorter than it had been on this disk.
    Behind {
        /// The last record that was there once.
        expected_seq: u64,
        /// Its hash.
        expected_hash: String,
        /// The last record that was found.
        found_seq: u64,
    },
    /// The log was found without the note of where it ended, which is there before its first record
    /// is.
    Unmarked {
        /// The last record that was found.
        found_seq: u64,
    },
    /// The log was found changed where it had been signed before. It was left as it was.
    Damaged {
        /// The segment.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// The segment was changed or taken away while it was being written to.
    Disturbed {
        /// The segment.
        file: String,
        /// What was found.
        what: String,
    },
    /// Records that could not be kept while the log could not be written.
    Lost {
        /// How many.
        records: u64,
        /// When the first was lost.
        from: String,
        /// When the last was.
        to: String,
    },
    /// The log could not be written for a while.
    Unwritable {
        /// Why, at first.
        error: String,
        /// Since when.
        from: String,
        /// How many records waited for it in memory.
        waited: u64,
    },
}

/// A log that begins where another ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PreviousLog {
    /// The file.
    pub(crate) file: String,
    /// Its length.
    pub(crate) bytes: u64,
    /// SHA-256 of all of it, which is also the `prev` of this record.
    pub(crate) sha256: String,
}

impl Own {
    /// As a JSON object.
    pub(super) fn body(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a plain structure")
    }

    /// Whether its line is signed.
    pub(super) const fn is_signed(kind: &str) -> bool {
        matches!(kind.as_bytes(), b"head" | b"checkpoint")
    }
}
