//! What is known about paused processes. No I/O here: surveys come in, changes go out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use holdfast_abi::{Held, HoldKey, MAX_HELD, TaskKey};

use super::changes::{Changes, Decision, Ended, EndedPause, Outcome, Tell, left};
use super::paused::{Paused, is_held};
use super::process::Process;
use super::rules::ZoneRule;
use super::stat::TaskState;
use super::survey::{Survey, Thread};
use super::waking::Waking;
use crate::api::PausedCount;
use crate::clock::Now;
use crate::kernel::HoldRow;

const SECOND: u64 = 1_000_000_000;
/// A held thread that is seen running so often and for so long is not held any more.
const RESTLESS: (u32, u64) = (3, 3 * SECOND);
/// How long a hold has no threads before it is over: its first one may be about to come.
const EMPTY: u64 = 2 * SECOND;
/// How long a throttled process that is not stopped at the moment counts as throttled, at least and
/// at most.
const LINGERS: (u64, u64) = (60 * SECOND, 600 * SECOND);
/// For how long nobody's ops are denied at the least.
const DENIED_AT_LEAST: u64 = 60 * SECOND;
/// After a decision that could not be written down.
const TRY_AGAIN: u64 = 10 * SECOND;
/// How long after the last throttled thread was seen the clock that paces it goes on.
const PACE_LINGERS: u64 = 5 * SECOND;

/// Everything that is known about paused processes.
#[derive(Debug, Default)]
pub(crate) struct Book {
    threads: BTreeMap<TaskKey, Paused>,
    /// Paused threads that nothing is known about yet, as `(zone, process, is held)` with their
    /// hold. They wait for a later survey; they are counted all the same.
    unseen: BTreeMap<(u32, u32, bool), u64>,
    holds: BTreeMap<u64, HoldRow>,
    /// Since when each process of a hold has been held.
    pauses: HashMap<(u64, u32), u64>,
    /// What was last decided about a hold, and when.
    decided: HashMap<u64, (Decision, u64)>,
    /// Processes of a hold that were killed through it.
    killed: HashSet<(u64, u32)>,
    /// Terminals of a hold that were told, and after which release.
    told: HashSet<(u64, u32, u64)>,
    /// Processes of a hold that are throttled, also those that are not stopped at the moment.
    throttled: HashMap<(u64, u32), Throttled>,
    /// Ancestors of processes that no longer are paused.
    waking: Waking,
    /// The zone each hold is of. Its slot may be another zone's by now.
    zones: HashMap<u64, String>,
    /// Since when a hold has no threads.
    empty: HashMap<u64, u64>,
    /// Until when a hold is left alone after the kernel refused a decision.
    postponed: HashMap<u64, u64>,
    /// When a throttled thread was last seen.
    last_throttled: Option<u64>,
    /// Whether there was a survey at all.
    began: bool,
}

#[derive(Debug)]
struct Throttled {
    process: Arc<Process>,
    last_seen: u64,
    latched_until: u64,
}

impl Book {
    /// Compares a survey with what was known.
    pub(crate) fn take(
        &mut self,
        survey: Survey,
        rule: &dyn Fn(u32) -> ZoneRule,
        now: Now,
    ) -> Changes {
        let mut changes = Changes::default();
        let now = now.boot_ns;
        let rows_before = std::mem::take(&mut self.holds);
        self.holds = survey.rows.iter().map(|row| (row.hold.id, *row)).collect();
        for row in self.holds.values() {
            let rule = rule(row.key.zone);
            if rule.is_known() {
                self.zones.entry(row.hold.id).or_insert(rule.name);
            }
        }
        let mut before = std::mem::take(&mut self.threads);
        let entries: HashSet<u64> = survey.threads.iter().map(|thread| thread.held.hold).collect();
        let mut orphans = Vec::new();
        self.unseen.clear();
        for thread in survey.threads {
            let known = match before.remove(&thread.key) {
                Some(known) if known.held.since_ns == thread.held.since_ns => Some(known),
                Some(other) => {
                    self.ended(other, None, &rows_before, now, &mut changes);
                    None
                }
                None => None,
            };
            let is_new = known.is_none();
            let (held, pid, hold) = (is_held(&thread.held), thread.key.pid, thread.held.hold);
            let (zone, is_over) = (thread.held.event.zone, thread.state == TaskState::Over);
            let Some(paused) = self.seen(known, thread, now) else {
                if !is_over {
                    self.unseen.insert((zone, pid, held), hold);
                }
                continue;
            };
            if is_new {
                self.appeared(&paused, now, &mut changes);
            }
            if paused.state == TaskState::Over {
                changes.forget_threads.push(paused.key);
                orphans.extend(paused.news.process.leader.filter(|leader| *leader != paused.key));
                self.ended(paused, Some(Outcome::Gone), &rows_before, now, &mut changes);
            } else if paused.restless.is_some_and(|(since, times)| {
                times >= RESTLESS.0 && now.saturating_sub(since) >= RESTLESS.1
            }) {
                changes.forget_threads.push(paused.key);
                // If it was stopped again meanwhile, it tries again and is held anew.
                changes.go_on.push(paused.key);
                self.ended(paused, Some(Outcome::Resumed), &rows_before, now, &mut changes);
            } else {
                self.threads.insert(paused.key, paused);
            }
        }
        for (_, paused) in before {
            self.ended(paused, None, &rows_before, now, &mut changes);
        }
        self.end_pauses(now, &mut changes);
        // The threads of a process are stopped together. One of them can be gone (another one
        // called execve) without the others having been continued.
        let alone = |leader: &TaskKey| !self.threads.keys().any(|key| key.pid == leader.pid);
        changes.go_on.extend(orphans.into_iter().filter(alone));
        self.follow_up(rule, now, &mut changes);
        changes.wake = self.waking.due(self.threads.values(), now);
        self.tell(rule, &mut changes);
        self.forget(&entries, rule, now, &mut changes);
        self.began = true;
        changes
    }

    /// Whether a thread was looked at already, before this op.
    pub(crate) fn knows(&self, key: &TaskKey, held: &Held) -> bool {
        self.threads.get(key).is_some_and(|known| {
            let seen = known.news.decided.raw.time_ns;
            known.held.since_ns == held.since_ns && seen == held.event.time_ns
        })
    }

    /// A process of a hold that was looked at before.
    pub(crate) fn process(&self, hold: u64, pid: u32) -> Option<Arc<Process>> {
        let held = self.of(hold).find(|paused| paused.key.pid == pid);
        held.map(|paused| paused.news.process.clone())
            .or_else(|| self.throttled.get(&(hold, pid)).map(|known| known.process.clone()))
    }

    /// The ancestors of paused processes that may have stopped themselves because of that; `None`
    /// where it is not known.
    pub(crate) fn wrappers(&self, thread: &TaskKey) -> Option<Vec<TaskKey>> {
        self.threads.get(thread).map(|paused| paused.news.process.wrappers())
    }

    /// Something was decided about a hold, at that boot time.
    pub(crate) fn decided(&mut self, hold: u64, decision: Decision, at_ns: u64) {
        // Whoever was killed before and is there to notice has survived.
        self.killed.retain(|(killed, _)| *killed != hold);
        self.decided.insert(hold, (decision, at_ns));
    }

    /// A decision could not be written down.
    pub(crate) fn postpone(&mut self, hold: u64, now: Now) {
        self.postponed.insert(hold, now.boot_ns + TRY_AGAIN);
    }

    /// These processes of a hold are being killed.
    pub(crate) fn killed(&mut self, hold: u64, pids: &[u32]) {
        self.killed.extend(pids.iter().map(|&pid| (hold, pid)));
    }

    /// Every hold that is not over, oldest first.
    pub(crate) fn holds(&self, now: Now) -> impl Iterator<Item = &HoldRow> {
        self.holds.values().filter(move |row| {
            self.of(row.hold.id).next().is_some() || is_in_force(row, now.boot_ns)
        })
    }

    /// The hold of this key, if there is one.
    pub(crate) fn by_key(&self, key: &HoldKey) -> Option<&HoldRow> {
        self.holds.values().find(|row| row.key == *key)
    }

    /// The paused threads of a hold.
    pub(crate) fn of(&self, hold: u64) -> impl Iterator<Item = &Paused> {
        self.threads.values().filter(move |paused| paused.held.hold == hold)
    }

    /// When a hold is denied if nobody decides.
    pub(crate) fn deadline_ns(&self, hold: u64, timeout: Duration) -> Option<u64> {
        let since = self.of(hold).filter(|paused| paused.is_held());
        let since = since.map(|paused| paused.held.since_ns).min()?;
        let released = self.holds.get(&hold).map_or(0, |row| row.release.released_ns);
        Some(since.max(released).saturating_add(timeout.as_nanos() as u64))
    }

    /// How much is paused.
    pub(crate) fn count(&self) -> PausedCount {
        let waiting = self.threads.values().filter(|paused| paused.is_held());
        let mut holds: HashSet<u64> = waiting.map(|paused| paused.held.hold).collect();
        holds.extend(self.unseen.iter().filter(|((.., held), _)| *held).map(|(_, hold)| *hold));
        let processes = self.by_zone();
        PausedCount {
            holds: holds.len() as u64,
            held_processes: processes.values().map(|(held, _)| held).sum(),
            throttled_processes: processes.values().map(|(_, throttled)| throttled).sum(),
        }
    }

    /// How many processes are held and throttled in each zone slot.
    pub(crate) fn by_zone(&self) -> BTreeMap<u32, (u64, u64)> {
        let mut seen = HashSet::new();
        let mut count: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        let known = self.threads.values();
        let known = known.map(|one| (one.held.event.zone, one.key.pid, one.is_held()));
        for (zone, pid, held) in known.chain(self.unseen.keys().copied()) {
            if seen.insert((zone, pid, held)) {
                let (holds, throttles) = count.entry(zone).or_default();
                *if held { holds } else { throttles } += 1;
            }
        }
        count
    }

    /// Whether throttled processes have to be continued when it is their turn.
    pub(crate) fn is_pacing(&self, now: Now) -> bool {
        self.last_throttled.is_some_and(|last| now.boot_ns.saturating_sub(last) < PACE_LINGERS)
    }

    /// One thread of the survey; `None` if it is to wait for the next one.
    fn seen(&mut self, known: Option<Paused>, thread: Thread, now: u64) -> Option<Paused> {
        let Thread { key, held, state, news } = thread;
        if !is_held(&held) {
            self.last_throttled = Some(now);
        }
        let before = known.as_ref().map(|known| known.state);
        let (news, adopted, restless) = match known {
            Some(known) => {
                // One that was stopped again meanwhile is held still, whoever continues it all the
                // time.
                let restless = known.restless.filter(|_| known.held.again == held.again);
                (news.unwrap_or(known.news), known.adopted, restless)
            }
            None => (news?, !self.began, None),
        };
        let restless = match state {
            TaskState::Running => {
                let (since, times) = restless.unwrap_or((now, 0));
                Some((since, times + 1))
            }
            TaskState::Unknown => restless,
            TaskState::Stopped | TaskState::Over => None,
        };
        // Of one that cannot be looked at, it stays what it was.
        let state = before.filter(|_| state == TaskState::Unknown).unwrap_or(state);
        Some(Paused { key, held, news, adopted, state, restless })
    }

    fn appeared(&mut self, paused: &Paused, now: u64, changes: &mut Changes) {
        let process = (paused.held.hold, paused.key.pid);
        // Whoever is paused again has survived.
        self.killed.remove(&process);
        if paused.is_held() {
            // Kept for as long as any of its threads is held.
            self.pauses.entry(process).or_insert(paused.held.since_ns);
            changes.appeared.push(paused.clone());
        } else {
            let latched_until = paused.held.event.latched_until;
            let seen =
                Throttled { process: paused.news.process.clone(), last_seen: now, latched_until };
            // It comes and goes with every step of its budget: told once for each trip.
            if self.throttled.insert(process, seen).is_none() {
                changes.appeared.push(paused.clone());
                self.bound_throttled();
            }
        }
    }

    /// A thread is no longer paused. `found` says how it ended if the kernel had not noticed.
    fn ended(
        &mut self,
        paused: Paused,
        found: Option<Outcome>,
        rows_before: &BTreeMap<u64, HoldRow>,
        now: u64,
        changes: &mut Changes,
    ) {
        let hold = paused.held.hold;
        self.waking.add(paused.news.process.wrappers(), now);
        if !paused.is_held() {
            return;
        }
        let row = self.holds.get(&hold).or_else(|| rows_before.get(&hold));
        let outcome = match (self.killed.contains(&(hold, paused.key.pid)), found) {
            (true, Some(Outcome::Gone)) => Outcome::Killed,
            // Whoever went on was not killed by that: some signals can be ignored.
            (_, Some(outcome)) => outcome,
            (_, None) => self.how_it_went_on(&paused, row, now),
        };
        changes.over.push(Ended { paused, outcome });
    }

    fn how_it_went_on(&self, paused: &Paused, row: Option<&HoldRow>, now: u64) -> Outcome {
        let since = paused.held.since_ns;
        if let Some((decision, at)) = self.decided.get(&paused.held.hold)
            && *at >= since
        {
            return decision.outcome();
        }
        // An agent before this one may have decided.
        match row.map(|row| row.release) {
            Some(release) if release.denied_until_ns > now => Outcome::Expired,
            Some(release) if release.released_ns > since => Outcome::Released,
            _ => Outcome::Resumed,
        }
    }

    /// A process is paused until none of its threads is held any more.
    fn end_pauses(&mut self, now: u64, changes: &mut Changes) {
        for Ended { paused, outcome } in &changes.over {
            let process = (paused.held.hold, paused.key.pid);
            // One that is held again by now was not, in between.
            let is_held_still = self.of(process.0).any(|other| {
                let again = || changes.appeared.iter().any(|new| new.key == other.key);
                other.key.pid == process.1 && other.is_held() && !again()
            });
            if is_held_still {
                continue;
            }
            if let Some(since) = self.pauses.remove(&process) {
                let lasted = Duration::from_nanos(now.saturating_sub(since));
                let zone = paused.held.event.zone;
                changes.pauses.push(EndedPause { zone, outcome: *outcome, lasted });
            }
        }
        for paused in self.threads.values().filter(|paused| paused.is_held()) {
            let process = (paused.held.hold, paused.key.pid);
            self.pauses.entry(process).or_insert(paused.held.since_ns);
        }
    }

    /// What has to be decided, and who has not noticed a decision.
    fn follow_up(&self, rule: &dyn Fn(u32) -> ZoneRule, now: u64, changes: &mut Changes) {
        let holds: std::collections::BTreeSet<u64> =
            self.threads.values().map(|paused| paused.held.hold).collect();
        for hold in holds {
            let row = self.holds.get(&hold);
            let of_another = row.filter(|row| self.is_of_another(hold, &rule(row.key.zone)));
            let Some(row) = row.filter(|_| of_another.is_none()) else {
                // Nobody can decide about these any more: whoever of them is refused again gets a
                // hold of its own.
                changes.forget_holds.extend(of_another.map(|row| (hold, row.key)));
                let lost: Vec<TaskKey> = self.stopped(hold).map(|paused| paused.key).collect();
                changes.forget_threads.extend(&lost);
                changes.go_on.extend(lost);
                continue;
            };
            let rule = rule(row.key.zone);
            let released = row.release.released_ns;
            let differs = |paused: &Paused| rule.would_differ(paused.held.event.verdict);
            let is_postponed = self.postponed.get(&hold).is_some_and(|until| now < *until);
            if !is_postponed
                && self.of(hold).any(|paused| differs(paused) && paused.held.since_ns > released)
            {
                changes.retry.push((hold, row.key));
                continue;
            }
            let has_noticed = |paused: &&Paused| {
                paused.held.since_ns > released && (!paused.is_held() || !is_in_force(row, now))
            };
            let unaware = self.stopped(hold).filter(|paused| !has_noticed(paused));
            changes.go_on.extend(unaware.map(|paused| paused.key));
            let is_due =
                self.deadline_ns(hold, rule.hold_timeout).is_some_and(|deadline| deadline <= now);
            if is_due && row.release.denied_until_ns <= now && !is_postponed {
                let latched = self.of(hold).map(|paused| paused.held.event.latched_until).max();
                let until = latched.unwrap_or_default().max(now + DENIED_AT_LEAST);
                changes.expire.push((hold, row.key, until));
            }
        }
    }

    fn stopped(&self, hold: u64) -> impl Iterator<Item = &Paused> {
        self.of(hold).filter(|paused| paused.state == TaskState::Stopped)
    }

    /// There cannot be more of them than paused threads; whoever was not seen for the longest time
    /// goes.
    fn bound_throttled(&mut self) {
        while self.throttled.len() > MAX_HELD as usize {
            let oldest = self.throttled.iter().min_by_key(|(_, known)| known.last_seen);
            let Some(oldest) = oldest.map(|(key, _)| *key) else { return };
            self.throttled.remove(&oldest);
        }
    }

    /// Each terminal is told once for each time it is paused, however many threads are.
    fn tell(&mut self, rule: &dyn Fn(u32) -> ZoneRule, changes: &mut Changes) {
        for paused in changes.appeared.iter().filter(|paused| !paused.adopted) {
            let (hold, tty) = (paused.held.hold, paused.news.process.tty);
            let Some(leader) = paused.news.process.leader.filter(|_| tty != 0) else {
                continue;
            };
            let rule = rule(paused.held.event.zone);
            let released = self.holds.get(&hold).map_or(0, |row| row.release.released_ns);
            if rule.tell_terminal && self.told.insert((hold, tty, released)) {
                let deadline_ns = self.deadline_ns(hold, rule.hold_timeout);
                let deadline_ns = deadline_ns.filter(|_| paused.is_held());
                changes.tell.push(Tell { paused: paused.clone(), leader, deadline_ns });
            }
        }
    }

    /// Whether the slot of a hold belongs to another zone than the one it is of.
    fn is_of_another(&self, hold: u64, rule: &ZoneRule) -> bool {
        rule.is_known() && self.zones.get(&hold).is_some_and(|zone| *zone != rule.name)
    }

    /// Forgets holds that are over, here and in the kernel.
    fn forget(
        &mut self,
        entries: &HashSet<u64>,
        rule: &dyn Fn(u32) -> ZoneRule,
        now: u64,
        changes: &mut Changes,
    ) {
        for paused in self.threads.values().filter(|paused| !paused.is_held()) {
            if let Some(known) = self.throttled.get_mut(&(paused.held.hold, paused.key.pid)) {
                known.last_seen = now;
                known.latched_until = paused.held.event.latched_until;
            }
        }
        self.throttled.retain(|_, known| {
            let (least, most) = (known.last_seen + LINGERS.0, known.last_seen + LINGERS.1);
            now < known.latched_until.clamp(least, most)
        });
        let throttled: HashSet<u64> = self.throttled.keys().map(|(hold, _)| *hold).collect();
        for (id, row) in &self.holds {
            let rule = rule(row.key.zone);
            let is_former = rule.is_known() && !rule.pauses() || self.is_of_another(*id, &rule);
            if is_former && !entries.contains(id) {
                // What was released in a zone must not be good in the one that gets its slot.
                changes.forget_holds.push((*id, row.key));
                continue;
            }
            let is_used = entries.contains(id) || is_in_force(row, now) || throttled.contains(id);
            if is_used {
                self.empty.remove(id);
            } else if now.saturating_sub(*self.empty.entry(*id).or_insert(now)) >= EMPTY {
                changes.forget_holds.push((*id, row.key));
            }
        }
        let exists = |hold: &u64| self.holds.contains_key(hold) || entries.contains(hold);
        self.empty.retain(|hold, _| exists(hold));
        self.zones.retain(|hold, _| exists(hold));
        self.decided.retain(|hold, _| exists(hold));
        self.postponed.retain(|hold, _| exists(hold));
        self.killed.retain(|(hold, _)| exists(hold));
        self.told.retain(|(hold, ..)| exists(hold));
        self.pauses.retain(|(hold, _), _| exists(hold));
        self.throttled.retain(|(hold, _), _| exists(hold));
    }
}

/// Whether what was decided about a hold applies to the ops of its actors now.
fn is_in_force(row: &HoldRow, now: u64) -> bool {
    left(&row.hold, &row.release, now) > 0 || now < row.release.denied_until_ns
}

#[cfg(test)]
#[path = "book_tests.rs"]
pub(crate) mod tests;
