//! Does what is decided about break-glass: the executor's part with randomness, the store, the
//! kernel and the terminals.
//!
//! What opens one is done in this order: on the disk (with it, that its code is used), in the audit
//! log, in the kernel. On a full disk what was set aside for this is let go first. Where it fails
//! half way, its code is made good again; if that cannot be written down either, the code is used
//! up.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use holdfast_abi as abi;
use holdfast_policy::allowance::RefusedReason;
use holdfast_policy::break_glass::{GlassReason, GlassRefused, Terms, challenge};
use tracing::{error, info, warn};

use super::disk::{About, NotOnDisk, OnDisk};
use super::executor::Executor;
use super::glass::{
    Closing, GlassAction, GlassEvent, Joining, MakeChallenge, MakeCodes, NotOpened, Opening, Signed,
};
use super::message::Event;
use super::opening::{MOST_COMMAND, command_line};
use super::plan::Origin;
use super::state::State;
use crate::allowances::{Change, EntryState, Tree, host_names, is_gone, look, read_trust};
use crate::api::{Person, RunBody, Secret};
use crate::audit::Record;
use crate::break_glass::{CHALLENGE_LASTS, Challenge, Code, CodeRow, Entry, random, shout};
use crate::clock::Now;
use crate::kernel::{self, AllowanceRow, DesiredAllowance, DesiredGrant};
use crate::report;
use crate::text;

/// Room on the disk that is set aside, so that a break-glass can be opened when the disk is full:
/// it may be why. More than the audit log may have waiting, which is written first.
const RESERVE: u64 = 16 << 20;
const RESERVE_FILE: &str = "break-glass.reserve";
/// What is said of a code, or a signed challenge, that let nothing open.
const AS_GOOD: &str = "the code or signature is as good as before";
const USED_UP: &str = "the code is used up, as that cannot be written down either";

impl Executor {
    /// Does one thing about break-glass; what came of it, if that is news.
    pub(super) fn glass(&mut self, action: GlassAction, state: &State, now: Now) -> Option<Event> {
        let event = match action {
            GlassAction::MakeCodes(making) => return self.make_codes(making, state, now),
            GlassAction::MakeChallenge(making) => {
                let outcome = make_challenge(&making, now);
                GlassEvent::ChallengeMade(making, outcome)
            }
            GlassAction::ReadTrust(signed) => trust_read(signed, state),
            GlassAction::Open(opening) => return self.open_glass(opening, state, now),
            GlassAction::Join(joining) => return self.join_glass(joining, state, now),
            GlassAction::Close(closing) => {
                let outcome = self.close_glass(&closing);
                GlassEvent::Closed(closing, outcome)
            }
            GlassAction::TryAgain(zone) => {
                self.try_again(&zone, state);
                return None;
            }
            GlassAction::KeepReserve => {
                self.disk.leave(OnDisk::keep_reserve);
                return None;
            }
            GlassAction::Shout(message) => {
                shout(&message);
                return None;
            }
            GlassAction::SendLater(reply, answer, delay) => {
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    // Whoever asked may be gone.
                    drop(reply.send(answer));
                });
                return None;
            }
            GlassAction::Count(count) => {
                self.metrics.count_glass(&count);
                return None;
            }
        };
        Some(happened(event))
    }

    /// Makes codes: in the audit log first, as each of them can let somebody through.
    fn make_codes(&mut self, making: Box<MakeCodes>, state: &State, now: Now) -> Option<Event> {
        let made = match new_codes(&making, now) {
            Ok(made) => made,
            Err(why) => return Some(happened(GlassEvent::CodesMade(making, Err(why)))),
        };
        let codes: Vec<CodeRow> = made.iter().map(|(row, _)| row.clone()).collect();
        let record = Record::BreakGlassCodes {
            numbers: codes.iter().map(|row| row.number).collect(),
            replaced: making.replaced,
            person: making.person.clone(),
        };
        self.record_first(About::Grant, record, (state, now), move |it, outcome, state, now| {
            if let Err(why) = outcome {
                return Some(happened(GlassEvent::CodesMade(making, Err(why))));
            }
            let forget_codes = making.forget.clone();
            let change = Change { codes, forget_codes, ..Change::default() };
            let work = move |disk: &mut OnDisk| disk.write(&change);
            it.on_disk(About::Grant, (state, now), work, move |_, outcome, _, _| {
                let outcome = outcome.map(|()| made).map_err(|why| why.to_string());
                Some(happened(GlassEvent::CodesMade(making, outcome)))
            })
        })
    }

    fn open_glass(&mut self, opening: Box<Opening>, state: &State, now: Now) -> Option<Event> {
        let tree = opening.run.as_ref().map(|run| tree(run, &opening.person)).transpose();
        let tree = match tree {
            Ok(tree) => tree,
            Err(refused) => {
                let untouched = NotOpened::untouched(refused);
                return Some(happened(GlassEvent::Opened(opening, Err(untouched))));
            }
        };
        let Opening { number, terms, proof, person, .. } = &*opening;
        let mut entry = Entry::new(*number, terms, proof.clone(), person.clone(), tree);
        entry.serial = kernel::boot_time_ns();
        entry.boot_id = state.allowances.boot_id().to_owned();
        entry.until_ns = entry.serial.saturating_add(terms.length.as_nanos() as u64);
        entry.opened_ns = now.wall_ns;
        let change = Change {
            codes: opening.code.iter().cloned().collect(),
            glass: vec![entry.clone()],
            forget_glass: opening.forget.clone(),
            ..Change::default()
        };
        let policy = state.plan.origin.clone();
        let work = move |disk: &mut OnDisk| {
            let written = disk.with_reserve(|disk| disk.write(&change));
            if written.is_err() {
                disk.keep_reserve();
            }
            written
        };
        self.on_disk(About::Grant, (state, now), work, move |it, outcome, state, now| {
            let Err(why) = outcome else {
                return it.record_glass(opening, entry, policy, state, now);
            };
            let refused = unwritable("which codes were used", &why);
            if why == (NotOnDisk::Late { begun: true }) {
                return it.glass_failed(opening, entry, (refused, false), state, now);
            }
            let untouched = NotOpened::untouched(refused);
            Some(happened(GlassEvent::Opened(opening, Err(untouched))))
        })
    }

    fn record_glass(
        &mut self,
        opening: Box<Opening>,
        entry: Entry,
        policy: Origin,
        state: &State,
        now: Now,
    ) -> Option<Event> {
        let record = Record::BreakGlassOpen { glass: Box::new(report::glass(&entry, now)) };
        self.record_strictly(record, (state, now), move |it, outcome, state, now| {
            let failure = match outcome {
                Err(why) => {
                    let is_recorded = why == (NotOnDisk::Late { begun: true });
                    (unwritable("the audit log", &why), is_recorded)
                }
                Ok(()) if policy != state.plan.origin => {
                    let message = "the policy has changed since it was asked for";
                    let refused =
                        GlassRefused::new(GlassReason::UnknownChallenge, message, "open it again");
                    (refused, true)
                }
                Ok(()) => match it.open_glass_in_kernel(&entry, &opening.terms) {
                    Ok(()) => {
                        let opened = Ok(Box::new(entry));
                        return Some(happened(GlassEvent::Opened(opening, opened)));
                    }
                    Err(why) => {
                        let message = format!("it cannot be opened: {why}");
                        let help = "nothing was opened: see `holdfast doctor`";
                        (GlassRefused::new(GlassReason::NoGuard, message, help), true)
                    }
                },
            };
            it.glass_failed(opening, entry, failure, state, now)
        })
    }

    fn open_glass_in_kernel(&mut self, entry: &Entry, terms: &Terms) -> Result<(), String> {
        self.manifest.opens(entry.serial, &entry.id());
        let guard = self.guard.as_mut().ok_or("there is no guard")?;
        guard.open_allowance(&desired(entry, terms)).map_err(|error| error.to_string())
    }

    /// Writes down that nothing was opened, and that its code is as good as before.
    fn glass_failed(
        &mut self,
        opening: Box<Opening>,
        entry: Entry,
        (refused, is_recorded): (GlassRefused, bool),
        state: &State,
        now: Now,
    ) -> Option<Event> {
        let unused = |code: &CodeRow| CodeRow { used: None, ..code.clone() };
        let failed = EntryState::Failed { error: refused.message.clone() };
        let failed = Entry { state: failed, ..entry.clone() };
        let change = Change {
            codes: opening.code.iter().map(unused).collect(),
            glass: vec![failed.clone()],
            ..Change::default()
        };
        let work = move |disk: &mut OnDisk| {
            let written = disk.write(&change);
            disk.keep_reserve();
            written
        };
        self.on_disk(About::Grant, (state, now), work, move |_, outcome, _, _| {
            let (entry, is_spent) = match outcome {
                Ok(()) => (failed, false),
                Err(why) => {
                    error!(%why, "a break-glass was not opened, but its code is used up");
                    // As a restarted agent will find it: open, and not in the kernel.
                    (entry, true)
                }
            };
            let note = if is_spent { USED_UP } else { AS_GOOD };
            let refused =
                GlassRefused { message: format!("{}; {note}", refused.message), ..refused };
            let entry = Some(Box::new(entry));
            let not_opened = Box::new(NotOpened { refused, entry, is_spent, is_recorded });
            Some(happened(GlassEvent::Opened(opening, Err(not_opened))))
        })
    }

    fn join_glass(&mut self, joining: Box<Joining>, state: &State, now: Now) -> Option<Event> {
        let Some(entry) = state.glass.get(joining.number).cloned() else {
            let refused =
                GlassRefused::new(GlassReason::WrongProcess, "it is over", "open another");
            return Some(happened(GlassEvent::Joined(joining, Err(refused))));
        };
        let change = move |tree| {
            let tree = Some(tree);
            Change { glass: vec![Entry { tree, ..entry.clone() }], ..Change::default() }
        };
        let (tree, person) = (joining.tree.clone(), joining.person.clone());
        let who = (joining.serial, &tree, &person);
        self.join_tree(who, change, (state, now), |joined| {
            let joined = joined.map_err(|refused| {
                let reason = match refused.reason {
                    RefusedReason::NoGuard => GlassReason::NoGuard,
                    RefusedReason::StateUnreadable => GlassReason::StateUnreadable,
                    _ => GlassReason::WrongProcess,
                };
                GlassRefused { reason, message: refused.message }
            });
            happened(GlassEvent::Joined(joining, joined))
        })
    }

    fn close_glass(&mut self, closing: &Closing) -> Result<(Option<AllowanceRow>, bool), String> {
        let guard = self.guard.as_mut().ok_or("the guard is not up")?;
        let row = guard.close_allowance(closing.serial).map_err(|error| error.to_string())?;
        Ok((row, closing.first.as_ref().is_some_and(is_gone)))
    }

    /// Continues whoever is paused in a zone. Who is not covered is paused again before the same
    /// file.
    fn try_again(&self, zone: &str, state: &State) {
        let Some(guard) = &self.guard else { return };
        let slot =
            guard.zones().iter().find(|active| active.name == zone).map(|active| active.slot);
        match guard.held() {
            Ok(held) => {
                let here = held.into_iter().filter(|(_, held)| Some(held.event.zone) == slot);
                let threads: Vec<_> = here.map(|(key, _)| key).collect();
                self.go_on(&threads, &state.book);
            }
            Err(error) => warn!(%error, "who is paused cannot be read, and is not continued"),
        }
    }
}

impl OnDisk {
    /// Sets aside what a break-glass needs of the disk, if there is room and it is not there.
    pub(super) fn keep_reserve(&mut self) {
        let path = self.state_dir.join(RESERVE_FILE);
        let was_missing = self.reserve_missing;
        let kept = reserve(&path);
        self.reserve_missing = kept.is_err();
        match kept {
            Err(error) if !was_missing => {
                warn!(
                    %error, path = %path.display(),
                    "nothing is set aside for a break-glass on a full disk"
                );
            }
            Ok(()) if was_missing => {
                info!("room is set aside again for a break-glass on a full disk")
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Lets it go. Whether there was any.
    fn free_reserve(&self) -> bool {
        fs::remove_file(self.state_dir.join(RESERVE_FILE)).is_ok()
    }

    /// Does something that needs the disk, again without what is set aside there if it fails.
    pub(super) fn with_reserve(
        &mut self,
        mut does: impl FnMut(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        does(self).or_else(|why| if self.free_reserve() { does(self) } else { Err(why) })
    }
}

fn happened(event: GlassEvent) -> Event {
    Event::Glass(Box::new(event))
}

fn new_codes(making: &MakeCodes, now: Now) -> Result<Vec<(CodeRow, Secret)>, String> {
    let mut made = Vec::new();
    for number in making.first..making.first + u64::from(making.count) {
        let code = Code::new(&random()?);
        let row = CodeRow::new(number, &code, random()?, now.wall_ns, making.person.clone());
        made.push((row, Secret(code.show())));
    }
    Ok(made)
}

fn tree(run: &RunBody, person: &Person) -> Result<Tree, GlassRefused> {
    let seen = person.pid.and_then(|pid| look(pid).ok().flatten());
    let submitter = seen.ok_or_else(|| {
        let message = "the process that opens it cannot be looked at";
        GlassRefused::new(GlassReason::WrongProcess, message, "try again")
    })?;
    Ok(Tree {
        command: command_line(run),
        executable: text::clipped(&run.executable, MOST_COMMAND),
        wanted: None,
        submitter: submitter.id,
        first: None,
    })
}

fn make_challenge(making: &MakeChallenge, now: Now) -> Result<Challenge, GlassRefused> {
    let nonce = random::<16>().map_err(|why| {
        GlassRefused::new(GlassReason::StateUnreadable, why, "try again, or use a code")
    })?;
    let nonce = text::hex(&nonce);
    let text = challenge(&host_names(), &making.terms, &nonce, now.unix_seconds());
    let until_ns = now.boot_ns.saturating_add(CHALLENGE_LASTS);
    Ok(Challenge { text, terms: making.terms.clone(), until_ns })
}

fn trust_read(signed: Box<Signed>, state: &State) -> GlassEvent {
    let trust = read_trust(&state.plan.policy.signing).map(Box::new).map_err(|refused| {
        GlassRefused { reason: GlassReason::SignersUnreadable, message: refused.message }
    });
    GlassEvent::TrustRead(signed, trust)
}

/// What the kernel is told.
fn desired(entry: &Entry, terms: &Terms) -> DesiredAllowance {
    let grant = DesiredGrant {
        zone: entry.zone.clone(),
        ops: abi::Op::KNOWN_BITS,
        files: terms.files,
        bytes: terms.bytes,
        tenants: abi::GrantAccount::ANY_TENANTS,
        subtrees: Vec::new(),
    };
    DesiredAllowance {
        serial: entry.serial,
        until_ns: entry.until_ns,
        tree: entry.tree.is_some(),
        unit: None,
        user: None,
        zone: entry.tree.is_none().then(|| entry.zone.clone()),
        break_glass: true,
        grants: vec![grant],
    }
}

fn unwritable(what: &str, why: &NotOnDisk) -> GlassRefused {
    let help = "nothing was opened. If the disk of the state directory is full, free a few \
                megabytes there (`journalctl --vacuum-size=100M`, /var/cache), and try again";
    GlassRefused::new(
        GlassReason::StateUnreadable,
        format!("{what} cannot be written: {why}"),
        help,
    )
}

/// Makes the file, with all its blocks: what an agent that was killed has left half made, too.
fn reserve(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.blocks() * 512 >= RESERVE {
        return Ok(());
    }
    let allocated = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, RESERVE);
    if let Err(error) = allocated {
        // Half of it would look like all of it.
        let _ = fs::remove_file(path);
        return Err(error.into());
    }
    file.sync_all()
}

#[cfg(test)]
#[path = "glass_doing_tests.rs"]
mod tests;
