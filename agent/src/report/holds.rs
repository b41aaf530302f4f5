//! Paused processes as documents.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use holdfast_abi::AccountKey;
use holdfast_policy::{Budget, Zone};

use super::{Ledger, Left, event};
use crate::api::{
    Cost, HoldBudget, HoldReport, HoldTenant, PausedProcess, PausedThread, ReleasedCount,
    ReleasedFiles, Tenant, Until, UserRef,
};
use crate::clock::Now;
use crate::daemon::State;
use crate::holds::Paused;
use crate::kernel::HoldRow;
use crate::report::Facts;

/// Names that are looked up outside.
pub(crate) struct Names<'a> {
    /// The name of a unit, of which this process was a member.
    pub(crate) unit: &'a mut dyn FnMut(u64, Option<u32>) -> Option<String>,
    /// The name of a user.
    pub(crate) user: &'a dyn Fn(u32) -> Option<String>,
}

/// Every hold that is not over, oldest first.
pub(crate) fn holds(
    state: &State,
    facts: &Facts,
    now: Now,
    names: &mut Names<'_>,
) -> Vec<HoldReport> {
    state.book.holds(now).map(|row| hold(row, state, facts, now, names)).collect()
}

fn hold(
    row: &HoldRow,
    state: &State,
    facts: &Facts,
    now: Now,
    names: &mut Names<'_>,
) -> HoldReport {
    let id = row.hold.id;
    let rule = state.rule(row.key.zone);
    let mut threads: Vec<&Paused> = state.book.of(id).collect();
    threads.sort_by_key(|paused| paused.held.since_ns);
    let deadline = state.book.deadline_ns(id, rule.hold_timeout);
    let left = crate::holds::left(&row.hold, &row.release, now.boot_ns);
    let is_denied = now.boot_ns < row.release.denied_until_ns;
    let throttles = threads.iter().any(|paused| !paused.is_held());
    let holding = match (threads.is_empty(), throttles) {
        (_, true) => "throttled",
        _ if is_denied => "denied",
        (false, false) => "held",
        (true, false) => "released",
    };
    let zone = state.plan.policy.zone(&rule.name);
    let decided_by = zone.and_then(|zone| {
        threads.iter().find_map(|paused| {
            let refused = |budget: &&Budget| budget.id(&zone.name) == paused.held.event.budget;
            Some((zone.budgets.iter().find(refused)?, paused.held.event.actor))
        })
    });
    let age = Duration::from_nanos(now.boot_ns.saturating_sub(row.hold.since_ns));
    let pid = threads.first().map(|paused| paused.key.pid);
    let known = threads.first().and_then(|paused| paused.news.decided.unit.clone());
    HoldReport {
        id,
        zone: rule.name.clone(),
        state: holding.to_owned(),
        since: now.wall_at(row.hold.since_ns),
        since_ns: row.hold.since_ns,
        age_seconds: age.as_secs(),
        deadline: deadline.map(|deadline| until(deadline, now)),
        deadline_seconds: deadline
            .map(|deadline| deadline.saturating_sub(now.boot_ns) / 1_000_000_000),
        unit: crate::api::UnitRef {
            id: row.key.unit,
            path: known.or_else(|| (names.unit)(row.key.unit, pid)),
        },
        user: UserRef { uid: row.key.user, name: (names.user)(row.key.user) },
        budget: zone
            .zip(decided_by)
            .map(|(zone, (budget, actor))| spent(budget, actor, zone, &facts.ledger, now)),
        tenants: zone.and_then(|zone| tenants(zone, row, &threads, state, facts, now)),
        released: (left > 0).then(|| ReleasedFiles {
            count: ReleasedCount { files: row.release.files, used: row.hold.used },
            until: until(row.release.until_ns, now),
        }),
        denied_until: is_denied.then(|| until(row.release.denied_until_ns, now)),
        processes: processes(&threads, state, now),
    }
}

/// What the actor has spent of the budget that refused.
fn spent(budget: &Budget, actor: u64, zone: &Zone, ledger: &Ledger, now: Now) -> HoldBudget {
    let conf = budget.conf(zone);
    let window = ledger.account(conf.id, actor).unwrap_or_default();
    let (files, bytes, _) = window.spent(&conf.limit, now.boot_ns);
    let left = Left::of(&window, &conf.limit, now);
    HoldBudget {
        label: budget.label(),
        spent: Cost { files, bytes },
        window_seconds: budget.window.seconds(),
        files: left.files,
        bytes: left.bytes,
        tenants: left.tenants,
    }
}

/// The tenants in the accounts of the hold's actors, and those of its next ops. Without a budget
/// that counts tenants the accounts know of none.
fn tenants(
    zone: &Zone,
    row: &HoldRow,
    threads: &[&Paused],
    state: &State,
    facts: &Facts,
    now: Now,
) -> Option<Vec<HoldTenant>> {
    let mut found: BTreeMap<u64, Option<Tenant>> = BTreeMap::new();
    for paused in threads {
        if let Some(tenant) = event::tenant(&paused.held.event) {
            found.insert(tenant.inode, Some(tenant));
        }
    }
    let counting = zone.budgets.iter().filter(|budget| budget.tenants.is_some());
    let mut counts = false;
    for budget in counting {
        counts = true;
        let actor = budget.per.actor(row.key.unit, row.key.user);
        let conf = budget.conf(zone);
        let Some(window) = facts.ledger.account(conf.id, actor) else { continue };
        let moment = window.moment(&conf.limit, now.boot_ns);
        let touched = facts.tenants.get(&AccountKey { budget: conf.id, actor });
        let touched = touched.into_iter().flatten().filter(|(_, row)| row.counts(moment));
        for &(tenant, _) in touched {
            found.entry(tenant).or_insert_with(|| state.tenant_name(row.key.zone, tenant));
        }
    }
    counts.then(|| found.into_iter().map(|(inode, name)| HoldTenant { inode, name }).collect())
}

/// Threads by process, in the order in which the first of each was paused.
fn processes(threads: &[&Paused], state: &State, now: Now) -> Vec<PausedProcess> {
    let mut index: HashMap<u32, usize> = HashMap::new();
    let mut processes: Vec<PausedProcess> = Vec::new();
    for paused in threads {
        let at = *index.entry(paused.key.pid).or_insert_with(|| {
            let process = paused.news.process.report();
            processes.push(PausedProcess { process, threads: Vec::new() });
            processes.len() - 1
        });
        let held = &paused.held;
        let age = Duration::from_nanos(now.boot_ns.saturating_sub(held.since_ns));
        processes[at].threads.push(PausedThread {
            tid: paused.key.tid,
            since: now.wall_at(held.since_ns),
            age_seconds: age.as_secs(),
            stopped_again: held.again,
            retry: (!paused.is_held()).then(|| until(held.retry_ns, now)),
            event: state.event(&paused.news.decided, now),
        });
    }
    processes
}

/// A deadline on both clocks.
pub(crate) fn until(time_ns: u64, now: Now) -> Until {
    Until { time: now.wall_at(time_ns), time_ns }
}
