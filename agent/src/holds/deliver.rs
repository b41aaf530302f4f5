//! Sends a signal to a process that the kernel paused, and to no other.

use std::collections::HashSet;
use std::io;

use holdfast_abi::TaskKey;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::process::{is_stopped, look_at, task_state};
use super::stat::TaskState;

/// What became of signals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delivered {
    /// Processes that were sent all of them.
    pub(crate) to: Vec<u32>,
    /// Processes that were not, and why. Those that are gone are in neither list.
    pub(crate) failed: Vec<(u32, String)>,
}

/// Sends `signals`, one after the other, to the process of each of these threads: once to each
/// process.
pub(crate) fn deliver(threads: impl IntoIterator<Item = TaskKey>, signals: &[Signal]) -> Delivered {
    let mut delivered = Delivered::default();
    let mut done = HashSet::new();
    for thread in threads {
        if done.contains(&thread.pid) {
            continue;
        }
        match send(&thread, signals) {
            Ok(true) => delivered.to.push(thread.pid),
            // Another of its threads may be there.
            Ok(false) => continue,
            Err(error) => delivered.failed.push((thread.pid, error.to_string())),
        }
        done.insert(thread.pid);
    }
    delivered
}

/// Those of these processes that a signal has stopped.
pub(crate) fn stopped(leaders: impl IntoIterator<Item = TaskKey>) -> Vec<TaskKey> {
    let mut seen = HashSet::new();
    leaders.into_iter().filter(|leader| seen.insert(*leader) && is_stopped(leader)).collect()
}

/// Whether the thread is there and stopped.
pub(crate) fn is_paused_now(thread: &TaskKey) -> bool {
    task_state(thread) == TaskState::Stopped
}

/// False: it is gone.
fn send(thread: &TaskKey, signals: &[Signal]) -> io::Result<bool> {
    let Some(pid) = i32::try_from(thread.pid).ok().and_then(Pid::from_raw) else {
        return Ok(false);
    };
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(rustix::io::Errno::SRCH) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    // The descriptor stands for whatever process had the number when it was made. If the thread
    // that was paused is in the process of that number now, it was that one.
    if look_at(thread)? == TaskState::Over {
        return Ok(false);
    }
    for &signal in signals {
        match pidfd_send_signal(&process, signal) {
            Ok(()) => {}
            Err(rustix::io::Errno::SRCH) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::super::Process;
    use super::*;

    #[test]
    fn only_the_target_gets_one_signal() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let leader = Process::read(child.id()).leader.unwrap();
        let other = TaskKey { start_ns: leader.start_ns + 1_000_000_000, ..leader };
        assert_eq!(
            deliver([other], &[Signal::KILL]),
            Delivered::default(),
            "another of that number"
        );
        let done = deliver([leader, leader], &[Signal::STOP]);
        assert_eq!(done, Delivered { to: vec![child.id()], failed: vec![] });
        let start = Instant::now();
        while !is_paused_now(&leader) {
            assert!(start.elapsed() < Duration::from_secs(20), "it does not stop");
        }
        let found = stopped([leader, other, leader]);
        assert_eq!(found, [leader], "each once, and no other of that number");
        assert_eq!(deliver([leader], &[Signal::TERM, Signal::CONT]).to, [child.id()]);
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
        assert_eq!(deliver([leader], &[Signal::CONT]), Delivered::default(), "it is gone");
    }
}
