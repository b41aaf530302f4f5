//! Everything that was asked for, and what there is to say about its limits.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use super::select::Select;
use crate::manifest::{Gap, GapWhy, Line, Name, Record, Records, SummaryRow};
use crate::text;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Records of the tenant that was asked for; none if none was.
    pub(super) records: Vec<Record>,
    /// Sums by zone, root and tenant.
    pub(super) tenants: Vec<SummaryRow>,
    /// Sums of which the records are gone.
    pub(super) summarised: Vec<SummaryRow>,
    /// What is missing.
    pub(super) gaps: Vec<Gap>,
    /// What somebody has to know who relies on it.
    pub(super) notes: Vec<String>,
}

type Tenant = (String, Option<Name>, Option<Name>);

impl Report {
    /// Reads what was asked for.
    pub(super) fn read(dir: &Path, select: &Select) -> Result<Self, (PathBuf, io::Error)> {
        let mut gathering = Gathering::default();
        let found = Records::read(dir, &mut |line| gathering.take(line, select))?;
        let mut report = gathering.report;
        report
            .tenants
            .sort_by(|a, b| (&a.zone, &a.root, &a.tenant).cmp(&(&b.zone, &b.root, &b.tenant)));
        let summary = found.summary;
        report.summarised.extend(summary.rows.into_iter().filter(|row| select.takes_sum(row)));
        report.gaps.extend(summary.gaps.into_iter().filter(|gap| select.takes_gap(gap)));
        if !found.is_there {
            report.notes.push(format!("there is no manifest in {}", dir.display()));
        }
        if found.unreadable > 0 {
            let lines = text::count(found.unreadable, "line");
            report
                .notes
                .push(format!("{lines} cannot be read: the disk, or somebody, has changed them"));
        }
        for (zone, from) in gathering.off {
            if select.is_zone(&zone) && select.until.as_ref().is_none_or(|until| from <= *until) {
                report.notes.push(off(&zone, &from, None));
            }
        }
        report.notes.extend(report.gaps.iter().filter_map(gap));
        report.notes.extend(report.summarised.iter().map(sum));
        Ok(report)
    }

    /// The tenants that records are of, those whose root is not known left out where another tells it.
    pub(super) fn places(&self) -> Vec<&SummaryRow> {
        let is_known_elsewhere = |row: &SummaryRow| {
            row.root.is_none()
                && self.tenants.iter().any(|other| {
                    other.root.is_some() && (&other.zone, &other.tenant) == (&row.zone, &row.tenant)
                })
        };
        self.tenants.iter().filter(|row| !is_known_elsewhere(row)).collect()
    }
}

#[derive(Default)]
struct Gathering {
    report: Report,
    index: HashMap<Tenant, usize>,
    /// Zones that are not recorded, and since when.
    off: BTreeMap<String, String>,
}

impl Gathering {
    fn take(&mut self, line: Line, select: &Select) {
        match line {
            Line::Gone(record) if select.takes(&record) => {
                let row = SummaryRow::of(&record);
                let key = (row.zone.clone(), row.root.clone(), row.tenant.clone());
                match self.index.get(&key) {
                    Some(&index) => self.report.tenants[index].add(&row),
                    None => {
                        self.index.insert(key, self.report.tenants.len());
                        self.report.tenants.push(row);
                    }
                }
                if select.tenant.is_some() {
                    self.report.records.push(*record);
                }
            }
            Line::Gap(gap) if select.takes_gap(&gap) => self.report.gaps.push(gap),
            Line::Switch { time, zone, manifest: false } => {
                self.off.entry(zone).or_insert(time);
            }
            Line::Switch { time, zone, manifest: true } => {
                if let Some(from) = self.off.remove(&zone)
                    && select.is_zone(&zone)
                    && select.is_in(&from, &time)
                {
                    self.report.notes.push(off(&zone, &from, Some(&time)));
                }
            }
            Line::Gone(_)
            | Line::Gap(_)
            | Line::Head { .. }
            | Line::Ring { .. }
            | Line::Stop { .. }
            | Line::End { .. } => {}
        }
    }
}

fn off(zone: &str, from: &str, to: Option<&str>) -> String {
    let to = to.map_or_else(|| "on".to_owned(), |to| format!("to {to}"));
    format!("zone {zone} was not recorded from {from} {to}: its policy said `manifest = false`")
}

/// A gap in a sentence; `None` where nothing is missing.
fn gap(gap: &Gap) -> Option<String> {
    let zone =
        gap.zone.as_ref().map_or_else(|| "any zone".to_owned(), |zone| format!("zone {zone}"));
    let lost = match gap.lost {
        Some(0) => return None,
        Some(lost) => format!(
            "{} missing",
            if lost == 1 { "1 op is".to_owned() } else { format!("{lost} ops are") }
        ),
        None => "ops may be missing".to_owned(),
    };
    // One that tells when the agent began is no news to anybody if it ended as it should.
    let why = gap.why.words();
    let help = match gap.why {
        GapWhy::RingFull => "; compare the tenant with its backup",
        GapWhy::NewRing | GapWhy::Unreadable | GapWhy::Torn => "",
    };
    Some(format!("GAP: {lost} in {zone} between {} and {}: {why}{help}", gap.from, gap.to))
}

fn sum(row: &SummaryRow) -> String {
    let whose = match (&row.tenant, row.several) {
        (_, true) => "of tenants that were put together".to_owned(),
        (Some(tenant), false) if tenant.0.is_empty() => "of this root".to_owned(),
        (Some(tenant), false) => format!("of tenant {}", tenant.shown()),
        (None, false) => "above all tenants".to_owned(),
    };
    format!(
        "SUMMARISED: {} {whose} in zone {} between {} and {} ({}, {}) are no longer listed: there was no more room",
        text::count(row.records, "op"),
        row.zone,
        row.from,
        row.to,
        text::count(row.files, "file"),
        text::size(row.bytes)
    )
}
