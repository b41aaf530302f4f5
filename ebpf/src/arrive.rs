//! What arrives below a protected path without an op of its own: filesystems that are mounted
//! there.
//!
//! The agent finds them too, milliseconds later. Until then nothing on them was guarded, so that a
//! job which mounts its disk and deletes at once was never counted. The programs enter a
//! *provisional* root before the mount can be seen; the agent's next survey confirms or removes it.
//! No mount is delayed or refused.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::{bpf_ktime_get_boot_ns, generated::bpf_loop},
    macros::fentry,
    programs::FEntryContext,
};
use holdfast_abi::{CANARY_ZONE, FsConf, FsKey, RootConf, RootKey, SELF_TEST_ZONE, zone_index};

use crate::{
    hooks::current_control,
    inflight::forget_labels,
    kernel::{S_IFDIR, S_IFMT, add, offset, opaque, probe},
    maps::{FILESYSTEMS, ROOTS, ZONE_COUNTERS, ZONES},
    place::{Ends, Place, salt, walk_deep},
};

/// Mounts of one tree that are looked at, and steps up from them.
const MAX_STEPS: u32 = 4096;
const EEXIST: i32 = -17;
// linux/magic.h
const EXT: u64 = 0xef53;
const XFS: u64 = 0x5846_5342;
const TMPFS: u64 = 0x0102_1994;

/// `make_visible(mnt)`, before 6.17 or so `__attach_mnt(mnt, parent)`, from all that attaches a
/// mount: mount(2) and move_mount(2), binds, moves, propagation. The mount has its place, and no
/// walk finds it yet. The caller holds a spin lock: the program is never skipped because it was
/// preempted.
#[fentry(function = "make_visible")]
pub fn hf_mount(ctx: FEntryContext) -> i32 {
    // SAFETY: the first argument is a mount; the agent checked it. Read by a probe, so that it is a
    // number to the verifier: no pointer to a kernel structure reaches a global function.
    unsafe {
        if let Some(control) = current_control() {
            tree(probe(ctx.as_ptr() as u64, 0, 0), control.bank());
        }
    }
    0
}

/// A tree of mounts that is attached as a whole.
#[repr(C)]
struct Tree {
    /// The mount that is looked at.
    mount: u64,
    top: u64,
    bank: u32,
    /// 1 if what is on `mount` was looked at.
    is_done: u32,
    /// Its mountpoint, where that is, and what it becomes. Here, so that the functions that walk
    /// have the stack to themselves.
    ends: Ends,
    place: Place,
    entry: Entry,
}

#[inline(always)]
unsafe fn tree(top: u64, bank: u32) {
    let parent: u64 = probe(top, offset!(mount_parent), 0);
    // A copy that nobody can use yet: each mount of a new namespace is one of an old one, and what
    // open_tree(2) copies is attached as a whole.
    if probe(parent, offset!(mount_namespace), 0u64) == 0 {
        return;
    }
    let mut tree = Tree {
        mount: top,
        top,
        bank,
        is_done: 0,
        ends: Ends { start: 0, top: 0 },
        place: Place::outside(),
        entry: Entry::none(),
    };
    bpf_loop(MAX_STEPS, step as *mut _, (&raw mut tree).cast(), 0);
}

/// One mount, or one step up. Returns 1 to end it. The order matters: a place below a mount that
/// has arrived with it is known once that has its root.
unsafe extern "C" fn step(_index: u32, tree: *mut Tree) -> u64 {
    let tree = &mut *tree;
    let mut list = tree.mount + offset!(mount_children) as u64;
    let mut next: u64 = probe(list, 0, 0);
    if tree.is_done == 0 {
        let point: u64 = probe(tree.mount, offset!(mount_point), 0);
        let inode: u64 = probe(point, offset!(dentry_inode), 0);
        let sb: u64 = probe(inode, offset!(inode_sb), 0);
        tree.place = Place::outside();
        tree.ends.start = point;
        tree.ends.top = probe(sb, offset!(sb_root), 0);
        walk_deep(&tree.ends, probe(sb, offset!(sb_dev), 0), tree.bank, &raw mut tree.place);
        if hf_belongs(tree.mount, tree.bank, &raw const tree.place, &raw mut tree.entry) != 0 {
            let (entry, ends, place) =
                (&raw mut tree.entry, &raw mut tree.ends, &raw mut tree.place);
            hf_arrive(tree.mount, tree.bank, entry, ends, place);
        }
    } else {
        if tree.mount == tree.top {
            return 1;
        }
        let parent: u64 = probe(tree.mount, offset!(mount_parent), 0);
        next = probe(tree.mount, offset!(mount_sibling), 0);
        list = parent + offset!(mount_children) as u64;
        tree.mount = parent;
    }
    if next == 0 {
        return 1;
    }
    tree.is_done = (next == list) as u32;
    if next != list {
        tree.mount = next.wrapping_sub(offset!(mount_sibling) as u64);
    }
    0
}

/// An inode as a root: what the map knows it by, and what else decides.
#[derive(Clone, Copy)]
struct Directory {
    ino: u64,
    sb: u64,
    dev: u32,
    generation: u32,
}

impl Directory {
    /// `None` if a dentry is no directory, or none any more.
    #[inline(always)]
    fn of(dentry: u64) -> Option<Self> {
        let inode: u64 = probe(dentry, offset!(dentry_inode), 0);
        if probe(inode, offset!(inode_mode), 0u16) & S_IFMT != S_IFDIR {
            return None;
        }
        let sb = probe(inode, offset!(inode_sb), 0);
        let dev = probe(sb, offset!(sb_dev), 0);
        let generation = probe(inode, offset!(inode_generation), 0);
        Some(Self { ino: probe(inode, offset!(inode_ino), 0), sb, dev, generation })
    }

    #[inline(always)]
    unsafe fn root(&self, bank: u32) -> Option<&'static RootConf> {
        ROOTS
            .get(RootKey { ino: self.ino, dev: self.dev, bank })
            .filter(|root| root.generation == self.generation)
    }
}

/// What a mount belongs to: a zone, if its mountpoint is in one, or a base, if patterns go on
/// there. Returns 0 if neither. A global function.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_belongs(
    mount: u64,
    bank: u32,
    place: *const Place,
    entry: *mut Entry,
) -> u32 {
    if place.is_null() || entry.is_null() {
        return 0;
    }
    let place = &*place;
    let conf = &mut (*entry).conf;
    let point: u64 = probe(mount, offset!(mount_point), 0);
    let Some(at) = Directory::of(point) else { return 0 };
    if let Some((base, names, mask)) = place.on_the_way() {
        let Some(base) = Directory::of(base) else { return 0 };
        let Some(base) = base.root(bank) else { return 0 };
        (conf.zone, conf.tenant, conf.depth, conf.level) =
            (base.zone, base.tenant, (base.depth + names) | RootConf::PROVISIONAL, mask);
        return 1;
    }
    if !place.is_in_zone() || matches!(place.zone, CANARY_ZONE | SELF_TEST_ZONE) {
        return 0;
    }
    let Some(zone) = ZONES.get(zone_index(bank, place.zone)) else { return 0 };
    conf.zone = place.zone;
    conf.level = place.level;
    conf.depth = zone.tenant_depth.saturating_sub(place.level);
    // Several tenants below the mount, or a part of the one that is there.
    let is_one = conf.depth == 0;
    conf.tenant = if is_one { place.tenant } else { salt(at.ino ^ (at.dev as u64) << 32) };
    1
}

/// Enters what a mount belongs to. What the survey does not guard is left out: filesystems that
/// cannot be, what is in a zone by walking up, and what holds a protected path itself. A global
/// function.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_arrive(
    mount: u64,
    bank: u32,
    entry: *mut Entry,
    ends: *mut Ends,
    place: *mut Place,
) -> u32 {
    if entry.is_null() || ends.is_null() || place.is_null() {
        return 0;
    }
    let (entry, ends, place) = (&mut *entry, &mut *ends, &mut *place);
    let root: u64 = probe(mount, offset!(mount_root), 0);
    let Some(mounted) = Directory::of(root) else { return 0 };
    if !matches!(probe(mounted.sb, offset!(sb_magic), 0u64), EXT | XFS | TMPFS) {
        return 0;
    }
    if let Some(conf) = FILESYSTEMS.get(FsKey { dev: mounted.dev, bank }) {
        let top: u64 = probe(mounted.sb, offset!(sb_root), 0);
        // A root with the inode's number is one of an earlier filesystem with this device's number.
        let key = RootKey { ino: mounted.ino, dev: mounted.dev, bank };
        let is_new = ROOTS.get(key).is_some_and(|other| other.generation != mounted.generation);
        let is_whole = root == top && conf.strict_zone != FsConf::NO_ZONE && !is_new;
        let holds_path = is_whole && !entry.conf.is_base();
        (ends.start, ends.top) = (root, top);
        *place = Place::outside();
        walk_deep(ends, mounted.dev, bank, place);
        if holds_path || place.is_in_zone() {
            return 0;
        }
    }
    (entry.ino, entry.dev) = (mounted.ino, mounted.dev);
    entry.conf.generation = mounted.generation;
    entry.conf.made_ns = bpf_ktime_get_boot_ns();
    // In both banks, so that it stays when the agent flips them.
    let is_full = hf_enter(&raw const *entry, bank) | hf_enter(&raw const *entry, 1 - (bank & 1));
    if is_full != 0
        && let Some(counters) = ZONE_COUNTERS.get_ptr_mut(entry.conf.zone)
    {
        add(&raw mut (*counters).untracked, 1);
    }
    0
}

/// A root that is to be entered.
#[repr(C)]
pub struct Entry {
    ino: u64,
    dev: u32,
    pad: u32,
    conf: RootConf,
}

impl Entry {
    #[inline(always)]
    fn none() -> Self {
        // Not a literal: the compiler would call memset.
        let zero = opaque(0);
        let none = zero as u32;
        let (ino, dev, pad) = (zero, none, none);
        let (zone, generation, depth, level) = (none, none, none, none);
        let conf = RootConf { zone, generation, tenant: zero, depth, level, made_ns: zero };
        Self { ino, dev, pad, conf }
    }
}

/// Enters it in a bank, with its filesystem. Returns 1 if there is no room. A global function.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_enter(entry: *const Entry, bank: u32) -> u32 {
    if entry.is_null() {
        return 0;
    }
    let Entry { ino, dev, conf, .. } = &*entry;
    let key = RootKey { ino: *ino, dev: *dev, bank };
    // A device's number is used again: one of another generation is no root any more.
    // A root comes before a base.
    let is_stale = ROOTS.get(key).is_some_and(|other| {
        other.generation != conf.generation || other.is_base() && !conf.is_base()
    });
    let flags = if is_stale { BPF_ANY } else { BPF_NOEXIST };
    // From the stack: kernel 6.1 takes a map's value from nowhere else.
    let copy = RootConf {
        zone: conf.zone,
        generation: conf.generation,
        tenant: conf.tenant,
        depth: conf.depth,
        level: conf.level,
        made_ns: conf.made_ns,
    };
    let root = ROOTS.insert(key, copy, flags.into());
    forget_labels(*dev);
    let key = FsKey { dev: *dev, bank };
    let strict_zone = if conf.is_base() { FsConf::NO_ZONE } else { conf.zone };
    let filesystem = FsConf { strict_zone, provisional: 1 };
    let filesystem = FILESYSTEMS.insert(key, filesystem, BPF_NOEXIST.into());
    (lacks_room(root) || lacks_room(filesystem)) as u32
}

#[inline(always)]
fn lacks_room(outcome: Result<(), i32>) -> bool {
    outcome.is_err_and(|error| error != EEXIST)
}
