//! How long the kernel programs remember where a directory is.

/// Directories that were moved on the filesystems of one slot ([`MOVE_SLOTS`]), or became roots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Moves {
    /// Rises after each.
    pub epoch: u64,
    /// How many are being moved now: meanwhile nobody uses a label or makes one.
    pub under_way: u64,
}

/// Slots by device number: filesystems that share one only look up more often.
pub const MOVE_SLOTS: u32 = 256;

/// The slot of a filesystem.
#[inline(always)]
pub const fn moves_slot(dev: u32) -> u32 {
    // Minor numbers of disks count partitions, majors kinds of disks.
    (dev ^ dev >> 20) % MOVE_SLOTS
}

const _: () = assert!(size_of::<Moves>() == 16);
