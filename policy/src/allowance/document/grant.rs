//! One grant: where, which ops, and how much. Nothing has a default: who signs reads every number.

use holdfast_abi::MAX_GRANT_TENANTS;

use super::raw::RawGrant;
use crate::allowance::Grant;
use crate::model::ZoneName;
use crate::pattern::PathPattern;
use crate::problem::{Fault, Mistakes};
use crate::raw::{At, Field, RawBytes};
use crate::resolve::fields::{required, shown_as_it_is, take};
use crate::resolve::ops;
use crate::units::{MAX_NUMBER, parse_bytes};

/// What a wrong list of ops is told.
const OPS: ops::Told = ops::Told {
    none: "a grant without ops allows nothing",
    none_help: "name them, as in `ops = [\"remove\"]`",
    not_guarded: "it needs no allowance, and nothing stops it",
};

const WHAT: &str = "grant";

pub(super) fn resolve(raw: &RawGrant, mistakes: &mut Mistakes) -> Option<Grant> {
    let span = &raw.span;
    let zone = required(&raw.zone, span, WHAT, "zone", "zone = \"customers\"", mistakes)
        .and_then(|zone| take(ZoneName::parse(&zone.value), zone, mistakes));
    let example = "subtrees = [\"/srv/customers/*/cache\"]";
    let subtrees = required(&raw.subtrees, span, WHAT, "subtrees", example, mistakes)
        .and_then(|given| subtrees(given, mistakes));
    let ops = required(&raw.ops, span, WHAT, "ops", "ops = [\"remove\"]", mistakes)
        .and_then(|given| ops::resolve(given, &OPS, mistakes));
    let files = amount(&raw.files, raw, "files", 1..=MAX_NUMBER, mistakes);
    let bytes = bytes(&raw.bytes, raw, mistakes);
    let tenants = amount(&raw.tenants, raw, "tenants", 0..=u64::from(MAX_GRANT_TENANTS), mistakes);
    Some(Grant {
        zone: zone?,
        subtrees: subtrees?,
        ops: ops?,
        files: files?,
        bytes: bytes?,
        tenants: tenants.and_then(|tenants| u32::try_from(tenants).ok())?,
    })
}

/// The patterns in the order of the alphabet, each once.
fn subtrees(given: &At<Vec<At<String>>>, mistakes: &mut Mistakes) -> Option<Vec<PathPattern>> {
    if given.value.is_empty() {
        let message = "a grant without subtrees allows nothing";
        let help = "name at least one, as in `subtrees = [\"/srv/customers/*/cache\"]`";
        mistakes.wrong(&given.span, Fault::new(message, help));
    }
    let mut patterns: Vec<PathPattern> =
        given.value.iter().filter_map(|item| take(subtree(&item.value), item, mistakes)).collect();
    patterns.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    patterns.dedup();
    (!patterns.is_empty()).then_some(patterns)
}

fn subtree(text: &str) -> Result<PathPattern, Fault> {
    if !text.is_empty() && text.chars().all(|c| c == '/') {
        let help = "name the trees below a zone that are to be changed, and nothing more";
        return Err(Fault::new("the whole filesystem cannot be a subtree", help));
    }
    shown_as_it_is(text).map_err(|Fault { message, .. }| {
        Fault::new(message, "write `?` for a character that cannot be shown: it stands for any one")
    })?;
    PathPattern::parse(text)
}

fn bytes(field: &Field<RawBytes>, raw: &RawGrant, mistakes: &mut Mistakes) -> Option<u64> {
    let given = required(field, &raw.span, WHAT, "bytes", "bytes = \"10GiB\"", mistakes)?;
    let number = match &given.value {
        RawBytes::Number(number) => *number,
        RawBytes::Text(text) => i128::from(take(parse_bytes(text), given, mistakes)?),
    };
    take(bounded(number, "bytes", 0..=MAX_NUMBER), given, mistakes)
}

fn amount(
    field: &Field<i128>,
    raw: &RawGrant,
    name: &str,
    bounds: std::ops::RangeInclusive<u64>,
    mistakes: &mut Mistakes,
) -> Option<u64> {
    let example = format!("{name} = 20");
    let given = required(field, &raw.span, WHAT, name, &example, mistakes)?;
    take(bounded(given.value, name, bounds), given, mistakes)
}

fn bounded(number: i128, name: &str, bounds: std::ops::RangeInclusive<u64>) -> Result<u64, Fault> {
    match u64::try_from(number) {
        Ok(number) if bounds.contains(&number) => Ok(number),
        _ => {
            let help = format!("write a number from {} to {}", bounds.start(), bounds.end());
            Err(Fault::new(format!("a grant of {number} {name} cannot be"), help))
        }
    }
}
