//! What the kernel must answer: the executable specification of the decision on one op.
//!
//! The kernel programs follow the same order over the same arithmetic ([`holdfast_abi::Window`]); a
//! test drives both with the same ops and compares. It never reads a clock: time is part of the
//! request.

mod allowances;
mod budgets;
mod holds;

use std::collections::HashMap;

use holdfast_abi::{
    AccountKey, Cost, HoldKey, Made, Mode, OnTrip, Op, Reason, Receipt, TenantKey, TenantSpend,
    Verdict, WhoMask, Window,
};

use crate::model::Policy;

pub use allowances::{Inside, OpenAllowance};
pub use holds::Released;

/// A policy, what has been spent of it, and what people decided about those who were stopped.
#[derive(Clone, Debug)]
pub struct Model {
    /// The policy in force.
    pub policy: Policy,
    /// What each actor has spent of each budget.
    pub accounts: HashMap<AccountKey, Window>,
    /// Which tenants each actor has touched, and what they have lost.
    pub tenants: HashMap<TenantKey, TenantSpend>,
    /// What was decided about each hold. Its key has the zone's index in [`Policy::zones`].
    pub releases: HashMap<HoldKey, Released>,
    /// The allowances that are open. No two are bound to the same unit, or to the same user without
    /// a unit.
    pub allowances: Vec<OpenAllowance>,
}

/// One op somebody is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Index of the zone in [`Policy::zones`].
    pub zone: usize,
    /// The op.
    pub op: Op,
    /// What the caller is for this file: [`holdfast_abi::Who::OPERATOR_BIT`] or
    /// [`holdfast_abi::Who::OWNER_BIT`].
    pub who: WhoMask,
    /// The caller's cgroup.
    pub unit: u64,
    /// The caller's login user where one is set, else its real user.
    pub user: u32,
    /// What the op destroys.
    pub cost: Cost,
    /// Boot-time nanoseconds, never 0.
    pub now: u64,
    /// Whether its place cannot be determined. The zone is then the strict one of the filesystem.
    pub is_strict: bool,
    /// Whether the calling thread can be paused: it is neither the kernel's own nor the agent's,
    /// there is room to remember it, and the agent that would let it go on was heard of lately.
    pub can_wait: bool,
    /// If the calling thread is paused for an op in this zone and tries again: the time of the
    /// request that budgets refused, so that it was paused. An op that was stopped again without
    /// asking them does not change it.
    pub held_since: Option<u64>,
    /// Serial in the calling thread's mark, if it has one: the allowance that its process tree was
    /// started under. It may be closed by now.
    pub mark: Option<u64>,
    /// When the caller's unit made what the op is about, if it did and the kernel remembers it:
    /// boot-time nanoseconds. `None` for a directory that is detached by a rename.
    pub made_at: Option<u64>,
    /// For each open allowance, which of its grants name the op's place. One that is not listed
    /// names it nowhere.
    pub inside: &'a [Inside],
}

/// What happens to an op, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Decision {
    /// What happens.
    pub verdict: Verdict,
    /// Why, if it is not simply allowed.
    pub reason: Reason,
    /// Whether this op tripped the budget: the first one over it. That it did counts also if a
    /// release lets it go on.
    pub first: bool,
    /// Index of the budget that refused; none if none was asked, because the thread is still held.
    pub budget: Option<usize>,
    /// What was charged; to be given back if the op fails.
    pub charge: Charge,
}

/// What one op was charged to: to every budget that counts it, or to a release, or to a grant of an
/// allowance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    cost: Cost,
    receipts: Vec<(AccountKey, Receipt)>,
    released: Option<(HoldKey, u64)>,
    /// Serial of the allowance and number of the grant.
    granted: Option<(u64, usize)>,
    /// The op that was granted.
    op: Option<Op>,
}

/// Why an op cannot simply go on.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    reason: Reason,
    /// Whether it is a trip.
    first: bool,
    /// Index of the budget that says so.
    budget: Option<usize>,
    /// When its account tripped last, if what was spent then still counts; else the time of the op.
    tripped: u64,
}

impl Model {
    /// A policy of which nothing has been spent.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            accounts: HashMap::new(),
            tenants: HashMap::new(),
            releases: HashMap::new(),
            allowances: Vec::new(),
        }
    }

    /// Decides on one op, and charges it if it is allowed.
    ///
    /// What an allowance or a break-glass covers is spent there: then no budget is asked, and
    /// nobody has to wait.
    ///
    /// A thread that is held stays so until somebody has decided. For all others every budget that
    /// applies is asked, the narrowest actor's first, and the first that refuses decides. What was
    /// charged to those before it is given back: an op that does not happen costs nothing. In a
    /// zone that only observes a refused op goes on, and is not charged either.
    ///
    /// What a budget refuses goes on all the same if it removes or replaces a file that the
    /// caller's unit made a moment ago or since the budget's account tripped: a lock, a temporary
    /// file. It is charged nowhere and trips nobody.
    ///
    /// # Panics
    /// If the policy has no such zone.
    pub fn decide(&mut self, request: &Request<'_>) -> Decision {
        if destroys_nothing(request) {
            return Decision::allow(Charge::default());
        }
        if let Some((reason, charge)) = self.spend_allowance(request) {
            return Decision { reason, ..Decision::allow(charge) };
        }
        let asked = if self.waits_for_a_decision(request) {
            let (reason, tripped) = (Reason::Latched, request.now);
            Err(Refusal { reason, first: false, budget: None, tripped })
        } else {
            match self.charge_budgets(request, false) {
                Err(refusal) if request.is_fresh(&refusal) => {
                    let allowed = Decision::allow(Charge::default());
                    return Decision { reason: Reason::Fresh, ..allowed };
                }
                Err(_) => self.charge_budgets(request, true),
                charged => charged,
            }
        };
        match asked {
            Ok(charge) => Decision::allow(charge),
            Err(refusal) => self.answer(request, refusal),
        }
    }

    /// Gives back what an op was charged that then failed.
    pub fn give_back(&mut self, charge: &Charge) {
        self.give_back_budgets(charge);
        self.give_back_released(charge);
        self.give_back_grant(charge);
    }

    /// What happens to an op that is over budget.
    fn answer(&mut self, request: &Request<'_>, refusal: Refusal) -> Decision {
        let zone = &self.policy.zones[request.zone];
        match (zone.mode, zone.on_trip) {
            (Mode::Observe, _) => refusal.into_decision(Verdict::Observe),
            (Mode::Enforce, OnTrip::Deny) => refusal.into_decision(Verdict::Deny),
            // No amount that was released covers a cost nobody knows, and no rate lets it go on.
            (Mode::Enforce, _) if request.op.cost_is_unknown() => {
                refusal.into_decision(Verdict::Deny)
            }
            (Mode::Enforce, OnTrip::Hold) if self.is_denied(request) => {
                let denied = refusal.into_decision(Verdict::Deny);
                Decision { reason: Reason::Expired, ..denied }
            }
            (Mode::Enforce, OnTrip::Hold) => self.pause(request, refusal, Verdict::Hold),
            (Mode::Enforce, OnTrip::Throttle) => self.pause(request, refusal, Verdict::Throttle),
        }
    }

    /// Pauses a thread that can be paused or is already, unless a release covers the op. One that
    /// is throttled would wait for ever for a budget that never covers its op.
    fn pause(&mut self, request: &Request<'_>, refusal: Refusal, verdict: Verdict) -> Decision {
        let throttles = verdict == Verdict::Throttle;
        match self.spend_released(request) {
            Some(charge) => refusal.into_released(charge),
            None if throttles && self.never_covers(request, &refusal) => {
                refusal.into_decision(Verdict::Deny)
            }
            None if request.can_wait || request.held_since.is_some() => {
                refusal.into_decision(verdict)
            }
            None => refusal.into_decision(Verdict::Deny),
        }
    }
}

impl Model {
    /// Whether the op costs more than the budget that refused it ever allows.
    fn never_covers(&self, request: &Request<'_>, refusal: &Refusal) -> bool {
        let zone = &self.policy.zones[request.zone];
        let budget = refusal.budget.map(|index| &zone.budgets[index]);
        let (who, op) = (request.who, request.op.bit());
        budget.is_some_and(|budget| budget.conf(zone).never_covers(who, op, &request.cost))
    }
}

impl Request<'_> {
    /// The hold that the calling thread is or would be part of.
    pub fn hold_key(&self) -> HoldKey {
        HoldKey { unit: self.unit, zone: self.zone as u32, user: self.user }
    }

    /// Whether the op may go on although a budget refuses, as it is about what the caller's unit
    /// made itself.
    fn is_fresh(&self, refusal: &Refusal) -> bool {
        let made = self.made_at.map(|time_ns| Made { unit: self.unit, time_ns, ..Made::default() });
        matches!(self.op, Op::Remove | Op::Replace | Op::Detach)
            && made.is_some_and(|made| made.is_fresh(self.unit, refusal.tripped, self.now))
    }
}

impl Charge {
    /// The accounts that were charged, in the order of the budgets.
    pub fn accounts(&self) -> impl Iterator<Item = AccountKey> {
        self.receipts.iter().map(|(key, _)| *key)
    }

    /// Serial of the allowance that covers the op, and number of the grant that was spent.
    pub fn granted(&self) -> Option<(u64, usize)> {
        self.granted
    }

    /// The files that were taken from a release, and from which; 0 files never.
    pub fn released(&self) -> Option<(HoldKey, u64)> {
        self.released
    }
}

impl Decision {
    fn allow(charge: Charge) -> Self {
        Self { verdict: Verdict::Allow, reason: Reason::None, first: false, budget: None, charge }
    }
}

impl Refusal {
    fn into_decision(self, verdict: Verdict) -> Decision {
        let Self { reason, first, budget, .. } = self;
        Decision { verdict, reason, first, budget, charge: Charge::default() }
    }

    /// The op goes on all the same: a release covers it.
    fn into_released(self, charge: Charge) -> Decision {
        let Decision { first, budget, .. } = self.into_decision(Verdict::Allow);
        Decision { verdict: Verdict::Allow, reason: Reason::None, first, budget, charge }
    }
}

/// Whether there is nothing to charge: such an op is allowed even to those who are latched or held.
/// (A move from one tenant to another destroys nothing, but it counts as touching the tenant it is
/// taken from.)
fn destroys_nothing(request: &Request<'_>) -> bool {
    let Cost { files, bytes, tenant } = request.cost;
    let touches_tenant = request.op == Op::MoveOut && tenant != 0;
    !request.op.cost_is_unknown() && files == 0 && bytes == 0 && !touches_tenant
}
