//! What can be in the audit log.

use serde::Serialize;

use crate::api::{CoverageOp, EventReport};

/// One record, without the fields every record has.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Record {
    /// The agent started.
    Start {
        /// Version of the agent.
        version: &'static str,
        /// Version of the interface to the kernel programs.
        abi: u32,
        /// Process.
        pid: u32,
        /// Which boot this is; `time_ns` values of different boots cannot be compared.
        boot_id: Option<String>,
        /// What a crash cut short at the end of the log.
        #[serde(skip_serializing_if = "Option::is_none")]
        torn: Option<Torn>,
        /// Lines at the end of the log that are no records; they were left where they are.
        #[serde(skip_serializing_if = "is_zero")]
        unreadable_lines: u64,
    },
    /// The agent ends; what is pinned stays in force.
    Stop {
        /// The signal.
        signal: &'static str,
        /// Records that could not be written since the start.
        lost: u64,
    },
    /// The guard came up.
    Adopt {
        /// `fresh`, `adopted` or `upgraded`; absent if it did not.
        started: Option<&'static str>,
        /// Why it did not.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A policy was put in force, or was refused.
    Policy {
        /// `in_force`, `not_enforced` (accepted, but there is no guard) or `refused`.
        outcome: &'static str,
        /// `start`, `reload` or `roots` (the policy is the same; its directories changed).
        cause: &'static str,
        /// File.
        path: String,
        /// SHA-256 of the file; absent if it could not be read.
        sha256: Option<String>,
        /// Why it was refused.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// What it guards.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        zones: Vec<PolicyZone>,
    },
    /// An op that was over budget.
    Verdict {
        /// The op, as `holdfast events --json` shows it.
        event: Box<EventReport>,
    },
    /// The proof came out differently than the one before.
    Coverage {
        /// Whether every op that was tried was stopped.
        complete: bool,
        /// Each op.
        ops: Vec<CoverageOp>,
    },
    /// The guard was taken off the host.
    Unpin {
        /// How many pins were removed.
        pins: usize,
        /// Who did it.
        uid: u32,
        /// Their login user, where one is set.
        login_uid: Option<u32>,
        /// Whether an agent was running.
        forced: bool,
    },
}

/// The end of a log that a crash cut short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Torn {
    /// How many bytes.
    pub(crate) bytes: u64,
    /// Where they are now.
    pub(crate) kept_in: String,
}

/// A zone as a policy puts it in force.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyZone {
    /// Name.
    pub(crate) name: String,
    /// `observe` or `enforce`.
    pub(crate) mode: &'static str,
    /// Directories that are guarded; bytes that are not UTF-8 as `\xNN`.
    pub(crate) roots: Vec<String>,
    /// How many directories are guarded although no path leads to them any more.
    #[serde(skip_serializing_if = "no_roots")]
    pub(crate) kept_roots: usize,
    /// Paths that do not exist.
    pub(crate) missing: Vec<String>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn no_roots(n: &usize) -> bool {
    *n == 0
}
