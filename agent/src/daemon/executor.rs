//! Does what the state says is to be done: the only place of the daemon with side effects.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use holdfast_abi as abi;
use holdfast_policy::OnAuditFailure;
use holdfast_policy::decide::Released;
use rustix::fs::{Mode, OFlags};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{broadcast, mpsc};
use tracing::{Level, debug, error, info, warn};

use super::allowing::no_such_allowance;
use super::aside::Aside;
use super::carryover::Carryover;
use super::disk::{About, Disk, NotOnDisk, OnDisk, Outcome};
use super::glass::GlassAsk;
use super::heart::Pulse;
use super::manifesting::Manifest;
use super::message::{
    Action, Answer, Applied, Ask, Cause, Decided, Event, Refusal, Reply, ZoneInForce,
};
use super::plan::{self, Plan};
use super::source::Source;
use super::state::State;
use super::{Options, json, locate, records};
use crate::api::{HoldList, Look, PolicyReport, Status};
use crate::audit::{AuditLog, Record};
use crate::clock::Now;
use crate::holds;
use crate::journal::{Journal, log_dropped};
use crate::kernel::{self, Claim, EventStream, Guard, KernelError};
use crate::manifest::News;
use crate::metrics::Metrics;
use crate::notify::Notify;
use crate::report::{self, Facts, Question};
use crate::roots::{Found, Listings, Mounts, RootProblem, Watch};
use crate::text;
use crate::units::Units;

/// Lines that a slow reader can be behind before it loses some.
const BEHIND: usize = 1024;

/// Everything with side effects.
pub(super) struct Executor {
    pub(super) options: Options,
    pub(super) guard: Option<Guard>,
    /// What the guard's start needs, until then.
    pub(super) claim: Option<Result<Claim, KernelError>>,
    pub(super) manifest: Manifest,
    pub(super) disk: Disk,
    journal: Journal,
    pub(super) metrics: Metrics,
    /// Names of units.
    pub(super) units: Units,
    /// Names of places.
    pub(super) source: Source,
    /// What surveys have read of directories.
    listings: Listings,
    /// Waits for changes of mounts and names.
    pub(super) watch: Option<Watch>,
    /// Address of the metrics page, or why there is none.
    metrics_address: Option<Result<String, String>>,
    /// What the heartbeat vouches for.
    pub(super) pulse: Pulse,
    followers: broadcast::Sender<Arc<str>>,
    /// The service manager.
    pub(super) notify: Notify,
    /// The kernel's events, until somebody takes them.
    pub(super) events: Option<EventStream>,
    /// What the loop does not wait for, and its outcomes until somebody takes them.
    pub(super) aside: Aside,
    outcomes: mpsc::Receiver<Event>,
    /// Whether the daemon is to end.
    pub(super) stopped: Option<&'static str>,
    audit_failing: bool,
    /// Policies that were to be put in force so far.
    policies: u64,
    /// What is spent, on the disk.
    pub(super) carryover: Carryover,
}

impl Executor {
    pub(super) fn new(
        options: Options,
        audit: AuditLog,
        journal: Journal,
        metrics: Metrics,
        metrics_address: Option<Result<String, String>>,
        manifest: Manifest,
    ) -> io::Result<Self> {
        let (aside, outcomes) = Aside::new();
        let disk = Disk::start(audit, options.state_dir.clone(), aside.events())?;
        Ok(Self {
            options,
            guard: None,
            claim: None,
            manifest,
            disk,
            journal,
            metrics,
            units: Units::system(),
            source: Source::default(),
            listings: Listings::default(),
            watch: None,
            metrics_address,
            pulse: Pulse::default(),
            followers: broadcast::Sender::new(BEHIND),
            notify: Notify::from_environment(),
            events: None,
            aside,
            outcomes,
            stopped: None,
            audit_failing: false,
            policies: 0,
            carryover: Carryover::default(),
        })
    }

    /// Does one thing; what came of it, if that is news.
    pub(super) fn execute(&mut self, action: Action, state: &State, now: Now) -> Option<Event> {
        match action {
            Action::StartGuard => return Some(Event::GuardStarted(self.start_guard(state))),
            Action::Probe => return Some(Event::Probed(kernel::probe(&self.options.pin_dir))),
            Action::ReadPolicy(reply) => {
                let plan = Plan::read(&self.options.policy, now).map(Box::new);
                return Some(Event::PolicyRead(plan, reply));
            }
            Action::Survey => {
                let found = self.survey(state);
                let (stale, unmounted) = (self.is_stale(), self.unmounted());
                return Some(Event::Surveyed { found, stale, unmounted });
            }
            Action::Apply(plan, cause, reply) => {
                return self.apply(plan, cause, reply, state, now);
            }
            Action::KeepPolicy => self.keep_policy(&state.plan),
            Action::Prove => {
                return self.guard.as_ref().map(|guard| Event::Proved(guard.prove()));
            }
            Action::KeepBudgets => self.keep_budgets(now),
            Action::ForgetAccounts => self.forget_accounts(),
            Action::SurveyHolds(asked) => {
                return Some(Event::HoldsSurveyed(self.survey_holds(&state.book, now), asked));
            }
            Action::Pace => self.pace(&state.book, now),
            Action::Decide(decide) => {
                return self.decide(decide, state, now);
            }
            Action::Kill(kill) => {
                let outcome = self.kill(&kill, &state.book);
                return Some(Event::HoldKilled(kill, outcome));
            }
            Action::ResetBudgets(resetting) => {
                return self.reset_budgets(resetting, state, now);
            }
            Action::Continue(threads) => self.go_on(&threads, &state.book),
            Action::Wake(leaders) => self.wake(leaders),
            Action::ForgetThreads(threads) => self.forget_threads(&threads),
            Action::ForgetHold(key) => self.forget_hold(&key),
            Action::Tell { leader, tty, text } => holds::tell(leader, tty, text),
            Action::Count(zone, pause) => self.metrics.pause_ended(&zone, &pause),
            Action::LoadAllowances => return Some(Event::AllowancesLoaded(self.load_allowances())),
            Action::SaveAllowances => {
                return self.save_allowances(state, now);
            }
            Action::SurveyAllowances(asked) => {
                return Some(Event::AllowancesSurveyed(self.survey_allowances(state), asked));
            }
            Action::ReadTrust(submission) => return Some(self.read_trust(submission, state)),
            Action::Resolve(judged) => return self.resolve(judged, state, now),
            Action::Learn(file, reply) => {
                let learned = match &mut self.guard {
                    Some(guard) => guard.learn(file.as_fd()).map_err(io::Error::other),
                    None => Err(io::Error::other("there is no guard")),
                };
                // Whoever asked may have been given up.
                drop(reply.send(learned));
            }
            Action::CheckCommand(joining) => return self.check_command(joining),
            Action::OpenAllowance(opening) => {
                return self.open_allowance(opening, state, now);
            }
            Action::Join(joining) => {
                return self.join(joining, state, now);
            }
            Action::CloseAllowance(closing) => {
                let outcome = self.close_allowance(&closing);
                return Some(Event::AllowanceClosed(closing, outcome));
            }
            Action::CloseUnknown(serial) => self.close_unknown(serial),
            Action::SaveRevoked(revoking) => {
                return self.save_revoked(revoking, state, now);
            }
            Action::Glass(action) => {
                return self.glass(*action, state, now);
            }
            Action::CountAllowance(count) => self.metrics.count_allowance(count),
            Action::FlushManifest(reply) => self.manifest.flush(reply),
            Action::Record(record) => {
                self.journal.tell(&record, now);
                self.disk.append(Arc::from(record), now);
            }
            Action::SyncAudit => self.disk.tend(now),
            Action::Resume(id, outcome) => return self.resume(id, outcome, state, now),
            // Nobody may be listening.
            Action::Publish(line) => drop(self.followers.send(line)),
            Action::Notify(news) => self.notify.send(&news),
            Action::Log(level, message) => log(level, &message),
            Action::Collect(ask, reply) => {
                let answer = self.collect(&ask, state, now);
                // Whoever asked may be gone.
                drop(reply.send(answer));
            }
            Action::Send(reply, answer) => drop(reply.send(answer)),
            Action::Stop(signal) => self.stopped = Some(signal),
        }
        None
    }

    /// Where the outcomes of what is done aside come from; for the one who waits for them.
    pub(super) fn take_outcomes(&mut self) -> mpsc::Receiver<Event> {
        std::mem::replace(&mut self.outcomes, mpsc::channel(1).1)
    }

    /// The last that is done, after the loop: the manifest is closed, and the audit log says so.
    pub(super) fn end(&mut self, news: &mut UnboundedReceiver<News>, now: Now) {
        self.finish_budgets(now);
        for record in self.manifest.stop(news) {
            self.disk.append(Arc::new(record), now);
        }
        if let Some(signal) = self.stopped {
            let lost = self.disk.audit(now).lost;
            self.disk.append(Arc::new(Record::Stop { signal, lost }), now);
        }
        self.disk.end(now);
        self.note_audit(now);
    }

    /// Has something done on the disk; what follows comes later, or at once if the disk does not
    /// answer.
    pub(super) fn on_disk(
        &mut self,
        about: About,
        (state, now): (&State, Now),
        work: impl FnOnce(&mut OnDisk) -> Result<(), String> + Send + 'static,
        then: impl FnOnce(&mut Self, Outcome, &State, Now) -> Option<Event> + 'static,
    ) -> Option<Event> {
        match self.disk.run(about, now, Box::new(work), Box::new(then)) {
            Ok(()) => None,
            Err(then) => then(self, Err(NotOnDisk::Late { begun: false }), state, now),
        }
    }

    /// Whether an allowance or a break-glass is being opened, or joined.
    pub(super) fn is_granting(&self) -> bool {
        self.disk.is_at(About::Grant)
    }

    /// Goes on with what waited for the disk.
    pub(super) fn resume(
        &mut self,
        id: u64,
        outcome: Outcome,
        state: &State,
        now: Now,
    ) -> Option<Event> {
        self.disk.done(id).and_then(|then| then(self, outcome, state, now))
    }

    /// Has a record on the disk, signed, before what it tells takes effect, which is what follows.
    /// Where the log cannot be written `on_audit_failure` of the policy in force says whether that
    /// goes on.
    pub(super) fn record_first(
        &mut self,
        about: About,
        record: Record,
        (state, now): (&State, Now),
        then: impl FnOnce(&mut Self, Result<(), String>, &State, Now) -> Option<Event> + 'static,
    ) -> Option<Event> {
        let on_failure = state.policy_before().on_audit_failure;
        let keep = on_failure == OnAuditFailure::Continue;
        let record = Arc::new(record);
        let to_write = Arc::clone(&record);
        let work = move |disk: &mut OnDisk| disk.record(&to_write, keep, now);
        self.on_disk(about, (state, now), work, move |it, outcome, state, now| {
            if outcome.is_ok() || keep {
                it.journal.tell(&record, now);
            }
            let outcome = match (outcome, on_failure) {
                (Ok(()), _) => Ok(()),
                (Err(why), OnAuditFailure::Continue) => {
                    error!(
                        error = %why,
                        "something takes effect that is not in the audit log (on_audit_failure = \
                         \"continue\"): its record waits in memory"
                    );
                    if why == (NotOnDisk::Late { begun: false }) {
                        it.disk.append(record, now);
                    }
                    Ok(())
                }
                (Err(why), OnAuditFailure::Deny) => Err(format!(
                    "it has to be in the audit log first, and that cannot be written: \
                     {why}\n  help: free the disk of the state directory, and try again; nothing \
                     was changed (on_audit_failure = \"deny\")"
                )),
            };
            then(it, outcome, state, now)
        })
    }

    /// Has a record on the disk, signed, before what it tells takes effect, whatever the policy
    /// says. Room that is set aside is let go for it.
    pub(super) fn record_strictly(
        &mut self,
        record: Record,
        (state, now): (&State, Now),
        then: impl FnOnce(&mut Self, Outcome, &State, Now) -> Option<Event> + 'static,
    ) -> Option<Event> {
        let record = Arc::new(record);
        let to_write = Arc::clone(&record);
        let work =
            move |disk: &mut OnDisk| disk.with_reserve(|disk| disk.record(&to_write, false, now));
        self.on_disk(About::Grant, (state, now), work, move |it, outcome, state, now| {
            if outcome.is_ok() {
                it.journal.tell(&record, now);
            }
            then(it, outcome, state, now)
        })
    }

    /// Says it once when the audit log starts to fail, and once when it works again.
    pub(super) fn note_audit(&mut self, now: Now) {
        let facts = self.disk.audit(now);
        let was_failing = std::mem::replace(&mut self.audit_failing, facts.trouble.is_some());
        match facts.trouble {
            None if was_failing => {
                info!(lost = facts.lost, "the audit log can be written again");
            }
            Some(trouble) if !was_failing => {
                self.journal.audit_failed(&trouble.error, now);
                error!(
                    error = trouble.error,
                    lost = facts.lost,
                    "THE AUDIT LOG CANNOT BE WRITTEN: is the disk full? What needs a record is \
                     decided by on_audit_failure"
                );
            }
            None | Some(_) => {}
        }
    }

    /// What comes of something, once the disk has answered.
    #[cfg(test)]
    pub(super) fn settled(&mut self, mut event: Option<Event>, state: &State, now: Now) -> Event {
        loop {
            event = match event {
                Some(Event::OnDisk(id, outcome)) => self.resume(id, outcome, state, now),
                Some(event) => return event,
                None => Some(self.outcomes.blocking_recv().expect("the disk answers")),
            };
        }
    }

    fn start_guard(&mut self, state: &State) -> Result<kernel::Started, String> {
        let options = kernel::Options {
            pin_dir: self.options.pin_dir.clone(),
            canary_dir: self.options.run_dir.join("canary"),
            trace_ops: self.options.trace_ops,
        };
        let claim = self.claim.take().ok_or("the guard was started before")?;
        let (mut guard, started) = claim
            .and_then(|claim| Guard::start(&options, claim))
            .map_err(|error| error.to_string())?;
        self.events = guard.take_events();
        self.pulse.note(Now::read());
        if let Some(heart) = guard.take_heart()
            && let Err(error) = self.pulse.vouch(heart)
        {
            error!(
                %error,
                "there is no thread for the heartbeat: ops over budget are denied instead of paused"
            );
        }
        self.manifest.start(&self.options.state_dir, guard.take_destroyed(), &state.plan);
        self.guard = Some(guard);
        self.restore_budgets(started, Now::read());
        Ok(started)
    }

    /// Puts a plan in force. One that widens is in the audit log first.
    fn apply(
        &mut self,
        plan: Box<Plan>,
        cause: Cause,
        reply: Option<Reply>,
        state: &State,
        now: Now,
    ) -> Option<Event> {
        let widens = || plan.policy.widens(state.policy_before());
        let asks = cause == Cause::Reload || state.before.is_some();
        if cause != Cause::Roots {
            self.policies += 1;
        }
        if self.guard.is_none() || !asks || !widens() {
            let outcome = self.put_in_force(&plan, cause, state);
            return Some(Event::Applied(plan, cause, outcome, reply));
        }
        if cause == Cause::Roots && self.disk.is_at(About::Policy) {
            // The same waits for its record already.
            return None;
        }
        let number = self.policies;
        let record = records::policy_accepted(&plan, cause);
        self.record_first(About::Policy, record, (state, now), move |it, outcome, state, _| {
            let outcome = outcome.and_then(|()| {
                if it.policies != number {
                    return Err("another was read before this one was in the audit log".to_owned());
                }
                it.put_in_force(&plan, cause, state)
            });
            Some(Event::Applied(plan, cause, outcome, reply))
        })
    }

    fn put_in_force(
        &mut self,
        plan: &Plan,
        cause: Cause,
        state: &State,
    ) -> Result<Applied, String> {
        let Some(guard) = &mut self.guard else {
            return Ok(Applied::NoGuard);
        };
        let desired = plan.desired(cause, &state.plan.policy);
        guard.apply(&desired).map_err(|error| error.to_string())?;
        if let Some(watch) = self.watch.as_ref().filter(|_| cause != Cause::Roots) {
            // For the directories of its paths.
            watch.wake();
        }
        self.manifest.in_force(guard.zones(), plan);
        let zones = guard.zones().iter().map(|zone| ZoneInForce {
            slot: zone.slot,
            name: zone.name.clone(),
            roots: zone.roots.iter().map(|(path, _)| path.clone()).collect(),
            kept: zone.kept_roots.iter().map(|root| root.dev).collect(),
        });
        Ok(Applied::InForce(zones.collect()))
    }

    /// Looks where the paths of the policy in force lead, and waits for changes there from now on.
    fn survey(&mut self, state: &State) -> Result<Found, RootProblem> {
        self.source.mounts_changed();
        if let Some(guard) = &mut self.guard {
            guard.survey_begins();
        }
        let started = Instant::now();
        let mut found = plan::survey(&state.plan.policy, &self.listings, &state.plan.zones);
        if let (Some(watch), Ok(found)) = (&mut self.watch, &mut found) {
            watch.set(std::mem::take(&mut found.watched), started.elapsed());
        }
        found
    }

    fn forget_accounts(&mut self) {
        match self.guard.as_mut().map(Guard::collect_accounts) {
            Some(Ok(forgotten)) => debug!(forgotten, "looked for accounts that have long drained"),
            Some(Err(error)) => {
                warn!(%error, "accounts that have long drained cannot be forgotten")
            }
            None => {}
        }
    }

    /// Whether what is at the path of a root or base in force is no longer what the kernel was
    /// told, or the kernel programs entered roots that are to be confirmed or removed. A path that
    /// is gone does not count, as the survey sees that; nor does a root that is kept without a
    /// path.
    fn is_stale(&mut self) -> bool {
        let Some(guard) = &mut self.guard else {
            return false;
        };
        match guard.has_provisional() {
            Ok(false) => {}
            Ok(true) => return true,
            Err(error) => warn!(%error, "cannot tell which mounts the kernel programs have seen"),
        }
        // What is mounted over a root may never answer. If the table cannot be read the survey says
        // so.
        let Ok(mounts) = Mounts::read() else { return false };
        let roots = guard.places().into_iter();
        let roots: Vec<_> = roots.filter(|(path, _)| mounts.unanswering(path).is_none()).collect();
        // Nothing else than a directory is waited for, a FIFO for one.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = |path: &Path| rustix::fs::open(path, flags, Mode::empty());
        roots.into_iter().any(|(path, told)| {
            match open(&path).map(|dir| guard.learn(dir.as_fd())) {
                Ok(Ok(now)) => {
                    (now.ino, now.dev, now.generation) != (told.ino, told.dev, told.generation)
                }
                Ok(Err(error)) => {
                    let path = path.display();
                    warn!(%error, %path, "cannot tell whether this is still the same directory");
                    false
                }
                Err(_) => false,
            }
        })
    }

    /// Devices of guarded directories that no mount shows: nothing on them can be reached by a
    /// path. None if the mount table cannot be read, as the survey says.
    fn unmounted(&self) -> BTreeSet<u32> {
        let Ok(mounts) = Mounts::read() else { return BTreeSet::new() };
        let zones = self.guard.iter().flat_map(|guard| guard.zones());
        let roots = zones.flat_map(|zone| {
            zone.roots.iter().map(|(_, root)| root).chain(&zone.kept_roots).map(|root| root.dev)
        });
        let devices: BTreeSet<u32> = roots.collect();
        devices.into_iter().filter(|dev| !mounts.shows(*dev)).collect()
    }

    fn collect(&mut self, ask: &Ask, state: &State, now: Now) -> Answer {
        match ask {
            Ask::Status => {
                let facts = self.facts();
                json(&self.status(state, &facts, now))
            }
            Ask::Look => {
                // The accounts can be many: they are read once for both.
                let mut facts = self.facts();
                let status = self.status(state, &facts, now);
                json(&Look { status, holds: self.holds(state, &mut facts, now) })
            }
            Ask::Policy => policy(state),
            Ask::Explain { path, pid } => self.explain(path, *pid, state, now),
            Ask::Events { follow } => {
                let live = follow.then(|| self.followers.subscribe());
                Answer::Events { kept: state.ring.lines(), live }
            }
            Ask::Metrics => {
                let facts = self.facts();
                match self.metrics.page(state, &facts, now) {
                    Ok(page) => Answer::Text(page),
                    Err(error) => Answer::Error(
                        Refusal::Failed,
                        format!("cannot make the metrics page: {error}"),
                    ),
                }
            }
            Ask::Holds => {
                let mut facts = self.facts();
                json(&HoldList { holds: self.holds(state, &mut facts, now) })
            }
            Ask::Hold { id } => {
                let mut facts = self.facts();
                match self.holds(state, &mut facts, now).into_iter().find(|hold| hold.id == *id) {
                    Some(hold) => json(&hold),
                    None => Answer::Error(Refusal::NotFound, format!("hold {id} is over")),
                }
            }
            Ask::Budgets => json(&self.budgets(state, now)),
            Ask::Glass(ask) if **ask == GlassAsk::Status => json(&report::glass_status(state, now)),
            Ask::Glass(ask) if **ask == GlassAsk::Codes => json(&report::glass_codes(&state.glass)),
            Ask::Allowances => json(&report::allowances(&state.allowances, now)),
            Ask::Allowance { id } => report::allowance_of(&state.allowances, id, now)
                .map_or_else(|| no_such_allowance(id), |allowance| json(&allowance)),
            Ask::Reload
            | Ask::FlushManifest
            | Ask::Release { .. }
            | Ask::Kill { .. }
            | Ask::ResetBudgets { .. }
            | Ask::SubmitAllowance { .. }
            | Ask::JoinAllowance { .. }
            | Ask::CloseAllowance { .. }
            | Ask::RevokeAllowance { .. }
            | Ask::Glass(_) => Answer::Error(Refusal::Failed, "this is not a question".to_owned()),
        }
    }

    fn status(&mut self, state: &State, facts: &Facts, now: Now) -> Status {
        let units = &mut self.units;
        report::status(state, facts, now, &mut |unit| units.name(unit, None, now))
    }

    /// Whether the tenant that a question is about was touched, and what it has lost.
    fn spends(&self, question: &Question) -> HashMap<abi::TenantKey, abi::TenantSpend> {
        let place = question.place.as_ref();
        let Some((tenant, _)) = place.and_then(|place| place.tenant.as_ref()) else {
            return HashMap::new();
        };
        let spends = self.guard.as_ref().map(Guard::tenants);
        // Where it cannot be read the guard is not up, which is said.
        let spends = spends.and_then(Result::ok).unwrap_or_default();
        let its = spends.into_iter().flat_map(|(abi::AccountKey { budget, actor }, rows)| {
            let key = move |tenant| abi::TenantKey { budget, actor, tenant };
            rows.into_iter().map(move |(tenant, row)| (key(tenant), row))
        });
        its.filter(|(key, _)| key.tenant == *tenant).collect()
    }

    fn explain(&mut self, path: &[u8], pid: u32, state: &State, now: Now) -> Answer {
        let question =
            locate::question(path, pid, &state.plan, self.guard.as_mut(), &mut self.units, now);
        match question {
            Ok(mut question) => {
                let facts = self.facts();
                question.released = released(&question, state, &facts);
                question.spends = self.spends(&question);
                let open = state.allowances.open().count();
                if open > 0 {
                    question.notes.push(format!(
                        "{} open: this says what budgets decide about an op that none of them \
                         covers",
                        text::allowances(open)
                    ));
                }
                if let Some(glass) = state.glass.open() {
                    question.notes.push(format!(
                        "a break-glass is open for zone {}: this says what budgets decide about an \
                         op that it does not cover",
                        glass.zone
                    ));
                }
                let ledger = facts.ledger;
                let guard = report::guard(state, now);
                json(&report::explanation(question, &state.plan.policy, &ledger, &guard, now))
            }
            Err((refusal, message)) => Answer::Error(refusal, message),
        }
    }

    /// Finds the names for an event of the kernel.
    pub(super) fn name(&mut self, raw: abi::Event, now: Now) -> Decided {
        self.source.decided(raw, &mut self.units, now)
    }

    pub(super) fn facts(&self) -> Facts {
        let mut facts = Facts {
            audit: self.disk.audit(Now::read()),
            journal_dropped: self.journal.dropped(),
            log_dropped: log_dropped(),
            webhook: self.journal.webhook(),
            webhook_error: self.journal.webhook_error().map(str::to_owned),
            manifest: self.manifest.facts(),
            keep_error: self.disk.keep_error(),
            carryover_error: self.carryover.problem(),
            metrics: self.metrics_address.clone(),
            ..Facts::default()
        };
        let Some(guard) = &self.guard else {
            return facts;
        };
        facts.zones = guard.zones().to_vec();
        let mut errors = Vec::new();
        facts.counters = or_note(guard.counters(), &mut errors);
        facts.zone_counters = or_note(guard.zone_counters(), &mut errors);
        facts.marks_lost = or_note(guard.marks_lost(), &mut errors);
        facts.skipped_runs = or_note(guard.skipped_runs(), &mut errors);
        facts.ledger = or_note(guard.accounts().collect(), &mut errors);
        for error in &errors {
            warn!(%error, "the kernel's numbers cannot be read");
        }
        facts.errors = errors;
        facts
    }
}

pub(super) fn or_note<T: Default>(outcome: Result<T, KernelError>, errors: &mut Vec<String>) -> T {
    outcome.unwrap_or_else(|error| {
        errors.push(error.to_string());
        T::default()
    })
}

/// What was decided about the hold that the caller is or would be part of.
fn released(question: &Question, state: &State, facts: &Facts) -> Released {
    let zone = question.place.as_ref().and_then(|place| state.plan.policy.zones.get(place.zone));
    let slot = zone.and_then(|zone| facts.slot(zone.name.as_str()));
    let row = slot.and_then(|slot| state.book.by_key(&report::hold_key(&question.caller, slot)));
    row.map_or_else(Released::default, |row| Released { release: row.release, used: row.hold.used })
}

fn policy(state: &State) -> Answer {
    let plan = &state.plan;
    match serde_json::to_value(&plan.policy) {
        Ok(resolved) => json(&PolicyReport {
            path: plan.origin.path.clone(),
            sha256: plan.origin.sha256.clone(),
            text: plan.policy.to_string(),
            resolved,
        }),
        Err(error) => Answer::Error(Refusal::Failed, format!("cannot show the policy: {error}")),
    }
}

fn log(level: Level, message: &str) {
    match level {
        Level::ERROR => error!("{message}"),
        Level::WARN => warn!("{message}"),
        Level::INFO => info!("{message}"),
        Level::DEBUG | Level::TRACE => debug!("{message}"),
    }
}
