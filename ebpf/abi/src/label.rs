//! What the kernel programs remember of directories that are in no zone, so that they need not walk
//! up from there for each op.

/// Kept with a directory's inode: it was in no zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Label {
    /// [`Moves::epoch`] before it was looked up.
    pub epoch: u64,
    /// [`crate::Control::flips`] then.
    pub flips: u32,
    /// Bits of the patterns that it is on the way to. If there are none, what is in it is in no
    /// zone either, unless it is a root.
    pub leads: u32,
}

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

impl Label {
    /// The epoch while directories are being moved: no label counts.
    pub const NONE: u64 = u64::MAX;

    /// Whether it still says where its directory is.
    #[inline(always)]
    pub const fn is_current(&self, epoch: u64, flips: u32) -> bool {
        self.epoch == epoch && self.flips == flips
    }
}

const _: () = assert!(size_of::<Label>() == 16 && size_of::<Moves>() == 16);
