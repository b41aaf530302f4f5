//! Programs the scenarios need as processes of their own, kept in this binary so that they run in a
//! chroot too.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use super::race::Racer;
use super::{sys, tracer, uring, worker};

/// What to be.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Helper {
    /// Enter a cgroup, become a user, run a command.
    Enter {
        procs: PathBuf,
        uid: u32,
        /// Be in a login session of this user.
        #[arg(long)]
        login_uid: Option<u32>,
        #[arg(last = true)]
        command: Vec<OsString>,
    },
    /// Carry out operations one by one, as told on standard input.
    Worker,
    /// Unlink every file below a directory, one after another, whatever happens; print how many
    /// went, and on standard error how many did not, by error number.
    Unlink {
        dir: PathBuf,
        /// Start when this file appears.
        #[arg(long)]
        go: Option<PathBuf>,
        /// Share the files among so many threads.
        #[arg(long, default_value_t = 1)]
        threads: usize,
        /// Past the C library: what the kernel returns is what is taken note of.
        #[arg(long)]
        raw: bool,
    },
    /// Make files in these directories and delete them, wherever they are moved.
    RaceDelete {
        #[command(flatten)]
        racer: Racer,
        dirs: Vec<PathBuf>,
    },
    /// Move directories among these places.
    RaceMove {
        #[command(flatten)]
        racer: Racer,
        /// Their numbers.
        #[arg(long, value_delimiter = ',')]
        dirs: Vec<u64>,
        places: Vec<PathBuf>,
    },
    /// Unlink every file in a directory through io_uring; print `ok=N eperm=N other=N`.
    Uring { dir: PathBuf },
    /// Keep a directory as this process's working directory until killed.
    Linger { dir: PathBuf },
    /// Trace a process for some seconds and keep every signal from it; print how many.
    Suppress { pid: i32, seconds: u64 },
    /// Trace a process to its end, as `strace` does; print how often it stopped at system calls,
    /// and with its group.
    Follow { pid: i32 },
    /// Have a child empty a file between vfork and exec; fails with the error the child got.
    SpawnEmptying { file: PathBuf },
}

/// Runs it.
pub(crate) fn run(helper: Helper) -> Result<bool> {
    match helper {
        Helper::Enter { procs, uid, login_uid, command } => enter(&procs, uid, login_uid, &command),
        Helper::Worker => worker::serve().map(|()| true),
        Helper::Unlink { dir, go, threads, raw } => unlink(&dir, go.as_deref(), threads, raw),
        Helper::RaceDelete { racer, dirs } => racer.delete(&dirs).map(|()| true),
        Helper::RaceMove { racer, dirs, places } => {
            racer.move_around(&dirs, &places).map(|()| true)
        }
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
        Helper::Suppress { pid, seconds } => {
            println!("{}", tracer::suppress(pid, Duration::from_secs(seconds))?);
            Ok(true)
        }
        Helper::Follow { pid } => {
            let (syscalls, group_stops) = tracer::follow(pid)?;
            println!("{syscalls} {group_stops}");
            Ok(true)
        }
        Helper::SpawnEmptying { file } => {
            sys::spawn_emptying(&file).context("cannot start a child")?;
            Ok(true)
        }
    }
}

fn enter(procs: &Path, uid: u32, login_uid: Option<u32>, command: &[OsString]) -> Result<bool> {
    std::fs::write(procs, "0").with_context(|| procs.display().to_string())?;
    if let Some(login_uid) = login_uid {
        std::fs::write("/proc/self/loginuid", login_uid.to_string()).context("loginuid")?;
    }
    let (program, args) = command.split_first().context("no command")?;
    let mut command = Command::new(program);
    command.args(args);
    if uid != 0 {
        command.uid(uid).gid(uid);
    }
    Err(command.exec()).with_context(|| format!("cannot run {}", program.display()))
}

fn unlink(dir: &Path, go: Option<&Path>, threads: usize, raw: bool) -> Result<bool> {
    let files = files_below(dir)?;
    while let Some(go) = go
        && !go.exists()
    {
        std::thread::sleep(Duration::from_millis(1));
    }
    let errors = match threads {
        // Whoever traces this process traces its first thread.
        1 => remove_each(&files, raw),
        _ => remove_together(&files, raw, threads)?,
    };
    let failed: u64 = errors.values().sum();
    for (errno, count) in errors {
        eprintln!("error {errno}: {count} times");
    }
    println!("{}", files.len() as u64 - failed);
    Ok(true)
}

/// Removes each, in so many threads; how many failed, by error number.
fn remove_together(files: &[PathBuf], raw: bool, threads: usize) -> Result<BTreeMap<i32, u64>> {
    let mut errors = BTreeMap::<i32, u64>::new();
    let share = files.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let remove = |files| move || remove_each(files, raw);
        let workers: Vec<_> = files.chunks(share).map(|files| scope.spawn(remove(files))).collect();
        for worker in workers {
            for (errno, count) in worker.join().map_err(|_| anyhow!("a thread panicked"))? {
                *errors.entry(errno).or_default() += count;
            }
        }
        Ok(errors)
    })
}

/// Removes each; how many failed, by error number.
fn remove_each(files: &[PathBuf], raw: bool) -> BTreeMap<i32, u64> {
    let mut errors = BTreeMap::new();
    for file in files {
        let outcome = if raw {
            // One instruction into the kernel; nobody looks at the result before this.
            rustix::fs::unlink(file).map_err(rustix::io::Errno::raw_os_error)
        } else {
            std::fs::remove_file(file).map_err(|error| error.raw_os_error().unwrap_or(-1))
        };
        if let Err(errno) = outcome {
            *errors.entry(errno).or_default() += 1;
        }
    }
    errors
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
