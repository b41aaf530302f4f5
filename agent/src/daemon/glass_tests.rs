use std::collections::BTreeMap;

use serde_json::Value;
use tokio::sync::oneshot;

use super::super::glass::{Closing, Joining};
use super::super::message::{Action as A, Event};
use super::super::state::tests::guarded;
use super::*;
use crate::allowances::{Change, EntryState, Loaded, ProcessId, Survey, Tree, Why, test_entries};
use crate::break_glass::test_book::{at, codes, entry, row, terms};
use crate::break_glass::test_codes::{code, person};
use crate::break_glass::{CHALLENGE_LASTS, Survey as GlassSurvey};
use holdfast_policy::break_glass::BreakGlass;

/// A guarded state whose policy allows a break-glass, with codes 1, 2 and 3.
fn ready() -> State {
    with(vec![])
}

fn with(glass: Vec<Entry>) -> State {
    let mut state = guarded();
    let table = "[break_glass]\nmax_files = 1000\nmax_bytes = \"1GiB\"\n\
                 signers = [\"alice@example.com\"]\n";
    let text = format!("{}\n{table}", state.plan.policy);
    state.plan.policy = Policy::parse("test.toml", &text).unwrap();
    let loaded = Loaded { codes: codes(&[1, 2, 3]), glass, ..Loaded::default() };
    let _ = state.handle(Event::AllowancesLoaded(Ok(Box::new((loaded, "boot".to_owned())))), at(5));
    state
}

fn body(code: &str) -> GlassBody {
    let wanted = WantedBody {
        zone: "customers".to_owned(),
        reason: "the disk fills up".to_owned(),
        seconds: 600,
        files: Some(100),
        bytes: None,
        host_wide: true,
    };
    GlassBody { proof: ProofBody::Code { code: Secret(code.to_owned()), wanted }, run: None }
}

fn ask(state: &mut State, ask: GlassAsk, now: Now) -> (Vec<Action>, oneshot::Receiver<Answer>) {
    let (reply, answer) = oneshot::channel();
    (state.handle(Event::Asked(Ask::Glass(Box::new(ask)), reply), now), answer)
}

fn open(state: &mut State, code: &str, now: Now) -> (Vec<Action>, oneshot::Receiver<Answer>) {
    ask(state, GlassAsk::Open(Box::new(body(code)), person()), now)
}

fn glass_of(actions: Vec<Action>) -> Vec<GlassAction> {
    let glass = |action| match action {
        A::Glass(action) => Some(*action),
        _ => None,
    };
    actions.into_iter().filter_map(glass).collect()
}

fn opening(actions: Vec<Action>) -> Option<Box<Opening>> {
    glass_of(actions).into_iter().find_map(|action| match action {
        GlassAction::Open(opening) => Some(opening),
        _ => None,
    })
}

/// What somebody is told, now or later.
fn refused(actions: Vec<Action>) -> Option<(String, Duration)> {
    let refusal = |answer| match answer {
        Answer::Refused(report) => Some(report.reason),
        _ => None,
    };
    actions.into_iter().find_map(|action| match action {
        A::Send(_, answer) => Some((refusal(answer)?, Duration::ZERO)),
        A::Glass(action) => match *action {
            GlassAction::SendLater(_, answer, delay) => Some((refusal(answer)?, delay)),
            _ => None,
        },
        _ => None,
    })
}

fn records(actions: &[Action]) -> Vec<Value> {
    let record = |action: &Action| match action {
        A::Record(record) => Some(serde_json::to_value(record).unwrap()),
        _ => None,
    };
    actions.iter().filter_map(record).collect()
}

fn shouts(actions: Vec<Action>) -> Vec<String> {
    let shout = |action| match action {
        GlassAction::Shout(message) => Some(message),
        _ => None,
    };
    glass_of(actions).into_iter().filter_map(shout).collect()
}

#[test]
fn a_right_code_opens_once() {
    let mut state = ready();
    let (actions, _answer) = open(&mut state, &code(2).show(), at(10));
    let opening = opening(actions).unwrap();
    assert_eq!((opening.number, &opening.proof), (1, &Proof::Code(2)));
    assert!(opening.code.as_ref().unwrap().used.is_some(), "it is used when it opens");
    let opened = Entry { number: 1, proof: Proof::Code(2), ..entry() };
    let event = GlassEvent::Opened(opening, Ok(Box::new(opened)));
    let actions = state.handle(Event::Glass(Box::new(event)), at(10));
    let told = glass_of(actions);
    assert!(told.iter().any(
        |action| matches!(action, GlassAction::Shout(text) if text.starts_with("BREAK-GLASS OPEN"))
    ));
    assert!(
        told.iter()
            .any(|action| matches!(action, GlassAction::TryAgain(zone) if zone == "customers"))
    );
    let (actions, _) = open(&mut state, &code(3).show(), at(11));
    assert_eq!(refused(actions).unwrap().0, "already_open");
    let closing =
        Closing { number: 1, serial: 0, why: Why::Closed, first: None, by: None, reply: None };
    let closed = GlassEvent::Closed(Box::new(closing), Ok((Some(row(&entry(), 7)), false)));
    let actions = state.handle(Event::Glass(Box::new(closed)), at(12));
    let record = records(&actions).remove(0);
    assert_eq!(
        (&record["type"], &record["ops"]["remove"]),
        (&"break_glass_close".into(), &7.into())
    );
    assert!(shouts(actions).remove(0).contains("7 files"));
    let (actions, _) = open(&mut state, &code(2).show(), at(13));
    assert_eq!(refused(actions).unwrap().0, "used_code");
}

/// A thousand wrong codes open nothing.
#[test]
fn wrong_codes_never_lock_out_valid() {
    let mut state = ready();
    let (mut waits, mut told) = (Vec::new(), 0);
    for n in 0..1000u32 {
        let mut bytes = [0; 15];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        let (actions, _) = open(&mut state, &Code::new(&bytes).show(), at(10));
        told += records(&actions).len();
        assert!(!actions.iter().any(
            |action| matches!(action, A::Glass(action) if matches!(**action, GlassAction::Open(_)))
        ));
        let (reason, wait) = refused(actions).unwrap();
        assert_eq!(reason, "wrong_code");
        waits.push(wait);
    }
    assert_eq!(waits.iter().filter(|wait| !wait.is_zero()).count(), 8, "so many wait at once");
    assert_eq!(told, 1, "the log hears of the first at once");
    assert!(state.glass.backoff.is_guessing(at(10).boot_ns));
    let later = state.handle(Event::Tick, at(71));
    assert_eq!(records(&later)[0]["count"], 999, "and of the others in one record");
    let (actions, _) = open(&mut state, &code(1).show(), at(10));
    assert!(opening(actions).is_some(), "the right one opens at once");
}

#[test]
fn mistyped_code_is_no_attempt() {
    let mut state = ready();
    let shown = code(1).show();
    let slip = format!("{}{}", &shown[1..2], &shown[1..]);
    for text in ["", "hunter2", &shown[1..], &slip] {
        let (actions, _) = open(&mut state, text, at(10));
        let (reason, wait) = refused(actions).unwrap();
        assert_eq!((reason.as_str(), wait), ("mistyped_code", Duration::ZERO), "{text}");
    }
    assert_eq!(state.glass.backoff.recent(at(10).boot_ns), 0);
}

#[test]
fn code_is_checked_last() {
    let mut state = ready();
    let shown = code(1).show();
    let mut refuse = |change: &dyn Fn(&mut WantedBody)| {
        let mut body = body(&shown);
        if let ProofBody::Code { wanted, .. } = &mut body.proof {
            change(wanted);
        }
        let (actions, _) = ask(&mut state, GlassAsk::Open(Box::new(body), person()), at(10));
        refused(actions).unwrap().0
    };
    assert_eq!(refuse(&|wanted| wanted.zone = "other".to_owned()), "unknown_zone");
    assert_eq!(refuse(&|wanted| wanted.reason = "  ".to_owned()), "bad_reason");
    assert_eq!(refuse(&|wanted| wanted.reason = "a\u{1b}[2J".to_owned()), "bad_reason");
    assert_eq!(refuse(&|wanted| wanted.seconds = 3601), "bad_length");
    assert_eq!(refuse(&|wanted| wanted.seconds = 0), "bad_length");
    assert_eq!(refuse(&|wanted| wanted.files = Some(1001)), "bad_amount");
    assert_eq!(refuse(&|wanted| wanted.bytes = Some(0)), "bad_amount");
    assert_eq!(refuse(&|wanted| wanted.host_wide = false), "wrong_process");
    assert!(opening(open(&mut state, &shown, at(10)).0).is_some(), "the code is as good as before");
    let mut state = guarded();
    let loaded = Loaded { codes: codes(&[1]), ..Loaded::default() };
    let _ = state.handle(Event::AllowancesLoaded(Ok(Box::new((loaded, "boot".to_owned())))), at(5));
    assert_eq!(refused(open(&mut state, &shown, at(10)).0).unwrap().0, "not_enabled");
}

#[test]
fn unreadable_code_state_opens_nothing() {
    let mut state = ready();
    let _ = state.handle(Event::AllowancesLoaded(Err("it is damaged".to_owned())), at(6));
    let (actions, _) = open(&mut state, &code(1).show(), at(10));
    assert_eq!(refused(actions).unwrap().0, "state_unreadable");
}

/// What the state hears of one that was not opened.
fn not_opened(opening: Box<Opening>, state: EntryState, is_spent: bool) -> Event {
    let refused = GlassRefused::new(GlassReason::NoGuard, "it cannot be opened", "look");
    let entry = Some(Box::new(Entry { state, ..entry() }));
    let not_opened = NotOpened { refused, entry, is_spent, is_recorded: true };
    Event::Glass(Box::new(GlassEvent::Opened(opening, Err(Box::new(not_opened)))))
}

#[test]
fn failed_opening_keeps_the_code() {
    let mut state = ready();
    let opening_1 = opening(open(&mut state, &code(1).show(), at(10)).0).unwrap();
    let failed = EntryState::Failed { error: "no".to_owned() };
    let actions = state.handle(not_opened(opening_1, failed, false), at(10));
    let types: Vec<_> = records(&actions).iter().map(|record| record["type"].clone()).collect();
    assert_eq!(types, ["break_glass_refuse", "break_glass_close"], "what is on record has an end");
    assert_eq!(records(&actions)[1]["state"], "failed");
    assert_eq!(refused(actions).unwrap().0, "no_guard");
    assert!(state.glass.open().is_none());
    assert!(opening(open(&mut state, &code(1).show(), at(11)).0).is_some());
}

/// A code is consumed if the store cannot be told that it was not.
#[test]
fn unsaved_refund_consumes_the_code() {
    let mut state = ready();
    let opening = opening(open(&mut state, &code(1).show(), at(10)).0).unwrap();
    let _ = state.handle(not_opened(opening, EntryState::Open, true), at(10));
    // The next survey finds that the kernel does not have it, as a restarted agent would.
    let survey = Survey::default();
    let actions = state.handle(Event::AllowancesSurveyed(Ok(survey), None), at(11));
    let Some(GlassAction::Close(closing)) = glass_of(actions).into_iter().next() else {
        panic!("it is not closed")
    };
    assert_eq!(closing.why, Why::Lost);
    let closed = GlassEvent::Closed(closing, Ok((None, false)));
    let actions = state.handle(Event::Glass(Box::new(closed)), at(11));
    assert_eq!(records(&actions)[0]["type"], "break_glass_close");
    assert!(
        actions.iter().any(|action| matches!(action, A::SaveAllowances)),
        "until it is written"
    );
    assert_eq!(refused(open(&mut state, &code(1).show(), at(12)).0).unwrap().0, "used_code");
}

#[test]
fn data_and_copies_never_open_together() {
    // The allowance is for a zone that is a backup by now.
    let mut state = ready();
    let text = state.plan.policy.to_string()
        + "\n[[zone]]\nname = \"copies\"\nrole = \"backup\"\npaths = [\"/copies\"]\n\
        [[zone.budget]]\nper = \"unit\"\nfiles = 1\nwindow = \"10m\"\n";
    state.plan.policy = Policy::parse("test.toml", &text).unwrap();
    let mut allowance = test_entries::entry("backup");
    allowance.grants[0].zone = "copies".to_owned();
    state.allowances.put(allowance);
    assert_eq!(refused(open(&mut state, &code(1).show(), at(10)).0).unwrap().0, "interlock");
    let mut state = ready();
    state.allowances.put(test_entries::entry("data"));
    assert!(opening(open(&mut state, &code(1).show(), at(10)).0).is_some(), "both are data");
}

#[test]
fn role_change_to_copies_ends_it() {
    let mut state = with(vec![entry()]);
    let mut allowance = test_entries::entry("data");
    allowance.grants[0].zone = "more".to_owned();
    state.allowances.put(allowance);
    let before = state.plan.policy.clone();
    let mut closing = |role: &str| {
        let more = format!(
            "\n[[zone]]\nname = \"more\"\nrole = \"{role}\"\npaths = [\"/more\"]\n\
             [[zone.budget]]\nper = \"unit\"\nfiles = 1\nwindow = \"10m\"\n"
        );
        let text = before.to_string() + &more;
        state.plan.policy = Policy::parse("test.toml", &text).unwrap();
        let glass = GlassSurvey { rows: vec![row(&entry(), 5)], is_gone: false };
        let survey = Survey { glass, ..Survey::default() };
        let actions = state.handle(Event::AllowancesSurveyed(Ok(survey), None), at(100));
        glass_of(actions).into_iter().find_map(|action| match action {
            GlassAction::Close(closing) => Some(closing.why),
            _ => None,
        })
    };
    assert_eq!(closing("primary"), None);
    assert_eq!(closing("backup"), Some(Why::Policy));
}

/// It does not matter what came in between.
#[test]
fn unsaved_end_is_written_later() {
    let mut state = with(vec![entry()]);
    let closing =
        Closing { number: 1, serial: 0, why: Why::Closed, first: None, by: None, reply: None };
    let closed = GlassEvent::Closed(Box::new(closing), Ok((None, false)));
    let actions = state.handle(Event::Glass(Box::new(closed)), at(12));
    assert!(
        glass_of(actions).iter().any(|action| matches!(action, GlassAction::KeepReserve)),
        "once its end is written"
    );
    let full = Err("the disk is full".to_owned());
    let _ = state.handle(Event::AllowancesSaved(Box::default(), full), at(12));
    for number in 2..5 {
        let state_of = EntryState::Failed { error: "no".to_owned() };
        state.glass.put(Entry { number, state: state_of, ..entry() }, &[], at(13));
    }
    let saved: Vec<u64> = state.glass.to_save().iter().map(|entry| entry.number).collect();
    assert_eq!(saved, [1]);
    let change = Change { glass: state.glass.to_save(), ..Change::default() };
    let _ = state.handle(Event::AllowancesSaved(Box::new(change), Ok(())), at(20));
    assert_eq!(state.glass.to_save(), []);
}

/// It is left alone while a break-glass is open.
#[test]
fn reserve_is_kept_each_minute() {
    let looks = |state: &mut State, second| {
        let glass = glass_of(state.handle(Event::Tick, at(second)));
        glass.iter().any(|action| matches!(action, GlassAction::KeepReserve))
    };
    let mut state = ready();
    let seen: Vec<bool> = [10, 64, 65, 66, 124, 125].map(|at| looks(&mut state, at)).into();
    assert_eq!(seen, [false, false, true, false, false, true]);
    assert!(!looks(&mut with(vec![entry()]), 90), "it may have been let go for this one");
}

#[test]
fn ended_command_closes_no_other() {
    let mut state = with(vec![entry()]);
    let closes = |state: &mut State, number| {
        let (actions, _answer) = ask(state, GlassAsk::Close(number, person()), at(20));
        glass_of(actions).iter().any(|action| matches!(action, GlassAction::Close(_)))
    };
    assert!(!closes(&mut state, Some(7)));
    assert!(closes(&mut state, Some(1)) && closes(&mut state, None));
}

#[test]
fn recorded_input_is_bounded() {
    let mut state = ready();
    let mut long = body(&code(1).show());
    if let ProofBody::Code { wanted, .. } = &mut long.proof {
        wanted.zone = "z".repeat(1 << 20);
    }
    let (actions, _) = ask(&mut state, GlassAsk::Open(Box::new(long), person()), at(10));
    assert!(records(&actions)[0].to_string().len() < 2000);
}

/// Signed by somebody, as far as the command line is concerned.
fn signed(text: &str) -> GlassBody {
    let (challenge, signature) = (text.to_owned(), "nonsense".to_owned());
    GlassBody { proof: ProofBody::Signature { challenge, signature }, run: None }
}

/// A state that waits for a signature on `the challenge`.
fn challenged() -> State {
    let mut state = ready();
    let (text, until_ns) = ("the challenge".to_owned(), at(10).boot_ns + CHALLENGE_LASTS);
    state.glass.add_challenge(Challenge { text, terms: terms(), until_ns }, at(10));
    state
}

#[test]
fn challenge_obeys_the_current_policy() {
    let try_after = |change: &dyn Fn(&mut Policy)| {
        let mut state = challenged();
        change(&mut state.plan.policy);
        let signed = GlassAsk::Open(Box::new(signed("the challenge")), person());
        refused(ask(&mut state, signed, at(11)).0).map(|(reason, _)| reason)
    };
    assert_eq!(try_after(&|_| {}), None);
    let rule = |policy: &mut Policy| policy.break_glass.take().unwrap();
    let less = |policy: &mut Policy| {
        let rule = BreakGlass { max_files: terms().files - 1, ..rule(policy) };
        policy.break_glass = Some(rule);
    };
    assert_eq!(try_after(&less).unwrap(), "bad_amount");
    assert_eq!(try_after(&|policy| drop(rule(policy))).unwrap(), "not_enabled");
    let copies = |policy: &mut Policy| policy.zones[0].role = Role::Backup;
    assert_eq!(try_after(&copies).unwrap(), "unknown_challenge");
}

#[test]
fn failed_opening_keeps_the_challenge() {
    for (is_spent, waits) in [(false, true), (true, false)] {
        let mut state = challenged();
        let signer = test_entries::entry("x").signers.remove(0);
        let spends = Spends::Challenge("the challenge".to_owned(), signer);
        let (reply, _answer) = oneshot::channel();
        let opening = opening(state.open_glass(terms(), spends, None, person(), reply)).unwrap();
        let failed = EntryState::Failed { error: "no".to_owned() };
        let _ = state.handle(not_opened(opening, failed, is_spent), at(11));
        assert_eq!(state.glass.challenge("the challenge", at(11)).is_some(), waits);
    }
}

#[test]
fn unsigned_challenge_stays() {
    let mut state = challenged();
    let (actions, _) =
        ask(&mut state, GlassAsk::Open(Box::new(signed("another")), person()), at(11));
    assert_eq!(refused(actions).unwrap().0, "unknown_challenge");
    let (actions, _) =
        ask(&mut state, GlassAsk::Open(Box::new(signed("the challenge")), person()), at(11));
    let Some(GlassAction::ReadTrust(asked)) = glass_of(actions).into_iter().next() else {
        panic!("nobody reads who may sign")
    };
    let trust = Trust {
        signers: holdfast_policy::signers::Signers::parse("x", "").unwrap(),
        revoked: Default::default(),
        host: Default::default(),
    };
    let event = GlassEvent::TrustRead(asked, Ok(Box::new(trust)));
    let actions = state.handle(Event::Glass(Box::new(event)), at(11));
    assert_eq!(refused(actions).unwrap().0, "bad_signature");
    assert!(state.glass.challenge("the challenge", at(11)).is_some(), "it can still be signed");
}

#[test]
fn a_survey_reminds_and_closes() {
    let mut state = with(vec![entry()]);
    let survey = |rows| Survey { glass: GlassSurvey { rows, is_gone: false }, ..Survey::default() };
    let surveyed = |rows| Event::AllowancesSurveyed(Ok(survey(rows)), None);
    let actions = state.handle(surveyed(vec![row(&entry(), 5)]), at(100));
    assert_eq!(records(&actions)[0]["type"], "break_glass_spend");
    assert!(shouts(actions).remove(0).contains("5 of 100 files"));
    let actions = state.handle(surveyed(vec![row(&entry(), 9)]), at(610));
    let Some(GlassAction::Close(closing)) = glass_of(actions).into_iter().next() else {
        panic!("it is not closed")
    };
    assert_eq!((closing.why, closing.serial), (Why::Expired, entry().serial));
    let failed = GlassEvent::Closed(closing, Err("no".to_owned()));
    assert!(!state.handle(Event::Glass(Box::new(failed)), at(610)).is_empty(), "it is said");
    assert!(state.glass.open().is_some(), "and tried again");
    let stray = Entry { serial: 77, ..entry() };
    let actions = state.handle(surveyed(vec![row(&stray, 0), row(&entry(), 9)]), at(100));
    assert!(actions.iter().any(|action| matches!(action, A::CloseUnknown(77))));
}

#[test]
fn reboot_records_the_end() {
    let mut state = guarded();
    let glass = vec![Entry { boot_id: "before".to_owned(), ..entry() }];
    let loaded = Loaded { glass, ..Loaded::default() };
    let actions =
        state.handle(Event::AllowancesLoaded(Ok(Box::new((loaded, "boot".to_owned())))), at(5));
    let record = records(&actions).remove(0);
    assert_eq!(
        (&record["type"], &record["closed"]["why"]),
        (&"break_glass_close".into(), &"rebooted".into())
    );
    assert!(actions.iter().any(|action| matches!(action, A::SaveAllowances)));
}

#[test]
fn only_one_process_joins() {
    let tree = Tree {
        command: "rm".to_owned(),
        executable: "/bin/rm".to_owned(),
        wanted: None,
        submitter: ProcessId { pid: 700, start_ticks: 900 },
        first: None,
    };
    let mut state = with(vec![Entry { tree: Some(tree.clone()), ..entry() }]);
    let (actions, _answer) = ask(&mut state, GlassAsk::Join(person()), at(20));
    let Some(GlassAction::Join(joining)) = glass_of(actions).into_iter().next() else {
        panic!("nobody joins")
    };
    let Joining { number, serial, .. } = *joining;
    assert_eq!((number, serial), (1, entry().serial));
    let first = ProcessId { pid: 701, start_ticks: 1001 };
    let _ = state.handle(Event::Glass(Box::new(GlassEvent::Joined(joining, Ok(first)))), at(20));
    let (actions, _) = ask(&mut state, GlassAsk::Join(person()), at(21));
    assert_eq!(refused(actions).unwrap().0, "wrong_process");
    let mut state = with(vec![entry()]);
    let (actions, _) = ask(&mut state, GlassAsk::Join(person()), at(21));
    assert_eq!(refused(actions).unwrap().0, "wrong_process", "it is for everybody");
}

/// No document but the answer has the codes.
#[test]
fn codes_are_limited_and_only_answered() {
    let mut state = ready();
    let new = |count, replace| GlassAsk::NewCodes(NewCodesBody { count, replace }, person());
    let (actions, mut answer) = ask(&mut state, new(98, false), at(10));
    for action in actions {
        if let A::Send(reply, answer) = action {
            reply.send(answer).unwrap();
        }
    }
    assert!(matches!(answer.try_recv().unwrap(), Answer::Error(Refusal::BadInput, _)));
    let (actions, mut answer) = ask(&mut state, new(1, true), at(10));
    let Some(GlassAction::MakeCodes(making)) = glass_of(actions).into_iter().next() else {
        panic!("none are made")
    };
    assert_eq!((making.first, making.replaced, &making.forget[..]), (4, 3, &[1, 2, 3][..]));
    let new = code(9);
    let row = CodeRow::new(4, &new, [1; 16], 0, person());
    let made = GlassEvent::CodesMade(making, Ok(vec![(row, Secret(new.show()))]));
    let actions = state.handle(Event::Glass(Box::new(made)), at(10));
    let shown = new.show();
    assert!(!format!("{actions:?}").replace(&answer_text(&actions), "").contains(&shown));
    assert!(records(&actions).is_empty(), "it is on record since before they were made");
    for action in actions {
        if let A::Send(reply, answer) = action {
            reply.send(answer).unwrap();
        }
    }
    let Answer::Json(json) = answer.try_recv().unwrap() else { panic!("no codes") };
    assert!(json.contains(&shown));
    assert_eq!(state.glass.codes_left(), 1);
    assert_eq!(refused(open(&mut state, &code(1).show(), at(11)).0).unwrap().0, "wrong_code");
    let bodies: BTreeMap<&str, String> = [("body", format!("{:?}", body(&shown)))].into();
    assert!(!bodies["body"].contains(&shown), "a code is never shown by accident");
}

/// The JSON that is sent.
fn answer_text(actions: &[Action]) -> String {
    let text = |action: &Action| match action {
        A::Send(_, Answer::Json(json)) => Some(format!("{json:?}")),
        _ => None,
    };
    actions.iter().find_map(text).unwrap()
}
