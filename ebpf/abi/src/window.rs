//! The arithmetic of one budget of one actor: never more than the limit in *any* window.
//!
//! Files and bytes are summed in a ring of buckets of equal length. The ring covers the current,
//! partial bucket and as many whole ones before it as make up at least one window, so what the ring
//! holds is never less than what was spent in any window that ends now; a charge is taken only if
//! the ring stays within the limit. The price is that an amount stays counted for up to 1/31 of a
//! window longer than needed: the error is always on the safe side.
//!
//! Distinct tenants are counted in the same ring: each in the bucket in which it was last touched.
//! A row for each tenant ([`TenantSpend`]) says which bucket that is, so that a tenant that is
//! touched again moves from there to the current one; nothing has to be searched, however many
//! there are. Where a tenant counts only from some amount on, it does so with the op that reaches
//! it.

use crate::tenants::{Moment, TenantSpend};

/// Buckets in a ring. One is current; the others together make up one window.
pub const BUCKETS: usize = 32;

/// The kernel's spin lock. The kernel finds it by this name in the map's BTF.
#[allow(non_camel_case_types, reason = "the kernel looks for exactly this name")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct bpf_spin_lock {
    /// Owned by the kernel; user space reads 0.
    pub val: u32,
}

/// What an op destroys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Cost {
    /// Files (a removed directory counts as one).
    pub files: u64,
    /// Bytes: the size, or for `truncate` the size lost.
    pub bytes: u64,
    /// Inode number of the tenant's directory; 0 if the op is above all tenants.
    pub tenant: u64,
}

/// What a budget allows in one window. `u64::MAX` and `u32::MAX` stand for "not limited".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Limit {
    /// Length of the window in nanoseconds.
    pub window_ns: u64,
    /// Length of one bucket: [`Limit::bucket_for`] of the window.
    pub bucket_ns: u64,
    /// Most files in any window.
    pub files: u64,
    /// Most bytes in any window.
    pub bytes: u64,
    /// How long a trip lasts, in nanoseconds: at most the window.
    pub latch_ns: u64,
    /// A tenant counts as touched once it has lost so many files in a window; `u64::MAX`: its files
    /// do not matter.
    pub after_files: u64,
    /// Or once it has lost so many bytes.
    pub after_bytes: u64,
    /// Most distinct tenants in any window.
    pub tenants: u32,
    /// Always 0.
    pub pad: u32,
}

impl Limit {
    /// The bucket length with which the ring covers `window_ns`: a 31st of it, rounded up.
    pub const fn bucket_for(window_ns: u64) -> u64 {
        let length = window_ns.div_ceil(BUCKETS as u64 - 1);
        if length == 0 { 1 } else { length }
    }

    /// The number of the bucket that `now` falls in. A bucket without length, which no policy
    /// makes, holds everything: the kernel's programs must not contain a panic.
    #[inline(always)]
    pub const fn bucket_of(&self, now: u64) -> u64 {
        match now.checked_div(self.bucket_ns) {
            Some(bucket) => bucket,
            None => 0,
        }
    }

    /// Whether an op costs more than this ever allows.
    #[inline(always)]
    pub const fn never_covers(&self, cost: &Cost) -> bool {
        cost.files > self.files || cost.bytes > self.bytes || self.never_covers_tenant(cost)
    }

    /// Whether this never allows the tenant that an op touches.
    #[inline(always)]
    pub const fn never_covers_tenant(&self, cost: &Cost) -> bool {
        self.tenants == 0 && cost.tenant != 0 && self.counts_at_once(cost)
    }

    /// Whether distinct tenants are limited, and the op touches one.
    #[inline(always)]
    pub const fn limits_tenants(&self, cost: &Cost) -> bool {
        self.tenants != u32::MAX && cost.tenant != 0
    }

    /// Whether an op makes its tenant count whatever the tenant has lost before. One of no files,
    /// which takes something from one tenant to another, does: how much that is is not known.
    #[inline(always)]
    pub const fn counts_at_once(&self, cost: &Cost) -> bool {
        cost.files == 0 || self.counts(cost.files, cost.bytes)
    }

    /// Whether a tenant that has lost so much counts as touched.
    #[inline(always)]
    pub const fn counts(&self, files: u64, bytes: u64) -> bool {
        files >= self.after_files || bytes >= self.after_bytes
    }

    /// When the bucket after that one starts: before then it is of no use to try again.
    #[inline(always)]
    pub const fn next_bucket(&self, now: u64) -> u64 {
        self.bucket_of(now).wrapping_add(1).wrapping_mul(self.bucket_ns)
    }
}

/// Which side of a budget an op would go over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Over {
    /// Too many files.
    Files = 1,
    /// Too many bytes.
    Bytes = 2,
    /// Too many distinct tenants.
    Tenants = 3,
    /// An earlier trip still latches.
    Latched = 4,
}

impl Over {
    /// The one that a [`crate::Reason`] stands for.
    pub const fn of(reason: u32) -> Option<Self> {
        match reason {
            1 => Some(Self::Files),
            2 => Some(Self::Bytes),
            3 => Some(Self::Tenants),
            4 => Some(Self::Latched),
            _ => None,
        }
    }
}

/// Which limit an actor tripped, by what, and when: what a refusal that comes later has to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Trip {
    /// Boot-time nanoseconds; 0 if there was no trip.
    pub time_ns: u64,
    /// Inode number of what the op was about.
    pub ino: u64,
    /// Inode number of its tenant's directory; 0 above all tenants.
    pub tenant: u64,
    /// Its filesystem: the kernel's device number.
    pub dev: u32,
    /// An [`Over`]: the limit; 0 if there was no trip.
    pub over: u32,
}

/// How an op is charged.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Boot-time nanoseconds.
    pub now: u64,
    /// Whether the actor has tripped in a zone that throttles.
    pub paced: bool,
    /// Whether only the tenant is charged: the budget leaves the caller out.
    pub tenants_only: bool,
    /// Whether the tenant counts whatever it has lost: see [`crate::BudgetConf::counts_at_once`].
    pub at_once: bool,
}

/// In [`Receipt::kind`]: files and bytes were not charged.
const TENANTS_ONLY: u32 = 1;
/// In [`Receipt::kind`]: the tenant's row was there.
const HAS_ROW: u32 = 2;
/// In [`Receipt::kind`]: what the tenant has lost was charged.
const LOST: u32 = 4;
/// In [`Receipt::kind`]: the tenant counts as touched.
const TOUCHED: u32 = 8;

impl Trip {
    /// When it was, if what was spent then still counts at `now`; else `now`.
    #[inline(always)]
    pub const fn counts_at(&self, now: u64, limit: &Limit) -> u64 {
        let counts = self.time_ns != 0 && now.wrapping_sub(self.time_ns) < limit.window_ns;
        if counts { self.time_ns } else { now }
    }
}

/// What is needed to give a charge back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Receipt {
    /// The bucket that was charged.
    pub bucket: u64,
    /// The window's [`Window::epoch`] when it was charged.
    pub epoch: u32,
    /// What was charged, in bits.
    pub kind: u32,
}

impl Receipt {
    /// Whether the tenant's [`TenantSpend`] was charged, too.
    #[inline(always)]
    pub const fn has_tenant_spend(&self) -> bool {
        self.kind & HAS_ROW != 0
    }
}

/// What was spent in one bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Bucket {
    /// Files charged.
    pub files: u64,
    /// Bytes charged.
    pub bytes: u64,
    /// Tenants that were last touched in it.
    pub tenants: u64,
}

/// What one actor has spent of one budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Window {
    /// Number of the current bucket (account time divided by the bucket length).
    pub head: u64,
    /// Nanoseconds to add to boot time to get *account time*: the boot time that had passed in
    /// earlier boots. The ring is in account time, so that a window carries on over a reboot;
    /// everything else is in boot time.
    pub offset: u64,
    /// The latest time of any charge: the account's clock, which never goes back.
    pub latest: u64,
    /// Files in the whole ring.
    pub files: u64,
    /// Bytes in the whole ring.
    pub bytes: u64,
    /// Tenants in the whole ring.
    pub tenants: u64,
    /// Until when a trip latches, in boot-time nanoseconds; 0 if none does.
    pub latched_until: u64,
    /// How many times this account tripped.
    pub trips: u64,
    /// Always 0: see `advance`.
    pub zero: u64,
    /// The zone's mode ([`crate::Mode`]) when the latch was set.
    pub latch_mode: u32,
    /// How many times everything was forgotten ([`Window::reset`]).
    pub epoch: u32,
    /// The last trip.
    pub trip: Trip,
    /// The ring.
    pub ring: [Bucket; BUCKETS],
}

/// The kernel's account of one budget and one actor: a [`Window`] and the lock that guards it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Account {
    /// Guards everything below.
    pub lock: bpf_spin_lock,
    /// Events of this account that were not sent, to keep the agent from drowning.
    pub suppressed: u32,
    /// The second (boot time) in which `events` were sent.
    pub event_second: u32,
    /// Events sent in that second.
    pub events: u32,
    /// What was spent.
    pub window: Window,
}

const _: () = assert!(size_of::<Window>() == 112 + 24 * BUCKETS);
const _: () = assert!(size_of::<Account>() == 16 + size_of::<Window>());
const _: () = assert!(BUCKETS.is_power_of_two());

impl Account {
    /// Nothing spent.
    pub const fn new() -> Self {
        Self {
            lock: bpf_spin_lock { val: 0 },
            suppressed: 0,
            event_second: 0,
            events: 0,
            window: Window::new(),
        }
    }
}

impl Default for Account {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for Window {
    fn default() -> Self {
        Self::new()
    }
}

impl Window {
    /// Nothing spent.
    pub const fn new() -> Self {
        Self {
            head: 0,
            offset: 0,
            latest: 0,
            files: 0,
            bytes: 0,
            tenants: 0,
            latched_until: 0,
            trips: 0,
            zero: 0,
            latch_mode: 0,
            epoch: 0,
            trip: Trip { time_ns: 0, ino: 0, tenant: 0, dev: 0, over: 0 },
            ring: [Bucket { files: 0, bytes: 0, tenants: 0 }; BUCKETS],
        }
    }

    /// Charges `cost` at time `now` if the budget covers it, and otherwise says which side is spent
    /// and trips. An op that no window ever covers is refused and trips nothing: nothing that was
    /// spent is the reason.
    ///
    /// A latch set while the zone only observed does not bind once the zone enforces (`mode`).
    pub fn charge(
        &mut self,
        limit: &Limit,
        now: u64,
        mode: u32,
        cost: &Cost,
        row: Option<&mut TenantSpend>,
    ) -> Result<Receipt, Over> {
        if self.is_latched(now, mode) {
            return Err(Over::Latched);
        }
        self.charge_or_trip(limit, now, mode, (false, false), (cost, row))
    }

    /// The same for a zone that throttles: a trip does not stop the actor but *paces* it. Until a
    /// window has passed without a refusal, no bucket takes more than its share of the limit, so
    /// that what is spent comes evenly and not one full budget at a time. A single op that is
    /// larger than the share has a bucket for itself.
    ///
    /// A refusal of a paced actor is [`Over::Latched`]: it is no new trip.
    pub fn charge_paced(
        &mut self,
        limit: &Limit,
        now: u64,
        mode: u32,
        cost: &Cost,
        row: Option<&mut TenantSpend>,
    ) -> Result<Receipt, Over> {
        let paced = self.is_latched(now, mode);
        self.charge_or_trip(limit, now, mode, (true, paced), (cost, row))
    }

    fn charge_or_trip(
        &mut self,
        limit: &Limit,
        now: u64,
        mode: u32,
        (paces, paced): (bool, bool),
        (cost, row): (&Cost, Option<&mut TenantSpend>),
    ) -> Result<Receipt, Over> {
        let at_once = limit.counts_at_once(cost);
        let terms = Terms { now, paced, tenants_only: false, at_once };
        let charged = self.take(limit, terms, cost, row);
        if let Err(over) = charged
            && !limit.never_covers(cost)
        {
            self.trip(limit, mode, paces, over);
        }
        charged
    }

    /// Charges `cost` if the budget covers it, and otherwise says which side is spent, and trips
    /// nothing. The latch was looked at before: the actor is not latched, or it is, and is paced.
    ///
    /// `row` is that of the op's tenant. Without it the tenant counts at once, and as another one
    /// each time.
    ///
    /// Times of concurrent callers may arrive out of order. The account's own clock never goes
    /// back: an op counts from the latest time the account has seen.
    #[inline(always)]
    pub fn take(
        &mut self,
        limit: &Limit,
        terms: Terms,
        cost: &Cost,
        row: Option<&mut TenantSpend>,
    ) -> Result<Receipt, Over> {
        let Terms { now, paced, tenants_only, at_once } = terms;
        if self.latest < now {
            self.latest = now;
        }
        let now = self.latest.wrapping_add(self.offset);
        self.advance(limit.bucket_of(now));
        let moment = Moment { epoch: self.epoch, bucket: self.head };
        let limited = limit.limits_tenants(cost);
        let waits = limited && !at_once;
        let (touches, is_counted) = match &row {
            Some(row) if limited => {
                let counts = !waits || {
                    let (files, bytes) = row.spent(moment);
                    limit.counts(files.saturating_add(cost.files), bytes.saturating_add(cost.bytes))
                };
                // A row can outlive its account: what the ring has not counted does not count.
                let is_backed = self.ring[row.last as usize % BUCKETS].tenants != 0;
                (counts, row.counts(moment) && is_backed)
            }
            _ => (limited, false),
        };
        // Hides from the kernel's verifier what they are: it would follow the rest for each
        // outcome.
        let touches = u64::from(touches) ^ self.zero;
        let is_counted = u64::from(is_counted) ^ self.zero;
        let files = self.files.wrapping_add(cost.files);
        let bytes = self.bytes.wrapping_add(cost.bytes);
        let over = if !tenants_only
            && limit.files != u64::MAX
            && (files > limit.files || files < cost.files)
        {
            Some(Over::Files)
        } else if !tenants_only
            && limit.bytes != u64::MAX
            && (bytes > limit.bytes || bytes < cost.bytes)
        {
            Some(Over::Bytes)
        } else if touches != 0 && is_counted == 0 && self.tenants >= limit.tenants.into() {
            Some(Over::Tenants)
        } else if paced && !tenants_only && self.exceeds_share(limit, cost) {
            Some(Over::Latched)
        } else {
            None
        };
        if let Some(over) = over {
            return Err(if paced { Over::Latched } else { over });
        }
        let mut kind = if tenants_only { TENANTS_ONLY } else { 0 };
        if touches != 0 {
            kind |= TOUCHED;
        }
        match row {
            Some(row) if limited => {
                kind |= HAS_ROW;
                if waits {
                    row.add(moment, cost);
                    kind |= LOST;
                }
                if touches != 0 {
                    let (left, entered) = row.touch(moment, is_counted != 0);
                    self.ring_at(row.before).tenants -= left;
                    self.ring_at(moment.bucket).tenants += entered;
                    self.tenants = self.tenants.wrapping_add(entered).wrapping_sub(left);
                }
            }
            _ if touches != 0 => {
                self.ring_at(moment.bucket).tenants += 1;
                self.tenants += 1;
            }
            _ => {}
        }
        if !tenants_only {
            let bucket = self.ring_at(moment.bucket);
            bucket.files = bucket.files.wrapping_add(cost.files);
            bucket.bytes = bucket.bytes.wrapping_add(cost.bytes);
            self.files = files;
            self.bytes = bytes;
        }
        Ok(Receipt { bucket: moment.bucket, epoch: moment.epoch, kind })
    }

    /// Takes a charge back: the op it was for did not happen. `row` is that of its tenant, if that
    /// was charged.
    ///
    /// A bucket that has left the ring since has nothing to give back, nor has a window that was
    /// reset. A tenant that somebody else has touched meanwhile stays touched.
    #[inline(always)]
    pub fn give_back(&mut self, receipt: &Receipt, cost: &Cost, row: Option<&mut TenantSpend>) {
        let Receipt { bucket, epoch, kind } = *receipt;
        if epoch != self.epoch {
            return;
        }
        let is_in_ring = self.has(bucket);
        if is_in_ring && kind & TENANTS_ONLY == 0 {
            let bucket = self.ring_at(bucket);
            bucket.files = bucket.files.wrapping_sub(cost.files);
            bucket.bytes = bucket.bytes.wrapping_sub(cost.bytes);
            self.files = self.files.wrapping_sub(cost.files);
            self.bytes = self.bytes.wrapping_sub(cost.bytes);
        }
        let touched = is_in_ring && kind & TOUCHED != 0;
        let then = Moment { epoch, bucket };
        let leaves = match row {
            Some(row) if kind & HAS_ROW != 0 => {
                if kind & LOST != 0 {
                    row.give_back(then, cost);
                }
                let leaves = touched && row.leave(then);
                if leaves && self.has(row.before) {
                    // It counts where it was before.
                    self.ring_at(row.before).tenants += 1;
                    self.tenants += 1;
                    row.stay(Moment { epoch, bucket: row.before });
                }
                leaves
            }
            _ => touched && kind & HAS_ROW == 0,
        };
        if leaves {
            let bucket = self.ring_at(bucket);
            bucket.tenants = bucket.tenants.saturating_sub(1);
            self.tenants = self.tenants.saturating_sub(1);
        }
    }

    #[inline(always)]
    fn ring_at(&mut self, bucket: u64) -> &mut Bucket {
        &mut self.ring[bucket as usize % BUCKETS]
    }

    /// Whether a bucket is in the ring.
    #[inline(always)]
    const fn has(&self, bucket: u64) -> bool {
        self.head.wrapping_sub(bucket) < BUCKETS as u64
    }

    /// Whether a trip still latches.
    #[inline(always)]
    pub fn is_latched(&self, now: u64, mode: u32) -> bool {
        now < self.latched_until && self.latch_mode >= mode
    }

    /// Whether there was a trip since the last reset, in any mode, of which something may still be
    /// spent.
    pub const fn has_tripped(&self, limit: &Limit, now: u64) -> bool {
        let until = self.trip.time_ns.saturating_add(limit.window_ns);
        now < self.latched_until || (self.trip.over != 0 && now < until)
    }

    /// Whether a trip still latches a caller that only the limit of tenants holds for. A trip of
    /// which is not known what it was for, from before a reboot, does.
    #[inline(always)]
    pub fn latches_tenants(&self, now: u64, mode: u32) -> bool {
        let over = self.trip.over;
        self.is_latched(now, mode) && over != Over::Files as u32 && over != Over::Bytes as u32
    }

    /// The moment at which a tenant would be touched now.
    pub fn moment(&self, limit: &Limit, now: u64) -> Moment {
        let bucket = limit.bucket_of(now.max(self.latest) + self.offset);
        Moment { epoch: self.epoch, bucket: bucket.max(self.head) }
    }

    /// This window with nothing spent and nothing latched. What was charged before cannot be given
    /// back to it.
    pub fn reset(&self) -> Self {
        Self {
            head: self.head,
            offset: self.offset,
            latest: self.latest,
            trips: self.trips,
            epoch: self.epoch.wrapping_add(1),
            ..Self::new()
        }
    }

    /// Whether the current bucket would hold more than its share of the limit.
    #[inline(always)]
    fn exceeds_share(&self, limit: &Limit, cost: &Cost) -> bool {
        let bucket = &self.ring[self.head as usize % BUCKETS];
        let share = |limit: u64| limit.div_ceil(BUCKETS as u64 - 1);
        let over = |spent: u64, cost: u64, limit: u64| {
            limit != u64::MAX && spent != 0 && spent.wrapping_add(cost) > share(limit)
        };
        over(bucket.files, cost.files, limit.files) || over(bucket.bytes, cost.bytes, limit.bytes)
    }

    /// Trips: for as long as the budget's latch lasts every op is refused. After it what is still
    /// spent decides, so until the window has drained the next op over it trips again.
    ///
    /// A latch of a whole window, and that of a zone that throttles (`paces`), lasts until the
    /// current bucket leaves the ring: up to 1/31 of a window more. By then everything that was
    /// spent has left, so the same op does not trip again.
    ///
    /// Whatever is refused because of it is told what has tripped: the caller fills in
    /// [`Window::trip`], apart from the limit and the time. A refusal of a paced actor goes on with
    /// the trip that is there.
    #[inline(always)]
    pub fn trip(&mut self, limit: &Limit, mode: u32, paces: bool, over: Over) {
        self.latched_until = if paces || limit.latch_ns >= limit.window_ns {
            let end = self.head.wrapping_add(BUCKETS as u64).wrapping_mul(limit.bucket_ns);
            end.wrapping_sub(self.offset)
        } else {
            self.latest.wrapping_add(limit.latch_ns)
        };
        self.latch_mode = mode;
        if over as u8 != Over::Latched as u8 {
            self.trips = self.trips.wrapping_add(1);
            self.trip.time_ns = self.latest;
            self.trip.over = over as u32;
        }
    }

    /// Whether this is as good as a new account for every op at `now` or later: everything has left
    /// it, and no trip lasts.
    #[inline(always)]
    pub fn is_drained(&self, limit: &Limit, now: u64) -> bool {
        let kept = limit.window_ns.wrapping_add(limit.bucket_ns).wrapping_add(limit.bucket_ns);
        // One that was never charged, in this boot or one before, has nothing in it, however short
        // the time since boot is.
        let is_new = self.latest == 0 && self.offset == 0;
        let emptied = is_new || self.latest.wrapping_add(kept) < now;
        emptied && self.latched_until <= now
    }

    /// What is spent at time `now` as (files, bytes, tenants), without changing anything.
    pub fn spent(&self, limit: &Limit, now: u64) -> (u64, u64, u32) {
        let copy = self.at(limit, now);
        (copy.files, copy.bytes, copy.tenants.try_into().unwrap_or(u32::MAX))
    }

    /// This window at time `now`, without the buckets that have left the ring by then.
    pub fn at(&self, limit: &Limit, now: u64) -> Self {
        let mut copy = *self;
        copy.advance(limit.bucket_of(now.max(self.latest) + self.offset));
        copy
    }

    /// Moves the ring on to `bucket`, forgetting the buckets that leave it.
    #[inline(always)]
    fn advance(&mut self, bucket: u64) {
        if bucket <= self.head {
            return;
        }
        // After a long pause every bucket is forgotten, one by one: the loop is bounded for the
        // kernel's verifier.
        if bucket - self.head > BUCKETS as u64 {
            self.head = bucket - BUCKETS as u64;
        }
        for _ in 0..BUCKETS {
            if self.head == bucket {
                break;
            }
            // Mixing in `zero` hides from the kernel's verifier which bucket it is: otherwise it
            // would follow each number through the rest of the program. (Not by adding: kernels
            // from 6.10 on remember that two numbers differ by a constant.)
            self.head = self.head.wrapping_add(1) ^ self.zero;
            let old = &mut self.ring[self.head as usize % BUCKETS];
            self.files = self.files.wrapping_sub(old.files);
            self.bytes = self.bytes.wrapping_sub(old.bytes);
            self.tenants = self.tenants.wrapping_sub(old.tenants);
            // Not all plain zeroes: the compiler would call memset, and under the kernel's spin
            // lock no call is allowed.
            old.files = 0;
            old.bytes = core::hint::black_box(0);
            old.tenants = core::hint::black_box(0);
        }
    }
}
