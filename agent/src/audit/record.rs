//! What can be in the audit log.

use serde::Serialize;

use crate::api::{
    Actor, BindReport, CoverageOp, EventReport, GlassReport, GrantReport, Person, ProcessReport,
    SignalFailure, SignerReport, UnitRef, Until,
};
use crate::manifest::{Sealed, Summarised};

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
        /// `accepted` (a wider one, on the disk before it is put in force), `in_force`,
        /// `not_enforced` (accepted, but there is no guard) or `refused`.
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
    /// A thread is held.
    Hold {
        /// The hold, and what the thread was about to do.
        #[serde(flatten)]
        pause: Box<Pause>,
        /// When the hold is denied if nobody decides.
        deadline: Option<Until>,
    },
    /// A process is throttled; once for each trip, however often it is stopped.
    Throttle {
        /// The hold, and what the process was about to do.
        #[serde(flatten)]
        pause: Box<Pause>,
    },
    /// A thread is no longer held.
    HoldEnd {
        /// Number of the hold.
        hold: u64,
        /// Its zone.
        zone: String,
        /// Process.
        pid: u32,
        /// Thread.
        tid: u32,
        /// `released`, `expired`, `killed`, `gone` or `resumed`.
        outcome: &'static str,
        /// How long it was held.
        held_seconds: f64,
    },
    /// Somebody releases a hold. On the disk before anything is released.
    Release {
        /// Which, and to whom it applied.
        #[serde(flatten)]
        hold: HoldRef,
        /// Files released; absent if budgets are reset.
        files: Option<u64>,
        /// Until when they can be spent.
        until: Option<Until>,
        /// Whether budgets are reset instead.
        budget_reset: bool,
        /// Who does it.
        person: Person,
    },
    /// What a release came to.
    ReleaseOutcome {
        /// Which, and whom it let go on.
        #[serde(flatten)]
        hold: HoldRef,
        /// Budgets that were reset; absent if files were released.
        budgets_reset: Option<usize>,
        /// Why nothing was released, if so.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// Who did it.
        person: Person,
    },
    /// Somebody killed what a hold held.
    Kill {
        /// Which, and whom it struck.
        #[serde(flatten)]
        hold: HoldRef,
        /// The signal.
        signal: String,
        /// Who did it.
        person: Person,
    },
    /// Nobody decided about a hold in time.
    Expire {
        /// Which, and whom it struck.
        #[serde(flatten)]
        hold: HoldRef,
        /// Until when its ops are denied.
        until: Until,
    },
    /// The policy changed or budgets were reset, and what was paused before is decided anew.
    HoldRetry {
        /// Which, and to whom it applied.
        #[serde(flatten)]
        hold: HoldRef,
        /// Who reset the budgets; absent if the policy changed.
        #[serde(skip_serializing_if = "Option::is_none")]
        person: Option<Person>,
    },
    /// A person resets the budgets of an actor. On the disk (`intended`) before anything is reset.
    BudgetReset {
        /// `intended`, then `done` or `failed`.
        outcome: &'static str,
        /// The zone.
        zone: String,
        /// Whose budgets.
        actor: Actor,
        /// Labels of the budgets.
        budgets: Vec<String>,
        /// Why.
        reason: String,
        /// Why nothing was reset, if it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// Who does it.
        person: Person,
    },
    /// The proof came out differently than the one before.
    Coverage {
        /// Whether every op that was tried was stopped.
        complete: bool,
        /// Each op.
        ops: Vec<CoverageOp>,
    },
    /// Somebody submitted an allowance.
    AllowanceSubmit {
        /// Which; who really signed it is not known yet.
        #[serde(flatten)]
        allowance: AllowanceRef,
        /// The document's file.
        path: String,
        /// The signatures' files.
        signatures: Vec<String>,
        /// The command it is for; absent without one.
        command: Option<String>,
        /// Who did it.
        person: Person,
    },
    /// An allowance is open. On the disk before the kernel is told.
    AllowanceActivate {
        /// Which.
        #[serde(flatten)]
        allowance: AllowanceRef,
        /// The kernel's number for it.
        serial: u64,
        /// Why it is wanted.
        reason: String,
        /// Who wants it.
        requested_by: String,
        /// Until when it can be spent.
        until: Until,
        /// Who may spend it.
        bind: BindReport,
        /// What it grants.
        grants: Vec<GrantReport>,
        /// Who submitted it.
        person: Person,
    },
    /// The first process of an allowance's tree is marked.
    AllowanceJoin {
        /// Which.
        #[serde(flatten)]
        allowance: AllowanceRef,
        /// The process.
        pid: u32,
        /// Who asked.
        person: Person,
    },
    /// What was spent of an open allowance; at most once a minute each.
    AllowanceSpend {
        /// Which.
        #[serde(flatten)]
        allowance: AllowanceRef,
        /// Its grants, and what was spent of them.
        grants: Vec<GrantReport>,
    },
    /// An allowance is over.
    AllowanceClose {
        /// Which.
        #[serde(flatten)]
        allowance: AllowanceRef,
        /// `finished`, `never_started`, `expired`, `revoked`, `closed`, `rebooted`, `policy` or
        /// `lost`.
        why: &'static str,
        /// Its grants, and what was spent of them in all.
        grants: Vec<GrantReport>,
        /// Who closed it, if somebody did.
        person: Option<Person>,
    },
    /// An id was revoked.
    AllowanceRevoke {
        /// Which; only its id is known if it was never submitted.
        #[serde(flatten)]
        allowance: AllowanceRef,
        /// Who did it.
        person: Person,
    },
    /// An allowance, or a process that wanted to join one, was refused.
    AllowanceRefuse {
        /// Which, as far as known.
        #[serde(flatten)]
        allowance: AllowanceRef,
        /// The reason in one word.
        reason: &'static str,
        /// What was wrong.
        error: String,
        /// Who submitted it.
        person: Person,
    },
    /// The kernel had an allowance that is not known here; it was closed.
    AllowanceUnknown {
        /// The kernel's number for it.
        serial: u64,
    },
    /// A break-glass is open. On the disk before the kernel is told.
    BreakGlassOpen {
        /// All about it.
        #[serde(flatten)]
        glass: Box<GlassReport>,
    },
    /// The first process of a break-glass's tree is marked.
    BreakGlassJoin {
        /// Its number.
        number: u64,
        /// Its zone.
        zone: String,
        /// The process.
        pid: u32,
        /// Who asked.
        person: Person,
    },
    /// A break-glass is still open; once a minute.
    BreakGlassSpend {
        /// All about it, with what was spent so far.
        #[serde(flatten)]
        glass: Box<GlassReport>,
    },
    /// A break-glass is over.
    BreakGlassClose {
        /// All about it, with why and what was spent in all.
        #[serde(flatten)]
        glass: Box<GlassReport>,
    },
    /// A break-glass was refused; of wrong codes at most one record a minute.
    BreakGlassRefuse {
        /// The zone, as it was asked for; absent where this stands for several.
        zone: Option<String>,
        /// The reason in one word, of the last one.
        reason: &'static str,
        /// What was wrong with the last one.
        error: String,
        /// How many this stands for.
        count: u64,
        /// Who gave the last one.
        person: Option<Person>,
    },
    /// Codes were made.
    BreakGlassCodes {
        /// Their numbers.
        numbers: Vec<u64>,
        /// How many unused ones are worthless since then.
        replaced: usize,
        /// Who did it.
        person: Person,
    },
    /// A segment of the manifest is closed: from now on it must not change.
    ManifestSeal {
        /// Which, and what it is.
        #[serde(flatten)]
        sealed: Sealed,
    },
    /// A segment of the manifest was summarised: there was no more room for it.
    ManifestSummarise {
        /// Which, and what it was.
        #[serde(flatten)]
        summarised: Summarised,
    },
    /// The guard was taken off the host.
    Unpin {
        /// How many pins were removed.
        pins: usize,
        /// Who did it.
        uid: u32,
        /// Their login user, where one is set.
        login_uid: Option<u32>,
        /// Whether an agent was running, processes were paused, or a zone was enforced in which no
        /// break-glass was open.
        forced: bool,
        /// Processes that were paused, and stay so until somebody continues or kills them.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        paused: Vec<u32>,
        /// Zones that were enforced until then.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        enforced: Vec<String>,
    },
}

impl Record {
    /// Whether it is about what processes do, of which there can be very many, rather than what
    /// people and the agent decide.
    pub(crate) const fn is_event(&self) -> bool {
        matches!(
            self,
            Self::Verdict { .. }
                | Self::Hold { .. }
                | Self::Throttle { .. }
                | Self::HoldEnd { .. }
                | Self::AllowanceSpend { .. }
        )
    }
}

/// A pause as it began.
#[derive(Debug, Serialize)]
pub(crate) struct Pause {
    /// Number of the hold.
    pub(crate) hold: u64,
    /// Its zone.
    pub(crate) zone: String,
    /// Whether it was there when the agent started.
    pub(crate) adopted: bool,
    /// The op, as `holdfast events --json` shows it.
    pub(crate) event: EventReport,
    /// What /proc said about the process.
    pub(crate) process: ProcessReport,
}

/// A hold that something was decided about.
#[derive(Debug, Serialize)]
pub(crate) struct HoldRef {
    /// Its number.
    pub(crate) hold: u64,
    /// Its zone.
    pub(crate) zone: String,
    /// The unit whose ops it holds.
    pub(crate) unit: UnitRef,
    /// The user whose ops it holds.
    pub(crate) user: u32,
    /// Processes that were signalled.
    pub(crate) processes: Vec<u32>,
    /// Processes that could not be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) failed: Vec<SignalFailure>,
}

/// An allowance, as far as it is known.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AllowanceRef {
    /// Its id; absent if the document cannot be read.
    pub(crate) id: Option<String>,
    /// SHA-256 of the document; absent if it was never seen.
    pub(crate) digest: Option<String>,
    /// Whose signatures count.
    pub(crate) signers: Vec<SignerReport>,
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

fn no_roots(n: &usize) -> bool {
    *n == 0
}
