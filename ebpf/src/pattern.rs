//! Directories that match a pattern of the policy and are not known to the agent yet: below a
//! *base*, names are compared with the patterns that go on there (see
//! [`holdfast_abi::RootConf::BASE`]).

use aya_ebpf::helpers::generated::bpf_loop;
use holdfast_abi::{MAX_BASE_PATTERNS, MAX_PATTERN_NAMES, NameConf, PatternConf, PatternKey};

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
    /// The pattern, and how many of its names match.
    index: u32,
    matched: u32,
    pad: u32,
}

impl Search {
    #[inline(always)]
    pub fn new(start: u64, list: u64, level: u32, mask: u32, skip: u32) -> Self {
        let zero = opaque(0);
        let none = zero as u32;
        let (partial, above, index, matched, pad) = (none, none, none, none, none);
        Self { start, list, level, mask, skip, partial, root: zero, above, index, matched, pad }
    }

    /// Looks for a pattern that leads to a directory at or above the start.
    #[inline(always)]
    pub unsafe fn run(&mut self) {
        const STEPS: u32 = MAX_BASE_PATTERNS * (MAX_PATTERN_NAMES as u32 + 1);
        bpf_loop(STEPS, compare as *mut _, (&raw mut *self).cast(), 0);
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

unsafe extern "C" fn compare(_index: u32, search: *mut Search) -> u64 {
    // The verifier has to see the bound that the compiler knows.
    opaque(hf_compare(search) as u64) & 1
}

/// One name of one pattern, the one next to the base first. Returns 1 at the end. A global
/// function, and one step a name instead of a loop of names in one of patterns: the verifier would
/// follow each with each.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_compare(search: *mut Search) -> u32 {
    if search.is_null() {
        return 1;
    }
    let search = &mut *search;
    let rest = search.mask >> (search.index & 31);
    if rest == 0 || search.index > 31 {
        return 1;
    }
    let matched = search.matched;
    let mut is_over = 1;
    if rest & 1 != 0
        && let Some(pattern) = search.pattern()
    {
        let rest = pattern.count.saturating_sub(search.skip);
        let names = if rest < search.level { rest } else { search.level };
        if matched < names {
            let dentry = search.ancestor((search.level - matched).wrapping_sub(1));
            let at = search.skip.wrapping_add(matched) as usize % MAX_PATTERN_NAMES;
            is_over = 1 - hf_has_name(dentry, pattern.names[at]);
        } else if names < rest {
            search.partial |= 1 << (search.index & 31);
        } else {
            search.above = search.level - names;
            let root = search.ancestor(search.above);
            let inode: u64 = probe(root, offset!(dentry_inode), 0);
            if probe(inode, offset!(inode_mode), 0u16) & S_IFMT == S_IFDIR {
                search.root = root;
                return 1;
            }
        }
    }
    search.matched = if is_over != 0 { 0 } else { matched + 1 };
    search.index += is_over;
    0
}

/// How far a name was compared.
#[repr(C)]
struct Scan {
    text: u64,
    name: u64,
    states: u64,
}

/// Whether a dentry's name matches one name of a pattern. A global function: see
/// [`crate::decide::hf_decide`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_has_name(dentry: u64, name: u64) -> u32 {
    let text = probe(dentry, offset!(dentry_name), 0);
    let mut scan = Scan { text, name, states: NameConf::START };
    bpf_loop(MAX_NAME + 1, follow as *mut _, (&raw mut scan).cast(), 0);
    NAMES.get(name).is_some_and(|conf| conf.accepts(scan.states)) as u32
}

/// One byte. Returns 1 at the end.
unsafe extern "C" fn follow(index: u32, scan: *mut Scan) -> u64 {
    let scan = &mut *scan;
    let byte: u8 = probe(scan.text, index as usize, 0);
    if byte == 0 {
        return 1;
    }
    let Some(conf) = NAMES.get(scan.name) else { return 1 };
    scan.states = conf.next(scan.states, index, byte);
    (scan.states == NameConf::NEVER) as u64
}
