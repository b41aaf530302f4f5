use std::sync::Arc;

use holdfast_abi::{Hold, Release, Verdict};
use holdfast_policy::Policy;

use super::super::survey::News;
use super::*;
use crate::report::test_events;

/// What a thread is that has ended.
pub(crate) const OVER: TaskState = TaskState::Over;
const TTY: u32 = 34817;
const TIMEOUT: Duration = Duration::from_secs(1800);

pub(crate) fn at(seconds: u64) -> Now {
    Now { boot_ns: seconds * SECOND, wall_ns: 1_340_150_400_000_000_000 }
}

/// Thread `tid` of process 100, held since that second in hold 7.
pub(crate) fn thread(tid: u32, since: u64) -> Thread {
    let mut event = test_events::denied();
    event.verdict = Verdict::Hold as u8;
    event.latched_until = (since + 600) * SECOND;
    (event.pid, event.tid) = (100, tid);
    let key = TaskKey { start_ns: SECOND, pid: 100, tid };
    let held = Held { hold: 7, since_ns: since * SECOND, retry_ns: 0, again: 0, event };
    let process = Process::with(100, TaskKey { tid: 100, ..key }, TTY);
    let news = News { decided: Arc::new(test_events::decided(event)), process: Arc::new(process) };
    Thread { key, held, state: TaskState::Stopped, news: Some(news) }
}

fn throttled(tid: u32, since: u64) -> Thread {
    let mut thread = thread(tid, since);
    thread.held.event.verdict = Verdict::Throttle as u8;
    thread
}

fn of_process(pid: u32, mut thread: Thread) -> Thread {
    thread.key.pid = pid;
    thread
}

pub(crate) fn row(release: Release, used: u64) -> HoldRow {
    let hold = Hold { id: 7, since_ns: 10 * SECOND, used, ..Hold::default() };
    HoldRow { key: HoldKey { unit: 5, zone: 1, user: 0 }, hold, release }
}

pub(crate) fn survey(threads: Vec<Thread>) -> Survey {
    Survey { threads, rows: vec![row(Release::default(), 0)] }
}

fn with(release: Release, used: u64, threads: Vec<Thread>) -> Survey {
    Survey { threads, rows: vec![row(release, used)] }
}

fn rule(on_trip: holdfast_abi::OnTrip) -> impl Fn(u32) -> ZoneRule {
    let text = "[[zone]]\nname = \"z\"\nrole = \"primary\"\npaths = [\"/srv\"]\n\
                mode = \"enforce\"\n\
                [[zone.budget]]\nper = \"unit\"\nfiles = 1\nwindow = \"10m\"\n";
    let mut zone = Policy::parse("test", text).unwrap().zones.remove(0);
    zone.on_trip = on_trip;
    zone.hold_timeout = TIMEOUT;
    zone.tell_terminal = true;
    move |_| ZoneRule::of(&zone)
}

fn holds(_: u32) -> ZoneRule {
    rule(holdfast_abi::OnTrip::Hold)(1)
}

/// A book that has seen thread 100 held since second 10.
fn held() -> Book {
    let mut book = Book::default();
    let _ = book.take(Survey::default(), &holds, at(1));
    let changes = book.take(survey(vec![thread(100, 10)]), &holds, at(10));
    assert_eq!((changes.appeared.len(), changes.tell.len()), (1, 1));
    assert!(!changes.appeared[0].adopted);
    book
}

fn outcomes(changes: &Changes) -> Vec<Outcome> {
    changes.over.iter().map(|ended| ended.outcome).collect()
}

fn is_quiet(changes: &Changes) -> bool {
    changes.appeared.is_empty()
        && changes.over.is_empty()
        && changes.pauses.is_empty()
        && changes.forget_threads.is_empty()
        && changes.retry.is_empty()
        && changes.expire.is_empty()
        && changes.go_on.is_empty()
        && changes.wake.is_empty()
        && changes.tell.is_empty()
        && changes.forget_holds.is_empty()
}

#[test]
fn unchanged_holds_are_no_news() {
    let mut book = held();
    for second in 11..1809 {
        let changes = book.take(survey(vec![thread(100, 10)]), &holds, at(second));
        assert!(is_quiet(&changes), "{second}: {changes:?}");
    }
    assert_eq!(book.count(), PausedCount { holds: 1, held_processes: 1, throttled_processes: 0 });
    assert_eq!(book.deadline_ns(7, TIMEOUT), Some(1810 * SECOND));
}

#[test]
fn nobody_decides_and_the_deadline_comes() {
    let mut book = held();
    let changes = book.take(survey(vec![thread(100, 10)]), &holds, at(1810));
    let key = row(Release::default(), 0).key;
    assert_eq!(changes.expire, [(7, key, 1870 * SECOND)], "at least a minute, the latch is over");
    let until_ns = 1870 * SECOND;
    book.decided(7, Decision::Deny { until_ns }, 1810 * SECOND);
    let denied = Release { denied_until_ns: until_ns, ..Release::default() };
    let changes = book.take(with(denied, 0, vec![thread(100, 10)]), &holds, at(1811));
    assert!(changes.expire.is_empty(), "once");
    assert_eq!(changes.go_on.len(), 1, "one that has not noticed is continued again");
    let changes = book.take(with(denied, 0, vec![]), &holds, at(1812));
    assert_eq!(outcomes(&changes), [Outcome::Expired]);
    assert_eq!(changes.pauses[0].lasted, Duration::from_secs(1802));
    assert_eq!(book.holds(at(1812)).count(), 1, "it is shown while it is denied");
    assert!(book.take(with(denied, 0, vec![]), &holds, at(1869)).forget_holds.is_empty());
    let _ = book.take(with(denied, 0, vec![]), &holds, at(1871));
    let changes = book.take(with(denied, 0, vec![]), &holds, at(1874));
    assert_eq!(changes.forget_holds, [(7, key)]);
}

#[test]
fn denial_lasts_while_tripped() {
    let mut book = Book::default();
    let mut late = thread(101, 20);
    late.held.event.latched_until = 9000 * SECOND;
    let changes = book.take(survey(vec![thread(100, 10), late]), &holds, at(1810));
    assert_eq!(changes.expire[0].2, 9000 * SECOND);
}

#[test]
fn refused_decision_is_retried_later() {
    let mut book = held();
    assert_eq!(book.take(survey(vec![thread(100, 10)]), &holds, at(1810)).expire.len(), 1);
    book.postpone(7, at(1810));
    assert!(book.take(survey(vec![thread(100, 10)]), &holds, at(1811)).expire.is_empty());
    assert_eq!(book.take(survey(vec![thread(100, 10)]), &holds, at(1820)).expire.len(), 1);
}

/// The terminal is told.
#[test]
fn release_restarts_the_deadline() {
    let mut book = held();
    let decision = Decision::Release { files: 5, until_ns: 3000 * SECOND };
    book.decided(7, decision, 1000 * SECOND);
    let release = Release {
        files: 5,
        until_ns: 3000 * SECOND,
        released_ns: 1000 * SECOND,
        ..Release::default()
    };
    let changes = book.take(with(release, 0, vec![thread(100, 10)]), &holds, at(1001));
    assert_eq!(changes.go_on.len(), 1, "it has not noticed yet");
    let changes = book.take(with(release, 5, vec![thread(100, 1002)]), &holds, at(1002));
    assert_eq!(outcomes(&changes), [Outcome::Released]);
    assert_eq!((changes.appeared.len(), changes.tell.len()), (1, 1), "held again");
    assert_eq!(changes.pauses.len(), 1, "it went on in between");
    assert!(changes.go_on.is_empty(), "nothing of the release is left");
    assert!(
        book.take(with(release, 5, vec![thread(100, 1002)]), &holds, at(2801)).expire.is_empty()
    );
    assert_eq!(
        book.take(with(release, 5, vec![thread(100, 1002)]), &holds, at(2802)).expire.len(),
        1
    );
}

#[test]
fn release_stays_until_spent_or_expired() {
    let mut book = held();
    let release = |used| {
        let release = Release {
            files: 5,
            until_ns: 100 * SECOND,
            released_ns: 20 * SECOND,
            ..Release::default()
        };
        with(release, used, vec![])
    };
    for (used, second, forgotten) in
        [(1, 21, false), (1, 99, false), (1, 101, false), (1, 104, true)]
    {
        let changes = book.take(release(used), &holds, at(second));
        assert_eq!(!changes.forget_holds.is_empty(), forgotten, "{second}");
    }
    let mut book = held();
    let _ = book.take(release(5), &holds, at(21));
    assert!(!book.take(release(5), &holds, at(24)).forget_holds.is_empty(), "spent");
}

/// Its first thread is about to come.
#[test]
fn threadless_new_hold_is_kept() {
    let mut book = Book::default();
    assert!(book.take(survey(vec![]), &holds, at(10)).forget_holds.is_empty());
    assert!(book.take(survey(vec![thread(100, 10)]), &holds, at(11)).forget_holds.is_empty());
    assert!(book.take(survey(vec![]), &holds, at(30)).forget_holds.is_empty());
    assert!(!book.take(survey(vec![]), &holds, at(33)).forget_holds.is_empty());
}

/// The kernel keeps the entry of a process that was killed.
#[test]
fn killed_process_entry_is_removed() {
    let dead = || Thread { state: TaskState::Over, ..thread(100, 10) };
    let mut book = held();
    let changes = book.take(survey(vec![dead()]), &holds, at(20));
    assert_eq!(outcomes(&changes), [Outcome::Gone]);
    assert_eq!(changes.forget_threads, [dead().key]);
    assert!(changes.go_on.is_empty(), "there is nobody to be continued");
    let mut book = held();
    book.killed(7, &[100]);
    assert_eq!(outcomes(&book.take(survey(vec![dead()]), &holds, at(20))), [Outcome::Killed]);
    let mut book = held();
    book.killed(7, &[100]);
    let _ = book.take(survey(vec![thread(100, 15)]), &holds, at(16));
    let changes = book.take(survey(vec![]), &holds, at(20));
    assert_eq!(outcomes(&changes), [Outcome::Resumed], "it had survived and was held again");
}

#[test]
fn unseen_dead_process_is_reported() {
    let mut book = Book::default();
    let dead = Thread { state: TaskState::Over, ..thread(100, 10) };
    let changes = book.take(survey(vec![dead]), &holds, at(10));
    assert_eq!((changes.appeared.len(), outcomes(&changes)), (1, vec![Outcome::Gone]));
    assert_eq!((changes.pauses.len(), changes.forget_threads.len()), (1, 1));
}

/// A thread other than the one that is held can call execve: the held one is gone then, and the
/// process is stopped still.
#[test]
fn lost_thread_still_resumes_process() {
    let mut book = Book::default();
    let _ = book.take(survey(vec![thread(105, 10)]), &holds, at(10));
    let dead = Thread { state: TaskState::Over, ..thread(105, 10) };
    let changes = book.take(survey(vec![dead]), &holds, at(11));
    assert_eq!(changes.go_on, [TaskKey { tid: 100, ..thread(105, 10).key }]);
    let mut book = Book::default();
    let _ = book.take(survey(vec![thread(105, 10), thread(106, 10)]), &holds, at(10));
    let dead = Thread { state: TaskState::Over, ..thread(105, 10) };
    let changes = book.take(survey(vec![dead, thread(106, 10)]), &holds, at(11));
    assert!(changes.go_on.is_empty(), "another of its threads is held");
}

#[test]
fn threads_share_process_and_terminal() {
    let mut book = Book::default();
    let _ = book.take(Survey::default(), &holds, at(1));
    let all = || (100..108).map(|tid| thread(tid, 10)).collect::<Vec<_>>();
    let changes = book.take(survey(all()), &holds, at(10));
    assert_eq!((changes.appeared.len(), changes.tell.len()), (8, 1));
    assert_eq!(book.count().held_processes, 1);
    let changes = book.take(survey(all().split_off(3)), &holds, at(11));
    assert_eq!((changes.over.len(), changes.pauses.len()), (3, 0), "five are still held");
    let changes = book.take(survey(vec![]), &holds, at(12));
    assert_eq!((changes.over.len(), changes.pauses.len()), (5, 1));
}

/// The terminal is not told twice.
#[test]
fn earlier_holds_are_adopted_silently() {
    let mut book = Book::default();
    let changes = book.take(survey(vec![thread(100, 10)]), &holds, at(1500));
    assert!(changes.appeared[0].adopted && changes.tell.is_empty());
    assert_eq!(book.deadline_ns(7, TIMEOUT), Some(1810 * SECOND), "its clock goes on");
    let released = Release { released_ns: 1501 * SECOND, ..Release::default() };
    let changes = book.take(with(released, 0, vec![]), &holds, at(1502));
    assert_eq!(outcomes(&changes), [Outcome::Released], "whoever it was");
}

#[test]
fn policy_without_holds_retries() {
    for on_trip in [holdfast_abi::OnTrip::Deny, holdfast_abi::OnTrip::Throttle] {
        let mut book = held();
        let changes = book.take(survey(vec![thread(100, 10)]), &rule(on_trip), at(20));
        assert_eq!(changes.retry.len(), 1, "{on_trip:?}");
        book.decided(7, Decision::Retry, 20 * SECOND);
        let retried = Release { released_ns: 20 * SECOND, ..Release::default() };
        let changes = book.take(with(retried, 0, vec![thread(100, 10)]), &rule(on_trip), at(21));
        assert_eq!((changes.retry.len(), changes.go_on.len()), (0, 1), "it has not noticed");
        let changes = book.take(with(retried, 0, vec![]), &rule(on_trip), at(22));
        assert_eq!(outcomes(&changes), [Outcome::Resumed]);
    }
    let mut book = held();
    let changes = book.take(survey(vec![thread(100, 10)]), &|_| ZoneRule::gone("z"), at(20));
    assert_eq!(changes.retry.len(), 1);
    let mut book = held();
    let changes = book.take(survey(vec![thread(100, 10)]), &|_| ZoneRule::unknown("z"), at(20));
    assert!(changes.retry.is_empty(), "no policy is in force yet");
}

#[test]
fn running_thread_is_released_after_seconds() {
    let mut book = held();
    let runs = || Thread { state: TaskState::Running, ..thread(100, 10) };
    for _ in 0..10 {
        let changes = book.take(survey(vec![runs()]), &holds, at(11));
        assert!(is_quiet(&changes), "many surveys in a second prove nothing: {changes:?}");
    }
    assert!(is_quiet(&book.take(survey(vec![thread(100, 10)]), &holds, at(13))), "stopped again");
    for second in [14, 15, 16] {
        assert!(is_quiet(&book.take(survey(vec![runs()]), &holds, at(second))));
    }
    let changes = book.take(survey(vec![runs()]), &holds, at(17));
    assert_eq!(changes.forget_threads, [runs().key]);
    assert_eq!(changes.go_on, [runs().key], "in case it was stopped again meanwhile");
    assert_eq!(outcomes(&changes), [Outcome::Resumed]);
}

#[test]
fn repeated_continue_does_not_end_hold() {
    let mut book = held();
    for second in 11..40 {
        let mut runs = Thread { state: TaskState::Running, ..thread(100, 10) };
        runs.held.again = second;
        let changes = book.take(survey(vec![runs]), &holds, at(second));
        assert!(is_quiet(&changes), "{second}: {changes:?}");
    }
}

/// The next zone may get the slot of one that went, but nothing that was released in that.
#[test]
fn a_release_ends_with_its_zone() {
    let release = Release {
        files: 1000,
        until_ns: 9000 * SECOND,
        released_ns: 20 * SECOND,
        ..Release::default()
    };
    let renamed = |slot| {
        let mut rule = holds(slot);
        rule.name = "next".to_owned();
        rule
    };
    let gone = |_| ZoneRule::gone("z");
    let stands: [&dyn Fn(u32) -> ZoneRule; 2] = [&renamed, &gone];
    for rule in stands {
        let mut book = held();
        assert!(book.take(with(release, 1, vec![]), &holds, at(21)).forget_holds.is_empty());
        assert_eq!(book.take(with(release, 1, vec![]), rule, at(21)).forget_holds.len(), 1);
    }
    let waits = || survey(vec![thread(100, 10)]);
    let mut book = held();
    let changes = book.take(waits(), &gone, at(21));
    assert_eq!((changes.retry.len(), changes.forget_holds.len()), (1, 0), "first it goes on");
    let mut book = held();
    let changes = book.take(waits(), &renamed, at(21));
    assert_eq!((changes.retry.len(), changes.forget_holds.len()), (0, 1));
    assert_eq!((changes.forget_threads.len(), changes.go_on.len()), (1, 1), "and gets a new hold");
}

#[test]
fn thread_without_hold_is_retried() {
    let mut book = held();
    let lost = Survey { threads: vec![thread(100, 10)], rows: vec![] };
    let changes = book.take(lost, &holds, at(20));
    let key = thread(100, 10).key;
    assert_eq!((changes.forget_threads, changes.go_on), (vec![key], vec![key]));
}

#[test]
fn throttled_process_is_told_once() {
    let throttles = rule(holdfast_abi::OnTrip::Throttle);
    let mut book = Book::default();
    let _ = book.take(Survey::default(), &throttles, at(1));
    assert!(!book.is_pacing(at(9)));
    let changes = book.take(survey(vec![throttled(100, 10)]), &throttles, at(10));
    assert_eq!((changes.appeared.len(), changes.tell.len()), (1, 1));
    assert!(changes.tell[0].deadline_ns.is_none());
    assert_eq!(book.count(), PausedCount { holds: 0, held_processes: 0, throttled_processes: 1 });
    for second in 11..100 {
        let threads = if second % 2 == 0 { vec![throttled(100, second)] } else { vec![] };
        let changes = book.take(survey(threads), &throttles, at(second));
        assert!(is_quiet(&changes), "{second}: {changes:?}");
        assert!(book.is_pacing(at(second)));
    }
    assert!(!book.is_pacing(at(104)));
    // The last latch ends at 698.
    let _ = book.take(survey(vec![]), &throttles, at(697));
    assert!(book.take(survey(vec![]), &throttles, at(699)).forget_holds.is_empty());
    assert_eq!(book.take(survey(vec![]), &throttles, at(702)).forget_holds.len(), 1);
}

/// Of 4,096 processes that were held at once, 424 were shown: those whose names had been found out
/// by then.
#[test]
fn unread_process_keeps_its_hold() {
    let mut book = Book::default();
    let unseen = || Thread { news: None, ..of_process(200, thread(200, 10)) };
    for second in 10..20 {
        let changes = book.take(survey(vec![unseen()]), &holds, at(second));
        assert!(is_quiet(&changes), "{changes:?}");
        let counted = PausedCount { holds: 1, held_processes: 1, throttled_processes: 0 };
        assert_eq!(book.count(), counted, "it is counted");
    }
    let changes = book.take(survey(vec![of_process(200, thread(200, 10))]), &holds, at(20));
    assert_eq!(changes.appeared.len(), 1);
    assert_eq!(book.count().held_processes, 1, "once");
}

/// Out of descriptors nobody can be looked at; that does not make them gone.
#[test]
fn unreadable_thread_keeps_its_state() {
    let unseen = || Thread { state: TaskState::Unknown, news: None, ..thread(100, 10) };
    let mut book = held();
    for second in 11..100 {
        let changes = book.take(survey(vec![unseen()]), &holds, at(second));
        assert!(is_quiet(&changes), "{second}: {changes:?}");
    }
    let released = Release { released_ns: 100 * SECOND, ..Release::default() };
    let changes = book.take(with(released, 0, vec![unseen()]), &holds, at(101));
    assert_eq!(changes.go_on.len(), 1, "it was stopped when it was last seen");
    let mut book = held();
    for second in 11..20 {
        let state = if second == 11 { TaskState::Running } else { TaskState::Unknown };
        let changes =
            book.take(survey(vec![Thread { state, ..thread(100, 10) }]), &holds, at(second));
        assert!(is_quiet(&changes), "{second}: {changes:?}");
    }
}

/// `su` stops itself when its child is stopped, and nobody but a shell with job control would
/// continue it.
#[test]
fn stopped_parent_wakes_with_its_child() {
    let su = TaskKey { start_ns: SECOND / 2, pid: 90, tid: 90 };
    let init = TaskKey { start_ns: 0, pid: 1, tid: 1 };
    let child = |pid, since| {
        let mut thread = of_process(pid, thread(pid, since));
        let process = Process::with(pid, TaskKey { tid: pid, ..thread.key }, TTY);
        let process = process.with_parent(su).with_parent(init);
        if let Some(news) = &mut thread.news {
            news.process = Arc::new(process);
        }
        thread
    };
    let mut book = Book::default();
    let changes = book.take(survey(vec![child(100, 10), child(101, 10)]), &holds, at(10));
    assert!(changes.wake.is_empty());
    assert_eq!(
        book.wrappers(&child(100, 10).key),
        Some(vec![su]),
        "nobody wakes the first process"
    );
    let changes = book.take(survey(vec![child(101, 10)]), &holds, at(11));
    assert!(changes.wake.is_empty(), "it waits for another");
    for (second, woken) in [(12, true), (13, true), (16, true), (17, false)] {
        let changes = book.take(survey(vec![]), &holds, at(second));
        assert_eq!(changes.wake == [su], woken, "{second}: it may stop itself late");
    }
    let mut book = Book::default();
    let mut own = thread(90, 10);
    own.key = su;
    let _ = book.take(survey(vec![child(100, 10), own]), &holds, at(10));
    let mut own = thread(90, 10);
    own.key = su;
    let changes = book.take(survey(vec![own]), &holds, at(11));
    assert!(changes.wake.is_empty(), "it is held itself");
}

#[test]
fn surviving_process_is_not_killed() {
    let dead = || Thread { state: TaskState::Over, ..thread(100, 10) };
    let mut book = held();
    book.killed(7, &[100]);
    book.decided(7, Decision::Release { files: 5, until_ns: 100 * SECOND }, 20 * SECOND);
    assert_eq!(outcomes(&book.take(survey(vec![]), &holds, at(21))), [Outcome::Released]);
    let mut book = held();
    book.killed(7, &[100]);
    assert_eq!(outcomes(&book.take(survey(vec![]), &holds, at(21))), [Outcome::Resumed]);
    let mut book = held();
    book.killed(7, &[100]);
    book.decided(7, Decision::Retry, 20 * SECOND);
    assert_eq!(outcomes(&book.take(survey(vec![dead()]), &holds, at(21))), [Outcome::Gone]);
}

#[test]
fn remembered_throttled_processes_are_bounded() {
    let throttles = rule(holdfast_abi::OnTrip::Throttle);
    let mut book = Book::default();
    for second in 10..30 {
        let first = 1000 * u32::try_from(second).unwrap();
        let threads = (first..first + 256).map(|pid| of_process(pid, throttled(pid, second)));
        let _ = book.take(survey(threads.collect()), &throttles, at(second));
    }
    assert_eq!(book.throttled.len(), MAX_HELD as usize);
    assert!(!book.throttled.contains_key(&(7, 10_000)), "the oldest goes");
    assert!(book.throttled.contains_key(&(7, 29_000)));
}
