use holdfast_abi::Op;
use tokio::sync::oneshot;

use super::*;
use crate::daemon::message::Action as A;
use crate::daemon::test_plan;
use crate::kernel::Check;
use crate::roots::ZoneRoots;

fn at(seconds: u64) -> Now {
    Now { boot_ns: seconds * 1_000_000_000, wall_ns: 0 }
}

/// A state with a guard that has just been proven.
pub(in crate::daemon) fn guarded() -> State {
    let mut state = State::new(test_plan(), at(1));
    let _ = state.handle(Event::GuardStarted(Ok(Started::Fresh)), at(1));
    let _ = state.handle(in_force(Cause::Start, 0), at(1));
    let _ = state.handle(Event::Proved(covered(true)), at(1));
    assert!(state.guarding.standing(at(1)).is_up());
    state
}

/// The plan is in force, with so many directories that no path leads to.
fn in_force(cause: Cause, kept_roots: usize) -> Event {
    Event::Applied(Box::new(test_plan()), cause, Ok(Applied::InForce(zones(kept_roots))), None)
}

fn zones(kept_roots: usize) -> Vec<ZoneInForce> {
    let (name, kept) = ("customers".to_owned(), vec![7; kept_roots]);
    vec![ZoneInForce { slot: 1, name, roots: vec![], kept }]
}

fn covered(ok: bool) -> Coverage {
    let outcome = if ok { Ok(()) } else { Err("it was removed".to_owned()) };
    Coverage { ops: vec![(Op::Remove, outcome)], checks: vec![] }
}

pub(in crate::daemon) fn words(actions: &[Action]) -> Vec<&'static str> {
    let word = |action: &Action| match action {
        A::StartGuard => "start",
        A::Probe => "probe",
        A::ReadPolicy(_) => "read",
        A::Survey => "survey",
        A::Apply(..) => "apply",
        A::KeepPolicy => "keep policy",
        A::Prove => "prove",
        A::KeepBudgets => "keep budgets",
        A::ForgetAccounts => "forget",
        A::SurveyHolds(_) => "holds",
        A::Pace => "pace",
        A::Decide(_) => "decide",
        A::Kill(_) => "kill",
        A::ResetBudgets(_) => "reset budgets",
        A::Continue(_) => "continue",
        A::Wake(_) => "wake",
        A::ForgetThreads(_) => "forget threads",
        A::ForgetHold(_) => "forget hold",
        A::Tell { .. } => "tell",
        A::Count(..) => "count",
        A::LoadAllowances => "load allowances",
        A::SaveAllowances => "save allowances",
        A::SurveyAllowances(_) => "allowances",
        A::ReadTrust(_) => "trust",
        A::Resolve(_) => "resolve",
        A::OpenAllowance(_) => "open",
        A::Learn(..) => "learn",
        A::CheckCommand(_) => "check command",
        A::Join(_) => "join",
        A::CloseAllowance(_) => "close",
        A::CloseUnknown(_) => "close unknown",
        A::SaveRevoked(_) => "save revoked",
        A::CountAllowance(_) => "count allowance",
        A::Glass(_) => "glass",
        A::Record(_) => "record",
        A::SyncAudit => "sync",
        A::Resume(..) => "resume",
        A::Publish(_) => "publish",
        A::Notify(_) => "notify",
        A::Log(..) => "log",
        A::Collect(..) => "collect",
        A::Send(..) => "send",
        A::Stop(_) => "stop",
        A::FlushManifest(_) => "flush manifest",
    };
    actions.iter().map(word).collect()
}

fn surveyed(found: Result<Vec<ZoneRoots>, RootProblem>) -> Event {
    let found = found.map(|zones| Found { zones, ..Found::default() });
    Event::Surveyed { found, stale: false, unmounted: BTreeSet::new() }
}

fn refused() -> PlanError {
    PlanError::Host { text: "zone `a`: no".to_owned() }
}

/// It is told everywhere.
#[test]
fn bad_policy_changes_nothing() {
    let mut state = guarded();
    let before = state.plan.origin.clone();
    let (reply, mut answer) = oneshot::channel();
    let actions = state.handle(Event::Asked(Ask::Reload, reply), at(10));
    assert_eq!(words(&actions), ["read"]);
    let Some(A::ReadPolicy(reply)) = actions.into_iter().next() else { panic!("no read") };
    let actions = state.handle(Event::PolicyRead(Err(refused()), reply), at(10));
    assert_eq!(words(&actions), ["record", "log", "send"]);
    for action in actions {
        match action {
            A::Send(reply, answer) => reply.send(answer).unwrap(),
            A::Record(record) => {
                let json = serde_json::to_value(&record).unwrap();
                assert_eq!(
                    (&json["type"], &json["outcome"]),
                    (&"policy".into(), &"refused".into())
                );
            }
            _ => {}
        }
    }
    let Answer::Error(Refusal::BadInput, message) = answer.try_recv().unwrap() else {
        panic!("no refusal")
    };
    assert!(message.contains("zone `a`: no"));
    assert_eq!(state.plan.origin, before);
    assert!(state.reload.as_ref().unwrap().1.is_some());
    assert!(state.guarding.standing(at(10)).is_up());
}

#[test]
fn policy_counts_once_kernel_has_it() {
    let mut state = guarded();
    let mut plan = test_plan();
    plan.origin.sha256 = "1".repeat(64);
    let actions = state.handle(Event::PolicyRead(Ok(Box::new(plan.clone())), None), at(10));
    assert_eq!(words(&actions), ["apply"]);
    assert_eq!(state.plan.origin.sha256, "0".repeat(64), "not yet");
    let failed =
        Event::Applied(Box::new(plan.clone()), Cause::Reload, Err("no room".to_owned()), None);
    assert_eq!(words(&state.handle(failed, at(11))), ["record", "log"]);
    assert_eq!(state.plan.origin.sha256, "0".repeat(64), "still not");
    assert!(state.reload.as_ref().unwrap().1.is_some());
    assert!(state.guarding.standing(at(11)).is_up(), "the one before is in force");
    let (reply, mut answer) = oneshot::channel();
    let applied = Ok(Applied::InForce(zones(0)));
    let done = Event::Applied(Box::new(plan), Cause::Reload, applied, Some(reply));
    let actions = state.handle(done, at(12));
    assert_eq!(
        words(&actions),
        ["record", "log", "log", "holds", "allowances", "prove", "keep policy", "send"]
    );
    for action in actions {
        if let A::Send(reply, answer) = action {
            reply.send(answer).unwrap();
        }
    }
    let Answer::Json(json) = answer.try_recv().unwrap() else { panic!("no answer") };
    let report: ReloadReport = serde_json::from_str(&json).unwrap();
    assert!(
        report.in_force
            && report.sha256.starts_with("111")
            && report.missing == ["/nonexistent/customers"]
    );
    assert!(state.reload.as_ref().unwrap().1.is_none());
    assert_eq!(state.plan.origin.sha256, "1".repeat(64));
}

/// A start with another policy than the one that was in force, of which that is wrong.
fn starting(refused: Option<&str>) -> State {
    let mut before = test_plan();
    before.origin.sha256 = "b".repeat(64);
    let refused = refused.map(str::to_owned);
    let (plan, before) = match refused {
        Some(_) => (before, None),
        None => (test_plan(), Some(before)),
    };
    State::starting(Start { plan, before, file: "own.toml".to_owned(), refused }, at(1))
}

fn records(actions: &[Action]) -> Vec<serde_json::Value> {
    let record = |action: &Action| match action {
        A::Record(record) => Some(serde_json::to_value(record).unwrap()),
        _ => None,
    };
    actions.iter().filter_map(record).collect()
}

/// The policy file is unusable, so the one before stays in force.
#[test]
fn start_reports_the_fallback_policy() {
    let state = starting(Some("line 3: no"));
    let actions = state.begin(Recovered::default(), None);
    let records = records(&actions);
    assert_eq!((&records[0]["type"], &records[1]["type"]), (&"start".into(), &"policy".into()));
    for (field, value) in
        [("outcome", "refused"), ("cause", "start"), ("path", "own.toml"), ("error", "line 3: no")]
    {
        assert_eq!(records[1][field], value, "{field}");
    }
    assert!(matches!(&actions[2], A::Log(Level::ERROR, said) if said.contains("own.toml")));
    assert_eq!(state.plan.origin.sha256, "b".repeat(64));
    assert!(state.reload.is_some_and(|(_, why)| why.is_some()));
}

/// Too many directories, or a wider policy that cannot be recorded: whatever the kernel had before
/// would be gone after a reboot.
#[test]
fn failed_start_policy_keeps_previous() {
    let mut state = starting(None);
    let first = state.handle(Event::GuardStarted(Ok(Started::Fresh)), at(1));
    let Some(A::Apply(plan, Cause::Start, None)) = first.into_iter().last() else { panic!() };
    assert_eq!(plan.origin.sha256, "0".repeat(64));
    let failed = Event::Applied(plan, Cause::Start, Err("no room".to_owned()), None);
    let actions = state.handle(failed, at(1));
    assert_eq!(words(&actions), ["record", "log", "apply"]);
    let Some(A::Apply(plan, Cause::Start, None)) = actions.into_iter().last() else { panic!() };
    assert_eq!(plan.origin.sha256, "b".repeat(64));
    assert_eq!(state.plan.origin.sha256, "b".repeat(64), "no survey may put the other in force");
    let applied = Ok(Applied::InForce(zones(0)));
    let actions = state.handle(Event::Applied(plan, Cause::Start, applied, None), at(1));
    assert!(words(&actions).contains(&"keep policy"), "{:?}", words(&actions));
    assert!(state.reload.as_ref().is_some_and(|(_, why)| why.is_some()), "it is still told");
    let good =
        Event::Applied(Box::new(test_plan()), Cause::Reload, Ok(Applied::InForce(zones(0))), None);
    let _ = state.handle(good, at(2));
    assert!(state.reload.as_ref().is_some_and(|(_, why)| why.is_none()));
}

#[test]
fn failed_fallback_tries_no_third() {
    let mut state = starting(None);
    for expected in [vec!["record", "log", "apply"], vec!["record", "log"]] {
        let plan = Box::new(state.plan.clone());
        let failed = Event::Applied(plan, Cause::Start, Err("no room".to_owned()), None);
        assert_eq!(words(&state.handle(failed, at(1))), expected);
    }
    assert_eq!(state.guarding.apply_error.as_deref(), Some("no room"));
}

#[test]
fn without_a_guard_nothing_is_kept() {
    let mut state = starting(None);
    let plan = Box::new(test_plan());
    let applied = Event::Applied(plan, Cause::Start, Ok(Applied::NoGuard), None);
    assert!(!words(&state.handle(applied, at(1))).contains(&"keep policy"));
}

#[test]
fn agent_without_guard_claims_nothing() {
    let mut state = State::new(test_plan(), at(1));
    let actions = state.handle(Event::GuardStarted(Err("BPF LSM is not active".to_owned())), at(1));
    assert_eq!(words(&actions), ["record", "probe", "log", "apply"]);
    let check = Check {
        name: "bpf-lsm",
        ok: false,
        found: "lsm=".to_owned(),
        fix: Some("add bpf to lsm=".to_owned()),
    };
    let _ = state.handle(Event::Probed(vec![check]), at(1));
    let actions = state.handle(
        Event::Applied(Box::new(test_plan()), Cause::Start, Ok(Applied::NoGuard), None),
        at(1),
    );
    assert_eq!(words(&actions), ["record", "log", "log"]);
    let crate::daemon::Standing::Down { why, fix } = state.guarding.standing(at(1)) else {
        panic!("up")
    };
    assert!(why.contains("BPF LSM is not active") && fix.contains("add bpf to lsm="));
    assert_eq!(words(&state.handle(Event::Tick, at(100))), ["sync", "survey"], "nothing to prove");
}

#[test]
fn self_test_changes_are_reported_once() {
    let mut state = guarded();
    assert_eq!(
        words(&state.handle(Event::Proved(covered(false)), at(5))),
        ["probe", "log", "record"]
    );
    assert!(!state.guarding.standing(at(5)).is_up());
    assert_eq!(words(&state.handle(Event::Proved(covered(false)), at(10))), ["probe"]);
    assert_eq!(words(&state.handle(Event::Proved(covered(true)), at(15))), ["log", "record"]);
    assert!(state.guarding.standing(at(15)).is_up());
    assert_eq!(words(&state.handle(Event::Proved(covered(true)), at(20))), [] as [&str; 0]);
}

/// A zone's entry that was zeroed by hand let everything go, for ever, while the guard was said to
/// be up.
#[test]
fn edited_maps_are_told_and_repaired() {
    let mut state = guarded();
    let edited = |ok| {
        let check =
            Check { name: crate::kernel::CONFIGURATION, ok, found: "edited".to_owned(), fix: None };
        Event::Proved(Coverage { checks: vec![check], ..covered(true) })
    };
    let actions = state.handle(edited(false), at(5));
    assert_eq!(words(&actions), ["probe", "log", "record", "apply"]);
    assert!(matches!(&actions[3], A::Apply(_, Cause::Repair, None)));
    let crate::daemon::Standing::Down { why, .. } = state.guarding.standing(at(5)) else {
        panic!("up")
    };
    assert_eq!(why, "the self-test fails: configuration (edited)");
    assert_eq!(words(&state.handle(edited(false), at(6))), ["probe"], "once in a period");
    assert_eq!(words(&state.handle(edited(false), at(10))), ["probe", "apply"]);
    assert_eq!((words(&state.handle(edited(true), at(11))).len(), state.repairs), (2, 2));
    assert!(state.guarding.standing(at(11)).is_up());
}

#[test]
fn the_clock_drives_proof_and_survey() {
    let mut state = guarded();
    assert_eq!(
        words(&state.handle(Event::Tick, at(2))),
        ["holds", "allowances", "sync", "keep budgets", "survey", "forget", "keep policy"]
    );
    assert_eq!(
        words(&state.handle(Event::Tick, at(3))),
        ["holds", "allowances", "sync", "keep budgets"]
    );
    assert_eq!(
        words(&state.handle(Event::Tick, at(6))),
        ["holds", "allowances", "sync", "keep budgets", "prove", "survey"]
    );
    assert_eq!(
        words(&state.handle(Event::Tick, at(61))),
        ["holds", "allowances", "sync", "keep budgets", "prove", "survey"]
    );
    assert_eq!(
        words(&state.handle(Event::Tick, at(62))),
        ["holds", "allowances", "sync", "keep budgets", "forget", "keep policy"]
    );
    let mut state = guarded();
    let _ = state.handle(Event::Tick, at(6));
    let (reply, _answer) = oneshot::channel();
    assert_eq!(
        words(&state.handle(Event::Asked(Ask::Status, reply), at(6))),
        ["collect"],
        "the proof is fresh"
    );
    let (reply, _answer) = oneshot::channel();
    assert_eq!(words(&state.handle(Event::Asked(Ask::Status, reply), at(8))), ["prove", "collect"]);
}

/// `holdfast top` had the guard proven, what is held surveyed and every account read twice, each
/// time it looked.
#[test]
fn repeated_look_starts_no_work() {
    let mut state = guarded();
    for seconds in [6, 60] {
        let (reply, _answer) = oneshot::channel();
        let actions = state.handle(Event::Asked(Ask::Look, reply), at(seconds));
        assert_eq!(words(&actions), ["collect"], "at {seconds}");
    }
}

/// Problems are told once.
#[test]
fn changed_directories_are_guarded() {
    let mut state = guarded();
    let same = state.plan.zones.clone();
    assert_eq!(words(&state.handle(surveyed(Ok(same.clone())), at(5))), [] as [&str; 0]);
    let mut changed = same;
    changed[0].missing.clear();
    let actions = state.handle(surveyed(Ok(changed)), at(6));
    assert_eq!(words(&actions), ["apply"]);
    let Some(A::Apply(plan, Cause::Roots, None)) = actions.into_iter().next() else {
        panic!("no apply")
    };
    let failed = Event::Applied(plan.clone(), Cause::Roots, Err("busy".to_owned()), None);
    assert_eq!(words(&state.handle(failed, at(6))), ["record", "log"]);
    let again = Event::Applied(plan, Cause::Roots, Err("busy".to_owned()), None);
    assert_eq!(words(&state.handle(again, at(9))), [] as [&str; 0], "said already");
    let same = state.plan.zones.clone();
    assert_eq!(words(&state.handle(surveyed(Ok(same)), at(9))), ["apply"], "until it works");
    let problem = || RootProblem::host(&std::io::Error::other("no"));
    assert_eq!(words(&state.handle(surveyed(Err(problem())), at(12))), ["log"]);
    assert_eq!(words(&state.handle(surveyed(Err(problem())), at(15))), [] as [&str; 0]);
}

#[test]
fn unguardable_directory_does_not_block_others() {
    let mut state = guarded();
    let mut zones = state.plan.zones.clone();
    let problem = || RootProblem::host(&std::io::Error::other("no"));
    let found = |zones: &[ZoneRoots]| Event::Surveyed {
        found: Ok(Found { zones: zones.to_vec(), unusable: vec![problem()], ..Found::default() }),
        stale: false,
        unmounted: BTreeSet::new(),
    };
    let actions = state.handle(found(&zones), at(5));
    assert_eq!(words(&actions), ["log"]);
    assert!(matches!(&actions[0], A::Log(Level::WARN, text) if text.starts_with("not guarded: ")));
    assert_eq!(state.plan.skipped, [problem()]);
    zones[0].missing.clear();
    assert_eq!(words(&state.handle(found(&zones), at(8))), ["apply"], "the warning was given");
    let mended = state.plan.zones.clone();
    assert_eq!(words(&state.handle(surveyed(Ok(mended)), at(11))), [] as [&str; 0]);
    assert!(state.plan.skipped.is_empty());
}

#[test]
fn moved_directory_is_recorded_once() {
    let mut state = guarded();
    let actions = state.handle(in_force(Cause::Roots, 1), at(5));
    assert_eq!(
        words(&actions),
        ["record", "log", "log", "holds", "allowances", "prove", "keep policy"]
    );
    let told = "zone customers: 1 directory has left its path and is still guarded";
    assert!(matches!(&actions[2], A::Log(Level::WARN, text) if text == told));
    let A::Record(record) = &actions[0] else { panic!("no record") };
    assert_eq!(serde_json::to_value(record).unwrap()["zones"][0]["kept_roots"], 1);
    let same = state.plan.zones.clone();
    assert_eq!(words(&state.handle(surveyed(Ok(same)), at(8))), [] as [&str; 0], "no loop");
    assert_eq!(
        words(&state.handle(in_force(Cause::Roots, 1), at(9))),
        ["record", "log", "holds", "allowances", "prove", "keep policy"]
    );
    let back = state.handle(in_force(Cause::Roots, 0), at(12));
    assert_eq!(
        words(&back),
        ["record", "log", "log", "holds", "allowances", "prove", "keep policy"]
    );
}

/// The directory was made anew under its old inode number.
#[test]
fn reused_inode_is_guarded_again() {
    // ext4 gives the inode number of a removed directory to the next one, at times within one tick
    // of the clock, so that neither number nor time of birth changes. Only the kernel's generation
    // number did.
    let mut state = guarded();
    let found = Ok(Found { zones: state.plan.zones.clone(), ..Found::default() });
    assert_eq!(
        words(
            &state
                .handle(Event::Surveyed { found, stale: true, unmounted: BTreeSet::new() }, at(5))
        ),
        ["apply"]
    );
}

/// It is shown, recorded and told.
#[test]
fn over_budget_op_is_reported() {
    let mut state = guarded();
    let decided = |raw| Event::Decided(Box::new(crate::report::test_events::decided(raw)));
    let raw = crate::report::test_events::denied();
    assert_eq!(words(&state.handle(decided(raw), at(10))), ["log", "publish", "record"]);
    assert!(state.ring.lines()[0].contains("\"zone\":\"customers\""));
    let mut traced = raw;
    traced.verdict = abi::Verdict::Allow as u8;
    traced.flags = 0;
    assert_eq!(
        words(&state.handle(decided(traced), at(10))),
        ["publish"],
        "within budget: not in the audit log"
    );
    traced.flags = abi::FLAG_PACED;
    assert_eq!(
        words(&state.handle(decided(traced), at(10))),
        ["publish", "record"],
        "what a throttled actor does is"
    );
    let mut canary = raw;
    canary.zone = abi::CANARY_ZONE;
    assert_eq!(
        words(&state.handle(decided(canary), at(10))),
        [] as [&str; 0],
        "the agent's own doing"
    );
}

#[test]
fn the_end_is_recorded_last() {
    let actions = guarded().handle(Event::Terminate("SIGTERM"), at(10));
    assert_eq!(words(&actions), ["log", "stop"]);
}
