//! How long somebody waits for the answer to a wrong code, and how often the audit log hears of it.
//! Pure: time comes in.
//!
//! A right code is never kept waiting: it is recognised first. What slows a guesser down is not
//! what keeps codes safe (they have 120 random bits); it keeps the noise down, and gives people
//! time.

use std::time::Duration;

/// The wait after the first wrong code; it doubles with each one.
const FIRST: Duration = Duration::from_millis(250);
/// Nobody waits longer.
const LONGEST: Duration = Duration::from_secs(10);
/// So many wait at once; further wrong ones are told at once.
const MOST_WAITING: usize = 8;
/// After so long without a wrong code, half of them are forgotten.
const FORGET: u64 = 600_000_000_000;
/// The audit log hears of wrong codes at most this often.
const TELL: u64 = 60_000_000_000;
/// So many wrong codes of late are somebody who guesses.
const GUESSING: u32 = 10;

/// What is remembered of wrong codes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backoff {
    /// Of late.
    wrong: u32,
    /// When the last one was, boot-time nanoseconds, or half of them were forgotten.
    since_ns: u64,
    /// Until when those wait who wait.
    waiting: Vec<u64>,
    told_ns: Option<u64>,
    untold: u64,
}

impl Backoff {
    /// One more wrong code. How long its answer waits.
    pub(super) fn wrong(&mut self, now_ns: u64) -> Duration {
        self.forget(now_ns);
        let doublings = self.wrong.min(16);
        self.wrong = self.wrong.saturating_add(1);
        self.since_ns = now_ns;
        self.untold += 1;
        self.waiting.retain(|until| *until > now_ns);
        if self.waiting.len() >= MOST_WAITING {
            return Duration::ZERO;
        }
        let delay = FIRST.saturating_mul(1 << doublings).min(LONGEST);
        self.waiting.push(now_ns.saturating_add(delay.as_nanos() as u64));
        delay
    }

    /// Wrong codes of late.
    pub(crate) fn recent(&self, now_ns: u64) -> u32 {
        let mut later = Self { waiting: Vec::new(), ..*self };
        later.forget(now_ns);
        later.wrong
    }

    /// Whether somebody guesses.
    pub(crate) fn is_guessing(&self, now_ns: u64) -> bool {
        self.recent(now_ns) >= GUESSING
    }

    /// How many wrong codes the audit log is to hear of now, if it is.
    pub(super) fn tell(&mut self, now_ns: u64) -> Option<u64> {
        let is_due = self.told_ns.is_none_or(|told| now_ns.saturating_sub(told) >= TELL);
        if self.untold == 0 || !is_due {
            return None;
        }
        self.told_ns = Some(now_ns);
        Some(std::mem::take(&mut self.untold))
    }

    fn forget(&mut self, now_ns: u64) {
        while self.wrong > 0 && now_ns.saturating_sub(self.since_ns) >= FORGET {
            self.wrong /= 2;
            self.since_ns += FORGET;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// The wait has an upper limit.
    #[test]
    fn wrong_codes_back_off_exponentially() {
        let mut backoff = Backoff::default();
        // One after another: each waits for its answer before it tries again.
        let mut now = SECOND;
        let mut waits = Vec::new();
        for _ in 0..10 {
            let wait = backoff.wrong(now);
            now += wait.as_nanos() as u64;
            waits.push(wait.as_millis());
        }
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000, 10_000, 10_000]);
        assert!(backoff.is_guessing(now));
    }

    /// The rest is answered at once.
    #[test]
    fn waiting_attempts_are_bounded() {
        let mut backoff = Backoff::default();
        let waits = (0..1000).map(|_| backoff.wrong(SECOND)).collect::<Vec<_>>();
        assert_eq!(waits.iter().filter(|wait| !wait.is_zero()).count(), MOST_WAITING);
        assert!(waits.iter().all(|wait| *wait <= LONGEST));
        assert!(!backoff.wrong(SECOND + 11 * SECOND).is_zero(), "there is room again");
    }

    #[test]
    fn they_are_forgotten_after_a_while() {
        let mut backoff = Backoff::default();
        (0..40).for_each(|_| {
            let _ = backoff.wrong(SECOND);
        });
        assert_eq!(backoff.recent(SECOND + FORGET - 1), 40);
        assert_eq!(backoff.recent(SECOND + FORGET), 20);
        assert!(!backoff.is_guessing(SECOND + 3 * FORGET));
        assert_eq!(backoff.recent(u64::MAX), 0);
        assert_eq!(backoff.wrong(SECOND + 10 * FORGET), FIRST, "as if it were the first");
    }

    /// The first is logged at once.
    #[test]
    fn guesses_are_logged_once_a_minute() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.tell(SECOND), None, "nothing has happened");
        let _ = backoff.wrong(SECOND);
        assert_eq!(backoff.tell(SECOND), Some(1));
        (0..999).for_each(|_| {
            let _ = backoff.wrong(2 * SECOND);
        });
        assert_eq!(backoff.tell(2 * SECOND), None);
        assert_eq!(backoff.tell(61 * SECOND), Some(999));
        assert_eq!(backoff.tell(200 * SECOND), None);
    }
}
