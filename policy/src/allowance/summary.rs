//! An allowance in plain words: what a signer reads before signing. It leaves nothing out that
//! widens anything.

use holdfast_abi::Op;

use super::{Allowance, Bind, Grant, Hosts, utc};
use crate::units::format_bytes;

const WHOLE_DIRECTORIES: &str =
    "WHOLE DIRECTORIES can leave by `detach`, each counted as one file whatever is in it";

/// Several lines, each with its end.
pub(super) fn summary(allowance: &Allowance) -> String {
    let mut lines = vec![
        format!("allowance {}", allowance.id),
        format!("  why    {}", allowance.reason),
        format!("  who    {} asks for it", allowance.requested_by),
        format!("  where  {}", place(&allowance.hosts)),
        format!("  when   {}", time(allowance.not_before, allowance.not_after)),
    ];
    for (index, grant) in allowance.grants.iter().enumerate() {
        let head = if index == 0 { "what" } else { "and" };
        lines.push(format!("  {head:5}  {}", self::grant(grant)));
        if grant.ops.iter().any(Op::cost_is_unknown) {
            lines.push(format!("  {:5}  {WHOLE_DIRECTORIES}", ""));
        }
    }
    for (index, line) in bind(&allowance.bind).into_iter().enumerate() {
        let head = if index == 0 { "by" } else { "" };
        lines.push(format!("  {head:5}  {line}"));
    }
    lines.push(match &allowance.rehearsal {
        Some(digest) => format!("  after  the rehearsal with SHA-256 {digest}"),
        None => "  after  no rehearsal".to_owned(),
    });
    lines.join("\n") + "\n"
}

fn place(hosts: &Hosts) -> String {
    match hosts {
        Hosts::Any => "EVERY HOST whose policy has `any_host = true`".to_owned(),
        Hosts::These(names) => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            match names[..] {
                [only] => format!("host {only}, and no other"),
                _ => format!("{} hosts: {}", names.len(), names.join(", ")),
            }
        }
    }
}

fn time(from: i64, until: i64) -> String {
    let (day, last) = (utc::date(from), utc::date(until));
    let last = if day == last { String::new() } else { format!("{last} ") };
    format!(
        "{day} {} to {last}{} UTC ({})",
        utc::clock(from),
        utc::clock(until),
        length(until.saturating_sub(from))
    )
}

/// A length of time for people: `2 hours 30 minutes`.
pub(super) fn length(seconds: i64) -> String {
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (size, name) in units {
        let number = rest / size;
        rest %= size;
        if number > 0 {
            parts.push(count(number.unsigned_abs(), name));
        }
    }
    if parts.is_empty() { "no time".to_owned() } else { parts.join(" ") }
}

fn grant(grant: &Grant) -> String {
    let subtrees: Vec<String> =
        grant.subtrees.iter().map(|subtree| format!("`{subtree}`")).collect();
    format!(
        "zone {}: {}; at most {} and {} in at most {}; only {} and what is below",
        grant.zone,
        grant.ops,
        count(grant.files, "file"),
        size(grant.bytes),
        count(u64::from(grant.tenants), "tenant"),
        subtrees.join(", "),
    )
}

/// In a unit where one fits, else as a number of bytes.
fn size(bytes: u64) -> String {
    let text = format_bytes(bytes);
    match text.strip_suffix('B') {
        Some(number) if number.bytes().all(|b| b.is_ascii_digit()) => count(bytes, "byte"),
        _ => text,
    }
}

fn bind(bind: &Bind) -> Vec<String> {
    let mut lines = Vec::new();
    match &bind.command {
        Some(command) => {
            lines.push(format!("{} started with `holdfast run`, and what it starts", command.path));
            lines.push(format!("  if its SHA-256 is {}", command.sha256));
            match &command.script {
                Some((script, sha256)) => {
                    lines.push(format!("  with the script {script} as its first argument"));
                    lines.push(format!("  if that one's SHA-256 is {sha256}"));
                }
                None => lines.push("  with ANY ARGUMENTS".to_owned()),
            }
            lines.extend(bind.user.as_ref().map(|user| format!("  as user {user}")));
            lines.extend(bind.unit.as_ref().map(|unit| format!("  in unit {unit}")));
        }
        None => match (&bind.user, &bind.unit) {
            (None, None) => {
                lines
                    .push("ANY COMMAND started with `holdfast run`, and what it starts".to_owned());
            }
            (user, unit) => {
                let user = user.as_ref().map(|user| format!("of user {user}"));
                let unit = unit.as_ref().map(|unit| format!("in unit {unit}"));
                let whose: Vec<String> = user.into_iter().chain(unit).collect();
                lines.push(format!("any process {}", whose.join(" ")));
            }
        },
    }
    lines
}

/// `1 file`, `1,000 files`.
fn count(number: u64, name: &str) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    let plural = if number == 1 { "" } else { "s" };
    format!("{shown} {name}{plural}")
}
