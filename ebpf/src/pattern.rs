//! Directories that match a pattern of the policy and are not known to the agent yet: below a
//! *base*, names are compared with the patterns that go on there (see [`holdfast_abi::RootConf::BASE`]).

use aya_ebpf::helpers::generated::bpf_loop;
use holdfast_abi::{
    MAX_BASE_PATTERNS, MAX_PATTERN_NAMES, NameConf, PatternConf, PatternKey, RootConf,
};

use crate::{
    kernel::{S_IFDIR, S_IFMT, offset, opaque, probe},
    maps::{NAMES, PATTERNS},
};

/// Longest name a filesystem has.
const MAX_NAME: u32 = 255;

/// What is asked for a dentry below a base, and the answer.
#[repr(C)]
pub struct Search {
    start: u64,
    list: u64,
    /// Levels from the base down to `start`.
    level: u32,
    /// Bits of the patterns that count.
    mask: u32,
    /// Names of each that lead to the base.
    skip: u32,
    /// Bits of the patterns that `start` is on the way to.
    pub partial: u32,
    /// The directory that matches, or 0.
    pub root: u64,
    /// Levels from there down to `start`.
    pub above: u32,
    /// The pattern.
    index: u32,
}

impl Search {
    #[inline(always)]
    pub fn new(start: u64, level: u32, base: &RootConf) -> Self {
        let zero = opaque(0);
        let none = zero as u32;
        let (list, mask, skip) = (base.tenant, base.level, base.depth);
        Self { start, list, level, mask, skip, partial: none, root: zero, above: none, index: none }
    }

    /// Looks for a pattern that leads to a directory at or above the start.
    #[inline(always)]
    pub unsafe fn run(&mut self) {
        bpf_loop(MAX_BASE_PATTERNS, compare as *mut _, (&raw mut *self).cast(), 0);
    }

    /// The pattern that was found.
    #[inline(always)]
    pub unsafe fn found(&self) -> Option<&'static PatternConf> {
        if self.root == 0 { None } else { self.pattern() }
    }

    #[inline(always)]
    unsafe fn pattern(&self) -> Option<&'static PatternConf> {
        PATTERNS.get(PatternKey { list: self.list, index: self.index, pad: 0 })
    }

    /// The directory so many levels above where the search starts.
    #[inline(always)]
    pub unsafe fn ancestor(&self, levels: u32) -> u64 {
        let mut dentry = self.start;
        bpf_loop(levels, up as *mut _, (&raw mut dentry).cast(), 0);
        dentry
    }
}

unsafe extern "C" fn up(_index: u32, dentry: *mut u64) -> u64 {
    *dentry = probe(*dentry, offset!(dentry_parent), 0);
    0
}

/// One pattern. Returns 1 if it leads there, or was the last.
unsafe extern "C" fn compare(index: u32, search: *mut Search) -> u64 {
    let search = &mut *search;
    let rest = search.mask >> (index & 31);
    if rest & 1 == 0 {
        return (rest == 0) as u64;
    }
    search.index = index;
    let Some(pattern) = search.pattern() else { return 0 };
    let rest = pattern.count.saturating_sub(search.skip);
    let names = if rest < search.level { rest } else { search.level };
    search.above = search.level - names;
    search.root = search.ancestor(search.above);
    let mut dentry = search.root;
    for back in 1..=MAX_PATTERN_NAMES as u32 {
        if back > names {
            break;
        }
        let at = (search.skip + names).wrapping_sub(back) as usize % MAX_PATTERN_NAMES;
        if hf_has_name(dentry, pattern.names[at]) == 0 {
            search.root = 0;
            return 0;
        }
        dentry = probe(dentry, offset!(dentry_parent), 0);
    }
    let inode: u64 = probe(search.root, offset!(dentry_inode), 0);
    let is_dir = probe(inode, offset!(inode_mode), 0u16) & S_IFMT == S_IFDIR;
    if names < rest || !is_dir {
        search.partial |= (is_dir as u32) << (index & 31);
        search.root = 0;
        return 0;
    }
    1
}

/// Whether a dentry's name matches one name of a pattern. A global function: see
/// [`crate::decide::hf_decide`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_has_name(dentry: u64, name: u64) -> u32 {
    let Some(conf) = NAMES.get(name) else { return 0 };
    let text: u64 = probe(dentry, offset!(dentry_name), 0);
    let mut states = NameConf::START;
    for index in 0..=MAX_NAME {
        let byte: u8 = probe(text, index as usize, 0);
        if byte == 0 {
            break;
        }
        states = conf.next(states, index, byte);
        if states == NameConf::NEVER {
            return 0;
        }
    }
    conf.accepts(states) as u32
}
