//! One tenant of one budget of one actor: when it was last touched, and how much it has lost where
//! a tenant counts as touched only from some amount on.
//!
//! What was lost is kept in a ring of its own, coarser than the account's: its current part and the
//! seven before it always cover a window. An amount stays counted for up to 9/31 of a window longer
//! than needed, never shorter. Each part says when it is from, so that nothing has to be moved on:
//! a part that is too old, or from before a reset, is not counted.

use crate::Cost;

/// Parts of a ring. One is current; the others together are at least one window.
pub const SPEND_PARTS: usize = 8;
/// How many buckets of an account's ring a part is long.
const PART_BUCKETS: u64 = 5;

/// Touches that nothing takes back.
const STAYS: u32 = u32::MAX;

const _: () = assert!((SPEND_PARTS as u64 - 1) * PART_BUCKETS >= crate::BUCKETS as u64 - 1);
const _: () = assert!(SPEND_PARTS.is_power_of_two());

/// Whose tenant it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct TenantKey {
    /// [`crate::BudgetConf::id`].
    pub budget: u64,
    /// The actor whose account it is: see [`crate::AccountKey`].
    pub actor: u64,
    /// Inode number of the tenant's directory.
    pub tenant: u64,
}

/// What was lost in one part of the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SpentPart {
    /// Which part of account time it is.
    pub number: u64,
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
    /// The account's [`crate::Window::epoch`] then.
    pub epoch: u32,
    /// Always 0.
    pub pad: u32,
}

/// One tenant. The lock of the account guards it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TenantSpend {
    /// What it has lost: the ring.
    pub parts: [SpentPart; SPEND_PARTS],
    /// The bucket of the account's ring in which it was last touched.
    pub last: u64,
    /// The bucket before that.
    pub before: u64,
    /// How many ops touched it in the last one; 0: it counts no more.
    pub touches: u32,
    /// The account's [`crate::Window::epoch`] then.
    pub epoch: u32,
}

const _: () = assert!(size_of::<TenantKey>() == 24);
const _: () = assert!(size_of::<TenantSpend>() == 32 * SPEND_PARTS + 24);

/// A moment of an account: its current bucket, and its epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// [`crate::Window::epoch`].
    pub epoch: u32,
    /// [`crate::Window::head`].
    pub bucket: u64,
}

impl Moment {
    /// The first moment of a part.
    pub const fn of_part(epoch: u32, number: u64) -> Self {
        Self { epoch, bucket: number.saturating_mul(PART_BUCKETS) }
    }

    /// [`SpentPart::number`] of now.
    #[inline(always)]
    pub const fn part(self) -> u64 {
        self.bucket / PART_BUCKETS
    }

    /// The last bucket of a part.
    pub const fn last_bucket(number: u64) -> u64 {
        number.saturating_mul(PART_BUCKETS).saturating_add(PART_BUCKETS - 1)
    }
}

impl TenantSpend {
    /// Nothing lost.
    pub const fn new() -> Self {
        Self {
            parts: [SpentPart { number: 0, files: 0, bytes: 0, epoch: 0, pad: 0 }; SPEND_PARTS],
            last: 0,
            before: 0,
            touches: 0,
            epoch: 0,
        }
    }

    /// Whether the tenant counts as touched at this moment.
    #[inline(always)]
    pub const fn counts(&self, now: Moment) -> bool {
        let is_in_ring = now.bucket.wrapping_sub(self.last) < crate::BUCKETS as u64;
        self.touches != 0 && self.epoch == now.epoch && is_in_ring
    }

    /// Whether anything of it counts at this moment.
    pub fn matters(&self, now: Moment) -> bool {
        self.counts(now) || self.spent(now) != (0, 0)
    }

    /// Touches the tenant. Returns how many tenants that takes out of bucket [`Self::before`], and
    /// how many it puts into the current one: 0 or 1.
    #[inline(always)]
    pub(crate) fn touch(&mut self, now: Moment, is_counted: bool) -> (u64, u64) {
        if is_counted && self.last == now.bucket {
            self.touches = self.touches.saturating_add(1);
            return (0, 0);
        }
        // One that did not count was in no bucket of this ring.
        let nowhere = now.bucket.wrapping_sub(crate::BUCKETS as u64);
        self.before = if is_counted { self.last } else { nowhere };
        self.last = now.bucket;
        self.touches = 1;
        self.epoch = now.epoch;
        (is_counted as u64, 1)
    }

    /// Takes a touch back. Returns whether it was the last of its bucket, if that still is the
    /// tenant's.
    #[inline(always)]
    pub(crate) fn leave(&mut self, then: Moment) -> bool {
        let is_its = self.epoch == then.epoch && self.last == then.bucket;
        if !is_its || self.touches == 0 || self.touches == STAYS {
            return false;
        }
        self.touches -= 1;
        self.touches == 0
    }

    /// Has the tenant count in this bucket. By how many ops is not known: none takes it back.
    #[inline(always)]
    pub fn stay(&mut self, at: Moment) {
        self.last = at.bucket;
        self.before = at.bucket.wrapping_sub(crate::BUCKETS as u64);
        self.touches = STAYS;
        self.epoch = at.epoch;
    }

    /// Files and bytes that are counted at this time.
    #[inline(always)]
    pub fn spent(&self, now: Moment) -> (u64, u64) {
        // Sums that are not known to be 0 keep the kernel's verifier from following each outcome of
        // each step.
        let zero = u64::from(self.parts[0].pad);
        let (mut files, mut bytes) = (zero, zero);
        let mut add = |part: &SpentPart| {
            if part.counts(now) {
                files = files.wrapping_add(part.files);
                bytes = bytes.wrapping_add(part.bytes);
            }
        };
        // Not a loop: the compiler may end one by comparing pointers, which the verifier cannot
        // follow.
        let [a, b, c, d, e, f, g, h] = &self.parts;
        add(a);
        add(b);
        add(c);
        add(d);
        add(e);
        add(f);
        add(g);
        add(h);
        (files, bytes)
    }

    /// Adds what an op costs.
    #[inline(always)]
    pub fn add(&mut self, now: Moment, cost: &Cost) {
        let part = &mut self.parts[now.part() as usize % SPEND_PARTS];
        if part.number != now.part() || part.epoch != now.epoch {
            part.number = now.part();
            part.epoch = now.epoch;
            part.files = 0;
            // Not two plain zeroes, which would be a call to memset: see `Window::advance`.
            part.bytes = core::hint::black_box(0);
        }
        part.files = part.files.wrapping_add(cost.files);
        part.bytes = part.bytes.wrapping_add(cost.bytes);
    }

    /// Takes back what an op cost that did not happen.
    #[inline(always)]
    pub fn give_back(&mut self, then: Moment, cost: &Cost) {
        let part = &mut self.parts[then.part() as usize % SPEND_PARTS];
        if part.number == then.part() && part.epoch == then.epoch {
            part.files = part.files.saturating_sub(cost.files);
            part.bytes = part.bytes.saturating_sub(cost.bytes);
        }
    }
}

impl SpentPart {
    /// Whether it is counted at this time.
    #[inline(always)]
    pub const fn counts(&self, now: Moment) -> bool {
        self.epoch == now.epoch && now.part().wrapping_sub(self.number) < SPEND_PARTS as u64
    }
}
