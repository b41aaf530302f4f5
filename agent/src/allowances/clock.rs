//! What time it is at least: the *floor*. An allowance is for a time, so whoever sets the clock
//! back would bring an old one back to life.
//!
//! The floor is the latest wall-clock time that was believed, carried on by boot time, which nobody
//! can set. It never falls. A reading is believed at once if it is at most a minute ahead of the
//! floor, otherwise only after the difference between wall clock and boot time has been steady for
//! ten minutes: a clock that jumps ahead for a moment must not make the right time look like the
//! past for ever. Pure: time comes in.

use serde::{Deserialize, Serialize};

use crate::clock::Now;

const SECOND: i64 = 1_000_000_000;
/// How far a clock may be behind the floor, or ahead of it, without being suspect.
const TOLERANCE: i64 = 60 * SECOND;
/// How long the clock has to be steady before a jump ahead is believed.
const STEADY: u64 = 600 * SECOND as u64;
/// What counts as steady from one reading to the next, whatever slews it.
const SLEW: i64 = 2 * SECOND;
/// Boot time may be fast by one part in so many (500 ppm, the most that adjtimex(2) corrects a
/// frequency by): a host whose clock is put right by a second or two every day must not end up
/// behind its own floor.
const DRIFT: i64 = 2000;
/// The floor is written to the disk this often.
const SAVE_EVERY: u64 = 60 * SECOND as u64;

/// The floor as it is kept on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Floor {
    /// Nanoseconds since 1970 UTC.
    pub(crate) wall_ns: i64,
    /// Boot time then.
    pub(crate) boot_ns: u64,
    /// Which boot.
    pub(crate) boot_id: String,
}

/// What is known about the time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    /// The floor, and the boot time at which it was that; `None` before anything was believed.
    floor: Option<(i64, u64)>,
    /// Since when the clock is steady, and its last distance from boot time.
    steady: Option<(u64, i64)>,
    /// When the floor was saved last.
    saved: Option<u64>,
}

impl Clock {
    /// What an agent before this one knew.
    pub(crate) fn load(floor: Option<&Floor>, boot_id: &str, now: Now) -> Self {
        let carried = floor.map(|floor| {
            // All of another boot's floor was before this boot began.
            let since = if floor.boot_id == boot_id { floor.boot_ns } else { 0 };
            (carry(floor.wall_ns, now.boot_ns.saturating_sub(since)), now.boot_ns)
        });
        Self { floor: carried, ..Self::default() }
    }

    /// Takes note of a reading.
    pub(crate) fn read(&mut self, now: Now) {
        let distance = now.wall_ns.saturating_sub(signed(now.boot_ns));
        let since = match self.steady {
            Some((since, last)) if distance.abs_diff(last) <= SLEW as u64 => since,
            Some(_) | None => now.boot_ns,
        };
        self.steady = Some((since, distance));
        let is_steady = now.boot_ns.saturating_sub(since) >= STEADY;
        let floor = self.floor_at(now);
        let is_near = floor.is_some_and(|floor| now.wall_ns <= floor.saturating_add(TOLERANCE));
        let floor = if is_steady || is_near {
            Some(floor.unwrap_or(now.wall_ns).max(now.wall_ns))
        } else {
            floor
        };
        self.floor = floor.map(|floor| (floor, now.boot_ns));
    }

    /// Believes a reading at once: an allowance was opened at that time. People have signed for it,
    /// so that it cannot be further ahead of the right time than the allowance is long.
    pub(crate) fn believe(&mut self, now: Now) {
        let floor = self.floor_at(now).unwrap_or(now.wall_ns).max(now.wall_ns);
        self.floor = Some((floor, now.boot_ns));
    }

    /// Nanoseconds since 1970 UTC that it is at least.
    pub(crate) fn floor_at(&self, now: Now) -> Option<i64> {
        let (floor, at) = self.floor?;
        Some(carry(floor, now.boot_ns.saturating_sub(at)))
    }

    /// The floor, if the clock is behind it by more than it may be.
    pub(crate) fn set_back(&self, now: Now) -> Option<i64> {
        self.floor_at(now).filter(|floor| now.wall_ns.saturating_add(TOLERANCE) < *floor)
    }

    /// Whether it is time to write the floor to the disk.
    pub(crate) fn wants_save(&self, now: Now) -> bool {
        let is_due = |saved| now.boot_ns.saturating_sub(saved) >= SAVE_EVERY;
        self.floor.is_some() && self.saved.is_none_or(is_due)
    }

    /// It was written.
    pub(crate) fn saved(&mut self, now: Now) {
        self.saved = Some(now.boot_ns);
    }

    /// What to write.
    pub(crate) fn to_save(&self, boot_id: &str, now: Now) -> Option<Floor> {
        let wall_ns = self.floor_at(now)?;
        Some(Floor { wall_ns, boot_ns: now.boot_ns, boot_id: boot_id.to_owned() })
    }
}

/// The floor so much boot time later.
fn carry(floor: i64, elapsed: u64) -> i64 {
    let elapsed = signed(elapsed);
    floor.saturating_add(elapsed - elapsed / DRIFT)
}

fn signed(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01.
    const DAY: i64 = 1_767_225_600;

    fn at(boot: u64, wall: i64) -> Now {
        Now { boot_ns: boot * SECOND as u64, wall_ns: wall * SECOND }
    }

    /// A clock that was right for an hour, from boot time 0.
    fn right() -> Clock {
        let mut clock = Clock::default();
        (0..=3600).for_each(|second| clock.read(at(second, DAY + second as i64)));
        clock
    }

    fn reboot(clock: &Clock, off: Now, on: Now) -> Clock {
        Clock::load(clock.to_save("first", off).as_ref(), "second", on)
    }

    /// Before any time is known, no clock is behind.
    #[test]
    fn first_steady_time_becomes_the_floor() {
        let mut clock = Clock::default();
        clock.read(at(1, DAY));
        assert_eq!(clock.floor_at(at(1, DAY)), None);
        assert_eq!(clock.set_back(at(2, 0)), None);
        (2..=601).for_each(|second| clock.read(at(second, DAY + second as i64 - 1)));
        assert!(clock.floor_at(at(601, DAY + 600)).is_some());
        assert!(clock.set_back(at(602, DAY - 100)).is_some());
    }

    #[test]
    fn opening_time_is_believed_at_once() {
        let mut clock = Clock::default();
        clock.read(at(1, DAY));
        clock.believe(at(5, DAY + 4));
        assert!(clock.set_back(at(6, DAY - 3600)).is_some());
        let saved = clock.to_save("first", at(7, DAY - 3600));
        let clock = Clock::load(saved.as_ref(), "second", at(1, DAY - 3600));
        assert!(clock.set_back(at(1, DAY - 3600)).is_some(), "after a reboot, too");
        // It never falls.
        let mut clock = right();
        clock.believe(at(3601, DAY));
        assert!(clock.set_back(at(3601, DAY)).is_some());
    }

    #[test]
    fn reboot_into_past_is_detected() {
        let off = at(3600, DAY + 3600);
        let clock = reboot(&right(), off, at(10, DAY - 86_400));
        assert!(clock.set_back(at(10, DAY - 86_400)).is_some());
        assert!(clock.set_back(at(10, DAY + 3500)).is_some(), "110 seconds");
        assert_eq!(
            clock.set_back(at(10, DAY + 3600)),
            None,
            "10 seconds: some clocks are read late"
        );
        let mut clock = clock;
        (10..=1000).for_each(|second| clock.read(at(second, DAY - 86_400 + second as i64)));
        let still = clock.set_back(at(1000, DAY - 86_400 + 1000));
        assert!(still.is_some(), "however long it stays wrong");
    }

    #[test]
    fn agent_restart_keeps_the_floor() {
        let saved = right().to_save("first", at(3600, DAY + 3600));
        let clock = Clock::load(saved.as_ref(), "first", at(7200, DAY + 3600));
        assert!(clock.set_back(at(7200, DAY + 3600)).is_some(), "an hour has passed");
        assert_eq!(clock.set_back(at(7200, DAY + 7200)), None);
    }

    #[test]
    fn step_back_is_detected_at_once() {
        let mut clock = right();
        clock.read(at(3601, DAY + 3600 - 61 - 5));
        assert!(clock.set_back(at(3601, DAY + 3600 - 61 - 5)).is_some());
        assert_eq!(clock.set_back(at(3601, DAY + 3600 - 50)), None);
        (3602..=9000).for_each(|second| clock.read(at(second, DAY - 10_000 + second as i64)));
        assert!(clock.set_back(at(9000, DAY - 1000)).is_some());
    }

    #[test]
    fn brief_jump_ahead_leaves_no_mark() {
        let mut clock = right();
        let year = 366 * 86_400;
        (3601..=4100).for_each(|second| clock.read(at(second, DAY + year + second as i64)));
        clock.read(at(4101, DAY + 4101));
        assert_eq!(clock.set_back(at(4101, DAY + 4101)), None);
        assert!(clock.set_back(at(4101, DAY + 3900)).is_some(), "the floor went on");
    }

    #[test]
    fn lasting_jump_ahead_is_believed() {
        let mut clock = right();
        (3601..=4201).for_each(|second| clock.read(at(second, DAY + 86_400 + second as i64)));
        assert!(clock.set_back(at(4202, DAY + 4202)).is_some());
    }

    /// NTP may step by seconds, and correct a fast clock for months.
    #[test]
    fn ntp_may_step_and_slew() {
        let mut clock = right();
        clock.read(at(3601, DAY + 3601 - 5));
        assert_eq!(clock.set_back(at(3601, DAY + 3601 - 5)), None);
        let (mut boot, mut wall) = (3601, DAY + 3601);
        for _ in 0..365 {
            // Two seconds fast in a day, put right once a day.
            for _ in 0..24 {
                (boot, wall) = (boot + 3600, wall + 3600);
                clock.read(at(boot, wall));
                assert_eq!(clock.set_back(at(boot, wall)), None);
            }
            wall -= 2;
            clock.read(at(boot, wall));
            assert_eq!(clock.set_back(at(boot, wall)), None);
        }
    }

    #[test]
    fn suspend_counts_as_time() {
        let mut clock = right();
        clock.read(at(3600 + 28_800, DAY + 3600 + 28_800));
        assert!(clock.set_back(at(32_401, DAY + 3600)).is_some());
        assert_eq!(clock.set_back(at(32_401, DAY + 32_401)), None);
    }

    #[test]
    fn it_is_saved_once_a_minute() {
        let mut clock = right();
        let now = at(3600, DAY + 3600);
        assert!(clock.wants_save(now));
        clock.saved(now);
        assert!(!clock.wants_save(at(3659, DAY + 3659)));
        assert!(clock.wants_save(at(3660, DAY + 3660)));
        assert!(!Clock::default().wants_save(now), "there is nothing to save");
    }
}
