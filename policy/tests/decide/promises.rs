//! What must hold whatever anybody does: random ops, failures, decisions and times, beside a plain
//! account of them.

use std::collections::HashMap;

use holdfast_abi::{AccountKey, Cost, HoldKey, OnTrip, Op, Reason, Verdict};
use holdfast_policy::decide::{Charge, Model, Request};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::{OPERATOR, SECOND};

const MS: u64 = SECOND / 1_000;
const UNITS: usize = 2;
const THREADS: usize = 6;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// A thread does an op, or tries the one again at which it was paused.
    Op {
        thread: usize,
        op: Op,
        cost: Cost,
    },
    /// An op that was allowed turns out to have failed.
    Fail(Index),
    Release {
        unit: usize,
        files: u64,
        lasts: u64,
    },
    Deny {
        unit: usize,
        lasts: u64,
    },
    Reset {
        unit: usize,
    },
}

/// An op that went on.
struct Went {
    at: u64,
    cost: Cost,
    charge: Charge,
    /// The accounts it was charged to, and how many times each had been reset by then.
    accounts: Vec<(AccountKey, u32)>,
    failed: bool,
}

/// What a person thinks was decided about a hold.
#[derive(Clone, Copy, Default)]
struct Decided {
    /// Files released and not spent.
    left: u64,
    until: u64,
    /// When threads were last told to try again.
    retry: u64,
    denied_until: u64,
    /// All that was ever released, and all that went on and did not fail.
    total: u64,
    spent: u64,
}

struct World {
    model: Model,
    on_trip: OnTrip,
    now: u64,
    /// Since when each thread is paused.
    paused: [Option<u64>; THREADS],
    log: Vec<Went>,
    decided: [Decided; UNITS],
}

fn hold(unit: usize) -> HoldKey {
    HoldKey { unit: unit as u64, zone: 0, user: 7 }
}

impl World {
    fn new(on_trip: OnTrip) -> Self {
        let budgets = [
            "per = \"unit\", files = 6, bytes = 4000, window = \"31s\"",
            "per = \"user\", ops = [\"remove\",\"truncate\"], files = 9, tenants = 3, \
             window = \"62s\"",
            "per = \"zone\", files = 14, window = \"5m\"",
        ];
        let zone = format!("mode = \"enforce\"\non_trip = \"{}\"", on_trip.word());
        Self {
            model: crate::model(&zone, &budgets),
            on_trip,
            now: 1_000 * SECOND,
            paused: [None; THREADS],
            log: Vec::new(),
            decided: [Decided::default(); UNITS],
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Op { thread, op, cost } => self.op(*thread, *op, *cost)?,
            Step::Fail(index) if !self.log.is_empty() => self.fail(index.index(self.log.len())),
            Step::Fail(_) => {}
            Step::Release { unit, files, lasts } => {
                let until = self.now + lasts;
                self.model.release(&hold(*unit), *files, until, self.now);
                let decided = &mut self.decided[*unit];
                let good = self.now < decided.until;
                decided.left = files + if good { decided.left } else { 0 };
                decided.until = if good { until.max(decided.until) } else { until };
                decided.retry = self.now;
                decided.denied_until = 0;
                decided.total += files;
            }
            Step::Deny { unit, lasts } => {
                self.decided[*unit].denied_until = self.now + lasts;
                self.model.deny(&hold(*unit), self.now + lasts);
            }
            Step::Reset { unit } => {
                self.decided[*unit].retry = self.now;
                self.decided[*unit].denied_until = 0;
                self.model.reset(&hold(*unit), self.now);
            }
        }
        self.check_budgets()?;
        self.check_releases()
    }

    fn op(&mut self, thread: usize, op: Op, cost: Cost) -> Result<(), TestCaseError> {
        let unit = thread % UNITS;
        let request = Request {
            zone: 0,
            op,
            who: OPERATOR,
            unit: unit as u64,
            user: 7,
            cost,
            now: self.now,
            is_strict: false,
            can_wait: true,
            held_since: self.paused[thread],
            mark: None,
            made_at: None,
            inside: &[],
        };
        let before = self.model.accounts.clone();
        let decision = self.model.decide(&request);
        let decided = &mut self.decided[unit];
        let needs = cost.files.max(1);
        let is_covered = self.now < decided.until && needs <= decided.left;
        let is_denied = self.now < decided.denied_until;
        let is_free = decision.charge == Charge::default() && decision.verdict == Verdict::Allow;
        let waits = request.held_since.is_some_and(|since| decided.retry < since);
        if self.on_trip == OnTrip::Hold && waits && !is_free {
            prop_assert_eq!(&self.model.accounts, &before, "a held thread asked a budget");
            prop_assert!(
                decision.verdict != Verdict::Allow || decision.charge.released().is_some()
            );
        }
        match decision.verdict {
            Verdict::Allow if is_free => {
                prop_assert!(!op.cost_is_unknown() && cost.files == 0 && cost.bytes == 0);
            }
            Verdict::Allow => {
                prop_assert!(!op.cost_is_unknown());
                if let Some((key, files)) = decision.charge.released() {
                    prop_assert!(self.on_trip != OnTrip::Deny && is_covered);
                    prop_assert!(self.on_trip == OnTrip::Throttle || !is_denied);
                    prop_assert_eq!((key, files), (hold(unit), needs));
                    prop_assert_eq!(decision.charge.accounts().count(), 0, "charged twice");
                    decided.left -= files;
                    decided.spent += files;
                }
                self.went(cost, decision.charge.clone());
            }
            Verdict::Deny => {
                let expired = self.on_trip == OnTrip::Hold && is_denied;
                prop_assert!(self.on_trip == OnTrip::Deny || op.cost_is_unknown() || expired);
                let says_so = decision.reason == Reason::Expired;
                prop_assert_eq!(says_so, expired && !op.cost_is_unknown());
            }
            Verdict::Hold => {
                prop_assert!(self.on_trip == OnTrip::Hold && !is_covered && !is_denied)
            }
            Verdict::Throttle => prop_assert!(self.on_trip == OnTrip::Throttle && !is_covered),
            Verdict::Observe => prop_assert!(false, "the zone enforces"),
        }
        self.paused[thread] = match decision.verdict {
            Verdict::Hold | Verdict::Throttle if decision.budget.is_some() => Some(self.now),
            Verdict::Hold | Verdict::Throttle => request.held_since,
            _ => None,
        };
        Ok(())
    }

    fn went(&mut self, cost: Cost, charge: Charge) {
        let epoch = |key: AccountKey| (key, self.model.accounts[&key].epoch);
        let accounts = charge.accounts().map(epoch).collect();
        self.log.push(Went { at: self.now, cost, charge, accounts, failed: false });
    }

    fn fail(&mut self, index: usize) {
        let went = &mut self.log[index];
        if went.failed {
            return;
        }
        went.failed = true;
        self.model.give_back(&went.charge);
        if let Some((key, files)) = went.charge.released() {
            let decided = &mut self.decided[key.unit as usize];
            decided.left += files;
            decided.spent -= files;
        }
    }

    /// In the window that ends now no budget has more than its limit, not counting what was
    /// forgiven by a reset. A window holds most when it ends with an op, so looking at these looks
    /// at all.
    fn check_budgets(&self) -> Result<(), TestCaseError> {
        let zone = &self.model.policy.zones[0];
        let mut standing: HashMap<AccountKey, Vec<&Went>> = HashMap::new();
        for went in self.log.iter().filter(|went| !went.failed) {
            for (key, epoch) in &went.accounts {
                if self.model.accounts[key].epoch == *epoch {
                    standing.entry(*key).or_default().push(went);
                }
            }
        }
        for (key, mut went) in standing {
            let Some(budget) = zone.budgets.iter().find(|b| b.id(&zone.name) == key.budget) else {
                return Err(TestCaseError::fail("a charge to no budget"));
            };
            went.retain(|went| went.at + budget.window.ns() >= self.now);
            let files: u64 = went.iter().map(|went| went.cost.files).sum();
            let bytes: u64 = went.iter().map(|went| went.cost.bytes).sum();
            let mut tenants: Vec<u64> = went.iter().map(|went| went.cost.tenant).collect();
            tenants.sort_unstable();
            tenants.dedup();
            prop_assert!(files <= budget.files.unwrap_or(u64::MAX));
            prop_assert!(bytes <= budget.bytes.unwrap_or(u64::MAX));
            prop_assert!(tenants.len() as u64 <= u64::from(budget.tenants.unwrap_or(u32::MAX)));
        }
        Ok(())
    }

    /// Beyond the budgets no more went on than was released, and what is left of that is what a
    /// person would say.
    fn check_releases(&self) -> Result<(), TestCaseError> {
        for (unit, decided) in self.decided.iter().enumerate() {
            prop_assert!(decided.spent <= decided.total);
            let released = self.model.releases.get(&hold(unit)).copied().unwrap_or_default();
            prop_assert!(released.used <= released.release.files);
            if self.now < decided.until {
                prop_assert_eq!(released.release.files - released.used, decided.left);
            }
        }
        Ok(())
    }
}

fn some_cost() -> impl Strategy<Value = Cost> {
    (0..4u64, 0..1_500u64, 1..6u64).prop_map(|(files, bytes, tenant)| Cost { files, bytes, tenant })
}

fn some_step() -> impl Strategy<Value = Step> {
    let ops = vec![Op::Remove, Op::Remove, Op::Remove, Op::Truncate, Op::MoveOut, Op::Detach];
    let lasts = || 0..90 * SECOND;
    prop_oneof![
        16 => (0..THREADS, select(ops), some_cost())
            .prop_map(|(thread, op, cost)| Step::Op { thread, op, cost }),
        3 => any::<Index>().prop_map(Step::Fail),
        2 => (0..UNITS, 0..8u64, lasts())
            .prop_map(|(unit, files, lasts)| Step::Release { unit, files, lasts }),
        1 => (0..UNITS, lasts()).prop_map(|(unit, lasts)| Step::Deny { unit, lasts }),
        1 => (0..UNITS).prop_map(|unit| Step::Reset { unit }),
    ]
}

/// How much time passes before a step, in milliseconds: mostly little, sometimes more than any
/// window.
fn some_pass() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(0u64), 8 => 0..2_000u64, 3 => 0..40_000u64, 1 => 0..400_000u64]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// No more goes on than budgets and people allow, and no held thread without a decision.
    #[test]
    fn only_budgets_and_people_allow_ops(
        on_trip in select(OnTrip::ALL),
        steps in vec((some_pass(), some_step()), 1..160),
    ) {
        let mut world = World::new(on_trip);
        for (pass, step) in &steps {
            world.now += pass * MS;
            world.step(step)?;
        }
    }

    /// However long a held thread waits, only a decision lets it go on.
    #[test]
    fn only_a_decision_ends_a_hold(
        tries in vec((some_pass(), some_cost()), 1..60),
    ) {
        let mut world = World::new(OnTrip::Hold);
        world.op(0, Op::Remove, Cost { files: 7, bytes: 0, tenant: 1 })?;
        let since = world.paused[0];
        prop_assert!(since.is_some());
        for (pass, cost) in tries {
            world.now += pass * MS;
            world.op(0, Op::Remove, Cost { files: cost.files.max(1), ..cost })?;
            prop_assert_eq!(world.paused[0], since);
        }
        world.now += 400 * SECOND;
        world.step(&Step::Reset { unit: 0 })?;
        world.op(0, Op::Remove, Cost { files: 1, bytes: 0, tenant: 1 })?;
        prop_assert_eq!(world.paused[0], None);
    }

    #[test]
    fn failed_op_keeps_the_release(
        released in 1..20u64, costs in vec(some_cost(), 1..20),
    ) {
        let mut world = World::new(OnTrip::Hold);
        world.op(0, Op::Remove, Cost { files: 7, bytes: 0, tenant: 1 })?;
        world.step(&Step::Release { unit: 0, files: released, lasts: SECOND })?;
        for cost in costs {
            let before = world.model.releases.clone();
            let went = world.log.len();
            world.op(2, Op::Remove, cost)?;
            if world.log.len() > went {
                world.fail(went);
            }
            world.paused[2] = None;
            prop_assert_eq!(&world.model.releases, &before);
        }
    }
}
