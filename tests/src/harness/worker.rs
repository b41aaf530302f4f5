//! A process that does one file operation at a time and says how each ended. It may be paused in the middle of one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::wait::PATIENCE;
use super::{Tool, Unit, sys};

/// One operation. Paths hold neither tabs nor line ends.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Unlink(PathBuf),
    Rmdir(PathBuf),
    Rename(PathBuf, PathBuf),
    /// To that length, through a descriptor.
    Truncate(PathBuf, u64),
    /// To that length, by name.
    TruncatePath(PathBuf, u64),
    /// open(2) with O_TRUNC.
    Empty(PathBuf),
}

/// How a step ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// The error number, 0 for success.
    pub(crate) errno: i32,
    /// When that was known here.
    pub(crate) at: Instant,
}

/// The parent's side of a worker. Dropping it kills the worker, paused or not.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    input: ChildStdin,
    answers: Receiver<(String, Instant)>,
}

impl Worker {
    pub(crate) fn start(unit: &Unit, uid: u32) -> Result<Self> {
        let tool =
            Tool::new(std::env::current_exe()?).args(["helper", "worker"]).unit(unit).uid(uid);
        let mut command = tool.command()?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("no stdin")?;
        let output = BufReader::new(child.stdout.take().context("no stdout")?);
        let (tell, answers) = channel();
        std::thread::spawn(move || {
            // Ends with the worker, or when nobody listens any more.
            for line in output.lines().map_while(Result::ok) {
                if tell.send((line, Instant::now())).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, input, answers })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Does one step; the error number, 0 for success.
    pub(crate) fn step(&mut self, step: &Step) -> Result<i32> {
        self.begin(step)?;
        Ok(self.answer()?.errno)
    }

    /// Tells it to do one step, and does not wait.
    pub(crate) fn begin(&mut self, step: &Step) -> Result<()> {
        let line = match step {
            Step::Unlink(path) => format!("unlink\t{}", path.display()),
            Step::Rmdir(path) => format!("rmdir\t{}", path.display()),
            Step::Rename(from, to) => format!("rename\t{}\t{}", from.display(), to.display()),
            Step::Truncate(path, size) => format!("truncate\t{}\t{size}", path.display()),
            Step::TruncatePath(path, size) => {
                format!("truncate-path\t{}\t{size}", path.display())
            }
            Step::Empty(path) => format!("empty\t{}", path.display()),
        };
        writeln!(self.input, "{line}")?;
        Ok(self.input.flush()?)
    }

    /// Waits for the end of the step.
    pub(crate) fn answer(&self) -> Result<Answer> {
        match self.answer_within(PATIENCE)? {
            Some(answer) => Ok(answer),
            None => bail!("the worker's step did not end within {} s", PATIENCE.as_secs()),
        }
    }

    /// The end of the step, if it comes within that time.
    pub(crate) fn answer_within(&self, time: Duration) -> Result<Option<Answer>> {
        match self.answers.recv_timeout(time) {
            Ok((line, at)) => {
                let errno =
                    line.parse().with_context(|| format!("the worker answered {line:?}"))?;
                Ok(Some(Answer { errno, at }))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("the worker has ended"),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The worker's side. No call is repeated, whatever it returns.
pub(crate) fn serve() -> Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<_> = line.split('\t').collect();
        let result = match words.as_slice() {
            ["unlink", path] => rustix::fs::unlink(*path),
            ["rmdir", path] => rustix::fs::rmdir(*path),
            ["rename", from, to] => rustix::fs::rename(*from, *to),
            ["truncate", path, size] => truncate(path, size.parse()?),
            ["truncate-path", path, size] => truncate_path(path, size.parse()?),
            ["empty", path] => open(path, OFlags::WRONLY | OFlags::TRUNC).map(drop),
            _ => bail!("cannot do {line:?}"),
        };
        let errno = result.map_or_else(Errno::raw_os_error, |()| 0);
        writeln!(out, "{errno}")?;
        out.flush()?;
    }
    Ok(())
}

fn open(path: &str, flags: OFlags) -> rustix::io::Result<rustix::fd::OwnedFd> {
    rustix::fs::open(path, flags, Mode::empty())
}

fn truncate(path: &str, size: u64) -> rustix::io::Result<()> {
    rustix::fs::ftruncate(open(path, OFlags::WRONLY)?, size)
}

fn truncate_path(path: &str, size: u64) -> rustix::io::Result<()> {
    sys::truncate(Path::new(path), size)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
