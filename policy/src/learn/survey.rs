//! Measures what actors destroyed in windows, under budgets that limit nothing.

use std::collections::{BTreeSet, HashMap};

use holdfast_abi::{
    AccountKey, BUCKETS, Cost, Limit, MAX_TENANTS, Mode, Moment, Per, TenantSpend, Window,
};

use super::Rules;
use super::ceilings::{Amount, Side, ceiling, ceilings, smallest};
use super::figures::{Figures, Histogram};
use super::outliers::{Outlier, Outliers, Why, start_of_window};
use super::peaks::{FEWEST_WINDOWS, Peak, Peaks};
use super::propose::{Proposal, propose};
use crate::budget::Budget;
use crate::model::{Policy, Zone};
use crate::replay::{MAX_ACCOUNTS, RecordedOp, Simulation};

/// Tenants that are told apart in one window of one actor: no budget allows as many.
const MOST_TENANTS: usize = MAX_TENANTS as usize + 1;

/// One of the two times ops are taken.
#[derive(Clone, Debug)]
pub struct Survey {
    pub(super) rules: Rules,
    /// The zones, whose budgets are the ceilings of their role, but limit nothing.
    simulation: Simulation,
    /// The ceilings, zone by zone.
    pub(super) budgets: Vec<Vec<Budget>>,
    /// Where a budget is, by its id.
    index: HashMap<u64, (usize, usize)>,
    stretches: HashMap<AccountKey, Stretch>,
    measured: Vec<Vec<Measured>>,
    /// Filled in the first time, left out the second.
    pub(super) outliers: Outliers,
    /// What the first time has shown.
    pub(super) first: Option<First>,
    pub(super) taken: Vec<Taken>,
    looks: u64,
}

/// How many ops there were in a zone.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken {
    pub(super) ops: u64,
    pub(super) left_out: u64,
    pub(super) unknown_cost: u64,
}

/// What is left of the first time.
#[derive(Clone, Debug)]
pub(super) struct First {
    pub(super) figures: Vec<Vec<[Figures; 3]>>,
}

/// All windows of one budget.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    histograms: [Histogram; 3],
    peaks: [Peaks; 3],
}

/// What one actor has had of one budget lately.
#[derive(Clone, Debug, Default)]
struct Stretch {
    /// Which stretch of the window's length it is.
    number: u64,
    /// When the last op was.
    latest: u64,
    /// Whether more was charged than tenants.
    charged: bool,
    /// The most of each side, and when.
    peaks: [Peak; 3],
    tenants: Touched,
}

/// When each tenant was last touched, and what those have lost that did not count yet.
#[derive(Clone, Debug, Default)]
struct Touched {
    last: HashMap<u64, u64>,
    by_time: BTreeSet<(u64, u64)>,
    spends: HashMap<u64, TenantSpend>,
    /// So many of them are looked through for those that can go.
    look_at: usize,
}

impl Survey {
    /// The first time. Zones are those of the policy, whatever their budgets are.
    pub fn new(policy: &Policy, rules: Rules) -> Self {
        let budgets: Vec<Vec<Budget>> =
            policy.zones.iter().map(|zone| ceilings(zone.role)).collect();
        let unlimited = |(zone, budgets): (&Zone, &Vec<Budget>)| Zone {
            mode: Mode::Observe,
            budgets: budgets
                .iter()
                .map(|budget| Budget { files: None, bytes: None, tenants: None, ..budget.clone() })
                .collect(),
            ..zone.clone()
        };
        let zones: Vec<Zone> = policy.zones.iter().zip(&budgets).map(unlimited).collect();
        let mut index = HashMap::new();
        for (z, zone) in zones.iter().enumerate() {
            for (b, budget) in zone.budgets.iter().enumerate() {
                index.insert(budget.id(&zone.name), (z, b));
            }
        }
        let measured =
            budgets.iter().map(|list| list.iter().map(|_| Measured::new()).collect()).collect();
        let taken = vec![Taken::default(); zones.len()];
        let simulation = Simulation::new(Policy { zones, ..policy.clone() });
        Self {
            rules,
            simulation,
            budgets,
            index,
            stretches: HashMap::new(),
            measured,
            outliers: Outliers::default(),
            first: None,
            taken,
            looks: 0,
        }
    }

    /// Takes one op.
    pub fn take(&mut self, op: &RecordedOp) {
        let taken = &mut self.taken[op.zone];
        taken.ops += 1;
        if op.op.cost_is_unknown() {
            taken.unknown_cost += 1;
            return;
        }
        if self.first.is_some() && self.outliers.find(op, &self.budgets[op.zone]).is_some() {
            taken.left_out += 1;
            return;
        }
        let decision = self.simulation.decide(op);
        for key in decision.charge.accounts() {
            self.measure(key, op);
        }
        self.measure_left_out(op);
        if self.looks != self.simulation.looks() {
            self.looks = self.simulation.looks();
            for key in crate::replay::gone(&self.simulation, self.stretches.keys()) {
                let Some(&(zone, index)) = self.index.get(&key.budget) else { continue };
                let window_ns = self.budgets[zone][index].window.ns();
                // A caller who is left out of a budget has no account in the simulation.
                if self.stretches[&key].latest.saturating_add(window_ns) < op.now {
                    self.finish(&key);
                }
            }
        }
    }

    /// The limit of tenants holds also for callers whom a budget leaves out.
    fn measure_left_out(&mut self, op: &RecordedOp) {
        let zone = &self.simulation.policy().zones[op.zone];
        let keys: Vec<AccountKey> = self.budgets[op.zone]
            .iter()
            .filter(|budget| budget.tenants.is_some() && budget.ops.contains(op.op))
            .filter(|budget| budget.who.mask() & op.who == 0)
            .map(|budget| AccountKey {
                budget: budget.id(&zone.name),
                actor: budget.per.actor(op.unit, op.user),
            })
            .collect();
        for key in keys {
            let has_room = self.stretches.len() < MAX_ACCOUNTS || self.stretches.contains_key(&key);
            let key = if has_room { key } else { AccountKey { actor: u64::MAX, ..key } };
            self.measure(key, op);
        }
    }

    /// Ends the first time: what comes next are the same ops once more, without the outliers.
    pub fn again(mut self, policy: &Policy) -> Self {
        self.finish_all();
        if !self.rules.keep_alone {
            self.find_outliers(|budget| budget.per != Per::Zone);
        }
        let figures = |list: &Vec<Measured>| list.iter().map(Measured::figures).collect();
        let first = First { figures: self.measured.iter().map(figures).collect() };
        Self { outliers: self.outliers, first: Some(first), ..Self::new(policy, self.rules) }
    }

    /// Ends the second time. `recorded` is how many seconds the record is long: what was seen in
    /// less than a window is scaled up to it.
    pub fn propose(mut self, recorded: u64) -> Proposal {
        self.finish_all();
        if !self.rules.keep_alone {
            // What all together destroyed is nobody's: it stays in the other budgets' figures.
            self.find_outliers(|budget| budget.per == Per::Zone);
        }
        propose(self, recorded)
    }

    /// Outliers, as far as they are known.
    pub fn outliers(&self) -> &Outliers {
        &self.outliers
    }

    /// Ops of actors for whom there was no room of their own.
    pub fn shared(&self) -> u64 {
        self.simulation.shared()
    }

    /// The most that remains of a side, and how many windows there were.
    pub(super) fn ordinary(&self, zone: usize, budget: usize, side: Side) -> (u64, u64) {
        let (measured, limits) = (&self.measured[zone][budget], &self.budgets[zone][budget]);
        let windows = measured.histograms[side as usize].windows();
        let most = measured.histograms[side as usize].figures().max;
        if limits.per != Per::Zone || self.rules.keep_alone {
            return (most, windows);
        }
        let smallest = smallest(limits, side);
        (measured.peaks[side as usize].alone(windows, smallest).1, windows)
    }

    fn measure(&mut self, key: AccountKey, op: &RecordedOp) {
        let Some(&(zone, index)) = self.index.get(&key.budget) else { return };
        let budget = self.budgets[zone][index].clone();
        let tenants_only = budget.who.mask() & op.who == 0;
        let (latest, files, bytes) = match self.simulation.account(&key) {
            Some(&Window { latest, files, bytes, .. }) => (latest.max(op.now), files, bytes),
            None if tenants_only => (op.now, 0, 0),
            None => return,
        };
        let limit = budget.conf(&self.simulation.policy().zones[zone]).limit;
        let number = latest / budget.window.ns();
        if self.stretches.get(&key).is_some_and(|stretch| stretch.number != number) {
            let tenants = std::mem::take(
                &mut self.stretches.get_mut(&key).expect("it was there a line ago").tenants,
            );
            self.finish(&key);
            self.stretches.insert(key, Stretch { number, tenants, ..Stretch::default() });
        }
        let stretch = self.stretches.entry(key).or_insert(Stretch { number, ..Stretch::default() });
        stretch.latest = latest;
        let tenants = stretch.tenants.touch(&op.cost, latest, &limit);
        let amount = Amount { files, bytes, tenants };
        let measured = if tenants_only { &[Side::Tenants][..] } else { &Side::ALL[..] };
        stretch.charged |= !tenants_only;
        for &side in measured {
            let (peak, amount) = (&mut stretch.peaks[side as usize], amount.of(side));
            if amount > peak.amount {
                *peak = Peak { amount, actor: key.actor, at: latest };
            }
            if self.first.is_none()
                && budget.per != Per::Zone
                && let Some(ceiling) =
                    ceiling(&budget, side, &self.rules).filter(|ceiling| amount > *ceiling)
            {
                self.outliers.add(Outlier {
                    zone,
                    budget: index,
                    actor: key.actor,
                    from: start_of_window(&budget, latest),
                    to: latest,
                    side,
                    amount,
                    why: Why::Ceiling { ceiling },
                });
            }
        }
    }

    /// A stretch is over.
    fn finish(&mut self, key: &AccountKey) {
        let Some(stretch) = self.stretches.remove(key) else { return };
        let Some(&(zone, index)) = self.index.get(&key.budget) else { return };
        let measured = &mut self.measured[zone][index];
        let measured_sides = if stretch.charged { &Side::ALL[..] } else { &[Side::Tenants][..] };
        for &side in measured_sides {
            let peak = stretch.peaks[side as usize];
            measured.histograms[side as usize].add(peak.amount);
            measured.peaks[side as usize].add(peak);
        }
    }

    fn finish_all(&mut self) {
        for key in self.stretches.keys().copied().collect::<Vec<_>>() {
            self.finish(&key);
        }
    }

    fn find_outliers(&mut self, is_asked: impl Fn(&Budget) -> bool) {
        for (zone, budgets) in self.budgets.iter().enumerate() {
            for (index, budget) in budgets.iter().enumerate().filter(|(_, b)| is_asked(b)) {
                let measured = &self.measured[zone][index];
                for side in Side::ALL {
                    let Some(ceiling) = ceiling(budget, side, &self.rules) else { continue };
                    let windows = measured.histograms[side as usize].windows();
                    let (smallest, peaks) =
                        (smallest(budget, side), &measured.peaks[side as usize]);
                    let quarter = (ceiling / 4).max(smallest);
                    let too_few = windows < FEWEST_WINDOWS && budget.per != Per::Zone;
                    let (found, next) =
                        if too_few { (peaks.largest(), 0) } else { peaks.alone(windows, smallest) };
                    for &Peak { amount, actor, at } in found {
                        if too_few && amount <= quarter {
                            continue;
                        }
                        let from = start_of_window(budget, at);
                        let why = if too_few { Why::Few { quarter } } else { Why::Alone { next } };
                        let (budget, to) = (index, at);
                        let outlier = Outlier { zone, budget, actor, from, to, side, amount, why };
                        self.outliers.add(outlier);
                    }
                }
            }
        }
    }
}

impl Measured {
    fn new() -> Self {
        Self {
            histograms: [Histogram::new(), Histogram::new(), Histogram::new()],
            peaks: Default::default(),
        }
    }

    fn figures(&self) -> [Figures; 3] {
        Side::ALL.map(|side| self.histograms[side as usize].figures())
    }
}

impl Touched {
    /// An op in a tenant. How many count then, as in a [`Window`].
    fn touch(&mut self, cost: &Cost, now: u64, limit: &Limit) -> u64 {
        let tenant = cost.tenant;
        while let Some(&(last, old)) = self.by_time.first()
            && (limit.bucket_of(now).saturating_sub(limit.bucket_of(last)) >= BUCKETS as u64
                || self.last.len() > MOST_TENANTS)
        {
            self.by_time.remove(&(last, old));
            self.last.remove(&old);
        }
        if tenant != 0 && (limit.counts_at_once(cost) || self.spend(cost, now, limit)) {
            if let Some(before) = self.last.insert(tenant, now) {
                self.by_time.remove(&(before, tenant));
            }
            self.by_time.insert((now, tenant));
        }
        self.last.len() as u64
    }

    /// Adds to what a tenant has lost. Whether that is enough for it to count.
    fn spend(&mut self, cost: &Cost, now: u64, limit: &Limit) -> bool {
        let now = Moment { epoch: 0, bucket: limit.bucket_of(now) };
        if self.spends.len() >= self.look_at.max(MOST_TENANTS) {
            self.spends.retain(|_, spend| spend.spent(now) != (0, 0));
            // Each look is paid for by as many new tenants.
            self.look_at = self.spends.len() * 2;
        }
        let spend = self.spends.entry(cost.tenant).or_default();
        spend.add(now, cost);
        let (files, bytes) = spend.spent(now);
        limit.counts(files, bytes)
    }
}
