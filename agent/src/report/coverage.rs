//! The proof, for people and documents.

use crate::api::CoverageOp;
use crate::kernel::Coverage;

/// Each op that was tried.
pub(crate) fn coverage_ops(coverage: &Coverage) -> Vec<CoverageOp> {
    let ops = coverage.ops.iter().map(|(op, outcome)| CoverageOp {
        op: op.word().to_owned(),
        ok: outcome.is_ok(),
        found: outcome.as_ref().err().cloned(),
    });
    ops.collect()
}

/// Why this is no proof.
pub(crate) fn coverage_why(ops: &[CoverageOp]) -> String {
    let failed: Vec<String> = ops
        .iter()
        .filter(|op| !op.ok)
        .map(|op| format!("{} ({})", op.op, op.found.as_deref().unwrap_or("not stopped")))
        .collect();
    if failed.is_empty() {
        "no op could be tried in the canary directory".to_owned()
    } else {
        format!(
            "in the canary directory, where every op must fail, these were not stopped: {}",
            failed.join(", ")
        )
    }
}
