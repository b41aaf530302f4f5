//! Pausing a task instead of failing its op: it is stopped by a signal, and its system call, which
//! has done nothing yet, starts anew once it is continued.
//!
//! Nothing gets through by being continued: the call comes back here and is decided again. What the
//! agent and people need to know is in the maps, not only in events, so that an agent that starts
//! later finds it.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{bpf_send_signal_thread, bpf_spin_lock, bpf_spin_unlock},
    },
};
use holdfast_abi::{
    FLAG_AGENT_GONE, FLAG_NOT_STOPPED, FLAG_TOO_LARGE, HEARTBEAT_HOLDS_NS, Held, Hold, HoldKey,
    NUMBER_HOLD, OnTrip, Op, Reason, TaskKey, Verdict, bpf_spin_lock as SpinLock,
};

use crate::{
    decide::Request,
    inflight::InFlight,
    kernel::{next_number, task_start},
    maps::{EMPTY_HELD, HEARTBEAT, HELD, HOLDS, NUMBERS, RELEASES},
    report::hf_describe,
};

/// What the kernel takes for "make this system call again when the signals are dealt with". No
/// program ever sees it, as long as it is returned to a system call and a signal is pending.
pub const ERESTARTNOINTR: i32 = -513;
const SIGSTOP: u32 = 19;
/// The process that must not stop.
const INIT: u32 = 1;

/// Whether the running task, which was held, is so in this zone and nobody has released it since.
/// Returns 1 if so.
///
/// It does not matter that the window may have drained meanwhile: a person decides. A task that the
/// agent has forgotten, because it was seen to go on, is not held.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_must_wait(inflight: *const InFlight) -> u32 {
    if inflight.is_null() {
        return 0;
    }
    let inflight = &*inflight;
    let request = &inflight.request;
    if request.on_trip != OnTrip::Hold as u8 || inflight.held_zone != request.zone {
        return 0;
    }
    let Some(held) = HELD.get_ptr(running_task()) else { return 0 };
    if (*held).since_ns != inflight.held_ns {
        return 0;
    }
    match RELEASES.get(hold_key(request)) {
        Some(release) => (release.released_ns < inflight.held_ns) as u32,
        None => 1,
    }
}

/// What becomes of an op that its zone's budgets refuse, in a zone that pauses. Returns a
/// [`Verdict`]; a pause is still to be made.
///
/// A global function, like [`crate::decide::hf_charge`]. (It does not pause by itself: all calls on
/// one path share 512 bytes of stack.)
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_consult(inflight: *mut InFlight) -> u32 {
    const DENY: u32 = Verdict::Deny as u32;
    if inflight.is_null() {
        return DENY;
    }
    let inflight = &mut *inflight;
    let request = &mut inflight.request;
    if 1u16 << (request.op & 7) & (Op::Detach.bit() | Op::Device.bit()) != 0 {
        // No amount could be released that covers it.
        return DENY;
    }
    let holds = request.on_trip == OnTrip::Hold as u8;
    let key = hold_key(request);
    if let Some(release) = RELEASES.get(key) {
        if holds && request.now < release.denied_until_ns {
            request.reason = Reason::Expired as u8;
            return DENY;
        }
        if request.now < release.until_ns && take(&key, release.files, inflight) {
            inflight.request.reason = Reason::None as u8;
            return Verdict::Allow as u32;
        }
    }
    let request = &mut inflight.request;
    if !holds && request.too_large != 0 {
        // It would wait for ever.
        request.why_denied = FLAG_TOO_LARGE;
        return DENY;
    }
    if request.is_kernel != 0 {
        // There is no system call to make again.
        return DENY;
    }
    if holds { Verdict::Hold as u32 } else { Verdict::Throttle as u32 }
}

/// Writes down who is paused, and about what. Returns 0 if the task cannot be: the op is then
/// denied.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_remember(inflight: *mut InFlight) -> u32 {
    if inflight.is_null() {
        return 0;
    }
    let inflight = &mut *inflight;
    let request = &mut inflight.request;
    let task = running_task();
    let Some(heartbeat) = HEARTBEAT.get(0) else { return 0 };
    if task.pid == INIT || task.pid == heartbeat.agent {
        request.why_denied = FLAG_NOT_STOPPED;
        return 0;
    }
    let known = HELD.get_ptr_mut(task);
    if let Some(known) = known
        && is_again(request, &*known)
    {
        request.again = 1;
        (*known).again += 1;
        (*known).retry_ns = inflight.outcome.retry_ns;
        // As after an upgrade, when this task's storage is a new one.
        inflight.held_ns = (*known).since_ns;
        inflight.held_zone = request.zone;
        return 1;
    }
    // Who was held before the agent went stays held.
    let is_stale = heartbeat.time_ns.wrapping_add(HEARTBEAT_HOLDS_NS) < request.now;
    if is_stale && known.is_none() {
        request.why_denied = FLAG_AGENT_GONE;
        return 0;
    }
    request.why_denied = FLAG_NOT_STOPPED;
    let Some(hold) = hold_id(request) else { return 0 };
    if known.is_none()
        && let Some(empty) = EMPTY_HELD.get_ptr(0)
    {
        let empty: &Held = &*empty.cast();
        let _ = HELD.insert(task, empty, BPF_NOEXIST.into());
    }
    let Some(held) = HELD.get_ptr_mut(task) else { return 0 };
    request.why_denied = 0;
    (*held).since_ns = 0;
    (*held).hold = hold;
    (*held).retry_ns = inflight.outcome.retry_ns;
    (*held).again = 0;
    hf_describe(&raw mut (*held).event, inflight);
    // Last: an entry that has none is still being written.
    (*held).since_ns = inflight.request.now;
    inflight.held_ns = inflight.request.now;
    inflight.held_zone = inflight.request.zone;
    1
}

/// Whether the pause that is written down goes on: the same op, and nobody has decided about it. A
/// thread that was released and is refused once more is held anew: it must not go by the old
/// decision. One that is throttled just tries again.
#[inline(always)]
fn is_again(request: &Request, known: &Held) -> bool {
    let undecided = request.waits != 0 || request.on_trip != OnTrip::Hold as u8;
    let event = &known.event;
    undecided
        && event.zone == request.zone
        // In another cgroup, or as another user, it belongs to another hold.
        && event.unit == request.unit
        && event.uid == request.uid
        && event.login_uid == request.login_uid
        && event.ino == request.ino
        && event.op == request.op
        && event.verdict == request.verdict
}

/// Stops the running task's process, as soon as its system call returns. Whether that will happen.
///
/// The signal is the thread's own. One for the process would do nothing if another thread's is
/// still on its way: nothing would be pending for this thread, and the program would see
/// [`ERESTARTNOINTR`].
#[inline(always)]
pub unsafe fn stop(inflight: &mut InFlight) -> bool {
    if bpf_send_signal_thread(SIGSTOP) == 0 {
        return true;
    }
    inflight.request.again = 0;
    inflight.request.why_denied = FLAG_NOT_STOPPED;
    goes_on(inflight);
    false
}

/// The running task is not paused any more.
#[inline(always)]
pub unsafe fn goes_on(inflight: &mut InFlight) {
    inflight.held_ns = 0;
    let _ = HELD.remove(running_task());
}

#[inline(always)]
unsafe fn running_task() -> TaskKey {
    let ids = bpf_get_current_pid_tgid();
    TaskKey { start_ns: task_start(), pid: (ids >> 32) as u32, tid: ids as u32 }
}

#[inline(always)]
fn hold_key(request: &Request) -> HoldKey {
    let login = request.login_uid;
    HoldKey {
        unit: request.unit,
        zone: request.zone,
        user: if login == u32::MAX { request.uid } else { login },
    }
}

/// The number of the hold this op belongs to, made if need be.
#[inline(always)]
unsafe fn hold_id(request: &Request) -> Option<u64> {
    let key = hold_key(request);
    if let Some(hold) = HOLDS.get_ptr(key) {
        return Some((*hold).id);
    }
    let id = next_number(NUMBERS.get_ptr_mut(NUMBER_HOLD)?);
    let hold = Hold { lock: SpinLock { val: 0 }, pad: 0, id, since_ns: request.now, used: 0 };
    // A concurrent caller may have made it: either way it is there afterwards, unless the table is
    // full.
    let _ = HOLDS.insert(key, hold, BPF_NOEXIST.into());
    HOLDS.get_ptr(key).map(|hold| (*hold).id)
}

/// Spends from a release of `files` in all, if it covers the op.
#[inline(always)]
unsafe fn take(key: &HoldKey, files: u64, inflight: &mut InFlight) -> bool {
    let Some(hold) = HOLDS.get_ptr_mut(key) else { return false };
    // An op that destroys nothing but takes something from one tenant to another counts as one
    // file.
    let files_lost = inflight.request.cost.files;
    let cost = if files_lost == 0 { 1 } else { files_lost };
    let lock = (&raw mut (*hold).lock).cast();
    bpf_spin_lock(lock);
    let used = (*hold).used.saturating_add(cost);
    let covered = used <= files;
    if covered {
        (*hold).used = used;
    }
    bpf_spin_unlock(lock);
    if covered {
        inflight.remember_release(key, (*hold).id, cost);
    }
    covered
}
