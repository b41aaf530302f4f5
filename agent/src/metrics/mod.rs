//! The metrics page. Its numbers come from the kernel's counters when somebody asks for them:
//! nothing here is on the path of a decision.
//!
//! No label names a path, a process or a user.

mod allowances;
mod audit;
mod break_glass;
mod few;
mod manifest;
mod monotonic;
mod pauses;
mod server;

use prometheus::{Encoder as _, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use holdfast_abi::{ABI_VERSION, Mode, OnTrip};

use crate::api::{PathState, ZoneState};
use crate::clock::Now;
use crate::daemon::{AllowanceCount, GlassCount, State};
use crate::holds::EndedPause;
use crate::report::{self, Facts, OpsNet, coverage_ops};
use allowances::Allowances;
use break_glass::Glass;
use manifest::Manifest;
use monotonic::Monotonic;
use pauses::Pauses;

pub(crate) use server::{MetricsAddress, bind, serve};

/// For a gauge that can be absent.
const NO_LABELS: &[&str] = &[];

/// Every metric.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    started: IntGauge,
    ops: Monotonic,
    destroyed_files: Monotonic,
    destroyed_bytes: Monotonic,
    trips: Monotonic,
    strict: Monotonic,
    lost: Monotonic,
    suppressed: Monotonic,
    audit: audit::Audit,
    journal_dropped: Monotonic,
    log_dropped: Monotonic,
    webhook: [Monotonic; 2],
    left: [IntGaugeVec; 3],
    limit: [IntGaugeVec; 3],
    tripped: IntGaugeVec,
    zone_mode: IntGaugeVec,
    on_trip: IntGaugeVec,
    guard_up: IntGauge,
    zone_enforcing: IntGaugeVec,
    unguarded: IntGaugeVec,
    coverage_ok: IntGaugeVec,
    repairs: Monotonic,
    skipped: Monotonic,
    coverage_time: IntGauge,
    coverage_age: IntGaugeVec,
    roots: IntGaugeVec,
    missing: IntGaugeVec,
    kept: IntGaugeVec,
    accounts: IntGauge,
    pauses: Pauses,
    allowances: Allowances,
    glass: Glass,
    manifest: Manifest,
    reload_failed: IntGauge,
    reload_time: IntGauge,
}

impl Metrics {
    /// Registers every metric.
    pub(crate) fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let r = &registry;
        let budget = &["zone", "budget"];
        let build = gauges(r, "build_info", "The version of the agent.", &["version", "abi"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), &ABI_VERSION.to_string()]).set(1);
        let help = "When the agent was started, in seconds since 1970.";
        let started = gauge(r, "agent_start_time_seconds", help)?;
        Ok(Self {
            started,
            ops: counters(
                r,
                "ops_total",
                "Ops by verdict; those that failed by themselves are not counted.",
                &["zone", "op", "verdict"],
            )?,
            destroyed_files: counters(
                r,
                "destroyed_files_total",
                "Files that ops have destroyed.",
                &["zone", "op"],
            )?,
            destroyed_bytes: counters(
                r,
                "destroyed_bytes_total",
                "Bytes that ops have destroyed, by file size.",
                &["zone", "op"],
            )?,
            trips: counters(
                r,
                "trips_total",
                "Trips: ops that were the first over a budget.",
                &["zone"],
            )?,
            strict: counters(
                r,
                "strict_ops_total",
                "Ops that a zone was charged for, allowed or not, as their place on its filesystem \
                 is unknown: they may have been outside.",
                &["zone"],
            )?,
            lost: counters(
                r,
                "events_lost_total",
                "Events that found the kernel's buffer full.",
                &["zone"],
            )?,
            suppressed: counters(
                r,
                "events_suppressed_total",
                "Events left out because their actor sent enough already.",
                &["zone"],
            )?,
            audit: audit::Audit::new(r)?,
            journal_dropped: counters(
                r,
                "journal_dropped_total",
                "Entries that the journal had no room for, since the agent started.",
                &[],
            )?,
            log_dropped: counters(
                r,
                "log_dropped_total",
                "Log lines dropped because standard error was not read, since the agent started.",
                &[],
            )?,
            webhook: [
                counters(
                    r,
                    "webhook_delivered_total",
                    "Messages that the web hook has taken.",
                    &[],
                )?,
                counters(
                    r,
                    "webhook_dropped_total",
                    "Messages that the web hook has not taken, or for which there was no room.",
                    &[],
                )?,
            ],
            left: [
                gauges(
                    r,
                    "budget_left_files",
                    "Files that the actor with the least left can still destroy.",
                    budget,
                )?,
                gauges(
                    r,
                    "budget_left_bytes",
                    "Bytes that the actor with the least left can still destroy.",
                    budget,
                )?,
                gauges(
                    r,
                    "budget_left_tenants",
                    "Tenants that the actor with the least left can still touch.",
                    budget,
                )?,
            ],
            limit: [
                gauges(r, "budget_limit_files", "Files a budget allows.", budget)?,
                gauges(r, "budget_limit_bytes", "Bytes a budget allows.", budget)?,
                gauges(r, "budget_limit_tenants", "Tenants a budget allows.", budget)?,
            ],
            tripped: gauges(
                r,
                "tripped_actors",
                "Actors that are over a budget at this moment: until released, or until the window \
                 has drained.",
                budget,
            )?,
            zone_mode: gauges(
                r,
                "zone_mode",
                "1 for the mode a zone is in, 0 for the other.",
                &["zone", "mode"],
            )?,
            on_trip: gauges(
                r,
                "zone_on_trip",
                "1 for what a zone does with ops over budget once it enforces, 0 for the others.",
                &["zone", "on_trip"],
            )?,
            guard_up: gauge(
                r,
                "guard_up",
                "1 if the programs are loaded, a policy is in force, and the self-test has just \
                 passed.",
            )?,
            zone_enforcing: gauges(
                r,
                "zone_enforcing",
                "1 if the guard is up, every path of the zone that exists is guarded, and ops over \
                 budget are stopped.",
                &["zone"],
            )?,
            unguarded: gauges(
                r,
                "paths_unguarded",
                "Paths of a zone that exist and are not guarded: `holdfast status` says why.",
                &["zone"],
            )?,
            coverage_ok: gauges(
                r,
                "coverage_ok",
                "1 if this part of the self-test passed the last time: an op that has to be \
                 denied, `allowed`, `programs` or `configuration`.",
                &["op"],
            )?,
            repairs: counters(
                r,
                "repairs_total",
                "How often the policy was put in force anew because the kernel's maps were edited.",
                &[],
            )?,
            skipped: counters(
                r,
                "program_skipped_runs_total",
                "Runs of a kernel program that the kernel skipped, as it was running on that CPU \
                 already.",
                &["program"],
            )?,
            coverage_time: gauge(
                r,
                "coverage_timestamp_seconds",
                "When the self-test last ran, in seconds since 1970; 0 if never.",
            )?,
            coverage_age: gauges(
                r,
                "coverage_age_seconds",
                "Seconds since the self-test last ran, by a clock that nobody sets; absent if \
                 never.",
                &[],
            )?,
            roots: gauges(
                r,
                "roots",
                "Directories that the paths of a zone lead to and that are guarded.",
                &["zone"],
            )?,
            missing: gauges(r, "roots_missing", "Paths of a zone that do not exist.", &["zone"])?,
            kept: gauges(
                r,
                "roots_kept",
                "Directories of a zone that have left their path and are still guarded.",
                &["zone"],
            )?,
            accounts: gauge(r, "accounts", "Accounts (budget and actor) the kernel keeps.")?,
            pauses: Pauses::new(r)?,
            allowances: Allowances::new(r)?,
            glass: Glass::new(r)?,
            manifest: Manifest::new(r)?,
            reload_failed: gauge(
                r,
                "policy_reload_failed",
                "1 if the policy file was refused when it was last read; the policy before it is \
                 in force.",
            )?,
            reload_time: gauge(
                r,
                "policy_reload_timestamp_seconds",
                "When the policy was last loaded, or a reload was last tried, in seconds since \
                 1970.",
            )?,
            registry,
        })
    }

    /// A process of the zone of this name is no longer held.
    pub(crate) fn pause_ended(&self, zone: &str, pause: &EndedPause) {
        self.pauses.ended(zone, pause);
    }

    /// An allowance was activated or refused.
    pub(crate) fn count_allowance(&self, count: AllowanceCount) {
        self.allowances.count(count);
    }

    /// A break-glass was opened or refused.
    pub(crate) fn count_glass(&self, count: &GlassCount) {
        self.glass.count(count);
    }

    /// The page, with everything as it is now.
    pub(crate) fn page(
        &mut self,
        state: &State,
        facts: &Facts,
        now: Now,
    ) -> prometheus::Result<String> {
        self.count(facts);
        self.show_budgets(state, facts, now);
        self.show_state(state, facts, now);
        self.pauses.show(state, now);
        self.manifest.show(facts);
        self.allowances.show(&state.allowances, facts.marks_lost, now);
        self.glass.show(state, now);
        let mut page = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut page)?;
        String::from_utf8(page).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }

    fn count(&mut self, facts: &Facts) {
        for zone in &facts.zones {
            let (slot, name) = (zone.slot, zone.name.as_str());
            let net = OpsNet::new(&facts.counters, slot);
            for ((op, verdict), net) in &net.0 {
                self.ops.reached(slot, &[name, op.word(), verdict.word()], net.ops);
            }
            for &op in holdfast_abi::Op::ALL {
                let cost = net.destroyed(op);
                if net.0.keys().any(|(other, _)| *other == op) {
                    self.destroyed_files.reached(slot, &[name, op.word()], cost.files);
                    self.destroyed_bytes.reached(slot, &[name, op.word()], cost.bytes);
                }
            }
            let counters = facts.zone_counters(slot);
            self.trips.reached(slot, &[name], counters.trips);
            self.strict.reached(slot, &[name], counters.strict);
            self.lost.reached(slot, &[name], counters.events_lost);
            self.suppressed.reached(slot, &[name], counters.events_suppressed);
        }
        self.audit.show(&facts.audit);
        self.journal_dropped.reached(0, &[], facts.journal_dropped);
        self.log_dropped.reached(0, &[], facts.log_dropped);
        for (program, runs) in &facts.skipped_runs {
            self.skipped.reached(0, &[program], *runs);
        }
        if let Some((delivered, dropped)) = facts.webhook {
            self.webhook[0].reached(0, &[], delivered);
            self.webhook[1].reached(0, &[], dropped);
        }
    }

    fn show_budgets(&self, state: &State, facts: &Facts, now: Now) {
        let gauges = self.left.iter().chain(&self.limit).chain([&self.tripped]);
        gauges.for_each(IntGaugeVec::reset);
        for zone in &state.plan.policy.zones {
            for budget in &zone.budgets {
                let (name, label) = (zone.name.as_str(), budget.label());
                let tripped = facts.ledger.tripped(budget, zone, now);
                self.tripped.with_label_values(&[name, &label]).set(clamp(tripped));
                let least = facts.ledger.least(budget, zone, now);
                for (index, side) in
                    [least.files, least.bytes, least.tenants].into_iter().enumerate()
                {
                    if let Some(side) = side {
                        self.left[index].with_label_values(&[name, &label]).set(clamp(side.left));
                        self.limit[index].with_label_values(&[name, &label]).set(clamp(side.limit));
                    }
                }
            }
        }
    }

    fn show_state(&mut self, state: &State, facts: &Facts, now: Now) {
        let by_zone = [
            &self.zone_mode,
            &self.on_trip,
            &self.roots,
            &self.missing,
            &self.kept,
            &self.zone_enforcing,
            &self.unguarded,
        ];
        by_zone.into_iter().for_each(IntGaugeVec::reset);
        self.coverage_ok.reset();
        let guard = report::guard(state, now);
        for (zone, report) in state.plan.policy.zones.iter().zip(&guard.zones) {
            let name = zone.name.as_str();
            for &mode in Mode::ALL {
                self.zone_mode
                    .with_label_values(&[name, mode.word()])
                    .set((mode == zone.mode).into());
            }
            for &on_trip in OnTrip::ALL {
                self.on_trip
                    .with_label_values(&[name, on_trip.word()])
                    .set((on_trip == zone.on_trip).into());
            }
            let set =
                |gauge: &IntGaugeVec, n: usize| gauge.with_label_values(&[name]).set(n as i64);
            // Without a guard no directory is guarded.
            set(&self.roots, report.count(PathState::Guarded));
            set(&self.missing, report.count(PathState::Missing));
            set(&self.unguarded, report.count(PathState::NotGuarded));
            set(&self.kept, report.kept);
            set(&self.zone_enforcing, (report.state == ZoneState::Enforcing).into());
        }
        self.guard_up.set(guard.standing.is_up().into());
        if let Some((coverage, at)) = &state.guarding.coverage {
            for op in coverage_ops(coverage) {
                self.coverage_ok.with_label_values(&[&op.op]).set(op.ok.into());
            }
            self.coverage_time.set(at.unix_seconds());
            let age = clamp(now.since(*at).as_secs());
            self.coverage_age.with_label_values(NO_LABELS).set(age);
        }
        self.repairs.reached(0, &[], state.repairs);
        self.started.set(state.started.unix_seconds());
        self.accounts.set(clamp(facts.ledger.count()));
        let (at, failed) = match &state.reload {
            Some((at, error)) => (*at, error.is_some()),
            None => (state.plan.origin.read, false),
        };
        self.reload_failed.set(failed.into());
        self.reload_time.set(at.unix_seconds());
    }
}

fn clamp(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("holdfast")
}

fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    let gauge = IntGauge::with_opts(options(name, help))?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntGaugeVec> {
    let gauges = IntGaugeVec::new(options(name, help), labels)?;
    registry.register(Box::new(gauges.clone()))?;
    Ok(gauges)
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<Monotonic> {
    let counters = IntCounterVec::new(options(name, help), labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(Monotonic::new(counters))
}

#[cfg(test)]
mod shipped;
#[cfg(test)]
mod tests;
