//! From recorded ops to budgets that fit. It proposes, and never decides: a person reads the
//! figures and what was left out.
//!
//! Ops are taken twice, oldest first. The first time [`Survey`] finds out what each actor destroyed
//! in any window, and which windows are *outliers*; the second time it measures the same without
//! them. What is measured is what [`crate::decide::Model`] charges, so that a limit that is not
//! below it cannot refuse any of these ops.
//!
//! **The rule.** For each budget of the zone's role ([`ceilings()`], which are those of the shipped
//! policy):
//!
//! 1. What an actor destroyed in a window that goes over the *ceiling* is left out.
//! 2. What stands *alone* is left out: at most three windows, each with more than three times what
//!    any other window has, and more than three times the smallest limit. With fewer than five
//!    windows nobody can tell: then what is more than a quarter of the ceiling is left out. (Not of
//!    what all together destroy: a short record has few windows of that.)
//! 3. The limit is the most of what remains, scaled up where the record is shorter than the window,
//!    and the headroom; at least a twentieth of the ceiling, and never above it. Only the tenants
//!    of all together are not limited where they are ordinarily more than the ceiling: it is about
//!    the most a budget can tell apart.
//!
//! An op of unknown cost is over every budget: none learns it.

mod ceilings;
mod figures;
mod outliers;
mod peaks;
mod propose;
mod survey;

pub use ceilings::{Amount, Side, ceilings};
pub use figures::Figures;
pub use outliers::{MAX_OUTLIERS, Outlier, Outliers, Why};
pub use propose::{Bound, Proposal, ProposedBudget, ProposedSide, ProposedZone};
pub use survey::Survey;

/// What a person says about a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How much more than the most that was seen, in percent.
    pub headroom: u32,
    /// By how much the ceilings are multiplied.
    pub ceiling_times: u32,
    /// Whether what stands alone, or is much in a short record, is learnt too.
    pub keep_alone: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { headroom: 50, ceiling_times: 1, keep_alone: false }
    }
}
