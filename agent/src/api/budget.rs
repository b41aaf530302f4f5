//! What each actor has spent of each budget, and resets.

use serde::{Deserialize, Serialize};

use super::{Actor, Cost, Until};

/// Every account that has something in it (`GET /v1/budgets`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BudgetList {
    /// In the order of the policy.
    pub(crate) budgets: Vec<BudgetAccounts>,
}

/// One budget of one zone, and its actors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BudgetAccounts {
    /// Name of the zone.
    pub(crate) zone: String,
    /// Such as `operators per unit, 10m`.
    pub(crate) label: String,
    /// Length of the window.
    pub(crate) window_seconds: u64,
    /// Most files in any window; absent if not limited, here and below.
    pub(crate) files: Option<u64>,
    /// Most bytes.
    pub(crate) bytes: Option<u64>,
    /// Most distinct tenants.
    pub(crate) tenants: Option<u64>,
    /// Actors that have spent something or are tripped: those first.
    pub(crate) accounts: Vec<AccountReport>,
}

/// One actor's account of one budget.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AccountReport {
    /// Who spends.
    pub(crate) actor: Actor,
    /// The same as a reset takes it: `unit:PATH`, `user:NAME`, `zone` or `overflow`.
    pub(crate) word: String,
    /// Spent in the window.
    pub(crate) spent: Cost,
    /// Distinct tenants touched in the window.
    pub(crate) tenants: u32,
    /// Until when it is tripped.
    pub(crate) tripped_until: Option<Until>,
    /// The command that resets it, if it is tripped; the reason is left to fill in.
    pub(crate) reset: Option<Vec<String>>,
}

/// Body of `POST /v1/budgets/reset`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResetBody {
    /// Name of the zone.
    pub(crate) zone: String,
    /// Whose accounts, as [`AccountReport::word`] or with the number of the cgroup or user.
    pub(crate) actor: String,
    /// Why; it is recorded.
    pub(crate) reason: String,
}

/// Answer to a reset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResetReport {
    /// Name of the zone.
    pub(crate) zone: String,
    /// Whose accounts.
    pub(crate) actor: Actor,
    /// Labels of the budgets that were reset.
    pub(crate) budgets: Vec<String>,
}
