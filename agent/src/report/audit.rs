//! How the audit log is, for the status.

use crate::api::AuditStatus;
use crate::audit::AuditFacts;
use crate::daemon::State;

/// The log as it is now.
pub(crate) fn audit(state: &State, facts: &AuditFacts) -> AuditStatus {
    let trouble = facts.trouble.as_ref();
    AuditStatus {
        writable: trouble.is_none(),
        error: trouble.map(|trouble| trouble.error.clone()),
        failing_since: trouble.map(|trouble| trouble.since.wall()),
        on_failure: state.plan.policy.on_audit_failure.word().to_owned(),
        records: facts.written,
        waiting: facts.waiting,
        lost: facts.lost,
        head_seq: facts.signed.map(|mark| mark.head.seq),
        head_hash: facts.signed.map(|mark| mark.head.hash.to_string()),
        unsigned: facts.unsigned,
        bytes: facts.bytes,
    }
}
