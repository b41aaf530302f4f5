//! Whether a removal is bound to fail because the directory is not empty: it must not trip a budget
//! that it could never have spent.
//!
//! `vfs_rmdir` has locked the directory, so nothing goes from it or comes into it meanwhile.

use aya_ebpf::helpers::generated::bpf_loop;
use holdfast_abi::{AccountKey, Op, ZoneConf};

use crate::{
    decide::{Request, actor},
    inflight::InFlight,
    kernel::{is_hashed, offset, probe},
    maps::ACCOUNTS,
};

/// Names below a directory that are looked at.
const MAX_CHILDREN: u32 = 1024;
/// Links of a directory without others in it: its name and its own `.`.
const LINKS_OF_EMPTY: u32 = 2;

/// Whether the op, the removal of a directory, is such and a budget might refuse it. Returns 1 if
/// so. (Away from the limit it is charged, and given back when it fails: that costs less than to
/// look.) A global function, like [`crate::decide::hf_decide`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_is_vain(zone: *const ZoneConf, inflight: *const InFlight) -> u32 {
    if zone.is_null() || inflight.is_null() {
        return 0;
    }
    let (zone, request) = (&*zone, &(*inflight).request);
    let is_vain = (request.op == Op::Detach as u8 || may_refuse(zone, request))
        && hf_is_filled(request.dentry) != 0;
    is_vain as u32
}

/// Whether one of the budgets might refuse to let one more file go. A guess without locks, and no
/// charge.
#[inline(always)]
unsafe fn may_refuse(zone: &ZoneConf, request: &Request) -> bool {
    for (index, budget) in zone.budgets.iter().enumerate() {
        if index >= zone.budget_count as usize {
            break;
        }
        if !budget.concerns(request.who) {
            continue;
        }
        let limit = &budget.limit;
        let key = AccountKey { budget: budget.id, actor: actor(budget.per, request) };
        let Some(account) = ACCOUNTS.get_ptr(key) else {
            if limit.files == 0 || limit.tenants == 0 {
                return true;
            }
            continue;
        };
        let window = &(*account).window;
        // The ring may still hold what leaves it with the next charge.
        let is_spent = window.files >= limit.files
            || window.bytes > limit.bytes
            || window.tenants >= limit.tenants.into();
        if is_spent || request.now < window.latched_until {
            return true;
        }
    }
    false
}

/// The state of a search among the names below a directory.
#[repr(C)]
struct Search {
    /// Where the list starts; before 6.8 it also ends there.
    head: u64,
    node: u64,
    found: u64,
}

/// Whether something is in a directory for certain. What the kernel does not have in memory is not
/// found. Returns 1 if so. A global function.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_is_filled(dentry: u64) -> u32 {
    let inode: u64 = probe(dentry, offset!(dentry_inode), 0);
    // ext4 gives up counting at 65,000 and says 1.
    if probe(inode, offset!(inode_nlink), 0u32) > LINKS_OF_EMPTY {
        return 1;
    }
    let head = dentry.wrapping_add(offset!(dentry_children) as u64);
    let mut search = Search { head, node: probe(head, 0, 0), found: 0 };
    bpf_loop(MAX_CHILDREN, step as *mut _, (&raw mut search).cast(), 0);
    search.found as u32
}

/// One name of it. Returns 1 to end it.
unsafe extern "C" fn step(_index: u32, search: *mut Search) -> u64 {
    let search = &mut *search;
    let node = search.node;
    if node == 0 || node == search.head {
        return 1;
    }
    let child = node.wrapping_sub(offset!(dentry_sibling) as u64);
    // Neither a name that is known not to exist, nor one that was removed while it was in use.
    if probe(child, offset!(dentry_inode), 0u64) != 0 && is_hashed(child) {
        search.found = 1;
        return 1;
    }
    search.node = probe(node, 0, 0);
    0
}
