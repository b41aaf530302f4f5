//! Reading, carrying over and forgetting accounts. Every session and timer of a host is a cgroup of
//! its own, and each that deletes something in a zone gets an account for each budget: without this
//! the table would fill in weeks.

use std::collections::HashMap;
use std::io::ErrorKind;

use holdfast_abi as abi;

use aya::maps::MapError;
use tracing::warn;

use super::{
    BPF_F_LOCK, BPF_NOEXIST, Spending, Tenants, boot_time_ns,
    error::KernelError,
    maps::{Maps, each},
};

/// Nothing is forgotten while fewer accounts than this are there.
const MANY: usize = abi::MAX_ACCOUNTS as usize / 4;
/// Nor while there are fewer tenants.
const MANY_TENANTS: usize = abi::MAX_TENANT_SPENDS as usize / 4;
/// The window to wait for where no policy in force has the budget any more.
const FORGOTTEN_BUDGET_NS: u64 = 24 * 3600 * 1_000_000_000;

/// Forgets accounts that equal a new one: everything has left their window, and no trip lasts.
///
/// An op that has found its account but not yet locked it when the account goes would be charged to
/// nothing. That takes an actor that was idle for a window and comes back within nanoseconds of
/// this, and costs one op.
pub(super) fn collect(maps: &mut Maps) -> Result<usize, KernelError> {
    let refused = |error| KernelError::refused("forget accounts", error);
    let keys: Vec<abi::AccountKey> =
        maps.accounts.keys().collect::<Result<_, _>>().map_err(refused)?;
    let many_tenants = maps.tenants.keys().count() >= MANY_TENANTS;
    if keys.len() < MANY && !many_tenants {
        return Ok(0);
    }
    let budgets = maps.budgets()?;
    let limits: HashMap<u64, abi::Limit> =
        budgets.iter().map(|budget| (budget.id, budget.limit)).collect();
    let now = boot_time_ns();
    let mut forgotten = 0;
    for key in keys {
        let Ok(account) = maps.accounts.get(&key, BPF_F_LOCK) else { continue };
        let window = &account.window;
        let drained = match limits.get(&key.budget) {
            Some(limit) => window.is_drained(limit, now),
            None => {
                window.latest.max(window.latched_until).saturating_add(FORGOTTEN_BUDGET_NS) < now
            }
        };
        if drained {
            maps.accounts.remove(&key).map_err(refused)?;
            forgotten += 1;
        }
    }
    collect_tenants(maps, &limits, now)?;
    Ok(forgotten)
}

/// Every account, the overflow accounts among them, one after the other: all of them at once would
/// be 15 MB. Each is read under its lock.
pub(super) fn accounts(
    maps: &Maps,
) -> impl Iterator<Item = Result<(abi::AccountKey, abi::Account), KernelError>> {
    const WHAT: &str = "read the accounts";
    let shared = each(&maps.overflow, BPF_F_LOCK, WHAT).map(|row| {
        row.map(|(budget, account)| {
            (abi::AccountKey { budget, actor: abi::OVERFLOW_ACTOR }, account)
        })
    });
    each(&maps.accounts, BPF_F_LOCK, WHAT).chain(shared)
}

/// The tenants that accounts have touched. An op may be changing an entry that is read.
pub(super) fn tenants(maps: &Maps) -> Result<Tenants, KernelError> {
    let mut tenants = Tenants::new();
    for row in each(&maps.tenants, 0, "read which tenants were touched") {
        let (abi::TenantKey { budget, actor, tenant }, row) = row?;
        tenants.entry(abi::AccountKey { budget, actor }).or_default().push((tenant, row));
    }
    Ok(tenants)
}

/// Forgets tenants of accounts that are gone, and those that do not count any more; see
/// [`collect`].
fn collect_tenants(
    maps: &mut Maps,
    limits: &HashMap<u64, abi::Limit>,
    now: u64,
) -> Result<(), KernelError> {
    const WHAT: &str = "forget tenants";
    let moment = |(key, account): (abi::AccountKey, abi::Account)| {
        (key, limits.get(&key.budget).map(|limit| account.window.moment(limit, now)))
    };
    let moments: HashMap<_, _> =
        accounts(maps).map(|row| row.map(moment)).collect::<Result<_, _>>()?;
    let mut stale = Vec::new();
    for row in each(&maps.tenants, 0, WHAT) {
        let (key, row) = row?;
        let moment = moments.get(&abi::AccountKey { budget: key.budget, actor: key.actor });
        if !moment.is_some_and(|moment| moment.is_none_or(|moment| row.matters(moment))) {
            stale.push(key);
        }
    }
    for key in stale {
        // The account may have been made, or the tenant touched, since those were read.
        let account = abi::AccountKey { budget: key.budget, actor: key.actor };
        let account = maps.account(&account).ok().flatten();
        let matters = account.is_some_and(|account| match limits.get(&key.budget) {
            Some(limit) => {
                let moment = account.window.moment(limit, boot_time_ns());
                maps.tenants.get(&key, 0).is_ok_and(|row| row.matters(moment))
            }
            None => true,
        });
        if !matters {
            maps.tenants.remove(&key).map_err(|error| KernelError::refused(WHAT, error))?;
        }
    }
    Ok(())
}

/// See [`super::Guard::carry_over`].
pub(super) fn carry_over(
    maps: &mut Maps,
    key: abi::AccountKey,
    known: &mut Option<Tenants>,
    merge: &dyn Fn(&Spending) -> Spending,
) -> Result<bool, KernelError> {
    let refused = |error| KernelError::refused("carry an account over", error);
    let Some(account) = maps.account(&key).map_err(refused)? else {
        if key.actor == abi::OVERFLOW_ACTOR {
            return Ok(false);
        }
        let Spending { window, tenants } = merge(&Spending::default());
        put_tenants(maps, key, tenants);
        let account = abi::Account { window, ..abi::Account::new() };
        return match maps.accounts.insert(key, account, BPF_NOEXIST) {
            Ok(()) => Ok(true),
            // An op has made it meanwhile.
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == ErrorKind::AlreadyExists =>
            {
                carry_over(maps, key, known, merge)
            }
            Err(error) => Err(refused(error)),
        };
    };
    let known = match known {
        Some(known) => known,
        None => known.insert(tenants(maps)?),
    };
    let tenants = known.get(&key).cloned().unwrap_or_default();
    let Spending { window, tenants } = merge(&Spending { window: account.window, tenants });
    put_tenants(maps, key, tenants);
    maps.set_account(key, abi::Account { window, ..account }).map_err(refused)?;
    Ok(true)
}

/// The ring counts a tenant for which there is no room, too.
fn put_tenants(maps: &mut Maps, key: abi::AccountKey, tenants: Vec<(u64, abi::TenantSpend)>) {
    for (tenant, row) in tenants {
        let key = abi::TenantKey { budget: key.budget, actor: key.actor, tenant };
        if let Err(error) = maps.tenants.insert(key, row, 0) {
            warn!(%error, "there is no room to carry all tenants over: they count anew");
            return;
        }
    }
}
