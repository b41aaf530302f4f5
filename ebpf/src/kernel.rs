//! Kernel structures as the programs see them: opaque pointers, and reads at offsets taken from the
//! running kernel's BTF (Rust has no CO-RE). Offsets are constants to the verifier.

use core::{arch::asm, ffi::c_void, ptr::read_volatile};

use aya_ebpf::helpers::{bpf_get_current_task_btf, generated::bpf_probe_read_kernel};
use holdfast_abi::Offsets;

/// Set by the agent before load.
#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = Offsets {
    dentry_parent: 0,
    dentry_inode: 0,
    dentry_name: 0,
    inode_mode: 0,
    inode_uid: 0,
    inode_ino: 0,
    inode_nlink: 0,
    inode_size: 0,
    inode_sb: 0,
    inode_generation: 0,
    sb_dev: 0,
    sb_root: 0,
    iattr_valid: 0,
    iattr_size: 0,
    file_inode: 0,
    task_flags: 0,
    task_real_cred: 0,
    task_loginuid: 0,
    task_start: 0,
    cred_uid: 0,
    rename_old_dentry: 0,
    rename_new_dentry: 0,
    rename_flags: 0,
    dentry_hash: 0,
    dentry_children: 0,
    dentry_sibling: 0,
    dentry_alias: 0,
    inode_dentry: 0,
    inode_rdev: 0,
    inode_blocks: 0,
    inode_ctime_sec: 0,
    inode_ctime_nsec: 0,
    inode_pages: 0,
    task_cred: 0,
    cred_fsuid: 0,
    rename_delegated: 0,
    sb_magic: 0,
    mount_root: 0,
    mount_point: 0,
    mount_parent: 0,
    mount_namespace: 0,
    mount_children: 0,
    mount_sibling: 0,
    page_size: 0,
};

/// Which load of the programs this is. Set by the agent before load.
#[unsafe(no_mangle)]
static INSTANCE: u64 = 0;

macro_rules! opaque {
    ($($name:ident),*) => { $(
        #[repr(C)]
        pub struct $name { _opaque: [u8; 0] }
    )* };
}
opaque!(Dentry, Inode, SuperBlock, Iattr, File, RenameData);

pub const S_IFMT: u16 = 0o170000;
pub const S_IFDIR: u16 = 0o040000;
pub const S_IFREG: u16 = 0o100000;
pub const S_IFCHR: u16 = 0o020000;
/// Unit of `i_blocks`.
const BLOCK: u64 = 512;
const PF_IO_WORKER: u32 = 0x10;
/// A worker that the kernel runs in a user's process, vhost for one. (Before 6.4 the bit meant
/// nothing that matters.)
const PF_USER_WORKER: u32 = 0x4000;
const PF_KTHREAD: u32 = 0x0020_0000;

macro_rules! offset {
    ($field:ident) => {
        // SAFETY: a read of an initialised static; volatile, because the loader sets it.
        unsafe { core::ptr::read_volatile(&raw const crate::kernel::OFFSETS.$field) as usize }
    };
}
pub(crate) use offset;

#[inline(always)]
pub fn instance() -> u64 {
    // SAFETY: a read of an initialised static; volatile, because the loader sets it.
    unsafe { read_volatile(&raw const INSTANCE) }
}

/// Reads through a pointer that the verifier knows as a kernel structure.
#[inline(always)]
unsafe fn load<T: Copy>(base: *const c_void, offset: usize) -> T {
    read_volatile(base.cast::<u8>().add(offset).cast::<T>())
}

/// Reads through any address; `fallback` if it cannot be read.
#[inline(always)]
pub fn probe<T: Copy>(base: u64, offset: usize, fallback: T) -> T {
    let mut value = fallback;
    // SAFETY: the helper writes size_of::<T>() bytes to `value`, or fails.
    let status = unsafe {
        bpf_probe_read_kernel(
            (&raw mut value).cast(),
            size_of::<T>() as u32,
            (base as usize + offset) as *const c_void,
        )
    };
    if status == 0 { value } else { fallback }
}

impl Dentry {
    #[inline(always)]
    pub unsafe fn parent(this: *const Self) -> *const Self {
        load(this.cast(), offset!(dentry_parent))
    }

    /// Where its name is.
    #[inline(always)]
    pub unsafe fn name(this: *const Self) -> u64 {
        load(this.cast(), offset!(dentry_name))
    }

    /// For a dentry known to be positive (a directory on the way up, the victim of an unlink).
    #[inline(always)]
    pub unsafe fn inode(this: *const Self) -> *const Inode {
        load(this.cast(), offset!(dentry_inode))
    }
}

impl Inode {
    #[inline(always)]
    pub unsafe fn ino(this: *const Self) -> u64 {
        load(this.cast(), offset!(inode_ino))
    }

    #[inline(always)]
    pub unsafe fn generation(this: *const Self) -> u32 {
        load(this.cast(), offset!(inode_generation))
    }

    #[inline(always)]
    pub unsafe fn sb(this: *const Self) -> *const SuperBlock {
        load(this.cast(), offset!(inode_sb))
    }
}

/// How the fields of an inode are read.
pub trait Fields: Copy {
    /// Where it is.
    fn address(self) -> u64;
    /// One field; `fallback` if it cannot be read.
    fn field<T: Copy>(self, offset: usize, fallback: T) -> T;
}

/// With probes: at an address that may be null.
impl Fields for u64 {
    #[inline(always)]
    fn address(self) -> u64 {
        self
    }

    #[inline(always)]
    fn field<T: Copy>(self, offset: usize, fallback: T) -> T {
        probe(self, offset, fallback)
    }
}

/// With loads, which cost a sixtieth of a probe: the verifier knows the pointer.
impl Fields for *const Inode {
    #[inline(always)]
    fn address(self) -> u64 {
        self as u64
    }

    #[inline(always)]
    fn field<T: Copy>(self, offset: usize, _: T) -> T {
        // SAFETY: a pointer that the verifier knows as an inode, and an offset from the kernel's
        // BTF.
        unsafe { load(self.cast(), offset) }
    }
}

/// The inode that an op is about.
#[derive(Clone, Copy)]
pub struct Victim<F = u64>(F);

impl Victim {
    /// The inode at an address.
    #[inline(always)]
    pub const fn at(address: u64) -> Self {
        Self(address)
    }

    /// That of a dentry which may be negative. With probes: kernels 6.6 and 6.12 take a loaded
    /// `d_inode` for never null and would remove the check.
    #[inline(always)]
    pub fn of(dentry: u64) -> Self {
        Self(probe(dentry, offset!(dentry_inode), 0))
    }

    #[inline(always)]
    pub fn is_missing(&self) -> bool {
        self.0 == 0
    }
}

impl Victim<*const Inode> {
    /// One that was read from a positive dentry. New kernels want it compared with null first.
    #[inline(always)]
    pub const fn loaded(inode: *const Inode) -> Self {
        Self(inode)
    }
}

impl<F: Fields> Victim<F> {
    #[inline(always)]
    pub fn address(&self) -> u64 {
        self.0.address()
    }

    /// When it was last changed. It has another one if its memory is another inode's by now, and no
    /// user can set it.
    #[inline(always)]
    pub fn ctime(&self) -> u64 {
        let seconds: u64 = self.0.field(offset!(inode_ctime_sec), 0);
        let nanoseconds: u32 = self.0.field(offset!(inode_ctime_nsec), 0);
        // The highest bit says since 6.13 whether somebody has asked for it.
        seconds << 30 ^ (nanoseconds & 0x3fff_ffff) as u64
    }

    #[inline(always)]
    pub fn generation(&self) -> u32 {
        self.0.field(offset!(inode_generation), 0)
    }

    #[inline(always)]
    pub fn ino(&self) -> u64 {
        self.0.field(offset!(inode_ino), 0)
    }

    #[inline(always)]
    pub fn uid(&self) -> u32 {
        self.0.field(offset!(inode_uid), 0)
    }

    #[inline(always)]
    pub fn nlink(&self) -> u32 {
        self.0.field(offset!(inode_nlink), 1)
    }

    #[inline(always)]
    pub fn mode(&self) -> u16 {
        self.0.field(offset!(inode_mode), 0)
    }

    #[inline(always)]
    pub fn is_dir(&self) -> bool {
        self.mode() & S_IFMT == S_IFDIR
    }

    /// Whether it is what overlayfs leaves in the place of something that it removed: a character
    /// device of number 0.
    #[inline(always)]
    pub fn is_whiteout(&self) -> bool {
        self.mode() & S_IFMT == S_IFCHR && self.0.field(offset!(inode_rdev), 1u32) == 0
    }

    /// Bytes of data: only regular files have any.
    #[inline(always)]
    pub fn size(&self) -> u64 {
        if self.mode() & S_IFMT == S_IFREG { self.0.field(offset!(inode_size), 0) } else { 0 }
    }

    /// Bytes that go when all but the first `kept` go: no more than the file has blocks for. What
    /// was written a moment ago may have none yet (ext4 and xfs allocate late), but it is in the
    /// page cache.
    #[inline(always)]
    pub fn bytes_beyond(&self, kept: u64) -> u64 {
        let lost = self.size().saturating_sub(kept);
        if lost == 0 {
            return 0;
        }
        let blocks: u64 = self.0.field(offset!(inode_blocks), u64::MAX >> 10);
        let pages: u64 = self.0.field(offset!(inode_pages), 0);
        let allocated = blocks * BLOCK + pages * offset!(page_size) as u64;
        if lost < allocated { lost } else { allocated }
    }
}

impl SuperBlock {
    #[inline(always)]
    pub unsafe fn dev(this: *const Self) -> u32 {
        load(this.cast(), offset!(sb_dev))
    }

    #[inline(always)]
    pub unsafe fn root(this: *const Self) -> *const Dentry {
        load(this.cast(), offset!(sb_root))
    }
}

impl Iattr {
    #[inline(always)]
    pub unsafe fn valid(this: *const Self) -> u32 {
        load(this.cast(), offset!(iattr_valid))
    }

    #[inline(always)]
    pub unsafe fn size(this: *const Self) -> u64 {
        load(this.cast(), offset!(iattr_size))
    }
}

impl File {
    #[inline(always)]
    pub unsafe fn inode(this: *const Self) -> *const Inode {
        load(this.cast(), offset!(file_inode))
    }
}

impl RenameData {
    /// What is moved, and what it is moved to.
    #[inline(always)]
    pub unsafe fn dentries(this: *const Self) -> (u64, u64) {
        let this = this as u64;
        (probe(this, offset!(rename_old_dentry), 0), probe(this, offset!(rename_new_dentry), 0))
    }

    /// The filesystem of what is moved, if that is a directory.
    #[inline(always)]
    pub unsafe fn moved_dir(this: *const Self) -> Option<u32> {
        let dentry: *const Dentry = load(this.cast(), offset!(rename_old_dentry));
        let inode = Dentry::inode(dentry);
        if inode.is_null() || !Victim::loaded(inode).is_dir() {
            return None;
        }
        Some(SuperBlock::dev(Inode::sb(inode)))
    }

    #[inline(always)]
    pub unsafe fn flags(this: *const Self) -> u32 {
        load(this.cast(), offset!(rename_flags))
    }

    /// Whether a file system does it on its own lower one, and not a system call: that gives room
    /// for a delegated inode.
    #[inline(always)]
    pub unsafe fn is_stacked(this: *const Self) -> bool {
        probe(this as u64, offset!(rename_delegated), u64::MAX) == 0
    }
}

/// Whether a dentry can be found by its name.
#[inline(always)]
pub fn is_hashed(dentry: u64) -> bool {
    probe(dentry, offset!(dentry_hash), 0u64) != 0
}

/// The inode of a dentry, or 0.
#[inline(always)]
pub fn inode_of(dentry: u64) -> u64 {
    probe(dentry, offset!(dentry_inode), 0)
}

/// Whether an inode still has a name.
#[inline(always)]
pub fn has_links(inode: u64) -> bool {
    probe(inode, offset!(inode_nlink), 0u32) != 0
}

/// Who is running. Read from `real_cred`, not through `current_cred()`: overlayfs and others
/// override that while they work for somebody.
#[derive(Clone, Copy)]
pub struct Caller {
    /// The real user: whose spending it is.
    pub uid: u32,
    /// The user as whom files are accessed, which decides who owns them. A server sets it (or the
    /// effective user, which sets it too) to act for one of its users. A kernel thread has nothing
    /// but what it overrides: nfsd sets its client's user there.
    pub fsuid: u32,
    pub login_uid: u32,
    pub is_kernel: bool,
    /// A kernel thread.
    pub is_thread: bool,
}

impl Caller {
    #[inline(always)]
    pub fn current() -> Self {
        let (flags_at, real_at, acting_at) =
            (offset!(task_flags), offset!(task_real_cred), offset!(task_cred));
        let (uid_at, fsuid_at) = (offset!(cred_uid), offset!(cred_fsuid));
        let login_at = offset!(task_loginuid);
        // SAFETY: the verifier knows what the helper returns, and what its pointers lead to.
        unsafe {
            let task: *const c_void = bpf_get_current_task_btf().cast();
            let flags: u32 = load(task, flags_at);
            let cred: *const c_void = load(task, real_at);
            let is_thread = flags & PF_KTHREAD != 0;
            let acting = if is_thread { load(task, acting_at) } else { cred };
            let has_login = login_at != Offsets::ABSENT as usize;
            Self {
                uid: load(cred, uid_at),
                fsuid: load(acting, fsuid_at),
                login_uid: if has_login { load(task, login_at) } else { u32::MAX },
                is_thread,
                is_kernel: flags & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER) != 0,
            }
        }
    }
}

/// When the running thread started: with its number it is one of a kind.
#[inline(always)]
pub fn task_start() -> u64 {
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task_btf() } as u64;
    probe(task, offset!(task_start), 0)
}

/// Adds one to a counter that others may be adding to, and returns what it comes to.
#[inline(always)]
pub unsafe fn next_number(counter: *mut u64) -> u64 {
    let mut one = 1u64;
    asm!(
        "{one} = atomic_fetch_add((u64 *)({counter} + 0), {one})",
        counter = in(reg) counter,
        one = inout(reg) one
    );
    one + 1
}

/// Adds to a counter that other programs on this CPU or others may be adding to.
#[inline(always)]
pub unsafe fn add(counter: *mut u64, amount: u64) {
    asm!(
        "lock *(u64 *)({counter} + 0) += {amount}",
        counter = in(reg) counter,
        amount = in(reg) amount
    );
}

/// `value`, without the compiler knowing what it is: for bounds that the verifier must see checked
/// where they are used, and for zeroes that must not become a call to memset.
#[inline(always)]
pub fn opaque(mut value: u64) -> u64 {
    // A real instruction, if an idle one: without it two source lines would share one, and the
    // verifier wants line information to rise.
    // SAFETY: a move from a register to itself.
    unsafe {
        asm!(
            "{value} = {value}",
            value = inout(reg) value,
            options(nomem, nostack, preserves_flags)
        )
    };
    value
}
