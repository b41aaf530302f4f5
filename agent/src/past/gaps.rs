//! What has to be said about a record of the past: how far back it goes, and what is not in it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::denied::Aside;
use crate::manifest::{Gap, Line, Summary};
use crate::{clock, text};

/// Gaps that are listed.
const MOST_GAPS: usize = 256;

/// What was read, and what was not there to be read.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Told {
    /// What was asked for, RFC 3339.
    pub(crate) since: String,
    /// When it was read.
    pub(crate) until: String,
    /// Since when there is a manifest of every op; absent if there is none.
    pub(crate) recorded_since: Option<String>,
    /// Ops that were taken.
    pub(crate) ops: u64,
    /// Their files.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Ops that were denied, and were taken as well.
    pub(crate) denied: u64,
    /// Ops under an allowance or covered by a break-glass: they are not taken, as no budget is
    /// asked about them.
    pub(crate) under_allowance: u64,
    /// Other ops while a break-glass was open in their zone: former versions did not record whether
    /// it covered them.
    pub(crate) under_break_glass: u64,
    /// Ops of calls whose end nobody saw: they may have failed.
    pub(crate) unseen: u64,
    /// Ops in zones that the policy does not have, by zone.
    pub(crate) outside: BTreeMap<String, u64>,
    /// Ops that were put into their zone by its name alone.
    pub(crate) by_name: u64,
    /// What is missing.
    pub(crate) gaps: Vec<Gap>,
    /// Everything else that has to be said.
    pub(crate) notes: Vec<String>,
    #[serde(skip)]
    off: BTreeMap<String, String>,
    #[serde(skip)]
    off_notes: Vec<String>,
    #[serde(skip)]
    gaps_left_out: u64,
    #[serde(skip)]
    takes_glass: bool,
}

impl Told {
    /// Nothing yet. Whether ops that a break-glass may have covered are taken.
    pub(super) fn new(since: String, until: String, takes_glass: bool) -> Self {
        Self { since, until, takes_glass, ..Self::default() }
    }

    /// How long the record is.
    pub(crate) fn seconds(&self) -> u64 {
        let begin = self.recorded_since.as_ref().filter(|from| **from > self.since);
        let times = [begin.unwrap_or(&self.since), &self.until];
        match times.map(|time| clock::parse_rfc3339(time)) {
            [Some(begin), Some(end)] => u64::try_from(end - begin).unwrap_or_default(),
            // A time that this program has not written.
            _ => 0,
        }
    }

    /// Takes a line that is no op.
    pub(super) fn take(&mut self, line: &Line, is_zone: &dyn Fn(&str) -> bool) {
        match line {
            Line::Head { time, .. } => {
                self.recorded_since.get_or_insert_with(|| time.clone());
            }
            Line::Gap(gap) => self.gap(gap, is_zone),
            Line::Switch { time, zone, manifest: false } => {
                self.off.entry(zone.clone()).or_insert_with(|| time.clone());
            }
            Line::Switch { time, zone, manifest: true } => {
                if let Some(from) = self.off.remove(zone)
                    && is_zone(zone)
                    && *time >= self.since
                {
                    self.off_notes.push(off(zone, &from, Some(time)));
                }
            }
            _ => {}
        }
    }

    fn gap(&mut self, gap: &Gap, is_zone: &dyn Fn(&str) -> bool) {
        let of_zone = gap.zone.as_deref().is_none_or(is_zone);
        if gap.lost == Some(0) || gap.to < self.since || !of_zone {
            return;
        }
        if self.gaps.len() < MOST_GAPS {
            self.gaps.push(gap.clone());
        } else {
            self.gaps_left_out += 1;
        }
    }

    /// All is read.
    pub(super) fn finish(
        &mut self,
        summary: &Summary,
        unreadable: u64,
        aside: &Aside,
        is_zone: &dyn Fn(&str) -> bool,
    ) {
        summary.gaps.iter().for_each(|gap| self.gap(gap, is_zone));
        let mut notes = Vec::new();
        match &self.recorded_since {
            Some(from) if *from > self.since => {
                notes
                    .push(format!("recorded only since {from}: what was before that is not known"));
            }
            _ => {}
        }
        notes.append(&mut self.off_notes);
        for (zone, from) in self.off.iter().filter(|(zone, _)| is_zone(zone)) {
            notes.push(off(zone, from, None));
        }
        for gap in &self.gaps {
            let zone = gap.zone.as_ref().map_or_else(|| "any zone".into(), |z| format!("zone {z}"));
            let lost = match gap.lost {
                Some(lost) => format!("{} missing", counted(lost, "is", "are")),
                None => "ops may be missing".to_owned(),
            };
            let why = gap.why.words();
            notes.push(format!("GAP: {lost} in {zone} between {} and {}: {why}", gap.from, gap.to));
        }
        if self.gaps_left_out > 0 {
            notes.push(format!("GAP: {} more gaps are not listed here", self.gaps_left_out));
        }
        let summed: Vec<_> =
            summary.rows.iter().filter(|row| is_zone(&row.zone) && row.to >= self.since).collect();
        if let Some(last) = summed.iter().map(|row| &row.to).max() {
            let records = summed.iter().map(|row| row.records).sum::<u64>();
            notes.push(format!(
                "SUMMARISED: of up to {} until {last} there are only sums, which cannot be decided \
                 again: the manifest had no more room (`max_bytes` in [manifest])",
                text::count(records, "op")
            ));
        }
        if unreadable > 0 {
            let lines = text::count(unreadable, "line");
            notes.push(format!(
                "{lines} of the manifest cannot be read: the disk, or somebody, has changed them"
            ));
        }
        self.about_ops(&mut notes);
        self.about_the_audit_log(aside, &mut notes);
        self.notes.splice(0..0, notes);
    }

    fn about_ops(&self, notes: &mut Vec<String>) {
        for (zone, ops) in &self.outside {
            notes.push(format!(
                "{} recorded in zone {zone} would be in no zone of this policy: nothing would stop \
                 such",
                counted(*ops, "that was", "that were")
            ));
        }
        if self.by_name > 0 {
            notes.push(format!(
                "{} put into their zone by its name alone: the root of then is not named by the \
                 zone's paths (it has moved, or is a link), or it was denied",
                counted(self.by_name, "was", "were")
            ));
        }
        if self.unseen > 0 {
            notes.push(format!(
                "{} of a call whose end nobody saw, and may have failed: counted as if it had \
                 happened",
                counted(self.unseen, "is", "are")
            ));
        }
        if self.under_allowance > 0 {
            notes.push(format!(
                "{} under a signed allowance, or covered by a break-glass, which are spent before \
                 any budget: left out",
                counted(self.under_allowance, "was", "were")
            ));
        }
        if self.under_break_glass > 0 {
            let then = if self.takes_glass {
                "asked about all the same, as the manifest does not say that it covered them"
            } else {
                "left out: an emergency is no ordinary load"
            };
            let ops = counted(self.under_break_glass, "was", "were");
            notes.push(format!("{ops} done while a break-glass was open in the zone: {then}"));
        }
    }

    fn about_the_audit_log(&self, aside: &Aside, notes: &mut Vec<String>) {
        if self.denied > 0 {
            notes.push(format!(
                "{} denied in that time, and asked about like the others; what its program would \
                 have done next is not known",
                counted(self.denied, "was", "were")
            ));
        }
        if aside.held > 0 {
            notes.push(format!(
                "threads were held {} in that time: what they did when they were released is in \
                 here, what they would have done otherwise is not",
                text::count(aside.held, "time")
            ));
        }
        if aside.throttled > 0 {
            notes.push(
                "ops were throttled in that time: without that they would have come faster"
                    .to_owned(),
            );
        }
        if aside.suppressed > 0 {
            notes.push(format!(
                "{} over budget not listed one by one in the audit log, so that denied ones among \
                 them are missing here",
                counted(aside.suppressed, "was", "were")
            ));
        }
        if aside.unreadable > 0 {
            let lines = text::count(aside.unreadable, "line");
            notes.push(format!(
                "{lines} of the audit log are no records: see `holdfast audit verify`"
            ));
        }
        notes.extend(aside.failed.iter().map(|why| format!("{why}: denied ops are missing here")));
    }
}

fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", text::count(n, "op"), if n == 1 { one } else { many })
}

fn off(zone: &str, from: &str, to: Option<&String>) -> String {
    let to = to.map_or_else(|| "on".to_owned(), |to| format!("to {to}"));
    format!("zone {zone} was not recorded from {from} {to}: its policy said `manifest = false`")
}
