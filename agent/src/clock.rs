//! Points in time. Every deadline is boot time; wall-clock time is only for people to read.
//!
//! Only [`Now::read`] reads a clock; everything else takes the time as a parameter.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::kernel;

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// Boot time, nanoseconds: the clock of events, windows and latches.
    pub(crate) boot_ns: u64,
    /// Nanoseconds since 1970-01-01 UTC.
    pub(crate) wall_ns: i64,
}

impl Now {
    /// Reads both clocks.
    pub(crate) fn read() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_ns = i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX);
        Self { boot_ns: kernel::boot_time_ns(), wall_ns }
    }

    /// The wall-clock time at boot time `boot_ns`, as far as this moment can tell.
    pub(crate) fn wall_at(&self, boot_ns: u64) -> String {
        let difference = i128::from(boot_ns) - i128::from(self.boot_ns);
        let wall = (i128::from(self.wall_ns) + difference).clamp(0, i128::from(i64::MAX));
        rfc3339(wall as i64)
    }

    /// This moment's wall-clock time.
    pub(crate) fn wall(&self) -> String {
        rfc3339(self.wall_ns)
    }

    /// Seconds since 1970-01-01 UTC.
    pub(crate) fn unix_seconds(&self) -> i64 {
        self.wall_ns / 1_000_000_000
    }

    /// How long ago `earlier` was; zero if it was not.
    pub(crate) fn since(&self, earlier: Now) -> Duration {
        Duration::from_nanos(self.boot_ns.saturating_sub(earlier.boot_ns))
    }
}

/// Nanoseconds since 1970 as RFC 3339 in UTC with milliseconds.
pub(crate) fn rfc3339(wall_ns: i64) -> String {
    let seconds = wall_ns.div_euclid(1_000_000_000);
    let millis = wall_ns.rem_euclid(1_000_000_000) / 1_000_000;
    let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Seconds since 1970 of a time as [`rfc3339`] writes it.
pub(crate) fn parse_rfc3339(text: &str) -> Option<i64> {
    parse_rfc3339_millis(text).map(|millis| millis.div_euclid(1000))
}

/// Milliseconds since 1970 of a time as [`rfc3339`] writes it: in UTC, with milliseconds.
pub(crate) fn parse_rfc3339_millis(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let shape = b"dddd-dd-ddTdd:dd:dd.dddZ";
    let fits = bytes.len() == shape.len()
        && bytes.iter().zip(shape).all(|(byte, wanted)| match wanted {
            b'd' => byte.is_ascii_digit(),
            other => byte == other,
        });
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    if !fits {
        return None;
    }
    let days = days_from_civil(number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let of_day = number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    Some((days * 86_400 + of_day) * 1000 + number(20, 23)?)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar (days_from_civil of the same source).
pub(crate) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// A duration in its two largest units, such as `2h 5m`.
pub(crate) fn words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar (H. Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", civil_from_days).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_827_696_789_000_000), "2000-02-29T12:34:56.789Z");
        assert_eq!(rfc3339(1_340_150_400_000_000_000), "2012-06-20T00:00:00.000Z");
        assert_eq!(rfc3339(4_107_542_399_999_999_999), "2100-02-28T23:59:59.999Z");
    }

    #[test]
    fn what_was_written_is_read_again() {
        for nanos in
            [0, 951_827_696_789_000_000, 1_340_150_400_000_000_000, 4_107_542_399_999_000_000]
        {
            assert_eq!(parse_rfc3339_millis(&rfc3339(nanos)), Some(nanos / 1_000_000));
        }
        for text in [
            "",
            "2012-06-20",
            "2012-06-20T00:00:00Z",
            "2012-06-20T00:00:00.000+",
            "2012-06-20T00:00:00.0\u{e4}Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn boot_time_translates_by_its_distance() {
        let now = Now { boot_ns: 5_000_000_000, wall_ns: 1_000_000_000_000 };
        assert_eq!(now.wall_at(65_000_000_000), rfc3339(1_060_000_000_000));
        assert_eq!(now.wall_at(4_000_000_000), rfc3339(999_000_000_000));
        assert_eq!(now.wall_at(0), rfc3339(995_000_000_000));
    }

    #[test]
    fn durations_in_words() {
        assert_eq!(words(Duration::from_secs(59)), "59s");
        assert_eq!(words(Duration::from_secs(3599)), "59m 59s");
        assert_eq!(words(Duration::from_secs(90_000)), "1d 1h");
    }
}
