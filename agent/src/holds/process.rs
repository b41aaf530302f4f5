//! What /proc says about a process that was paused. All of it may be hostile or gone by the time it is read: sizes are
//! bounded, bytes are kept as they are, and whatever cannot be read is absent.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;
use std::sync::mpsc::Sender;
use std::time::Duration;

use holdfast_abi::TaskKey;

use super::patience;
use super::stat::{Stat, TaskState, terminal_name};
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
/// A line of stat is shorter than this.
const MOST_STAT: u64 = 4096;
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
    pid: u32,
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
    thread_stat(key.pid, key.tid).map_or(TaskState::Over, |stat| stat.state_of(key))
}

/// Line of a thread, if there is such a thread in such a process.
fn thread_stat(pid: u32, tid: u32) -> Option<Stat> {
    read_stat(&format!("/proc/{pid}/task/{tid}/stat"))
}

fn read_stat(path: &str) -> Option<Stat> {
    let mut line = Vec::new();
    File::open(path).ok()?.take(MOST_STAT).read_to_end(&mut line).ok()?;
    Stat::parse(&line)
}

impl Process {
    /// One of which only this is known.
    #[cfg(test)]
    pub(super) fn with(pid: u32, leader: TaskKey, tty: u32) -> Self {
        Self { pid, leader: Some(leader), tty, ..Self::default() }
    }

    /// Looks at process `pid`.
    pub(crate) fn read(pid: u32) -> Self {
        let Some(stat) = read_stat(&format!("/proc/{pid}/stat")) else {
            return Self { pid, ..Self::default() };
        };
        let mut parents = Vec::new();
        let mut next = stat.ppid;
        while next != 0 && parents.len() < MOST_PARENTS {
            let Some(parent) = read_stat(&format!("/proc/{next}/stat")) else { break };
            parents.push(Parent { pid: next, comm: parent.comm, command: None });
            next = if next == 1 { 0 } else { parent.ppid };
        }
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
            parents,
        };
        process.read_commands();
        process
    }

    /// Command lines are memory of the process itself: reading one may take for ever.
    fn read_commands(&mut self) {
        let pids: Vec<u32> =
            std::iter::once(self.pid).chain(self.parents.iter().map(|parent| parent.pid)).collect();
        let ask = move |sender: Sender<(u32, Command)>| {
            for pid in pids {
                if let Some(command) = read_command(pid)
                    && sender.send((pid, command)).is_err()
                {
                    return;
                }
            }
        };
        for (pid, command) in patience::answers(PATIENCE, ask) {
            if pid == self.pid {
                self.command = Some(command);
            } else if let Some(parent) = self.parents.iter_mut().find(|parent| parent.pid == pid) {
                parent.command = Some(command);
            }
        }
    }

    /// As a document.
    pub(crate) fn report(&self) -> ProcessReport {
        let parents = self.parents.iter().map(|parent| ParentReport {
            pid: parent.pid,
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
    fn this_process_is_found_with_its_ancestors() {
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
    fn a_process_that_is_gone_is_only_a_number() {
        let report = Process::read(u32::MAX).report();
        assert_eq!(report.pid, u32::MAX);
        assert!(report.comm.is_none() && report.command.is_none() && report.parents.is_empty());
        assert_eq!(task_state(&TaskKey { start_ns: 1, pid: u32::MAX, tid: 1 }), TaskState::Over);
    }

    #[test]
    fn command_lines_are_any_bytes_and_of_any_length() {
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
}
