//! Everything that was asked for, and what there is to say about its limits.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use super::super::out;
use super::select::Select;
use crate::manifest::{
    Gap, GapWhy, Line, Off, Record, Records, RowKey, SpentFrom, Sum, SummaryRow,
};
use crate::text;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Records of the tenant that was asked for; none if none was.
    pub(crate) records: Vec<Record>,
    /// Records that may be of the tenant that was asked for: nobody knows whose they are. None if
    /// none was.
    pub(crate) unknown: Vec<Record>,
    /// Whether there is a manifest at all.
    pub(crate) is_there: bool,
    /// Sums by what let the ops go on.
    pub(crate) from: BTreeMap<SpentFrom, Sum>,
    /// Sums by zone, root and tenant.
    pub(crate) tenants: Vec<SummaryRow>,
    /// Sums of which the records are gone.
    pub(crate) summarised: Vec<SummaryRow>,
    /// What is missing.
    pub(crate) gaps: Vec<Gap>,
    /// What somebody has to know who relies on it.
    pub(crate) notes: Vec<String>,
}

impl Report {
    /// Reads what was asked for.
    pub(crate) fn read(dir: &Path, select: &Select) -> Result<Self, (PathBuf, io::Error)> {
        let mut gathering = Gathering::default();
        let found = Records::read(dir, &mut |line| gathering.take(line, select))?;
        let mut report = gathering.report;
        report.tenants.sort_by_cached_key(SummaryRow::key);
        report.is_there = found.is_there;
        let summary = found.summary;
        report.summarised.extend(summary.rows.into_iter().filter(|row| select.takes_sum(row)));
        report.gaps.extend(summary.gaps.into_iter().filter(|gap| select.takes_gap(gap)));
        if !found.is_there {
            report.notes.push(format!("there is no manifest in {}", out::path(dir)));
        }
        if found.unreadable > 0 {
            let lines = text::count(found.unreadable, "line");
            report
                .notes
                .push(format!("{lines} cannot be read: the disk, or somebody, has changed them"));
        }
        if !report.unknown.is_empty() {
            report.notes.push(format!(
                "NOT KNOWN WHOSE: {} here may be of this tenant, or of another: the kernel could \
                 not tell; they are in none of the lists, see `unknown` in --json",
                text::count(report.unknown.len() as u64, "op")
            ));
        }
        report.notes.extend(found.off.iter().filter(|span| select.takes_off(span)).map(off));
        report.notes.extend(report.gaps.iter().filter_map(gap));
        report.notes.extend(report.summarised.iter().map(sum));
        Ok(report)
    }

    /// The tenants that records are of, those whose root is not known left out where another tells
    /// it.
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
    index: HashMap<RowKey, usize>,
}

impl Gathering {
    fn take(&mut self, line: Line, select: &Select) {
        match line {
            Line::Gone(record) => self.record(*record, select),
            Line::Gap(gap) if select.takes_gap(&gap) => self.report.gaps.push(gap),
            _ => {}
        }
    }

    fn record(&mut self, record: Record, select: &Select) {
        let row = SummaryRow::of(&record);
        if select.takes(&record, &row) {
            let key = row.key();
            self.report.from.entry(SpentFrom::of(&record)).or_default().add(&record, &key);
            match self.index.get(&key) {
                Some(&index) => self.report.tenants[index].add(&row),
                None => {
                    self.index.insert(key, self.report.tenants.len());
                    self.report.tenants.push(row);
                }
            }
            if select.tenant.is_some() {
                self.report.records.push(record);
            }
        } else if select.may_be_of_tenant(&record, &row) {
            self.report.unknown.push(record);
        }
    }
}

fn off(off: &Off) -> String {
    let to = off.to.as_ref().map_or_else(|| "on".to_owned(), |to| format!("to {}", shown(to)));
    format!(
        "zone {} was not recorded{} from {} {to}: its policy said `manifest = false`",
        shown(&off.zone),
        if off.several { " for some of the time" } else { "" },
        shown(&off.from)
    )
}

/// What comes from a file, for a terminal.
fn shown(text: &str) -> String {
    out::name(text, None)
}

/// A gap in a sentence; `None` where nothing is missing.
fn gap(gap: &Gap) -> Option<String> {
    let zone = gap
        .zone
        .as_ref()
        .map_or_else(|| "any zone".to_owned(), |zone| format!("zone {}", shown(zone)));
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
    let (from, to) = (shown(&gap.from), shown(&gap.to));
    Some(format!("GAP: {lost} in {zone} between {from} and {to}: {why}{help}"))
}

fn sum(row: &SummaryRow) -> String {
    let whose = match (&row.tenant, row.several) {
        (_, true) => "of tenants that were put together".to_owned(),
        (None, false) if row.unknown => "of which it is not known whose they were".to_owned(),
        (Some(tenant), false) if tenant.0.is_empty() => "of this root".to_owned(),
        (Some(tenant), false) => format!("of tenant {}", tenant.shown()),
        (None, false) => "above all tenants".to_owned(),
    };
    format!(
        "SUMMARISED: {} {whose} in zone {} between {} and {} ({}, {}) are no longer listed: there \
         was no more room",
        text::count(row.records, "op"),
        shown(&row.zone),
        shown(&row.from),
        shown(&row.to),
        text::count(row.files, "file"),
        text::size(row.bytes)
    )
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
