//! Metrics of the manifest.

use prometheus::{IntGauge, Registry};

use super::{Monotonic, clamp, counters, gauge};
use crate::report::Facts;

/// What is kept, what is missing, and what it takes.
#[derive(Debug)]
pub(super) struct Manifest {
    records: Monotonic,
    lost: Monotonic,
    bytes: IntGauge,
    oldest: IntGauge,
    failing: IntGauge,
}

impl Manifest {
    pub(super) fn new(r: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            records: counters(
                r,
                "manifest_records_total",
                "Ops written to the manifest since the agent started.",
                &[],
            )?,
            lost: counters(
                r,
                "manifest_lost_total",
                "Ops that destroyed something and are missing in the manifest.",
                &["zone"],
            )?,
            bytes: gauge(r, "manifest_bytes", "Bytes that the manifest takes of the disk.")?,
            oldest: gauge(
                r,
                "manifest_oldest_timestamp_seconds",
                "Since when the manifest has every op, in seconds since 1970; before that only \
                 sums. 0 if it has none.",
            )?,
            failing: gauge(
                r,
                "manifest_failing",
                "1 if the manifest cannot be written; the kernel keeps what it has room for.",
            )?,
        })
    }

    /// Brings them up to date.
    pub(super) fn show(&mut self, facts: &Facts) {
        for zone in &facts.zones {
            let lost = facts.zone_counters(zone.slot).manifest_lost;
            self.lost.reached(zone.slot, &[&zone.name], lost);
        }
        let Some(manifest) = &facts.manifest else { return };
        self.records.reached(0, &[], manifest.records);
        self.bytes.set(clamp(manifest.bytes));
        self.oldest.set(manifest.oldest);
        self.failing.set(manifest.failing.into());
    }
}
