//! The wall clock: read, written down as documents have it, and set wrong for a while.

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use super::sys;

/// Seconds since 1970, UTC.
pub(crate) fn now() -> i64 {
    clock_gettime(ClockId::Realtime).tv_sec
}

/// Boot-time nanoseconds.
pub(crate) fn boot_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// How the clock is set wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// settimeofday(2), as `date -s` does.
    Set,
    /// adjtimex(2) with an offset, as time daemons do.
    Adjust,
}

/// A wall clock that is wrong until this is dropped.
#[derive(Debug)]
pub(crate) struct WrongClock {
    shift: i64,
}

impl WrongClock {
    pub(crate) fn shifted(seconds: i64, way: Way) -> Result<Self> {
        match way {
            Way::Set => set(now() + seconds)?,
            Way::Adjust => sys::adjtimex_offset(seconds).context("adjtimex")?,
        }
        Ok(Self { shift: seconds })
    }
}

impl Drop for WrongClock {
    fn drop(&mut self) {
        set(now() - self.shift).ok();
    }
}

/// Sets the wall clock for good.
pub(crate) fn set(seconds: i64) -> Result<()> {
    clock_settime(ClockId::Realtime, Timespec { tv_sec: seconds, tv_nsec: 0 })
        .context("cannot set the clock")
}

/// A time as RFC 3339 has it, in UTC.
pub(crate) fn rfc3339(seconds: i64) -> String {
    let (days, time) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a number of days since 1970 (Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `civil_from_days`).
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_documents_have_them() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(rfc3339(1_340_150_400), "2012-06-20T00:00:00Z");
        assert_eq!(rfc3339(4_102_444_799), "2099-12-31T23:59:59Z");
    }
}
