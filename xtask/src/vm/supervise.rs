//! Watches one run: what the guest prints, what its kernel says, and the clock. A run can boot more
//! than once.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::accel::Accel;
use super::initramfs::Task;
use super::log::{self, Trouble};
use super::ports::{self, Message, Stream};
use super::{Boot, Power, Scratch, qemu, room};
use crate::ui;

const POLL: Duration = Duration::from_millis(200);
/// So often it is seen whether the guest's disks have room to grow.
const ROOM: Duration = Duration::from_secs(2);
/// After its last word the guest gets this long to switch itself off.
const GRACE: Duration = Duration::from_secs(4);

/// A guest that has not come up after so long never will: on a busy machine the emulator's timers
/// can be so late while the kernel measures them that no timer of a processor ever fires.
const COMES_UP: Duration = Duration::from_secs(240);
/// So often it is switched off and on again.
const TRIES: u32 = 3;

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

/// Boots, and returns when the guest is gone. If the guest asks for it, boots again with the same
/// data disk.
pub fn run(boot: &Boot, accel: Accel, on_output: &mut dyn FnMut(Stream, &[u8])) -> Result<Outcome> {
    let scratch = Scratch::new(boot)?;
    let start = Instant::now();
    let time_up = start.checked_add(boot.limit);
    let mut watch = Watch {
        start,
        log: File::open(&scratch.log)?,
        partial: String::new(),
        trouble: Vec::new(),
        end: None,
        again: false,
        is_up: matches!(boot.task, Task::Probe),
        is_stuck: false,
        switched_on: start,
        tries: 0,
        boot_time: None,
        stop_at: time_up,
        disks: scratch.dir.clone(),
        room_seen: start,
    };
    let mut number = 1;
    while number <= boot.boots {
        watch.again = false;
        boot.power.restore();
        watch.stop_at = time_up;
        let messages = ports::listen(&scratch.ports)?;
        let mut child = start_emulator(boot, accel, &scratch, number)?;
        let trouble = watch.trouble.len();
        watch.switched_on = Instant::now();
        let gone = watch.until_gone(&mut child, &messages, &boot.power, on_output);
        if gone.is_err() {
            // It may be gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
        gone?;
        if watch.is_stuck {
            ui::say("  the guest did not come up: switched off, and on again");
            watch.trouble.truncate(trouble);
            watch.is_stuck = false;
            continue;
        }
        if !watch.again || watch.end.is_some() {
            break;
        }
        (watch.is_up, watch.tries) = (false, 0);
        number += 1;
    }
    Ok(Outcome {
        end: watch.end.unwrap_or(End::Died),
        trouble: watch.trouble,
        log: scratch.log.clone(),
        boot_time: watch.boot_time,
        total_time: start.elapsed(),
    })
}

fn start_emulator(boot: &Boot, accel: Accel, scratch: &Scratch, number: u32) -> Result<Child> {
    let mut command = qemu::command(boot, accel, scratch, number);
    if !matches!(boot.task, Task::Shell { .. }) {
        command.stdin(Stdio::null());
    }
    if matches!(boot.task, Task::Probe) {
        // Where KVM does not work, QEMU shows every register.
        command.stderr(Stdio::null());
    }
    command.spawn().context("cannot start the emulator")
}

struct Watch {
    start: Instant,
    log: File,
    partial: String,
    trouble: Vec<String>,
    end: Option<End>,
    /// Whether the guest wants to be booted again.
    again: bool,
    /// Whether it has come up since it was switched on.
    is_up: bool,
    /// Whether it has not, for so long that it was switched off.
    is_stuck: bool,
    switched_on: Instant,
    /// How often it has been, one after another.
    tries: u32,
    boot_time: Option<Duration>,
    stop_at: Option<Instant>,
    /// Where its disks are, and when room was last seen there.
    disks: PathBuf,
    room_seen: Instant,
}

impl Watch {
    fn until_gone(
        &mut self,
        child: &mut Child,
        messages: &Receiver<Message>,
        power: &Power,
        on_output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<()> {
        loop {
            match messages.recv_timeout(power.left().map_or(POLL, |left| left.min(POLL))) {
                Ok(Message::Output(stream, bytes)) => on_output(stream, &bytes),
                Ok(Message::Control(line)) => self.control(&line),
                Err(RecvTimeoutError::Timeout) => {}
                // Every port is closed: the guest is gone, or never came up.
                Err(RecvTimeoutError::Disconnected) => thread::sleep(POLL),
            }
            self.read_log()?;
            if let Some(status) = child.try_wait()? {
                // The emulator has failed by itself, before anything of the guest's was run.
                let is_abort = status.signal() == Some(Signal::ABORT.as_raw());
                self.is_stuck = is_abort && self.tries_again();
                break;
            }
            if self.room_seen.elapsed() > ROOM {
                room::all_along(&self.disks).context("the guest was switched off")?;
                self.room_seen = Instant::now();
            }
            if power.left().is_some_and(|left| left.is_zero()) {
                self.again = true;
                child.kill()?;
                child.wait()?;
                break;
            }
            if self.switched_on.elapsed() > COMES_UP && self.tries_again() {
                self.is_stuck = true;
                child.kill()?;
                child.wait()?;
                break;
            }
            if self.stop_at.is_some_and(|time| Instant::now() >= time) {
                // One that is to be booted again need not have switched itself off.
                if !self.again {
                    self.end.get_or_insert(End::TimedOut);
                }
                child.kill()?;
                child.wait()?;
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

    /// Whether a guest that does not come up is switched on again.
    fn tries_again(&mut self) -> bool {
        let again = !self.is_up && self.end.is_none() && self.tries + 1 < TRIES;
        self.tries += u32::from(again);
        again
    }

    fn control(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("ready", _)) => {
                self.is_up = true;
                self.boot_time.get_or_insert(self.start.elapsed());
            }
            Some(("exit", status)) => {
                self.end.get_or_insert(status.trim().parse().map_or(End::Died, End::Exit));
                self.stop_at = Some(Instant::now() + GRACE);
            }
            None if line.trim() == "again" => {
                self.again = true;
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
