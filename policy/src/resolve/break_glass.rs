//! The emergency override: how far it may go, in which zones, and who can sign instead of a code.

use super::fields::{required, take};
use crate::break_glass::{BreakGlass, DEFAULT_MAX_LENGTH};
use crate::model::ZoneName;
use crate::problem::{Fault, Mistakes};
use crate::raw::{At, Field, RawBreakGlass, RawBytes};
use crate::signing::{person, same_person};
use crate::units::{MAX_NUMBER, parse_break_glass_length, parse_bytes};
use crate::words::{did_you_mean, quoted};

/// What could be read. `names` are those of all zones of the policy.
pub(super) fn resolve(
    raw: &Field<RawBreakGlass>,
    names: &[&str],
    mistakes: &mut Mistakes,
) -> Option<BreakGlass> {
    let Field::Given(At { value: raw, .. }) = raw else { return None };
    let zones = zones(raw, names, mistakes);
    let max_length = match &raw.max_length {
        Field::Given(given) => take(parse_break_glass_length(&given.value), given, mistakes),
        Field::Missing => Some(DEFAULT_MAX_LENGTH),
        Field::Bad => None,
    };
    let max_files = files(raw, mistakes);
    let max_bytes = bytes(raw, mistakes);
    let signers = signers(raw, mistakes);
    Some(BreakGlass {
        zones,
        max_length: max_length?,
        max_files: max_files?,
        max_bytes: max_bytes?,
        signers,
    })
}

/// `None`: every zone.
fn zones(raw: &RawBreakGlass, names: &[&str], mistakes: &mut Mistakes) -> Option<Vec<ZoneName>> {
    let Field::Given(given) = &raw.zones else { return None };
    let mut zones: Vec<ZoneName> = Vec::new();
    if given.value.is_empty() {
        let fault = Fault::new(
            "with no zones no break-glass could ever be opened",
            "name zones, leave `zones` out for every zone, or leave `[break_glass]` out for none",
        );
        mistakes.wrong(&given.span, fault);
    }
    for item in &given.value {
        let Some(name) = take(ZoneName::parse(&item.value), item, mistakes) else { continue };
        if !names.contains(&name.as_str()) {
            let message = format!("there is no zone {}", quoted(&item.value));
            mistakes.wrong(&item.span, Fault::new(message, did_you_mean(&item.value, names)));
        } else if zones.contains(&name) {
            let message = format!("`{name}` is named twice");
            mistakes.wrong(&item.span, Fault::new(message, "keep one of the two"));
        } else {
            zones.push(name);
        }
    }
    Some(zones)
}

fn files(raw: &RawBreakGlass, mistakes: &mut Mistakes) -> Option<u64> {
    let example = "max_files = 1000000";
    let what = "break-glass";
    let given = required(&raw.max_files, &raw.span, what, "max_files", example, mistakes)?;
    let files = u64::try_from(given.value).ok().filter(|files| (1..=MAX_NUMBER).contains(files));
    if files.is_none() {
        let message = format!("{} files cannot be the most of a break-glass", given.value);
        let help = "write how many files one break-glass may destroy at most, at least 1";
        mistakes.wrong(&given.span, Fault::new(message, help));
    }
    files
}

fn bytes(raw: &RawBreakGlass, mistakes: &mut Mistakes) -> Option<u64> {
    let example = "max_bytes = \"1TiB\"";
    let what = "break-glass";
    let given = required(&raw.max_bytes, &raw.span, what, "max_bytes", example, mistakes)?;
    let bytes = match &given.value {
        RawBytes::Text(text) => take(parse_bytes(text), given, mistakes)?,
        RawBytes::Number(number) => u64::try_from(*number).unwrap_or(0),
    };
    if bytes == 0 || bytes > MAX_NUMBER {
        let message = "this cannot be the most bytes of a break-glass";
        let help = "write how much one break-glass may destroy at most, such as `1TiB`";
        mistakes.wrong(&given.span, Fault::new(message, help));
        return None;
    }
    Some(bytes)
}

fn signers(raw: &RawBreakGlass, mistakes: &mut Mistakes) -> Vec<String> {
    let Field::Given(given) = &raw.signers else { return Vec::new() };
    let mut people: Vec<String> = Vec::new();
    for item in &given.value {
        let Some(name) = take(person(&item.value), item, mistakes) else { continue };
        if people.iter().any(|other| same_person(other, &name)) {
            let message = format!("`{name}` is named twice");
            mistakes.wrong(&item.span, Fault::new(message, "keep one of the two"));
        } else {
            people.push(name);
        }
    }
    people
}
