use holdfast_policy::Role;
use holdfast_policy::break_glass::Scope;

use super::super::code::tests::{code, person};
use super::*;
use crate::allowances::Tree;

pub(crate) fn at(seconds: u64) -> Now {
    Now { boot_ns: seconds * 1_000_000_000, wall_ns: seconds as i64 * 1_000_000_000 }
}

pub(crate) fn terms() -> Terms {
    Terms {
        zone: "customers".to_owned(),
        role: Role::Primary,
        reason: "the disk fills up".to_owned(),
        length: Duration::from_secs(600),
        files: 100,
        bytes: 1 << 20,
        scope: Scope::HostWide,
    }
}

/// Number 1, opened at second 10 of boot `boot` for ten minutes.
pub(crate) fn entry() -> Entry {
    let entry = Entry::new(1, &terms(), Proof::Code(1), person(), None);
    let (serial, until_ns) = (10_000_000_000, 610_000_000_000);
    Entry { serial, until_ns, opened_ns: 10_000_000_000, boot_id: "boot".to_owned(), ..entry }
}

/// The same for a process tree that nobody has joined.
fn tree_entry() -> Entry {
    let tree = Tree {
        command: "rm -rf x".to_owned(),
        executable: "/bin/rm".to_owned(),
        wanted: None,
        submitter: ProcessId { pid: 700, start_ticks: 900 },
        first: None,
    };
    Entry { tree: Some(tree), ..entry() }
}

/// What the kernel has for it.
pub(crate) fn row(entry: &Entry, files: u64) -> AllowanceRow {
    use holdfast_abi as abi;
    let zone = abi::name_id(&entry.zone);
    let any = abi::GrantAccount::ANY_TENANTS;
    let mut account =
        abi::GrantAccount::new(zone, abi::Op::KNOWN_BITS, entry.files, entry.bytes, any);
    (account.used_files, account.used_bytes) = (files, files * 10);
    account.ops_by_kind[abi::Op::Remove as usize] = files;
    let conf = abi::AllowanceConf {
        until_ns: entry.until_ns,
        unit: 0,
        user: abi::AllowanceConf::ANY_USER,
        grants: 1,
        tree: entry.tree.is_some().into(),
        kind: abi::AllowanceConf::BREAK_GLASS,
    };
    AllowanceRow { serial: entry.serial, conf, grants: vec![account] }
}

pub(crate) fn codes(seeds: &[u8]) -> Vec<CodeRow> {
    let row = |(at, seed): (usize, &u8)| {
        CodeRow::new(at as u64 + 1, &code(*seed), [*seed; 16], 0, person())
    };
    seeds.iter().enumerate().map(row).collect()
}

fn book(entries: Vec<Entry>, codes: Vec<CodeRow>) -> Book {
    let mut book = Book::default();
    let _ = book.load(entries, codes, "boot", at(20));
    book
}

fn survey(rows: Vec<AllowanceRow>) -> Survey {
    Survey { rows, is_gone: false }
}

#[test]
fn code_is_good_until_used() {
    let mut book = book(vec![], codes(&[1, 2, 3]));
    assert_eq!(book.find(&code(2)), Found::Good(2));
    assert_eq!(book.find(&code(9)), Found::Wrong);
    let used = book.used(2, at(30), &person()).unwrap();
    assert_eq!(book.find(&code(2)), Found::Good(2), "not before that is on the disk");
    book.put_codes(vec![used], &[]);
    assert!(matches!(book.find(&code(2)), Found::Used(2, used) if used.at_ns == at(30).wall_ns));
    assert_eq!((book.codes_left(), book.next_code()), (2, 4));
    book.put_codes(vec![], &book.codes_to_forget(true));
    assert_eq!(book.find(&code(1)), Found::Wrong, "it was replaced");
    assert!(matches!(book.find(&code(2)), Found::Used(..)), "it is remembered all the same");
}

/// An agent restart does not.
#[test]
fn only_a_reboot_ends_break_glass() {
    let mut loaded = Book::default();
    assert_eq!(loaded.load(vec![entry()], vec![], "boot", at(20)), [] as [u64; 0]);
    assert!(loaded.open().is_some());
    assert_eq!(loaded.load(vec![entry()], vec![], "another", at(20)), [1]);
    let EntryState::Closed { why, .. } = &loaded.get(1).unwrap().state else { panic!("open") };
    assert_eq!(*why, Why::Rebooted);
    assert!(loaded.wants_save(at(20)) && loaded.to_save().len() == 1);
    assert_eq!(loaded.next_number(), 2);
}

/// A new agent reminds at once.
#[test]
fn reminders_come_once_a_minute() {
    let mut opened = Book::default();
    opened.put(entry(), &[], at(10));
    let mut remind =
        |seconds| opened.take(&survey(vec![row(&entry(), 3)]), &|_| true, at(seconds)).remind;
    assert_eq!([11, 69, 70, 71, 130].map(&mut remind), [false, false, true, false, true]);
    let mut adopted = book(vec![entry()], vec![]);
    let due = adopted.take(&survey(vec![row(&entry(), 3)]), &|_| true, at(21));
    assert!(due.remind && due.over.is_none() && due.unknown.is_empty());
    assert_eq!(adopted.open().unwrap().ops.get("remove"), Some(&3));
}

#[test]
fn each_reason_ends_break_glass() {
    let over = |entry: Entry, rows: Vec<AllowanceRow>, gone, allowed, seconds| {
        let survey = Survey { rows, is_gone: gone };
        book(vec![entry], vec![]).take(&survey, &|_| allowed, at(seconds)).over
    };
    let rows = |entry: &Entry| vec![row(entry, 0)];
    let joined = || {
        let mut entry = tree_entry();
        entry.tree.as_mut().unwrap().first = Some(ProcessId { pid: 701, start_ticks: 1001 });
        entry
    };
    assert_eq!(over(entry(), rows(&entry()), false, true, 609), None);
    assert_eq!(over(entry(), rows(&entry()), false, true, 610), Some(Why::Expired));
    assert_eq!(over(entry(), vec![], false, true, 20), Some(Why::Lost));
    assert_eq!(over(entry(), rows(&entry()), false, false, 20), Some(Why::Policy));
    assert_eq!(over(entry(), rows(&entry()), true, true, 20), None, "it is for everybody");
    assert_eq!(over(tree_entry(), rows(&tree_entry()), false, true, 69), None);
    assert_eq!(over(tree_entry(), rows(&tree_entry()), true, true, 20), Some(Why::NeverStarted));
    assert_eq!(over(tree_entry(), rows(&tree_entry()), false, true, 70), Some(Why::NeverStarted));
    assert_eq!(over(joined(), rows(&joined()), false, true, 300), None);
    assert_eq!(over(joined(), rows(&joined()), true, true, 300), Some(Why::Finished));
}

#[test]
fn unknown_kernel_entry_is_named() {
    let mut book = book(vec![entry()], vec![]);
    let stray = Entry { serial: 77, ..entry() };
    let due = book.take(&survey(vec![row(&stray, 0), row(&entry(), 0)]), &|_| true, at(20));
    assert_eq!((due.unknown, due.over), (vec![77], None));
}

#[test]
fn challenge_works_once_within_an_hour() {
    let mut book = Book::default();
    let challenge = |n: usize| Challenge {
        text: format!("challenge {n}"),
        terms: terms(),
        until_ns: at(10).boot_ns + CHALLENGE_LASTS,
    };
    book.add_challenge(challenge(1), at(10));
    assert!(book.challenge("challenge 1", at(3609)).is_some());
    assert!(book.challenge("challenge 1", at(3610)).is_none(), "its time is over");
    assert!(book.challenge("challenge 2", at(10)).is_none(), "another text");
    book.spend_challenge("challenge 1");
    assert!(book.challenge("challenge 1", at(11)).is_none(), "it was used");
    (0..100).for_each(|n| book.add_challenge(challenge(n), at(10)));
    assert!(book.challenge("challenge 0", at(10)).is_none(), "there is room for so many");
    assert!(book.challenge("challenge 99", at(10)).is_some());
}

#[test]
fn so_many_are_remembered() {
    let closed = |number| Entry {
        number,
        state: EntryState::Closed { at_ns: 0, why: Why::Expired, by: None },
        ..entry()
    };
    let book = book((1..=KEPT as u64).map(closed).collect(), vec![]);
    assert_eq!(book.room(), [1]);
    assert_eq!(book.entries().next().unwrap().number, KEPT as u64);
}

#[test]
fn every_entry_survives_json() {
    for entry in [entry(), tree_entry()] {
        let json = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<Entry>(&json).unwrap(), entry);
    }
}
