//! One scenario's own surroundings: a fresh directory, fresh zone names, and the agent.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::metrics::Metrics;
use super::{Budget, Lab, Tool, Tree, Zone, check, check_eq, cli, policy, until};
use crate::runner::Fs;

/// What a scenario gets.
#[derive(Debug)]
pub(crate) struct Ctx<'a> {
    pub(crate) lab: &'a mut Lab,
    /// A zone name no other scenario uses, so that its budgets start fresh.
    pub(crate) zone: String,
    /// A fresh directory on the filesystem the scenario is about, in no zone.
    pub(crate) base: PathBuf,
    pub(crate) fs: Fs,
    pub(crate) trace: bool,
    /// Whether any of its zones pauses processes.
    pauses: bool,
}

impl<'a> Ctx<'a> {
    pub(crate) fn new(lab: &'a mut Lab, fs: Fs, title: &str, trace: bool) -> Result<Self> {
        check!(
            is_mount(fs.mount())?,
            "the guest has nothing mounted at {}, where {} should be",
            fs.mount(),
            fs.name()
        );
        let serial = lab.next_serial();
        // A zone's name has at most 63 bytes, and some scenarios add to it.
        let short: String = title.chars().take(44).collect();
        let zone = format!("z{serial}-{}", short.replace("::", "-").replace('_', "-"));
        let zone = zone.trim_end_matches(['-', ':']).to_owned();
        let base = Path::new(fs.mount()).join(&zone);
        fs::create_dir_all(&base).with_context(|| base.display().to_string())?;
        Ok(Self { lab, zone, base, fs, trace, pauses: false })
    }

    /// How much of something a long scenario does: in every run, and in a nightly one.
    pub(crate) fn usual_or_nightly<T>(&self, usual: T, nightly: T) -> T {
        if self.lab.nightly { nightly } else { usual }
    }

    /// Ends what the scenario left paused, unmounts what it left mounted and gives its directory to
    /// the bin.
    pub(crate) fn close(self) -> Result<()> {
        if self.pauses {
            self.kill_what_is_paused();
        }
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let below = |line: &&str| {
            line.split(' ').nth(1).is_some_and(|at| Path::new(at).starts_with(&self.base))
        };
        for line in mounts.lines().filter(below).collect::<Vec<_>>().into_iter().rev() {
            Tool::new("umount").arg("-l").args(line.split(' ').nth(1)).ok()?;
        }
        self.lab.discard(self.base);
        Ok(())
    }

    /// A tree of tenants at `zone` in the scenario's directory.
    pub(crate) fn tree(&self, tenants: u64, files: u64) -> Result<Tree> {
        Tree::make(&self.base.join("zone"), tenants, files)
    }

    /// A directory beside the zone, on the same filesystem.
    pub(crate) fn outside(&self) -> Result<PathBuf> {
        let dir = self.base.join("outside");
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// A zone of this scenario's name.
    pub(crate) fn new_zone(&self, root: &Path) -> Zone {
        Zone::new(&self.zone, root)
    }

    /// Puts these zones in force.
    pub(crate) fn guard(&mut self, zones: &[Zone]) -> Result<()> {
        self.guard_text(zones, &policy::render(zones))
    }

    /// Puts a policy with these zones in force.
    pub(crate) fn guard_text(&mut self, zones: &[Zone], text: &str) -> Result<()> {
        self.pauses |= zones.iter().any(Zone::pauses);
        self.lab.ensure(self.trace)?;
        self.lab.apply_text(text)
    }

    /// Guards one directory with one budget, enforcing.
    pub(crate) fn enforce(&mut self, root: &Path, budget: Budget) -> Result<()> {
        self.guard(&[self.new_zone(root).budget(budget)])
    }

    /// Makes a tree and guards it: so many tenants with so many files, and a budget of files for
    /// all together.
    pub(crate) fn guarded(&mut self, tenants: u64, files: u64, budget: u64) -> Result<Tree> {
        let tree = self.tree(tenants, files)?;
        self.enforce(&tree.root, Budget::files(budget))?;
        Ok(tree)
    }

    /// Waits until the metrics say so.
    pub(crate) fn metrics_until(
        &self,
        what: &str,
        mut holds: impl FnMut(&Metrics) -> bool,
    ) -> Result<Metrics> {
        until(what, Duration::from_secs(60), || Ok(Some(self.lab.metrics()?).filter(|m| holds(m))))
    }

    /// Insists that the agent's counters for this scenario's zone come to these figures.
    pub(crate) fn counted(&self, verdict: &str, ops: u64) -> Result<()> {
        let mut last = f64::NAN;
        let outcome = self.metrics_until(&format!("{ops} ops with verdict {verdict}"), |metrics| {
            last = metrics.ops(&self.zone, verdict);
            last == ops as f64
        });
        outcome.map(drop).with_context(|| format!("counted {last} ops with verdict {verdict}"))
    }

    /// Insists that not one op in this scenario's zone was denied, by the counters.
    pub(crate) fn nothing_denied(&self) -> Result<()> {
        check_eq!(self.lab.metrics()?.ops(&self.zone, "deny"), 0.0, "ops denied");
        Ok(())
    }

    /// This scenario's events.
    pub(crate) fn events(&self) -> Result<Vec<Value>> {
        Ok(cli::events()?.into_iter().filter(|e| cli::text(e, "zone") == self.zone).collect())
    }

    /// Waits for an event of this scenario's zone.
    pub(crate) fn event(&self, what: &str, mut is_it: impl FnMut(&Value) -> bool) -> Result<Value> {
        until(&format!("an event: {what}"), Duration::from_secs(60), || {
            Ok(self.events()?.into_iter().find(|event| is_it(event)))
        })
    }
}

pub(crate) fn is_mount(at: &str) -> Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    Ok(mounts.lines().any(|line| line.split(' ').nth(1) == Some(at)))
}
