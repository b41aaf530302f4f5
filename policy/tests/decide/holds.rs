//! A zone that holds: who is paused, and what a decision lets go on.

use holdfast_abi::{HoldKey, Mode, OnTrip, Op, Reason, Verdict};
use holdfast_policy::decide::{Model, Request};

use crate::{ALLOWED, OPERATOR, Outcome, SECOND, outcome, remove, request};

/// The hold of [`remove`]'s caller.
const HOLD: HoldKey = HoldKey { unit: 5, zone: 0, user: 1_000 };

const HELD_FIRST: Outcome = (Verdict::Hold, Reason::Files, true, Some(0));
const HELD: Outcome = (Verdict::Hold, Reason::Latched, false, Some(0));
const STILL_HELD: Outcome = (Verdict::Hold, Reason::Latched, false, None);
const EXPIRED: Outcome = (Verdict::Deny, Reason::Expired, false, Some(0));
/// A release let it go on, beyond budget 0.
const RELEASED: Outcome = (Verdict::Allow, Reason::None, false, Some(0));

fn model(budgets: &[&str]) -> Model {
    crate::model("mode = \"enforce\"\non_trip = \"hold\"", budgets)
}

/// Whose one budget of two files is spent, at 100 seconds.
fn tripped() -> Model {
    let mut model = model(&["per = \"unit\", files = 2, window = \"31s\""]);
    assert_eq!(outcome(&model.decide(&remove(2))), ALLOWED);
    assert_eq!(outcome(&model.decide(&remove(1))), HELD_FIRST);
    model
}

fn at(seconds: u64) -> Request<'static> {
    Request { now: seconds * SECOND, ..remove(1) }
}

/// A thread that was paused at `since` tries again.
fn again(since: u64, seconds: u64) -> Request<'static> {
    Request { held_since: Some(since * SECOND), ..at(seconds) }
}

fn release(model: &mut Model, files: u64, until: u64, now: u64) {
    model.release(&HOLD, files, until * SECOND, now * SECOND);
}

#[test]
fn zone_decides_ops_over_budget() {
    for (on_trip, verdict) in [
        (OnTrip::Deny, Verdict::Deny),
        (OnTrip::Hold, Verdict::Hold),
        (OnTrip::Throttle, Verdict::Throttle),
    ] {
        let budget = "per = \"unit\", files = 2, window = \"31s\"";
        let zone = format!("mode = \"enforce\"\non_trip = \"{}\"", on_trip.word());
        let mut model = crate::model(&zone, &[budget]);
        assert_eq!(outcome(&model.decide(&remove(2))), ALLOWED);
        assert_eq!(outcome(&model.decide(&remove(1))), (verdict, Reason::Files, true, Some(0)));
        assert_eq!(outcome(&model.decide(&remove(1))), (verdict, Reason::Latched, false, Some(0)));
        // Until it enforces, none of that happens.
        model.policy.zones[0].mode = Mode::Observe;
        assert_eq!(model.decide(&remove(1)).verdict, Verdict::Observe);
    }
}

/// An op of unknown cost is denied, also in a zone that holds.
#[test]
fn unknown_cost_is_always_denied() {
    let detach = request(Op::Detach, OPERATOR, 0, 0);
    let mut model = model(&["per = \"unit\", files = 2, window = \"31s\""]);
    release(&mut model, 1_000, 200, 100);
    let expected = (Verdict::Deny, Reason::UnknownCost, true, Some(0));
    assert_eq!(outcome(&model.decide(&detach)), expected);
    assert_eq!(outcome(&model.decide(&remove(2))), ALLOWED);
    assert_eq!(outcome(&model.decide(&remove(1))), (Verdict::Allow, Reason::None, true, Some(0)));
    assert_eq!(outcome(&model.decide(&detach)), (Verdict::Deny, Reason::Latched, false, Some(0)));
    let held = Request { held_since: Some(101 * SECOND), ..detach };
    assert_eq!(outcome(&model.decide(&held)), (Verdict::Deny, Reason::Latched, false, None));
}

/// A caller that cannot wait is denied; one that is held already stays held.
#[test]
fn thread_unable_to_wait_is_denied() {
    let mut model = tripped();
    let kernel = Request { can_wait: false, ..remove(1) };
    let denied = (Verdict::Deny, Reason::Latched, false, Some(0));
    assert_eq!(outcome(&model.decide(&kernel)), denied);
    assert_eq!(outcome(&model.decide(&Request { can_wait: false, ..again(100, 101) })), STILL_HELD);
    // The agent has gone since somebody decided: the thread is asked again, and stays.
    release(&mut model, 0, 0, 102);
    assert_eq!(outcome(&model.decide(&Request { can_wait: false, ..again(100, 103) })), HELD);
    // Nobody has to wait for what was released.
    release(&mut model, 1, 200, 104);
    assert_eq!(outcome(&model.decide(&Request { can_wait: false, ..at(105) })), RELEASED);
}

/// A held thread waits for a decision, and not for the window to drain.
#[test]
fn held_thread_waits_for_a_decision() {
    let mut model = tripped();
    let spent = model.accounts.clone();
    for seconds in [101, 131, 132, 133, 1_000, 100_000] {
        assert_eq!(outcome(&model.decide(&again(100, seconds))), STILL_HELD);
    }
    assert_eq!(model.accounts, spent, "no budget was asked");
    // Somebody else of the same actor has the drained window to spend.
    assert_eq!(outcome(&model.decide(&at(100_001))), ALLOWED);
    release(&mut model, 0, 0, 100_002);
    assert_eq!(outcome(&model.decide(&again(100, 100_003))), ALLOWED);
}

/// A decision counts for the threads held before it, and for no later ones.
#[test]
fn decision_covers_earlier_holds() {
    let mut model = tripped();
    release(&mut model, 1, 200, 110);
    assert_eq!(outcome(&model.decide(&again(110, 111))), RELEASED, "held at that very moment");
    assert_eq!(outcome(&model.decide(&again(100, 111))), HELD, "asked again: it is held anew");
    // Long after, when the window has drained: the decision was taken before this one was held.
    assert_eq!(outcome(&model.decide(&again(111, 300))), STILL_HELD);
}

#[test]
fn release_charges_no_budget() {
    let budgets = [
        "per = \"zone\", files = 100, window = \"1h\"",
        "per = \"unit\", files = 2, window = \"31s\"",
    ];
    let mut model = model(&budgets);
    assert_eq!(outcome(&model.decide(&remove(2))), ALLOWED);
    assert_eq!(model.decide(&remove(1)).verdict, Verdict::Hold);
    let spent = model.accounts.clone();
    release(&mut model, 3, 200, 110);
    for _ in 0..3 {
        let released = model.decide(&at(111));
        assert_eq!(outcome(&released), (Verdict::Allow, Reason::None, false, Some(1)));
        assert_eq!(released.charge.accounts().count(), 0);
        assert_eq!(released.charge.released(), Some((HOLD, 1)));
    }
    assert_eq!(model.decide(&at(111)).verdict, Verdict::Hold);
    let files = |model: &Model| {
        let mut files: Vec<_> =
            model.accounts.iter().map(|(key, account)| (key.budget, account.files)).collect();
        files.sort_unstable();
        files
    };
    let before = Model { accounts: spent, ..model.clone() };
    assert_eq!(files(&model), files(&before));
}

#[test]
fn release_covers_op_that_trips() {
    let mut model = model(&["per = \"unit\", files = 2, window = \"31s\""]);
    release(&mut model, 2, 200, 100);
    assert_eq!(outcome(&model.decide(&remove(1))), ALLOWED);
    assert_eq!(outcome(&model.decide(&remove(2))), (Verdict::Allow, Reason::None, true, Some(0)));
    assert_eq!(outcome(&model.decide(&remove(1))), HELD);
}

/// An op takes all that it needs from a release, or nothing.
#[test]
fn op_takes_all_or_nothing() {
    let mut model = tripped();
    release(&mut model, 3, 200, 110);
    let of = |files| Request { now: 111 * SECOND, ..remove(files) };
    assert_eq!(outcome(&model.decide(&of(4))), HELD);
    assert_eq!(outcome(&model.decide(&of(u64::MAX))), HELD);
    assert_eq!(outcome(&model.decide(&of(2))), RELEASED);
    assert_eq!(outcome(&model.decide(&of(2))), HELD);
    let truncation = Request { now: 111 * SECOND, ..request(Op::Truncate, OPERATOR, 0, 9) };
    assert_eq!(outcome(&model.decide(&truncation)), RELEASED, "it counts as one file");
    assert_eq!(outcome(&model.decide(&truncation)), HELD);
}

/// A release ends in time; what is left of one that has not ended stays valid.
#[test]
fn release_ends_in_time() {
    let mut model = tripped();
    release(&mut model, 2, 120, 110);
    assert_eq!(outcome(&model.decide(&at(111))), RELEASED);
    // One is left; two more, and the longer time of the two.
    release(&mut model, 2, 115, 112);
    for _ in 0..2 {
        assert_eq!(outcome(&model.decide(&at(119))), RELEASED);
    }
    assert_eq!(outcome(&model.decide(&at(120))), HELD, "its time is over");
    // The one that was left then does not come back.
    release(&mut model, 1, 130, 121);
    assert_eq!(outcome(&model.decide(&at(122))), RELEASED);
    assert_eq!(outcome(&model.decide(&at(122))), HELD);
}

#[test]
fn failed_op_refills_the_release() {
    let mut model = tripped();
    release(&mut model, 2, 200, 110);
    for _ in 0..50 {
        let released = model.decide(&Request { now: 111 * SECOND, ..remove(2) });
        assert_eq!(outcome(&released), RELEASED);
        model.give_back(&released.charge);
    }
}

#[test]
fn hold_has_zone_unit_and_user() {
    let mut model = model(&["per = \"zone\", files = 2, window = \"31s\""]);
    assert_eq!(outcome(&model.decide(&remove(2))), ALLOWED);
    assert_eq!(model.decide(&remove(1)).verdict, Verdict::Hold);
    release(&mut model, 9, 200, 110);
    for other in [Request { unit: 6, ..at(111) }, Request { user: 0, ..at(111) }] {
        assert_eq!(outcome(&model.decide(&other)), HELD);
    }
    assert_eq!(remove(1).hold_key(), HOLD);
    assert_eq!(outcome(&model.decide(&at(111))), RELEASED);
}

/// An expired hold is denied until that ends or a person releases it.
#[test]
fn expired_hold_is_denied() {
    let mut model = tripped();
    release(&mut model, 9, 200, 105);
    model.deny(&HOLD, 120 * SECOND);
    assert_eq!(outcome(&model.decide(&at(110))), EXPIRED, "also where something is released");
    let held = (Verdict::Deny, Reason::Expired, false, None);
    assert_eq!(outcome(&model.decide(&again(106, 119))), held);
    // What destroys nothing is denied to nobody, nor is what a budget covers.
    assert_eq!(outcome(&model.decide(&Request { now: 110 * SECOND, ..remove(0) })), ALLOWED);
    assert_eq!(outcome(&model.decide(&Request { unit: 6, ..at(110) })), ALLOWED);
    assert_eq!(outcome(&model.decide(&at(120))), RELEASED);

    model.deny(&HOLD, 1_000 * SECOND);
    assert_eq!(outcome(&model.decide(&at(121))), EXPIRED);
    release(&mut model, 1, 200, 122);
    assert_eq!(outcome(&model.decide(&at(123))), RELEASED);
}

/// The first op over a budget trips it, also where it is denied at once.
#[test]
fn denied_op_still_trips() {
    let mut model = model(&["per = \"unit\", files = 2, window = \"31s\""]);
    model.deny(&HOLD, 200 * SECOND);
    assert_eq!(outcome(&model.decide(&remove(2))), ALLOWED);
    let expired = (Verdict::Deny, Reason::Expired, true, Some(0));
    assert_eq!(outcome(&model.decide(&remove(1))), expired);
}

/// A reset clears the budgets that the actor tripped, and no others.
#[test]
fn reset_clears_only_tripped_budgets() {
    let budgets = [
        "per = \"user\", files = 100, window = \"1h\"",
        "per = \"unit\", files = 2, window = \"1h\"",
        "per = \"zone\", bytes = 100, window = \"1h\"",
    ];
    let mut model = model(&budgets);
    assert_eq!(outcome(&model.decide(&remove(2))), ALLOWED);
    let other = Request { unit: 6, ..remove(2) };
    assert_eq!(outcome(&model.decide(&other)), ALLOWED);
    for request in [remove(1), Request { unit: 6, ..remove(1) }] {
        assert_eq!(outcome(&model.decide(&request)), (Verdict::Hold, Reason::Files, true, Some(1)));
    }
    let bytes = request(Op::Truncate, OPERATOR, 0, 51);
    let third = Request { unit: 7, ..bytes };
    assert_eq!(outcome(&model.decide(&third)), ALLOWED);
    assert_eq!(outcome(&model.decide(&third)), (Verdict::Hold, Reason::Bytes, true, Some(2)));

    model.reset(&HOLD, 110 * SECOND);
    assert_eq!(outcome(&model.decide(&again(100, 111))), ALLOWED);
    assert_eq!(
        outcome(&model.decide(&Request { unit: 7, now: 111 * SECOND, ..bytes })),
        ALLOWED,
        "the zone's budget had tripped the actor too"
    );
    let other = Request { unit: 6, ..at(111) };
    let latched = (Verdict::Hold, Reason::Latched, false, Some(1));
    assert_eq!(outcome(&model.decide(&other)), latched, "another unit's own budget");
    let user: Vec<_> = model.accounts.values().map(|account| account.files).collect();
    assert!(user.contains(&5), "the user's budget latched nobody and keeps its 4 files: {user:?}");
}

/// A reset ends a denial, and keeps what is released.
#[test]
fn reset_keeps_the_release() {
    let mut model = tripped();
    release(&mut model, 1, 200, 101);
    model.deny(&HOLD, 1_000 * SECOND);
    model.reset(&HOLD, 110 * SECOND);
    let two = Request { now: 111 * SECOND, ..remove(2) };
    assert_eq!(outcome(&model.decide(&two)), ALLOWED);
    assert_eq!(outcome(&model.decide(&at(111))), (Verdict::Allow, Reason::None, true, Some(0)));
    assert_eq!(outcome(&model.decide(&at(111))), HELD);
}

/// An op under way was charged before a reset, and failed after it: what it gave back was taken
/// from what had been spent since, and more than the budget could go.
#[test]
fn reset_voids_earlier_charges() {
    let mut model = model(&["per = \"unit\", files = 2, tenants = 1, window = \"31s\""]);
    let old = model.decide(&remove(2));
    assert_eq!(model.decide(&remove(1)).verdict, Verdict::Hold);
    model.reset(&HOLD, 100 * SECOND);
    for _ in 0..2 {
        assert_eq!(outcome(&model.decide(&remove(1))), ALLOWED);
    }
    let before = model.accounts.clone();
    model.give_back(&old.charge);
    assert_eq!(model.accounts, before);
    assert_eq!(outcome(&model.decide(&remove(1))), HELD_FIRST);
}

/// If a zone no longer holds, it decides held threads as it decides all others.
#[test]
fn changed_zone_decides_held_threads() {
    let mut model = tripped();
    for (mode, on_trip, verdict) in [
        (Mode::Observe, OnTrip::Hold, Verdict::Observe),
        (Mode::Enforce, OnTrip::Deny, Verdict::Deny),
        (Mode::Enforce, OnTrip::Throttle, Verdict::Throttle),
    ] {
        model.policy.zones[0].mode = mode;
        model.policy.zones[0].on_trip = on_trip;
        assert_eq!(
            outcome(&model.decide(&again(100, 101))),
            (verdict, Reason::Latched, false, Some(0))
        );
    }
}
