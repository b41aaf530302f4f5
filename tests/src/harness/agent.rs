//! The agent under test: started, reloaded, killed, adopted and taken off again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use holdfast_abi::{ABI_VERSION, MAX_FRESH, Made};
use rustix::process::{Pid, Signal, kill_process};

use super::metrics::Metrics;
use super::policy::{self, Zone};
use super::sys::PinnedMap;
use super::wait::PATIENCE;
use super::{Budget, Outcome, cli, until};

pub(crate) const BINARY: &str = "/usr/local/bin/holdfast";
pub(crate) const POLICY: &str = "/etc/holdfast/policy.toml";
pub(crate) const STATE_DIR: &str = "/var/lib/holdfast";
pub(crate) const RUN_DIR: &str = "/run/holdfast";
pub(crate) const PIN_DIR: &str = "/sys/fs/bpf/holdfast";
pub(crate) const METRICS: &str = "127.0.0.1:9917";
const LOG: &str = "/tmp/holdfast-agent.log";

/// The one agent of this machine and what scenarios left behind.
#[derive(Debug, Default)]
pub(crate) struct Lab {
    /// Whether long scenarios are run in full.
    pub(crate) nightly: bool,
    agent: Option<Child>,
    trace: bool,
    serial: u32,
    /// Starts that failed, one after another.
    failed_starts: u32,
    trash: Vec<PathBuf>,
    /// Size of the audit log's segments, if not the default.
    segment: Option<&'static str>,
    /// Where agents that are started write their log, if not to the usual file.
    log: Option<File>,
    /// What the running scenario has to say besides having passed.
    notes: Vec<String>,
}

impl Lab {
    pub(crate) fn new(nightly: bool) -> Self {
        Self { nightly, ..Self::default() }
    }

    /// A number no other scenario of this run has.
    pub(crate) fn next_serial(&mut self) -> u32 {
        self.serial += 1;
        self.serial
    }

    /// Shown below the scenario's line.
    pub(crate) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// Hands out the notes.
    pub(crate) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// To be removed once no policy guards it any more.
    pub(crate) fn discard(&mut self, dir: PathBuf) {
        self.trash.push(dir);
    }

    /// Makes sure an agent runs, in that manner of reporting.
    pub(crate) fn ensure(&mut self, trace: bool) -> Result<()> {
        if self.is_running()? && self.trace == trace {
            return Ok(());
        }
        if self.is_running()? {
            self.stop()?;
        }
        // Whatever the last scenario left there.
        self.write_policy(&idle())?;
        self.start(trace)
    }

    pub(crate) fn is_running(&mut self) -> Result<bool> {
        match &mut self.agent {
            None => Ok(false),
            Some(child) => Ok(child.try_wait()?.is_none()),
        }
    }

    /// Starts the agent and waits until it answers.
    pub(crate) fn start(&mut self, trace: bool) -> Result<()> {
        if self.failed_starts >= 2 {
            bail!("the agent failed to start {} times: not tried again", self.failed_starts);
        }
        self.failed_starts += 1;
        self.spawn(trace)?;
        // The kernel verifies the programs first, which the emulator takes its time for.
        until("the agent answers `holdfast status`", 3 * PATIENCE, || {
            if let Some(status) = self.agent.as_mut().context("no agent")?.try_wait()? {
                bail!("the agent ended while starting: {status}");
            }
            Ok(cli::status().ok().filter(|(outcome, _)| matches!(outcome.code, Some(0 | 5))))
        })?;
        self.failed_starts = 0;
        Ok(())
    }

    /// Starts the agent without waiting.
    fn spawn(&mut self, trace: bool) -> Result<()> {
        let log = self.log.as_ref().map(File::try_clone).transpose()?;
        let mut command = command(log)?;
        if trace {
            command.arg("--trace-ops");
        }
        if let Some(size) = self.segment {
            command.args(["--audit-segment", size]);
        }
        self.agent = Some(command.spawn().with_context(|| format!("cannot start {BINARY}"))?);
        self.trace = trace;
        Ok(())
    }

    /// Agents that are started from now on have segments of that size.
    pub(crate) fn audit_segment(&mut self, size: Option<&'static str>) {
        self.segment = size;
    }

    /// Agents that are started from now on write their log there.
    pub(crate) fn log_to(&mut self, file: Option<File>) {
        self.log = file;
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        Ok(self.agent.as_ref().context("no agent runs")?.id())
    }

    /// Ends the agent as a service manager would; the guard stays.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.end(Signal::TERM)
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.end(Signal::KILL)
    }

    fn end(&mut self, signal: Signal) -> Result<()> {
        let Some(mut child) = self.agent.take() else {
            return Ok(());
        };
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        kill_process(Pid::from_child(&child), signal)?;
        let ended = until("the agent ends", Duration::from_secs(60), || Ok(child.try_wait()?));
        if ended.is_err() {
            child.kill()?;
            child.wait()?;
        }
        ended.map(drop)
    }

    pub(crate) fn write_policy(&self, text: &str) -> Result<()> {
        fs::create_dir_all(Path::new(POLICY).parent().context("no parent")?)?;
        fs::write(POLICY, text).context(POLICY)
    }

    /// Puts a policy in force.
    pub(crate) fn apply(&mut self, zones: &[Zone]) -> Result<()> {
        self.apply_text(&policy::render(zones))
    }

    /// Puts a policy in force, as text. What was made before counts as old.
    pub(crate) fn apply_text(&mut self, text: &str) -> Result<()> {
        self.write_policy(text)?;
        cli::holdfast(["policy", "reload"])?.ok()?;
        self.empty_trash()?;
        age_files()
    }

    /// Asks for a policy that may be refused.
    pub(crate) fn try_policy(&self, text: &str) -> Result<Outcome> {
        self.write_policy(text)?;
        cli::holdfast(["policy", "reload"])
    }

    pub(crate) fn metrics(&self) -> Result<Metrics> {
        Metrics::scrape(METRICS)
    }

    /// All that the agents of this run have logged.
    pub(crate) fn log(&self) -> Result<String> {
        let bytes = fs::read(LOG).context(LOG)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The end of the agent's log, for a failure's report.
    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read(LOG).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let text = text.unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(6)..].iter();
        let cut = tail.map(|line| line.chars().take(240).collect::<String>());
        format!("the agent's log ends:\n{}", cut.collect::<Vec<_>>().join("\n"))
    }

    /// Takes the guard off the machine and insists that nothing of it stays.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.stop()?;
        if Path::new(PIN_DIR).exists() {
            // Whatever the last scenario enforced.
            cli::holdfast(["unpin", "--force"])?.ok()?;
            let left = super::tree::count(Path::new(PIN_DIR))?;
            super::check_eq!(left.files, 0, "pins left after `holdfast unpin`");
        }
        self.empty_trash()
    }

    fn empty_trash(&mut self) -> Result<()> {
        for dir in std::mem::take(&mut self.trash) {
            super::Tool::new("rm")
                .arg("-rf")
                .arg(&dir)
                .ok()
                .context("removing what is unguarded")?;
        }
        Ok(())
    }
}

/// An agent that is not started yet. Its log goes there, or to the usual file.
pub(crate) fn command(log: Option<File>) -> Result<Command> {
    let log = match log {
        Some(log) => log,
        None => File::options().create(true).append(true).open(LOG)?,
    };
    let mut command = Command::new(BINARY);
    command.args(["agent", "--policy", POLICY, "--state-dir", STATE_DIR]);
    command.args(["--run-dir", RUN_DIR, "--pin-dir", PIN_DIR, "--metrics", METRICS]);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command)
}

/// A policy that guards nothing that exists.
pub(crate) fn idle() -> String {
    let nowhere = Path::new("/data/nothing-here");
    policy::render(&[Zone::new("idle", nowhere).observe().budget(Budget::files(1000))])
}

/// Has the kernel forget who made which file: what there is counts as old from then on, as it is on
/// a host where somebody removes what was there.
pub(crate) fn age_files() -> Result<()> {
    let pin = PathBuf::from(format!("{PIN_DIR}/v{ABI_VERSION}/maps/FRESH"));
    if !pin.exists() {
        return Ok(());
    }
    let map = PinnedMap::open(&pin).with_context(|| pin.display().to_string())?;
    let length = MAX_FRESH as usize * size_of::<Made>();
    map.zero(length).context("cannot have files count as old")
}
