//! Programs the scenarios need as processes of their own, kept in this binary so that they run in a chroot too.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{uring, worker};

/// What to be.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Helper {
    /// Enter a cgroup, become a user, run a command.
    Enter {
        procs: PathBuf,
        uid: u32,
        #[arg(last = true)]
        command: Vec<OsString>,
    },
    /// Carry out operations one by one, as told on standard input.
    Worker,
    /// Unlink every file below a directory, one after another, whatever happens; print how many went.
    Unlink {
        dir: PathBuf,
        /// Start when this file appears.
        #[arg(long)]
        go: Option<PathBuf>,
    },
    /// Unlink every file in a directory through io_uring; print `ok=N eperm=N other=N`.
    Uring { dir: PathBuf },
    /// Keep a directory as this process's working directory until killed.
    Linger { dir: PathBuf },
}

/// Runs it.
pub(crate) fn run(helper: Helper) -> Result<bool> {
    match helper {
        Helper::Enter { procs, uid, command } => enter(&procs, uid, &command),
        Helper::Worker => worker::serve().map(|()| true),
        Helper::Unlink { dir, go } => unlink(&dir, go.as_deref()),
        Helper::Uring { dir } => {
            let tally = uring::unlink_all(&dir)?;
            println!("ok={} eperm={} other={}", tally.ok, tally.eperm, tally.other);
            Ok(true)
        }
        Helper::Linger { dir } => {
            std::env::set_current_dir(dir)?;
            std::thread::sleep(Duration::from_secs(3600));
            Ok(true)
        }
    }
}

fn enter(procs: &Path, uid: u32, command: &[OsString]) -> Result<bool> {
    std::fs::write(procs, "0").with_context(|| procs.display().to_string())?;
    let (program, args) = command.split_first().context("no command")?;
    let mut command = Command::new(program);
    command.args(args);
    if uid != 0 {
        command.uid(uid).gid(uid);
    }
    Err(command.exec()).with_context(|| format!("cannot run {}", program.display()))
}

fn unlink(dir: &Path, go: Option<&Path>) -> Result<bool> {
    let files = files_below(dir)?;
    while let Some(go) = go
        && !go.exists()
    {
        std::thread::sleep(Duration::from_millis(1));
    }
    let gone = files.iter().filter(|path| std::fs::remove_file(path).is_ok()).count();
    println!("{gone}");
    Ok(true)
}

/// Every file below a directory.
pub(crate) fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut todo) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                todo.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    files.sort_unstable();
    Ok(files)
}
