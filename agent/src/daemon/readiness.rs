//! What the service manager is told: that the agent is ready, in a word how things are, and, every
//! second, that its loop goes round. Pure.
//!
//! Ready means: the guard was brought up, a policy was put in force and each kind of op was tried;
//! or it is certain that there is no guard. That a host has none is no reason to hold up its boot:
//! the agent goes on saying so.

use super::message::Event;
use super::state::State;
use crate::clock::Now;
use crate::report;

/// What has been told so far.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    ready: bool,
    status: String,
}

/// What happened in a turn of the daemon's loop, as far as the service manager wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// A second has passed.
    Tick,
    /// The policy was to be read again.
    Reload,
    /// Something else.
    Other,
}

impl Turn {
    /// What an event means here.
    pub(super) fn of(event: &Event) -> Self {
        match event {
            Event::Tick => Self::Tick,
            Event::HangUp => Self::Reload,
            _ => Self::Other,
        }
    }
}

/// Told before a policy is read again; that it was read is told at the end of the same turn.
pub(super) fn reloading() -> String {
    "RELOADING=1\nSTATUS=reading the policy again\n".to_owned()
}

/// Told when the daemon is ending. The guard stays.
pub(super) fn stopping() -> String {
    "STOPPING=1\nSTATUS=ending; the guard stays in the kernel\n".to_owned()
}

impl State {
    /// What to tell after a turn; nothing if it is empty.
    pub(super) fn readiness_news(&mut self, turn: Turn, now: Now) -> String {
        let mut news = String::new();
        if turn == Turn::Tick {
            // From here and nowhere else: a loop that hangs tells nothing.
            news.push_str("WATCHDOG=1\n");
        }
        let was_ready = self.readiness.ready;
        let settled = was_ready || self.guarding.is_settled();
        if settled && (!was_ready || turn == Turn::Reload) {
            self.readiness.ready = true;
            news.push_str("READY=1\n");
        }
        // Once a second is often enough for who reads it, and there can be very many turns.
        if turn != Turn::Other || !was_ready {
            let status = self.in_words(now);
            if self.readiness.status != status || turn == Turn::Reload {
                news.push_str(&format!("STATUS={status}\n"));
                self.readiness.status = status;
            }
        }
        news
    }

    /// One line. A line break would end it.
    fn in_words(&self, now: Now) -> String {
        let mut words = match self.guarding.is_settled() {
            true => report::guard(self, now).summary(),
            false => "bringing up the guard".to_owned(),
        };
        if let Some((_, Some(_))) = &self.reload {
            words.push_str("; the last policy was refused");
        }
        let held = self.book.count().held_processes;
        if held > 0 {
            words.push_str(&format!("; {held} held: see `holdfast hold list`"));
        }
        if let Some(glass) = self.glass.open() {
            words.push_str(&format!("; a break-glass is open for zone {}", glass.zone));
        }
        words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::message::{Applied, Cause};
    use crate::daemon::{test_guarded, test_plan};
    use crate::kernel::{Coverage, Started};
    use holdfast_abi::Op;

    fn at(seconds: u64) -> Now {
        Now { boot_ns: seconds * 1_000_000_000, wall_ns: 0 }
    }

    fn applied(applied: Applied) -> Event {
        Event::Applied(Box::new(test_plan()), Cause::Start, Ok(applied), None)
    }

    fn proved(outcome: Result<(), String>) -> Event {
        Event::Proved(Coverage { ops: vec![(Op::Remove, outcome)], checks: vec![] })
    }

    fn turn(state: &mut State, event: Event) -> String {
        let turn = Turn::of(&event);
        let _ = state.handle(event, at(1));
        state.readiness_news(turn, at(1))
    }

    /// The self-test has tried every op by then.
    #[test]
    fn ready_once_after_complete_self_test() {
        let mut state = State::new(test_plan(), at(1));
        assert_eq!(turn(&mut state, Event::CaughtUp), "STATUS=bringing up the guard\n");
        assert_eq!(turn(&mut state, Event::GuardStarted(Ok(Started::Fresh))), "");
        assert_eq!(turn(&mut state, applied(Applied::InForce(vec![]))), "");
        assert_eq!(
            turn(&mut state, proved(Ok(()))),
            "READY=1\nSTATUS=GUARD UP, 0 of 1 zones enforcing; without any directory: customers\n"
        );
        assert_eq!(turn(&mut state, proved(Ok(()))), "");
    }

    #[test]
    fn host_without_a_guard_is_ready() {
        let mut state = State::new(test_plan(), at(1));
        let news = turn(&mut state, Event::GuardStarted(Err("no BPF LSM\nhere".to_owned())));
        assert_eq!(news, "READY=1\nSTATUS=GUARD DOWN: no BPF LSM\n");
    }

    /// It is told in the status.
    #[test]
    fn failed_self_test_stays_ready() {
        let mut state = test_guarded();
        let _ = state.readiness_news(Turn::Other, at(1));
        let news = turn(&mut state, proved(Err("it was removed".to_owned())));
        assert_eq!(news, "", "the words are found once a second, and not in every turn");
        let news = turn(&mut state, Event::Tick);
        assert!(news.starts_with("WATCHDOG=1\nSTATUS=GUARD DOWN: "), "{news}");
    }

    #[test]
    fn only_a_tick_feeds_the_watchdog() {
        let mut state = test_guarded();
        let _ = state.readiness_news(Turn::Other, at(1));
        for (event, fed) in [
            (Event::Tick, true),
            (Event::CaughtUp, false),
            (Event::Pace, false),
            (Event::HangUp, false),
        ] {
            let news = turn(&mut state, event);
            assert_eq!(news.contains("WATCHDOG=1\n"), fed, "{news}");
        }
    }

    #[test]
    fn reload_begin_and_end_are_announced() {
        let mut state = test_guarded();
        let _ = state.readiness_news(Turn::Other, at(1));
        let actions = state.handle(Event::HangUp, at(1));
        let told = format!("{actions:?}");
        assert!(told.contains("RELOADING=1"), "{told}");
        let news = state.readiness_news(Turn::Reload, at(1));
        assert_eq!(
            news,
            "READY=1\nSTATUS=GUARD UP, 0 of 1 zones enforcing; without any directory: customers\n"
        );
    }
}
