//! One op and what was decided about it.

use serde::{Deserialize, Serialize};

/// One line of `GET /v1/events`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum EventLine {
    /// An op.
    Event(Box<EventReport>),
    /// This reader was too slow, or joined too late, and missed this many events.
    Lost {
        /// How many.
        lost: u64,
    },
}

/// One op and what was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventReport {
    /// When, wall clock, RFC 3339 UTC.
    pub(crate) time: String,
    /// When, boot-time nanoseconds.
    pub(crate) time_ns: u64,
    /// Name of the zone.
    pub(crate) zone: String,
    /// The op.
    pub(crate) op: String,
    /// The verdict.
    pub(crate) verdict: String,
    /// Why.
    pub(crate) reason: String,
    /// Whether this op tripped the budget (the first one over it).
    pub(crate) trip: bool,
    /// Files it destroys.
    pub(crate) files: u64,
    /// Bytes it destroys.
    pub(crate) bytes: u64,
    /// The tenant; absent if the op is above all tenants.
    pub(crate) tenant: Option<Tenant>,
    /// Where. Absolute if the filesystem is mounted where the agent can see it, otherwise without a
    /// leading `/`, from the filesystem's root. Begins with `…/` if the kernel had no room for all
    /// of it.
    pub(crate) path: String,
    /// All bytes of the path, only if they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path_bytes: Option<Vec<u8>>,
    /// Whether the beginning of the path is missing.
    pub(crate) path_cut: bool,
    /// Inode number of what the op is about.
    pub(crate) inode: u64,
    /// Filesystem, as major:minor.
    pub(crate) device: String,
    /// The place could not be determined; the filesystem's strict zone was charged.
    pub(crate) strict: bool,
    /// The caller is a kernel thread or an io_uring worker.
    pub(crate) kernel_thread: bool,
    /// The caller's unit (cgroup).
    pub(crate) unit: UnitRef,
    /// The caller's real user.
    pub(crate) uid: u32,
    /// The caller's login user, where one is set.
    pub(crate) login_uid: Option<u32>,
    /// What the caller is for this file: `operators` or `owners`.
    pub(crate) who: String,
    /// Process.
    pub(crate) pid: u32,
    /// Thread.
    pub(crate) tid: u32,
    /// Name of the thread; bytes that are not UTF-8 as `\xNN`.
    pub(crate) comm: String,
    /// The budget that decided; absent if none did.
    pub(crate) budget: Option<BudgetLeft>,
    /// Id of the allowance that covers it; absent if none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) allowance: Option<String>,
    /// Until when the actor is latched.
    pub(crate) latched_until: Option<Until>,
    /// What has tripped the actor; absent if nothing has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tripped_by: Option<TripCause>,
    /// Why it was denied although its zone pauses: `agent_gone`, `cannot_be_stopped`, `too_large`,
    /// `kernel_thread`, `unknown_cost` or `expired`.
    #[serde(default)]
    pub(crate) not_held: Option<String>,
    /// It went on, by an actor that is throttled.
    #[serde(default)]
    pub(crate) paced: bool,
    /// Events of the same actor that were left out before this one.
    pub(crate) suppressed: u32,
}

/// The op that tripped a budget: why later ops of the same actor are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TripCause {
    /// When, wall clock, RFC 3339 UTC.
    pub(crate) time: String,
    /// When, boot-time nanoseconds.
    pub(crate) time_ns: u64,
    /// The limit it went over: `files`, `bytes` or `tenants`.
    pub(crate) limit: String,
    /// Inode number of what it was about.
    pub(crate) inode: u64,
    /// Filesystem, as major:minor.
    pub(crate) device: String,
    /// Inode number of the tenant's directory; absent above all tenants.
    pub(crate) tenant_inode: Option<u64>,
}

/// What an op destroys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Files.
    pub(crate) files: u64,
    /// Bytes.
    pub(crate) bytes: u64,
}

/// A tenant's directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tenant {
    /// Its inode number.
    pub(crate) inode: u64,
    /// Its name.
    pub(crate) name: String,
    /// All bytes of the name, only if they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name_bytes: Option<Vec<u8>>,
}

/// A unit (cgroup).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnitRef {
    /// cgroup id.
    pub(crate) id: u64,
    /// Its path below the cgroup root, if it could still be found.
    pub(crate) path: Option<String>,
}

/// The budget that decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BudgetLeft {
    /// Which one, such as `operators per unit, 10m`; absent if the policy no longer has it.
    pub(crate) label: Option<String>,
    /// The actor as the budget counts it.
    pub(crate) actor: u64,
    /// Files left; absent if not limited.
    pub(crate) files_left: Option<u64>,
    /// Bytes left; absent if not limited.
    pub(crate) bytes_left: Option<u64>,
}

/// A deadline on both clocks. The kernel goes by boot time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Until {
    /// Wall clock, RFC 3339 UTC.
    pub(crate) time: String,
    /// Boot-time nanoseconds.
    pub(crate) time_ns: u64,
}
