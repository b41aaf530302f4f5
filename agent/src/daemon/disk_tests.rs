use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use holdfast_policy::OnAuditFailure;
use tokio::sync::oneshot;

use super::super::opening::tests::{audit, executor, person};
use super::*;
use crate::daemon::allowance::Revoking;
use crate::daemon::message::Cause;
use crate::daemon::{records, test_guarded, test_plan};

/// The disk hangs until the sender is dropped; it does so by now.
fn hang(disk: &Disk) -> SyncSender<()> {
    let (let_go, hangs): (SyncSender<()>, Receiver<()>) = sync_channel(0);
    let (begun, has_begun) = sync_channel(0);
    disk.leave(move |_| {
        begun.send(()).unwrap();
        let _ = hangs.recv();
    });
    has_begun.recv().unwrap();
    let_go
}

fn later(now: Now, seconds: u64) -> Now {
    Now { boot_ns: now.boot_ns + seconds * 1_000_000_000, ..now }
}

fn record() -> Record {
    records::policy_accepted(&test_plan(), Cause::Reload)
}

/// What somebody asks for has to be on record first.
fn ask(executor: &mut Executor, state: &State, now: Now) -> (Option<Event>, Arc<AtomicU8>) {
    let followed = Arc::new(AtomicU8::new(0));
    let follows = Arc::clone(&followed);
    let event =
        executor.record_first(About::Other, record(), (state, now), move |_, outcome, _, _| {
            follows.store(if outcome.is_ok() { 1 } else { 2 }, Ordering::Relaxed);
            Some(Event::Tick)
        });
    (event, followed)
}

/// A slow fsync stopped the loop: nobody was held, and nothing was answered.
#[test]
fn nobody_waits_for_a_slow_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (mut executor, state) = (executor(&dir), test_guarded());
    let now = Now::read();
    let let_go = hang(&executor.disk);
    for _ in 0..3 {
        executor.disk.append(Arc::new(record()), now);
        executor.disk.tend(now);
    }
    let (event, followed) = ask(&mut executor, &state, now);
    assert!(event.is_none(), "it waits for its record");
    let facts = executor.disk.audit(now);
    assert_eq!((facts.waiting, facts.lost), (3, 0));
    assert!(executor.disk.overdue(later(now, 9)).is_none());
    drop(let_go);
    assert!(matches!(executor.settled(None, &state, now), Event::Tick));
    assert_eq!(followed.load(Ordering::Relaxed), 1);
    assert_eq!(audit(&dir).matches("\"type\":\"policy\"").count(), 4);
}

#[test]
fn a_disk_that_hangs_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let (mut executor, state) = (executor(&dir), test_guarded());
    let now = Now::read();
    let let_go = hang(&executor.disk);
    let (_, followed) = ask(&mut executor, &state, now);
    let (id, why) = executor.disk.overdue(later(now, 11)).unwrap();
    assert_eq!(why, NotOnDisk::Late { begun: false });
    let event = executor.resume(id, Err(why), &state, later(now, 11));
    assert!(matches!(event, Some(Event::Tick)) && followed.load(Ordering::Relaxed) == 2);
    assert!(executor.disk.overdue(later(now, 11)).is_none(), "once");
    // The next is refused at once, and the status says why.
    let (event, followed) = ask(&mut executor, &state, later(now, 12));
    assert!(matches!(event, Some(Event::Tick)) && followed.load(Ordering::Relaxed) == 2);
    let trouble = executor.disk.audit(later(now, 12)).trouble.unwrap();
    assert!(trouble.error.contains("does not answer"), "{trouble:?}");
    drop(let_go);
    executor.disk.at_once(|_| ());
    assert!(executor.disk.audit(Now::read()).trouble.is_none());
    assert!(!audit(&dir).contains("\"type\":\"policy\""), "what was refused is not on record");
}

/// What had begun when it was refused can still come to the disk. Nothing follows then.
#[test]
fn what_comes_late_has_no_effect() {
    let dir = tempfile::tempdir().unwrap();
    let (mut executor, state) = (executor(&dir), test_guarded());
    let now = Now::read();
    let (let_go, hangs) = sync_channel::<()>(0);
    let (begun, has_begun) = sync_channel(0);
    let followed = Arc::new(AtomicU8::new(0));
    let follows = Arc::clone(&followed);
    let work = move |_: &mut OnDisk| {
        begun.send(()).unwrap();
        let _ = hangs.recv();
        Ok(())
    };
    let then = move |_: &mut Executor, outcome: Outcome, _: &State, _: Now| {
        follows.fetch_add(if outcome.is_ok() { 10 } else { 1 }, Ordering::Relaxed);
        None
    };
    assert!(executor.on_disk(About::Grant, (&state, now), work, then).is_none());
    has_begun.recv().unwrap();
    assert!(executor.is_granting());
    let (id, why) = executor.disk.overdue(later(now, 10)).unwrap();
    assert_eq!(why, NotOnDisk::Late { begun: true });
    assert!(why.to_string().contains("nothing came of it"), "{why}");
    assert!(executor.resume(id, Err(why), &state, now).is_none() && !executor.is_granting());
    drop(let_go);
    executor.disk.at_once(|_| ());
    assert!(executor.resume(id, Ok(()), &state, now).is_none());
    assert_eq!(followed.load(Ordering::Relaxed), 1);
}

/// `on_audit_failure = "continue"`: the release takes effect, and its record is not lost.
#[test]
fn continued_action_is_recorded_later() {
    let dir = tempfile::tempdir().unwrap();
    let (mut executor, mut state) = (executor(&dir), test_guarded());
    state.plan.policy.on_audit_failure = OnAuditFailure::Continue;
    let now = Now::read();
    let let_go = hang(&executor.disk);
    let (_, followed) = ask(&mut executor, &state, now);
    let (id, why) = executor.disk.overdue(later(now, 10)).unwrap();
    let _ = executor.resume(id, Err(why), &state, later(now, 10));
    assert_eq!(followed.load(Ordering::Relaxed), 1);
    drop(let_go);
    executor.disk.at_once(|_| ());
    executor.disk.at_once(|disk| disk.audit.flush()).unwrap();
    assert_eq!(audit(&dir).matches("\"type\":\"policy\"").count(), 1);
}

#[test]
fn a_flood_of_records_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let executor = executor(&dir);
    let now = Now::read();
    let let_go = hang(&executor.disk);
    for _ in 0..MOST_RECORDS + 5 {
        executor.disk.append(Arc::new(record()), now);
    }
    let facts = executor.disk.audit(now);
    assert_eq!((facts.waiting, facts.lost), (MOST_RECORDS as u64, 5));
    drop(let_go);
    executor.disk.at_once(|disk| disk.audit.sync()).unwrap();
    assert!(audit(&dir).contains("\"type\":\"lost\",\"records\":5"));
    assert_eq!(executor.disk.audit(now).lost, 5);
}

/// An id that is revoked while its allowance is being opened: the one comes after the other, and
/// finds it open.
#[test]
fn what_is_asked_later_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let (mut executor, state) = (executor(&dir), test_guarded());
    executor.load_allowances().unwrap();
    let now = Now::read();
    let let_go = hang(&executor.disk);
    assert!(ask(&mut executor, &state, now).0.is_none());
    let (reply, _) = oneshot::channel();
    let revoked = crate::allowances::Revoked { id: "a".to_owned(), at_ns: 1, by: person() };
    let revoking = Box::new(Revoking { revoked, reply });
    assert!(executor.save_revoked(revoking, &state, now).is_none());
    drop(let_go);
    assert!(matches!(executor.settled(None, &state, now), Event::Tick));
    assert!(matches!(executor.settled(None, &state, now), Event::RevokedSaved(_, Ok(()))));
}

#[test]
fn shutdown_wait_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let mut executor = executor(&dir);
    let let_go = hang(&executor.disk);
    executor.disk.end(Now::read());
    drop(let_go);
}
