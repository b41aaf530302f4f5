use holdfast_policy::OnAuditFailure;
use tokio::sync::oneshot;

use super::super::opening::tests::{audit, executor, fail_writes, kept, person};
use super::*;
use crate::allowances::Loaded;
use crate::break_glass::Proof;
use crate::break_glass::test_book::{at, codes, terms};
use crate::daemon::test_guarded;

/// One that code 1 is to open.
fn opening(state: &State) -> Opening {
    let (reply, _) = oneshot::channel();
    Opening {
        number: 1,
        terms: terms(),
        proof: Proof::Code(1),
        code: state.glass.used(1, at(20), &person()),
        challenge: None,
        run: None,
        forget: vec![],
        person: person(),
        reply,
    }
}

/// An executor and a state with codes 1 and 2, on the disk.
fn ready(dir: &tempfile::TempDir) -> (Executor, State) {
    let mut executor = executor(dir);
    let (_, boot_id) = *executor.load_allowances().unwrap();
    let change = Change { codes: codes(&[1, 2]), ..Change::default() };
    executor.disk.at_once(move |disk| disk.write(&change)).unwrap();
    let mut state = test_guarded();
    let _ = state.glass.load(vec![], codes(&[1, 2]), &boot_id, at(20));
    let loaded = Loaded::default();
    let _ = state.allowances.load(loaded, boot_id, at(20));
    (executor, state)
}

/// Why it was not opened.
fn not_opened(executor: &mut Executor, state: &State) -> NotOpened {
    let event = executor.open_glass(Box::new(opening(state)), state, at(20));
    match glass(executor.settled(event, state, at(20))) {
        GlassEvent::Opened(_, Err(not_opened)) => *not_opened,
        other => panic!("another outcome: {other:?}"),
    }
}

fn glass(event: Event) -> GlassEvent {
    match event {
        Event::Glass(event) => *event,
        other => panic!("another outcome: {other:?}"),
    }
}

/// Without the kernel programs nothing opens.
#[test]
fn missing_kernel_keeps_the_code() {
    let dir = tempfile::tempdir().unwrap();
    let (mut executor, state) = ready(&dir);
    let not_opened = not_opened(&mut executor, &state);
    assert_eq!(not_opened.refused.reason, GlassReason::NoGuard);
    assert!(not_opened.refused.message.ends_with(AS_GOOD), "{}", not_opened.refused.message);
    assert!(not_opened.is_recorded && !not_opened.is_spent);
    assert!(audit(&dir).contains("\"type\":\"break_glass_open\""), "before the kernel is told");
    let loaded = kept(&mut executor);
    assert!(loaded.codes.iter().all(|code| code.used.is_none()), "{:?}", loaded.codes);
    assert_eq!(loaded.glass, [*not_opened.entry.unwrap()]);
    assert!(!loaded.glass[0].is_open());
}

/// What cannot be recorded does not open.
/// Whatever the policy says about everything else.
#[test]
fn unrecorded_opening_costs_no_code() {
    for on_failure in OnAuditFailure::ALL {
        let dir = tempfile::tempdir().unwrap();
        let (mut executor, mut state) = ready(&dir);
        state.plan.policy.on_audit_failure = *on_failure;
        fail_writes(&executor, true);
        let not_opened = not_opened(&mut executor, &state);
        assert_eq!(not_opened.refused.reason, GlassReason::StateUnreadable, "{on_failure:?}");
        assert!(!not_opened.is_recorded && !not_opened.is_spent);
        let reserve = dir.path().join(RESERVE_FILE);
        assert!(reserve.exists(), "it is there for the next try");
        fail_writes(&executor, false);
        executor.disk.at_once(|disk| disk.audit.tend(at(21))).unwrap();
        assert!(!audit(&dir).contains("break_glass_open"), "{}", audit(&dir));
        let loaded = kept(&mut executor);
        assert!(loaded.codes.iter().all(|code| code.used.is_none()));
        assert!(!loaded.glass[0].is_open());
    }
}

#[test]
fn reserve_is_released_for_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let (executor, _) = ready(&dir);
    let reserve = dir.path().join(RESERVE_FILE);
    let (outcome, tries) = executor.disk.at_once(move |disk| {
        let mut tries = 0;
        let outcome = disk.with_reserve(|_| {
            tries += 1;
            if reserve.exists() { Err("full".to_owned()) } else { Ok(()) }
        });
        (outcome, tries)
    });
    assert_eq!((outcome, tries), (Ok(()), 2));
    let (outcome, tries) = executor.disk.at_once(|disk| {
        let mut tries = 0;
        let outcome = disk.with_reserve(|_| {
            tries += 1;
            Err("full".to_owned())
        });
        (outcome, tries)
    });
    assert_eq!((outcome, tries), (Err("full".to_owned()), 1), "there was nothing to let go");
}

#[test]
fn codes_are_recorded_before_made() {
    let dir = tempfile::tempdir().unwrap();
    let (mut executor, state) = ready(&dir);
    let making = || {
        let (reply, _) = oneshot::channel();
        MakeCodes { count: 2, first: 3, forget: vec![1, 2], replaced: 2, person: person(), reply }
    };
    let make = |executor: &mut Executor, second| {
        let event = executor.make_codes(Box::new(making()), &state, at(second));
        match glass(executor.settled(event, &state, at(second))) {
            GlassEvent::CodesMade(_, outcome) => outcome,
            other => panic!("another outcome: {other:?}"),
        }
    };
    fail_writes(&executor, true);
    assert!(make(&mut executor, 20).is_err());
    assert_eq!(kept(&mut executor).codes, codes(&[1, 2]), "nothing was changed");
    fail_writes(&executor, false);
    executor.disk.at_once(|disk| disk.audit.tend(at(21))).unwrap();
    assert_eq!(make(&mut executor, 22).unwrap().len(), 2);
    assert!(audit(&dir).contains("\"numbers\":[3,4],\"replaced\":2"), "{}", audit(&dir));
    let numbers: Vec<u64> = kept(&mut executor).codes.iter().map(|code| code.number).collect();
    assert_eq!(numbers, [3, 4]);
}

/// It is made once.
#[test]
fn reserve_takes_space_and_persists() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(RESERVE_FILE);
    reserve(&path).unwrap();
    let made = fs::metadata(&path).unwrap();
    assert!(made.blocks() * 512 >= RESERVE, "{} blocks", made.blocks());
    reserve(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().ino(), made.ino());
    fs::File::create(&path).unwrap().set_len(RESERVE).unwrap();
    reserve(&path).unwrap();
    assert!(fs::metadata(&path).unwrap().blocks() * 512 >= RESERVE, "it was left half made");
    assert!(reserve(Path::new("/nonexistent/reserve")).is_err());
}
