//! Which files and directories a unit made itself a moment ago: those it can remove whatever it has spent.

/// How long a file counts as fresh, in nanoseconds: ten minutes.
pub const FRESH_NS: u64 = 600 * 1_000_000_000;
/// How many new files the kernel remembers. Older ones are forgotten first, and are then like any other.
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

/// Who made a file, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Made {
    /// The cgroup of who made it.
    pub unit: u64,
    /// Boot-time nanoseconds.
    pub time_ns: u64,
}

const _: () = assert!(size_of::<InodeKey>() == 16);
const _: () = assert!(size_of::<Made>() == 16);

impl Made {
    /// Whether `unit` can remove it at `now` although a budget refuses. `tripped` is when that budget's account tripped
    /// last, if what was spent then still counts; else `now`.
    #[inline(always)]
    pub const fn is_fresh(&self, unit: u64, tripped: u64, now: u64) -> bool {
        self.unit == unit && (now.saturating_sub(self.time_ns) < FRESH_NS || self.time_ns > tripped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADE: Made = Made { unit: 7, time_ns: 1_000 };

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
