//! What the daemon does about paused processes. Like the rest of the state: no I/O, time comes in,
//! actions go out.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use holdfast_abi as abi;
use tracing::Level;

use super::message::{Action, Answer, Ask, Decide, Decided, Kill, Refusal, Reply, Resetting};
use super::state::State;
use crate::api::{EventReport, Tenant};
use crate::audit::{Pause, Record};
use crate::clock::{Now, words};
use crate::holds::{
    Changes, Decision, Ended, Notice, Outcome, Paused, Survey, Tell, ZoneRule, hold_notice,
    throttle_notice,
};
use crate::report;
use crate::text;

/// Shortest time between two surveys that events ask for, in nanoseconds.
const BETWEEN_SURVEYS: u64 = 50_000_000;
/// Processes of one hold of which the audit log says everything, in so many nanoseconds.
const FULL_REPORTS: u32 = 16;
const REPORT_WINDOW: u64 = 1_000_000_000;
/// Names of tenants that are remembered.
const TENANT_NAMES: usize = 4096;

/// What is remembered beside the book.
#[derive(Debug, Default)]
pub(super) struct Holding {
    /// Slots of the zones in force, and their names.
    slots: BTreeMap<u32, String>,
    /// Whether an event told of a pause since the last survey.
    due: bool,
    last_survey: Option<Now>,
    /// Why what is held cannot be read.
    error: Option<String>,
    /// Tenants by zone slot and inode number, as events named them.
    tenants: HashMap<(u32, u64), Tenant>,
    reports: Reports,
}

/// How many records of each hold say everything about a process in the second that began then.
#[derive(Debug, Default)]
struct Reports {
    since: HashMap<u64, (u64, u32)>,
}

impl Reports {
    /// Whether one more may. Who forks many processes only to have them held must not fill the disk
    /// with their command lines.
    fn take(&mut self, hold: u64, now: Now) -> bool {
        let is_over = |since: u64| now.boot_ns.saturating_sub(since) >= REPORT_WINDOW;
        if !self.since.contains_key(&hold) {
            self.since.retain(|_, (since, _)| !is_over(*since));
        }
        let (since, count) = self.since.entry(hold).or_insert((now.boot_ns, 0));
        if is_over(*since) {
            (*since, *count) = (now.boot_ns, 0);
        }
        *count = count.saturating_add(1);
        *count <= FULL_REPORTS
    }
}

impl Holding {
    /// These zones are in force.
    pub(super) fn in_force(&mut self, slots: BTreeMap<u32, String>) {
        self.slots = slots;
    }

    /// Takes note of an event of the kernel.
    pub(super) fn note(&mut self, raw: &abi::Event, report: &EventReport) {
        let paused = [abi::Verdict::Hold as u8, abi::Verdict::Throttle as u8];
        self.due |= paused.contains(&raw.verdict);
        if let Some(tenant) = &report.tenant {
            if self.tenants.len() >= TENANT_NAMES {
                self.tenants.clear();
            }
            self.tenants.insert((raw.zone, tenant.inode), tenant.clone());
        }
    }

    fn is_due(&self, now: Now) -> bool {
        let long_ago = |last: Now| now.boot_ns.saturating_sub(last.boot_ns) >= BETWEEN_SURVEYS;
        self.due && self.last_survey.is_none_or(long_ago)
    }
}

impl State {
    /// What the policy in force says about pauses in the zone of this slot.
    pub(crate) fn rule(&self, slot: u32) -> ZoneRule {
        let name = self.zone_name(slot);
        let name = name.map_or_else(|| format!("slot {slot}"), str::to_owned);
        if !self.guarding.in_force {
            return ZoneRule::unknown(&name);
        }
        let zone = self.holding.slots.get(&slot).and_then(|name| self.plan.policy.zone(name));
        zone.map_or_else(|| ZoneRule::gone(&name), ZoneRule::of)
    }

    /// An event of the kernel as a document.
    pub(crate) fn event(&self, decided: &Decided, now: Now) -> EventReport {
        let (slot, budget) = (decided.raw.zone, decided.raw.budget);
        let pauses = self.rule(slot).pauses();
        let mut event =
            report::event(decided, self.zone_name(slot), self.budget_label(budget), pauses, now);
        // Of a former boot, or nobody's, it stays a number.
        if event.allowance.is_some() {
            let serial = decided.raw.allowance;
            let glass = || self.glass.id_of(serial, self.allowances.boot_id());
            let id = self.allowances.id_of(serial).map(str::to_owned).or_else(glass);
            event.allowance = id.or(event.allowance);
        }
        event
    }

    /// The name of a tenant, if an event told it.
    pub(crate) fn tenant_name(&self, slot: u32, inode: u64) -> Option<Tenant> {
        self.holding.tenants.get(&(slot, inode)).cloned()
    }

    /// Whether paused processes have to be looked after more often than every second.
    pub(super) fn wants_pace(&self, now: Now) -> bool {
        self.guarding.is_up() && (self.holding.due || self.book.is_pacing(now))
    }

    /// Everything the kernel has sent was handled: a pause it told of is looked at now.
    pub(super) fn caught_up(&mut self, now: Now) -> Vec<Action> {
        if self.guarding.is_up() && self.holding.is_due(now) {
            vec![Action::SurveyHolds(None)]
        } else {
            vec![]
        }
    }

    /// A tenth of a second has passed.
    pub(super) fn pace(&mut self, now: Now) -> Vec<Action> {
        let mut actions = self.caught_up(now);
        if self.guarding.is_up() && self.book.is_pacing(now) {
            actions.push(Action::Pace);
        }
        actions
    }

    /// Somebody asks about holds, or decides: what is paused now is looked at first.
    pub(super) fn asked_about_holds(&mut self, ask: Ask, reply: Reply) -> Vec<Action> {
        if self.guarding.is_up() {
            return vec![Action::SurveyHolds(Some((ask, reply)))];
        }
        // An agent before this one may have left some behind.
        let why = "the guard is not up, so that what is paused or spent cannot be determined: see \
                   `holdfast doctor`";
        vec![Action::Send(reply, Answer::Error(Refusal::Failed, why.to_owned()))]
    }

    /// What the kernel has paused was looked at.
    pub(super) fn holds_surveyed(
        &mut self,
        survey: Result<Survey, String>,
        asked: Option<(Ask, Reply)>,
        now: Now,
    ) -> Vec<Action> {
        self.holding.due = false;
        self.holding.last_survey = Some(now);
        let mut actions = match survey {
            Ok(survey) => {
                self.holding.error = None;
                let mut book = std::mem::take(&mut self.book);
                let changes = book.take(survey, &|slot| self.rule(slot), now);
                self.book = book;
                self.changed(changes, now)
            }
            Err(error) => {
                let text = format!("what is held cannot be read: {error}");
                let is_news = self.holding.error.replace(error) != self.holding.error;
                match asked {
                    Some((_, reply)) => {
                        return vec![Action::Send(reply, Answer::Error(Refusal::Failed, text))];
                    }
                    None if is_news => return vec![Action::Log(Level::ERROR, text)],
                    None => return vec![],
                }
            }
        };
        actions.extend(asked.map(|(ask, reply)| self.answer(ask, reply, now)));
        actions
    }

    fn changed(&mut self, changes: Changes, now: Now) -> Vec<Action> {
        let mut actions = Vec::new();
        for paused in &changes.appeared {
            actions.extend(self.appeared(paused, now));
        }
        for ended in &changes.over {
            actions.extend(self.over(ended, now));
        }
        for pause in changes.pauses {
            actions.push(Action::Count(self.rule(pause.zone).name, pause));
        }
        if !changes.forget_threads.is_empty() {
            actions.push(Action::ForgetThreads(changes.forget_threads));
        }
        for (_, key) in changes.forget_holds {
            actions.push(Action::ForgetHold(key));
        }
        let decide = |hold, key, decision| {
            let decide = Decide { hold, key, decision, person: None, reply: None };
            Action::Decide(Box::new(decide))
        };
        for (hold, key) in changes.retry {
            actions.push(decide(hold, key, Decision::Retry));
        }
        for (hold, key, until_ns) in changes.expire {
            actions.push(decide(hold, key, Decision::Deny { until_ns }));
        }
        if !changes.go_on.is_empty() {
            actions.push(Action::Continue(changes.go_on));
        }
        if !changes.wake.is_empty() {
            actions.push(Action::Wake(changes.wake));
        }
        actions.extend(changes.tell.into_iter().map(|tell| self.tell(&tell, now)));
        actions
    }

    fn appeared(&mut self, paused: &Paused, now: Now) -> [Action; 2] {
        let hold = paused.held.hold;
        let rule = self.rule(paused.held.event.zone);
        let event = self.event(&paused.news.decided, now);
        let deadline = self.book.deadline_ns(hold, rule.hold_timeout).filter(|_| paused.is_held());
        let deadline = deadline.map(|deadline| report::until(deadline, now));
        let (verb, then) = match &deadline {
            Some(deadline) => {
                ("held", format!("denied at {} unless somebody decides", deadline.time))
            }
            None if paused.is_held() => ("held", "it is over already".to_owned()),
            None => ("throttled", "it goes on at the budget's rate".to_owned()),
        };
        let message = format!(
            "hold {hold}: zone {}, {}{verb}: {} (pid {}) before {} of {}; {then}: `holdfast hold \
             show {hold}`",
            rule.name,
            if paused.adopted { "still " } else { "" },
            text::for_terminal(event.comm.as_bytes()),
            paused.key.pid,
            event.op,
            text::for_terminal(text::original(&event.path, event.path_bytes.as_deref())),
        );
        let process = &paused.news.process;
        let is_full = self.holding.reports.take(hold, now);
        let process = if is_full { process.audited() } else { process.in_short() };
        let pause =
            Box::new(Pause { hold, zone: rule.name, adopted: paused.adopted, event, process });
        let record = if paused.is_held() {
            Record::Hold { pause, deadline }
        } else {
            Record::Throttle { pause }
        };
        [Action::Record(Box::new(record)), Action::Log(Level::WARN, message)]
    }

    fn over(&self, ended: &Ended, now: Now) -> [Action; 2] {
        let Ended { paused, outcome } = ended;
        let lasted = Duration::from_nanos(now.boot_ns.saturating_sub(paused.held.since_ns));
        let (hold, pid, tid) = (paused.held.hold, paused.key.pid, paused.key.tid);
        let became = match outcome {
            Outcome::Released => "was released",
            Outcome::Expired => "was denied: nobody decided in time",
            Outcome::Killed => "was killed",
            Outcome::Gone => "has ended",
            Outcome::Resumed => "went on",
        };
        let message = format!("hold {hold}: pid {pid} {became}, after {}", words(lasted));
        let record = Record::HoldEnd {
            hold,
            zone: self.rule(paused.held.event.zone).name,
            pid,
            tid,
            outcome: outcome.word(),
            held_seconds: lasted.as_millis() as f64 / 1000.0,
        };
        [Action::Record(Box::new(record)), Action::Log(Level::INFO, message)]
    }

    fn tell(&self, tell: &Tell, now: Now) -> Action {
        let paused = &tell.paused;
        let raw = &paused.held.event;
        let event = self.event(&paused.news.decided, now);
        let zone = self.plan.policy.zone(&self.rule(raw.zone).name);
        let budget = zone.and_then(|zone| {
            zone.budgets.iter().find(|budget| budget.id(&zone.name) == raw.budget)
        });
        let notice = Notice { hold: paused.held.hold, event: &event, budget };
        let text = match tell.deadline_ns {
            Some(deadline) => {
                let patience = Duration::from_nanos(deadline.saturating_sub(now.boot_ns));
                hold_notice(notice, &now.wall_at(deadline), patience)
            }
            None => throttle_notice(notice),
        };
        Action::Tell { leader: tell.leader, tty: paused.news.process.tty, text }
    }

    /// Answers somebody, with everything as it is now.
    fn answer(&self, ask: Ask, reply: Reply, now: Now) -> Action {
        let key = |id: u64| {
            let found = self.book.holds(now).find(|row| row.hold.id == id);
            found.map(|row| row.key).ok_or_else(|| self.no_such_hold(id, now))
        };
        let refuse =
            |reply, message| Action::Send(reply, Answer::Error(Refusal::NotFound, message));
        match ask {
            Ask::Hold { id } => match key(id) {
                Ok(_) => Action::Collect(ask, reply),
                Err(message) => refuse(reply, message),
            },
            Ask::Release { id, amount, person } => match key(id) {
                Ok(key) => {
                    let decision = self.release(&key, amount, now);
                    let (person, reply) = (Some(person), Some(reply));
                    Action::Decide(Box::new(Decide { hold: id, key, decision, person, reply }))
                }
                Err(message) => refuse(reply, message),
            },
            Ask::Kill { id, signal, person } => match key(id) {
                Ok(_) if self.book.of(id).next().is_none() => {
                    refuse(reply, format!("hold {id} has no paused process that could be killed"))
                }
                Ok(key) => Action::Kill(Box::new(Kill { hold: id, key, signal, person, reply })),
                Err(message) => refuse(reply, message),
            },
            Ask::ResetBudgets { body, person } => {
                Action::ResetBudgets(Box::new(Resetting { body: *body, person, reply }))
            }
            Ask::Holds
            | Ask::Budgets
            | Ask::Status
            | Ask::Look
            | Ask::Policy
            | Ask::Reload
            | Ask::FlushManifest
            | Ask::Explain { .. }
            | Ask::Events { .. }
            | Ask::Metrics
            | Ask::Allowances
            | Ask::Allowance { .. }
            | Ask::SubmitAllowance { .. }
            | Ask::JoinAllowance { .. }
            | Ask::CloseAllowance { .. }
            | Ask::RevokeAllowance { .. }
            | Ask::Glass(_) => Action::Collect(ask, reply),
        }
    }

    fn no_such_hold(&self, id: u64, now: Now) -> String {
        let ids: Vec<String> = self.book.holds(now).map(|row| row.hold.id.to_string()).collect();
        let there_is = match ids.as_slice() {
            [] => "no process is held".to_owned(),
            [one] => format!("there is hold {one}"),
            many => format!("there are holds {}", many.join(", ")),
        };
        format!(
            "there is no hold {id}: {there_is}\n  help: `holdfast hold list` shows what is paused; \
             a hold that is over is in the audit log"
        )
    }
}

#[cfg(test)]
#[path = "holding_tests.rs"]
mod tests;
