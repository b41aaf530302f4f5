//! Metrics of break-glass.

use holdfast_policy::break_glass::GlassReason;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::{clamp, gauge, gauges, options};
use crate::clock::Now;
use crate::daemon::{GlassCount, State};

/// What is open, what was refused, and what is left to open one with.
#[derive(Debug)]
pub(super) struct Glass {
    opened: IntCounterVec,
    refused: IntCounterVec,
    open: IntGaugeVec,
    enabled: IntGaugeVec,
    left: IntGaugeVec,
    /// Files spent and granted, bytes spent and granted.
    spent: [IntGaugeVec; 4],
    codes_left: IntGauge,
    guessing: IntGauge,
}

impl Glass {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name, help, label: &str| {
            let counter = IntCounterVec::new(options(name, help), &[label])?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let refused = counter(
            "break_glass_refused_total",
            "Times a break-glass was refused, since the agent started, by reason.",
            "reason",
        )?;
        for reason in GlassReason::ALL {
            let _ = refused.with_label_values(&[reason.word()]);
        }
        let by_zone = |name, help| gauges(registry, name, help, &["zone"]);
        Ok(Self {
            opened: counter(
                "break_glass_opened_total",
                "Times a break-glass was opened, since the agent started.",
                "zone",
            )?,
            refused,
            open: by_zone("break_glass_open", "1 while a break-glass is open for a zone.")?,
            enabled: by_zone(
                "break_glass_enabled",
                "1 if the policy lets a break-glass be opened for a zone.",
            )?,
            left: by_zone(
                "break_glass_left_seconds",
                "Seconds for which the break-glass that is open can still be spent.",
            )?,
            spent: [
                by_zone("break_glass_spent_files", "Files destroyed under the open break-glass.")?,
                by_zone("break_glass_granted_files", "Files the open break-glass is for.")?,
                by_zone("break_glass_spent_bytes", "Bytes destroyed under the open break-glass.")?,
                by_zone("break_glass_granted_bytes", "Bytes the open break-glass is for.")?,
            ],
            codes_left: gauge(
                registry,
                "break_glass_codes_left",
                "Codes that can still open a break-glass.",
            )?,
            guessing: gauge(
                registry,
                "break_glass_guessing",
                "1 if ten or more wrong or used codes were given of late: somebody guesses.",
            )?,
        })
    }

    pub(super) fn count(&self, count: &GlassCount) {
        match count {
            GlassCount::Opened(zone) => self.opened.with_label_values(&[zone]).inc(),
            GlassCount::Refused(reason) => self.refused.with_label_values(&[reason.word()]).inc(),
        }
    }

    /// What is open now; 0 for every other zone.
    pub(super) fn show(&self, state: &State, now: Now) {
        let by_zone = [&self.open, &self.left, &self.enabled].into_iter().chain(&self.spent);
        by_zone.for_each(IntGaugeVec::reset);
        for zone in &state.plan.policy.zones {
            let name = zone.name.as_str();
            self.open.with_label_values(&[name]).set(0);
            let rule = state.plan.policy.break_glass.as_ref();
            let enabled = rule.is_some_and(|rule| rule.is_for(name));
            self.enabled.with_label_values(&[name]).set(enabled.into());
            // There from the start, so that the first one is a rise.
            let _ = self.opened.with_label_values(&[name]);
        }
        if let Some(entry) = state.glass.open() {
            let zone = &[entry.zone.as_str()];
            let left = entry.until_ns.saturating_sub(now.boot_ns) / 1_000_000_000;
            self.open.with_label_values(zone).set(1);
            self.left.with_label_values(zone).set(clamp(left));
            let sides = [entry.used_files, entry.files, entry.used_bytes, entry.bytes];
            for (gauge, side) in self.spent.iter().zip(sides) {
                gauge.with_label_values(zone).set(clamp(side));
            }
        }
        self.codes_left.set(state.glass.codes_left() as i64);
        self.guessing.set(state.glass.backoff.is_guessing(now.boot_ns).into());
    }
}
