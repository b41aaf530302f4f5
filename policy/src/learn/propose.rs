//! From what was measured to limits.

use holdfast_abi::{Mode, Per};

use super::ceilings::{Side, ceiling, smallest};
use super::figures::Figures;
use super::outliers::Outliers;
use super::survey::Survey;
use crate::budget::Budget;
use crate::model::{Policy, Zone};

/// Budgets for zones, and what was left out of them.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// One for each zone of the policy, in its order.
    pub zones: Vec<ProposedZone>,
    /// What was left out.
    pub outliers: Outliers,
}

/// Budgets for one zone.
#[derive(Clone, Debug)]
pub struct ProposedZone {
    /// Ops that were looked at.
    pub ops: u64,
    /// Of these, ops that are part of an outlier.
    pub left_out: u64,
    /// Of these, ops of unknown cost: over every budget.
    pub unknown_cost: u64,
    /// None if no op of known cost was seen: then those the zone has are left as they are.
    pub budgets: Vec<ProposedBudget>,
}

/// One budget.
#[derive(Clone, Debug)]
pub struct ProposedBudget {
    /// The proposal.
    pub budget: Budget,
    /// What each of its limits comes from.
    pub sides: Vec<ProposedSide>,
    /// How many seconds the record is long, if that is less than the budget's window: then the
    /// limits are scaled up from it.
    pub scaled_from: Option<u64>,
}

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProposedSide {
    /// Of what.
    pub side: Side,
    /// Everything that was seen.
    pub seen: Figures,
    /// The most in any window without the outliers.
    pub ordinary: u64,
    /// The most that is proposed.
    pub ceiling: u64,
    /// What is proposed; `None`: that it is not limited.
    pub limit: Option<u64>,
    /// What decided about it.
    pub bound: Bound,
}

/// What decided about a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// What was seen, and the headroom.
    Seen,
    /// Less was seen than the smallest limit that is proposed.
    Smallest,
    /// The ceiling: there is less headroom than was asked for, or none.
    Ceiling,
    /// All together touch more tenants than the ceiling, which is about the most a budget can tell
    /// apart: a limit would trip each day, and the other sides limit them.
    TooMany,
}

impl Proposal {
    /// The policy with these budgets.
    pub fn policy(&self, policy: &Policy) -> Policy {
        let zone = |(zone, proposed): (&Zone, &ProposedZone)| {
            if proposed.budgets.is_empty() {
                return zone.clone();
            }
            let budgets = proposed.budgets.iter().map(|one| one.budget.clone()).collect();
            Zone { budgets, ..zone.clone() }
        };
        let zones = policy.zones.iter().zip(&self.zones).map(zone).collect();
        Policy { zones, ..policy.clone() }
    }

    /// The same with every zone enforcing, to see what it stops.
    pub fn enforced(&self, policy: &Policy) -> Policy {
        let mut policy = self.policy(policy);
        for zone in &mut policy.zones {
            zone.mode = Mode::Enforce;
        }
        policy
    }
}

pub(super) fn propose(survey: Survey, recorded: u64) -> Proposal {
    let zones = 0..survey.budgets.len();
    let zones = zones.map(|zone| propose_zone(&survey, zone, recorded)).collect();
    Proposal { zones, outliers: survey.outliers }
}

fn propose_zone(survey: &Survey, zone: usize, recorded: u64) -> ProposedZone {
    let taken = survey.taken[zone];
    let seen_any = taken.ops > taken.unknown_cost;
    let budgets = survey.budgets[zone].iter().enumerate();
    let limits_any = |one: &ProposedBudget| {
        let Budget { files, bytes, tenants, .. } = &one.budget;
        files.is_some() || bytes.is_some() || tenants.is_some()
    };
    let budgets = budgets.filter(|_| seen_any).map(|(index, limits)| {
        let mut budget = limits.clone();
        let mut sides = Vec::new();
        for side in Side::ALL {
            let Some(ceiling) = ceiling(limits, side, &survey.rules) else { continue };
            let (ordinary, _) = survey.ordinary(zone, index, side);
            let seen = survey.first.as_ref().map(|first| first.figures[zone][index][side as usize]);
            let (limit, bound) = limit(survey, limits, side, ordinary, ceiling, recorded);
            side.set(&mut budget, limit);
            let seen = seen.unwrap_or_default();
            sides.push(ProposedSide { side, seen, ordinary, ceiling, limit, bound });
        }
        let scaled_from = (recorded < limits.window.seconds()).then_some(recorded);
        ProposedBudget { budget, sides, scaled_from }
    });
    ProposedZone {
        ops: taken.ops,
        left_out: taken.left_out,
        unknown_cost: taken.unknown_cost,
        budgets: budgets.filter(limits_any).collect(),
    }
}

fn limit(
    survey: &Survey,
    limits: &Budget,
    side: Side,
    ordinary: u64,
    ceiling: u64,
    recorded: u64,
) -> (Option<u64>, Bound) {
    let percent = 100 + u128::from(survey.rules.headroom);
    // What goes on as it has begun, until the window is full.
    let window = limits.window.seconds();
    let recorded = recorded.clamp(1, window);
    let wanted =
        (u128::from(ordinary) * percent * u128::from(window)).div_ceil(100 * u128::from(recorded));
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
    let smallest = smallest(limits, side);
    if wanted <= smallest {
        return (Some(smallest.next_multiple_of(grain(side)).min(ceiling)), Bound::Smallest);
    }
    if limits.per == Per::Zone && side == Side::Tenants && ordinary > ceiling {
        return (None, Bound::TooMany);
    }
    let rounded = match side {
        Side::Files => two_digits(wanted),
        Side::Bytes => readable(wanted),
        Side::Tenants => wanted,
    };
    let bound = if wanted > ceiling { Bound::Ceiling } else { Bound::Seen };
    (Some(rounded.min(ceiling)), bound)
}

/// What the smallest limit is a multiple of, so that it is easy to read.
const fn grain(side: Side) -> u64 {
    match side {
        Side::Files | Side::Tenants => 1,
        Side::Bytes => 1 << 20,
    }
}

/// The next number of which only the first two digits are not 0.
fn two_digits(n: u64) -> u64 {
    let scale = 10_u64.pow(n.checked_ilog10().unwrap_or(0).saturating_sub(1));
    n.div_ceil(scale).saturating_mul(scale)
}

/// The next size that can be written with at most three digits and one unit, or so.
fn readable(bytes: u64) -> u64 {
    let units = [1_u64 << 40, 1 << 30, 1 << 20, 1 << 10, 1];
    // From ten of a unit on: what one unit less would tell more exactly is not rounded away.
    let unit = units.into_iter().find(|unit| bytes / unit >= 10).unwrap_or(1);
    two_digits(bytes.div_ceil(unit)).saturating_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_round_and_never_lower() {
        let files: Vec<u64> =
            [0, 7, 99, 100, 187, 1_234, 20_000].into_iter().map(two_digits).collect();
        assert_eq!(files, [0, 7, 99, 100, 190, 1_300, 20_000]);
        const MIB: u64 = 1 << 20;
        assert_eq!(readable(512 * MIB), 520 * MIB);
        assert_eq!(readable(3 * (MIB << 10) + 1), 3_100 * MIB);
        assert_eq!(readable(12 * (MIB << 10) + 1), 13 * (MIB << 10));
        assert_eq!(readable(5), 5);
    }

    proptest::proptest! {
        #[test]
        fn rounding_adds_a_tenth_at_most(n in 0..=i64::MAX as u64) {
            for rounded in [two_digits(n), readable(n)] {
                assert!(rounded >= n && rounded - n <= n / 10 + 1, "{n} {rounded}");
            }
        }
    }
}
