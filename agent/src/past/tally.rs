//! Adds up what a policy says to ops: what would trip, by whom, when, and how much would be
//! stopped.

use std::collections::{BTreeMap, HashMap};

use holdfast_abi::Verdict;
use holdfast_policy::Policy;
use holdfast_policy::decide::Decision;
use holdfast_policy::replay::RecordedOp;
use serde::Serialize;

use super::Deed;
use super::deed::Evidence;

/// Actors of one budget that are counted apart.
const MOST_ACTORS: usize = 64;

/// Everything.
#[derive(Debug)]
pub(crate) struct Tally {
    /// One for each zone of the policy.
    pub(crate) zones: Vec<ZoneTally>,
    /// The first ones, oldest first.
    pub(crate) first: Vec<Trip>,
    /// How many are listed.
    most: usize,
    /// Where the last listed trip of an actor is.
    last: HashMap<(usize, usize, u64), usize>,
}

/// One zone.
#[derive(Debug, Default, Serialize)]
pub(crate) struct ZoneTally {
    /// Ops.
    pub(crate) ops: u64,
    /// Files.
    pub(crate) files: u64,
    /// Bytes.
    pub(crate) bytes: u64,
    /// Ops by verdict.
    pub(crate) verdicts: BTreeMap<&'static str, u64>,
    /// One for each budget.
    pub(crate) budgets: Vec<BudgetTally>,
}

/// One budget.
#[derive(Debug, Default, Serialize)]
pub(crate) struct BudgetTally {
    /// Trips.
    pub(crate) trips: u64,
    /// Ops that would be stopped: those that trip, and all that come while that latches.
    pub(crate) stopped: u64,
    /// Their files.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// First of these, RFC 3339.
    pub(crate) from: Option<String>,
    /// Last.
    pub(crate) to: Option<String>,
    /// Trips by who.
    pub(crate) actors: BTreeMap<String, u64>,
    /// Trips of actors beyond those kept.
    pub(crate) others: u64,
}

/// One trip.
#[derive(Debug, Serialize)]
pub(crate) struct Trip {
    /// Zone of the policy.
    pub(crate) zone: String,
    /// Label of the budget.
    pub(crate) budget: String,
    /// Index of the zone.
    #[serde(skip)]
    pub(crate) zone_index: usize,
    /// Index of the budget.
    #[serde(skip)]
    pub(crate) budget_index: usize,
    /// What would happen to the op: `observe`, `deny`, `hold` or `throttle`.
    pub(crate) verdict: &'static str,
    /// Why.
    pub(crate) reason: &'static str,
    /// The op that trips.
    #[serde(flatten)]
    pub(crate) deed: Deed,
    /// Ops that would be stopped, with those that come while it latches.
    pub(crate) stopped: u64,
    /// Their files.
    pub(crate) stopped_files: u64,
    /// Their bytes.
    pub(crate) stopped_bytes: u64,
    /// Time of the last of them.
    pub(crate) last: String,
}

impl Tally {
    /// Nothing yet; `most` trips are listed.
    pub(crate) fn new(policy: &Policy, most: usize) -> Self {
        let zone = |budgets: usize| ZoneTally {
            budgets: (0..budgets).map(|_| BudgetTally::default()).collect(),
            ..ZoneTally::default()
        };
        let zones = policy.zones.iter().map(|found| zone(found.budgets.len())).collect();
        Self { zones, first: Vec::new(), most, last: HashMap::new() }
    }

    /// Takes an op and what was said to it.
    pub(crate) fn take(
        &mut self,
        policy: &Policy,
        op: &RecordedOp,
        decision: &Decision,
        evidence: Evidence<'_>,
    ) {
        let zone = &mut self.zones[op.zone];
        zone.ops += 1;
        zone.files += op.cost.files;
        zone.bytes = zone.bytes.saturating_add(op.cost.bytes);
        *zone.verdicts.entry(decision.verdict.word()).or_default() += 1;
        let (true, Some(index)) = (decision.verdict != Verdict::Allow, decision.budget) else {
            return;
        };
        let deed = Deed::of(evidence);
        zone.budgets[index].add(op, decision.first, &deed);
        let budget = &policy.zones[op.zone].budgets[index];
        let key = (op.zone, index, budget.per.actor(op.unit, op.user));
        if decision.first {
            self.last.remove(&key);
            if self.first.len() < self.most {
                self.last.insert(key, self.first.len());
                self.first.push(Trip {
                    zone: policy.zones[op.zone].name.to_string(),
                    budget: budget.label(),
                    zone_index: op.zone,
                    budget_index: index,
                    verdict: decision.verdict.word(),
                    reason: decision.reason.word(),
                    last: deed.time.clone(),
                    deed,
                    stopped: 1,
                    stopped_files: op.cost.files,
                    stopped_bytes: op.cost.bytes,
                });
            }
        } else if let Some(&trip) = self.last.get(&key) {
            let trip = &mut self.first[trip];
            trip.stopped += 1;
            trip.stopped_files += op.cost.files;
            trip.stopped_bytes = trip.stopped_bytes.saturating_add(op.cost.bytes);
            trip.last = deed.time;
        }
    }

    /// All trips.
    pub(crate) fn trips(&self) -> u64 {
        self.zones.iter().flat_map(|zone| &zone.budgets).map(|budget| budget.trips).sum()
    }

    /// All ops that would be stopped.
    pub(crate) fn stopped(&self) -> u64 {
        self.zones.iter().flat_map(|zone| &zone.budgets).map(|budget| budget.stopped).sum()
    }
}

impl BudgetTally {
    fn add(&mut self, op: &RecordedOp, trips: bool, deed: &Deed) {
        self.stopped += 1;
        self.files += op.cost.files;
        self.bytes = self.bytes.saturating_add(op.cost.bytes);
        self.from.get_or_insert_with(|| deed.time.clone());
        self.to = Some(deed.time.clone());
        if !trips {
            return;
        }
        self.trips += 1;
        let actor = format!("{}, user {}, unit {}", deed.comm, deed.user(), deed.unit);
        if self.actors.len() < MOST_ACTORS || self.actors.contains_key(&actor) {
            *self.actors.entry(actor).or_default() += 1;
        } else {
            self.others += 1;
        }
    }
}
