//! Times as one gives them on the command line. It reads no clock.

use crate::clock::days_from_civil;

/// What a time looks like.
pub(in crate::cli) const EXAMPLE: &str =
    "write it as in 2026-07-01T22:00:00+02:00 or 2026-07-01T20:00Z";

/// Seconds since 1970 of a time in the form of RFC 3339; the seconds can be left out, the zone
/// cannot.
pub(in crate::cli) fn parse(text: &str) -> Result<i64, String> {
    read(text).ok_or_else(|| format!("`{text}` is not a date and time with a zone ({EXAMPLE})"))
}

/// A time for people, such as `2026-07-01T20:00:00Z`.
pub(in crate::cli) fn show(seconds: i64) -> String {
    holdfast_policy::allowance::utc(seconds)
}

fn read(text: &str) -> Option<i64> {
    if !text.is_ascii() {
        return None;
    }
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, zone) = rest.split_at(rest.find(['Z', 'z', '+', '-'])?);
    let [year, month, day] = numbers(date, '-', &[4, 2, 2])?[..] else { return None };
    let clock = if clock.len() == 5 { format!("{clock}:00") } else { clock.to_owned() };
    let [hour, minute, second] = numbers(&clock, ':', &[2, 2, 2])?[..] else { return None };
    let in_bounds = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=length_of_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let of_day = hour * 3600 + minute * 60 + second;
    in_bounds.then_some(())?;
    Some(days_from_civil(year, month, day) * 86_400 + of_day - offset(zone)?)
}

/// Seconds a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, rest) = zone.split_at_checked(1)?;
    let [hours, minutes] = numbers(rest, ':', &[2, 2])?[..] else { return None };
    let seconds = hours * 3600 + minutes * 60;
    (hours < 24 && minutes < 60).then_some(if sign == "-" { -seconds } else { seconds })
}

/// Numbers of so many digits each.
fn numbers(text: &str, separator: char, digits: &[usize]) -> Option<Vec<i64>> {
    let parts: Vec<&str> = text.split(separator).collect();
    let fits = |(part, digits): (&&str, &usize)| {
        part.len() == *digits && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    (parts.len() == digits.len() && parts.iter().zip(digits).all(fits)).then_some(())?;
    parts.iter().map(|part| part.parse().ok()).collect()
}

fn length_of_month(year: i64, month: i64) -> i64 {
    let next = if month == 12 {
        days_from_civil(year + 1, 1, 1)
    } else {
        days_from_civil(year, month + 1, 1)
    };
    next - days_from_civil(year, month, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_are_known() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T02:00+02:00", 0),
            ("1970-01-01 00:00:00-01:30", 5400),
            ("2012-06-20T00:00:00z", 1_340_150_400),
            ("2000-02-29T00:00:00Z", 951_782_400),
        ] {
            assert_eq!(parse(text), Ok(seconds), "{text}");
        }
        assert_eq!(show(1_340_150_400), "2012-06-20T00:00:00Z");
    }

    #[test]
    fn invalid_time_is_refused_with_example() {
        for text in [
            "",
            "now",
            "2026-07-01",
            "2026-07-01T22:00:00",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-07-01T24:00:00Z",
            "2026-07-01T22:00:00+2:00",
            "2026-07-01T22:00:00+02:00x",
            "2026-07-01T+2:00:00Z",
            "2026-07-0äT22:00:00Z",
        ] {
            assert!(parse(text).is_err_and(|error| error.contains(EXAMPLE)), "{text:?}");
        }
    }
}
