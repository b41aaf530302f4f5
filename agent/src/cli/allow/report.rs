//! What became of an allowance, in words: for `show` and `list`, while a command runs under it, and
//! when it is over.

use std::time::Duration;

use crate::api::{
    AllowanceReport, BindReport, ClosedReport, GrantReport, OpenAllowance, Person, Spent,
};
use crate::cli::out;
use crate::{clock, text};

/// Columns of a terminal that a line of progress uses at most.
const WIDTH: usize = 79;

/// Everything about one.
pub(super) fn render(report: &AllowanceReport) -> String {
    let name = |text: &str| out::name(text, None);
    let mut rows =
        vec![row("why", name(&report.reason)), row("asked by", name(&report.requested_by))];
    for (index, signer) in report.signers.iter().enumerate() {
        let touched = match (signer.touched, signer.verified) {
            (Some(true), Some(true)) => ", touched, with PIN or fingerprint",
            (Some(true), _) => ", touched",
            _ => "",
        };
        let signer = format!(
            "{} with {} ({}{touched})",
            name(&signer.person),
            name(&signer.key),
            name(&signer.algorithm)
        );
        rows.push(row(if index == 0 { "signed by" } else { "" }, signer));
    }
    rows.push(row("for", bind(&report.bind)));
    if let Some(opened) = &report.opened {
        let by =
            report.opened_by.as_ref().map_or_else(String::new, |by| format!(" by {}", person(by)));
        rows.push(row("opened", format!("{opened}{by}")));
    }
    if let Some(closed) = &report.closed {
        rows.push(row("closed", format!("{}: {}", closed.at, why(closed))));
    }
    rows.push(row("digest", name(&report.digest)));
    for grant in &report.grants {
        let subtrees: Vec<String> = grant.subtrees.iter().map(|subtree| name(subtree)).collect();
        let what = format!(
            "zone {}: {} in {} ({})",
            name(&grant.zone),
            grant.ops.join(", "),
            subtrees.join(", "),
            text::count(grant.places as u64, "place")
        );
        rows.push(row("grant", what));
        rows.push(row("spent", sides(grant)));
    }
    // Of an id that was revoked before anybody submitted it, nothing else is known.
    rows.retain(|row| row.iter().all(|cell| !cell.is_empty()) || row[0].is_empty());
    format!("{}\n{}", head(report), out::table(&rows, 2))
}

/// All of them, one or two lines each.
pub(super) fn list(reports: &[AllowanceReport]) -> String {
    if reports.is_empty() {
        return "this host has seen no allowance\n".to_owned();
    }
    let mut page = String::new();
    for report in reports {
        page.push_str(&head(report));
        page.push('\n');
        if !report.reason.is_empty() {
            let who = out::name(&report.requested_by, None);
            page.push_str(&format!("  {who}: {}\n", out::name(&report.reason, None)));
        }
        for grant in &report.grants {
            page.push_str(&format!("  {}: {}\n", out::name(&grant.zone, None), sides(grant)));
        }
    }
    page.push_str("\nholdfast allow show ID tells everything about one\n");
    page
}

/// `allowance CHG-1  OPEN until 2026-07-01T22:00:00.000Z (1h 12m left)`
fn head(report: &AllowanceReport) -> String {
    let state = match (report.state.as_str(), &report.until, report.seconds_left, &report.closed) {
        ("open", Some(until), Some(seconds), _) => {
            format!("OPEN until {} ({} left)", until.time, seconds_words(seconds))
        }
        ("revoked", _, _, Some(closed)) => {
            format!("{} before it was ever used here", why(closed))
        }
        ("failed", ..) => "could not be opened; it can be submitted again".to_owned(),
        (state, _, _, Some(closed)) => format!("{}: {}", out::name(state, None), why(closed)),
        (state, ..) => out::name(state, None),
    };
    format!("allowance {}  {state}", out::name(&report.id, None))
}

/// What a command has spent and has left, in one line of a terminal.
pub(in crate::cli) fn progress(report: &AllowanceReport) -> String {
    let left = report.seconds_left.map_or_else(
        || out::name(&report.state, None),
        |seconds| format!("{} left", seconds_words(seconds)),
    );
    let grants: Vec<String> =
        report.grants.iter().map(|grant| short(grant, report.grants.len())).collect();
    let line = format!("holdfast: {left}; {}", grants.join("; "));
    match line.char_indices().nth(WIDTH) {
        None => line,
        Some(_) => line.chars().take(WIDTH - 1).chain(['…']).collect(),
    }
}

/// `12/1000 files, 1.0 KiB/10.0 GiB, 1/20 tenants`
fn short(grant: &GrantReport, of: usize) -> String {
    let GrantReport { files, bytes, tenants, .. } = grant;
    let zone = if of > 1 { format!("{} ", out::name(&grant.zone, None)) } else { String::new() };
    format!(
        "{zone}{}/{} files, {}/{}, {}/{} tenants",
        files.spent,
        files.limit,
        text::size(bytes.spent),
        text::size(bytes.limit),
        tenants.spent,
        tenants.limit
    )
}

/// What is told when a command has ended.
pub(in crate::cli) fn closing(report: &AllowanceReport) -> String {
    let id = out::name(&report.id, None);
    let how = match &report.closed {
        Some(closed) => format!("is closed: {}", why(closed)),
        None => format!("is {}", report.state),
    };
    let rows: Vec<Vec<String>> = report
        .grants
        .iter()
        .map(|grant| vec![format!("zone {}", out::name(&grant.zone, None)), sides(grant)])
        .collect();
    format!("holdfast: allowance {id} {how}\n{}", out::table(&rows, 2))
}

/// One that is open, for `holdfast status`.
pub(in crate::cli) fn status_line(open: &OpenAllowance) -> String {
    format!(
        "ALLOWED {} until {} ({} left): {} files, {}; for {}",
        out::name(&open.id, None),
        open.until.time,
        seconds_words(open.seconds_left),
        of(open.files, |n| n.to_string()),
        of(open.bytes, text::size),
        bind(&open.bind)
    )
}

/// How it ended, in a sentence.
fn why(closed: &ClosedReport) -> String {
    let by = closed.by.as_ref().map_or_else(String::new, |by| format!(" by {}", person(by)));
    let what = match closed.why.as_str() {
        "revoked" => return format!("revoked{by}"),
        "closed" => return format!("closed{by}"),
        "finished" => "its command has ended",
        "never_started" => "its command never started",
        "expired" => "its time was over",
        "rebooted" => "the host was started anew",
        "policy" => "the policy no longer has one of its zones",
        "lost" => "the kernel had it no more",
        other => return format!("{}{by}", out::name(other, None)),
    };
    what.to_owned()
}

fn bind(bind: &BindReport) -> String {
    let command = bind.command.as_ref().map(|command| {
        let pid = bind.pid.map_or_else(|| "not started yet".to_owned(), |pid| format!("pid {pid}"));
        format!("`{}` and what it starts ({pid})", out::name(command, None))
    });
    let user = bind.user.as_ref().map(|user| match &user.name {
        Some(name) => format!("user {} ({})", out::name(name, None), user.uid),
        None => format!("user {}", user.uid),
    });
    let unit = bind.unit.as_ref().map(|unit| format!("unit {}", out::name(unit, None)));
    let parts: Vec<String> = [command, user, unit].into_iter().flatten().collect();
    parts.join(", ")
}

fn person(person: &Person) -> String {
    let login = person.login_uid.filter(|login| *login != person.uid);
    let login = login.map_or_else(String::new, |login| format!(", login user {login}"));
    let comm = person
        .comm
        .as_ref()
        .map_or_else(String::new, |comm| format!(" with {}", out::name(comm, None)));
    format!("user {}{login}{comm}", person.uid)
}

/// `12 of 1000 files, 1.0 KiB of 10.0 GiB, 1 of 20 tenants spent; 988 files, 10.0 GiB, 19 tenants
/// left`
fn sides(grant: &GrantReport) -> String {
    let GrantReport { files, bytes, tenants, .. } = grant;
    let plain = |n: u64| n.to_string();
    format!(
        "{} files, {}, {} tenants spent; {}, {}, {} left",
        of(*files, plain),
        of(*bytes, text::size),
        of(*tenants, plain),
        text::count(files.left, "file"),
        text::size(bytes.left),
        text::count(tenants.left, "tenant")
    )
}

fn of(side: Spent, show: impl Fn(u64) -> String) -> String {
    format!("{} of {}", show(side.spent), show(side.limit))
}

fn seconds_words(seconds: u64) -> String {
    clock::words(Duration::from_secs(seconds))
}

fn row(name: &str, value: String) -> Vec<String> {
    vec![name.to_owned(), value]
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
