use serde_json::json;

use super::*;
use crate::manifest::{Line, Record, example, segment_text};

/// 23:59:55 on the day before.
const AT: i64 = 1_340_150_395_000;

fn incident(zone: Option<&str>) -> Incident {
    Incident::new(AT - 10_000, AT + 1000, zone.map(str::to_owned))
}

fn write(dir: &Path, records: Vec<Record>) {
    let lines = records.into_iter().map(|record| Line::Gone(Box::new(record)));
    std::fs::write(dir.join("00000001.jsonl"), segment_text(lines)).unwrap();
}

/// It takes those of its time and zone from the deletion log.
#[test]
fn report_counts_deletions_of_its_span() {
    let dir = tempfile::tempdir().unwrap();
    let record = |tenant: &str, n| example(tenant, b"f", n);
    let late = record("late", 5_000_000_000); // 00:00:00 of the next day
    let mut other = record("other", 6);
    other.dir_mut().place.zone = "y".to_owned();
    write(
        dir.path(),
        vec![record("alice", 1), record("b\u{1b}", 2), record("b\u{1b}", 3), late, other],
    );
    let found = destroyed(dir.path(), dir.path(), &incident(None));
    let names: Vec<_> =
        found.tenants.iter().map(|(name, row)| (name.as_str(), row.files)).collect();
    assert_eq!(
        names,
        [("b\\x1b in z (/srv)", 2), ("other in y (/srv)", 1), ("alice in z (/srv)", 1)]
    );
    assert!(found.is_known && !found.is_changed, "{:?}", found.seals);
    assert_eq!(found.seals, ["as it was sealed: 1 segment open"]);
    let found = destroyed(dir.path(), dir.path(), &incident(Some("y")));
    assert_eq!(found.tenants.len(), 1);
}

#[test]
fn changed_deletion_log_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let log = tempfile::tempdir().unwrap();
    write(dir.path(), vec![example("alice", b"f", 1)]);
    let seal = json!({
        "seq": 1, "time": "2012-06-20T00:00:00.000Z", "type": "manifest_seal", "segment": 1,
        "sha256": "x",
    });
    std::fs::write(log.path().join("audit-000001.jsonl"), format!("{seal}\n")).unwrap();
    let found = destroyed(dir.path(), log.path(), &incident(None));
    assert!(found.is_changed && found.seals[0].starts_with("NOT AS IT WAS SEALED: segment 1"));
}

#[test]
fn missing_deletion_log_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let found = destroyed(&dir.path().join("none"), dir.path(), &incident(None));
    assert!(!found.is_known && found.notes[0].contains("there is no manifest"), "{found:?}");
    std::fs::write(dir.path().join("summary.json"), "{").unwrap();
    let found = destroyed(dir.path(), dir.path(), &incident(None));
    assert!(!found.is_known && found.notes[0].contains("cannot read"), "{found:?}");
}
