//! Reading, carrying over and forgetting accounts. Every session and timer of a host is a cgroup of its own, and each that deletes something in a
//! zone gets an account for each budget: without this the table would fill in weeks.

use std::collections::HashMap;
use std::io::ErrorKind;

use holdfast_abi as abi;

use aya::maps::{HashMap as Hash, MapData, MapError};

use super::{
    BPF_EXIST, BPF_F_LOCK, BPF_NOEXIST, boot_time_ns,
    error::KernelError,
    maps::{Maps, entries},
};

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
    if keys.len() < MANY {
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
    Ok(forgotten)
}

/// Every account, the overflow accounts among them. Each is read under its lock.
pub(super) fn accounts(maps: &Maps) -> Result<Vec<(abi::AccountKey, abi::Account)>, KernelError> {
    let mut accounts = entries(&maps.accounts, BPF_F_LOCK, "read the accounts")?;
    let shared = entries(&maps.overflow, BPF_F_LOCK, "read the accounts")?;
    accounts.extend(shared.into_iter().map(|(budget, account)| {
        (abi::AccountKey { budget, actor: abi::OVERFLOW_ACTOR }, account)
    }));
    Ok(accounts)
}

/// See [`super::Guard::carry_over`].
pub(super) fn carry_over(
    maps: &mut Maps,
    key: abi::AccountKey,
    merge: &dyn Fn(&abi::Window) -> abi::Window,
) -> Result<bool, KernelError> {
    if key.actor == abi::OVERFLOW_ACTOR {
        return merge_into(&mut maps.overflow, key.budget, merge);
    }
    let anew = abi::Account { window: merge(&abi::Window::new()), ..abi::Account::new() };
    match maps.accounts.insert(key, anew, BPF_NOEXIST) {
        Ok(()) => Ok(true),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == ErrorKind::AlreadyExists => {
            merge_into(&mut maps.accounts, key, merge)
        }
        Err(error) => Err(KernelError::refused("carry an account over", error)),
    }
}

fn merge_into<K: aya::Pod>(
    accounts: &mut Hash<MapData, K, abi::Account>,
    key: K,
    merge: &dyn Fn(&abi::Window) -> abi::Window,
) -> Result<bool, KernelError> {
    let refused = |error| KernelError::refused("carry an account over", error);
    let found = match accounts.get(&key, BPF_F_LOCK) {
        Ok(found) => found,
        Err(MapError::KeyNotFound) => return Ok(false),
        Err(error) => return Err(refused(error)),
    };
    let window = merge(&found.window);
    accounts
        .insert(key, abi::Account { window, ..found }, BPF_F_LOCK | BPF_EXIST)
        .map_err(refused)?;
    Ok(true)
}
