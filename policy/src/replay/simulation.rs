//! A model that is fed for a long time: what can no longer matter is forgotten, so that it stays
//! small.

use std::collections::{HashMap, HashSet};

use holdfast_abi::{AccountKey, Limit, Window};

use super::RecordedOp;
use crate::decide::{Decision, Model};
use crate::model::Policy;

/// Accounts that are kept, each of 0.9 KiB. When there are more that still matter, everyone new
/// shares one, as in the kernel's table of 16,384: then the answers are never looser, but may be
/// stricter.
pub const MAX_ACCOUNTS: usize = 65_536;

/// The unit and user of everyone who shares.
const SHARED: (u64, u32) = (u64::MAX, u32::MAX - 1);

/// A policy under which recorded ops are decided again.
#[derive(Clone, Debug)]
pub struct Simulation {
    model: Model,
    limits: HashMap<u64, Limit>,
    most: usize,
    /// How many accounts there may be before it is looked which can go.
    look_at: usize,
    looks: u64,
    shared: u64,
}

impl Simulation {
    /// Nothing has been spent.
    pub fn new(policy: Policy) -> Self {
        Self::with_room(policy, MAX_ACCOUNTS)
    }

    /// The same with another number of accounts.
    pub fn with_room(policy: Policy, most: usize) -> Self {
        let confs = policy
            .zones
            .iter()
            .flat_map(|zone| zone.budgets.iter().map(|budget| budget.conf(zone)));
        let limits = confs.map(|conf| (conf.id, conf.limit)).collect();
        let model = Model::new(policy);
        Self { model, limits, most, look_at: (most / 16).max(1), looks: 0, shared: 0 }
    }

    /// What [`Model::decide`] says to the op.
    pub fn decide(&mut self, op: &RecordedOp) -> Decision {
        if self.rows() >= self.look_at {
            self.forget(op.now);
        }
        let mut request = op.request();
        if self.model.accounts.len() >= self.most && !self.knows(op) {
            (request.unit, request.user) = SHARED;
            self.shared += 1;
        }
        self.model.decide(&request)
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.model.policy
    }

    /// What an actor has spent of a budget, as far as it still matters.
    pub fn account(&self, key: &AccountKey) -> Option<&Window> {
        self.model.accounts.get(key)
    }

    /// How many times accounts were looked through for those that can go.
    pub fn looks(&self) -> u64 {
        self.looks
    }

    /// Ops that were charged to accounts that everyone new shares.
    pub fn shared(&self) -> u64 {
        self.shared
    }

    /// Accounts, and what tenants take beside them: a row is a third of an account.
    fn rows(&self) -> usize {
        self.model.accounts.len() + self.model.tenants.len() / 3
    }

    /// Lets go of accounts that are as good as new ones.
    fn forget(&mut self, now: u64) {
        let limits = &self.limits;
        self.model.accounts.retain(|key, window| {
            limits.get(&key.budget).is_none_or(|limit| matters(window, limit, now))
        });
        let accounts = &self.model.accounts;
        self.model.tenants.retain(|key, row| {
            let account = accounts.get(&AccountKey { budget: key.budget, actor: key.actor });
            let moment = account
                .zip(limits.get(&key.budget))
                .map(|(account, limit)| account.moment(limit, account.latest));
            moment.is_some_and(|moment| row.matters(moment))
        });
        self.looks += 1;
        // Not again before it has doubled: each look is paid for by as many new accounts.
        self.look_at = (self.rows() * 2).max(self.most / 16).max(1);
    }

    /// Whether each account the op would be charged to is there.
    fn knows(&self, op: &RecordedOp) -> bool {
        let zone = &self.model.policy.zones[op.zone];
        let applies = zone.budgets.iter().filter(|budget| budget.concerns(op.who));
        let mut keys = applies.map(|budget| AccountKey {
            budget: budget.id(&zone.name),
            actor: budget.per.actor(op.unit, op.user),
        });
        keys.all(|key| self.model.accounts.contains_key(&key))
    }
}

/// Whether an account differs from a new one for an op at `now` or later, or up to a window before.
fn matters(window: &Window, limit: &Limit, now: u64) -> bool {
    // It counts for a window and what its buckets are rounded up, also for an op a window before.
    let counts = limit.window_ns.saturating_add(limit.bucket_ns).saturating_mul(2);
    let recent = window.latest.saturating_add(counts) >= now;
    recent || window.latched_until > now || window.spent(limit, now) != (0, 0, 0)
}

/// The accounts among `keys` that are not there any more.
pub(crate) fn gone<'a>(
    simulation: &Simulation,
    keys: impl Iterator<Item = &'a AccountKey>,
) -> HashSet<AccountKey> {
    keys.filter(|key| simulation.account(key).is_none()).copied().collect()
}
