//! Runs a real tool, as anyone, anywhere, and keeps what it said.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use super::{Unit, until};

const LIMIT: Duration = Duration::from_secs(300);

/// A command to run.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    program: OsString,
    args: Vec<OsString>,
    unit: Option<PathBuf>,
    uid: Option<u32>,
    login: Option<u32>,
    cwd: Option<PathBuf>,
    env: Vec<(&'static str, &'static str)>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) what: String,
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A tool that runs in the background. Dropping it kills it, paused or not.
#[derive(Debug)]
pub(crate) struct Running {
    what: String,
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

/// Runs a bash script; `$1`, `$2`… are `args`.
pub(crate) fn sh<S: AsRef<OsStr>>(
    script: &str,
    args: impl IntoIterator<Item = S>,
) -> Result<Outcome> {
    Tool::new("bash").args(["-c", script, "script"]).args(args).run()
}

impl Tool {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            unit: None,
            uid: None,
            login: None,
            cwd: None,
            env: Vec::new(),
        }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Runs it in that cgroup.
    pub(crate) fn unit(mut self, unit: &Unit) -> Self {
        self.unit = Some(unit.procs());
        self
    }

    /// Runs it as that user.
    pub(crate) fn uid(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }

    /// Runs it in a login session of that user, which `su` and `sudo` do not change. Needs a unit.
    pub(crate) fn login(mut self, uid: u32) -> Self {
        self.login = Some(uid);
        self
    }

    pub(crate) fn cwd(mut self, dir: &Path) -> Self {
        self.cwd = Some(dir.to_owned());
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.env.push((name, value));
        self
    }

    /// The command itself, its standard streams not yet arranged.
    pub(crate) fn command(&self) -> Result<Command> {
        let mut command = match &self.unit {
            None => Command::new(&self.program),
            Some(procs) => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["helper", "enter"]).arg(procs);
                command.arg(self.uid.unwrap_or(0).to_string());
                if let Some(login) = self.login {
                    command.args(["--login-uid", &login.to_string()]);
                }
                command.arg("--").arg(&self.program);
                command
            }
        };
        command.args(&self.args);
        if let (Some(uid), None) = (self.uid, &self.unit) {
            command.uid(uid).gid(uid);
        }
        if let Some(dir) = &self.cwd {
            command.current_dir(dir);
        }
        command.env("LC_ALL", "C").env("HOME", "/root").envs(self.env.iter().copied());
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// Starts it in the background.
    pub(crate) fn start(&self) -> Result<Running> {
        let what = self.to_string();
        let mut command = self.command()?;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start `{what}`"))?;
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        Ok(Running { what, child, stdout, stderr })
    }

    /// Runs it to its end, well or badly.
    pub(crate) fn run(&self) -> Result<Outcome> {
        self.start()?.wait()
    }

    /// Runs it to its end and insists on success.
    pub(crate) fn ok(&self) -> Result<Outcome> {
        self.run()?.ok()
    }
}

impl std::fmt::Display for Tool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.program.to_string_lossy())?;
        for arg in self.args.iter().take(8) {
            let text: String = arg.to_string_lossy().chars().take(120).collect();
            write!(f, " {text}")?;
        }
        if self.args.len() > 8 { write!(f, " … ({} arguments)", self.args.len()) } else { Ok(()) }
    }
}

impl Running {
    /// Its process: that of the tool itself, also in a unit.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn wait(self) -> Result<Outcome> {
        self.wait_and(LIMIT, || ())
    }

    /// Waits, and calls `tick` each time `interval` has passed.
    pub(crate) fn wait_and(mut self, interval: Duration, tick: impl Fn()) -> Result<Outcome> {
        let started = Instant::now();
        let mut ticks = 0;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if started.elapsed() > LIMIT {
                bail!("`{}` did not end within {} s", self.what, LIMIT.as_secs());
            }
            if started.elapsed() > interval * (ticks + 1) {
                ticks += 1;
                tick();
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let (stdout, stderr) = (self.stdout.take(), self.stderr.take());
        let (stdout, stderr) = (self.said(stdout)?, self.said(stderr)?);
        let (code, signal) = (status.code(), status.signal());
        Ok(Outcome { what: self.what.clone(), code, signal, stdout, stderr })
    }

    /// What was read. Something the tool left behind, paused perhaps, may keep the pipe open.
    fn said(&self, reader: Option<JoinHandle<Vec<u8>>>) -> Result<String> {
        let reader = reader.context("it was read already")?;
        let what = format!("nobody has the output of `{}` open any more", self.what);
        until(&what, Duration::from_secs(30), || Ok(reader.is_finished().then_some(())))?;
        Ok(String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both are errors if it has ended and was waited for.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Outcome {
    pub(crate) fn succeeded(&self) -> bool {
        self.code == Some(0)
    }

    /// Insists on success.
    pub(crate) fn ok(self) -> Result<Self> {
        if self.succeeded() {
            Ok(self)
        } else {
            bail!("{}", self.describe("should have succeeded"))
        }
    }

    /// Insists on success without a word on standard error.
    pub(crate) fn quietly(self) -> Result<Self> {
        if self.succeeded() && self.stderr.is_empty() {
            Ok(self)
        } else {
            bail!("{}", self.describe("should have succeeded without an error message"))
        }
    }

    /// Insists that this signal ended it.
    pub(crate) fn killed_by(self, signal: Signal) -> Result<Self> {
        if self.signal == Some(signal.as_raw()) {
            Ok(self)
        } else {
            bail!("{}", self.describe(&format!("should have been ended by {signal:?}")))
        }
    }

    /// Insists on a failure that says the operation is not permitted.
    pub(crate) fn refused(self) -> Result<Self> {
        if !self.succeeded() && self.stderr.contains("Operation not permitted") {
            Ok(self)
        } else {
            bail!("{}", self.describe("should have failed with 'Operation not permitted'"))
        }
    }

    /// Insists on an exit status.
    pub(crate) fn code(self, code: i32) -> Result<Self> {
        if self.code == Some(code) {
            Ok(self)
        } else {
            bail!("{}", self.describe(&format!("should have ended with exit status {code}")))
        }
    }

    /// Everything it said.
    pub(crate) fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    pub(crate) fn describe(&self, verdict: &str) -> String {
        let cut = |text: &str| text.lines().take(12).collect::<Vec<_>>().join("\n    ");
        format!(
            "`{}` {verdict}; exit status {:?}, signal {:?}\n  stdout: {}\n  stderr: {}",
            self.what,
            self.code,
            self.signal,
            cut(&self.stdout),
            cut(&self.stderr)
        )
    }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).ok();
        bytes
    })
}
