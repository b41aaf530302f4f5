//! How the audit log is.

use serde::{Deserialize, Serialize};

/// The audit log, as the agent that writes it sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditStatus {
    /// Whether it can be written.
    pub(crate) writable: bool,
    /// Why not, if not.
    pub(crate) error: Option<String>,
    /// Since when, RFC 3339 UTC.
    pub(crate) failing_since: Option<String>,
    /// What becomes of decisions then: `deny` or `continue`.
    pub(crate) on_failure: String,
    /// Records written since the agent started.
    pub(crate) records: u64,
    /// Records that wait in memory.
    pub(crate) waiting: u64,
    /// Records that were lost since the agent started.
    pub(crate) lost: u64,
    /// Number of the last signed record.
    pub(crate) head_seq: Option<u64>,
    /// Its hash.
    pub(crate) head_hash: Option<String>,
    /// Records after it.
    pub(crate) unsigned: u64,
    /// Bytes of all segments.
    pub(crate) bytes: u64,
}
