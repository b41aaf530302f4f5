//! How much one tenant has lost of one budget of one actor, where a tenant counts as touched only
//! from some amount on.
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

const _: () = assert!((SPEND_PARTS as u64 - 1) * PART_BUCKETS >= crate::BUCKETS as u64 - 1);
const _: () = assert!(SPEND_PARTS.is_power_of_two());

/// Whose loss it is.
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

/// What one tenant has lost. The lock of the account guards it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TenantSpend {
    /// The ring.
    pub parts: [SpentPart; SPEND_PARTS],
}

const _: () = assert!(size_of::<TenantKey>() == 24);
const _: () = assert!(size_of::<TenantSpend>() == 32 * SPEND_PARTS);

/// When something was lost: a part of an account's time, and its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartTime {
    /// The account's epoch.
    pub epoch: u32,
    /// [`SpentPart::number`].
    pub number: u64,
}

impl PartTime {
    /// The part that a bucket of the account's ring is in.
    #[inline(always)]
    pub const fn of_bucket(epoch: u32, bucket: u64) -> Self {
        Self { epoch, number: bucket / PART_BUCKETS }
    }

    /// The last bucket of this part.
    pub const fn last_bucket(self) -> u64 {
        self.number.saturating_mul(PART_BUCKETS).saturating_add(PART_BUCKETS - 1)
    }
}

impl TenantSpend {
    /// Nothing lost.
    pub const fn new() -> Self {
        Self { parts: [SpentPart { number: 0, files: 0, bytes: 0, epoch: 0, pad: 0 }; SPEND_PARTS] }
    }

    /// Files and bytes that are counted at this time.
    #[inline(always)]
    pub fn spent(&self, now: PartTime) -> (u64, u64) {
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
    pub fn add(&mut self, now: PartTime, cost: &Cost) {
        let part = &mut self.parts[now.number as usize % SPEND_PARTS];
        if part.number != now.number || part.epoch != now.epoch {
            part.number = now.number;
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
    pub fn give_back(&mut self, then: PartTime, cost: &Cost) {
        let part = &mut self.parts[then.number as usize % SPEND_PARTS];
        if part.number == then.number && part.epoch == then.epoch {
            part.files = part.files.saturating_sub(cost.files);
            part.bytes = part.bytes.saturating_sub(cost.bytes);
        }
    }
}

impl SpentPart {
    /// Whether it is counted at this time.
    #[inline(always)]
    pub const fn counts(&self, now: PartTime) -> bool {
        self.epoch == now.epoch && now.number.wrapping_sub(self.number) < SPEND_PARTS as u64
    }
}
