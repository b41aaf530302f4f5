//! Whether a command is the one that was signed: its executable and its script, by path and
//! content.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use holdfast_policy::allowance::{BoundCommand, Refused, RefusedReason};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::api::RunBody;
use crate::text;

/// Larger files are not hashed: the agent has other things to do.
const MAX_FILE: u64 = 256 << 20;

/// The command that was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Path of the executable.
    pub(crate) path: String,
    /// Its SHA-256.
    pub(crate) sha256: String,
    /// The script, and its SHA-256.
    pub(crate) script: Option<(String, String)>,
}

impl From<&BoundCommand> for Wanted {
    fn from(command: &BoundCommand) -> Self {
        let BoundCommand { path, sha256, script } = command.clone();
        Self { path, sha256, script }
    }
}

/// Whether `run` is that command: the same executable, called by the same name, and the script as
/// its very first argument. (With anything before it, such as `-c`, the executable might run
/// something else and only be told the script's name. And one file can be many commands, which it
/// tells apart by what it is called: busybox.) What the files contain is for [`check_files`] to
/// look at.
pub(crate) fn check_run(wanted: &Wanted, run: &RunBody) -> Result<(), Refused> {
    let executable = real(&run.executable).map_err(|error| {
        let why = format!("cannot look at {}: {error}", shown(&run.executable));
        wrong_command(why, "name a command that exists")
    })?;
    let signed = real(&wanted.path).map_err(|error| {
        let why =
            format!("cannot look at the command that was signed, {}: {error}", shown(&wanted.path));
        wrong_command(why, "it has to be there as it was signed")
    })?;
    if executable != signed {
        let why = format!("it is for {}, not for {}", shown(&wanted.path), shown(&run.executable));
        return Err(wrong_command(why, "run the command that was signed, or have this one signed"));
    }
    let name = name_of(&wanted.path);
    let called = run.argv.first().and_then(|called| name_of(called));
    if name.is_none() || called != name {
        let called = run.argv.first().map_or_else(String::new, |called| shown(called));
        let why = format!("it is for {}, which is called as `{called}` here", shown(&wanted.path));
        return Err(wrong_command(
            why,
            "run the command by the name that was signed: one file can be many commands",
        ));
    }
    let Some((script, _)) = &wanted.script else { return Ok(()) };
    let signed = real(script).map_err(|error| {
        let why = format!("cannot look at the script that was signed, {}: {error}", shown(script));
        wrong_script(why, "it has to be there as it was signed")
    })?;
    let directory = Path::new(&run.directory);
    let names_it =
        |argument: &String| real(directory.join(argument)).is_ok_and(|path| path == signed);
    if run.argv.get(1).is_some_and(names_it) {
        return Ok(());
    }
    let why = format!("it is for the script {}, which is not the first argument", shown(script));
    let help = "run `COMMAND SCRIPT ARGUMENTS` with the script that was signed and no option \
                before it, or have this one signed";
    Err(wrong_script(why, help))
}

/// Whether the files are still those that were signed.
pub(crate) fn check_files(wanted: &Wanted, deadline: Instant) -> Result<(), Refused> {
    compare(&wanted.path, &wanted.sha256, deadline).map_err(|why| {
        wrong_command(
            why,
            "have the command signed as it is now, or put back the one that was signed",
        )
    })?;
    let Some((script, sha256)) = &wanted.script else { return Ok(()) };
    compare(script, sha256, deadline).map_err(|why| {
        wrong_script(
            why,
            "have the script signed as it is now, or put back the one that was signed",
        )
    })
}

fn compare(path: &str, sha256: &str, deadline: Instant) -> Result<(), String> {
    let found = hash(Path::new(path), deadline)
        .map_err(|error| format!("cannot read {}: {error}", shown(path)))?;
    if found == sha256 {
        return Ok(());
    }
    Err(format!(
        "{} is not what was signed: its SHA-256 is {found}, signed was {sha256}",
        shown(path)
    ))
}

fn hash(path: &Path, deadline: Instant) -> io::Result<String> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlags::NONBLOCK.bits() as i32);
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut rest = file.take(MAX_FILE + 1);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut length = 0;
    loop {
        if Instant::now() >= deadline {
            // Nobody waits any more.
            return Err(io::ErrorKind::TimedOut.into());
        }
        match rest.read(&mut buffer)? {
            0 => break,
            n => {
                length += n as u64;
                hasher.update(&buffer[..n]);
            }
        }
    }
    if length > MAX_FILE {
        return Err(io::Error::other("it is larger than 256 MiB"));
    }
    Ok(text::hex(&hasher.finalize()))
}

fn name_of(path: &str) -> Option<&OsStr> {
    Path::new(path).file_name()
}

fn real(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    fs::canonicalize(path)
}

fn shown(path: &str) -> String {
    text::for_terminal(path.as_bytes())
}

fn wrong_command(why: String, help: &str) -> Refused {
    Refused::new(RefusedReason::WrongCommand, why, help)
}

fn wrong_script(why: String, help: &str) -> Refused {
    Refused::new(RefusedReason::WrongScript, why, help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_files(wanted: &Wanted) -> Result<(), Refused> {
        super::check_files(wanted, Instant::now() + std::time::Duration::from_secs(60))
    }

    const OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    struct Host {
        dir: tempfile::TempDir,
    }

    impl Host {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for name in ["tool", "script", "other"] {
                fs::write(dir.path().join(name), "abc").unwrap();
            }
            std::os::unix::fs::symlink("tool", dir.path().join("alias")).unwrap();
            Self { dir }
        }

        fn path(&self, name: &str) -> String {
            self.dir.path().join(name).to_str().unwrap().to_owned()
        }

        fn wanted(&self, script: bool) -> Wanted {
            let script = script.then(|| (self.path("script"), OF_ABC.to_owned()));
            Wanted { path: self.path("tool"), sha256: OF_ABC.to_owned(), script }
        }

        fn run(&self, executable: &str, arguments: &[&str]) -> RunBody {
            let argv = arguments.iter().map(|&argument| argument.to_owned());
            RunBody {
                executable: self.path(executable),
                argv: std::iter::once(executable.to_owned()).chain(argv).collect(),
                directory: self.path("."),
            }
        }
    }

    fn reason(outcome: Result<(), Refused>) -> Option<RefusedReason> {
        outcome.err().map(|refused| refused.reason)
    }

    #[test]
    fn any_path_names_the_same_command() {
        let host = Host::new();
        let check = |name| reason(check_run(&host.wanted(false), &host.run(name, &[])));
        assert_eq!((check("tool"), check("./tool")), (None, None));
        assert_eq!(check("other"), Some(RefusedReason::WrongCommand), "the same content elsewhere");
        assert_eq!(check("absent"), Some(RefusedReason::WrongCommand));
    }

    /// Every applet of busybox is one file: who had `sh` signed could run `rm`.
    #[test]
    fn another_name_is_another_command() {
        let host = Host::new();
        let by = |signed: &str, run: &RunBody| {
            let wanted = Wanted { path: host.path(signed), ..host.wanted(false) };
            reason(check_run(&wanted, run))
        };
        let (tool, alias) = (host.run("tool", &[]), host.run("alias", &[]));
        assert_eq!((by("tool", &tool), by("alias", &alias)), (None, None));
        assert_eq!(by("tool", &alias), Some(RefusedReason::WrongCommand));
        assert_eq!(by("alias", &tool), Some(RefusedReason::WrongCommand));
        // What counts is what it is told, whatever file it was found as.
        let told = |name: &str| RunBody { argv: vec![name.to_owned()], ..tool.clone() };
        assert_eq!(by("tool", &told("/elsewhere/tool")), None);
        for name in ["alias", "", "..", "tool/.."] {
            assert_eq!(by("tool", &told(name)), Some(RefusedReason::WrongCommand), "{name:?}");
        }
        let untold = RunBody { argv: vec![], ..tool.clone() };
        assert_eq!(by("tool", &untold), Some(RefusedReason::WrongCommand));
    }

    #[test]
    fn first_argument_must_name_the_script() {
        let host = Host::new();
        let check = |arguments: &[&str]| {
            reason(check_run(&host.wanted(true), &host.run("tool", arguments)))
        };
        assert_eq!(check(&["script", "--all"]), None);
        assert_eq!(check(&[&host.path("script")]), None);
        let others: [&[&str]; 6] = [
            &[],
            &["other"],
            &["absent"],
            &["--script=script"],
            &["-c", "other", "script"],
            &["other", "script"],
        ];
        for arguments in others {
            assert_eq!(check(arguments), Some(RefusedReason::WrongScript), "{arguments:?}");
        }
    }

    #[test]
    fn files_that_were_changed_are_refused() {
        let host = Host::new();
        let wanted = host.wanted(true);
        assert_eq!(reason(check_files(&wanted)), None);
        let late = super::check_files(&wanted, Instant::now()).unwrap_err();
        assert!(late.message.contains("timed out"), "{late}");
        fs::write(host.path("script"), "abd").unwrap();
        assert_eq!(reason(check_files(&wanted)), Some(RefusedReason::WrongScript));
        fs::write(host.path("tool"), "abcd").unwrap();
        let refused = check_files(&wanted).unwrap_err();
        assert_eq!(refused.reason, RefusedReason::WrongCommand);
        assert!(refused.message.contains(OF_ABC), "{refused}");
        fs::remove_file(host.path("tool")).unwrap();
        fs::create_dir(host.path("tool")).unwrap();
        assert_eq!(reason(check_files(&wanted)), Some(RefusedReason::WrongCommand));
    }
}
