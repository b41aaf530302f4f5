//! Metrics of signed allowances. An id is a label only while its allowance is open.

use std::collections::BTreeMap;

use holdfast_policy::allowance::RefusedReason;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::{Monotonic, clamp, counters, gauge, gauges, options};
use crate::allowances::{Book, Granted};
use crate::clock::Now;
use crate::daemon::AllowanceCount;

/// What is open, what was spent of it, and what was refused.
#[derive(Debug)]
pub(super) struct Allowances {
    open: IntGauge,
    activated: IntCounter,
    refused: IntCounterVec,
    unreadable: IntGauge,
    marks_lost: Monotonic,
    left: IntGaugeVec,
    /// Files spent and granted, bytes spent and granted.
    grants: [IntGaugeVec; 4],
}

impl Allowances {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let activated = IntCounter::with_opts(options(
            "allowances_activated_total",
            "Allowances that were opened, since the agent started.",
        ))?;
        registry.register(Box::new(activated.clone()))?;
        let help = "Allowances that were refused, since the agent started, by reason. `other_host` \
                    means that a valid allowance of another host was presented here.";
        let refused = IntCounterVec::new(options("allowances_refused_total", help), &["reason"])?;
        registry.register(Box::new(refused.clone()))?;
        for reason in RefusedReason::ALL {
            let _ = refused.with_label_values(&[reason.word()]);
        }
        let side = |name, help| gauges(registry, name, help, &["id", "zone"]);
        Ok(Self {
            open: gauge(registry, "allowances_open", "Allowances that can be spent.")?,
            activated,
            refused,
            unreadable: gauge(
                registry,
                "allowances_unreadable",
                "1 if nobody can tell which allowances were used before: every one is refused.",
            )?,
            marks_lost: counters(
                registry,
                "allowance_marks_lost_total",
                "New processes that did not get the mark of the allowance they were started under; \
                 budgets decide about them.",
                &[],
            )?,
            left: gauges(
                registry,
                "allowance_left_seconds",
                "Seconds for which an open allowance can still be spent.",
                &["id"],
            )?,
            grants: [
                side("allowance_spent_files", "Files spent of an open allowance.")?,
                side("allowance_granted_files", "Files an open allowance grants.")?,
                side("allowance_spent_bytes", "Bytes spent of an open allowance.")?,
                side("allowance_granted_bytes", "Bytes an open allowance grants.")?,
            ],
        })
    }

    pub(super) fn count(&self, count: AllowanceCount) {
        match count {
            AllowanceCount::Activated => self.activated.inc(),
            AllowanceCount::Refused(reason) => {
                self.refused.with_label_values(&[reason.word()]).inc();
            }
        }
    }

    /// What is open now. Grants of one allowance in the same zone are added up.
    pub(super) fn show(&mut self, book: &Book, marks_lost: u64, now: Now) {
        self.open.set(book.open().count() as i64);
        self.unreadable.set(book.unreadable().is_some().into());
        self.marks_lost.reached(0, &[], marks_lost);
        self.left.reset();
        self.grants.iter().for_each(IntGaugeVec::reset);
        for entry in book.open() {
            let left = entry.until_ns.saturating_sub(now.boot_ns) / 1_000_000_000;
            self.left.with_label_values(&[&entry.id]).set(clamp(left));
            let mut zones: BTreeMap<&str, [u64; 4]> = BTreeMap::new();
            for grant in &entry.grants {
                let sums = zones.entry(&grant.zone).or_default();
                for (sum, value) in sums.iter_mut().zip(sides(grant)) {
                    *sum = sum.saturating_add(value);
                }
            }
            for (zone, sums) in zones {
                for (gauge, sum) in self.grants.iter().zip(sums) {
                    gauge.with_label_values(&[entry.id.as_str(), zone]).set(clamp(sum));
                }
            }
        }
    }
}

fn sides(grant: &Granted) -> [u64; 4] {
    [grant.used_files, grant.files, grant.used_bytes, grant.bytes]
}
