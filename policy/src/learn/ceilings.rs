//! How far a proposal goes at most. A test compares these with the policy that is shipped.

use holdfast_abi::{MAX_TENANTS, Per, Who};

use super::Rules;
use crate::budget::{Budget, OpSet};
use crate::model::Role;
use crate::units::Window;

const GIB: u64 = 1 << 30;
/// The smallest limit that is proposed is this part of the ceiling.
const SMALLEST: u64 = 20;
/// The fewest tenants that are.
const FEWEST_TENANTS: u64 = 2;

/// One side of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Files.
    Files,
    /// Bytes.
    Bytes,
    /// Distinct tenants.
    Tenants,
}

/// What was destroyed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
    /// Distinct tenants.
    pub tenants: u64,
}

impl Side {
    /// Each.
    pub const ALL: [Self; 3] = [Self::Files, Self::Bytes, Self::Tenants];

    /// The word used in a policy.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Bytes => "bytes",
            Self::Tenants => "tenants",
        }
    }

    /// A budget's limit of it.
    pub fn limit(self, budget: &Budget) -> Option<u64> {
        match self {
            Self::Files => budget.files,
            Self::Bytes => budget.bytes,
            Self::Tenants => budget.tenants.map(u64::from),
        }
    }

    pub(super) fn set(self, budget: &mut Budget, limit: Option<u64>) {
        match self {
            Self::Files => budget.files = limit,
            Self::Bytes => budget.bytes = limit,
            Self::Tenants => {
                budget.tenants = limit.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
            }
        }
    }
}

impl Amount {
    /// One side of it.
    pub const fn of(&self, side: Side) -> u64 {
        match side {
            Side::Files => self.files,
            Side::Bytes => self.bytes,
            Side::Tenants => self.tenants,
        }
    }
}

/// The budgets that are proposed for a zone of that role, each with the most that is proposed. What
/// is not limited there is not limited in the proposal either.
pub fn ceilings(role: Role) -> Vec<Budget> {
    match role {
        Role::Primary => vec![
            budget(Per::Unit, Who::Operators, "10m", 12_000, 10 * GIB, Some(5)),
            budget(Per::Zone, Who::Operators, "24h", 40_000, 80 * GIB, None),
            tenants(Per::Zone, "10m", 30),
            budget(Per::User, Who::Owners, "24h", 200_000, 200 * GIB, None),
        ],
        Role::Backup => vec![
            budget(Per::Unit, Who::Everyone, "10m", 2_000, 50 * GIB, Some(20)),
            budget(Per::Unit, Who::Everyone, "24h", 10_000, 200 * GIB, Some(60)),
            budget(Per::Zone, Who::Everyone, "7d", 50_000, 1024 * GIB, None),
        ],
    }
}

/// The most that is proposed of a side of such a budget; `None` if it is not limited.
pub(super) fn ceiling(budget: &Budget, side: Side, rules: &Rules) -> Option<u64> {
    let most = match side {
        Side::Files | Side::Bytes => i64::MAX as u64,
        Side::Tenants => MAX_TENANTS.into(),
    };
    side.limit(budget)
        .map(|limit| limit.saturating_mul(u64::from(rules.ceiling_times.max(1))).min(most))
}

/// The least that is proposed: what is below is small, whatever else was seen. It does not depend
/// on what a person says.
pub(super) fn smallest(budget: &Budget, side: Side) -> u64 {
    let least = match side {
        Side::Files | Side::Bytes => 1,
        Side::Tenants => FEWEST_TENANTS,
    };
    (side.limit(budget).unwrap_or(0) / SMALLEST).max(least)
}

/// A budget of tenants alone, which holds for everybody.
fn tenants(per: Per, window: &str, tenants: u32) -> Budget {
    let both = budget(per, Who::Everyone, window, 0, 0, Some(tenants));
    Budget { files: None, bytes: None, ..both }
}

fn budget(
    per: Per,
    who: Who,
    window: &str,
    files: u64,
    bytes: u64,
    tenants: Option<u32>,
) -> Budget {
    let window = Window::parse(window).expect("a length of time within bounds");
    Budget {
        per,
        who,
        ops: OpSet::GUARDED,
        files: Some(files),
        bytes: Some(bytes),
        tenants,
        window,
        latch: Budget::default_latch(window),
    }
}
