//! What the daemon does about a break-glass that is open or was: what was spent, reminding
//! everybody, and its end. No I/O, time comes in, actions go out.

use holdfast_policy::break_glass::{GlassReason, GlassRefused};
use tracing::Level;

use super::deciding::name;
use super::glass::{Closing, GlassAction, Joining};
use super::glass_opening::{glass, of_another_role, open_message, refuse_glass};
use super::message::{Action, Answer, Refusal, Reply};
use super::spending::close_unknown;
use super::state::State;
use crate::allowances::{EntryState, ProcessId, Why};
use crate::api::Person;
use crate::audit::Record;
use crate::break_glass::{CodeRow, Entry, Survey};
use crate::clock::Now;
use crate::kernel::AllowanceRow;
use crate::report;
use crate::text;

impl State {
    /// What was kept on disk is known: one that another boot left open is over.
    pub(super) fn glass_loaded(
        &mut self,
        entries: Vec<Entry>,
        codes: Vec<CodeRow>,
        boot_id: &str,
        now: Now,
    ) -> Vec<Action> {
        let stale = self.glass.load(entries, codes, boot_id, now);
        let mut actions = Vec::new();
        for entry in stale.into_iter().filter_map(|number| self.glass.get(number)) {
            actions.extend(over(entry, Why::Rebooted, None, now));
        }
        if !actions.is_empty() {
            actions.push(Action::SaveAllowances);
        }
        actions
    }

    /// What the kernel has of it was looked at.
    pub(super) fn glass_surveyed(&mut self, survey: &Survey, now: Now) -> Vec<Action> {
        let (in_force, policy) = (self.guarding.in_force, &self.plan.policy);
        let allowances = &self.allowances;
        let is_allowed = |entry: &Entry| {
            let zone = policy.zone(&entry.zone);
            let has_role = zone.is_some_and(|zone| zone.role.word() == entry.role);
            let rule = policy.break_glass.as_ref();
            let is_for = rule.is_some_and(|rule| rule.is_for(&entry.zone));
            // Until a policy is in force nobody knows its zones. A zone that it gives another role
            // can be one of an allowance.
            !in_force
                || (has_role
                    && is_for
                    && of_another_role(allowances, policy, &entry.role).is_none())
        };
        let due = self.glass.take(survey, &is_allowed, now);
        let mut actions = Vec::new();
        for serial in due.unknown {
            actions.extend(close_unknown("a break-glass", serial));
        }
        if let Some(entry) = self.glass.open().filter(|_| due.remind) {
            let record = Record::BreakGlassSpend { glass: Box::new(report::glass(entry, now)) };
            actions.push(Action::Record(Box::new(record)));
            actions.push(glass(GlassAction::Shout(open_message(entry, now))));
        }
        if let Some(why) = due.over {
            actions.extend(self.closing_glass(why, None, None));
        }
        actions
    }

    /// Somebody ends it; with a number, only that one.
    pub(super) fn wants_to_close_glass(
        &mut self,
        number: Option<u64>,
        person: Person,
        reply: Reply,
        now: Now,
    ) -> Vec<Action> {
        if self.glass.open().is_some_and(|open| number.is_none_or(|number| number == open.number)) {
            return self.closing_glass(Why::Closed, Some(person), Some(reply));
        }
        // It may have ended by itself a moment ago.
        let known = match number {
            Some(number) => self.glass.get(number),
            None => self.glass.entries().next(),
        };
        let answer = match (known, number) {
            (Some(entry), _) => super::json(&report::glass(entry, now)),
            (None, Some(number)) => {
                Answer::Error(Refusal::NotFound, format!("nobody knows of a break-glass {number}"))
            }
            (None, None) => {
                let message = "no break-glass is open, and none ever was";
                Answer::Error(Refusal::NotFound, message.to_owned())
            }
        };
        vec![Action::Send(reply, answer)]
    }

    fn closing_glass(&self, why: Why, by: Option<Person>, reply: Option<Reply>) -> Vec<Action> {
        let Some(entry) = self.glass.open() else { return vec![] };
        let first = entry.tree.as_ref().and_then(|tree| tree.first);
        let (number, serial) = (entry.number, entry.serial);
        let closing = Closing { number, serial, why, first, by, reply };
        vec![glass(GlassAction::Close(Box::new(closing)))]
    }

    /// The kernel has closed it, or could not.
    pub(super) fn glass_closed(
        &mut self,
        closing: Closing,
        outcome: Result<(Option<AllowanceRow>, bool), String>,
        now: Now,
    ) -> Vec<Action> {
        let Closing { number, why, by, reply, .. } = closing;
        let (row, finished) = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                let text = format!("the break-glass is over, but cannot be closed: {error}");
                let is_news = !std::mem::replace(&mut self.glass.close_failed, true);
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
        let why = if why == Why::Closed && finished { Why::Finished } else { why };
        let state = EntryState::Closed { at_ns: now.wall_ns, why, by: by.clone() };
        let Some(entry) = self.glass.close(number, row.as_ref(), state) else { return vec![] };
        let mut actions = over(entry, why, by, now);
        let report = report::glass(entry, now);
        actions.push(Action::SaveAllowances);
        actions.push(glass(GlassAction::KeepReserve));
        actions.extend(reply.map(|reply| Action::Send(reply, super::json(&report))));
        actions
    }

    /// A process asks to be the first of its tree.
    pub(super) fn wants_to_join_glass(&mut self, person: Person, reply: Reply) -> Vec<Action> {
        let open = self.glass.open();
        let tree = open.and_then(|entry| Some((entry, entry.tree.as_ref()?)));
        match tree {
            Some((entry, tree)) if tree.first.is_none() => {
                let (number, serial, tree) = (entry.number, entry.serial, tree.clone());
                let joining = Joining { number, serial, tree, person, reply };
                vec![glass(GlassAction::Join(Box::new(joining)))]
            }
            Some(_) | None => {
                let message = "no break-glass waits for a command to start";
                let help = "`holdfast break-glass open … -- COMMAND` opens one and starts it";
                let refused = GlassRefused::new(GlassReason::WrongProcess, message, help);
                let zone = open.map_or("?", |entry| entry.zone.as_str()).to_owned();
                refuse_glass(&zone, refused, person, reply)
            }
        }
    }

    /// A process is the first of its tree, or was refused.
    pub(super) fn glass_joined(
        &mut self,
        joining: Joining,
        outcome: Result<ProcessId, GlassRefused>,
        now: Now,
    ) -> Vec<Action> {
        let Joining { number, person, reply, .. } = joining;
        let first = match outcome {
            Ok(first) => first,
            Err(refused) => return refuse_glass("?", refused, person, reply),
        };
        self.glass.joined(number, first);
        let Some(entry) = self.glass.get(number) else { return vec![] };
        let zone = entry.zone.clone();
        let record = Record::BreakGlassJoin { number, zone, pid: first.pid, person };
        let message = format!("break-glass: pid {} may spend it, and its children", first.pid);
        vec![
            Action::Record(Box::new(record)),
            Action::Log(Level::WARN, message),
            Action::Send(reply, super::json(&report::glass(entry, now))),
        ]
    }
}

/// One is over: on record, and everybody is told.
fn over(entry: &Entry, why: Why, by: Option<Person>, now: Now) -> Vec<Action> {
    let ops: Vec<String> = entry.ops.iter().map(|(op, count)| format!("{op} {count}")).collect();
    let ops = if ops.is_empty() { "nothing".to_owned() } else { ops.join(", ") };
    let who = by.as_ref().map_or_else(String::new, |by| format!(" by {}", name(by)));
    let message = format!(
        "BREAK-GLASS CLOSED in {} zone {}: {}{who}; destroyed under it: {}, {} ({ops})",
        entry.role,
        entry.zone,
        why.sentence(),
        text::count(entry.used_files, "file"),
        text::size(entry.used_bytes),
    );
    let record = Record::BreakGlassClose { glass: Box::new(report::glass(entry, now)) };
    vec![Action::Record(Box::new(record)), Action::SyncAudit, glass(GlassAction::Shout(message))]
}
