//! What `holdfast status` shows.

use serde::{Deserialize, Serialize};

use super::{TripCause, Until};

/// The agent and everything it guards.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    /// What is guarded and what the zones do, in one line.
    pub(crate) summary: String,
    /// Whether the programs are loaded, a policy is in force, and the self-test has just passed.
    pub(crate) guard_up: bool,
    /// Why not, if not.
    pub(crate) why: Option<String>,
    /// What to do about it, if not.
    pub(crate) fix: Option<String>,
    /// Whether every zone is [`ZoneState::Enforcing`].
    pub(crate) enforcing: bool,
    /// Everything else that needs attention.
    pub(crate) warnings: Vec<String>,
    /// Version of the agent.
    pub(crate) version: String,
    /// Version of the interface between agent and kernel programs.
    pub(crate) abi: u32,
    /// The agent's process.
    pub(crate) pid: u32,
    /// When the agent started, RFC 3339 UTC.
    pub(crate) started_at: String,
    /// Seconds since.
    pub(crate) uptime_seconds: u64,
    /// `fresh`, `adopted` or `upgraded`; absent if the guard did not start.
    pub(crate) started: Option<String>,
    /// Address that serves `/metrics`; absent if none does.
    pub(crate) metrics: Option<String>,
    /// The policy.
    pub(crate) policy: PolicyStatus,
    /// The last proof.
    pub(crate) coverage: Option<CoverageStatus>,
    /// What is paused.
    pub(crate) paused: super::PausedCount,
    /// Allowances that can be spent now.
    #[serde(default)]
    pub(crate) allowances: Vec<OpenAllowance>,
    /// The break-glass that is open.
    #[serde(default)]
    pub(crate) break_glass: Option<super::GlassReport>,
    /// The zones.
    pub(crate) zones: Vec<ZoneStatus>,
    /// The audit log.
    #[serde(default)]
    pub(crate) audit: super::AuditStatus,
    /// Accounts (budget and actor) the kernel keeps.
    pub(crate) accounts: u64,
    /// Events in memory.
    pub(crate) events: EventsStatus,
}

/// An allowance that can be spent now, in short: `holdfast allow show` says more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenAllowance {
    /// Its id.
    pub(crate) id: String,
    /// Why it is wanted.
    pub(crate) reason: String,
    /// Until when.
    pub(crate) until: Until,
    /// Seconds until then.
    pub(crate) seconds_left: u64,
    /// Who may spend it.
    pub(crate) bind: super::BindReport,
    /// Files of all its grants.
    pub(crate) files: super::Spent,
    /// Bytes of all its grants.
    pub(crate) bytes: super::Spent,
}

/// Which policy is in force.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PolicyStatus {
    /// File.
    pub(crate) path: String,
    /// SHA-256 of the file as it was read.
    pub(crate) sha256: String,
    /// When it was read, RFC 3339 UTC.
    pub(crate) loaded: String,
    /// Whether the last reload failed (the policy before it stays in force).
    pub(crate) reload_failed: bool,
    /// When the last reload was tried.
    pub(crate) reload_time: Option<String>,
    /// Why it failed.
    pub(crate) reload_error: Option<String>,
}

/// The last self-test.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CoverageStatus {
    /// When, RFC 3339 UTC.
    pub(crate) time: String,
    /// Each part of it.
    pub(crate) ops: Vec<CoverageOp>,
}

/// One part of the self-test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CoverageOp {
    /// The op that has to be denied; or `allowed` (one that has to go on, be counted and recorded,
    /// or given back if it fails), `programs`, `configuration`.
    pub(crate) op: String,
    /// Whether that was so.
    pub(crate) ok: bool,
    /// What was found instead.
    pub(crate) found: Option<String>,
}

/// One zone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ZoneStatus {
    /// Name.
    pub(crate) name: String,
    /// `primary` or `backup`.
    pub(crate) role: String,
    /// `observe` or `enforce`.
    pub(crate) mode: String,
    /// What happens to an op over budget while it enforces: `deny`, `hold` or `throttle`.
    pub(crate) on_trip: String,
    /// How long a process is held before it is denied after all.
    pub(crate) hold_timeout_seconds: u64,
    /// Levels below a root at which tenants live.
    pub(crate) tenant_depth: u32,
    /// Slot in the kernel; absent if the zone is not in force.
    pub(crate) slot: Option<u32>,
    /// What it does right now.
    pub(crate) state: ZoneState,
    /// Its protected paths, and what else of it is not guarded.
    pub(crate) paths: Vec<PathStatus>,
    /// Directories that have left their path (it was renamed, or mounted over) and are still
    /// guarded.
    pub(crate) kept_roots: usize,
    /// Directories that have left their path and are on a filesystem that is no longer mounted.
    #[serde(default)]
    pub(crate) unmounted_roots: usize,
    /// Budgets.
    pub(crate) budgets: Vec<BudgetStatus>,
    /// Ops by verdict, since the kernel's counters were made.
    pub(crate) ops: Vec<OpsRow>,
    /// Files and bytes destroyed, since the kernel's counters were made.
    pub(crate) destroyed: super::Cost,
    /// Trips.
    pub(crate) trips: u64,
    /// Events that found the kernel's buffer full.
    pub(crate) events_lost: u64,
    /// Events left out because their actor sent enough already.
    pub(crate) events_suppressed: u64,
    /// Ops charged here because their place could not be determined.
    pub(crate) strict: u64,
    /// Charges that shared the overflow account.
    pub(crate) overflow: u64,
    /// Ops for which the kernel had no memory.
    pub(crate) untracked: u64,
}

/// What a zone does right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ZoneState {
    /// The guard is up, every protected path that exists is guarded, and an op over budget is
    /// stopped.
    Enforcing,
    /// The same, but an op over budget is only reported.
    Observing,
    /// Some protected path is not guarded.
    PartlyGuarded,
    /// No protected path exists: there is nothing to guard yet.
    Empty,
    /// The guard is down, or no protected path is guarded.
    NotGuarded,
}

impl ZoneState {
    /// For people.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Enforcing => "enforcing",
            Self::Observing => "observing",
            Self::PartlyGuarded => "PARTLY GUARDED",
            Self::Empty => "NO DIRECTORY",
            Self::NotGuarded => "NOT GUARDED",
        }
    }

    /// Whether every protected path that exists is guarded.
    pub(crate) const fn is_good(self) -> bool {
        matches!(self, Self::Enforcing | Self::Observing)
    }
}

/// One protected path, or something else of a zone that is not guarded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PathStatus {
    /// Its real path, or the pattern that nothing matches; absent if it is not about a single path.
    /// Bytes that are not UTF-8 as `\xNN`.
    pub(crate) path: Option<String>,
    /// All bytes of the path, only if they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path_bytes: Option<Vec<u8>>,
    /// Whether it is guarded.
    pub(crate) state: PathState,
    /// Inode number of what is guarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) inode: Option<u64>,
    /// Why it is not guarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fix: Option<String>,
}

/// Whether a protected path is guarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PathState {
    /// The kernel decides about each op in it.
    #[default]
    Guarded,
    /// It does not exist; it is guarded once it does.
    Missing,
    /// It exists, and nothing guards it.
    NotGuarded,
}

/// One budget and whoever has least of it left.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BudgetStatus {
    /// Such as `operators per unit, 10m`.
    pub(crate) label: String,
    /// `unit`, `user` or `zone`.
    pub(crate) per: String,
    /// `everyone`, `operators` or `owners`.
    pub(crate) who: String,
    /// Ops it charges.
    pub(crate) ops: Vec<String>,
    /// Length of the window.
    pub(crate) window_seconds: u64,
    /// Files; absent if not limited.
    pub(crate) files: Option<Side>,
    /// Bytes; absent if not limited.
    pub(crate) bytes: Option<Side>,
    /// Tenants; absent if not limited.
    pub(crate) tenants: Option<Side>,
    /// The actor with the least left; absent if nobody has spent anything.
    pub(crate) tightest: Option<Actor>,
    /// Accounts of this budget.
    pub(crate) accounts: u64,
    /// Actors that are latched.
    pub(crate) tripped: Vec<Tripped>,
}

/// One limited side of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Side {
    /// What the tightest actor has left.
    pub(crate) left: u64,
    /// The limit.
    pub(crate) limit: u64,
}

/// Who spends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Actor {
    /// cgroup id, uid, or 0 for the whole zone.
    pub(crate) id: u64,
    /// Such as `unit /system.slice/cron.service`, `user 1000`, `everyone`.
    pub(crate) name: String,
}

/// An actor that is latched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tripped {
    /// Who.
    pub(crate) actor: Actor,
    /// Until when.
    pub(crate) until: Until,
    /// By what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<TripCause>,
}

/// Ops of one kind with one verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpsRow {
    /// The op.
    pub(crate) op: String,
    /// The verdict (`allow` without those that failed and were given back).
    pub(crate) verdict: String,
    /// How many.
    pub(crate) ops: u64,
    /// Their files.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// The agent's memory of events.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct EventsStatus {
    /// Kept.
    pub(crate) kept: u64,
    /// Forgotten to make room.
    pub(crate) dropped: u64,
}
