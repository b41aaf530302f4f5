//! `holdfast status`.

use std::fmt::Write as _;
use std::time::Duration;

use super::allow::status_line;
use super::{Client, Exit, Failure, break_glass, out};
use crate::api::{AuditStatus, BudgetStatus, PathState, PathStatus, Status, ZoneStatus};
use crate::{clock, text};

pub(super) async fn run(client: &Client, json: bool) -> Result<Exit, Failure> {
    let status = client.status().await?;
    if json {
        out::json(&status)?;
    } else {
        out::text(&render(&status))?;
    }
    Ok(if status.enforcing { Exit::Ok } else { Exit::NotEnforcing })
}

fn render(status: &Status) -> String {
    let mut page = String::new();
    push(&mut page, &guard(status));
    if let Some(paused) = out::paused(&status.paused) {
        push(&mut page, &format!("PAUSED  {paused}: see `holdfast hold list`"));
    }
    if let Some(open) = &status.break_glass {
        push(&mut page, &break_glass::status_line(open));
    }
    for open in &status.allowances {
        push(&mut page, &status_line(open));
    }
    let uptime = clock::words(Duration::from_secs(status.uptime_seconds));
    let started = status.started.as_deref().unwrap_or("no guard");
    push(
        &mut page,
        &format!("agent   {} (pid {}), up {uptime}, {started}", status.version, status.pid),
    );
    let policy = &status.policy;
    let sha256 = policy.sha256.get(..12).unwrap_or(&policy.sha256);
    push(
        &mut page,
        &format!(
            "policy  {}, sha256 {sha256}, loaded {}",
            out::name(&policy.path, None),
            policy.loaded
        ),
    );
    if let Some(audit) = audit(&status.audit) {
        push(&mut page, &audit);
    }
    for warning in &status.warnings {
        push(&mut page, &format!("WARNING {}", warning.replace('\n', "\n        ")));
    }
    for zone in &status.zones {
        page.push('\n');
        page.push_str(&render_zone(zone));
    }
    page
}

/// An agent of another version says nothing about its log.
fn audit(audit: &AuditStatus) -> Option<String> {
    if audit.on_failure.is_empty() {
        return None;
    }
    if let Some(error) = &audit.error {
        let since = audit.failing_since.as_deref().unwrap_or("?");
        let then = if audit.on_failure == "deny" {
            "releases, allowances and wider policies are refused until it can"
        } else {
            "releases, allowances and policies take effect all the same, without a record on the \
             disk"
        };
        return Some(format!(
            "AUDIT   THE LOG CANNOT BE WRITTEN since {since}: {}\n        {then}; {} wait, {} are \
             lost",
            out::name(error, None),
            text::count(audit.waiting, "record"),
            audit.lost,
        ));
    }
    let head = audit.head_seq.map_or_else(
        || "nothing signed yet".to_owned(),
        |seq| format!("signed up to record {seq}"),
    );
    Some(format!("audit   {head}, {} not yet; {}", audit.unsigned, text::size(audit.bytes)))
}

/// What is guarded and what the zones do, and what to do if the guard is down.
pub(super) fn guard(status: &Status) -> String {
    let mut lines = out::name(&status.summary, None);
    if let Some(why) = status.why.as_deref().and_then(|why| why.split_once('\n')) {
        lines.push_str(&format!("\nwhy     {}", why.1.trim()));
    }
    if !status.guard_up {
        let fix = status.fix.as_deref().unwrap_or("run `holdfast doctor`");
        lines.push_str(&format!("\nfix     {fix}"));
    }
    lines
}

fn render_zone(zone: &ZoneStatus) -> String {
    let mut page = String::new();
    let mut destroyed = format!(
        "{} and {} destroyed",
        text::count(zone.destroyed.files, "file"),
        text::size(zone.destroyed.bytes)
    );
    if zone.strict > 0 {
        // They count, and nobody need have touched the zone.
        let ops = text::count(zone.strict, "op");
        destroyed
            .push_str(&format!(" (at most: {ops} of unknown place on its filesystem count here)"));
    }
    push(
        &mut page,
        &format!(
            "zone {}  {}, {}, {}: {destroyed}, {}",
            zone.name,
            zone.role,
            out::mode(&zone.mode, &zone.on_trip),
            zone.state.words(),
            text::count(zone.trips, "trip")
        ),
    );
    for path in &zone.paths {
        push(&mut page, &render_path(path));
    }
    if zone.kept_roots > 0 {
        push(&mut page, &format!("  kept     {}", text::kept_roots(zone.kept_roots)));
    }
    if zone.unmounted_roots > 0 {
        push(
            &mut page,
            &format!(
                "  gone     {}: not mounted any more, and guarded if it comes back under the same \
                 device number",
                text::directories(zone.unmounted_roots)
            ),
        );
    }
    let budgets: Vec<Vec<String>> = zone.budgets.iter().map(budget).collect();
    page.push_str(&out::table(&budgets, 2));
    for budget in &zone.budgets {
        for tripped in &budget.tripped {
            let actor = out::name(&tripped.actor.name, None);
            push(
                &mut page,
                &format!(
                    "  TRIPPED  {actor} until {} ({}){}",
                    tripped.until.time,
                    budget.label,
                    tripped.by.as_ref().map_or_else(String::new, |by| format!(
                        ": {} at {}, by inode {} on {}",
                        by.limit, by.time, by.inode, by.device
                    ))
                ),
            );
        }
    }
    let ops: Vec<String> =
        zone.ops.iter().map(|row| format!("{} {} {}", row.op, row.verdict, row.ops)).collect();
    if !ops.is_empty() {
        push(&mut page, &format!("  ops      {}", ops.join(", ")));
    }
    for (count, what) in [
        (zone.events_lost, "events found the kernel's buffer full"),
        (zone.events_suppressed, "events left out because their actor sent enough already"),
        (zone.overflow, "charges shared one account because there was no room for more"),
        (
            zone.untracked,
            "ops without kernel memory: refused, or uncharged where nothing is enforced",
        ),
    ] {
        if count > 0 {
            push(&mut page, &format!("  note     {count} {what}"));
        }
    }
    page
}

fn render_path(path: &PathStatus) -> String {
    let name = path.path.as_deref().unwrap_or_default();
    let name = out::name(name, path.path_bytes.as_deref());
    match path.state {
        PathState::Guarded => format!("  guarded  {name}"),
        PathState::Missing => format!("  missing  {name} (guarded as soon as it appears)"),
        PathState::NotGuarded => {
            let why = path.why.as_deref().unwrap_or_default();
            let why = if why.contains(&name) || name.is_empty() {
                why.to_owned()
            } else {
                format!("{name}: {why}")
            };
            let fix = path.fix.as_deref().unwrap_or("run `holdfast doctor`");
            format!("  NOT GUARDED  {}\n           fix: {fix}", why.replace('\n', "\n           "))
        }
    }
}

fn budget(budget: &BudgetStatus) -> Vec<String> {
    let who = match &budget.tightest {
        Some(actor) => format!("tightest: {}", out::name(&actor.name, None)),
        None => "nothing spent".to_owned(),
    };
    let left = out::sides(budget.files, budget.bytes, budget.tenants);
    vec!["budget ".to_owned(), budget.label.clone(), format!("left {left}"), who]
}

fn push(page: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(page, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;
    use crate::daemon::{State, test_guarded, test_plan};
    use crate::report::{self, Facts};

    #[test]
    fn unguarded_host_says_why() {
        let now = Now { boot_ns: 90_000_000_000, wall_ns: 0 };
        let mut state = State::new(test_plan(), Now { boot_ns: 0, wall_ns: 0 });
        state.guarding.started = Some(Err("BPF LSM is not active".to_owned()));
        let status = report::status(&state, &Facts::default(), now, &mut |_| None);
        let page = render(&status);
        for part in [
            "GUARD DOWN: BPF LSM is not active\nfix     ",
            "up 1m 30s",
            "zone customers  primary, enforce (hold), NOT GUARDED: ",
            "missing  /nonexistent/customers",
            "operators per unit, 10m  left 200 of 200 files  nothing spent",
        ] {
            assert!(page.contains(part), "{part:?} in\n{page}");
        }
        assert!(!page.contains("GUARD UP"));
    }

    #[test]
    fn paused_processes_are_shown_first() {
        use crate::holds::{ZoneRule, test_holds};

        let mut state = State::new(test_plan(), test_holds::at(1));
        let threads = vec![test_holds::thread(100, 10), test_holds::thread(101, 10)];
        let survey = test_holds::survey(threads);
        let _ = state.book.take(survey, &|_| ZoneRule::unknown("z"), test_holds::at(10));
        let status = report::status(&state, &Facts::default(), test_holds::at(10), &mut |_| None);
        let page = render(&status);
        let line = page.lines().find(|line| line.starts_with("PAUSED")).unwrap();
        assert_eq!(
            line,
            "PAUSED  1 process is held until somebody decides: see `holdfast hold list`"
        );
        assert!(!guarded_page(0, false).contains("PAUSED"));
    }

    #[test]
    fn open_allowance_is_shown_above_zones() {
        use crate::api::{BindReport, OpenAllowance, Spent, Until};

        let now = Now { boot_ns: 90_000_000_000, wall_ns: 0 };
        let state = State::new(test_plan(), now);
        let mut status = report::status(&state, &Facts::default(), now, &mut |_| None);
        assert!(!render(&status).contains("ALLOWED"));
        status.allowances.push(OpenAllowance {
            id: "CHG-1".to_owned(),
            reason: "remove caches".to_owned(),
            until: Until { time: now.wall(), time_ns: 1 },
            seconds_left: 60,
            bind: BindReport::default(),
            files: Spent { limit: 10, spent: 4, left: 6 },
            bytes: Spent::default(),
        });
        let page = render(&status);
        let (allowed, zone) = (page.find("ALLOWED CHG-1 "), page.find("\nzone "));
        assert!(allowed.is_some() && allowed < zone, "{page}");
    }

    fn guarded_page(kept: usize, unmounted: bool) -> String {
        let mut state = test_guarded();
        let now = state.started;
        state.in_force[0].kept = vec![7; kept];
        if unmounted {
            state.unmounted = [7].into();
        }
        render(&report::status(&state, &Facts::default(), now, &mut |_| None))
    }

    #[test]
    fn zone_without_directory_is_named_first() {
        let page = guarded_page(0, false);
        let first = page.lines().next().unwrap();
        assert_eq!(first, "GUARD UP, 0 of 1 zones enforcing; without any directory: customers");
        assert!(page.contains("zone customers  primary, enforce (hold), NO DIRECTORY: "), "{page}");
        assert!(!page.contains("kept"), "{page}");
    }

    #[test]
    fn moved_directory_is_shown_beside_path() {
        let page = guarded_page(1, false);
        assert!(page.starts_with("GUARD UP, ENFORCING: "), "{page}");
        assert!(page.contains("missing  /nonexistent/customers"), "{page}");
        assert!(
            page.contains("kept     1 directory has left its path and is still guarded"),
            "{page}"
        );
        let page = guarded_page(2, false);
        assert!(
            page.contains("2 directories have left their paths and are still guarded"),
            "{page}"
        );
    }

    /// Files of no zone, truncated through NFS, were "5 files destroyed" of a zone that nobody had
    /// touched.
    #[test]
    fn ops_of_unknown_place_are_separate() {
        let mut state = test_guarded();
        state.in_force[0].kept = vec![7];
        let now = state.started;
        let mut status = report::status(&state, &Facts::default(), now, &mut |_| None);
        assert!(!render(&status).contains("unknown place"));
        status.zones[0].destroyed.files = 5;
        status.zones[0].strict = 5;
        let page = render(&status);
        let wanted = "5 files and 0 B destroyed (at most: 5 ops of unknown place on its filesystem";
        assert!(page.contains(wanted), "{page}");
    }

    #[test]
    fn unmounted_directory_is_not_still_guarded() {
        let page = guarded_page(1, true);
        assert!(!page.contains("still guarded"), "{page}");
        assert!(page.contains("gone     1 directory: not mounted any more"), "{page}");
        assert!(page.starts_with("GUARD UP, 0 of 1 zones enforcing"), "{page}");
    }
}
