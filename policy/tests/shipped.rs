//! The policy that is shipped, against the incidents it is there for and the work it must not hold
//! up; and the examples.

use std::time::Duration;

use holdfast_abi::{Cost, HoldKey, Mode, OnTrip, Op, Reason, Verdict, Who, WhoMask};
use holdfast_policy::decide::{Model, Request};
use holdfast_policy::{Policy, Role, Signing, Trust};

const SHIPPED: &str = include_str!("../../agent/dist/policy.toml");
const SECOND: u64 = 1_000_000_000;
const GIB: u64 = 1 << 30;
const CUSTOMERS: usize = 0;
const BACKUPS: usize = 1;

fn shipped() -> Policy {
    match Policy::parse("agent/dist/policy.toml", SHIPPED) {
        Ok(policy) => policy,
        Err(problems) => panic!("{problems}"),
    }
}

/// The shipped policy, as it works once the operator has written `enforce`. Nobody decides about
/// what is held, but each op is another process's: one that is held keeps no other from trying.
/// That is the worst case.
struct Node {
    model: Model,
    now: u64,
}

impl Node {
    fn new() -> Self {
        let mut policy = shipped();
        for zone in &mut policy.zones {
            zone.mode = Mode::Enforce;
        }
        Self { model: Model::new(policy), now: 1_000 * SECOND }
    }

    /// Whether the op happens at once.
    fn does(&mut self, zone: usize, who: WhoMask, unit: u64, op: Op, cost: Cost) -> bool {
        let request = self.request(zone, who, unit, op, cost);
        match self.model.decide(&request).verdict {
            Verdict::Allow => true,
            Verdict::Hold if zone == CUSTOMERS => false,
            Verdict::Deny if zone == BACKUPS || op == Op::Detach => false,
            other => panic!("{other:?} in an enforced zone"),
        }
    }

    fn request(
        &self,
        zone: usize,
        who: WhoMask,
        unit: u64,
        op: Op,
        cost: Cost,
    ) -> Request<'static> {
        let (now, user) = (self.now, 1_000);
        Request {
            zone,
            op,
            who,
            unit,
            user,
            cost,
            now,
            is_strict: false,
            can_wait: true,
            held_since: None,
            mark: None,
            made_at: None,
            inside: &[],
        }
    }

    fn root_removes(&mut self, zone: usize, bytes: u64, tenant: u64) -> bool {
        self.does(zone, Who::OPERATOR_BIT, 7, Op::Remove, Cost { files: 1, bytes, tenant })
    }
}

#[test]
fn it_starts_by_observing() {
    let policy = shipped();
    let zones: Vec<_> = policy.zones.iter().map(|z| (z.name.as_str(), z.role, z.mode)).collect();
    assert_eq!(
        zones,
        [("customers", Role::Primary, Mode::Observe), ("backups", Role::Backup, Mode::Observe)]
    );
}

/// Each file in `examples/` is a policy without a mistake, and stops nothing until it is told to.
#[test]
fn examples_parse_and_observe() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    let files: Vec<_> = std::fs::read_dir(examples).unwrap().map(|file| file.unwrap()).collect();
    assert!(!files.is_empty());
    for file in files {
        let name = file.path().display().to_string();
        match Policy::parse(&name, &std::fs::read_to_string(&name).unwrap()) {
            Ok(policy) => {
                assert!(policy.zones.iter().all(|zone| zone.mode == Mode::Observe), "{name}");
            }
            Err(problems) => panic!("{problems}"),
        }
    }
}

/// It trusts no signer and opens no break-glass until an administrator names people.
#[test]
fn it_trusts_nobody_by_default() {
    assert_eq!(shipped().signing, Signing::default());
    assert_eq!(shipped().break_glass, None);
}

/// Its example of who signs can be used as it is.
#[test]
fn its_signing_example_parses() {
    // A comment has a blank behind its `#`; what can be used has none.
    let text: String = SHIPPED
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(example) if !example.is_empty() && !example.starts_with(' ') => example,
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let policy = match Policy::parse("example", &text) {
        Ok(policy) => policy,
        Err(problems) => panic!("{problems}"),
    };
    let needed = |role| policy.signing.trust(role).map(Trust::people);
    assert_eq!((needed(Role::Primary), needed(Role::Backup)), (Some(2), Some(3)));
    assert!(policy.signing.revoked.is_some() && !policy.signing.any_host);
    let glass = policy.break_glass.as_ref();
    assert_eq!(
        glass.map(|glass| (glass.max_files, glass.zones.is_none())),
        Some((1_000_000, true))
    );
}

/// Once it enforces, ops on customers' data wait for a decision; those on backups do not.
#[test]
fn it_holds_customers_denies_backups() {
    let policy = shipped();
    let trips = |zone: usize| {
        let zone = &policy.zones[zone];
        (zone.on_trip, zone.hold_timeout, zone.tell_terminal)
    };
    let half_an_hour = Duration::from_secs(30 * 60);
    assert_eq!(trips(CUSTOMERS), (OnTrip::Hold, half_an_hour, true));
    assert_eq!(trips(BACKUPS).0, OnTrip::Deny);
}

/// What is written out is what would be in force if it were left out: the file explains, it does
/// not decide.
#[test]
fn it_says_what_the_defaults_are() {
    let silent = |line: &&str| {
        let settings = ["on_trip", "hold_timeout", "tell_terminal"];
        !settings.iter().any(|setting| line.starts_with(setting))
    };
    let rest: Vec<&str> = SHIPPED.lines().filter(silent).collect();
    assert!(rest.len() < SHIPPED.lines().count());
    assert_eq!(Policy::parse("test", &rest.join("\n")), Ok(shipped()));
}

/// The script of 2012: a hundred tenants with 200 files each, within ten seconds. How many files
/// go.
fn firstserver(zone: usize, who: WhoMask, unit: impl Fn(u64) -> u64) -> u64 {
    let (mut node, mut lost) = (Node::new(), 0);
    for tenant in 1..=100 {
        for _ in 0..200 {
            node.now += SECOND / 2_000;
            let cost = Cost { files: 1, bytes: 20_000, tenant };
            lost += u64::from(node.does(zone, who, unit(tenant), Op::Remove, cost));
        }
    }
    lost
}

/// An update script deletes production and backups in one go.
#[test]
fn firstserver_script_is_stopped() {
    let lost = |zone| firstserver(zone, Who::OPERATOR_BIT, |_| 7);
    // Five customers' 200 files each in one zone, and what the sixth can lose until it counts; in
    // the other the files of the short budget.
    assert_eq!(lost(CUSTOMERS), 5 * 200 + 99, "of 20,000 files of customers");
    assert_eq!(lost(BACKUPS), 2_000, "of 20,000 files of backups");
}

#[test]
fn firstserver_sessions_per_customer_are_stopped() {
    let lost = |who| firstserver(CUSTOMERS, who, |tenant| tenant);
    for who in [Who::OPERATOR_BIT, Who::OWNER_BIT] {
        assert_eq!(lost(who), 30 * 200 + 99, "of 20,000 files");
    }
}

/// A web server's account owns every customer's files, or root becomes each customer in turn, in
/// one unit.
#[test]
fn firstserver_by_owner_of_every_customer() {
    let lost = |zone| firstserver(zone, Who::OWNER_BIT, |_| 7);
    assert_eq!(lost(CUSTOMERS), 5 * 200 + 99, "of 20,000 files of customers");
    assert_eq!(lost(BACKUPS), 2_000, "of 20,000 files of backups");
}

/// Jobs of one unit that take a few files from each of 400 customers.
#[test]
fn jobs_over_all_customers_run() {
    let mut node = Node::new();
    for (unit, who, each) in [
        // Log rotation and session clean-up by root, and mail under one account.
        (1, Who::OPERATOR_BIT, 4),
        (2, Who::OPERATOR_BIT, 20),
        (3, Who::OWNER_BIT, 60),
    ] {
        for tenant in 1..=400 {
            for _ in 0..each {
                let cost = Cost { files: 1, bytes: 10_000, tenant };
                assert!(node.does(CUSTOMERS, who, unit, Op::Remove, cost), "unit {unit}");
            }
        }
        node.now += 3_600 * SECOND;
    }
    // Retention of dumps: the oldest of each customer's, and a log of it.
    for tenant in 1..=400 {
        for _ in 0..2 {
            let cost = Cost { files: 1, bytes: 20 << 20, tenant };
            assert!(node.does(BACKUPS, Who::OPERATOR_BIT, 4, Op::Remove, cost), "tenant {tenant}");
            node.now += SECOND;
        }
    }
}

/// A slow deletion goes on for hours.
#[test]
fn kyoto_deletion_goes_on_for_hours() {
    let mut node = Node::new();
    let mut lost = 0;
    for _ in 0..3_600 {
        node.now += SECOND;
        for _ in 0..219 {
            lost += u64::from(node.root_removes(CUSTOMERS, 2_300_000, 1));
        }
    }
    // 10 GiB each time the short window has drained.
    assert_eq!(lost, 6 * 4_668, "of 788,400 files in an hour");
}

/// A single process, as it was: it stands still at the first op over budget. Nobody saw it until
/// the morning.
#[test]
fn kyoto_is_held_at_first_excess() {
    let mut node = Node::new();
    let cost = Cost { files: 1, bytes: 2_300_000, tenant: 1 };
    let mut lost = 0;
    let held_since = loop {
        if !node.root_removes(CUSTOMERS, cost.bytes, cost.tenant) {
            break node.now;
        }
        lost += 1;
    };
    assert_eq!(lost, 4_668, "of 34,000,000 files");
    let retry = |node: &mut Node, seconds: u64| {
        node.now = held_since + seconds * SECOND;
        let op = node.request(CUSTOMERS, Who::OPERATOR_BIT, 7, Op::Remove, cost);
        let decision = node.model.decide(&Request { held_since: Some(held_since), ..op });
        (decision.verdict, decision.reason)
    };
    for minute in 1..30 {
        assert_eq!(retry(&mut node, minute * 60), (Verdict::Hold, Reason::Latched));
    }
    // The agent denies it once it has been held for `hold_timeout`.
    let hold = HoldKey { unit: 7, zone: CUSTOMERS as u32, user: 1_000 };
    node.model.deny(&hold, held_since + 3_600 * SECOND);
    assert_eq!(retry(&mut node, 30 * 60), (Verdict::Deny, Reason::Expired));
}

/// The budget of a day stops a rate that stays below the short budget.
#[test]
fn kyoto_stays_below_short_budget() {
    let mut node = Node::new();
    let mut lost = 0;
    for _ in 0..24 * 3_600 {
        node.now += SECOND;
        lost += u64::from(node.root_removes(CUSTOMERS, 1_000, 1));
    }
    assert_eq!(lost, 40_000, "of 86,400 files in a day");
}

/// A few large files are removed within seconds.
#[test]
fn gitlab_loses_few_large_files() {
    let mut node = Node::new();
    let lost = (0..100).filter(|_| node.root_removes(CUSTOMERS, 3 * GIB, 1)).count();
    assert_eq!(lost, 3, "of 300 GiB");
}

/// The sites are deleted one after another.
#[test]
fn atlassian_deletes_883_sites() {
    let (mut node, mut gone) = (Node::new(), 0);
    for tenant in 1..=883 {
        let mut lost = 0;
        for _ in 0..150 {
            node.now += 23 * 60 * SECOND / (883 * 150);
            lost += u64::from(node.root_removes(CUSTOMERS, 100, tenant));
        }
        gone += u64::from(lost == 150);
    }
    assert!((5..=15).contains(&gone), "{gone} of 883 sites");
}

/// A new session for each op does not get around it.
#[test]
fn new_sessions_do_not_evade_it() {
    let mut node = Node::new();
    let cost = Cost { files: 1, bytes: 1_000, tenant: 1 };
    let lost = (0..100_000)
        .filter(|unit| node.does(CUSTOMERS, Who::OPERATOR_BIT, *unit, Op::Remove, cost))
        .count();
    assert_eq!(lost, 40_000);
}

/// Moving a whole tree away is stopped for operators and customers alike.
#[test]
fn moved_tree_is_stopped_for_all() {
    let mut node = Node::new();
    for zone in [CUSTOMERS, BACKUPS] {
        for who in [Who::OPERATOR_BIT, Who::OWNER_BIT] {
            assert!(!node.does(zone, who, 7, Op::Detach, Cost::default()));
        }
    }
}

#[test]
fn ordinary_work_is_never_held_up() {
    let mut node = Node::new();
    let mut job = |unit, op, files, bytes| {
        for _ in 0..files {
            let cost = Cost { files: 1, bytes, tenant: unit };
            assert!(node.does(CUSTOMERS, Who::OPERATOR_BIT, unit, op, cost));
        }
    };
    // A package upgrade.
    job(1, Op::Replace, 5_000, 40_000);
    // `git gc`: loose objects, and the directories they were in.
    job(2, Op::Remove, 10_000 + 256, 3_000);
    // sqlite with a rollback journal: one for each transaction.
    job(4, Op::Remove, 10_000, 5_000);
    // A restore over what is there.
    job(5, Op::Replace, 4_000, 100_000);
    // logrotate removes the oldest log and truncates a current one, once a day for a month.
    for _ in 0..30 {
        node.now += 24 * 3_600 * SECOND;
        for op in [Op::Remove, Op::Truncate] {
            let cost = Cost { files: 1, bytes: GIB, tenant: 3 };
            assert!(node.does(CUSTOMERS, Who::OPERATOR_BIT, 3, op, cost));
        }
    }
    // A customer's cache flush, beside an operator who is latched.
    while node.root_removes(CUSTOMERS, 1_000, 1) {}
    for _ in 0..100_000 {
        let cost = Cost { files: 1, bytes: 2_000, tenant: 4 };
        assert!(node.does(CUSTOMERS, Who::OWNER_BIT, 4, Op::Remove, cost));
    }
    // Rotation by hard links: only the directories cost anything, and a link that is not the last
    // is free even to those who are latched.
    for _ in 0..1_900 {
        let cost = Cost { files: 1, bytes: 0, tenant: 1 };
        assert!(node.does(BACKUPS, Who::OPERATOR_BIT, 5, Op::Remove, cost));
    }
    assert!(node.does(CUSTOMERS, Who::OPERATOR_BIT, 7, Op::Remove, Cost::default()));
}
