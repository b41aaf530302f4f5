//! A window of an earlier boot in this one, and what its tenants have lost. Pure.

use std::collections::BTreeMap;

use holdfast_abi::{
    BUCKETS, Bucket, Cost, Limit, MAX_TENANTS, PartTime, Slot, SpentPart, TenantSpend, Window,
};
use serde::{Deserialize, Serialize};

/// A window as it is on the disk, and where there are many of them: only what is in it. Trips are
/// not, they are counted in each boot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Stored {
    offset: u64,
    head: u64,
    latest: u64,
    latched_until: u64,
    latch_mode: u32,
    /// Place in the ring, files, bytes.
    buckets: Vec<(usize, u64, u64)>,
    /// Tenant, when it was last touched (account time).
    tenants: Vec<(u64, u64)>,
}

impl Stored {
    /// What is in a window.
    pub(crate) fn of(window: &Window) -> Self {
        let full =
            window.ring.iter().enumerate().filter(|(_, bucket)| **bucket != Bucket::default());
        let touched = window.tenants.iter().filter(|slot| slot.last != 0);
        Self {
            offset: window.offset,
            head: window.head,
            latest: window.latest,
            latched_until: window.latched_until,
            latch_mode: window.latch_mode,
            buckets: full.map(|(at, bucket)| (at, bucket.files, bucket.bytes)).collect(),
            tenants: touched.map(|slot| (slot.tenant, slot.last)).collect(),
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
        for &(at, files, bytes) in &self.buckets {
            window.ring[at % BUCKETS] = Bucket { files, bytes };
            window.files = window.files.saturating_add(files);
            window.bytes = window.bytes.saturating_add(bytes);
        }
        for (slot, &(tenant, last)) in window.tenants.iter_mut().zip(&self.tenants) {
            *slot = Slot { tenant, last };
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
        tenants: MAX_TENANTS as u32,
        pad: 0,
    }
}

/// What the tenants of a window have lost that do not count with their first file.
pub(crate) type Losses = Vec<(u64, TenantSpend)>;

/// What one tenant has lost, as it is on the disk: number of the part, files, bytes.
pub(super) type StoredLoss = Vec<(u64, u64, u64)>;

/// What of a tenant's loss counts now.
pub(super) fn store(
    window: &Window,
    window_ns: u64,
    now_ns: u64,
    spend: &TenantSpend,
) -> StoredLoss {
    let now = window.part_time(&unlimited(window_ns), now_ns);
    let counted = spend.parts.iter().filter(|part| part.counts(now));
    let parts = counted.map(|part| (part.number, part.files, part.bytes));
    parts.filter(|(_, files, bytes)| (*files, *bytes) != (0, 0)).collect()
}

/// A tenant's loss that was stored, of the epoch that a stored window has.
pub(super) fn spend_of(stored: &StoredLoss) -> TenantSpend {
    let mut spend = TenantSpend::new();
    for &(number, files, bytes) in stored {
        spend.add(PartTime { epoch: 0, number }, &Cost { files, bytes, tenant: 0 });
    }
    spend
}

/// Whether nothing in a window counts any more, nor in what its tenants have lost.
pub(crate) fn is_drained(window: &Window, losses: &Losses, window_ns: u64, now_ns: u64) -> bool {
    let limit = unlimited(window_ns);
    let time = window.part_time(&limit, now_ns);
    window.latched_until <= now_ns
        && window.spent(&limit, now_ns) == (0, 0, 0)
        && losses.iter().all(|(_, spend)| spend.spent(time) == (0, 0))
}

/// What the tenants of both windows have lost, in the time and epoch of the one that they became
/// ([`merged`]). Nothing of it is older than it was.
pub(crate) fn merged_losses(
    carried: (&Window, &Losses),
    own: (&Window, &Losses),
    into: &Window,
    window_ns: u64,
    now_ns: u64,
) -> Losses {
    let limit = unlimited(window_ns);
    let now = into.part_time(&limit, now_ns);
    let mut parts: BTreeMap<u64, BTreeMap<u64, Cost>> = BTreeMap::new();
    for (window, losses) in [carried, own] {
        let then = window.part_time(&limit, now_ns);
        let end = |part: &SpentPart| {
            let last = PartTime { epoch: 0, number: part.number }.last_bucket();
            let end = (last + 1).saturating_mul(limit.bucket_ns).saturating_sub(window.offset);
            let at = limit.bucket_of(end.min(now_ns).saturating_add(into.offset));
            PartTime::of_bucket(now.epoch, at).number
        };
        for (tenant, spend) in losses {
            for part in spend.parts.iter().filter(|part| part.counts(then)) {
                // Where time goes on as before, each part is what it was.
                let number = if window.offset == into.offset { part.number } else { end(part) };
                let sum = parts.entry(*tenant).or_default().entry(number).or_default();
                sum.files = sum.files.saturating_add(part.files);
                sum.bytes = sum.bytes.saturating_add(part.bytes);
            }
        }
    }
    let spend = |sums: BTreeMap<u64, Cost>| {
        let mut spend = TenantSpend::new();
        // The oldest first: a younger part takes the place of one that does not count any more.
        for (number, sum) in sums {
            spend.add(PartTime { number, ..now }, &sum);
        }
        spend
    };
    parts.into_iter().map(|(tenant, sums)| (tenant, spend(sums))).collect()
}

/// Both windows in one: what was spent in `own` since this boot began counts on top of what is carried over, at the end of the
/// bucket it was spent in.
pub(crate) fn merged(carried: &Window, own: &Window, window_ns: u64, now_ns: u64) -> Window {
    let limit = unlimited(window_ns);
    let mut merged = carried.at(&limit, now_ns);
    let own = own.at(&limit, now_ns);
    for back in 0..BUCKETS as u64 {
        let Some(number) = own.head.checked_sub(back) else { break };
        let bucket = own.ring[number as usize % BUCKETS];
        let end = (number + 1).saturating_mul(limit.bucket_ns).saturating_sub(own.offset);
        let at = limit.bucket_of(end.min(now_ns).saturating_add(merged.offset));
        let into = &mut merged.ring[at as usize % BUCKETS];
        into.files = into.files.saturating_add(bucket.files);
        into.bytes = into.bytes.saturating_add(bucket.bytes);
        merged.files = merged.files.saturating_add(bucket.files);
        merged.bytes = merged.bytes.saturating_add(bucket.bytes);
    }
    let shift = |slot: &Slot, from: &Window| Slot {
        tenant: slot.tenant,
        last: slot.last.saturating_add(merged.offset).saturating_sub(from.offset),
    };
    let all = merged.tenants.iter().chain(&own.tenants).zip(0..);
    let all = all.filter(|(slot, _)| slot.last != 0);
    let all = all.map(|(slot, at)| if at < MAX_TENANTS { *slot } else { shift(slot, &own) });
    let mut all: Vec<Slot> = all.collect();
    all.sort_by_key(|slot| std::cmp::Reverse(slot.last));
    let mut tenants = [Slot::default(); MAX_TENANTS];
    let mut used = 0;
    for slot in all {
        let is_new = tenants[..used].iter().all(|known| known.tenant != slot.tenant);
        // More than there is room for: all of the slots are taken, so that one more tenant is refused.
        if is_new && used < MAX_TENANTS {
            tenants[used] = slot;
            used += 1;
        }
    }
    merged.tenants = tenants;
    if own.latched_until > merged.latched_until {
        (merged.latched_until, merged.latch_mode) = (own.latched_until, own.latch_mode);
        merged.trip = own.trip;
    }
    merged.latest = merged.latest.max(own.latest);
    merged.trips = merged.trips.saturating_add(own.trips);
    // What was charged to the window before cannot be given back to this one.
    merged.epoch = merged.epoch.max(own.epoch).wrapping_add(1);
    merged
}

#[cfg(test)]
mod tests {
    use holdfast_abi::{Cost, Terms};
    use proptest::prelude::*;

    use super::*;

    const ENFORCE: u32 = 2;

    /// A window over the disk to another boot.
    fn carried(window: &Window, passed: u64) -> Window {
        let mut stored = Stored::of(window);
        stored.carry(passed);
        stored.window()
    }

    fn limit(window_ns: u64, files: u64, tenants: u32) -> Limit {
        Limit { files, tenants, ..unlimited(window_ns) }
    }

    /// An op, or a reboot.
    #[derive(Clone, Debug)]
    enum Step {
        /// After so long: so many files of this tenant.
        Op(u64, u64, u64),
        /// After so long: written; so much later the power fails; the host is off for so long; the agent starts so late.
        Reboot(u64, u64, u64),
    }

    /// After so long nothing counts: a ring is longer than a window, more so where buckets of a few
    /// nanoseconds are rounded up.
    fn ring_ns(limit: &Limit) -> u64 {
        (BUCKETS as u64 + 1) * limit.bucket_ns
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..400u64, 1..4u64, 1..6u64).prop_map(|(wait, files, tenant)| Step::Op(wait, files, tenant)),
            1 => (0..3000u64, 0..3000u64, 0..300u64)
                .prop_map(|(wait, off, up)| Step::Reboot(wait, off, up)),
        ]
    }

    proptest! {
        /// In no window of real time goes more than the limit, however often the host reboots meanwhile.
        #[test]
        fn reboots_never_widen_a_window(
            steps in prop::collection::vec(step(), 1..300),
            window_ns in 31..2000u64,
            files in 4..20u64,
            tenants in 1..5u32,
        ) {
            let limit = limit(window_ns, files, tenants);
            let mut window = Window::new();
            // Real time, and when this boot began.
            let (mut real, mut booted) = (0u64, 0u64);
            let mut taken: Vec<(u64, u64, u64)> = Vec::new();
            for step in steps {
                match step {
                    Step::Op(wait, files, tenant) => {
                        real += wait;
                        let cost = Cost { files, bytes: 0, tenant };
                        // Without the latch, which would stop more than the limit does.
                        let terms = Terms { now: real - booted, paced: false, tenants_only: false };
                        if window.take(&limit, terms, &cost, None).is_ok() {
                            taken.push((real, files, tenant));
                        }
                    }
                    Step::Reboot(wait, off, up) => {
                        real += wait;
                        window = carried(&window, real - booted);
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
                let touched: std::collections::BTreeSet<u64> = inside.iter().map(|op| op.2).collect();
                prop_assert!(sum <= files, "{sum} of {files} files");
                prop_assert!(touched.len() <= tenants as usize, "{touched:?}");
            }
        }

        /// Nothing that was spent stays counted for more than the window and the time that the host was off or not written.
        #[test]
        fn reboots_delay_by_their_own_time(
            reboots in prop::collection::vec((0..500u64, 0..500u64, 0..500u64), 0..20),
            window_ns in 31..5000u64,
        ) {
            let limit = limit(window_ns, 10, 4);
            let mut window = Window::new();
            window.charge(&limit, 5, ENFORCE, &Cost { files: 10, bytes: 1, tenant: 1 }).unwrap();
            let (mut up, mut now) = (0, 5);
            for (wait, _, late) in reboots {
                now += wait;
                up += now;
                window = carried(&window, now);
                now = late;
            }
            let age = (up + now).saturating_sub(5);
            let spent = window.spent(&limit, now);
            if age <= window_ns {
                prop_assert_eq!(spent, (10, 1, 1));
                prop_assert!(!window.is_drained(&limit, now), "the kernel would forget it");
            } else if age > ring_ns(&limit) {
                prop_assert_eq!(spent, (0, 0, 0));
                prop_assert!(is_drained(&window, &Vec::new(), window_ns, now));
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
            let (mut window, mut losses) = (Window::new(), Losses::new());
            let (mut real, mut booted) = (0u64, 0u64);
            let mut taken: Vec<(u64, u64, u64)> = Vec::new();
            let charge = |(window, losses): (&mut Window, &mut Losses), now, files, tenant| {
                let cost = Cost { files, bytes: 0, tenant };
                let terms = Terms { now, paced: false, tenants_only: true };
                if limit.counts_at_once(&cost) {
                    return window.take(&limit, terms, &cost, None).is_ok();
                }
                if losses.iter().all(|(known, _)| *known != tenant) {
                    losses.push((tenant, TenantSpend::new()));
                }
                let mut known = losses.iter_mut().filter(|(known, _)| *known == tenant);
                let spend = known.next().map(|(_, spend)| spend);
                window.take(&limit, terms, &cost, spend).is_ok()
            };
            for step in steps {
                match step {
                    Step::Op(wait, files, tenant) => {
                        real += wait;
                        let now = real - booted;
                        if charge((&mut window, &mut losses), now, files, tenant) {
                            taken.push((real, files, tenant));
                        }
                    }
                    Step::Reboot(wait, off, up) => {
                        real += wait;
                        let now = real - booted;
                        let stored = losses.iter().map(|(tenant, spend)| {
                            (*tenant, spend_of(&store(&window, window_ns, now, spend)))
                        });
                        losses = stored.collect();
                        window = carried(&window, now);
                        real += off;
                        booted = real;
                        // Before it is put back a tenant loses something in this boot.
                        let (mut own, mut own_losses) = (Window::new(), Losses::new());
                        if charge((&mut own, &mut own_losses), 1, 1, 1) {
                            taken.push((real + 1, 1, 1));
                        }
                        real += up + 1;
                        let now = real - booted;
                        let into = merged(&window, &own, window_ns, now);
                        let before = (&window, &losses);
                        losses = merged_losses(before, (&own, &own_losses), &into, window_ns, now);
                        window = into;
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

        /// Two windows in one count everything that either of them counts, and what is drained in both is drained in it.
        #[test]
        fn merge_counts_both(
            before in prop::collection::vec((0..900u64, 1..9u64, 1..90u64), 0..60),
            after in prop::collection::vec((0..900u64, 1..9u64, 1..90u64), 0..60),
            window_ns in 31..3000u64,
            late in 0..4000u64,
        ) {
            let limit = unlimited(window_ns);
            let (mut old, mut own) = (Window::new(), Window::new());
            let mut now = 0;
            for (wait, files, tenant) in before {
                now += wait;
                let _ = old.charge(&limit, now, ENFORCE, &Cost { files, bytes: files, tenant });
            }
            let old = carried(&old, now);
            let mut now = 0;
            for (wait, files, tenant) in after {
                now += wait;
                let _ = own.charge(&limit, now, ENFORCE, &Cost { files, bytes: files, tenant });
            }
            now += late;
            let both = merged(&old, &own, window_ns, now);
            let (a, b, c) = (old.spent(&limit, now), own.spent(&limit, now), both.spent(&limit, now));
            prop_assert!(a.0 + b.0 <= c.0 && a.1 + b.1 <= c.1);
            prop_assert!(c.2 >= a.2.max(b.2) && c.2 <= a.2 + b.2);
            let later = now + ring_ns(&limit);
            prop_assert_eq!(both.spent(&limit, later), (0, 0, 0));
        }
    }
}
