//! What is passed between the state and the executor about allowances.

use holdfast_abi as abi;
use holdfast_policy::allowance::{Checked, RefusedReason};

use super::message::Reply;
use super::plan::Origin;
use crate::allowances::{Bound, Entry, ProcessId, Revoked, Tree, Why};
use crate::api::{Person, SignerReport, SubmitBody};
use crate::kernel::AllowanceRow;

/// An allowance that somebody submits.
#[derive(Debug)]
pub(crate) struct Submission {
    /// What was sent.
    pub(crate) body: SubmitBody,
    /// Who sent it.
    pub(crate) person: Person,
    /// SHA-256 of the document.
    pub(crate) digest: String,
    /// Its id, if it could be read.
    pub(crate) id: Option<String>,
    /// Who signed it, as far as that is known by now.
    pub(crate) signers: Vec<SignerReport>,
    /// Who is waiting for an answer.
    pub(crate) reply: Reply,
}

/// One whose document, signatures, people, host and time are right.
#[derive(Debug)]
pub(crate) struct Judged {
    /// What was submitted.
    pub(crate) submission: Submission,
    /// What it says, and who signed it.
    pub(crate) checked: Checked,
    /// The policy that it was judged by.
    pub(crate) policy: Origin,
}

/// Where it leads on this host, and who may spend it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Resolved {
    /// Who may spend it.
    pub(crate) bound: Bound,
    /// The directories and files of each grant.
    pub(crate) places: Vec<Vec<abi::Learned>>,
}

/// One that is to be opened.
#[derive(Debug)]
pub(crate) struct Opening {
    /// What was submitted.
    pub(crate) submission: Submission,
    /// As it will be remembered, but for its serial and times, which are those of the moment it is
    /// opened at.
    pub(crate) entry: Entry,
    /// Ops of each grant.
    pub(crate) ops: Vec<abi::OpMask>,
    /// The directories and files of each grant.
    pub(crate) places: Vec<Vec<abi::Learned>>,
    /// Ids that are forgotten to make room for this one.
    pub(crate) forget: Vec<String>,
}

/// A process that asks to be the first of a tree.
#[derive(Debug)]
pub(crate) struct Joining {
    /// The allowance.
    pub(crate) id: String,
    /// Its serial.
    pub(crate) serial: u64,
    /// The tree as it is so far.
    pub(crate) tree: Tree,
    /// Who asks.
    pub(crate) person: Person,
    /// Who is waiting for an answer.
    pub(crate) reply: Reply,
}

/// An allowance that is over.
#[derive(Debug)]
pub(crate) struct Closing {
    /// The allowance.
    pub(crate) id: String,
    /// Its serial.
    pub(crate) serial: u64,
    /// Why.
    pub(crate) why: Why,
    /// The first process of its tree.
    pub(crate) first: Option<ProcessId>,
    /// Who closes it, if somebody does.
    pub(crate) by: Option<Person>,
    /// Who is waiting for an answer.
    pub(crate) reply: Option<Reply>,
}

/// What closing one came to.
#[derive(Debug, Default)]
pub(crate) struct Shut {
    /// What the kernel had; `None` if nothing.
    pub(crate) row: Option<AllowanceRow>,
    /// Whether the first process of its tree has ended.
    pub(crate) finished: bool,
}

/// An id that somebody revokes.
#[derive(Debug)]
pub(crate) struct Revoking {
    /// The id, when, and who.
    pub(crate) revoked: Revoked,
    /// Who is waiting for an answer.
    pub(crate) reply: Reply,
}

/// What is counted about allowances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AllowanceCount {
    /// One was activated.
    Activated,
    /// One was refused.
    Refused(RefusedReason),
}
