use std::num::NonZeroU64;

use holdfast_abi::{OnTrip, Release};
use serde_json::Value;
use tokio::sync::oneshot;

use super::super::message::{Action as A, Done, Event};
use super::super::state::tests::{guarded, words};
use super::*;
use crate::api::{Amount, Person, ReleaseReport};
use crate::holds::test_holds::{at, row, survey, thread};
use crate::holds::{DeadlySignal, Delivered, Thread};

/// A guarded state whose only zone pauses like this.
fn pausing(on_trip: OnTrip) -> State {
    let mut state = guarded();
    let zone = &mut state.plan.policy.zones[0];
    zone.on_trip = on_trip;
    zone.hold_timeout = Duration::from_secs(1800);
    zone.tell_terminal = true;
    let _ = state.handle(surveyed(vec![]), at(2));
    state
}

fn surveyed(threads: Vec<Thread>) -> Event {
    Event::HoldsSurveyed(Ok(survey(threads)), None)
}

/// A state that has one thread held since second 10.
fn held() -> State {
    let mut state = pausing(OnTrip::Hold);
    let actions = state.handle(surveyed(vec![thread(100, 10)]), at(10));
    assert_eq!(words(&actions), ["record", "log", "tell"]);
    state
}

fn person() -> Person {
    Person { uid: 0, pid: Some(4711), login_uid: Some(1000), comm: Some("holdfast".to_owned()) }
}

/// The records among these actions.
fn records(actions: &[Action]) -> Vec<Value> {
    let record = |action: &Action| match action {
        A::Record(record) => Some(serde_json::to_value(record).unwrap()),
        _ => None,
    };
    actions.iter().filter_map(record).collect()
}

/// Asks, and lets the survey that comes first find one thread held.
fn ask(state: &mut State, ask: Ask) -> (Vec<Action>, oneshot::Receiver<Answer>) {
    let (reply, answer) = oneshot::channel();
    let mut actions = state.handle(Event::Asked(ask, reply), at(20));
    let Some(A::SurveyHolds(asked)) = actions.pop() else { panic!("no survey first: {actions:?}") };
    let found = Ok(survey(vec![thread(100, 10)]));
    (state.handle(Event::HoldsSurveyed(found, asked), at(20)), answer)
}

/// Sends what is to be sent.
fn send(actions: Vec<Action>) {
    for action in actions {
        if let A::Send(reply, answer) = action {
            reply.send(answer).unwrap();
        }
    }
}

/// It is recorded, logged and told at the terminal.
#[test]
fn pause_is_reported_with_its_deadline() {
    let mut state = pausing(OnTrip::Hold);
    let actions = state.handle(surveyed(vec![thread(100, 10)]), at(10));
    let record = &records(&actions)[0];
    assert_eq!(
        (&record["type"], &record["hold"], &record["adopted"]),
        (&"hold".into(), &7.into(), &false.into())
    );
    assert_eq!(record["deadline"]["time_ns"], 1_810_000_000_000_u64);
    assert_eq!(
        (&record["event"]["verdict"], &record["zone"]),
        (&"hold".into(), &"customers".into())
    );
    assert_eq!(record["process"]["pid"], 100);
    assert!(record.get("time").is_none(), "the line has one already");
    let A::Log(Level::WARN, message) = &actions[1] else { panic!("no log") };
    assert!(
        message.contains("`holdfast hold show 7`") && message.contains(r"rm\x1b[2J (pid 100)"),
        "{message}"
    );
    assert!(!message.chars().any(char::is_control), "{message:?}");
    let A::Tell { text, .. } = &actions[2] else { panic!("nobody is told") };
    assert!(text.contains("holdfast hold release 7"), "{text}");
    let mut quiet = pausing(OnTrip::Hold);
    quiet.plan.policy.zones[0].tell_terminal = false;
    assert_eq!(words(&quiet.handle(surveyed(vec![thread(100, 10)]), at(10))), ["record", "log"]);
}

/// The answer says which processes went on.
#[test]
fn release_is_recorded_and_answered() {
    let mut state = held();
    let amount = Amount::Files(NonZeroU64::new(5).unwrap());
    let (mut actions, mut answer) =
        ask(&mut state, Ask::Release { id: 7, amount, person: person() });
    assert_eq!(words(&actions), ["decide"]);
    let Some(A::Decide(decide)) = actions.pop() else { panic!("no decision") };
    let until_ns = 1_820_000_000_000;
    assert_eq!(
        decide.decision,
        Decision::Release { files: 5, until_ns },
        "as long as a hold lasts"
    );
    let before = state.release_record(&decide, at(20)).unwrap();
    let record = serde_json::to_value(before).unwrap();
    assert_eq!(
        (&record["type"], &record["files"], &record["hold"]),
        (&"release".into(), &5.into(), &7.into()),
        "before anything is released"
    );
    assert_eq!(record["person"]["login_uid"], 1000);
    let continued = Delivered { to: vec![100], failed: vec![(101, "no".to_owned())] };
    let actions = state.handle(
        Event::HoldDecided(decide, Ok(Done { at_ns: 20_000_000_000, budgets: 0, continued })),
        at(20),
    );
    assert_eq!(words(&actions), ["record", "log", "send"]);
    let record = &records(&actions)[0];
    assert_eq!((&record["type"], &record["hold"]), (&"release_outcome".into(), &7.into()));
    assert_eq!(record["processes"], serde_json::json!([100]));
    send(actions);
    let Answer::Json(json) = answer.try_recv().unwrap() else { panic!("no answer") };
    let report: ReleaseReport = serde_json::from_str(&json).unwrap();
    assert_eq!((report.files, report.continued.as_slice()), (Some(5), [100].as_slice()));
    assert_eq!(report.failed[0].pid, 101);
    let released =
        Release { files: 5, until_ns, released_ns: 20_000_000_000, ..Release::default() };
    let after = Survey { threads: vec![], rows: vec![row(released, 1)] };
    let actions = state.handle(Event::HoldsSurveyed(Ok(after), None), at(21));
    assert_eq!(words(&actions), ["record", "log", "count"]);
    assert_eq!(records(&actions)[0]["outcome"], "released");
}

#[test]
fn reset_counts_its_budgets() {
    let mut state = held();
    let (mut actions, mut answer) =
        ask(&mut state, Ask::Release { id: 7, amount: Amount::BudgetReset, person: person() });
    let Some(A::Decide(decide)) = actions.pop() else { panic!("no decision") };
    let done = Done { budgets: 2, ..Done::default() };
    let actions = state.handle(Event::HoldDecided(decide, Ok(done)), at(20));
    let record = &records(&actions)[0];
    assert_eq!((&record["budgets_reset"], &record["type"]), (&2.into(), &"release_outcome".into()));
    send(actions);
    let Answer::Json(json) = answer.try_recv().unwrap() else { panic!("no answer") };
    assert!(json.contains("\"budgets_reset\":2"), "{json}");
}

#[test]
fn kill_is_recorded_with_its_outcome() {
    let mut state = held();
    let (mut actions, mut answer) =
        ask(&mut state, Ask::Kill { id: 7, signal: DeadlySignal::KILL, person: person() });
    assert_eq!(words(&actions), ["kill"]);
    let Some(A::Kill(kill)) = actions.pop() else { panic!("no kill") };
    let struck = Delivered { to: vec![100], failed: vec![] };
    let actions = state.handle(Event::HoldKilled(kill, Ok(struck)), at(20));
    assert_eq!(words(&actions), ["record", "log", "send"]);
    assert_eq!(records(&actions)[0]["signal"], "KILL");
    send(actions);
    assert!(matches!(
        answer.try_recv().unwrap(),
        Answer::Json(json) if json.contains("\"signalled\":[100]")
    ));
    let mut dead = thread(100, 10);
    dead.state = crate::holds::test_holds::OVER;
    let actions = state.handle(surveyed(vec![dead]), at(21));
    assert_eq!(words(&actions), ["record", "log", "count", "forget threads"]);
    assert_eq!(records(&actions)[0]["outcome"], "killed");
}

#[test]
fn missing_hold_error_lists_existing_holds() {
    let mut state = held();
    let amount = Amount::BudgetReset;
    for question in [
        Ask::Hold { id: 8 },
        Ask::Release { id: 8, amount, person: person() },
        Ask::Kill { id: 8, signal: DeadlySignal::KILL, person: person() },
    ] {
        let (actions, mut answer) = ask(&mut state, question);
        send(actions);
        let Answer::Error(Refusal::NotFound, message) = answer.try_recv().unwrap() else {
            panic!("no refusal")
        };
        assert!(message.contains("there is no hold 8: there is hold 7"), "{message}");
    }
    let (actions, _answer) = ask(&mut state, Ask::Hold { id: 7 });
    assert_eq!(words(&actions), ["collect"]);
    let (actions, _answer) = ask(&mut state, Ask::Holds);
    assert_eq!(words(&actions), ["collect"]);
}

/// Without a guard the agent does not say that nothing is held.
#[test]
fn missing_guard_claims_no_holds() {
    let mut state = State::new(crate::daemon::test_plan(), at(1));
    let (reply, _answer) = oneshot::channel();
    assert_eq!(words(&state.handle(Event::Asked(Ask::Holds, reply), at(1))), ["send"]);
    let (reply, _answer) = oneshot::channel();
    assert_eq!(words(&state.handle(Event::Asked(Ask::Hold { id: 7 }, reply), at(1))), ["send"]);
    assert_eq!(words(&state.handle(Event::CaughtUp, at(1))), [] as [&str; 0]);
}

#[test]
fn the_deadline_denies_and_records_it() {
    let mut state = held();
    let mut actions = state.handle(surveyed(vec![thread(100, 10)]), at(1810));
    assert_eq!(words(&actions), ["decide"]);
    let Some(A::Decide(decide)) = actions.pop() else { panic!("no decision") };
    assert_eq!(decide.decision, Decision::Deny { until_ns: 1_870_000_000_000 });
    let failed = Event::HoldDecided(decide, Err("no room".to_owned()));
    assert_eq!(words(&state.handle(failed, at(1810))), ["log"]);
    let mut actions = state.handle(surveyed(vec![thread(100, 10)]), at(1821));
    let Some(A::Decide(decide)) = actions.pop() else { panic!("it is not tried again") };
    let actions = state.handle(Event::HoldDecided(decide, Ok(Done::default())), at(1821));
    assert_eq!(words(&actions), ["record", "log"]);
    assert_eq!(records(&actions)[0]["type"], "expire");
}

#[test]
fn policy_without_pauses_retries_held_ops() {
    let mut state = held();
    state.plan.policy.zones[0].on_trip = OnTrip::Deny;
    let mut actions = state.handle(surveyed(vec![thread(100, 10)]), at(20));
    assert_eq!(words(&actions), ["decide"]);
    let Some(A::Decide(decide)) = actions.pop() else { panic!("no decision") };
    assert_eq!(decide.decision, Decision::Retry);
    let actions = state.handle(Event::HoldDecided(decide, Ok(Done::default())), at(20));
    assert_eq!(records(&actions)[0]["type"], "hold_retry");
}

/// The first brings one at once.
#[test]
fn pause_events_share_one_survey() {
    let mut state = pausing(OnTrip::Hold);
    let at_ms = |ms: u64| Now { boot_ns: ms * 1_000_000, wall_ns: 0 };
    let event = || {
        let raw = thread(100, 10).held.event;
        Event::Decided(Box::new(report::test_events::decided(raw)))
    };
    assert!(!state.wants_pace(at_ms(10_000)));
    let _ = state.handle(event(), at_ms(10_000));
    assert_eq!(words(&state.handle(Event::CaughtUp, at_ms(10_000))), ["holds"]);
    let _ = state.handle(surveyed(vec![]), at_ms(10_000));
    assert_eq!(words(&state.handle(Event::CaughtUp, at_ms(10_001))), [] as [&str; 0]);
    let _ = state.handle(event(), at_ms(10_010));
    assert_eq!(words(&state.handle(Event::CaughtUp, at_ms(10_010))), [] as [&str; 0], "just done");
    assert!(state.wants_pace(at_ms(10_010)), "soon");
    assert_eq!(words(&state.handle(Event::Pace, at_ms(10_110))), ["holds"]);
}

/// It is paced, too.
#[test]
fn throttled_process_is_recorded_once() {
    let mut state = pausing(OnTrip::Throttle);
    let throttled = |since| {
        let mut thread = thread(100, since);
        thread.held.event.verdict = abi::Verdict::Throttle as u8;
        thread
    };
    let actions = state.handle(surveyed(vec![throttled(10)]), at(10));
    assert_eq!(words(&actions), ["record", "log", "tell"]);
    assert_eq!(records(&actions)[0]["type"], "throttle");
    assert!(state.wants_pace(at(10)));
    assert_eq!(words(&state.handle(Event::Pace, at(10))), ["pace"]);
    assert_eq!(words(&state.handle(surveyed(vec![throttled(11)]), at(11))), [] as [&str; 0]);
}

#[test]
fn read_failure_is_logged_once() {
    let mut state = held();
    let failed = || Event::HoldsSurveyed(Err("no".to_owned()), None);
    assert_eq!(words(&state.handle(failed(), at(11))), ["log"]);
    assert_eq!(words(&state.handle(failed(), at(12))), [] as [&str; 0]);
    assert_eq!(words(&state.handle(surveyed(vec![thread(100, 10)]), at(13))), [] as [&str; 0]);
    assert_eq!(words(&state.handle(failed(), at(14))), ["log"]);
}

/// Whoever forks processes only to have them held and killed must not fill the disk with their
/// command lines.
#[test]
fn many_processes_shorten_their_records() {
    let mut state = pausing(OnTrip::Hold);
    let many = |first: u32, second| (first..first + 40).map(|tid| thread(tid, second)).collect();
    let actions = state.handle(surveyed(many(100, 10)), at(10));
    assert_eq!(records(&actions).len(), 40, "each is recorded");
    let mut reports = Reports::default();
    let took =
        |reports: &mut Reports, hold, now| (0..40).filter(|_| reports.take(hold, now)).count();
    assert_eq!(took(&mut reports, 7, at(10)), 16);
    assert_eq!(took(&mut reports, 8, at(10)), 16, "of each hold");
    assert_eq!(took(&mut reports, 7, Now { boot_ns: 10_999_999_999, ..at(10) }), 0);
    assert_eq!(took(&mut reports, 7, at(11)), 16, "a second later");
    assert_eq!(took(&mut reports, 9, at(20)), 16);
    assert_eq!(reports.since.len(), 1, "the others are forgotten");
}
