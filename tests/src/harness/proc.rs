//! Processes as /proc shows them, and signals to them. Numbers are those of the host.

use std::fs;
use std::io::{self, ErrorKind};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::until;

/// The state letter of a process; `None` once it has ended, reaped or not.
pub(crate) fn state(pid: u32) -> Result<Option<char>> {
    state_in(&format!("/proc/{pid}/stat"))
}

/// Whether every thread of it is stopped, by a signal (`T`) or under a debugger (`t`). An error if
/// it has ended.
pub(crate) fn is_stopped(pid: u32) -> Result<bool> {
    let threads = threads(pid)?;
    if threads.is_empty() || state(pid)?.is_none() {
        bail!("process {pid} has ended instead of being stopped");
    }
    for tid in threads {
        // A thread that has just ended is no thread that goes on.
        match state_in(&format!("/proc/{pid}/task/{tid}/stat"))? {
            Some('T' | 't') | None => {}
            Some(_) => return Ok(false),
        }
    }
    Ok(true)
}

/// Waits until every thread of it is stopped.
pub(crate) fn stops(pid: u32) -> Result<()> {
    until(&format!("process {pid} is stopped"), Duration::from_secs(60), || {
        Ok(is_stopped(pid)?.then_some(()))
    })
}

/// Waits until it has ended.
pub(crate) fn ends(pid: u32) -> Result<()> {
    until(&format!("process {pid} ends"), Duration::from_secs(60), || {
        Ok(state(pid)?.is_none().then_some(()))
    })
}

/// Its threads; none once it has ended.
pub(crate) fn threads(pid: u32) -> Result<Vec<u32>> {
    let Some(entries) = unless_gone(fs::read_dir(format!("/proc/{pid}/task")))? else {
        return Ok(Vec::new());
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    Ok(names.filter_map(|name| name.to_str()?.parse().ok()).collect())
}

/// Its name; empty once it has ended.
pub(crate) fn name(pid: u32) -> Result<String> {
    let name = unless_gone(fs::read_to_string(format!("/proc/{pid}/comm")))?;
    Ok(name.unwrap_or_default().trim_end().to_owned())
}

/// Its resident memory, in words.
pub(crate) fn resident(pid: u32) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.context("no VmRSS")?.trim().to_owned())
}

/// How long its threads have had a CPU, those that have ended not included.
pub(crate) fn busy(pid: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for tid in threads(pid)? {
        let line = unless_gone(fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")))?;
        let first = line.as_deref().and_then(|line| line.split(' ').next());
        nanoseconds += first.map_or(Ok(0), str::parse::<u64>)?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Sends a signal; a process that has ended is no error.
pub(crate) fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(pid.cast_signed()).context("no process has number 0")?;
    match kill_process(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot signal process {pid:?}")),
    }
}

fn state_in(stat: &str) -> Result<Option<char>> {
    let Some(text) = unless_gone(fs::read_to_string(stat))? else {
        return Ok(None);
    };
    // The name before it is in brackets, and may hold brackets.
    let after = text.rsplit_once(") ").with_context(|| format!("{stat}: {text:?}"))?.1;
    Ok(after.chars().next().filter(|state| !matches!(state, 'Z' | 'X')))
}

fn unless_gone<T>(outcome: io::Result<T>) -> Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_itself_and_no_missing_process() {
        let own = std::process::id();
        assert!(matches!(state(own).unwrap(), Some('R' | 'S')));
        assert!(threads(own).unwrap().contains(&own));
        assert_eq!(state(u32::MAX).unwrap(), None);
        assert!(!is_stopped(own).unwrap());
    }
}
