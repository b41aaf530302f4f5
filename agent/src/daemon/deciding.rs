//! Decisions about paused processes: what comes of a release, a kill, a deadline or a changed
//! policy is recorded, told and answered here. No I/O.

use holdfast_abi as abi;
use tracing::Level;

use super::message::{Action, Answer, Decide, Done, Kill, Refusal};
use super::state::State;
use crate::api::{Amount, KillReport, Person, ReleaseReport, SignalFailure, UnitRef, Until};
use crate::audit::{HoldRef, Record};
use crate::clock::Now;
use crate::holds::{Decision, Delivered};
use crate::report;
use crate::text;

impl State {
    /// What a person's release comes to: it can be spent for as long as a hold lasts.
    pub(super) fn release(&self, key: &abi::HoldKey, amount: Amount, now: Now) -> Decision {
        let timeout = self.rule(key.zone).hold_timeout.as_nanos() as u64;
        match amount {
            Amount::Files(files) => Decision::Release {
                files: files.get(),
                until_ns: now.boot_ns.saturating_add(timeout),
            },
            Amount::BudgetReset => Decision::ResetBudgets,
        }
    }

    /// A decision is written down, or could not be.
    pub(super) fn hold_decided(
        &mut self,
        decide: Decide,
        outcome: Result<Done, String>,
        now: Now,
    ) -> Vec<Action> {
        let Decide { hold, key, decision, person, reply } = decide;
        let done = match outcome {
            Ok(done) => done,
            Err(error) => {
                self.book.postpone(hold, now);
                let text = format!("hold {hold}: nothing was decided: {error}");
                let mut actions = vec![Action::Log(Level::ERROR, text.clone())];
                if let Some(person) = person.filter(|_| decision.lets_go()) {
                    let hold = self.hold_ref(hold, &key, Delivered::default());
                    let (budgets_reset, error) = (None, Some(error));
                    let outcome = Record::ReleaseOutcome { hold, budgets_reset, error, person };
                    actions.push(Action::Record(Box::new(outcome)));
                }
                actions.extend(
                    reply.map(|reply| Action::Send(reply, Answer::Error(Refusal::Failed, text))),
                );
                return actions;
            }
        };
        self.book.decided(hold, decision, done.at_ns);
        let message = format!(
            "hold {hold}: {}; {} continued",
            decision_message(decision, person.as_ref(), done.budgets, now),
            text::processes(done.continued.to.len()),
        );
        let report = self.release_report(hold, &key, decision, &done, now);
        let record = self.decision_record(hold, &key, decision, person, done, now);
        let mut actions = vec![Action::Record(Box::new(record)), Action::Log(Level::WARN, message)];
        actions.extend(reply.map(|reply| Action::Send(reply, super::json(&report))));
        actions
    }

    fn release_report(
        &self,
        hold: u64,
        key: &abi::HoldKey,
        decision: Decision,
        done: &Done,
        now: Now,
    ) -> ReleaseReport {
        let (files, until) = released(decision, now);
        ReleaseReport {
            id: hold,
            zone: self.rule(key.zone).name,
            files,
            until,
            budgets_reset: (decision == Decision::ResetBudgets).then_some(done.budgets),
            continued: done.continued.to.clone(),
            failed: failures(&done.continued),
        }
    }

    fn decision_record(
        &self,
        hold: u64,
        key: &abi::HoldKey,
        decision: Decision,
        person: Option<Person>,
        done: Done,
        now: Now,
    ) -> Record {
        let budgets = done.budgets;
        let hold = self.hold_ref(hold, key, done.continued);
        match (decision, person) {
            (Decision::Deny { until_ns }, _) => {
                Record::Expire { hold, until: report::until(until_ns, now) }
            }
            // Who released how much is in the log already.
            (Decision::Release { .. } | Decision::ResetBudgets, Some(person)) => {
                let reset = decision == Decision::ResetBudgets;
                let budgets_reset = reset.then_some(budgets);
                Record::ReleaseOutcome { hold, budgets_reset, error: None, person }
            }
            // Nobody but a person releases.
            (Decision::Retry | Decision::Release { .. } | Decision::ResetBudgets, person) => {
                Record::HoldRetry { hold, person }
            }
        }
    }

    /// What has to be in the log before a person's decision takes effect; `None` if it lets nothing
    /// go.
    pub(super) fn release_record(&self, decide: &Decide, now: Now) -> Option<Record> {
        let Decide { hold, key, decision, person, .. } = decide;
        let person = person.clone().filter(|_| decision.lets_go())?;
        let hold = self.hold_ref(*hold, key, Delivered::default());
        let (files, until) = released(*decision, now);
        let budget_reset = *decision == Decision::ResetBudgets;
        Some(Record::Release { hold, files, until, budget_reset, person })
    }

    /// Processes of a hold were killed.
    pub(super) fn hold_killed(
        &mut self,
        kill: Kill,
        outcome: Result<Delivered, String>,
    ) -> Vec<Action> {
        let Kill { hold, key, signal, person, reply } = kill;
        let delivered = match outcome {
            Ok(delivered) => delivered,
            Err(error) => {
                let text = format!("hold {hold}: its processes cannot be found: {error}");
                return vec![
                    Action::Log(Level::ERROR, text.clone()),
                    Action::Send(reply, Answer::Error(Refusal::Failed, text)),
                ];
            }
        };
        self.book.killed(hold, &delivered.to);
        let report = KillReport {
            id: hold,
            zone: self.rule(key.zone).name,
            signal: signal.to_string(),
            signalled: delivered.to.clone(),
            failed: failures(&delivered),
        };
        let message = format!(
            "hold {hold}: {} sent SIG{signal} by {}",
            text::processes(delivered.to.len()),
            name(&person)
        );
        let hold = self.hold_ref(hold, &key, delivered);
        let record = Record::Kill { hold, signal: signal.to_string(), person };
        vec![
            Action::Record(Box::new(record)),
            Action::Log(Level::WARN, message),
            Action::Send(reply, super::json(&report)),
        ]
    }

    fn hold_ref(&self, hold: u64, key: &abi::HoldKey, delivered: Delivered) -> HoldRef {
        let known = self.book.of(hold).find_map(|paused| paused.news.decided.unit.clone());
        HoldRef {
            hold,
            zone: self.rule(key.zone).name,
            unit: UnitRef { id: key.unit, path: known },
            user: key.user,
            failed: failures(&delivered),
            processes: delivered.to,
        }
    }
}

fn decision_message(
    decision: Decision,
    person: Option<&Person>,
    budgets: usize,
    now: Now,
) -> String {
    let by = person.map_or_else(|| "nobody".to_owned(), name);
    match decision {
        Decision::Release { files, until_ns } => {
            let files = text::count(files, "file");
            format!("{files} released by {by}, until {}", now.wall_at(until_ns))
        }
        Decision::ResetBudgets => {
            format!("{} reset by {by}", text::count(budgets as u64, "budget"))
        }
        Decision::Retry if person.is_some() => {
            format!("its budgets were reset by {by}, so that it is decided anew")
        }
        Decision::Retry => "the policy has changed, so that it is decided anew".to_owned(),
        Decision::Deny { until_ns } => {
            format!("nobody has decided in time: denied until {}", now.wall_at(until_ns))
        }
    }
}

fn released(decision: Decision, now: Now) -> (Option<u64>, Option<Until>) {
    match decision {
        Decision::Release { files, until_ns } => (Some(files), Some(report::until(until_ns, now))),
        Decision::ResetBudgets | Decision::Retry | Decision::Deny { .. } => (None, None),
    }
}

fn failures(delivered: &Delivered) -> Vec<SignalFailure> {
    let failed = delivered.failed.iter();
    failed.map(|(pid, error)| SignalFailure { pid: *pid, error: error.clone() }).collect()
}

/// `user 1000 (holdfast, pid 4711)`: the login user where one is set.
pub(super) fn name(person: &Person) -> String {
    let comm = person.comm.as_deref().unwrap_or("?");
    let pid = person.pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
    let user = match person.login_uid {
        Some(login_uid) => format!("user {} (login user {login_uid})", person.uid),
        None => format!("user {}", person.uid),
    };
    format!("{user} with {} (pid {pid})", text::for_terminal(comm.as_bytes()))
}
