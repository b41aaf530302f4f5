//! Sizes and lengths of time as people write them. It knows units, not what they are used for.

use std::fmt;
use std::time::Duration;

use crate::break_glass;
use crate::budget::TenantCountsAfter;
use crate::model::{MAX_HOLD_TIMEOUT, MIN_HOLD_TIMEOUT};
use crate::problem::Fault;
use crate::signing::{MAX_MAX_LENGTH, MIN_MAX_LENGTH};
use crate::words::{choice, quoted};

/// A kind of value that is written as a whole number and a unit.
struct Kind {
    noun: &'static str,
    /// What its units are units of.
    of: &'static str,
    units: &'static [(&'static str, u64)],
    hint: &'static str,
}

/// Bytes.
const SIZE: Kind = Kind {
    noun: "size",
    of: "size",
    units: &[
        ("B", 1),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
    ],
    hint: "write a whole number and one unit, such as `512KiB`, `300MB` or `2GiB`",
};

/// Seconds.
const TIME: Kind = Kind {
    noun: "length of time",
    of: "time",
    units: &[("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)],
    hint: "write a whole number and one unit, such as `30s`, `10m`, `24h` or `7d`",
};

/// Files.
const FILES: Kind = Kind {
    noun: "number of files",
    of: "files",
    units: &[("files", 1), ("file", 1)],
    hint: "write a whole number and its unit, such as `100 files`",
};

const SECOND_NS: u64 = 1_000_000_000;

/// The largest number a policy can contain, so that sums of two never wrap.
pub(crate) const MAX_NUMBER: u64 = i64::MAX as u64;

/// The length of a budget's window: whole seconds, from [`Window::MIN`] to [`Window::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    seconds: u64,
}

impl Window {
    /// One second.
    pub const MIN: Self = Self { seconds: 1 };
    /// 400 days: a year and some margin.
    pub const MAX: Self = Self { seconds: 400 * 86_400 };
    /// How long a trip lasts at most if the policy does not say.
    pub const TEN_MINUTES: Self = Self { seconds: 600 };

    /// Reads a length of time such as `10m`.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let seconds = TIME.read(text)?;
        let window = Self { seconds };
        if window < Self::MIN || window > Self::MAX {
            return Err(Fault::new(
                format!("a window of {} is out of bounds", quoted(text)),
                format!("a window lasts from {} to {}", Self::MIN, Self::MAX),
            ));
        }
        Ok(window)
    }

    /// Its length in nanoseconds.
    pub const fn ns(self) -> u64 {
        self.seconds * SECOND_NS
    }

    /// Its length in seconds.
    pub const fn seconds(self) -> u64 {
        self.seconds
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&TIME.write(self.seconds))
    }
}

/// Reads how long a process can be held, such as `30m`.
pub(crate) fn parse_hold_timeout(text: &str) -> Result<Duration, Fault> {
    between(text, "hold timeout", MIN_HOLD_TIMEOUT, MAX_HOLD_TIMEOUT, |min, max| {
        format!("a process can be held for {min} to {max} before it is denied after all")
    })
}

/// Reads how long an allowance can be good, such as `8h`.
pub(crate) fn parse_max_length(text: &str) -> Result<Duration, Fault> {
    between(text, "longest allowance", MIN_MAX_LENGTH, MAX_MAX_LENGTH, |min, max| {
        format!("the longest an allowance can be good is from {min} to {max}")
    })
}

/// Reads how long a break-glass can be open, such as `1h`.
pub(crate) fn parse_break_glass_length(text: &str) -> Result<Duration, Fault> {
    between(
        text,
        "longest break-glass",
        break_glass::MIN_LENGTH,
        break_glass::MAX_LENGTH,
        |min, max| format!("the longest a break-glass can be open is from {min} to {max}"),
    )
}

/// Reads a length of time such as `15m`, of any number of seconds.
pub fn parse_time(text: &str) -> Result<Duration, Fault> {
    TIME.read(text).map(Duration::from_secs)
}

/// A length of time within bounds.
fn between(
    text: &str,
    what: &str,
    min: Duration,
    max: Duration,
    help: impl Fn(String, String) -> String,
) -> Result<Duration, Fault> {
    let time = Duration::from_secs(TIME.read(text)?);
    if !(min..=max).contains(&time) {
        let message = format!("a {what} of {} is out of bounds", quoted(text));
        return Err(Fault::new(message, help(format_time(min), format_time(max))));
    }
    Ok(time)
}

/// A length of whole seconds in the largest unit that shows it exactly.
pub fn format_time(time: Duration) -> String {
    TIME.write(time.as_secs())
}

/// Reads a size such as `2GiB`, in bytes.
pub fn parse_bytes(text: &str) -> Result<u64, Fault> {
    let bytes = SIZE.read(text)?;
    if bytes > MAX_NUMBER {
        return Err(Fault::new(
            format!("{} is more than any filesystem holds", quoted(text)),
            format!("the largest size is {MAX_NUMBER} bytes (just under 8388608TiB)"),
        ));
    }
    Ok(bytes)
}

/// The size in the largest unit that shows it exactly.
pub fn format_bytes(bytes: u64) -> String {
    SIZE.write(bytes)
}

/// Reads what a tenant has to lose until it counts: files, or else bytes.
pub(crate) fn parse_counts_after(text: &str) -> Result<TenantCountsAfter, Fault> {
    let is_size = SIZE.units.iter().any(|(unit, _)| text.ends_with(unit));
    let (after, amount) = if is_size {
        let bytes = SIZE.read(text)?;
        (TenantCountsAfter::Bytes(bytes), bytes)
    } else {
        let files = FILES.read(text).map_err(|fault| {
            let help = "write files or a size, such as `100 files` or `50MiB`";
            Fault::new(fault.message, help)
        })?;
        (TenantCountsAfter::Files(files), files)
    };
    if amount == 0 || amount > MAX_NUMBER {
        let message = format!("a tenant cannot count after {}", quoted(text));
        let help = "a tenant that has lost nothing is not touched: write `1 file` or more";
        return Err(Fault::new(message, help));
    }
    Ok(after)
}

impl Kind {
    /// The value in the smallest unit; what is too large to be counted becomes `u64::MAX`.
    fn read(&self, text: &str) -> Result<u64, Fault> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim_start_matches(' ');
        if number.is_empty() || !unit.chars().all(char::is_alphabetic) {
            return Err(Fault::new(format!("{} is not a {}", quoted(text), self.noun), self.hint));
        }
        if unit.is_empty() {
            return Err(Fault::new(format!("{} has no unit", quoted(text)), self.hint));
        }
        let Some((_, scale)) = self.units.iter().find(|(word, _)| *word == unit) else {
            return Err(self.unknown(unit));
        };
        // Only digits: the one thing that can go wrong is that there are too many.
        Ok(number.parse().unwrap_or(u64::MAX).saturating_mul(*scale))
    }

    fn unknown(&self, unit: &str) -> Fault {
        let message = format!("{} is not a unit of {}", quoted(unit), self.of);
        let words: Vec<&str> = self.units.iter().map(|(word, _)| *word).collect();
        if let Some(word) = words.iter().find(|word| word.eq_ignore_ascii_case(unit)) {
            return Fault::new(message, format!("units are case-sensitive: write `{word}`"));
        }
        let initial = |word: &str| word.chars().next().map(|c| c.to_ascii_lowercase());
        let near = |word: &&str| initial(word) == initial(unit);
        let meant: Vec<&str> = words.iter().copied().filter(near).collect();
        let all = format!("possible here: {}", choice(&words));
        match meant[..] {
            [] => Fault::new(message, all),
            _ => Fault::new(message, format!("did you mean {}? {all}", choice(&meant))),
        }
    }

    /// The value in the largest unit that shows it exactly.
    fn write(&self, value: u64) -> String {
        let (unit, scale) = self.unit_for(value);
        format!("{}{unit}", value / scale)
    }

    /// The largest unit that shows the value exactly, and its scale.
    fn unit_for(&self, value: u64) -> (&'static str, u64) {
        let exact = self.units.iter().filter(|(_, scale)| value.is_multiple_of(*scale));
        let largest = exact.max_by_key(|(_, scale)| *scale).copied();
        largest.filter(|_| value != 0).unwrap_or(self.units[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn windows_in_every_unit() {
        for (text, seconds) in [("1s", 1), ("10m", 600), ("24h", 86_400), ("400d", 34_560_000)] {
            assert_eq!(Window::parse(text).unwrap().seconds(), seconds, "{text}");
        }
        assert_eq!(Window::parse("10 m").unwrap().ns(), 600_000_000_000);
    }

    #[test]
    fn sizes_in_every_unit() {
        for (text, bytes) in [
            ("1B", 1),
            ("2KiB", 2_048),
            ("2KB", 2_000),
            ("1MiB", 1_048_576),
            ("1MB", 1_000_000),
            ("2GiB", 2_147_483_648),
            ("3GB", 3_000_000_000),
            ("1TiB", 1_099_511_627_776),
            ("1TB", 1_000_000_000_000),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn invalid_window_says_why() {
        for (text, message) in [
            ("", "`` is not a length of time"),
            ("ten minutes", "`ten minutes` is not a length of time"),
            ("10", "`10` has no unit"),
            ("10min", "`min` is not a unit of time"),
            ("1h30m", "`1h30m` is not a length of time"),
            ("1.5h", "`1.5h` is not a length of time"),
            ("-1h", "`-1h` is not a length of time"),
            ("0s", "a window of `0s` is out of bounds"),
            ("401d", "a window of `401d` is out of bounds"),
            ("18446744073709551615d", "a window of `18446744073709551615d` is out of bounds"),
            ("99999999999999999999s", "a window of `99999999999999999999s` is out of bounds"),
        ] {
            assert_eq!(Window::parse(text).unwrap_err().message, message);
        }
    }

    /// A hold timeout is between ten seconds and a week.
    #[test]
    fn hold_timeout_has_bounds() {
        for (text, seconds) in [("10s", 10), ("30m", 1_800), ("7d", 604_800), ("168h", 604_800)] {
            assert_eq!(parse_hold_timeout(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["0s", "9s", "604801s", "8d", "99999999999999999999d"] {
            let fault = parse_hold_timeout(text).unwrap_err();
            assert_eq!(fault.message, format!("a hold timeout of `{text}` is out of bounds"));
            assert!(fault.help.contains("10s to 7d"), "{fault}");
        }
        assert_eq!(parse_hold_timeout("30").unwrap_err().message, "`30` has no unit");
    }

    #[test]
    fn invalid_size_says_why() {
        for (text, message, help) in [
            ("2G", "`G` is not a unit of size", "did you mean `GiB` or `GB`?"),
            ("2gib", "`gib` is not a unit of size", "write `GiB`"),
            ("2", "`2` has no unit", "2GiB"),
            ("lots", "`lots` is not a size", "2GiB"),
            ("8388608TiB", "`8388608TiB` is more than any filesystem holds", "largest"),
        ] {
            let fault = parse_bytes(text).unwrap_err();
            assert_eq!(fault.message, message);
            assert!(fault.help.contains(help), "{fault:?}");
        }
    }

    proptest! {
        #[test]
        fn windows_round_trip(seconds in 1..=Window::MAX.seconds()) {
            let window = Window { seconds };
            prop_assert_eq!(Window::parse(&window.to_string()), Ok(window));
        }

        #[test]
        fn hold_timeouts_round_trip(seconds in 10..=604_800u64) {
            let timeout = Duration::from_secs(seconds);
            prop_assert_eq!(parse_hold_timeout(&format_time(timeout)), Ok(timeout));
        }

        #[test]
        fn sizes_round_trip(number in 0..=MAX_NUMBER, shift in 0..63u32) {
            let bytes = number >> shift << (shift / 2);
            prop_assert_eq!(parse_bytes(&format_bytes(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_makes_units_panic(text in ".{0,20}") {
            let _ = (Window::parse(&text), parse_bytes(&text), parse_hold_timeout(&text));
        }
    }
}
