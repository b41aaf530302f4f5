use super::super::manifesting::Manifest;
use std::path::PathBuf;

use holdfast_abi::Learned;
use holdfast_policy::OnAuditFailure;
use tokio::sync::oneshot;

use super::super::Options;
use super::*;
use crate::allowances::test_entries;
use crate::api::SubmitBody;
use crate::audit::AuditLog;
use crate::daemon::allowance::Submission;
use crate::daemon::test_guarded;
use crate::metrics::{Metrics, MetricsAddress};

const NOW: Now = Now { boot_ns: 20_000_000_000, wall_ns: 20_000_000_000 };

/// An executor with everything but a guard.
pub(in crate::daemon) fn executor(dir: &tempfile::TempDir) -> Executor {
    let options = Options {
        policy: PathBuf::from("/nonexistent/policy.toml"),
        state_dir: dir.path().to_owned(),
        run_dir: dir.path().to_owned(),
        pin_dir: dir.path().to_owned(),
        metrics: MetricsAddress::Off,
        trace_ops: false,
        audit_segment: 1 << 20,
        webhook: None,
    };
    let (audit, _) = AuditLog::open(dir.path(), NOW).unwrap();
    Executor::new(
        options,
        audit,
        crate::journal::Journal::default(),
        Metrics::new().unwrap(),
        None,
        Manifest::new().0,
    )
    .unwrap()
}

/// What came of opening it.
fn open(
    executor: &mut Executor,
    entry: Entry,
    state: &State,
) -> Result<Box<Entry>, (Refused, Option<Box<Entry>>)> {
    let event = executor.open_allowance(Box::new(opening(entry)), state, NOW);
    match executor.settled(event, state, NOW) {
        Event::AllowanceOpened(_, outcome) => outcome,
        other => panic!("another outcome: {other:?}"),
    }
}

/// What came of joining it.
fn join(executor: &mut Executor, joining: Joining, state: &State) -> Result<ProcessId, Refused> {
    let event = executor.join(Box::new(joining), state, NOW);
    match executor.settled(event, state, NOW) {
        Event::AllowanceJoined(_, outcome) => outcome,
        other => panic!("another outcome: {other:?}"),
    }
}

/// As the next agent finds it.
pub(in crate::daemon) fn kept(executor: &mut Executor) -> Loaded {
    executor.disk.at_once(|disk| disk.store = None);
    executor.load_allowances().unwrap().0
}

pub(in crate::daemon) fn fail_writes(executor: &Executor, fails: bool) {
    executor.disk.at_once(move |disk| disk.audit.fail_writes(fails));
}

pub(in crate::daemon) fn person() -> Person {
    Person { pid: Some(std::process::id()), ..test_entries::person() }
}

fn opening(entry: Entry) -> Opening {
    let (reply, _) = oneshot::channel();
    let body = SubmitBody {
        path: "a.toml".to_owned(),
        document: String::new(),
        signatures: vec![],
        run: None,
    };
    let submission = Submission {
        body,
        person: person(),
        digest: entry.digest.clone(),
        id: Some(entry.id.clone()),
        signers: vec![],
        reply,
    };
    Opening { submission, entry, ops: vec![1], places: vec![vec![]], forget: vec![] }
}

pub(in crate::daemon) fn audit(dir: &tempfile::TempDir) -> String {
    std::fs::read_to_string(dir.path().join("audit/audit-000001.jsonl")).unwrap()
}

fn own_uid() -> u32 {
    let pid = std::process::id();
    let mut units = crate::units::Units::new(PathBuf::from("/sys/fs/cgroup"));
    let caller = locate::caller(pid, &mut units, NOW).unwrap();
    caller.login_uid.unwrap_or(caller.uid)
}

fn run() -> RunBody {
    let executable = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    RunBody {
        argv: vec!["clean".to_owned(), "--all".to_owned()],
        directory: "/".to_owned(),
        executable,
    }
}

/// Without the kernel programs nothing opens.
#[test]
fn missing_kernel_leaves_the_id_unused() {
    let dir = tempfile::tempdir().unwrap();
    let mut executor = executor(&dir);
    let (loaded, boot_id) = *executor.load_allowances().unwrap();
    let mut state = test_guarded();
    let _ = state.allowances.load(loaded, boot_id.clone(), NOW);
    let entry = Entry { boot_id, not_after: 3620, ..test_entries::entry("a") };
    let (refused, failed) = open(&mut executor, entry, &state).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::NoGuard);
    let failed = *failed.unwrap();
    assert!(!failed.is_used() && failed.until_ns == NOW.boot_ns + 3_600_000_000_000);
    assert_ne!(failed.serial, 10_000_000_000, "the moment it was to be opened at");
    assert!(audit(&dir).contains("\"type\":\"allowance_activate\""), "before the kernel is told");
    assert_eq!(kept(&mut executor).entries, [failed]);
}

/// Nothing is recorded as open either.
#[test]
fn missing_store_opens_nothing() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("allowances.redb"), "broken").unwrap();
    let mut executor = executor(&dir);
    assert!(executor.load_allowances().is_err());
    let entry = test_entries::entry("a");
    let (refused, failed) = open(&mut executor, entry, &test_guarded()).unwrap_err();
    assert_eq!((refused.reason, failed), (RefusedReason::StateUnreadable, None));
    assert!(!audit(&dir).contains("allowance_activate"));
    assert_eq!(std::fs::read(dir.path().join("allowances.redb")).unwrap(), b"broken");
}

/// A full disk lets nobody through unseen, unless the policy says so.
#[test]
fn unrecorded_opening_follows_on_audit_failure() {
    for on_failure in OnAuditFailure::ALL {
        let dir = tempfile::tempdir().unwrap();
        let mut executor = executor(&dir);
        executor.load_allowances().unwrap();
        let mut state = test_guarded();
        state.plan.policy.on_audit_failure = *on_failure;
        fail_writes(&executor, true);
        let entry = test_entries::entry("a");
        let (refused, failed) = open(&mut executor, entry, &state).unwrap_err();
        // It is not opened in either case, as there is no guard: how far it came tells.
        let deny = *on_failure == OnAuditFailure::Deny;
        let reason = if deny { RefusedReason::StateUnreadable } else { RefusedReason::NoGuard };
        assert_eq!(refused.reason, reason);
        assert_eq!(
            refused.message.contains("on_audit_failure = \"deny\""),
            deny,
            "{}",
            refused.message
        );
        assert!(!failed.unwrap().is_used(), "it can be submitted again");
        fail_writes(&executor, false);
        executor.disk.at_once(|disk| disk.audit.close(NOW)).unwrap();
        assert_eq!(audit(&dir).contains("\"type\":\"allowance_activate\""), !deny);
        assert!(audit(&dir).contains("\"type\":\"unwritable\""));
    }
}

#[test]
fn submitter_must_match_the_bind() {
    let dir = tempfile::tempdir().unwrap();
    let mut executor = executor(&dir);
    let uid = own_uid();
    let user = |uid: u32| Bind { user: Some(uid.to_string()), ..Bind::default() };
    let run = run();
    let bound = executor.bind(&user(uid), Some(&run), &person(), NOW).unwrap();
    let tree = bound.tree.unwrap();
    assert_eq!(tree.submitter.pid, std::process::id());
    assert!(tree.command.ends_with(" --all") && tree.first.is_none());
    assert_eq!(bound.user.unwrap().uid, uid);
    let mut reason = |bind: &Bind, run: Option<&RunBody>, person: &Person| {
        executor.bind(bind, run, person, NOW).err().map(|refused| refused.reason)
    };
    assert_eq!(reason(&user(uid + 1), Some(&run), &person()), Some(RefusedReason::WrongUser));
    assert_eq!(reason(&user(uid + 1), None, &person()), None, "whoever submits it");
    let nobody = Bind { user: Some("no-such-user".to_owned()), ..Bind::default() };
    assert_eq!(reason(&nobody, None, &person()), Some(RefusedReason::WrongUser));
    let unit = Bind { unit: Some("no-such.service".to_owned()), ..Bind::default() };
    assert_eq!(reason(&unit, None, &person()), Some(RefusedReason::WrongUnit));
    let unknown = Person { pid: None, ..person() };
    assert_eq!(reason(&user(uid), Some(&run), &unknown), Some(RefusedReason::WrongProcess));
}

/// What comes back of the work that is done aside.
async fn outcome(executor: &mut Executor, event: Option<Event>) -> Event {
    assert!(event.is_none(), "it is done aside: {event:?}");
    executor.take_outcomes().recv().await.unwrap()
}

#[tokio::test]
async fn changed_command_does_not_join() {
    let dir = tempfile::tempdir().unwrap();
    let mut executor = executor(&dir);
    let mut tree = test_entries::tree("t").bound.tree.unwrap();
    let command = holdfast_policy::allowance::BoundCommand {
        path: run().executable,
        sha256: "0".repeat(64),
        script: None,
    };
    tree.wanted = Some(Wanted::from(&command));
    let (reply, _) = oneshot::channel();
    let joining = Joining { id: "t".to_owned(), serial: 1, tree, person: person(), reply };
    let event = executor.check_command(Box::new(joining));
    let Event::CommandChecked(_, refused) = outcome(&mut executor, event).await else {
        panic!("another outcome")
    };
    assert_eq!(refused.unwrap_err().reason, RefusedReason::WrongCommand);
}

#[test]
fn only_a_child_may_join() {
    let dir = tempfile::tempdir().unwrap();
    let mut executor = executor(&dir);
    let (loaded, boot_id) = *executor.load_allowances().unwrap();
    let mut state = test_guarded();
    let _ = state.allowances.load(loaded, boot_id, NOW);
    let entry = test_entries::tree("t");
    let (serial, tree) = (entry.serial, entry.bound.tree.clone().unwrap());
    state.allowances.put(entry);
    let (reply, _) = oneshot::channel();
    let joining = Joining { id: "t".to_owned(), serial, tree, person: person(), reply };
    let refused = join(&mut executor, joining, &state).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::WrongProcess);
    assert!(refused.message.contains("no child"), "{refused}");
}

/// A child of this process may join; without a guard its mark fails, and nobody has joined.
#[test]
fn child_of_the_submitter_may_join() {
    let dir = tempfile::tempdir().unwrap();
    let mut executor = executor(&dir);
    let (loaded, boot_id) = *executor.load_allowances().unwrap();
    let mut state = test_guarded();
    let _ = state.allowances.load(loaded, boot_id.clone(), NOW);
    let serial = kernel::boot_time_ns();
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let mut entry = Entry { serial, boot_id, ..test_entries::tree("t") };
    let tree = entry.bound.tree.as_mut().unwrap();
    tree.submitter = look(std::process::id()).unwrap().unwrap().id;
    let tree = tree.clone();
    state.allowances.put(entry);
    let (reply, _) = oneshot::channel();
    let person = Person { pid: Some(child.id()), ..person() };
    let joining = Joining { id: "t".to_owned(), serial, tree, person, reply };
    let refused = join(&mut executor, joining, &state).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::NoGuard, "{refused}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_long_command_line_is_cut() {
    let long = RunBody { argv: vec!["x".to_owned(), "ä".repeat(5000)], ..run() };
    assert_eq!(command_line(&long).chars().count(), MOST_COMMAND + 1);
}

#[test]
fn kernel_gets_what_was_signed() {
    let mut entry = test_entries::entry("a");
    entry.bound.unit = Some(UnitRef { id: 7, path: None });
    let place = Learned { ino: 5, ..Learned::default() };
    let opening = Opening { ops: vec![3], places: vec![vec![place]], ..opening(entry.clone()) };
    let told = desired(&entry, &opening);
    assert_eq!((told.serial, told.until_ns), (entry.serial, entry.until_ns));
    assert_eq!((told.tree, told.unit, told.user), (false, Some(7), Some(1000)));
    let grant = &told.grants[0];
    assert_eq!((grant.zone.as_str(), grant.ops, grant.files), ("customers", 3, 100));
    assert_eq!((grant.bytes, grant.tenants, grant.subtrees.len()), (1 << 20, 1, 1));
    assert!(desired(&test_entries::tree("t"), &opening).tree);
}
