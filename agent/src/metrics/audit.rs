//! The audit log in numbers.
//!
//! The hash of the head is a number rather than a label: its first 52 bits, which a sample holds
//! exactly. A label would make a new series of each head.

use prometheus::{IntGauge, Registry};

use super::monotonic::Monotonic;
use super::{clamp, counters, gauge};
use crate::audit::AuditFacts;

/// What there is to say about the log.
#[derive(Debug)]
pub(super) struct Audit {
    records: Monotonic,
    lost: Monotonic,
    failures: Monotonic,
    writable: IntGauge,
    waiting: IntGauge,
    head_seq: IntGauge,
    head_hash: IntGauge,
    bytes: IntGauge,
    findings: Monotonic,
}

impl Audit {
    pub(super) fn new(r: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            records: counters(
                r,
                "audit_records_total",
                "Audit records on the disk since the agent started.",
                &[],
            )?,
            lost: counters(
                r,
                "audit_lost_total",
                "Audit records that could not be kept, since the agent started.",
                &[],
            )?,
            failures: counters(
                r,
                "audit_write_failures_total",
                "Times the audit log could not be written.",
                &[],
            )?,
            writable: gauge(r, "audit_writable", "1 if the audit log could be written last.")?,
            waiting: gauge(r, "audit_records_waiting", "Audit records that wait to be written.")?,
            head_seq: gauge(
                r,
                "audit_head_seq",
                "Number of the last signed audit record; 0: none.",
            )?,
            head_hash: gauge(
                r,
                "audit_head_hash",
                "The first 13 hexadecimal digits of its hash, as a number.",
            )?,
            findings: counters(
                r,
                "audit_findings_total",
                "What was found wrong with the audit log since the agent started: torn (by a \
                 crash), behind (records that were there are gone), unmarked (the note of where it \
                 ended is gone), damaged, disturbed (changed while it was written to).",
                &["kind"],
            )?,
            bytes: gauge(r, "audit_bytes", "Bytes of all segments of the audit log.")?,
        })
    }

    pub(super) fn show(&mut self, facts: &AuditFacts) {
        self.records.reached(0, &[], facts.written);
        self.lost.reached(0, &[], facts.lost);
        self.failures.reached(0, &[], facts.failures);
        for (kind, times) in facts.findings.by_kind() {
            self.findings.reached(0, &[kind], times);
        }
        self.writable.set(facts.trouble.is_none().into());
        self.waiting.set(clamp(facts.waiting));
        let head = facts.signed.map(|mark| mark.head);
        self.head_seq.set(head.map_or(0, |head| clamp(head.seq)));
        self.head_hash.set(head.map_or(0, |head| clamp(head.hash.short())));
        self.bytes.set(clamp(facts.bytes));
    }
}
