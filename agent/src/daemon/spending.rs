//! What the daemon does about allowances that are open or were: what was spent, when they are over,
//! and what people ask about them. Like the rest of the state: no I/O, time comes in, actions go
//! out.

use tracing::Level;

use super::allowance::{Closing, Revoking, Shut};
use super::allowing::{no_such_allowance, only_id};
use super::deciding::name;
use super::glass::GlassAction;
use super::glass_opening::glass;
use super::message::{Action, Answer, Ask, Refusal, Reply};
use super::state::State;
use crate::allowances::{Change, Entry, EntryState, Loaded, Revoked, Survey, Why};
use crate::api::Person;
use crate::audit::Record;
use crate::clock::Now;
use crate::report;

impl State {
    /// What was kept on disk is known, or cannot be read.
    pub(super) fn allowances_loaded(
        &mut self,
        loaded: Result<Box<(Loaded, String)>, String>,
        now: Now,
    ) -> Vec<Action> {
        let (mut loaded, boot_id) = match loaded {
            Ok(loaded) => *loaded,
            Err(error) => {
                let message =
                    format!("every allowance is refused: nobody can tell which were used: {error}");
                self.allowances.cannot_load(error);
                return vec![Action::Log(Level::ERROR, message)];
            }
        };
        let (glass, codes) = (std::mem::take(&mut loaded.glass), std::mem::take(&mut loaded.codes));
        let glass = self.glass_loaded(glass, codes, &boot_id, now);
        let stale = self.allowances.load(loaded, boot_id, now);
        if stale.is_empty() {
            return glass;
        }
        self.allowances.unsaved(stale.iter().cloned());
        let mut actions = glass;
        for entry in stale.iter().filter_map(|id| self.allowances.get(id)) {
            actions.extend(over(entry, Why::Rebooted, None));
        }
        actions.push(Action::SaveAllowances);
        actions
    }

    /// What has changed is on the disk, or could not be written.
    pub(super) fn allowances_saved(
        &mut self,
        change: &Change,
        outcome: Result<(), String>,
        now: Now,
    ) -> Vec<Action> {
        self.glass.saved(change, outcome.is_ok(), now);
        let news = match &outcome {
            Ok(()) => (Level::INFO, "what became of allowances is on the disk again".to_owned()),
            Err(error) => {
                (Level::ERROR, format!("what became of allowances is not on the disk: {error}"))
            }
        };
        if self.allowances.saved(change, outcome, now) {
            vec![Action::Log(news.0, news.1)]
        } else {
            vec![]
        }
    }

    /// A second has passed.
    pub(super) fn tick_allowances(&mut self, now: Now) -> Vec<Action> {
        self.allowances.clock.read(now);
        let mut actions = self.tell_wrong_codes(None, now);
        if self.guarding.is_up() {
            actions.push(Action::SurveyAllowances(None));
        }
        if self.glass.wants_reserve(now) {
            actions.push(glass(GlassAction::KeepReserve));
        }
        let is_known = self.allowances.unreadable().is_none();
        if self.allowances.wants_save(now) || (is_known && self.glass.wants_save(now)) {
            actions.push(Action::SaveAllowances);
        }
        actions
    }

    /// A signal ends the agent: what was spent in the last seconds is written down first.
    pub(super) fn ending(&mut self, signal: &'static str) -> Vec<Action> {
        let message = format!("{signal}: ending; what is pinned stays in force");
        let save = self.allowances.unreadable().is_none().then_some(Action::SaveAllowances);
        let log = Action::Log(Level::INFO, message);
        [log].into_iter().chain(save).chain([Action::Stop(signal)]).collect()
    }

    /// What the kernel has of allowances was looked at.
    pub(super) fn allowances_surveyed(
        &mut self,
        survey: Result<Survey, String>,
        asked: Option<(Ask, Reply)>,
        now: Now,
    ) -> Vec<Action> {
        let mut actions = match survey {
            Ok(survey) => self.compare(&survey, now),
            Err(error) => {
                let text = format!("what is spent of allowances cannot be read: {error}");
                let is_news = self.allowances_error.replace(text.clone()).as_ref() != Some(&text);
                match asked {
                    Some((_, reply)) => {
                        return vec![Action::Send(reply, Answer::Error(Refusal::Failed, text))];
                    }
                    None if is_news => return vec![Action::Log(Level::ERROR, text)],
                    None => return vec![],
                }
            }
        };
        actions.extend(asked.map(|(ask, reply)| Action::Collect(ask, reply)));
        actions
    }

    fn compare(&mut self, survey: &Survey, now: Now) -> Vec<Action> {
        self.allowances_error = None;
        // Until a policy is in force nobody knows its zones.
        let (in_force, policy) = (self.guarding.in_force, &self.plan.policy);
        let has_zone = |name: &str| !in_force || policy.zone(name).is_some();
        let found = self.allowances.take(survey, &has_zone, now);
        let mut actions = Vec::new();
        for serial in found.unknown {
            actions.extend(close_unknown("an allowance", serial));
        }
        for entry in found.tell.iter().filter_map(|id| self.allowances.get(id)) {
            let (allowance, grants) =
                (report::allowance_ref(entry), report::allowance_grants(entry));
            actions.push(Action::Record(Box::new(Record::AllowanceSpend { allowance, grants })));
        }
        for (id, why) in found.over {
            // Who revoked it has been recorded.
            actions.extend(self.closing(&id, why, None, None));
        }
        actions.extend(self.glass_surveyed(&survey.glass, now));
        actions
    }

    /// Somebody asks what there is.
    pub(super) fn asked_about_allowances(&mut self, ask: Ask, reply: Reply) -> Vec<Action> {
        if self.guarding.is_up() {
            vec![Action::SurveyAllowances(Some((ask, reply)))]
        } else {
            vec![Action::Collect(ask, reply)]
        }
    }

    /// Somebody closes an allowance.
    pub(super) fn wants_to_close(
        &mut self,
        id: &str,
        person: Person,
        reply: Reply,
        now: Now,
    ) -> Vec<Action> {
        match self.allowances.get(id) {
            None => vec![Action::Send(reply, no_such_allowance(id))],
            Some(entry) if !entry.is_open() => {
                // It may have ended by itself a moment ago.
                vec![Action::Send(reply, super::json(&report::allowance(entry, now)))]
            }
            Some(_) => self.closing(id, Why::Closed, Some(person), Some(reply)),
        }
    }

    fn closing(&self, id: &str, why: Why, by: Option<Person>, reply: Option<Reply>) -> Vec<Action> {
        let Some(entry) = self.allowances.get(id) else { return vec![] };
        let first = entry.bound.tree.as_ref().and_then(|tree| tree.first);
        let closing = Closing { id: id.to_owned(), serial: entry.serial, why, first, by, reply };
        vec![Action::CloseAllowance(Box::new(closing))]
    }

    /// The kernel has closed an allowance, or could not.
    pub(super) fn allowance_closed(
        &mut self,
        closing: Closing,
        outcome: Result<Shut, String>,
        now: Now,
    ) -> Vec<Action> {
        let Closing { id, why, by, reply, .. } = closing;
        let Shut { row, finished } = match outcome {
            Ok(shut) => shut,
            Err(error) => {
                let text = format!("allowance {id} is over, but cannot be closed: {error}");
                let is_news = self.close_failed.insert(id.clone());
                let mut actions = Vec::new();
                if is_news || reply.is_some() {
                    actions.push(Action::Log(Level::ERROR, text.clone()));
                }
                actions.extend(
                    reply.map(|reply| Action::Send(reply, Answer::Error(Refusal::Failed, text))),
                );
                return actions;
            }
        };
        self.close_failed.remove(&id);
        let why = if why == Why::Closed && finished { Why::Finished } else { why };
        let state = EntryState::Closed { at_ns: now.wall_ns, why, by: by.clone() };
        let Some(entry) = self.allowances.close(&id, row.as_ref(), state) else { return vec![] };
        let mut actions = Vec::from(over(entry, why, by));
        let report = report::allowance(entry, now);
        self.allowances.unsaved([id]);
        actions.push(Action::SaveAllowances);
        actions.extend(reply.map(|reply| Action::Send(reply, super::json(&report))));
        actions
    }

    /// Somebody revokes an id.
    pub(super) fn wants_to_revoke(
        &mut self,
        id: String,
        person: Person,
        reply: Reply,
        now: Now,
    ) -> Vec<Action> {
        let failed =
            |reply, message| vec![Action::Send(reply, Answer::Error(Refusal::Failed, message))];
        if let Err(refused) = self.allowances.readable() {
            return failed(reply, refused.message);
        }
        if let Some(entry) =
            self.allowances.get(&id).filter(|entry| entry.is_used() && !entry.is_open())
        {
            // Its id is used up: there is nothing left to revoke.
            return vec![Action::Send(reply, super::json(&report::allowance(entry, now)))];
        }
        if let Err(message) = self.allowances.can_revoke(&id) {
            return failed(reply, message);
        }
        let revoked = Revoked { id, at_ns: now.wall_ns, by: person };
        vec![Action::SaveRevoked(Box::new(Revoking { revoked, reply }))]
    }

    /// A revoked id is on the disk, or could not be written. What is open is closed in any case.
    pub(super) fn revoked_saved(
        &mut self,
        revoking: Revoking,
        outcome: Result<(), String>,
        now: Now,
    ) -> Vec<Action> {
        let Revoking { revoked, reply } = revoking;
        let (id, by) = (revoked.id.clone(), revoked.by.clone());
        self.allowances.revoke(revoked);
        let entry = self.allowances.get(&id);
        let allowance = entry.map_or_else(|| only_id(&id), report::allowance_ref);
        let is_open = entry.is_some_and(Entry::is_open);
        let mut actions = vec![
            Action::Record(Box::new(Record::AllowanceRevoke { allowance, person: by.clone() })),
            Action::Log(Level::WARN, format!("allowance {id}: revoked by {}", name(&by))),
        ];
        let reply = match outcome {
            Ok(()) => Some(reply),
            Err(error) => {
                let text = format!(
                    "`{id}` is revoked, but only until the agent or the host is started anew: \
                     {error}"
                );
                actions.push(Action::Log(Level::ERROR, text.clone()));
                actions.push(Action::Send(reply, Answer::Error(Refusal::Failed, text)));
                None
            }
        };
        if is_open && self.guarding.is_up() {
            actions.extend(self.closing(&id, Why::Revoked, Some(by), reply));
            return actions;
        }
        if is_open {
            // The programs may be there all the same, and go on spending.
            let text = format!(
                "`{id}` is revoked, but the agent has no hold of the guard, so that it is not \
                 closed in the kernel: that is done once the guard is up\n  help: see `holdfast \
                 status`; the command can be stopped with kill"
            );
            actions.push(Action::Log(Level::ERROR, text.clone()));
            let answer = Answer::Error(Refusal::Failed, text);
            actions.extend(reply.map(|reply| Action::Send(reply, answer)));
            return actions;
        }
        let answer = report::allowance_of(&self.allowances, &id, now)
            .map_or_else(|| no_such_allowance(&id), |report| super::json(&report));
        actions.extend(reply.map(|reply| Action::Send(reply, answer)));
        actions
    }
}

/// An allowance is over.
fn over(entry: &Entry, why: Why, by: Option<Person>) -> [Action; 2] {
    let files = entry.grants.iter().fold(0, |sum: u64, grant| sum.saturating_add(grant.used_files));
    let limit = entry.grants.iter().fold(0, |sum: u64, grant| sum.saturating_add(grant.files));
    let message = format!(
        "allowance {}: closed: {}; {files} of {limit} files spent",
        entry.id,
        why.sentence()
    );
    let record = Record::AllowanceClose {
        allowance: report::allowance_ref(entry),
        why: why.word(),
        grants: report::allowance_grants(entry),
        person: by,
    };
    [Action::Record(Box::new(record)), Action::Log(Level::INFO, message)]
}

/// What the kernel has and nobody here knows of is closed, loudly.
pub(super) fn close_unknown(what: &str, serial: u64) -> [Action; 3] {
    let message =
        format!("the kernel has {what} that nobody here knows of (serial {serial}): it is closed");
    [
        Action::Log(Level::ERROR, message),
        Action::CloseUnknown(serial),
        Action::Record(Box::new(Record::AllowanceUnknown { serial })),
    ]
}

#[cfg(test)]
#[path = "spending_tests.rs"]
mod tests;
