//! The manifest for people and for programs.

use serde_json::{Value, json};

use super::super::out;
use super::report::Report;
use crate::manifest::{Name, Record, SummaryRow};
use crate::text;

/// Everything, as JSON.
pub(super) fn document(report: &Report, with_records: bool) -> Value {
    let mut document = json!({
        "tenants": report.tenants,
        "summarised": report.summarised,
        "gaps": report.gaps,
        "notes": report.notes,
    });
    if with_records {
        document["records"] = json!(report.records);
        document["unknown"] = json!(report.unknown);
    }
    document
}

/// Which tenants lost how much, from when to when.
pub(super) fn tenants(report: &Report) -> String {
    let mut rows =
        vec![heading(&["ZONE", "ROOT", "TENANT", "OPS", "FILES", "BYTES", "FROM", "TO"])];
    rows.extend(report.tenants.iter().map(|row| {
        vec![
            out::name(&row.zone, None),
            shown(row.root.as_ref()),
            tenant(row),
            row.records.to_string(),
            row.files.to_string(),
            text::size(row.bytes),
            out::name(&row.from, None),
            out::name(&row.to, None),
        ]
    }));
    with_notes(if report.tenants.is_empty() { nothing() } else { out::table(&rows, 0) }, report)
}

/// Everything one tenant lost.
pub(super) fn records(report: &Report) -> String {
    let mut page = String::new();
    for row in &report.tenants {
        page.push_str(&format!(
            "zone {}, root {}, tenant {}: {}, {} and {} from {} to {}\n",
            out::name(&row.zone, None),
            shown(row.root.as_ref()),
            tenant(row),
            text::count(row.records, "op"),
            text::count(row.files, "file"),
            text::size(row.bytes),
            out::name(&row.from, None),
            out::name(&row.to, None)
        ));
        let mut rows = vec![heading(&[
            "TIME",
            "OP",
            "KIND",
            "BYTES",
            "OWNER",
            "BY",
            "UNIT",
            "ALLOWANCE",
            "PATH",
        ])];
        let of_row = |record: &&Record| SummaryRow::of(record).is_same(row);
        rows.extend(report.records.iter().filter(of_row).map(line));
        page.push_str(&out::table(&rows, 2));
    }
    with_notes(if page.is_empty() { nothing() } else { page }, report)
}

fn line(record: &Record) -> Vec<String> {
    let user = record.actor.login_uid.filter(|login| *login != record.actor.uid);
    let user = user.map_or_else(
        || record.actor.uid.to_string(),
        |login| format!("{login} as {}", record.actor.uid),
    );
    let path =
        if record.place.path.0.is_empty() { ".".to_owned() } else { record.place.path.shown() };
    let unseen = if record.unseen { " (may have failed)" } else { "" };
    vec![
        out::name(&record.time, None),
        out::name(&record.op, None),
        out::name(record.kind, None),
        record.bytes.to_string(),
        record.owner.to_string(),
        format!("{}[{}], user {user}", record.actor.comm.shown(), record.actor.pid),
        out::name(&record.actor.unit, None),
        record.actor.allowance.as_ref().map_or_else(|| "-".to_owned(), |id| out::name(id, None)),
        format!("{}{path}{unseen}", if record.place.cut { "…/" } else { "" }),
    ]
}

/// Whose it was.
pub(crate) fn tenant(row: &SummaryRow) -> String {
    match &row.tenant {
        None if row.unknown => "(not known whose)".to_owned(),
        None => "(above all tenants)".to_owned(),
        Some(tenant) if tenant.0.is_empty() => "(the root)".to_owned(),
        Some(tenant) => tenant.shown(),
    }
}

/// A root.
pub(crate) fn shown(root: Option<&Name>) -> String {
    root.map_or_else(|| "?".to_owned(), Name::shown)
}

fn heading(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn nothing() -> String {
    "nothing was destroyed, as far as this was recorded\n".to_owned()
}

fn with_notes(mut page: String, report: &Report) -> String {
    for note in &report.notes {
        page.push_str(note);
        page.push('\n');
    }
    page
}
