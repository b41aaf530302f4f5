//! Signals while a command runs. Those of the terminal go to the command by themselves, others are
//! passed on to it; none ends this process before the command.

use std::io;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::sync::mpsc;

/// How often the command is looked at, should its signal ever be missed.
const LOOK: Duration = Duration::from_secs(1);
/// The same signal arriving again before it was passed on is one, as with the kernel.
const WAITING: usize = 16;

/// Says which signal is to be caught.
type Kind = fn() -> SignalKind;

/// What is passed on: everything that people and service managers send to a process and that would
/// end this one.
const PASSED_ON: &[(Kind, Signal)] = &[
    (SignalKind::interrupt, Signal::INT),
    (SignalKind::quit, Signal::QUIT),
    (SignalKind::terminate, Signal::TERM),
    (SignalKind::hangup, Signal::HUP),
    (SignalKind::user_defined1, Signal::USR1),
    (SignalKind::user_defined2, Signal::USR2),
    (SignalKind::alarm, Signal::ALARM),
];

/// The signals that are caught: caught and not ignored, as what is ignored stays ignored in the
/// command.
pub(super) struct Signals {
    caught: mpsc::Receiver<Signal>,
    child: unix::Signal,
}

impl Signals {
    pub(super) fn catch() -> io::Result<Self> {
        let ignored = ignored();
        let (sender, caught) = mpsc::channel(WAITING);
        for &(kind, passed_on) in PASSED_ON {
            let kind = kind();
            // What this process was started with as ignored (as by nohup) stays so, for the
            // command's sake.
            if ignored & 1u64 << (kind.as_raw_value() - 1) != 0 {
                continue;
            }
            let (mut stream, sender) = (signal(kind)?, sender.clone());
            tokio::spawn(async move {
                while stream.recv().await.is_some() && sender.send(passed_on).await.is_ok() {}
            });
        }
        Ok(Self { caught, child: signal(SignalKind::child())? })
    }

    /// Waits until the command has ended.
    pub(super) async fn wait(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            let caught = tokio::select! {
                _ = self.child.recv() => None,
                Some(signal) = self.caught.recv() => Some(signal),
                () = tokio::time::sleep(LOOK) => None,
            };
            if let Some(signal) = caught.filter(|signal| !is_the_terminals(*signal)) {
                // It was not waited for yet, so the number is still its own. If it has ended, there
                // is nobody to tell.
                let _ = kill_process(Pid::from_child(child), signal);
            }
        }
    }
}

/// Whether the terminal may have sent it, and so has sent it to the command, too: to be passed on
/// it would arrive twice. (Who sent it is not to be had without unsafe code. In the foreground of a
/// terminal it is taken to be the terminal; a shell in the background, a service manager or a job
/// without a terminal are not.)
fn is_the_terminals(signal: Signal) -> bool {
    matches!(signal, Signal::INT | Signal::QUIT)
        && std::fs::read_to_string("/proc/self/stat").is_ok_and(|stat| is_in_foreground(&stat))
}

/// Whether a line of stat is that of a process in the foreground of its terminal: its process group
/// is the terminal's.
fn is_in_foreground(stat: &str) -> bool {
    // Fields 5 and 8 of proc_pid_stat(5); the name may contain anything.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    matches!((fields.get(2), fields.get(5)), (Some(group), Some(foreground)) if group == foreground)
}

/// One bit for each signal that is ignored, the lowest for signal 1; none if the kernel does not
/// say.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::*;

    /// A signal is sent to the whole process, other tests included: only one at a time listens.
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    #[tokio::test]
    async fn a_command_is_waited_for() {
        let _one = ONE.lock().await;
        let mut signals = Signals::catch().unwrap();
        let mut child = Command::new("/bin/sh").args(["-c", "exit 7"]).spawn().unwrap();
        assert_eq!(signals.wait(&mut child).await.unwrap().code(), Some(7));
        let mut child = Command::new("/bin/sh").args(["-c", "kill -9 $$"]).spawn().unwrap();
        assert_eq!(signals.wait(&mut child).await.unwrap().signal(), Some(9));
    }

    /// Each of them once ended the runner, and left its command alone.
    #[tokio::test]
    async fn runner_forwards_signals_to_command() {
        let _one = ONE.lock().await;
        let mut signals = Signals::catch().unwrap();
        let runner = rustix::process::getpid();
        // Under nohup, HUP is ignored: it stays so, and there is nothing to pass on.
        let ignored = ignored();
        let is_caught = |signal: &Signal| ignored & 1u64 << (signal.as_raw() - 1) == 0;
        let all = [Signal::TERM, Signal::HUP, Signal::USR1, Signal::USR2, Signal::ALARM];
        for signal in all.into_iter().filter(is_caught) {
            let ready = tempfile::tempdir().unwrap();
            let script = "trap 'exit 42' TERM HUP USR1 USR2 ALRM; touch \"$0/is\"; \
                for n in $(seq 600); do sleep 0.05; done";
            let command = ["-c", script, ready.path().to_str().unwrap()];
            let mut child = Command::new("/bin/sh").args(command).spawn().unwrap();
            while !ready.path().join("is").exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            kill_process(runner, signal).unwrap();
            assert_eq!(signals.wait(&mut child).await.unwrap().code(), Some(42), "{signal:?}");
        }
    }

    #[test]
    fn only_foreground_group_gets_terminal_signals() {
        let stat = |group: &str, foreground: &str| {
            format!("7 (a) S 1 (b) S 1 {group} 700 34816 {foreground} 4194304 0")
        };
        assert!(is_in_foreground(&stat("701", "701")));
        assert!(!is_in_foreground(&stat("701", "702")), "in the background");
        assert!(!is_in_foreground(&stat("701", "-1")), "no terminal");
        assert!(!is_in_foreground("") && !is_in_foreground("7 (x) S 1"));
    }
}
