//! What the kernel programs and the agent share: operations, verdicts, map keys and values, events,
//! and the arithmetic of a budget's window. This is the one copy of each.
//!
//! It never does I/O, reads a clock or allocates. Every type that crosses the kernel boundary is
//! `repr(C)`, has explicit padding and no `bool`, and its size is asserted below.
#![cfg_attr(not(test), no_std)]

mod allowance;
mod config;
mod destroyed;
mod event;
mod fresh;
mod moves;
mod op;
mod pattern;
mod tenants;
mod window;

pub use allowance::{
    AllowanceConf, BindKey, FLAG_ALLOWANCES, GrantAccount, GrantKey, GrantTenant, GrantTenantKey,
    MAX_ALLOWANCES, MAX_GRANT_TENANTS, MAX_GRANTS, MAX_OPEN, MAX_SUBTREES, Mark, Subtree,
    SubtreeKey, name_id,
};
pub use config::{
    AccountKey, BudgetConf, COUNTER_ROWS, COUNTERS, Control, FLAG_TRACE, FsConf, FsKey,
    HEARTBEAT_HOLDS_NS, Heartbeat, Held, Hold, HoldKey, Learned, MAX_HELD, MAX_HOLDS,
    OVERFLOW_ACCOUNTS, Offsets, ROW_GIVEN_BACK, ROW_OBSERVED_GIVEN_BACK, Release, RootConf,
    RootKey, TaskKey, ZoneConf, ZoneCounters, counter_index, zone_index,
};
pub use destroyed::{
    Destroyed, GONE_CUT, GONE_DIR, GONE_FILE, GONE_OBSERVED, GONE_REACH, GONE_STRICT, GONE_UNDONE,
    GONE_UNSEEN, GoneDir, MAX_RECORDS, NAME_ROOM, NAMES_LEVELS, NAMES_ROOM, NUMBER_DIR,
    NUMBER_HOLD, NUMBER_KEPT, NUMBER_MARKS_LOST, NUMBERS,
};
pub use event::{
    Event, FLAG_AGENT_GONE, FLAG_FIRST, FLAG_KTHREAD, FLAG_NOT_STOPPED, FLAG_PACED, FLAG_PATH_CUT,
    FLAG_STRICT, FLAG_TOO_LARGE, PATH_ROOM,
};
pub use fresh::{FRESH_NS, InodeKey, MAX_FRESH, Made};
pub use moves::{MOVE_SLOTS, Moves, moves_slot};
pub use op::{Mode, OnTrip, Op, OpMask, Per, Reason, Verdict, Who, WhoMask};
pub use pattern::{
    MAX_BASE_PATTERNS, MAX_NAMES, MAX_PATTERN_NAMES, MAX_PATTERNS, NameConf, PatternConf,
    PatternKey,
};
pub use tenants::{Moment, SPEND_PARTS, SpentPart, TenantKey, TenantSpend};
pub use window::{
    Account, BUCKETS, Bucket, Cost, Limit, Over, Receipt, Terms, Trip, Window, bpf_spin_lock,
};

/// Version of everything in this crate. Pins live in a directory named for it, so that an agent
/// never reads a map laid out by another version.
pub const ABI_VERSION: u32 = 11;
/// How many zones one host can have, slot 0 (the canary) included.
pub const MAX_ZONES: usize = 64;
/// How many budgets one zone can have.
pub const MAX_BUDGETS: usize = 8;
/// The zone slot of the agent's own canary directory, where every op is denied.
pub const CANARY_ZONE: u32 = 0;
/// The zone slot of another directory of the agent's own, without budgets, where the self-test
/// destroys what it has made.
pub const SELF_TEST_ZONE: u32 = MAX_ZONES as u32 - 1;
/// How many zones a policy can have.
pub const MAX_POLICY_ZONES: usize = MAX_ZONES - 2;
/// How many levels below a root a tenant directory can be.
pub const MAX_TENANT_DEPTH: u32 = 4;
/// How many roots there can be, those included whose path was renamed or mounted over (the map
/// holds two banks of this).
pub const MAX_ROOTS: u32 = 65_536;
/// Most directories that paths lead to: the rest is for those that have left their path, and for
/// new mounts.
pub const MAX_PATHS: u32 = MAX_ROOTS / 2;
/// How many filesystems they can be on (the map holds two banks of this).
pub const MAX_FILESYSTEMS: u32 = 4096;
/// How many accounts (budget × actor) the kernel keeps.
pub const MAX_ACCOUNTS: u32 = 16_384;
/// How many tenants (of an account) the kernel knows. One for which there is no room counts at
/// once, and as another one each time.
pub const MAX_TENANT_SPENDS: u32 = 262_144;
/// The largest number of distinct tenants that a budget can allow: no actor fills the table.
pub const MAX_TENANTS: u32 = MAX_TENANT_SPENDS / 16;
/// The actor that stands for everybody once the table of accounts is full.
pub const OVERFLOW_ACTOR: u64 = u64::MAX;
/// The bit of an actor that stands for its ops in places that cannot be determined. They may be in
/// no zone at all, so they have accounts of their own, with the same limits: they never trip those
/// of ops that are in a zone for certain.
pub const UNKNOWN_PLACE: u64 = 1 << 63;
/// Levels of directories that are followed before an op counts as being in an unknown place.
pub const MAX_DEPTH: u32 = 16_384;

#[cfg(feature = "user")]
mod pod {
    macro_rules! pod {
        ($($t:ty),*) => { $(
            // SAFETY: `repr(C)`, only integers, explicit padding: every bit pattern is a value.
            #[expect(unsafe_code, reason = "marks plain data as readable from kernel maps")]
            unsafe impl aya::Pod for $t {}
        )* };
    }
    pod!(
        crate::Account,
        crate::AccountKey,
        crate::AllowanceConf,
        crate::BindKey,
        crate::Control,
        crate::FsConf,
        crate::FsKey,
        crate::GrantAccount,
        crate::GrantKey,
        crate::GrantTenant,
        crate::GrantTenantKey,
        crate::Heartbeat,
        crate::Held,
        crate::Hold,
        crate::HoldKey,
        crate::Learned,
        crate::Mark,
        crate::NameConf,
        crate::Offsets,
        crate::PatternConf,
        crate::PatternKey,
        crate::Release,
        crate::RootConf,
        crate::RootKey,
        crate::Subtree,
        crate::SubtreeKey,
        crate::TaskKey,
        crate::TenantKey,
        crate::TenantSpend,
        crate::ZoneConf,
        crate::ZoneCounters,
        crate::Cost
    );
}
