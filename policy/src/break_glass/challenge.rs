//! The text that a break-glass signer signs: made by the host, for this one occasion.

use std::fmt::Write as _;

use super::{Scope, Terms};
use crate::allowance::{HostNames, utc};
use crate::render::string;
use crate::units::{format_bytes, format_time};

/// The challenge for these terms on this host. `nonce` makes it one of a kind; `issued` is in
/// seconds since 1970 UTC.
pub fn challenge(host: &HostNames, terms: &Terms, nonce: &str, issued: i64) -> String {
    let who = match terms.scope {
        Scope::HostWide => "everybody in the zone",
        Scope::Command => "one command and its children",
    };
    let machine = host.machine_id.as_deref().unwrap_or("");
    let lines = [
        ("host", string(&host.name)),
        ("machine_id", string(machine)),
        ("zone", string(&terms.zone)),
        ("role", string(terms.role.word())),
        ("reason", string(&terms.reason)),
        ("length", string(&format_time(terms.length))),
        ("files", terms.files.to_string()),
        ("bytes", string(&format_bytes(terms.bytes))),
        ("who", string(who)),
        ("issued", string(&utc(issued))),
        ("nonce", string(nonce)),
    ];
    let mut text = String::from("# holdfast break-glass: whoever signs this opens it.\n");
    for (key, value) in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{key} = {value}");
    }
    text
}
