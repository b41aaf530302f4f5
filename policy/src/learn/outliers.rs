//! Windows that a proposal leaves out: which actor, when, how much, and by which rule.

use std::collections::HashMap;

use holdfast_abi::{BUCKETS, Limit};

use super::ceilings::Side;
use crate::budget::Budget;
use crate::replay::RecordedOp;

/// Outliers that are kept apart. What is beyond is counted, and learnt as far as the ceilings
/// allow.
pub const MAX_OUTLIERS: usize = 4_096;

/// Why something is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It goes over the ceiling.
    Ceiling {
        /// Which is this.
        ceiling: u64,
    },
    /// There are too few windows to tell, and it is more than a quarter of the ceiling.
    Few {
        /// Which is this.
        quarter: u64,
    },
    /// It stands alone.
    Alone {
        /// The most of any other window.
        next: u64,
    },
}

/// What one actor destroyed in one stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlier {
    /// Index of the zone.
    pub zone: usize,
    /// Index of the budget in [`super::ceilings()`] of the zone's role.
    pub budget: usize,
    /// The actor as that budget counts it.
    pub actor: u64,
    /// Not before this.
    pub from: u64,
    /// Not after this.
    pub to: u64,
    /// The side that is too large.
    pub side: Side,
    /// The most of it in any window.
    pub amount: u64,
    /// Why it is left out.
    pub why: Why,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Outliers {
    by_actor: HashMap<(usize, usize, u64), Vec<Outlier>>,
    kept: usize,
    /// Outliers beyond [`MAX_OUTLIERS`].
    pub dropped: u64,
}

impl Outliers {
    /// Oldest first.
    pub fn sorted(&self) -> Vec<Outlier> {
        let mut all: Vec<Outlier> = self.by_actor.values().flatten().copied().collect();
        all.sort_by_key(|outlier| (outlier.from, outlier.zone, outlier.budget, outlier.actor));
        all
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.kept == 0 && self.dropped == 0
    }

    /// The outlier an op is part of, if these budgets are those of its zone.
    pub fn find(&self, op: &RecordedOp, budgets: &[Budget]) -> Option<&Outlier> {
        if self.kept == 0 {
            return None;
        }
        budgets.iter().enumerate().find_map(|(index, budget)| {
            if !budget.ops.contains(op.op) {
                return None;
            }
            // The limit of tenants holds also for callers whom the budget leaves out.
            let concerns =
                |one: &Outlier| budget.who.mask() & op.who != 0 || one.side == Side::Tenants;
            let key = (op.zone, index, budget.per.actor(op.unit, op.user));
            let mut of_actor = self.by_actor.get(&key)?.iter();
            of_actor.find(|one| (one.from..=one.to).contains(&op.now) && concerns(one))
        })
    }

    /// Adds one whose window ends at `to`. One of the same actor that it touches becomes part of
    /// it.
    pub(super) fn add(&mut self, outlier: Outlier) {
        let list = self.by_actor.entry((outlier.zone, outlier.budget, outlier.actor)).or_default();
        let touching =
            list.iter_mut().rev().find(|one| one.from <= outlier.to && outlier.from <= one.to);
        if let Some(one) = touching {
            let larger = match (one.why, outlier.why) {
                // What is over a ceiling is told as that.
                (Why::Ceiling { .. }, Why::Alone { .. } | Why::Few { .. }) => false,
                (Why::Alone { .. } | Why::Few { .. }, Why::Ceiling { .. }) => true,
                _ => one.side == outlier.side && one.amount < outlier.amount,
            };
            if larger {
                (one.side, one.amount, one.why) = (outlier.side, outlier.amount, outlier.why);
            }
            (one.from, one.to) = (one.from.min(outlier.from), one.to.max(outlier.to));
        } else if self.kept < MAX_OUTLIERS {
            list.push(outlier);
            self.kept += 1;
        } else {
            self.dropped += 1;
        }
    }
}

/// The earliest time of which something can still be counted at `now`.
pub(super) fn start_of_window(budget: &Budget, now: u64) -> u64 {
    let ring = Limit::bucket_for(budget.window.ns()).saturating_mul(BUCKETS as u64);
    now.saturating_sub(ring)
}
