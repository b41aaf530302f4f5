//! A log that cannot be written, and one of any shape.

use proptest::prelude::*;

use super::*;
use crate::audit::writer::Fault;

#[test]
fn unwritable_records_wait_and_follow() {
    for fault in [Fault::Write, Fault::Sync] {
        let dir = TempDir::new().unwrap();
        let (mut log, _) = open(&dir);
        log.append(&record(), at(0));
        log.sync().unwrap();
        log.fail(fault);
        log.append(&record(), at(10));
        log.append(&record(), at(11));
        assert!(log.sync().is_err());
        assert_eq!(log.trouble().unwrap().since, at(11));
        for second in 12..20 {
            log.append(&record(), at(second));
            assert!(log.flush().is_err() && log.tend(at(second)).is_err());
        }
        assert_eq!(sound(&dir).records, 2, "nothing half-written stays");
        let facts = log.facts();
        assert_eq!((facts.waiting, facts.lost, facts.failures), (10, 0, 9));
        log.fail(Fault::None);
        log.tend(at(20)).unwrap();
        assert!(log.trouble().is_none());
        let kinds = kinds(&dir);
        assert_eq!(kinds[12..], ["unwritable", "checkpoint"], "{kinds:?}");
        let last = &lines(&dir)[12];
        assert_eq!(
            (last["from"].as_str(), last["waited"].as_u64()),
            (Some(&*at(11).wall()), Some(10))
        );
        assert_eq!(lines(&dir)[2]["time"], at(10).wall(), "when it was added");
        log.tend(at(100)).unwrap();
        assert_eq!(sound(&dir).records, 14, "it is said once");
    }
}

/// A full disk without anything to write must not look like one that is free again, once a second.
#[test]
fn recovery_needs_a_successful_write() {
    let dir = TempDir::new().unwrap();
    let (mut log, _) = open(&dir);
    log.fail(Fault::Write);
    assert!(log.record_first(&record(), false, at(1)).is_err());
    assert_eq!(log.facts().waiting, 0, "it was taken back");
    assert!(log.tend(at(2)).is_err() && log.tend(at(3)).is_err());
    assert_eq!(log.trouble().unwrap().since, at(1));
    log.fail(Fault::None);
    log.tend(at(4)).unwrap();
    assert_eq!(kinds(&dir), ["head", "unwritable", "checkpoint"]);
}

/// What was refused is not recorded, and what went on is.
#[test]
fn refused_record_is_dropped_others_kept() {
    for keep in [false, true] {
        let dir = TempDir::new().unwrap();
        let (mut log, _) = open(&dir);
        log.append(&record(), at(0));
        log.fail(Fault::Sync);
        assert!(log.record_first(&long(1), keep, at(1)).is_err());
        log.append(&record(), at(2));
        log.fail(Fault::None);
        log.close(at(3)).unwrap();
        let adopts = kinds(&dir).iter().filter(|kind| *kind == "adopt").count();
        assert_eq!(adopts, usize::from(keep));
        let summary = sound(&dir);
        assert_eq!(summary.unsigned, 0, "{:?}", kinds(&dir));
    }
}

#[test]
fn lost_records_are_logged_with_time() {
    let dir = TempDir::new().unwrap();
    let (mut log, _) = open(&dir);
    log.fail(Fault::Write);
    for second in 0..10 {
        for _ in 0..1000 {
            log.append(&record(), at(second));
        }
        drop(log.sync());
    }
    let lost = log.facts().lost;
    assert!(lost > 1000, "{lost}");
    log.fail(Fault::None);
    log.close(at(10)).unwrap();
    let lines = lines(&dir);
    let said = lines.iter().find(|line| line["type"] == "lost").unwrap();
    assert_eq!((said["records"].as_u64(), said["to"].as_str()), (Some(lost), Some(&*at(9).wall())));
    let kept = lines.iter().filter(|line| line["type"] == "stop").count() as u64;
    assert_eq!(kept + lost, 10_000);
    assert!(sound(&dir).notes.iter().any(|note| note.contains("could not be kept")));
    log.append(&record(), at(11));
    log.close(at(11)).unwrap();
    assert_eq!(kinds(&dir).iter().filter(|kind| *kind == "lost").count(), 1);
}

/// An agent has to guard even if its log cannot be reached, and to reach it as soon as that is
/// possible.
#[test]
fn unopened_log_is_retried() {
    let dir = TempDir::new().unwrap();
    fs::write(audit(&dir), "in the way").unwrap();
    let (mut log, recovered) = AuditLog::start(dir.path(), Limits::default(), at(0)).unwrap();
    assert!(recovered.unavailable.unwrap().contains("audit"));
    log.append(&record(), at(1));
    assert!(log.flush().is_err() && log.tend(at(1)).is_err());
    assert!(log.record_first(&long(1), false, at(2)).is_err());
    fs::remove_file(audit(&dir)).unwrap();
    log.tend(at(3)).unwrap();
    assert_eq!(kinds(&dir), ["head", "stop", "unwritable", "checkpoint"]);
    sound(&dir);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever the sizes, and wherever it is closed, killed or fails in between.
    #[test]
    fn any_log_verifies(
        limit in 400_u64..6000,
        every in 1_u64..20,
        steps in prop::collection::vec((0_u8..9, 0_usize..3000), 1..40),
    ) {
        let dir = TempDir::new().unwrap();
        let limits =
            Limits { segment_bytes: limit, checkpoint_records: every, ..Limits::default() };
        let start = |now| AuditLog::start(dir.path(), limits, now).unwrap().0;
        let mut log = start(at(0));
        let (mut added, mut acknowledged) = (0_u64, 0_u64);
        for (second, (step, size)) in steps.into_iter().enumerate() {
            let now = at(second as u64 + 1);
            match step {
                0..=3 => {
                    log.append(&long(size), now);
                    added += 1;
                }
                4 => drop(log.flush()),
                5 => drop(log.tend(now)),
                6 => {
                    // Written to the file, and not to the disk: as good as there for who looks at
                    // the file.
                    log.sync().unwrap();
                    acknowledged = added;
                    drop(log);
                    log = start(now);
                    added = acknowledged;
                }
                7 => {
                    log.fail(if size % 2 == 0 { Fault::Write } else { Fault::Sync });
                    prop_assert!(log.record_first(&long(size), false, now).is_err());
                    log.fail(Fault::None);
                }
                _ => {
                    log.record_first(&long(size), false, now).unwrap();
                    added += 1;
                    acknowledged = added;
                }
            }
        }
        log.close(at(1000)).unwrap();
        let summary = check(&dir);
        prop_assert!(summary.sound, "{:?}", summary.bad);
        prop_assert_eq!(summary.unsigned, 0);
        let kept = kinds(&dir).iter().filter(|kind| *kind == "adopt").count() as u64;
        prop_assert_eq!(kept, added);
        prop_assert!(acknowledged <= kept);
    }
}
