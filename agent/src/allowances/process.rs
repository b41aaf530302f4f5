//! Which process is which: process numbers are used again, so that one is known by its number and
//! its start.

use std::fs::{self, File};
use std::io::{self, Read as _};

use serde::{Deserialize, Serialize};

use crate::holds::Stat;

/// A line of stat is shorter than this.
const MOST_STAT: u64 = 4096;
/// Nanoseconds in a clock tick of /proc (USER_HZ is 100 on every architecture the programs run on).
const TICK_NS: u64 = 10_000_000;

/// A process, to be found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProcessId {
    /// Its number.
    pub(crate) pid: u32,
    /// When it started, in clock ticks since boot.
    pub(crate) start_ticks: u64,
}

/// A process as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Which it is.
    pub(crate) id: ProcessId,
    /// Its parent.
    pub(crate) parent: u32,
    /// How many threads it has.
    pub(crate) threads: usize,
    /// Whether its first thread is over.
    is_zombie: bool,
}

impl ProcessId {
    /// Whether it started at `boot_ns` or later, as far as clock ticks can tell.
    pub(crate) fn started_since(&self, boot_ns: u64) -> bool {
        self.start_ticks >= boot_ns / TICK_NS
    }
}

/// Whether a process may become the first of a tree that was opened with `serial`: a new child,
/// with one thread only, of the very process that submitted it.
pub(crate) fn may_join(
    submitter: &ProcessId,
    serial: u64,
    process: &Seen,
    parent: Option<&Seen>,
) -> Result<(), String> {
    let ProcessId { pid, .. } = process.id;
    if process.parent != submitter.pid || parent.is_none_or(|parent| parent.id != *submitter) {
        return Err(format!(
            "process {pid} is no child of the process that submitted it ({})",
            submitter.pid
        ));
    }
    if !process.id.started_since(serial) {
        return Err(format!("process {pid} was there before the allowance was open"));
    }
    if process.threads != 1 {
        return Err(format!("process {pid} has {} threads", process.threads));
    }
    Ok(())
}

/// Looks at process `pid`; `None` if there is none.
pub(crate) fn look(pid: u32) -> io::Result<Option<Seen>> {
    match read(pid) {
        Ok(seen) => Ok(Some(seen)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether that very process has ended. Where it cannot be looked at nothing follows.
pub(crate) fn is_gone(process: &ProcessId) -> bool {
    match look(process.pid) {
        Ok(None) => true,
        // A first thread that has ended before the others leaves the process as it is.
        Ok(Some(seen)) => seen.id != *process || (seen.is_zombie && seen.threads <= 1),
        Err(_) => false,
    }
}

fn read(pid: u32) -> io::Result<Seen> {
    let mut line = Vec::new();
    File::open(format!("/proc/{pid}/stat"))?.take(MOST_STAT).read_to_end(&mut line)?;
    let stat = Stat::parse(&line).ok_or(io::ErrorKind::InvalidData)?;
    let threads = fs::read_dir(format!("/proc/{pid}/task"))?.count();
    Ok(Seen {
        id: ProcessId { pid, start_ticks: stat.start_ticks },
        parent: stat.ppid,
        threads,
        is_zombie: matches!(stat.state, b'Z' | b'X' | b'x'),
    })
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The child is one of the submitter's, younger than the allowance.
    #[test]
    fn only_new_single_threaded_child_joins() {
        let seen = |pid, start_ticks, parent| Seen {
            id: ProcessId { pid, start_ticks },
            parent,
            threads: 1,
            is_zombie: false,
        };
        let submitter = seen(700, 900, 1);
        let serial = 1000 * TICK_NS + 5;
        let join = |process: &Seen, parent: Option<&Seen>| {
            may_join(&submitter.id, serial, process, parent).err()
        };
        let child = seen(701, 1000, 700);
        assert_eq!(join(&child, Some(&submitter)), None);
        let other = "no child of the process";
        for (process, parent, why) in [
            (seen(701, 1000, 699), Some(submitter), other),
            (child, Some(seen(700, 950, 1)), other),
            (child, None, other),
            (submitter, Some(submitter), other),
            (seen(701, 999, 700), Some(submitter), "was there before"),
            (Seen { threads: 2, ..child }, Some(submitter), "2 threads"),
        ] {
            let error = join(&process, parent.as_ref()).unwrap();
            assert!(error.contains(why), "{error}");
        }
    }

    /// A process is gone when it ends, also as a zombie.
    #[test]
    fn start_time_identifies_a_process() {
        let own = look(std::process::id()).unwrap().unwrap();
        assert!(!is_gone(&own.id) && own.threads >= 1);
        assert!(is_gone(&ProcessId { start_ticks: own.id.start_ticks + 1, ..own.id }));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let seen = look(child.id()).unwrap().unwrap();
        assert_eq!((seen.parent, seen.threads), (std::process::id(), 1));
        assert!(seen.id.started_since(own.id.start_ticks * TICK_NS));
        assert!(!seen.id.started_since((seen.id.start_ticks + 1) * TICK_NS));
        assert!(!is_gone(&seen.id));
        child.kill().unwrap();
        // Not waited for yet: a zombie.
        while !is_gone(&seen.id) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        child.wait().unwrap();
        assert_eq!(look(seen.id.pid).unwrap().filter(|other| other.id == seen.id), None);
    }
}
