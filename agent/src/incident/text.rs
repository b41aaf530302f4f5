//! An incident as text for a terminal.

use std::fmt::Write as _;

use super::destroyed::Destroyed;
use super::gather::{Incident, Ops};
use crate::audit::Summary;
use crate::clock::{Now, rfc3339};
use crate::manifest::SummaryRow;
use crate::text::{count, for_terminal, size};

/// Rows of the tables.
const TABLE: usize = 30;

/// The page.
pub(crate) fn text(incident: &Incident, log: &Summary, now: Now) -> String {
    let mut page = String::new();
    let mut line = |text: &str| {
        page.push_str(text);
        page.push('\n');
    };
    let host = incident.host.as_deref().unwrap_or("?");
    line(&format!("INCIDENT  {} to {}", time(incident.since), time(incident.until)));
    let zone = incident.zone.as_deref().map_or("all".to_owned(), for_text);
    line(&format!("host      {}, zones: {zone}; written {}", for_text(host), now.wall()));
    for row in verified(log) {
        line(&format!("log       {}", for_text(&row)));
    }
    for gap in &incident.gaps {
        line(&format!("gap       {}", for_text(gap)));
    }
    line(&format!("records   {}", incident.records));
    line("\nHOW MUCH was over budget");
    if incident.ops.is_empty() {
        line("  nothing that was recorded");
    }
    for ((zone, became), ops) in &incident.ops {
        line(&format!("  {}: {became}: {}: {}", for_text(zone), count(ops.ops, "op"), amount(ops)));
    }
    let mut zones: Vec<&String> = incident.ops.keys().map(|(zone, _)| zone).collect();
    zones.dedup();
    for zone in zones {
        line(&format!(
            "  {}: {} in these records",
            for_text(zone),
            count(incident.tenants_of(zone) as u64, "tenant")
        ));
    }
    line("\nWHO");
    table(&mut line, incident.actors.iter().map(|(who, ops)| (who.clone(), *ops)).collect());
    line("\nWHOSE DATA");
    let tenants = incident.tenants.iter();
    table(
        &mut line,
        tenants.map(|((zone, name), ops)| (format!("{name} in {zone}"), *ops)).collect(),
    );
    destroyed(&mut line, &incident.destroyed);
    line("\nHELD AND RELEASED");
    if incident.holds.is_empty() {
        line("  nobody");
    }
    for ((number, zone), hold) in &incident.holds {
        line(&format!("  hold {number} in {}: {}", for_text(zone), count(hold.held, "pause")));
        hold.actors
            .iter()
            .take(TABLE)
            .for_each(|who| line(&format!("    who      {}", for_text(who))));
        hold.decisions.iter().for_each(|what| line(&format!("    decided  {}", for_text(what))));
        for (outcome, n) in &hold.ended {
            line(&format!("    ended    {n} {}", for_text(outcome)));
        }
    }
    line("\nALLOWANCES");
    if incident.allowances.values().all(|allowance| allowance.is_quiet()) {
        line("  none");
    }
    for (id, allowance) in incident.allowances.iter().filter(|(_, allowance)| !allowance.is_quiet())
    {
        line(&format!("  {}", for_text(id)));
        for (name, value) in allowance.facts() {
            line(&format!("    {name:<8} {}", for_text(&value)));
        }
    }
    line("\nBREAK-GLASS");
    let glasses = incident.glasses.facts(incident.since, &incident.destroyed);
    if glasses.is_empty() {
        line("  none was open");
    }
    for (heading, facts) in glasses {
        line(&format!("  {}", for_text(&heading)));
        for (name, value) in facts {
            line(&format!("    {name:<8} {}", for_text(&value)));
        }
    }
    for what in incident.glasses.told() {
        line(&format!("  {}", for_text(&what)));
    }
    line("\nTIMELINE");
    for row in &incident.timeline {
        let more = match row.records {
            1 => String::new(),
            n => format!(" ({n} such records, the last at {})", time(row.last)),
        };
        line(&format!("  {}  {:>6}  {}{more}", for_text(&row.time), row.seq, for_text(&row.text)));
    }
    line("\nNOT KNOWN");
    for what in incident.unknown() {
        line(&format!("  {}", for_text(&what)));
    }
    page
}

/// What the manifest says; its texts are safe already.
fn destroyed(line: &mut impl FnMut(&str), destroyed: &Destroyed) {
    line("\nDESTROYED, as the manifest has it");
    for seal in &destroyed.seals {
        line(&format!("  {seal}"));
    }
    if destroyed.is_known && destroyed.tenants.is_empty() {
        line("  nothing, as far as this was recorded");
    }
    for (name, row) in destroyed.tenants.iter().take(TABLE) {
        line(&format!("  {name}: {}", lost(row)));
    }
    if destroyed.tenants.len() > TABLE {
        line(&format!("  and {} more", destroyed.tenants.len() - TABLE));
    }
    if !destroyed.tenants.is_empty() {
        line(&format!("  in all: {}", destroyed.total()));
        for (from, sum) in destroyed.by_ground() {
            line(&format!("    {from}: {sum}"));
        }
    }
    for note in &destroyed.notes {
        line(&format!("  {note}"));
    }
}

/// What one tenant lost.
fn lost(row: &SummaryRow) -> String {
    format!(
        "{}, {}, {}, {} to {}",
        count(row.records, "op"),
        count(row.files, "file"),
        size(row.bytes),
        for_text(&row.from),
        for_text(&row.to)
    )
}

/// Whether the log can be trusted, first of all.
pub(super) fn verified(log: &Summary) -> Vec<String> {
    let mut rows = Vec::new();
    match &log.bad {
        None => rows.push(format!(
            "VERIFIED: {} in {}, {} checked",
            count(log.records, "record"),
            count(log.segments, "segment"),
            count(log.signatures, "signature")
        )),
        Some(bad) => rows.push(format!(
            "NOT SOUND: {}:{}, record {}: {}: {}. What follows may have been changed",
            bad.file,
            bad.line,
            bad.seq.map_or_else(|| "?".to_owned(), |seq| seq.to_string()),
            bad.what,
            bad.means
        )),
    }
    if !log.key_given {
        rows.push("the key is the log's own word (--key was not given)".to_owned());
    }
    if log.unsigned > 0 {
        rows.push(format!("the last {} are not signed", count(log.unsigned, "record")));
    }
    rows
}

/// Files and bytes, gone and stopped.
pub(super) fn amount(ops: &Ops) -> String {
    let mut text = String::new();
    let side = |(files, bytes): (u64, u64)| format!("{}, {}", count(files, "file"), size(bytes));
    if ops.gone != (0, 0) {
        let _ = write!(text, "{} destroyed", side(ops.gone));
    }
    if ops.stopped != (0, 0) {
        let and = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{and}{} stopped", side(ops.stopped));
    }
    if text.is_empty() {
        text.push_str("of unknown cost, or none");
    }
    if ops.suppressed > 0 {
        let _ = write!(text, " (and {} events left out)", ops.suppressed);
    }
    text
}

fn table(line: &mut impl FnMut(&str), mut rows: Vec<(String, Ops)>) {
    if rows.is_empty() {
        line("  nobody that was recorded");
    }
    sort(&mut rows);
    for (name, ops) in rows.iter().take(TABLE) {
        line(&format!("  {}: {}: {}", for_text(name), count(ops.ops, "op"), amount(ops)));
    }
    if rows.len() > TABLE {
        line(&format!("  and {} more", rows.len() - TABLE));
    }
}

/// Most ops first.
pub(super) fn sort(rows: &mut [(String, Ops)]) {
    rows.sort_by_key(|(_, ops)| std::cmp::Reverse(ops.ops));
}

pub(super) fn time(millis: i64) -> String {
    rfc3339(millis.saturating_mul(1_000_000))
}

fn for_text(text: &str) -> String {
    for_terminal(text.as_bytes())
}
