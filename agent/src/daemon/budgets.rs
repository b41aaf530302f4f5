//! What each actor has spent, and resets: what a person decides where nothing is paused that could
//! be released.

use std::sync::Arc;

use holdfast_abi as abi;
use holdfast_abi::{AccountKey, OVERFLOW_ACTOR, Per, UNKNOWN_PLACE};
use holdfast_policy::Zone;
use tracing::Level;

use super::deciding::name;
use super::disk::About;
use super::executor::Executor;
use super::message::{Action, Answer, Decide, Event, Refusal, Reset, Resetting};
use super::pausing::{user_name, users};
use super::state::State;
use crate::api::{Actor, BudgetList, ResetReport};
use crate::audit::Record;
use crate::clock::Now;
use crate::holds::Decision;
use crate::report::{self, Ledger, Names};
use crate::text;

/// Actors that an error lists.
const MOST_LISTED: usize = 16;

/// An actor of a zone, as a command names it.
struct Named {
    /// `None`: those for whom there was no room.
    per: Option<Per>,
    id: u64,
    word: String,
}

impl Named {
    fn is(&self, asked: &str) -> bool {
        let number = |per: &str| asked.strip_prefix(per) == Some(self.id.to_string().as_str());
        asked == self.word
            || match self.per {
                Some(Per::Unit) => number("unit:"),
                Some(Per::User) => number("user:"),
                Some(Per::Zone) | None => false,
            }
    }

    fn has(&self, per: Per) -> bool {
        self.per.is_none_or(|own| own == per)
    }
}

impl Executor {
    /// What each actor has spent of each budget.
    pub(super) fn budgets(&mut self, state: &State, now: Now) -> BudgetList {
        let ledger = self.facts().ledger;
        let users = users();
        let units = &mut self.units;
        let mut names = Names {
            unit: &mut |unit, pid| units.name(unit, pid, now),
            user: &|uid| user_name(&users, uid),
        };
        let mut budgets = Vec::new();
        for zone in &state.plan.policy.zones {
            let of_zone = zone.budgets.iter();
            budgets.extend(of_zone.map(|budget| ledger.accounts(budget, zone, now, &mut names)));
        }
        BudgetList { budgets }
    }

    /// Resets those budgets of an actor that stop its next op. That is in the audit log first.
    pub(super) fn reset_budgets(
        &mut self,
        resetting: Box<Resetting>,
        state: &State,
        now: Now,
    ) -> Option<Event> {
        let (reset, keys) = match self.find_used_up(&resetting, state, now) {
            Ok(found) => found,
            Err(refused) => return Some(Event::BudgetsReset(resetting, Err(refused))),
        };
        let record = record(&resetting, &reset.report, "intended", None);
        self.record_first(About::Other, record, (state, now), move |it, outcome, _, now| {
            let failed = |error| (Refusal::Failed, error);
            let outcome = match outcome {
                Ok(()) => it.reset_accounts(&keys).map_err(|error| {
                    let (report, error_text) = (&reset.report, Some(error.clone()));
                    let record = self::record(&resetting, report, "failed", error_text);
                    it.disk.append(Arc::new(record), now);
                    failed(error)
                }),
                Err(error) => Err(failed(error)),
            };
            Some(Event::BudgetsReset(resetting, outcome.map(|()| Box::new(reset))))
        })
    }

    fn reset_accounts(&mut self, keys: &[AccountKey]) -> Result<(), String> {
        let guard = self.guard.as_mut().ok_or("there is no guard")?;
        let mut reset = keys.iter().map(|key| guard.reset_account(*key));
        reset.try_for_each(|outcome| outcome).map_err(|error| error.to_string())?;
        self.carryover.save_soon();
        Ok(())
    }

    /// The budgets that a reset is about, and their accounts.
    fn find_used_up(
        &mut self,
        resetting: &Resetting,
        state: &State,
        now: Now,
    ) -> Result<(Reset, Vec<AccountKey>), (Refusal, String)> {
        let failed = |message: String| (Refusal::Failed, message);
        let facts = self.facts();
        let zones = &state.plan.policy;
        let Some(zone) = zones.zone(&resetting.body.zone) else {
            return Err((Refusal::NotFound, no_such_zone(&resetting.body.zone, &zones.zones)));
        };
        let slot = facts.slot(zone.name.as_str());
        let slot = slot.ok_or_else(|| failed(format!("zone {} is not in force", zone.name)))?;
        let users = users();
        let units = &mut self.units;
        let mut names = Names {
            unit: &mut |unit, pid| units.name(unit, pid, now),
            user: &|uid| user_name(&users, uid),
        };
        let ledger = &facts.ledger;
        let actor = find(zone, ledger, &resetting.body.actor, now, &mut names)
            .map_err(|message| (Refusal::NotFound, message))?;
        let used_up = zone.budgets.iter().filter(|budget| {
            actor.has(budget.per) && ledger.is_used_up(budget, zone, actor.id, now)
        });
        let (budgets, keys): (Vec<_>, Vec<_>) = used_up
            .map(|budget| {
                let key = AccountKey { budget: budget.id(&zone.name), actor: actor.id };
                (budget.label(), key)
            })
            .unzip();
        if budgets.is_empty() {
            let message = format!(
                "{} has used up no budget of zone {}: nothing was reset\n  help: `holdfast budget \
                 list` shows what each actor has spent",
                actor.word, zone.name
            );
            return Err((Refusal::BadInput, message));
        }
        let report = ResetReport {
            zone: zone.name.to_string(),
            actor: Actor { id: actor.id, name: actor.word },
            budgets,
        };
        Ok((Reset { slot, per: actor.per, report }, keys))
    }
}

impl State {
    /// Budgets of an actor were reset, or nothing was. What is paused because of them is decided
    /// anew.
    pub(super) fn budgets_reset(
        &mut self,
        resetting: Resetting,
        outcome: Result<Box<Reset>, (Refusal, String)>,
        now: Now,
    ) -> Vec<Action> {
        let reset = match outcome {
            Ok(reset) => *reset,
            Err((refusal, error)) => {
                return vec![Action::Send(resetting.reply, Answer::Error(refusal, error))];
            }
        };
        let Reset { slot, per, report } = reset;
        let message = format!(
            "zone {}: {} of {} reset by {}: {}",
            report.zone,
            text::count(report.budgets.len() as u64, "budget"),
            report.actor.name,
            name(&resetting.person),
            text::for_terminal(resetting.body.reason.as_bytes()),
        );
        let record = record(&resetting, &report, "done", None);
        let mut actions = vec![Action::Record(Box::new(record)), Action::Log(Level::WARN, message)];
        let concerns = |key: &abi::HoldKey| {
            let id = per.map(|per| per.actor(key.unit, key.user));
            key.zone == slot && id.is_none_or(|id| id == report.actor.id & !UNKNOWN_PLACE)
        };
        for row in self.book.holds(now).filter(|row| concerns(&row.key)) {
            let waits = self.book.of(row.hold.id).next().is_some();
            if waits || now.boot_ns < row.release.denied_until_ns {
                let (hold, key) = (row.hold.id, row.key);
                let (decision, person) = (Decision::Retry, Some(resetting.person.clone()));
                let decide = Decide { hold, key, decision, person, reply: None };
                actions.push(Action::Decide(Box::new(decide)));
            }
        }
        actions.push(Action::Send(resetting.reply, super::json(&report)));
        actions
    }
}

fn record(
    resetting: &Resetting,
    report: &ResetReport,
    outcome: &'static str,
    error: Option<String>,
) -> Record {
    let ResetReport { zone, actor, budgets } = report.clone();
    let (reason, person) = (resetting.body.reason.clone(), resetting.person.clone());
    Record::BudgetReset { outcome, zone, actor, budgets, reason, error, person }
}

/// The actor that a person means, among those that have an account.
fn find(
    zone: &Zone,
    ledger: &Ledger,
    asked: &str,
    now: Now,
    names: &mut Names<'_>,
) -> Result<Named, String> {
    let mut known: Vec<Named> = Vec::new();
    let mut used_up: Vec<String> = Vec::new();
    for budget in &zone.budgets {
        for id in ledger.actors(budget.id(&zone.name)) {
            let per = (id != OVERFLOW_ACTOR).then_some(budget.per);
            let word = match known.iter().find(|named| (named.per, named.id) == (per, id)) {
                Some(named) => named.word.clone(),
                None => {
                    let word = report::actor_word(budget.per, id, names);
                    known.push(Named { per, id, word: word.clone() });
                    word
                }
            };
            if !used_up.contains(&word) && ledger.is_used_up(budget, zone, id, now) {
                used_up.push(word);
            }
        }
    }
    // A name wins over a number that looks the same.
    let at = known.iter().position(|named| named.word == asked);
    if let Some(at) = at.or_else(|| known.iter().position(|named| named.is(asked))) {
        return Ok(known.swap_remove(at));
    }
    let list = |words: &mut dyn Iterator<Item = &str>| {
        words.take(MOST_LISTED).map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
    };
    let there_is = if known.is_empty() {
        format!("no actor has spent anything in zone {}", zone.name)
    } else if used_up.is_empty() {
        let words = list(&mut known.iter().map(|named| named.word.as_str()));
        format!("no actor has used up a budget of zone {}; it has accounts of {words}", zone.name)
    } else {
        let words = list(&mut used_up.iter().map(String::as_str));
        format!("budgets of zone {} are used up by {words}", zone.name)
    };
    Err(format!(
        "zone {} has no account of `{}`: {there_is}\n  help: an actor is `unit:PATH`, `user:NAME`, \
         `zone` (everyone together), `overflow`, or one of these after `unknown-place:`; `holdfast \
         budget list` shows all of them",
        zone.name,
        text::for_terminal(asked.as_bytes()),
    ))
}

fn no_such_zone(asked: &str, zones: &[Zone]) -> String {
    let names: Vec<&str> = zones.iter().map(|zone| zone.name.as_str()).collect();
    format!(
        "there is no zone `{}`\n  help: the policy in force has {}",
        text::for_terminal(asked.as_bytes()),
        names.join(", ")
    )
}

#[cfg(test)]
#[path = "budgets_tests.rs"]
mod tests;
