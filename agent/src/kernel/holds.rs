//! What the kernel has paused, and telling it what was decided.
//!
//! The kernel writes `HELD` and `HOLDS`, the agent `RELEASES` and `HEARTBEAT`; each removes what is
//! over. Nothing here signals a process: a thread learns of a decision when it is continued and
//! tries again.

use std::io::ErrorKind;
use std::path::Path;

use aya::maps::{Array, MapData, MapError};
use holdfast_abi as abi;

use super::{
    BPF_F_LOCK, boot_time_ns,
    error::KernelError,
    maps::{Maps, entries, open_map},
};

/// One hold, and what was decided about it so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldRow {
    /// Whose it is.
    pub key: abi::HoldKey,
    /// As the kernel keeps it.
    pub hold: abi::Hold,
    /// The last decision; all zero if there was none.
    pub release: abi::Release,
}

/// Shows the kernel that somebody is there to let paused processes go on. It has a descriptor of
/// its own, so that a thread of its own can do it.
pub struct Heart(Array<MapData, abi::Heartbeat>);

impl Heart {
    pub(super) fn open(dir: &Path) -> Result<Self, KernelError> {
        let map = open_map(dir, "HEARTBEAT")?.try_into();
        map.map(Self).map_err(|error| KernelError::refused("open the map HEARTBEAT", error))
    }

    /// Shows it once.
    pub fn beat(&mut self) -> Result<(), KernelError> {
        let beat = abi::Heartbeat { time_ns: boot_time_ns(), agent: std::process::id(), pad: 0 };
        self.0.set(0, beat, 0).map_err(|error| KernelError::refused("write the heartbeat", error))
    }
}

/// Every paused thread.
pub(super) fn held(maps: &Maps) -> Result<Vec<(abi::TaskKey, abi::Held)>, KernelError> {
    let mut held = entries(&maps.held, 0, "read what is held")?;
    // The others are still being written.
    held.retain(|(_, held): &(_, abi::Held)| held.since_ns != 0);
    Ok(held)
}

/// Every hold.
pub(super) fn holds(maps: &Maps) -> Result<Vec<HoldRow>, KernelError> {
    let holds = entries(&maps.holds, BPF_F_LOCK, "read the holds")?;
    holds
        .into_iter()
        .map(|(key, hold)| Ok(HoldRow { key, hold, release: release_of(maps, &key)? }))
        .collect()
}

/// Releases `files` more files to a hold, to be spent until `until_ns`.
pub(super) fn release(
    maps: &mut Maps,
    key: &abi::HoldKey,
    files: u64,
    until_ns: u64,
) -> Result<(), KernelError> {
    let used = find(maps, key)?.used;
    let before = release_of(maps, key)?;
    let now = boot_time_ns();
    // What is left of an earlier release stays good, if it still is.
    let base = if now < before.until_ns { before.files.max(used) } else { used };
    let release = abi::Release {
        files: base.saturating_add(files),
        until_ns: until_ns.max(if now < before.until_ns { before.until_ns } else { 0 }),
        released_ns: now,
        denied_until_ns: 0,
    };
    decide(maps, key, release)
}

/// Starts every budget anew that this hold's actor has tripped within its window, and lets its
/// threads try again. (After the latch has ended what was spent is spent, and would hold them once
/// more.) Returns how many budgets.
pub(super) fn reset(maps: &mut Maps, key: &abi::HoldKey) -> Result<usize, KernelError> {
    let now = boot_time_ns();
    let mut count = 0;
    for budget in maps.zone_budgets(key.zone)? {
        let per = abi::Per::from_number(budget.per).unwrap_or(abi::Per::Zone);
        let actor = per.actor(key.unit, key.user);
        let account = abi::AccountKey { budget: budget.id, actor };
        let unplaced = abi::AccountKey { actor: actor | abi::UNKNOWN_PLACE, ..account };
        let shared = abi::AccountKey { actor: abi::OVERFLOW_ACTOR, ..account };
        let has_tripped = |window: &abi::Window| window.has_tripped(&budget.limit, now);
        let was_reset = match reset_account(maps, account, has_tripped)? {
            Some(was_reset) => was_reset,
            // There was no room for it: it shares the overflow account with everybody who is new.
            None => reset_account(maps, shared, has_tripped)?.unwrap_or(false),
        };
        let unplaced = reset_account(maps, unplaced, has_tripped)?.unwrap_or(false);
        count += usize::from(was_reset || unplaced);
    }
    retry(maps, key)?;
    Ok(count)
}

/// Resets one actor's account of one budget, or the one that is shared, if there is such an
/// account.
pub(super) fn reset_actor(maps: &mut Maps, key: abi::AccountKey) -> Result<(), KernelError> {
    reset_account(maps, key, |_| true)?;
    Ok(())
}

/// Starts an account anew if its window is one `which`, and says whether it was; `None` if there is
/// none.
fn reset_account(
    maps: &mut Maps,
    key: abi::AccountKey,
    which: impl Fn(&abi::Window) -> bool,
) -> Result<Option<bool>, KernelError> {
    let refused = |error| KernelError::refused("reset a budget", error);
    let Some(found) = maps.account(&key).map_err(refused)? else { return Ok(None) };
    let is_due = which(&found.window);
    if is_due {
        let anew = abi::Account { window: found.window.reset(), ..found };
        maps.set_account(key, anew).map_err(refused)?;
    }
    Ok(Some(is_due))
}

/// Lets the threads of a hold try again, with nothing released.
pub(super) fn retry(maps: &mut Maps, key: &abi::HoldKey) -> Result<(), KernelError> {
    let before = release_of(maps, key)?;
    decide(maps, key, abi::Release { released_ns: boot_time_ns(), denied_until_ns: 0, ..before })
}

/// From now until `until_ns` a hold's ops are denied.
pub(super) fn deny(maps: &mut Maps, key: &abi::HoldKey, until_ns: u64) -> Result<(), KernelError> {
    let before = release_of(maps, key)?;
    decide(maps, key, abi::Release { denied_until_ns: until_ns, ..before })
}

/// Forgets a hold that is over.
pub(super) fn forget_hold(maps: &mut Maps, key: &abi::HoldKey) -> Result<(), KernelError> {
    gone(maps.releases.remove(key), "forget a release")?;
    gone(maps.holds.remove(key), "forget a hold")
}

/// Forgets every hold of a zone whose slot another takes over: what was released there is not for
/// this one.
pub(super) fn forget_zone(maps: &mut Maps, zone: u32) -> Result<(), KernelError> {
    for (key, _) in entries(&maps.holds, BPF_F_LOCK, "read the holds")? {
        if key.zone == zone {
            forget_hold(maps, &key)?;
        }
    }
    Ok(())
}

/// Forgets a paused thread that is gone, or goes on.
pub(super) fn forget_held(maps: &mut Maps, key: &abi::TaskKey) -> Result<(), KernelError> {
    gone(maps.held.remove(key), "forget a paused thread")
}

/// A decision about a hold that is over would stay for ever.
fn find(maps: &Maps, key: &abi::HoldKey) -> Result<abi::Hold, KernelError> {
    let found = maps.holds.get(key, BPF_F_LOCK);
    found.map_err(|error| KernelError::refused("find the hold", error))
}

fn decide(maps: &mut Maps, key: &abi::HoldKey, release: abi::Release) -> Result<(), KernelError> {
    find(maps, key)?;
    maps.releases
        .insert(key, release, 0)
        .map_err(|error| KernelError::refused("write down a decision", error))
}

fn release_of(maps: &Maps, key: &abi::HoldKey) -> Result<abi::Release, KernelError> {
    match maps.releases.get(key, 0) {
        Ok(release) => Ok(release),
        Err(MapError::KeyNotFound) => Ok(abi::Release::default()),
        Err(error) => Err(KernelError::refused("read a decision", error)),
    }
}

fn gone(outcome: Result<(), MapError>, what: &'static str) -> Result<(), KernelError> {
    match outcome {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        // What aya says when there was nothing to remove.
        Err(MapError::SyscallError(error)) if error.io_error.kind() == ErrorKind::NotFound => {
            Ok(())
        }
        Err(error) => Err(KernelError::refused(what, error)),
    }
}
