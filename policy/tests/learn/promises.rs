//! What must hold for any load: a proposal stops nothing of what it was learnt from.

use holdfast_abi::{Cost, Op, Per, Who};
use holdfast_policy::learn::{Rules, Side};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// So many ops of one actor, so far apart, starting so long after the burst before.
#[derive(Clone, Debug)]
struct Burst {
    after: u64,
    apart: u64,
    ops: u64,
    first: RecordedOp,
    tenants: u64,
}

fn bursts() -> impl Strategy<Value = Vec<Burst>> {
    let op = prop_oneof![
        30 => select(vec![Op::Remove, Op::Replace, Op::Truncate, Op::MoveOut]),
        1 => Just(Op::Detach),
    ];
    let size = prop_oneof![8 => 0..1_u64 << 20, 1 => 0..40_u64 << 30];
    let ops = prop_oneof![12 => 1..40_u64, 2 => 1..400_u64, 1 => 1..3_000_u64];
    let after = prop_oneof![3 => 0..2 * MINUTE, 3 => 0..HOUR, 1 => 0..2 * DAY];
    let burst = (
        (after, select(vec![1, SECOND / 1_000, SECOND, 5 * MINUTE]), ops),
        (0..2_usize, op, select(vec![Who::OPERATOR_BIT, Who::OWNER_BIT])),
        (0..6_u64, 0..4_u32, size, 1..8_u64),
    );
    let burst =
        burst.prop_map(|((after, apart, ops), (zone, op, who), (unit, user, bytes, tenants))| {
            Burst {
                after,
                apart,
                ops,
                first: RecordedOp {
                    zone,
                    op,
                    who,
                    unit,
                    user,
                    cost: Cost { files: 1, bytes, tenant: unit + 1 },
                    now: 0,
                },
                tenants,
            }
        });
    vec(burst, 1..40)
}

fn ops(bursts: &[Burst]) -> Vec<RecordedOp> {
    let (mut start, mut ops) = (START, Vec::new());
    for Burst { after, apart, ops: count, first, tenants } in bursts {
        start += after;
        for n in 0..*count {
            let tenant = first.cost.tenant + n * tenants / count;
            let cost = Cost { tenant, ..first.cost };
            ops.push(RecordedOp { cost, now: start + n * apart, ..*first });
        }
    }
    ops.sort_by_key(|op| op.now);
    ops
}

fn without(ops: &[RecordedOp], left_out: impl Fn(usize, &RecordedOp) -> bool) -> Vec<RecordedOp> {
    let kept = ops.iter().enumerate().filter(|(n, op)| !left_out(*n, op));
    kept.map(|(_, op)| *op).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn proposal_allows_its_own_record(
        bursts in bursts(),
        headroom in select(vec![0_u32, 50]),
        keep_alone in any::<bool>(),
        ceiling_times in select(vec![1_u32, 3]),
    ) {
        let (ops, rules) = (ops(&bursts), Rules { headroom, ceiling_times, keep_alone });
        let before = policy(LOOSE);
        let (survey, proposal) = learn(&before, rules, &ops);
        let enforced = proposal.enforced(&before);
        let is_learnt = |zone: usize| !proposal.zones[zone].budgets.is_empty();

        // Without the outliers, and what nobody can learn: not one op is stopped, unless all
        // together were more than the ceiling, or something of all together stood alone.
        let ordinary = without(&ops, |_, op| {
            op.op == Op::Detach
                || !is_learnt(op.zone)
                || survey
                    .outliers()
                    .find(op, &holdfast_policy::learn::ceilings(before.zones[op.zone].role))
                    .is_some()
        });
        let all_fits = proposal.zones.iter().flat_map(|zone| &zone.budgets).all(|one| {
            one.sides.iter().all(|side| side.limit.is_none_or(|limit| side.ordinary <= limit))
        });
        let none_alone = proposal.outliers.sorted().len() == survey.outliers().sorted().len();
        let stopped_ordinary = stopped(enforced.clone(), &ordinary);
        if all_fits && none_alone {
            prop_assert!(stopped_ordinary.is_empty(), "{:?}", ordinary[stopped_ordinary[0]]);
        }
        // In any case without what it stops of everything, which is shown: then nothing else is.
        let all_stopped = stopped(enforced.clone(), &ops);
        let rest = without(&ops, |n, _| all_stopped.binary_search(&n).is_ok());
        prop_assert_eq!(stopped(enforced.clone(), &rest), Vec::<usize>::new());

        // No limit is below what is ordinary, but for the ceiling, and none above that.
        for budget in proposal.zones.iter().flat_map(|zone| &zone.budgets) {
            for side in &budget.sides {
                prop_assert!(side.ordinary <= side.seen.max, "{side:?}");
                let Some(limit) = side.limit else {
                    let tenants_of_all =
                        side.side == Side::Tenants && budget.budget.per == Per::Zone;
                    prop_assert!(tenants_of_all && side.ordinary > side.ceiling, "{side:?}");
                    continue;
                };
                prop_assert!(limit <= side.ceiling, "{side:?}");
                prop_assert!(limit >= side.ordinary.min(side.ceiling), "{side:?}");
            }
        }
        // And it is a policy one can write down.
        let text = proposal.policy(&before).annotated(&|_, _| Vec::new());
        prop_assert_eq!(Policy::parse("p", &text).ok(), Some(proposal.policy(&before)));
    }
}
