//! A simulation answers as the model does, however much it forgets.

use std::collections::HashMap;

use holdfast_abi::{AccountKey, Cost, Op, Verdict, Who};
use holdfast_policy::decide::Model;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const BUDGETS: &str = "
[[zone.budget]]\nper = \"unit\"\nfiles = 6\ntenants = 3\nwindow = \"10s\"
[[zone.budget]]\nper = \"user\"\nwho = \"owners\"\nbytes = 9000\nops = [\"remove\", \"truncate\"]\n\
window = \"30s\"
[[zone.budget]]\nper = \"zone\"\nfiles = 40\nwindow = \"1m\"";

fn op() -> impl Strategy<Value = RecordedOp> {
    let op =
        select(vec![Op::Remove, Op::Remove, Op::Replace, Op::Truncate, Op::MoveOut, Op::Detach]);
    let who = select(vec![Who::OPERATOR_BIT, Who::OWNER_BIT]);
    let cost = (0..3_u64, 0..4_000_u64, 0..6_u64);
    (0..2_usize, op, who, 0..40_u64, 0..10_u32, cost).prop_map(
        |(zone, op, who, unit, user, (files, bytes, tenant))| RecordedOp {
            zone,
            op,
            who,
            unit,
            user,
            cost: Cost { files, bytes, tenant },
            now: 0,
        },
    )
}

/// Ops with times: mostly a little later, sometimes long after, sometimes a little before.
pub(super) fn load(most: usize) -> impl Strategy<Value = Vec<RecordedOp>> {
    let step = prop_oneof![
        8 => 0..300_000_000_i64,
        2 => -1_000_000_000..0_i64,
        1 => 0..200_000_000_000_i64,
    ];
    vec((op(), step), 1..most).prop_map(|list| {
        let mut now = START;
        let timed = list.into_iter().map(|(op, step)| {
            now = now.saturating_add_signed(step).max(START);
            RecordedOp { now, ..op }
        });
        timed.collect()
    })
}

proptest! {
    #[test]
    fn simulation_and_model_agree(
        ops in load(400),
        mode in select(vec!["observe", "enforce"]),
        on_trip in select(vec!["deny", "hold", "throttle"]),
        room in select(vec![200_usize, 1_000]),
    ) {
        let lines = format!("on_trip = \"{on_trip}\"\n{BUDGETS}");
        let mut policy = policy(&lines);
        for zone in &mut policy.zones {
            zone.mode = holdfast_abi::Mode::from_word(mode).unwrap();
        }
        let mut simulation = Simulation::with_room(policy.clone(), room);
        let mut model = Model::new(policy);
        for op in &ops {
            let (is, should) = (simulation.decide(op), model.decide(&op.request()));
            prop_assert_eq!(
                (is.verdict, is.reason, is.first, is.budget),
                (should.verdict, should.reason, should.first, should.budget),
                "{:?}", op
            );
        }
        prop_assert_eq!(simulation.shared(), 0);
    }
}

#[test]
fn what_no_longer_matters_is_forgotten() {
    let mut simulation = Simulation::with_room(policy(BUDGETS), 64);
    let mut keys: HashMap<AccountKey, u64> = HashMap::new();
    for n in 0..10_000_u64 {
        let op = remove(START + n * 20 * SECOND, n, 1);
        let decision = simulation.decide(&op);
        assert_eq!(decision.verdict, Verdict::Allow);
        keys.extend(decision.charge.accounts().map(|key| (key, n)));
    }
    assert!(simulation.looks() > 100, "{}", simulation.looks());
    let kept = keys.keys().filter(|key| simulation.account(key).is_some()).count();
    assert!(keys.len() == 10_001 && kept < 16, "{kept}");
    assert_eq!(simulation.shared(), 0);
}

#[test]
fn what_still_latches_is_remembered() {
    let (mut simulation, mut model) =
        (Simulation::with_room(policy(BUDGETS), 16), Model::new(policy(BUDGETS)));
    // A trip latches for up to a 31st of the window longer than the window. It begins with a bucket
    // here.
    let bucket = 10 * SECOND / 31 + 1;
    let start = START / bucket * bucket;
    let trip = (0..7).map(|n| remove(start + n, 1, 1));
    let later = start + 10 * SECOND + SECOND / 5;
    let others = (2..10).map(|unit| remove(later + unit, unit, 1));
    let again = [remove(later + 20, 1, 1), remove(later + SECOND, 1, 1)];
    let mut verdicts = Vec::new();
    for op in trip.chain(others).chain(again) {
        verdicts.push(simulation.decide(&op).verdict);
        assert_eq!(verdicts.last(), Some(&model.decide(&op.request()).verdict), "{op:?}");
    }
    assert!(simulation.looks() > 1);
    assert_eq!(verdicts[15..], [Verdict::Observe, Verdict::Allow]);
}

/// Without room all new actors share one account, and no more is allowed.
#[test]
fn new_actors_share_without_room() {
    let mut simulation = Simulation::with_room(policy(BUDGETS), 8);
    let mut allowed = 0;
    for n in 0..30_u64 {
        let decision = simulation.decide(&remove(START + n, n, 1));
        allowed += u64::from(decision.verdict == Verdict::Allow);
    }
    // Seven units have accounts of their own, beside the zone's; all others have six files
    // together.
    assert_eq!((allowed, simulation.shared()), (7 + 6, 23));
}
