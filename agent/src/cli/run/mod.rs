//! `holdfast run`: submits an allowance, runs a command under it, and says what was spent.
//!
//! It stands between nothing: the command has the terminal, the environment and the signals it
//! would have without it, and its exit status is kept. What the command may destroy is decided in
//! the kernel, whether or not this process lives.

mod executable;
mod progress;
mod signals;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};

use clap::Args;

pub(super) use executable::{Executable, NoExecutable, find};

use self::signals::Signals;
use super::allow::{Document, closing, signatures};
use super::client::ClientError;
use super::join::JoinArgs;
use super::{Client, Dirs, Exit, Failure};
use crate::api::{AllowanceReport, RunBody, SignatureBody, SubmitBody};
use crate::text;

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The allowance's document
    #[arg(long, value_name = "FILE")]
    allow: PathBuf,
    /// A signature; can be repeated [default: FILE.sig and FILE.*.sig]
    #[arg(long = "sig", value_name = "FILE")]
    signatures: Vec<PathBuf>,
    /// Show neither what is spent while the command runs, nor what was spent when it has ended
    #[arg(long, short)]
    quiet: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, num_args = 1.., value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(super) async fn run(client: &Client, dirs: &Dirs, args: &RunArgs) -> Result<ExitCode, Failure> {
    let name = args.command.first().ok_or_else(|| Failure::new(Exit::Usage, "no command"))?;
    let executable = find(name)?;
    let report = client.submit(&body(args, &executable)?).await.map_err(refused)?;
    let shown = !args.quiet && io::stderr().is_terminal();
    let shown = shown.then_some(client);
    let status = supervise(dirs, &args.command, &executable, Some(&report.id), shown).await;
    let closed = close(client, &report.id).await;
    if let Err(error) = &closed {
        say(&format!(
            "the agent cannot tell what allowance {} came to: {error}\n  help: it closes it by \
             itself when the command has ended; `holdfast allow show {0}` tells",
            report.id
        ));
    }
    if let (Ok(report), false) = (closed, args.quiet) {
        // There is nobody to tell if standard error is gone.
        let _ = io::stderr().lock().write_all(closing(&report).as_bytes());
    }
    Ok(ExitCode::from(code(status?)))
}

/// What is submitted for a command.
fn body(args: &RunArgs, executable: &Executable) -> Result<SubmitBody, Failure> {
    let not_run = |failure: Failure| Failure { exit: Exit::NotRun, ..failure };
    let document = Document::read(&args.allow).map_err(not_run)?;
    let signatures = signatures(&args.allow, &args.signatures).map_err(not_run)?;
    Ok(SubmitBody {
        path: document.path,
        document: document.text,
        signatures: signatures
            .into_iter()
            .map(|file| SignatureBody { name: file.name, text: file.text })
            .collect(),
        run: Some(run_body(&args.command, executable)?),
    })
}

/// What the agent is told of a command.
pub(super) fn run_body(words: &[OsString], executable: &Executable) -> Result<RunBody, Failure> {
    let directory = std::env::current_dir().map_err(|error| {
        Failure::new(Exit::NotRun, format!("cannot tell the current directory: {error}"))
    })?;
    let shown = |bytes: &[u8]| text::lossless(bytes).0;
    Ok(RunBody {
        executable: shown(executable.real.as_os_str().as_bytes()),
        argv: words.iter().map(|argument| shown(argument.as_bytes())).collect(),
        directory: shown(directory.as_os_str().as_bytes()),
    })
}

/// Starts the command under the allowance with this id, or without one under the break-glass that
/// was opened for it, and waits until it has ended. With a client, what is spent of the allowance
/// is shown meanwhile.
pub(super) async fn supervise(
    dirs: &Dirs,
    words: &[OsString],
    executable: &Executable,
    id: Option<&str>,
    shown: Option<&Client>,
) -> Result<ExitStatus, Failure> {
    let failed = |what: &str, error: &io::Error| {
        Failure::new(Exit::NotRun, format!("cannot {what}: {error}; nothing was run"))
    };
    // Before the command exists: none of them is to end this process and leave the command alone.
    let mut signals = Signals::catch().map_err(|error| failed("catch signals", &error))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("holdfast").arg("--run-dir").arg(&dirs.run_dir);
    command.args(JoinArgs::write(id, &executable.path, &executable.real, words));
    let mut child = command.spawn().map_err(|error| failed("start a process", &error))?;
    let shown = shown.zip(id);
    let progress =
        shown.map(|(client, id)| tokio::spawn(progress::show(client.clone(), id.to_owned())));
    let status = signals.wait(&mut child).await;
    if let Some(progress) = progress {
        progress.abort();
        // What it was about to write is not to come after the report.
        let _ = progress.await;
        progress::clear();
    }
    status.map_err(|error| {
        Failure::new(Exit::Failure, format!("cannot wait for the command: {error}"))
    })
}

/// Closes the allowance; it may be closed already, as the agent looks after the command, too.
async fn close(client: &Client, id: &str) -> Result<AllowanceReport, ClientError> {
    match client.close_allowance(id).await {
        Err(ClientError::Refused { .. }) => client.allowance(id).await,
        answer => answer,
    }
}

/// The status that says how the command ended, as shells have it.
pub(super) fn code(status: ExitStatus) -> u8 {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => Exit::Failure as i32,
    };
    u8::try_from(code).unwrap_or(Exit::Failure as u8)
}

fn refused(error: ClientError) -> Failure {
    Failure::new(Exit::NotRun, format!("{error}\nholdfast: nothing was run"))
}

pub(super) fn say(message: &str) {
    // There is nobody to tell if standard error is gone.
    let _ = writeln!(io::stderr().lock(), "holdfast: {message}");
}

impl From<NoExecutable> for Failure {
    fn from(error: NoExecutable) -> Self {
        let exit = match error {
            NoExecutable::NotFound(_) => Exit::NotFound,
            NoExecutable::NotExecutable { .. } => Exit::NotExecutable,
        };
        Self::new(exit, format!("{error}; nothing was run"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commands_status_is_kept() {
        for (raw, expected) in [(0, 0), (3 << 8, 3), (255 << 8, 255), (9, 137), (15, 143), (2, 130)]
        {
            assert_eq!(code(ExitStatus::from_raw(raw)), expected, "{raw:#x}");
        }
    }

    #[test]
    fn failed_start_has_shell_exit_status() {
        let failure = Failure::from(find("/nonexistent/x".as_ref()).unwrap_err());
        assert_eq!(failure.exit as u8, 127);
        let failure = Failure::from(find("/".as_ref()).unwrap_err());
        assert_eq!(failure.exit as u8, 126);
        assert!(failure.message.ends_with("nothing was run"), "{}", failure.message);
    }
}
