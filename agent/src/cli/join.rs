//! `holdfast __join`: the process that is to become the command of `holdfast run`. It asks the
//! agent to be let into the allowance, and then is that command.
//!
//! It never starts a thread: the agent marks this process, and what carries the mark has to be what
//! executes the command.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::Args;

use super::{Exit, Failure, out};
use crate::api::ErrorReport;
use crate::control::SOCKET;
use crate::text;

/// How long the agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// An answer that is longer is none.
const MAX_ANSWER: u64 = 1 << 20;

#[derive(Debug, Args)]
pub(super) struct JoinArgs {
    /// Id of the allowance.
    #[arg(required_unless_present = "break_glass")]
    id: Option<String>,
    /// Join the break-glass that was opened for it, and not an allowance.
    #[arg(long, conflicts_with = "id")]
    break_glass: bool,
    /// The file to execute, as it was found.
    #[arg(long)]
    executable: PathBuf,
    /// Where it led when the allowance was submitted for it.
    #[arg(long)]
    real: PathBuf,
    /// The command, its own name first.
    #[arg(last = true, required = true, num_args = 1..)]
    command: Vec<OsString>,
}

impl JoinArgs {
    /// The arguments that say this; without an id it is for a break-glass.
    pub(super) fn write(
        id: Option<&str>,
        executable: &Path,
        real: &Path,
        command: &[OsString],
    ) -> Vec<OsString> {
        // In one word each: a path can begin with a `-`.
        let option = |name: &str, value: &Path| {
            let mut option = OsString::from(name);
            option.push(value);
            option
        };
        let mut arguments = vec![
            "__join".into(),
            option("--executable=", executable),
            option("--real=", real),
            id.map_or_else(|| "--break-glass".into(), Into::into),
            "--".into(),
        ];
        arguments.extend_from_slice(command);
        arguments
    }
}

/// Becomes the command. Returns only if that is not to be.
pub(super) fn run(run_dir: &Path, args: &JoinArgs) -> Failure {
    match args.executable.canonicalize() {
        Ok(real) if real == args.real => {}
        Ok(_) => {
            let message =
                format!("{} leads elsewhere than a moment ago", out::path(&args.executable));
            return Failure::new(Exit::NotRun, message);
        }
        Err(error) => return not_started(args, &error),
    }
    if let Err(failure) = join(&run_dir.join(SOCKET), args.id.as_deref()) {
        return failure;
    }
    let Some((name, rest)) = args.command.split_first() else {
        return Failure::new(Exit::NotRun, "no command");
    };
    let error = Command::new(&args.executable).arg0(name).args(rest).exec();
    not_started(args, &error)
}

fn not_started(args: &JoinArgs, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::NotFound => Exit::NotFound,
        _ => Exit::NotExecutable,
    };
    Failure::new(exit, format!("cannot start {}: {error}", out::path(&args.executable)))
}

/// Asks to be let in.
fn join(socket: &Path, id: Option<&str>) -> Result<(), Failure> {
    let path = match id {
        Some(id) => format!("/v1/allowances/{}/join", text::percent_encode(id.as_bytes())),
        None => "/v1/break-glass/join".to_owned(),
    };
    let answer = post(socket, &path);
    let answer = answer.map_err(|error| {
        let message = format!(
            "the agent cannot be reached on {}: {error}; nothing was run",
            out::path(socket)
        );
        Failure::new(Exit::NotRun, message)
    })?;
    let Some((status, body)) = read(&answer) else {
        let message = "the agent answers in another form than this version knows; nothing was run";
        return Err(Failure::new(Exit::NotRun, message));
    };
    if (200..300).contains(&status) {
        return Ok(());
    }
    let why = serde_json::from_slice::<ErrorReport>(body)
        .map_or_else(|_| format!("the agent answered {status}"), |report| report.error);
    Err(Failure::new(Exit::NotRun, why))
}

/// One request, and everything the agent answers to it.
fn post(socket: &Path, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: holdfast\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(answer)
}

/// Status and body of an answer that was read to its end.
fn read(answer: &[u8]) -> Option<(u16, &[u8])> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.lines().next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, &answer[end + 4..]))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// What `join` says to an agent that answers this, and what it asked.
    fn answered(answer: &'static str) -> (Result<(), Failure>, String) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join(SOCKET);
        let listener = UnixListener::bind(&socket).unwrap();
        let agent = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = vec![0; 4096];
            let length = stream.read(&mut asked).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked[..length].to_vec()).unwrap()
        });
        let outcome = join(&socket, Some("CHG-1"));
        (outcome, agent.join().unwrap())
    }

    #[test]
    fn join_succeeds_or_says_why_not() {
        let (outcome, asked) = answered("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
        assert!(outcome.is_ok());
        assert!(asked.starts_with("POST /v1/allowances/CHG-1/join HTTP/1.1\r\n"), "{asked}");
        let (outcome, _) = answered(
            "HTTP/1.1 422 Unprocessable Entity\r\n\r\n{\"error\":\"somebody else joined\"}",
        );
        let failure = outcome.unwrap_err();
        assert_eq!(
            (failure.exit, failure.message.as_str()),
            (Exit::NotRun, "somebody else joined")
        );
        for nonsense in ["", "HTTP/1.1 200 OK\r\n", "SSH-2.0\r\n\r\n", "HTTP/1.1 two\r\n\r\n"] {
            assert_eq!(answered(nonsense).0.unwrap_err().exit, Exit::NotRun, "{nonsense:?}");
        }
    }

    #[test]
    fn command_arrives_as_given() {
        use std::os::unix::ffi::OsStringExt as _;

        use clap::Parser as _;

        use super::super::{Cli, Command};

        let any_bytes = OsString::from_vec((1..=255).collect());
        let command = ["-x".into(), "--json".into(), "--".into(), "".into(), any_bytes];
        let arguments =
            JoinArgs::write(Some("CHG-1"), Path::new("-d/x"), Path::new("/d/x"), &command);
        let cli = Cli::try_parse_from(std::iter::once("holdfast".into()).chain(arguments)).unwrap();
        let Command::Join(args) = cli.command else { panic!("{:?}", cli.command) };
        assert_eq!((args.id.as_deref(), args.command), (Some("CHG-1"), command.to_vec()));
        let arguments = JoinArgs::write(None, Path::new("/x"), Path::new("/x"), &command);
        let cli = Cli::try_parse_from(std::iter::once("holdfast".into()).chain(arguments)).unwrap();
        let Command::Join(other) = cli.command else { panic!("{:?}", cli.command) };
        assert!(other.break_glass && other.id.is_none(), "{other:?}");
        assert_eq!((args.executable, args.real), ("-d/x".into(), "/d/x".into()));
    }

    #[test]
    fn without_an_agent_nothing_is_run() {
        let failure = join(Path::new("/nonexistent/control.sock"), Some("CHG-1")).unwrap_err();
        assert_eq!(failure.exit, Exit::NotRun);
    }

    /// By now its path leads to another file.
    #[test]
    fn redirected_command_is_not_run() {
        let args = JoinArgs {
            id: Some("CHG-1".to_owned()),
            break_glass: false,
            executable: "/bin/sh".into(),
            real: "/nonexistent/other".into(),
            command: vec!["sh".into()],
        };
        assert_eq!(run(Path::new("/nonexistent"), &args).exit, Exit::NotRun);
        let gone = JoinArgs { executable: "/nonexistent/sh".into(), ..args };
        assert_eq!(run(Path::new("/nonexistent"), &gone).exit, Exit::NotFound);
    }
}
