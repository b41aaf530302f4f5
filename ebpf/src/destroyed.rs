//! Records of what was really destroyed, for the deletion log: see [`Destroyed`] and [`GoneDir`].
//!
//! A record is made when an op is let through, while its names are still what they were, and kept
//! with the running task. It is sent when the call has ended well, and dropped when it has failed.
//! That of an unlink, which hardly ever fails after its hook, is sent at once, and another if it
//! has failed after all. Where nobody sees the call end, the record says so.

use aya_ebpf::{
    bindings::{BPF_RB_NO_WAKEUP, BPF_RB_PROD_POS},
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{
            bpf_get_current_comm, bpf_ktime_get_boot_ns, bpf_loop, bpf_probe_read_kernel_str,
            bpf_ringbuf_query,
        },
    },
    maps::ring_buf::RingBufEntry,
};
use holdfast_abi::{
    Destroyed, GONE_CUT, GONE_DIR, GONE_FILE, GONE_OBSERVED, GONE_REACH, GONE_STRICT, GONE_UNDONE,
    GONE_UNSEEN, GoneDir, MAX_DEPTH, MAX_RECORDS, MAX_TENANT_DEPTH, NAME_ROOM as FILE_NAME_ROOM,
    NAMES_LEVELS, NAMES_ROOM, NUMBER_DIR, Verdict, ZoneConf,
};

use crate::{
    inflight::{Call, InFlight},
    kernel::{S_IFDIR, S_IFMT, add, next_number, offset, opaque, probe},
    maps::{DESTROYED, NUMBERS, ZONE_COUNTERS},
};

const NAME_ROOM: u32 = 256;

/// A directory as the running task has told it, or is about to.
#[repr(C)]
pub struct Told {
    /// Behind the beginning of its record in the ring, or before; 0 while it has none there.
    at: u64,
    /// Inode number of the zone's root above it; 0 if unknown.
    root: u64,
    dir: GoneDir,
}

impl InFlight {
    /// The record of the first op of a call or the second, and its directory.
    #[inline(always)]
    fn record(&mut self, index: u32) -> (&mut Destroyed, &mut Told) {
        match index {
            0 => (&mut self.records[0], &mut self.told_dirs[0]),
            _ => (&mut self.records[1], &mut self.told_dirs[1]),
        }
    }
}

/// A number that no other directory has, until four billion more were given one.
#[inline(always)]
pub unsafe fn next_dir() -> u32 {
    match NUMBERS.get_ptr_mut(NUMBER_DIR) {
        Some(number) => next_number(number) as u32,
        None => 0,
    }
}

/// Makes the record of the op, which is about to be let through. Returns 1 if the names of its
/// directory do not reach up to the zone's root: then [`hf_tenant_names`] has to be called. (It
/// would be too deep in the stack here.) A global function, like [`crate::decide::hf_decide`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_destroyed(zone: *const ZoneConf, inflight: *mut InFlight) -> u32 {
    if zone.is_null() || inflight.is_null() {
        return 0;
    }
    let (zone, inflight) = (&*zone, &mut *inflight);
    let index = inflight.counted;
    if index >= MAX_RECORDS as u32 {
        return lost(inflight.request.zone);
    }
    let is_covered = crate::allow::is_covered(inflight.request.reason);
    let allowance = if is_covered { inflight.outcome.allowance } else { 0 };
    if index == 0 {
        inflight.pending[0] = 1;
    } else {
        inflight.pending[1] = 1;
    }
    let request = &raw const inflight.request;
    let request = &*request;
    let (record, told) = inflight.record(index);
    let ids = bpf_get_current_pid_tgid();
    record.kind = GONE_FILE;
    record.time_ns = request.now;
    record.files = request.cost.files;
    record.bytes = request.cost.bytes;
    record.tenant = request.cost.tenant;
    record.ino = request.ino;
    record.unit = request.unit;
    record.allowance = allowance;
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
    record.flags = flags;
    // Where its directory has no label, or its name is too long, all names are the directory's. The
    // place of a directory that is moved is its own.
    let is_moved_dir = request.call == Call::Rename as u8 && request.file_mode & S_IFMT == S_IFDIR;
    let mut label = if is_moved_dir { 0 } else { request.label };
    record.name_len = opaque(0) as u32;
    if label != 0 {
        let name = (&raw mut record.name).cast();
        let written =
            bpf_probe_read_kernel_str(name, FILE_NAME_ROOM as u32, request.name as *const _);
        match written {
            1.. if written < FILE_NAME_ROOM as i64 => record.name_len = written as u32,
            1.. => label = 0,
            // It cannot be read. An empty name, which no file has, keeps its level.
            _ => record.name_len = 1,
        }
    }
    let is_new = label == 0 || told.dir.id != label;
    if is_new {
        told.at = opaque(0);
        told.dir.kind = GONE_DIR;
        told.dir.tid = ids as u32;
        told.dir.pad = opaque(0) as u32;
        told.dir.id = if label == 0 { next_dir() } else { label };
        let root: u64 = probe(request.root, offset!(dentry_inode), 0);
        told.root = probe(root, offset!(inode_ino), 0);
        hf_names(&raw mut told.dir, start(request.dentry, label), request.root);
    }
    record.dir = told.dir.id;
    record.root = told.root;
    (is_new && told.dir.flags & GONE_CUT as u32 != 0 && request.root != 0) as u32
}

/// Where the names of a directory's record begin, for what is at `dentry`.
#[inline(always)]
fn start(dentry: u64, label: u32) -> u64 {
    if label == 0 { dentry } else { probe(dentry, offset!(dentry_parent), 0) }
}

/// Writes the names from `dentry` up to the zone's `root`, as far as there is room. A global
/// function, like [`crate::decide::hf_decide`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_names(dir: *mut GoneDir, dentry: u64, root: u64) -> u32 {
    if dir.is_null() {
        return 0;
    }
    let (used, complete) = names(dir, 0, dentry, root, NAMES_LEVELS as u32);
    (*dir).names_len = used as u16;
    (*dir).tenant_len = 0;
    (*dir).flags = if complete { 0 } else { GONE_CUT as u32 };
    0
}

/// A long way up: where it is, where it ends, and the last directories before that, the nearest to
/// the end first.
#[repr(C)]
struct Climb {
    dentry: u64,
    root: u64,
    below: [u64; MAX_TENANT_DEPTH as usize],
}

/// Where the names do not reach that far: adds those from the tenant's directory up to the zone's
/// root. A global function, like [`crate::decide::hf_decide`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_tenant_names(inflight: *mut InFlight, depth: u32) -> u32 {
    if inflight.is_null() {
        return 0;
    }
    let inflight = &mut *inflight;
    let (dentry, root) = (inflight.request.dentry, inflight.request.root);
    let (_, told) = inflight.record(inflight.counted);
    let dir = &raw mut told.dir;
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
    let used = (*dir).names_len as u32;
    if climb.dentry == root && tenant != 0 && used < NAMES_ROOM as u32 + NAME_ROOM {
        let (end, _) = names(dir, used, tenant, root, MAX_TENANT_DEPTH);
        (*dir).tenant_len = (end - used) as u16;
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

/// Names on their way into a directory's record.
#[repr(C)]
struct Naming {
    dentry: u64,
    root: u64,
    dir: *mut GoneDir,
    used: u32,
    room: u32,
}

/// Writes names from `start` on. Returns where they end, and whether they reach up to the root.
#[inline(always)]
unsafe fn names(dir: *mut GoneDir, start: u32, dentry: u64, root: u64, levels: u32) -> (u32, bool) {
    let room = if start == 0 { NAMES_ROOM as u32 } else { NAMES_ROOM as u32 + NAME_ROOM };
    // By way of memory, so that the verifier does not know it: it would follow each number.
    (*dir).names_len = start as u16;
    let used = core::ptr::read_volatile(&raw const (*dir).names_len) as u32;
    let mut naming = Naming { dentry, root, dir, used, room };
    bpf_loop(levels, name_step as *mut _, (&raw mut naming).cast(), 0);
    (naming.used, naming.dentry == root)
}

/// One level of it. Returns 1 to end it.
unsafe extern "C" fn name_step(_index: u32, naming: *mut Naming) -> u64 {
    let naming = &mut *naming;
    let (dentry, used) = (naming.dentry, naming.used);
    // The second bound is the one that the verifier sees.
    if dentry == naming.root || used >= naming.room || used >= NAMES_ROOM as u32 + NAME_ROOM {
        return 1;
    }
    let parent: u64 = probe(dentry, offset!(dentry_parent), 0);
    if parent == dentry {
        return 1;
    }
    let name: u64 = probe(dentry, offset!(dentry_name), 0);
    let target = (&raw mut (*naming.dir).names).cast::<u8>().add(used as usize);
    let written = bpf_probe_read_kernel_str(target.cast(), NAME_ROOM, name as *const _);
    // Where the name cannot be read the helper has written zeros: an empty name, which no file has,
    // keeps its level.
    naming.used += if written > 0 { written as u32 } else { 1 };
    naming.dentry = parent;
    0
}

/// Sends what the running task has recorded: the call has ended well, or it will.
#[inline(always)]
pub unsafe fn tell(inflight: &mut InFlight) {
    if inflight.pending[0] != 0 {
        inflight.pending[0] = 0;
        inflight.told = hf_tell(inflight, 0);
    }
    if inflight.pending[1] != 0 {
        inflight.pending[1] = 0;
        hf_tell(inflight, 1);
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
        hf_tell(inflight, 0);
    }
}

/// Sends one record, after its directory's. Returns 1 if there was room. A global function, like
/// [`crate::decide::hf_decide`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_tell(inflight: *mut InFlight, index: u32) -> u32 {
    if inflight.is_null() {
        return 0;
    }
    let (record, told) = (*inflight).record(index);
    let Some(mut entry) = reserve(told) else { return lost(record.slot) };
    let to: *mut Destroyed = entry.as_mut_ptr();
    core::ptr::copy_nonoverlapping(&raw const *record, to, 1);
    // Nobody is woken for it: the agent looks several times a second, and the op does not pay for
    // that.
    entry.submit(BPF_RB_NO_WAKEUP.into());
    1
}

/// A place in the ring for a record, in reach of its directory's, which is told if need be.
#[inline(always)]
unsafe fn reserve(told: &mut Told) -> Option<RingBufEntry<Destroyed>> {
    if told.at == 0 && hf_tell_dir(told) == 0 {
        return None;
    }
    let entry = DESTROYED.reserve(0)?;
    if !is_out_of_reach(told) {
        return Some(entry);
    }
    entry.discard(BPF_RB_NO_WAKEUP.into());
    if hf_tell_dir(told) == 0 {
        return None;
    }
    let entry = DESTROYED.reserve(0)?;
    if is_out_of_reach(told) {
        // The ring went round while this thread was kept from running.
        entry.discard(BPF_RB_NO_WAKEUP.into());
        return None;
    }
    Some(entry)
}

/// Whether a record that has its place in the ring already may not refer to what was told of its
/// directory.
#[inline(always)]
unsafe fn is_out_of_reach(told: &Told) -> bool {
    ring_end().wrapping_sub(told.at) >= GONE_REACH
}

/// Up to where the ring is filled.
#[inline(always)]
unsafe fn ring_end() -> u64 {
    bpf_ringbuf_query((&raw const DESTROYED).cast_mut().cast(), BPF_RB_PROD_POS.into())
}

/// Sends a directory's record. Returns 1 if there was room. A global function, like
/// [`crate::decide::hf_decide`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_tell_dir(told: *mut Told) -> u32 {
    if told.is_null() {
        return 0;
    }
    let told = &mut *told;
    let length = told.dir.length();
    if length > size_of::<GoneDir>() {
        return 0;
    }
    let bytes = core::slice::from_raw_parts((&raw const told.dir).cast::<u8>(), length);
    let end = ring_end();
    if DESTROYED.output_untyped::<[u8]>(bytes, BPF_RB_NO_WAKEUP.into()).is_err() {
        return 0;
    }
    told.at = end + 1;
    1
}

/// Counts a record that is missing. Returns 0.
#[inline(always)]
unsafe fn lost(zone: u32) -> u32 {
    if let Some(counters) = ZONE_COUNTERS.get_ptr_mut(zone) {
        add(&raw mut (*counters).manifest_lost, 1);
        (*counters).manifest_lost_ns = bpf_ktime_get_boot_ns();
    }
    0
}
