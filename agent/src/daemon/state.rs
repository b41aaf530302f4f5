//! What the daemon knows, and what it does about each event. No I/O here: time comes in, actions go
//! out.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use holdfast_abi as abi;
use holdfast_policy::Policy;
use tracing::Level;

use super::holding::Holding;
use super::kept::Start;
use super::message::Answer;
use super::message::{Action, Applied, Ask, Cause, Decided, Event, Refusal, Reply, ZoneInForce};
use super::plan::{Plan, PlanError};
use super::readiness::{self, Readiness};
use super::records;
use super::ring::Ring;
use super::standing::Guarding;
use crate::allowances;
use crate::api::{EventLine, ReloadReport};
use crate::audit::{Record, Recovered};
use crate::break_glass;
use crate::clock::Now;
use crate::holds::Book;
use crate::kernel::{Coverage, Started};
use crate::report;
use crate::roots::{self, Found, RootProblem};
use crate::text;

/// How often the guard is proven.
const PROVE_EVERY: Duration = Duration::from_secs(5);
/// A proof that is older than this is not shown to somebody who asks: a new one is made.
const FRESH_PROOF: Duration = Duration::from_secs(1);
/// How often directories are looked for, also if nothing is known to have changed.
const SURVEY_EVERY: Duration = Duration::from_secs(3);
/// How often accounts that have drained are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// Everything the daemon knows.
#[derive(Debug)]
pub(crate) struct State {
    /// When the agent started.
    pub(crate) started: Now,
    /// The plan in force, or, without a guard, the one that would be.
    pub(crate) plan: Plan,
    /// Until the first plan is in force: the one that was before the agent started, if that is
    /// another.
    pub(super) before: Option<Box<Plan>>,
    /// The policy file.
    file: String,
    /// Whether the kernel enforces anything, and why not.
    pub(crate) guarding: Guarding,
    /// The last reload: when, and why it failed if it did.
    pub(crate) reload: Option<(Now, Option<String>)>,
    /// Why the directories of the policy cannot be followed at the moment.
    pub(crate) survey_error: Option<String>,
    /// The last events.
    pub(crate) ring: Ring,
    /// What is paused.
    pub(crate) book: Book,
    pub(super) holding: Holding,
    /// Allowances.
    pub(crate) allowances: allowances::Book,
    /// Why what is spent of allowances cannot be read.
    pub(super) allowances_error: Option<String>,
    /// Ids of allowances that are over and could not be closed.
    pub(super) close_failed: BTreeSet<String>,
    /// Break-glass.
    pub(crate) glass: break_glass::Book,
    /// What the service manager was told.
    pub(super) readiness: Readiness,
    /// Zone names by slot, those of former policies included: their events can still come.
    zone_names: HashMap<u32, String>,
    /// The zones that the kernel has; none without a guard.
    pub(crate) in_force: Vec<ZoneInForce>,
    /// Devices of guarded directories that no mount shows.
    pub(crate) unmounted: BTreeSet<u32>,
    /// Labels of budgets by id.
    budget_labels: HashMap<u64, String>,
    last_proof: Option<Now>,
    last_survey: Option<Now>,
    last_forget: Option<Now>,
    last_repair: Option<Now>,
    /// How often the policy was put in force anew because the kernel's maps were edited.
    pub(crate) repairs: u64,
}

impl State {
    /// An agent that has read `plan` and has not done anything yet.
    pub(crate) fn new(plan: Plan, now: Now) -> Self {
        let mut state = Self {
            started: now,
            file: plan.origin.path.clone(),
            plan,
            before: None,
            guarding: Guarding::default(),
            reload: None,
            survey_error: None,
            ring: Ring::default(),
            book: Book::default(),
            holding: Holding::default(),
            allowances: allowances::Book::default(),
            allowances_error: None,
            close_failed: BTreeSet::new(),
            glass: break_glass::Book::default(),
            readiness: Readiness::default(),
            zone_names: HashMap::new(),
            in_force: Vec::new(),
            unmounted: BTreeSet::new(),
            budget_labels: HashMap::new(),
            last_proof: None,
            last_survey: None,
            last_forget: None,
            last_repair: None,
            repairs: 0,
        };
        state.learn_labels();
        state
    }

    /// The same, where it matters what was in force before.
    pub(super) fn starting(start: Start, now: Now) -> Self {
        let Start { plan, before, file, refused } = start;
        let reload = refused.map(|why| (now, Some(why)));
        Self { before: before.map(Box::new), file, reload, ..Self::new(plan, now) }
    }

    /// The policy that was in force when the plan was not yet.
    pub(super) fn policy_before(&self) -> &Policy {
        self.before.as_ref().map_or(&self.plan.policy, |before| &before.policy)
    }

    /// What to do first.
    pub(crate) fn begin(&self, recovered: Recovered, boot_id: Option<String>) -> Vec<Action> {
        let mut actions = Vec::new();
        actions.extend(recovered.news.into_iter().map(|news| Action::Log(Level::ERROR, news)));
        if let Some(why) = recovered.unavailable {
            let message = format!(
                "THE AUDIT LOG CANNOT BE OPENED: {why}; what needs a record is decided by \
                 on_audit_failure until it can"
            );
            actions.push(Action::Log(Level::ERROR, message));
        }
        actions.push(Action::Record(Box::new(records::start(boot_id))));
        if let Some((_, Some(why))) = &self.reload {
            let record = records::policy_refused(&self.file, None, Cause::Start, why);
            actions.push(Action::Record(Box::new(record)));
            let message = format!(
                "the policy {} is refused; what was in force last goes on, as it is in {}\n{why}",
                self.file, self.plan.origin.path
            );
            actions.push(Action::Log(Level::ERROR, message));
        }
        // Before the guard: what the kernel has is compared with it.
        actions.push(Action::LoadAllowances);
        actions.push(Action::StartGuard);
        actions
    }

    /// Takes note of `event`, and says what to do about it.
    pub(crate) fn handle(&mut self, event: Event, now: Now) -> Vec<Action> {
        match event {
            Event::Decided(decided) => self.decided(&decided, now),
            Event::Tick => self.tick(now),
            Event::HostChanged => {
                self.last_survey = Some(now);
                vec![Action::Survey]
            }
            Event::Asked(ask, reply) => self.asked(ask, reply, now),
            Event::HangUp => vec![
                Action::Notify(readiness::reloading()),
                Action::Log(Level::INFO, "SIGHUP: reading the policy again".to_owned()),
                Action::ReadPolicy(None),
            ],
            Event::Terminate(signal) => self.ending(signal),
            Event::GuardStarted(outcome) => self.guard_started(outcome),
            Event::Probed(checks) => {
                self.guarding.checks = checks;
                vec![]
            }
            Event::PolicyRead(Ok(plan), reply) => vec![Action::Apply(plan, Cause::Reload, reply)],
            Event::PolicyRead(Err(error), reply) => self.reload_refused(&error, reply, now),
            Event::Surveyed { found, stale, unmounted } => {
                self.unmounted = unmounted;
                self.surveyed(found, stale)
            }
            Event::Applied(plan, cause, Ok(applied), reply) => {
                self.applied(*plan, cause, applied, reply, now)
            }
            Event::Applied(plan, cause, Err(error), reply) => {
                self.not_applied(&plan, cause, error, reply, now)
            }
            Event::Proved(coverage) => self.proved(coverage, now),
            Event::Manifest(news) => super::manifesting::heard(news),
            Event::CaughtUp => self.caught_up(now),
            Event::Pace => self.pace(now),
            Event::HoldsSurveyed(survey, asked) => self.holds_surveyed(survey, asked, now),
            Event::HoldDecided(decide, outcome) => self.hold_decided(*decide, outcome, now),
            Event::HoldKilled(kill, outcome) => self.hold_killed(*kill, outcome),
            Event::BudgetsReset(resetting, outcome) => self.budgets_reset(*resetting, outcome, now),
            Event::AllowancesLoaded(loaded) => self.allowances_loaded(loaded, now),
            Event::AllowancesSaved(change, outcome) => self.allowances_saved(&change, outcome, now),
            Event::AllowancesSurveyed(survey, asked) => {
                self.allowances_surveyed(survey, asked, now)
            }
            Event::TrustRead(submission, trust) => self.trust_read(*submission, trust, now),
            Event::AllowanceResolved(judged, resolved) => {
                self.allowance_resolved(*judged, resolved, now)
            }
            Event::AllowanceOpened(opening, outcome) => {
                self.allowance_opened(*opening, outcome, now)
            }
            Event::Learn(file, reply) => vec![Action::Learn(file, reply)],
            Event::CommandChecked(joining, outcome) => self.command_checked(*joining, outcome, now),
            Event::AllowanceJoined(joining, outcome) => {
                self.allowance_joined(*joining, outcome, now)
            }
            Event::AllowanceClosed(closing, outcome) => {
                self.allowance_closed(*closing, outcome, now)
            }
            Event::RevokedSaved(revoking, outcome) => self.revoked_saved(*revoking, outcome, now),
            Event::Glass(event) => self.glass_happened(*event, now),
            Event::OnDisk(id, outcome) => vec![Action::Resume(id, outcome)],
        }
    }

    /// Name of the zone in a slot, that of a former policy included.
    pub(super) fn zone_name(&self, slot: u32) -> Option<&str> {
        self.zone_names.get(&slot).map(String::as_str)
    }

    /// Label of a budget, that of a former policy included.
    pub(super) fn budget_label(&self, budget: u64) -> Option<&str> {
        self.budget_labels.get(&budget).map(String::as_str)
    }

    fn decided(&mut self, decided: &Decided, now: Now) -> Vec<Action> {
        if [abi::CANARY_ZONE, abi::SELF_TEST_ZONE].contains(&decided.raw.zone) {
            return vec![];
        }
        let report = self.event(decided, now);
        self.holding.note(&decided.raw, &report);
        let mut actions = Vec::new();
        if report.trip {
            actions.push(Action::Log(Level::WARN, report::trip_message(&report)));
        }
        // What a throttled actor does is told op by op.
        let unremarkable = decided.raw.verdict == abi::Verdict::Allow as u8 && !report.paced;
        let line = EventLine::Event(Box::new(report));
        match serde_json::to_string(&line) {
            Ok(json) => {
                let json: std::sync::Arc<str> = json.into();
                self.ring.push(json.clone());
                actions.push(Action::Publish(json));
            }
            Err(error) => actions
                .push(Action::Log(Level::ERROR, format!("an event cannot be shown: {error}"))),
        }
        if !unremarkable && let EventLine::Event(report) = line {
            actions.push(Action::Record(Box::new(Record::Verdict { event: report })));
        }
        actions
    }

    fn tick(&mut self, now: Now) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.guarding.is_up() {
            actions.push(Action::SurveyHolds(None));
        }
        actions.extend(self.tick_allowances(now));
        actions.push(Action::SyncAudit);
        if self.guarding.is_up() {
            actions.push(Action::KeepBudgets);
        }
        if self.guarding.is_up() && is_due(self.last_proof, PROVE_EVERY, now) {
            self.last_proof = Some(now);
            actions.push(Action::Prove);
        }
        if is_due(self.last_survey, SURVEY_EVERY, now) {
            self.last_survey = Some(now);
            actions.push(Action::Survey);
        }
        if self.guarding.is_up() && is_due(self.last_forget, FORGET_EVERY, now) {
            self.last_forget = Some(now);
            actions.push(Action::ForgetAccounts);
            if self.guarding.in_force {
                // Unless that has been done.
                actions.push(Action::KeepPolicy);
            }
        }
        actions
    }

    fn asked(&mut self, ask: Ask, reply: Reply, now: Now) -> Vec<Action> {
        match ask {
            Ask::Reload => vec![Action::ReadPolicy(Some(reply))],
            Ask::FlushManifest => vec![Action::FlushManifest(reply)],
            Ask::Status | Ask::Explain { .. } if self.guarding.is_up() => {
                if is_due(self.last_proof, FRESH_PROOF, now) {
                    self.last_proof = Some(now);
                    vec![Action::Prove, Action::Collect(ask, reply)]
                } else {
                    vec![Action::Collect(ask, reply)]
                }
            }
            Ask::Status
            | Ask::Look
            | Ask::Explain { .. }
            | Ask::Policy
            | Ask::Events { .. }
            | Ask::Metrics => vec![Action::Collect(ask, reply)],
            Ask::Holds
            | Ask::Hold { .. }
            | Ask::Release { .. }
            | Ask::Kill { .. }
            | Ask::Budgets
            | Ask::ResetBudgets { .. } => self.asked_about_holds(ask, reply),
            Ask::Allowances | Ask::Allowance { .. } => self.asked_about_allowances(ask, reply),
            Ask::SubmitAllowance { body, person } => {
                self.allowances.clock.read(now);
                self.submitted(*body, person, reply)
            }
            Ask::JoinAllowance { id, person } => self.wants_to_join(id, person, reply),
            Ask::CloseAllowance { id, person } => self.wants_to_close(&id, person, reply, now),
            Ask::RevokeAllowance { id, person } => self.wants_to_revoke(id, person, reply, now),
            Ask::Glass(ask) => self.asked_about_glass(*ask, reply, now),
        }
    }

    fn guard_started(&mut self, outcome: Result<Started, String>) -> Vec<Action> {
        let mut actions = vec![Action::Record(Box::new(records::adopt(&outcome)))];
        self.guarding.started = Some(outcome.clone());
        match outcome {
            Ok(started) => {
                let message = format!("the guard is up ({})", records::started_word(started));
                actions.push(Action::Log(Level::INFO, message));
            }
            Err(error) => {
                actions.push(Action::Probe);
                actions.push(Action::Log(
                    Level::ERROR,
                    format!("GUARD DOWN: {error}; see `holdfast doctor`"),
                ));
            }
        }
        actions.push(Action::Apply(Box::new(self.plan.clone()), Cause::Start, None));
        actions
    }

    fn reload_refused(&mut self, error: &PlanError, reply: Option<Reply>, now: Now) -> Vec<Action> {
        let message = error.to_string();
        self.reload = Some((now, Some(message.clone())));
        let record = records::policy_refused(&self.file, None, Cause::Reload, &message);
        let mut actions = vec![
            Action::Record(Box::new(record)),
            Action::Log(
                Level::ERROR,
                format!("the policy is refused; the one before stays in force\n{message}"),
            ),
        ];
        actions.extend(
            reply.map(|reply| Action::Send(reply, Answer::Error(Refusal::BadInput, message))),
        );
        actions
    }

    fn surveyed(&mut self, found: Result<Found, RootProblem>, stale: bool) -> Vec<Action> {
        match found {
            Ok(Found { zones, bases, mut skipped, unusable, .. }) => {
                self.survey_error = None;
                skipped.extend(unusable);
                let mut actions = self.skipped(skipped);
                let changed = (&zones, &bases) != (&self.plan.zones, &self.plan.bases);
                if changed || stale || self.guarding.needs_apply() {
                    let plan = Plan { zones, bases, ..self.plan.clone() };
                    actions.push(Action::Apply(Box::new(plan), Cause::Roots, None));
                }
                actions
            }
            Err(problem) => {
                let text = roots::render(&[problem], &self.plan.origin.path);
                if self.survey_error.as_ref() == Some(&text) {
                    return vec![];
                }
                let message =
                    format!("new directories are not guarded; those before stay guarded\n{text}");
                self.survey_error = Some(text);
                vec![Action::Log(Level::ERROR, message)]
            }
        }
    }

    /// Says once what a path of the policy leads to and is not guarded.
    fn skipped(&mut self, skipped: Vec<RootProblem>) -> Vec<Action> {
        let before = std::mem::replace(&mut self.plan.skipped, skipped);
        let news = self.plan.skipped.iter().filter(|problem| !before.contains(problem));
        news.map(skipped_warning).collect()
    }

    fn applied(
        &mut self,
        plan: Plan,
        cause: Cause,
        applied: Applied,
        reply: Option<Reply>,
        now: Now,
    ) -> Vec<Action> {
        let of_this_policy = matches!(cause, Cause::Roots | Cause::Repair);
        let first_of_policy = self.guarding.apply_error.take().is_some() || !of_this_policy;
        let news = plan.missing() != self.plan.missing() || first_of_policy;
        self.plan = plan;
        self.before = None;
        self.learn_labels();
        let in_force = match applied {
            Applied::InForce(_) => true,
            Applied::NoGuard => false,
        };
        let kept = match applied {
            Applied::InForce(zones) => self.take_in_force(zones),
            Applied::NoGuard => vec![],
        };
        if cause == Cause::Reload {
            self.reload = Some((now, None));
        }
        let mut actions = vec![
            Action::Record(Box::new(records::policy(&self.plan, cause, in_force, &self.in_force))),
            Action::Log(Level::INFO, records::policy_message(&self.plan, cause, in_force)),
        ];
        if news {
            let missing = self.plan.missing();
            actions.extend(missing.into_iter().map(|path| {
                Action::Log(
                    Level::WARN,
                    format!("{path} does not exist; it is guarded as soon as it appears"),
                )
            }));
        }
        if cause != Cause::Roots {
            actions.extend(self.plan.skipped.iter().map(skipped_warning));
        }
        actions.extend(kept);
        if in_force {
            self.last_proof = Some(now);
            // Those that the policy before has paused may not be paused by this one.
            actions.push(Action::SurveyHolds(None));
            // It may have lost a zone that an allowance is for.
            actions.extend([Action::SurveyAllowances(None), Action::Prove, Action::KeepPolicy]);
        }
        actions.extend(reply.map(|reply| Action::Send(reply, self.reloaded(in_force))));
        actions
    }

    /// Takes note of the zones the kernel has; says so when the number of directories that no path
    /// leads to changed.
    fn take_in_force(&mut self, zones: Vec<ZoneInForce>) -> Vec<Action> {
        self.guarding.in_force = true;
        let before = std::mem::replace(&mut self.in_force, zones);
        let was = |name: &String| {
            before.iter().find(|zone| zone.name == *name).map_or(0, |zone| zone.kept.len())
        };
        let changed = self.in_force.iter().filter(|zone| was(&zone.name) != zone.kept.len());
        let actions = changed.map(|zone| {
            let message = match zone.kept.len() {
                0 => "every directory it guards is at its path".to_owned(),
                now => text::kept_roots(now),
            };
            Action::Log(Level::WARN, format!("zone {}: {message}", zone.name))
        });
        let actions = actions.collect();
        let slots = || self.in_force.iter().map(|zone| (zone.slot, zone.name.clone()));
        self.holding.in_force(slots().collect());
        self.zone_names.extend(slots());
        actions
    }

    fn not_applied(
        &mut self,
        plan: &Plan,
        cause: Cause,
        error: String,
        reply: Option<Reply>,
        now: Now,
    ) -> Vec<Action> {
        let known = self.guarding.apply_error.as_ref() == Some(&error);
        let before = self.before.take().filter(|_| cause == Cause::Start);
        if cause == Cause::Reload || before.is_some() {
            self.reload = Some((now, Some(error.clone())));
        } else {
            self.guarding.apply_error = Some(error.clone());
        }
        let mut actions = Vec::new();
        if !known {
            let (path, sha256) = (&plan.origin.path, Some(plan.origin.sha256.clone()));
            let message =
                format!("the policy is not put in force; what was in force before stays: {error}");
            actions.push(Action::Record(Box::new(records::policy_refused(
                path, sha256, cause, &error,
            ))));
            actions.push(Action::Log(Level::ERROR, message));
        }
        if let Some(before) = before {
            self.plan = (*before).clone();
            self.learn_labels();
            actions.push(Action::Apply(before, Cause::Start, None));
        }
        actions
            .extend(reply.map(|reply| Action::Send(reply, Answer::Error(Refusal::Failed, error))));
        actions
    }

    fn proved(&mut self, coverage: Coverage, now: Now) -> Vec<Action> {
        let ops = report::coverage_ops(&coverage);
        let complete = coverage.is_complete();
        let changed = self
            .guarding
            .coverage
            .as_ref()
            .is_none_or(|(before, _)| report::coverage_ops(before) != ops);
        self.guarding.coverage = Some((coverage, now));
        let mut actions = Vec::new();
        if !complete {
            actions.push(Action::Probe);
        }
        let edited = self.guarding.coverage.as_ref().is_some_and(|(found, _)| found.is_edited());
        if changed {
            let (level, message) = if complete {
                (Level::INFO, "the self-test passes".to_owned())
            } else {
                let why = report::coverage_why(&ops);
                (Level::ERROR, format!("GUARD DOWN: {why}; see `holdfast doctor`"))
            };
            actions.push(Action::Log(level, message));
            actions.push(Action::Record(Box::new(Record::Coverage { complete, ops })));
        }
        // Once in a period: if it does not help, the guard stays down.
        if edited && is_due(self.last_repair, PROVE_EVERY, now) {
            self.last_repair = Some(now);
            self.repairs += 1;
            let plan = Box::new(self.plan.clone());
            actions.push(Action::Apply(plan, Cause::Repair, None));
        }
        actions
    }

    fn reloaded(&self, in_force: bool) -> Answer {
        let report = ReloadReport {
            sha256: self.plan.origin.sha256.clone(),
            zones: self.plan.policy.zones.len(),
            missing: self.plan.missing(),
            in_force,
        };
        super::json(&report)
    }

    fn learn_labels(&mut self) {
        for zone in &self.plan.policy.zones {
            let labels = zone.budgets.iter().map(|budget| (budget.id(&zone.name), budget.label()));
            self.budget_labels.extend(labels);
        }
    }
}

fn skipped_warning(problem: &RootProblem) -> Action {
    Action::Log(Level::WARN, format!("not guarded: {problem}"))
}

fn is_due(last: Option<Now>, every: Duration, now: Now) -> bool {
    last.is_none_or(|last| now.since(last) >= every)
}

#[cfg(test)]
#[path = "state_tests.rs"]
pub(super) mod tests;
