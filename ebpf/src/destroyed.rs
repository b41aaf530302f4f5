//! Records of what was really destroyed, for the manifest.
//!
//! A record is made when an op is let through, while its names are still what they were, and kept
//! with the running task. It is sent when the call has ended well, and dropped when it has failed.
//! That of an unlink, which hardly ever fails after its hook, is sent at once, and another if it has
//! failed after all. Where nobody sees the call end, the record says so.

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{
            bpf_get_current_comm, bpf_ktime_get_boot_ns, bpf_loop, bpf_probe_read_kernel_str,
        },
    },
};
use holdfast_abi::{
    Destroyed, GONE_CUT, GONE_OBSERVED, GONE_STRICT, GONE_UNDONE, GONE_UNSEEN, MAX_DEPTH,
    MAX_RECORDS, MAX_TENANT_DEPTH, NAMES_LEVELS, NAMES_ROOM, Verdict, ZoneConf,
};

use crate::{
    inflight::{Call, InFlight},
    kernel::{add, offset, opaque, probe},
    maps::{DESTROYED, ZONE_COUNTERS},
};

const NAME_ROOM: u32 = 256;

/// Makes the record of the op, which is about to be let through. Returns 1 if its names do not reach up to the zone's root: then
/// [`hf_tenant_names`] has to be called. (It would be too deep in the stack here.) A global function, like
/// [`crate::decide::hf_decide`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_destroyed(zone: *const ZoneConf, inflight: *mut InFlight) -> u32 {
    if zone.is_null() || inflight.is_null() {
        return 0;
    }
    let (zone, inflight) = (&*zone, &mut *inflight);
    let request = &inflight.request;
    let index = inflight.counted;
    if index >= MAX_RECORDS as u32 {
        lost(request.zone, request.now);
        return 0;
    }
    let record = if index == 0 { &mut inflight.records[0] } else { &mut inflight.records[1] };
    let ids = bpf_get_current_pid_tgid();
    record.time_ns = request.now;
    record.files = request.cost.files;
    record.bytes = request.cost.bytes;
    record.tenant = request.cost.tenant;
    let root: u64 = probe(request.root, offset!(dentry_inode), 0);
    record.root = probe(root, offset!(inode_ino), 0);
    record.ino = request.ino;
    record.unit = request.unit;
    record.zone = zone.id;
    record.dev = request.dev;
    record.pid = (ids >> 32) as u32;
    record.tid = ids as u32;
    record.uid = request.uid;
    record.login_uid = request.login_uid;
    record.owner = request.owner;
    record.mode = request.file_mode;
    record.op = request.op;
    record.tenant_depth = zone.tenant_depth;
    record.slot = request.zone;
    bpf_get_current_comm((&raw mut record.comm).cast(), 16);
    let is_covered = crate::allow::is_covered(request.reason);
    record.allowance = if is_covered { inflight.outcome.allowance } else { 0 };
    let mut flags = 0;
    if request.verdict == Verdict::Observe as u8 {
        flags |= GONE_OBSERVED;
    }
    if request.is_strict != 0 {
        flags |= GONE_STRICT;
    }
    if request.is_thread != 0 && request.call == Call::Setattr as u8 {
        flags |= GONE_UNSEEN;
    }
    let record: *mut Destroyed = record;
    hf_names(record, request.dentry, request.root);
    (*record).flags |= flags;
    if index == 0 {
        inflight.pending[0] = 1;
    } else {
        inflight.pending[1] = 1;
    }
    ((*record).flags & GONE_CUT != 0 && request.root != 0) as u32
}

/// Writes the names from `dentry` up to the zone's `root`, as far as there is room. A global function, like
/// [`crate::decide::hf_decide`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_names(record: *mut Destroyed, dentry: u64, root: u64) -> u32 {
    if record.is_null() {
        return 0;
    }
    let (used, complete) = names(record, 0, dentry, root, NAMES_LEVELS as u32);
    (*record).names_len = used as u16;
    (*record).tenant_len = 0;
    (*record).flags = if complete { 0 } else { GONE_CUT };
    0
}

/// A long way up: where it is, where it ends, and the last directories before that, the nearest to the end first.
#[repr(C)]
struct Climb {
    dentry: u64,
    root: u64,
    below: [u64; MAX_TENANT_DEPTH as usize],
}

/// Where the names do not reach that far: adds those from the tenant's directory up to the zone's root. A global function, like
/// [`crate::decide::hf_decide`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_tenant_names(inflight: *mut InFlight, depth: u32) -> u32 {
    if inflight.is_null() {
        return 0;
    }
    let inflight = &mut *inflight;
    let (dentry, root) = (inflight.request.dentry, inflight.request.root);
    let first = inflight.counted == 0;
    let record: *mut Destroyed =
        if first { &raw mut inflight.records[0] } else { &raw mut inflight.records[1] };
    let zero = opaque(0);
    let mut climb = Climb { dentry, root, below: [zero, zero, zero, zero] };
    bpf_loop(MAX_DEPTH, climb_step as *mut _, (&raw mut climb).cast(), 0);
    let tenant = match depth {
        1 => climb.below[0],
        2 => climb.below[1],
        3 => climb.below[2],
        4 => climb.below[3],
        _ => zero,
    };
    let used = (*record).names_len as u32;
    if climb.dentry == root && tenant != 0 && used < NAMES_ROOM as u32 + NAME_ROOM {
        let (end, _) = names(record, used, tenant, root, MAX_TENANT_DEPTH);
        (*record).tenant_len = (end - used) as u16;
    }
    0
}

/// One level of such a way. Returns 1 to end it.
unsafe extern "C" fn climb_step(_index: u32, climb: *mut Climb) -> u64 {
    let climb = &mut *climb;
    let dentry = climb.dentry;
    if dentry == climb.root {
        return 1;
    }
    let parent: u64 = probe(dentry, offset!(dentry_parent), 0);
    if parent == dentry {
        return 1;
    }
    let [first, second, third, _] = climb.below;
    climb.below[3] = third;
    climb.below[2] = second;
    climb.below[1] = first;
    climb.below[0] = dentry;
    climb.dentry = parent;
    0
}

/// Writes names from `start` on. Returns where they end, and whether they reach up to the root.
#[inline(always)]
unsafe fn names(
    record: *mut Destroyed,
    start: u32,
    dentry: u64,
    root: u64,
    levels: u32,
) -> (u32, bool) {
    let room = if start == 0 { NAMES_ROOM as u32 } else { NAMES_ROOM as u32 + NAME_ROOM };
    let (mut dentry, mut used) = (dentry, start);
    for _ in 0..levels {
        if dentry == root {
            return (used, true);
        }
        if used >= room {
            break;
        }
        let parent: u64 = probe(dentry, offset!(dentry_parent), 0);
        if parent == dentry {
            break;
        }
        let name: u64 = probe(dentry, offset!(dentry_name), 0);
        let target = (&raw mut (*record).names).cast::<u8>().add(used as usize);
        let written = bpf_probe_read_kernel_str(target.cast(), NAME_ROOM, name as *const _);
        // At most NAME_ROOM. Where the name cannot be read (a negative number) the helper has written zeros: an empty name,
        // which no file has, keeps its level. Without a branch, as the verifier would follow both ways at each of 64 levels.
        let failed = opaque((written >> 63) as u64);
        used += (written as u64 & !failed | failed & 1) as u32 & (2 * NAME_ROOM - 1);
        dentry = parent;
    }
    (used, dentry == root)
}

/// Sends what the running task has recorded: the call has ended well, or it will.
#[inline(always)]
pub unsafe fn tell(inflight: &mut InFlight) {
    if inflight.pending[0] != 0 {
        inflight.pending[0] = 0;
        inflight.told = hf_tell(&raw const inflight.records[0]);
    }
    if inflight.pending[1] != 0 {
        inflight.pending[1] = 0;
        hf_tell(&raw const inflight.records[1]);
    }
}

/// The same where nobody saw the call end.
#[inline(always)]
pub unsafe fn tell_unseen(inflight: &mut InFlight) {
    if inflight.pending[0] | inflight.pending[1] != 0 {
        inflight.records[0].flags |= GONE_UNSEEN;
        inflight.records[1].flags |= GONE_UNSEEN;
        tell(inflight);
    }
}

/// Takes back what was told of a call before it failed.
#[inline(always)]
pub unsafe fn undo_told(inflight: &mut InFlight) {
    if inflight.told != 0 {
        inflight.told = 0;
        inflight.records[0].flags |= GONE_UNDONE;
        hf_tell(&raw const inflight.records[0]);
    }
}

/// Sends one record. Returns 1 if there was room. A global function, like
/// [`crate::decide::hf_decide`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_tell(record: *const Destroyed) -> u32 {
    if record.is_null() {
        return 0;
    }
    let record = &*record;
    let length = record.length();
    if length > size_of::<Destroyed>() {
        return 0;
    }
    let bytes = core::slice::from_raw_parts(core::ptr::from_ref(record).cast::<u8>(), length);
    // Nobody is woken for it: the agent looks several times a second, and the op does not pay for that.
    if DESTROYED.output_untyped::<[u8]>(bytes, BPF_RB_NO_WAKEUP.into()).is_err() {
        lost(record.slot, bpf_ktime_get_boot_ns());
        return 0;
    }
    1
}

/// Counts a record that is missing.
#[inline(always)]
unsafe fn lost(zone: u32, now: u64) {
    if let Some(counters) = ZONE_COUNTERS.get_ptr_mut(zone) {
        add(&raw mut (*counters).manifest_lost, 1);
        (*counters).manifest_lost_ns = now;
    }
}
