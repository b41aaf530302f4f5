//! What is left of segments that there was no more room for: sums, tenant by tenant.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Gap, Line, Name, Offs, Record};
use crate::files::write_whole;

const FILE: &str = "summary.json";

/// Sums over every segment that is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// Segments up to this number are in it, and count no more if they are still there.
    pub(crate) through: u64,
    /// SHA-256 of that last segment.
    pub(crate) sha256: Option<String>,
    /// Tenant by tenant.
    pub(crate) rows: Vec<SummaryRow>,
    /// Records that were missing then.
    pub(crate) gaps: Vec<Gap>,
    /// When zones were not recorded.
    #[serde(default, skip_serializing_if = "Offs::is_empty")]
    pub(crate) off: Offs,
}

/// What let an op go on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SpentFrom {
    /// It was within the budgets.
    Budgets,
    /// It was not, and its zone only observes.
    Nothing,
    /// An allowance, or a break-glass: its id.
    Allowance(String),
}

impl SpentFrom {
    /// Of one record.
    pub(crate) fn of(record: &Record) -> Self {
        match (&record.actor.allowance, record.file.over_budget) {
            (Some(id), _) => Self::Allowance(id.clone()),
            (None, true) => Self::Nothing,
            (None, false) => Self::Budgets,
        }
    }
}

/// How much was destroyed, and of how many tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// Ops.
    pub(crate) ops: u64,
    /// Files.
    pub(crate) files: u64,
    /// Bytes.
    pub(crate) bytes: u64,
    /// Whose.
    pub(crate) tenants: BTreeSet<RowKey>,
}

impl Sum {
    /// Takes a record in, which is of this row.
    pub(crate) fn add(&mut self, record: &Record, row: &RowKey) {
        self.ops += 1;
        self.files += record.file.files;
        self.bytes = self.bytes.saturating_add(record.file.bytes);
        if !self.tenants.contains(row) {
            self.tenants.insert(row.clone());
        }
    }

    /// Both of them.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        self.ops += other.ops;
        self.files += other.files;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.tenants.extend(other.tenants.iter().cloned());
        self
    }
}

/// What rows of the same tenant have in common. They are put in order by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RowKey {
    zone: String,
    root: Option<Name>,
    tenant: Option<Name>,
    several: bool,
    unknown: bool,
}

/// One tenant, or what there was no room to keep apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SummaryRow {
    /// Name of the zone.
    pub(crate) zone: String,
    /// The zone's root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) root: Option<Name>,
    /// The tenant, as in [`super::Place::tenant`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<Name>,
    /// It stands for several rows of the zone that were put together.
    pub(crate) several: bool,
    /// Nobody knows whose it was; without this and without a tenant it lay above all of them.
    #[serde(default, skip_serializing_if = "super::line::is_false")]
    pub(crate) unknown: bool,
    /// Ops.
    pub(crate) records: u64,
    /// Files.
    pub(crate) files: u64,
    /// Bytes.
    pub(crate) bytes: u64,
    /// First, RFC 3339.
    pub(crate) from: String,
    /// Last, RFC 3339.
    pub(crate) to: String,
}

impl SummaryRow {
    /// Of one record.
    pub(crate) fn of(record: &Record) -> Self {
        let (place, time) = (&record.dir.place, record.time());
        Self {
            zone: place.zone.clone(),
            root: place.root.clone(),
            tenant: place.tenant.clone(),
            several: false,
            unknown: place.has_unknown_tenant(),
            records: 1,
            files: record.file.files,
            bytes: record.file.bytes,
            from: time.clone(),
            to: time,
        }
    }

    /// Whether the record is of this tenant.
    pub(crate) fn has(&self, record: &Record) -> bool {
        let place = &record.dir.place;
        (&self.zone, &self.root, &self.tenant) == (&place.zone, &place.root, &place.tenant)
            && (self.several, self.unknown) == (false, place.has_unknown_tenant())
    }

    /// What is the same for rows of the same tenant.
    pub(crate) fn key(&self) -> RowKey {
        RowKey {
            zone: self.zone.clone(),
            root: self.root.clone(),
            tenant: self.tenant.clone(),
            several: self.several,
            unknown: self.unknown,
        }
    }

    /// Takes another one in.
    pub(crate) fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.files += other.files;
        self.bytes = self.bytes.saturating_add(other.bytes);
        if other.from < self.from {
            self.from.clone_from(&other.from);
        }
        if other.to > self.to {
            self.to.clone_from(&other.to);
        }
    }
}

impl Summary {
    /// What is on the disk; empty if there is none.
    pub(crate) fn read(dir: &Path) -> io::Result<Self> {
        match fs::read(dir.join(FILE)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Puts it on the disk, all of it or nothing. Returns its length.
    pub(super) fn write(&self, dir: &Path) -> io::Result<u64> {
        let bytes = serde_json::to_vec(self)?;
        write_whole(dir, FILE, &bytes, 0o600)?;
        Ok(bytes.len() as u64)
    }

    /// Its length on the disk.
    pub(super) fn length(dir: &Path) -> u64 {
        fs::metadata(dir.join(FILE)).map_or(0, |metadata| metadata.len())
    }

    /// Takes lines of a segment in.
    pub(super) fn take_in(&mut self) -> TakeIn<'_> {
        let keys = self.rows.iter().enumerate().map(|(index, row)| (row.key(), index));
        TakeIn { index: keys.collect(), summary: self }
    }

    fn add_gap(&mut self, gap: &Gap) {
        let same = |known: &&mut Gap| (&known.zone, known.why) == (&gap.zone, gap.why);
        match self.gaps.iter_mut().find(same) {
            Some(known) => {
                known.lost = known.lost.zip(gap.lost).map(|(a, b)| a + b);
                known.from = known.from.clone().min(gap.from.clone());
                known.to = known.to.clone().max(gap.to.clone());
                known.total = 0;
            }
            None => self.gaps.push(Gap { total: 0, ..gap.clone() }),
        }
    }

    /// Puts the smallest rows of each zone together until all of it fits into so many bytes.
    pub(super) fn fit(&mut self, bytes: usize) -> io::Result<()> {
        while serde_json::to_vec(self)?.len() > bytes && self.rows.iter().any(|row| !row.several) {
            let (mut single, several): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.rows).into_iter().partition(|row| !row.several);
            single.sort_by_key(|row| std::cmp::Reverse(row.records));
            let small = single.split_off(single.len() / 2);
            self.rows = several;
            let mut taking = self.take_in();
            for row in small {
                let (root, tenant, several, unknown) = (None, None, true, false);
                taking.row(SummaryRow { root, tenant, several, unknown, ..row });
            }
            self.rows.extend(single);
        }
        Ok(())
    }
}

/// A summary that lines go into: it knows where each row is.
pub(super) struct TakeIn<'a> {
    summary: &'a mut Summary,
    index: HashMap<RowKey, usize>,
}

impl TakeIn<'_> {
    /// Takes a line of a segment in.
    pub(super) fn line(&mut self, line: &Line) {
        match line {
            Line::Gone(record) if record.file.undone => self.take_back(&SummaryRow::of(record)),
            Line::Gone(record) => self.row(SummaryRow::of(record)),
            Line::Gap(gap) => self.summary.add_gap(gap),
            Line::Switch { time, zone, manifest } => {
                self.summary.off.switch(zone, time, *manifest);
            }
            _ => {}
        }
    }

    fn take_back(&mut self, row: &SummaryRow) {
        let several =
            RowKey { root: None, tenant: None, several: true, unknown: false, ..row.key() };
        let known = self.index.get(&row.key()).or_else(|| self.index.get(&several));
        if let Some(&known) = known {
            let known = &mut self.summary.rows[known];
            known.files = known.files.saturating_sub(row.files);
            known.bytes = known.bytes.saturating_sub(row.bytes);
        }
    }

    fn row(&mut self, row: SummaryRow) {
        let rows = &mut self.summary.rows;
        match self.index.entry(row.key()) {
            Entry::Occupied(known) => rows[*known.get()].add(&row),
            Entry::Vacant(place) => {
                place.insert(rows.len());
                rows.push(row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::GapWhy;
    use super::super::line::tests::example;
    use super::*;

    fn gone(tenant: &str, n: u64) -> Line {
        Line::Gone(Box::new(example(tenant, b"f", n)))
    }

    fn files(summary: &Summary) -> u64 {
        summary.rows.iter().map(|row| row.files).sum()
    }

    #[test]
    fn sums_are_by_tenant() {
        let mut summary = Summary::default();
        for (tenant, n) in [("a", 1_000_000_000), ("b", 2_000_000_000), ("a", 3_000_000_000)] {
            summary.take_in().line(&gone(tenant, n));
        }
        let [a, b] = &summary.rows[..] else { panic!("{summary:?}") };
        assert_eq!((a.records, a.files, a.bytes, b.records), (2, 2, 24, 1));
        assert_eq!(
            (a.from.as_str(), a.to.as_str()),
            ("2012-06-19T23:59:56.000Z", "2012-06-19T23:59:58.000Z")
        );
    }

    #[test]
    fn excess_rows_merge_and_keep_totals() {
        let mut summary = Summary::default();
        let mut taking = summary.take_in();
        for tenant in 0..500_u32 {
            for n in 0..=u64::from(tenant == 17) {
                taking.line(&gone(&format!("tenant-{tenant}"), n));
            }
        }
        summary.fit(20_000).unwrap();
        assert!(serde_json::to_vec(&summary).unwrap().len() <= 20_000);
        assert_eq!(files(&summary), 501);
        assert!(summary.rows.iter().any(|row| row.several));
        let largest = Some(Name::from(&b"tenant-17"[..]));
        assert!(
            summary.rows.iter().any(|row| row.tenant == largest),
            "the largest stays by itself"
        );
        summary.fit(10).unwrap();
        assert_eq!((summary.rows.len(), files(&summary)), (1, 501));
    }

    #[test]
    fn gaps_add_up_unknown_stays_unknown() {
        let mut summary = Summary::default();
        let gap = |zone: &str, lost, why| Gap {
            from: "a".into(),
            to: "b".into(),
            zone: Some(zone.into()),
            lost,
            why,
            total: 9,
        };
        for lost in [Some(2), Some(3)] {
            summary.take_in().line(&Line::Gap(gap("z", lost, GapWhy::RingFull)));
        }
        let mut taking = summary.take_in();
        taking.line(&Line::Gap(gap("z", Some(1), GapWhy::NewRing)));
        taking.line(&Line::Gap(gap("z", None, GapWhy::NewRing)));
        let lost: Vec<_> = summary.gaps.iter().map(|gap| gap.lost).collect();
        assert_eq!(lost, [Some(5), None]);
    }

    #[test]
    fn summary_reads_as_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Summary::read(dir.path()).unwrap(), Summary::default());
        let mut summary = Summary { through: 3, sha256: Some("x".into()), ..Summary::default() };
        summary.take_in().line(&gone("a\u{1}", 1));
        assert_eq!(summary.write(dir.path()).unwrap(), Summary::length(dir.path()));
        assert_eq!(Summary::read(dir.path()).unwrap(), summary);
    }
}
