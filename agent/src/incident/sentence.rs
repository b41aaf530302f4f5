//! A record in a sentence. Names are as they are in the log: whoever prints them makes them safe
//! for where they go.

use serde_json::Value;

use crate::audit::read::Entry;
use crate::text::{count, size};

/// The zones a record is about.
pub(crate) fn zones(entry: &Entry) -> impl Iterator<Item = &str> {
    let own = [entry.text(&["event", "zone"]), entry.text(&["zone"])];
    let grants = list(entry, &["grants"]).iter().filter_map(|grant| grant["zone"].as_str());
    let policy = list(entry, &["zones"]).iter().filter_map(|zone| zone["name"].as_str());
    own.into_iter().flatten().chain(grants).chain(policy)
}

/// The unit a record is about.
pub(crate) fn unit(entry: &Entry) -> Option<&str> {
    let paths = [["event", "unit", "path"].as_slice(), &["unit", "path"], &["bind", "unit"]];
    paths.into_iter().find_map(|path| entry.text(path))
}

/// The users a record is about: who destroys, and who decides.
pub(crate) fn users(entry: &Entry) -> impl Iterator<Item = u64> {
    let paths: [&[&str]; 8] = [
        &["event", "uid"],
        &["event", "login_uid"],
        &["user"],
        &["person", "uid"],
        &["person", "login_uid"],
        &["bind", "user", "uid"],
        &["uid"],
        &["login_uid"],
    ];
    paths.into_iter().filter_map(|path| entry.number(path))
}

pub(super) fn list<'a>(entry: &'a Entry, path: &[&str]) -> &'a [Value] {
    entry.get(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A person, as the kernel told the agent: `user 0 (login user 1000)`.
pub(super) fn person(entry: &Entry) -> String {
    by(entry, &["person"])
}

/// The person at the end of a path of fields.
pub(super) fn by(entry: &Entry, path: &[&str]) -> String {
    let Some(uid) = entry.number(&[path, &["uid"]].concat()) else { return "nobody".to_owned() };
    match entry.number(&[path, &["login_uid"]].concat()) {
        Some(login) => format!("user {uid} (login user {login})"),
        None => format!("user {uid}"),
    }
}

/// Who destroys: `rm, user 0 (login user 1000), /system.slice/cron.service`.
pub(super) fn actor(entry: &Entry) -> String {
    let comm = entry.text(&["event", "comm"]).unwrap_or("?");
    let uid = entry.number(&["event", "uid"]).map_or_else(|| "?".to_owned(), |uid| uid.to_string());
    let login = entry.number(&["event", "login_uid"]);
    let login = login.map_or_else(String::new, |login| format!(" (login user {login})"));
    let id = || entry.number(&["event", "unit", "id"]).map(|id| format!("cgroup {id}"));
    let unit = entry.text(&["event", "unit", "path"]).map(str::to_owned).or_else(id);
    format!("{comm}, user {uid}{login}, {}", unit.unwrap_or_else(|| "?".to_owned()))
}

/// `alice@example.com, bob@example.com`.
pub(super) fn signers(entry: &Entry) -> String {
    let people = list(entry, &["signers"]).iter().filter_map(|signer| signer["person"].as_str());
    let people: Vec<&str> = people.collect();
    if people.is_empty() { "nobody known".to_owned() } else { people.join(", ") }
}

/// What was spent of all grants: files and bytes.
pub(super) fn spent(entry: &Entry) -> (u64, u64) {
    let sum = |side: &str| {
        let sides =
            list(entry, &["grants"]).iter().filter_map(|grant| grant[side]["spent"].as_u64());
        sides.fold(0, u64::saturating_add)
    };
    (sum("files"), sum("bytes"))
}

/// The record in words; `None` if it is of a type that is not known here.
pub(crate) fn sentence(entry: &Entry) -> Option<String> {
    let text = |path: &[&str]| entry.text(path).unwrap_or("?");
    let number = |path: &[&str]| entry.number(path).unwrap_or(0);
    let hold = || format!("hold {} in {}", number(&["hold"]), text(&["zone"]));
    let id = || text(&["id"]);
    Some(match entry.kind.as_str() {
        "verdict" => {
            let tenant = entry.text(&["event", "tenant", "name"]);
            let tenant = tenant.map_or_else(String::new, |name| format!(", tenant {name}"));
            let more = number(&["event", "suppressed"]);
            let more = if more > 0 {
                format!("; {more} more like it were left out before it")
            } else {
                String::new()
            };
            format!(
                "{}{}: {} of {} in {} ({}, {}{tenant}) by {}{more}",
                text(&["event", "verdict"]),
                if entry.get(&["event", "trip"]) == Some(&Value::Bool(true)) {
                    ", trip"
                } else {
                    ""
                },
                text(&["event", "op"]),
                text(&["event", "path"]),
                text(&["event", "zone"]),
                count(number(&["event", "files"]), "file"),
                size(number(&["event", "bytes"])),
                actor(entry),
            )
        }
        "hold" => format!(
            "{}: {} (pid {}) is held before {} of {}, by {}",
            hold(),
            text(&["event", "comm"]),
            number(&["event", "pid"]),
            text(&["event", "op"]),
            text(&["event", "path"]),
            actor(entry)
        ),
        "throttle" => format!("{}: {} is throttled", hold(), actor(entry)),
        "hold_end" => format!(
            "{}: pid {} {}, after {:.0} s",
            hold(),
            number(&["pid"]),
            text(&["outcome"]),
            entry.get(&["held_seconds"]).and_then(Value::as_f64).unwrap_or(0.0)
        ),
        "release" => {
            let amount = match entry.number(&["files"]) {
                Some(files) => count(files, "file"),
                None => "a fresh start of its budgets".to_owned(),
            };
            format!("{}: {amount} released by {}", hold(), person(entry))
        }
        "release_outcome" => match entry.text(&["error"]) {
            Some(error) => format!("{}: nothing was released: {error}", hold()),
            None => format!("{}: {} continued", hold(), list(entry, &["processes"]).len()),
        },
        "kill" => format!(
            "{}: {} sent SIG{} by {}",
            hold(),
            list(entry, &["processes"]).len(),
            text(&["signal"]),
            person(entry)
        ),
        "expire" => {
            format!("{}: nobody decided in time, denied until {}", hold(), text(&["until", "time"]))
        }
        "hold_retry" if entry.get(&["person"]).is_some() => {
            format!("{}: decided anew, as its budgets were reset", hold())
        }
        "hold_retry" => format!("{}: decided anew, as the policy has changed", hold()),
        "budget_reset" => {
            let what = format!("zone {}: budgets of {}", text(&["zone"]), text(&["actor", "name"]));
            match text(&["outcome"]) {
                "intended" => {
                    format!("{what} are to be reset by {}: {}", person(entry), text(&["reason"]))
                }
                "done" => format!("{what} were reset"),
                _ => format!("{what} were not reset: {}", text(&["error"])),
            }
        }
        "allowance_submit" => format!("allowance {} submitted by {}", id(), person(entry)),
        "allowance_activate" => format!(
            "allowance {} opened by {}, signed by {}: {} (asked for by {})",
            id(),
            person(entry),
            signers(entry),
            text(&["reason"]),
            text(&["requested_by"])
        ),
        "allowance_join" => format!("allowance {}: pid {} may spend it", id(), number(&["pid"])),
        "allowance_spend" => {
            let (files, bytes) = spent(entry);
            format!("allowance {}: {}, {} spent so far", id(), count(files, "file"), size(bytes))
        }
        "allowance_close" => {
            let (files, bytes) = spent(entry);
            format!(
                "allowance {} is over ({}): {}, {} spent",
                id(),
                text(&["why"]),
                count(files, "file"),
                size(bytes)
            )
        }
        "allowance_revoke" => format!("allowance {} revoked by {}", id(), person(entry)),
        "allowance_refuse" => format!(
            "allowance {} REFUSED ({}), submitted by {}: {}",
            id(),
            text(&["reason"]),
            person(entry),
            text(&["error"]).lines().next().unwrap_or_default()
        ),
        "allowance_unknown" => {
            format!("an unknown allowance (serial {}) was closed", number(&["serial"]))
        }
        "break_glass_open" => format!(
            "BREAK-GLASS {} OPEN for {} ({}) until {}, {} and {} at most, by {}, {}: {}",
            number(&["number"]),
            text(&["zone"]),
            text(&["scope"]),
            text(&["until", "time"]),
            count(number(&["files", "limit"]), "file"),
            size(number(&["bytes", "limit"])),
            by(entry, &["opened_by"]),
            match entry.number(&["code"]) {
                Some(code) => format!("with code {code}"),
                None => format!("signed by {}", text(&["signer", "person"])),
            },
            text(&["reason"])
        ),
        "break_glass_join" => {
            format!("break-glass {}: pid {} may spend it", number(&["number"]), number(&["pid"]))
        }
        "break_glass_spend" | "break_glass_close" => {
            let is = if entry.kind == "break_glass_close" { "over" } else { "still open" };
            let why = entry.text(&["closed", "why"]);
            format!(
                "break-glass {} for {} is {is}{}: {}, {} destroyed under it",
                number(&["number"]),
                text(&["zone"]),
                why.map_or_else(String::new, |why| format!(" ({why})")),
                count(number(&["files", "spent"]), "file"),
                size(number(&["bytes", "spent"]))
            )
        }
        "break_glass_refuse" => format!(
            "break-glass REFUSED ({}, {} times), last for {}: {}",
            text(&["reason"]),
            number(&["count"]),
            person(entry),
            text(&["error"]).lines().next().unwrap_or_default()
        ),
        "break_glass_codes" => format!(
            "{} new break-glass codes made by {}; {} old ones are worthless since then",
            list(entry, &["numbers"]).len(),
            person(entry),
            number(&["replaced"])
        ),
        "manifest_seal" => format!(
            "segment {} of the manifest closed: {}",
            number(&["segment"]),
            count(number(&["records"]), "op")
        ),
        "manifest_summarise" => format!(
            "segment {} of the manifest, with {}, is sums only from now on: there was no more room",
            number(&["segment"]),
            count(number(&["records"]), "op")
        ),
        "policy" => {
            let sha256 = entry.text(&["sha256"]).and_then(|sha256| sha256.get(..12)).unwrap_or("?");
            let error = entry.text(&["error"]).and_then(|error| error.lines().next());
            let error = error.map_or_else(String::new, |error| format!(": {error}"));
            format!("policy {} ({}, sha256 {sha256}){error}", text(&["outcome"]), text(&["cause"]))
        }
        "start" => {
            format!("the agent starts (version {}, pid {})", text(&["version"]), number(&["pid"]))
        }
        "stop" => format!("the agent ends ({})", text(&["signal"])),
        "adopt" => match entry.text(&["error"]) {
            Some(error) => format!("NO GUARD: {error}"),
            None => format!("the guard is up ({})", text(&["started"])),
        },
        "coverage" => {
            let complete = entry.get(&["complete"]) == Some(&Value::Bool(true));
            if complete {
                "proven: every op that was tried was stopped"
            } else {
                "NOT ENFORCING: an op that was tried went on"
            }
            .to_owned()
        }
        "unpin" if entry.number(&["pins"]) == Some(0) => {
            format!("nothing was pinned when user {} wanted the guard off", number(&["uid"]))
        }
        "unpin" => format!(
            "THE GUARD WAS TAKEN OFF by user {} ({} pins)",
            number(&["uid"]),
            number(&["pins"])
        ),
        "head" => format!("segment {} begins ({})", number(&["segment"]), text(&["why"])),
        "checkpoint" => format!("signed ({})", text(&["why"])),
        "torn" => format!(
            "a crash cut {} short: {} bytes are kept in {}",
            text(&["file"]),
            number(&["bytes"]),
            text(&["kept_in"])
        ),
        "behind" => format!(
            "RECORDS ARE MISSING: {} was the last, {} had been there",
            number(&["found_seq"]),
            number(&["expected_seq"])
        ),
        "unmarked" => format!(
            "THE NOTE OF WHERE THE LOG ENDS WAS GONE: {} was the last record that was there; more \
             may have been cut off",
            number(&["found_seq"])
        ),
        "damaged" | "disturbed" => {
            format!("THE LOG WAS CHANGED: {}: {}", text(&["file"]), text(&["what"]))
        }
        "lost" => format!(
            "{} records were lost, from {} to {}",
            number(&["records"]),
            text(&["from"]),
            text(&["to"])
        ),
        "unwritable" => format!(
            "the log could not be written from {} on: {}",
            text(&["from"]),
            text(&["error"])
        ),
        _ => return None,
    })
}
