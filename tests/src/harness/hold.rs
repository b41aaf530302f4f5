//! `holdfast hold` as a person uses it, and waiting for processes to be held.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::wait::PATIENCE;
use super::{Budget, Ctx, Outcome, Tool, Tree, Unit, Zone, check, check_eq, cli, proc, until};

/// One hold, as `holdfast hold list --json` shows it.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    pub(crate) id: u64,
    pub(crate) value: Value,
}

impl Hold {
    fn new(value: Value) -> Result<Self> {
        Ok(Self { id: cli::number(&value, "id")?, value })
    }

    pub(crate) fn zone(&self) -> &str {
        cli::text(&self.value, "zone")
    }

    /// Its paused processes, in the order of their numbers.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let mut pids: Vec<_> = self.processes().iter().filter_map(pid_of).collect();
        pids.sort_unstable();
        pids
    }

    pub(crate) fn processes(&self) -> &[Value] {
        list(&self.value, "processes")
    }

    /// Every paused thread of every process.
    pub(crate) fn threads(&self) -> impl Iterator<Item = &Value> {
        self.processes().iter().flat_map(|process| list(process, "threads"))
    }

    /// What a paused thread is about to do.
    pub(crate) fn next(&self) -> Option<&Value> {
        self.threads().next()?.get("event")
    }

    /// The number in a field of a field.
    pub(crate) fn number(&self, outer: &str, inner: &str) -> Result<u64> {
        cli::number(&self.value[outer], inner)
    }

    /// `holdfast hold release ID --files N`.
    pub(crate) fn release(&self, files: u64) -> Result<Outcome> {
        run(["release", &self.id.to_string(), "--files", &files.to_string()])?.ok()
    }

    /// `holdfast hold release ID --budget-reset`.
    pub(crate) fn reset(&self) -> Result<Outcome> {
        run(["release", &self.id.to_string(), "--budget-reset"])?.ok()
    }

    /// `holdfast hold kill ID`.
    pub(crate) fn kill(&self) -> Result<Outcome> {
        run(["kill", &self.id.to_string()])?.ok()
    }

    /// `holdfast hold show ID --json`.
    pub(crate) fn show(&self) -> Result<Self> {
        let outcome = run(["show", &self.id.to_string(), "--json"])?.ok()?;
        Self::new(serde_json::from_str(&outcome.stdout).context("not JSON")?)
    }
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn pid_of(process: &Value) -> Option<u32> {
    process.get("pid")?.as_u64()?.try_into().ok()
}

/// `holdfast hold ARGS`.
pub(crate) fn run<'a>(args: impl IntoIterator<Item = &'a str>) -> Result<Outcome> {
    cli::holdfast(std::iter::once("hold").chain(args))
}

/// Every hold of this machine.
pub(crate) fn all() -> Result<Vec<Hold>> {
    let outcome = run(["list", "--json"])?.ok()?;
    let mut value: Value = serde_json::from_str(&outcome.stdout)
        .with_context(|| outcome.describe("should have printed JSON"))?;
    match value.get_mut("holds").map(Value::take) {
        Some(Value::Array(holds)) => holds.into_iter().map(Hold::new).collect(),
        _ => bail!("{}", outcome.describe("should have printed a list of holds")),
    }
}

/// Continues a process as fast as a shell can, for some seconds; how many times.
pub(crate) fn continue_all_the_time(pid: u32, seconds: u32) -> Result<u64> {
    let script = "n=0; end=$((SECONDS + $2)); while ((SECONDS < end)); do kill -CONT \"$1\"; \
        ((++n)); done; echo $n";
    let outcome = super::sh(script, [pid.to_string(), seconds.to_string()])?.ok()?;
    let times = outcome.stdout.trim().parse().context("not a number")?;
    check!(times > 100, "it was continued {times} times only");
    Ok(times)
}

/// `rm -rf` of tenants, in a unit.
pub(crate) fn rm(tree: &Tree, tenants: std::ops::Range<u64>, unit: &Unit) -> Tool {
    Tool::new("rm").arg("-rf").args(tenants.map(|tenant| tree.tenant(tenant))).unit(unit)
}

/// A deleter that takes note of every error, in a unit.
pub(crate) fn unlink(dir: &Path, unit: &Unit) -> Result<Tool> {
    let own = std::env::current_exe()?;
    Ok(Tool::new(own).args(["helper", "unlink"]).arg(dir).unit(unit))
}

impl Ctx<'_> {
    /// A zone of this scenario's name that holds.
    pub(crate) fn hold_zone(&self, tree: &Tree, budget: Budget) -> Zone {
        self.new_zone(&tree.root).hold().budget(budget)
    }

    /// Makes a tree and guards it: so many tenants with so many files, a budget of files for all
    /// together, and a hold for what goes over.
    pub(crate) fn holding(&mut self, tenants: u64, files: u64, budget: u64) -> Result<Tree> {
        let tree = self.tree(tenants, files)?;
        self.guard(&[self.hold_zone(&tree, Budget::files(budget))])?;
        Ok(tree)
    }

    /// A cgroup of this scenario's own.
    pub(crate) fn unit(&self, name: &str) -> Result<Unit> {
        Unit::new(&format!("{}-{name}", self.zone))
    }

    /// This scenario's holds in which something is paused.
    pub(crate) fn holds(&self) -> Result<Vec<Hold>> {
        let mut holds = all()?;
        holds.retain(|hold| hold.zone().starts_with(&self.zone) && !hold.processes().is_empty());
        Ok(holds)
    }

    /// The hold that this process is part of.
    pub(crate) fn hold_of(&self, pid: u32) -> Result<Option<Hold>> {
        Ok(self.holds()?.into_iter().find(|hold| hold.pids().contains(&pid)))
    }

    /// Waits until this process is stopped and listed.
    pub(crate) fn held(&self, pid: u32) -> Result<Hold> {
        until(&format!("process {pid} is stopped, and in `hold list`"), PATIENCE, || {
            Ok(if proc::is_stopped(pid)? { self.hold_of(pid)? } else { None })
        })
    }

    /// Waits until this process is stopped and listed with exactly so many files and directories
    /// gone, and insists that all the others are as they were.
    pub(crate) fn held_at(&self, tree: &Tree, pid: u32, gone: u64) -> Result<Hold> {
        let found = self.all_held_at(tree, gone, || {
            Ok(if proc::is_stopped(pid)? { vec![pid] } else { Vec::new() })
        })?;
        found.into_iter().next().context("no hold")
    }

    /// The same for as many processes as `stopped` names, once that is at least one: these, and no
    /// others, have to be listed.
    pub(crate) fn all_held_at(
        &self,
        tree: &Tree,
        gone: u64,
        mut stopped: impl FnMut() -> Result<Vec<u32>>,
    ) -> Result<Vec<Hold>> {
        let mut last = "nothing was stopped".to_owned();
        let what = format!("{gone} files and directories are gone, and the rest is held");
        let found = until(&what, PATIENCE, || {
            let mut pids = stopped()?;
            if pids.is_empty() {
                return Ok(None);
            }
            let (now_gone, holds) = (tree.gone()?, self.holds()?);
            check!(now_gone <= gone, "{now_gone} are gone, {gone} should be");
            pids.sort_unstable();
            let mut listed: Vec<_> = holds.iter().flat_map(Hold::pids).collect();
            listed.sort_unstable();
            last = format!("{now_gone} gone, stopped {pids:?}, listed {listed:?}");
            Ok((now_gone == gone && listed == pids).then_some(holds))
        });
        let holds = found.with_context(|| format!("at last: {last}"))?;
        tree.lost_exactly(gone)?;
        Ok(holds)
    }

    /// Waits until nothing of this scenario is listed as paused.
    pub(crate) fn nothing_held(&self) -> Result<()> {
        until("nothing is held any more", Duration::from_secs(60), || {
            Ok(self.holds()?.is_empty().then_some(()))
        })
    }

    /// Waits until so many holds of this scenario's zone came to that end, by the metrics.
    pub(crate) fn holds_ended(&self, outcome: &str, count: u64) -> Result<()> {
        let labels = [("zone", self.zone.as_str()), ("outcome", outcome)];
        let what = format!("{count} holds with outcome {outcome} in the metrics");
        let mut last = 0.0;
        let found = self.metrics_until(&what, |metrics| {
            last = metrics.sum("holdfast_holds_total", &labels);
            last == count as f64
        });
        found.map(drop).with_context(|| format!("{last} holds with outcome {outcome}"))
    }

    /// Waits for an audit record of that type about this scenario's zone.
    pub(crate) fn audited(&self, kind: &str) -> Result<Value> {
        until(&format!("an audit record of type {kind}"), Duration::from_secs(60), || {
            let is_it = |record: &Value| {
                cli::text(record, "type") == kind && cli::text(record, "zone") == self.zone
            };
            Ok(cli::audit()?.into_iter().find(is_it))
        })
    }

    /// Ends what is still paused, so that nothing waits for it for ever.
    pub(crate) fn kill_what_is_paused(&self) {
        for hold in self.holds().unwrap_or_default() {
            for pid in hold.pids() {
                proc::signal(pid, rustix::process::Signal::KILL).ok();
            }
        }
    }
}

/// Insists that a process is still stopped, and that not one more file is gone.
pub(crate) fn still_held(tree: &Tree, pid: u32, gone: u64) -> Result<()> {
    proc::stops(pid)?;
    check_eq!(tree.gone()?, gone, "files and directories gone");
    Ok(())
}
