use holdfast_abi::{Account, Cost, Mode, OnTrip};
use holdfast_policy::Policy;
use serde_json::Value;
use tokio::sync::oneshot;

use super::super::message::{Action as A, Event};
use super::super::state::tests::{guarded, words};
use super::*;
use crate::api::{Person, ResetBody};
use crate::holds::test_holds::{at, row, survey, thread};

fn person() -> Person {
    Person { uid: 0, pid: Some(4711), login_uid: Some(1000), comm: Some("holdfast".to_owned()) }
}

fn resetting() -> (Resetting, oneshot::Receiver<Answer>) {
    let (reply, answer) = oneshot::channel();
    let (zone, actor) = ("customers".to_owned(), "unit:/a".to_owned());
    let body = ResetBody { zone, actor, reason: "restore 12".to_owned() };
    (Resetting { body, person: person(), reply }, answer)
}

fn reset(per: Per, id: u64) -> Box<Reset> {
    let report = ResetReport {
        zone: "customers".to_owned(),
        actor: Actor { id, name: "unit:/a".to_owned() },
        budgets: vec!["operators per unit, 10m".to_owned()],
    };
    Box::new(Reset { slot: 1, per: Some(per), report })
}

/// A state that has one thread of a unit held.
fn held() -> State {
    let mut state = guarded();
    state.plan.policy.zones[0].on_trip = OnTrip::Hold;
    let survey = survey(vec![thread(100, 10)]);
    let _ = state.handle(Event::HoldsSurveyed(Ok(survey), None), at(10));
    state
}

/// A reset is recorded, answered, and what it concerns among the held threads is decided anew.
#[test]
fn reset_retries_held_threads() {
    let key = row(holdfast_abi::Release::default(), 0).key;
    for (id, retried) in [(key.unit, true), (key.unit + 1, false)] {
        let mut state = held();
        let (resetting, mut answer) = resetting();
        let outcome = Ok(reset(Per::Unit, id));
        let actions = state.handle(Event::BudgetsReset(Box::new(resetting), outcome), at(20));
        let expected: &[&str] =
            if retried { &["record", "log", "decide", "send"] } else { &["record", "log", "send"] };
        assert_eq!(words(&actions), expected);
        for action in actions {
            match action {
                A::Record(record) => {
                    let record: Value = serde_json::to_value(record).unwrap();
                    assert_eq!(record["type"], "budget_reset");
                    assert_eq!(
                        (&record["outcome"], &record["zone"]),
                        (&"done".into(), &"customers".into())
                    );
                    assert_eq!(record["reason"], "restore 12");
                    assert_eq!(record["person"]["login_uid"], 1000);
                }
                A::Decide(decide) => assert_eq!(decide.decision, Decision::Retry),
                A::Send(reply, answer) => reply.send(answer).unwrap(),
                _ => {}
            }
        }
        assert!(
            matches!(answer.try_recv().unwrap(), Answer::Json(json) if json.contains("unit:/a"))
        );
    }
}

/// What cannot be reset is answered, and nothing else happens.
#[test]
fn refused_reset_changes_nothing() {
    let (resetting, mut answer) = resetting();
    let outcome = Err((Refusal::NotFound, "no account".to_owned()));
    let actions = held().handle(Event::BudgetsReset(Box::new(resetting), outcome), at(20));
    assert_eq!(words(&actions), ["send"]);
    for action in actions {
        if let A::Send(reply, answer) = action {
            reply.send(answer).unwrap();
        }
    }
    let answer = answer.try_recv().unwrap();
    assert!(matches!(answer, Answer::Error(Refusal::NotFound, text) if text == "no account"));
}

/// An actor is found by name and by number; an error lists those that have used up a budget.
#[test]
fn wrong_actor_lists_the_others() {
    let budget = |per| format!("[[zone.budget]]\nper = \"{per}\"\nfiles = 10\nwindow = \"10m\"\n");
    let head =
        "[[zone]]\nname = \"z\"\nrole = \"primary\"\npaths = [\"/srv/z\"]\nmode = \"enforce\"\n";
    let text = [head, &budget("unit"), &budget("user"), &budget("zone")].concat();
    let policy = Policy::parse("test", &text).unwrap();
    let zone = &policy.zones[0];
    let now = at(1000);
    let account = |per: Per, actor: u64, files: u64| {
        let budget = zone.budgets.iter().find(|budget| budget.per == per).unwrap();
        let conf = budget.conf(zone);
        let mut account = Account::new();
        let cost = Cost { files, bytes: 0, tenant: 0 };
        let _ = account.window.charge(&conf.limit, now.boot_ns, Mode::Enforce as u32, &cost, None);
        (AccountKey { budget: conf.id, actor }, account)
    };
    let ledger = Ledger::from_iter(vec![
        account(Per::Unit, 5, 10),
        account(Per::Unit, 6, 1),
        account(Per::User, 5, 3),
        account(Per::Zone, 0, 10),
    ]);
    let mut names = Names {
        unit: &mut |unit, _| (unit == 5).then(|| "/a".to_owned()),
        user: &|_| Some("bob".to_owned()),
    };
    let mut found = |asked: &str| {
        find(zone, &ledger, asked, now, &mut names).map(|named| (named.per, named.id))
    };
    for (asked, per, id) in [
        ("unit:/a", Per::Unit, 5),
        ("unit:5", Per::Unit, 5),
        ("unit:6", Per::Unit, 6),
        ("user:bob", Per::User, 5),
        ("user:5", Per::User, 5),
        ("zone", Per::Zone, 0),
    ] {
        assert_eq!(found(asked), Ok((Some(per), id)), "{asked}");
    }
    for asked in ["unit:/b", "user:6", "/a", "everyone", "zone:0", "\u{1b}[2J"] {
        let error = found(asked).unwrap_err();
        assert!(error.contains("are used up by `unit:/a`, `zone`\n"), "{error}");
        assert!(error.contains("help: ") && !error.contains('\u{1b}'), "{error}");
    }
}
