//! Keys and values of the maps through which the agent tells the kernel what to guard.
//!
//! Everything a policy says is kept twice, in *banks* 0 and 1. The agent writes the bank that is
//! not in use and then flips [`Control::bank`]: an op sees the old policy or the new one, never a
//! mixture.

use crate::{Cost, Event, MAX_BUDGETS, MAX_ZONES, Op, Verdict, bpf_spin_lock, window::Limit};

/// Event every op, also those within budget (tests and learning).
pub const FLAG_TRACE: u32 = 1;

/// The one entry of the control map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Control {
    /// The load of the programs that counts. Others step aside, so that two sets can be attached
    /// during an upgrade.
    pub instance: u64,
    /// Another load of the programs that counts as well, while it takes over; 0 for none.
    pub successor: u64,
    /// How often a policy came into force: its lowest bit is the bank of the one that is, and what
    /// was known of places before is forgotten. One word, so that nobody sees one policy's bank
    /// beside another's number.
    pub flips: u32,
    /// `FLAG_*`.
    pub flags: u32,
    /// Thread (tid) whose flock(2) asks what the kernel calls an inode; 0 for none.
    pub learner: u32,
    /// Always 0.
    pub pad: u32,
    /// Digest of the programs that are loaded: an agent built with others replaces them.
    pub build: u64,
}

impl Control {
    /// The bank of the policy in force.
    #[inline(always)]
    pub const fn bank(&self) -> u32 {
        self.flips & 1
    }
}

/// What one budget allows, to whom, and whose spending it adds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct BudgetConf {
    /// Stable across reloads as long as zone, per, who, ops and window stay the same: what is spent
    /// stays spent.
    pub id: u64,
    /// The limits.
    pub limit: Limit,
    /// Ops it charges, an [`crate::OpMask`].
    pub ops: u16,
    /// A [`crate::Per`].
    pub per: u8,
    /// Callers it applies to, a [`crate::WhoMask`]. To others only its limit of tenants does.
    pub who: u8,
    /// Always 0.
    pub pad: u32,
}

impl BudgetConf {
    /// Budgets are asked in the order of this: the narrowest actor first, then the shorter window.
    /// The first that refuses decides, so the order in which they were written does not matter.
    /// (The id only makes it a total order.)
    pub const fn rank(&self) -> (u8, u64, u64) {
        (self.per, self.limit.window_ns, self.id)
    }

    /// Whether this has a say about a caller. The limit of tenants holds for everybody.
    #[inline(always)]
    pub const fn concerns(&self, who: u8) -> bool {
        self.who & who != 0 || self.limit.tenants != u32::MAX
    }

    /// Whether an op of this kind and cost is more than this ever allows the caller, so that no
    /// waiting helps.
    #[inline(always)]
    pub const fn never_covers(&self, who: u8, op_bit: u16, cost: &Cost) -> bool {
        self.ops & op_bit != 0
            && op_bit & Op::KNOWN_BITS != 0
            && if self.who & who != 0 {
                self.limit.never_covers(cost)
            } else {
                self.limit.never_covers_tenant(cost)
            }
    }

    /// Whether nobody knows what an op of this kind costs. To a caller who is left out it costs the
    /// tenant it is in, if it is in one.
    #[inline(always)]
    pub const fn cost_is_unknown(&self, who: u8, op_bit: u16, cost: &Cost) -> bool {
        op_bit & Op::KNOWN_BITS == 0 && (self.who & who != 0 || cost.tenant == 0)
    }

    /// Whether an op's tenant has to be known to charge it.
    #[inline(always)]
    pub const fn needs_tenant(&self, op_bit: u16, cost: &Cost) -> bool {
        self.ops & op_bit != 0 && self.limit.limits_tenants(cost)
    }

    /// Whether an op makes its tenant count whatever the tenant has lost before.
    #[inline(always)]
    pub const fn counts_at_once(&self, op_bit: u16, cost: &Cost) -> bool {
        op_bit & Op::KNOWN_BITS == 0 || self.limit.counts_at_once(cost)
    }
}

/// One zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ZoneConf {
    /// [`crate::name_id`] of the name: what allowances know the zone by.
    pub id: u64,
    /// Name, padded with NUL. Slots keep their zone's name for as long as anything refers to them.
    pub name: [u8; 64],
    /// A [`crate::Mode`].
    pub mode: u32,
    /// Levels below a protected path at which tenants live; 0: each is a tenant.
    /// [`RootConf::depth`] says it for a root.
    pub tenant_depth: u32,
    /// How many of `budgets` are in use.
    pub budget_count: u32,
    /// 1 if the slot is in use.
    pub in_use: u32,
    /// An [`crate::OnTrip`]: what happens to an op over budget while the zone enforces.
    pub on_trip: u32,
    /// 1 if what is destroyed is told, op by op, for the manifest.
    pub manifest: u32,
    /// The budgets, in the order of their [`BudgetConf::rank`].
    pub budgets: [BudgetConf; MAX_BUDGETS],
}

/// A zone's root, or an entry that must be recognised, by the identity the kernel gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct RootKey {
    /// Inode number as in `struct inode`, not as in stat(2).
    pub ino: u64,
    /// Device number as in `struct super_block`, not as in stat(2).
    pub dev: u32,
    /// The bank this belongs to.
    pub bank: u32,
}

/// Which zone a root belongs to, and where in it. A root is a protected path, or a directory that
/// is reached below one through a mount or a link: no walk leads from there to the protected path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RootConf {
    /// Zone slot.
    pub zone: u32,
    /// Inode generation: a reused inode number is not the root.
    pub generation: u32,
    /// Where `depth` is 0: the tenant everything below the root belongs to. Else what the inode
    /// number of a tenant's directory is combined with (XOR), so that equal numbers on two
    /// filesystems are two tenants.
    pub tenant: u64,
    /// Levels below this root at which tenants live.
    pub depth: u32,
    /// Levels from the protected path down to this root.
    pub level: u32,
    /// 0, or when the kernel programs entered it (boot-time nanoseconds): for a filesystem that was
    /// mounted since the agent last looked. The next survey confirms or removes it.
    pub made_ns: u64,
}

/// A filesystem that hosts at least one zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FsKey {
    /// Device number as in `struct super_block`.
    pub dev: u32,
    /// The bank this belongs to.
    pub bank: u32,
}

/// What applies on that filesystem where a place cannot be determined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FsConf {
    /// The zone that is charged for ops in an unknown place; [`FsConf::NO_ZONE`] lets them go.
    pub strict_zone: u32,
    /// 1 if the kernel programs entered it, with a root that the next survey confirms or removes;
    /// else 0.
    pub provisional: u32,
}

impl FsConf {
    /// No zone: only the canary is on that filesystem.
    pub const NO_ZONE: u32 = u32::MAX;
}

/// Which account an actor spends from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct AccountKey {
    /// [`BudgetConf::id`].
    pub budget: u64,
    /// cgroup id, uid, or 0 for the whole zone; [`crate::OVERFLOW_ACTOR`] once the table is full.
    pub actor: u64,
}

/// How many overflow accounts there can be: one for each budget in either bank, twice over.
pub const OVERFLOW_ACCOUNTS: usize = 4 * MAX_ZONES * MAX_BUDGETS;

/// What the kernel calls an inode that the learner asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Learned {
    /// Rises with every answer.
    pub serial: u64,
    /// `inode.i_ino`.
    pub ino: u64,
    /// `super_block.s_dev`.
    pub dev: u32,
    /// `inode.i_generation`.
    pub generation: u32,
}

/// The agent's sign of life. Without a fresh one nobody is paused: there would be nobody to let
/// them go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Heartbeat {
    /// Boot-time nanoseconds.
    pub time_ns: u64,
    /// The agent's process, which is never paused.
    pub agent: u32,
    /// Always 0.
    pub pad: u32,
}

/// How old a [`Heartbeat`] may be.
pub const HEARTBEAT_HOLDS_NS: u64 = 10_000_000_000;

/// A thread that is paused. Thread numbers are used again; together with its start it is one of a
/// kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct TaskKey {
    /// `task_struct.start_boottime`, in nanoseconds.
    pub start_ns: u64,
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
}

/// What a paused thread was about to do.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Held {
    /// [`Hold::id`] of the hold it belongs to.
    pub hold: u64,
    /// Since when, in boot-time nanoseconds.
    pub since_ns: u64,
    /// Throttled: when it is worth while to let it try again.
    pub retry_ns: u64,
    /// How many times it tried again and was stopped again.
    pub again: u64,
    /// The op. Its verdict is `hold` or `throttle`.
    pub event: Event,
}

/// Whose paused threads are one hold: they are shown together, and a decision is for all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct HoldKey {
    /// cgroup.
    pub unit: u64,
    /// Zone slot.
    pub zone: u32,
    /// Login user where one is set, else the real user.
    pub user: u32,
}

/// One hold. Only the kernel writes it; the agent removes it when it is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Hold {
    /// Guards `used`.
    pub lock: bpf_spin_lock,
    /// Always 0.
    pub pad: u32,
    /// Rises from one hold to the next.
    pub id: u64,
    /// Since when, in boot-time nanoseconds.
    pub since_ns: u64,
    /// Files spent of what was released.
    pub used: u64,
}

/// What somebody decided about a hold. Only the agent writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Release {
    /// Files released, all releases together, beyond every budget. Compared with [`Hold::used`].
    pub files: u64,
    /// Until when they can be spent, in boot-time nanoseconds.
    pub until_ns: u64,
    /// When somebody last released it: threads held since before that try again.
    pub released_ns: u64,
    /// Until when its ops are denied instead of held, in boot-time nanoseconds; 0 if they are not.
    pub denied_until_ns: u64,
}

/// How many threads can be paused at once; those beyond are denied.
pub const MAX_HELD: u32 = 4096;
/// How many holds there can be at once.
pub const MAX_HOLDS: u32 = 1024;

/// Per zone (and per CPU): what cannot be read from the ops' own counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ZoneCounters {
    /// Trips.
    pub trips: u64,
    /// Events that found the ring buffer full.
    pub events_lost: u64,
    /// Events that were not sent because their actor sent enough already.
    pub events_suppressed: u64,
    /// Ops charged here because their place could not be determined.
    pub strict: u64,
    /// Charges that shared the overflow account, or whose tenant counted as another one, because a
    /// table was full.
    pub overflow: u64,
    /// Ops for which the kernel had no memory: refused in a zone that enforces, uncharged in one
    /// that observes.
    pub untracked: u64,
    /// Ops that destroyed something and are missing in the manifest.
    pub manifest_lost: u64,
    /// When the last of them was, in boot-time nanoseconds.
    pub manifest_lost_ns: u64,
}

/// Rows of the counter map for one zone and op: one for each verdict, and one for what was given
/// back.
pub const COUNTER_ROWS: usize = 8;
/// The row that counts ops (and their cost) that were allowed, charged and then failed.
pub const ROW_GIVEN_BACK: u32 = 7;
/// The row that counts ops that were observed and then failed.
pub const ROW_OBSERVED_GIVEN_BACK: u32 = 6;

/// Index into the counter map; its values are a [`crate::Cost`] whose `tenant` counts the ops.
#[inline(always)]
pub const fn counter_index(zone: u32, op: Op, row: u32) -> u32 {
    (zone * Op::ALL.len() as u32 + op as u32) * COUNTER_ROWS as u32 + row
}

/// Index of a zone's configuration in `bank`.
#[inline(always)]
pub const fn zone_index(bank: u32, zone: u32) -> u32 {
    bank * MAX_ZONES as u32 + zone
}

/// Entries of the counter map.
pub const COUNTERS: usize = MAX_ZONES * Op::ALL.len() * COUNTER_ROWS;

const _: () = assert!(Verdict::ALL.len() <= ROW_OBSERVED_GIVEN_BACK as usize);

/// Where the running kernel keeps what the programs read, in bytes from the start of each
/// structure, taken from its BTF. Set before load, so that the verifier sees constants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Offsets {
    /// `dentry.d_parent`
    pub dentry_parent: u32,
    /// `dentry.d_inode`
    pub dentry_inode: u32,
    /// `dentry.d_name.name`
    pub dentry_name: u32,
    /// `inode.i_mode`
    pub inode_mode: u32,
    /// `inode.i_uid`
    pub inode_uid: u32,
    /// `inode.i_ino`
    pub inode_ino: u32,
    /// `inode.i_nlink`
    pub inode_nlink: u32,
    /// `inode.i_size`
    pub inode_size: u32,
    /// `inode.i_sb`
    pub inode_sb: u32,
    /// `inode.i_generation`
    pub inode_generation: u32,
    /// `super_block.s_dev`
    pub sb_dev: u32,
    /// `super_block.s_root`
    pub sb_root: u32,
    /// `iattr.ia_valid`
    pub iattr_valid: u32,
    /// `iattr.ia_size`
    pub iattr_size: u32,
    /// `file.f_inode`
    pub file_inode: u32,
    /// `task_struct.flags`
    pub task_flags: u32,
    /// `task_struct.real_cred`
    pub task_real_cred: u32,
    /// `task_struct.loginuid`, or [`Offsets::ABSENT`]
    pub task_loginuid: u32,
    /// `task_struct.start_boottime`
    pub task_start: u32,
    /// `cred.uid`
    pub cred_uid: u32,
    /// `renamedata.old_dentry`
    pub rename_old_dentry: u32,
    /// `renamedata.new_dentry`
    pub rename_new_dentry: u32,
    /// `renamedata.flags`
    pub rename_flags: u32,
    /// `dentry.d_hash.pprev`: not null while the dentry can be found by name
    pub dentry_hash: u32,
    /// Where the list of `dentry`'s children starts: `d_children`, before 6.8 `d_subdirs`
    pub dentry_children: u32,
    /// Where a `dentry` has the next in that list: `d_sib`, before 6.8 `d_child`
    pub dentry_sibling: u32,
    /// Where a `dentry` has the next name of its inode: `d_alias`
    pub dentry_alias: u32,
    /// `inode.i_dentry`: the first name of the inode that is in memory
    pub inode_dentry: u32,
    /// `inode.i_rdev`
    pub inode_rdev: u32,
    /// `inode.i_blocks`
    pub inode_blocks: u32,
    /// Seconds of `inode.i_ctime`, whatever the kernel calls it
    pub inode_ctime_sec: u32,
    /// Nanoseconds of the same
    pub inode_ctime_nsec: u32,
    /// `inode.i_data.nrpages`
    pub inode_pages: u32,
    /// `task_struct.cred`
    pub task_cred: u32,
    /// `cred.fsuid`
    pub cred_fsuid: u32,
    /// `renamedata.delegated_inode`
    pub rename_delegated: u32,
    /// `super_block.s_magic`
    pub sb_magic: u32,
    /// `mount.mnt.mnt_root`
    pub mount_root: u32,
    /// `mount.mnt_mountpoint`
    pub mount_point: u32,
    /// `mount.mnt_parent`
    pub mount_parent: u32,
    /// `mount.mnt_ns`
    pub mount_namespace: u32,
    /// Where the list of the mounts on a `mount` starts: `mnt_mounts`
    pub mount_children: u32,
    /// Where a `mount` has the next in that list: `mnt_child`
    pub mount_sibling: u32,
    /// Bytes of a page, which is not an offset.
    pub page_size: u32,
}

impl Offsets {
    /// Stands for a field this kernel does not have.
    pub const ABSENT: u32 = u32::MAX;
}

const _: () = assert!(size_of::<BudgetConf>() == 80);
const _: () = assert!(size_of::<ZoneConf>() == 96 + MAX_BUDGETS * 80);
const _: () = assert!(size_of::<RootKey>() == 16 && size_of::<RootConf>() == 32);
const _: () = assert!(size_of::<Control>() == 40);
const _: () = assert!(size_of::<TaskKey>() == 16 && size_of::<HoldKey>() == 16);
const _: () = assert!(size_of::<Held>() == 32 + size_of::<Event>());
const _: () = assert!(size_of::<Hold>() == 32 && size_of::<Release>() == 32);
