//! Watches one run: what the guest prints, what its kernel says, and the clock.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::accel::Accel;
use super::initramfs::Task;
use super::log::{self, Trouble};
use super::ports::{self, Message, Stream};
use super::{Boot, Scratch, qemu};

const POLL: Duration = Duration::from_millis(200);
/// After its last word the guest gets this long to switch itself off.
const GRACE: Duration = Duration::from_secs(4);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The command ended with this status.
    Exit(i32),
    /// The time was up.
    TimedOut,
    /// The guest went away without a status.
    Died,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Lines of the kernel's log that must not be there.
    pub trouble: Vec<String>,
    /// The kernel's log.
    pub log: PathBuf,
    /// From power on to the command.
    pub boot_time: Option<Duration>,
    /// From power on to power off.
    pub total_time: Duration,
}

/// Boots, and returns when the guest is gone.
pub fn run(boot: &Boot, accel: Accel, on_output: &mut dyn FnMut(Stream, &[u8])) -> Result<Outcome> {
    let scratch = Scratch::new(boot)?;
    let messages = ports::listen(&scratch.ports)?;
    let mut command = qemu::command(boot, accel, &scratch);
    if !matches!(boot.task, Task::Shell { .. }) {
        command.stdin(Stdio::null());
    }
    if matches!(boot.task, Task::Probe) {
        // Where KVM does not work, QEMU shows every register.
        command.stderr(Stdio::null());
    }
    let start = Instant::now();
    let child = command.spawn().context("cannot start the emulator")?;
    let log = File::open(&scratch.log)?;
    let mut watch = Watch {
        start,
        child,
        log,
        partial: String::new(),
        trouble: Vec::new(),
        end: None,
        boot_time: None,
        stop_at: start.checked_add(boot.limit),
    };
    watch.until_gone(&messages, on_output)?;
    Ok(Outcome {
        end: watch.end.unwrap_or(End::Died),
        trouble: watch.trouble,
        log: scratch.log.clone(),
        boot_time: watch.boot_time,
        total_time: start.elapsed(),
    })
}

struct Watch {
    start: Instant,
    child: Child,
    log: File,
    partial: String,
    trouble: Vec<String>,
    end: Option<End>,
    boot_time: Option<Duration>,
    stop_at: Option<Instant>,
}

impl Watch {
    fn until_gone(
        &mut self,
        messages: &Receiver<Message>,
        on_output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<()> {
        loop {
            match messages.recv_timeout(POLL) {
                Ok(Message::Output(stream, bytes)) => on_output(stream, &bytes),
                Ok(Message::Control(line)) => self.control(&line),
                Err(RecvTimeoutError::Timeout) => {}
                // Every port is closed: the guest is gone, or never came up.
                Err(RecvTimeoutError::Disconnected) => thread::sleep(POLL),
            }
            self.read_log()?;
            if self.child.try_wait()?.is_some() {
                break;
            }
            if self.stop_at.is_some_and(|time| Instant::now() >= time) {
                self.end.get_or_insert(End::TimedOut);
                self.child.kill()?;
                self.child.wait()?;
                break;
            }
        }
        // What is still in the sockets is read until they are closed, which they are now.
        while let Ok(message) = messages.recv_timeout(Duration::from_secs(2)) {
            match message {
                Message::Output(stream, bytes) => on_output(stream, &bytes),
                Message::Control(line) => self.control(&line),
            }
        }
        self.read_log()
    }

    fn control(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("ready", _)) => self.boot_time = Some(self.start.elapsed()),
            Some(("exit", status)) => {
                self.end.get_or_insert(status.trim().parse().map_or(End::Died, End::Exit));
                self.stop_at = Some(Instant::now() + GRACE);
            }
            _ => {}
        }
    }

    fn read_log(&mut self) -> Result<()> {
        let mut bytes = Vec::new();
        self.log.read_to_end(&mut bytes).context("cannot read the kernel's log")?;
        self.partial += &String::from_utf8_lossy(&bytes);
        while let Some(at) = self.partial.find('\n') {
            let line: String = self.partial.drain(..=at).collect();
            let Some(trouble) = log::classify(&line) else {
                continue;
            };
            self.trouble.push(line.trim().to_owned());
            if trouble == Trouble::Fatal && self.end.is_none() {
                self.end = Some(End::Died);
                // Some more lines usually tell why.
                self.stop_at = Some(Instant::now() + GRACE);
            }
        }
        Ok(())
    }
}
