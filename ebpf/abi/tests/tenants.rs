//! The limit of tenants where a tenant counts only from some amount on, against a plain log of what
//! was charged and when.

use std::collections::HashMap;

use holdfast_abi::{Cost, Limit, Mode, Over, Receipt, SPEND_PARTS, TenantSpend, Terms, Window};
use proptest::collection::vec;
use proptest::prelude::*;

const ENFORCE: u32 = Mode::Enforce as u32;
/// Buckets of the account's ring in one part.
const PART: u64 = 5;

fn limit(window_ns: u64, tenants: u32, after: After) -> Limit {
    let (after_files, after_bytes) = match after {
        After::Files(files) => (files, u64::MAX),
        After::Bytes(bytes) => (u64::MAX, bytes),
    };
    Limit {
        window_ns,
        bucket_ns: Limit::bucket_for(window_ns),
        files: 200,
        bytes: u64::MAX,
        latch_ns: window_ns,
        after_files,
        after_bytes,
        tenants,
        pad: 0,
    }
}

fn cost(files: u64, bytes: u64, tenant: u64) -> Cost {
    Cost { files, bytes, tenant }
}

/// From how much on a tenant counts.
#[derive(Clone, Copy, Debug)]
enum After {
    Files(u64),
    Bytes(u64),
}

#[derive(Clone, Copy, Debug)]
struct Taken {
    at: u64,
    cost: Cost,
    tenants_only: bool,
    receipt: Receipt,
    given_back: bool,
}

/// An account with what its tenants have lost, as the kernel keeps it, and the log it is compared
/// with.
struct Pair {
    limit: Limit,
    window: Window,
    spends: HashMap<u64, TenantSpend>,
    log: Vec<Taken>,
    latest: u64,
}

impl Pair {
    fn new(limit: Limit) -> Self {
        let spends = HashMap::new();
        Self { limit, window: Window::new(), spends, log: Vec::new(), latest: 0 }
    }

    fn charge(&mut self, now: u64, cost: Cost, tenants_only: bool) -> Result<(), Over> {
        self.latest = self.latest.max(now);
        let limited = self.limit.limits_tenants(&cost);
        let row = limited.then(|| self.spends.entry(cost.tenant).or_default());
        let at_once = self.limit.counts_at_once(&cost);
        let terms = Terms { now, paced: false, tenants_only, at_once };
        let receipt = self.window.take(&self.limit, terms, &cost, row)?;
        let taken = Taken { at: self.latest, cost, tenants_only, receipt, given_back: false };
        self.log.push(taken);
        Ok(())
    }

    fn give_back(&mut self, index: usize) {
        let taken = &mut self.log[index];
        if !std::mem::replace(&mut taken.given_back, true) {
            let spend = self.spends.get_mut(&taken.cost.tenant);
            self.window.give_back(&taken.receipt, &taken.cost, spend);
        }
    }

    fn step(&mut self, step: &Step, now: &mut u64) -> Option<(Cost, Result<(), Over>)> {
        match *step {
            Step::Charge { pass, cost, tenants_only } => {
                *now += (self.limit.window_ns / 1_000).max(1) * pass;
                Some((cost, self.charge(*now, cost, tenants_only)))
            }
            Step::GiveBack(index) => {
                if !self.log.is_empty() {
                    self.give_back(index.index(self.log.len()));
                }
                None
            }
        }
    }

    /// Tenants that have lost enough to count since then, or were touched by an op that counts at
    /// once.
    fn counted_since(&self, from: u64) -> Vec<u64> {
        let mut lost: HashMap<u64, (u64, u64, bool)> = HashMap::new();
        for Taken { cost, .. } in self.standing(from).filter(|taken| taken.cost.tenant != 0) {
            let sum = lost.entry(cost.tenant).or_default();
            *sum = (sum.0 + cost.files, sum.1 + cost.bytes, sum.2 || cost.files == 0);
        }
        let counts = |(files, bytes, at_once): &(u64, u64, bool)| {
            *files >= self.limit.after_files || *bytes >= self.limit.after_bytes || *at_once
        };
        lost.iter().filter(|(_, sum)| counts(sum)).map(|(tenant, _)| *tenant).collect()
    }

    fn standing(&self, from: u64) -> impl Iterator<Item = &Taken> {
        self.log.iter().filter(move |taken| taken.at >= from && !taken.given_back)
    }

    /// No window has more tenants that lost enough than the limit, and callers of the budget no
    /// more files.
    fn check_promise(&self) -> Result<(), TestCaseError> {
        let from = self.latest.saturating_sub(self.limit.window_ns);
        let counted = self.counted_since(from);
        prop_assert!(counted.len() <= self.limit.tenants as usize, "{:?}", counted);
        let charged = self.standing(from).filter(|taken| !taken.tenants_only);
        prop_assert!(charged.map(|taken| taken.cost.files).sum::<u64>() <= self.limit.files);
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// So many thousandths of a window pass, then this is charged.
    Charge { pass: u64, cost: Cost, tenants_only: bool },
    /// One of the charges so far is given back.
    GiveBack(prop::sample::Index),
}

fn some_charge() -> impl Strategy<Value = Step> {
    let pass = prop_oneof![6 => Just(0u64), 8 => 0..40u64, 2 => 0..400u64, 1 => 900..1_500u64];
    let amount = prop_oneof![
        12 => (1..6u64, 0..900u64, 0..9u64),
        1 => (Just(0), Just(0), 0..9u64),
    ];
    (pass, amount, any::<bool>()).prop_map(|(pass, (files, bytes, tenant), tenants_only)| {
        Step::Charge { pass, cost: cost(files, bytes, tenant), tenants_only }
    })
}

fn some_steps() -> impl Strategy<Value = Vec<Step>> {
    let back = any::<prop::sample::Index>().prop_map(Step::GiveBack);
    vec(prop_oneof![8 => some_charge(), 1 => back], 1..200)
}

fn some_limit() -> impl Strategy<Value = Limit> {
    let window = prop_oneof![1_000..100_000u64, Just(31_000u64), Just(600_000_000_000u64)];
    let after =
        prop_oneof![(1..20u64).prop_map(After::Files), (1..5_000u64).prop_map(After::Bytes)];
    (window, 1..5u32, after).prop_map(|(window, tenants, after)| limit(window, tenants, after))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// However ops come, no window has more tenants with enough lost than the limit.
    #[test]
    fn no_window_counts_more_tenants(
        limit in some_limit(), start in 1..u64::MAX / 4, steps in some_steps(),
    ) {
        let (mut pair, mut now) = (Pair::new(limit), start);
        for step in steps {
            pair.step(&step, &mut now);
            pair.check_promise()?;
        }
    }

    /// A tenant is refused only where as many others have lost enough within two rings, and this
    /// one with the op.
    #[test]
    fn tenants_below_the_amount_go(
        limit in some_limit(), start in 1..u64::MAX / 4, steps in vec(some_charge(), 1..200),
    ) {
        let (mut pair, mut now) = (Pair::new(limit), start);
        for step in steps {
            let Some((cost, Err(Over::Tenants))) = pair.step(&step, &mut now) else { continue };
            let ring = SPEND_PARTS as u64 * PART * limit.bucket_ns;
            let others = pair.counted_since(pair.latest.saturating_sub(limit.window_ns + ring));
            let others = others.iter().filter(|tenant| **tenant != cost.tenant).count();
            prop_assert!(others >= limit.tenants as usize, "{others} others counted");
            let own = pair.standing(pair.latest.saturating_sub(ring));
            let own = own.filter(|taken| taken.cost.tenant == cost.tenant);
            let lost = own.fold(cost, |sum, Taken { cost, .. }| Cost {
                files: sum.files + cost.files,
                bytes: sum.bytes + cost.bytes,
                ..sum
            });
            let counts = lost.files >= limit.after_files || lost.bytes >= limit.after_bytes;
            prop_assert!(counts || cost.files == 0, "{lost:?}");
        }
    }

    /// A charge that is given back leaves nothing, in the window and in what the tenant has lost.
    #[test]
    fn tenant_spend_is_given_back(
        limit in some_limit(), steps in some_steps(), late in some_charge(),
    ) {
        let (mut pair, mut now) = (Pair::new(limit), 1_000_000);
        for step in &steps {
            pair.step(step, &mut now);
        }
        let Step::Charge { cost, tenants_only, .. } = late else { return Ok(()) };
        let (window, spends) = (pair.window, pair.spends.clone());
        if pair.charge(now, cost, tenants_only).is_ok() {
            pair.give_back(pair.log.len() - 1);
            prop_assert_eq!(pair.window.spent(&limit, now), window.spent(&limit, now));
            let time = pair.window.moment(&limit, now);
            for (tenant, spend) in &pair.spends {
                let before = spends.get(tenant).copied().unwrap_or_default();
                prop_assert_eq!(spend.spent(time), before.spent(time));
            }
        }
    }

    /// A reset forgets what tenants have lost, and a charge from before it cannot be given back
    /// after it.
    #[test]
    fn reset_forgets_tenant_spend(
        limit in some_limit(), before in some_steps(), after in some_steps(),
    ) {
        let (mut pair, mut now) = (Pair::new(limit), 1_000_000);
        for step in &before {
            pair.step(step, &mut now);
        }
        pair.window = pair.window.reset();
        let old = std::mem::take(&mut pair.log);
        let time = pair.window.moment(&limit, pair.latest);
        prop_assert!(!pair.spends.values().any(|spend| spend.matters(time)));
        for step in &after {
            pair.step(step, &mut now);
            pair.check_promise()?;
        }
        let (window, spends) = (pair.window, pair.spends.clone());
        for taken in old {
            let spend = pair.spends.get_mut(&taken.cost.tenant);
            pair.window.give_back(&taken.receipt, &taken.cost, spend);
        }
        prop_assert!(pair.window == window && pair.spends == spends);
    }
}

#[test]
fn tenant_counts_with_the_hundredth_file() {
    let limit = limit(31_000, 2, After::Files(100));
    let mut pair = Pair::new(limit);
    for tenant in 1..=4 {
        for _ in 0..99 {
            assert_eq!(pair.charge(10_000, cost(1, 0, tenant), true), Ok(()));
        }
    }
    assert_eq!(pair.window.spent(&limit, 10_000), (0, 0, 0), "none counts, no file is charged");
    assert_eq!(pair.charge(10_000, cost(1, 0, 1), true), Ok(()));
    assert_eq!(pair.charge(10_000, cost(1, 0, 2), true), Ok(()));
    assert_eq!(pair.charge(10_000, cost(1, 0, 3), true), Err(Over::Tenants));
    assert_eq!(pair.charge(10_000, cost(1, 0, 1), true), Ok(()), "it counts already");
    assert_eq!(pair.charge(60_000, cost(1, 0, 3), true), Ok(()), "a window later");
}

/// A caller who is left out is not stopped by a trip of files, but by one of tenants, and by one
/// from before a reboot.
#[test]
fn only_a_tenants_trip_latches_everybody() {
    let limit = limit(31_000, 1, After::Files(1));
    let mut window = Window::new();
    let charge = |window: &mut Window, cost| window.charge(&limit, 10_000, ENFORCE, &cost, None);
    assert!(charge(&mut window, cost(200, 0, 0)).is_ok());
    assert_eq!(charge(&mut window, cost(1, 0, 0)), Err(Over::Files));
    assert!(window.is_latched(10_001, ENFORCE) && !window.latches_tenants(10_001, ENFORCE));
    let mut window = Window::new();
    assert!(charge(&mut window, cost(1, 0, 1)).is_ok());
    assert_eq!(charge(&mut window, cost(1, 0, 2)), Err(Over::Tenants));
    assert!(window.latches_tenants(10_001, ENFORCE));
    window.trip = holdfast_abi::Trip::default();
    assert!(window.latches_tenants(10_001, ENFORCE));
}

/// An account can be made anew while rows of the one before are there: they widened its limit for
/// ever.
#[test]
fn stale_rows_widen_no_limit() {
    let mut pair = Pair::new(limit(3_100, 3, After::Files(1)));
    for tenant in 1..=3 {
        pair.charge(100_000, cost(1, 0, tenant), true).unwrap();
    }
    pair.window = Window::new();
    for step in 1..400 {
        let now = 100_000 + step * 100;
        let goes = |tenant| pair.charge(now, cost(1, 0, tenant), true).is_ok();
        assert!((1..10).map(goes).filter(|goes| *goes).count() <= 3, "in bucket {step}");
    }
}

/// Once the table is full there is no row: such a tenant counts with each op, never too little.
#[test]
fn tenant_without_row_counts_anew() {
    let limit = limit(31_000, 2, After::Files(1));
    let mut window = Window::new();
    let charge = |window: &mut Window| window.charge(&limit, 10_000, ENFORCE, &cost(1, 0, 1), None);
    let receipt = charge(&mut window).unwrap();
    assert!(charge(&mut window).is_ok());
    assert_eq!(charge(&mut window), Err(Over::Tenants));
    window.give_back(&receipt, &cost(1, 0, 1), None);
    assert_eq!(window.spent(&limit, 10_000), (1, 0, 1));
}
