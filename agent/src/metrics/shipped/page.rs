//! A page on which every metric there is has a sample, and what can be told from it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_abi::{self as abi, Account, AccountKey, Cost, Mode, Op, Verdict, Window};
use holdfast_policy::allowance::RefusedReason;
use holdfast_policy::break_glass::BreakGlass;

use crate::clock::Now;
use crate::daemon::{AllowanceCount, GlassCount, State, test_plan};
use crate::holds::{EndedPause, Outcome as PauseOutcome, test_holds};
use crate::kernel::{ActiveZone, CounterRow, Coverage, Outcome, Started};
use crate::metrics::Metrics;
use crate::report::{Facts, Ledger, ManifestFacts};

const SLOT: u32 = 1;
/// A minute after a hold that began at second 10.
const NOW: Now = Now { boot_ns: 70_000_000_000, wall_ns: 1_340_150_400_000_000_000 };

/// What a night looks like on which everything happens at once. Each `turn` has destroyed more.
pub(super) fn page(metrics: &mut Metrics, turn: u64) -> String {
    metrics.page(&state(), &facts(turn), NOW).expect("a page")
}

/// Metrics that have counted something.
pub(super) fn metrics() -> Metrics {
    let metrics = Metrics::new().expect("metrics");
    metrics.count_allowance(AllowanceCount::Activated);
    metrics.count_allowance(AllowanceCount::Refused(RefusedReason::OtherHost));
    metrics.count_glass(&GlassCount::Opened("customers".to_owned()));
    let lasted = Duration::from_secs(90);
    let ended = EndedPause { zone: SLOT, outcome: PauseOutcome::Released, lasted };
    metrics.pause_ended("customers", &ended);
    metrics
}

fn state() -> State {
    let mut plan = test_plan();
    plan.policy.zones[0].budgets[0].bytes = Some(1 << 30);
    plan.policy.zones[0].budgets[0].tenants = Some(5);
    plan.policy.break_glass = Some(BreakGlass {
        zones: None,
        max_length: Duration::from_secs(3600),
        max_files: 1000,
        max_bytes: 1 << 30,
        signers: vec![],
    });
    let mut state = State::new(plan, NOW);
    state.guarding.started = Some(Ok(Started::Fresh));
    state.guarding.in_force = true;
    let ops = Op::ALL.iter().map(|op| (*op, Ok(()))).collect();
    state.guarding.coverage = Some((Coverage { ops, checks: vec![] }, NOW));
    let rule = |_| crate::holds::ZoneRule::unknown("customers");
    let held = test_holds::survey(vec![test_holds::thread(100, 10)]);
    let _ = state.book.take(held, &rule, test_holds::at(10));
    let allowance = crate::allowances::test_entries::entry("CHG-1");
    let loaded = crate::allowances::Loaded { entries: vec![allowance], ..Default::default() };
    let _ = state.allowances.load(loaded, "boot".to_owned(), NOW);
    let glass = crate::break_glass::test_book::entry();
    let boot = glass.boot_id.clone();
    let _ = state.glass.load(vec![glass], vec![], &boot, NOW);
    state
}

fn facts(turn: u64) -> Facts {
    let row = |op, verdict, n| {
        let outcome = Outcome::Decided(verdict);
        CounterRow { zone: SLOT, op, outcome, ops: n, files: n, bytes: n * 1000 }
    };
    let counters = Op::ALL.iter().flat_map(|&op| {
        [row(op, Verdict::Allow, 10 * turn), row(op, Verdict::Hold, turn)].into_iter()
    });
    let zone = &test_plan().policy.zones[0];
    let conf = zone.budgets[0].conf(zone);
    let mut window = Window::new();
    for _ in 0..3 {
        let cost = Cost { files: 90, bytes: 1000, tenant: 1 };
        let _ = window.charge(&conf.limit, NOW.boot_ns, Mode::Enforce as u32, &cost, None);
    }
    let account =
        Account { lock: Default::default(), suppressed: 0, event_second: 0, events: 0, window };
    let counts = abi::ZoneCounters { trips: turn, ..abi::ZoneCounters::default() };
    Facts {
        zones: vec![ActiveZone {
            slot: SLOT,
            name: "customers".to_owned(),
            roots: vec![],
            kept_roots: vec![],
        }],
        counters: counters.collect(),
        zone_counters: vec![(SLOT, counts)],
        ledger: Ledger::from_iter(vec![(AccountKey { budget: conf.id, actor: 7 }, account)]),
        manifest: Some(ManifestFacts::default()),
        webhook: Some((1, 0)),
        skipped_runs: vec![("hf_unlink", turn)],
        ..Facts::default()
    }
}

/// The names of all samples with the names of their labels.
pub(super) fn samples(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).expect("a sample"));
        let labels = rest.split("=\"").map(|before| before.rsplit(['{', ',']).next().unwrap_or(""));
        let mut labels: BTreeSet<String> = labels.map(str::to_owned).collect();
        labels.retain(|label| {
            !label.is_empty() && label.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        });
        found.entry(name.to_owned()).or_default().extend(labels);
    }
    found
}

/// The names of all metrics, as their HELP lines have them.
fn families(page: &str) -> BTreeSet<String> {
    let helps = page.lines().filter_map(|line| line.strip_prefix("# HELP "));
    helps.filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect()
}

#[test]
fn labels_are_read() {
    let found = samples("a{zone=\"x, y=z\",op=\"b\"} 1\nb 2\n");
    assert_eq!(found["a"], ["op", "zone"].map(str::to_owned).into());
    assert!(found["b"].is_empty());
}

/// What has no sample here is looked for in vain by the other tests.
#[test]
fn every_metric_has_a_sample() {
    let page = page(&mut metrics(), 1);
    let registered = Metrics::new().unwrap().registry.gather();
    assert!(!registered.is_empty());
    for family in families(&page) {
        let sampled = samples(&page);
        let has = ["", "_count"].iter().any(|end| sampled.contains_key(&format!("{family}{end}")));
        assert!(has, "{family} has no sample:\n{page}");
    }
    assert!(page.contains(
        "holdfast_tripped_actors{budget=\"operators per unit, 10m\",zone=\"customers\"} 1"
    ));
    assert!(page.contains("holdfast_held_longest_seconds{zone=\"slot 1\"} 60"), "{page}");
    assert!(page.contains("holdfast_hold_left_seconds{zone=\"slot 1\"} 1740"), "{page}");
    assert!(page.contains("holdfast_break_glass_open{zone=\"customers\"} 1"), "{page}");
}
