//! What the kernel must answer: the executable specification of the decision on one op.
//!
//! The kernel programs follow the same order over the same arithmetic ([`holdfast_abi::Window`]); a test drives both with
//! the same ops and compares. It never reads a clock: time is part of the request.

use std::collections::HashMap;

use holdfast_abi::{
    AccountKey, Cost, Limit, Mode, Op, Over, Per, Reason, Receipt, Verdict, WhoMask, Window,
};

use crate::budget::Budget;
use crate::model::Policy;

/// A policy and what has been spent of it.
#[derive(Clone, Debug)]
pub struct Model {
    /// The policy in force.
    pub policy: Policy,
    /// What each actor has spent of each budget.
    pub accounts: HashMap<AccountKey, Window>,
}

/// One op somebody is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Index of the zone in [`Policy::zones`].
    pub zone: usize,
    /// The op.
    pub op: Op,
    /// What the caller is for this file: [`holdfast_abi::Who::OPERATOR_BIT`] or [`holdfast_abi::Who::OWNER_BIT`].
    pub who: WhoMask,
    /// The caller's cgroup.
    pub unit: u64,
    /// The caller's login user where one is set, else its real user.
    pub user: u32,
    /// What the op destroys.
    pub cost: Cost,
    /// Boot-time nanoseconds, never 0.
    pub now: u64,
}

/// What happens to an op, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Decision {
    /// What happens.
    pub verdict: Verdict,
    /// Why, if it is not simply allowed.
    pub reason: Reason,
    /// Whether this op tripped the budget: the first one over it.
    pub first: bool,
    /// Index of the budget that refused.
    pub budget: Option<usize>,
    /// What was charged; to be given back if the op fails.
    pub charge: Charge,
}

/// What one op was charged to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    cost: Cost,
    receipts: Vec<(AccountKey, Receipt)>,
}

impl Charge {
    /// The accounts that were charged, in the order of the budgets.
    pub fn accounts(&self) -> impl Iterator<Item = AccountKey> {
        self.receipts.iter().map(|(key, _)| *key)
    }
}

impl Model {
    /// A policy of which nothing has been spent.
    pub fn new(policy: Policy) -> Self {
        Self { policy, accounts: HashMap::new() }
    }

    /// Decides on one op, and charges it if it is allowed.
    ///
    /// The budgets are asked in the order of the policy, and the first that refuses decides. What was charged
    /// to those before it is given back: an op that does not happen costs nothing. In a zone that only observes
    /// a refused op goes on, and is not charged either.
    ///
    /// # Panics
    /// If the policy has no such zone.
    pub fn decide(&mut self, request: &Request) -> Decision {
        let mut charge = Charge { cost: request.cost, receipts: Vec::new() };
        if destroys_nothing(request) {
            return Decision::allow(charge);
        }
        let zone = &self.policy.zones[request.zone];
        for (index, budget) in zone.budgets.iter().enumerate() {
            if budget.who.mask() & request.who == 0 {
                continue;
            }
            let conf = budget.conf(&zone.name);
            let key = AccountKey { budget: conf.id, actor: actor(budget, request) };
            let account = self.accounts.entry(key).or_default();
            match ask(account, budget, &conf.limit, zone.mode, request) {
                Ok(Some(receipt)) => charge.receipts.push((key, receipt)),
                Ok(None) => {}
                Err(reason) => {
                    let verdict = match zone.mode {
                        Mode::Observe => Verdict::Observe,
                        Mode::Enforce => Verdict::Deny,
                    };
                    self.give_back(&charge);
                    return Decision::refuse(verdict, reason, index);
                }
            }
        }
        Decision::allow(charge)
    }

    /// Gives back what an op was charged that then failed.
    pub fn give_back(&mut self, charge: &Charge) {
        for (key, receipt) in &charge.receipts {
            if let Some(account) = self.accounts.get_mut(key) {
                account.give_back(receipt, &charge.cost);
            }
        }
    }
}

impl Decision {
    fn allow(charge: Charge) -> Self {
        Self { verdict: Verdict::Allow, reason: Reason::None, first: false, budget: None, charge }
    }

    fn refuse(verdict: Verdict, reason: Reason, budget: usize) -> Self {
        let first = reason != Reason::Latched;
        Self { verdict, reason, first, budget: Some(budget), charge: Charge::default() }
    }
}

/// Charges one budget, if it counts this op. A latched account refuses every op, also those it does not count.
fn ask(
    account: &mut Window,
    budget: &Budget,
    limit: &Limit,
    mode: Mode,
    request: &Request,
) -> Result<Option<Receipt>, Reason> {
    let mode = mode as u32;
    if account.is_latched(request.now, mode) {
        return Err(Reason::Latched);
    }
    if !budget.ops.contains(request.op) {
        return Ok(None);
    }
    if request.op.cost_is_unknown() {
        return Err(Reason::UnknownCost);
    }
    account.charge(limit, request.now, mode, &request.cost).map(Some).map_err(|over| match over {
        Over::Files => Reason::Files,
        Over::Bytes => Reason::Bytes,
        Over::Tenants => Reason::Tenants,
        Over::Latched => Reason::Latched,
    })
}

/// Whether there is nothing to charge: such an op is allowed even to those who are latched. (A move from one tenant to
/// another destroys nothing, but it counts as touching the tenant it is taken from.)
fn destroys_nothing(request: &Request) -> bool {
    let Cost { files, bytes, tenant } = request.cost;
    let touches_tenant = request.op == Op::MoveOut && tenant != 0;
    !request.op.cost_is_unknown() && files == 0 && bytes == 0 && !touches_tenant
}

/// Whose account of this budget the caller spends from.
fn actor(budget: &Budget, request: &Request) -> u64 {
    match budget.per {
        Per::Unit => request.unit,
        Per::User => u64::from(request.user),
        Per::Zone => 0,
    }
}
