use serde_json::Value;
use tokio::sync::oneshot;

use super::super::message::{Action as A, Event};
use super::super::state::tests::{guarded, words};
use super::*;
use crate::allowances::{Floor, ProcessId, test_entries};
use crate::api::AllowanceReport;
use crate::kernel::AllowanceRow;

fn at(seconds: u64) -> Now {
    Now { boot_ns: seconds * 1_000_000_000, wall_ns: seconds as i64 * 1_000_000_000 }
}

/// A guarded state that remembers these.
fn remembering(entries: Vec<Entry>) -> State {
    let mut state = guarded();
    let loaded = Box::new((Loaded { entries, ..Loaded::default() }, "boot".to_owned()));
    let _ = state.handle(Event::AllowancesLoaded(Ok(loaded)), at(1));
    state
}

fn surveyed(rows: Vec<AllowanceRow>, gone: &[&str]) -> Event {
    let gone = gone.iter().map(|&id| id.to_owned()).collect();
    Event::AllowancesSurveyed(Ok(Survey { rows, gone, ..Survey::default() }), None)
}

fn there() -> Event {
    surveyed(vec![test_entries::row(&test_entries::entry("a"), 0)], &[])
}

fn records(actions: &[Action]) -> Vec<Value> {
    let record = |action: &Action| match action {
        A::Record(record) => Some(serde_json::to_value(record).unwrap()),
        _ => None,
    };
    actions.iter().filter_map(record).collect()
}

/// Lets the kernel close what is to be closed, with so many files spent.
fn shut(state: &mut State, mut actions: Vec<Action>, files: u64, finished: bool) -> Vec<Action> {
    let Some(A::CloseAllowance(closing)) = actions.pop() else { panic!("not closed: {actions:?}") };
    let entry = state.allowances.get(&closing.id).unwrap();
    let row = Some(test_entries::row(entry, files));
    state.handle(Event::AllowanceClosed(closing, Ok(Shut { row, finished })), at(30))
}

fn ask(state: &mut State, ask: Ask) -> (Vec<Action>, oneshot::Receiver<Answer>) {
    let (reply, answer) = oneshot::channel();
    (state.handle(Event::Asked(ask, reply), at(20)), answer)
}

fn sent(actions: Vec<Action>, answer: &mut oneshot::Receiver<Answer>) -> Answer {
    for action in actions {
        if let A::Send(reply, answer) = action {
            reply.send(answer).unwrap();
        }
    }
    answer.try_recv().unwrap()
}

fn report(answer: &Answer) -> AllowanceReport {
    let Answer::Json(json) = answer else { panic!("{answer:?}") };
    serde_json::from_str(json).unwrap()
}

fn close(id: &str) -> Ask {
    Ask::CloseAllowance { id: id.to_owned(), person: test_entries::person() }
}

fn revoke(id: &str) -> Ask {
    Ask::RevokeAllowance { id: id.to_owned(), person: test_entries::person() }
}

/// What is open is adopted, and an unknown entry of the kernel is closed.
#[test]
fn first_survey_adopts_known_closes_unknown() {
    let mut state = remembering(vec![test_entries::entry("a")]);
    let stranger = Entry { serial: 99, ..test_entries::entry("x") };
    let rows =
        vec![test_entries::row(&test_entries::entry("a"), 5), test_entries::row(&stranger, 0)];
    let actions = state.handle(surveyed(rows, &[]), at(20));
    assert_eq!(words(&actions), ["log", "close unknown", "record"]);
    let A::Log(Level::ERROR, message) = &actions[0] else { panic!("no error") };
    assert!(message.contains("serial 99"), "{message}");
    assert_eq!(records(&actions)[0]["type"], "allowance_unknown");
    assert_eq!(state.allowances.get("a").unwrap().grants[0].used_files, 5);
    let mut actions = state.handle(surveyed(vec![], &[]), at(21));
    let Some(A::CloseAllowance(closing)) = actions.pop() else { panic!("not closed") };
    assert_eq!(closing.why, Why::Lost);
    let closed = state.handle(Event::AllowanceClosed(closing, Ok(Shut::default())), at(21));
    assert_eq!(words(&closed), ["record", "log", "save allowances"]);
    assert_eq!(records(&closed)[0]["grants"][0]["files"]["spent"], 5, "the last known");
}

#[test]
fn expired_allowance_closes_with_final_figures() {
    let mut state = remembering(vec![test_entries::entry("a")]);
    assert_eq!(words(&state.handle(there(), at(3609))), [] as [&str; 0]);
    let actions = state.handle(there(), at(3610));
    assert_eq!(words(&actions), ["close"]);
    let actions = shut(&mut state, actions, 100, false);
    assert_eq!(words(&actions), ["record", "log", "save allowances"]);
    let record = &records(&actions)[0];
    assert_eq!((&record["type"], &record["why"]), (&"allowance_close".into(), &"expired".into()));
    assert_eq!(record["grants"][0]["files"]["left"], 0);
    assert_eq!(record["digest"], "d".repeat(64));
    assert!(record["person"].is_null());
    let saved = state.allowances.change(at(30)).entries;
    assert_eq!((saved.len(), saved[0].is_open()), (1, false));
    assert_eq!(words(&state.handle(surveyed(vec![], &[]), at(3611))), [] as [&str; 0]);
}

/// The first failure is logged.
#[test]
fn failed_close_is_retried_silently() {
    let mut state = remembering(vec![test_entries::entry("a")]);
    let mut fail = |now| {
        let mut actions = state.handle(there(), now);
        let Some(A::CloseAllowance(closing)) = actions.pop() else { panic!("not closed") };
        state.handle(Event::AllowanceClosed(closing, Err("no".to_owned())), now)
    };
    assert_eq!(words(&fail(at(3610))), ["log"]);
    assert_eq!(words(&fail(at(3611))), [] as [&str; 0]);
    assert!(state.allowances.get("a").unwrap().is_open());
}

#[test]
fn spending_is_recorded_once_a_minute() {
    let mut state = remembering(vec![test_entries::entry("a")]);
    let spent = |files| surveyed(vec![test_entries::row(&test_entries::entry("a"), files)], &[]);
    assert_eq!(words(&state.handle(spent(0), at(20))), [] as [&str; 0]);
    assert_eq!(words(&state.handle(spent(7), at(30))), [] as [&str; 0]);
    let actions = state.handle(spent(8), at(80));
    assert_eq!(words(&actions), ["record"]);
    let record = &records(&actions)[0];
    assert_eq!((&record["type"], &record["id"]), (&"allowance_spend".into(), &"a".into()));
    assert_eq!(record["grants"][0]["files"]["spent"], 8);
    assert_eq!(words(&state.handle(spent(8), at(200))), [] as [&str; 0], "nothing new");
}

#[test]
fn last_spending_is_saved_at_shutdown() {
    let mut state = remembering(vec![test_entries::entry("a")]);
    let ending = |state: &mut State| words(&state.handle(Event::Terminate("SIGTERM"), at(9)));
    assert_eq!(ending(&mut state), ["log", "save allowances", "stop"]);
    assert_eq!(ending(&mut guarded()), ["log", "stop"], "never over what cannot be read");
}

#[test]
fn policy_without_zone_closes_it() {
    let mut state = remembering(vec![test_entries::entry("a")]);
    state.plan.policy.zones.clear();
    state.guarding.in_force = false;
    assert_eq!(words(&state.handle(there(), at(20))), [] as [&str; 0], "nothing is in force yet");
    state.guarding.in_force = true;
    let mut actions = state.handle(there(), at(20));
    let Some(A::CloseAllowance(closing)) = actions.pop() else { panic!("not closed") };
    assert_eq!(closing.why, Why::Policy);
}

#[test]
fn reboot_closes_open_allowances() {
    let mut state = guarded();
    let loaded = Loaded { entries: vec![test_entries::entry("a")], ..Loaded::default() };
    let loaded = Box::new((loaded, "another".to_owned()));
    let actions = state.handle(Event::AllowancesLoaded(Ok(loaded)), at(1));
    assert_eq!(words(&actions), ["record", "log", "save allowances"]);
    assert_eq!(records(&actions)[0]["why"], "rebooted");
    assert_eq!(state.allowances.change(at(2)).entries.len(), 1);
}

/// The failure is logged.
#[test]
fn unreadable_store_is_never_written() {
    let mut state = guarded();
    let failed = Event::AllowancesLoaded(Err("it is broken".to_owned()));
    let actions = state.handle(failed, at(1));
    assert_eq!(words(&actions), ["log"]);
    assert!(matches!(&actions[0], A::Log(Level::ERROR, text) if text.contains("it is broken")));
    for second in 2..200 {
        assert!(!words(&state.handle(Event::Tick, at(second))).contains(&"save allowances"));
    }
    let (actions, mut answer) = ask(&mut state, revoke("a"));
    let Answer::Error(Refusal::Failed, message) = sent(actions, &mut answer) else {
        panic!("revoked")
    };
    assert!(message.contains("it is broken"), "{message}");
}

#[test]
fn closing_person_gets_the_report() {
    let mut state = remembering(vec![test_entries::entry("a")]);
    let (actions, mut answer) = ask(&mut state, close("a"));
    assert_eq!(words(&actions), ["close"]);
    let actions = shut(&mut state, actions, 42, false);
    assert_eq!(records(&actions)[0]["person"]["pid"], 700);
    let closed = report(&sent(actions, &mut answer));
    let how = closed.closed.as_ref().unwrap();
    assert_eq!((how.why.as_str(), closed.grants[0].files.spent), ("closed", 42));
    let (actions, mut answer) = ask(&mut state, close("a"));
    assert_eq!(report(&sent(actions, &mut answer)), closed, "once more changes nothing");
    let (actions, mut answer) = ask(&mut state, close("b"));
    let Answer::Error(Refusal::NotFound, _) = sent(actions, &mut answer) else { panic!("found") };
}

#[test]
fn close_after_command_end_is_finished() {
    let mut state = remembering(vec![test_entries::tree("t")]);
    state.allowances.joined("t", ProcessId { pid: 701, start_ticks: 1001 });
    let (actions, mut answer) = ask(&mut state, close("t"));
    let A::CloseAllowance(closing) = &actions[0] else { panic!("not closed") };
    assert_eq!(closing.first.map(|first| first.pid), Some(701));
    let actions = shut(&mut state, actions, 1, true);
    assert_eq!(report(&sent(actions, &mut answer)).closed.unwrap().why, "finished");
}

#[test]
fn revoked_allowance_closes_at_once() {
    let mut state = remembering(vec![test_entries::entry("a")]);
    let (mut actions, mut answer) = ask(&mut state, revoke("a"));
    let Some(A::SaveRevoked(revoking)) = actions.pop() else { panic!("not written") };
    let actions = state.handle(Event::RevokedSaved(revoking, Ok(())), at(20));
    assert_eq!(words(&actions), ["record", "log", "close"]);
    assert_eq!(records(&actions)[0]["type"], "allowance_revoke");
    let actions = shut(&mut state, actions, 3, false);
    let report = report(&sent(actions, &mut answer));
    assert_eq!(report.closed.unwrap().why, "revoked");
}

#[test]
fn unseen_id_can_be_revoked() {
    let mut state = remembering(vec![]);
    let (mut actions, mut answer) = ask(&mut state, revoke("later"));
    let Some(A::SaveRevoked(revoking)) = actions.pop() else { panic!("not written") };
    let actions = state.handle(Event::RevokedSaved(revoking, Ok(())), at(20));
    assert_eq!(words(&actions), ["record", "log", "send"]);
    let record = &records(&actions)[0];
    assert_eq!((&record["id"], record["digest"].is_null()), (&"later".into(), true));
    assert_eq!(report(&sent(actions, &mut answer)).state, "revoked");
}

/// The programs outlive an agent that cannot get hold of them: it was answered as if nothing could
/// be spent any more.
#[test]
fn revocation_without_guard_reports_open() {
    let mut state = remembering(vec![test_entries::entry("a")]);
    state.guarding.started = Some(Err("no".to_owned()));
    let (mut actions, mut answer) = ask(&mut state, revoke("a"));
    let Some(A::SaveRevoked(revoking)) = actions.pop() else { panic!("not written") };
    let actions = state.handle(Event::RevokedSaved(revoking, Ok(())), at(20));
    assert_eq!(words(&actions), ["record", "log", "log", "send"]);
    let Answer::Error(Refusal::Failed, message) = sent(actions, &mut answer) else {
        panic!("no error")
    };
    assert!(message.contains("not closed in the kernel"), "{message}");
    // Once the guard is up, it is.
    state.guarding.started = Some(Ok(crate::kernel::Started::Adopted));
    let rows = vec![test_entries::row(state.allowances.get("a").unwrap(), 1)];
    let survey = Survey { rows, ..Survey::default() };
    let actions = state.handle(Event::AllowancesSurveyed(Ok(survey), None), at(21));
    assert_eq!(words(&actions), ["close"]);
}

#[test]
fn unsaved_revocation_still_closes() {
    let mut state = remembering(vec![test_entries::entry("a")]);
    let (mut actions, mut answer) = ask(&mut state, revoke("a"));
    let Some(A::SaveRevoked(revoking)) = actions.pop() else { panic!("not written") };
    let actions = state.handle(Event::RevokedSaved(revoking, Err("full".to_owned())), at(20));
    assert_eq!(words(&actions), ["record", "log", "log", "send", "close"]);
    assert!(state.allowances.revoked("a").is_some());
    let Answer::Error(Refusal::Failed, message) = sent(actions, &mut answer) else {
        panic!("no error")
    };
    assert!(message.contains("full"), "{message}");
}

/// It is read every second.
#[test]
fn clock_is_saved_every_minute() {
    let mut state = guarded();
    let floor =
        Floor { wall_ns: 1_000_000_000, boot_ns: 1_000_000_000, boot_id: "boot".to_owned() };
    let loaded = Loaded { clock: Some(floor), ..Loaded::default() };
    let _ = state.handle(Event::AllowancesLoaded(Ok(Box::new((loaded, "boot".to_owned())))), at(1));
    let mut saved = Vec::new();
    for second in 2..=200 {
        if words(&state.handle(Event::Tick, at(second))).contains(&"save allowances") {
            saved.push(second);
            let clock = state.allowances.change(at(second)).clock.unwrap();
            assert_eq!(clock.wall_ns, second as i64 * 1_000_000_000);
            let change = Box::new(state.allowances.change(at(second)));
            let _ = state.handle(Event::AllowancesSaved(change, Ok(())), at(second));
        }
    }
    assert_eq!(saved, [2, 62, 122, 182]);
}

#[test]
fn answer_has_the_current_spending() {
    let mut state = remembering(vec![test_entries::entry("a")]);
    let (mut actions, _answer) = ask(&mut state, Ask::Allowances);
    assert_eq!(words(&actions), ["allowances"]);
    let Some(A::SurveyAllowances(asked)) = actions.pop() else { panic!("no survey") };
    let row = test_entries::row(&test_entries::entry("a"), 9);
    let survey = Survey { rows: vec![row], ..Survey::default() };
    let actions = state.handle(Event::AllowancesSurveyed(Ok(survey), asked), at(20));
    assert_eq!(words(&actions), ["collect"]);
    assert_eq!(state.allowances.get("a").unwrap().grants[0].used_files, 9);
    state.guarding.started = None;
    let (actions, _answer) = ask(&mut state, Ask::Allowance { id: "a".to_owned() });
    assert_eq!(words(&actions), ["collect"]);
}

#[test]
fn store_failure_is_logged_once() {
    let mut state = remembering(vec![]);
    let unreadable = || Event::AllowancesSurveyed(Err("no".to_owned()), None);
    assert_eq!(words(&state.handle(unreadable(), at(2))), ["log"]);
    assert_eq!(words(&state.handle(unreadable(), at(3))), [] as [&str; 0]);
    let unwritable = || Event::AllowancesSaved(Box::default(), Err("full".to_owned()));
    assert_eq!(words(&state.handle(unwritable(), at(4))), ["log"]);
    assert_eq!(words(&state.handle(unwritable(), at(5))), [] as [&str; 0]);
    assert_eq!(
        words(&state.handle(Event::AllowancesSaved(Box::default(), Ok(())), at(6))),
        ["log"]
    );
}
