//! What /proc says about a process that was paused. All of it may be hostile or gone by the time it
//! is read: sizes are bounded, bytes are kept as they are, and whatever cannot be read is absent.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::sync::mpsc::Sender;
use std::time::Duration;

use holdfast_abi::TaskKey;

use super::patience;
use super::stat::{self, Stat, TaskState, terminal_name};
use crate::api::{ParentReport, ProcessReport};
use crate::text;

/// Ancestors that are looked at.
const MOST_PARENTS: usize = 16;
/// Bytes of a command line that are kept.
const MOST_COMMAND: usize = 4096;
/// Arguments that are kept.
const MOST_ARGUMENTS: usize = 128;
/// Bytes of a path that are kept.
const MOST_PATH: usize = 4096;
/// A line of stat, and what is needed of status, is shorter than this.
const MOST_STAT: u64 = 4096;
/// Bytes of a command line that go into the audit log, and of an ancestor's.
const AUDITED_COMMAND: usize = 1024;
const AUDITED_PARENT: usize = 128;
/// How long all command lines of one process and its ancestors may take.
const PATIENCE: Duration = Duration::from_millis(200);

/// A process as it was when it was paused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) pid: u32,
    /// The process itself, to be found again; `None` if it could not be looked at.
    pub(crate) leader: Option<TaskKey>,
    /// Its name.
    comm: Option<Vec<u8>>,
    /// Its command line.
    command: Option<Command>,
    /// Its working directory.
    cwd: Option<Vec<u8>>,
    /// Its controlling terminal as /proc tells it; 0 for none.
    pub(crate) tty: u32,
    /// Its ancestors, the nearest first.
    parents: Vec<Parent>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parent {
    /// The process itself, to be found again.
    key: TaskKey,
    comm: Vec<u8>,
    command: Option<Command>,
}

/// A command line, as far as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Command {
    arguments: Vec<Vec<u8>>,
    cut: bool,
}

/// What becomes of a thread.
pub(super) fn task_state(key: &TaskKey) -> TaskState {
    look_at(key).unwrap_or(TaskState::Unknown)
}

/// What becomes of a thread, or why that cannot be told.
pub(super) fn look_at(key: &TaskKey) -> io::Result<TaskState> {
    let dir = format!("/proc/{}/task/{}", key.pid, key.tid);
    let Some(stat) = read_stat(&format!("{dir}/stat"))? else { return Ok(TaskState::Over) };
    match stat.state_of(key) {
        TaskState::Running => {
            let status = read(&format!("{dir}/status"))?.unwrap_or_default();
            let stops = stat::is_about_to_stop(&status);
            Ok(if stops { TaskState::Stopped } else { TaskState::Running })
        }
        other => Ok(other),
    }
}

/// Whether a signal has stopped this very process, or is about to. A tracer that has is left alone.
pub(super) fn is_stopped(leader: &TaskKey) -> bool {
    let stat = || read_stat(&format!("/proc/{}/stat", leader.pid)).ok().flatten();
    task_state(leader) == TaskState::Stopped && !stat().is_some_and(|stat| stat.is_traced())
}

/// The real user of a process.
pub(super) fn user(pid: u32) -> Option<u32> {
    stat::real_user(&read(&format!("/proc/{pid}/status")).ok()??)
}

/// The ancestors of a process that may have stopped themselves because it is stopped, the nearest
/// first.
pub(crate) fn ancestors(pid: u32) -> Vec<TaskKey> {
    let stat = read_stat(&format!("/proc/{pid}/stat")).ok().flatten();
    stat.map_or_else(Vec::new, |stat| wrappers(&parents(stat.ppid)))
}

/// Nobody continues the first process.
fn wrappers(parents: &[Parent]) -> Vec<TaskKey> {
    parents.iter().map(|parent| parent.key).filter(|key| key.pid != 1).collect()
}

fn parents(nearest: u32) -> Vec<Parent> {
    let mut parents = Vec::new();
    let mut next = nearest;
    while next != 0 && parents.len() < MOST_PARENTS {
        let Ok(Some(stat)) = read_stat(&format!("/proc/{next}/stat")) else { break };
        let key = stat.key(next);
        parents.push(Parent { key, comm: stat.comm, command: None });
        next = if next == 1 { 0 } else { stat.ppid };
    }
    parents
}

/// `None`: there is no such thread, or process.
fn read_stat(path: &str) -> io::Result<Option<Stat>> {
    let Some(line) = read(path)? else { return Ok(None) };
    Stat::parse(&line).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// `None`: whom it is about is gone. No other error says that: out of descriptors, everybody would
/// be.
fn read(path: &str) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MOST_STAT).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

impl Process {
    /// The same with one more ancestor.
    #[cfg(test)]
    pub(super) fn with_parent(mut self, key: TaskKey) -> Self {
        self.parents.push(Parent { key, comm: b"su".to_vec(), command: None });
        self
    }

    /// One of which only this is known.
    #[cfg(test)]
    pub(super) fn with(pid: u32, leader: TaskKey, tty: u32) -> Self {
        Self { pid, leader: Some(leader), tty, ..Self::default() }
    }

    /// Looks at process `pid`.
    pub(crate) fn read(pid: u32) -> Self {
        let Ok(Some(stat)) = read_stat(&format!("/proc/{pid}/stat")) else {
            return Self { pid, ..Self::default() };
        };
        let cwd = fs::read_link(format!("/proc/{pid}/cwd")).ok().map(|path| {
            let mut bytes = path.into_os_string().into_vec();
            bytes.truncate(MOST_PATH);
            bytes
        });
        let mut process = Self {
            pid,
            leader: Some(stat.key(pid)),
            comm: Some(stat.comm),
            command: None,
            cwd,
            tty: stat.tty,
            parents: parents(stat.ppid),
        };
        process.read_commands();
        process
    }

    /// Command lines are memory of the process itself: reading one may take for ever.
    fn read_commands(&mut self) {
        let mut by_user: BTreeMap<Option<u32>, Vec<u32>> = BTreeMap::new();
        for pid in std::iter::once(self.pid).chain(self.parents.iter().map(|p| p.key.pid)) {
            by_user.entry(user(pid)).or_default().push(pid);
        }
        let asks = by_user.into_iter().map(|(user, pids)| {
            let ask = move |sender: Sender<(u32, Command)>| {
                for pid in pids {
                    if let Some(command) = read_command(pid)
                        && sender.send((pid, command)).is_err()
                    {
                        return;
                    }
                }
            };
            (user, ask)
        });
        for (pid, command) in patience::answers(PATIENCE, asks) {
            if pid == self.pid {
                self.command = Some(command);
            } else if let Some(parent) = self.parents.iter_mut().find(|p| p.key.pid == pid) {
                parent.command = Some(command);
            }
        }
    }

    /// Its ancestors that may have stopped themselves because it is stopped, as `su` does; the
    /// nearest first.
    pub(crate) fn wrappers(&self) -> Vec<TaskKey> {
        wrappers(&self.parents)
    }

    /// As a document for the audit log, which has to last: long command lines are cut.
    pub(crate) fn audited(&self) -> ProcessReport {
        let mut short = self.clone();
        if let Some(command) = &mut short.command {
            command.cut_to(AUDITED_COMMAND);
        }
        for parent in &mut short.parents {
            if let Some(command) = &mut parent.command {
                command.cut_to(AUDITED_PARENT);
            }
        }
        short.report()
    }

    /// The same without anything that can be long.
    pub(crate) fn in_short(&self) -> ProcessReport {
        let comm = self.comm.clone();
        Self { pid: self.pid, comm, tty: self.tty, ..Self::default() }.report()
    }

    /// As a document.
    pub(crate) fn report(&self) -> ProcessReport {
        let parents = self.parents.iter().map(|parent| ParentReport {
            pid: parent.key.pid,
            comm: text::lossless(&parent.comm).0,
            command: parent.command.as_ref().map(Command::texts),
        });
        ProcessReport {
            pid: self.pid,
            comm: self.comm.as_deref().map(|comm| text::lossless(comm).0),
            command: self.command.as_ref().map(Command::texts),
            command_cut: self.command.as_ref().is_some_and(|command| command.cut),
            cwd: self.cwd.as_deref().map(|cwd| text::lossless(cwd).0),
            terminal: (self.tty != 0).then(|| terminal_name(self.tty)),
            parents: parents.collect(),
        }
    }
}

impl Command {
    fn parse(mut bytes: Vec<u8>) -> Option<Self> {
        let mut cut = bytes.len() > MOST_COMMAND;
        bytes.truncate(MOST_COMMAND);
        if !cut && bytes.last() == Some(&0) {
            bytes.pop();
        }
        // Kernel threads and zombies have none.
        if bytes.is_empty() {
            return None;
        }
        let mut arguments: Vec<Vec<u8>> =
            bytes.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect();
        if arguments.len() > MOST_ARGUMENTS {
            arguments.truncate(MOST_ARGUMENTS);
            cut = true;
        }
        Some(Self { arguments, cut })
    }

    /// Keeps its beginning: as many arguments and bytes as fit.
    fn cut_to(&mut self, most: usize) {
        let mut room = most;
        let mut kept = 0;
        for argument in &mut self.arguments {
            if room == 0 {
                break;
            }
            self.cut |= argument.len() > room;
            argument.truncate(room);
            // Each has its end.
            room = room.saturating_sub(argument.len() + 1);
            kept += 1;
        }
        self.cut |= kept < self.arguments.len();
        self.arguments.truncate(kept);
    }

    fn texts(&self) -> Vec<String> {
        self.arguments.iter().map(|argument| text::lossless(argument).0).collect()
    }
}

fn read_command(pid: u32) -> Option<Command> {
    let mut bytes = Vec::new();
    let file = File::open(format!("/proc/{pid}/cmdline")).ok()?;
    file.take(MOST_COMMAND as u64 + 1).read_to_end(&mut bytes).ok()?;
    Command::parse(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_has_its_ancestors() {
        let pid = std::process::id();
        let process = Process::read(pid);
        let leader = process.leader.unwrap();
        assert_eq!(task_state(&leader), TaskState::Running);
        assert_eq!(
            task_state(&TaskKey { start_ns: leader.start_ns + 50_000_000, ..leader }),
            TaskState::Over
        );
        let report = process.report();
        assert!(report.command.unwrap()[0].contains("holdfast"), "{process:?}");
        assert!(!report.command_cut && report.cwd.is_some());
        let last = report.parents.last().unwrap().pid;
        assert!(last == 1 || report.parents.len() == MOST_PARENTS, "{:?}", report.parents);
    }

    #[test]
    fn gone_process_is_only_a_number() {
        let report = Process::read(u32::MAX).report();
        assert_eq!(report.pid, u32::MAX);
        assert!(report.comm.is_none() && report.command.is_none() && report.parents.is_empty());
        assert_eq!(task_state(&TaskKey { start_ns: 1, pid: u32::MAX, tid: 1 }), TaskState::Over);
    }

    /// They may have any length; the beginning is kept.
    #[test]
    fn command_lines_take_any_bytes() {
        let parse = |bytes: &[u8]| Command::parse(bytes.to_vec());
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"\0"), None);
        let plain = parse(b"rm\0-rf\0/srv/a b\0\0").unwrap();
        assert_eq!(plain.texts(), ["rm", "-rf", "/srv/a b", ""]);
        assert_eq!(parse(b"postgres: writer").unwrap().texts(), ["postgres: writer"]);
        assert_eq!(parse(b"a\xff\0").unwrap().texts(), ["a\\xff"]);
        let long = parse(&vec![b'x'; MOST_COMMAND + 1]).unwrap();
        assert!(long.cut && long.arguments[0].len() == MOST_COMMAND);
        let many = parse(&b"a\0".repeat(1000)).unwrap();
        assert!(many.cut && many.arguments.len() == MOST_ARGUMENTS);
    }

    #[test]
    fn audit_log_shortens_command_lines() {
        let cut = |bytes: &[u8], most| {
            let mut command = Command::parse(bytes.to_vec()).unwrap();
            command.cut_to(most);
            (command.texts(), command.cut)
        };
        let texts =
            |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(cut(b"rm\0-rf\0/srv\0", 100), (texts(&["rm", "-rf", "/srv"]), false));
        assert_eq!(cut(b"rm\0-rf\0/srv\0", 8), (texts(&["rm", "-rf", "/"]), true));
        assert_eq!(cut(b"rm\0-rf\0/srv\0", 3), (texts(&["rm"]), true));
        let mut process = Process::read(std::process::id());
        process.command = Command::parse(vec![b'x'; 4000]);
        process.parents[0].command = Command::parse(vec![b'y'; 4000]);
        let audited = process.audited();
        assert_eq!(audited.command.unwrap()[0].len(), AUDITED_COMMAND);
        assert_eq!(audited.parents[0].command.as_ref().unwrap()[0].len(), AUDITED_PARENT);
        let short = process.in_short();
        assert!(short.command.is_none() && short.parents.is_empty() && short.comm.is_some());
    }

    #[test]
    fn only_absent_file_means_gone_process() {
        let error = |errno: rustix::io::Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        assert!(
            is_gone(&error(rustix::io::Errno::NOENT)) && is_gone(&error(rustix::io::Errno::SRCH))
        );
        for other in [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE, rustix::io::Errno::NOMEM]
        {
            assert!(!is_gone(&error(other)), "{other:?}");
        }
        assert!(read("/proc/self/mem").is_err(), "it is there and cannot be read");
    }
}
