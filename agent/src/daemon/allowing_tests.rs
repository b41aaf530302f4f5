use holdfast_policy::OpSet;
use holdfast_policy::allowance::{Bind, BoundCommand, Hosts};
use serde_json::Value;
use tokio::sync::oneshot;

use super::super::message::{Action as A, Event};
use super::super::state::tests::{guarded, words};
use super::*;
use crate::allowances::{Bound, Loaded, Revoked, test_entries};
use crate::api::{AllowanceReport, RunBody, UserRef};
use crate::daemon::message::Ask;

fn at(seconds: u64) -> Now {
    Now { boot_ns: seconds * 1_000_000_000, wall_ns: seconds as i64 * 1_000_000_000 }
}

/// A guarded state that remembers these.
fn remembering(entries: Vec<Entry>) -> State {
    let mut state = guarded();
    let loaded = Loaded { entries, ..Loaded::default() };
    let loaded = Box::new((loaded, "boot".to_owned()));
    assert_eq!(words(&state.handle(Event::AllowancesLoaded(Ok(loaded)), at(1))), [] as [&str; 0]);
    state
}

fn allowance(id: &str, bind: Bind) -> Allowance {
    let zone = guarded().plan.policy.zones[0].name.clone();
    Allowance {
        id: id.to_owned(),
        reason: "move the archive".to_owned(),
        requested_by: "carol@example.com".to_owned(),
        hosts: Hosts::Any,
        not_before: 0,
        not_after: 3610,
        grants: vec![Grant {
            zone,
            subtrees: vec![holdfast_policy::PathPattern::parse("/srv/customers/a").unwrap()],
            ops: OpSet::GUARDED,
            files: 100,
            bytes: 1000,
            tenants: 2,
        }],
        bind,
        rehearsal: None,
    }
}

fn for_user() -> Bind {
    Bind { user: Some("alice".to_owned()), ..Bind::default() }
}

fn submission(run: bool) -> (Submission, oneshot::Receiver<Answer>) {
    let (reply, answer) = oneshot::channel();
    let run = run.then(|| RunBody {
        executable: "/usr/bin/clean".to_owned(),
        argv: vec!["clean".to_owned()],
        directory: "/".to_owned(),
    });
    let body = SubmitBody {
        path: "a.toml".to_owned(),
        document: "id = ".to_owned(),
        signatures: vec![],
        run,
    };
    let submission = Submission {
        body,
        person: test_entries::person(),
        digest: "d".repeat(64),
        id: Some("a".to_owned()),
        signers: test_entries::entry("a").signers,
        reply,
    };
    (submission, answer)
}

fn records(actions: &[Action]) -> Vec<Value> {
    let record = |action: &Action| match action {
        A::Record(record) => Some(serde_json::to_value(record).unwrap()),
        _ => None,
    };
    actions.iter().filter_map(record).collect()
}

fn send(actions: Vec<Action>) {
    for action in actions {
        if let A::Send(reply, answer) = action {
            reply.send(answer).unwrap();
        }
    }
}

fn refused(answer: &mut oneshot::Receiver<Answer>) -> RefusedReport {
    match answer.try_recv() {
        Ok(Answer::Refused(report)) => report,
        other => panic!("no refusal: {other:?}"),
    }
}

fn reason<T>(outcome: Result<T, Refused>) -> Option<RefusedReason> {
    outcome.err().map(|refused| refused.reason)
}

#[test]
fn submission_is_recorded_before_any_check() {
    let mut state = remembering(vec![]);
    let (submission, _answer) = submission(true);
    let (reply, _) = oneshot::channel();
    let body = Box::new(submission.body);
    let person = test_entries::person();
    let actions = state.handle(Event::Asked(Ask::SubmitAllowance { body, person }, reply), at(5));
    assert_eq!(words(&actions), ["record", "trust"]);
    let record = &records(&actions)[0];
    assert_eq!(record["type"], "allowance_submit");
    assert_eq!(record["command"], "/usr/bin/clean");
    assert_eq!(record["person"]["login_uid"], 1000);
    // The SHA-256 of `id = `, with no look at what it means.
    assert_eq!(record["digest"].as_str().unwrap().len(), 64);
    assert!(record["id"].is_null() && record.get("time").is_none());
}

#[test]
fn submission_record_is_bounded() {
    let mut state = remembering(vec![]);
    let (submission, _answer) = submission(true);
    let (reply, _) = oneshot::channel();
    let long = "x".repeat(1 << 20);
    let mut body = Box::new(submission.body);
    let file = crate::api::SignatureBody { name: long.clone(), text: String::new() };
    (body.path, body.signatures) = (long.clone(), vec![file; 1000]);
    body.run.as_mut().unwrap().executable = long;
    let person = test_entries::person();
    let actions = state.handle(Event::Asked(Ask::SubmitAllowance { body, person }, reply), at(5));
    let record = records(&actions)[0].to_string();
    assert!(record.len() < 40_000, "{} bytes", record.len());
}

#[test]
fn refusal_is_recorded_counted_logged_answered() {
    let mut state = remembering(vec![]);
    let (submission, mut answer) = submission(false);
    let outcome = Err(Refused::new(RefusedReason::SignersUnreadable, "no\x1b[2J file", "make it"));
    let actions = state.handle(Event::TrustRead(Box::new(submission), outcome), at(5));
    assert_eq!(words(&actions), ["record", "count allowance", "log", "send"]);
    let record = &records(&actions)[0];
    assert_eq!((&record["type"], &record["id"]), (&"allowance_refuse".into(), &"a".into()));
    assert_eq!(record["reason"], "signers_unreadable");
    assert_eq!(record["signers"][0]["person"], "alice@example.com");
    let A::CountAllowance(AllowanceCount::Refused(counted)) = &actions[1] else {
        panic!("not counted")
    };
    assert_eq!(*counted, RefusedReason::SignersUnreadable);
    let A::Log(Level::WARN, message) = &actions[2] else { panic!("no log") };
    assert!(!message.chars().any(char::is_control), "{message:?}");
    send(actions);
    let report = refused(&mut answer);
    assert_eq!(report.reason, "signers_unreadable");
    assert!(report.error.contains("help: make it"), "{report:?}");
}

/// This is the moment at which a fleet-wide script meets a host it was never meant for.
#[test]
fn other_host_allowance_logs_critical() {
    let (submission, _answer) = submission(false);
    let actions =
        refuse(submission, Refused::new(RefusedReason::OtherHost, "it is for web-1", "stop"));
    let A::Log(Level::ERROR, message) = &actions[2] else { panic!("no error") };
    let expected = "CRITICAL: a valid allowance of another host was presented here: a";
    assert!(message.starts_with(expected), "{message}");
    assert_eq!(records(&actions)[0]["reason"], "other_host");
}

#[test]
fn each_refusal_has_its_reason() {
    let allowed = |state: &State, allowance: &Allowance, run: bool, now: Now| {
        reason(state.allowed(&submission(run).0, allowance, now))
    };
    let state = remembering(vec![test_entries::entry("used")]);
    let good = allowance("new", for_user());
    assert_eq!(allowed(&state, &good, false, at(20)), None);
    assert_eq!(allowed(&state, &good, true, at(20)), None);
    let used = allowance("used", for_user());
    assert_eq!(allowed(&state, &used, false, at(20)), Some(RefusedReason::AlreadyUsed));
    assert_eq!(allowed(&state, &good, false, at(3610)), Some(RefusedReason::Expired));
    let unbound = allowance("new", Bind::default());
    assert_eq!(allowed(&state, &unbound, false, at(20)), Some(RefusedReason::Unbound));
    assert_eq!(allowed(&state, &unbound, true, at(20)), None, "its process tree");
    let command = BoundCommand { path: "/x".to_owned(), sha256: "0".repeat(64), script: None };
    let bound = allowance("new", Bind { command: Some(command), ..for_user() });
    assert_eq!(allowed(&state, &bound, false, at(20)), Some(RefusedReason::Unbound));
    assert_eq!(allowed(&guarded(), &good, false, at(20)), Some(RefusedReason::StateUnreadable));
    let mut idle = remembering(vec![]);
    idle.guarding.in_force = false;
    assert_eq!(allowed(&idle, &good, false, at(20)), Some(RefusedReason::NoGuard));
    let mut idle = remembering(vec![]);
    idle.allowances.revoke(Revoked { id: "new".to_owned(), at_ns: 0, by: test_entries::person() });
    assert_eq!(allowed(&idle, &good, false, at(20)), Some(RefusedReason::Revoked));
    let floor = crate::allowances::Floor {
        wall_ns: 2_000_000_000_000,
        boot_ns: 0,
        boot_id: "before".to_owned(),
    };
    let loaded = Loaded { clock: Some(floor), ..Loaded::default() };
    let _ = idle.allowances.load(loaded, "boot".to_owned(), at(20));
    assert_eq!(allowed(&idle, &good, false, at(20)), Some(RefusedReason::ClockSetBack));
    let refused = |reason| idle.or_the_clock(Refused::new(reason, "", ""), at(20)).reason;
    assert_eq!(refused(RefusedReason::NotYetValid), RefusedReason::ClockSetBack);
    assert_eq!(refused(RefusedReason::OtherHost), RefusedReason::OtherHost, "whatever the time is");
    let right = Now { wall_ns: 2_000_020_000_000_000 / 1000, ..at(20) };
    let expired = Refused::new(RefusedReason::Expired, "", "");
    assert_eq!(idle.or_the_clock(expired, right).reason, RefusedReason::Expired);
}

/// The answer says what it grants.
#[test]
fn valid_allowance_opens() {
    let mut state = remembering(vec![]);
    let (submission, mut answer) = submission(false);
    let checked = Checked { allowance: allowance("a", for_user()), signers: vec![] };
    let judged = Box::new(Judged { submission, checked, policy: state.plan.origin.clone() });
    let bound = Bound { user: Some(UserRef { uid: 1000, name: None }), ..Bound::default() };
    let resolved = Resolved { bound, places: vec![vec![holdfast_abi::Learned::default(); 3]] };
    let mut actions = state.handle(Event::AllowanceResolved(judged, Ok(resolved)), at(10));
    assert_eq!(words(&actions), ["open"]);
    let Some(A::OpenAllowance(opening)) = actions.pop() else { panic!("not opened") };
    assert_eq!(opening.entry.grants[0].places, 3);
    assert_eq!(
        (opening.ops.as_slice(), opening.places[0].len()),
        ([OpSet::GUARDED.mask()].as_slice(), 3)
    );
    assert!(state.allowances.get("a").is_none(), "not before the kernel has it");
    let entry = Entry { until_ns: 3_610_000_000_000, serial: 77, ..opening.entry.clone() };
    let actions = state.handle(Event::AllowanceOpened(opening, Ok(Box::new(entry))), at(10));
    assert_eq!(words(&actions), ["count allowance", "log", "send"]);
    send(actions);
    let Answer::Json(json) = answer.try_recv().unwrap() else { panic!("no answer") };
    let report: AllowanceReport = serde_json::from_str(&json).unwrap();
    assert_eq!((report.state.as_str(), report.seconds_left), ("open", Some(3600)));
    assert_eq!(state.allowances.id_of(77), Some("a"));
}

/// While the host was looked at the loop went on.
#[test]
fn state_is_rechecked_before_opening() {
    let user = UserRef { uid: 1000, name: None };
    let bound = Bound { user: Some(user), ..Bound::default() };
    let resolved = |state: &mut State, seconds| {
        let (submission, answer) = submission(false);
        let checked = Checked { allowance: allowance("a", for_user()), signers: vec![] };
        let judged = Judged { submission, checked, policy: state.plan.origin.clone() };
        let places = vec![vec![holdfast_abi::Learned::default()]];
        let resolved = Resolved { bound: bound.clone(), places };
        (Event::AllowanceResolved(Box::new(judged), Ok(resolved)), answer, at(seconds))
    };
    let refusal = |state: &mut State, (event, mut answer, now): (Event, _, Now)| {
        send(state.handle(event, now));
        refused(&mut answer).reason
    };
    let mut state = remembering(vec![]);
    let late = resolved(&mut state, 3610);
    assert_eq!(refusal(&mut state, late), "expired");
    let twice = resolved(&mut state, 10);
    state.allowances.put(Entry { state: closed(), ..test_entries::entry("a") });
    assert_eq!(refusal(&mut state, twice), "already_used");
    let mut state = remembering(vec![]);
    let taken = resolved(&mut state, 10);
    state.allowances.put(test_entries::entry("other"));
    assert_eq!(refusal(&mut state, taken), "bind_taken");
    // Another policy may trust other people.
    let mut state = remembering(vec![]);
    let (event, _answer, now) = resolved(&mut state, 10);
    state.plan.origin.sha256 = "1".repeat(64);
    assert_eq!(words(&state.handle(event, now)), ["trust"]);
}

fn closed() -> EntryState {
    EntryState::Closed { at_ns: 0, why: Why::Finished, by: None }
}

/// The files of its command are looked at aside of the loop, and somebody else can ask in the
/// meantime.
#[test]
fn one_of_two_joins() {
    let mut entry = test_entries::tree("t");
    let wanted = crate::allowances::Wanted {
        path: "/usr/bin/clean".to_owned(),
        sha256: "0".repeat(64),
        script: None,
    };
    entry.bound.tree.as_mut().unwrap().wanted = Some(wanted);
    let mut state = remembering(vec![entry]);
    let checked = |state: &mut State| {
        let (mut actions, answer) = join(state, "t");
        assert_eq!(words(&actions), ["check command"]);
        let Some(A::CheckCommand(joining)) = actions.pop() else { panic!("not looked at") };
        (joining, answer)
    };
    let ((first, _one), (second, mut answer)) = (checked(&mut state), checked(&mut state));
    let (third, mut changed) = checked(&mut state);
    let mut actions = state.handle(Event::CommandChecked(first, Ok(())), at(12));
    let Some(A::Join(first)) = actions.pop() else { panic!("no join") };
    let process = ProcessId { pid: 701, start_ticks: 1001 };
    let _ = state.handle(Event::AllowanceJoined(first, Ok(process)), at(12));
    send(state.handle(Event::CommandChecked(second, Ok(())), at(12)));
    assert_eq!(refused(&mut answer).reason, "wrong_process");
    let refusal = Refused::new(RefusedReason::WrongScript, "changed", "sign it");
    send(state.handle(Event::CommandChecked(third, Err(refusal)), at(12)));
    assert_eq!(refused(&mut changed).reason, "wrong_script");
}

#[test]
fn kernel_refusal_allows_another_submission() {
    let mut state = remembering(vec![]);
    let (submission, mut answer) = submission(false);
    let entry = Entry { serial: 0, ..test_entries::entry("a") };
    let failed =
        Entry { state: EntryState::Failed { error: "no room".to_owned() }, ..entry.clone() };
    let opening = Opening { submission, entry, ops: vec![], places: vec![], forget: vec![] };
    let why = Refused::new(RefusedReason::NoGuard, "no room", "later");
    let outcome = Err((why, Some(Box::new(failed))));
    let actions = state.handle(Event::AllowanceOpened(Box::new(opening), outcome), at(10));
    assert_eq!(words(&actions), ["record", "count allowance", "log", "send"]);
    send(actions);
    assert_eq!(refused(&mut answer).reason, "no_guard");
    let again = allowance("a", for_user());
    assert!(state.allowances.admit(&again, "x", at(11)).is_ok());
}

fn join(state: &mut State, id: &str) -> (Vec<Action>, oneshot::Receiver<Answer>) {
    let (reply, answer) = oneshot::channel();
    let ask = Ask::JoinAllowance { id: id.to_owned(), person: test_entries::person() };
    (state.handle(Event::Asked(ask, reply), at(12)), answer)
}

#[test]
fn a_tree_is_joined_once() {
    let mut state = remembering(vec![test_entries::tree("t"), test_entries::entry("user")]);
    let (mut actions, _answer) = join(&mut state, "t");
    assert_eq!(words(&actions), ["join"]);
    let Some(A::Join(joining)) = actions.pop() else { panic!("no join") };
    assert_eq!((joining.serial, joining.tree.submitter.pid), (10_000_000_000, 700));
    let first = ProcessId { pid: 701, start_ticks: 1001 };
    let actions = state.handle(Event::AllowanceJoined(joining, Ok(first)), at(12));
    assert_eq!(words(&actions), ["record", "log", "send"]);
    let record = &records(&actions)[0];
    assert_eq!((&record["type"], &record["pid"]), (&"allowance_join".into(), &701.into()));
    for id in ["t", "user"] {
        let (actions, mut answer) = join(&mut state, id);
        assert_eq!(words(&actions), ["record", "count allowance", "log", "send"], "{id}");
        send(actions);
        assert_eq!(refused(&mut answer).reason, "wrong_process");
    }
    let (actions, mut answer) = join(&mut state, "absent");
    send(actions);
    assert!(matches!(answer.try_recv(), Ok(Answer::Error(Refusal::NotFound, _))));
}

#[test]
fn nobody_joins_what_is_over() {
    let closed = |id: &str, why| Entry {
        state: EntryState::Closed { at_ns: 0, why, by: None },
        ..test_entries::tree(id)
    };
    let mut state = remembering(vec![
        closed("a", Why::Expired),
        closed("b", Why::Revoked),
        closed("c", Why::NeverStarted),
    ]);
    for (id, reason) in [("a", "expired"), ("b", "revoked"), ("c", "already_used")] {
        let (actions, mut answer) = join(&mut state, id);
        send(actions);
        assert_eq!(refused(&mut answer).reason, reason);
    }
}

#[test]
fn refused_join_leaves_the_place_free() {
    let mut state = remembering(vec![test_entries::tree("t")]);
    let (mut actions, mut answer) = join(&mut state, "t");
    let Some(A::Join(joining)) = actions.pop() else { panic!("no join") };
    let refusal = Err(wrong_process("no child"));
    send(state.handle(Event::AllowanceJoined(joining, refusal), at(12)));
    assert_eq!(refused(&mut answer).reason, "wrong_process");
    assert_eq!(words(&join(&mut state, "t").0), ["join"]);
}
