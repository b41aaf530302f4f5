//! A process that does one file operation at a time and says how each ended. It may be paused in
//! the middle of one.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
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
    /// A new file of so many bytes, which anybody may change.
    Make(PathBuf, u64),
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
pub(crate) struct Worker {
    /// Unless somebody else started it.
    child: Option<Child>,
    input: Box<dyn Write + Send>,
    answers: Receiver<(String, Instant)>,
}

impl Worker {
    pub(crate) fn start(unit: &Unit, uid: u32) -> Result<Self> {
        let tool =
            Tool::new(std::env::current_exe()?).args(["helper", "worker"]).unit(unit).uid(uid);
        let mut command = tool.command()?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("no stdin")?;
        let output = child.stdout.take().context("no stdout")?;
        Ok(Self::over(Some(child), Box::new(input), output))
    }

    /// One that somebody else starts with its standard streams at these two pipes, which are made
    /// here. It ends when this is dropped.
    pub(crate) fn at_pipes(input: &Path, output: &Path) -> Result<Self> {
        let open = |path: &Path| -> Result<File> {
            Tool::new("mkfifo").arg(path).ok()?;
            // For both directions, so that nobody waits for the other side.
            Ok(File::options().read(true).write(true).open(path)?)
        };
        Ok(Self::over(None, Box::new(open(input)?), open(output)?))
    }

    fn over(
        child: Option<Child>,
        input: Box<dyn Write + Send>,
        output: impl Read + Send + 'static,
    ) -> Self {
        let output = BufReader::new(output);
        let (tell, answers) = channel();
        std::thread::spawn(move || {
            // Ends with the worker, or when nobody listens any more.
            for line in output.lines().map_while(Result::ok) {
                if tell.send((line, Instant::now())).is_err() {
                    break;
                }
            }
        });
        Self { child, input, answers }
    }

    /// Its process; 0 if somebody else started it.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
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
            Step::Make(path, size) => format!("make\t{}\t{size}", path.display()),
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
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
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
            ["make", path, size] => make(path, size.parse()?),
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

fn make(path: &str, size: usize) -> rustix::io::Result<()> {
    let mode = Mode::from_raw_mode(0o666);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
    let file = rustix::fs::open(path, flags, mode)?;
    // Whatever the umask is.
    rustix::fs::fchmod(&file, mode)?;
    rustix::io::write(&file, &vec![b'm'; size]).map(drop)
}

fn truncate(path: &str, size: u64) -> rustix::io::Result<()> {
    rustix::fs::ftruncate(open(path, OFlags::WRONLY)?, size)
}

fn truncate_path(path: &str, size: u64) -> rustix::io::Result<()> {
    sys::truncate(Path::new(path), size)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
