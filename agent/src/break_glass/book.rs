//! Everything that is known about break-glass on this host, and what follows from it. Pure: no I/O,
//! time comes in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_policy::break_glass::Terms;

use super::backoff::Backoff;
use super::code::{Code, CodeRow, Used};
use super::entry::{Entry, Proof};
use crate::allowances::{Change, EntryState, ProcessId, Why};
use crate::api::Person;
use crate::clock::Now;
use crate::kernel::AllowanceRow;

/// Those that are over and are remembered.
const KEPT: usize = 256;
/// Codes that can be unused at once.
pub(crate) const MOST_CODES: usize = 100;
/// Used codes that are remembered. One that is forgotten is refused as a wrong one.
const KEPT_CODES: usize = 1000;
/// Challenges that wait for a signature at once; the oldest makes room.
const MOST_CHALLENGES: usize = 16;
/// How long a challenge waits.
pub(crate) const CHALLENGE_LASTS: u64 = 3_600_000_000_000;
/// How long a command may take to start.
const TO_START: u64 = 60_000_000_000;
/// Everybody is reminded this often while one is open.
const REMIND: Duration = Duration::from_secs(60);
/// What is spent is written to the disk this often.
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// What the agent knows.
#[derive(Debug, Default)]
pub(crate) struct Book {
    codes: BTreeMap<u64, CodeRow>,
    entries: BTreeMap<u64, Entry>,
    challenges: Vec<Challenge>,
    pub(crate) backoff: Backoff,
    reminded: Option<Now>,
    /// Numbers of which the disk does not have the latest.
    unsaved: BTreeSet<u64>,
    /// What is set aside for one on a full disk was last looked at; first when what is kept on disk
    /// was read.
    reserved: Option<Now>,
    saved: Option<Now>,
    /// Whether closing the one that is over has failed, and that was said.
    pub(crate) close_failed: bool,
}

/// A challenge that waits for a signature. It is gone with the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// What has to be signed.
    pub(crate) text: String,
    /// What it is for.
    pub(crate) terms: Terms,
    /// Until when it waits, boot-time nanoseconds.
    pub(crate) until_ns: u64,
}

/// Which code somebody gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// One that is good, by its number.
    Good(u64),
    /// One that was used, by its number, and when.
    Used(u64, Used),
    /// None.
    Wrong,
}

/// The break-glass as the kernel has it.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// What the kernel has.
    pub(crate) rows: Vec<AllowanceRow>,
    /// Whether the first process of its tree (or, before it joined, who opened it) has ended.
    pub(crate) is_gone: bool,
}

/// What follows from a survey.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// It is over.
    pub(crate) over: Option<Why>,
    /// Serials of what the kernel has and nobody knows.
    pub(crate) unknown: Vec<u64>,
    /// Everybody is to be reminded.
    pub(crate) remind: bool,
}

impl Book {
    /// What was kept on disk is known now. Returns the one that another boot left open: it is over.
    pub(crate) fn load(
        &mut self,
        entries: Vec<Entry>,
        codes: Vec<CodeRow>,
        boot_id: &str,
        now: Now,
    ) -> Vec<u64> {
        self.codes = codes.into_iter().map(|code| (code.number, code)).collect();
        self.entries = entries.into_iter().map(|entry| (entry.number, entry)).collect();
        let mut stale = Vec::new();
        for entry in self.entries.values_mut() {
            if entry.is_open() && entry.boot_id != boot_id {
                entry.state =
                    EntryState::Closed { at_ns: now.wall_ns, why: Why::Rebooted, by: None };
                stale.push(entry.number);
            }
        }
        self.unsaved = stale.iter().copied().collect();
        self.reserved = Some(now);
        stale
    }

    /// The one that is open.
    pub(crate) fn open(&self) -> Option<&Entry> {
        self.entries.values().find(|entry| entry.is_open())
    }

    /// One of them.
    pub(crate) fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.get(&number)
    }

    /// All that are remembered, the latest first.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().rev()
    }

    /// What events call the one with this serial, in this boot.
    pub(crate) fn id_of(&self, serial: u64, boot_id: &str) -> Option<String> {
        let is = |entry: &&Entry| entry.serial == serial && entry.boot_id == boot_id;
        self.entries.values().find(is).map(Entry::id)
    }

    /// The number of the next one.
    pub(crate) fn next_number(&self) -> u64 {
        self.entries.keys().next_back().map_or(1, |last| last + 1)
    }

    /// Those to forget so that one more can be remembered.
    pub(crate) fn room(&self) -> Vec<u64> {
        let excess = (self.entries.len() + 1).saturating_sub(KEPT);
        let over = self.entries.values().filter(|entry| !entry.is_open());
        over.take(excess).map(|entry| entry.number).collect()
    }

    /// Every code.
    pub(crate) fn codes(&self) -> impl Iterator<Item = &CodeRow> {
        self.codes.values()
    }

    /// How many are left.
    pub(crate) fn codes_left(&self) -> usize {
        self.codes.values().filter(|code| code.used.is_none()).count()
    }

    /// The number of the next code.
    pub(crate) fn next_code(&self) -> u64 {
        self.codes.keys().next_back().map_or(1, |last| last + 1)
    }

    /// Codes to forget once so many new ones are there: the oldest of those that were used, and
    /// with `replace` all that were not.
    pub(crate) fn codes_to_forget(&self, replace: bool) -> Vec<u64> {
        let used = self.codes.values().filter(|code| code.used.is_some());
        let excess = used.clone().count().saturating_sub(KEPT_CODES);
        let old = used.take(excess).map(|code| code.number);
        let unused = self.codes.values().filter(|code| replace && code.used.is_none());
        old.chain(unused.map(|code| code.number)).collect()
    }

    /// Which code this is. All are compared, whatever comes out.
    pub(crate) fn find(&self, code: &Code) -> Found {
        let matches: Vec<bool> = self.codes.values().map(|row| row.is(code)).collect();
        let row = self.codes.values().zip(matches).find_map(|(row, is)| is.then_some(row));
        match row {
            None => Found::Wrong,
            Some(CodeRow { number, used: Some(used), .. }) => Found::Used(*number, used.clone()),
            Some(row) => Found::Good(row.number),
        }
    }

    /// A code as it will be once it was used.
    pub(crate) fn used(&self, number: u64, now: Now, by: &Person) -> Option<CodeRow> {
        let used = Some(Used { at_ns: now.wall_ns, by: by.clone() });
        self.codes.get(&number).map(|row| CodeRow { used, ..row.clone() })
    }

    /// Takes note of codes that are on the disk.
    pub(crate) fn put_codes(&mut self, codes: Vec<CodeRow>, forget: &[u64]) {
        for number in forget {
            self.codes.remove(number);
        }
        self.codes.extend(codes.into_iter().map(|code| (code.number, code)));
    }

    /// How many wrong codes the audit log is to hear of.
    pub(crate) fn tell_wrong(&mut self, now: Now) -> Option<u64> {
        self.backoff.tell(now.boot_ns)
    }

    /// One more wrong code. How long its answer waits.
    pub(crate) fn wrong(&mut self, now: Now) -> Duration {
        self.backoff.wrong(now.boot_ns)
    }

    /// A challenge waits for its signature.
    pub(crate) fn add_challenge(&mut self, challenge: Challenge, now: Now) {
        self.challenges.retain(|known| known.until_ns > now.boot_ns);
        if self.challenges.len() >= MOST_CHALLENGES {
            self.challenges.remove(0);
        }
        self.challenges.push(challenge);
    }

    /// The challenge with this text, if it still waits.
    pub(crate) fn challenge(&self, text: &str, now: Now) -> Option<&Challenge> {
        self.challenges.iter().find(|known| known.text == text && known.until_ns > now.boot_ns)
    }

    /// It was used: it is good once.
    pub(crate) fn spend_challenge(&mut self, text: &str) {
        self.challenges.retain(|known| known.text != text);
    }

    /// Takes note of a new one that is on the disk.
    pub(crate) fn put(&mut self, entry: Entry, forget: &[u64], now: Now) {
        for number in forget {
            self.entries.remove(number);
        }
        if entry.is_open() {
            self.reminded = Some(now);
        }
        self.entries.insert(entry.number, entry);
    }

    /// Takes note of the first process of its tree.
    pub(crate) fn joined(&mut self, number: u64, first: ProcessId) {
        let tree = self.entries.get_mut(&number).and_then(|entry| entry.tree.as_mut());
        if let Some(tree) = tree {
            tree.first = Some(first);
        }
    }

    /// Closes it; what the kernel said last was spent of it is final.
    pub(crate) fn close(
        &mut self,
        number: u64,
        row: Option<&AllowanceRow>,
        state: EntryState,
    ) -> Option<&Entry> {
        let entry = self.entries.get_mut(&number)?;
        if let Some(row) = row {
            let _ = entry.spent(row);
        }
        entry.state = state;
        self.unsaved.insert(number);
        self.close_failed = false;
        Some(entry)
    }

    /// Compares what the kernel has with what is known. `is_allowed` says whether the policy in
    /// force still has the zone, with this role, and lets it be open.
    pub(crate) fn take(
        &mut self,
        survey: &Survey,
        is_allowed: &dyn Fn(&Entry) -> bool,
        now: Now,
    ) -> Due {
        let mut due = Due::default();
        let open = self.entries.values_mut().find(|entry| entry.is_open());
        let own = open.as_ref().map(|entry| entry.serial);
        let serials = survey.rows.iter().map(|row| row.serial);
        due.unknown = serials.filter(|serial| Some(*serial) != own).collect();
        let Some(entry) = open else { return due };
        let row = survey.rows.iter().find(|row| row.serial == entry.serial);
        if row.is_some_and(|row| entry.spent(row)) {
            self.unsaved.insert(entry.number);
        }
        due.over = over(entry, row.is_some(), survey.is_gone, is_allowed, now);
        let is_due = self.reminded.is_none_or(|last| now.since(last) >= REMIND);
        if due.over.is_none() && is_due {
            self.reminded = Some(now);
            due.remind = true;
        }
        due
    }

    /// Whether something is to be written to the disk now.
    pub(crate) fn wants_save(&self, now: Now) -> bool {
        !self.unsaved.is_empty() && self.saved.is_none_or(|saved| now.since(saved) >= SAVE_EVERY)
    }

    /// What is to be written.
    pub(crate) fn to_save(&self) -> Vec<Entry> {
        self.unsaved.iter().filter_map(|number| self.entries.get(number)).cloned().collect()
    }

    /// Whether it is time to look after what is set aside: while none is open, as that is when it
    /// may be gone.
    pub(crate) fn wants_reserve(&mut self, now: Now) -> bool {
        let is_due = self.reserved.is_some_and(|last| now.since(last) >= REMIND);
        let wants = is_due && self.open().is_none();
        if wants {
            self.reserved = Some(now);
        }
        wants
    }

    /// `change` was written, or could not be. What has changed since stays to be written.
    pub(crate) fn saved(&mut self, change: &Change, is_written: bool, now: Now) {
        self.saved = Some(now);
        if is_written {
            for entry in &change.glass {
                if self.entries.get(&entry.number).is_none_or(|now| now == entry) {
                    self.unsaved.remove(&entry.number);
                }
            }
        }
    }

    /// What let one open.
    pub(crate) fn code_of(entry: &Entry) -> Option<u64> {
        match &entry.proof {
            Proof::Code(number) => Some(*number),
            Proof::Signer(_) => None,
        }
    }
}

/// Why the open one is over, if it is.
fn over(
    entry: &Entry,
    is_in_kernel: bool,
    is_gone: bool,
    is_allowed: &dyn Fn(&Entry) -> bool,
    now: Now,
) -> Option<Why> {
    if now.boot_ns >= entry.until_ns {
        return Some(Why::Expired);
    }
    if !is_in_kernel {
        return Some(Why::Lost);
    }
    if let Some(tree) = &entry.tree {
        if is_gone && tree.first.is_some() {
            return Some(Why::Finished);
        }
        let is_late = now.boot_ns.saturating_sub(entry.serial) >= TO_START;
        if tree.first.is_none() && (is_gone || is_late) {
            return Some(Why::NeverStarted);
        }
    }
    (!is_allowed(entry)).then_some(Why::Policy)
}

#[cfg(test)]
#[path = "book_tests.rs"]
pub(crate) mod tests;
