use holdfast_abi::{Account, AccountKey, Cost, Mode, OnTrip, TenantSpend};

use super::*;
use crate::api::{ParentReport, ProcessReport, ReleasedCount, ReleasedFiles, Until};
use crate::daemon::test_guarded;
use crate::holds::{ZoneRule, test_holds};
use crate::report::{self, Facts, Ledger, Names};

/// One hold of two threads of one process, whose unit has spent its budget.
fn hold() -> HoldReport {
    let now = test_holds::at(22);
    let mut state = test_guarded();
    let zone = &mut state.plan.policy.zones[0];
    zone.on_trip = OnTrip::Hold;
    zone.hold_timeout = Duration::from_secs(1800);
    zone.budgets[0].tenants = Some(2);
    let conf = zone.budgets[0].conf(zone);
    let mut account = Account::new();
    let mut tenants = Vec::new();
    for tenant in [77, 78] {
        let cost = Cost { files: 100, bytes: 1 << 20, tenant };
        let (mode, mut row) = (Mode::Enforce as u32, TenantSpend::new());
        let window = &mut account.window;
        window.charge(&conf.limit, 9_000_000_000, mode, &cost, Some(&mut row)).unwrap();
        tenants.push((tenant, row));
    }
    let key = AccountKey { budget: conf.id, actor: 5 };
    let ledger = Ledger::from_iter(vec![(key, account)]);
    let facts = Facts { ledger, tenants: [(key, tenants)].into(), ..Facts::default() };
    let thread = |tid, since| {
        let mut thread = test_holds::thread(tid, since);
        thread.held.event.budget = conf.id;
        thread
    };
    let threads = vec![thread(100, 10), thread(101, 11)];
    let rule = ZoneRule::of(&state.plan.policy.zones[0]);
    let _ = state.book.take(test_holds::survey(threads), &|_| rule.clone(), now);
    let mut names = Names { unit: &mut |_, _| None, user: &|_| Some("root".to_owned()) };
    let mut holds = report::holds(&state, &facts, now, &mut names);
    assert_eq!(holds.len(), 1);
    let mut hold = holds.remove(0);
    hold.processes[0].process = ProcessReport {
        pid: 100,
        comm: Some("rm".to_owned()),
        command: Some(["rm", "-rf", "/srv/a b"].map(str::to_owned).to_vec()),
        command_cut: false,
        cwd: Some("/root\u{1b}[2J".to_owned()),
        terminal: Some("pts/1".to_owned()),
        parents: vec![
            ParentReport { pid: 90, comm: "bash".to_owned(), command: None },
            ParentReport {
                pid: 1,
                comm: "init".to_owned(),
                command: Some(vec!["/sbin/init".to_owned()]),
            },
        ],
    };
    hold
}

fn has(page: &str, parts: &[&str]) {
    for part in parts {
        assert!(page.contains(part), "{part:?} in\n{page}");
    }
    let is_control = |c: char| c.is_control() && c != '\n';
    assert!(!page.chars().any(is_control), "{page:?}");
}

/// It says who waits for what, too.
#[test]
fn list_says_how_to_decide() {
    let page = render_list(&HoldList { holds: vec![hold()] });
    has(
        &page,
        &[
            "hold 7  zone customers  HELD  denied in 29m 48s (",
            "since      ",
            "(12s ago)",
            "unit       /user.slice",
            "user       root (0)",
            "destroyed  200 files and 2.0 MiB in the last 10m 0s",
            "budget     \"operators per unit, 10m\": 0 of 200 files, 0 of 2 tenants left",
            concat!(
                r"next       remove of /srv/a\xff/b\x1b\x0a ",
                r"(1 file, 4.0 KiB, tenant ten\xff\x0a); files"
            ),
            "processes  1",
            "pid  100  rm -rf '/srv/a b'",
            "holdfast hold release 7 --files N",
            "holdfast hold release 7 --budget-reset",
            "holdfast hold kill 7",
        ],
    );
    let page = render_list(&HoldList { holds: vec![hold(), hold()] });
    has(&page, &["holdfast hold release ID --files N", "holdfast hold show ID"]);
    assert_eq!(render_list(&HoldList { holds: vec![] }), "no process is held\n");
}

#[test]
fn one_hold_is_shown_with_everything() {
    let mut hold = hold();
    hold.processes[0].threads[1].stopped_again = 2;
    has(
        &render(&hold),
        &[
            r"tenants    2: ten\xff\x0a, inode 78",
            "process 100",
            r"directory   /root\x1b[2J",
            "terminal    pts/1",
            "started by  90 bash",
            "            1 /sbin/init",
            "thread 100 since ",
            "thread 101 since ",
            "and stopped again 2 times",
            "user        0, login user none, as operators",
        ],
    );
}

#[test]
fn state_shows_release_and_denial() {
    let until = Until { time: "2012-06-20T00:30:00.000Z".to_owned(), time_ns: 1 };
    let released = HoldReport {
        state: "released".to_owned(),
        processes: vec![],
        deadline: None,
        released: Some(ReleasedFiles {
            count: ReleasedCount { files: 50, used: 3 },
            until: until.clone(),
        }),
        ..hold()
    };
    let page = render_list(&HoldList { holds: vec![released] });
    has(&page, &["RELEASED: waiting for ops", "released   3 of 50 files used, until 2012-06-20"]);
    assert!(!page.contains("hold kill"), "there is nobody to kill:\n{page}");
    let denied = HoldReport { state: "denied".to_owned(), denied_until: Some(until), ..hold() };
    has(&render(&denied), &["DENIED (expired)  until 2012-06-20T00:30:00.000Z"]);
}

#[test]
fn what_was_done_is_said() {
    let failed = vec![SignalFailure { pid: 8, error: "no".to_owned() }];
    let report = KillReport {
        id: 7,
        zone: "z".to_owned(),
        signal: "TERM".to_owned(),
        signalled: vec![5, 6],
        failed,
    };
    assert_eq!(
        render_kill(&report),
        "hold 7 (zone z): 2 processes sent SIGTERM: 5, 6\nFAILED  pid 8: no\n"
    );
    let report = ReleaseReport {
        id: 7,
        zone: "z".to_owned(),
        files: None,
        until: None,
        budgets_reset: Some(1),
        continued: vec![],
        failed: vec![],
    };
    assert_eq!(render_release(&report), "hold 7 (zone z): 1 budget reset; 0 processes continued\n");
}
