use std::path::Path;

use serde_json::json;

use super::super::show;
use super::*;
use crate::manifest::{Name, example, segment_text};

const EVIL: &str = "x\u{1b}[2J\u{202e}";

fn write(dir: &Path, lines: &[Line]) {
    let text = segment_text(lines.iter().cloned());
    std::fs::write(dir.join("00000001.jsonl"), text).unwrap();
}

fn gone(record: Record) -> Line {
    Line::Gone(Box::new(record))
}

fn of(tenant: &str) -> Select {
    Select { tenant: Some(tenant.into()), ..Select::default() }
}

/// It is nobody's, so it was in no tenant's report: the one who lost it never heard of it.
#[test]
fn unknown_tenant_ops_reach_every_report() {
    let dir = tempfile::tempdir().unwrap();
    let mut unknown = example("alice", b"f", 1);
    let place = &mut unknown.dir_mut().place;
    (place.tenant, place.cut) = (None, true);
    let mut above = example("alice", b"readme", 2);
    above.dir_mut().place.tenant = None;
    write(dir.path(), &[gone(unknown.clone()), gone(above), gone(example("alice", b"g", 3))]);
    let alice = Report::read(dir.path(), &of("alice")).unwrap();
    assert_eq!((alice.records.len(), alice.unknown.len()), (1, 1));
    assert!(alice.notes[0].starts_with("NOT KNOWN WHOSE: 1 op"), "{:?}", alice.notes);
    assert_eq!(json!(show::document(&alice, true))["unknown"][0], json!(unknown));
    // Not what is elsewhere for certain, and nothing where nobody was asked for.
    let elsewhere = [
        Select { zone: Some("y".into()), ..of("alice") },
        Select { root: Some(b"/other".to_vec()), ..of("alice") },
        Select { until: Some("2000".into()), ..of("alice") },
    ];
    for select in elsewhere {
        assert_eq!(Report::read(dir.path(), &select).unwrap().unknown, []);
    }
    let above = Report::read(dir.path(), &of(".")).unwrap();
    assert_eq!((above.records.len(), above.unknown.len()), (1, 1), "`.` is what lay above all");
    let all = Report::read(dir.path(), &Select::default()).unwrap();
    assert!(all.notes.is_empty() && all.unknown.is_empty(), "it has a row of its own");
    assert!(show::tenants(&all).contains("(not known whose)"), "{}", show::tenants(&all));
}

#[test]
fn summarized_span_without_records_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let span = |from: &str, to: Option<&str>| json!({"zone": "z", "from": from, "to": to});
    let summary = json!({"through": 0, "sha256": null, "rows": [], "gaps": [],
        "off": [span("2012-06-19", Some("2012-06-20")), span("2012-06-22", None)]});
    std::fs::write(dir.path().join("summary.json"), summary.to_string()).unwrap();
    let on = Line::Switch { time: "2012-06-23".into(), zone: "z".into(), manifest: true };
    let off = Line::Switch { time: "2012-06-24".into(), zone: "z".into(), manifest: false };
    write(dir.path(), &[on, off]);
    let notes = |since: &str, until: &str| {
        let (since, until) = (Some(since.to_owned()), Some(until.to_owned()));
        let select = Select { since, until, ..Select::default() };
        Report::read(dir.path(), &select).unwrap().notes
    };
    let all = notes("2012", "2013");
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all[0].contains("zone z was not recorded from 2012-06-19 to 2012-06-20"), "{all:?}");
    assert!(all[1].contains("from 2012-06-22 to 2012-06-23"), "{all:?}");
    assert!(all[2].contains("from 2012-06-24 on"), "{all:?}");
    assert_eq!(notes("2012-06-20T12", "2012-06-21").len(), 0);
    assert_eq!(notes("2012-07", "2012-08").len(), 1);
}

/// Whoever can write to the disk writes to the terminal of who looks at it.
#[test]
fn file_content_never_steers_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let text = || EVIL.to_owned();
    let mut record = example(EVIL, EVIL.as_bytes(), 1);
    record.file.op = EVIL.into();
    let place = &mut record.dir_mut().place;
    (place.zone, place.root) = (text(), Some(Name::from(EVIL.as_bytes())));
    let actor = record.actor_mut();
    (actor.unit, actor.allowance) = (text(), Some(text()));
    actor.comm = Name::from(EVIL.as_bytes());
    let (from, to) = (text(), text());
    let why = GapWhy::RingFull;
    let gap = Gap { from, to, zone: Some(text()), lost: Some(1), why, total: 1 };
    let off = Line::Switch { time: text(), zone: text(), manifest: false };
    let mut row = serde_json::to_value(SummaryRow::of(&record)).unwrap();
    let summary = json!({"through": 0, "sha256": null, "rows": [row.take()], "gaps": [gap]});
    std::fs::write(dir.path().join("summary.json"), summary.to_string()).unwrap();
    write(dir.path(), &[gone(record.clone()), Line::Gap(gap.clone()), off]);
    let report = Report::read(dir.path(), &of(EVIL)).unwrap();
    assert_eq!((report.records.len(), report.notes.len()), (1, 4), "{:?}", report.notes);
    let mut other = record;
    other.dir_mut().place.root = Some(Name::from(&b"/other"[..]));
    let mixed = Report {
        tenants: vec![report.tenants[0].clone(), SummaryRow::of(&other)],
        ..Report::default()
    };
    let refused = super::super::list::list(&mixed, 0).unwrap_err();
    for page in [show::tenants(&report), show::records(&report).collect(), refused] {
        assert!(page.contains("\\x1b"), "{page:?}");
        let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!page.chars().any(steers), "{page:?}");
    }
}
