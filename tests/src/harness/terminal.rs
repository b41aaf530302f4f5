//! A terminal with a session on it, and somebody who types and reads. Or does not read.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::{Tool, until};

/// A pseudo-terminal and the program that its session began with. Dropping it kills that program.
#[derive(Debug)]
pub(crate) struct Terminal {
    keyboard: File,
    child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// A session of which everything on the screen is read.
    pub(crate) fn start(tool: &Tool) -> Result<Self> {
        let terminal = Self::start_unread(tool, "")?;
        let (mut screen, seen) = (terminal.keyboard.try_clone()?, Arc::clone(&terminal.seen));
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // An error says that nobody has the other side open any more.
            while let Ok(length @ 1..) = screen.read(&mut piece) {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.extend_from_slice(&piece[..length]);
            }
        });
        Ok(terminal)
    }

    /// A session whose screen nobody reads, with this typed before anything else.
    pub(crate) fn start_unread(tool: &Tool, typed: &str) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(ptsname(&master, Vec::new())?, flags, Mode::empty())?;
        let mut keyboard = File::from(master);
        keyboard.write_all(typed.as_bytes())?;
        let stdio = |fd: &OwnedFd| Ok::<_, std::io::Error>(Stdio::from(fd.try_clone()?));
        let mut command = tool.command()?;
        command.stdin(stdio(&slave)?).stdout(stdio(&slave)?).stderr(stdio(&slave)?);
        let child = command.spawn().with_context(|| format!("cannot start `{tool}`"))?;
        Ok(Self { keyboard, child, seen: Arc::default() })
    }

    /// The process the session began with.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Types.
    pub(crate) fn type_in(&mut self, text: &str) -> Result<()> {
        Ok(self.keyboard.write_all(text.as_bytes())?)
    }

    /// Everything that was on the screen so far.
    pub(crate) fn screen(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// Waits until this is on the screen as often as that.
    pub(crate) fn shows(&self, text: &str, times: usize) -> Result<()> {
        let what = format!("{text:?} is on the screen {times} times");
        let shown = until(&what, Duration::from_secs(60), || {
            Ok((self.screen().matches(text).count() >= times).then_some(()))
        });
        shown.with_context(|| format!("the screen has {:?}", self.screen()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A program to begin a session with: it gets the terminal it is started on for its own.
pub(crate) fn session(program: &str) -> Tool {
    Tool::new("setsid").args(["--ctty", "--wait", program])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_control_shell_sees_its_terminal() {
        let tool = session("bash").args(["--norc", "--noprofile", "-i"]).env("TERM", "dumb");
        let mut terminal = Terminal::start(&tool).unwrap();
        terminal.type_in("sh -c 'kill -STOP $$; echo back-$((40 + 2))'\n").unwrap();
        terminal.shows("Stopped", 1).unwrap();
        terminal.type_in("fg\n").unwrap();
        terminal.shows("back-42", 1).unwrap();
    }
}
