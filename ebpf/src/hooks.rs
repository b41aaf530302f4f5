//! The hooks: from a hook's arguments to an op. One program per hook, because a hook has few trampoline slots for
//! everybody. Facts about the hooks are from kernels 6.1 to 7.3.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{fentry, fexit, lsm},
    programs::{FEntryContext, FExitContext, LsmContext},
};
use holdfast_abi::{Control, Learned, Op};

use crate::{
    decide::{ENOMEM, EPERM, hf_decide, hf_no_memory},
    hold::ERESTARTNOINTR,
    inflight::{Call, InFlight, settle, settle_rename},
    kernel::{Dentry, File, Iattr, Inode, RenameData, Victim, instance},
    maps::{CONTROL, LEARNED},
    place::{Filesystem, Place},
};

const ATTR_SIZE: u32 = 1 << 3;
const RENAME_EXCHANGE: u32 = 1 << 1;

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

/// `security_inode_rmdir(dir, dentry)`, from `vfs_rmdir`: before the file system looks whether it is empty.
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
    let Some(control) = enter() else { return 0 };
    let Some(fs) = Filesystem::of(Inode::sb(dir), control.bank) else { return 0 };
    let is_dir = call == Call::Rmdir;
    let start = if is_dir { dentry } else { Dentry::parent(dentry) };
    let place = fs.locate(start);
    if place.is_outside() {
        return 0;
    }
    // `vfs_unlink` has locked the file: its links cannot change under us.
    let victim = Victim::read(Dentry::inode_or_null(dentry));
    if !is_dir && victim.nlink > 1 {
        return 0;
    }
    let op = if is_dir && place.is_root() { Op::Detach } else { Op::Remove };
    decide_at(op, call, &fs, control, &place, &victim, dentry as u64)
}

/// `security_inode_rename(old_dir, old_dentry, new_dir, new_dentry)`, from `vfs_rename`; called twice, with the
/// sides swapped, when names are exchanged.
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
    let mut exchange = false;
    if let Some(inflight) = InFlight::current() {
        exchange = inflight.exchange != 0;
        if !exchange {
            inflight.start_anew();
        }
    }
    let Some(fs) = Filesystem::of(Inode::sb(old_dir), control.bank) else { return 0 };
    let moves_dir = Victim::read(Dentry::inode_or_null(old_dentry)).is_dir();

    let start = if moves_dir { old_dentry } else { Dentry::parent(old_dentry) };
    let source = fs.locate(start);
    let stays = !moves_dir && old_dir == new_dir;
    let mut destination = if stays { source } else { fs.locate(Dentry::parent(new_dentry)) };

    // One place where each side is decided: every copy costs stack, and the verifier's patience.
    if !source.is_outside() {
        let leaves = destination.zone != source.zone;
        let mut moved = Victim::read(Dentry::inode_or_null(old_dentry));
        // Leaving is an op also with other links left: they can leave one by one.
        let mut op = leaves.then_some(Op::MoveOut);
        if moves_dir && (source.is_root() || leaves) {
            op = Some(Op::Detach);
        } else if !leaves && changes_tenant(&source, &destination, &moved) {
            // Destroys nothing, but what is under another tenant from now on was this one's.
            moved.nothing_lost = true;
            op = Some(Op::MoveOut);
        }
        if let Some(op) = op {
            let dentry = old_dentry as u64;
            let status = decide_at(op, Call::Rename, &fs, control, &source, &moved, dentry);
            if status != 0 {
                return status;
            }
        }
    }
    let target = Dentry::inode_or_null(new_dentry);
    if target == 0 || exchange {
        return 0;
    }
    let victim = Victim::read(target);
    let mut op = Op::Replace;
    if victim.is_dir() {
        // Only an empty directory can be replaced. That costs nothing, unless it is a root.
        destination = fs.locate(new_dentry);
        if destination.is_outside() || !destination.is_root() {
            return 0;
        }
        op = Op::Detach;
    } else if destination.is_outside() || victim.bytes() == 0 {
        return 0;
    }
    // A file is charged whatever its link count is: it is not locked yet, and somebody else may be removing its other links.
    // If one is left when the rename is done, the exit gives the charge back.
    decide_at(op, Call::Rename, &fs, control, &destination, &victim, new_dentry as u64)
}

/// Whether a move within a zone takes something from one tenant to another (or above all tenants). A tenant's own
/// directory keeps its identity when it is renamed where tenants live.
#[inline(always)]
fn changes_tenant(source: &Place, destination: &Place, moved: &Victim) -> bool {
    let stays_tenant = destination.tenant == 0 && source.tenant == moved.ino;
    source.tenant != 0 && source.tenant != destination.tenant && !stays_tenant
}

/// `security_inode_setattr(idmap, dentry, attr)`, from `notify_change`: every way to change a size by name or
/// descriptor.
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
    let Some(control) = enter() else { return 0 };
    let inode = Dentry::inode(dentry);
    if inode.is_null() {
        return 0;
    }
    let Some(fs) = Filesystem::of(Inode::sb(inode), control.bank) else { return 0 };
    let mut victim = Victim::read(inode as u64);
    let new_size = Iattr::size(attr);
    // A file without a name was charged when it lost its last one.
    if victim.nlink == 0 || new_size >= victim.bytes() {
        return 0;
    }
    victim.size -= new_size;
    let place = fs.locate(Dentry::parent(dentry));
    if place.is_outside() {
        return 0;
    }
    decide_at(Op::Truncate, Call::Setattr, &fs, control, &place, &victim, dentry as u64)
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
                inflight.exchange = 1;
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
            if current_control().is_some() {
                let settle: unsafe fn(&FExitContext, i32) = $settle;
                // SAFETY: the arguments are what the kernel's BTF says; the agent checked their places.
                unsafe { settle(&ctx, status) };
            }
            0
        }
    )+ };
}
// Each twice: the kernel skips a tracing program (but not an LSM program) that would run while the same one is
// preempted on the same CPU. What the first settles, the second finds settled.
exit!(hf_unlink_exit hf_unlink_exit_again, "vfs_unlink", |ctx, status| unsafe {
    settle(Call::Unlink, ctx.arg(2), status)
});
exit!(hf_rmdir_exit hf_rmdir_exit_again, "vfs_rmdir", |ctx, status| unsafe {
    settle(Call::Rmdir, ctx.arg(2), status)
});
exit!(hf_setattr_exit hf_setattr_exit_again, "notify_change", |ctx, status| unsafe {
    settle(Call::Setattr, ctx.arg(1), status)
});
exit!(hf_rename_exit hf_rename_exit_again, "vfs_rename", |ctx, status| unsafe {
    settle_rename(RenameData::dentries(ctx.arg(0)), status)
});

/// Tells the agent what the kernel calls an inode: it asks by flock(2) on an open descriptor. stat(2) would not do:
/// its device numbers differ from the superblock's on some file systems.
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

/// The control entry, if this load of the programs counts. While one load takes over from another, both do.
#[inline(always)]
fn current_control() -> Option<&'static Control> {
    let control = CONTROL.get(0)?;
    let own = instance();
    (control.instance == own || control.successor == own).then_some(control)
}

/// [`current_control`], for a hook that starts an op: whatever the task did before is over.
#[inline(always)]
unsafe fn enter() -> Option<&'static Control> {
    let control = current_control()?;
    if let Some(inflight) = InFlight::current() {
        inflight.start_anew();
    }
    Some(control)
}

#[inline(always)]
unsafe fn decide_at(
    op: Op,
    call: Call,
    fs: &Filesystem,
    control: &Control,
    place: &Place,
    victim: &Victim,
    dentry: u64,
) -> i32 {
    let status = match InFlight::create() {
        Some(inflight) => {
            inflight.request.fill(op, call, fs, control.flags, place, victim, dentry);
            hf_decide(inflight)
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
