//! Debuggers, as small as they can be.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, WaitOptions, WaitStatus, waitpid};

use super::sys::{Trace, ptrace};

/// What is added to SIGTRAP for a stop at a system call (ptrace(2), PTRACE_O_TRACESYSGOOD).
const AT_SYSCALL: i32 = 0x80;

/// Traces a process for some time and keeps every signal from it, SIGSTOP above all; how many there
/// were. The end of this process ends the tracing.
pub(crate) fn suppress(pid: i32, time: Duration) -> Result<u64> {
    ptrace(Trace::Attach, pid).context("cannot attach")?;
    let started = Instant::now();
    let mut suppressed = 0;
    while started.elapsed() < time {
        if wait(pid)?.stopping_signal().is_none() {
            bail!("the traced process ended");
        }
        suppressed += 1;
        ptrace(Trace::Continue(0), pid).context("cannot let it go on")?;
    }
    Ok(suppressed)
}

/// Traces a process to its end as `strace` does: every system call, every signal passed on, group
/// stops kept. How many stops at system calls there were, and how many group stops.
pub(crate) fn follow(pid: i32) -> Result<(u64, u64)> {
    ptrace(Trace::Seize, pid).context("cannot attach")?;
    let (mut syscalls, mut group_stops) = (0, 0);
    loop {
        let status = wait(pid)?;
        let Some(signal) = status.stopping_signal() else {
            return Ok((syscalls, group_stops));
        };
        let event = status.as_raw() >> 16;
        let stops = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
        let next = if event == libc::PTRACE_EVENT_STOP && stops.contains(&signal) {
            group_stops += 1;
            Trace::Listen
        } else if event != 0 {
            Trace::Syscall(0)
        } else if signal == libc::SIGTRAP | AT_SYSCALL {
            syscalls += 1;
            Trace::Syscall(0)
        } else {
            Trace::Syscall(signal)
        };
        ptrace(next, pid).context("cannot let it go on")?;
    }
}

fn wait(pid: i32) -> Result<WaitStatus> {
    let pid = Pid::from_raw(pid).context("no process has number 0")?;
    let (_, status) = waitpid(Some(pid), WaitOptions::empty())?.context("nothing to wait for")?;
    Ok(status)
}
