//! Writes to a paused process's own terminal, and to nothing else.

use std::os::fd::{AsFd, OwnedFd};

use holdfast_abi::TaskKey;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags};

use super::patience;
use super::process::{task_state, user};
use super::stat::device;

/// Descriptors that are looked at: 0, 1 and 2 first.
const MOST_DESCRIPTORS: usize = 64;

/// Writes `text`, in one go, to the controlling terminal `tty` of the process `leader`, if it has
/// that terminal open. Does not wait: not for the terminal, and not for whatever else the process
/// has open.
pub(crate) fn tell(leader: TaskKey, tty: u32, text: String) {
    patience::leave_to_itself(user(leader.pid), move || {
        if let Some(terminal) = find(&leader, tty) {
            // Whoever has no room for it does without.
            let _ = rustix::io::write(terminal, text.as_bytes());
        }
    });
}

fn find(leader: &TaskKey, tty: u32) -> Option<OwnedFd> {
    let wanted = device(tty);
    let opened = descriptors(leader.pid).into_iter().find_map(|fd| open(leader.pid, fd, wanted))?;
    // What was opened belonged to whoever had the number by then.
    task_state(leader).is_there().then_some(opened)
}

/// A few descriptors of a process, the usual ones first.
fn descriptors(pid: u32) -> Vec<u32> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut all = vec![0, 1, 2];
    all.extend(numbers.filter(|fd| *fd > 2).take(MOST_DESCRIPTORS - 3));
    all
}

/// Opens the terminal behind a descriptor, if that is what is behind it.
fn open(pid: u32, fd: u32, wanted: (u32, u32)) -> Option<OwnedFd> {
    let path = format!("/proc/{pid}/fd/{fd}");
    let before =
        rustix::fs::statx(CWD, &path, AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS).ok()?;
    let kind = FileType::from_raw_mode(before.stx_mode.into());
    if kind != FileType::CharacterDevice || (before.stx_rdev_major, before.stx_rdev_minor) != wanted
    {
        return None;
    }
    let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&path, flags, Mode::empty()).ok()?;
    is_device(&opened, wanted).then_some(opened)
}

fn is_device(file: impl AsFd, wanted: (u32, u32)) -> bool {
    rustix::fs::fstat(file).is_ok_and(|stat| {
        let rdev = stat.st_rdev;
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && (rustix::fs::major(rdev), rustix::fs::minor(rdev)) == wanted
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn only_the_terminal_itself_is_opened() {
        let pid = std::process::id();
        let number = |file: &File| {
            use std::os::fd::AsRawFd as _;
            file.as_raw_fd() as u32
        };
        let null = File::open("/dev/null").unwrap();
        let file = tempfile::tempfile().unwrap();
        assert!(open(pid, number(&null), (1, 3)).is_some(), "that is what it is");
        assert!(open(pid, number(&null), (136, 1)).is_none(), "another device");
        assert!(open(pid, number(&file), (0, 0)).is_none(), "a file");
        assert!(open(pid, 1_000_000, (1, 3)).is_none(), "not open");
        let first = descriptors(pid);
        assert_eq!(first[..3], [0, 1, 2]);
        assert!(first.len() <= MOST_DESCRIPTORS && first.contains(&number(&null)));
        assert_eq!(descriptors(u32::MAX), [0, 1, 2]);
    }
}
