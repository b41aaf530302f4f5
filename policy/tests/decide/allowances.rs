//! A signed allowance: who may spend it, on what, how far, and that budgets notice nothing of it.

use holdfast_abi::{Cost, GrantAccount, HoldKey, Op, OpMask, Reason, Verdict, name_id};
use holdfast_policy::decide::{Inside, Model, OpenAllowance, Request};
use proptest::prelude::*;

use crate::{ALLOWED, OPERATOR, Outcome, SECOND, outcome, remove, request};

const COVERED: Outcome = (Verdict::Allow, Reason::Allowance, false, None);
const DENIED_FIRST: Outcome = (Verdict::Deny, Reason::Files, true, Some(0));
const DENIED: Outcome = (Verdict::Deny, Reason::Latched, false, Some(0));
/// In the first grant of allowance 1, in its second, in both, and in the first of allowance 2.
const FIRST: &[Inside] = &[Inside { serial: 1, grants: 0b01 }];
const SECOND_GRANT: &[Inside] = &[Inside { serial: 1, grants: 0b10 }];
const BOTH: &[Inside] = &[Inside { serial: 1, grants: 0b11 }];
const EVERYWHERE: &[Inside] = &[
    Inside { serial: 1, grants: 1 },
    Inside { serial: 2, grants: 1 },
    Inside { serial: 3, grants: 1 },
];

/// A zone that enforces, with a budget of two files.
fn model() -> Model {
    crate::model(
        "mode = \"enforce\"\non_trip = \"deny\"",
        &["per = \"zone\", files = 2, window = \"1h\""],
    )
}

fn grant(ops: OpMask, files: u64, bytes: u64, tenants: u64) -> GrantAccount {
    GrantAccount::new(name_id("z"), ops, files, bytes, tenants)
}

fn removes(files: u64) -> GrantAccount {
    grant(Op::Remove.bit(), files, u64::MAX, u32::MAX.into())
}

/// Good until 200 seconds, for whoever carries the mark 1.
fn of_tree(grants: Vec<GrantAccount>) -> OpenAllowance {
    OpenAllowance { tree: true, ..OpenAllowance::new(1, 200 * SECOND, grants) }
}

/// One file is removed by a process of the tree, in the first grant's subtree.
fn inside() -> Request<'static> {
    Request { mark: Some(1), inside: FIRST, ..remove(1) }
}

fn spent(model: &Model, serial: u64, grant: usize) -> (u64, u64, u64) {
    let one = model.allowances.iter().find(|one| one.serial == serial).expect("it is open");
    let grant = &one.grants[grant];
    (grant.used_files, grant.used_bytes, grant.used_tenants)
}

fn in_tenant(tenant: u64, bytes: u64) -> Request<'static> {
    Request { cost: Cost { files: 1, bytes, tenant }, ..inside() }
}

/// It is spent to its last file, and then the budget decides.
#[test]
fn budget_answers_after_spent_allowance() {
    let mut model = model();
    model.open(of_tree(vec![removes(3)]));
    for _ in 0..3 {
        assert_eq!(outcome(&model.decide(&inside())), COVERED);
    }
    assert!(model.accounts.is_empty(), "no budget was asked");
    assert_eq!(spent(&model, 1, 0), (3, 0, 1));
    assert_eq!(outcome(&model.decide(&inside())), ALLOWED);
    assert_eq!(outcome(&model.decide(&inside())), ALLOWED);
    assert_eq!(outcome(&model.decide(&inside())), DENIED_FIRST);
    assert_eq!(spent(&model, 1, 0), (3, 0, 1));
}

/// An op is covered whole, or not at all.
#[test]
fn op_is_covered_whole() {
    let mut model = model();
    model.open(of_tree(vec![grant(Op::Remove.bit(), 3, 100, 1)]));
    for (request, why) in [
        (Request { cost: Cost { files: 4, bytes: 0, tenant: 1 }, ..inside() }, "files"),
        (in_tenant(1, 101), "bytes"),
    ] {
        assert_ne!(outcome(&model.decide(&request)), COVERED, "{why}");
        assert_eq!(spent(&model, 1, 0), (0, 0, 0), "{why}");
    }
    assert_eq!(outcome(&model.decide(&in_tenant(1, 100))), COVERED);
    assert_ne!(outcome(&model.decide(&in_tenant(2, 0))), COVERED, "a second tenant");
    assert_eq!(outcome(&model.decide(&in_tenant(1, 0))), COVERED);
    assert_eq!(outcome(&model.decide(&in_tenant(0, 0))), COVERED, "above all tenants");
    assert_eq!(spent(&model, 1, 0), (3, 100, 1));
}

/// A grant of no tenants covers only what lies in none.
#[test]
fn grant_without_tenants_covers_no_tenant() {
    let mut model = model();
    model.open(of_tree(vec![grant(Op::Remove.bit(), 9, 9, 0)]));
    assert_ne!(outcome(&model.decide(&in_tenant(1, 0))), COVERED);
    assert_eq!(outcome(&model.decide(&in_tenant(0, 0))), COVERED);
}

#[test]
fn budgets_decide_uncovered_ops() {
    let mut model = model();
    model.open(of_tree(vec![removes(100), grant(Op::Truncate.bit(), 100, 100, 100)]));
    let elsewhere = GrantAccount::new(name_id("other"), Op::Remove.bit(), 100, 100, 100);
    let for_other_zone = OpenAllowance::new(2, 200 * SECOND, vec![elsewhere]);
    model.open(OpenAllowance { unit: Some(5), ..for_other_zone });
    assert_eq!(model.decide(&remove(2)).verdict, Verdict::Allow, "the budget is spent");
    let truncate = request(Op::Truncate, OPERATOR, 1, 5);
    let without = [
        ("outside of every subtree", Request { inside: &[], ..inside() }),
        ("in the subtree of another grant", Request { inside: SECOND_GRANT, ..inside() }),
        ("another op", Request { mark: Some(1), inside: FIRST, ..truncate }),
        ("another process tree", Request { mark: None, ..inside() }),
        ("a former tree's mark", Request { mark: Some(77), ..inside() }),
        ("at its very end", Request { now: 200 * SECOND, ..inside() }),
        ("after its end", Request { now: 201 * SECOND, ..inside() }),
        ("another zone's grant", Request { mark: None, inside: EVERYWHERE, ..remove(1) }),
    ];
    for (why, request) in without {
        assert_eq!(model.decide(&request).verdict, Verdict::Deny, "{why}");
    }
    assert_eq!(spent(&model, 1, 0), (0, 0, 0));
    assert_eq!(outcome(&model.decide(&inside())), COVERED);
    let last = Request { now: 200 * SECOND - 1, ..inside() };
    assert_eq!(outcome(&model.decide(&last)), COVERED, "to its last moment");
    assert!(model.close(1).is_some() && model.close(1).is_none());
    assert_eq!(outcome(&model.decide(&inside())), DENIED, "closed");
}

/// The first grant that covers pays, and the next one once that is spent.
#[test]
fn first_covering_grant_pays() {
    let mut model = model();
    model.open(of_tree(vec![removes(2), removes(3)]));
    let in_both = Request { inside: BOTH, ..inside() };
    for expected in [(1, 0), (2, 0), (2, 1), (2, 2), (2, 3)] {
        let decision = model.decide(&in_both);
        assert_eq!(outcome(&decision), COVERED);
        assert_eq!((spent(&model, 1, 0).0, spent(&model, 1, 1).0), expected);
        assert_eq!(decision.charge.granted(), Some((1, usize::from(expected.1 > 0))));
    }
    assert_eq!(outcome(&model.decide(&in_both)), ALLOWED);
    // What is in the inner grant's subtree only is not the outer one's to pay.
    let mut model = self::model();
    model.open(of_tree(vec![removes(2), removes(3)]));
    assert_eq!(outcome(&model.decide(&Request { inside: SECOND_GRANT, ..inside() })), COVERED);
    assert_eq!((spent(&model, 1, 0).0, spent(&model, 1, 1).0), (0, 1));
}

#[test]
fn tree_then_unit_then_user_pays() {
    let mut model = model();
    let one = |serial| OpenAllowance::new(serial, 200 * SECOND, vec![removes(1)]);
    model.open(OpenAllowance { user: Some(1_000), ..one(3) });
    model.open(OpenAllowance { unit: Some(5), ..one(2) });
    model.open(OpenAllowance { tree: true, ..one(1) });
    let request = Request { inside: EVERYWHERE, ..inside() };
    for serial in [1, 2, 3] {
        assert_eq!(model.decide(&request).charge.granted(), Some((serial, 0)));
    }
    assert_eq!(outcome(&model.decide(&request)), ALLOWED);
}

#[test]
fn allowance_needs_unit_and_user() {
    let cases = [
        (None, Some(1_000), true),
        (None, Some(1_001), false),
        (Some(5), None, true),
        (Some(6), None, false),
        (Some(5), Some(1_000), true),
        (Some(5), Some(1_001), false),
        (Some(6), Some(1_000), false),
        (None, None, false),
    ];
    for (unit, user, covers) in cases {
        let mut model = model();
        let bound = OpenAllowance::new(1, 200 * SECOND, vec![removes(1)]);
        model.open(OpenAllowance { unit, user, ..bound.clone() });
        let without_mark = Request { inside: FIRST, ..remove(1) };
        let expected = if covers { COVERED } else { ALLOWED };
        assert_eq!(outcome(&model.decide(&without_mark)), expected, "{unit:?} {user:?}");
        // The mark does not replace the binding, only the way to find it.
        let mut model = self::model();
        model.open(OpenAllowance { unit, user, tree: true, ..bound });
        assert_eq!(outcome(&model.decide(&without_mark)), ALLOWED, "{unit:?} {user:?}");
        let covers = covers || (unit, user) == (None, None);
        let expected = if covers { COVERED } else { ALLOWED };
        assert_eq!(outcome(&model.decide(&inside())), expected, "{unit:?} {user:?}");
    }
}

#[test]
fn failed_op_returns_its_spend() {
    let mut model = model();
    model.open(of_tree(vec![grant(Op::Remove.bit(), 2, 100, 1)]));
    let first = model.decide(&in_tenant(1, 40));
    let second = model.decide(&in_tenant(1, 60));
    assert_eq!((outcome(&first), outcome(&second)), (COVERED, COVERED));
    model.give_back(&second.charge);
    assert_eq!(spent(&model, 1, 0), (1, 40, 1));
    assert_eq!(outcome(&model.decide(&in_tenant(2, 0))), ALLOWED, "the first tenant stays touched");
    model.give_back(&first.charge);
    assert_eq!(spent(&model, 1, 0), (0, 0, 0));
    let third = model.decide(&in_tenant(2, 100));
    assert_eq!(outcome(&third), COVERED);
    // One that is closed meanwhile has nothing to give back to.
    model.close(1);
    model.give_back(&third.charge);
    assert!(model.allowances.is_empty());
}

#[test]
fn op_without_files_counts_as_one() {
    let mut model = model();
    let ops = Op::Truncate.bit() | Op::MoveOut.bit();
    model.open(of_tree(vec![grant(ops, 2, 100, 1)]));
    let with_mark =
        |op, bytes| Request { mark: Some(1), inside: FIRST, ..request(op, OPERATOR, 0, bytes) };
    assert_eq!(outcome(&model.decide(&with_mark(Op::Truncate, 7))), COVERED);
    assert_eq!(outcome(&model.decide(&with_mark(Op::MoveOut, 0))), COVERED, "it touches a tenant");
    assert_eq!(spent(&model, 1, 0), (2, 7, 1));
    assert_eq!(outcome(&model.decide(&with_mark(Op::Truncate, 7))), ALLOWED);
    // Nothing is destroyed, and so nothing is spent.
    assert_eq!(outcome(&model.decide(&with_mark(Op::Truncate, 0))), ALLOWED);
    assert_eq!(spent(&model, 1, 0), (2, 7, 1));
}

/// An op of unknown cost is covered only by a grant that lists it.
#[test]
fn unknown_cost_is_covered_if_listed() {
    for op in [Op::Detach, Op::Device] {
        let mut model = model();
        model.open(of_tree(vec![removes(5), grant(op.bit(), 1, 0, 1)]));
        let unknown = Request { mark: Some(1), inside: BOTH, ..request(op, OPERATOR, 0, 0) };
        assert_eq!(outcome(&model.decide(&unknown)), COVERED);
        assert_eq!((spent(&model, 1, 0).0, spent(&model, 1, 1).0), (0, 1));
        assert_eq!(model.decide(&unknown).charge.granted(), None, "one file, and it is spent");
    }
}

#[test]
fn uncovered_detach_is_denied() {
    let mut model = model();
    model.open(of_tree(vec![removes(5)]));
    let detach = Request { mark: Some(1), inside: BOTH, ..request(Op::Detach, OPERATOR, 0, 0) };
    assert_eq!(
        outcome(&model.decide(&detach)),
        (Verdict::Deny, Reason::UnknownCost, true, Some(0))
    );
}

/// A tripped actor goes on inside the allowance, and only there.
#[test]
fn allowance_covers_tripped_actor() {
    let mut model = model();
    assert_eq!(model.decide(&remove(2)).verdict, Verdict::Allow);
    assert_eq!(outcome(&model.decide(&remove(1))), DENIED_FIRST);
    model.open(of_tree(vec![removes(2)]));
    assert_eq!(outcome(&model.decide(&inside())), COVERED);
    assert_eq!(outcome(&model.decide(&Request { inside: &[], ..inside() })), DENIED);
    assert_eq!(outcome(&model.decide(&inside())), COVERED);
    assert_eq!(outcome(&model.decide(&inside())), DENIED, "spent, and still latched");
}

#[test]
fn allowance_covers_held_actor() {
    let budget = ["per = \"unit\", files = 2, window = \"31s\""];
    let mut model = crate::model("mode = \"enforce\"\non_trip = \"hold\"", &budget);
    assert_eq!(model.decide(&remove(2)).verdict, Verdict::Allow);
    assert_eq!(model.decide(&remove(1)).verdict, Verdict::Hold);
    let again = |request| Request { held_since: Some(100 * SECOND), now: 101 * SECOND, ..request };
    assert_eq!(model.decide(&again(inside())).verdict, Verdict::Hold);
    model.open(of_tree(vec![removes(1)]));
    let outside = Request { inside: &[], ..inside() };
    assert_eq!(model.decide(&again(outside)).verdict, Verdict::Hold, "outside of it");
    assert_eq!(outcome(&model.decide(&again(inside()))), COVERED, "before anybody has decided");
    assert_eq!(model.decide(&again(inside())).verdict, Verdict::Hold);
    // An allowance comes before what was released.
    let hold = HoldKey { unit: 5, zone: 0, user: 1_000 };
    model.release(&hold, 5, 200 * SECOND, 101 * SECOND);
    model.open(OpenAllowance {
        unit: Some(5),
        ..OpenAllowance::new(2, 200 * SECOND, vec![removes(1)])
    });
    let both = Request { inside: EVERYWHERE, ..inside() };
    assert_eq!(model.decide(&both).charge.granted(), Some((2, 0)));
    assert_eq!(model.decide(&both).charge.released(), Some((hold, 1)));
}

#[test]
fn observing_and_throttling_zones_spend_it() {
    for zone in ["mode = \"observe\"", "mode = \"enforce\"\non_trip = \"throttle\""] {
        let mut model = crate::model(zone, &["per = \"zone\", files = 2, window = \"1h\""]);
        model.open(of_tree(vec![removes(1)]));
        assert_eq!(outcome(&model.decide(&inside())), COVERED, "{zone}");
        assert!(model.accounts.is_empty(), "{zone}");
        assert_eq!(outcome(&model.decide(&inside())), ALLOWED, "{zone}");
    }
}

/// An op of the property test: file count, bytes, tenant, which grants name it, whether the caller
/// carries the mark, whether it fails after all, seconds.
type Any = (u64, u64, u64, u32, bool, bool, u64);

fn any_ops() -> impl Strategy<Value = Vec<Any>> {
    let op = (0..3u64, 0..50u64, 0..4u64, 0..4u32, any::<bool>(), any::<bool>(), 0..250u64);
    prop::collection::vec(op, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is tried, no grant is spent beyond any of its limits, by nobody without the mark,
    /// after its end never; and the budgets end up as if what was covered had never been asked for.
    #[test]
    fn grant_is_never_overspent(ops in any_ops()) {
        let limits = [(20, 300, 2), (9, 90, 1)];
        let mut model = model();
        let grants =
            limits.map(|(files, bytes, tenants)| grant(Op::Remove.bit(), files, bytes, tenants));
        model.open(of_tree(grants.to_vec()));
        let mut plain = self::model();
        let mut right = [(0, 0, 0); 2];
        let mut tenants = [[0u64; 4]; 2];
        let mut now = 0;
        for (files, bytes, tenant, named, marked, fails, step) in ops {
            now += step * SECOND / 50;
            let inside = [Inside { serial: 1, grants: named }];
            let cost = Cost { files, bytes, tenant };
            let mark = marked.then_some(1);
            let request = Request { cost, mark, inside: &inside, now: now + 1, ..remove(0) };
            let decision = model.decide(&request);
            match decision.charge.granted() {
                Some((_, index)) => {
                    prop_assert!(marked && named & (1 << index) != 0 && request.now < 200 * SECOND);
                    let used = &mut right[index];
                    if fails {
                        model.give_back(&decision.charge);
                    } else {
                        used.0 += files.max(1);
                        used.1 += bytes;
                        tenants[index][tenant as usize] += 1;
                        used.2 = tenants[index][1..].iter().filter(|ops| **ops > 0).count() as u64;
                    }
                }
                None => {
                    let expected = plain.decide(&request);
                    prop_assert_eq!(outcome(&decision), outcome(&expected));
                    if fails && decision.verdict == Verdict::Allow {
                        model.give_back(&decision.charge);
                        plain.give_back(&expected.charge);
                    }
                }
            }
            prop_assert_eq!(&model.accounts, &plain.accounts);
            for (index, limit) in limits.iter().enumerate() {
                let used = spent(&model, 1, index);
                prop_assert_eq!(used, right[index]);
                prop_assert!(used.0 <= limit.0 && used.1 <= limit.1 && used.2 <= limit.2);
            }
        }
    }
}

const BY_GLASS: Outcome = (Verdict::Allow, Reason::BreakGlass, false, None);

fn whole_zone(files: u64, tree: bool) -> OpenAllowance {
    let grant = grant(Op::KNOWN_BITS, files, u64::MAX, GrantAccount::ANY_TENANTS);
    OpenAllowance::break_glass(1, 200 * SECOND, grant, tree)
}

/// One for everybody covers its zone in all places, and no op of unknown cost.
#[test]
fn break_glass_covers_its_whole_zone() {
    let mut model = model();
    model.open(whole_zone(3, false));
    for tenant in 1..=2 {
        let somewhere = Request { inside: &[], mark: None, ..in_tenant(tenant, 1) };
        assert_eq!(outcome(&model.decide(&somewhere)), BY_GLASS);
    }
    let truncation = Request { op: Op::Truncate, inside: &[], mark: None, ..in_tenant(3, 1) };
    assert_eq!(outcome(&model.decide(&truncation)), BY_GLASS);
    let one = &model.allowances[0];
    assert!(one.tenants.is_empty(), "tenants are not counted");
    assert_eq!(one.grants[0].ops_by_kind[..3], [2, 0, 1]);
    let outside = Request { inside: &[], mark: None, ..inside() };
    let detach = Request { op: Op::Detach, ..outside };
    assert_eq!(model.decide(&detach).reason, Reason::UnknownCost);
    // Spent down: the budget answers.
    assert_eq!(outcome(&model.decide(&outside)), ALLOWED);
    assert_eq!(model.allowances[0].grants[0].used_files, 3);
}

/// It ends in time, and a failed op gives back what it spent.
#[test]
fn break_glass_ends_in_time() {
    let mut model = model();
    model.open(whole_zone(1, false));
    let anybody = Request { inside: &[], mark: None, ..inside() };
    let decision = model.decide(&anybody);
    assert_eq!(outcome(&decision), BY_GLASS);
    model.give_back(&decision.charge);
    assert_eq!(model.allowances[0].grants[0].ops_by_kind, [0; 8]);
    assert_eq!(outcome(&model.decide(&Request { now: 200 * SECOND, ..anybody })), ALLOWED);
    assert_eq!(outcome(&model.decide(&Request { now: 199 * SECOND, ..anybody })), BY_GLASS);
}

#[test]
fn command_break_glass_covers_only_tree() {
    let mut model = model();
    model.open(whole_zone(10, true));
    let stranger = Request { inside: &[], mark: None, ..inside() };
    assert_eq!(outcome(&model.decide(&stranger)), ALLOWED);
    assert_eq!(outcome(&model.decide(&Request { mark: Some(2), ..stranger })), ALLOWED);
    assert_eq!(outcome(&model.decide(&stranger)), DENIED_FIRST);
    assert_eq!(outcome(&model.decide(&Request { mark: Some(1), ..stranger })), BY_GLASS);
    assert_eq!(outcome(&model.decide(&stranger)), DENIED);
}

#[test]
fn allowance_is_spent_before_break_glass() {
    let mut model = model();
    model.open(whole_zone(10, false));
    let own = OpenAllowance::new(2, 200 * SECOND, vec![removes(1)]);
    model.open(OpenAllowance { unit: Some(remove(1).unit), ..own });
    let inside = Request { mark: None, inside: EVERYWHERE, ..inside() };
    assert_eq!(outcome(&model.decide(&inside)), COVERED);
    assert_eq!(outcome(&model.decide(&inside)), BY_GLASS);
}
