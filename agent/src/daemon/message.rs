//! What happens to the daemon, and what it does about it. Both are closed sets.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use holdfast_abi as abi;
use holdfast_policy::allowance::Refused;
use tokio::sync::{broadcast, oneshot};

use super::allowance::{
    AllowanceCount, Closing, Joining, Judged, Opening, Resolved, Revoking, Shut, Submission,
};
use super::aside::LearnReply;
use super::disk::Outcome;
use super::glass::{GlassAction, GlassAsk, GlassEvent};
use super::plan::{Plan, PlanError};
use crate::allowances::{Change, Entry, Loaded, ProcessId, Survey as AllowanceSurvey, Trust};
use crate::api::{Amount, Person, RefusedReport, ResetBody, ResetReport, SubmitBody};
use crate::audit::Record;
use crate::holds::{DeadlySignal, Decision, Delivered, EndedPause, Survey};
use crate::kernel::{Check, Coverage, Started};
use crate::manifest::News;
use crate::roots::{Found, RootProblem};

/// Everything that can happen to the daemon.
#[derive(Debug)]
pub(crate) enum Event {
    /// The kernel decided on an op.
    Decided(Box<Decided>),
    /// A second has passed, or about that.
    Tick,
    /// Mounts or names have changed that can matter.
    HostChanged,
    /// Somebody asks.
    Asked(Ask, Reply),
    /// SIGHUP.
    HangUp,
    /// SIGTERM, SIGINT.
    Terminate(&'static str),
    /// Outcome of [`Action::StartGuard`].
    GuardStarted(Result<Started, String>),
    /// Outcome of [`Action::Probe`].
    Probed(Vec<Check>),
    /// Outcome of [`Action::ReadPolicy`].
    PolicyRead(Result<Box<Plan>, PlanError>, Option<Reply>),
    /// Outcome of [`Action::Survey`].
    Surveyed {
        /// Where the paths of the policy lead now.
        found: Result<Found, RootProblem>,
        /// Whether a directory in force was made anew under the same inode number.
        stale: bool,
        /// Devices of guarded directories that no mount shows.
        unmounted: BTreeSet<u32>,
    },
    /// Outcome of [`Action::Apply`].
    Applied(Box<Plan>, Cause, Result<Applied, String>, Option<Reply>),
    /// Outcome of [`Action::Prove`].
    Proved(Coverage),
    /// Everything the kernel has sent for now was handled.
    CaughtUp,
    /// It may be the turn of throttled processes.
    Pace,
    /// Outcome of [`Action::SurveyHolds`].
    HoldsSurveyed(Result<Survey, String>, Option<(Ask, Reply)>),
    /// Outcome of [`Action::Decide`].
    HoldDecided(Box<Decide>, Result<Done, String>),
    /// Outcome of [`Action::Kill`].
    HoldKilled(Box<Kill>, Result<Delivered, String>),
    /// Outcome of [`Action::ResetBudgets`]: the report and the holds it concerns, or why nothing
    /// was reset.
    BudgetsReset(Box<Resetting>, Result<Box<Reset>, (Refusal, String)>),
    /// Outcome of [`Action::LoadAllowances`]: what was kept on disk, and the id of this boot.
    AllowancesLoaded(Result<Box<(Loaded, String)>, String>),
    /// Outcome of [`Action::SaveAllowances`].
    AllowancesSaved(Box<Change>, Result<(), String>),
    /// Outcome of [`Action::SurveyAllowances`].
    AllowancesSurveyed(Result<AllowanceSurvey, String>, Option<(Ask, Reply)>),
    /// Outcome of [`Action::ReadTrust`].
    TrustRead(Box<Submission>, Result<Box<Trust>, Refused>),
    /// Outcome of [`Action::Resolve`].
    AllowanceResolved(Box<Judged>, Result<Resolved, Refused>),
    /// Work that is done aside has to know what the kernel calls this file.
    Learn(File, LearnReply),
    /// Outcome of [`Action::OpenAllowance`]: as it is remembered now, or why it is not open. If the
    /// kernel refused it, that is remembered too.
    AllowanceOpened(Box<Opening>, Result<Box<Entry>, (Refused, Option<Box<Entry>>)>),
    /// Outcome of [`Action::CheckCommand`].
    CommandChecked(Box<Joining>, Result<(), Refused>),
    /// Outcome of [`Action::Join`].
    AllowanceJoined(Box<Joining>, Result<ProcessId, Refused>),
    /// Outcome of [`Action::CloseAllowance`].
    AllowanceClosed(Box<Closing>, Result<Shut, String>),
    /// A segment of the manifest was closed or summarised.
    Manifest(News),
    /// Outcome of [`Action::SaveRevoked`].
    RevokedSaved(Box<Revoking>, Result<(), String>),
    /// Something about break-glass was done.
    Glass(Box<GlassEvent>),
    /// What the disk was asked for under this number is there, or why not.
    OnDisk(u64, Outcome),
}

impl Event {
    /// Whether it begins something that depends on what else is being opened: allowances and
    /// break-glass are opened one after the other.
    pub(super) fn is_about_grants(&self) -> bool {
        match self {
            Self::AllowanceResolved(..) | Self::CommandChecked(..) => true,
            Self::Asked(ask, _) => match ask {
                Ask::SubmitAllowance { .. } | Ask::JoinAllowance { .. } => true,
                Ask::Glass(ask) => {
                    matches!(**ask, GlassAsk::Open(..) | GlassAsk::Join(_) | GlassAsk::NewCodes(..))
                }
                _ => false,
            },
            _ => false,
        }
    }
}

/// An event of the kernel, with the names that belong to its numbers.
pub(crate) struct Decided {
    /// As the kernel sent it.
    pub(crate) raw: abi::Event,
    /// Path of the unit, if it could be found.
    pub(crate) unit: Option<String>,
    /// The path: absolute, or from the filesystem's root.
    pub(crate) path: Vec<u8>,
}

/// Something to be decided about a hold.
#[derive(Debug)]
pub(crate) struct Decide {
    /// Number of the hold.
    pub(crate) hold: u64,
    /// What the kernel knows it by.
    pub(crate) key: abi::HoldKey,
    /// What is decided.
    pub(crate) decision: Decision,
    /// Who decides it; `None`: the deadline or the policy.
    pub(crate) person: Option<Person>,
    /// Who is waiting for it.
    pub(crate) reply: Option<Reply>,
}

/// What a decision came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// When it was written down, before anybody was continued; boot-time nanoseconds.
    pub(crate) at_ns: u64,
    /// Budgets that were reset.
    pub(crate) budgets: usize,
    /// Processes that were continued to notice.
    pub(crate) continued: Delivered,
}

/// Processes of a hold that are to be killed.
#[derive(Debug)]
pub(crate) struct Kill {
    /// Number of the hold.
    pub(crate) hold: u64,
    /// What the kernel knows it by.
    pub(crate) key: abi::HoldKey,
    /// With this signal.
    pub(crate) signal: DeadlySignal,
    /// Who does it.
    pub(crate) person: Person,
    /// Who is waiting for it.
    pub(crate) reply: Reply,
}

/// Budgets of an actor that are to be reset.
#[derive(Debug)]
pub(crate) struct Resetting {
    /// Whose, where and why.
    pub(crate) body: ResetBody,
    /// Who does it.
    pub(crate) person: Person,
    /// Who is waiting for it.
    pub(crate) reply: Reply,
}

/// Budgets of an actor that were reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reset {
    /// Slot of the zone.
    pub(crate) slot: u32,
    /// Whose they are; `None`: they are shared by the actors for whom there was no room.
    pub(crate) per: Option<abi::Per>,
    /// What they were.
    pub(crate) report: ResetReport,
}

/// How a plan was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// The kernel has it, with these zones.
    InForce(Vec<ZoneInForce>),
    /// There is no guard that could enforce it.
    NoGuard,
}

/// A zone that the kernel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ZoneInForce {
    /// Its slot.
    pub(crate) slot: u32,
    /// Its name.
    pub(crate) name: String,
    /// The directories that paths of the policy lead to.
    pub(crate) roots: Vec<PathBuf>,
    /// Device numbers of the directories that are guarded although no path leads to them now.
    pub(crate) kept: Vec<u32>,
}

/// Why a plan is put in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The agent starts.
    Start,
    /// Somebody asked for a reload.
    Reload,
    /// Directories appeared, went or were made anew.
    Roots,
    /// What the kernel goes by is not what the agent wrote.
    Repair,
}

impl Cause {
    /// The word used in the audit log.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Reload => "reload",
            Self::Roots => "roots",
            Self::Repair => "repair",
        }
    }
}

/// Everything the daemon does.
#[derive(Debug)]
pub(crate) enum Action {
    /// Load and attach the programs, or adopt them.
    StartGuard,
    /// Look at what the guard needs from this kernel.
    Probe,
    /// Read the policy file and resolve it.
    ReadPolicy(Option<Reply>),
    /// Look which directories the policy in force leads to now.
    Survey,
    /// Keep the policy in force for the next boot.
    KeepPolicy,
    /// Put a plan in force.
    Apply(Box<Plan>, Cause, Option<Reply>),
    /// Try each kind of op in the canary directory.
    Prove,
    /// Keep what is spent for the next boot, and put back what was spent before by units that have
    /// appeared.
    KeepBudgets,
    /// Have the kernel side forget accounts that have long drained.
    ForgetAccounts,
    /// Look at what is paused; then answer this.
    SurveyHolds(Option<(Ask, Reply)>),
    /// Continue throttled processes whose turn it is.
    Pace,
    /// Write down a decision about a hold, and have its threads notice.
    Decide(Box<Decide>),
    /// Kill the processes of a hold.
    Kill(Box<Kill>),
    /// Write down that an actor's budgets are reset, and reset them.
    ResetBudgets(Box<Resetting>),
    /// Continue the processes of these threads.
    Continue(Vec<abi::TaskKey>),
    /// Continue those of these processes that are stopped and not paused: a child of theirs was.
    Wake(Vec<abi::TaskKey>),
    /// Remove these threads from what is held: they are gone, or no longer paused.
    ForgetThreads(Vec<abi::TaskKey>),
    /// Remove a hold that is over.
    ForgetHold(abi::HoldKey),
    /// Write to a process's own terminal.
    Tell {
        /// The process.
        leader: abi::TaskKey,
        /// Its terminal, as /proc tells it.
        tty: u32,
        /// What to write.
        text: String,
    },
    /// Count a pause that has ended, in the zone of this name.
    Count(String, EndedPause),
    /// Read what is kept on disk about allowances.
    LoadAllowances,
    /// Write down what has changed about allowances.
    SaveAllowances,
    /// Look at what the kernel has of allowances, and at the processes they are for; then answer
    /// this.
    SurveyAllowances(Option<(Ask, Reply)>),
    /// Read who may sign allowances, and what this host is called.
    ReadTrust(Box<Submission>),
    /// Find out where an allowance leads and who may spend it. Its outcome comes later.
    Resolve(Box<Judged>),
    /// Ask the kernel what it calls a file.
    Learn(File, LearnReply),
    /// Write down that an allowance is open, and have the kernel open it.
    OpenAllowance(Box<Opening>),
    /// Look whether the files of a tree's command are still those that were signed. Its outcome
    /// comes later.
    CheckCommand(Box<Joining>),
    /// Mark a process as the first of a tree.
    Join(Box<Joining>),
    /// Have the kernel close an allowance.
    CloseAllowance(Box<Closing>),
    /// Have the kernel close what nobody knows.
    CloseUnknown(u64),
    /// Write down that an id is revoked.
    SaveRevoked(Box<Revoking>),
    /// Count something about allowances.
    CountAllowance(AllowanceCount),
    /// Do something about break-glass.
    Glass(Box<GlassAction>),
    /// Have everything that was destroyed so far written to the manifest; then answer.
    FlushManifest(Reply),
    /// Add to the audit log.
    Record(Box<Record>),
    /// Have the audit log written to the disk.
    SyncAudit,
    /// Send a line to everybody who follows events.
    Publish(Arc<str>),
    /// Tell the service manager this.
    Notify(String),
    /// Tell the log.
    Log(tracing::Level, String),
    /// Collect what was asked for, and send it.
    Collect(Ask, Reply),
    /// Send this.
    Send(Reply, Answer),
    /// Go on with what waited for the disk.
    Resume(u64, Outcome),
    /// End, because of this signal.
    Stop(&'static str),
}

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Everything.
    Status,
    /// Everything, with every hold, as it was found last: nothing is tried or looked for because of
    /// it.
    Look,
    /// The policy in force.
    Policy,
    /// Read the policy file again.
    Reload,
    /// What applies to a path.
    Explain {
        /// Absolute.
        path: Vec<u8>,
        /// For this process.
        pid: u32,
    },
    /// The events in memory, and those to come if it follows.
    Events {
        /// Whether it follows.
        follow: bool,
    },
    /// The metrics page.
    Metrics,
    /// Have everything that was destroyed so far written to the manifest.
    FlushManifest,
    /// Every hold.
    Holds,
    /// One hold.
    Hold {
        /// Its number.
        id: u64,
    },
    /// Let what a hold holds go on.
    Release {
        /// Number of the hold.
        id: u64,
        /// How far.
        amount: Amount,
        /// Who does it.
        person: Person,
    },
    /// Kill what a hold holds.
    Kill {
        /// Number of the hold.
        id: u64,
        /// With this signal.
        signal: DeadlySignal,
        /// Who does it.
        person: Person,
    },
    /// What each actor has spent of each budget.
    Budgets,
    /// Reset the budgets of an actor.
    ResetBudgets {
        /// Whose, where and why.
        body: Box<ResetBody>,
        /// Who does it.
        person: Person,
    },
    /// Every allowance.
    Allowances,
    /// One allowance.
    Allowance {
        /// Its id.
        id: String,
    },
    /// Judge an allowance, and open it if it counts.
    SubmitAllowance {
        /// The document, its signatures, and what it is for.
        body: Box<SubmitBody>,
        /// Who submits it.
        person: Person,
    },
    /// Make the process that asks the first of an allowance's tree.
    JoinAllowance {
        /// Id of the allowance.
        id: String,
        /// Who asks.
        person: Person,
    },
    /// Close an allowance.
    CloseAllowance {
        /// Its id.
        id: String,
        /// Who does it.
        person: Person,
    },
    /// Close an allowance if it is open, and never take one with this id (again).
    RevokeAllowance {
        /// The id.
        id: String,
        /// Who does it.
        person: Person,
    },
    /// Something about break-glass.
    Glass(Box<GlassAsk>),
}

/// Where an answer goes.
pub(crate) type Reply = oneshot::Sender<Answer>;

/// An answer.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A JSON document.
    Json(String),
    /// Plain text.
    Text(String),
    /// Events.
    Events {
        /// In memory, oldest first, one JSON document each.
        kept: Vec<Arc<str>>,
        /// To come.
        live: Option<broadcast::Receiver<Arc<str>>>,
    },
    /// An allowance is refused.
    Refused(RefusedReport),
    /// It cannot be answered.
    Error(Refusal, String),
}

/// Whose fault it is that there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The input is wrong.
    BadInput,
    /// What was asked for is not there.
    NotFound,
    /// The agent or the kernel failed.
    Failed,
}

impl std::fmt::Debug for Decided {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let raw = (self.raw.zone, self.raw.op, self.raw.verdict, self.raw.time_ns);
        f.debug_struct("Decided").field("zone, op, verdict, time", &raw).finish_non_exhaustive()
    }
}
