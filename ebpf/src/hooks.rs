//! The hooks: from a hook's arguments to an op. One program per hook, because a hook has few
//! trampoline slots for everybody. Facts about the hooks are from kernels 6.1 to 7.3.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{fentry, fexit, lsm},
    programs::{FEntryContext, FExitContext, LsmContext},
};
use holdfast_abi::{Control, Learned, Op};

use crate::{
    decide::{ENOMEM, EPERM, KEEPS_ALL, hf_decide, hf_no_memory},
    destroyed::tell,
    hold::ERESTARTNOINTR,
    inflight::{Call, InFlight, begin_move, end_moves, settle, settle_rename},
    kernel::{
        Dentry, Fields, File, Iattr, Inode, RenameData, Victim, instance, offset, opaque, probe,
    },
    maps::{CONTROL, LEARNED},
    place::{Filesystem, Place},
};

const ATTR_SIZE: u32 = 1 << 3;
const RENAME_EXCHANGE: u32 = 1 << 1;

/// Values of [`InFlight::exchange`].
const EXCHANGE: u32 = 1;
const STACKED_EXCHANGE: u32 = 2;

/// `security_inode_unlink(dir, dentry)`, from `vfs_unlink`, with the directory locked.
#[lsm(hook = "inode_unlink")]
pub fn hf_unlink(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(2);
    if earlier != 0 {
        return earlier;
    }
    // SAFETY: arguments are what the hook's BTF says; the agent checked the layout.
    unsafe { remove(ctx.arg(0), ctx.arg(1), Call::Unlink) }
}

/// `security_inode_rmdir(dir, dentry)`, from `vfs_rmdir`: before the file system looks whether it
/// is empty.
#[lsm(hook = "inode_rmdir")]
pub fn hf_rmdir(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(2);
    if earlier != 0 {
        return earlier;
    }
    // SAFETY: as above.
    unsafe { remove(ctx.arg(0), ctx.arg(1), Call::Rmdir) }
}

#[inline(always)]
unsafe fn remove(dir: *const Inode, dentry: *const Dentry, call: Call) -> i32 {
    let Some(control) = current_control() else { return 0 };
    let inode = Dentry::inode(dentry);
    if inode.is_null() {
        return 0;
    }
    let fs = Filesystem::of(Inode::sb(dir), control);
    let is_dir = call == Call::Rmdir;
    let mut place = Place::outside();
    if is_dir {
        fs.locate_victim(dentry, inode, &mut place);
    } else {
        fs.locate(Dentry::parent(dentry), &mut place);
    }
    if place.is_outside() {
        return 0;
    }
    // `vfs_unlink` has locked the file: its links cannot change under us.
    let victim = Victim::loaded(inode);
    if !is_dir && victim.nlink() > 1 {
        return 0;
    }
    let op = if is_dir && place.is_root() { Op::Detach } else { Op::Remove };
    decide_at(op, call, &fs, &place, (dentry, victim), 0)
}

/// `security_inode_rename(old_dir, old_dentry, new_dir, new_dentry)`, from `vfs_rename`; called
/// twice, with the sides swapped, when names are exchanged.
#[lsm(hook = "inode_rename")]
pub fn hf_rename(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(4);
    if earlier != 0 {
        return earlier;
    }
    // SAFETY: as above.
    unsafe { rename(ctx.arg(0), ctx.arg(1), ctx.arg(2), ctx.arg(3)) }
}

#[inline(always)]
unsafe fn rename(
    old_dir: *const Inode,
    old_dentry: *const Dentry,
    new_dir: *const Inode,
    new_dentry: *const Dentry,
) -> i32 {
    let Some(control) = current_control() else { return 0 };
    let fs = Filesystem::of(Inode::sb(old_dir), control);
    let moved = Victim::of(old_dentry as u64);
    let moves_dir = moved.is_dir();
    let mut exchange = 0;
    if moves_dir {
        if fs.conf().is_none() {
            return 0;
        }
        exchange = InFlight::start_rename();
        begin_move(fs.dev);
    }
    let start = if moves_dir { old_dentry } else { Dentry::parent(old_dentry) };
    let mut source = Place::outside();
    fs.locate(start, &mut source);
    let mut destination = source;
    if moves_dir || old_dir != new_dir {
        fs.locate(Dentry::parent(new_dentry), &mut destination);
    }
    if !moves_dir {
        if source.is_outside() && destination.is_outside() {
            return 0;
        }
        exchange = InFlight::start_rename();
    }
    // What overlayfs clears away in its upper layer holds no data: whiteouts, and directories that
    // it found empty.
    let is_cleared = moved.is_whiteout() || exchange == STACKED_EXCHANGE && is_in_work(new_dentry);

    // One place where each side is decided: every copy costs stack, and the verifier's patience.
    if !source.is_outside() && !is_cleared {
        let leaves = destination.zone != source.zone;
        // Leaving is an op also with other links left: they can leave one by one.
        let mut op = leaves.then_some(Op::MoveOut);
        let mut kept = 0;
        if moves_dir && (source.is_root() || leaves || moves_tenants(&source, &destination)) {
            op = Some(Op::Detach);
        } else if !leaves && changes_tenant(&source, &destination, &moved) {
            // Destroys nothing, but what is under another tenant from now on was this one's.
            kept = KEEPS_ALL;
            op = Some(Op::MoveOut);
        }
        if let Some(op) = op {
            let victim = (old_dentry, moved);
            let status = decide_at(op, Call::Rename, &fs, &source, victim, kept);
            if status != 0 {
                return status;
            }
        }
    }
    let victim = Victim::of(new_dentry as u64);
    if victim.is_missing() || exchange != 0 {
        return 0;
    }
    let mut op = Op::Replace;
    if victim.is_dir() {
        // Only an empty directory can be replaced. That costs nothing, unless it is a root.
        fs.locate(new_dentry, &mut destination);
        if destination.is_outside() || !destination.is_root() {
            return 0;
        }
        op = Op::Detach;
    } else if destination.is_outside() || victim.is_whiteout() {
        return 0;
    }
    // A file is charged whatever its link count is: it is not locked yet, and somebody else may be
    // removing its other links. If one is left when the rename is done, the exit gives the charge
    // back.
    decide_at(op, Call::Rename, &fs, &destination, (new_dentry, victim), 0)
}

/// Whether a dentry is one of those that overlayfs makes for itself, in the directory `work` below
/// its working directory.
#[inline(always)]
unsafe fn is_in_work(dentry: *const Dentry) -> bool {
    const WORK: u32 = u32::from_ne_bytes(*b"work");
    let name: u64 = probe(dentry as u64, offset!(dentry_name), 0);
    let parent = Dentry::parent(dentry) as u64;
    let directory: u64 = probe(parent, offset!(dentry_name), 0);
    probe(name, 0, 0u8) == b'#'
        && probe(directory, 0, 0u32) == WORK
        && probe(directory, 4, 1u8) == 0
}

/// Whether a directory above the tenants comes to another level: nobody can know how many tenants
/// are in it, which are then under another one, or one themselves.
#[inline(always)]
fn moves_tenants(source: &Place, destination: &Place) -> bool {
    source.is_above_tenants() && source.level != destination.level + 1
}

/// Whether a move within a zone takes something from one tenant to another (or above all tenants).
/// A tenant's own directory keeps its identity when it is renamed where tenants live.
#[inline(always)]
fn changes_tenant<F: Fields>(source: &Place, destination: &Place, moved: &Victim<F>) -> bool {
    let is_own = moved.is_dir() && source.is_tenant();
    let stays_tenant = is_own && source.level == destination.level + 1;
    source.tenant != 0 && source.tenant != destination.tenant && !stays_tenant
}

/// `security_inode_link(old_dentry, dir, new_dentry)`, from `vfs_link`. A file with a name outside
/// its zone has left it: to remove the name inside then costs nothing.
#[lsm(hook = "inode_link")]
pub fn hf_link(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(3);
    if earlier != 0 {
        return earlier;
    }
    // SAFETY: as above.
    unsafe { link(ctx.arg(0), ctx.arg(2)) }
}

#[inline(always)]
unsafe fn link(old_dentry: *const Dentry, new_dentry: *const Dentry) -> i32 {
    let Some(control) = current_control() else { return 0 };
    let inode = Dentry::inode(old_dentry);
    if inode.is_null() {
        return 0;
    }
    let fs = Filesystem::of(Inode::sb(inode), control);
    let mut source = Place::outside();
    fs.recall_or_walk(Dentry::parent(old_dentry), &mut source);
    // Nothing is locked: the file may be in another directory by now.
    source.label = opaque(0) as u32;
    let victim = Victim::loaded(inode);
    // A file that has no name yet (O_TMPFILE) is in no zone.
    if source.is_outside() || victim.nlink() == 0 {
        return 0;
    }
    let mut destination = Place::outside();
    fs.locate(Dentry::parent(new_dentry), &mut destination);
    let mut kept = 0;
    if destination.zone == source.zone {
        if !changes_tenant(&source, &destination, &victim) {
            return 0;
        }
        kept = KEEPS_ALL;
    }
    decide_at(Op::MoveOut, Call::Link, &fs, &source, (old_dentry, victim), kept)
}

/// `security_inode_setattr(idmap, dentry, attr)`, from `notify_change`: every way to change a size
/// by name or descriptor.
#[lsm(hook = "inode_setattr")]
pub fn hf_setattr(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(3);
    if earlier != 0 {
        return earlier;
    }
    // SAFETY: as above; the agent loads this one or the next, as the kernel's BTF says.
    unsafe { truncate(ctx.arg(1), ctx.arg(2)) }
}

/// The same before kernel 6.8 or so, when the hook was not given the mount's id mapping.
#[lsm(hook = "inode_setattr")]
pub fn hf_setattr_old(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(2);
    if earlier != 0 {
        return earlier;
    }
    // SAFETY: as above.
    unsafe { truncate(ctx.arg(0), ctx.arg(1)) }
}

#[inline(always)]
unsafe fn truncate(dentry: *const Dentry, attr: *const Iattr) -> i32 {
    if Iattr::valid(attr) & ATTR_SIZE == 0 {
        return 0;
    }
    let Some(control) = current_control() else { return 0 };
    let inode = Dentry::inode(dentry);
    if inode.is_null() {
        return 0;
    }
    let fs = Filesystem::of(Inode::sb(inode), control);
    let victim = Victim::loaded(inode);
    let nlink = victim.nlink();
    let new_size = Iattr::size(attr);
    if let Some(inflight) = InFlight::current() {
        // Whatever comes of this one: its exit is not to settle another one's.
        inflight.start_anew();
    }
    // A file without a name was charged when it lost its last one.
    if nlink == 0 || new_size >= victim.size() {
        return 0;
    }
    // The file is locked, so that no rename takes the name out of its directory meanwhile.
    let mut place = Place::outside();
    fs.locate(Dentry::parent(dentry), &mut place);
    // An inode that was reached by a handle can have been reached by its name since.
    if place.is_strict() || place.is_outside() && nlink > 1 && fs.conf().is_some() {
        fs.locate_alias(inode, &mut place);
    }
    if place.is_outside() {
        return 0;
    }
    decide_at(Op::Truncate, Call::Setattr, &fs, &place, (dentry, victim), new_size)
}

/// Remembers whether a rename exchanges names: the hook is not told.
#[fentry(function = "vfs_rename")]
pub fn hf_rename_enter(ctx: FEntryContext) -> i32 {
    // SAFETY: vfs_rename's only argument is a renamedata.
    unsafe {
        let data: *const RenameData = ctx.arg(0);
        if current_control().is_none() {
            return 0;
        }
        if RenameData::flags(data) & RENAME_EXCHANGE != 0 {
            if let Some(inflight) = InFlight::create() {
                inflight.start_anew();
                inflight.exchange =
                    if RenameData::is_stacked(data) { STACKED_EXCHANGE } else { EXCHANGE };
            }
        } else if let Some(inflight) = InFlight::current() {
            inflight.exchange = 0;
        }
    }
    0
}

macro_rules! exit {
    ($($name:ident)+, $function:literal, $settle:expr) => { $(
        /// Gives back what the hook charged if the call failed after all.
        #[fexit(function = $function)]
        pub fn $name(ctx: FExitContext) -> i32 {
            let status = ctx.ret::<i32>().unwrap_or(0);
            if $function == "vfs_rename" {
                // SAFETY: it touches what the running task has in flight.
                unsafe { end_moves(RenameData::moved_dir(ctx.arg(0))) };
            }
            if current_control().is_some() {
                let settle: unsafe fn(&FExitContext, i32) = $settle;
                // SAFETY: the arguments are what the kernel's BTF says; the agent checked their
                // places.
                unsafe { settle(&ctx, status) };
            }
            0
        }
    )+ };
}
// Each twice: the kernel skips a tracing program (but not an LSM program) that would run while the
// same one is preempted on the same CPU. What the first settles, the second finds settled. Unlink
// has none: see [`InFlight::start_anew`].
exit!(hf_rmdir_exit hf_rmdir_exit_again, "vfs_rmdir", |ctx, status| unsafe {
    settle(Call::Rmdir, ctx.arg(2), status)
});
exit!(hf_link_exit hf_link_exit_again, "vfs_link", |ctx, status| unsafe {
    settle(Call::Link, ctx.arg(0), status)
});
// Not of `notify_change`: chmod, chown and utimes go through that, too.
exit!(hf_truncate_exit hf_truncate_exit_again, "do_truncate", |ctx, status| unsafe {
    settle(Call::Setattr, ctx.arg(1), status)
});
exit!(hf_rename_exit hf_rename_exit_again, "vfs_rename", |ctx, status| unsafe {
    settle_rename(RenameData::dentries(ctx.arg(0)), status)
});

/// A thread ends: what its last op was charged is settled. From `do_exit`.
#[fentry(function = "exit_signals")]
pub fn hf_end(_: FEntryContext) -> i32 {
    // SAFETY: it touches what the running task has in flight.
    unsafe {
        if let Some(inflight) = InFlight::current() {
            inflight.start_anew();
        }
    }
    0
}

/// Tells the agent what the kernel calls an inode: it asks by flock(2) on an open descriptor.
/// stat(2) would not do: its device numbers differ from the superblock's on some file systems.
#[lsm(hook = "file_lock")]
pub fn hf_learn(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(2);
    // SAFETY: the hook's first argument is a file.
    unsafe {
        let file: *const File = ctx.arg(0);
        if let Some(control) = current_control()
            && control.learner != 0
            && control.learner == bpf_get_current_pid_tgid() as u32
            && let Some(learned) = LEARNED.get_ptr_mut(0)
        {
            let inode = File::inode(file);
            *learned = Learned {
                serial: (*learned).serial + 1,
                ino: Inode::ino(inode),
                dev: crate::kernel::SuperBlock::dev(Inode::sb(inode)),
                generation: Inode::generation(inode),
            };
        }
    }
    earlier
}

/// The control entry, if this load of the programs counts. While one load takes over from another,
/// both do.
#[inline(always)]
pub fn current_control() -> Option<&'static Control> {
    let control = CONTROL.get(0)?;
    let own = instance();
    (control.instance == own || control.successor == own).then_some(control)
}

#[inline(always)]
unsafe fn decide_at<F: Fields>(
    op: Op,
    call: Call,
    fs: &Filesystem,
    place: &Place,
    victim: (*const Dentry, Victim<F>),
    kept: u64,
) -> i32 {
    let status = match InFlight::create() {
        Some(inflight) => {
            if call != Call::Rename {
                inflight.start_anew();
            }
            inflight.request.fill(op, call, fs, place, victim, kept);
            let status = hf_decide(inflight);
            if call == Call::Unlink || call == Call::Setattr && inflight.request.is_thread != 0 {
                tell(inflight);
            }
            status
        }
        None => hf_no_memory(fs.bank, place.zone),
    };
    // Constants, because kernels from 6.12 on check what a hook can return.
    match status {
        0 => 0,
        ERESTARTNOINTR => ERESTARTNOINTR,
        ENOMEM => ENOMEM,
        _ => EPERM,
    }
}
