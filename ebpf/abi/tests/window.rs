//! The window's arithmetic against a plain log of what was charged and when.

use std::collections::HashMap;

use holdfast_abi::{BUCKETS, Cost, Limit, MAX_TENANTS, Mode, Over, Receipt, TenantSpend, Window};
use proptest::collection::vec;
use proptest::prelude::*;

const OBSERVE: u32 = Mode::Observe as u32;
const ENFORCE: u32 = Mode::Enforce as u32;

fn limit(window_ns: u64, files: u64, bytes: u64, tenants: u32) -> Limit {
    let bucket_ns = Limit::bucket_for(window_ns);
    let (after_files, after_bytes) = (1, u64::MAX);
    Limit {
        window_ns,
        bucket_ns,
        files,
        bytes,
        latch_ns: window_ns,
        after_files,
        after_bytes,
        tenants,
        pad: 0,
    }
}

fn files_limit(window_ns: u64, files: u64) -> Limit {
    limit(window_ns, files, u64::MAX, u32::MAX)
}

fn tenants_limit(window_ns: u64, tenants: u32) -> Limit {
    limit(window_ns, u64::MAX, u64::MAX, tenants)
}

fn cost(files: u64, bytes: u64, tenant: u64) -> Cost {
    Cost { files, bytes, tenant }
}

/// What an account has: its window, and a row for each tenant.
#[derive(Clone, Debug, Default, PartialEq)]
struct Account {
    window: Window,
    rows: HashMap<u64, TenantSpend>,
}

impl Account {
    fn charge(&mut self, limit: &Limit, now: u64, mode: u32, cost: &Cost) -> Result<Receipt, Over> {
        self.window.charge(limit, now, mode, cost, row(&mut self.rows, cost))
    }

    fn charge_paced(
        &mut self,
        limit: &Limit,
        now: u64,
        mode: u32,
        cost: &Cost,
    ) -> Result<Receipt, Over> {
        self.window.charge_paced(limit, now, mode, cost, row(&mut self.rows, cost))
    }

    fn give_back(&mut self, receipt: &Receipt, cost: &Cost) {
        self.window.give_back(receipt, cost, row(&mut self.rows, cost));
    }

    /// The ring counts each tenant in the bucket that its row says.
    fn check_rows(&self) -> Result<(), TestCaseError> {
        let Window { epoch, head, .. } = self.window;
        let now = holdfast_abi::Moment { epoch, bucket: head };
        let mut expected = [0; BUCKETS];
        for row in self.rows.values().filter(|row| row.counts(now)) {
            expected[row.last as usize % BUCKETS] += 1;
        }
        prop_assert_eq!(self.window.ring.map(|bucket| bucket.tenants), expected);
        prop_assert_eq!(self.window.tenants, expected.iter().sum::<u64>());
        Ok(())
    }
}

fn row<'a>(rows: &'a mut HashMap<u64, TenantSpend>, cost: &Cost) -> Option<&'a mut TenantSpend> {
    (cost.tenant != 0).then(|| rows.entry(cost.tenant).or_default())
}

/// One charge that was taken.
#[derive(Clone, Copy, Debug)]
struct Taken {
    /// The account's time: the latest any charge had by then.
    at: u64,
    cost: Cost,
    receipt: Receipt,
    given_back: bool,
}

/// The window under test and the log it is compared with.
struct Pair {
    limit: Limit,
    account: Account,
    log: Vec<Taken>,
    latest: u64,
}

impl Pair {
    fn new(limit: Limit) -> Self {
        Self { limit, account: Account::default(), log: Vec::new(), latest: 0 }
    }

    /// Charges; a trip is released at once, so that the next step asks the arithmetic again.
    fn charge(&mut self, now: u64, cost: Cost) -> Result<(), Over> {
        let outcome = self.account.charge(&self.limit, now, ENFORCE, &cost);
        self.account.window.latched_until = 0;
        self.note(now, cost, outcome)
    }

    /// Charges as a zone that throttles does: a trip lasts.
    fn charge_paced(&mut self, now: u64, cost: Cost) -> Result<(), Over> {
        let outcome = self.account.charge_paced(&self.limit, now, ENFORCE, &cost);
        self.note(now, cost, outcome)
    }

    fn note(&mut self, now: u64, cost: Cost, outcome: Result<Receipt, Over>) -> Result<(), Over> {
        self.latest = self.latest.max(now);
        let receipt = outcome?;
        self.log.push(Taken { at: self.latest, cost, receipt, given_back: false });
        Ok(())
    }

    /// Lets the time pass that a step says, or gives back what it says. When to charge what, if
    /// that is what it is.
    fn prepare(&mut self, step: &Step, now: &mut u64) -> Option<(u64, Cost)> {
        let unit = self.limit.window_ns / 1_000;
        match step {
            Step::Charge { pass, cost } => {
                *now += unit.max(1) * pass;
                Some((*now, *cost))
            }
            Step::Late { late, cost } => Some((now.saturating_sub(unit * late).max(1), *cost)),
            Step::GiveBack(index) => {
                if !self.log.is_empty() {
                    self.give_back(index.index(self.log.len()));
                }
                None
            }
        }
    }

    fn give_back(&mut self, index: usize) {
        let taken = &mut self.log[index];
        if !taken.given_back {
            taken.given_back = true;
            self.account.give_back(&taken.receipt, &taken.cost);
        }
    }

    /// What stands of the charges from `from` up to now.
    fn standing(&self, from: u64) -> impl Iterator<Item = &Taken> {
        self.log.iter().filter(move |taken| taken.at >= from && !taken.given_back)
    }

    fn files_since(&self, from: u64) -> u64 {
        self.standing(from).map(|taken| taken.cost.files).sum()
    }

    fn bytes_since(&self, from: u64) -> u64 {
        self.standing(from).map(|taken| taken.cost.bytes).sum()
    }

    fn tenants_since(&self, from: u64) -> Vec<u64> {
        let mut tenants: Vec<u64> =
            self.standing(from).map(|taken| taken.cost.tenant).filter(|t| *t != 0).collect();
        tenants.sort_unstable();
        tenants.dedup();
        tenants
    }

    /// The earliest time in the window that ends now.
    fn window_start(&self) -> u64 {
        self.latest.saturating_sub(self.limit.window_ns)
    }

    /// The earliest time that can still count: 1/31 of a window earlier, give or take rounding.
    fn ring_start(&self) -> u64 {
        (self.latest / self.limit.bucket_ns).saturating_sub(BUCKETS as u64 - 1)
            * self.limit.bucket_ns
    }

    /// The promise: no window has more than the limit. A window holds most when it ends with a
    /// charge, so looking at the one that ends now, after each charge, looks at all.
    fn check_promise(&self) -> Result<(), TestCaseError> {
        let from = self.window_start();
        prop_assert!(self.files_since(from) <= self.limit.files);
        prop_assert!(self.bytes_since(from) <= self.limit.bytes);
        prop_assert!(self.tenants_since(from).len() as u64 <= u64::from(self.limit.tenants));
        Ok(())
    }

    /// After an op of a paced account its bucket has no more than its share, or nothing but that
    /// op.
    fn is_within_share(&self, cost: &Cost) -> bool {
        let window = &self.account.window;
        let bucket = &window.ring[window.head as usize % BUCKETS];
        let within =
            |limit, spent, cost| limit == u64::MAX || spent <= share(limit) || spent == cost;
        within(self.limit.files, bucket.files, cost.files)
            && within(self.limit.bytes, bucket.bytes, cost.bytes)
    }

    /// The ring holds exactly what stands of the charges it covers.
    fn check_exactness(&self) -> Result<(), TestCaseError> {
        let (files, bytes, _) = self.account.window.spent(&self.limit, self.latest);
        prop_assert_eq!(files, self.files_since(self.ring_start()));
        prop_assert_eq!(bytes, self.bytes_since(self.ring_start()));
        self.account.check_rows()
    }
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// So many thousandths of a window pass, then this is charged.
    Charge { pass: u64, cost: Cost },
    /// As before, but its time was read so many thousandths of a window before it is charged.
    Late { late: u64, cost: Cost },
    /// One of the charges so far is given back.
    GiveBack(prop::sample::Index),
}

fn some_cost() -> impl Strategy<Value = Cost> {
    (0..6u64, 0..2_000u64, 0..7u64).prop_map(|(files, bytes, tenant)| cost(files, bytes, tenant))
}

fn some_pass() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => Just(0u64),
        8 => 0..40u64,
        4 => 0..400u64,
        2 => 900..1_100u64,
        1 => 0..1_000_000u64,
    ]
}

fn some_steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (some_pass(), some_cost()).prop_map(|(pass, cost)| Step::Charge { pass, cost }),
        2 => (0..3_000u64, some_cost()).prop_map(|(late, cost)| Step::Late { late, cost }),
        2 => any::<prop::sample::Index>().prop_map(Step::GiveBack),
    ];
    vec(step, 1..150)
}

fn some_limit() -> impl Strategy<Value = Limit> {
    let window = prop_oneof![1_000..100_000u64, Just(31_000u64), Just(600_000_000_000u64)];
    let files = prop_oneof![4 => 1..30u64, 1 => Just(u64::MAX)];
    let bytes = prop_oneof![4 => 1..20_000u64, 1 => Just(u64::MAX)];
    let tenants = prop_oneof![4 => 1..6u32, 1 => Just(u32::MAX)];
    (window, files, bytes, tenants).prop_map(|(w, f, b, t)| limit(w, f, b, t))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_window_holds_too_much(
        limit in some_limit(), start in 1..u64::MAX / 4, steps in some_steps(),
    ) {
        let (mut pair, mut now) = (Pair::new(limit), start);
        for step in steps {
            if let Some((at, cost)) = pair.prepare(&step, &mut now) {
                let _ = pair.charge(at, cost);
            }
            pair.check_promise()?;
            pair.check_exactness()?;
        }
    }

    #[test]
    fn nothing_within_limit_is_refused(
        limit in some_limit(), start in 1..u64::MAX / 4, steps in some_steps(),
    ) {
        let (mut pair, mut now) = (Pair::new(limit), start);
        for step in steps {
            let cost = match step {
                Step::Charge { pass, cost } => {
                    now += (limit.window_ns / 1_000).max(1) * pass;
                    cost
                }
                Step::Late { cost, .. } => cost,
                // An op that failed, and nobody else was at it meanwhile.
                Step::GiveBack(_) if !pair.log.is_empty() => {
                    pair.give_back(pair.log.len() - 1);
                    continue;
                }
                Step::GiveBack(_) => continue,
            };
            let over = pair.charge(now, cost);
            let files = pair.files_since(pair.ring_start()).saturating_add(cost.files);
            let bytes = pair.bytes_since(pair.ring_start()).saturating_add(cost.bytes);
            let mut tenants = pair.tenants_since(pair.ring_start());
            if !tenants.contains(&cost.tenant) {
                tenants.push(cost.tenant);
            }
            match over {
                Ok(()) => {}
                Err(Over::Files) => prop_assert!(files > limit.files),
                Err(Over::Bytes) => prop_assert!(bytes > limit.bytes),
                Err(Over::Tenants) => prop_assert!(tenants.len() > limit.tenants as usize),
                Err(Over::Latched) => prop_assert!(false, "the latch was released"),
            }
            // How much longer than a window an amount can count at all.
            let longest = limit.window_ns + limit.window_ns / 31 + 64;
            prop_assert!(pair.latest - pair.ring_start() < longest);
        }
    }

    #[test]
    fn given_back_charge_leaves_no_trace(
        limit in some_limit(), charges in vec((0..40u64, some_cost()), 0..40),
        late in some_cost(), pass in some_pass(),
    ) {
        let (mut account, mut now) = (Account::default(), 1_000_000);
        for (pass, cost) in charges {
            now += limit.window_ns / 1_000 * pass;
            let _ = account.charge(&limit, now, ENFORCE, &cost);
            account.window.latched_until = 0;
        }
        let before = account.window;
        if let Ok(receipt) = account.charge(&limit, now, ENFORCE, &late) {
            account.give_back(&receipt, &late);
            let later = now + limit.window_ns / 1_000 * pass;
            prop_assert_eq!(account.window.spent(&limit, later), before.spent(&limit, later));
            account.check_rows()?;
        }
    }

    #[test]
    fn drained_window_equals_new_one(
        limit in some_limit(), start in 1..u64::MAX / 4,
        before in some_steps(), after in some_steps(),
    ) {
        let (mut pair, mut now) = (Pair::new(limit), start);
        for step in &before {
            if let Some((at, cost)) = pair.prepare(step, &mut now) {
                let _ = pair.charge_paced(at, cost);
            }
        }
        now += 2 * limit.window_ns + 3 * limit.bucket_ns;
        prop_assert!(pair.account.window.is_drained(&limit, now));
        let mut new = Pair::new(limit);
        pair.log.clear();
        for step in after.iter().filter(|step| !matches!(step, Step::Late { .. })) {
            if let Some((at, cost)) = pair.prepare(step, &mut now) {
                prop_assert_eq!(
                    pair.charge_paced(at, cost).is_ok(), new.charge_paced(at, cost).is_ok()
                );
                prop_assert_eq!(pair.log.len(), new.log.len());
            } else if let Step::GiveBack(index) = step && !new.log.is_empty() {
                new.give_back(index.index(new.log.len()));
            }
        }
        let spent = |pair: &Pair| pair.account.window.spent(&limit, now);
        prop_assert_eq!(spent(&pair), spent(&new));
    }

    #[test]
    fn latch_ends_with_nothing_spent(
        window_ns in 1_000..1_000_000u64, start in 1..1_000_000_000u64,
        passes in vec(0..900u64, 0..40),
    ) {
        let limit = limit(window_ns, 10, u64::MAX, 5);
        let (mut account, mut now) = (Account::default(), start);
        for (tenant, pass) in (1..).zip(passes) {
            now += pass;
            let _ = account.charge(&limit, now, ENFORCE, &cost(1, 1, tenant % 5 + 1));
        }
        let _ = account.charge(&limit, now, ENFORCE, &cost(1, 0, 1));
        if account.charge(&limit, now, ENFORCE, &cost(10, 0, 1)) == Err(Over::Files) {
            let end = account.window.latched_until;
            prop_assert!(end >= now + window_ns);
            prop_assert!(end <= now + BUCKETS as u64 * limit.bucket_ns);
            let asked = account.charge(&limit, end - 1, ENFORCE, &cost(1, 0, 1));
            prop_assert_eq!(asked, Err(Over::Latched));
            prop_assert_eq!(account.window.spent(&limit, end), (0, 0, 0));
            prop_assert!(account.charge(&limit, end, ENFORCE, &cost(10, 0, 1)).is_ok());
        }
    }
}

/// A 31st of the limit, rounded up: what a paced account takes in one bucket, unless a single op is
/// larger.
fn share(limit: u64) -> u64 {
    limit.div_ceil(BUCKETS as u64 - 1)
}

/// How many files each bucket after that of the trip takes of ops of this cost, tried `tries` times
/// in each.
fn taken_per_bucket(limit: &Limit, cost: &Cost, tries: u64, buckets: u64) -> Vec<u64> {
    let mut account = Account::default();
    let first = 1_000 * limit.bucket_ns;
    let mut spend = |bucket: u64, nth: u64, refusal: Over| {
        let now = first + bucket * limit.bucket_ns + limit.bucket_ns * nth / tries;
        let taken = account.charge_paced(limit, now, ENFORCE, cost);
        assert!(taken.is_ok() || taken == Err(refusal), "{taken:?} at {bucket}");
        assert_eq!(limit.next_bucket(now), first + (bucket + 1) * limit.bucket_ns);
        taken.is_ok()
    };
    while spend(0, 0, Over::Files) {}
    let mut bucket = |n| (0..tries).filter(|nth| spend(n, *nth, Over::Latched)).count() as u64;
    let taken = (1..=buckets).map(|n| bucket(n) * cost.files).collect();
    assert_eq!(account.window.trips, 1, "a refusal of a paced account is no new trip");
    taken
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn paced_account_never_exceeds_limit(
        limit in some_limit(), start in 1..u64::MAX / 4, steps in some_steps(),
    ) {
        let (mut pair, mut now) = (Pair::new(limit), start);
        for step in steps {
            if let Some((at, cost)) = pair.prepare(&step, &mut now) {
                let trips = pair.account.window.trips;
                let paced = pair.account.window.is_latched(at, ENFORCE);
                // Only the first refusal is a trip; a paced account is refused as that.
                match pair.charge_paced(at, cost) {
                    Ok(()) => prop_assert!(!paced || pair.is_within_share(&cost)),
                    Err(over) => {
                        prop_assert_eq!(over == Over::Latched, paced);
                        let trip = !limit.never_covers(&cost);
                        prop_assert!(!trip || pair.account.window.is_latched(pair.latest, ENFORCE));
                        let trips = trips + u64::from(trip && !paced);
                        prop_assert_eq!(pair.account.window.trips, trips);
                    }
                }
            }
            pair.check_promise()?;
            pair.check_exactness()?;
        }
    }

    /// The rate: ops of one file, as the kernel's are, spend the whole limit in each 32 buckets,
    /// which is 31/32 of it in a window. Larger ones may fit a bucket's share only once, with as
    /// much as half of it left over.
    #[test]
    fn paced_account_spends_evenly(
        window_ns in 10_000..1_000_000u64, files in 1..400u64,
        each in prop_oneof![Just(1), 1..400u64],
    ) {
        let (limit, each) = (files_limit(window_ns, files), each.min(files));
        let tries = share(files) + 1;
        let taken = taken_per_bucket(&limit, &cost(each, 0, 0), tries, 40 * BUCKETS as u64);
        let most = share(files).max(each);
        prop_assert!(taken.iter().all(|files| *files <= most), "{:?}", taken);
        // What the trip spent counts until its bucket leaves the ring.
        let (drain, steady) = taken.split_at(BUCKETS - 1);
        prop_assert_eq!(drain.iter().sum::<u64>(), 0);
        for ring in steady.windows(BUCKETS) {
            let taken: u64 = ring.iter().sum();
            prop_assert!(taken == files || (each > 1 && taken * 2 >= files && taken < files));
        }
    }

    #[test]
    fn reset_voids_old_receipts(
        limit in some_limit(), before in some_steps(), after in some_steps(),
    ) {
        let (mut pair, mut now) = (Pair::new(limit), 1_000_000);
        let mut spend = |pair: &mut Pair, steps: &[Step]| {
            for step in steps {
                if let Some((at, cost)) = pair.prepare(step, &mut now) {
                    let _ = pair.charge_paced(at, cost);
                }
            }
        };
        spend(&mut pair, &before);
        let (old, trips) = (std::mem::take(&mut pair.log), pair.account.window.trips);
        pair.account.window = pair.account.window.reset();
        prop_assert_eq!(pair.account.window.spent(&limit, pair.latest), (0, 0, 0));
        prop_assert!(!pair.account.window.is_latched(pair.latest, OBSERVE));
        prop_assert_eq!(pair.account.window.trips, trips, "they are counted for good");
        spend(&mut pair, &after);
        let standing = pair.account.clone();
        old.iter().for_each(|taken| pair.account.give_back(&taken.receipt, &taken.cost));
        prop_assert_eq!(pair.account, standing);
    }
}

#[test]
fn still_actor_is_paced_no_longer() {
    let limit = files_limit(31_000, 310);
    let mut account = Account::default();
    assert!(account.charge_paced(&limit, 1_000_000, ENFORCE, &cost(310, 0, 0)).is_ok());
    assert_eq!(account.charge_paced(&limit, 1_000_000, ENFORCE, &cost(1, 0, 0)), Err(Over::Files));
    let end = account.window.latched_until;
    for _ in 0..31 {
        assert!(account.charge_paced(&limit, end, ENFORCE, &cost(10, 0, 0)).is_ok());
    }
    assert_eq!(account.charge_paced(&limit, end, ENFORCE, &cost(1, 0, 0)), Err(Over::Files));
}

/// One op of 80 GiB tripped everybody's budget for a day, although nothing had been spent.
#[test]
fn uncoverable_op_trips_nobody() {
    let limit = limit(1_000, 10, 100, 3);
    let mut account = Account::default();
    for cost in [cost(11, 0, 1), cost(1, 101, 1)] {
        assert!(account.charge(&limit, 10, ENFORCE, &cost).is_err());
        assert!(account.charge_paced(&limit, 10, ENFORCE, &cost).is_err());
        assert_eq!(
            (account.window.trips, account.window.latched_until, account.window.trip.over),
            (0, 0, 0)
        );
    }
    assert!(account.charge(&limit, 10, ENFORCE, &cost(10, 100, 1)).is_ok());
}

/// In the first window after boot everyone shared one account: none that was never used had drained
/// yet.
#[test]
fn a_window_never_charged_is_drained() {
    assert!(Window::new().is_drained(&files_limit(31_000, 5), 1));
}

#[test]
fn trip_lasts_as_long_as_latch() {
    let limit = Limit { latch_ns: 3_000, ..files_limit(31_000, 5) };
    let mut account = Account::default();
    assert!(account.charge(&limit, 100_000, ENFORCE, &cost(5, 0, 0)).is_ok());
    assert_eq!(account.charge(&limit, 100_000, ENFORCE, &cost(1, 0, 0)), Err(Over::Files));
    assert_eq!((account.window.latched_until, account.window.trip.time_ns), (103_000, 100_000));
    assert_eq!(account.charge(&limit, 102_999, ENFORCE, &cost(1, 0, 0)), Err(Over::Latched));
    // The window is still full: that is a new trip. What costs nothing of it goes on.
    assert!(account.charge(&limit, 103_000, ENFORCE, &cost(0, 7, 0)).is_ok());
    assert_eq!(account.charge(&limit, 103_000, ENFORCE, &cost(1, 0, 0)), Err(Over::Files));
    assert_eq!((account.window.latched_until, account.window.trips), (106_000, 2));
    let drained = 132_000;
    assert!(account.charge(&limit, drained, ENFORCE, &cost(5, 0, 0)).is_ok());
    // An actor that is paced keeps its pace until it has kept still for a window.
    let mut paced = Account::default();
    assert!(paced.charge_paced(&limit, 100_000, ENFORCE, &cost(5, 0, 0)).is_ok());
    assert_eq!(paced.charge_paced(&limit, 100_000, ENFORCE, &cost(1, 0, 0)), Err(Over::Files));
    assert_eq!(paced.window.latched_until, drained);
}

#[test]
fn exactly_the_limit_can_be_spent() {
    let limit = files_limit(1_000, 200);
    let mut account = Account::default();
    for _ in 0..200 {
        assert!(account.charge(&limit, 5_000, ENFORCE, &cost(1, 0, 0)).is_ok());
    }
    assert_eq!(account.charge(&limit, 5_000, ENFORCE, &cost(1, 0, 0)), Err(Over::Files));
    assert_eq!((account.window.files, account.window.trips), (200, 1));
    assert_eq!(account.charge(&limit, 5_001, ENFORCE, &cost(1, 0, 0)), Err(Over::Latched));
    assert_eq!(account.window.trips, 1, "only the first op over the limit trips");
}

#[test]
fn huge_cost_does_not_wrap() {
    let mut account = Account::default();
    let huge = cost(u64::MAX, u64::MAX, 1);
    let unlimited = limit(1_000, u64::MAX, u64::MAX, u32::MAX);
    assert!(account.charge(&unlimited, 1, ENFORCE, &huge).is_ok());
    assert!(account.charge(&unlimited, 1, ENFORCE, &huge).is_ok());

    let mut account = Account::default();
    let limit = limit(1_000, 10, 10, u32::MAX);
    assert!(account.charge(&limit, 1, ENFORCE, &cost(5, 5, 0)).is_ok());
    assert_eq!(account.charge(&limit, 1, ENFORCE, &cost(u64::MAX, 1, 0)), Err(Over::Files));
    account.window.latched_until = 0;
    assert_eq!(account.charge(&limit, 1, ENFORCE, &cost(1, u64::MAX, 0)), Err(Over::Bytes));
}

#[test]
fn thousands_of_tenants_fit() {
    let limit = tenants_limit(1_000, MAX_TENANTS);
    let mut account = Account::default();
    for tenant in 1..=MAX_TENANTS.into() {
        assert!(account.charge(&limit, 10, ENFORCE, &cost(1, 0, tenant)).is_ok());
    }
    assert!(account.charge(&limit, 10, ENFORCE, &cost(1, 0, 7)).is_ok(), "touched already");
    assert!(account.charge(&limit, 10, ENFORCE, &cost(1, 0, 0)).is_ok(), "above all tenants");
    assert_eq!(account.charge(&limit, 10, ENFORCE, &cost(1, 0, u64::MAX)), Err(Over::Tenants));
}

#[test]
fn observed_trip_does_not_bind_enforcement() {
    let limit = files_limit(1_000, 1);
    let mut account = Account::default();
    assert!(account.charge(&limit, 10, OBSERVE, &cost(1, 0, 0)).is_ok());
    assert_eq!(account.charge(&limit, 10, OBSERVE, &cost(1, 0, 0)), Err(Over::Files));
    assert_eq!(account.charge(&limit, 10, OBSERVE, &cost(1, 0, 0)), Err(Over::Latched));
    let mut throttles = account.clone();
    assert_eq!(account.charge(&limit, 10, ENFORCE, &cost(1, 0, 0)), Err(Over::Files));
    assert_eq!(account.charge(&limit, 10, OBSERVE, &cost(1, 0, 0)), Err(Over::Latched));
    assert_eq!(throttles.charge_paced(&limit, 10, ENFORCE, &cost(1, 0, 0)), Err(Over::Files));
}

/// Two ops in one tenant were charged in the same nanosecond on two CPUs. One of them failed and
/// was given back, which also forgot the tenant for the other: a third tenant could then be touched
/// where two were allowed.
#[test]
fn failed_op_keeps_others_tenant() {
    let limit = tenants_limit(1_000, 2);
    let mut account = Account::default();
    let failed = account.charge(&limit, 100, ENFORCE, &cost(1, 0, 1)).unwrap();
    assert!(account.charge(&limit, 100, ENFORCE, &cost(1, 0, 1)).is_ok());
    account.give_back(&failed, &cost(1, 0, 1));
    assert!(account.charge(&limit, 100, ENFORCE, &cost(1, 0, 2)).is_ok());
    assert_eq!(account.charge(&limit, 100, ENFORCE, &cost(1, 0, 3)), Err(Over::Tenants));
}

/// The latch ended one window after the trip, but what was spent right before the trip stays in the
/// ring for up to one bucket longer: the next ordinary deletion tripped again and latched for
/// another whole window.
#[test]
fn op_after_latch_trips_nobody() {
    let limit = files_limit(31_000, 5);
    let mut account = Account::default();
    assert!(account.charge(&limit, 1_000_000, ENFORCE, &cost(5, 0, 0)).is_ok());
    assert_eq!(account.charge(&limit, 1_000_000, ENFORCE, &cost(1, 0, 0)), Err(Over::Files));
    let end = account.window.latched_until;
    assert!(account.charge(&limit, end, ENFORCE, &cost(1, 0, 0)).is_ok());
}

/// A thread read the clock, was preempted, and got the lock after others: its tenant then expired
/// too early, counted from the time it had read.
#[test]
fn op_counts_from_its_charge() {
    let limit = tenants_limit(1_000, 2);
    let mut account = Account::default();
    assert!(account.charge(&limit, 5_000, ENFORCE, &cost(1, 0, 1)).is_ok());
    assert!(account.charge(&limit, 4_500, ENFORCE, &cost(1, 0, 2)).is_ok());
    assert_eq!(account.charge(&limit, 5_900, ENFORCE, &cost(1, 0, 3)), Err(Over::Tenants));
}
