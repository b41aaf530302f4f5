//! Whether it is for this host.

use super::faults::some;
use super::signatures::Judged;
use super::{Allowance, Evidence, Faults, RefusedReason};
use crate::allowance::{HostNames, Hosts};
use crate::words::quoted;

/// Digits of a machine id.
const MACHINE_ID: usize = 32;

/// Refused if somebody whom the policy names has signed it, and it names other hosts.
pub(super) fn other(
    evidence: &Evidence<'_>,
    allowance: &Allowance,
    judged: &[Judged<'_>],
) -> Faults {
    let mut faults = Faults::default();
    let Hosts::These(names) = &allowance.hosts else {
        return faults;
    };
    let mut people: Vec<&str> = judged.iter().filter_map(|judged| judged.person()).collect();
    people.sort_unstable();
    people.dedup();
    if people.is_empty() || names.iter().any(|name| is_named(name, evidence.host)) {
        return faults;
    }
    let names: Vec<&String> = names.iter().collect();
    let message = format!(
        "allowance {} is for {}, and this is {}; it is signed by {}",
        quoted(&allowance.id),
        some(&names),
        shown(evidence.host),
        some(&people),
    );
    let help = "stop what is about to run: a change that was meant for other hosts has come here";
    faults.add(RefusedReason::OtherHost, message, help);
    faults
}

/// Refused if it is for every host and the policy does not want that.
pub(super) fn any(evidence: &Evidence<'_>, allowance: &Allowance) -> Faults {
    let mut faults = Faults::default();
    match &allowance.hosts {
        Hosts::Any if !evidence.policy.signing.any_host => {
            let message = "it is for every host, and this host's policy does not allow that";
            let help = "name the hosts; or let the policy say `any_host = true` in `[allowances]`";
            faults.add(RefusedReason::AnyHost, message, help);
        }
        // By now every signature is right, so that `other` has refused it. Should that ever change,
        // it stays refused.
        Hosts::These(names) if !names.iter().any(|name| is_named(name, evidence.host)) => {
            let message = format!("it does not name this host, {}", shown(evidence.host));
            faults.add(RefusedReason::OtherHost, message, "use it where it is for");
        }
        Hosts::Any | Hosts::These(_) => {}
    }
    faults
}

/// This host by all its names.
fn shown(host: &HostNames) -> String {
    match (host.name.as_str(), &host.machine_id) {
        ("", Some(id)) => format!("machine {}", quoted(id)),
        (name, Some(id)) => format!("{} (machine {})", quoted(name), quoted(id)),
        (name, None) => quoted(name),
    }
}

/// 32 hexadecimal digits are a machine id and never a name: who may choose a host's name cannot
/// choose that.
fn is_named(name: &str, host: &HostNames) -> bool {
    let is_id = name.len() == MACHINE_ID && name.bytes().all(|b| b.is_ascii_hexdigit());
    if is_id {
        host.machine_id.as_ref().is_some_and(|id| id.trim().eq_ignore_ascii_case(name))
    } else {
        host.name.eq_ignore_ascii_case(name)
    }
}
