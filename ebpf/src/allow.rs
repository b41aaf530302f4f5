//! Signed allowances, and the break-glass: whether one covers an op, spending it, and the mark by
//! which a process tree is known.
//!
//! What is covered is spent there and no budget is asked. Whatever does not fit, in any respect, is
//! left to the budgets: nothing here ever denies.

use aya_ebpf::{
    bindings::{BPF_LOCAL_STORAGE_GET_F_CREATE, BPF_NOEXIST},
    helpers::{
        bpf_get_current_task_btf,
        generated::{bpf_loop, bpf_spin_lock, bpf_spin_unlock, bpf_task_storage_get},
    },
    macros::lsm,
    programs::LsmContext,
};
use holdfast_abi::{
    AllowanceConf, BindKey, GrantAccount, GrantKey, GrantTenant, GrantTenantKey, MAX_DEPTH,
    MAX_GRANTS, Mark, NUMBER_MARKS_LOST, Reason, SubtreeKey, zone_index,
};

use crate::{
    decide::Request,
    inflight::InFlight,
    kernel::{add, offset, opaque, probe},
    maps::{ALLOWANCES, BINDS, GRANT_TENANTS, GRANTS, MARKS, NUMBERS, SUBTREES, ZONES},
};

/// Where an op looks for an allowance, in this order: its process tree's, its unit's, its user's,
/// its zone's.
const SOURCES: u32 = 4;

/// Spends an allowance for the op, if one covers it. Returns 1 if so, and leaves in the request
/// that it did.
///
/// A global function, like [`crate::decide::hf_decide`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_allow(inflight: *mut InFlight) -> u32 {
    if inflight.is_null() {
        return 0;
    }
    for source in 0..SOURCES {
        let serial = hf_found(source, inflight);
        if serial == 0 {
            continue;
        }
        let grants = hf_grants(serial, inflight);
        for index in 0..MAX_GRANTS as u32 {
            if grants & (1 << index) != 0 && hf_pay(serial, index, inflight) != 0 {
                hf_note_spent(serial, index, inflight);
                return 1;
            }
        }
    }
    0
}

/// Whether an allowance is good now, and for whoever runs.
#[inline(always)]
fn is_for(allowance: &AllowanceConf, request: &Request, is_marked: bool) -> bool {
    request.now < allowance.until_ns
        && (allowance.tree == 0 || is_marked)
        && (allowance.unit == 0 || allowance.unit == request.unit)
        && (allowance.user == AllowanceConf::ANY_USER || allowance.user == user(request))
}

#[inline(always)]
fn user(request: &Request) -> u32 {
    let login = request.login_uid;
    if login == u32::MAX { request.uid } else { login }
}

/// Whether an allowance or break-glass covers the op of a request with this reason.
#[inline(always)]
pub fn is_covered(reason: u8) -> bool {
    reason == Reason::Allowance as u8 || reason == Reason::BreakGlass as u8
}

/// The number that stands for the name of the op's zone; 0 if it has none.
#[inline(always)]
unsafe fn zone_id(request: &Request) -> u64 {
    match ZONES.get(zone_index(request.bank, request.zone)) {
        Some(zone) => zone.id,
        None => 0,
    }
}

/// Serial of what an op finds by its process tree (source 0), unit (1), user (2) or zone (3), if
/// that is good now and for whoever runs; 0 for none. A global function: its keys take no room on
/// the stack of [`hf_allow`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_found(source: u32, inflight: *const InFlight) -> u64 {
    if inflight.is_null() {
        return 0;
    }
    let request = &(*inflight).request;
    let serial = if source == 0 {
        current_mark()
    } else {
        let (kind, id) = match source {
            1 => (BindKey::UNIT, request.unit),
            2 => (BindKey::USER, user(request) as u64),
            _ => (BindKey::ZONE, zone_id(request)),
        };
        match BINDS.get(BindKey { id, kind, pad: 0 }) {
            Some(serial) => *serial,
            None => 0,
        }
    };
    match ALLOWANCES.get(serial) {
        Some(allowance) if is_for(allowance, request, source == 0) => serial,
        _ => 0,
    }
}

/// The state of a walk from an op's place up to the root of its filesystem.
#[repr(C)]
struct Climb {
    dentry: u64,
    serial: u64,
    dev: u32,
    /// Grants that name something on the way, one bit each.
    grants: u32,
}

/// The grants of an allowance that name the op's file or a directory above it, one bit each. That
/// of a break-glass is good wherever in its zone the op is, unless nobody knows where that is: it
/// may be another zone. A global function.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_grants(serial: u64, inflight: *const InFlight) -> u32 {
    if inflight.is_null() {
        return 0;
    }
    let request = &(*inflight).request;
    if let Some(allowance) = ALLOWANCES.get(serial)
        && allowance.kind == AllowanceConf::BREAK_GLASS
    {
        return if request.is_strict != 0 { 0 } else { 1 };
    }
    let mut climb =
        Climb { dentry: request.dentry, serial, dev: request.dev, grants: opaque(0) as u32 };
    bpf_loop(MAX_DEPTH, climb_step as *mut _, (&raw mut climb).cast(), 0);
    climb.grants
}

/// One level of it. Returns 1 to end it.
unsafe extern "C" fn climb_step(_index: u32, climb: *mut Climb) -> u64 {
    let climb = &mut *climb;
    let dentry = climb.dentry;
    let inode: u64 = probe(dentry, offset!(dentry_inode), 0);
    let ino: u64 = probe(inode, offset!(inode_ino), 0);
    let key = SubtreeKey { serial: climb.serial, ino, dev: climb.dev, pad: 0 };
    if let Some(subtree) = SUBTREES.get(key)
        && subtree.generation == probe(inode, offset!(inode_generation), 0)
    {
        climb.grants |= subtree.grants;
    }
    let parent: u64 = probe(dentry, offset!(dentry_parent), 0);
    climb.dentry = parent;
    (parent == dentry || parent == 0) as u64
}

/// Spends one grant for the op, if it covers it. Returns 1 if so. A global function.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_pay(serial: u64, index: u32, inflight: *mut InFlight) -> u32 {
    if inflight.is_null() {
        return 0;
    }
    let inflight = &mut *inflight;
    let request = &inflight.request;
    let Some(grant) = GRANTS.get_ptr_mut(GrantKey { serial, index, pad: 0 }) else { return 0 };
    let Some(zone) = ZONES.get(zone_index(request.bank, request.zone)) else { return 0 };
    // By name: the slot may have been another zone's when the allowance was opened.
    if zone.id != (*grant).zone || (*grant).ops & (1 << (request.op & 7)) == 0 {
        return 0;
    }
    let any_tenants = (*grant).tenants == GrantAccount::ANY_TENANTS;
    let tenant = if request.cost.tenant == 0 || any_tenants {
        core::ptr::null_mut()
    } else {
        let key = GrantTenantKey { serial, tenant: request.cost.tenant, index, pad: 0 };
        let tenant = match GRANT_TENANTS.get_ptr_mut(key) {
            Some(known) => known,
            // What a spent grant refuses anyway leaves no entry behind: all allowances share the
            // room. Without the lock this is no more than a guess, and whatever it lets pass is
            // decided below.
            None if !(*grant).covers(&request.cost, true) => return 0,
            None => new_tenant(&key),
        };
        if tenant.is_null() {
            // No room to count it.
            return 0;
        }
        tenant
    };
    // The verifier wants the pointer itself to be tested, and not what the compiler knows it
    // follows from.
    let tenant = opaque(tenant as u64) as *mut GrantTenant;
    let lock = (&raw mut (*grant).lock).cast();
    bpf_spin_lock(lock);
    let covered = (*grant).take(&request.cost, tenant.as_mut());
    bpf_spin_unlock(lock);
    if !covered {
        return 0;
    }
    inflight.remember_grant(serial, index);
    1
}

/// Takes note that a grant was spent for an op: its kind, the reason, and what the event says. A
/// global function: [`hf_pay`] has no stack to spare. What is left is read without the lock: it is
/// for people to see.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_note_spent(serial: u64, index: u32, inflight: *mut InFlight) -> u32 {
    if inflight.is_null() {
        return 0;
    }
    let inflight = &mut *inflight;
    let request = &mut inflight.request;
    let is_break_glass = match ALLOWANCES.get(serial) {
        Some(allowance) => allowance.kind == AllowanceConf::BREAK_GLASS,
        // It was closed in this very moment.
        None => false,
    };
    request.reason =
        if is_break_glass { Reason::BreakGlass as u8 } else { Reason::Allowance as u8 };
    let outcome = &mut inflight.outcome;
    outcome.allowance = serial;
    outcome.budget = opaque(0);
    outcome.actor = opaque(0);
    outcome.files_left = opaque(0);
    outcome.bytes_left = opaque(0);
    outcome.latched_until = opaque(0);
    outcome.suppressed = opaque(0) as u32;
    if let Some(grant) = GRANTS.get_ptr_mut(GrantKey { serial, index, pad: 0 }) {
        add(&raw mut (*grant).ops_by_kind[request.op as usize & 7], 1);
        outcome.files_left = (*grant).files.wrapping_sub((*grant).used_files);
        outcome.bytes_left = (*grant).bytes.wrapping_sub((*grant).used_bytes);
    }
    0
}

/// The entry of a tenant that has none; null if there is no room.
#[inline(always)]
unsafe fn new_tenant(key: &GrantTenantKey) -> *mut GrantTenant {
    // A concurrent caller may have made it: either way it is there afterwards, unless the table is
    // full.
    let _ = GRANT_TENANTS.insert(key, GrantTenant { ops: 0 }, BPF_NOEXIST.into());
    GRANT_TENANTS.get_ptr_mut(key).unwrap_or(core::ptr::null_mut())
}

/// Gives back what a failed op has spent of a grant, if the allowance is still open.
#[inline(always)]
pub unsafe fn return_grant(serial: u64, index: u32, op: u8, cost: &holdfast_abi::Cost) {
    let Some(grant) = GRANTS.get_ptr_mut(GrantKey { serial, index, pad: 0 }) else { return };
    let cost = *cost;
    let key = GrantTenantKey { serial, tenant: cost.tenant, index, pad: 0 };
    let tenant = GRANT_TENANTS.get_ptr_mut(key).unwrap_or(core::ptr::null_mut());
    let lock = (&raw mut (*grant).lock).cast();
    bpf_spin_lock(lock);
    (*grant).give_back(&cost, tenant.as_mut());
    bpf_spin_unlock(lock);
    add(&raw mut (*grant).ops_by_kind[op as usize & 7], 1u64.wrapping_neg());
}

/// Serial in the running task's mark; 0 for none.
#[inline(always)]
unsafe fn current_mark() -> u64 {
    match mark_of(bpf_get_current_task_btf().cast(), 0).as_ref() {
        Some(mark) => mark.serial,
        None => 0,
    }
}

#[inline(always)]
unsafe fn mark_of(task: *mut core::ffi::c_void, flags: u64) -> *mut Mark {
    bpf_task_storage_get(MARKS.as_ptr(), task.cast(), core::ptr::null_mut(), flags).cast()
}

/// `security_task_alloc(task, clone_flags)`, from `copy_process`: every new process and thread,
/// io_uring workers among them, carries the mark of who made it.
#[lsm(hook = "task_alloc")]
pub fn hf_inherit(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(2);
    if earlier != 0 {
        return earlier;
    }
    // SAFETY: the hook's first argument is the new task.
    unsafe {
        let serial = current_mark();
        if serial != 0 {
            match mark_of(ctx.arg(0), BPF_LOCAL_STORAGE_GET_F_CREATE.into()).as_mut() {
                Some(mark) => mark.serial = serial,
                // It falls back to the budgets.
                None => {
                    if let Some(lost) = NUMBERS.get_ptr_mut(NUMBER_MARKS_LOST) {
                        add(lost, 1);
                    }
                }
            }
        }
    }
    0
}
