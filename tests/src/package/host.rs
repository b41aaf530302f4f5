//! The host that the package is installed on: its service, its policy, and somebody who deletes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use serde_json::Value;

use crate::harness::{Outcome, Tool, Tree, check, until};

pub(super) const UNIT: &str = "holdfast.service";
pub(super) const POLICY: &str = "/etc/holdfast/policy.toml";
pub(super) const STATE_DIR: &str = "/var/lib/holdfast";
pub(super) const PIN_DIR: &str = "/sys/fs/bpf/holdfast";
/// Of every zone, for everybody together, in an hour.
pub(super) const BUDGET: u64 = 20;
/// What a step may take that waits for systemd in an emulated machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// What steps share.
#[derive(Debug, Default)]
pub(super) struct Host {
    notes: Vec<String>,
}

impl Host {
    /// Shown below the step's line.
    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    pub(super) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }
}

/// The package in the payload: this version, or the next.
pub(super) fn package(next: bool) -> Result<PathBuf> {
    let entries = fs::read_dir("/run/payload").context("/run/payload")?;
    let is_it = |path: &PathBuf| {
        let name = path.to_string_lossy();
        name.ends_with(".deb") && name.contains("+next") == next
    };
    let found = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).find(is_it);
    found.with_context(|| format!("no package in /run/payload (next: {next})"))
}

/// `apt-get -y ARGS`.
pub(super) fn apt(args: &[&str]) -> Result<Outcome> {
    let tool = Tool::new("apt-get").args(["-y", "-q", "-o", "Dpkg::Use-Pty=0"]).args(args);
    tool.env("DEBIAN_FRONTEND", "noninteractive").run()
}

/// `apt-get install` of a file.
pub(super) fn install(package: &Path) -> Result<Outcome> {
    apt(&["install", &package.display().to_string()])
}

pub(super) fn holdfast(args: &[&str]) -> Result<Outcome> {
    Tool::new("/usr/bin/holdfast").args(args).run()
}

pub(super) fn json(args: &[&str]) -> Result<Value> {
    let outcome = holdfast(args)?;
    serde_json::from_str(&outcome.stdout).with_context(|| outcome.describe("should print JSON"))
}

/// A property of the service.
pub(super) fn property(name: &str) -> Result<String> {
    let words = ["show", UNIT, "--timestamp=us+utc", "--value", "--property", name];
    Ok(Tool::new("systemctl").args(words).ok()?.stdout.trim().to_owned())
}

/// Waits until a property has that value.
pub(super) fn property_is(name: &str, value: &str) -> Result<()> {
    until(&format!("{name}={value} of {UNIT}"), PATIENCE, || {
        Ok((property(name)? == value).then_some(()))
    })
}

pub(super) fn main_pid() -> Result<u32> {
    property("MainPID")?.parse().context("MainPID is no number")
}

pub(super) fn systemctl(args: &[&str]) -> Result<Outcome> {
    Tool::new("systemctl").args(args).run()
}

/// What the service said last.
pub(super) fn journal() -> String {
    let words = ["-u", UNIT, "-n", "15", "--no-pager", "-o", "short-monotonic"];
    let said = Tool::new("journalctl").args(words).run().map(|outcome| outcome.stdout);
    format!("the journal ends:\n{}", said.unwrap_or_else(|error| error.to_string()))
}

/// A zone at `/data/NAME` that enforces, denying or holding.
pub(super) fn zone(name: &str, on_trip: &str) -> String {
    format!(
        "[[zone]]\nname = \"{name}\"\nrole = \"primary\"\n\
         paths = [\"/data/{name}\", \"/srv/late-{name}\"]\ntenant_depth = 1\n\
         mode = \"enforce\"\non_trip = \"{on_trip}\"\n[[zone.budget]]\nper = \"zone\"\n\
         files = {BUDGET}\nwindow = \"1h\"\n\n"
    )
}

/// The policy of these steps, with one zone for each that destroys: what one spends is none of the
/// others' business.
pub(super) fn policy() -> String {
    let zones = ["watchdog", "stopped", "boot", "unusable", "upgrade", "late"]
        .map(|name| zone(name, "deny"));
    format!(
        "{}{}[break_glass]\nmax_length = \"1h\"\nmax_files = 1000\nmax_bytes = \"1GiB\"\n",
        zones.concat(),
        zone("held", "hold")
    )
}

/// Puts a policy in force, as an administrator does.
pub(super) fn put_in_force(policy: &str) -> Result<()> {
    fs::write(POLICY, policy).context(POLICY)?;
    systemctl(&["reload", UNIT])?.ok().map(drop)
}

/// A tree at `/data/NAME`.
pub(super) fn tree(name: &str) -> Result<Tree> {
    Tree::make(&Path::new("/data").join(name), 3, 100)
}

/// Insists on an exit status, and that something was said.
pub(super) fn fails_saying(outcome: &Outcome, parts: &[&str]) -> Result<()> {
    check!(!outcome.succeeded(), "{}", outcome.describe("should have failed"));
    for part in parts {
        check!(
            outcome.said().contains(part),
            "{}",
            outcome.describe(&format!("should have said {part:?}"))
        );
    }
    Ok(())
}

/// Somebody who removes one file after another, a hundred times a second, round and round, until
/// told to end.
#[derive(Debug)]
pub(super) struct Deleter {
    end: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Deleter {
    pub(super) fn start(tree: &Tree) -> Self {
        let (end, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (paths, ended, tried) =
            (tree.paths().collect::<Vec<_>>(), Arc::clone(&end), Arc::clone(&rounds));
        let thread = std::thread::spawn(move || {
            for path in paths.iter().cycle() {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                // Most are refused; which were not is counted on the disk.
                drop(fs::remove_file(path));
                tried.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        Self { end, rounds, thread: Some(thread) }
    }

    /// Ends it; how often it tried.
    pub(super) fn end(mut self) -> Result<u64> {
        self.end.store(true, Ordering::SeqCst);
        let thread = self.thread.take().context("it has ended")?;
        thread.join().map_err(|_| anyhow!("the deleter panicked"))?;
        Ok(self.rounds.load(Ordering::SeqCst))
    }
}

impl Drop for Deleter {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
    }
}
