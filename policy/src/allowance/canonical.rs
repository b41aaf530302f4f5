//! The one text that says what an allowance says: the order of the fields, the blanks and the way
//! values are written are fixed. A change here makes every signature there is worthless, so it
//! needs another version of the document.

use super::{ALLOWANCE_VERSION, Allowance, Bind, BoundCommand, Grant, Hosts, utc};
use crate::render::string;
use crate::units::format_bytes;

pub(super) fn canonical(allowance: &Allowance) -> String {
    let Allowance { id, reason, requested_by, hosts, not_before, not_after, .. } = allowance;
    let mut lines = vec![
        format!("version = {ALLOWANCE_VERSION}"),
        format!("id = {}", string(id)),
        format!("reason = {}", string(reason)),
        format!("requested_by = {}", string(requested_by)),
        format!("hosts = {}", self::hosts(hosts)),
        format!("not_before = {}", utc(*not_before)),
        format!("not_after = {}", utc(*not_after)),
    ];
    for grant in &allowance.grants {
        self::grant(grant, &mut lines);
    }
    bind(&allowance.bind, &mut lines);
    if let Some(digest) = &allowance.rehearsal {
        lines.extend([String::new(), "[rehearsal]".to_owned()]);
        lines.push(format!("sha256 = {}", string(digest)));
    }
    lines.join("\n") + "\n"
}

fn hosts(hosts: &Hosts) -> String {
    match hosts {
        Hosts::Any => list(["*"]),
        Hosts::These(names) => list(names.iter().map(String::as_str)),
    }
}

fn grant(grant: &Grant, lines: &mut Vec<String>) {
    let Grant { zone, subtrees, ops, files, bytes, tenants } = grant;
    lines.extend([String::new(), "[[grant]]".to_owned()]);
    lines.push(format!("zone = {}", string(zone.as_str())));
    lines.push(format!("subtrees = {}", list(subtrees.iter().map(|subtree| subtree.as_str()))));
    lines.push(format!("ops = {}", list(ops.iter().map(|op| op.word()))));
    lines.push(format!("files = {files}"));
    lines.push(format!("bytes = {}", size(*bytes)));
    lines.push(format!("tenants = {tenants}"));
}

fn bind(bind: &Bind, lines: &mut Vec<String>) {
    let Bind { user, unit, command } = bind;
    if user.is_some() || unit.is_some() {
        lines.extend([String::new(), "[bind]".to_owned()]);
        lines.extend(user.as_ref().map(|user| format!("user = {}", string(user))));
        lines.extend(unit.as_ref().map(|unit| format!("unit = {}", string(unit))));
    }
    if let Some(BoundCommand { path, sha256, script }) = command {
        lines.extend([String::new(), "[bind.command]".to_owned()]);
        lines.push(format!("path = {}", string(path)));
        lines.push(format!("sha256 = {}", string(sha256)));
        if let Some((script, sha256)) = script {
            lines.push(format!("script = {}", string(script)));
            lines.push(format!("script_sha256 = {}", string(sha256)));
        }
    }
}

/// In a unit where one fits, else as a number of bytes.
fn size(bytes: u64) -> String {
    let text = format_bytes(bytes);
    match text.strip_suffix('B').filter(|number| number.ends_with(|c: char| c.is_ascii_digit())) {
        Some(number) => number.to_owned(),
        None => string(&text),
    }
}

fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let texts: Vec<String> = texts.into_iter().map(string).collect();
    format!("[{}]", texts.join(", "))
}
