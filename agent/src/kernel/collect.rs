//! Reading, carrying over and forgetting accounts. Every session and timer of a host is a cgroup of its own, and each that deletes something in a
//! zone gets an account for each budget: without this the table would fill in weeks.

use std::collections::HashMap;
use std::io::ErrorKind;

use holdfast_abi as abi;

use aya::maps::{HashMap as Hash, MapData, MapError};

use super::{
    BPF_EXIST, BPF_F_LOCK, BPF_NOEXIST, Spending, boot_time_ns,
    error::KernelError,
    maps::{Maps, each, entries},
};

/// Nothing is forgotten while fewer accounts than this are there.
const MANY: usize = abi::MAX_ACCOUNTS as usize / 4;
/// Nor while there are fewer tenants.
const MANY_TENANTS: usize = abi::MAX_TENANT_SPENDS as usize / 4;
/// The window to wait for where no policy in force has the budget any more.
const FORGOTTEN_BUDGET_NS: u64 = 24 * 3600 * 1_000_000_000;

type Tenants = Hash<MapData, abi::TenantKey, abi::TenantSpend>;

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

/// The tenants that accounts have touched. An op may be changing an entry that is read.
pub(super) fn tenants(maps: &Maps) -> Result<Vec<(abi::TenantKey, abi::TenantSpend)>, KernelError> {
    entries(&maps.tenants, 0, "read which tenants were touched")
}

/// Forgets tenants of accounts that are gone, and those that do not count any more; see [`collect`].
fn collect_tenants(
    maps: &mut Maps,
    limits: &HashMap<u64, abi::Limit>,
    now: u64,
) -> Result<(), KernelError> {
    let refused = |error| KernelError::refused("forget tenants", error);
    let moment = |(key, account): (abi::AccountKey, abi::Account)| {
        (key, limits.get(&key.budget).map(|limit| account.window.moment(limit, now)))
    };
    let moments: HashMap<_, _> =
        accounts(maps).map(|row| row.map(moment)).collect::<Result<_, _>>()?;
    for (key, row) in tenants(maps)? {
        let account = abi::AccountKey { budget: key.budget, actor: key.actor };
        let moment = moments.get(&account);
        if !moment.is_some_and(|moment| moment.is_none_or(|moment| row.matters(moment))) {
            maps.tenants.remove(&key).map_err(refused)?;
        }
    }
    Ok(())
}

/// See [`super::Guard::carry_over`].
pub(super) fn carry_over(
    maps: &mut Maps,
    key: abi::AccountKey,
    merge: &dyn Fn(&Spending) -> Spending,
) -> Result<bool, KernelError> {
    let anew = merge(&Spending::default());
    let merged = if key.actor == abi::OVERFLOW_ACTOR {
        merge_into(&mut maps.overflow, &maps.tenants, (key.budget, key), merge)?
    } else {
        let account = abi::Account { window: anew.window, ..abi::Account::new() };
        match maps.accounts.insert(key, account, BPF_NOEXIST) {
            Ok(()) => Some(anew),
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == ErrorKind::AlreadyExists =>
            {
                merge_into(&mut maps.accounts, &maps.tenants, (key, key), merge)?
            }
            Err(error) => return Err(KernelError::refused("carry an account over", error)),
        }
    };
    let Some(merged) = merged else { return Ok(false) };
    for (tenant, row) in merged.tenants {
        let key = abi::TenantKey { budget: key.budget, actor: key.actor, tenant };
        let refused = |error| KernelError::refused("carry a tenant over", error);
        maps.tenants.insert(key, row, 0).map_err(refused)?;
    }
    Ok(true)
}

/// `at`: where the account is in its map, and whose it is.
fn merge_into<K: aya::Pod>(
    accounts: &mut Hash<MapData, K, abi::Account>,
    tenants: &Tenants,
    at: (K, abi::AccountKey),
    merge: &dyn Fn(&Spending) -> Spending,
) -> Result<Option<Spending>, KernelError> {
    let refused = |error| KernelError::refused("carry an account over", error);
    let (key, whose) = at;
    let found = match accounts.get(&key, BPF_F_LOCK) {
        Ok(found) => found,
        Err(MapError::KeyNotFound) => return Ok(None),
        Err(error) => return Err(refused(error)),
    };
    let is_its = |key: &abi::TenantKey| (key.budget, key.actor) == (whose.budget, whose.actor);
    let rows = each(tenants, 0, "read which tenants were touched").filter_map(|row| {
        row.map(|(key, row)| is_its(&key).then_some((key.tenant, row))).transpose()
    });
    let own = Spending { window: found.window, tenants: rows.collect::<Result<_, _>>()? };
    let merged = merge(&own);
    accounts
        .insert(key, abi::Account { window: merged.window, ..found }, BPF_F_LOCK | BPF_EXIST)
        .map_err(refused)?;
    Ok(Some(merged))
}
