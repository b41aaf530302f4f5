//! Audit records and log messages of the daemon's own doings.

use std::os::unix::ffi::OsStrExt as _;

use super::message::{Cause, ZoneInForce};
use super::plan::Plan;
use crate::audit::{PolicyZone, Record};
use crate::kernel::Started;
use crate::text;

/// The agent starts.
pub(super) fn start(boot_id: Option<String>) -> Record {
    Record::Start {
        version: env!("CARGO_PKG_VERSION"),
        abi: holdfast_abi::ABI_VERSION,
        pid: std::process::id(),
        boot_id,
    }
}

/// The guard came up, or did not.
pub(super) fn adopt(outcome: &Result<Started, String>) -> Record {
    match outcome {
        Ok(started) => Record::Adopt { started: Some(started_word(*started)), error: None },
        Err(error) => Record::Adopt { started: None, error: Some(error.clone()) },
    }
}

/// The word for how the guard came up.
pub(crate) const fn started_word(started: Started) -> &'static str {
    match started {
        Started::Fresh => "fresh",
        Started::Adopted => "adopted",
        Started::Upgraded => "upgraded",
    }
}

/// A plan was taken.
pub(super) fn policy(
    plan: &Plan,
    cause: Cause,
    in_force: bool,
    zones_in_force: &[ZoneInForce],
) -> Record {
    let zones = plan.policy.zones.iter().zip(&plan.zones).map(|(zone, found)| PolicyZone {
        name: zone.name.to_string(),
        mode: zone.mode.word(),
        roots: found
            .roots
            .iter()
            .map(|root| text::lossless(root.path.as_os_str().as_bytes()).0)
            .collect(),
        kept_roots: zones_in_force
            .iter()
            .find(|in_force| in_force.name == zone.name.as_str())
            .map_or(0, |in_force| in_force.kept.len()),
        missing: found.missing.clone(),
    });
    Record::Policy {
        outcome: if in_force { "in_force" } else { "not_enforced" },
        cause: cause.word(),
        path: plan.origin.path.clone(),
        sha256: Some(plan.origin.sha256.clone()),
        error: None,
        zones: zones.collect(),
    }
}

/// A plan is about to be put in force.
pub(super) fn policy_accepted(plan: &Plan, cause: Cause) -> Record {
    match policy(plan, cause, true, &[]) {
        Record::Policy { cause, path, sha256, error, zones, .. } => {
            Record::Policy { outcome: "accepted", cause, path, sha256, error, zones }
        }
        other => other,
    }
}

/// A plan was refused.
pub(super) fn policy_refused(
    path: &str,
    sha256: Option<String>,
    cause: Cause,
    error: &str,
) -> Record {
    Record::Policy {
        outcome: "refused",
        cause: cause.word(),
        path: path.to_owned(),
        sha256,
        error: Some(error.to_owned()),
        zones: Vec::new(),
    }
}

/// What to tell the log about a plan that was taken.
pub(super) fn policy_message(plan: &Plan, cause: Cause, in_force: bool) -> String {
    let roots: usize = plan.zones.iter().map(|zone| zone.roots.len()).sum();
    let what = match (in_force, cause) {
        (true, Cause::Roots) => "directories changed; the policy is in force for what is there now",
        (true, Cause::Repair) => "the kernel's maps were edited; the policy is in force anew",
        (true, Cause::Start | Cause::Reload) => "the policy is in force",
        (false, _) => "the policy is read, but nothing enforces it",
    };
    format!(
        "{what}: {} zones, {roots} directories, {} missing (sha256 {})",
        plan.policy.zones.len(),
        plan.missing().len(),
        &plan.origin.sha256[..12]
    )
}
