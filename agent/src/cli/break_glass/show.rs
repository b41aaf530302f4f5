//! What is told about break-glass, for people.

use std::fmt::Write as _;
use std::time::Duration;

use crate::api::{CodesReport, GlassReport, GlassStatus, NewCodesReport, Person, Spent};
use crate::cli::out;
use crate::{clock, text};

/// What an operator has to know about every one.
const DETACH: &str = "not covered: moving or renaming a whole directory out of the zone (detach) \
                      stays denied, as nobody knows how much that is; remove what is in it instead";

/// Right below the level, in `holdfast status`.
pub(in crate::cli) fn status_line(open: &GlassReport) -> String {
    format!(
        "BREAK-GLASS  OPEN in zone {} for {}, {} left: {}; \"{}\"; `holdfast break-glass close` \
         ends it",
        out::name(&open.zone, None),
        whom(open),
        left(open),
        spent(open),
        out::name(&open.reason, None),
    )
}

/// One that was just opened.
pub(super) fn opened(report: &GlassReport) -> String {
    format!(
        "BREAK-GLASS OPEN in zone {} for {}, for {}\n  amount   {}\n  {DETACH}\n  everybody on \
         this host was told; `holdfast break-glass close` ends it early\n",
        out::name(&report.zone, None),
        whom(report),
        left(report),
        spent(report),
    )
}

/// One that is over.
pub(super) fn closed(report: &GlassReport) -> String {
    let why = report.closed.as_ref().map_or("?", |closed| closed.why.as_str());
    format!(
        "break-glass {} in zone {} is over ({why}): {}{}\n",
        report.number,
        out::name(&report.zone, None),
        spent(report),
        ops(report),
    )
}

pub(super) fn status(status: &GlassStatus) -> String {
    let mut page = String::new();
    match &status.open {
        Some(open) => {
            page += &format!("{}\n", status_line(open));
            for (name, value) in details(open) {
                let _ = writeln!(page, "  {name:<8} {value}");
            }
            let _ = writeln!(page, "  {DETACH}");
        }
        None => page += "no break-glass is open\n",
    }
    match status.max_seconds {
        Some(seconds) => {
            let files = status.max_files.unwrap_or_default();
            let bytes = status.max_bytes.unwrap_or_default();
            let zones: Vec<String> =
                status.zones.iter().map(|zone| out::name(zone, None)).collect();
            let _ = writeln!(
                page,
                "policy   zones {}; at most {}, {files} files, {}",
                zones.join(", "),
                clock::words(Duration::from_secs(seconds)),
                text::size(bytes)
            );
        }
        None => page += "policy   none can be opened: it has no [break_glass]\n",
    }
    let _ = writeln!(page, "codes    {} left", status.codes_left);
    if status.wrong_codes > 0 {
        let _ = writeln!(
            page,
            "WARNING  {} wrong or used codes were given of late",
            status.wrong_codes
        );
    }
    for over in &status.closed {
        let by = person(&over.opened_by);
        let _ = write!(
            page,
            "{}  by {by}, \"{}\": {}",
            over.opened,
            out::name(&over.reason, None),
            closed(over)
        );
    }
    page
}

pub(super) fn new_codes(report: &NewCodesReport) -> String {
    let mut page = String::from(
        "These codes are shown this once. Print them, and put each where it is found at night: a \
         sealed envelope, a vault.\n\n",
    );
    for code in &report.codes {
        let _ = writeln!(page, "{:>4}   {}", code.number, code.code.0);
    }
    let _ = writeln!(
        page,
        "\nEach opens one break-glass on this host, once. {} can be used now. Case and dashes do \
         not matter; there is no I, L, O or U.",
        report.left
    );
    if let Some(warning) = &report.warning {
        let _ = writeln!(page, "WARNING: {warning}");
    }
    page
}

pub(super) fn codes(report: &CodesReport) -> String {
    let mut page = format!("{} left\n", text::count(report.left as u64, "code"));
    for code in &report.codes {
        let used = match (&code.used, &code.used_by) {
            (Some(at), Some(by)) => format!("used {at} by {}", person(by)),
            (Some(at), None) => format!("used {at}"),
            (None, _) => "unused".to_owned(),
        };
        let _ = writeln!(page, "{:>4}   made {}   {used}", code.number, code.made);
    }
    page
}

fn details(report: &GlassReport) -> Vec<(&'static str, String)> {
    let proof = match (&report.code, &report.signer) {
        (Some(code), _) => format!("code {code}"),
        (None, Some(signer)) => format!("signature of {}", out::name(&signer.person, None)),
        (None, None) => "?".to_owned(),
    };
    let until = report.until.as_ref().map_or_else(String::new, |until| until.time.clone());
    vec![
        ("opened", format!("{} by {} with {proof}", report.opened, person(&report.opened_by))),
        ("until", until),
        ("spent", format!("{}{}", spent(report), ops(report))),
    ]
}

fn whom(report: &GlassReport) -> String {
    match (&report.command, report.pid) {
        (Some(command), Some(pid)) => format!("`{}` (pid {pid})", out::name(command, None)),
        (Some(command), None) => format!("`{}`", out::name(command, None)),
        (None, _) => "everybody".to_owned(),
    }
}

fn left(report: &GlassReport) -> String {
    clock::words(Duration::from_secs(report.seconds_left.unwrap_or_default()))
}

fn spent(report: &GlassReport) -> String {
    let Spent { limit, spent, .. } = report.files;
    format!(
        "{spent} of {limit} files, {} of {} spent",
        text::size(report.bytes.spent),
        text::size(report.bytes.limit)
    )
}

fn ops(report: &GlassReport) -> String {
    let ops: Vec<String> = report.ops.iter().map(|(op, count)| format!("{op} {count}")).collect();
    if ops.is_empty() { String::new() } else { format!(" ({})", ops.join(", ")) }
}

fn person(person: &Person) -> String {
    match person.login_uid {
        Some(login) if login != person.uid => {
            format!("uid {} (logged in as uid {login})", person.uid)
        }
        Some(_) | None => format!("uid {}", person.uid),
    }
}
