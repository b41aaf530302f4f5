//! A window of an earlier boot in this one, and the tenants that it counts. Pure.

use std::collections::BTreeMap;

use holdfast_abi::{
    BUCKETS, Bucket, Cost, Limit, MAX_TENANTS, Moment, SpentPart, TenantSpend, Window,
};
use serde::{Deserialize, Serialize};

use crate::kernel::Spending;

/// A window as it is on the disk, and where there are many of them: only what is in it. Trips are
/// not, they are counted in each boot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Stored {
    offset: u64,
    head: u64,
    latest: u64,
    latched_until: u64,
    latch_mode: u32,
    /// Place in the ring, files, bytes, tenants.
    buckets: Vec<(usize, u64, u64, u64)>,
}

impl Stored {
    /// What is in a window.
    pub(crate) fn of(window: &Window) -> Self {
        let full =
            window.ring.iter().enumerate().filter(|(_, bucket)| **bucket != Bucket::default());
        Self {
            offset: window.offset,
            head: window.head,
            latest: window.latest,
            latched_until: window.latched_until,
            latch_mode: window.latch_mode,
            buckets: full
                .map(|(at, bucket)| (at, bucket.files, bucket.bytes, bucket.tenants))
                .collect(),
        }
    }

    /// The window. What it counts altogether follows from its parts.
    pub(crate) fn window(&self) -> Window {
        let mut window = Window {
            offset: self.offset,
            head: self.head,
            latest: self.latest,
            latched_until: self.latched_until,
            latch_mode: self.latch_mode,
            ..Window::new()
        };
        for &(at, files, bytes, tenants) in &self.buckets {
            window.ring[at % BUCKETS] = Bucket { files, bytes, tenants };
            window.files = window.files.saturating_add(files);
            window.bytes = window.bytes.saturating_add(bytes);
            window.tenants = window.tenants.saturating_add(tenants);
        }
        window
    }

    /// Brings it into a boot that began when `passed` nanoseconds of the boot before had passed.
    pub(super) fn carry(&mut self, passed: u64) {
        self.offset = self.offset.saturating_add(passed);
        self.latest = self.latest.saturating_sub(passed);
        self.latched_until = self.latched_until.saturating_sub(passed);
    }
}

/// A limit for a window of this length that limits nothing.
fn unlimited(window_ns: u64) -> Limit {
    Limit {
        window_ns,
        bucket_ns: Limit::bucket_for(window_ns),
        latch_ns: window_ns,
        files: u64::MAX,
        bytes: u64::MAX,
        after_files: 1,
        after_bytes: u64::MAX,
        tenants: MAX_TENANTS,
        pad: 0,
    }
}

/// A tenant as it is on the disk: the bucket in which it was last touched, if it counts; number of
/// the part, files, bytes of what it has lost.
pub(super) type StoredRow = (u64, Option<u64>, Vec<(u64, u64, u64)>);

/// What of a tenant counts at a moment.
pub(super) fn store(tenant: u64, row: &TenantSpend, now: Moment) -> StoredRow {
    let counted = row.parts.iter().filter(|part| part.counts(now));
    let parts = counted.map(|part| (part.number, part.files, part.bytes));
    let parts = parts.filter(|(_, files, bytes)| (*files, *bytes) != (0, 0));
    (tenant, row.counts(now).then_some(row.last), parts.collect())
}

/// A tenant that was stored, of the epoch that a stored window has.
pub(super) fn row_of((tenant, last, parts): &StoredRow) -> (u64, TenantSpend) {
    let mut row = TenantSpend::new();
    for &(number, files, bytes) in parts {
        row.add(Moment::of_part(0, number), &Cost { files, bytes, tenant: 0 });
    }
    if let &Some(bucket) = last {
        row.stay(Moment { epoch: 0, bucket });
    }
    (*tenant, row)
}

/// When a window of this length is looked at.
pub(super) fn moment(window: &Window, window_ns: u64, now_ns: u64) -> Moment {
    window.moment(&unlimited(window_ns), now_ns)
}

/// Whether nothing counts any more.
pub(crate) fn is_drained(spending: &Spending, window_ns: u64, now_ns: u64) -> bool {
    let window = &spending.window;
    let now = moment(window, window_ns, now_ns);
    window.latched_until <= now_ns
        && window.spent(&unlimited(window_ns), now_ns) == (0, 0, 0)
        && !spending.tenants.iter().any(|(_, row)| row.matters(now))
}

/// Both in one: what was spent in `own` since this boot began counts on top of what is carried
/// over, at the end of the bucket it was spent in. Nothing of it is older than it was.
pub(crate) fn merged(carried: &Spending, own: &Spending, window_ns: u64, now_ns: u64) -> Spending {
    let limit = unlimited(window_ns);
    let mut merged = carried.window.at(&limit, now_ns);
    let before = merged;
    let own_window = own.window.at(&limit, now_ns);
    // Where a bucket of `own` comes to be that ends with this one.
    let place = |number: u64| {
        let end = (number + 1).saturating_mul(limit.bucket_ns).saturating_sub(own_window.offset);
        limit.bucket_of(end.min(now_ns).saturating_add(before.offset))
    };
    for back in 0..BUCKETS as u64 {
        let Some(number) = own_window.head.checked_sub(back) else { break };
        let bucket = own_window.ring[number as usize % BUCKETS];
        let into = &mut merged.ring[place(number) as usize % BUCKETS];
        into.files = into.files.saturating_add(bucket.files);
        into.bytes = into.bytes.saturating_add(bucket.bytes);
        merged.files = merged.files.saturating_add(bucket.files);
        merged.bytes = merged.bytes.saturating_add(bucket.bytes);
    }
    if own_window.latched_until > merged.latched_until {
        (merged.latched_until, merged.latch_mode) =
            (own_window.latched_until, own_window.latch_mode);
        merged.trip = own_window.trip;
    }
    merged.latest = merged.latest.max(own_window.latest);
    merged.trips = merged.trips.saturating_add(own_window.trips);
    // What was charged to the window before cannot be given back to this one.
    merged.epoch = merged.epoch.max(own_window.epoch).wrapping_add(1);

    let mut touched: BTreeMap<u64, u64> = BTreeMap::new();
    let mut parts: BTreeMap<u64, BTreeMap<u64, Cost>> = BTreeMap::new();
    let mut tenants = [0u64; BUCKETS];
    let mut take = |window: &Window, rows: &[(u64, TenantSpend)], place: &dyn Fn(u64) -> u64| {
        let then = Moment { epoch: window.epoch, bucket: window.head };
        let mut rest = window.ring.map(|bucket| bucket.tenants);
        for (tenant, row) in rows {
            if row.counts(then) {
                let rest = &mut rest[row.last as usize % BUCKETS];
                *rest = rest.saturating_sub(1);
                let last = touched.entry(*tenant).or_default();
                *last = (*last).max(place(row.last));
            }
            for part in row.parts.iter().filter(|part| part.counts(then)) {
                // Where time goes on as before, each part is what it was.
                let is_same = window.offset == before.offset;
                let end = |part: &SpentPart| {
                    let bucket = place(Moment::last_bucket(part.number));
                    Moment { epoch: 0, bucket }.part()
                };
                let number = if is_same { part.number } else { end(part) };
                let sum = parts.entry(*tenant).or_default().entry(number).or_default();
                sum.files = sum.files.saturating_add(part.files);
                sum.bytes = sum.bytes.saturating_add(part.bytes);
            }
        }
        // Tenants without rows: there was no room for those, or they were touched since.
        for back in 0..BUCKETS as u64 {
            let Some(number) = window.head.checked_sub(back) else { break };
            tenants[place(number) as usize % BUCKETS] += rest[number as usize % BUCKETS];
        }
    };
    take(&before, &carried.tenants, &|bucket| bucket);
    take(&own_window, &own.tenants, &place);
    touched.values().for_each(|bucket| tenants[*bucket as usize % BUCKETS] += 1);
    merged.tenants = tenants.iter().sum();
    merged.ring.iter_mut().zip(tenants).for_each(|(bucket, tenants)| bucket.tenants = tenants);

    let mut rows: BTreeMap<u64, TenantSpend> = BTreeMap::new();
    for (tenant, sums) in parts {
        let row = rows.entry(tenant).or_default();
        // The oldest first: a younger part takes the place of one that does not count any more.
        for (number, sum) in sums {
            row.add(Moment::of_part(merged.epoch, number), &sum);
        }
    }
    for (tenant, bucket) in touched {
        rows.entry(tenant).or_default().stay(Moment { epoch: merged.epoch, bucket });
    }
    Spending { window: merged, tenants: rows.into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use holdfast_abi::Terms;
    use proptest::prelude::*;

    use super::*;

    /// What is spent, over the disk to another boot.
    fn carried(spending: &Spending, window_ns: u64, passed: u64) -> Spending {
        let window = &spending.window;
        let mut stored = Stored::of(window);
        stored.carry(passed);
        let now = moment(window, window_ns, passed);
        let rows = spending.tenants.iter().map(|(tenant, row)| row_of(&store(*tenant, row, now)));
        Spending { window: stored.window(), tenants: rows.collect() }
    }

    /// Charges without the latch, which would stop more than the limit does.
    fn charge(
        spending: &mut Spending,
        limit: &Limit,
        now: u64,
        tenants_only: bool,
        cost: Cost,
    ) -> bool {
        let rows = &mut spending.tenants;
        if rows.iter().all(|(known, _)| *known != cost.tenant) {
            rows.push((cost.tenant, TenantSpend::new()));
        }
        let mut known = rows.iter_mut().filter(|(known, _)| *known == cost.tenant);
        let row = known.next().map(|(_, row)| row);
        let at_once = limit.counts_at_once(&cost);
        let terms = Terms { now, paced: false, tenants_only, at_once };
        spending.window.take(limit, terms, &cost, row).is_ok()
    }

    fn limit(window_ns: u64, files: u64, tenants: u32) -> Limit {
        Limit { files, tenants, ..unlimited(window_ns) }
    }

    /// An op, or a reboot.
    #[derive(Clone, Debug)]
    enum Step {
        /// After so long: so many files of this tenant.
        Op(u64, u64, u64),
        /// After so long: written; so much later the power fails; the host is off for so long; the
        /// agent starts so late.
        Reboot(u64, u64, u64),
    }

    /// After so long nothing counts: a ring is longer than a window, more so where buckets of a few
    /// nanoseconds are rounded up.
    fn ring_ns(limit: &Limit) -> u64 {
        (BUCKETS as u64 + 1) * limit.bucket_ns
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..400u64, 1..4u64, 1..6u64)
                .prop_map(|(wait, files, tenant)| Step::Op(wait, files, tenant)),
            1 => (0..3000u64, 0..3000u64, 0..300u64)
                .prop_map(|(wait, off, up)| Step::Reboot(wait, off, up)),
        ]
    }

    proptest! {
        /// In no window of real time goes more than the limit, however often the host reboots
        /// meanwhile.
        #[test]
        fn reboots_never_widen_a_window(
            steps in prop::collection::vec(step(), 1..300),
            window_ns in 31..2000u64,
            files in 4..20u64,
            tenants in 1..5u32,
        ) {
            let limit = limit(window_ns, files, tenants);
            let mut spending = Spending::default();
            // Real time, and when this boot began.
            let (mut real, mut booted) = (0u64, 0u64);
            let mut taken: Vec<(u64, u64, u64)> = Vec::new();
            for step in steps {
                match step {
                    Step::Op(wait, files, tenant) => {
                        real += wait;
                        let cost = Cost { files, bytes: 0, tenant };
                        if charge(&mut spending, &limit, real - booted, false, cost) {
                            taken.push((real, files, tenant));
                        }
                    }
                    Step::Reboot(wait, off, up) => {
                        real += wait;
                        spending = carried(&spending, window_ns, real - booted);
                        real += off;
                        booted = real;
                        real += up;
                    }
                }
            }
            for (n, first) in taken.iter().enumerate() {
                let inside = taken[n..].iter().take_while(|op| op.0 - first.0 <= window_ns);
                let inside: Vec<_> = inside.collect();
                let sum: u64 = inside.iter().map(|op| op.1).sum();
                let touched: std::collections::BTreeSet<u64> =
                    inside.iter().map(|op| op.2).collect();
                prop_assert!(sum <= files, "{sum} of {files} files");
                prop_assert!(touched.len() <= tenants as usize, "{touched:?}");
            }
        }

        /// Nothing that was spent stays counted for more than the window and the time that the host
        /// was off or not written.
        #[test]
        fn reboots_delay_by_their_own_time(
            reboots in prop::collection::vec((0..500u64, 0..500u64, 0..500u64), 0..20),
            window_ns in 31..5000u64,
        ) {
            let limit = limit(window_ns, 10, 4);
            let mut spending = Spending::default();
            let cost = Cost { files: 10, bytes: 1, tenant: 1 };
            prop_assert!(charge(&mut spending, &limit, 5, false, cost));
            let (mut up, mut now) = (0, 5);
            for (wait, _, late) in reboots {
                now += wait;
                up += now;
                spending = carried(&spending, window_ns, now);
                now = late;
            }
            let age = (up + now).saturating_sub(5);
            let spent = spending.window.spent(&limit, now);
            if age <= window_ns {
                prop_assert_eq!(spent, (10, 1, 1));
                prop_assert!(
                    !spending.window.is_drained(&limit, now),
                    "the kernel would forget it"
                );
            } else if age > ring_ns(&limit) {
                prop_assert_eq!(spent, (0, 0, 0));
                prop_assert!(is_drained(&spending, window_ns, now));
            }
        }

        /// What a tenant has lost counts as long as before over reboots and merges: no window of
        /// real time has more tenants with enough lost than the limit.
        #[test]
        fn reboots_keep_tenant_losses(
            steps in prop::collection::vec(step(), 1..300),
            window_ns in 31..2000u64,
            after in 2..9u64,
        ) {
            let limit = Limit { after_files: after, tenants: 2, ..unlimited(window_ns) };
            let mut spending = Spending::default();
            let (mut real, mut booted) = (0u64, 0u64);
            let mut taken: Vec<(u64, u64, u64)> = Vec::new();
            for step in steps {
                match step {
                    Step::Op(wait, files, tenant) => {
                        real += wait;
                        let cost = Cost { files, bytes: 0, tenant };
                        if charge(&mut spending, &limit, real - booted, true, cost) {
                            taken.push((real, files, tenant));
                        }
                    }
                    Step::Reboot(wait, off, up) => {
                        real += wait;
                        spending = carried(&spending, window_ns, real - booted);
                        real += off;
                        booted = real;
                        // Before it is put back a tenant loses something in this boot.
                        let mut own = Spending::default();
                        let cost = Cost { files: 1, bytes: 0, tenant: 1 };
                        if charge(&mut own, &limit, 1, true, cost) {
                            taken.push((real + 1, 1, 1));
                        }
                        real += up + 1;
                        spending = merged(&spending, &own, window_ns, real - booted);
                    }
                }
            }
            for (n, first) in taken.iter().enumerate() {
                let inside = taken[n..].iter().take_while(|op| op.0 - first.0 <= window_ns);
                let mut lost = BTreeMap::new();
                inside.for_each(|op| *lost.entry(op.2).or_insert(0) += op.1);
                // The tenant that was touched before the merge may be one more.
                let counted = lost.iter().filter(|(tenant, sum)| **sum >= after && **tenant != 1);
                prop_assert!(counted.count() <= 2, "{lost:?}");
            }
        }

        /// Two windows in one count everything that either of them counts, and what is drained in
        /// both is drained in it.
        #[test]
        fn merge_counts_both(
            before in prop::collection::vec((0..900u64, 1..9u64, 1..90u64), 0..60),
            after in prop::collection::vec((0..900u64, 1..9u64, 1..90u64), 0..60),
            window_ns in 31..3000u64,
            late in 0..4000u64,
        ) {
            let limit = unlimited(window_ns);
            let (mut old, mut own) = (Spending::default(), Spending::default());
            let mut now = 0;
            for (wait, files, tenant) in before {
                now += wait;
                charge(&mut old, &limit, now, false, Cost { files, bytes: files, tenant });
            }
            let old = carried(&old, window_ns, now);
            let mut now = 0;
            for (wait, files, tenant) in after {
                now += wait;
                charge(&mut own, &limit, now, false, Cost { files, bytes: files, tenant });
            }
            now += late;
            let both = merged(&old, &own, window_ns, now);
            let (a, b) = (old.window.spent(&limit, now), own.window.spent(&limit, now));
            let c = both.window.spent(&limit, now);
            prop_assert!(a.0 + b.0 <= c.0 && a.1 + b.1 <= c.1);
            prop_assert!(c.2 >= a.2.max(b.2) && c.2 <= a.2 + b.2);
            let moment = moment(&both.window, window_ns, now);
            let rows = both.tenants.iter().filter(|(_, row)| row.counts(moment));
            prop_assert_eq!(rows.count() as u32, c.2, "each tenant has its row");
            let later = now + ring_ns(&limit);
            prop_assert_eq!(both.window.spent(&limit, later), (0, 0, 0));
        }
    }
}
