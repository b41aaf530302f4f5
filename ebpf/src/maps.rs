//! The maps. Their names are the names of the pins.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE},
    btf_maps::{Array, HashMap, PerCpuArray, RingBuf},
    macros::btf_map,
};
use holdfast_abi::{
    Account, AccountKey, COUNTERS as COUNTER_COUNT, Control, Cost, Event, FsConf, FsKey, Heartbeat,
    Held, Hold, HoldKey, Learned, MAX_ACCOUNTS, MAX_HELD, MAX_HOLDS, MAX_ROOTS, MAX_ZONES,
    OVERFLOW_ACCOUNTS, Release, RootConf, RootKey, TaskKey, ZoneConf, ZoneCounters,
};

use crate::inflight::InFlight;

const BANKS: usize = 2;

#[btf_map]
pub static CONTROL: Array<Control, 1> = Array::new();
#[btf_map]
pub static ZONES: Array<ZoneConf, { BANKS * MAX_ZONES }> = Array::new();
#[btf_map]
pub static ROOTS: HashMap<RootKey, RootConf, { BANKS * MAX_ROOTS as usize }> = HashMap::new();
#[btf_map]
pub static FILESYSTEMS: HashMap<FsKey, FsConf, { BANKS * MAX_ROOTS as usize }> = HashMap::new();
/// Grows with use: an account is larger than most hosts have reason to preallocate 16,384 times.
#[btf_map]
pub static ACCOUNTS: HashMap<
    AccountKey,
    Account,
    { MAX_ACCOUNTS as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();
/// By budget: the account of everybody for whom there is no room in `ACCOUNTS`. The agent makes each before its budget is
/// in force.
#[btf_map]
pub static OVERFLOW: HashMap<u64, Account, OVERFLOW_ACCOUNTS, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();
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

#[btf_map]
pub static HEARTBEAT: Array<Heartbeat, 1> = Array::new();
/// Every paused thread: what the agent goes by, also one that starts while they are paused.
#[btf_map]
pub static HELD: HashMap<TaskKey, Held, { MAX_HELD as usize }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();
/// Nobody who is held, to copy from: it would not fit on a program's stack.
#[btf_map]
pub static EMPTY_HELD: Array<[u8; size_of::<Held>()], 1> = Array::new();
#[btf_map]
pub static HOLDS: HashMap<HoldKey, Hold, { MAX_HOLDS as usize }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();
/// The number of the last hold.
#[btf_map]
pub static HOLD_IDS: Array<u64, 1> = Array::new();
#[btf_map]
pub static RELEASES: HashMap<
    HoldKey,
    Release,
    { MAX_HOLDS as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();

/// Task storage, which aya-ebpf has no type for: memory of the running task that goes when the task goes.
#[repr(C)]
pub struct TaskStorage<T> {
    r#type: *const [i32; BPF_MAP_TYPE_TASK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; BPF_F_NO_PREALLOC as usize],
}

// SAFETY: the fields are placeholders that the loader reads; no program dereferences them.
unsafe impl<T> Sync for TaskStorage<T> {}

impl<T> TaskStorage<T> {
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

#[btf_map]
pub static IN_FLIGHT: TaskStorage<InFlight> = TaskStorage::new();
