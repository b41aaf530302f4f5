use std::cell::Cell;
use std::collections::VecDeque;

use holdfast_abi as abi;
use tokio::sync::mpsc::unbounded_channel;

use super::super::line::tests::{NOW, head};
use super::super::{GapWhy, Name, Records};
use super::*;
use crate::kernel::{ActiveZone, Gone};

/// A ring that a test fills. Each record takes one byte.
#[derive(Default)]
struct Fake {
    records: VecDeque<abi::Destroyed>,
    taken: u64,
    /// The agent is killed before it takes anything off.
    stuck: bool,
    lost: Vec<Lost>,
    looked: Cell<u32>,
}

impl Ring for Fake {
    fn id(&self) -> &str {
        self.looked.set(self.looked.get() + 1);
        "boot/1"
    }

    fn kept(&self) -> u64 {
        self.taken
    }

    fn next(&mut self, at: &mut u64) -> Option<Option<Gone<'_>>> {
        let head = self.records.get((*at - self.taken) as usize)?;
        *at += 1;
        Some(Some(Gone { head, names: b"f\0alice\0", tenant: b"" }))
    }

    fn keep(&mut self, to: u64) {
        if !self.stuck {
            self.records.drain(..(to - self.taken) as usize);
            self.taken = to;
        }
    }

    fn lost(&self) -> std::io::Result<Vec<Lost>> {
        Ok(self.lost.clone())
    }
}

fn name(path: &std::path::Path) -> crate::manifest::RootName {
    crate::manifest::RootName { path: path.to_owned(), level: 0 }
}

fn work(dir: &std::path::Path, names: &[&str]) -> Work<Fake> {
    work_on(Fake { records: [head()].into(), ..Fake::default() }, dir, names)
}

fn work_on<R: Ring>(stream: R, dir: &std::path::Path, names: &[&str]) -> Work<R> {
    let shared = SharedNames::default();
    if !names.is_empty() {
        let zone = |(slot, name): (usize, &&str)| ActiveZone {
            slot: slot as u32 + 1,
            name: (*name).to_owned(),
            roots: vec![],
            kept_roots: vec![],
        };
        let zones: Vec<ActiveZone> = names.iter().enumerate().map(zone).collect();
        shared.get().in_force(&zones, |_| true, name);
    }
    Work {
        dir: dir.to_owned(),
        stream,
        names: shared,
        max_bytes: 1 << 20,
        news: unbounded_channel().0,
        stats: Arc::default(),
        store: None,
        resumed: None,
        units: Units::new(dir.join("no-cgroups")),
        named: 0,
        unnamed: None,
        began: NOW,
        checked: None,
        recorded: Vec::new(),
        oldest: None,
        pause: Pause::default(),
    }
}

fn after(millis: u64) -> Now {
    let nanos = millis * 1_000_000;
    Now { boot_ns: NOW.boot_ns + nanos, wall_ns: NOW.wall_ns + nanos as i64 }
}

fn lines(dir: &std::path::Path) -> Vec<Line> {
    let mut lines = Vec::new();
    Records::read(dir, &mut |line| lines.push(line)).unwrap();
    lines
}

/// Whoever asked was told that everything was kept, and found nothing.
#[test]
fn early_request_fails_before_policy() {
    let dir = tempfile::tempdir().unwrap();
    let mut early = work(dir.path(), &[]);
    let why = early.asked(after(10_000)).unwrap_err();
    assert!(why.contains("no policy is in force yet") && why.contains("for 21 s"), "{why}");
    assert_eq!((early.stream.records.len(), early.store.is_none()), (1, true), "it stays there");
    assert_eq!(early.flush(after(10_000)), Ok(Turn::Waits), "and that is no failure at the end");
    assert_eq!(early.asked(after(30_000)), Ok(()), "later what it is called is not waited for");
    assert!(early.stream.records.is_empty());
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(work(dir.path(), &["z"]).asked(after(1)), Ok(()));
    assert!(lines(dir.path()).iter().any(|line| matches!(line, Line::Gone(_))));
}

/// It was guarded on, and what was destroyed in it was of a root without a name.
#[test]
fn moved_directory_keeps_name_across_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let root = abi::Learned { serial: 0, ino: head().root, dev: head().dev, generation: 0 };
    let zone = |roots, kept_roots| ActiveZone { slot: 1, name: "z".into(), roots, kept_roots };
    let mut first = work(dir.path(), &["z"]);
    first.names.get().in_force(&[zone(vec![("/srv/a".into(), root)], vec![])], |_| true, name);
    first.asked(after(1)).unwrap();
    // The next agent, and one more, find no path that leads to it.
    for second in 1..=2 {
        let mut next = work(dir.path(), &["z"]);
        next.names.get().in_force(&[zone(vec![], vec![root])], |_| true, name);
        next.stream.records[0].time_ns += second;
        next.stream.taken = second;
        next.asked(after(second * 1000)).unwrap();
    }
    let root = |line: &Line| match line {
        Line::Gone(record) => Some(record.dir.place.root.clone()),
        _ => None,
    };
    let roots: Vec<_> = lines(dir.path()).iter().filter_map(root).collect();
    assert_eq!(roots, vec![Some(Name::from(&b"/srv/a"[..])); 3]);
}

/// A request is tried at once.
/// On a full disk each attempt sums a whole segment up: five times a second.
#[test]
fn failed_writes_back_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("manifest");
    std::fs::write(&path, "in the way").unwrap();
    let mut work = work(&path, &["z"]);
    for tick in 0..300 {
        work.tick(after(tick * 200));
    }
    let tried = work.stream.looked.get();
    assert!((8..=14).contains(&tried), "{tried} times in a minute");
    assert!(work.asked(after(60_000)).is_err());
    assert_eq!(work.stream.looked.get(), tried + 1);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(work.asked(after(60_100)), Ok(()));
    assert!(work.pause.is_over(after(60_100)) && work.stream.records.is_empty());
}

/// What was lost in the second before a policy that no longer has the zone was in no gap.
#[test]
fn removed_zone_losses_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let mut work = work(dir.path(), &["z"]);
    let lost = |records| Lost { zone: "gone".to_owned(), records, last_ns: NOW.boot_ns };
    for (second, records) in [(1, 3), (2, 3), (3, 5)] {
        work.stream.lost = vec![lost(records)];
        work.asked(after(second * 1000)).unwrap();
    }
    let gap = |line: &Line| match line {
        Line::Gap(gap) => Some((gap.zone.clone().unwrap(), gap.lost, gap.why)),
        _ => None,
    };
    let gaps: Vec<_> = lines(dir.path()).iter().filter_map(gap).collect();
    let of = |lost| ("gone".to_owned(), Some(lost), GapWhy::RingFull);
    assert_eq!(gaps, [of(3), of(2)]);
}

fn times(dir: &std::path::Path) -> Vec<u64> {
    let time = |line: &Line| match line {
        Line::Gone(record) => Some(record.file.time_ns),
        _ => None,
    };
    lines(dir).iter().filter_map(time).collect()
}

/// An agent that was killed at any byte of a batch, or right after it, loses and doubles nothing.
#[test]
fn torn_batch_is_kept_once() {
    let ring = |range: std::ops::Range<u64>| -> VecDeque<abi::Destroyed> {
        range.map(|time_ns| abi::Destroyed { time_ns, ..head() }).collect()
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("00000001.jsonl");
    let mut before = Vec::new();
    for kept in [0, 2] {
        let mut killed = work(dir.path(), &["z"]);
        killed.stream = Fake { records: ring(kept..4), taken: kept, ..Fake::default() };
        killed.stream.stuck = true;
        killed.open(after(1)).unwrap();
        assert!(!killed.drain(after(1)).unwrap());
        let whole = std::fs::read(&file).unwrap();
        for length in before.len()..=whole.len() {
            std::fs::write(&file, &whole[..length]).unwrap();
            let mut next = work(dir.path(), &["z"]);
            next.stream = Fake { records: ring(kept..4), taken: kept, ..Fake::default() };
            next.open(after(2)).unwrap();
            assert!(!next.drain(after(2)).unwrap());
            assert_eq!(next.stream.taken, 4);
            assert_eq!(times(dir.path()), [0, 1, 2, 3], "after {length} bytes");
            let read = Records::read(dir.path(), &mut |_| ()).unwrap();
            assert_eq!(read.unreadable, 0);
        }
        // The next round begins with a batch that is whole.
        std::fs::remove_file(&file).unwrap();
        let mut first = work(dir.path(), &["z"]);
        first.stream = Fake { records: ring(0..2), ..Fake::default() };
        first.asked(after(1)).unwrap();
        before = std::fs::read(&file).unwrap();
    }
}

/// A host of 1,000 directories and four threads that delete in them.
struct Many {
    at: u64,
    most: u64,
    head: Box<abi::Destroyed>,
    names: Vec<u8>,
}

impl Ring for Many {
    fn id(&self) -> &str {
        "boot/1"
    }

    fn kept(&self) -> u64 {
        self.at
    }

    fn next(&mut self, at: &mut u64) -> Option<Option<Gone<'_>>> {
        use std::io::Write as _;
        let n = *at;
        *at += u64::from(n < self.most);
        let thread = 1000 + (n % 4) as u32;
        (self.head.time_ns, self.head.ino) = (3_600_000_000_000 + n * 1000, 1_000_000 + n);
        (self.head.pid, self.head.tid, self.head.bytes) = (thread, thread, 4096);
        (self.head.unit, self.head.flags) = (5, 0);
        self.names.clear();
        let (dir, tenant) = (n / 4 % 250, n % 4);
        write!(self.names, "file-{n:06}.txt\0dir-{dir:03}\0www\0customer-{tenant:03}\0").unwrap();
        (n < self.most).then_some(Some(Gone { head: &self.head, names: &self.names, tenant: b"" }))
    }

    fn keep(&mut self, to: u64) {
        self.at = to;
    }

    fn lost(&self) -> std::io::Result<Vec<Lost>> {
        Ok(vec![])
    }
}

fn host(dir: &std::path::Path, most: u64) -> Work<Many> {
    let stream = Many { at: 0, most, head: Box::new(head()), names: Vec::new() };
    let work = work_on(stream, dir, &["z"]);
    let root = abi::Learned { serial: 0, ino: head().root, dev: head().dev, generation: 0 };
    let roots = vec![("/srv/customers".into(), root)];
    let zone = ActiveZone { slot: 1, name: "z".into(), roots, kept_roots: vec![] };
    work.names.get().in_force(&[zone], |_| true, name);
    work
}

/// A segment explains all it refers to, also where a batch ends with it.
#[test]
fn batches_end_with_segments() {
    let dir = tempfile::tempdir().unwrap();
    let mut work = host(dir.path(), 10_000);
    work.max_bytes = 4 << 20;
    work.asked(NOW).unwrap();
    assert!(std::fs::read_dir(dir.path()).unwrap().count() > 3);
    let mut read = Vec::new();
    let found = Records::read(dir.path(), &mut |line| {
        if let Line::Gone(record) = line {
            read.push((record.file.inode - 1_000_000, record.path().shown(), record.actor.pid));
        }
    });
    assert_eq!(found.unwrap().unreadable, 0);
    let path = |n: u64| format!("www/dir-{:03}/file-{n:06}.txt", n / 4 % 250);
    let expected: Vec<_> = (0..10_000).map(|n| (n, path(n), 1000 + (n % 4) as u32)).collect();
    let wrong = read.iter().zip(&expected).position(|(read, expected)| read != expected);
    assert_eq!((wrong, read.len()), (None, expected.len()));
}

/// Under `valgrind --tool=callgrind`, for two numbers of records: what one more costs. With
/// `HOLDFAST_SUM` also what it costs to make sums of them.
#[test]
#[ignore = "a measurement"]
fn keeper_cost() {
    let most = std::env::var("HOLDFAST_RECORDS").map_or(1, |text| text.parse().unwrap());
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut work = host(dir.path(), most);
    work.max_bytes = 1 << 30;
    let start = Instant::now();
    work.asked(NOW).unwrap();
    let bytes = work.store.as_ref().unwrap().bytes();
    println!("{most} records, {bytes} bytes, {:?}", start.elapsed());
    if std::env::var_os("HOLDFAST_SUM").is_none() {
        return;
    }
    let start = Instant::now();
    let mut summary = super::super::Summary::default();
    let mut sums = summary.take_in();
    Records::read(dir.path(), &mut |line| sums.line(&line)).unwrap();
    println!("summed up in {:?}", start.elapsed());
}

/// A record that cannot be read. The agent may be killed when it has taken it off.
#[derive(Default)]
struct Unreadable {
    at: u64,
    kills: bool,
    taken: Arc<AtomicU64>,
}

impl Ring for Unreadable {
    fn id(&self) -> &str {
        "boot/1"
    }

    fn kept(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    fn next(&mut self, at: &mut u64) -> Option<Option<Gone<'_>>> {
        let is_there = *at == self.at;
        *at += u64::from(is_there);
        is_there.then_some(None)
    }

    fn keep(&mut self, to: u64) {
        if to > self.kept() {
            self.taken.store(to, Ordering::Relaxed);
            assert!(!self.kills, "killed");
        }
    }

    fn lost(&self) -> std::io::Result<Vec<Lost>> {
        Ok(vec![])
    }
}

#[test]
fn unreadable_record_waits_for_its_gap() {
    let dir = tempfile::tempdir().unwrap();
    let stream = Unreadable { kills: true, ..Unreadable::default() };
    let taken = stream.taken.clone();
    let mut killed = work_on(stream, dir.path(), &["z"]);
    killed.open(after(1)).unwrap();
    let drained =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || killed.drain(after(1))));
    assert!(drained.is_err() && taken.load(Ordering::Relaxed) == 1);
    let mut next = work_on(Unreadable { taken, ..Unreadable::default() }, dir.path(), &["z"]);
    next.asked(after(2)).unwrap();
    assert!(lines(dir.path()).iter().any(|line| matches!(line, Line::Gap(_))));
}

/// As [`GapWhy::Unreadable`] of a record that waited for the agent: when it was is not known.
#[test]
fn unreadable_record_may_be_old() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = work(dir.path(), &["z"]);
    first.asked(after(1)).unwrap();
    drop(first);
    // Two hours without an agent.
    let late = Unreadable { at: 1, kills: false, taken: Arc::new(1.into()) };
    let mut next = work_on(late, dir.path(), &["z"]);
    next.asked(after(7_200_000)).unwrap();
    let gap = lines(dir.path()).into_iter().find_map(|line| match line {
        Line::Gap(gap) => Some(gap),
        _ => None,
    });
    let gap = gap.unwrap();
    assert!(gap.from <= after(1).wall(), "{gap:?}");
}
