//! Where an op happens: which zone and tenant, by walking `d_parent` up to the superblock's root.
//!
//! The walk ignores mounts, bind mounts, chroot and namespaces, which is what we want: a zone is a set of inodes,
//! however one gets there.

use aya_ebpf::helpers::generated::bpf_loop;
use holdfast_abi::{FsConf, FsKey, MAX_DEPTH, RootKey};

use crate::{
    kernel::{Dentry, Inode, SuperBlock, offset, opaque, probe},
    maps::{FILESYSTEMS, ROOTS, ZONES},
};

/// Levels that are walked with direct loads. Beyond, each level costs two probe reads.
const DIRECT_LEVELS: u32 = 24;

/// A place in a zone.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Place {
    /// Inode number of the tenant's directory, or 0 above all tenants.
    pub tenant: u64,
    pub zone: u32,
    /// Whether the dentry the walk started from is itself a root of the zone.
    pub is_root: bool,
    /// The place could not be determined; `zone` is the filesystem's strict zone.
    pub is_strict: bool,
}

/// What happens at one level of the walk.
#[derive(Clone, Copy)]
#[repr(C)]
struct Walk {
    dentry: u64,
    /// The last directories on the way, nearest first: the tenant is one of them.
    below: [u64; 4],
    zone: u32,
    bank: u32,
    dev: u32,
    done: u32,
}

/// In no zone. Also the strict zone of a filesystem that has none.
const OUTSIDE: u32 = FsConf::NO_ZONE;
const UNKNOWN: u32 = u32::MAX - 1;

/// A filesystem that hosts zones, for one op.
#[derive(Clone, Copy)]
pub struct Filesystem {
    pub sb: *const SuperBlock,
    pub dev: u32,
    pub bank: u32,
    strict_zone: u32,
}

impl Filesystem {
    /// The filesystem of `sb`, or `None` if it hosts no zone and nothing on it is of interest.
    #[inline(always)]
    pub unsafe fn of(sb: *const SuperBlock, bank: u32) -> Option<Self> {
        let dev = SuperBlock::dev(sb);
        let conf = FILESYSTEMS.get(FsKey { dev, bank })?;
        Some(Self { sb, dev, bank, strict_zone: conf.strict_zone })
    }

    /// Where `start` is. `start` is positive: a directory, or a file whose own inode cannot be a root.
    #[inline(always)]
    pub unsafe fn locate(&self, start: *const Dentry) -> Option<Place> {
        let mut place =
            Place { tenant: 0, zone: OUTSIDE, is_root: false, is_strict: false };
        walk(start, self.sb, self.bank, self.strict_zone, &raw mut place);
        (place.zone != OUTSIDE).then_some(place)
    }
}

/// Walks up from `start` and fills in `place`. A function of its own, so that its part of the stack is free again when
/// the op is decided.
#[inline(never)]
unsafe fn walk(
    start: *const Dentry,
    sb: *const SuperBlock,
    bank: u32,
    strict_zone: u32,
    place: *mut Place,
) {
    // Not a literal: the compiler would call memset for four zeroes.
    let zero = opaque(0);
    let dev = SuperBlock::dev(sb);
    let mut walk =
        Walk { dentry: start as u64, below: [zero; 4], zone: UNKNOWN, bank, dev, done: 0 };
    let top = SuperBlock::root(sb) as u64;
    let mut dentry = start;
    for _ in 0..DIRECT_LEVELS {
        let inode = Dentry::inode(dentry);
        if inode.is_null() {
            break;
        }
        let key = RootKey { ino: Inode::ino(inode), dev, bank };
        if let Some(root) = ROOTS.get(key)
            && root.generation == Inode::generation(inode)
        {
            walk.zone = root.zone;
            walk.done = 1;
            break;
        }
        let parent = Dentry::parent(dentry);
        if parent == dentry {
            walk.zone = if dentry as u64 == top { OUTSIDE } else { UNKNOWN };
            walk.done = 1;
            break;
        }
        walk.below = [dentry as u64, walk.below[0], walk.below[1], walk.below[2]];
        dentry = parent;
        walk.dentry = dentry as u64;
    }
    if walk.done == 0 {
        bpf_loop(MAX_DEPTH, step as *mut _, (&raw mut walk).cast(), 0);
        if walk.zone == OUTSIDE && walk.dentry != top {
            walk.zone = UNKNOWN;
        }
    }
    if walk.zone == UNKNOWN {
        (*place).zone = strict_zone;
        (*place).is_strict = true;
    } else if walk.zone != OUTSIDE {
        (*place).zone = walk.zone;
        (*place).is_root = walk.dentry == start as u64;
        (*place).tenant = tenant(&walk);
    }
}

/// Inode number of the directory as many levels below the root as tenants live; 0 for a place above that.
///
/// It is read by a probe in every case: so what the verifier knows of it is the same for each level at which the walk
/// can end, and it follows the rest of the program once instead of 24 times.
#[inline(always)]
fn tenant(walk: &Walk) -> u64 {
    let depth = match ZONES.get(zone_index(walk.bank, walk.zone)) {
        Some(conf) => conf.tenant_depth,
        None => 0,
    };
    let dentry = match depth {
        0 => walk.dentry,
        1 => walk.below[0],
        2 => walk.below[1],
        3 => walk.below[2],
        _ => walk.below[3],
    };
    let inode: u64 = probe(dentry, offset!(dentry_inode), 0);
    probe(inode, offset!(inode_ino), 0)
}

/// Index of a zone's configuration.
#[inline(always)]
pub fn zone_index(bank: u32, zone: u32) -> u32 {
    bank * holdfast_abi::MAX_ZONES as u32 + zone
}

/// One level of a walk that is deeper than most. Returns 1 to end it.
unsafe extern "C" fn step(_index: u32, walk: *mut Walk) -> u64 {
    let walk = &mut *walk;
    let dentry = walk.dentry;
    let inode: u64 = probe(dentry, offset!(dentry_inode), 0);
    let ino: u64 = probe(inode, offset!(inode_ino), 0);
    let key = RootKey { ino, dev: walk.dev, bank: walk.bank };
    if let Some(root) = ROOTS.get(key)
        && root.generation == probe(inode, offset!(inode_generation), 0)
    {
        walk.zone = root.zone;
        walk.done = 1;
        return 1;
    }
    let parent: u64 = probe(dentry, offset!(dentry_parent), 0);
    if parent == dentry {
        walk.zone = OUTSIDE;
        walk.done = 1;
        return 1;
    }
    walk.below = [dentry, walk.below[0], walk.below[1], walk.below[2]];
    walk.dentry = parent;
    0
}
