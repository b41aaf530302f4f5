//! The manifest for people and for programs.

use std::iter;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::super::out;
use super::report::Report;
use crate::manifest::{Name, Record, SummaryRow};
use crate::text;

/// Everything, as JSON. Keys are in alphabetical order everywhere.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    gaps: Value,
    notes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "one_by_one")]
    records: Option<&'a [Record]>,
    summarised: Value,
    tenants: Value,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "one_by_one")]
    unknown: Option<&'a [Record]>,
}

pub(super) fn document(report: &Report, with_records: bool) -> Document<'_> {
    Document {
        gaps: json!(report.gaps),
        notes: &report.notes,
        records: with_records.then_some(&report.records),
        summarised: json!(report.summarised),
        tenants: json!(report.tenants),
        unknown: with_records.then_some(&report.unknown),
    }
}

/// A [`Value`] has several kilobytes for each record: only one is there at a time.
fn one_by_one<S: Serializer>(
    records: &Option<&[Record]>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(records.iter().copied().flatten().map(|record| json!(record)))
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
    let rows = if report.tenants.is_empty() { &[][..] } else { &rows };
    with_notes(out::table_lines(rows.iter(), 0), report).collect()
}

/// Everything one tenant lost, line by line.
pub(super) fn records<'a>(report: &'a Report) -> impl Iterator<Item = String> {
    let of_tenant = |row: &'a SummaryRow| {
        let summary = format!(
            "zone {}, root {}, tenant {}: {}, {} and {} from {} to {}\n",
            out::name(&row.zone, None),
            shown(row.root.as_ref()),
            tenant(row),
            text::count(row.records, "op"),
            text::count(row.files, "file"),
            text::size(row.bytes),
            out::name(&row.from, None),
            out::name(&row.to, None)
        );
        let heading =
            heading(&["TIME", "OP", "KIND", "BYTES", "OWNER", "BY", "UNIT", "ALLOWANCE", "PATH"]);
        let rows = report.records.iter().filter(|record| row.has(record)).map(line);
        let rows = iter::once(heading).chain(rows);
        iter::once(summary).chain(out::table_lines(rows, 2))
    };
    with_notes(report.tenants.iter().flat_map(of_tenant), report)
}

fn line(record: &Record) -> Vec<String> {
    let (file, dir, actor) = (&record.file, &record.dir, &record.actor);
    let user = actor.login_uid.filter(|login| *login != actor.uid);
    let user =
        user.map_or_else(|| actor.uid.to_string(), |login| format!("{login} as {}", actor.uid));
    let path = record.path();
    let path = if path.0.is_empty() { ".".to_owned() } else { path.shown() };
    let unseen = if file.unseen { " (may have failed)" } else { "" };
    vec![
        record.time(),
        out::name(&file.op, None),
        record.kind().to_owned(),
        file.bytes.to_string(),
        dir.owner.to_string(),
        format!("{}[{}], user {user}", actor.comm.shown(), actor.pid),
        out::name(&actor.unit, None),
        actor.allowance.as_ref().map_or_else(|| "-".to_owned(), |id| out::name(id, None)),
        format!("{}{path}{unseen}", if dir.place.cut { "…/" } else { "" }),
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

fn with_notes(page: impl Iterator<Item = String>, report: &Report) -> impl Iterator<Item = String> {
    let nothing = "nothing was destroyed, as far as this was recorded\n".to_owned();
    let nothing = report.tenants.is_empty().then_some(nothing);
    nothing.into_iter().chain(page).chain(report.notes.iter().map(|note| format!("{note}\n")))
}
