//! What the kernel tells the agent about an op that destroyed something: one record each, for the
//! deletion log, and before it one of the directory that it was in.
//!
//! A thread tells a directory once, and again when that is further back in the ring than
//! [`GONE_REACH`]: so depth costs nothing, and a reader who leaves so much in the ring can start
//! anew there.

/// Bytes for names in a [`GoneDir`]; the last name that fits may use up to 256 more.
pub const NAMES_ROOM: usize = 1536;
/// Names it can have.
pub const NAMES_LEVELS: usize = 64;
/// Bytes for a file's own name in a [`Destroyed`]; a longer one is with its directory's.
pub const NAME_ROOM: usize = 80;
/// Ops of one call that get a record: a rename is at most two.
pub const MAX_RECORDS: usize = 2;

/// [`Destroyed::kind`].
pub const GONE_FILE: u32 = 1;
/// [`GoneDir::kind`].
pub const GONE_DIR: u32 = 2;

/// The names do not reach up to the zone's root: there are too many, or they are too long.
pub const GONE_CUT: u8 = 1;
/// The place could not be determined: zone and names are all that is known.
pub const GONE_STRICT: u8 = 2;
/// Nobody saw how the call ended: it may have failed.
pub const GONE_UNSEEN: u8 = 4;
/// The op went over a budget in a zone that observes.
pub const GONE_OBSERVED: u8 = 8;
/// The call failed after its record was sent: this one, the same otherwise, takes it back.
pub const GONE_UNDONE: u8 = 16;

/// One op that destroyed something.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Destroyed {
    /// [`GONE_FILE`].
    pub kind: u32,
    /// [`GoneDir::id`] of where it was.
    pub dir: u32,
    /// Boot-time nanoseconds at which the decision was taken. Together with `tid` and `op` it is
    /// one of a kind.
    pub time_ns: u64,
    /// Files it destroyed; 0 where something only went from one tenant to another.
    pub files: u64,
    /// Bytes it destroyed.
    pub bytes: u64,
    /// Inode number of the tenant's directory; 0 if above all tenants.
    pub tenant: u64,
    /// Inode number of the zone's root above it; 0 if unknown.
    pub root: u64,
    /// Inode number of what was destroyed.
    pub ino: u64,
    /// cgroup (v2) of who did it.
    pub unit: u64,
    /// Serial of the allowance it was spent from; 0 if from none.
    pub allowance: u64,
    /// [`crate::ZoneConf::id`].
    pub zone: u64,
    /// Kernel device number.
    pub dev: u32,
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Real user.
    pub uid: u32,
    /// Login user; `u32::MAX` where none is set.
    pub login_uid: u32,
    /// Owner of what was destroyed.
    pub owner: u32,
    /// `i_mode` of what was destroyed: its type and permissions.
    pub mode: u16,
    /// A [`crate::Op`].
    pub op: u8,
    /// `GONE_*`.
    pub flags: u8,
    /// Levels below the root at which the zone's tenants live.
    pub tenant_depth: u32,
    /// Zone slot.
    pub slot: u32,
    /// Bytes used in `name`; 0 if its name is the first of its directory's.
    pub name_len: u32,
    /// Name of the thread.
    pub comm: [u8; 16],
    /// Its own name, ended by NUL.
    pub name: [u8; NAME_ROOM],
}

/// A directory in which something is destroyed, told before that. What is sent of it ends with the
/// names: see [`GoneDir::length`].
#[repr(C)]
pub struct GoneDir {
    /// [`GONE_DIR`].
    pub kind: u32,
    /// Tells it from the thread's others as long as they matter. It is told again under the same
    /// number.
    pub id: u32,
    /// Thread that tells it: only its own records refer to it.
    pub tid: u32,
    /// Bytes used in `names` by the names from the directory up to the zone's root, which is not
    /// among them.
    pub names_len: u16,
    /// Bytes after those: the names from the tenant's directory up to the zone's root. Only where
    /// the others are cut.
    pub tenant_len: u16,
    /// [`GONE_CUT`], or 0.
    pub flags: u32,
    /// Always 0.
    pub pad: u32,
    /// Names, each ended by NUL, the deepest first.
    pub names: [u8; NAMES_ROOM + 512],
}

impl GoneDir {
    /// Bytes before the names.
    pub const HEAD: usize = core::mem::offset_of!(GoneDir, names);

    /// Bytes that are sent of it.
    #[inline(always)]
    pub const fn length(&self) -> usize {
        Self::HEAD + self.names_len as usize + self.tenant_len as usize
    }
}

/// So many bytes of the ring can be between the start of a directory's record and the start of one
/// that refers to it.
pub const GONE_REACH: u64 = 1 << 20;

/// Index in the map of numbers: the number of the last hold.
pub const NUMBER_HOLD: u32 = 0;
/// The number of the last directory that was told or labelled.
pub const NUMBER_DIR: u32 = 1;
/// How many new processes could not be given the mark of who made them.
pub const NUMBER_MARKS_LOST: u32 = 2;
/// Up to where the records of the ring are kept. Written by the agent.
pub const NUMBER_KEPT: u32 = 3;
/// How many there are.
pub const NUMBERS: u32 = 4;

const _: () = assert!(size_of::<Destroyed>() == 136 + NAME_ROOM);
const _: () = assert!(GoneDir::HEAD == 24);
const _: () = assert!(size_of::<GoneDir>() == 24 + NAMES_ROOM + 512);
