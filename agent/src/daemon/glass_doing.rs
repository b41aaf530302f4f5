//! Does what is decided about break-glass: the executor's part with randomness, the store, the kernel and the terminals.
//!
//! What opens one is done in this order: on the disk (with it, that its code is used), in the audit log, in the kernel. On a full disk
//! what was set aside for this is let go first. Where it fails half way, its code is made good again; if that cannot be written down
//! either, the code is used up.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use holdfast_abi as abi;
use holdfast_policy::allowance::RefusedReason;
use holdfast_policy::break_glass::{GlassReason, GlassRefused, Terms, challenge};
use tracing::{error, info, warn};

use super::executor::Executor;
use super::glass::{
    Closing, GlassAction, GlassEvent, Joining, MakeChallenge, MakeCodes, NotOpened, Opening, Signed,
};
use super::opening::{MOST_COMMAND, command_line};
use super::state::State;
use crate::allowances::{
    Change, EntryState, ProcessId, Tree, host_names, is_gone, look, read_trust,
};
use crate::api::{Person, RunBody, Secret};
use crate::audit::Record;
use crate::break_glass::{CHALLENGE_LASTS, Challenge, Code, CodeRow, Entry, random, shout};
use crate::clock::Now;
use crate::kernel::{self, AllowanceRow, DesiredAllowance, DesiredGrant};
use crate::report;
use crate::text;

/// Room on the disk that is set aside, so that a break-glass can be opened when the disk is full: it may be why.
/// More than the audit log may have waiting, which is written first.
const RESERVE: u64 = 16 << 20;
const RESERVE_FILE: &str = "break-glass.reserve";
/// What is said of a code, or a signed challenge, that let nothing open.
const AS_GOOD: &str = "the code or signature is as good as before";
const USED_UP: &str = "the code is used up, as that cannot be written down either";

impl Executor {
    /// Does one thing about break-glass; what came of it, if that is news.
    pub(super) fn glass(
        &mut self,
        action: GlassAction,
        state: &State,
        now: Now,
    ) -> Option<GlassEvent> {
        match action {
            GlassAction::MakeCodes(making) => {
                let outcome = self.make_codes(&making, state, now);
                return Some(GlassEvent::CodesMade(making, outcome));
            }
            GlassAction::MakeChallenge(making) => {
                let outcome = make_challenge(&making, now);
                return Some(GlassEvent::ChallengeMade(making, outcome));
            }
            GlassAction::ReadTrust(signed) => return Some(trust_read(signed, state)),
            GlassAction::Open(opening) => {
                let outcome = self.open_glass(&opening, state, now);
                return Some(GlassEvent::Opened(opening, outcome));
            }
            GlassAction::Join(joining) => {
                let outcome = self.join_glass(&joining, state);
                return Some(GlassEvent::Joined(joining, outcome));
            }
            GlassAction::Close(closing) => {
                let outcome = self.close_glass(&closing);
                return Some(GlassEvent::Closed(closing, outcome));
            }
            GlassAction::TryAgain(zone) => self.try_again(&zone, state),
            GlassAction::KeepReserve => self.keep_reserve(),
            GlassAction::Shout(message) => shout(&message),
            GlassAction::SendLater(reply, answer, delay) => {
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    // Whoever asked may be gone.
                    drop(reply.send(answer));
                });
            }
            GlassAction::Count(count) => self.metrics.count_glass(&count),
        }
        None
    }

    /// Sets aside what a break-glass needs of the disk, if there is room and it is not there.
    pub(super) fn keep_reserve(&mut self) {
        let path = self.options.state_dir.join(RESERVE_FILE);
        let was_missing = self.reserve_missing;
        let kept = reserve(&path);
        self.reserve_missing = kept.is_err();
        match kept {
            Err(error) if !was_missing => {
                warn!(%error, path = %path.display(), "nothing is set aside for a break-glass on a full disk");
            }
            Ok(()) if was_missing => {
                info!("room is set aside again for a break-glass on a full disk")
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Lets it go. Whether there was any.
    fn free_reserve(&self) -> bool {
        fs::remove_file(self.options.state_dir.join(RESERVE_FILE)).is_ok()
    }

    /// Makes codes: in the audit log first, as each of them can let somebody through.
    fn make_codes(
        &mut self,
        making: &MakeCodes,
        state: &State,
        now: Now,
    ) -> Result<Vec<(CodeRow, Secret)>, String> {
        let mut made = Vec::new();
        for number in making.first..making.first + u64::from(making.count) {
            let code = Code::new(&random()?);
            let row = CodeRow::new(number, &code, random()?, now.wall_ns, making.person.clone());
            made.push((row, Secret(code.show())));
        }
        let codes: Vec<CodeRow> = made.iter().map(|(row, _)| row.clone()).collect();
        let record = Record::BreakGlassCodes {
            numbers: codes.iter().map(|row| row.number).collect(),
            replaced: making.replaced,
            person: making.person.clone(),
        };
        self.record_first(&record, state, now)?;
        let forget_codes = making.forget.clone();
        self.write(&Change { codes, forget_codes, ..Change::default() })?;
        Ok(made)
    }

    fn open_glass(
        &mut self,
        opening: &Opening,
        state: &State,
        now: Now,
    ) -> Result<Box<Entry>, Box<NotOpened>> {
        let Opening { number, terms, proof, person, .. } = opening;
        let tree = opening.run.as_ref().map(|run| tree(run, person)).transpose();
        let mut entry = Entry::new(
            *number,
            terms,
            proof.clone(),
            person.clone(),
            tree.map_err(NotOpened::untouched)?,
        );
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
        if let Err(why) = self.with_reserve(|it| it.write(&change)) {
            self.keep_reserve();
            let refused = unwritable("which codes were used", &why);
            return Err(NotOpened::untouched(refused));
        }
        let record = Record::BreakGlassOpen { glass: Box::new(report::glass(&entry, now)) };
        if let Err(why) = self.with_reserve(|it| it.record_strictly(&record, now)) {
            let refused = unwritable("the audit log", &why);
            return Err(self.glass_failed(opening, entry, refused, false));
        }
        self.manifest.opens(entry.serial, &entry.id());
        let outcome = match &mut self.guard {
            Some(guard) => {
                guard.open_allowance(&desired(&entry, terms)).map_err(|error| error.to_string())
            }
            None => Err("there is no guard".to_owned()),
        };
        match outcome {
            Ok(()) => Ok(Box::new(entry)),
            Err(why) => {
                let message = format!("it cannot be opened: {why}");
                let help = "nothing was opened: see `holdfast doctor`";
                let refused = GlassRefused::new(GlassReason::NoGuard, message, help);
                Err(self.glass_failed(opening, entry, refused, true))
            }
        }
    }

    /// Does something that needs the disk, again without what is set aside there if it fails.
    fn with_reserve(
        &mut self,
        mut does: impl FnMut(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        does(self).or_else(|why| if self.free_reserve() { does(self) } else { Err(why) })
    }

    /// Writes down that nothing was opened, and that its code is as good as before.
    fn glass_failed(
        &mut self,
        opening: &Opening,
        entry: Entry,
        refused: GlassRefused,
        is_recorded: bool,
    ) -> Box<NotOpened> {
        let unused = |code: &CodeRow| CodeRow { used: None, ..code.clone() };
        let state = EntryState::Failed { error: refused.message.clone() };
        let failed = Entry { state, ..entry.clone() };
        let change = Change {
            codes: opening.code.iter().map(unused).collect(),
            glass: vec![failed.clone()],
            ..Change::default()
        };
        let written = self.write(&change);
        self.keep_reserve();
        let (entry, is_spent) = match written {
            Ok(()) => (failed, false),
            Err(why) => {
                error!(why, "a break-glass was not opened, but its code is used up");
                // As a restarted agent will find it: open, and not in the kernel.
                (entry, true)
            }
        };
        let note = if is_spent { USED_UP } else { AS_GOOD };
        let refused = GlassRefused { message: format!("{}; {note}", refused.message), ..refused };
        Box::new(NotOpened { refused, entry: Some(Box::new(entry)), is_spent, is_recorded })
    }

    fn join_glass(&mut self, joining: &Joining, state: &State) -> Result<ProcessId, GlassRefused> {
        let Joining { number, serial, tree, person, .. } = joining;
        let entry = state.glass.get(*number).ok_or_else(|| {
            GlassRefused::new(GlassReason::WrongProcess, "it is over", "open another")
        })?;
        let joined = self.join_tree(*serial, tree, person, |tree| {
            let tree = Some(tree);
            Change { glass: vec![Entry { tree, ..entry.clone() }], ..Change::default() }
        });
        joined.map_err(|refused| {
            let reason = match refused.reason {
                RefusedReason::NoGuard => GlassReason::NoGuard,
                RefusedReason::StateUnreadable => GlassReason::StateUnreadable,
                _ => GlassReason::WrongProcess,
            };
            GlassRefused { reason, message: refused.message }
        })
    }

    fn close_glass(&mut self, closing: &Closing) -> Result<(Option<AllowanceRow>, bool), String> {
        let guard = self.guard.as_mut().ok_or("the guard is not up")?;
        let row = guard.close_allowance(closing.serial).map_err(|error| error.to_string())?;
        Ok((row, closing.first.as_ref().is_some_and(is_gone)))
    }

    /// Continues whoever is paused in a zone. Who is not covered is paused again before the same file.
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

fn unwritable(what: &str, why: &str) -> GlassRefused {
    let help = "nothing was opened. If the disk of the state directory is full, free a few megabytes there (`journalctl \
                --vacuum-size=100M`, /var/cache), and try again";
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
