//! What the kernel tells the agent about an op.

use crate::Trip;

/// Bytes for path names in an [`Event`]; the last name that fits may use up to 256 more.
pub const PATH_ROOM: usize = 512;

/// This op tripped the budget (the first one over it).
pub const FLAG_FIRST: u8 = 1;
/// The place could not be determined; the filesystem's strict zone was charged.
pub const FLAG_STRICT: u8 = 2;
/// The caller is a kernel thread or an io_uring worker.
pub const FLAG_KTHREAD: u8 = 4;
/// The path has more levels or longer names than there was room for.
pub const FLAG_PATH_CUT: u8 = 8;
/// The zone pauses, but the agent that would let the process go on has not been heard of: denied.
pub const FLAG_AGENT_GONE: u8 = 16;
/// The zone pauses, but the process could not be stopped, or there was no room to remember it:
/// denied.
pub const FLAG_NOT_STOPPED: u8 = 32;
/// A throttled actor's op that went on: what it spends is told op by op while it is throttled.
pub const FLAG_PACED: u8 = 64;
/// The zone throttles, but the op costs more than its budget ever allows: denied.
pub const FLAG_TOO_LARGE: u8 = 128;

/// One op and what was decided. Sent for every verdict but `allow`, and for all of them while
/// tracing.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Event {
    /// Boot-time nanoseconds at which the decision was taken.
    pub time_ns: u64,
    /// Files this op destroys.
    pub files: u64,
    /// Bytes this op destroys.
    pub bytes: u64,
    /// Inode number of the tenant's directory; 0 if above all tenants.
    pub tenant: u64,
    /// Inode number of what the op is about.
    pub ino: u64,
    /// cgroup (v2) of the caller.
    pub unit: u64,
    /// [`crate::BudgetConf::id`] of the budget that decided; 0 if none did.
    pub budget: u64,
    /// The actor as that budget counts it.
    pub actor: u64,
    /// Files that budget has left.
    pub files_left: u64,
    /// Bytes that budget has left.
    pub bytes_left: u64,
    /// Until when the actor is latched, in boot-time nanoseconds; 0 if it is not.
    pub latched_until: u64,
    /// What has tripped the actor, if it is.
    pub trip: Trip,
    /// Serial of the allowance that covers the op; 0 if none does.
    pub allowance: u64,
    /// Kernel device number.
    pub dev: u32,
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Real user.
    pub uid: u32,
    /// Login user; `u32::MAX` where none is set.
    pub login_uid: u32,
    /// Zone slot.
    pub zone: u32,
    /// Events of the same actor that were left out before this one.
    pub suppressed: u32,
    /// A [`crate::Op`].
    pub op: u8,
    /// A [`crate::Verdict`].
    pub verdict: u8,
    /// A [`crate::Reason`].
    pub reason: u8,
    /// `FLAG_*`.
    pub flags: u8,
    /// Bytes used in `path`.
    pub path_len: u32,
    /// A [`crate::WhoMask`]: what the caller is for this file.
    pub who: u32,
    /// Name of the thread.
    pub comm: [u8; 16],
    /// Name of the tenant's directory, ended by NUL (cut at 63 bytes).
    pub tenant_name: [u8; 64],
    /// Names from the file up to the filesystem's root, each ended by NUL.
    pub path: [u8; PATH_ROOM + 256],
}

const _: () = assert!(size_of::<Event>() == 168 + 80 + PATH_ROOM + 256);
