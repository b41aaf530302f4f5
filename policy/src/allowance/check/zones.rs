//! Whether this host has the zones, and that primary and backup are not spent together.

use super::{Allowance, Faults, Refused, RefusedReason};
use crate::model::{Policy, Role, Zone};
use crate::words::{did_you_mean, quoted};

/// The zones of the grants that this host has, each once.
pub(super) fn known<'p>(policy: &'p Policy, allowance: &Allowance) -> Vec<&'p Zone> {
    let granted = |zone: &&Zone| allowance.grants.iter().any(|grant| grant.zone == zone.name);
    policy.zones.iter().filter(granted).collect()
}

/// The roles of its zones, which is one.
pub(super) fn roles(policy: &Policy, allowance: &Allowance) -> Result<Vec<Role>, Refused> {
    let mut unknown = Faults::default();
    let names: Vec<&str> = policy.zones.iter().map(|zone| zone.name.as_str()).collect();
    let mut said: Vec<&str> = Vec::new();
    for grant in &allowance.grants {
        let name = grant.zone.as_str();
        if !names.contains(&name) && !said.contains(&name) {
            let message = format!("this host's policy has no zone {}", quoted(name));
            unknown.add(RefusedReason::UnknownZone, message, did_you_mean(name, &names));
            said.push(name);
        }
    }
    unknown.refuse()?;
    let zones = known(policy, allowance);
    let of = |role: Role| {
        let zones: Vec<&str> =
            zones.iter().filter(|zone| zone.role == role).map(|zone| zone.name.as_str()).collect();
        zones
    };
    let (primary, backup) = (of(Role::Primary), of(Role::Backup));
    let mut together = Faults::default();
    if !primary.is_empty() && !backup.is_empty() {
        let message = format!(
            "it would spend in primary ({}) and backup ({}) at once",
            primary.join(", "),
            backup.join(", ")
        );
        let help = "make an allowance for each, and let the backups wait until the change has \
                    proven itself";
        together.add(RefusedReason::Interlock, message, help);
    }
    together.refuse()?;
    Ok(Role::ALL.iter().copied().filter(|role| !of(*role).is_empty()).collect())
}
