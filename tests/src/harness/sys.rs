//! The few system calls that no safe crate has. None of them touches this process's memory beyond
//! what it is given.
#![expect(
    unsafe_code,
    reason = "foreign functions, each with arguments that live until it returns"
)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;

/// What a debugger asks the kernel for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trace {
    /// To trace a process the old way, as gdb does: it is sent SIGSTOP.
    Attach,
    /// To trace a process the new way, as strace does.
    Seize,
    /// A stopped one goes on, with this signal or with none (0).
    Continue(i32),
    /// The same, up to the next system call.
    Syscall(i32),
    /// One that is stopped together with its group stays so, and its tracer is told when that ends.
    Listen,
}

/// ptrace(2).
pub(crate) fn ptrace(request: Trace, pid: i32) -> io::Result<()> {
    let (request, data) = match request {
        Trace::Attach => (libc::PTRACE_ATTACH, 0),
        Trace::Seize => (libc::PTRACE_SEIZE, libc::PTRACE_O_TRACESYSGOOD),
        Trace::Continue(signal) => (libc::PTRACE_CONT, signal),
        Trace::Syscall(signal) => (libc::PTRACE_SYSCALL, signal),
        Trace::Listen => (libc::PTRACE_LISTEN, 0),
    };
    // SAFETY: none of these requests reads or writes this process's memory.
    let outcome = unsafe {
        libc::ptrace(request, pid, ptr::null_mut::<libc::c_void>(), libc::c_long::from(data))
    };
    checked(outcome)
}

/// A pinned BPF map: bpf(2), with the commands and the shape of `union bpf_attr` that
/// include/uapi/linux/bpf.h has.
#[derive(Debug)]
pub(crate) struct PinnedMap(OwnedFd);

#[repr(C)]
struct Element {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct Pin {
    path: u64,
    fd: u32,
    flags: u32,
}

impl PinnedMap {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        const BPF_OBJ_GET: libc::c_long = 7;
        let path = CString::new(path.as_os_str().as_bytes())?;
        let pin = Pin { path: path.as_ptr() as u64, fd: 0, flags: 0 };
        // SAFETY: the path is a string with an end, and lives until after the call, as does what
        // leads to it.
        let fd =
            unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, &raw const pin, size_of::<Pin>()) };
        made(fd).map(Self)
    }

    /// Adds an entry that is not there. Key and value have to be as long as the map's.
    pub(crate) fn insert<K, V>(&self, key: &K, value: &V) -> io::Result<()> {
        const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
        const BPF_NOEXIST: u64 = 1;
        self.element(BPF_MAP_UPDATE_ELEM, key, ptr::from_ref(value) as u64, BPF_NOEXIST)
    }

    /// Overwrites an entry. Key and value have to be as long as the map's.
    pub(crate) fn set<K, V>(&self, key: &K, value: &V) -> io::Result<()> {
        const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
        self.element(BPF_MAP_UPDATE_ELEM, key, ptr::from_ref(value) as u64, 0)
    }

    /// Removes an entry that is there.
    pub(crate) fn remove<K>(&self, key: &K) -> io::Result<()> {
        const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
        self.element(BPF_MAP_DELETE_ELEM, key, 0, 0)
    }

    /// Zeroes an array of so many bytes that can be mapped.
    pub(crate) fn zero(&self, length: usize) -> io::Result<()> {
        let (access, fd) = (libc::PROT_READ | libc::PROT_WRITE, self.0.as_raw_fd());
        // SAFETY: a new mapping, as long as the kernel lets it be, which is not used after its end.
        unsafe {
            let at = libc::mmap(ptr::null_mut(), length, access, libc::MAP_SHARED, fd, 0);
            if at == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            ptr::write_bytes(at.cast::<u8>(), 0, length);
            libc::munmap(at, length);
        }
        Ok(())
    }

    /// Whether there is an entry. The value has room for one of the map's.
    pub(crate) fn has<K, V>(&self, key: &K, value: &mut V) -> io::Result<bool> {
        const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
        match self.element(BPF_MAP_LOOKUP_ELEM, key, ptr::from_mut(value) as u64, 0) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn element<K>(&self, command: libc::c_long, key: &K, value: u64, flags: u64) -> io::Result<()> {
        let map = self.0.as_raw_fd().cast_unsigned();
        let element = Element { map, pad: 0, key: ptr::from_ref(key) as u64, value, flags };
        // SAFETY: key and value are the map's by contract of the callers, and live until after the
        // call.
        let outcome = unsafe {
            libc::syscall(libc::SYS_bpf, command, &raw const element, size_of::<Element>())
        };
        checked(outcome)
    }
}

/// The BPF program that has this number.
pub(crate) fn program(id: u32) -> io::Result<OwnedFd> {
    const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
    let id = [id, 0, 0];
    // SAFETY: number, next number and flags, as `union bpf_attr` has them; they live until after
    // the call.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_GET_FD_BY_ID, id.as_ptr(), size_of_val(&id))
    };
    made(fd)
}

/// The descriptor that a system call has made.
fn made(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    checked(fd)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// truncate(2), which takes a path.
pub(crate) fn truncate(path: &Path, size: u64) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is a string with an end, and lives until after the call.
    let outcome = unsafe { libc::truncate(path.as_ptr(), size.cast_signed()) };
    checked(outcome)
}

/// Starts `true` with a file emptied for its standard output. The child opens the file in its
/// parent's memory, between vfork and exec, while the parent waits in the kernel.
pub(crate) fn spawn_emptying(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let argv = [c"true".as_ptr().cast_mut(), ptr::null_mut()];
    let environment = [ptr::null_mut()];
    let mut child = 0;
    let check = |code| if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) };
    // SAFETY: plain data, which the next call fills in.
    let mut actions: libc::posix_spawn_file_actions_t = unsafe { std::mem::zeroed() };
    // SAFETY: every pointer leads to something above that lives until the block's end; the lists
    // end in null.
    unsafe {
        check(libc::posix_spawn_file_actions_init(&raw mut actions))?;
        let flags = libc::O_WRONLY | libc::O_TRUNC;
        check(libc::posix_spawn_file_actions_addopen(
            &raw mut actions,
            1,
            path.as_ptr(),
            flags,
            0,
        ))?;
        check(libc::posix_spawn(
            &raw mut child,
            c"/bin/true".as_ptr(),
            &raw const actions,
            ptr::null(),
            argv.as_ptr(),
            environment.as_ptr(),
        ))
    }
}

/// Shifts the wall clock by so many seconds, as adjtimex(2) with ADJ_SETOFFSET does.
pub(crate) fn adjtimex_offset(seconds: i64) -> io::Result<()> {
    // SAFETY: plain data, all of which may be zero.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    timex.modes = libc::ADJ_SETOFFSET;
    timex.time.tv_sec = seconds;
    // SAFETY: the kernel reads and fills in this struct, which lives until after the call.
    let outcome = unsafe { libc::adjtimex(&raw mut timex) };
    checked(outcome)
}

/// What device-mapper is asked for (linux/dm-ioctl.h, 6.1).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mapper {
    /// A new device.
    Create,
    /// Take a device away.
    Remove,
    /// Put the table in force that was loaded, or go on.
    Resume,
    /// Let what is under way end and hold back what comes, without writing out the filesystem on it
    /// or what is waiting.
    Suspend,
    /// Load a table.
    Load,
}

const DM_IOCTL_LEN: usize = 312;
const DM_NAME: std::ops::Range<usize> = 48..48 + 128;

/// One request to /dev/mapper/control about the device of that name; `table` is its one target with
/// its length in sectors. Returns the device's minor number.
pub(crate) fn mapper(
    control: &std::fs::File,
    request: Mapper,
    name: &str,
    table: Option<(u64, &str, &str)>,
) -> io::Result<u32> {
    use std::os::fd::AsRawFd as _;
    const SUSPEND: u32 = 1 << 1;
    const SKIP_LOCKFS: u32 = 1 << 10;
    const NOFLUSH: u32 = 1 << 11;
    let (number, flags) = match request {
        Mapper::Create => (3_u64, 0),
        Mapper::Remove => (4, 0),
        Mapper::Resume => (6, 0),
        Mapper::Suspend => (6, SUSPEND | SKIP_LOCKFS | NOFLUSH),
        Mapper::Load => (9, 0),
    };
    let mut data = vec![0_u8; 1024];
    let length = data.len() as u32;
    let mut put = |at: usize, value: u32| data[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    // version, size of all, start of the targets, how many, flags
    for (at, value) in [(0, 4), (12, length), (16, DM_IOCTL_LEN as u32), (28, flags)] {
        put(at, value);
    }
    put(20, u32::from(table.is_some()));
    data[DM_NAME][..name.len()].copy_from_slice(name.as_bytes());
    if let Some((sectors, target, arguments)) = table {
        let spec = &mut data[DM_IOCTL_LEN..];
        spec[8..16].copy_from_slice(&sectors.to_ne_bytes());
        spec[24..24 + target.len()].copy_from_slice(target.as_bytes());
        spec[40..40 + arguments.len()].copy_from_slice(arguments.as_bytes());
    }
    let code = (3 << 30) | ((DM_IOCTL_LEN as u64) << 16) | (0xfd << 8) | number;
    // SAFETY: the kernel reads and writes at most as many bytes as the buffer says that it has, and
    // it lives until after the call.
    let outcome = unsafe { libc::ioctl(control.as_raw_fd(), code, data.as_mut_ptr()) };
    checked(outcome)?;
    let mut dev = [0; 8];
    dev.copy_from_slice(&data[40..48]);
    // new_encode_dev: the low byte of the minor, 12 bits of the major, the rest of the minor.
    let dev = u64::from_ne_bytes(dev);
    Ok(((dev & 0xff) | ((dev >> 12) & 0xf_ff00)) as u32)
}

/// What became of a system call.
fn checked(status: impl Into<i64>) -> io::Result<()> {
    if status.into() == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The generation of an inode, which its owner can change (on ext4 without `metadata_csum`).
pub(crate) fn generation(file: &std::fs::File, new: Option<u64>) -> io::Result<u64> {
    // FS_IOC_SETVERSION and FS_IOC_GETVERSION.
    let code: libc::c_ulong = if new.is_some() { 0x4008_7602 } else { 0x8008_7601 };
    let mut value = new.unwrap_or(0);
    // SAFETY: the kernel reads or writes at most eight bytes, which live until after the call.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), code, &raw mut value) })?;
    Ok(value)
}

/// A filesystem whose disk is gone: everything that would write fails from now on.
pub(crate) fn shut_down(dir: &std::fs::File) -> io::Result<()> {
    /// `EXT4_IOC_SHUTDOWN`, and XFS's number for it.
    const SHUTDOWN: libc::c_ulong = 0x8004_587d;
    let without_log = 2_u32;
    // SAFETY: the kernel reads four bytes, which live until after the call.
    checked(unsafe { libc::ioctl(dir.as_raw_fd(), SHUTDOWN, &raw const without_log) })
}

/// Which of a process's users.
#[derive(Clone, Copy, Debug)]
pub(crate) enum User {
    /// The effective one, and with it the one for file accesses.
    Effective,
    /// The one for file accesses alone.
    Files,
}

/// Runs `work` in a thread of its own that has `uid` for this one of its users, and is root
/// otherwise.
pub(crate) fn as_user(user: User, uid: u32, work: impl FnOnce() + Send) -> io::Result<()> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            // The calls themselves, and not the C library's functions, which change every thread.
            // SAFETY: they take numbers and touch no memory.
            let status = unsafe {
                match user {
                    User::Effective => libc::syscall(libc::SYS_setresuid, -1, uid, -1),
                    User::Files => libc::syscall(libc::SYS_setfsuid, uid),
                }
            };
            if status == -1 {
                return Err(io::Error::last_os_error());
            }
            work();
            Ok(())
        });
        thread.join().map_err(|_| io::Error::other("the thread panicked"))?
    })
}
