//! Zones: where they are, and what happens in them.

use holdfast_abi::{Mode, OnTrip};

use super::{Change, Direction, budgets};
use crate::model::{Policy, Zone};
use crate::units::format_time;

pub(super) fn changes(before: &Policy, now: &Policy) -> Vec<Change> {
    let mut changes = Vec::new();
    for zone in &before.zones {
        let name = zone.name.as_str();
        match now.zone(name) {
            Some(other) => changes
                .extend(zone_changes(zone, other).into_iter().map(|change| change.in_zone(name))),
            None => {
                let text = format!("the zone is gone: nothing guards {} any more", paths(zone));
                changes.push(Change::new(Direction::Looser, "zone", text).in_zone(name));
            }
        }
    }
    for zone in &now.zones {
        let name = zone.name.as_str();
        if before.zone(name).is_none() {
            let budgets: Vec<String> = zone.budgets.iter().map(budgets::words).collect();
            let text = format!(
                "a new zone: {} ({}), {}, mode {}, with {}",
                paths(zone),
                zone.role.word(),
                tenants(zone.tenant_depth),
                zone.mode.word(),
                budgets.join("; ")
            );
            changes.push(Change::new(Direction::Tighter, "zone", text).in_zone(name));
        }
    }
    changes
}

fn zone_changes(before: &Zone, now: &Zone) -> Vec<Change> {
    use Direction::{Looser, Other, Tighter};
    let mut changes = Vec::new();
    let mut add = |direction, what, text| changes.push(Change::new(direction, what, text));
    if before.role != now.role {
        let text = format!("role: {} instead of {}", now.role.word(), before.role.word());
        add(Other, "role", text);
    }
    for path in before.paths.iter().filter(|path| !now.paths.contains(path)) {
        add(Looser, "paths", format!("{path} is no longer a root"));
    }
    for path in now.paths.iter().filter(|path| !before.paths.contains(path)) {
        add(Tighter, "paths", format!("{path} becomes a root"));
    }
    if before.tenant_depth != now.tenant_depth {
        let (from, to) = (tenants(before.tenant_depth), tenants(now.tenant_depth));
        add(Other, "tenant_depth", format!("{to} instead of {from}"));
    }
    let (old, new) = (before.tenant_counts_after, now.tenant_counts_after);
    if old != new {
        let direction = match (new.is_as_tight_as(old), old.is_as_tight_as(new)) {
            (true, _) => Tighter,
            (false, true) => Looser,
            (false, false) => Other,
        };
        let text = format!("a tenant counts after {new} instead of {old}");
        add(direction, "tenant_counts_after", text);
    }
    if before.manifest != now.manifest {
        let (direction, text) = if now.manifest {
            (Tighter, "what is destroyed is listed in the manifest from now on")
        } else {
            (Looser, "what is destroyed is no longer listed in the manifest")
        };
        add(direction, "manifest", text.to_owned());
    }
    if before.mode != now.mode {
        let (direction, text) = match now.mode {
            Mode::Enforce => (Tighter, "ops over budget are stopped instead of only observed"),
            Mode::Observe => (Looser, "ops over budget are only observed instead of stopped"),
        };
        add(direction, "mode", text.to_owned());
    }
    if before.on_trip != now.on_trip {
        let strictness = |on_trip| match on_trip {
            OnTrip::Deny => 2,
            OnTrip::Hold => 1,
            OnTrip::Throttle => 0,
        };
        let tighter = strictness(now.on_trip) > strictness(before.on_trip);
        let text = format!(
            "an op over budget is {} instead of {}",
            trip(now.on_trip),
            trip(before.on_trip)
        );
        add(if tighter { Tighter } else { Looser }, "on_trip", text);
    }
    if before.hold_timeout != now.hold_timeout {
        let (from, to) = (format_time(before.hold_timeout), format_time(now.hold_timeout));
        let direction = Direction::of_limit(Some(before.hold_timeout), Some(now.hold_timeout));
        let text =
            format!("who is held and nobody decides about is denied after {to} instead of {from}");
        add(direction, "hold_timeout", text);
    }
    if before.tell_terminal != now.tell_terminal {
        let text = if now.tell_terminal { "is told" } else { "is no longer told" };
        add(Other, "tell_terminal", format!("the terminal of a paused process {text}"));
    }
    changes.extend(budgets::changes(before, now));
    changes
}

fn trip(on_trip: OnTrip) -> &'static str {
    match on_trip {
        OnTrip::Deny => "denied",
        OnTrip::Hold => "held until a person decides",
        OnTrip::Throttle => "slowed down to the budget's rate",
    }
}

fn tenants(depth: u32) -> String {
    match depth {
        0 => "each root is a tenant".to_owned(),
        1 => "tenants are 1 level below the root".to_owned(),
        depth => format!("tenants are {depth} levels below the root"),
    }
}

fn paths(zone: &Zone) -> String {
    zone.paths.iter().map(|path| path.as_str()).collect::<Vec<_>>().join(", ")
}
