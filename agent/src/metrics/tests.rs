use holdfast_abi::{Op, Verdict, ZoneCounters};

use super::*;
use crate::daemon::{test_guarded, test_plan};
use crate::kernel::{ActiveZone, CounterRow, Coverage, Outcome, Started};

const NOW: Now = Now { boot_ns: 50_000_000_000, wall_ns: 1_340_150_400_000_000_000 };

fn facts(ops: u64, given_back: u64) -> Facts {
    let row = |outcome, ops| CounterRow {
        zone: 3,
        op: Op::Remove,
        outcome,
        ops,
        files: ops,
        bytes: ops * 100,
    };
    Facts {
        zones: vec![ActiveZone {
            slot: 3,
            name: "customers".to_owned(),
            roots: vec![],
            kept_roots: vec![],
        }],
        counters: vec![
            row(Outcome::Decided(Verdict::Allow), ops),
            row(Outcome::GivenBack(Verdict::Allow), given_back),
            row(Outcome::Decided(Verdict::Deny), 4),
        ],
        zone_counters: vec![(
            3,
            ZoneCounters { trips: 2, events_suppressed: 9, ..ZoneCounters::default() },
        )],
        audit: crate::audit::AuditFacts {
            written: 12,
            lost: 1,
            failures: 3,
            findings: crate::audit::Findings::test_behind(),
            ..crate::audit::AuditFacts::default()
        },
        journal_dropped: 5,
        log_dropped: 6,
        ..Facts::default()
    }
}

fn sample(page: &str, start: &str) -> String {
    let mut lines = page.lines().filter(|line| line.starts_with(start));
    let line = lines.next().unwrap_or_else(|| panic!("no {start} in:\n{page}"));
    assert_eq!(lines.next(), None, "{start} is not unique");
    line.rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn page_shows_the_kernel_counts() {
    let mut metrics = Metrics::new().unwrap();
    let mut state = State::new(test_plan(), NOW);
    let page = metrics.page(&state, &facts(10, 3), NOW).unwrap();
    for (name, value) in [
        ("holdfast_ops_total{op=\"remove\",verdict=\"allow\",zone=\"customers\"}", "7"),
        ("holdfast_ops_total{op=\"remove\",verdict=\"deny\",zone=\"customers\"}", "4"),
        ("holdfast_destroyed_files_total{op=\"remove\",zone=\"customers\"}", "7"),
        ("holdfast_destroyed_bytes_total{op=\"remove\",zone=\"customers\"}", "700"),
        ("holdfast_trips_total{zone=\"customers\"}", "2"),
        ("holdfast_events_suppressed_total{zone=\"customers\"}", "9"),
        ("holdfast_events_lost_total{zone=\"customers\"}", "0"),
        ("holdfast_audit_lost_total", "1"),
        ("holdfast_audit_records_total", "12"),
        ("holdfast_audit_write_failures_total", "3"),
        ("holdfast_audit_writable", "1"),
        ("holdfast_journal_dropped_total", "5"),
        ("holdfast_log_dropped_total", "6"),
        ("holdfast_audit_findings_total{kind=\"behind\"}", "1"),
        ("holdfast_audit_findings_total{kind=\"damaged\"}", "0"),
        ("holdfast_tripped_actors{budget=\"operators per unit, 10m\",zone=\"customers\"}", "0"),
        ("holdfast_zone_on_trip{on_trip=\"hold\",zone=\"customers\"}", "1"),
        ("holdfast_zone_on_trip{on_trip=\"deny\",zone=\"customers\"}", "0"),
        ("holdfast_break_glass_enabled{zone=\"customers\"}", "0"),
        ("holdfast_held_longest_seconds{zone=\"customers\"}", "0"),
        ("holdfast_agent_start_time_seconds", "1340150400"),
        ("holdfast_audit_head_seq", "0"),
        (
            "holdfast_budget_limit_files{budget=\"operators per unit, 10m\",zone=\"customers\"}",
            "200",
        ),
        (
            "holdfast_budget_left_files{budget=\"operators per unit, 10m\",zone=\"customers\"}",
            "200",
        ),
        ("holdfast_zone_mode{mode=\"enforce\",zone=\"customers\"}", "1"),
        ("holdfast_zone_mode{mode=\"observe\",zone=\"customers\"}", "0"),
        ("holdfast_roots_missing{zone=\"customers\"}", "1"),
        ("holdfast_roots_kept{zone=\"customers\"}", "0"),
        ("holdfast_zone_enforcing{zone=\"customers\"}", "0"),
        ("holdfast_paths_unguarded{zone=\"customers\"}", "0"),
        ("holdfast_guard_up", "0"),
        ("holdfast_policy_reload_failed", "0"),
        ("holdfast_build_info{", "1"),
    ] {
        assert_eq!(sample(&page, name), value, "{name}");
    }
    for absent in ["budget_left_bytes{", "coverage_age_seconds ", "hold_left_seconds{"] {
        assert!(!page.contains(absent), "nothing to say about {absent}:\n{page}");
    }
    state.guarding.started = Some(Ok(Started::Fresh));
    state.guarding.in_force = true;
    state.guarding.coverage =
        Some((Coverage { ops: vec![(Op::Remove, Ok(()))], checks: vec![] }, NOW));
    state.reload = Some((NOW, Some("bad".to_owned())));
    let page = metrics.page(&state, &facts(10, 5), NOW).unwrap();
    assert_eq!(
        sample(&page, "holdfast_ops_total{op=\"remove\",verdict=\"allow\""),
        "7",
        "never lower than before"
    );
    assert_eq!(sample(&page, "holdfast_guard_up"), "1");
    assert_eq!(sample(&page, "holdfast_zone_enforcing{zone=\"customers\"}"), "0", "no directory");
    assert_eq!(sample(&page, "holdfast_coverage_ok{op=\"remove\"}"), "1");
    assert_eq!(sample(&page, "holdfast_coverage_timestamp_seconds"), "1340150400");
    assert_eq!(sample(&page, "holdfast_policy_reload_failed"), "1");
    assert_eq!(sample(&page, "holdfast_coverage_age_seconds"), "0");
    let later = Now { boot_ns: NOW.boot_ns + 7_000_000_000, wall_ns: 0 };
    let page = metrics.page(&state, &facts(10, 5), later).unwrap();
    assert_eq!(sample(&page, "holdfast_coverage_age_seconds"), "7", "whatever the wall clock says");
}

#[test]
fn moved_directory_is_missing_and_kept() {
    let mut state = test_guarded();
    state.in_force[0].kept = vec![7];
    let page = Metrics::new().unwrap().page(&state, &facts(0, 0), state.started).unwrap();
    for (name, value) in [
        ("holdfast_roots{zone=\"customers\"}", "0"),
        ("holdfast_roots_missing{zone=\"customers\"}", "1"),
        ("holdfast_roots_kept{zone=\"customers\"}", "1"),
        ("holdfast_zone_enforcing{zone=\"customers\"}", "1"),
    ] {
        assert_eq!(sample(&page, name), value, "{name}");
    }
}

/// They are counted when they end.
#[test]
fn pauses_start_at_zero() {
    use std::time::Duration;

    use crate::holds::{Outcome, test_holds};

    let mut metrics = Metrics::new().unwrap();
    let mut state = State::new(test_plan(), NOW);
    let page = metrics.page(&state, &Facts::default(), NOW).unwrap();
    for outcome in Outcome::ALL {
        let word = outcome.word();
        let name = format!("holdfast_holds_total{{outcome=\"{word}\",zone=\"customers\"}}");
        assert_eq!(sample(&page, &name), "0");
    }
    for (name, value) in [
        ("holdfast_held_processes{zone=\"customers\"}", "0"),
        ("holdfast_throttled_processes{zone=\"customers\"}", "0"),
        ("holdfast_hold_seconds_count{zone=\"customers\"}", "0"),
        ("holdfast_hold_seconds_bucket{zone=\"customers\",le=\"3600\"}", "0"),
    ] {
        assert_eq!(sample(&page, name), value, "{name}");
    }
    let threads = vec![test_holds::thread(100, 10), test_holds::thread(101, 10)];
    let rule = |_| crate::holds::ZoneRule::unknown("customers");
    let _ = state.book.take(test_holds::survey(threads), &rule, test_holds::at(10));
    let ended = EndedPause { zone: 1, outcome: Outcome::Released, lasted: Duration::from_secs(90) };
    metrics.pause_ended("customers", &ended);
    let page = metrics.page(&state, &Facts::default(), NOW).unwrap();
    for (name, value) in [
        ("holdfast_holds_total{outcome=\"released\",zone=\"customers\"}", "1"),
        ("holdfast_hold_seconds_sum{zone=\"customers\"}", "90"),
        ("holdfast_hold_seconds_bucket{zone=\"customers\",le=\"60\"}", "0"),
        ("holdfast_hold_seconds_bucket{zone=\"customers\",le=\"300\"}", "1"),
        ("holdfast_held_processes{zone=\"slot 1\"}", "1"),
    ] {
        assert_eq!(sample(&page, name), value, "{name}");
    }
}

/// They are shown while they are open.
#[test]
fn allowances_are_counted_by_reason() {
    use holdfast_policy::allowance::RefusedReason;

    use crate::allowances::{Loaded, test_entries};

    let mut metrics = Metrics::new().unwrap();
    let mut state = State::new(test_plan(), NOW);
    let page = metrics.page(&state, &Facts::default(), NOW).unwrap();
    for reason in RefusedReason::ALL {
        let name = format!("holdfast_allowances_refused_total{{reason=\"{}\"}}", reason.word());
        assert_eq!(sample(&page, &name), "0");
    }
    assert_eq!(sample(&page, "holdfast_allowances_unreadable"), "1", "nothing was read yet");
    let mut entry = test_entries::entry("CHG-1");
    entry.grants.push(entry.grants[0].clone());
    let _ = entry.spent(&test_entries::row(&entry, 7));
    let loaded = Loaded { entries: vec![entry], ..Loaded::default() };
    let _ = state.allowances.load(loaded, "boot".to_owned(), NOW);
    metrics.count_allowance(AllowanceCount::Activated);
    metrics.count_allowance(AllowanceCount::Refused(RefusedReason::OtherHost));
    let facts = Facts { marks_lost: 2, ..Facts::default() };
    let page = metrics.page(&state, &facts, NOW).unwrap();
    let labels = "{id=\"CHG-1\",zone=\"customers\"}";
    for (name, value) in [
        ("holdfast_allowances_open", "1"),
        ("holdfast_allowances_unreadable", "0"),
        ("holdfast_allowances_activated_total", "1"),
        ("holdfast_allowances_refused_total{reason=\"other_host\"}", "1"),
        ("holdfast_allowance_marks_lost_total", "2"),
        ("holdfast_allowance_left_seconds{id=\"CHG-1\"}", "3560"),
        (&format!("holdfast_allowance_spent_files{labels}"), "14"),
        (&format!("holdfast_allowance_granted_files{labels}"), "200"),
        (&format!("holdfast_allowance_granted_bytes{labels}"), "2097152"),
    ] {
        assert_eq!(sample(&page, name), value, "{name}");
    }
    let closed = crate::allowances::EntryState::Failed { error: String::new() };
    let _ = state.allowances.close("CHG-1", None, closed);
    let page = metrics.page(&state, &facts, NOW).unwrap();
    assert!(!page.contains("CHG-1"), "{page}");
}
