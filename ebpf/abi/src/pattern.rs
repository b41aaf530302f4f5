//! Patterns of paths, as the kernel programs match them: below a *base*, the root of a mount that a
//! pattern leads through, a directory that matches belongs to the zone from its first moment on.
//! The agent enters it as a root a little later.

use crate::RootConf;

/// Most patterns that go on below one base, and most names of each.
pub const MAX_BASE_PATTERNS: u32 = 32;
/// Names of a pattern that are matched below a base.
pub const MAX_PATTERN_NAMES: usize = 16;
/// How many patterns, below all bases, the kernel keeps.
pub const MAX_PATTERNS: u32 = 65_536;
/// How many different names and globs the kernel keeps.
pub const MAX_NAMES: u32 = 16_384;

/// One pattern of a base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PatternKey {
    /// The base's patterns: a digest of them all, so that both banks can use one list.
    pub list: u64,
    /// Which one.
    pub index: u32,
    /// Always 0.
    pub pad: u32,
}

/// The names of a pattern that follow its base, and what a directory that matches them belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PatternConf {
    /// What the inode number of a tenant's directory is combined with (XOR).
    pub tenant: u64,
    /// Zone slot.
    pub zone: u32,
    /// Levels below the match at which tenants live.
    pub depth: u32,
    /// How many of `names` are in use.
    pub count: u32,
    /// Always 0.
    pub pad: u32,
    /// Keys of [`NameConf`].
    pub names: [u64; MAX_PATTERN_NAMES],
}

/// One name of a pattern: an automaton with a state for each character that can have been matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct NameConf {
    /// By byte: the states that it takes to the next one.
    pub follow: [u64; 256],
    /// The states that any byte leaves as they are: a `*` comes next.
    pub stay: u64,
    /// The states that stay while a character goes on (UTF-8): a `?` or a set took its first byte.
    pub within: u64,
    /// The state at the end of the name.
    pub accept: u64,
    /// 1 if it matches names that start with a dot.
    pub hidden: u64,
}

impl NameConf {
    /// The state before the first byte.
    pub const START: u64 = 1;
    /// The state of what cannot match any more.
    pub const NEVER: u64 = 0;
    /// Bytes that one name can have, a `*` not counted.
    pub const MAX_CHARS: usize = 63;

    /// The states after one more byte.
    #[inline(always)]
    pub const fn next(&self, states: u64, index: u32, byte: u8) -> u64 {
        if index == 0 && byte == b'.' && self.hidden == 0 {
            return Self::NEVER;
        }
        let within = if byte & 0xc0 == 0x80 { states & self.within } else { 0 };
        (states & self.follow[byte as usize]) << 1 | states & self.stay | within
    }

    /// Whether a name that ends here matches.
    #[inline(always)]
    pub const fn accepts(&self, states: u64) -> bool {
        states & self.accept != 0
    }
}

impl RootConf {
    /// Stands in the place of the zone where an entry is a base: `tenant` is the list of its
    /// patterns, of which those with a bit in `level` count, and whose first `depth` names lead to
    /// the base itself.
    pub const BASE: u32 = u32::MAX - 3;
    /// In `depth` of a base: the kernel programs entered it.
    pub const PROVISIONAL: u32 = 1 << 31;

    /// Whether this is a base.
    #[inline(always)]
    pub const fn is_base(&self) -> bool {
        self.zone == Self::BASE
    }
}

const _: () = assert!(size_of::<PatternKey>() == 16);
const _: () = assert!(size_of::<PatternConf>() == 24 + 8 * MAX_PATTERN_NAMES);
const _: () = assert!(size_of::<NameConf>() == 2080);
const _: () = assert!(MAX_PATTERN_NAMES.is_power_of_two() && MAX_BASE_PATTERNS <= u32::BITS);
