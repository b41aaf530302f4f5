//! Runs a real tool, as anyone, anywhere, and keeps what it said.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::Unit;

const LIMIT: Duration = Duration::from_secs(300);

/// A command to run.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    program: OsString,
    args: Vec<OsString>,
    unit: Option<PathBuf>,
    uid: Option<u32>,
    cwd: Option<PathBuf>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) what: String,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A tool that runs in the background.
#[derive(Debug)]
pub(crate) struct Running {
    what: String,
    child: Child,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
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
            cwd: None,
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

    pub(crate) fn cwd(mut self, dir: &Path) -> Self {
        self.cwd = Some(dir.to_owned());
        self
    }

    /// The command itself, its standard streams not yet arranged.
    pub(crate) fn command(&self) -> Result<Command> {
        let mut command = match &self.unit {
            None => Command::new(&self.program),
            Some(procs) => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["helper", "enter"]).arg(procs);
                command.arg(self.uid.unwrap_or(0).to_string()).arg("--").arg(&self.program);
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
        command.env("LC_ALL", "C").env("HOME", "/root").stdin(Stdio::null());
        Ok(command)
    }

    /// Starts it in the background.
    pub(crate) fn start(&self) -> Result<Running> {
        let what = self.to_string();
        let mut command = self.command()?;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start `{what}`"))?;
        let stdout = collect(child.stdout.take().context("no stdout")?);
        let stderr = collect(child.stderr.take().context("no stderr")?);
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
                self.child.kill().ok();
                self.child.wait().ok();
                bail!("`{}` did not end within {} s", self.what, LIMIT.as_secs());
            }
            if started.elapsed() > interval * (ticks + 1) {
                ticks += 1;
                tick();
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let text = |bytes: JoinHandle<Vec<u8>>| {
            String::from_utf8_lossy(&bytes.join().unwrap_or_default()).into_owned()
        };
        let (stdout, stderr) = (text(self.stdout), text(self.stderr));
        Ok(Outcome { what: self.what, code: status.code(), stdout, stderr })
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
            "`{}` {verdict}; exit status {:?}\n  stdout: {}\n  stderr: {}",
            self.what,
            self.code,
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
