//! The maps. Their names are the names of the pins.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, bpf_map_type},
    btf_maps::{Array, HashMap, PerCpuArray, RingBuf},
    macros::btf_map,
};
use holdfast_abi::{
    Account, AccountKey, AllowanceConf, BindKey, COUNTERS as COUNTER_COUNT, Control, Cost,
    Destroyed, Event, FsConf, FsKey, GrantAccount, GrantKey, GrantTenant, GrantTenantKey,
    Heartbeat, Held, Hold, HoldKey, Learned, MAX_ACCOUNTS, MAX_FILESYSTEMS, MAX_FRESH,
    MAX_GRANT_TENANTS, MAX_GRANTS, MAX_HELD, MAX_HOLDS, MAX_NAMES, MAX_OPEN, MAX_PATTERNS,
    MAX_ROOTS, MAX_SUBTREES, MAX_TENANT_SPENDS, MAX_ZONES, MOVE_SLOTS, Made, Mark, Moves,
    NUMBERS as NUMBER_COUNT, NameConf, OVERFLOW_ACCOUNTS, PatternConf, PatternKey, Release,
    RootConf, RootKey, Subtree, SubtreeKey, TaskKey, TenantKey, TenantSpend, ZoneConf,
    ZoneCounters,
};

use crate::{inflight::InFlight, place::Label};

const BANKS: usize = 2;

#[btf_map]
pub static CONTROL: Array<Control, 1> = Array::new();
#[btf_map]
pub static ZONES: Array<ZoneConf, { BANKS * MAX_ZONES }> = Array::new();
/// Allocated in advance (12 MiB): a program that enters a root must not find that there is no
/// memory.
#[btf_map]
pub static ROOTS: HashMap<RootKey, RootConf, { BANKS * MAX_ROOTS as usize }> = HashMap::new();
#[btf_map]
pub static FILESYSTEMS: HashMap<FsKey, FsConf, { BANKS * MAX_FILESYSTEMS as usize }> =
    HashMap::new();
/// Grows with use: an account is larger than most hosts have reason to preallocate 16,384 times.
#[btf_map]
pub static ACCOUNTS: HashMap<
    AccountKey,
    Account,
    { MAX_ACCOUNTS as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();
/// By budget: the account of everybody for whom there is no room in `ACCOUNTS`. The agent makes
/// each before its budget is in force.
#[btf_map]
pub static OVERFLOW: HashMap<u64, Account, OVERFLOW_ACCOUNTS, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();
/// Which tenants each account has touched, and what they have lost. It grows with use, too.
#[btf_map]
pub static TENANTS: HashMap<
    TenantKey,
    TenantSpend,
    { MAX_TENANT_SPENDS as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();
/// A tenant that was never touched, to copy from: it would not fit on a program's stack.
#[btf_map]
pub static EMPTY_TENANT: Array<[u8; size_of::<TenantSpend>()], 1> = Array::new();
/// One account with nothing in it, to copy from: it would not fit on a program's stack.
#[btf_map]
pub static EMPTY_ACCOUNT: Array<[u8; size_of::<Account>()], 1> = Array::new();
#[btf_map]
pub static COUNTERS: PerCpuArray<Cost, COUNTER_COUNT> = PerCpuArray::new();
#[btf_map]
pub static ZONE_COUNTERS: PerCpuArray<ZoneCounters, MAX_ZONES> = PerCpuArray::new();
#[btf_map]
pub static LEARNED: Array<Learned, 1> = Array::new();
#[btf_map]
pub static EVENTS: RingBuf<Event, { 1 << 20 }> = RingBuf::new();

/// What was destroyed, and where, for the manifest. It fills while no agent is there: about 70,000
/// ops, depending on the number of directories.
#[btf_map]
pub static DESTROYED: RingBuf<Destroyed, { 16 << 20 }> = RingBuf::new();

#[btf_map]
pub static HEARTBEAT: Array<Heartbeat, 1> = Array::new();
/// Every paused thread: what the agent goes by, also one that starts while they are paused.
/// Preallocated: where there is no memory for an entry, an op is denied that should be held, and
/// many processes are stopped in the same moment.
#[btf_map]
pub static HELD: HashMap<TaskKey, Held, { MAX_HELD as usize }> = HashMap::new();
/// Nobody who is held, to copy from: it would not fit on a program's stack.
#[btf_map]
pub static EMPTY_HELD: Array<[u8; size_of::<Held>()], 1> = Array::new();
#[btf_map]
pub static HOLDS: HashMap<HoldKey, Hold, { MAX_HOLDS as usize }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();
#[btf_map]
pub static RELEASES: HashMap<
    HoldKey,
    Release,
    { MAX_HOLDS as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();

/// By serial: the allowances that are open, and the break-glass.
#[btf_map]
pub static ALLOWANCES: HashMap<u64, AllowanceConf, { MAX_OPEN as usize }> = HashMap::new();
/// Serials of allowances that are bound to a unit or user, and of a break-glass for everybody in a
/// zone.
#[btf_map]
pub static BINDS: HashMap<BindKey, u64, { 2 * MAX_OPEN as usize }> = HashMap::new();
#[btf_map]
pub static GRANTS: HashMap<
    GrantKey,
    GrantAccount,
    { MAX_OPEN as usize * MAX_GRANTS },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();
#[btf_map]
pub static SUBTREES: HashMap<
    SubtreeKey,
    Subtree,
    { MAX_SUBTREES as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();
#[btf_map]
pub static GRANT_TENANTS: HashMap<
    GrantTenantKey,
    GrantTenant,
    { MAX_GRANT_TENANTS as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();
/// Where patterns go on: see [`PatternKey`].
#[btf_map]
pub static PATTERNS: HashMap<
    PatternKey,
    PatternConf,
    { MAX_PATTERNS as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();
#[btf_map]
pub static NAMES: HashMap<u64, NameConf, { MAX_NAMES as usize }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();
/// Who made the files and directories that are new on filesystems that host zones.
#[btf_map]
pub static FRESH: Array<Made, { MAX_FRESH as usize }, { BPF_F_MMAPABLE as usize }> = Array::new();
/// Single numbers: see [`holdfast_abi::NUMBER_HOLD`] and those after it.
#[btf_map]
pub static NUMBERS: Array<u64, { NUMBER_COUNT as usize }> = Array::new();

/// Local storage, which aya-ebpf has no type for: memory of a task or an inode that goes when that
/// goes.
#[repr(C)]
pub struct LocalStorage<T, const TYPE: usize> {
    r#type: *const [i32; TYPE],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; BPF_F_NO_PREALLOC as usize],
}

// SAFETY: the fields are placeholders that the loader reads; no program dereferences them.
unsafe impl<T, const TYPE: usize> Sync for LocalStorage<T, TYPE> {}

impl<T, const TYPE: usize> LocalStorage<T, TYPE> {
    const fn new() -> Self {
        Self {
            r#type: core::ptr::null(),
            key: core::ptr::null(),
            value: core::ptr::null(),
            max_entries: core::ptr::null(),
            map_flags: core::ptr::null(),
        }
    }

    pub fn as_ptr(&self) -> *mut core::ffi::c_void {
        core::ptr::from_ref(self).cast_mut().cast()
    }
}

type TaskStorage<T> = LocalStorage<T, { bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE as usize }>;
type InodeStorage<T> = LocalStorage<T, { bpf_map_type::BPF_MAP_TYPE_INODE_STORAGE as usize }>;

#[btf_map]
pub static IN_FLIGHT: TaskStorage<InFlight> = TaskStorage::new();
/// Under which allowance a task runs.
#[btf_map]
pub static MARKS: TaskStorage<Mark> = TaskStorage::new();
/// Where directories are.
#[btf_map]
pub static LABELS: InodeStorage<Label> = InodeStorage::new();
/// How long labels hold.
#[btf_map]
pub static MOVES: Array<Moves, { MOVE_SLOTS as usize }> = Array::new();
