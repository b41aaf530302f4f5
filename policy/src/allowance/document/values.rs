//! The values of an allowance's own fields: names, texts, hosts, times and digests.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::value::{Datetime, Offset};

use crate::allowance::{Hosts, utc};
use crate::problem::{Fault, Mistakes};
use crate::raw::{At, Field};
use crate::resolve::fields::{required, shown_as_it_is, take};
use crate::words::quoted;

/// Longest id.
const MAX_ID: usize = 64;
/// Longest reason, in characters.
const MAX_REASON: usize = 500;
/// Longest name a Linux host can have (`__NEW_UTS_LEN`).
const MAX_HOST: usize = 64;

pub(super) fn id(text: &str) -> Result<String, Fault> {
    let first = |c: char| c.is_ascii_alphanumeric();
    let other = |c: char| first(c) || matches!(c, '.' | '_' | '-');
    if text.len() > MAX_ID || !text.starts_with(first) || !text.chars().all(other) {
        let help = "an id has 1 to 64 characters: a-z, A-Z, 0-9, `.`, `_` and `-`, a letter or \
                    digit first";
        return Err(Fault::new(format!("{} cannot be an id", quoted(text)), help));
    }
    Ok(text.to_owned())
}

pub(super) fn reason(text: &str) -> Result<String, Fault> {
    let help = "say in one line what is done and why: it is what people sign";
    if text.trim().is_empty() {
        return Err(Fault::new("the reason is empty", help));
    }
    if text.contains(['\n', '\r']) {
        return Err(Fault::new("the reason has more than one line", help));
    }
    let length = text.chars().count();
    if length > MAX_REASON {
        let message = format!("the reason has {length} characters, {MAX_REASON} can be");
        return Err(Fault::new(message, help));
    }
    shown_as_it_is(text)?;
    Ok(text.to_owned())
}

pub(super) fn hosts(given: &At<Vec<At<String>>>, mistakes: &mut Mistakes) -> Option<Hosts> {
    if given.value.is_empty() {
        let message = "an allowance for no host allows nothing";
        let help = "name the hosts, as in `hosts = [\"web1\"]`";
        mistakes.wrong(&given.span, Fault::new(message, help));
    }
    if let Some(any) = given.value.iter().find(|item| item.value == "*") {
        if given.value.len() == 1 {
            return Some(Hosts::Any);
        }
        let help = "`*` is every host: write it alone, or better the names only";
        mistakes.wrong(&any.span, Fault::new("`*` and names cannot stand together", help));
        return None;
    }
    let names: BTreeSet<String> =
        given.value.iter().filter_map(|item| take(host(&item.value), item, mistakes)).collect();
    (!names.is_empty()).then_some(Hosts::These(names))
}

/// A host's name or machine id, in small letters.
fn host(text: &str) -> Result<String, Fault> {
    let help =
        "write what `uname -n` says there, such as `web1`, or the 32 digits of /etc/machine-id";
    if text.contains(['*', '?', '[', '{']) {
        let message = format!("{} is a pattern, and hosts are named one by one", quoted(text));
        return Err(Fault::new(message, help));
    }
    let first = |c: char| c.is_ascii_alphanumeric();
    let other = |c: char| first(c) || matches!(c, '.' | '_' | '-');
    if text.len() > MAX_HOST || !text.starts_with(first) || !text.chars().all(other) {
        return Err(Fault::new(format!("{} cannot be a host", quoted(text)), help));
    }
    let name = text.to_ascii_lowercase();
    if name == "localhost" || name.starts_with("localhost.") {
        let message = format!("{} is what any host may be called", quoted(text));
        return Err(Fault::new(message, help));
    }
    Ok(name)
}

/// Seconds since 1970.
pub(super) fn time(time: &Datetime) -> Result<i64, Fault> {
    let example = "as in 2026-07-01T22:00:00+02:00 or 2026-07-01T20:00:00Z";
    let wrong = |message: &str| Fault::new(message, format!("write {example}"));
    let Some(date) = time.date else {
        return Err(wrong("this time has no date"));
    };
    let Some(clock) = time.time else {
        return Err(wrong("this date has no time"));
    };
    let Some(second) = clock.second else {
        return Err(wrong("this time has no seconds"));
    };
    let Some(offset) = time.offset else {
        let help = format!(
            "add `Z` for UTC or an offset, {example}: else each host could mean another time"
        );
        return Err(Fault::new("this time has no zone", help));
    };
    if clock.nanosecond.unwrap_or(0) != 0 || second > 59 {
        return Err(wrong("this time is not a whole second of a minute"));
    }
    let minutes = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let days = utc::days(i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let [hour, minute, second] = [clock.hour, clock.minute, second].map(i64::from);
    let seconds = days * 86_400 + hour * 3_600 + (minute - minutes) * 60 + second;
    if !(0..=utc::LATEST).contains(&seconds) {
        return Err(wrong("this time is out of bounds: a year from 1970 to 9999 is meant"));
    }
    Ok(seconds)
}

/// A field that has to be there and hold a digest.
pub(super) fn required_sha256(
    field: &Field<String>,
    span: &Range<usize>,
    what: &str,
    name: &str,
    mistakes: &mut Mistakes,
) -> Option<String> {
    let example = format!("{name} = \"64 digits of `sha256sum`\"");
    let given = required(field, span, what, name, &example, mistakes)?;
    take(sha256(&given.value), given, mistakes)
}

fn sha256(text: &str) -> Result<String, Fault> {
    let digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 64 || !text.bytes().all(digit) {
        let message = format!("{} cannot be a SHA-256", quoted(text));
        return Err(Fault::new(message, "write the 64 digits 0-9 and a-f that `sha256sum` prints"));
    }
    Ok(text.to_owned())
}
