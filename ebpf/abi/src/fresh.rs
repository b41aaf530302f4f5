//! Which files and directories a unit made itself a moment ago: those it can remove whatever it has
//! spent.

/// How long a file counts as fresh, in nanoseconds: ten minutes.
pub const FRESH_NS: u64 = 600 * 1_000_000_000;
/// Slots for new files. Each has one ([`InodeKey::slot`]): of two that share it the newer is
/// remembered, and the older is then like any other.
pub const MAX_FRESH: u32 = 65_536;

/// A file or directory, by the identity the kernel gives it. It keeps that whatever its name is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct InodeKey {
    /// Inode number as in `struct inode`.
    pub ino: u64,
    /// Device number as in `struct super_block`.
    pub dev: u32,
    /// Inode generation: a reused inode number is another file.
    pub generation: u32,
}

impl InodeKey {
    /// The file's slot. Numbers of files that are made together follow each other.
    #[inline(always)]
    pub const fn slot(&self) -> u32 {
        let device = self.dev as u64 * 0x9e37_79b9;
        (self.ino ^ self.ino >> 16 ^ device ^ device >> 16) as u32 % MAX_FRESH
    }
}

/// Which file is new, who made it, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Made {
    /// Not 0 while somebody writes it.
    pub writers: u64,
    /// Which file.
    pub inode: InodeKey,
    /// The cgroup of who made it; 0 if nobody did.
    pub unit: u64,
    /// Boot-time nanoseconds.
    pub time_ns: u64,
}

const _: () = assert!(size_of::<InodeKey>() == 16);
const _: () = assert!(size_of::<Made>() == 40);

impl Made {
    /// Whether `unit` can remove it at `now` although a budget refuses. `tripped` is when that
    /// budget's account tripped last, if what was spent then still counts; else `now`.
    #[inline(always)]
    pub const fn is_fresh(&self, unit: u64, tripped: u64, now: u64) -> bool {
        self.unit == unit && (now.saturating_sub(self.time_ns) < FRESH_NS || self.time_ns > tripped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INODE: InodeKey = InodeKey { ino: 5, dev: 1, generation: 2 };
    const MADE: Made = Made { writers: 0, inode: INODE, unit: 7, time_ns: 1_000 };

    #[test]
    fn files_of_a_directory_share_nothing() {
        let slots = |dev| (1_000..3_000).map(move |ino| InodeKey { ino, dev, ..INODE }.slot());
        let all: std::collections::BTreeSet<_> = slots(1).chain(slots(0x10_0002)).collect();
        assert!(all.len() > 3_900 && all.last().is_some_and(|&slot| slot < MAX_FRESH));
    }

    #[test]
    fn fresh_for_ten_minutes() {
        let end = MADE.time_ns + FRESH_NS;
        assert!(MADE.is_fresh(7, 5_000, 6_000));
        assert!(MADE.is_fresh(7, end - 1, end - 1));
        assert!(!MADE.is_fresh(7, end, end));
        assert!(!MADE.is_fresh(7, MADE.time_ns, end));
    }

    #[test]
    fn fresh_since_the_trip() {
        let late = MADE.time_ns + 100 * FRESH_NS;
        assert!(MADE.is_fresh(7, MADE.time_ns - 1, late));
        assert!(!MADE.is_fresh(7, MADE.time_ns + 1, late));
    }

    #[test]
    fn fresh_for_its_maker_alone() {
        assert!(!MADE.is_fresh(8, 0, 2_000));
    }
}
