//! From an op with its place and cost to a verdict: charge every budget that applies, or none.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{
        bpf_get_current_cgroup_id, bpf_ktime_get_boot_ns,
        generated::{bpf_spin_lock, bpf_spin_unlock},
    },
};
use holdfast_abi::{
    Account, AccountKey, BudgetConf, CANARY_ZONE, Cost, FLAG_ALLOWANCES, FLAG_TRACE, Limit,
    MAX_BUDGETS, Mode, OVERFLOW_ACTOR, OnTrip, Op, Over, Per, ROW_GIVEN_BACK,
    ROW_OBSERVED_GIVEN_BACK, Reason, TenantKey, TenantSpend, Terms, UNKNOWN_PLACE, Verdict, Who,
    Window, ZoneConf, ZoneCounters, zone_index,
};

use crate::{
    allow::{hf_allow, is_covered},
    destroyed::{hf_destroyed, hf_tenant_names},
    fresh::hf_is_fresh,
    hold::{ERESTARTNOINTR, goes_on, hf_consult, hf_must_wait, hf_remember, stop},
    inflight::{Call, InFlight, Outcome, count, known_account},
    kernel::{Caller, Dentry, Fields, Victim, add, opaque},
    maps::{ACCOUNTS, EMPTY_ACCOUNT, EMPTY_TENANT, OVERFLOW, TENANTS, ZONE_COUNTERS, ZONES},
    place::{Filesystem, Place},
    report::{hf_report, is_told},
    vain::hf_is_vain,
};

/// Events a second that one account may cause; the first of each trip always gets through.
const EVENTS_PER_SECOND: u32 = 16;
pub const EPERM: i32 = -1;
pub const ENOMEM: i32 = -12;
/// An op that destroys nothing keeps so many bytes: it only takes something from one tenant to
/// another.
pub const KEEPS_ALL: u64 = u64::MAX;

/// One op, ready to be decided. It is a part of the running task's [`InFlight`], as one pointer to
/// that is all that the programs' functions need: a program has a stack of 512 bytes for
/// everything.
#[repr(C)]
pub struct Request {
    pub cost: Cost,
    pub now: u64,
    /// The dentry the op is about, for the path in the event, and where its name is.
    pub dentry: u64,
    pub name: u64,
    /// What it is about: inode number, the inode itself (to be read by probes), and when that was
    /// last changed ([`Victim::ctime`]).
    pub ino: u64,
    pub inode: u64,
    pub ctime: u64,
    pub unit: u64,
    /// The dentry of the zone's root, or 0.
    pub root: u64,
    pub dev: u32,
    pub bank: u32,
    pub zone: u32,
    pub flags: u32,
    pub uid: u32,
    pub login_uid: u32,
    /// Owner and `i_mode` of what the op is about.
    pub owner: u32,
    pub generation: u32,
    /// [`Place::label`].
    pub label: u32,
    pub pad: u32,
    pub file_mode: u16,
    /// A [`Call`].
    pub call: u8,
    pub mode: u8,
    pub op: u8,
    pub who: u8,
    pub is_kernel: u8,
    /// A thread of the kernel that works for no process: no exit is seen of what it does by
    /// `notify_change` alone, as nfsd does.
    pub is_thread: u8,
    pub is_strict: u8,
    // Filled in while deciding.
    pub verdict: u8,
    pub reason: u8,
    /// This is the trip, not something after it.
    pub first: u8,
    /// The account has sent enough events for this second.
    pub quiet: u8,
    /// An [`OnTrip`]; `Deny` unless the zone enforces.
    pub on_trip: u8,
    /// The caller is held, and nobody has decided about that yet.
    pub waits: u8,
    /// The op is paused already, and is so again.
    pub again: u8,
    /// It costs more than the whole limit of a budget.
    pub too_large: u8,
    /// It is charged to a throttled account.
    pub paced: u8,
    /// The index of the budget that refused.
    pub refused_by: u8,
    /// `FLAG_*`: why it is denied in a zone that pauses.
    pub why_denied: u8,
}

impl Request {
    /// Fills it in, all of it, for an op on `dentry`, of which the first `kept` bytes stay.
    #[inline(always)]
    pub unsafe fn fill<F: Fields>(
        &mut self,
        op: Op,
        call: Call,
        fs: &Filesystem,
        place: &Place,
        (dentry, victim): (*const Dentry, Victim<F>),
        kept: u64,
    ) {
        let owner = victim.uid();
        let caller = Caller::current();
        let is_operator = caller.fsuid == 0 || caller.fsuid != owner;
        self.cost.files = (kept != KEEPS_ALL) as u64;
        self.cost.bytes = victim.bytes_beyond(kept);
        self.cost.tenant = place.tenant;
        self.now = bpf_ktime_get_boot_ns();
        self.dentry = dentry as u64;
        self.name = Dentry::name(dentry);
        self.ino = victim.ino();
        self.inode = victim.address();
        self.ctime = victim.ctime();
        self.generation = victim.generation();
        self.unit = bpf_get_current_cgroup_id();
        self.root = place.root;
        self.dev = fs.dev;
        self.bank = fs.bank;
        self.zone = place.zone;
        self.flags = fs.flags;
        self.uid = caller.uid;
        self.login_uid = caller.login_uid;
        self.owner = owner;
        self.label = place.label;
        self.file_mode = victim.mode();
        self.call = call as u8;
        self.op = op as u8;
        self.who = if is_operator { Who::OPERATOR_BIT } else { Who::OWNER_BIT };
        self.is_kernel = caller.is_kernel as u8;
        self.is_thread = caller.is_thread as u8;
        self.is_strict = place.is_strict() as u8;
        // A zero for each: of one for all, or of plain ones, the compiler would make a call to
        // memset.
        self.mode = opaque(0) as u8;
        self.verdict = opaque(0) as u8;
        self.reason = opaque(0) as u8;
        self.first = opaque(0) as u8;
        self.quiet = opaque(0) as u8;
        self.on_trip = opaque(0) as u8;
        self.waits = opaque(0) as u8;
        self.again = opaque(0) as u8;
        self.too_large = opaque(0) as u8;
        self.paced = opaque(0) as u8;
        self.refused_by = opaque(0) as u8;
        self.why_denied = opaque(0) as u8;
    }
}

/// What becomes of an op for which the running task has no memory, in a zone of `bank`: an error
/// for the hook to return, or 0 where nothing is stopped anyway. A global function, like
/// [`hf_decide`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_no_memory(bank: u32, zone: u32) -> i32 {
    if let Some(counters) = ZONE_COUNTERS.get_ptr_mut(zone) {
        add(&raw mut (*counters).untracked, 1);
    }
    match ZONES.get(zone_index(bank, zone)) {
        Some(conf) if conf.mode == Mode::Observe as u32 && zone != CANARY_ZONE => 0,
        _ => ENOMEM,
    }
}

/// Decides the running task's op: 0 or an error for the hook to return.
///
/// A *global* function, like the others with an unmangled name: the verifier checks it once, for
/// any arguments, and not again for every path that leads to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_decide(inflight: *mut InFlight) -> i32 {
    let Some(inflight) = inflight.as_mut() else { return EPERM };
    let request = &raw mut inflight.request;
    let request = &mut *request;
    if request.zone == CANARY_ZONE {
        // Counted, so that the agent knows that it was this and not another guard that stopped its
        // try.
        count(CANARY_ZONE, request.op, Verdict::Deny as u8, &request.cost);
        return EPERM;
    }
    let Some(zone) = ZONES.get(zone_index(request.bank, request.zone)) else { return EPERM };
    request.mode = zone.mode as u8;
    let enforces = zone.mode != Mode::Observe as u32;
    if enforces {
        request.on_trip = zone.on_trip as u8;
    }
    let charged_before = inflight.charges;
    if request.flags & FLAG_ALLOWANCES != 0 {
        // Leaves its reason, if one covers the op.
        hf_allow(inflight);
    }
    let covered = is_covered(request.reason);
    if !covered {
        if inflight.held_ns != 0 {
            request.waits = hf_must_wait(inflight) as u8;
        }
        let is_rmdir = request.call == Call::Rmdir as u8;
        if request.waits == 0 && is_rmdir && hf_is_vain(zone, inflight) != 0 {
            return 0;
        }
    }
    if covered {
        // Spent there: budgets are not asked.
    } else if request.waits != 0 {
        // Held, and nobody has decided yet: budgets are not asked, so none has anything to say.
        request.reason = Reason::Latched as u8;
        inflight.outcome.budget = 0;
        inflight.outcome.trip.over = 0;
    } else {
        let tripped = hf_charge_all(zone, inflight);
        if request.reason != Reason::None as u8 {
            let is_known = request.reason != Reason::NoAccount as u8;
            if is_known && hf_is_fresh(inflight, tripped) != 0 {
                request.reason = Reason::Fresh as u8;
                request.paced = 0;
            } else if is_known {
                hf_trip(zone, inflight);
            }
        }
    }
    let refused = !covered && !is_within(request.reason);
    let mut verdict = if !refused {
        Verdict::Allow as u8
    } else if !enforces {
        Verdict::Observe as u8
    } else if request.on_trip == OnTrip::Deny as u8 {
        Verdict::Deny as u8
    } else {
        hf_consult(inflight) as u8
    };
    request.verdict = verdict;
    let mut pauses = verdict == Verdict::Hold as u8 || verdict == Verdict::Throttle as u8;
    let goes_through = verdict == Verdict::Allow as u8 || verdict == Verdict::Observe as u8;
    if goes_through && zone.manifest != 0 && hf_destroyed(zone, inflight) != 0 {
        hf_tenant_names(inflight, zone.tenant_depth);
    }
    if pauses && (hf_remember(inflight) == 0 || !stop(inflight)) {
        pauses = false;
        verdict = Verdict::Deny as u8;
        request.verdict = verdict;
    }
    if verdict == Verdict::Allow as u8 {
        inflight.arm(ROW_GIVEN_BACK, charged_before);
    } else if verdict == Verdict::Observe as u8 {
        inflight.arm(ROW_OBSERVED_GIVEN_BACK, charged_before);
    }
    if !pauses && inflight.held_ns != 0 && inflight.held_zone == request.zone {
        goes_on(inflight);
    }
    // One pause is one op, however often somebody continues the process meanwhile.
    if request.again == 0 {
        count(request.zone, request.op, verdict, &request.cost);
        if let Some(counters) = ZONE_COUNTERS.get_ptr_mut(request.zone) {
            note(counters, request);
        }
        if is_told(request) {
            hf_report(inflight);
        }
    }
    if pauses {
        ERESTARTNOINTR
    } else if verdict == Verdict::Deny as u8 {
        EPERM
    } else {
        0
    }
}

/// Whether no budget stands against the op.
#[inline(always)]
pub fn is_within(reason: u8) -> bool {
    reason == Reason::None as u8 || reason == Reason::Fresh as u8
}

/// Charges the budgets of the op's zone, or none if one refuses; that does not trip yet. Returns
/// when its account tripped last, if what was spent then still counts; else the time of the op.
///
/// They are asked in the order of their rank: the narrowest actor that is over refuses. What costs
/// more than a whole limit is refused by that budget. A global function, like [`hf_decide`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_charge_all(zone: *const ZoneConf, inflight: *mut InFlight) -> u64 {
    if zone.is_null() || inflight.is_null() {
        return 0;
    }
    let (zone, inflight) = (&*zone, &mut *inflight);
    let charged_before = inflight.charges;
    let op_bit = 1u16 << (inflight.request.op & 7);
    for index in 0..MAX_BUDGETS {
        let budget = &zone.budgets[index];
        if index < zone.budget_count as usize
            && budget.concerns(inflight.request.who)
            && budget.never_covers(inflight.request.who, op_bit, &inflight.request.cost)
        {
            inflight.request.too_large = 1;
        }
    }
    let mut tripped = 0;
    for index in 0..MAX_BUDGETS {
        if index >= zone.budget_count as usize {
            break;
        }
        let budget = &zone.budgets[index];
        let request = &inflight.request;
        let skipped =
            request.too_large != 0 && !budget.never_covers(request.who, op_bit, &request.cost);
        if skipped || !budget.concerns(request.who) {
            continue;
        }
        if hf_charge(budget, inflight) != 0 {
            inflight.request.refused_by = index as u8;
            tripped = inflight.outcome.trip.counts_at(inflight.request.now, &budget.limit);
            break;
        }
    }
    if inflight.request.reason != Reason::None as u8 {
        // The budgets that accepted before that one refused.
        inflight.return_charges(charged_before);
    }
    tripped
}

/// Charges one budget. Returns 0, or the [`Reason`] it is over, which it leaves in the request too.
///
/// A global function, like [`hf_decide`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_charge(budget: *const BudgetConf, inflight: *mut InFlight) -> u32 {
    if budget.is_null() || inflight.is_null() {
        return 0;
    }
    let (budget, inflight) = (&*budget, &mut *inflight);
    let request = &mut inflight.request;
    // Starts as the account's key does: there is no room on the stack for both.
    let actor = actor(budget.per, request);
    let mut key = TenantKey { budget: budget.id, actor, tenant: request.cost.tenant };
    let limit = &budget.limit;
    let Some(account) = account(&mut key, limit, request) else {
        // Not even the overflow account, which the agent makes before the budget is in force.
        request.reason = Reason::NoAccount as u8;
        inflight.outcome.budget = key.budget;
        inflight.outcome.trip.over = 0;
        return Reason::NoAccount as u32;
    };
    let cost = &request.cost;
    let now = request.now;
    let op_bit = 1u16 << (request.op & 7);
    // A latch refuses the op whatever the tenant is: a mass deletion leaves no row for each.
    let latches = is_latched(&(*account).window, budget, request)
        && request.on_trip != OnTrip::Throttle as u8;
    let row = if budget.needs_tenant(op_bit, cost) && !latches {
        tenant_row(&key, request.zone)
    } else {
        None
    };
    let row = row.map(|row| &mut *row);

    let mut reason = Reason::None as u32;
    let lock = (&raw mut (*account).lock).cast();
    bpf_spin_lock(lock);
    let window = &mut (*account).window;
    let tenants_only = counts_tenants_only(budget, request);
    let latched = is_latched(window, budget, request);
    if latched && request.on_trip != OnTrip::Throttle as u8 {
        reason = Reason::Latched as u32;
    } else if budget.ops & op_bit == 0 {
        // It does not count this kind.
    } else if budget.cost_is_unknown(request.who, op_bit, cost) {
        reason = Reason::UnknownCost as u32;
    } else {
        let at_once = budget.counts_at_once(op_bit, cost);
        match window.take(limit, Terms { now, paced: latched, tenants_only, at_once }, cost, row) {
            Ok(receipt) => {
                // Under the lock: carried past it, the receipt would take up the stack.
                inflight.remember(key.budget, key.actor, &receipt);
                inflight.request.paced |= latched as u8;
            }
            Err(over) => reason = over as u32,
        }
    }
    let (request, outcome) = (&mut inflight.request, &mut inflight.outcome);
    let tells = reason != Reason::None as u32 || request.flags & FLAG_TRACE != 0;
    if tells {
        tell(outcome, limit, window, now);
    }
    bpf_spin_unlock(lock);

    request.reason = reason as u8;
    if !tells {
        return 0;
    }
    outcome.budget = key.budget;
    outcome.actor = key.actor;
    outcome.suppressed = opaque(0) as u32;
    outcome.trip.over = opaque(0) as u32;
    outcome.retry_ns = limit.next_bucket(now);
    reason
}

/// Has the account trip that refused the op, if it is to, and says what is told of it. A global
/// function, like [`hf_decide`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_trip(zone: *const ZoneConf, inflight: *mut InFlight) -> u32 {
    if zone.is_null() || inflight.is_null() {
        return 0;
    }
    let inflight = &mut *inflight;
    let (request, outcome) = (&mut inflight.request, &mut inflight.outcome);
    let budget = &(*zone).budgets[request.refused_by as usize % MAX_BUDGETS];
    let limit = &budget.limit;
    let key = AccountKey { budget: budget.id, actor: outcome.actor };
    let Some(account) = known_account(key) else { return 0 };
    let (now, mode) = (request.now, request.mode as u32);
    let throttles = request.on_trip == OnTrip::Throttle as u8;
    let mut reason = request.reason as u32;

    let lock = (&raw mut (*account).lock).cast();
    bpf_spin_lock(lock);
    let window = &mut (*account).window;
    if is_latched(window, budget, request) {
        // Another op may have tripped it meanwhile.
        reason = Reason::Latched as u32;
    }
    // Where the zone throttles, one that is latched stays so for longer.
    if request.too_large == 0
        && let Some(over) = Over::of(reason)
        && (throttles || reason != Reason::Latched as u32)
    {
        window.trip(limit, mode, throttles, over);
        if reason != Reason::Latched as u32 {
            window.trip.ino = request.ino;
            window.trip.tenant = request.cost.tenant;
            window.trip.dev = request.dev;
        }
    }
    request.reason = reason as u8;
    let second = (now / 1_000_000_000) as u32;
    if (*account).event_second != second {
        (*account).event_second = second;
        (*account).events = 0;
    }
    (*account).events += 1;
    // What sets the latch is always told; a refused detach sets none, nor does what costs more than
    // a whole limit, and there can be any number of them.
    let sets_latch = reason != Reason::Latched as u32
        && reason != Reason::UnknownCost as u32
        && request.too_large == 0;
    if !sets_latch && (*account).events > EVENTS_PER_SECOND {
        request.quiet = 1;
        (*account).suppressed += 1;
    } else {
        outcome.suppressed = (*account).suppressed;
        (*account).suppressed = 0;
    }
    tell(outcome, limit, &(*account).window, now);
    bpf_spin_unlock(lock);

    request.first =
        (reason != Reason::Latched as u32 && request.too_large == 0 && request.quiet == 0) as u8;
    0
}

/// Only the limit of tenants holds for callers whom the budget leaves out.
#[inline(always)]
fn counts_tenants_only(budget: &BudgetConf, request: &Request) -> bool {
    budget.who & request.who == 0
}

/// Whether an account refuses the caller because it has tripped. Its lock is held.
#[inline(always)]
fn is_latched(window: &Window, budget: &BudgetConf, request: &Request) -> bool {
    let (now, mode) = (request.now, request.mode as u32);
    if counts_tenants_only(budget, request) {
        window.latches_tenants(now, mode)
    } else {
        window.is_latched(now, mode)
    }
}

/// What is told of an account. Its lock is held.
#[inline(always)]
fn tell(outcome: &mut Outcome, limit: &Limit, window: &Window, now: u64) {
    outcome.files_left = left(limit.files, window.files);
    outcome.bytes_left = left(limit.bytes, window.bytes);
    outcome.latched_until = if window.latched_until > now { window.latched_until } else { 0 };
    outcome.trip.time_ns = window.trip.time_ns;
    outcome.trip.ino = window.trip.ino;
    outcome.trip.tenant = window.trip.tenant;
    outcome.trip.dev = window.trip.dev;
    outcome.trip.over = window.trip.over;
}

/// What is left of a limit.
#[inline(always)]
fn left(limit: u64, spent: u64) -> u64 {
    if limit == u64::MAX { limit } else { limit.saturating_sub(spent) }
}

/// Whose spending counts.
#[inline(always)]
pub fn actor(per: u8, request: &Request) -> u64 {
    let apart = if request.is_strict != 0 { UNKNOWN_PLACE } else { 0 };
    apart | actor_of(per, request)
}

#[inline(always)]
fn actor_of(per: u8, request: &Request) -> u64 {
    if per == Per::Unit as u8 {
        request.unit
    } else if per == Per::User as u8 {
        let login = request.login_uid;
        if login == u32::MAX { request.uid as u64 } else { login as u64 }
    } else {
        0
    }
}

/// The account for `key`, made if need be; the overflow account (and its key) once the table is
/// full.
///
/// Whoever spends from the overflow account goes on doing so until it has drained: nobody gets a
/// new account while it holds anything, as that may be theirs.
#[expect(clippy::needless_borrows_for_generic_args, reason = "a key by value takes stack")]
#[inline(always)]
unsafe fn account(key: &mut TenantKey, limit: &Limit, request: &Request) -> Option<*mut Account> {
    let account_key = &*(&raw const *key).cast::<AccountKey>();
    if let Some(account) = ACCOUNTS.get_ptr_mut(account_key) {
        return Some(account);
    }
    let shared = OVERFLOW.get_ptr_mut(&key.budget)?;
    if (*shared).window.is_drained(limit, request.now)
        && let Some(empty) = EMPTY_ACCOUNT.get_ptr(0)
    {
        // A concurrent caller may have made it: either way it is there afterwards, unless the table
        // is full.
        let empty: &Account = &*empty.cast();
        let _ = ACCOUNTS.insert(account_key, empty, BPF_NOEXIST.into());
        if let Some(account) = ACCOUNTS.get_ptr_mut(account_key) {
            return Some(account);
        }
    }
    if let Some(counters) = ZONE_COUNTERS.get_ptr_mut(request.zone) {
        add(&raw mut (*counters).overflow, 1);
    }
    key.actor = OVERFLOW_ACTOR;
    Some(shared)
}

/// The row of a tenant of an account, made if need be. `None` once the table is full.
#[inline(always)]
unsafe fn tenant_row(key: &TenantKey, zone: u32) -> Option<*mut TenantSpend> {
    let known = TENANTS.get_ptr_mut(key);
    if known.is_some() {
        return known;
    }
    if let Some(empty) = EMPTY_TENANT.get_ptr(0) {
        let empty: &TenantSpend = &*empty.cast();
        let _ = TENANTS.insert(key, empty, BPF_NOEXIST.into());
    }
    let made = TENANTS.get_ptr_mut(key);
    if made.is_none()
        && let Some(counters) = ZONE_COUNTERS.get_ptr_mut(zone)
    {
        add(&raw mut (*counters).overflow, 1);
    }
    made
}

/// Counts what the op counters do not say.
#[inline(always)]
unsafe fn note(counters: *mut ZoneCounters, request: &Request) {
    if request.first != 0 {
        add(&raw mut (*counters).trips, 1);
    }
    if request.quiet != 0 {
        add(&raw mut (*counters).events_suppressed, 1);
    }
    if request.is_strict != 0 {
        add(&raw mut (*counters).strict, 1);
    }
}
