use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use super::*;

const NOW: Now = Now { boot_ns: 1, wall_ns: 1_340_150_400_000_000_000 };

fn record() -> Record {
    Record::Stop { signal: "SIGTERM", lost: 0 }
}

fn path(dir: &TempDir) -> PathBuf {
    dir.path().join("audit/audit.jsonl")
}

fn lines(dir: &TempDir) -> Vec<Value> {
    let text = fs::read_to_string(path(dir)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn write(dir: &TempDir, records: usize) -> Recovered {
    let (mut log, recovered) = AuditLog::open(dir.path(), NOW).unwrap();
    for _ in 0..records {
        log.append(&record(), NOW);
    }
    log.sync().unwrap();
    recovered
}

#[test]
fn numbers_go_on_after_a_restart() {
    let dir = TempDir::new().unwrap();
    assert_eq!(write(&dir, 2), Recovered::default());
    let recovered = write(&dir, 1);
    assert_eq!((recovered.last_seq, recovered.torn), (Some(2), None));
    let lines = lines(&dir);
    let seqs: Vec<_> = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [1, 2, 3]);
    assert_eq!(lines[0]["time"], "2012-06-20T00:00:00.000Z");
    assert_eq!(lines[0]["type"], "stop");
    assert!(lines[0]["prev"].is_null() && lines[0].get("prev").is_some());
    assert_eq!(fs::metadata(path(&dir)).unwrap().permissions().mode() & 0o7777, 0o600);
}

/// A verdict once had its own `time` beside the record's: two fields of one name, of which readers keep either.
#[test]
fn no_record_has_a_field_twice() {
    let decided = crate::report::test_events::decided(crate::report::test_events::denied());
    let event =
        crate::report::event(&decided, Some("z"), None, false, crate::report::test_events::NOW);
    let dir = TempDir::new().unwrap();
    let (mut log, _) = AuditLog::open(dir.path(), NOW).unwrap();
    log.append(&Record::Verdict { event: Box::new(event) }, NOW);
    log.sync().unwrap();
    let text = fs::read_to_string(path(&dir)).unwrap();
    let (outer, inner) = text.split_once("\"event\":{").unwrap();
    assert_eq!(outer.matches("\"time\":").count(), 1, "{outer}");
    assert!(inner.contains("\"zone\":\"z\""), "{inner}");
    assert_eq!(lines(&dir)[0]["type"], "verdict");
}

#[test]
fn a_line_that_a_crash_cut_short_is_kept_aside() {
    let dir = TempDir::new().unwrap();
    write(&dir, 3);
    let whole = fs::read(path(&dir)).unwrap();
    fs::write(path(&dir), &whole[..whole.len() - 10]).unwrap();
    let recovered = write(&dir, 1);
    assert_eq!(recovered.last_seq, Some(2));
    let torn = recovered.torn.unwrap();
    let kept = fs::read(dir.path().join("audit").join(&torn.kept_in)).unwrap();
    assert_eq!(kept.len() as u64, torn.bytes);
    assert!(whole.windows(kept.len()).any(|part| part == kept));
    let seqs: Vec<_> = lines(&dir).iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [1, 2, 3], "the number of the lost record is used again");
}

#[test]
fn a_file_that_was_only_made_longer_is_repaired() {
    // What a crash can leave on a filesystem that allocates late: zeroes without end of line.
    let dir = TempDir::new().unwrap();
    write(&dir, 1);
    let mut bytes = fs::read(path(&dir)).unwrap();
    let length = bytes.len() as u64;
    bytes.extend(vec![0; 200_000]);
    fs::write(path(&dir), bytes).unwrap();
    let recovered = write(&dir, 0);
    assert_eq!((recovered.length, recovered.last_seq), (length, Some(1)));
    assert_eq!(recovered.torn.unwrap().bytes, 200_000);
}

#[test]
fn a_log_of_nothing_but_a_torn_line() {
    let dir = TempDir::new().unwrap();
    write(&dir, 0);
    fs::write(path(&dir), b"{\"seq\":1,\"ty").unwrap();
    let recovered = write(&dir, 1);
    assert_eq!((recovered.length, recovered.last_seq), (0, None));
    assert_eq!(recovered.torn.unwrap().bytes, 12);
    assert_eq!(lines(&dir).len(), 1);
}

#[test]
fn lines_that_are_no_records_stay_and_are_counted() {
    let dir = TempDir::new().unwrap();
    write(&dir, 2);
    let mut text = fs::read_to_string(path(&dir)).unwrap();
    text.push_str(&format!("not json\n{}\n\n", "x".repeat(150_000)));
    fs::write(path(&dir), &text).unwrap();
    let recovered = write(&dir, 1);
    assert_eq!((recovered.last_seq, recovered.unreadable_lines), (Some(2), 3));
    let after = fs::read_to_string(path(&dir)).unwrap();
    assert!(after.starts_with(&text));
    assert!(after[text.len()..].starts_with("{\"seq\":3,"), "{}", &after[text.len()..]);
}

#[test]
fn a_second_writer_is_refused() {
    let dir = TempDir::new().unwrap();
    let (_log, _) = AuditLog::open(dir.path(), NOW).unwrap();
    assert!(matches!(AuditLog::open(dir.path(), NOW), Err(AuditError::InUse { .. })));
}

#[test]
fn records_that_cannot_be_written_are_counted_and_leave_nothing_behind() {
    let dir = TempDir::new().unwrap();
    let (mut log, _) = AuditLog::open(dir.path(), NOW).unwrap();
    log.append(&record(), NOW);
    log.flush().unwrap();
    let file = std::mem::replace(&mut log.file, File::open("/dev/null").unwrap());
    log.append(&record(), NOW);
    log.append(&record(), NOW);
    assert!(log.flush().is_err());
    assert_eq!(log.lost(), 2);
    log.file = file;
    log.append(&record(), NOW);
    log.sync().unwrap();
    let seqs: Vec<_> = lines(&dir).iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [1, 2]);
}
