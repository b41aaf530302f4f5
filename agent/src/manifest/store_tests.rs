use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use holdfast_abi as abi;
use proptest::prelude::*;

use super::super::line::tests::{NOW, actor, head, names, place, record};
use super::super::{Records, verify};
use super::*;

const MIB: u64 = 1 << 20;

fn open(dir: &Path) -> Store {
    Store::open(dir, MIB, ("boot/1", 0), NOW).unwrap()
}

/// Keeps record `n`, in a batch of its own: the ring's position is `n + 1` after it.
fn put(store: &mut Store, n: u64) -> io::Result<()> {
    put_flagged(store, n, 0)
}

fn put_flagged(store: &mut Store, n: u64, flags: u8) -> io::Result<()> {
    let names = names(&format!("tenant-{}", n % 3), &format!("dir/file-{n}"));
    let head = abi::Destroyed { time_ns: n, flags: head().flags | flags, ..head() };
    let gone = Gone { head: &head, names: &names, tenant: b"" };
    while !store.add(&gone, NOW, || place(&gone), || actor(&gone))? {
        store.commit(n)?;
    }
    store.commit(n + 1).map(drop)
}

fn fill(store: &mut Store, range: std::ops::Range<u64>) {
    for n in range {
        put(store, n).unwrap();
    }
}

/// Everything on the disk, as a reader finds it.
fn read(dir: &Path) -> (Vec<Line>, Records) {
    let mut lines = Vec::new();
    let records = Records::read(dir, &mut |line| lines.push(line)).unwrap();
    (lines, records)
}

fn records(dir: &Path) -> Vec<u64> {
    let time = |line| match line {
        Line::Gone(record) => Some(record.file.time_ns),
        _ => None,
    };
    read(dir).0.into_iter().filter_map(time).collect()
}

fn gaps(dir: &Path) -> Vec<(GapWhy, Option<u64>)> {
    let gap = |line| match line {
        Line::Gap(gap) => Some((gap.why, gap.lost)),
        _ => None,
    };
    read(dir).0.into_iter().filter_map(gap).collect()
}

fn on_disk(dir: &Path) -> u64 {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn records_are_readable_by_root_only() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("manifest");
    let mut store = open(&dir);
    fill(&mut store, 0..5);
    assert_eq!(records(&dir), [0, 1, 2, 3, 4]);
    assert_eq!(store.bytes(), on_disk(&dir));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&dir), mode(&dir.join("00000001.jsonl"))), (0o700, 0o600));
}

#[test]
fn next_agent_continues_after_last_record() {
    let dir = tempfile::tempdir().unwrap();
    fill(&mut open(dir.path()), 0..3);
    let mut store = open(dir.path());
    assert_eq!(store.position(), 3);
    fill(&mut store, 3..5);
    assert_eq!(records(dir.path()), [0, 1, 2, 3, 4]);
    assert!(gaps(dir.path()).is_empty());
    assert_eq!(segment::list(dir.path()).unwrap(), [1], "the same segment");
}

#[test]
fn torn_line_is_removed_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    fill(&mut open(dir.path()), 0..3);
    let path = segment::path(dir.path(), 1);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    assert_eq!(records(dir.path()), [0, 1], "a reader takes what is whole");
    let mut store = open(dir.path());
    assert_eq!(store.position(), 2, "the third one comes again");
    fill(&mut store, 2..3);
    assert_eq!(records(dir.path()), [0, 1, 2]);
    assert_eq!(gaps(dir.path()), [(GapWhy::Torn, Some(0))]);
    assert_eq!(read(dir.path()).1.unreadable, 0);
}

#[test]
fn segment_without_head_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    fill(&mut open(dir.path()), 0..3);
    open(dir.path()).close(NOW).unwrap();
    fs::write(segment::path(dir.path(), 2), b"{\"type\":\"he").unwrap();
    fill(&mut open(dir.path()), 3..4);
    assert_eq!(records(dir.path()), [0, 1, 2, 3]);
}

#[test]
fn new_ring_is_an_unknown_gap() {
    let dir = tempfile::tempdir().unwrap();
    fill(&mut open(dir.path()), 0..3);
    let mut store = Store::open(dir.path(), MIB, ("boot/2", 0), NOW).unwrap();
    assert_eq!(store.position(), 0, "positions of another ring mean nothing");
    fill(&mut store, 0..1);
    drop(store);
    drop(Store::open(dir.path(), MIB, ("boot/2", 1), NOW).unwrap());
    assert_eq!(gaps(dir.path()), [(GapWhy::NewRing, None)], "once");
}

/// Other agents and segments do not count it again.
#[test]
fn gap_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let gap = |total, lost| {
        let (from, to) = ("a".to_owned(), "b".to_owned());
        let (zone, lost, why) = (Some("z".to_owned()), Some(lost), GapWhy::RingFull);
        Line::Gap(Gap { from, to, zone, lost, why, total })
    };
    let mut store = open(dir.path());
    store.append(&gap(5, 5), NOW).unwrap();
    assert_eq!((store.lost("z"), store.lost("y")), (5, 0));
    fill(&mut store, 0..1);
    store.close(NOW).unwrap();
    let mut store = open(dir.path());
    assert_eq!(store.lost("z"), 5, "from the segment that is closed");
    fill(&mut store, 1..2);
    assert_eq!(open(dir.path()).lost("z"), 5, "from the head of the next");
}

#[test]
fn full_segments_are_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    fill(&mut store, 0..2000);
    let seals: Vec<Sealed> = store
        .take_changes()
        .into_iter()
        .map(|change| match change {
            Change::Sealed(sealed) => sealed,
            Change::Summarised(_) => panic!("there is room"),
        })
        .collect();
    assert!(seals.len() >= 2, "{seals:?}");
    for seal in &seals {
        let path = segment::path(dir.path(), seal.segment);
        assert_eq!(digest(&path).unwrap(), (seal.sha256.clone(), seal.bytes));
    }
    let count: u64 = seals.iter().map(|seal| seal.records).sum();
    assert!(count < 2000 && count > 1500);
    let audit = dir.path().join("audit");
    fs::create_dir(&audit).unwrap();
    let log = |seals: &[Sealed]| {
        let line = |seal: &Sealed| {
            let mut line = serde_json::to_value(seal).unwrap();
            line["type"] = "manifest_seal".into();
            line["seq"] = seal.segment.into();
            line["time"] = "2026-07-01T20:00:00.000Z".into();
            format!("{line}\n")
        };
        let lines: String = seals.iter().map(line).collect();
        fs::write(audit.join("audit-000001.jsonl"), lines).unwrap();
    };
    let states = || -> Vec<(u64, &'static str)> {
        let found = verify(dir.path(), &audit).unwrap();
        found.iter().filter(|found| !found.ok).map(|found| (found.segment, found.state)).collect()
    };
    log(&seals);
    assert_eq!(states(), []);
    log(&seals[1..]);
    assert_eq!(states(), [(1, "unsealed")]);
    log(&seals);
    let path = segment::path(dir.path(), 2);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("file-", "fil3-", 1)).unwrap();
    assert_eq!(states(), [(2, "edited"), (3, "edited")], "itself, and what follows it");
    fs::remove_file(&path).unwrap();
    assert_eq!(states(), [(2, "removed")]);
    // Sums that nobody told the audit log of hide nothing.
    fs::write(
        dir.path().join("summary.json"),
        r#"{"through":2,"sha256":null,"rows":[],"gaps":[]}"#,
    )
    .unwrap();
    assert_eq!(states()[0], (2, "removed"));
}

/// The agent that closed it was killed.
#[test]
fn next_agent_seals_the_closed_segment() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    fill(&mut store, 0..3);
    store.close(NOW).unwrap();
    let [Change::Sealed(first)] = &store.take_changes()[..] else { panic!() };
    let [Change::Sealed(again)] = &open(dir.path()).take_changes()[..] else { panic!() };
    assert_eq!(first, again);
    assert_eq!((first.records, first.segment), (3, 1));
}

/// The disk stays below the bound.
#[test]
fn oldest_segment_is_summarized_at_bound() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let mut most = 0;
    for n in 0..16_000 {
        put(&mut store, n).unwrap();
        if n % 50 == 0 {
            most = most.max(on_disk(dir.path()));
        }
    }
    assert!(most <= MIB, "{most}");
    assert!(most > MIB / 2, "most of it is used: {most}");
    let changes = store.take_changes();
    let summed = changes.iter().filter(|change| matches!(change, Change::Summarised(_))).count();
    assert!(summed > 0);
    let kept = records(dir.path());
    assert!(kept.windows(2).all(|pair| pair[0] + 1 == pair[1]), "the newest, without a hole");
    let (_, found) = read(dir.path());
    let sums: u64 = found.summary.rows.iter().map(|row| row.records).sum();
    assert_eq!(sums + kept.len() as u64, 16_000, "nothing is left out");
    assert_eq!(found.summary.rows.len(), 3);
    // And it is the same for the next agent.
    fill(&mut open(dir.path()), 16_000..16_001);
    assert_eq!(records(dir.path()).len(), kept.len() + 1);
}

#[test]
fn crash_during_summary_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    fill(&mut store, 0..1000);
    let first = fs::read(segment::path(dir.path(), 1)).unwrap();
    store.summarise(1).unwrap();
    let after = records(dir.path());
    fs::write(segment::path(dir.path(), 1), first).unwrap();
    assert_eq!(records(dir.path()), after, "a reader passes it over");
    drop(open(dir.path()));
    assert!(!segment::list(dir.path()).unwrap().contains(&1), "an agent removes it");
}

#[test]
fn smaller_bound_applies_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), 16 * MIB, ("boot/1", 0), NOW).unwrap();
    fill(&mut store, 0..60_000);
    assert!(on_disk(dir.path()) > 4 * MIB);
    store.set_limit(4 * MIB, NOW).unwrap();
    assert!(on_disk(dir.path()) <= 4 * MIB);
    // Less than the segment that is written to.
    fill(&mut store, 0..1000);
    store.set_limit(MIB, NOW).unwrap();
    assert!(on_disk(dir.path()) <= MIB);
}

/// The rest of a line was left in the middle of the segment, and its seal was wrong for good.
#[test]
fn partial_line_is_cut_before_writing() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    fill(&mut store, 0..2);
    let fault = |store: &mut Store, fault| store.active.as_mut().unwrap().fault = fault;
    fault(&mut store, Fault::WriteAndCut);
    for _ in 0..2 {
        let error = put(&mut store, 2).unwrap_err();
        assert_eq!(store.position(), 2, "{error}");
    }
    assert_eq!(records(dir.path()), [0, 1], "half a line is no record");
    fault(&mut store, Fault::None);
    fill(&mut store, 2..4);
    store.close(NOW).unwrap();
    assert_eq!(records(dir.path()), [0, 1, 2, 3]);
    assert_eq!(read(dir.path()).1.unreadable, 0);
    let [Change::Sealed(seal)] = &store.take_changes()[..] else { panic!() };
    let digest = digest(&segment::path(dir.path(), 1)).unwrap();
    assert_eq!(
        (&digest.0, digest.1),
        (&seal.sha256, seal.bytes),
        "and the seal is of what is there"
    );
}

#[test]
fn unremoved_segment_is_summarized_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    fill(&mut store, 0..1000);
    let path = segment::path(dir.path(), 1);
    let (text, first) = (fs::read(&path).unwrap(), store.closed[0]);
    store.summarise(1).unwrap();
    let sums = store.summary.clone();
    // As if removing it had failed.
    fs::write(&path, text).unwrap();
    store.closed.push_front(first);
    store.summarise(1).unwrap();
    assert_eq!((&store.summary, path.exists()), (&sums, false));
}

/// That a zone was not recorded is kept in the summary.
#[test]
fn recording_gap_outlives_its_segment() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let switch = |store: &mut Store, time: &str, manifest| {
        let line = Line::Switch { time: time.to_owned(), zone: "z".to_owned(), manifest };
        store.append(&line, NOW).unwrap();
    };
    switch(&mut store, "a", false);
    fill(&mut store, 0..1);
    store.close(NOW).unwrap();
    switch(&mut store, "b", true);
    fill(&mut store, 1..2);
    let before = read(dir.path()).1.off;
    assert_eq!(before.iter().count(), 1);
    store.summarise(1).unwrap();
    let (lines, found) = read(dir.path());
    assert!(!lines.iter().any(|line| matches!(line, Line::Switch { manifest: false, .. })));
    assert_eq!(found.off, before);
    let off = found.off.iter().next().unwrap();
    assert_eq!((off.from.as_str(), off.to.as_deref()), ("a", Some("b")));
}

#[test]
fn failed_write_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    fill(&mut store, 0..2);
    let active = store.active.as_mut().unwrap();
    let file = std::mem::replace(&mut active.file, File::open("/dev/null").unwrap());
    assert!(put(&mut store, 2).is_err());
    assert_eq!(store.position(), 2);
    store.active.as_mut().unwrap().file = file;
    fill(&mut store, 2..4);
    assert_eq!(records(dir.path()), [0, 1, 2, 3]);
}

/// It was appended to, and what it was worth nobody could tell.
#[test]
fn another_versions_segment_is_left_alone() {
    let first = "{\"type\":\"head\",\"segment\":1,\"time\":\"t\",\"ring\":\"boot/1\",\"lost\":{}}";
    let next = Line::Head {
        version: VERSION + 1,
        segment: 1,
        previous: None,
        time: NOW.wall(),
        ring: "boot/1".to_owned(),
        position: 0,
        lost: BTreeMap::new(),
    };
    for other in [first.to_owned(), serde_json::to_string(&next).unwrap()] {
        let dir = tempfile::tempdir().unwrap();
        let other = other + "\n";
        fs::write(segment::path(dir.path(), 1), &other).unwrap();
        let mut store = open(dir.path());
        fill(&mut store, 0..1);
        assert_eq!(fs::read_to_string(segment::path(dir.path(), 1)).unwrap(), other);
        assert_eq!((records(dir.path()), read(dir.path()).1.unreadable), (vec![0], 1));
        assert!(store.take_changes().is_empty(), "it was never sealed");
    }
}

#[test]
fn ordinary_record_fits_160_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let names = names("alice", &format!("www/{}", "n".repeat(48)));
    let head = abi::Destroyed {
        time_ns: 10_u64.pow(16),
        bytes: 10_u64.pow(9),
        ino: u64::from(u32::MAX),
        owner: 65_534,
        flags: 0,
        ..head()
    };
    let gone = Gone { head: &head, names: &names, tenant: b"" };
    let mut add = || {
        store.add(&gone, NOW, || place(&gone), || actor(&gone)).unwrap();
        store.pending()
    };
    let bytes = add().abs_diff(add());
    assert!(bytes <= 160, "{bytes}");
}

/// A name is any bytes but NUL; one that is empty could not be read.
fn odd_names() -> impl Strategy<Value = Vec<u8>> {
    let names: [&[u8]; 6] = [b"", b"a", b"/", b"\xff", b"\"\\\n", b"dir"];
    let name = proptest::sample::select(names.to_vec());
    proptest::collection::vec(name, 0..5)
        .prop_map(|names| names.into_iter().flat_map(|name| [name, b"\0"].concat()).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the kernel sends is read as it was, however it was put into batches.
    #[test]
    fn every_record_reads_back(
        sent in proptest::collection::vec(
            (odd_names(), odd_names(), 0..4_u32, 0..16_u8, 0..2_u64, 0..3_u32, any::<bool>()), 1..40
        )
    ) {
        let state = tempfile::tempdir().unwrap();
        let mut store = open(state.path());
        let mut expected = Vec::new();
        for (n, (names, tenant, depth, flags, number, pid, commits)) in (0..).zip(sent) {
            let head = abi::Destroyed {
                time_ns: n,
                tenant_depth: depth,
                flags,
                tenant: number,
                files: number,
                pid,
                owner: pid,
                ..head()
            };
            let gone = Gone { head: &head, names: &names, tenant: &tenant };
            expected.push(serde_json::json!(record(&gone)));
            assert!(store.add(&gone, NOW, || place(&gone), || actor(&gone)).unwrap());
            if commits {
                store.commit(n).unwrap();
            }
        }
        store.commit(100).unwrap();
        let (lines, found) = read(state.path());
        let gone = |line| match line {
            Line::Gone(record) => Some(serde_json::json!(record)),
            _ => None,
        };
        let records: Vec<_> = lines.into_iter().filter_map(gone).collect();
        prop_assert_eq!((records, found.unreadable), (expected, 0));
    }
}

/// A million records once took the memory of a small host.
#[test]
fn records_share_directory_and_actor() {
    let dir = tempfile::tempdir().unwrap();
    fill(&mut open(dir.path()), 0..4); // the first and the last are of one tenant
    let gone = |line| match line {
        Line::Gone(record) => Some(*record),
        _ => None,
    };
    let records: Vec<_> = read(dir.path()).0.into_iter().filter_map(gone).collect();
    let [first, other, .., last] = &records[..] else { panic!("{records:?}") };
    assert!(Arc::ptr_eq(&first.dir, &last.dir) && !Arc::ptr_eq(&first.dir, &other.dir));
    assert!(Arc::ptr_eq(&first.actor, &other.actor) && Arc::ptr_eq(&first.actor, &last.actor));
    assert!(size_of_val(first) <= 120, "{}", size_of_val(first));
}

/// A call failed after its record was kept, and the segment had been closed by then.
#[test]
fn what_is_taken_back_counts_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    fill(&mut store, 0..6);
    store.close(NOW).unwrap();
    for n in [5, 1] {
        put_flagged(&mut store, n, abi::GONE_UNDONE).unwrap();
    }
    assert_eq!(records(dir.path()), [0, 2, 3, 4]);
    store.close(NOW).unwrap();
    store.summarise(1).unwrap();
    store.summarise(2).unwrap();
    let sums: u64 = read(dir.path()).1.summary.rows.iter().map(|row| row.files).sum();
    assert_eq!(sums, 4);
}

/// An audit log that was told of these changes.
fn audit_log(dir: &Path, changes: &[Change]) -> std::path::PathBuf {
    let audit = dir.join("audit");
    fs::create_dir_all(&audit).unwrap();
    let line = |(seq, change): (usize, &Change)| {
        let (mut line, kind) = match change {
            Change::Sealed(it) => (serde_json::to_value(it).unwrap(), "manifest_seal"),
            Change::Summarised(it) => (serde_json::to_value(it).unwrap(), "manifest_summarise"),
        };
        (line["type"], line["seq"]) = (kind.into(), (seq + 1).into());
        line["time"] = "2026-07-01T20:00:00.000Z".into();
        format!("{line}\n")
    };
    let lines: String = changes.iter().enumerate().map(line).collect();
    fs::write(audit.join("audit-000001.jsonl"), lines).unwrap();
    audit
}

fn not_ok(dir: &Path, changes: &[Change]) -> Vec<(u64, &'static str, String)> {
    let tmp = tempfile::tempdir().unwrap();
    let found = verify(dir, &audit_log(tmp.path(), changes)).unwrap();
    let bad = found.into_iter().filter(|found| !found.ok);
    bad.map(|found| (found.segment, found.state, found.says)).collect()
}

#[test]
fn sums_with_taken_back_records_verify() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    fill(&mut store, 0..6);
    put_flagged(&mut store, 5, abi::GONE_UNDONE).unwrap();
    store.close(NOW).unwrap();
    store.summarise(1).unwrap();
    assert_eq!(not_ok(dir.path(), &store.take_changes()), []);
}

fn summed(dir: &Path) -> u64 {
    read(dir).1.summary.rows.iter().map(|row| row.files).sum()
}

#[test]
fn sums_lose_what_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    fill(&mut store, 0..6);
    store.close(NOW).unwrap();
    store.summarise(1).unwrap();
    put_flagged(&mut store, 5, abi::GONE_UNDONE).unwrap();
    assert_eq!(summed(dir.path()), 5);
}

#[test]
fn merged_sums_lose_it_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    fill(&mut store, 0..6);
    store.close(NOW).unwrap();
    store.summarise(1).unwrap();
    store.summary.fit(10).unwrap();
    put_flagged(&mut store, 5, abi::GONE_UNDONE).unwrap();
    store.close(NOW).unwrap();
    store.summarise(2).unwrap();
    assert_eq!(summed(dir.path()), 5);
}

#[test]
fn unreadable_lines_become_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    fill(&mut store, 0..6);
    store.close(NOW).unwrap();
    let path = segment::path(dir.path(), 1);
    let text = fs::read_to_string(&path).unwrap().replacen("{\"d\":", "\0\0\0\0\0", 3);
    fs::write(&path, text).unwrap();
    assert_eq!(read(dir.path()).1.unreadable, 3);
    store.summarise(1).unwrap();
    let found = read(dir.path()).1;
    assert!(found.unreadable > 0 || !found.summary.gaps.is_empty(), "{found:?}");
}

#[test]
fn first_segment_lost_is_a_gap() {
    for left in [&b""[..], &[0; 4096], b"{\"head\":{\"ver"] {
        let dir = tempfile::tempdir().unwrap();
        fill(&mut open(dir.path()), 0..3);
        fs::write(segment::path(dir.path(), 1), left).unwrap();
        let mut store = Store::open(dir.path(), MIB, ("boot/2", 0), NOW).unwrap();
        fill(&mut store, 0..1);
        assert_eq!(gaps(dir.path()), [(GapWhy::NewRing, None)]);
    }
}

#[test]
fn new_ring_is_said_after_kills() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    fill(&mut store, 0..3);
    store.close(NOW).unwrap();
    drop(Store::open(dir.path(), MIB, ("boot/2", 0), NOW).unwrap());
    let path = segment::path(dir.path(), 2);
    let whole = fs::read(&path).unwrap();
    let mut silent = Vec::new();
    for length in 0..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        drop(Store::open(dir.path(), MIB, ("boot/2", 0), NOW).unwrap());
        if !gaps(dir.path()).contains(&(GapWhy::NewRing, None)) {
            silent.push(length);
        }
    }
    assert!(silent.is_empty(), "{silent:?} of {} bytes", whole.len());
}

#[test]
fn lines_without_records_stay_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    for n in 0..20_000 {
        let (time, zone) = (NOW.wall(), "z".to_owned());
        store.append(&Line::Switch { time, zone, manifest: n % 2 == 0 }, NOW).unwrap();
    }
    let disk = on_disk(dir.path());
    assert!(disk <= MIB, "{disk}");
}

#[test]
fn removed_segment_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    fill(&mut store, 0..2000);
    fs::remove_file(segment::path(dir.path(), 1)).unwrap();
    for n in 2000..20_000 {
        if let Err(error) = put(&mut store, n) {
            let again = put(&mut store, n).map_err(|error| error.to_string());
            panic!("record {n}: {error}; again: {again:?}");
        }
    }
}

#[test]
fn records_without_clock_are_unreadable() {
    let dir = tempfile::tempdir().unwrap();
    fill(&mut open(dir.path()), 0..3);
    let right = |line: &Line| !matches!(line, Line::Gone(record) if *record.time() < *"2012");
    assert!(read(dir.path()).0.iter().all(right));
    let path = segment::path(dir.path(), 1);
    let text = fs::read_to_string(&path).unwrap().replacen("{\"clock\":", "\0\0\0\0\0\0\0\0\0", 1);
    fs::write(&path, text).unwrap();
    assert!(read(dir.path()).0.iter().all(right), "{:?}", read(dir.path()).0.last());
}

#[test]
fn gaps_outlive_a_clock_set_back() {
    let dir = tempfile::tempdir().unwrap();
    fill(&mut open(dir.path()), 0..3);
    let back = Now { boot_ns: 1, wall_ns: NOW.wall_ns - 3_600_000_000_000 };
    drop(Store::open(dir.path(), MIB, ("boot/2", 0), back).unwrap());
    for line in read(dir.path()).0 {
        if let Line::Gap(gap) = line {
            assert!(gap.from <= gap.to, "{gap:?}");
        }
    }
}

/// The disk takes what is written and fails when it is to be kept for good.
#[test]
fn failed_sync_ends_a_segment_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    fill(&mut store, 0..2);
    let null = OpenOptions::new().write(true).open("/dev/null").unwrap();
    let active = store.active.as_mut().unwrap();
    active.file = null;
    let before = active.length;
    for _ in 0..100 {
        assert!(store.close(NOW).is_err());
    }
    let more = store.active.as_ref().unwrap().length - before;
    assert!(more <= END_ROOM, "{more}");
}

#[test]
fn smaller_bound_holds_for_sums() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), 64 * MIB, ("boot/1", 0), NOW).unwrap();
    let mut summary = Summary { through: 1, ..Summary::default() };
    let mut sums = summary.take_in();
    for n in 0..20_000 {
        let record = crate::manifest::example(&format!("tenant-{n}"), b"f", n);
        sums.line(&Line::Gone(Box::new(record)));
    }
    store.summary_bytes = summary.write(dir.path()).unwrap();
    store.summary = summary;
    fill(&mut store, 0..10);
    store.set_limit(MIB, NOW).unwrap();
    fill(&mut store, 10..20);
    let disk = on_disk(dir.path());
    assert!(disk <= MIB, "{disk}");
}
