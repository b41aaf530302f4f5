//! Events for the agent. Off the decision path: if the ring buffer is full the event is counted as
//! lost.

use core::ptr::read_volatile;

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid,
    generated::{bpf_get_current_comm, bpf_loop, bpf_probe_read_kernel_str},
};
use holdfast_abi::{
    Event, FLAG_FIRST, FLAG_KTHREAD, FLAG_PACED, FLAG_PATH_CUT, FLAG_STRICT, FLAG_TRACE, PATH_ROOM,
};

use crate::{
    allow::is_covered,
    decide::{Request, is_within},
    inflight::InFlight,
    kernel::{add, offset, opaque, probe},
    maps::{EVENTS, ZONE_COUNTERS},
};

/// Levels of a path that an event can show.
const PATH_LEVELS: u32 = 24;
const NAME_ROOM: u32 = 256;
const TENANT_ROOM: u32 = 64;

/// Whether there is an event to tell of the op.
#[inline(always)]
pub fn is_told(request: &Request) -> bool {
    let is_allowed = is_within(request.reason) || is_covered(request.reason);
    let is_quiet = request.quiet != 0 || (is_allowed && request.paced == 0);
    !is_quiet || request.flags & FLAG_TRACE != 0
}

/// Sends an event for the op. A global function, like [`crate::decide::hf_charge`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_report(inflight: *const InFlight) -> u32 {
    if inflight.is_null() {
        return 0;
    }
    let Some(mut entry) = EVENTS.reserve(0) else {
        if let Some(counters) = ZONE_COUNTERS.get_ptr_mut((*inflight).request.zone) {
            add(&raw mut (*counters).events_lost, 1);
        }
        return 0;
    };
    let event: *mut Event = entry.as_mut_ptr();
    hf_describe(event, inflight);
    entry.submit(0);
    0
}

/// Fills in an event, all of it. A global function, like [`crate::decide::hf_charge`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_describe(event: *mut Event, inflight: *const InFlight) -> u32 {
    if event.is_null() || inflight.is_null() {
        return 0;
    }
    let (request, outcome) = (&(*inflight).request, &(*inflight).outcome);
    let ids = bpf_get_current_pid_tgid();
    (*event).time_ns = request.now;
    (*event).files = request.cost.files;
    (*event).bytes = request.cost.bytes;
    (*event).tenant = request.cost.tenant;
    (*event).ino = request.ino;
    (*event).unit = request.unit;
    (*event).dev = request.dev;
    (*event).pid = (ids >> 32) as u32;
    (*event).tid = ids as u32;
    (*event).uid = request.uid;
    (*event).login_uid = request.login_uid;
    (*event).zone = request.zone;
    (*event).budget = outcome.budget;
    (*event).actor = outcome.actor;
    (*event).files_left = outcome.files_left;
    (*event).bytes_left = outcome.bytes_left;
    (*event).latched_until = outcome.latched_until;
    (*event).suppressed = outcome.suppressed;
    let trip = &outcome.trip;
    // Only a refusal has one to tell.
    let over = if is_within(request.reason) || is_covered(request.reason) { 0 } else { trip.over };
    (*event).trip.time_ns = trip.time_ns;
    (*event).trip.ino = trip.ino;
    (*event).trip.tenant = trip.tenant;
    (*event).trip.dev = trip.dev;
    (*event).trip.over = over;
    (*event).allowance = if is_covered(request.reason) { outcome.allowance } else { 0 };
    (*event).op = request.op;
    (*event).verdict = request.verdict;
    (*event).reason = request.reason;
    (*event).who = request.who as u32;
    bpf_get_current_comm((&raw mut (*event).comm).cast(), 16);
    (*event).tenant_name[0] = 0;
    // No inode has number u64::MAX.
    let tenant = if request.cost.tenant == 0 { u64::MAX } else { request.cost.tenant };
    let (used, complete) = write_path(event, request.dentry, tenant);
    (*event).path_len = used;
    let mut flags = request.why_denied;
    if request.paced != 0 {
        flags |= FLAG_PACED;
    }
    if request.first != 0 {
        flags |= FLAG_FIRST;
    }
    if request.is_strict != 0 {
        flags |= FLAG_STRICT;
    }
    if request.is_kernel != 0 {
        flags |= FLAG_KTHREAD;
    }
    if !complete {
        flags |= FLAG_PATH_CUT;
    }
    (*event).flags = flags;
    0
}

/// Names on their way into an event.
#[repr(C)]
struct Naming {
    dentry: u64,
    event: *mut Event,
    tenant: u64,
    used: u32,
    /// Whether that was all of them.
    complete: u32,
}

/// Writes the names from `dentry` up to the filesystem's root, each ended by NUL, and the name of
/// the tenant's directory when it comes by. Returns the bytes used and whether that was all of
/// them.
#[inline(always)]
unsafe fn write_path(event: *mut Event, dentry: u64, tenant: u64) -> (u32, bool) {
    // By way of memory, so that the verifier does not know it: it would follow each number.
    (*event).path_len = opaque(0) as u32;
    let used = read_volatile(&raw const (*event).path_len);
    let mut naming = Naming { dentry, event, tenant, used, complete: opaque(0) as u32 };
    bpf_loop(PATH_LEVELS, name_step as *mut _, (&raw mut naming).cast(), 0);
    (naming.used, naming.complete != 0)
}

/// One level of it. Returns 1 to end it.
unsafe extern "C" fn name_step(_index: u32, naming: *mut Naming) -> u64 {
    let naming = &mut *naming;
    let (dentry, used) = (naming.dentry, naming.used);
    let parent: u64 = probe(dentry, offset!(dentry_parent), 0);
    if parent == dentry {
        naming.complete = 1;
        return 1;
    }
    if used > PATH_ROOM as u32 {
        return 1;
    }
    let name: u64 = probe(dentry, offset!(dentry_name), 0);
    let target = (&raw mut (*naming.event).path).cast::<u8>().add(used as usize);
    let written = bpf_probe_read_kernel_str(target.cast(), NAME_ROOM, name as *const _);
    // An error counts as nothing written.
    naming.used += if written > 0 { written as u32 } else { 0 };
    let inode: u64 = probe(dentry, offset!(dentry_inode), 0);
    if probe(inode, offset!(inode_ino), 0u64) == naming.tenant {
        let target = (&raw mut (*naming.event).tenant_name).cast();
        bpf_probe_read_kernel_str(target, TENANT_ROOM, name as *const _);
    }
    naming.dentry = parent;
    0
}
