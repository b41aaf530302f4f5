//! A zone that throttles: who is over budget goes on at the budget's rate.

use holdfast_abi::{HoldKey, Op, Reason, Verdict};
use holdfast_policy::decide::{Model, Request};

use crate::{ALLOWED, OPERATOR, Outcome, SECOND, outcome, remove, request};

const HOLD: HoldKey = HoldKey { unit: 5, zone: 0, user: 1_000 };
const PACED: Outcome = (Verdict::Throttle, Reason::Latched, false, Some(0));

fn model(budgets: &[&str]) -> Model {
    crate::model("mode = \"enforce\"\non_trip = \"throttle\"", budgets)
}

/// Whose one budget of 310 files in 31 seconds is spent, at 100 seconds.
fn tripped() -> Model {
    let mut model = model(&["per = \"unit\", files = 310, window = \"31s\""]);
    assert_eq!(outcome(&model.decide(&remove(310))), ALLOWED);
    let first = (Verdict::Throttle, Reason::Files, true, Some(0));
    assert_eq!(outcome(&model.decide(&remove(1))), first);
    model
}

fn at(seconds: u64) -> Request<'static> {
    Request { now: seconds * SECOND, ..remove(1) }
}

/// A throttled actor goes on by itself, at the rate of the budget.
#[test]
fn throttled_actor_keeps_budgets_rate() {
    let mut model = tripped();
    // A thread that was paused at the trip and tries again all the time.
    let went_on = |seconds| {
        let again = Request { held_since: Some(100 * SECOND), ..at(seconds) };
        (0..1_000).filter(|_| model.decide(&again).verdict == Verdict::Allow).count()
    };
    let each_second: Vec<usize> = (100..170).map(went_on).collect();
    assert!(each_second[..32].iter().all(|files| *files == 0), "{each_second:?}");
    // A 31st of the limit, as long as there is room.
    assert_eq!(each_second[32..63], [10; 31], "{each_second:?}");
    assert_eq!(each_second[32..64].iter().sum::<usize>(), 310);
}

#[test]
fn unlisted_op_is_not_throttled() {
    let budgets = ["per = \"unit\", ops = [\"remove\"], files = 1, window = \"31s\""];
    let mut model = model(&budgets);
    assert_eq!(outcome(&model.decide(&remove(1))), ALLOWED);
    assert_eq!(model.decide(&remove(1)).verdict, Verdict::Throttle);
    assert_eq!(outcome(&model.decide(&request(Op::Replace, OPERATOR, 9, 9))), ALLOWED);
    assert_eq!(outcome(&model.decide(&request(Op::Detach, OPERATOR, 0, 0))), ALLOWED);
    assert_eq!(outcome(&model.decide(&remove(1))), PACED);
}

/// An op that no window ever covers is denied.
#[test]
fn oversized_op_is_denied() {
    let mut model = model(&["per = \"unit\", files = 9, bytes = 1000, window = \"31s\""]);
    let large = |bytes| request(Op::Truncate, OPERATOR, 1, bytes);
    assert_eq!(model.decide(&large(1001)).verdict, Verdict::Deny);
    // That trips nobody: what was spent is not the reason.
    assert!(model.accounts.values().all(|account| account.trips == 0));
    assert_eq!(outcome(&model.decide(&large(1000))), ALLOWED);
}

#[test]
fn a_detach_is_denied() {
    let detach = request(Op::Detach, OPERATOR, 0, 0);
    let expected = (Verdict::Deny, Reason::UnknownCost, true, Some(0));
    assert_eq!(outcome(&tripped().decide(&detach)), expected);
}

/// A caller that cannot wait is denied; one that is paused already stays so.
#[test]
fn thread_unable_to_wait_is_denied() {
    let mut model = tripped();
    let kernel = Request { can_wait: false, ..remove(1) };
    assert_eq!(outcome(&model.decide(&kernel)), (Verdict::Deny, Reason::Latched, false, Some(0)));
    let paused = Request { held_since: Some(100 * SECOND), ..kernel };
    assert_eq!(outcome(&model.decide(&paused)), PACED);
}

/// What was released goes on at once, and an expired hold denies nothing.
#[test]
fn released_op_is_not_paced() {
    let mut model = tripped();
    model.release(&HOLD, 1, 200 * SECOND, 101 * SECOND);
    model.deny(&HOLD, 200 * SECOND);
    let released = model.decide(&at(102));
    assert_eq!(outcome(&released), (Verdict::Allow, Reason::None, false, Some(0)));
    assert_eq!(released.charge.released(), Some((HOLD, 1)));
    assert_eq!(outcome(&model.decide(&at(102))), PACED);
    model.give_back(&released.charge);
    assert_eq!(model.decide(&at(102)).verdict, Verdict::Allow);
}

#[test]
fn refusal_refunds_earlier_budgets() {
    let budgets = [
        "per = \"zone\", files = 100, window = \"1h\"",
        "per = \"unit\", files = 2, window = \"31s\"",
    ];
    let mut model = model(&budgets);
    assert_eq!(outcome(&model.decide(&remove(2))), ALLOWED);
    for _ in 0..200 {
        assert_eq!(model.decide(&remove(1)).budget, Some(1));
    }
    let mut files: Vec<u64> = model.accounts.values().map(|account| account.files).collect();
    files.sort_unstable();
    assert_eq!(files, [2, 2]);
}

/// It says what would have been refused, latch and all, and not when somebody would have gone on.
#[test]
fn observing_zone_paces_nobody() {
    let budget = "per = \"unit\", files = 310, window = \"31s\"";
    let mut model = crate::model("mode = \"observe\"\non_trip = \"throttle\"", &[budget]);
    let first = (Verdict::Observe, Reason::Files, true, Some(0));
    assert_eq!(outcome(&model.decide(&remove(310))), ALLOWED);
    assert_eq!(outcome(&model.decide(&remove(1))), first);
    let latched = (Verdict::Observe, Reason::Latched, false, Some(0));
    assert_eq!(outcome(&model.decide(&at(131))), latched);
    assert_eq!(outcome(&model.decide(&at(132))), ALLOWED);
}
