//! What a unit made itself a moment ago: its lock and temporary files, which it can remove whatever
//! it has spent.
//!
//! A file is known by its inode, so it does not matter what names it has had since, and what comes
//! to a name by a rename or a link is not fresh for that.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::{
    helpers::{bpf_get_current_cgroup_id, bpf_ktime_get_boot_ns},
    macros::fentry,
    programs::FEntryContext,
};
use holdfast_abi::{InodeKey, Op};

use crate::{
    hooks::current_control,
    inflight::{Call, InFlight},
    kernel::{Inode, next_number},
    maps::FRESH,
    place::Filesystem,
};

/// `security_inode_init_security(inode, dir, qstr, initxattrs, fs_data)`: ext4, xfs, tmpfs and
/// btrfs call it for each inode that they make for a name or for O_TMPFILE, once it has its number
/// and generation (6.1 to 7.3). A hook like `inode_create` would not do: open(2) calls it before it
/// has looked whether the file is there.
///
/// Not an LSM program: another LSM before this one may end the round.
#[fentry(function = "security_inode_init_security")]
pub fn hf_made(ctx: FEntryContext) -> i32 {
    // SAFETY: the arguments are what the kernel's BTF says; the agent checked their places.
    unsafe { made(ctx.arg(0)) };
    0
}

#[inline(always)]
unsafe fn made(inode: *const Inode) {
    let Some(control) = current_control() else { return };
    let fs = Filesystem::of(Inode::sb(inode), control);
    if fs.conf().is_none() {
        return;
    }
    let key =
        InodeKey { ino: Inode::ino(inode), dev: fs.dev, generation: Inode::generation(inode) };
    let Some(made) = FRESH.get_ptr_mut(key.slot()) else { return };
    // One writer at a time: two would leave a mixture. Without an entry it is a file like any
    // other.
    if next_number(&raw mut (*made).writers) == 1 {
        write_volatile(&raw mut (*made).unit, 0);
        write_volatile(&raw mut (*made).inode.ino, key.ino);
        write_volatile(&raw mut (*made).inode.dev, key.dev);
        write_volatile(&raw mut (*made).inode.generation, key.generation);
        write_volatile(&raw mut (*made).time_ns, bpf_ktime_get_boot_ns());
        write_volatile(&raw mut (*made).unit, bpf_get_current_cgroup_id());
        write_volatile(&raw mut (*made).writers, 0);
    }
}

/// Whether the op removes or replaces something that the caller's unit made a moment ago, or after
/// `tripped`. Returns 1 if so. A global function, like [`crate::decide::hf_decide`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_is_fresh(inflight: *const InFlight, tripped: u64) -> u32 {
    if inflight.is_null() {
        return 0;
    }
    let request = &(*inflight).request;
    // What is cut short or leaves is still somebody's: only the whole file can go. Of protected
    // paths (new ones that match a pattern) rmdir(2) takes empty ones only.
    let goes = Op::Remove.bit() | Op::Replace.bit();
    let is_rmdir = request.call == Call::Rmdir as u8;
    if !is_rmdir && 1u16 << (request.op & 7) & goes == 0 {
        return 0;
    }
    let key = InodeKey { ino: request.ino, dev: request.dev, generation: request.generation };
    let Some(made) = FRESH.get_ptr(key.slot()) else { return 0 };
    let unit = read_volatile(&raw const (*made).unit);
    let found = read_volatile(made);
    let is_it = found.inode.ino == key.ino
        && found.inode.dev == key.dev
        && found.inode.generation == key.generation
        && found.is_fresh(request.unit, tripped, request.now);
    // Unless somebody has written it meanwhile.
    let is_whole = found.writers == 0
        && found.unit == unit
        && read_volatile(&raw const (*made).unit) == unit
        && read_volatile(&raw const (*made).writers) == 0;
    (is_it && is_whole) as u32
}
