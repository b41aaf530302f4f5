//! Signals while a command runs. Those of the terminal go to the command by themselves, others are passed on to it; none ends this
//! process before the command.

use std::io;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{self, SignalKind, signal};

/// How often the command is looked at, should its signal ever be missed.
const LOOK: Duration = Duration::from_secs(1);

/// The signals that are caught.
pub(super) struct Signals {
    /// This and QUIT: the terminal sends them to the command, too. They are caught and not ignored, as what is ignored stays
    /// ignored in the command.
    interrupt: Option<unix::Signal>,
    quit: Option<unix::Signal>,
    terminate: Option<unix::Signal>,
    hangup: Option<unix::Signal>,
    child: unix::Signal,
}

impl Signals {
    pub(super) fn catch() -> io::Result<Self> {
        let ignored = ignored();
        // What this process was started with as ignored (as by nohup) stays so, for the command's sake.
        let catch = |kind: SignalKind| {
            let mask = 1u64 << (kind.as_raw_value() - 1);
            (ignored & mask == 0).then(|| signal(kind)).transpose()
        };
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            quit: catch(SignalKind::quit())?,
            terminate: catch(SignalKind::terminate())?,
            hangup: catch(SignalKind::hangup())?,
            child: signal(SignalKind::child())?,
        })
    }

    /// Waits until the command has ended.
    pub(super) async fn wait(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            let pass_on = tokio::select! {
                _ = self.child.recv() => None,
                () = received(&mut self.interrupt) => None,
                () = received(&mut self.quit) => None,
                () = received(&mut self.terminate) => Some(Signal::TERM),
                () = received(&mut self.hangup) => Some(Signal::HUP),
                () = tokio::time::sleep(LOOK) => None,
            };
            if let Some(signal) = pass_on {
                // It was not waited for yet, so the number is still its own. If it has ended, there is nobody to tell.
                let _ = kill_process(Pid::from_child(child), signal);
            }
        }
    }
}

async fn received(signal: &mut Option<unix::Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// One bit for each signal that is ignored, the lowest for signal 1; none if the kernel does not say.
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

    #[tokio::test]
    async fn a_command_is_waited_for() {
        let mut signals = Signals::catch().unwrap();
        let mut child = Command::new("/bin/sh").args(["-c", "exit 7"]).spawn().unwrap();
        assert_eq!(signals.wait(&mut child).await.unwrap().code(), Some(7));
        let mut child = Command::new("/bin/sh").args(["-c", "kill -9 $$"]).spawn().unwrap();
        assert_eq!(signals.wait(&mut child).await.unwrap().signal(), Some(9));
    }
}
