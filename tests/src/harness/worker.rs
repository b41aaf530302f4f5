//! A process that does one file operation at a time and says how each ended: the actors of the differential test.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context as _, Result};

use super::{Tool, Unit};

/// One operation. Paths hold neither tabs nor line ends.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Unlink(PathBuf),
    Rmdir(PathBuf),
    Rename(PathBuf, PathBuf),
    /// To that length.
    Truncate(PathBuf, u64),
}

/// The parent's side of a worker.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    pub(crate) fn start(unit: &Unit, uid: u32) -> Result<Self> {
        let tool =
            Tool::new(std::env::current_exe()?).args(["helper", "worker"]).unit(unit).uid(uid);
        let mut command = tool.command()?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("no stdin")?;
        let output = BufReader::new(child.stdout.take().context("no stdout")?);
        Ok(Self { child, input, output })
    }

    /// Does one step; the error number, 0 for success.
    pub(crate) fn step(&mut self, step: &Step) -> Result<i32> {
        let line = match step {
            Step::Unlink(path) => format!("unlink\t{}", path.display()),
            Step::Rmdir(path) => format!("rmdir\t{}", path.display()),
            Step::Rename(from, to) => format!("rename\t{}\t{}", from.display(), to.display()),
            Step::Truncate(path, size) => format!("truncate\t{}\t{size}", path.display()),
        };
        writeln!(self.input, "{line}")?;
        self.input.flush()?;
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        answer.trim().parse().with_context(|| format!("the worker answered {answer:?}"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The worker's side.
pub(crate) fn serve() -> Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<_> = line.split('\t').collect();
        let result = match words.as_slice() {
            ["unlink", path] => std::fs::remove_file(path),
            ["rmdir", path] => std::fs::remove_dir(path),
            ["rename", from, to] => std::fs::rename(from, to),
            ["truncate", path, size] => truncate(Path::new(path), size.parse()?),
            _ => anyhow::bail!("cannot do {line:?}"),
        };
        let errno = match result {
            Ok(()) => 0,
            Err(error) => error.raw_os_error().unwrap_or(-1),
        };
        writeln!(out, "{errno}")?;
        out.flush()?;
    }
    Ok(())
}

fn truncate(path: &Path, size: u64) -> std::io::Result<()> {
    File::options().write(true).open(path)?.set_len(size)
}
