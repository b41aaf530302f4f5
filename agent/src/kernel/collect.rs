//! Reading, carrying over and forgetting accounts. Every session and timer of a host is a cgroup of its own, and each that deletes something in a
//! zone gets an account for each budget: without this the table would fill in weeks.

use std::collections::HashMap;
use std::io::ErrorKind;

use holdfast_abi as abi;

use aya::maps::{HashMap as Hash, MapData, MapError};

use super::{
    BPF_EXIST, BPF_F_LOCK, BPF_NOEXIST, boot_time_ns,
    error::KernelError,
    maps::{Maps, each, entries},
};

/// As for tenants.
const MANY_TENANTS: usize = abi::MAX_TENANT_SPENDS as usize / 4;
/// Nothing is forgotten while fewer accounts than this are there.
const MANY: usize = abi::MAX_ACCOUNTS as usize / 4;
/// The window to wait for where no policy in force has the budget any more.
const FORGOTTEN_BUDGET_NS: u64 = 24 * 3600 * 1_000_000_000;

/// Forgets accounts that equal a new one: everything has left their window, and no trip lasts.
///
/// An op that has found its account but not yet locked it when the account goes would be charged to nothing. That takes
/// an actor that was idle for a window and comes back within nanoseconds of this, and costs one op.
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
/// be 27 MB. Each is read under its lock.
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

/// What tenants have lost that do not count with their first file. An op may be adding to an entry
/// that is read.
pub(super) fn tenant_spends(
    maps: &Maps,
) -> Result<Vec<(abi::TenantKey, abi::TenantSpend)>, KernelError> {
    entries(&maps.tenants, 0, "read what tenants have lost")
}

/// Forgets what tenants have lost of accounts that are gone, and what does not count any more; see
/// [`collect`].
fn collect_tenants(
    maps: &mut Maps,
    limits: &HashMap<u64, abi::Limit>,
    now: u64,
) -> Result<(), KernelError> {
    let refused = |error| KernelError::refused("forget what tenants have lost", error);
    let time = |(key, account): (abi::AccountKey, abi::Account)| {
        (key, limits.get(&key.budget).map(|limit| account.window.part_time(limit, now)))
    };
    let times: HashMap<_, _> = accounts(maps).map(|row| row.map(time)).collect::<Result<_, _>>()?;
    for (key, spend) in tenant_spends(maps)? {
        let account = abi::AccountKey { budget: key.budget, actor: key.actor };
        let counts = times
            .get(&account)
            .is_some_and(|time| time.is_none_or(|time| spend.spent(time) != (0, 0)));
        if !counts {
            maps.tenants.remove(&key).map_err(refused)?;
        }
    }
    Ok(())
}

/// What the tenants of an account have lost, of its window before with the losses that are there,
/// and the window after.
pub(super) type MergeLosses<'a> = &'a dyn Fn(
    (&abi::Window, &Vec<(u64, abi::TenantSpend)>),
    &abi::Window,
) -> Vec<(u64, abi::TenantSpend)>;

/// See [`super::Guard::carry_over`].
pub(super) fn carry_over(
    maps: &mut Maps,
    key: abi::AccountKey,
    merge: &dyn Fn(&abi::Window) -> abi::Window,
    losses: MergeLosses<'_>,
) -> Result<bool, KernelError> {
    let merged = if key.actor == abi::OVERFLOW_ACTOR {
        merge_into(&mut maps.overflow, key.budget, merge)?
    } else {
        let own = abi::Window::new();
        let anew = abi::Account { window: merge(&own), ..abi::Account::new() };
        match maps.accounts.insert(key, anew, BPF_NOEXIST) {
            Ok(()) => Some((own, anew.window)),
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == ErrorKind::AlreadyExists =>
            {
                merge_into(&mut maps.accounts, key, merge)?
            }
            Err(error) => return Err(KernelError::refused("carry an account over", error)),
        }
    };
    let Some((own, window)) = merged else { return Ok(false) };
    let there = tenant_spends(maps)?.into_iter().filter(|(tenant, _)| {
        abi::AccountKey { budget: tenant.budget, actor: tenant.actor } == key
    });
    let there = there.map(|(key, spend)| (key.tenant, spend)).collect();
    for (tenant, spend) in losses((&own, &there), &window) {
        let key = abi::TenantKey { budget: key.budget, actor: key.actor, tenant };
        let refused = |error| KernelError::refused("carry over what a tenant has lost", error);
        maps.tenants.insert(key, spend, 0).map_err(refused)?;
    }
    Ok(true)
}

fn merge_into<K: aya::Pod>(
    accounts: &mut Hash<MapData, K, abi::Account>,
    key: K,
    merge: &dyn Fn(&abi::Window) -> abi::Window,
) -> Result<Option<(abi::Window, abi::Window)>, KernelError> {
    let refused = |error| KernelError::refused("carry an account over", error);
    let found = match accounts.get(&key, BPF_F_LOCK) {
        Ok(found) => found,
        Err(MapError::KeyNotFound) => return Ok(None),
        Err(error) => return Err(refused(error)),
    };
    let window = merge(&found.window);
    accounts
        .insert(key, abi::Account { window, ..found }, BPF_F_LOCK | BPF_EXIST)
        .map_err(refused)?;
    Ok(Some((found.window, window)))
}
