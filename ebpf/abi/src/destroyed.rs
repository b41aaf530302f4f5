//! What the kernel tells the agent about an op that destroyed something: one record each, for the manifest.

/// Bytes for names in a [`Destroyed`]; the last name that fits may use up to 256 more.
pub const NAMES_ROOM: usize = 1536;
/// Names it can have.
pub const NAMES_LEVELS: usize = 64;
/// Ops of one call that get a record: a rename is at most two.
pub const MAX_RECORDS: usize = 2;

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

/// One op that destroyed something. What is sent of it ends with the names: see [`Destroyed::length`].
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Destroyed {
    /// Boot-time nanoseconds at which the decision was taken. Together with `tid` and `op` it is one of a kind.
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
    /// Bytes used in `names` by the names from what was destroyed up to the zone's root, which is not among them.
    pub names_len: u16,
    /// Bytes after those: the names from the tenant's directory up to the zone's root. Only where the others are cut.
    pub tenant_len: u16,
    /// Levels below the root at which the zone's tenants live.
    pub tenant_depth: u32,
    /// Zone slot.
    pub slot: u32,
    /// Name of the thread.
    pub comm: [u8; 16],
    /// Names, each ended by NUL, the deepest first.
    pub names: [u8; NAMES_ROOM + 512],
}

impl Destroyed {
    /// Bytes before the names.
    pub const HEAD: usize = core::mem::offset_of!(Destroyed, names);

    /// Bytes that are sent of it.
    #[inline(always)]
    pub const fn length(&self) -> usize {
        Self::HEAD + self.names_len as usize + self.tenant_len as usize
    }
}

const _: () = assert!(Destroyed::HEAD == 128);
const _: () = assert!(size_of::<Destroyed>() == 128 + NAMES_ROOM + 512);
