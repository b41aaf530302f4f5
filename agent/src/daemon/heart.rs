//! The heartbeat: a thread of its own tells the kernel every second that somebody is there to let
//! paused processes go on. A slow disk, a long turn of the loop or a log that nobody reads does not
//! stop it.
//!
//! It vouches for the loop, so that it stops if the loop has hung for longer than the service
//! manager's watchdog waits (`WatchdogSec=` of holdfast.service): then nobody will let anybody go
//! on, and the kernel denies what it would hold.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tracing::{error, info};

use crate::clock::Now;
use crate::kernel::{Heart, boot_time_ns};

/// How often.
const EVERY: Duration = Duration::from_secs(1);
/// A loop that has not gone round for so long hangs.
const HANGS: Duration = Duration::from_secs(30);

/// When the loop went round last.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// The loop goes round.
    pub(super) fn note(&self, now: Now) {
        self.0.store(now.boot_ns, Ordering::Relaxed);
    }

    fn is_there(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.0.load(Ordering::Relaxed)) < HANGS.as_nanos() as u64
    }

    /// Starts the thread, which lasts as long as the agent.
    pub(super) fn vouch(&self, mut heart: Heart) -> io::Result<()> {
        let pulse = self.clone();
        let beat = move || heart.beat().map_err(|error| error.to_string());
        let run = move || {
            let mut state = Beats { beat, was_there: true, failing: false };
            loop {
                state.once(pulse.is_there(boot_time_ns()));
                thread::sleep(EVERY);
            }
        };
        thread::Builder::new().name("heart".to_owned()).spawn(run).map(drop)
    }
}

struct Beats<F> {
    beat: F,
    was_there: bool,
    failing: bool,
}

impl<F: FnMut() -> Result<(), String>> Beats<F> {
    /// Beats if the loop is there. Each change is said once.
    fn once(&mut self, is_there: bool) {
        let was_there = std::mem::replace(&mut self.was_there, is_there);
        if !is_there {
            if was_there {
                error!(
                    seconds = HANGS.as_secs(),
                    "the agent's loop hangs: the kernel is no longer told that somebody is there, \
                     and denies what it would hold"
                );
            }
            return;
        }
        if !was_there {
            info!("the agent's loop goes round again");
        }
        match (self.beat)() {
            Err(error) if !std::mem::replace(&mut self.failing, true) => {
                error!(
                    error,
                    "the kernel is not told that the agent is there: ops over budget are denied \
                     instead of paused"
                );
            }
            Ok(()) if std::mem::replace(&mut self.failing, false) => {
                info!("the kernel is told again that the agent is there");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now { boot_ns: seconds * 1_000_000_000, wall_ns: 0 }
    }

    #[test]
    fn slow_turn_keeps_the_heartbeat() {
        let pulse = Pulse::default();
        pulse.note(at(100));
        // Longer than the kernel waits for a beat (10 s), and than the watchdog waits for a turn
        // (20 s).
        for second in [99, 100, 111, 121, 129] {
            assert!(pulse.is_there(at(second).boot_ns), "{second}");
        }
    }

    #[test]
    fn a_loop_that_hangs_stops_it() {
        let pulse = Pulse::default();
        pulse.note(at(100));
        assert!(!pulse.is_there(at(130).boot_ns));
        let mut count = 0;
        let beat = || {
            count += 1;
            if count == 2 { Err("no".to_owned()) } else { Ok(()) }
        };
        let mut beats = Beats { beat, was_there: true, failing: false };
        for is_there in [true, true, false, false, true] {
            beats.once(is_there);
        }
        assert!(beats.was_there && !beats.failing);
        assert_eq!(count, 3, "none while nobody is there");
    }

    /// The service manager has to be the first to notice.
    #[test]
    fn the_watchdog_is_faster() {
        let unit = include_str!("../../dist/holdfast.service");
        let seconds = unit.lines().find_map(|line| line.strip_prefix("WatchdogSec="));
        let seconds = seconds.and_then(|text| text.strip_suffix('s')?.parse().ok());
        assert!(seconds.is_some_and(|seconds: u64| seconds < HANGS.as_secs()));
    }
}
