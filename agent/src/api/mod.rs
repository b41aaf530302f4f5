//! The documents that the agent and the command line exchange over the control socket, and that
//! `--json` prints. Both sides use these types, so that they cannot drift apart.
//!
//! Shapes only: nothing here reads, decides or prints.

mod allowance;
mod audit;
mod break_glass;
mod budget;
mod event;
mod explain;
mod hold;
mod status;

use serde::{Deserialize, Serialize};

pub(crate) use allowance::{
    AllowanceList, AllowanceReport, BindReport, ClosedReport, GrantReport, RefusedReport, RunBody,
    SignatureBody, SignerReport, Spent, SubmitBody,
};
pub(crate) use audit::AuditStatus;
pub(crate) use break_glass::{
    ChallengeReport, CloseGlassBody, CodeReport, CodesReport, GlassBody, GlassReport, GlassStatus,
    NewCode, NewCodesBody, NewCodesReport, ProofBody, Secret, WantedBody,
};
pub(crate) use budget::{AccountReport, BudgetAccounts, BudgetList, ResetBody, ResetReport};
pub(crate) use event::{
    BudgetLeft, Cost, EventLine, EventReport, Tenant, TripCause, UnitRef, Until,
};
pub(crate) use explain::{Caller, ExplainBudget, Explanation, NotGuarded, Removal};
pub(crate) use hold::{
    Amount, HoldBudget, HoldList, HoldReport, HoldTenant, KillBody, KillReport, ParentReport,
    PausedCount, PausedProcess, PausedThread, Person, ProcessReport, ReleaseReport, ReleasedCount,
    ReleasedFiles, STATE_AN_AMOUNT, SignalFailure, UserRef,
};
pub(crate) use status::{
    Actor, BudgetStatus, CoverageOp, CoverageStatus, EventsStatus, OpenAllowance, OpsRow,
    PathState, PathStatus, PolicyStatus, Side, Status, Tripped, ZoneState, ZoneStatus,
};

/// Everything, with every hold (`GET /v1/look`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Look {
    /// As `GET /v1/status`, with the last proof.
    pub(crate) status: Status,
    /// Oldest first.
    pub(crate) holds: Vec<HoldReport>,
}

/// The policy in force (`GET /v1/policy`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PolicyReport {
    /// The file it was read from.
    pub(crate) path: String,
    /// Its SHA-256.
    pub(crate) sha256: String,
    /// The resolved policy as text.
    pub(crate) text: String,
    /// The resolved policy.
    pub(crate) resolved: serde_json::Value,
}

/// Answer to a reload (`POST /v1/policy/reload`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReloadReport {
    /// SHA-256 of the file that is in force now.
    pub(crate) sha256: String,
    /// How many zones it has.
    pub(crate) zones: usize,
    /// Paths that do not exist yet.
    pub(crate) missing: Vec<String>,
    /// Whether the kernel has it.
    pub(crate) in_force: bool,
}

/// Every answer that is not 2xx.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ErrorReport {
    /// What is wrong, where, and what to do about it; may have several lines.
    pub(crate) error: String,
}
