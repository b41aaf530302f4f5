//! Does what is decided about allowances: the executor's part with the store, the host's files and processes, and the kernel.
//!
//! What opens one is done in this order: on the disk, in the audit log, in the kernel. What closes one is done in the other: what
//! was cut off in between is tighter than what is written, never looser.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Display;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use holdfast_abi as abi;
use holdfast_policy::PathPattern;
use holdfast_policy::allowance::{Allowance, Bind, Grant, Refused, RefusedReason};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tracing::{error, info};

use super::allowance::{Closing, Joining, Judged, Opening, Resolved, Revoking, Shut};
use super::allowing::wrong_process;
use super::executor::Executor;
use super::locate::{self, Lookup};
use super::message::Event;
use super::pausing::{user_name, user_number, users};
use super::state::State;
use crate::allowances::{
    Bound, Change, Entry, EntryState, Loaded, Looking, Lost, ProcessId, Store, Survey, Tree,
    Wanted, check_files, check_run, expand, is_direct, is_gone, look, may_join, open, read_trust,
};
use crate::api::{Person, RunBody, UnitRef, UserRef};
use crate::audit::Record;
use crate::break_glass;
use crate::clock::Now;
use crate::kernel::{self, AllowanceRow, DesiredAllowance, DesiredGrant};
use crate::report;
use crate::text;

/// Characters of a command line that are kept.
const MOST_COMMAND: usize = 1024;

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
        self.store = Some(store);
        self.keep_reserve();
        Ok(Box::new((loaded, boot_id)))
    }

    /// Writes a change to the disk.
    pub(super) fn write(&mut self, change: &Change) -> Result<(), String> {
        let store = self.store.as_mut().ok_or("what is kept on disk could not be read")?;
        store.write(change).map_err(|error| error.to_string())
    }

    /// Writes down what has changed.
    pub(super) fn save_allowances(&mut self, state: &State, now: Now) -> Result<(), String> {
        self.write(&Change { glass: state.glass.to_save(), ..state.allowances.change(now) })
    }

    /// Writes down that an id is revoked.
    pub(super) fn save_revoked(&mut self, revoking: &Revoking) -> Result<(), String> {
        self.write(&Change { revoked: vec![revoking.revoked.clone()], ..Change::default() })
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

    /// Finds out where an allowance leads and who may spend it.
    pub(super) fn resolve(
        &mut self,
        judged: &Judged,
        state: &State,
        now: Now,
    ) -> Result<Resolved, Refused> {
        let allowance = &judged.checked.allowance;
        let submission = &judged.submission;
        let run = submission.body.run.as_ref();
        let bound = self.bind(&allowance.bind, run, &submission.person, now)?;
        state.allowances.bind_free(&bound)?;
        let places = self.places(allowance, state)?;
        Ok(Resolved { bound, places })
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
        let wanted = bind.command.as_ref().map(Wanted::from);
        if let Some(wanted) = &wanted {
            check_run(wanted, run)?;
            check_files(wanted)?;
        }
        bound.tree = Some(Tree {
            command: command_line(run),
            executable: run.executable.clone(),
            wanted,
            submitter: submitter.id,
            first: None,
        });
        Ok(bound)
    }

    /// Where each grant leads.
    fn places(
        &mut self,
        allowance: &Allowance,
        state: &State,
    ) -> Result<Vec<Vec<abi::Learned>>, Refused> {
        let mut lookup = Lookup::new(&state.plan, self.guard.as_mut())
            .map_err(|error| nothing(format!("cannot look at this host: {error}")))?;
        let mut looking = Looking::default();
        let zones: Vec<&str> =
            state.plan.policy.zones.iter().map(|zone| zone.name.as_str()).collect();
        let mut grant_places = |grant: &Grant| {
            let mut places = Vec::new();
            for pattern in &grant.subtrees {
                let found = pattern_places(grant, pattern, &zones, &mut lookup, &mut looking)?;
                places.extend(found);
            }
            Ok(places)
        };
        allowance.grants.iter().map(&mut grant_places).collect()
    }

    /// Opens an allowance: on the disk, in the audit log, in the kernel.
    pub(super) fn open_allowance(
        &mut self,
        opening: &Opening,
        state: &State,
        now: Now,
    ) -> Result<Box<Entry>, (Refused, Option<Box<Entry>>)> {
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
        self.write(&change).map_err(|why| (unwritable("what was used before", why), None))?;
        self.audit.append(&activated(&entry, now), now);
        if !self.sync_audit() {
            let refused = unwritable("the audit log", "see the agent's log".to_owned());
            return Err(self.failed(entry, refused));
        }
        let outcome = match &mut self.guard {
            Some(guard) => {
                guard.open_allowance(&desired(&entry, opening)).map_err(|error| error.to_string())
            }
            None => Err("there is no guard".to_owned()),
        };
        match outcome {
            Ok(()) => Ok(Box::new(entry)),
            Err(why) => {
                let help =
                    "nothing was opened, and it can be submitted again: see `holdfast doctor`";
                let refused = Refused::new(
                    RefusedReason::NoGuard,
                    format!("it cannot be opened: {why}"),
                    help,
                );
                Err(self.failed(entry, refused))
            }
        }
    }

    /// Writes down that nothing was opened. If that fails too, its id stays used up.
    fn failed(&mut self, entry: Entry, refused: Refused) -> (Refused, Option<Box<Entry>>) {
        let state = EntryState::Failed { error: refused.message.clone() };
        let entry = Entry { state, ..entry };
        match self.write(&Change { entries: vec![entry.clone()], ..Change::default() }) {
            Ok(()) => (refused, Some(Box::new(entry))),
            Err(why) => {
                error!(why, id = entry.id, "an allowance was not opened, but its id is used up");
                // As a restarted agent will find it: open, and not in the kernel.
                (refused, Some(Box::new(Entry { state: EntryState::Open, ..entry })))
            }
        }
    }

    /// Marks the process that asks as the first of its allowance's tree.
    pub(super) fn join(&mut self, joining: &Joining, state: &State) -> Result<ProcessId, Refused> {
        let Joining { id, serial, tree, person, .. } = joining;
        let (first, process) = first_of(tree, *serial, person)?;
        let pid = first.pid;
        let gone = || wrong_process(format!("process {pid} cannot be looked at"));
        let entry = state.allowances.get(id).ok_or_else(gone)?;
        let with = |first| {
            let mut entry = entry.clone();
            entry.bound.tree = Some(Tree { first, ..tree.clone() });
            Change { entries: vec![entry], ..Change::default() }
        };
        self.write(&with(Some(first))).map_err(|why| unwritable("what was used before", why))?;
        let guard = self.guard.as_mut().ok_or_else(|| {
            Refused::new(RefusedReason::NoGuard, "there is no guard", "see `holdfast doctor`")
        })?;
        if let Err(error) = guard.mark(*serial, process.as_fd()) {
            // Nobody has joined.
            if let Err(why) = self.write(&with(None)) {
                error!(
                    why,
                    id,
                    "a process could not join its allowance, and nobody else can after a restart"
                );
            }
            let message = format!("process {pid} cannot be marked: {error}");
            return Err(Refused::new(RefusedReason::NoGuard, message, "see `holdfast doctor`"));
        }
        Ok(first)
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
pub(super) fn first_of(
    tree: &Tree,
    serial: u64,
    person: &Person,
) -> Result<(ProcessId, OwnedFd), Refused> {
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
    if let Some(wanted) = &tree.wanted {
        // They may have been changed since it was submitted.
        check_files(wanted)?;
    }
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
    let process = pidfd_open(number, PidfdFlags::empty()).map_err(|_| gone())?;
    // Now that it is held by the hand: it is still the same.
    if allowed()? != first {
        return Err(gone());
    }
    Ok((first, process))
}

/// The directories and files that one pattern leads to, all of them in the grant's zone.
fn pattern_places(
    grant: &Grant,
    pattern: &PathPattern,
    zones: &[&str],
    lookup: &mut Lookup<'_>,
    looking: &mut Looking,
) -> Result<Vec<abi::Learned>, Refused> {
    let lost = |lost: Lost| match lost {
        Lost::TooMany(what) => Refused::new(
            RefusedReason::TooManySubtrees,
            format!("`{pattern}`: {what}"),
            "name a directory above them",
        ),
        Lost::Io(path, error) => {
            nothing(format!("`{pattern}`: cannot look at {}: {error}", shown(&path)))
        }
    };
    let mut places = Vec::new();
    for path in expand(pattern, looking).map_err(lost)? {
        let unreadable =
            |error| nothing(format!("`{pattern}`: cannot look at {}: {error}", shown(&path)));
        let Some((file, real, is_dir)) = open(&path).map_err(unreadable)? else { continue };
        looking.place().map_err(lost)?;
        let place = locate::place(&real, is_dir, lookup).map_err(unreadable)?;
        let place = place.filter(|place| zones.get(place.zone) == Some(&grant.zone.as_str()));
        let Some(place) = place else {
            let message = format!(
                "`{pattern}` leads to {}, which is not in zone {}",
                shown(&real),
                grant.zone
            );
            return Err(outside(message));
        };
        let root = Path::new(OsStr::from_bytes(&place.root));
        if !is_direct(&path, &real, root).map_err(unreadable)? {
            let message = format!(
                "`{pattern}` leads through a link in zone {} to {}",
                grant.zone,
                shown(&real)
            );
            return Err(outside(message));
        }
        places.push(lookup.learn(&file).map_err(unreadable)?);
    }
    if places.is_empty() {
        return Err(nothing(format!("`{pattern}` leads to no directory or file of this host")));
    }
    Ok(places)
}

fn nothing(message: String) -> Refused {
    let help = "an allowance names what is there when it is submitted: check the path, and whether this is the right host";
    Refused::new(RefusedReason::NothingMatches, message, help)
}

fn outside(message: String) -> Refused {
    let help = "name a directory or file that really is in the zone";
    Refused::new(RefusedReason::OutsideZone, message, help)
}

fn unwritable(what: &str, why: String) -> Refused {
    let help = "nothing was opened: is the disk of the state directory full?";
    Refused::new(RefusedReason::StateUnreadable, format!("{what} cannot be written: {why}"), help)
}

fn shown(path: &Path) -> impl Display {
    text::for_terminal(path.as_os_str().as_bytes())
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
    let line = words.join(" ");
    match line.char_indices().nth(MOST_COMMAND) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
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
mod tests;
