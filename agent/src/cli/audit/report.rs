//! `holdfast audit report`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::manifest::{report::Report, select::Select, show};
use super::super::{Dirs, Exit, Failure, out};
use super::{ReportArgs, moment, unreadable};
use crate::audit::read::{Read, Reader};
use crate::audit::verify;
use crate::clock::{Now, rfc3339};
use crate::incident::{Destroyed, Incident, html, text};
use crate::manifest::{self, DIRECTORY, Finding, SummaryRow};
use crate::text::count;

pub(super) fn run(dirs: &Dirs, args: &ReportArgs) -> Result<Exit, Failure> {
    let now = Now::read();
    let dir = args.log.dir(dirs);
    let keys = args.keys.read()?;
    let since = moment("since", &args.since, now)?;
    let until = match &args.until {
        Some(until) => moment("until", until, now)?,
        None => now.unix_seconds().saturating_add(1) * 1000,
    };
    if until <= since {
        return Err(Failure::new(Exit::BadInput, "--until is not after --since"));
    }
    let failed = |error: std::io::Error| unreadable(&dir, &error);
    let summary = verify(&dir, &keys, &[]).map_err(failed)?;
    let mut incident = Incident::new(since, until, args.zone.clone());
    let mut reader = Reader::open(&dir).map_err(failed)?;
    while let Some(read) = reader.next().map_err(failed)? {
        match read {
            Read::Entry(entry) => incident.take(&entry),
            Read::NoRecord { .. } => incident.unreadable_lines += 1,
        }
    }
    incident.destroyed = destroyed(&manifest_dir(dirs, args), &dir, &incident);
    match &args.html {
        None => out::text(&text(&incident, &summary, now))?,
        Some(path) => {
            std::fs::write(path, html(&incident, &summary, now)).map_err(|error| {
                Failure::new(Exit::Failure, format!("cannot write {}: {error}", out::path(path)))
            })?;
            out::text(&format!("written: {}", out::path(path)))?;
        }
    }
    Ok(if summary.sound { Exit::Ok } else { Exit::Failure })
}

/// Where the manifest is: beside the log, unless it is told.
fn manifest_dir(dirs: &Dirs, args: &ReportArgs) -> PathBuf {
    let beside = args.log.dir.as_ref().map(|log| log.join("..").join(DIRECTORY));
    let told = args.manifest.clone().or(beside);
    told.unwrap_or_else(|| dirs.state_dir.join(DIRECTORY))
}

/// What the manifest in `dir` says about the time (and zone) of an incident. A report without one
/// is worth having, too.
fn destroyed(dir: &Path, log: &Path, incident: &Incident) -> Destroyed {
    let time = |millis: i64| Some(rfc3339(millis.saturating_mul(1_000_000)));
    let select = Select {
        zone: incident.zone.clone(),
        since: time(incident.since),
        until: time(incident.until.saturating_sub(1)),
        ..Select::default()
    };
    let report = match Report::read(dir, &select) {
        Ok(report) => report,
        Err((path, error)) => {
            return Destroyed::unknown(&format!(
                "not known: cannot read {}: {error}",
                path.display()
            ));
        }
    };
    if !report.is_there {
        let why =
            format!("not known: there is no manifest in {}; --manifest names one", dir.display());
        return Destroyed::unknown(&why);
    }
    let (seals, is_changed) = match manifest::verify(dir, log) {
        Ok(findings) => seals(&findings),
        Err(error) => {
            (vec![format!("whether it is as it was sealed cannot be told: {error}")], true)
        }
    };
    let name = |row: &SummaryRow| {
        let (zone, root) = (out::name(&row.zone, None), show::shown(row.root.as_ref()));
        format!("{} in {zone} ({root})", show::tenant(row))
    };
    let tenants = report.tenants.into_iter().map(|row| (name(&row), row)).collect();
    let (from, notes) = (report.from, report.notes);
    Destroyed { is_known: true, tenants, from, seals, is_changed, notes }.sorted()
}

/// What was found about its segments, and whether any of it is wrong.
fn seals(findings: &[Finding]) -> (Vec<String>, bool) {
    let wrong: Vec<String> = findings
        .iter()
        .filter(|found| !found.ok)
        .map(|found| format!("NOT AS IT WAS SEALED: segment {}: {}", found.segment, found.says))
        .collect();
    if !wrong.is_empty() {
        return (wrong, true);
    }
    let mut states = BTreeMap::<&str, u64>::new();
    for found in findings {
        *states.entry(found.state).or_default() += 1;
    }
    let states: Vec<String> =
        states.iter().map(|(state, n)| format!("{} {state}", count(*n, "segment"))).collect();
    let told = if states.is_empty() { "no segment yet".to_owned() } else { states.join(", ") };
    (vec![format!("as it was sealed: {told}")], false)
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
