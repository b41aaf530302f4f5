//! One guard per kernel, and one agent per guard.
//!
//! The lock is on the directory of pins, so that it does not matter where an agent keeps its own
//! files. The kernel releases it when the agent ends, however it ends.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData, MapInfo};
use aya::programs::{ProgramInfo, loaded_programs};
use aya_obj::generated::bpf_prog_type;
use holdfast_abi as abi;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::error::KernelError;
use super::load;

/// The kernel frees a program a moment after the last link to it is gone.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often to look whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The right to change what is pinned, for as long as this is kept.
#[derive(Debug)]
pub struct Claim {
    _dir: File,
}

impl Claim {
    /// Locks the directory of pins, which is made if it is not there.
    pub fn take(pin_dir: &Path) -> Result<Self, KernelError> {
        let failed = |error| KernelError::io(format!("lock {}", pin_dir.display()), error);
        loop {
            // Without access for others: a lock does not need write permission.
            DirBuilder::new().recursive(true).mode(0o700).create(pin_dir).map_err(failed)?;
            let dir = File::open(pin_dir).map_err(failed)?;
            dir.set_permissions(fs::Permissions::from_mode(0o700)).map_err(failed)?;
            let locked = dir.metadata().map_err(failed)?;
            match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
                    return Err(KernelError::Managed {
                        agent: lock_holder(&locks, locked.dev(), locked.ino()),
                    });
                }
                Err(errno) => return Err(failed(errno.into())),
            }
            // `unpin` removes the directory while it holds the lock on it.
            if fs::metadata(pin_dir).is_ok_and(|now| now.ino() == locked.ino()) {
                return Ok(Self { _dir: dir });
            }
        }
    }
}

/// The process that holds the flock(2) on a file, from the text of `/proc/locks`. `None`: it is in
/// another PID namespace.
fn lock_holder(locks: &str, dev: u64, ino: u64) -> Option<u32> {
    let file = format!("{:02x}:{:02x}:{ino}", rustix::fs::major(dev), rustix::fs::minor(dev));
    locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (kind, _advisory, _write) = (fields.next()?, fields.next()?, fields.next()?);
        let (pid, of) = (fields.next()?, fields.next()?);
        (kind == "FLOCK" && of == file).then(|| pid.parse().ok())?
    })
}

/// Fails if the kernel runs a guard that nothing in `pin_dir` pins: a second one, or one whose pins
/// are hidden.
pub(super) fn refuse_another(pin_dir: &Path) -> Result<(), KernelError> {
    let start = Instant::now();
    loop {
        let ours = load::pinned_programs(pin_dir)?;
        let others: Vec<ProgramInfo> = loaded_programs()
            .filter_map(Result::ok)
            .filter(|program| is_guard(program) && !ours.contains_key(&program.id()))
            .collect();
        if others.is_empty() {
            return Ok(());
        }
        if start.elapsed() >= PATIENCE {
            return Err(KernelError::AnotherGuard {
                pin_dir: pin_dir.to_owned(),
                programs: others.iter().map(ProgramInfo::id).collect::<BTreeSet<u32>>(),
                agent: others.iter().find_map(agent_of),
                covered: fs::read_to_string("/proc/self/mountinfo")
                    .ok()
                    .and_then(|mounts| covered_bpffs(&mounts, pin_dir)),
            });
        }
        thread::sleep(LOOK_AGAIN);
    }
}

fn is_guard(program: &ProgramInfo) -> bool {
    program.program_type() == bpf_prog_type::BPF_PROG_TYPE_LSM
        && program.name_as_str().is_some_and(load::is_lsm_program)
}

/// The agent that has lately shown itself to these programs.
fn agent_of(program: &ProgramInfo) -> Option<u32> {
    let maps = program.map_ids().ok()??.into_iter();
    let mut maps = maps.filter_map(|id| MapInfo::from_id(id).ok());
    let id = maps.find(|map| map.name_as_str() == Some("HEARTBEAT"))?.id();
    let map = Map::from_map_data(MapData::from_id(id).ok()?).ok()?;
    let beat: abi::Heartbeat = Array::try_from(map).ok()?.get(&0, 0).ok()?;
    let age = super::boot_time_ns().saturating_sub(beat.time_ns);
    (age < abi::HEARTBEAT_HOLDS_NS).then_some(beat.agent)
}

/// Where, on the way to `pin_dir`, one bpffs is mounted over another, from the text of `mountinfo`.
fn covered_bpffs(mountinfo: &str, pin_dir: &Path) -> Option<PathBuf> {
    let mut seen = BTreeSet::new();
    mountinfo.lines().find_map(|line| {
        let (mount, of) = line.split_once(" - ")?;
        let at = Path::new(mount.split(' ').nth(4)?);
        let is_bpffs = of.split(' ').next() == Some("bpf");
        (is_bpffs && pin_dir.starts_with(at) && !seen.insert(at)).then(|| at.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_have_one_agent() {
        let dir = tempfile::tempdir().unwrap();
        let pin_dir = dir.path().join("pins");
        let first = Claim::take(&pin_dir).unwrap();
        let Err(KernelError::Managed { agent }) = Claim::take(&pin_dir) else {
            panic!("two agents have one guard")
        };
        assert_eq!(agent, Some(std::process::id()));
        // The lock of a directory that is gone is nobody's.
        fs::remove_dir(&pin_dir).unwrap();
        let second = Claim::take(&pin_dir).unwrap();
        drop(first);
        assert!(matches!(Claim::take(&pin_dir), Err(KernelError::Managed { .. })));
        drop(second);
        assert!(Claim::take(&pin_dir).is_ok(), "an agent that ended is in nobody's way");
    }

    #[test]
    fn lock_names_its_holder() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 00:1c:99 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 812 00:1c:99 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 9 00:1c:100 0 EOF\n";
        assert_eq!(lock_holder(locks, rustix::fs::makedev(0, 0x1c), 99), Some(812));
        assert_eq!(lock_holder(locks, rustix::fs::makedev(0, 0x1d), 99), None);
    }

    #[test]
    fn covered_bpffs_is_named() {
        let pin_dir = Path::new("/sys/fs/bpf/holdfast");
        let one = "31 22 0:28 / /sys/fs/bpf rw shared:9 - bpf bpf rw,mode=700\n";
        let other =
            "40 22 0:50 / /mnt/bpf rw - bpf bpf rw\n41 22 0:51 / /mnt/bpf rw - bpf bpf rw\n";
        assert_eq!(covered_bpffs(one, pin_dir), None);
        assert_eq!(covered_bpffs(&format!("{one}{other}"), pin_dir), None);
        let two = covered_bpffs(&format!("{one}{other}{one}"), pin_dir);
        assert_eq!(two.as_deref(), Some(Path::new("/sys/fs/bpf")));
    }
}
