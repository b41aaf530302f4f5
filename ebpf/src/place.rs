//! Where an op happens: which zone and tenant, by walking `d_parent` up to the superblock's root.
//!
//! The walk ignores mounts, bind mounts, chroot and namespaces, which is what we want: a zone is a
//! set of inodes, however one gets there.

use core::{
    arch::asm,
    ptr::{null_mut, read_volatile, write_volatile},
};

use aya_ebpf::{
    bindings::BPF_LOCAL_STORAGE_GET_F_CREATE,
    helpers::generated::{bpf_inode_storage_get, bpf_loop},
};
use holdfast_abi::{
    Control, FsConf, FsKey, MAX_DEPTH, MAX_ZONES, Moves, RootConf, RootKey, moves_slot,
};

use crate::{
    destroyed::next_dir,
    kernel::{Dentry, Inode, SuperBlock, inode_of, is_hashed, next_number, offset, opaque, probe},
    maps::{FILESYSTEMS, LABELS, MOVES, ROOTS},
    pattern::Search,
};

/// Levels that are walked with direct loads. Beyond, each level costs two probe reads.
const DIRECT_LEVELS: u32 = 16;
/// Names of one file that are looked at.
const MAX_ALIASES: u32 = 8;
/// Bits of a stamp below the epoch: those of [`Control::flips`].
const STAMP_EPOCH: u32 = 20;

/// A place in a zone.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Place {
    /// What tells the tenant from all others of the zone (see [`RootConf::tenant`]), or 0 above all
    /// tenants.
    pub tenant: u64,
    /// The dentry of the zone's root; 0 if it is unknown.
    pub root: u64,
    pub zone: u32,
    /// Levels below the protected path.
    pub level: u32,
    flags: u32,
    /// Number of the label it is from; 0 for none. At a base its [`RootConf::depth`].
    pub label: u32,
}

/// The dentry the walk started from is itself a root of the zone.
const IS_ROOT: u32 = 1;
/// The place could not be determined; the zone is the filesystem's strict zone.
const IS_STRICT: u32 = 2;
/// It is above the level at which the zone's tenants live.
const IS_ABOVE_TENANTS: u32 = 4;
/// The dentry the walk started from is itself the tenant's directory.
const IS_TENANT: u32 = 8;

impl Place {
    #[inline(always)]
    pub fn outside() -> Self {
        // Not a literal: the compiler would call memset.
        let zero = opaque(0);
        let none = zero as u32;
        Self { tenant: zero, root: zero, zone: OUTSIDE, level: none, flags: none, label: none }
    }

    /// In no zone, and not to be charged to any.
    #[inline(always)]
    pub fn is_outside(&self) -> bool {
        self.zone == OUTSIDE
    }

    /// In a zone that is known for certain.
    #[inline(always)]
    pub fn is_in_zone(&self) -> bool {
        self.zone < MAX_ZONES as u32
    }

    /// Below a base (its dentry) by so many names, and on the way to directories that would match:
    /// the bits of the patterns.
    #[inline(always)]
    pub fn on_the_way(&self) -> Option<(u64, u32, u32)> {
        let is_on_the_way = self.zone == OUTSIDE && self.tenant != 0;
        is_on_the_way.then_some((self.root, self.level, self.tenant as u32))
    }

    #[inline(always)]
    pub fn is_root(&self) -> bool {
        self.flags & IS_ROOT != 0
    }

    #[inline(always)]
    pub fn is_tenant(&self) -> bool {
        self.flags & IS_TENANT != 0
    }

    #[inline(always)]
    pub fn is_strict(&self) -> bool {
        self.flags & IS_STRICT != 0
    }

    #[inline(always)]
    pub fn is_above_tenants(&self) -> bool {
        self.flags & IS_ABOVE_TENANTS != 0
    }

    /// Field by field and at once: others may read it meanwhile.
    #[inline(always)]
    unsafe fn set(&mut self, to: &Self) {
        write_volatile(&raw mut self.tenant, read_volatile(&raw const to.tenant));
        write_volatile(&raw mut self.root, read_volatile(&raw const to.root));
        write_volatile(&raw mut self.zone, read_volatile(&raw const to.zone));
        write_volatile(&raw mut self.level, read_volatile(&raw const to.level));
        write_volatile(&raw mut self.flags, read_volatile(&raw const to.flags));
        write_volatile(&raw mut self.label, read_volatile(&raw const to.label));
    }

    /// At a base: what is needed to compare names takes the place of the rest.
    #[inline(always)]
    fn stop_at(&mut self, base: &RootConf, dentry: u64, level: u32) {
        self.zone = BASE;
        self.root = dentry;
        self.level = level;
        self.tenant = base.tenant;
        self.flags = base.level;
        self.label = base.depth;
    }

    /// Fills in the place of a walk from the first to the second dentry, which is at `root` and
    /// `level` levels up.
    ///
    /// The tenant's inode is read by a probe in every case: so what the verifier knows of it is the
    /// same for each level at which the walk can end.
    #[inline(always)]
    fn fill(&mut self, below: &Below, root: &RootConf, (start, at): (u64, u64), level: u32) {
        let dentry = match root.depth {
            0 => at,
            1 => below.first,
            2 => below.second,
            3 => below.third,
            _ => below.fourth,
        };
        self.tenant = root.tenant;
        if root.depth != 0 {
            let inode: u64 = probe(dentry, offset!(dentry_inode), 0);
            let ino: u64 = probe(inode, offset!(inode_ino), 0);
            self.tenant = if ino == 0 { 0 } else { ino ^ root.tenant };
        }
        let mut flags = 0;
        if at == start {
            flags |= IS_ROOT;
        }
        if dentry == start {
            flags |= IS_TENANT;
        }
        if level < root.depth {
            flags |= IS_ABOVE_TENANTS;
        }
        self.root = at;
        self.zone = root.zone;
        self.level = root.level + level;
        self.flags = flags;
    }
}

/// The last directories on the way up, nearest to the root first: the tenant is one of them.
#[repr(C)]
struct Below {
    first: u64,
    second: u64,
    third: u64,
    fourth: u64,
}

/// Where a deep walk starts and the root dentry of its superblock.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ends {
    pub start: u64,
    pub top: u64,
}

/// The state of a deep walk.
#[repr(C)]
struct Walk {
    dentry: u64,
    /// The root dentry of the superblock.
    top: u64,
    below: Below,
    zone: u32,
    bank: u32,
    dev: u32,
    level: u32,
    /// 1 if bases are no end.
    skips_bases: u32,
    pad: u32,
}

/// In no zone. (What leads to a zone then: see [`Place::on_the_way`].) Also the strict zone of a
/// filesystem that has none.
const OUTSIDE: u32 = FsConf::NO_ZONE;
/// Not connected to the superblock's root, as files opened by handle can be.
const UNKNOWN: u32 = u32::MAX - 1;
/// Below a base.
const BASE: u32 = RootConf::BASE;
/// Not known after so many levels.
const TOO_DEEP: u32 = u32::MAX - 2;

/// Where a directory is, kept with its inode so that no op need walk up from there.
#[repr(C)]
pub struct Label {
    /// What it holds for ([`Filesystem::stamp`]); 0 while it is written.
    stamp: u64,
    /// Not 0 while somebody writes it.
    writers: u64,
    /// The directory's dentry. While it lives, so do those above it, the root's among them.
    dentry: u64,
    /// The root's inode: the dentries may have gone, and come back at other addresses.
    root: u64,
    place: Place,
}

/// The filesystem of an op.
#[derive(Clone, Copy)]
pub struct Filesystem {
    pub sb: *const SuperBlock,
    pub dev: u32,
    pub bank: u32,
    /// [`Control::flags`].
    pub flags: u32,
    /// What a label is made and used for: the policy in force, and the moves of directories so far.
    /// 0 while directories are being moved: no label counts.
    stamp: u64,
}

impl Filesystem {
    #[inline(always)]
    pub unsafe fn of(sb: *const SuperBlock, control: &Control) -> Self {
        // Read once: it can change meanwhile.
        let flips = read_volatile(&raw const control.flips);
        let dev = SuperBlock::dev(sb);
        let mut stamp = 0;
        if let Some(moves) = MOVES.get_ptr(moves_slot(dev)) {
            // Volatile: others change it meanwhile, and it is read before the walk.
            let Moves { epoch, under_way } = read_volatile(moves);
            if under_way == 0 {
                stamp = (epoch + 1) << STAMP_EPOCH | flips as u64 & ((1 << STAMP_EPOCH) - 1);
            }
        }
        Self { sb, dev, bank: flips & 1, flags: control.flags, stamp }
    }

    /// What it is to the policy; `None` if it hosts no zone and nothing on it is of interest.
    #[inline(always)]
    pub unsafe fn conf(&self) -> Option<&'static FsConf> {
        FILESYSTEMS.get(FsKey { dev: self.dev, bank: self.bank })
    }

    /// Where a name of the file at `inode` is that is in a zone, if one is in memory: for a file
    /// that was reached by a name that is in none, or by a handle. In no zone if all its names in
    /// memory are in none; unknown if there are none.
    #[inline(always)]
    pub unsafe fn locate_alias(&self, inode: *const Inode, place: &mut Place) {
        let ends = Ends { start: inode as u64, top: SuperBlock::root(self.sb) as u64 };
        *place = Place::outside();
        hf_walk_aliases(&raw const ends, self.dev, self.bank, place);
        place.label = opaque(0) as u32;
        self.or_strict(place);
    }

    /// The place that was found, or the strict zone if it is not known.
    #[inline(always)]
    unsafe fn or_strict(&self, place: &mut Place) {
        if place.zone == UNKNOWN || place.zone == TOO_DEEP {
            place.zone = self.conf().map_or(OUTSIDE, |conf| conf.strict_zone);
            place.flags = IS_STRICT;
            place.root = 0;
            place.tenant = 0;
        }
    }

    /// Where the directory `dir` is. The op holds it: else there is [`Self::recall_or_walk`].
    #[inline(always)]
    pub unsafe fn locate(&self, dir: *const Dentry, place: &mut Place) {
        self.find::<true>(dir, place);
    }

    /// The same for a directory that can go meanwhile: nothing is remembered with its inode.
    #[inline(always)]
    pub unsafe fn recall_or_walk(&self, dir: *const Dentry, place: &mut Place) {
        self.find::<false>(dir, place);
    }

    #[inline(always)]
    unsafe fn find<const STAYS: bool>(&self, dir: *const Dentry, place: &mut Place) {
        *place = Place::outside();
        if !recall(dir, self.stamp, place) && self.conf().is_some() {
            self.look_up(dir, place);
            hf_forget(place);
            place.label = opaque(0) as u32;
            if STAYS {
                remember(dir, self.stamp, place);
            }
        }
        hf_forget(place);
        self.or_strict(place);
    }

    /// Where a directory is that goes: by where it is in, if that is enough. Nothing is remembered
    /// of it.
    #[inline(always)]
    pub unsafe fn locate_victim(&self, dir: *const Dentry, inode: *const Inode, place: &mut Place) {
        self.locate(Dentry::parent(dir), place);
        let is_plain = place.tenant == 0 && place.is_outside()
            || place.is_in_zone() && place.flags & (IS_STRICT | IS_ABOVE_TENANTS) == 0;
        let key = RootKey { ino: Inode::ino(inode), dev: self.dev, bank: self.bank };
        if is_plain && ROOTS.get(key).is_none() {
            place.level += 1;
            place.flags = opaque(0) as u32;
            return;
        }
        *place = Place::outside();
        if self.conf().is_some() {
            self.look_up(dir, place);
        }
        place.label = opaque(0) as u32;
        hf_forget(place);
        self.or_strict(place);
    }

    /// The same by a walk.
    #[inline(always)]
    unsafe fn look_up(&self, start: *const Dentry, place: *mut Place) {
        walk(start, self.sb, self.bank, place);
        if (*place).zone == TOO_DEEP || (*place).zone == BASE {
            // Kernel pointers reach a global function only through memory.
            let ends = Ends { start: start as u64, top: SuperBlock::root(self.sb) as u64 };
            walk_deep(&ends, self.dev, self.bank, place);
        }
    }
}

/// Has the verifier forget what it knows about a place: it would otherwise follow every way in
/// which it can be found through the rest of the program, and a rename finds three. A global
/// function.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_forget(place: *mut Place) -> u32 {
    // As if it wrote there.
    asm!("{place} = {place}", place = inout(reg) place => _, options(nostack));
    0
}

/// Whether it is known where a directory is, and then where.
#[inline(never)]
unsafe fn recall(dir: *const Dentry, stamp: u64, place: *mut Place) -> bool {
    let inode = Dentry::inode(dir);
    if inode.is_null() || stamp == 0 {
        return false;
    }
    let label: *const Label =
        bpf_inode_storage_get(LABELS.as_ptr(), inode.cast_mut().cast(), null_mut(), 0).cast();
    let Some(label) = label.as_ref() else { return false };
    if read_volatile(&raw const label.stamp) != stamp || label.dentry != dir as u64 {
        return false;
    }
    (*place).set(&label.place);
    let root = read_volatile(&raw const label.root);
    // Another op may have written it meanwhile.
    if read_volatile(&raw const label.stamp) == stamp
        && (root == 0 || inode_of((*place).root) == root)
    {
        return true;
    }
    *place = Place::outside();
    false
}

/// Remembers where a directory is, if that is known. Where there is no memory it is looked up
/// again.
#[inline(never)]
unsafe fn remember(dir: *const Dentry, stamp: u64, place: *mut Place) {
    let inode = Dentry::inode(dir);
    let is_known = (*place).zone < MAX_ZONES as u32 || (*place).zone == OUTSIDE;
    if inode.is_null() || stamp == 0 || !is_known {
        return;
    }
    let flags = BPF_LOCAL_STORAGE_GET_F_CREATE.into();
    let label: *mut Label =
        bpf_inode_storage_get(LABELS.as_ptr(), inode.cast_mut().cast(), null_mut(), flags).cast();
    let Some(label) = label.as_mut() else { return };
    // One writer at a time: two of different policies would leave a mixture.
    if next_number(&raw mut label.writers) == 1 {
        write_volatile(&raw mut label.stamp, 0);
        write_volatile(&raw mut label.dentry, dir as u64);
        let is_in_zone = (*place).zone != OUTSIDE;
        let root = if is_in_zone { inode_of((*place).root) } else { 0 };
        write_volatile(&raw mut label.root, root);
        (*place).label = next_dir();
        label.place.set(&*place);
        write_volatile(&raw mut label.stamp, stamp);
        write_volatile(&raw mut label.writers, 0);
    }
}

/// Walks up from `start` and fills in `place`. A function of its own, so that its part of the stack
/// is free again when the op is decided.
#[inline(never)]
unsafe fn walk(start: *const Dentry, sb: *const SuperBlock, bank: u32, place: *mut Place) {
    let dev = SuperBlock::dev(sb);
    let top = SuperBlock::root(sb);
    let mut below = Below::none();
    let mut dentry = start;
    for level in 0..DIRECT_LEVELS {
        let inode = Dentry::inode(dentry);
        if inode.is_null() {
            (*place).zone = UNKNOWN;
            return;
        }
        let key = RootKey { ino: Inode::ino(inode), dev, bank };
        if let Some(root) = ROOTS.get(key)
            && root.generation == Inode::generation(inode)
        {
            if root.is_base() {
                (*place).stop_at(root, dentry as u64, level);
                return;
            }
            (*place).fill(&below, root, (start as u64, dentry as u64), level);
            return;
        }
        let parent = Dentry::parent(dentry);
        if parent == dentry {
            (*place).zone = if dentry == top { OUTSIDE } else { UNKNOWN };
            return;
        }
        below.push(dentry as u64);
        dentry = parent;
    }
    (*place).zone = TOO_DEEP;
}

/// The same for places deeper than most, from the start, with probe reads. A global function: see
/// [`crate::decide::hf_decide`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_walk_deep(
    ends: *const Ends,
    dev: u32,
    bank: u32,
    place: *mut Place,
) -> u32 {
    if ends.is_null() || place.is_null() {
        return 0;
    }
    let Ends { start, top } = *ends;
    // A base has no say where it did not know the place: its directory may be in a zone.
    let skips_bases = ((*place).zone == BASE) as u32;
    let below = Below::none();
    let (zone, level, pad) = (TOO_DEEP, 0, 0);
    let mut walk = Walk { dentry: start, top, below, zone, bank, dev, level, skips_bases, pad };
    bpf_loop(MAX_DEPTH, step as *mut _, (&raw mut walk).cast(), 0);
    (*place).zone = walk.zone;
    let inode: u64 = probe(walk.dentry, offset!(dentry_inode), 0);
    let key = RootKey { ino: probe(inode, offset!(inode_ino), 0), dev, bank };
    if walk.zone < TOO_DEEP
        && let Some(root) = ROOTS.get(key)
    {
        if root.is_base() {
            (*place).stop_at(root, walk.dentry, walk.level);
            return 0;
        }
        (*place).fill(&walk.below, root, (start, walk.dentry), walk.level);
    }
    0
}

/// Where `ends.start` is, however deep, and below a base.
#[inline(always)]
pub unsafe fn walk_deep(ends: &Ends, dev: u32, bank: u32, place: *mut Place) {
    if (*place).zone != BASE {
        hf_walk_deep(&raw const *ends, dev, bank, place);
    }
    if (*place).zone == BASE && hf_match(&raw const *ends, dev, place) == 0 {
        hf_walk_deep(&raw const *ends, dev, bank, place);
    }
}

/// Fills in a place below a base, if a directory on the way down matches a pattern; else says what
/// [`Place::on_the_way`] tells. Returns whether it is known. A global function.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_match(ends: *const Ends, dev: u32, place: *mut Place) -> u32 {
    if ends.is_null() || place.is_null() {
        return 0;
    }
    let place = &mut *place;
    let (mask, skip) = (place.flags, place.label & !RootConf::PROVISIONAL);
    let mut search = Search::new((*ends).start, place.tenant, place.level, mask, skip);
    place.flags = 0;
    search.run();
    let Some(pattern) = search.found() else {
        place.tenant = search.partial as u64;
        return 0;
    };
    let depth = pattern.depth;
    let is_above = search.above < depth;
    let tenant = if is_above { 0 } else { search.ancestor(search.above - depth) };
    let inode: u64 = probe(tenant, offset!(dentry_inode), 0);
    let ino: u64 = probe(inode, offset!(inode_ino), 0);
    // Of a filesystem that was mounted just now nobody knows yet how its tenants are told apart.
    let salt = if place.label & RootConf::PROVISIONAL == 0 { 0 } else { salt(dev as u64) };
    place.tenant = if ino == 0 { 0 } else { ino ^ pattern.tenant ^ salt };
    place.root = search.root;
    place.zone = pattern.zone;
    place.level = search.above;
    if search.above == 0 {
        place.flags |= IS_ROOT;
    }
    if search.above == depth {
        place.flags |= IS_TENANT;
    }
    if is_above {
        place.flags |= IS_ABOVE_TENANTS;
    }
    1
}

/// Tells the tenants of one filesystem from those with the same inode numbers on another. (Inode
/// numbers do not use the highest bit.)
#[inline(always)]
pub fn salt(of: u64) -> u64 {
    of.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 63
}

/// The same for each of the first names of the inode at `start`, until one is in a zone. A global
/// function.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_walk_aliases(
    inode: *const Ends,
    dev: u32,
    bank: u32,
    place: *mut Place,
) -> u32 {
    if inode.is_null() || place.is_null() {
        return 0;
    }
    let Ends { start, top } = *inode;
    let mut name: u64 = probe(start, offset!(inode_dentry), 0);
    let mut zone = UNKNOWN;
    for _ in 0..MAX_ALIASES {
        if name == 0 {
            break;
        }
        let dentry = name.wrapping_sub(offset!(dentry_alias) as u64);
        // A name that was removed while it was in use is still in the list.
        if is_hashed(dentry) {
            let ends = Ends { start: probe(dentry, offset!(dentry_parent), 0), top };
            walk_deep(&ends, dev, bank, place);
            if (*place).zone < TOO_DEEP {
                return 0;
            }
            if (*place).zone == OUTSIDE {
                zone = OUTSIDE;
            }
        }
        name = probe(name, 0, 0);
    }
    (*place).zone = zone;
    0
}

/// One level of such a walk. Returns 1 to end it.
unsafe extern "C" fn step(_index: u32, walk: *mut Walk) -> u64 {
    let walk = &mut *walk;
    let dentry = walk.dentry;
    let inode: u64 = probe(dentry, offset!(dentry_inode), 0);
    let ino: u64 = probe(inode, offset!(inode_ino), 0);
    let key = RootKey { ino, dev: walk.dev, bank: walk.bank };
    if let Some(root) = ROOTS.get(key)
        && root.generation == probe(inode, offset!(inode_generation), 0)
        && (walk.skips_bases == 0 || !root.is_base())
    {
        walk.zone = root.zone;
        return 1;
    }
    let parent: u64 = probe(dentry, offset!(dentry_parent), 0);
    if parent == dentry {
        walk.zone = if dentry == walk.top { OUTSIDE } else { UNKNOWN };
        return 1;
    }
    walk.below.push(dentry);
    walk.level += 1;
    walk.dentry = parent;
    0
}

impl Below {
    #[inline(always)]
    fn none() -> Self {
        // Not a literal: the compiler would call memset.
        let zero = opaque(0);
        Self { first: zero, second: zero, third: zero, fourth: zero }
    }

    #[inline(always)]
    fn push(&mut self, dentry: u64) {
        (self.fourth, self.third, self.second, self.first) =
            (self.third, self.second, self.first, dentry);
    }
}
