//! Where an op happens: which zone and tenant, by walking `d_parent` up to the superblock's root.
//!
//! The walk ignores mounts, bind mounts, chroot and namespaces, which is what we want: a zone is a set of inodes,
//! however one gets there.

use core::ptr::{null_mut, read_volatile, write_volatile};

use aya_ebpf::{
    bindings::BPF_LOCAL_STORAGE_GET_F_CREATE,
    helpers::generated::{bpf_inode_storage_get, bpf_loop, bpf_probe_read_kernel},
};
use holdfast_abi::{
    Control, FsConf, FsKey, Label, MAX_DEPTH, MAX_ZONES, Moves, RootConf, RootKey, moves_slot,
};

use crate::{
    kernel::{Dentry, Inode, SuperBlock, is_hashed, offset, opaque, probe},
    maps::{FILESYSTEMS, LABELS, MOVES, ROOTS},
    pattern::Search,
};

/// Levels that are walked with direct loads. Beyond, each level costs two probe reads.
const DIRECT_LEVELS: u32 = 16;
/// Names of one file that are looked at.
const MAX_ALIASES: u32 = 8;

/// A place in a zone.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Place {
    /// What tells the tenant from all others of the zone (see [`RootConf::tenant`]), or 0 above all tenants.
    pub tenant: u64,
    /// The dentry of the zone's root; 0 if it is unknown.
    pub root: u64,
    pub zone: u32,
    /// Levels below the protected path.
    pub level: u32,
    flags: u32,
    pad: u32,
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
        Self { tenant: zero, root: zero, zone: OUTSIDE, level: none, flags: none, pad: none }
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

    /// At a base: what is needed to compare names takes the place of the rest.
    #[inline(always)]
    fn stop_at(&mut self, base: &RootConf, dentry: u64, level: u32) {
        self.zone = BASE;
        self.root = dentry;
        self.level = level;
        self.tenant = base.tenant;
        self.flags = base.level;
        self.pad = base.depth;
    }

    /// Fills in the place of a walk from the first to the second dentry, which is at `root` and `level` levels up.
    ///
    /// The tenant's inode is read by a probe in every case: so what the verifier knows of it is the same for each level
    /// at which the walk can end.
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

/// A filesystem that hosts zones, for one op.
#[derive(Clone, Copy)]
pub struct Filesystem {
    pub sb: *const SuperBlock,
    pub dev: u32,
    pub bank: u32,
    /// [`Control::flags`].
    pub flags: u32,
    flips: u32,
    strict_zone: u32,
}

impl Filesystem {
    /// The filesystem of `sb`, or `None` if it hosts no zone and nothing on it is of interest.
    #[inline(always)]
    pub unsafe fn of(sb: *const SuperBlock, control: &Control) -> Option<Self> {
        // Read once: it can change meanwhile.
        let flips = read_volatile(&raw const control.flips);
        let (dev, bank) = (SuperBlock::dev(sb), flips & 1);
        let conf = FILESYSTEMS.get(FsKey { dev, bank })?;
        let flags = control.flags;
        Some(Self { sb, dev, bank, flags, flips, strict_zone: conf.strict_zone })
    }

    /// Where a name of the file at `inode` is that is in a zone, if one is in memory: for a file that was reached by a name
    /// that is in none, or by a handle. In no zone if all its names in memory are in none; unknown if there are none.
    #[inline(always)]
    pub unsafe fn locate_alias(&self, inode: *const Inode) -> Place {
        let ends = Ends { start: inode as u64, top: SuperBlock::root(self.sb) as u64 };
        let mut place = Place::outside();
        hf_walk_aliases(&raw const ends, self.dev, self.bank, &raw mut place);
        self.or_strict(place)
    }

    /// The place that was found, or the strict zone if it is not known.
    #[inline(always)]
    fn or_strict(&self, mut place: Place) -> Place {
        if place.zone == UNKNOWN || place.zone == TOO_DEEP {
            place.zone = self.strict_zone;
            place.flags = IS_STRICT;
            place.root = 0;
            place.tenant = 0;
        }
        place
    }

    /// Where `start` is. `start` is positive: a directory, or a file whose own inode cannot be a root.
    #[inline(always)]
    pub unsafe fn locate(&self, start: *const Dentry) -> Place {
        self.find::<true>(start)
    }

    /// The same. A directory that goes (`STAYS` is false) is not labelled.
    #[inline(always)]
    pub unsafe fn find<const STAYS: bool>(&self, start: *const Dentry) -> Place {
        let mut place = Place::outside();
        let epoch = self.epoch();
        let is_known = is_labelled::<STAYS>(start, epoch, self.flips);
        if !is_known {
            walk(start, self.sb, self.bank, &raw mut place);
        }
        if place.zone == TOO_DEEP || place.zone == BASE {
            // Kernel pointers reach a global function only through memory.
            let ends = Ends { start: start as u64, top: SuperBlock::root(self.sb) as u64 };
            walk_deep(&ends, self.dev, self.bank, &raw mut place);
        }
        // Copied by a helper, so that the verifier forgets what it knows about it: it would otherwise follow every
        // way the walk can end through the rest of the program, and a rename walks three times.
        let mut copy = Place::outside();
        bpf_probe_read_kernel(
            (&raw mut copy).cast(),
            size_of::<Place>() as u32,
            (&raw const place).cast(),
        );
        if STAYS && !is_known && copy.is_outside() {
            set_label(start, epoch, self.flips, copy.tenant as u32);
        }
        self.or_strict(copy)
    }

    /// [`Moves::epoch`] now; [`Label::NONE`] while directories are being moved.
    #[inline(always)]
    fn epoch(&self) -> u64 {
        let Some(moves) = MOVES.get_ptr(moves_slot(self.dev)) else { return Label::NONE };
        // SAFETY: a map's value. Volatile: others change it meanwhile, and it is read before the
        // walk.
        let Moves { epoch, under_way } = unsafe { read_volatile(moves) };
        if under_way == 0 { epoch } else { Label::NONE }
    }
}

/// Whether a directory is known to be in no zone; if it goes, also by what it is in.
#[inline(never)]
unsafe fn is_labelled<const STAYS: bool>(dir: *const Dentry, epoch: u64, flips: u32) -> bool {
    let mut inode = Dentry::inode(dir);
    if inode.is_null() || epoch == Label::NONE {
        return false;
    }
    if !STAYS {
        let (ino, dev) = (Inode::ino(inode), SuperBlock::dev(Inode::sb(inode)));
        if ROOTS.get(RootKey { ino, dev, bank: flips & 1 }).is_some() {
            return false;
        }
        inode = Dentry::inode(Dentry::parent(dir));
        if inode.is_null() {
            return false;
        }
    }
    let found: *const Label =
        bpf_inode_storage_get(LABELS.as_ptr(), inode.cast_mut().cast(), null_mut(), 0).cast();
    found
        .as_ref()
        .is_some_and(|label| label.is_current(epoch, flips) && (STAYS || label.leads == 0))
}

/// Remembers that a directory is in no zone. Where there is no memory it is looked up again.
#[inline(never)]
unsafe fn set_label(dir: *const Dentry, epoch: u64, flips: u32, leads: u32) {
    let inode = Dentry::inode(dir);
    if inode.is_null() {
        return;
    }
    let flags = BPF_LOCAL_STORAGE_GET_F_CREATE.into();
    let label: *mut Label =
        bpf_inode_storage_get(LABELS.as_ptr(), inode.cast_mut().cast(), null_mut(), flags).cast();
    if let Some(label) = label.as_mut() {
        // Nobody is to see a part of it.
        write_volatile(&raw mut label.epoch, Label::NONE);
        write_volatile(&raw mut label.flips, flips);
        write_volatile(&raw mut label.leads, leads);
        write_volatile(&raw mut label.epoch, epoch);
    }
}

/// Walks up from `start` and fills in `place`. A function of its own, so that its part of the stack is free again when
/// the op is decided.
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
    let (mask, skip) = (place.flags, place.pad & !RootConf::PROVISIONAL);
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
    let salt = if place.pad & RootConf::PROVISIONAL == 0 { 0 } else { salt(dev as u64) };
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

/// The same for each of the first names of the inode at `start`, until one is in a zone. A global function.
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
