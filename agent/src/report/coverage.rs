//! The self-test, for people and documents.

use crate::api::CoverageOp;
use crate::kernel::Coverage;

/// Each part of it: the ops that were tried, and what else was looked at.
pub(crate) fn coverage_ops(coverage: &Coverage) -> Vec<CoverageOp> {
    let ops = coverage.ops.iter().map(|(op, outcome)| CoverageOp {
        op: op.word().to_owned(),
        ok: outcome.is_ok(),
        found: outcome.as_ref().err().cloned(),
    });
    let checks = coverage.checks.iter().map(|check| CoverageOp {
        op: check.name.to_owned(),
        ok: check.ok,
        found: (!check.ok).then(|| check.found.clone()),
    });
    ops.chain(checks).collect()
}

/// Why it does not pass.
pub(crate) fn coverage_why(ops: &[CoverageOp]) -> String {
    let failed: Vec<String> = ops
        .iter()
        .filter(|op| !op.ok)
        .map(|op| format!("{} ({})", op.op, op.found.as_deref().unwrap_or("not stopped")))
        .collect();
    if failed.is_empty() {
        "the self-test could try no op".to_owned()
    } else {
        format!("the self-test fails: {}", failed.join(", "))
    }
}
