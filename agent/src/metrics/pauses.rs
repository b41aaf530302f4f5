//! Metrics of paused processes.

use std::collections::BTreeMap;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Registry};

use super::{clamp, gauges, options};
use crate::clock::Now;
use crate::daemon::State;
use crate::holds::{EndedPause, Outcome};

/// From a second to an hour.
const SECONDS: &[f64] = &[1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0];

/// What is paused, and how pauses ended.
#[derive(Debug)]
pub(super) struct Pauses {
    held: IntGaugeVec,
    throttled: IntGaugeVec,
    ended: IntCounterVec,
    seconds: HistogramVec,
    longest: IntGaugeVec,
    left: IntGaugeVec,
}

impl Pauses {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let help = "Held processes that no longer are, by how that came: released, expired (nobody \
                    decided in time), killed (by holdfast), gone (they ended otherwise) or resumed \
                    (they went on otherwise).";
        let ended = IntCounterVec::new(options("holds_total", help), &["zone", "outcome"])?;
        registry.register(Box::new(ended.clone()))?;
        let help = "How long processes were held.";
        let buckets = HistogramOpts::from(options("hold_seconds", help)).buckets(SECONDS.to_vec());
        let seconds = HistogramVec::new(buckets, &["zone"])?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Self {
            held: gauges(
                registry,
                "held_processes",
                "Processes that are paused until somebody decides.",
                &["zone"],
            )?,
            throttled: gauges(
                registry,
                "throttled_processes",
                "Processes that are paused and go on at their budget's rate.",
                &["zone"],
            )?,
            ended,
            seconds,
            longest: gauges(
                registry,
                "held_longest_seconds",
                "Seconds since the process that has been held longest was paused; 0 if none is.",
                &["zone"],
            )?,
            left: gauges(
                registry,
                "hold_left_seconds",
                "Seconds until the first hold is denied because nobody has decided; absent if \
                 nothing is held.",
                &["zone"],
            )?,
        })
    }

    pub(super) fn ended(&self, zone: &str, pause: &EndedPause) {
        self.ended.with_label_values(&[zone, pause.outcome.word()]).inc();
        self.seconds.with_label_values(&[zone]).observe(pause.lasted.as_secs_f64());
    }

    /// What is paused now. Every zone in force is there, also while nothing of it is paused.
    pub(super) fn show(&self, state: &State, now: Now) {
        self.show_waiting(state, now);
        self.held.reset();
        self.throttled.reset();
        let mut zones: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for zone in &state.plan.policy.zones {
            let name = zone.name.as_str();
            zones.insert(name.to_owned(), (0, 0));
            for outcome in Outcome::ALL {
                let _ = self.ended.with_label_values(&[name, outcome.word()]);
            }
            let _ = self.seconds.with_label_values(&[name]);
        }
        for (slot, (held, throttled)) in state.book.by_zone() {
            let count = zones.entry(state.rule(slot).name).or_default();
            count.0 += held;
            count.1 += throttled;
        }
        for (zone, (held, throttled)) in zones {
            self.held.with_label_values(&[&zone]).set(clamp(held));
            self.throttled.with_label_values(&[&zone]).set(clamp(throttled));
        }
    }

    /// How long the longest has waited, and how long the first still waits.
    fn show_waiting(&self, state: &State, now: Now) {
        self.longest.reset();
        self.left.reset();
        for zone in &state.plan.policy.zones {
            self.longest.with_label_values(&[zone.name.as_str()]).set(0);
        }
        let seconds = |from: u64, to: u64| clamp(to.saturating_sub(from) / 1_000_000_000);
        let mut first: BTreeMap<String, i64> = BTreeMap::new();
        for row in state.book.holds(now) {
            let rule = state.rule(row.key.zone);
            let held = state.book.of(row.hold.id).filter(|paused| paused.is_held());
            let Some(since) = held.map(|paused| paused.held.since_ns).min() else { continue };
            let longest = self.longest.with_label_values(&[&rule.name]);
            longest.set(longest.get().max(seconds(since, now.boot_ns)));
            if let Some(deadline) = state.book.deadline_ns(row.hold.id, rule.hold_timeout) {
                let left = seconds(now.boot_ns, deadline);
                first
                    .entry(rule.name)
                    .and_modify(|least| *least = left.min(*least))
                    .or_insert(left);
            }
        }
        for (zone, left) in first {
            self.left.with_label_values(&[&zone]).set(left);
        }
    }
}
