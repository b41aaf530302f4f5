//! Forgetting accounts. Every session and timer of a host is a cgroup of its own, and each that deletes something in a
//! zone gets an account for each budget: without this the table would fill in weeks.

use std::collections::HashMap;

use holdfast_abi as abi;

use super::{BPF_F_LOCK, boot_time_ns, error::KernelError, maps::Maps};

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
