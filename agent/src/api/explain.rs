//! What `holdfast explain` shows.

use serde::{Deserialize, Serialize};

use super::{Cost, Side, Tenant, UnitRef, Until};

/// Which zone, tenant and budgets apply to a path, and what removing it now would come to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Explanation {
    /// The path that was looked at, its directory resolved.
    pub(crate) path: String,
    /// All bytes of the path, only if they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path_bytes: Option<Vec<u8>>,
    /// Its zone; absent if it is in none.
    pub(crate) zone: Option<String>,
    /// The zone's mode.
    pub(crate) mode: Option<String>,
    /// What the zone does with an op over budget while it enforces: `deny`, `hold` or `throttle`.
    pub(crate) on_trip: Option<String>,
    /// The root through which it is in the zone.
    pub(crate) root: Option<String>,
    /// Its tenant; absent if it is above all tenants.
    pub(crate) tenant: Option<Tenant>,
    /// Who asks.
    pub(crate) caller: Caller,
    /// The zone's budgets, those that do not apply to the caller included.
    pub(crate) budgets: Vec<ExplainBudget>,
    /// What removing it now would come to; absent outside all zones.
    pub(crate) removal: Option<Removal>,
    /// Why no op on it is decided about, if none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) not_guarded: Option<NotGuarded>,
    /// What else to know.
    pub(crate) notes: Vec<String>,
}

/// Why a path is not guarded, although the policy names it or a directory above it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NotGuarded {
    /// Why.
    pub(crate) why: String,
    /// What to do about it.
    pub(crate) fix: String,
}

/// A process as budgets see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Caller {
    /// Process.
    pub(crate) pid: u32,
    /// Real user.
    pub(crate) uid: u32,
    /// Login user, where one is set.
    pub(crate) login_uid: Option<u32>,
    /// Unit (cgroup); absent where there is no cgroup v2.
    pub(crate) unit: Option<UnitRef>,
    /// What it is for this file: `operators` or `owners`.
    pub(crate) who: String,
}

/// One budget of the zone, for the caller.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ExplainBudget {
    /// Such as `operators per unit, 10m`.
    pub(crate) label: String,
    /// Whether it applies to the caller.
    pub(crate) applies: bool,
    /// Whether it charges removals.
    pub(crate) charges_remove: bool,
    /// Files; absent if not limited.
    pub(crate) files: Option<Side>,
    /// Bytes; absent if not limited.
    pub(crate) bytes: Option<Side>,
    /// Tenants; absent if not limited.
    pub(crate) tenants: Option<Side>,
    /// Until when the caller is latched.
    pub(crate) latched_until: Option<Until>,
}

/// What removing the path now would come to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Removal {
    /// What it would destroy.
    pub(crate) cost: Cost,
    /// The verdict it would get.
    pub(crate) verdict: String,
    /// Why.
    pub(crate) reason: String,
    /// The budget that refuses.
    pub(crate) budget: Option<String>,
}
