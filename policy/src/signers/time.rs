//! Times as `allowed_signers` has them: `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, and `Z` for
//! UTC. It knows no clock and no time zone.

use crate::problem::Fault;
use crate::words::quoted;

/// Seconds since 1970 UTC.
pub(super) fn parse(text: &str) -> Result<i64, Fault> {
    let wrong =
        |message: String| Fault::new(message, "write it as in `20261231Z` or `202612312359Z`");
    let lower = text.to_ascii_lowercase();
    let utc = lower.strip_suffix('z').or_else(|| lower.strip_suffix("utc"));
    let digits = utc.unwrap_or(&lower);
    if ![8, 12, 14].contains(&digits.len()) || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return Err(wrong(format!("{} is not a time", quoted(text))));
    }
    if utc.is_none() {
        return Err(Fault::new(
            format!("{} is in the local time of whoever reads it", quoted(text)),
            format!("say which time zone: `{digits}Z` is UTC"),
        ));
    }
    let number = |from: usize, to: usize| -> i64 {
        digits.get(from..to).and_then(|part| part.parse().ok()).unwrap_or(0)
    };
    let (year, month, day) = (number(0, 4), number(4, 6), number(6, 8));
    let (hour, minute, second) = (number(8, 10), number(10, 12), number(12, 14));
    let exists = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !exists {
        return Err(wrong(format!("the calendar has no {}", quoted(text))));
    }
    let time = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    if time <= 0 {
        return Err(wrong(format!("{} is not after the beginning of 1970", quoted(text))));
    }
    Ok(time)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let leap_days = |before: i64| (before - 1) / 4 - (before - 1) / 100 + (before - 1) / 400;
    let years = (year - 1970) * 365 + leap_days(year) - leap_days(1970);
    years + (1..month).map(|month| days_in(year, month)).sum::<i64>() + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_what_date_says() {
        // `date -u -d '…' +%s`
        for (text, expected) in [
            ("19700102Z", 86_400),
            ("19700101000001z", 1),
            ("20000229Z", 951_782_400),
            ("20000301Z", 951_868_800),
            ("202612312359Z", 1_798_761_540),
            ("20261231235959UTC", 1_798_761_599),
            ("21000301Z", 4_107_542_400),
            ("99991231235959Z", 253_402_300_799),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_says_why() {
        let message = |text: &str| parse(text).unwrap_err().message;
        assert_eq!(message("20261231"), "`20261231` is in the local time of whoever reads it");
        assert_eq!(
            parse("202612312359").unwrap_err().help,
            "say which time zone: `202612312359Z` is UTC"
        );
        for text in ["", "Z", "2026Z", "2026-12-31Z", "2026123123Z", "+2026123Z", "20261231é"] {
            assert!(message(text).ends_with("is not a time"), "{text}");
        }
        for text in [
            "20260229Z",
            "21000229Z",
            "20261301Z",
            "20260001Z",
            "20260100Z",
            "202601012400Z",
            "202601010060Z",
            "20260101000060Z",
        ] {
            assert!(message(text).starts_with("the calendar has no"), "{text}");
        }
        for text in ["19700101Z", "19691231Z", "00000101Z"] {
            assert!(message(text).ends_with("is not after the beginning of 1970"), "{text}");
        }
    }
}
