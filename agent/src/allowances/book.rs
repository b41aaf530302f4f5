//! Everything that is known about allowances on this host, and what follows from it. Pure: no I/O,
//! time comes in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use holdfast_abi::MAX_ALLOWANCES;
use holdfast_policy::allowance::{Allowance, Refused, RefusedReason};

use super::clock::{Clock, Floor};
use super::entry::{Bound, Entry, EntryState, FoundBy, Revoked, Why};
use super::process::ProcessId;
use super::store::{Change, Loaded};
use crate::break_glass;
use crate::clock::{Now, rfc3339};
use crate::kernel::AllowanceRow;

/// Allowances that are remembered, and ids that are revoked: so many of each.
const KEPT: usize = 4096;
/// An allowance can be forgotten so long after its time is over, seconds: its document is long
/// expired, and the clock cannot be set back to before that.
const FORGET_AFTER: i64 = 30 * 86_400;
/// How long a command may take to start after its allowance was opened.
const TO_START: u64 = 60_000_000_000;
/// What is spent is written to the disk this often.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// What is spent of an allowance goes into the audit log this often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What the agent knows about allowances.
#[derive(Debug)]
pub(crate) struct Book {
    entries: BTreeMap<String, Entry>,
    revoked: BTreeMap<String, Revoked>,
    /// What time it is at least.
    pub(crate) clock: Clock,
    boot_id: String,
    /// Why nothing is known about what was used before.
    unreadable: Option<String>,
    /// Why the last change could not be written.
    unwritable: Option<String>,
    /// Allowances that have changed since they were written.
    unsaved: BTreeSet<String>,
    saved: Option<Now>,
    /// When the audit log was told what was spent, and how many ops that was, by id.
    told: HashMap<String, (Now, u64)>,
}

/// The allowances as the kernel has them, and whose processes are gone.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// What the kernel has.
    pub(crate) rows: Vec<AllowanceRow>,
    /// Ids of process trees whose first process (or, before it joined, whose submitter) has ended.
    pub(crate) gone: BTreeSet<String>,
    /// What the kernel has of a break-glass.
    pub(crate) glass: break_glass::Survey,
}

/// What follows from a survey.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Surveyed {
    /// Allowances that are over.
    pub(crate) over: Vec<(String, Why)>,
    /// Serials of what the kernel has and nobody knows.
    pub(crate) unknown: Vec<u64>,
    /// Ids of which the audit log is to be told what was spent.
    pub(crate) tell: Vec<String>,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            revoked: BTreeMap::new(),
            clock: Clock::default(),
            boot_id: String::new(),
            unreadable: Some("it was not read yet".to_owned()),
            unwritable: None,
            unsaved: BTreeSet::new(),
            saved: None,
            told: HashMap::new(),
        }
    }
}

impl Book {
    /// What was kept on disk is known now. Returns the ids of those that another boot left open:
    /// they are over.
    pub(crate) fn load(&mut self, loaded: Loaded, boot_id: String, now: Now) -> Vec<String> {
        self.clock = Clock::load(loaded.clock.as_ref(), &boot_id, now);
        self.entries = loaded.entries.into_iter().map(|entry| (entry.id.clone(), entry)).collect();
        self.revoked = loaded.revoked.into_iter().map(|one| (one.id.clone(), one)).collect();
        self.boot_id = boot_id;
        self.unreadable = None;
        let stale = self.entries.values_mut().filter(|entry| entry.is_open());
        let stale = stale.filter(|entry| entry.boot_id != self.boot_id).map(|entry| {
            entry.state = EntryState::Closed { at_ns: now.wall_ns, why: Why::Rebooted, by: None };
            entry.id.clone()
        });
        stale.collect()
    }

    /// What was kept on disk cannot be read.
    pub(crate) fn cannot_load(&mut self, why: String) {
        self.unreadable = Some(why);
    }

    /// Why nothing is known about what was used before.
    pub(crate) fn unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    /// Why the last change could not be written.
    pub(crate) fn unwritable(&self) -> Option<&str> {
        self.unwritable.as_deref()
    }

    /// This boot.
    pub(crate) fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// One allowance.
    pub(crate) fn get(&self, id: &str) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// One revoked id.
    pub(crate) fn revoked(&self, id: &str) -> Option<&Revoked> {
        self.revoked.get(id)
    }

    /// Every allowance.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Every revoked id.
    pub(crate) fn all_revoked(&self) -> impl Iterator<Item = &Revoked> {
        self.revoked.values()
    }

    /// Those that can be spent, by id.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(|entry| entry.is_open())
    }

    /// The id of the allowance with this serial in this boot.
    pub(crate) fn id_of(&self, serial: u64) -> Option<&str> {
        let is = |entry: &&Entry| entry.serial == serial && entry.boot_id == self.boot_id;
        self.entries.values().find(is).map(|entry| entry.id.as_str())
    }

    /// Whether an allowance that counts can be opened here, as far as what was used before tells.
    /// Returns the ids that may be forgotten to make room.
    pub(crate) fn admit(
        &self,
        allowance: &Allowance,
        digest: &str,
        now: Now,
    ) -> Result<Vec<String>, Refused> {
        self.readable()?;
        let id = &allowance.id;
        if let Some(revoked) = self.revoked.get(id) {
            let message = format!("`{id}` was revoked on this host at {}", rfc3339(revoked.at_ns));
            let help = "what is revoked stays so: have a new one signed, under another id";
            return Err(Refused::new(RefusedReason::Revoked, message, help));
        }
        if let Some(entry) = self.entries.get(id).filter(|entry| entry.is_used()) {
            return Err(used(entry, digest));
        }
        let open = self.open().count();
        if open >= MAX_ALLOWANCES as usize {
            let message = format!("{open} allowances are open, and no more can be");
            let help = "wait until one is over, or revoke one: `holdfast allow list` shows them";
            return Err(Refused::new(RefusedReason::TooManyOpen, message, help));
        }
        self.room(id, now)
    }

    /// What is behind the clock's floor is refused: nobody can tell whether an allowance's time is
    /// over.
    pub(crate) fn in_time(&self, not_after: i64, now: Now) -> Result<(), Refused> {
        if let Some(floor) = self.clock.set_back(now) {
            let message = format!(
                "this host's clock says {}, but it was {} at least: it was set back",
                now.wall(),
                rfc3339(floor)
            );
            let help = "set the clock right and submit it again; if it is right now, and was ahead \
                        before, allowances count again once it has passed the time above";
            return Err(Refused::new(RefusedReason::ClockSetBack, message, help));
        }
        let floor = self.clock.floor_at(now).unwrap_or(now.wall_ns);
        if floor.max(now.wall_ns) >= not_after.saturating_mul(1_000_000_000) {
            let message =
                format!("it was good until {}", rfc3339(not_after.saturating_mul(1_000_000_000)));
            return Err(Refused::new(RefusedReason::Expired, message, "have a new one signed"));
        }
        Ok(())
    }

    /// Until when an allowance can be spent, boot-time nanoseconds: as long as its document says,
    /// whatever the clock does later.
    pub(crate) fn deadline(&self, not_after: i64, now: Now) -> u64 {
        let floor = self.clock.floor_at(now).unwrap_or(now.wall_ns);
        let left = not_after.saturating_mul(1_000_000_000).saturating_sub(floor.max(now.wall_ns));
        now.boot_ns.saturating_add(u64::try_from(left).unwrap_or(0))
    }

    /// Whether ops without a mark could find both this and one that is open.
    pub(crate) fn bind_free(&self, bound: &Bound) -> Result<(), Refused> {
        let Some(found_by) = bound.found_by() else { return Ok(()) };
        let Some(other) = self.open().find(|entry| entry.found_by() == Some(found_by)) else {
            return Ok(());
        };
        let whom = match found_by {
            FoundBy::Unit(_) => "unit",
            FoundBy::User(_) => "user",
        };
        let message = format!("`{}` is open and bound to the same {whom}", other.id);
        let help = "wait until it is over, or run the command with `holdfast run --allow`: its \
                    process tree has its own";
        Err(Refused::new(RefusedReason::BindTaken, message, help))
    }

    /// Whether one more id can be revoked.
    pub(crate) fn can_revoke(&self, id: &str) -> Result<(), String> {
        if self.revoked.len() < KEPT || self.revoked.contains_key(id) {
            return Ok(());
        }
        Err(format!("{KEPT} ids are revoked on this host, and no more can be remembered"))
    }

    /// Takes note of a new or changed allowance that is on the disk.
    pub(crate) fn put(&mut self, entry: Entry) {
        self.entries.insert(entry.id.clone(), entry);
    }

    /// Forgets allowances.
    pub(crate) fn forget(&mut self, ids: &[String]) {
        for id in ids {
            self.entries.remove(id);
            self.told.remove(id);
        }
    }

    /// Takes note that an id is revoked.
    pub(crate) fn revoke(&mut self, revoked: Revoked) {
        self.revoked.insert(revoked.id.clone(), revoked);
    }

    /// Takes note of the first process of a tree.
    pub(crate) fn joined(&mut self, id: &str, first: ProcessId) {
        let tree = self.entries.get_mut(id).and_then(|entry| entry.bound.tree.as_mut());
        if let Some(tree) = tree {
            tree.first = Some(first);
        }
    }

    /// Closes an allowance; what the kernel said last was spent of it is final.
    pub(crate) fn close(
        &mut self,
        id: &str,
        row: Option<&AllowanceRow>,
        state: EntryState,
    ) -> Option<&Entry> {
        self.told.remove(id);
        let entry = self.entries.get_mut(id)?;
        if let Some(row) = row {
            entry.spent(row);
        }
        entry.state = state;
        Some(entry)
    }

    /// Compares what the kernel has with what is known. `has_zone` says whether the policy in force
    /// has a zone.
    pub(crate) fn take(
        &mut self,
        survey: &Survey,
        has_zone: &dyn Fn(&str) -> bool,
        now: Now,
    ) -> Surveyed {
        let mut found = Surveyed::default();
        let rows: HashMap<u64, &AllowanceRow> =
            survey.rows.iter().map(|row| (row.serial, row)).collect();
        let mut known = BTreeSet::new();
        for entry in self.entries.values_mut().filter(|entry| entry.is_open()) {
            known.insert(entry.serial);
            let row = rows.get(&entry.serial);
            if row.is_some_and(|row| entry.spent(row)) {
                self.unsaved.insert(entry.id.clone());
            }
            let is_revoked = self.revoked.contains_key(&entry.id);
            let is_gone = survey.gone.contains(&entry.id);
            if let Some(why) = over(entry, row.is_some(), is_revoked, is_gone, has_zone, now) {
                found.over.push((entry.id.clone(), why));
                continue;
            }
            let ops =
                entry.grants.iter().fold(0, |sum: u64, grant| sum.saturating_add(grant.used_ops));
            let (at, told) = self.told.entry(entry.id.clone()).or_insert((now, ops));
            if *told != ops && now.since(*at) >= TELL_EVERY {
                (*at, *told) = (now, ops);
                found.tell.push(entry.id.clone());
            }
        }
        found.unknown = rows.into_keys().filter(|serial| !known.contains(serial)).collect();
        found.unknown.sort_unstable();
        found
    }

    /// What is to be written to the disk now, if anything is: the clock, and what was spent.
    pub(crate) fn wants_save(&self, now: Now) -> bool {
        let is_due = self.saved.is_none_or(|saved| now.since(saved) >= SAVE_EVERY);
        let wants = (is_due && !self.unsaved.is_empty()) || self.clock.wants_save(now);
        self.unreadable.is_none() && wants
    }

    /// These have to be written to the disk.
    pub(crate) fn unsaved(&mut self, ids: impl IntoIterator<Item = String>) {
        self.unsaved.extend(ids);
    }

    /// Everything that is not on the disk yet.
    pub(crate) fn change(&self, now: Now) -> Change {
        let entries = self.unsaved.iter().filter_map(|id| self.entries.get(id)).cloned();
        Change { entries: entries.collect(), clock: self.floor(now), ..Change::default() }
    }

    /// The clock's floor, to be written to the disk.
    pub(crate) fn floor(&self, now: Now) -> Option<Floor> {
        self.clock.to_save(&self.boot_id, now)
    }

    /// The clock's floor as it will be once an allowance is open, to be written to the disk before
    /// that.
    pub(crate) fn floor_when_opened(&self, now: Now) -> Option<Floor> {
        let mut clock = self.clock.clone();
        clock.believe(now);
        clock.to_save(&self.boot_id, now)
    }

    /// `change` was written, or could not be. Whether that is news. What has changed since stays to
    /// be written.
    pub(crate) fn saved(&mut self, change: &Change, outcome: Result<(), String>, now: Now) -> bool {
        // Also a failure: not in a busy loop.
        self.saved = Some(now);
        self.clock.saved(now);
        let was_fine = self.unwritable.is_none();
        match outcome {
            Ok(()) => {
                for entry in &change.entries {
                    if self.entries.get(&entry.id).is_none_or(|now| now == entry) {
                        self.unsaved.remove(&entry.id);
                    }
                }
                self.unwritable = None;
                !was_fine
            }
            Err(error) => {
                self.unwritable = Some(error);
                was_fine
            }
        }
    }

    /// An error if nothing is known about what was used before.
    pub(crate) fn readable(&self) -> Result<(), Refused> {
        let Some(why) = &self.unreadable else { return Ok(()) };
        let message = format!("nobody can tell which allowances were used on this host: {why}");
        let help = "no allowance counts until the file can be read: see `holdfast status` and the \
                    agent's log";
        Err(Refused::new(RefusedReason::StateUnreadable, message, help))
    }

    /// The ids to forget so that one more can be remembered.
    fn room(&self, id: &str, now: Now) -> Result<Vec<String>, Refused> {
        let Some(excess) = (self.entries.len() + 1).checked_sub(KEPT).filter(|excess| *excess > 0)
        else {
            return Ok(Vec::new());
        };
        if self.entries.contains_key(id) {
            return Ok(Vec::new());
        }
        let today = self.clock.floor_at(now).unwrap_or(i64::MIN) / 1_000_000_000;
        let is_old = |entry: &&Entry| {
            !entry.is_open() && entry.not_after.saturating_add(FORGET_AFTER) < today
        };
        let mut old: Vec<&Entry> = self.entries.values().filter(is_old).collect();
        old.sort_by_key(|entry| entry.not_after);
        if old.len() < excess {
            let message = format!(
                "{KEPT} allowances are remembered, and none of them is old enough to be forgotten"
            );
            let help = "an id is remembered for 30 days after its time is over; wait";
            return Err(Refused::new(RefusedReason::TooManyOpen, message, help));
        }
        Ok(old.into_iter().take(excess).map(|entry| entry.id.clone()).collect())
    }
}

fn used(entry: &Entry, digest: &str) -> Refused {
    let when = rfc3339(entry.opened_ns);
    let help = "each id counts once on each host: have a new one signed, under another id";
    if entry.digest == digest {
        let message = format!("`{}` was activated on this host at {when}", entry.id);
        Refused::new(RefusedReason::AlreadyUsed, message, help)
    } else {
        let message = format!(
            "another document with the id `{}` was activated on this host at {when} (SHA-256 {})",
            entry.id, entry.digest
        );
        Refused::new(RefusedReason::IdReused, message, help)
    }
}

/// Why an open allowance is over, if it is.
fn over(
    entry: &Entry,
    is_in_kernel: bool,
    is_revoked: bool,
    is_gone: bool,
    has_zone: &dyn Fn(&str) -> bool,
    now: Now,
) -> Option<Why> {
    if is_revoked {
        return Some(Why::Revoked);
    }
    if now.boot_ns >= entry.until_ns {
        return Some(Why::Expired);
    }
    if !is_in_kernel {
        return Some(Why::Lost);
    }
    if let Some(tree) = &entry.bound.tree {
        if is_gone && tree.first.is_some() {
            return Some(Why::Finished);
        }
        let is_late = now.boot_ns.saturating_sub(entry.serial) >= TO_START;
        if tree.first.is_none() && (is_gone || is_late) {
            return Some(Why::NeverStarted);
        }
    }
    let has_all = entry.grants.iter().all(|grant| has_zone(&grant.zone));
    (!has_all).then_some(Why::Policy)
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
