use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::clock::Now;

const NOW: Now = Now { boot_ns: 1, wall_ns: 1_340_150_400_000_000_000 };

fn at(seconds: u64) -> Now {
    let nanos = seconds * 1_000_000_000;
    Now { boot_ns: NOW.boot_ns + nanos, wall_ns: NOW.wall_ns + nanos as i64 }
}

fn record() -> Record {
    Record::Stop { signal: "SIGTERM", lost: 0 }
}

/// One that is as long as a verdict can be.
fn long(length: usize) -> Record {
    Record::Adopt { started: None, error: Some("x".repeat(length)) }
}

fn audit(dir: &TempDir) -> PathBuf {
    dir.path().join("audit")
}

fn segment(dir: &TempDir, number: u64) -> PathBuf {
    audit(dir).join(segments::name(number))
}

fn open(dir: &TempDir) -> (AuditLog, Recovered) {
    AuditLog::open(dir.path(), NOW).unwrap()
}

fn small(dir: &TempDir) -> AuditLog {
    let limits = Limits { segment_bytes: 2000, checkpoint_records: 5, ..Limits::default() };
    AuditLog::start(dir.path(), limits, NOW).unwrap().0
}

fn lines(dir: &TempDir) -> Vec<Value> {
    let numbers = segments::list(&audit(dir)).unwrap();
    let texts = numbers.iter().map(|number| fs::read_to_string(segment(dir, *number)).unwrap());
    let text: String = texts.collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn kinds(dir: &TempDir) -> Vec<String> {
    lines(dir).iter().map(|line| line["type"].as_str().unwrap().to_owned()).collect()
}

fn check(dir: &TempDir) -> Summary {
    verify(&audit(dir), &[], &[]).unwrap()
}

fn sound(dir: &TempDir) -> Summary {
    let summary = check(dir);
    assert!(summary.sound, "{:?}", summary.bad);
    let numbered: Vec<_> = lines(dir).iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert!(numbered.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbered:?}");
    summary
}

/// What is wrong.
fn bad(dir: &TempDir) -> Bad {
    check(dir).bad.expect("something is wrong")
}

/// The kinds of what was found wrong, as metrics have them.
fn found(log: &AuditLog) -> Vec<&'static str> {
    let kinds = log.facts().findings.by_kind();
    kinds.iter().filter(|(_, times)| *times == 1).map(|(kind, _)| *kind).collect()
}

fn write(dir: &TempDir, records: usize) -> Recovered {
    let (mut log, recovered) = open(dir);
    for _ in 0..records {
        log.append(&record(), NOW);
    }
    log.sync().unwrap();
    recovered
}

#[test]
fn restart_continues_numbers_and_chain() {
    let dir = TempDir::new().unwrap();
    assert_eq!(write(&dir, 2), Recovered::default());
    let recovered = write(&dir, 1);
    assert_eq!((recovered.last_seq, recovered.news), (Some(3), vec![]));
    assert_eq!(kinds(&dir), ["head", "stop", "stop", "stop"]);
    let summary = sound(&dir);
    assert_eq!((summary.records, summary.signed_seq, summary.unsigned), (4, Some(1), 3));
    assert_eq!(lines(&dir)[0]["time"], "2012-06-20T00:00:00.000Z");
    assert_eq!(fs::metadata(segment(&dir, 1)).unwrap().permissions().mode() & 0o7777, 0o600);
}

/// A verdict once had its own `time` beside the record's: two fields of one name, of which readers
/// keep either.
#[test]
fn no_record_has_a_field_twice() {
    let decided = crate::report::test_events::decided(crate::report::test_events::denied());
    let event =
        crate::report::event(&decided, Some("z"), None, false, crate::report::test_events::NOW);
    let dir = TempDir::new().unwrap();
    let (mut log, _) = open(&dir);
    log.append(&Record::Verdict { event: Box::new(event) }, NOW);
    log.sync().unwrap();
    let text = fs::read_to_string(segment(&dir, 1)).unwrap();
    let (outer, inner) = text.lines().nth(1).unwrap().split_once("\"event\":{").unwrap();
    assert_eq!(outer.matches("\"time\":").count(), 1, "{outer}");
    assert!(inner.contains("\"zone\":\"z\""), "{inner}");
    assert_eq!(kinds(&dir)[1], "verdict");
}

/// An idle log does not grow.
#[test]
fn unsigned_records_are_signed_after_seconds() {
    let dir = TempDir::new().unwrap();
    let (mut log, _) = open(&dir);
    log.append(&record(), at(0));
    for (second, signed) in [(0, 1), (2, 1), (3, 3), (4, 3), (100, 3)] {
        log.tend(at(second)).unwrap();
        assert_eq!(sound(&dir).signed_seq, Some(signed), "second {second}");
    }
    assert_eq!(log.facts().signed.unwrap().head.seq, 3);
    for _ in 0..2500 {
        log.append(&record(), at(100));
    }
    log.close(at(100)).unwrap();
    let summary = sound(&dir);
    assert_eq!((summary.unsigned, summary.signatures), (0, 1 + 1 + 2 + 1));
    assert_eq!(summary.records, 3 + 2500 + 3);
}

/// What takes effect afterwards is signed and on the disk.
#[test]
fn record_first_is_signed_and_durable() {
    let dir = TempDir::new().unwrap();
    let (mut log, _) = open(&dir);
    log.append(&record(), NOW);
    log.record_first(&long(1), false, NOW).unwrap();
    assert_eq!(kinds(&dir), ["head", "stop", "adopt", "checkpoint"]);
    let facts = log.facts();
    assert_eq!((facts.waiting, facts.unsigned, facts.written), (0, 0, 3));
    assert_eq!(sound(&dir).signed_seq, Some(4));
}

#[test]
fn closed_segments_are_signed_and_chained() {
    let dir = TempDir::new().unwrap();
    let mut log = small(&dir);
    for _ in 0..40 {
        log.append(&record(), NOW);
        log.flush().unwrap();
    }
    log.close(NOW).unwrap();
    let numbers = segments::list(&audit(&dir)).unwrap();
    assert!(numbers.len() > 3 && numbers[0] == 1, "{numbers:?}");
    for number in &numbers {
        let text = fs::read_to_string(segment(&dir, *number)).unwrap();
        assert!(text.lines().next().unwrap().contains("\"type\":\"head\""), "{text}");
        assert!(text.lines().last().unwrap().contains("\"type\":\"checkpoint\""), "{text}");
        assert!(text.len() < 3500, "{} bytes", text.len());
    }
    let summary = sound(&dir);
    assert_eq!((summary.segments, summary.unsigned), (numbers.len() as u64, 0));
    // One that is in between is missed, and so is the last; older ones may be kept elsewhere.
    let aside = dir.path().join("aside");
    for (number, means) in [(2, "missing"), (*numbers.last().unwrap(), "cut off")] {
        fs::rename(segment(&dir, number), &aside).unwrap();
        let bad = bad(&dir);
        assert!(bad.means.contains(means), "{bad:?}");
        fs::rename(&aside, segment(&dir, number)).unwrap();
    }
    fs::remove_file(segment(&dir, 1)).unwrap();
    assert!(sound(&dir).notes[0].contains("nothing before it was checked"));
}

#[test]
fn torn_line_is_kept_and_recorded() {
    let dir = TempDir::new().unwrap();
    write(&dir, 3);
    let whole = fs::read(segment(&dir, 1)).unwrap();
    fs::write(segment(&dir, 1), &whole[..whole.len() - 10]).unwrap();
    assert!(check(&dir).notes.iter().any(|note| note.contains("no whole line")));
    let recovered = write(&dir, 1);
    assert_eq!(recovered.last_seq, Some(3));
    assert!(recovered.news[0].contains("cut short by a crash"), "{:?}", recovered.news);
    assert_eq!(kinds(&dir), ["head", "stop", "stop", "torn", "stop"]);
    let torn = &lines(&dir)[3];
    let kept = fs::read(audit(&dir).join(torn["kept_in"].as_str().unwrap())).unwrap();
    assert_eq!(torn["bytes"], kept.len());
    assert_eq!(torn["sha256"], Hash::of(&kept).to_string());
    assert!(whole.windows(kept.len()).any(|part| part == kept));
    assert!(sound(&dir).notes.iter().any(|note| note.contains("a crash cut")));
}

/// Wherever a crash cuts what was not on the disk for certain, and whatever is found in its place.
#[test]
fn every_unsigned_cut_is_repaired() {
    let source = TempDir::new().unwrap();
    let (mut log, _) = open(&source);
    log.append(&record(), NOW);
    log.close(NOW).unwrap();
    let signed = fs::metadata(segment(&source, 1)).unwrap().len() as usize;
    for _ in 0..3 {
        log.append(&record(), NOW);
    }
    log.sync().unwrap();
    drop(log);
    let whole = fs::read(segment(&source, 1)).unwrap();
    for cut in (signed..whole.len()).step_by(7).chain([whole.len()]) {
        for rest in [b"".as_slice(), &[0; 300], b"\n", b"{}\n", b"garbage\nmore\n"] {
            let dir = copy(&source);
            fs::write(segment(&dir, 1), [&whole[..cut], rest].concat()).unwrap();
            write(&dir, 1);
            let summary = check(&dir);
            assert!(summary.sound, "cut at {cut}, then {rest:?}: {:?}", summary.bad);
            let kept = fs::read(segment(&dir, 1)).unwrap();
            assert_eq!(kept[..signed], whole[..signed], "what was signed is as it was");
        }
    }
}

/// The state directory as a disk would have it.
fn copy(source: &TempDir) -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::create_dir(audit(&dir)).unwrap();
    for below in ["", "audit"] {
        for entry in fs::read_dir(source.path().join(below)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, dir.path().join(below).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    dir
}

/// A crash came between making the segment and its first record.
#[test]
fn empty_new_segment_is_repaired() {
    let dir = TempDir::new().unwrap();
    for text in ["", "{\"seq\":1,\"ti"] {
        fs::create_dir_all(audit(&dir)).unwrap();
        fs::write(segment(&dir, 1), text).unwrap();
        write(&dir, 1);
        assert_eq!(sound(&dir).segments, 1);
        fs::remove_dir_all(audit(&dir)).unwrap();
    }
    write(&dir, 2);
    // With and without the note of the last head.
    for text in ["", "{\"seq\":4,\"ti", "\0\0\0"] {
        let number = sound(&dir).segments + 1;
        let before = sound(&dir).last_seq;
        fs::write(segment(&dir, number), text).unwrap();
        let (mut log, recovered) = open(&dir);
        assert_eq!(recovered.last_seq, before);
        log.append(&record(), NOW);
        log.close(NOW).unwrap();
        assert_eq!(sound(&dir).segments, number);
    }
}

/// A log of five records that was closed: its one segment.
fn five_records(dir: &TempDir) -> String {
    let (mut log, _) = open(dir);
    for _ in 0..5 {
        log.append(&record(), NOW);
    }
    log.close(NOW).unwrap();
    drop(log);
    fs::read_to_string(segment(dir, 1)).unwrap()
}

/// No number is used twice.
#[test]
fn lost_end_is_reported() {
    let dir = TempDir::new().unwrap();
    let whole = five_records(&dir);
    let cut: String = whole.split_inclusive('\n').take(3).collect();
    fs::write(segment(&dir, 1), &cut).unwrap();
    let before = bad(&dir);
    assert!(
        before.what.contains("ends with record 3") && before.means.contains("cut off"),
        "{before:?}"
    );
    let recovered = write(&dir, 1);
    assert!(recovered.news[0].contains("RECORDS ARE MISSING"), "{:?}", recovered.news);
    assert_eq!(fs::read_to_string(segment(&dir, 1)).unwrap(), cut, "it is left as it was found");
    let text = fs::read_to_string(segment(&dir, 2)).unwrap();
    assert!(text.starts_with("{\"seq\":8,") && text.contains("\"why\":\"behind\""), "{text}");
    assert!(text.contains("\"type\":\"behind\",\"expected_seq\":7"), "{text}");
    let after = bad(&dir);
    assert_eq!((after.seq, after.file.as_str(), after.line), (Some(8), "audit-000002.jsonl", 1));
    // All of it gone.
    fs::remove_file(segment(&dir, 1)).unwrap();
    fs::remove_file(segment(&dir, 2)).unwrap();
    assert_eq!(found(&open(&copy(&dir)).0), ["behind"]);
    assert!(bad(&dir).means.contains("all of the log was taken away"));
    assert!(write(&dir, 1).news[0].contains("RECORDS ARE MISSING"));
    assert!(!check(&dir).sound);
}

#[test]
fn log_changed_offline_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let (mut log, _) = open(&dir);
    for _ in 0..3 {
        log.append(&record(), NOW);
    }
    log.close(NOW).unwrap();
    drop(log);
    let text = fs::read_to_string(segment(&dir, 1)).unwrap();
    let (last, edited) = (text.rfind("checkpoint").unwrap(), "Checkpoint");
    let mut edited_text = text.clone();
    edited_text.replace_range(last..last + edited.len(), edited);
    fs::write(segment(&dir, 1), &edited_text).unwrap();
    let recovered = write(&dir, 1);
    assert!(recovered.news[0].contains("WAS CHANGED"), "{:?}", recovered.news);
    assert_eq!(fs::read_to_string(segment(&dir, 1)).unwrap(), edited_text);
    assert_eq!(bad(&dir).file, "audit-000001.jsonl");
    assert_eq!(kinds(&dir)[5..], ["head", "damaged", "stop"]);
}

/// Cutting off the end and taking the note away with it left no trace once the agent had started
/// again.
#[test]
fn removed_note_is_reported() {
    let dir = TempDir::new().unwrap();
    let whole = five_records(&dir);
    // Also down to the first record, and to none.
    for kept in [7, 3, 1] {
        let cut: String = whole.split_inclusive('\n').take(kept).collect();
        fs::write(segment(&dir, 1), &cut).unwrap();
        fs::remove_file(audit(&dir).join(mark::FILE)).unwrap();
        assert!(sound(&dir).notes.iter().any(|note| note.contains("no head.json")), "nobody knows");
        let (mut log, recovered) = open(&dir);
        assert!(recovered.news[0].contains("NOTE OF WHERE THE AUDIT LOG ENDS IS GONE"));
        log.append(&record(), NOW);
        log.close(NOW).unwrap();
        assert_eq!(kinds(&dir)[kept..], ["unmarked", "stop", "checkpoint"]);
        assert_eq!(lines(&dir)[kept]["found_seq"], kept);
        let bad = bad(&dir);
        assert_eq!(bad.seq, Some(kept as u64 + 1));
        assert!(bad.means.contains("--head"), "{bad:?}");
        drop(log);
        assert_eq!(write(&dir, 1).news, [""; 0], "it is said once");
    }
}

/// A crash is no tampering: the note is there before the first record.
#[test]
fn early_crash_is_no_removed_note() {
    let dir = TempDir::new().unwrap();
    drop(open(&dir));
    let whole = fs::read(segment(&dir, 1)).unwrap();
    let note = fs::read(audit(&dir).join(mark::FILE)).unwrap();
    // Nothing but the note; half of the first record; all of it; more.
    for length in [None, Some(0), Some(20), Some(whole.len())] {
        fs::write(audit(&dir).join(mark::FILE), &note).unwrap();
        match length {
            None => {
                fs::remove_file(segment(&dir, 1)).unwrap();
                let nothing = verify(&audit(&dir), &[], &[]).unwrap_err();
                assert_eq!(nothing.kind(), std::io::ErrorKind::NotFound, "nothing was taken away");
            }
            Some(length) => fs::write(segment(&dir, 1), &whole[..length]).unwrap(),
        }
        let recovered = write(&dir, 1);
        assert!(!recovered.news.iter().any(|news| news.contains("NOTE")), "{:?}", recovered.news);
        sound(&dir);
    }
    // No note can be written: no record either.
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(audit(&dir).join("head.json.new")).unwrap();
    assert!(AuditLog::open(dir.path(), NOW).is_err());
    assert!(segments::list(&audit(&dir)).unwrap().is_empty());
}

/// The agent compares names and lengths, and at its start the last signed record; every byte is for
/// `verify`.
#[test]
fn only_verify_finds_same_length_edits() {
    let dir = TempDir::new().unwrap();
    let (mut log, _) = open(&dir);
    log.append(&record(), NOW);
    log.append(&record(), NOW);
    log.tend(at(5)).unwrap();
    let text = fs::read_to_string(segment(&dir, 1)).unwrap();
    fs::write(segment(&dir, 1), text.replacen("SIGTERM", "SIGKILL", 1)).unwrap();
    log.append(&record(), at(6));
    log.close(at(6)).unwrap();
    drop(log);
    assert_eq!(open(&dir).1.news, [""; 0]);
    assert!(!kinds(&dir).iter().any(|kind| kind == "disturbed" || kind == "damaged"));
    assert_eq!((bad(&dir).file.as_str(), bad(&dir).line), ("audit-000001.jsonl", 3));
}

/// Without the note of the last head nobody knows what was signed: whole records are not moved
/// aside.
#[test]
fn missing_note_keeps_records_in_place() {
    let dir = TempDir::new().unwrap();
    write(&dir, 3);
    fs::remove_file(audit(&dir).join(mark::FILE)).unwrap();
    let text = fs::read_to_string(segment(&dir, 1)).unwrap();
    let edited = text.replacen("\"signal\"", "\"Signal\"", 1);
    fs::write(segment(&dir, 1), &edited).unwrap();
    let recovered = write(&dir, 1);
    assert!(recovered.news[0].contains("WAS CHANGED"), "{:?}", recovered.news);
    assert_eq!(fs::read_to_string(segment(&dir, 1)).unwrap(), edited);
    assert_eq!((bad(&dir).file.as_str(), bad(&dir).line), ("audit-000001.jsonl", 3));
}

#[test]
fn agent_notices_changed_or_removed_segment() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("it is gone", |path| fs::remove_file(path).unwrap()),
        ("another file", |path| {
            let text = fs::read(path).unwrap();
            fs::remove_file(path).unwrap();
            fs::write(path, text).unwrap();
        }),
        ("bytes long instead", |path| fs::write(path, "").unwrap()),
        ("bytes long instead", |path| {
            let text = fs::read_to_string(path).unwrap();
            fs::write(path, text + "{}\n").unwrap();
        }),
    ];
    for (what, change) in changes {
        let dir = TempDir::new().unwrap();
        let (mut log, _) = open(&dir);
        log.append(&record(), NOW);
        log.sync().unwrap();
        change(&segment(&dir, 1));
        log.append(&record(), NOW);
        log.close(NOW).unwrap();
        let text = fs::read_to_string(segment(&dir, 2)).unwrap();
        assert!(text.starts_with("{\"seq\":3,") && text.contains(what), "{what}: {text}");
        assert!(!check(&dir).sound, "{what}");
        log.append(&record(), NOW);
        log.close(NOW).unwrap();
        assert_eq!(segments::list(&audit(&dir)).unwrap().last(), Some(&2), "once is enough");
        assert_eq!(found(&log), ["disturbed"], "and counted once");
    }
}

#[test]
fn crash_during_takeover_forgets_nothing() {
    for left in ["", "{\"seq\":3,\"ti"] {
        let dir = TempDir::new().unwrap();
        fs::create_dir(audit(&dir)).unwrap();
        let old = "{\"seq\":2,\"time\":\"x\",\"prev\":null,\"type\":\"stop\"}\n";
        fs::write(audit(&dir).join("audit.jsonl"), old).unwrap();
        drop(open(&dir));
        fs::write(segment(&dir, 1), left).unwrap();
        assert_eq!(write(&dir, 1).last_seq, Some(2));
        assert_eq!(lines(&dir)[0]["previous_log"]["sha256"], Hash::of(old.as_bytes()).to_string());
        sound(&dir);
    }
}

#[test]
fn former_log_is_named_by_hash() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(audit(&dir)).unwrap();
    let old = "{\"seq\":1,\"time\":\"x\",\"prev\":null,\"type\":\"start\"}\n\
               {\"seq\":2,\"time\":\"x\",\"prev\":null,\"type\":\"stop\"}\n{\"seq";
    fs::write(audit(&dir).join("audit.jsonl"), old).unwrap();
    assert_eq!(write(&dir, 1).last_seq, Some(2));
    let head = &lines(&dir)[0];
    assert_eq!((head["seq"].as_u64(), head["why"].as_str()), (Some(3), Some("taken_over")));
    let hash = Hash::of(old.as_bytes()).to_string();
    assert_eq!(
        (head["prev"].as_str(), head["previous_log"]["sha256"].as_str()),
        (Some(&*hash), Some(&*hash))
    );
    sound(&dir);
    fs::write(audit(&dir).join("audit.jsonl"), old.replace("stop", "Stop")).unwrap();
    assert_eq!(bad(&dir).file, "audit.jsonl");
    fs::remove_file(audit(&dir).join("audit.jsonl")).unwrap();
    assert!(sound(&dir).notes.iter().any(|note| note.contains("is not here")));
}

/// A log that never had one before it, and a forged one beside it.
#[test]
fn foreign_earlier_log_is_tampering() {
    let dir = TempDir::new().unwrap();
    write(&dir, 3);
    sound(&dir);
    fs::write(audit(&dir).join("audit.jsonl"), "{\"seq\":1}\n").unwrap();
    assert_eq!(bad(&dir).file, "audit.jsonl");
}

/// Whatever came after a line longer than any record was not looked at.
#[test]
fn overlong_line_hides_nothing() {
    let dir = TempDir::new().unwrap();
    write(&dir, 3);
    let path = audit(&dir).join("audit-000001.jsonl");
    let mut text = fs::read(&path).unwrap();
    text.extend(vec![b'x'; 17 << 20]);
    text.extend_from_slice(b"\n{\"seq\":99}\n");
    fs::write(&path, text).unwrap();
    assert_eq!(bad(&dir).file, "audit-000001.jsonl");
}

/// It has to be vouched for.
#[test]
fn new_key_starts_a_segment() {
    let dir = TempDir::new().unwrap();
    let (mut log, _) = open(&dir);
    let first = log.public();
    log.append(&record(), NOW);
    log.close(NOW).unwrap();
    drop(log);
    fs::remove_file(dir.path().join(key::FILE)).unwrap();
    let (mut log, recovered) = open(&dir);
    assert_eq!(recovered.news, [""; 0]);
    let second = log.public();
    log.append(&record(), NOW);
    log.close(NOW).unwrap();
    assert!(bad(&dir).what.contains("another key signs from here on"));
    let with = |keys: &[PublicKey]| verify(&audit(&dir), keys, &[]).unwrap();
    let both = with(&[first, second]);
    assert!(both.sound && both.key_given, "{:?}", both.bad);
    assert!(!with(&[first]).sound && !with(&[second]).sound);
}

#[test]
fn a_second_writer_is_refused() {
    let dir = TempDir::new().unwrap();
    let (_log, _) = open(&dir);
    assert!(matches!(AuditLog::open(dir.path(), NOW), Err(AuditError::InUse { .. })));
    assert!(AuditLog::start(dir.path(), Limits::default(), NOW).is_err());
}

#[path = "trouble_tests.rs"]
mod trouble;
