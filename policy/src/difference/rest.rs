//! What is said beside the zones: signing, break-glass, the audit log, the manifest.

use super::{Change, Direction};
use crate::audit::OnAuditFailure;
use crate::break_glass::BreakGlass;
use crate::model::{Policy, Role, ZoneName};
use crate::signing::{Group, Signing, Trust};
use crate::units::{format_bytes, format_time};

use Direction::{Looser, Other, Tighter};

pub(super) fn changes(before: &Policy, now: &Policy) -> Vec<Change> {
    let mut changes = Vec::new();
    if before.on_audit_failure != now.on_audit_failure {
        let (direction, text) = match now.on_audit_failure {
            OnAuditFailure::Continue => (
                Looser,
                "while the audit log cannot be written, decisions take effect all the same",
            ),
            OnAuditFailure::Deny => (
                Tighter,
                "while the audit log cannot be written, what lets something through is refused",
            ),
        };
        changes.push(Change::new(direction, "on_audit_failure", text.to_owned()));
    }
    if before.manifest != now.manifest {
        let (from, to) = (before.manifest.max_bytes, now.manifest.max_bytes);
        let text = format!(
            "the manifest takes at most {} of the disk instead of {}",
            format_bytes(to),
            format_bytes(from)
        );
        changes.push(Change::new(Other, "manifest", text));
    }
    changes.extend(signing(&before.signing, &now.signing));
    changes.extend(groups(&before.signing.groups, &now.signing.groups));
    changes.extend(trust(&before.signing, &now.signing));
    changes.extend(break_glass(before.break_glass.as_ref(), now.break_glass.as_ref()));
    changes
}

fn signing(before: &Signing, now: &Signing) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut add = |direction, text| changes.push(Change::new(direction, "allowances", text));
    if before.signers != now.signers {
        let text = format!("people's keys are in {} instead of {}", now.signers, before.signers);
        add(Other, text);
    }
    if before.revoked != now.revoked {
        let (direction, text) = match (&before.revoked, &now.revoked) {
            (Some(from), None) => (Looser, format!("no list of revoked keys ({from} until now)")),
            (None, Some(to)) => (Tighter, format!("keys in {to} are revoked")),
            (from, to) => {
                let shown = |path: &Option<String>| path.clone().unwrap_or_default();
                (Other, format!("revoked keys are in {} instead of {}", shown(to), shown(from)))
            }
        };
        add(direction, text);
    }
    if before.max_length != now.max_length {
        let (from, to) = (format_time(before.max_length), format_time(now.max_length));
        let direction = Direction::of_limit(Some(before.max_length), Some(now.max_length));
        add(direction, format!("an allowance is good for {to} at most instead of {from}"));
    }
    if before.any_host != now.any_host {
        let (direction, text) = if now.any_host {
            (Looser, "an allowance may be for every host")
        } else {
            (Tighter, "an allowance has to name its hosts")
        };
        add(direction, text.to_owned());
    }
    changes
}

fn groups(before: &[Group], now: &[Group]) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut add = |text| changes.push(Change::new(Other, "group", text));
    let named = |groups: &[Group], name: &str| {
        groups.iter().find(|group| group.name == name).map(|group| group.people.clone())
    };
    for group in before {
        match named(now, &group.name) {
            None => add(format!("group {} is gone: {}", group.name, group.people.join(", "))),
            Some(people) => {
                for person in group.people.iter().filter(|person| !people.contains(person)) {
                    add(format!("{person} leaves group {}", group.name));
                }
                for person in people.iter().filter(|person| !group.people.contains(person)) {
                    add(format!("{person} joins group {}", group.name));
                }
            }
        }
    }
    for group in now.iter().filter(|group| named(before, &group.name).is_none()) {
        add(format!("a new group {}: {}", group.name, group.people.join(", ")));
    }
    changes
}

fn trust(before: &Signing, now: &Signing) -> Vec<Change> {
    let mut changes = Vec::new();
    for role in Role::ALL.iter().copied() {
        let (old, new) = (before.trust(role), now.trust(role));
        let words = |trust: Option<&Trust>| trust.map_or_else(|| "nobody".to_owned(), needs);
        if old != new {
            let direction = match (old, new) {
                (None, Some(_)) => Looser,
                (Some(_), None) => Tighter,
                _ => Other,
            };
            let text = format!(
                "who can sign for {} zones: {} instead of {}",
                role.word(),
                words(new),
                words(old)
            );
            changes.push(Change::new(direction, "trust", text));
        }
    }
    changes
}

fn needs(trust: &Trust) -> String {
    let mut parts: Vec<String> =
        trust.needs.iter().map(|need| format!("{} of {}", need.people, need.group)).collect();
    if trust.requester_may_sign {
        parts.push("who asks may sign".to_owned());
    }
    if trust.hardware {
        parts.push("hardware keys only".to_owned());
    }
    if trust.verified {
        parts.push("which ask for a PIN".to_owned());
    }
    parts.join(", ")
}

fn break_glass(before: Option<&BreakGlass>, now: Option<&BreakGlass>) -> Vec<Change> {
    let change = |direction, text: String| Change::new(direction, "break_glass", text);
    let (before, now) = match (before, now) {
        (None, None) => return Vec::new(),
        (None, Some(now)) => {
            let text = format!(
                "a break-glass can be opened: {}, for {} at most, {} files, {}",
                zones(now.zones.as_deref()),
                format_time(now.max_length),
                now.max_files,
                format_bytes(now.max_bytes)
            );
            return vec![change(Looser, text)];
        }
        (Some(_), None) => {
            return vec![change(Tighter, "no break-glass can be opened any more".to_owned())];
        }
        (Some(before), Some(now)) => (before, now),
    };
    let mut changes = Vec::new();
    if before.zones != now.zones {
        let (from, to) = (zones(before.zones.as_deref()), zones(now.zones.as_deref()));
        changes.push(change(Other, format!("a break-glass is {to} instead of {from}")));
    }
    let mut limit = |before: u64, now: u64, what: &str, show: &dyn Fn(u64) -> String| {
        if before != now {
            let text =
                format!("a break-glass {what} {} at most instead of {}", show(now), show(before));
            changes.push(change(Direction::of_limit(Some(before), Some(now)), text));
        }
    };
    let time = |seconds| format_time(std::time::Duration::from_secs(seconds));
    limit(before.max_length.as_secs(), now.max_length.as_secs(), "is open for", &time);
    limit(before.max_files, now.max_files, "destroys", &|files| format!("{files} files"));
    limit(before.max_bytes, now.max_bytes, "destroys", &format_bytes);
    for person in before.signers.iter().filter(|person| !now.signers.contains(person)) {
        changes.push(change(Tighter, format!("{person} can no longer open a break-glass")));
    }
    for person in now.signers.iter().filter(|person| !before.signers.contains(person)) {
        changes.push(change(Looser, format!("{person} can open a break-glass with a key")));
    }
    changes
}

fn zones(zones: Option<&[ZoneName]>) -> String {
    zones.map_or_else(
        || "for every zone".to_owned(),
        |zones| {
            let names: Vec<&str> = zones.iter().map(ZoneName::as_str).collect();
            format!("for {}", names.join(", "))
        },
    )
}
