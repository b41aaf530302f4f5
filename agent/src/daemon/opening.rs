//! Does what is decided about allowances: the executor's part with the store, the host's files and
//! processes, and the kernel.
//!
//! What opens one is done in this order: on the disk, in the audit log, in the kernel. What closes
//! one is done in the other: what was cut off in between is tighter than what is written, never
//! looser.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, OwnedFd};

use holdfast_policy::allowance::{Bind, Refused, RefusedReason};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tracing::{error, info};

use super::allowance::{Closing, Joining, Judged, Opening, Resolved, Revoking, Shut};
use super::allowing::wrong_process;
use super::disk::{About, NotOnDisk, OnDisk};
use super::executor::Executor;
use super::locate;
use super::message::Event;
use super::pausing::{user_name, user_number, users};
use super::placing::{Placing, Roots};
use super::plan::Origin;
use super::state::State;
use crate::allowances::{
    Bound, Change, Entry, EntryState, Loaded, Looking, ProcessId, Store, Survey, Tree, Wanted,
    check_files, check_run, is_gone, look, may_join, read_trust,
};
use crate::api::{Person, RunBody, UnitRef, UserRef};
use crate::audit::Record;
use crate::break_glass;
use crate::clock::Now;
use crate::kernel::{self, AllowanceRow, DesiredAllowance, DesiredGrant};
use crate::report;
use crate::text;

/// Characters of a command line that are kept.
pub(super) const MOST_COMMAND: usize = 1024;

impl Executor {
    /// Reads what is kept on disk.
    pub(super) fn load_allowances(&mut self) -> Result<Box<(Loaded, String)>, String> {
        let boot_id = super::boot_id().ok_or("cannot read which boot this is")?;
        let (store, loaded) =
            Store::open(&self.options.state_dir).map_err(|error| error.to_string())?;
        info!(
            allowances = loaded.entries.len(),
            revoked = loaded.revoked.len(),
            "allowances were read"
        );
        self.manifest.loaded(&loaded, &boot_id);
        self.disk.leave(move |disk| {
            disk.store = Some(store);
            disk.keep_reserve();
        });
        Ok(Box::new((loaded, boot_id)))
    }

    /// Writes down what has changed.
    pub(super) fn save_allowances(&mut self, state: &State, now: Now) -> Option<Event> {
        if self.disk.is_at(About::Grant) {
            // What is opened is not among it yet, and comes later. So does this.
            return None;
        }
        let change = Change { glass: state.glass.to_save(), ..state.allowances.change(now) };
        let to_write = change.clone();
        let work = move |disk: &mut OnDisk| disk.write(&to_write);
        self.on_disk(About::Other, (state, now), work, |_, outcome, _, _| {
            let outcome = outcome.map_err(|why| why.to_string());
            Some(Event::AllowancesSaved(Box::new(change), outcome))
        })
    }

    /// Writes down that an id is revoked.
    pub(super) fn save_revoked(
        &mut self,
        revoking: Box<Revoking>,
        state: &State,
        now: Now,
    ) -> Option<Event> {
        let change = Change { revoked: vec![revoking.revoked.clone()], ..Change::default() };
        let work = move |disk: &mut OnDisk| disk.write(&change);
        self.on_disk(About::Other, (state, now), work, |_, outcome, _, _| {
            Some(Event::RevokedSaved(revoking, outcome.map_err(|why| why.to_string())))
        })
    }

    /// Looks at what the kernel has, and at the processes of process trees.
    pub(super) fn survey_allowances(&self, state: &State) -> Result<Survey, String> {
        let Some(guard) = &self.guard else { return Ok(Survey::default()) };
        let rows = guard.allowances().map_err(|error| error.to_string())?;
        let is_over = |entry: &&Entry| {
            let tree = entry.bound.tree.as_ref();
            tree.is_some_and(|tree| is_gone(tree.first.as_ref().unwrap_or(&tree.submitter)))
        };
        let gone: BTreeSet<String> =
            state.allowances.open().filter(is_over).map(|entry| entry.id.clone()).collect();
        let (glass, rows) = rows.into_iter().partition(AllowanceRow::is_break_glass);
        let open = state.glass.open().and_then(|entry| entry.tree.as_ref());
        let is_gone =
            open.is_some_and(|tree| is_gone(tree.first.as_ref().unwrap_or(&tree.submitter)));
        Ok(Survey { rows, gone, glass: break_glass::Survey { rows: glass, is_gone } })
    }

    /// Closes an allowance in the kernel.
    pub(super) fn close_allowance(&mut self, closing: &Closing) -> Result<Shut, String> {
        let guard = self.guard.as_mut().ok_or("the guard is not up")?;
        let row = guard.close_allowance(closing.serial).map_err(|error| error.to_string())?;
        Ok(Shut { row, finished: closing.first.as_ref().is_some_and(is_gone) })
    }

    /// Closes what nobody knows.
    pub(super) fn close_unknown(&mut self, serial: u64) {
        if let Some(Err(error)) = self.guard.as_mut().map(|guard| guard.close_allowance(serial)) {
            error!(%error, serial, "an unknown allowance cannot be closed");
        }
    }

    /// Finds out who may spend an allowance, and has it found out aside where it leads.
    pub(super) fn resolve(
        &mut self,
        judged: Box<Judged>,
        state: &State,
        now: Now,
    ) -> Option<Event> {
        let (bound, roots) = match self.binds(&judged, state, now) {
            Ok(found) => found,
            Err(refused) => return Some(Event::AllowanceResolved(judged, Err(refused))),
        };
        let allowance = judged.checked.allowance.clone();
        let run = judged.submission.body.run.clone();
        let learner = self.aside.learner();
        let work = move |deadline| {
            if let (Some(command), Some(run)) = (&allowance.bind.command, &run) {
                let wanted = Wanted::from(command);
                check_run(&wanted, run)?;
                check_files(&wanted, deadline)?;
            }
            let mut learn = |file| learner.learn(file);
            let looking = Looking::until(deadline);
            Placing { roots: &roots, learn: &mut learn, looking }.places(&allowance)
        };
        let then = move |places: Result<_, _>| {
            let resolved = places.map(|places| Resolved { bound, places });
            Event::AllowanceResolved(judged, resolved)
        };
        self.aside.run(work, then)
    }

    /// Who may spend it, and below which directories.
    fn binds(
        &mut self,
        judged: &Judged,
        state: &State,
        now: Now,
    ) -> Result<(Bound, Roots), Refused> {
        let Judged { submission, checked, .. } = judged;
        let bind = &checked.allowance.bind;
        let bound = self.bind(bind, submission.body.run.as_ref(), &submission.person, now)?;
        state.allowances.bind_free(&bound)?;
        let no_guard =
            || Refused::new(RefusedReason::NoGuard, "there is no guard", "see `holdfast doctor`");
        let guard = self.guard.as_ref().ok_or_else(no_guard)?;
        Ok((bound, Roots::of(guard.zones(), &state.plan)))
    }

    /// Has it looked at aside whether the files of a command are still those that were signed.
    pub(super) fn check_command(&self, joining: Box<Joining>) -> Option<Event> {
        let wanted = joining.tree.wanted.clone();
        let work = move |deadline| wanted.map_or(Ok(()), |wanted| check_files(&wanted, deadline));
        self.aside.run(work, move |outcome| Event::CommandChecked(joining, outcome))
    }

    fn bind(
        &mut self,
        bind: &Bind,
        run: Option<&RunBody>,
        person: &Person,
        now: Now,
    ) -> Result<Bound, Refused> {
        let user = bind.user.as_deref().map(user).transpose()?;
        let unit = match &bind.unit {
            None => None,
            Some(name) => {
                let (id, path) = self.units.find(name).map_err(|why| {
                    let help = "the unit has to be there before an allowance for it is submitted";
                    Refused::new(RefusedReason::WrongUnit, why, help)
                })?;
                Some(UnitRef { id, path: Some(path) })
            }
        };
        let mut bound = Bound { user, unit, tree: None };
        let Some(run) = run else { return Ok(bound) };
        let pid = person
            .pid
            .ok_or_else(|| wrong_process("the kernel does not say which process submits it"))?;
        let submitter = look(pid).ok().flatten();
        let submitter =
            submitter.ok_or_else(|| wrong_process(format!("process {pid} cannot be looked at")))?;
        let caller =
            locate::caller(pid, &mut self.units, now).map_err(|(_, why)| wrong_process(why))?;
        let uid = caller.login_uid.unwrap_or(caller.uid);
        if let Some(user) = bound.user.as_ref().filter(|user| user.uid != uid) {
            let message = format!("it is for user {}, and user {uid} submits it", user.uid);
            let help =
                "it has to be run by the user it was signed for (the login user, where one is set)";
            return Err(Refused::new(RefusedReason::WrongUser, message, help));
        }
        let own = caller.unit.as_ref();
        if let Some(unit) =
            bound.unit.as_ref().filter(|unit| own.is_none_or(|own| own.id != unit.id))
        {
            let path = |unit: Option<&UnitRef>| {
                unit.and_then(|unit| unit.path.clone()).unwrap_or_else(|| "?".to_owned())
            };
            let message =
                format!("it is for unit {}, and is submitted in {}", path(Some(unit)), path(own));
            let help = "it has to be run in the unit it was signed for";
            return Err(Refused::new(RefusedReason::WrongUnit, message, help));
        }
        bound.tree = Some(Tree {
            command: command_line(run),
            executable: run.executable.clone(),
            wanted: bind.command.as_ref().map(Wanted::from),
            submitter: submitter.id,
            first: None,
        });
        Ok(bound)
    }

    /// Opens an allowance: on the disk, in the audit log, in the kernel.
    pub(super) fn open_allowance(
        &mut self,
        opening: Box<Opening>,
        state: &State,
        now: Now,
    ) -> Option<Event> {
        let mut entry = opening.entry.clone();
        entry.serial = kernel::boot_time_ns();
        entry.until_ns = state.allowances.deadline(entry.not_after, now);
        entry.opened_ns = now.wall_ns;
        let clock = state.allowances.floor_when_opened(now);
        let change = Change {
            entries: vec![entry.clone()],
            forget: opening.forget.clone(),
            clock,
            ..Change::default()
        };
        let policy = state.plan.origin.clone();
        let work = move |disk: &mut OnDisk| disk.write(&change);
        self.on_disk(About::Grant, (state, now), work, |it, outcome, state, now| {
            let Err(why) = outcome else {
                return it.record_opening(opening, entry, policy, state, now);
            };
            let refused = unwritable("what was used before", &why);
            if why == (NotOnDisk::Late { begun: true }) {
                return it.not_opened(opening, entry, refused, state, now);
            }
            Some(Event::AllowanceOpened(opening, Err((refused, None))))
        })
    }

    fn record_opening(
        &mut self,
        opening: Box<Opening>,
        entry: Entry,
        policy: Origin,
        state: &State,
        now: Now,
    ) -> Option<Event> {
        let record = activated(&entry, now);
        self.record_first(About::Grant, record, (state, now), move |it, outcome, state, now| {
            let refused = if let Err(why) = outcome {
                let help =
                    "nothing was opened, and it can be submitted again once the log can be written";
                Refused::new(RefusedReason::StateUnreadable, why, help)
            } else if policy != state.plan.origin {
                let message = "the policy has changed since it was submitted";
                Refused::new(RefusedReason::TooSlow, message, "submit it again")
            } else if let Err(why) = it.open_in_kernel(&entry, &opening) {
                let help =
                    "nothing was opened, and it can be submitted again: see `holdfast doctor`";
                let message = format!("it cannot be opened: {why}");
                Refused::new(RefusedReason::NoGuard, message, help)
            } else {
                return Some(Event::AllowanceOpened(opening, Ok(Box::new(entry))));
            };
            it.not_opened(opening, entry, refused, state, now)
        })
    }

    fn open_in_kernel(&mut self, entry: &Entry, opening: &Opening) -> Result<(), String> {
        self.manifest.opens(entry.serial, &entry.id);
        let guard = self.guard.as_mut().ok_or("there is no guard")?;
        guard.open_allowance(&desired(entry, opening)).map_err(|error| error.to_string())
    }

    /// Writes down that nothing was opened. If that fails too, its id stays used up.
    fn not_opened(
        &mut self,
        opening: Box<Opening>,
        entry: Entry,
        refused: Refused,
        state: &State,
        now: Now,
    ) -> Option<Event> {
        let failed = EntryState::Failed { error: refused.message.clone() };
        let entry = Entry { state: failed, ..entry };
        let change = Change { entries: vec![entry.clone()], ..Change::default() };
        let work = move |disk: &mut OnDisk| disk.write(&change);
        self.on_disk(About::Grant, (state, now), work, |_, outcome, _, _| {
            let entry = match outcome {
                Ok(()) => entry,
                Err(why) => {
                    error!(
                        %why, id = entry.id,
                        "an allowance was not opened, but its id is used up"
                    );
                    // As a restarted agent will find it: open, and not in the kernel.
                    Entry { state: EntryState::Open, ..entry }
                }
            };
            Some(Event::AllowanceOpened(opening, Err((refused, Some(Box::new(entry))))))
        })
    }

    /// Marks the process that asks as the first of its allowance's tree.
    pub(super) fn join(&mut self, joining: Box<Joining>, state: &State, now: Now) -> Option<Event> {
        let Some(entry) = state.allowances.get(&joining.id).cloned() else {
            let message = format!("nobody knows of allowance {} any more", joining.id);
            return Some(Event::AllowanceJoined(joining, Err(wrong_process(message))));
        };
        let change = move |tree| {
            let mut entry = entry.clone();
            entry.bound.tree = Some(tree);
            Change { entries: vec![entry], ..Change::default() }
        };
        let (tree, person) = (joining.tree.clone(), joining.person.clone());
        let who = (joining.serial, &tree, &person);
        self.join_tree(who, change, (state, now), |outcome| {
            Event::AllowanceJoined(joining, outcome)
        })
    }

    /// Marks the process that asks as the first of a tree: on the disk, then in the kernel.
    /// `change` is what the disk is told of the tree.
    pub(super) fn join_tree(
        &mut self,
        (serial, tree, person): (u64, &Tree, &Person),
        change: impl Fn(Tree) -> Change + 'static,
        (state, now): (&State, Now),
        then: impl FnOnce(Result<ProcessId, Refused>) -> Event + 'static,
    ) -> Option<Event> {
        let no_guard = |message: String| {
            Refused::new(RefusedReason::NoGuard, message, "see `holdfast doctor`")
        };
        let (first, process) = match first_of(tree, serial, person) {
            Ok(found) => found,
            Err(refused) => return Some(then(Err(refused))),
        };
        if self.guard.is_none() {
            return Some(then(Err(no_guard("there is no guard".to_owned()))));
        }
        let tree = tree.clone();
        let with = move |first| change(Tree { first, ..tree.clone() });
        let joined = with(Some(first));
        let work = move |disk: &mut OnDisk| disk.write(&joined);
        self.on_disk(About::Grant, (state, now), work, move |it, outcome, state, now| {
            let refused = match outcome {
                Err(why) => {
                    let refused = unwritable("who may spend it", &why);
                    if why != (NotOnDisk::Late { begun: true }) {
                        return Some(then(Err(refused)));
                    }
                    refused
                }
                Ok(()) => {
                    match it.guard.as_mut().map(|guard| guard.mark(serial, process.as_fd())) {
                        Some(Err(error)) => {
                            no_guard(format!("process {} cannot be marked: {error}", first.pid))
                        }
                        Some(Ok(())) | None => return Some(then(Ok(first))),
                    }
                }
            };
            // Nobody has joined.
            let nobody = with(None);
            let work = move |disk: &mut OnDisk| disk.write(&nobody);
            it.on_disk(About::Grant, (state, now), work, move |_, outcome, _, _| {
                if let Err(why) = outcome {
                    error!(
                        %why,
                        serial, "a process could not join, and nobody else can after a restart"
                    );
                }
                Some(then(Err(refused)))
            })
        })
    }

    /// Reads who may sign, as it is now.
    pub(super) fn read_trust(
        &self,
        submission: Box<super::allowance::Submission>,
        state: &State,
    ) -> Event {
        let trust = read_trust(&state.plan.policy.signing).map(Box::new);
        Event::TrustRead(submission, trust)
    }
}

/// The process that asks, held by the hand, if it may become the first of this tree.
fn first_of(tree: &Tree, serial: u64, person: &Person) -> Result<(ProcessId, OwnedFd), Refused> {
    let pid =
        person.pid.ok_or_else(|| wrong_process("the kernel does not say which process asks"))?;
    let gone = || wrong_process(format!("process {pid} cannot be looked at"));
    let seen = || look(pid).ok().flatten().ok_or_else(gone);
    let allowed = || -> Result<ProcessId, Refused> {
        let seen = seen()?;
        let parent = look(tree.submitter.pid).ok().flatten();
        may_join(&tree.submitter, serial, &seen, parent.as_ref()).map_err(wrong_process)?;
        Ok(seen.id)
    };
    let first = allowed()?;
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
    let process = pidfd_open(number, PidfdFlags::empty()).map_err(|_| gone())?;
    // Now that it is held by the hand: it is still the same.
    if allowed()? != first {
        return Err(gone());
    }
    Ok((first, process))
}

fn unwritable(what: &str, why: &NotOnDisk) -> Refused {
    let help = "nothing was opened: is the disk of the state directory full?";
    Refused::new(RefusedReason::StateUnreadable, format!("{what} cannot be written: {why}"), help)
}

fn user(name: &str) -> Result<UserRef, Refused> {
    let passwd = users();
    let uid = user_number(&passwd, name).ok_or_else(|| {
        let message = format!("there is no user `{name}` in /etc/passwd");
        Refused::new(RefusedReason::WrongUser, message, "give the user's number")
    })?;
    Ok(UserRef { uid, name: user_name(&passwd, uid) })
}

/// For people: cut if it is long.
pub(super) fn command_line(run: &RunBody) -> String {
    let arguments = run.argv.iter().skip(1).map(String::as_str);
    let words: Vec<&str> = std::iter::once(run.executable.as_str()).chain(arguments).collect();
    text::clipped(&words.join(" "), MOST_COMMAND)
}

fn activated(entry: &Entry, now: Now) -> Record {
    Record::AllowanceActivate {
        allowance: report::allowance_ref(entry),
        serial: entry.serial,
        reason: entry.reason.clone(),
        requested_by: entry.requested_by.clone(),
        until: report::until(entry.until_ns, now),
        bind: report::allowance_bind(entry),
        grants: report::allowance_grants(entry),
        person: entry.opened_by.clone(),
    }
}

/// What the kernel is told.
fn desired(entry: &Entry, opening: &Opening) -> DesiredAllowance {
    let grants = entry.grants.iter().zip(&opening.ops).zip(&opening.places);
    let grants = grants.map(|((grant, ops), places)| DesiredGrant {
        zone: grant.zone.clone(),
        ops: *ops,
        files: grant.files,
        bytes: grant.bytes,
        tenants: grant.tenants,
        subtrees: places.clone(),
    });
    DesiredAllowance {
        serial: entry.serial,
        until_ns: entry.until_ns,
        tree: entry.bound.tree.is_some(),
        unit: entry.bound.unit.as_ref().map(|unit| unit.id),
        user: entry.bound.user.as_ref().map(|user| user.uid),
        zone: None,
        break_glass: false,
        grants: grants.collect(),
    }
}

#[cfg(test)]
#[path = "opening_tests.rs"]
pub(super) mod tests;
