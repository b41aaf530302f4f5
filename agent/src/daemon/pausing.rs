//! Does what is decided about paused processes: the executor's part with the kernel's maps, signals
//! and names.

use std::collections::HashSet;

use holdfast_abi as abi;
use rustix::process::Signal;
use tracing::warn;

use super::disk::About;
use super::executor::{Executor, or_note};
use super::message::{Decide, Done, Event, Kill};
use super::state::State;
use crate::api::HoldReport;
use crate::clock::Now;
use crate::holds::{self, Book, Decision, Delivered, Survey, deliver, stopped};
use crate::kernel::{self, Guard, KernelError};
use crate::report::{self, Facts, Names};

/// /etc/passwd is read up to here.
const MOST_PASSWD: u64 = 1 << 20;

impl Executor {
    /// Looks at what is paused.
    pub(super) fn survey_holds(&mut self, book: &Book, now: Now) -> Result<Survey, String> {
        let Some(guard) = &self.guard else {
            return Ok(Survey::default());
        };
        // In this order: a thread that is there belongs to a hold that is there, unless that was
        // forgotten.
        let read = || Ok::<_, KernelError>((guard.held()?, guard.holds()?));
        let (held, rows) = read().map_err(|error| error.to_string())?;
        let (source, units) = (&mut self.source, &mut self.units);
        Ok(holds::look(held, rows, book, |event| source.decided(event, units, now)))
    }

    /// Continues throttled processes whose turn it is.
    pub(super) fn pace(&mut self, book: &Book, now: Now) {
        // If what is held cannot be read, the next survey says why.
        if let Some(Ok(held)) = self.guard.as_ref().map(Guard::held) {
            let is_due = |held: &abi::Held| {
                held.event.verdict == abi::Verdict::Throttle as u8 && held.retry_ns <= now.boot_ns
            };
            let due = held.into_iter().filter(|(_, held)| is_due(held));
            let due: Vec<_> = due.map(|(key, _)| key).collect();
            self.go_on(&due, book);
        }
    }

    /// Writes down a decision, then continues whoever is paused by then, so that they notice.
    /// What a person lets go is in the audit log first.
    pub(super) fn decide(&mut self, decide: Box<Decide>, state: &State, now: Now) -> Option<Event> {
        let record = state.release_record(&decide, now).filter(|_| self.guard.is_some());
        let Some(record) = record else {
            let outcome = self.write_decision(&decide, state);
            return Some(Event::HoldDecided(decide, outcome));
        };
        self.record_first(About::Other, record, (state, now), |it, outcome, state, _| {
            let outcome = outcome.and_then(|()| it.write_decision(&decide, state));
            Some(Event::HoldDecided(decide, outcome))
        })
    }

    fn write_decision(&mut self, decide: &Decide, state: &State) -> Result<Done, String> {
        let guard = self.guard.as_mut().ok_or("there is no guard")?;
        let key = &decide.key;
        let written = match decide.decision {
            Decision::Release { files, until_ns } => {
                guard.release_files(key, files, until_ns).map(|()| 0)
            }
            Decision::ResetBudgets => guard.reset_budgets(key),
            Decision::Retry => guard.retry_held(key).map(|()| 0),
            Decision::Deny { until_ns } => guard.deny_held(key, until_ns).map(|()| 0),
        };
        let budgets = written.map_err(|error| error.to_string())?;
        let at_ns = kernel::boot_time_ns();
        let continued = match threads(guard, decide.hold) {
            Ok(threads) => self.send(&threads, &[Signal::CONT], &state.book),
            Err(error) => {
                // It is decided; surveys continue those who have not noticed.
                warn!(%error, hold = decide.hold, "what is held cannot be read");
                Delivered::default()
            }
        };
        Ok(Done { at_ns, budgets, continued })
    }

    /// Kills the processes of a hold. One that is stopped receives nothing but SIGKILL before it is
    /// continued.
    pub(super) fn kill(&mut self, kill: &Kill, book: &Book) -> Result<Delivered, String> {
        let guard = self.guard.as_ref().ok_or("there is no guard")?;
        let threads = threads(guard, kill.hold).map_err(|error| error.to_string())?;
        let signals = [kill.signal.signal(), Signal::CONT];
        let signals = if kill.signal.needs_continuing() { &signals[..] } else { &signals[..1] };
        Ok(self.send(&threads, signals, book))
    }

    /// Continues the processes of these threads.
    pub(super) fn go_on(&self, threads: &[abi::TaskKey], book: &Book) {
        for (pid, error) in self.send(threads, &[Signal::CONT], book).failed {
            warn!(error, pid, "a paused process cannot be continued");
        }
    }

    /// Continues those of these processes that are stopped and not paused. Nobody else would: `su`
    /// and its like stop themselves when their child is stopped.
    pub(super) fn wake(&self, leaders: Vec<abi::TaskKey>) {
        let stopped = stopped(leaders);
        if stopped.is_empty() {
            return;
        }
        // If what is held cannot be read, the next survey says why, and wakes them.
        let Some(Ok(held)) = self.guard.as_ref().map(Guard::held) else { return };
        let held: HashSet<u32> = held.iter().map(|(key, _)| key.pid).collect();
        let wrappers = stopped.into_iter().filter(|leader| !held.contains(&leader.pid));
        for (pid, error) in deliver(wrappers, &[Signal::CONT]).failed {
            warn!(error, pid, "the parent of a paused process is stopped and cannot be continued");
        }
    }

    /// Signals the processes of these threads, then continues whoever stopped itself because of
    /// them.
    fn send(&self, threads: &[abi::TaskKey], signals: &[Signal], book: &Book) -> Delivered {
        let mut seen = HashSet::new();
        let processes = threads.iter().filter(|thread| seen.insert(thread.pid));
        // Afterwards it may not be there to be asked who its parents are.
        let wrappers = processes.flat_map(|thread| {
            book.wrappers(thread).unwrap_or_else(|| holds::ancestors(thread.pid))
        });
        let wrappers: Vec<_> = wrappers.collect();
        let delivered = deliver(threads.iter().copied(), signals);
        self.wake(wrappers);
        delivered
    }

    /// Forgets threads in the kernel's map.
    pub(super) fn forget_threads(&mut self, threads: &[abi::TaskKey]) {
        let Some(guard) = &mut self.guard else { return };
        for key in threads {
            if let Err(error) = guard.forget_held(key) {
                warn!(
                    %error, pid = key.pid, tid = key.tid,
                    "a thread that is no longer paused cannot be forgotten"
                );
            }
        }
    }

    /// Forgets a hold in the kernel's maps.
    pub(super) fn forget_hold(&mut self, key: &abi::HoldKey) {
        if let Some(Err(error)) = self.guard.as_mut().map(|guard| guard.forget_hold(key)) {
            warn!(%error, "a hold that is over cannot be forgotten");
        }
    }

    /// Every hold, with its numbers and names as they are now.
    pub(super) fn holds(&mut self, state: &State, facts: &mut Facts, now: Now) -> Vec<HoldReport> {
        if let Some(guard) = &self.guard
            && state.book.holds(now).next().is_some()
        {
            facts.tenants = or_note(guard.tenants(), &mut facts.errors);
        }
        let users = users();
        let units = &mut self.units;
        let mut names = Names {
            unit: &mut |unit, pid| units.name(unit, pid, now),
            user: &|uid| user_name(&users, uid),
        };
        report::holds(state, facts, now, &mut names)
    }
}

/// The threads that a hold holds at this moment.
fn threads(guard: &Guard, hold: u64) -> Result<Vec<abi::TaskKey>, KernelError> {
    let held = guard.held()?;
    Ok(held.into_iter().filter(|(_, held)| held.hold == hold).map(|(key, _)| key).collect())
}

/// The text of /etc/passwd. Names from elsewhere are not looked up: a directory server may take its
/// time.
pub(super) fn users() -> String {
    use std::io::Read as _;
    let mut text = Vec::new();
    let read = std::fs::File::open("/etc/passwd")
        .and_then(|file| file.take(MOST_PASSWD).read_to_end(&mut text));
    match read {
        Ok(_) => String::from_utf8_lossy(&text).into_owned(),
        Err(_) => String::new(),
    }
}

pub(super) fn user_name(passwd: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}

/// The user with this name or number.
pub(super) fn user_number(passwd: &str, user: &str) -> Option<u32> {
    let named = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (name == user).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    // A name wins over a number that looks the same, as chown(1) has it. The last number stands for
    // nobody.
    named.or_else(|| user.parse().ok()).filter(|uid| *uid != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_is_named_or_numbered() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:\n7:x:70:7::/:\n";
        let number = |user| user_number(passwd, user);
        assert_eq!(
            (number("alice"), number("0"), number("4711")),
            (Some(1000), Some(0), Some(4711))
        );
        assert_eq!(number("7"), Some(70), "a name that is a number");
        for nobody in ["bob", "", "-1", "4294967295", "x"] {
            assert_eq!(number(nobody), None, "{nobody}");
        }
    }

    #[test]
    fn passwd_names_the_users() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\n\nbroken\n:x:7:7::\nalice:x:1000:1000::/home/alice:\n";
        assert_eq!(user_name(passwd, 0).as_deref(), Some("root"));
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("alice"));
        assert_eq!(user_name(passwd, 7), None);
        assert_eq!(user_name(passwd, 100), None);
    }
}
