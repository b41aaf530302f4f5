//! From the document to the policy: what each value means, whether it can be, and the defaults. It
//! goes on behind each mistake, so that all are found at once; it never looks at the text itself.

mod break_glass;
mod budgets;
pub(crate) mod fields;
mod manifest;
pub(crate) mod ops;
mod overlaps;
mod signing;
mod trips;

use std::collections::HashMap;

use holdfast_abi::{MAX_POLICY_ZONES, MAX_TENANT_DEPTH, Mode};

use crate::audit::OnAuditFailure;
use crate::budget::TenantCountsAfter;
use crate::model::{Policy, Role, Zone, ZoneName};
use crate::pattern::PathPattern;
use crate::problem::{Fault, Mistakes, Source};
use crate::raw::{At, Field, RawPolicy, RawZone};
use fields::{flag, required, take, word};

/// The policy, as far as it makes sense. It is whole if no mistake was added.
pub(crate) fn resolve(raw: &RawPolicy, source: &Source<'_>, mistakes: &mut Mistakes) -> Policy {
    let zones = match &raw.zones {
        Field::Given(zones) if !zones.value.is_empty() => &zones.value[..],
        Field::Bad => &[],
        Field::Given(At { span, .. }) => {
            mistakes.missing(span, no_zones());
            &[]
        }
        Field::Missing => {
            mistakes.missing(&(0..0), no_zones());
            &[]
        }
    };
    if let Some(first_too_many) = zones.get(MAX_POLICY_ZONES) {
        let message = format!("there are {} zones, {MAX_POLICY_ZONES} can be", zones.len());
        let help =
            "put trees with the same budgets into one zone: `paths` takes several, and globs";
        mistakes.wrong(&first_too_many.span, Fault::new(message, help));
    }
    let mut names = Names { source, seen: HashMap::new() };
    let mut all_paths = overlaps::Paths::new(source);
    let mut resolved = Vec::new();
    for (index, raw) in zones.iter().enumerate() {
        let name = names.take(raw, mistakes);
        let shown = match &name {
            Some(name) => format!("zone `{name}`"),
            None => format!("zone {}", index + 1),
        };
        let paths = paths(raw, mistakes);
        all_paths.add(index, &shown, &paths, mistakes);
        resolved.extend(zone(raw, name, paths, source, mistakes));
    }
    let signing = signing::resolve(&raw.signing, source, mistakes);
    let mut known: Vec<&str> = names.seen.keys().map(String::as_str).collect();
    known.sort_unstable();
    let break_glass = break_glass::resolve(&raw.break_glass, &known, mistakes);
    let on_audit_failure = on_audit_failure(&raw.on_audit_failure, mistakes);
    let manifest = manifest::resolve(&raw.manifest, mistakes);
    Policy { zones: resolved, signing, manifest, break_glass, on_audit_failure }
}

/// Left out, or wrong (which is a mistake of its own): the stricter one.
fn on_audit_failure(field: &Field<String>, mistakes: &mut Mistakes) -> OnAuditFailure {
    let given = match field {
        Field::Given(given) => {
            word(given, "on_audit_failure", OnAuditFailure::ALL, OnAuditFailure::word, mistakes)
        }
        Field::Missing | Field::Bad => None,
    };
    given.unwrap_or_default()
}

fn no_zones() -> Fault {
    Fault::new(
        "the policy has no zones, so nothing would be guarded",
        "add a `[[zone]]` with name, role, paths and at least one `[[zone.budget]]`",
    )
}

fn zone(
    raw: &RawZone,
    name: Option<ZoneName>,
    paths: Vec<At<PathPattern>>,
    source: &Source<'_>,
    mistakes: &mut Mistakes,
) -> Option<Zone> {
    let role = required(&raw.role, &raw.span, "zone", "role", "role = \"primary\"", mistakes)
        .and_then(|role| word(role, "role", Role::ALL, Role::word, mistakes));
    let mode = match &raw.mode {
        Field::Given(mode) => word(mode, "mode", Mode::ALL, Mode::word, mistakes),
        Field::Missing => Some(Mode::Observe),
        Field::Bad => None,
    };
    let tenant_depth = match &raw.tenant_depth {
        Field::Given(depth) => tenant_depth(depth, mistakes),
        Field::Missing => Some(1),
        Field::Bad => None,
    };
    let tenant_counts_after = match &raw.tenant_counts_after {
        Field::Given(after) => take(TenantCountsAfter::parse(&after.value), after, mistakes),
        Field::Missing => Some(TenantCountsAfter::default()),
        Field::Bad => None,
    };
    let manifest = flag(&raw.manifest, true);
    let trips = trips::resolve(raw, role, mistakes);
    let budgets = budgets::resolve(raw, source, mistakes);
    let trips::Trips { on_trip, hold_timeout, tell_terminal } = trips?;
    Some(Zone {
        name: name?,
        role: role?,
        paths: paths.into_iter().map(|path| path.value).collect(),
        tenant_depth: tenant_depth?,
        tenant_counts_after: tenant_counts_after?,
        manifest: manifest?,
        mode: mode?,
        on_trip,
        hold_timeout,
        tell_terminal,
        budgets,
    })
}

fn tenant_depth(depth: &At<i128>, mistakes: &mut Mistakes) -> Option<u32> {
    match u32::try_from(depth.value) {
        Ok(depth) if depth <= MAX_TENANT_DEPTH => Some(depth),
        _ => {
            let message = format!("a tenant depth of {} cannot be", depth.value);
            let help = format!(
                "write how many levels below each path a tenant's directory is, from 0 (each path \
                 is one tenant) to {MAX_TENANT_DEPTH}"
            );
            mistakes.wrong(&depth.span, Fault::new(message, help));
            None
        }
    }
}

/// The patterns that could be read.
fn paths(raw: &RawZone, mistakes: &mut Mistakes) -> Vec<At<PathPattern>> {
    let example = "paths = [\"/srv/customers\"]";
    let Some(paths) = required(&raw.paths, &raw.span, "zone", "paths", example, mistakes) else {
        return Vec::new();
    };
    if paths.value.is_empty() {
        let fault = Fault::new("a zone needs at least one path", format!("as in `{example}`"));
        mistakes.wrong(&paths.span, fault);
    }
    let mut patterns = Vec::new();
    for path in &paths.value {
        match PathPattern::parse(&path.value) {
            Ok(value) => patterns.push(At { value, span: path.span.clone() }),
            Err(fault) => mistakes.wrong(&path.span, fault),
        }
    }
    patterns
}

/// The names taken so far, and where.
struct Names<'s, 't> {
    source: &'s Source<'t>,
    seen: HashMap<String, usize>,
}

impl Names<'_, '_> {
    fn take(&mut self, raw: &RawZone, mistakes: &mut Mistakes) -> Option<ZoneName> {
        let example = "name = \"customers\"";
        let given = required(&raw.name, &raw.span, "zone", "name", example, mistakes)?;
        let name = match ZoneName::parse(&given.value) {
            Ok(name) => name,
            Err(fault) => {
                mistakes.wrong(&given.span, fault);
                return None;
            }
        };
        let line = self.source.line(given.span.start);
        if let Some(first) = self.seen.get(name.as_str()) {
            let message = format!("the zone on line {first} is already named `{name}`");
            let help =
                "give each zone its own name; trees with the same budgets can share one zone";
            mistakes.wrong(&given.span, Fault::new(message, help));
        } else {
            self.seen.insert(name.as_str().to_owned(), line);
        }
        Some(name)
    }
}
