//! The status document.

use std::collections::BTreeMap;

use holdfast_abi::{self as abi, Op, Verdict};

use super::guard::ZoneReport;
use super::{Ledger, coverage_ops};
use crate::api::{Cost, CoverageStatus, EventsStatus, OpsRow, PolicyStatus, Status, ZoneStatus};
use crate::audit::AuditFacts;
use crate::clock::Now;
use crate::daemon::{Standing, State, started_word};
use crate::kernel::{ActiveZone, CounterRow, Outcome, Tenants};

/// What the kernel said just now. Empty if there is no guard.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Zones in force.
    pub(crate) zones: Vec<ActiveZone>,
    /// Ops.
    pub(crate) counters: Vec<CounterRow>,
    /// What zones count besides ops.
    pub(crate) zone_counters: Vec<(u32, abi::ZoneCounters)>,
    /// Accounts.
    pub(crate) ledger: Ledger,
    /// The tenants that accounts have touched, where there are holds to be told of.
    pub(crate) tenants: Tenants,
    /// What could not be read.
    pub(crate) errors: Vec<String>,
    /// New processes that did not get the mark of the allowance they were started under.
    pub(crate) marks_lost: u64,
    /// Runs of each program that the kernel has skipped.
    pub(crate) skipped_runs: Vec<(&'static str, u64)>,
    /// The audit log.
    pub(crate) audit: AuditFacts,
    /// Entries for the journal that it had no room for.
    pub(crate) journal_dropped: u64,
    /// Lines of the log that standard error had no room for.
    pub(crate) log_dropped: u64,
    /// What the web hook took and what it did not; `None` if there is none.
    pub(crate) webhook: Option<(u64, u64)>,
    /// Why there is no web hook although one is wanted.
    pub(crate) webhook_error: Option<String>,
    /// Why the policy in force is not kept on the disk.
    pub(crate) keep_error: Option<String>,
    /// Why what is spent does not survive a reboot, or has not.
    pub(crate) carryover_error: Option<String>,
    /// The manifest; `None` if it is not kept.
    pub(crate) manifest: Option<ManifestFacts>,
    /// Address of the metrics page, or why there is none.
    pub(crate) metrics: Option<Result<String, String>>,
}

/// What the keeper of the manifest says.
#[derive(Debug, Default)]
pub(crate) struct ManifestFacts {
    /// Records kept since the agent started.
    pub(crate) records: u64,
    /// Bytes on the disk.
    pub(crate) bytes: u64,
    /// Seconds since 1970 of the oldest record; 0 for none.
    pub(crate) oldest: i64,
    /// Whether nothing can be written.
    pub(crate) failing: bool,
}

impl Facts {
    /// The slot of a zone that is in force.
    pub(crate) fn slot(&self, zone: &str) -> Option<u32> {
        self.zones.iter().find(|active| active.name == zone).map(|active| active.slot)
    }

    /// What the zone in a slot counts besides ops.
    pub(crate) fn zone_counters(&self, slot: u32) -> abi::ZoneCounters {
        let found = self.zone_counters.iter().find(|(other, _)| *other == slot);
        found.map(|(_, counters)| *counters).unwrap_or_default()
    }
}

/// Ops of one zone by op and verdict, without those that failed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct OpsNet(pub(crate) BTreeMap<(Op, Verdict), Net>);

/// Ops with one outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Net {
    /// How many.
    pub(crate) ops: u64,
    /// Files and bytes.
    pub(crate) cost: Cost,
}

impl OpsNet {
    /// Sums the rows of one slot. Rows are read one after the other while ops go on, so that for a
    /// moment more can have been given back than was counted: that never shows as less than zero.
    pub(crate) fn new(counters: &[CounterRow], slot: u32) -> Self {
        let mut net = Self::default();
        let of_slot = || counters.iter().filter(|row| row.zone == slot);
        for row in of_slot() {
            if let Outcome::Decided(verdict) = row.outcome {
                let entry = net.0.entry((row.op, verdict)).or_default();
                entry.ops += row.ops;
                entry.cost.files += row.files;
                entry.cost.bytes += row.bytes;
            }
        }
        for row in of_slot() {
            if let Outcome::GivenBack(verdict) = row.outcome
                && let Some(entry) = net.0.get_mut(&(row.op, verdict))
            {
                entry.ops = entry.ops.saturating_sub(row.ops);
                entry.cost.files = entry.cost.files.saturating_sub(row.files);
                entry.cost.bytes = entry.cost.bytes.saturating_sub(row.bytes);
            }
        }
        net
    }

    /// Files and bytes that ops of this kind really destroyed.
    pub(crate) fn destroyed(&self, op: Op) -> Cost {
        let went_on =
            self.0.iter().filter(|((other, verdict), _)| *other == op && goes_on(*verdict));
        went_on.fold(Cost::default(), |sum, (_, net)| add(sum, net.cost))
    }
}

/// Whether an op with this verdict happens. One that was paused is decided, and counted, again when
/// it goes on.
const fn goes_on(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Allow | Verdict::Observe => true,
        Verdict::Deny | Verdict::Hold | Verdict::Throttle => false,
    }
}

fn add(a: Cost, b: Cost) -> Cost {
    Cost { files: a.files + b.files, bytes: a.bytes + b.bytes }
}

/// The whole document. `unit` gives the name of a unit.
pub(crate) fn status(
    state: &State,
    facts: &Facts,
    now: Now,
    unit: &mut dyn FnMut(u64) -> Option<String>,
) -> Status {
    let guard = super::guard(state, now);
    let (why, fix) = match &guard.standing {
        Standing::Up => (None, None),
        Standing::Down { why, fix } => (Some(why.clone()), Some(fix.clone())),
    };
    let zones = guard.zones.iter().enumerate();
    Status {
        summary: guard.summary(),
        guard_up: guard.standing.is_up(),
        why,
        fix,
        enforcing: guard.is_enforcing(),
        warnings: warnings(state, facts, guard.standing.is_up()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        abi: abi::ABI_VERSION,
        pid: std::process::id(),
        started_at: state.started.wall(),
        uptime_seconds: now.since(state.started).as_secs(),
        started: match &state.guarding.started {
            Some(Ok(started)) => Some(started_word(*started).to_owned()),
            Some(Err(_)) | None => None,
        },
        metrics: facts.metrics.as_ref().and_then(|metrics| metrics.as_ref().ok().cloned()),
        policy: policy(state),
        coverage: state
            .guarding
            .coverage
            .as_ref()
            .map(|(coverage, at)| CoverageStatus { time: at.wall(), ops: coverage_ops(coverage) }),
        paused: state.book.count(),
        allowances: super::open_allowances(&state.allowances, now),
        break_glass: state.glass.open().map(|entry| super::glass(entry, now)),
        zones: zones.map(|(index, report)| zone(state, index, report, facts, now, unit)).collect(),
        audit: super::audit(state, &facts.audit),
        accounts: facts.ledger.count(),
        events: EventsStatus { kept: state.ring.kept(), dropped: state.ring.dropped() },
    }
}

fn policy(state: &State) -> PolicyStatus {
    let reload = state.reload.as_ref();
    PolicyStatus {
        path: state.plan.origin.path.clone(),
        sha256: state.plan.origin.sha256.clone(),
        loaded: state.plan.origin.read.wall(),
        reload_failed: reload.is_some_and(|(_, error)| error.is_some()),
        reload_time: reload.map(|(at, _)| at.wall()),
        reload_error: reload.and_then(|(_, error)| error.clone()),
    }
}

fn warnings(state: &State, facts: &Facts, is_up: bool) -> Vec<String> {
    let mut warnings = facts.errors.clone();
    if let Some((_, Some(_))) = &state.reload {
        let before = if is_up { "stays in force" } else { "is kept, and not enforced either" };
        warnings.push(format!(
            "the policy file was refused; the policy before it {before}: see `holdfast policy \
             check`"
        ));
    }
    if let Some(error) = state.guarding.apply_error.as_ref().filter(|_| state.guarding.in_force) {
        warnings.push(format!("changed directories are not guarded: {error}"));
    }
    warnings.extend(state.plan.shared_units.clone());
    if facts.audit.lost > 0 {
        let lost = facts.audit.lost;
        warnings.push(format!("{lost} audit records could not be kept: they are lost"));
    }
    if let Some(why) = state.allowances.unreadable() {
        warnings
            .push(format!("every allowance is refused: nobody can tell which were used: {why}"));
    }
    if let Some(why) = state.allowances.unwritable() {
        warnings.push(format!("what became of allowances is not on the disk: {why}"));
    }
    if let Some(Err(error)) = &facts.metrics {
        warnings.push(format!("nothing serves /metrics: {error}"));
    }
    if let Some(error) = &facts.keep_error {
        warnings.push(format!(
            "a boot that finds the policy file unusable has nothing to go on with: {error}"
        ));
    }
    warnings.extend(facts.carryover_error.clone());
    if let Some(error) = &facts.webhook_error {
        warnings.push(format!("nothing is sent to the web hook: {error}"));
    }
    warnings
}

fn zone(
    state: &State,
    index: usize,
    report: &ZoneReport,
    facts: &Facts,
    now: Now,
    unit: &mut dyn FnMut(u64) -> Option<String>,
) -> ZoneStatus {
    let zone = &state.plan.policy.zones[index];
    let slot = facts.slot(zone.name.as_str());
    let net = slot.map(|slot| OpsNet::new(&facts.counters, slot)).unwrap_or_default();
    let counters = slot.map(|slot| facts.zone_counters(slot)).unwrap_or_default();
    let ops = net.0.iter().map(|((op, verdict), net)| OpsRow {
        op: op.word().to_owned(),
        verdict: verdict.word().to_owned(),
        ops: net.ops,
        files: net.cost.files,
        bytes: net.cost.bytes,
    });
    ZoneStatus {
        name: zone.name.to_string(),
        role: zone.role.word().to_owned(),
        mode: zone.mode.word().to_owned(),
        on_trip: zone.on_trip.word().to_owned(),
        hold_timeout_seconds: zone.hold_timeout.as_secs(),
        tenant_depth: zone.tenant_depth,
        slot,
        state: report.state,
        paths: report.paths.clone(),
        kept_roots: report.kept,
        unmounted_roots: report.unmounted,
        budgets: zone
            .budgets
            .iter()
            .map(|budget| facts.ledger.status(budget, zone, now, unit))
            .collect(),
        ops: ops.collect(),
        destroyed: Op::ALL.iter().fold(Cost::default(), |sum, op| add(sum, net.destroyed(*op))),
        trips: counters.trips,
        events_lost: counters.events_lost,
        events_suppressed: counters.events_suppressed,
        strict: counters.strict,
        overflow: counters.overflow,
        untracked: counters.untracked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(zone: u32, outcome: Outcome, ops: u64) -> CounterRow {
        CounterRow { zone, op: Op::Remove, outcome, ops, files: ops, bytes: ops * 10 }
    }

    /// 60 files that were removed under a throttle of 30 showed as 90: 30 of them were paused
    /// before they went.
    #[test]
    fn a_paused_op_destroys_nothing() {
        for &verdict in Verdict::ALL {
            let rows = [
                row(1, Outcome::Decided(Verdict::Allow), 60),
                row(1, Outcome::Decided(verdict), 30),
            ];
            let destroyed = OpsNet::new(&rows, 1).destroyed(Op::Remove).files;
            let expected = match verdict {
                Verdict::Allow | Verdict::Observe => 90,
                Verdict::Deny | Verdict::Hold | Verdict::Throttle => 60,
            };
            assert_eq!(destroyed, expected, "{verdict:?}");
        }
    }

    #[test]
    fn failed_ops_are_not_counted() {
        let rows = [
            row(1, Outcome::Decided(Verdict::Allow), 10),
            row(1, Outcome::GivenBack(Verdict::Allow), 3),
            row(1, Outcome::Decided(Verdict::Observe), 5),
            row(1, Outcome::GivenBack(Verdict::Observe), 1),
            row(1, Outcome::Decided(Verdict::Deny), 100),
            row(2, Outcome::Decided(Verdict::Allow), 1000),
        ];
        let net = OpsNet::new(&rows, 1);
        assert_eq!(net.0[&(Op::Remove, Verdict::Allow)].ops, 7);
        assert_eq!(net.0[&(Op::Remove, Verdict::Deny)].ops, 100);
        assert_eq!(net.destroyed(Op::Remove), Cost { files: 11, bytes: 110 });
        assert_eq!(net.destroyed(Op::Truncate), Cost::default());
        let early = [
            row(1, Outcome::GivenBack(Verdict::Allow), 2),
            row(1, Outcome::Decided(Verdict::Allow), 1),
        ];
        assert_eq!(OpsNet::new(&early, 1).destroyed(Op::Remove).files, 0);
    }
}
