//! Which records somebody wants to see. It reads no clock.

use std::time::Duration;

use holdfast_abi::Op;
use holdfast_policy::Window;

use super::super::allow::time;
use crate::clock::{Now, rfc3339};
use crate::manifest::{Gap, Off, Record, SummaryRow};

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Select {
    /// As given: relative to the root, absolute, or `.`.
    pub(crate) tenant: Option<Vec<u8>>,
    pub(crate) zone: Option<String>,
    pub(crate) root: Option<Vec<u8>>,
    /// RFC 3339, as in records.
    pub(crate) since: Option<String>,
    /// RFC 3339, as in records.
    pub(crate) until: Option<String>,
    /// All of them if empty.
    pub(crate) ops: Vec<Op>,
}

impl Select {
    /// Whether a record is one of those. `row`: [`SummaryRow::of`] it.
    pub(super) fn takes(&self, record: &Record, row: &SummaryRow) -> bool {
        self.is_its_time_and_op(record, row) && self.takes_place(row)
    }

    /// Whether a tenant was asked for, and it can be one of theirs: nobody knows whose it is.
    pub(super) fn may_be_of_tenant(&self, record: &Record, row: &SummaryRow) -> bool {
        self.is_its_time_and_op(record, row) && self.may_be_its_place(row)
    }

    fn is_its_time_and_op(&self, record: &Record, row: &SummaryRow) -> bool {
        let op = || Op::from_word(&record.file.op).is_some_and(|op| self.ops.contains(&op));
        self.is_in(&row.from, &row.to) && (self.ops.is_empty() || op())
    }

    fn may_be_its_place(&self, row: &SummaryRow) -> bool {
        if !row.unknown || self.tenant.is_none() {
            return false;
        }
        // Where its root is not known either, that can be any.
        let root = self.root.clone().filter(|_| row.root.is_some());
        let all = Self { tenant: None, root, ..self.clone() };
        all.takes_place(row)
    }

    /// Whether a sum can have such records in it.
    pub(super) fn takes_sum(&self, row: &SummaryRow) -> bool {
        self.is_in(&row.from, &row.to)
            && (self.takes_place(row)
                || self.may_be_its_place(row)
                || (row.several && self.is_zone(&row.zone)))
    }

    /// Whether a span without records touches what was asked for.
    pub(super) fn takes_off(&self, off: &Off) -> bool {
        // One that has not ended is later than any time.
        let to = off.to.as_deref().unwrap_or("~");
        self.is_zone(&off.zone) && self.is_in(&off.from, to)
    }

    /// Whether a gap can have such records in it.
    pub(super) fn takes_gap(&self, gap: &Gap) -> bool {
        self.is_in(&gap.from, &gap.to) && gap.zone.as_ref().is_none_or(|zone| self.is_zone(zone))
    }

    /// Whether a time from one to the other touches the time that was asked for.
    pub(super) fn is_in(&self, from: &str, to: &str) -> bool {
        self.since.as_deref().is_none_or(|since| to >= since)
            && self.until.as_deref().is_none_or(|until| from <= until)
    }

    /// Whether it is the zone that was asked for.
    pub(super) fn is_zone(&self, zone: &str) -> bool {
        self.zone.as_deref().is_none_or(|wanted| wanted == zone)
    }

    fn takes_place(&self, row: &SummaryRow) -> bool {
        let root = row.root.as_ref().map(|root| root.0.as_slice());
        let trim = |path: &[u8]| -> Vec<u8> {
            let end =
                path.iter().rposition(|&byte| byte != b'/').map_or(path.len().min(1), |at| at + 1);
            path[..end].to_vec()
        };
        let is_root = |wanted: &Vec<u8>| root.is_some_and(|root| root == trim(wanted));
        self.is_zone(&row.zone)
            && self.root.as_ref().is_none_or(is_root)
            && self.tenant.as_ref().is_none_or(|wanted| is_tenant(row, &trim(wanted)))
    }
}

/// Whether somebody who says `wanted` means this tenant.
fn is_tenant(row: &SummaryRow, wanted: &[u8]) -> bool {
    let Some(tenant) = &row.tenant else {
        return wanted == b"." && !row.several && !row.unknown;
    };
    let absolute = row.root.as_ref().map(|root| crate::manifest::absolute(root, tenant));
    if absolute.as_deref() == Some(wanted) {
        return true;
    }
    if tenant.0.is_empty() {
        // Each root is a tenant: its last name stands for it.
        let last = |path: &[u8]| path.rsplit(|&byte| byte == b'/').next().map(<[u8]>::to_vec);
        return row.root.as_ref().and_then(|root| last(&root.0)).is_some_and(|name| name == wanted);
    }
    tenant.0 == wanted
}

/// Seconds since 1970 of a time, or of so long ago.
pub(super) fn parse_time(text: &str, now: Now) -> Result<i64, String> {
    if let Ok(ago) = Window::parse(text) {
        let seconds = i64::try_from(ago.seconds()).unwrap_or(i64::MAX);
        return Ok(now.unix_seconds().saturating_sub(seconds).max(0));
    }
    time::parse(text).map_err(|why| format!("{why}; or how long ago, as in 2h"))
}

/// The first moment of a second, as records have it.
pub(super) fn first(seconds: i64) -> String {
    rfc3339(seconds.saturating_mul(1_000_000_000))
}

/// The last moment of a second, as records have it.
pub(super) fn last(seconds: i64) -> String {
    let nearly = Duration::from_millis(999).as_nanos() as i64;
    rfc3339(seconds.saturating_mul(1_000_000_000).saturating_add(nearly))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Name, example};

    const NOW: Now = Now { boot_ns: 1, wall_ns: 1_340_150_400_000_000_000 };

    fn tenant(wanted: &str, root: &str, tenant: Option<&str>) -> bool {
        let mut record = example("x", b"f", 1);
        let place = &mut record.dir_mut().place;
        place.root = Some(root.as_bytes().into());
        place.tenant = tenant.map(|tenant| Name::from(tenant.as_bytes()));
        let select = Select { tenant: Some(wanted.into()), ..Select::default() };
        select.takes(&record, &SummaryRow::of(&record))
    }

    #[test]
    fn tenant_path_is_relative_or_absolute() {
        assert!(tenant("alice", "/srv", Some("alice")) && tenant("alice/", "/srv", Some("alice")));
        assert!(tenant("/srv/alice", "/srv", Some("alice")));
        assert!(
            !tenant("alic", "/srv", Some("alice")) && !tenant("bob/alice", "/srv", Some("alice"))
        );
        assert!(
            tenant("a/alice", "/srv", Some("a/alice")) && !tenant("alice", "/srv", Some("a/alice"))
        );
        assert!(
            tenant("/srv/alice", "/srv/alice", Some("")) && tenant("alice", "/srv/alice", Some(""))
        );
        assert!(tenant(".", "/srv", None) && !tenant(".", "/srv", Some("alice")));
        assert!(!tenant("", "/srv", None), "nobody");
    }

    #[test]
    fn times_are_absolute_or_ago() {
        assert_eq!(parse_time("2h", NOW), Ok(1_340_150_400 - 7200));
        assert_eq!(parse_time("2012-06-20T00:00:00Z", NOW), Ok(1_340_150_400));
        assert!(parse_time("yesterday", NOW).is_err());
        assert_eq!(
            (first(0).as_str(), last(0).as_str()),
            ("1970-01-01T00:00:00.000Z", "1970-01-01T00:00:00.999Z")
        );
    }

    #[test]
    fn selection_takes_time_zone_path_op() {
        let record = example("alice", b"f", 4_000_000_000); // 23:59:59 of the day before
        let takes = |select: &Select| select.takes(&record, &SummaryRow::of(&record));
        let all = Select::default();
        assert!(takes(&all));
        assert!(takes(&Select { since: Some(first(1_340_150_399)), ..all.clone() }));
        assert!(!takes(&Select { since: Some(first(1_340_150_400)), ..all.clone() }));
        assert!(takes(&Select { until: Some(last(1_340_150_399)), ..all.clone() }));
        assert!(!takes(&Select { until: Some(last(1_340_150_398)), ..all.clone() }));
        assert!(takes(&Select { ops: vec![Op::Truncate, Op::Remove], ..all.clone() }));
        assert!(!takes(&Select { ops: vec![Op::Truncate], ..all.clone() }));
        assert!(!takes(&Select { zone: Some("y".into()), ..all.clone() }));
        assert!(takes(&Select { root: Some(b"/srv/".to_vec()), ..all.clone() }));
        assert!(!takes(&Select { root: Some(b"/srv2".to_vec()), ..all }));
    }
}
