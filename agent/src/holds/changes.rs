//! What is new about paused processes, and what is to be done about it.

use std::time::Duration;

use holdfast_abi::{Hold, HoldKey, TaskKey};

use super::paused::Paused;

/// What a survey showed. Everything in it happens in the order of the fields.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Threads that are held now and were not before, or that are throttled for the first time.
    pub(crate) appeared: Vec<Paused>,
    /// Held threads that no longer are.
    pub(crate) over: Vec<Ended>,
    /// Processes whose last held thread no longer is.
    pub(crate) pauses: Vec<EndedPause>,
    /// Entries to remove from the kernel's map: their thread is gone, or their hold is.
    pub(crate) forget_threads: Vec<TaskKey>,
    /// Holds that are over, or whose zone has gone.
    pub(crate) forget_holds: Vec<(u64, HoldKey)>,
    /// Holds whose zone no longer pauses their ops, or not in this way.
    pub(crate) retry: Vec<(u64, HoldKey)>,
    /// Holds that nobody decided about in time, and until when to deny their ops.
    pub(crate) expire: Vec<(u64, HoldKey, u64)>,
    /// Threads that are stopped although something was decided about them.
    pub(crate) go_on: Vec<TaskKey>,
    /// Processes that may have stopped themselves because a child of theirs was paused, which it no
    /// longer is.
    pub(crate) wake: Vec<TaskKey>,
    /// Terminals to be told.
    pub(crate) tell: Vec<Tell>,
}

/// A thread that is no longer held.
#[derive(Debug)]
pub(crate) struct Ended {
    /// As it was.
    pub(crate) paused: Paused,
    /// How it ended.
    pub(crate) outcome: Outcome,
}

/// A process none of whose threads is held any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EndedPause {
    /// Its zone's slot.
    pub(crate) zone: u32,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// How long it took.
    pub(crate) lasted: Duration,
}

/// A terminal to be told about a pause.
#[derive(Debug)]
pub(crate) struct Tell {
    /// Who is paused, and before what.
    pub(crate) paused: Paused,
    /// The process that has the terminal.
    pub(crate) leader: TaskKey,
    /// When it is denied; `None`: it is throttled.
    pub(crate) deadline_ns: Option<u64>,
}

/// How a pause ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Somebody released it.
    Released,
    /// Nobody decided in time, and it was denied.
    Expired,
    /// `holdfast hold kill` ended the process.
    Killed,
    /// The process ended in another way.
    Gone,
    /// It went on in another way: the policy changed, or somebody continued it after it was denied
    /// or drained.
    Resumed,
}

impl Outcome {
    /// Every outcome.
    pub(crate) const ALL: &'static [Self] =
        &[Self::Released, Self::Expired, Self::Killed, Self::Gone, Self::Resumed];

    /// The word used in metrics and the audit log.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Killed => "killed",
            Self::Gone => "gone",
            Self::Resumed => "resumed",
        }
    }
}

/// What can be decided about a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// So many files more, to be spent until then.
    Release {
        /// How many.
        files: u64,
        /// Boot-time nanoseconds.
        until_ns: u64,
    },
    /// Every budget that latches it starts anew.
    ResetBudgets,
    /// The policy in force decides anew.
    Retry,
    /// Its ops are denied until then.
    Deny {
        /// Boot-time nanoseconds.
        until_ns: u64,
    },
}

impl Decision {
    /// Whether it lets anything through.
    pub(crate) const fn lets_go(self) -> bool {
        match self {
            Self::Release { .. } | Self::ResetBudgets => true,
            Self::Retry | Self::Deny { .. } => false,
        }
    }

    /// How a thread ends its pause that goes on after this.
    pub(super) const fn outcome(self) -> Outcome {
        match self {
            Self::Release { .. } | Self::ResetBudgets => Outcome::Released,
            Self::Retry => Outcome::Resumed,
            Self::Deny { .. } => Outcome::Expired,
        }
    }
}

/// How many released files can still be spent.
pub(crate) const fn left(hold: &Hold, release: &holdfast_abi::Release, now_ns: u64) -> u64 {
    if now_ns < release.until_ns { release.files.saturating_sub(hold.used) } else { 0 }
}
