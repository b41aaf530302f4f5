//! What outliers were made of, for the person who has to say whether they were ordinary.

use std::collections::{BTreeSet, HashMap};

use holdfast_policy::learn::Outlier;
use holdfast_policy::replay::RecordedOp;
use serde::Serialize;

use crate::past::{Deed, Evidence};

/// Programs and tenants of one outlier that are kept apart.
const MOST_PROGRAMS: usize = 8;
const MOST_TENANTS: usize = 1_024;

/// By budget, actor and start: there are at most [`holdfast_policy::learn::MAX_OUTLIERS`].
#[derive(Debug, Default)]
pub(super) struct Found(HashMap<(usize, usize, u64, u64), Burst>);

/// What one of them was made of.
#[derive(Debug, Serialize)]
pub(super) struct Burst {
    /// Its first op.
    pub(super) first: Deed,
    /// Time of the last.
    pub(super) last: String,
    /// Ops.
    pub(super) ops: u64,
    /// Files.
    pub(super) files: u64,
    /// Bytes.
    pub(super) bytes: u64,
    /// Programs.
    pub(super) programs: BTreeSet<String>,
    /// Tenants, up to 1,024.
    pub(super) tenants: usize,
    #[serde(skip)]
    seen: BTreeSet<u64>,
}

impl Found {
    pub(super) fn take(&mut self, outlier: &Outlier, op: &RecordedOp, evidence: Evidence<'_>) {
        let deed = Deed::of(evidence);
        let burst = self.0.entry(key(outlier)).or_insert_with(|| Burst {
            first: deed.clone(),
            last: String::new(),
            ops: 0,
            files: 0,
            bytes: 0,
            programs: BTreeSet::new(),
            tenants: 0,
            seen: BTreeSet::new(),
        });
        burst.ops += 1;
        burst.files += op.cost.files;
        burst.bytes = burst.bytes.saturating_add(op.cost.bytes);
        burst.last = deed.time;
        if burst.programs.len() < MOST_PROGRAMS {
            burst.programs.insert(deed.comm);
        }
        if op.cost.tenant != 0 && burst.seen.len() < MOST_TENANTS {
            burst.seen.insert(op.cost.tenant);
            burst.tenants = burst.seen.len();
        }
    }

    pub(super) fn get(&self, outlier: &Outlier) -> Option<&Burst> {
        self.0.get(&key(outlier))
    }
}

fn key(outlier: &Outlier) -> (usize, usize, u64, u64) {
    (outlier.zone, outlier.budget, outlier.actor, outlier.from)
}
