use std::collections::BTreeSet;

use holdfast_policy::allowance::{Bind, Hosts};

use super::super::entry::tests::{entry, person, row, tree};
use super::*;
use crate::api::UserRef;

fn at(seconds: u64) -> Now {
    Now { boot_ns: seconds * 1_000_000_000, wall_ns: seconds as i64 * 1_000_000_000 }
}

fn book(entries: Vec<Entry>) -> Book {
    let mut book = Book::default();
    let loaded = Loaded { entries, ..Loaded::default() };
    assert_eq!(book.load(loaded, "boot".to_owned(), at(1)), [] as [String; 0]);
    book
}

fn allowance(id: &str) -> Allowance {
    Allowance {
        id: id.to_owned(),
        reason: "r".to_owned(),
        requested_by: "carol@example.com".to_owned(),
        hosts: Hosts::Any,
        not_before: 0,
        not_after: 3610,
        grants: vec![],
        bind: Bind::default(),
        rehearsal: None,
    }
}

fn reason<T>(outcome: Result<T, Refused>) -> Option<RefusedReason> {
    outcome.err().map(|refused| refused.reason)
}

fn survey(rows: Vec<AllowanceRow>, gone: &[&str]) -> Survey {
    let gone = gone.iter().map(|&id| id.to_owned()).collect();
    Survey { rows, gone, ..Survey::default() }
}

fn over(book: &mut Book, survey: &Survey, now: Now) -> Vec<(String, Why)> {
    book.take(survey, &|_| true, now).over
}

fn closed(why: Why) -> EntryState {
    EntryState::Closed { at_ns: 0, why, by: None }
}

/// An id counts once, unless nothing was activated by it.
#[test]
fn id_is_used_once() {
    let finished = Entry { state: closed(Why::Finished), ..entry("done") };
    let failed = EntryState::Failed { error: "no room".to_owned() };
    let mut book = book(vec![entry("open"), finished, Entry { state: failed, ..entry("failed") }]);
    let same = "d".repeat(64);
    let admit =
        |book: &Book, id: &str, digest: &str| reason(book.admit(&allowance(id), digest, at(20)));
    assert_eq!(admit(&book, "new", &same), None);
    assert_eq!(admit(&book, "failed", "other"), None, "nothing was activated");
    for id in ["open", "done"] {
        assert_eq!(admit(&book, id, &same), Some(RefusedReason::AlreadyUsed));
        assert_eq!(admit(&book, id, "other"), Some(RefusedReason::IdReused));
    }
    book.revoke(Revoked { id: "new".to_owned(), at_ns: 0, by: person() });
    assert_eq!(admit(&book, "new", &same), Some(RefusedReason::Revoked));
}

#[test]
fn without_a_readable_store_nothing_counts() {
    let mut book = Book::default();
    let refused = book.admit(&allowance("a"), "", at(1)).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::StateUnreadable);
    book.cannot_load("broken".to_owned());
    let refused = book.admit(&allowance("a"), "", at(1)).unwrap_err();
    assert!(refused.message.contains("broken"), "{refused}");
    assert!(!book.wants_save(at(100)), "and nothing is written over it");
}

#[test]
fn so_many_can_be_open() {
    let many =
        |n: u32| (0..n).map(|n| Entry { serial: n.into(), ..tree(&format!("{n}")) }).collect();
    let few = book(many(MAX_ALLOWANCES - 1));
    assert!(few.admit(&allowance("a"), "", at(20)).is_ok());
    let full = book(many(MAX_ALLOWANCES));
    assert_eq!(reason(full.admit(&allowance("a"), "", at(20))), Some(RefusedReason::TooManyOpen));
}

#[test]
fn only_long_closed_entries_are_forgotten() {
    let old = |n: usize| Entry {
        state: closed(Why::Expired),
        not_after: n as i64,
        ..entry(&format!("{n}"))
    };
    let mut full = book((0..KEPT).map(old).collect());
    assert_eq!(
        reason(full.admit(&allowance("a"), "", at(20))),
        Some(RefusedReason::TooManyOpen),
        "nobody knows what time it is"
    );
    let floor =
        |wall: i64| Floor { wall_ns: wall * 1_000_000_000, boot_ns: 0, boot_id: "boot".to_owned() };
    full.clock = Clock::load(Some(&floor(FORGET_AFTER)), "boot", at(0));
    assert!(full.admit(&allowance("a"), "", at(0)).is_err());
    full.clock = Clock::load(Some(&floor(FORGET_AFTER + 10)), "boot", at(0));
    assert_eq!(full.admit(&allowance("a"), "", at(0)).unwrap(), ["0"]);
    assert!(full.admit(&allowance("7"), "", at(0)).is_err(), "it is remembered still");
    full.forget(&["0".to_owned()]);
    assert_eq!(full.admit(&allowance("a"), "", at(0)).unwrap(), [] as [String; 0]);
}

#[test]
fn set_back_clock_names_both_times() {
    let mut book = book(vec![]);
    let floor = Floor { wall_ns: 1_000_000_000_000, boot_ns: 0, boot_id: "before".to_owned() };
    book.clock = Clock::load(Some(&floor), "boot", at(10));
    let refused = book.in_time(3610, at(10)).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::ClockSetBack);
    for part in ["1970-01-01T00:00:10", "1970-01-01T00:16:", "set the clock right"] {
        assert!(refused.message.contains(part), "{part} in {refused}");
    }
    let right = Now { wall_ns: 1_010_000_000_000, ..at(10) };
    assert_eq!(reason(book.in_time(3610, right)), None);
    assert_eq!(reason(book.in_time(1010, right)), Some(RefusedReason::Expired));
    // 50 seconds behind the floor is still its time; what is left is counted from the floor.
    let behind = Now { wall_ns: 960_000_000_000, ..at(10) };
    assert_eq!(reason(book.in_time(1005, behind)), Some(RefusedReason::Expired));
    assert!(book.deadline(1110, behind) <= at(10).boot_ns + 100_010_000_000);
    assert_eq!(book.deadline(1, behind), at(10).boot_ns, "never before now");
}

#[test]
fn spending_is_saved_and_reported_periodically() {
    let mut book = book(vec![entry("a")]);
    let spent = |files| survey(vec![row(&entry("a"), files)], &[]);
    assert_eq!(book.take(&spent(0), &|_| true, at(20)), Surveyed::default());
    let _ = book.saved(&book.change(at(20)), Ok(()), at(20));
    assert!(!book.wants_save(at(24)));
    assert_eq!(book.take(&spent(3), &|_| true, at(24)), Surveyed::default());
    assert!(!book.wants_save(at(24)) && book.wants_save(at(25)));
    let change = book.change(at(25));
    assert_eq!(change.entries[0].grants[0].used_files, 3);
    assert!(
        book.saved(&change, Err("full".to_owned()), at(25)) && book.unwritable() == Some("full")
    );
    assert!(!book.saved(&change, Err("full".to_owned()), at(26)), "no news");
    assert_eq!(book.change(at(30)).entries.len(), 1, "it is tried again");
    assert!(book.saved(&change, Ok(()), at(31)) && book.unwritable().is_none());
    assert!(book.change(at(31)).entries.is_empty());
    assert_eq!(book.take(&spent(3), &|_| true, at(79)).tell, [] as [&str; 0]);
    assert_eq!(book.take(&spent(4), &|_| true, at(80)).tell, ["a"]);
    assert_eq!(book.take(&spent(5), &|_| true, at(139)).tell, [] as [&str; 0]);
    assert_eq!(book.take(&spent(5), &|_| true, at(140)).tell, ["a"]);
    assert_eq!(book.take(&spent(5), &|_| true, at(300)).tell, [] as [&str; 0]);
}

#[test]
fn each_end_has_its_reason() {
    let mut book = book(vec![entry("user")]);
    let there = survey(vec![row(&entry("user"), 0)], &[]);
    let one = |why| vec![("user".to_owned(), why)];
    assert_eq!(over(&mut book, &there, at(3609)), []);
    assert_eq!(over(&mut book, &there, at(3610)), one(Why::Expired));
    assert_eq!(over(&mut book, &Survey::default(), at(20)), one(Why::Lost));
    assert_eq!(book.take(&there, &|zone| zone != "customers", at(20)).over, one(Why::Policy));
    book.revoke(Revoked { id: "user".to_owned(), at_ns: 0, by: person() });
    assert_eq!(over(&mut book, &there, at(20)), one(Why::Revoked));
}

#[test]
fn tree_ends_with_its_first_process() {
    let mut book = book(vec![tree("t")]);
    let there = |gone: &[&str]| survey(vec![row(&tree("t"), 0)], gone);
    let one = |why| vec![("t".to_owned(), why)];
    assert_eq!(over(&mut book, &there(&[]), at(69)), []);
    assert_eq!(over(&mut book, &there(&[]), at(70)), one(Why::NeverStarted));
    assert_eq!(over(&mut book, &there(&["t"]), at(11)), one(Why::NeverStarted), "nobody will");
    book.joined("t", ProcessId { pid: 701, start_ticks: 1100 });
    assert_eq!(over(&mut book, &there(&[]), at(70)), []);
    assert_eq!(over(&mut book, &there(&["t"]), at(70)), one(Why::Finished));
}

#[test]
fn unknown_kernel_entry_is_found() {
    let stranger = Entry { serial: 99, ..entry("stranger") };
    let mut known = book(vec![entry("a")]);
    let survey = survey(vec![row(&stranger, 0), row(&entry("a"), 0)], &[]);
    assert_eq!(known.take(&survey, &|_| true, at(20)).unknown, [99]);
    // One that is closed here but not there.
    let _ = known.close("a", None, closed(Why::Closed));
    assert_eq!(known.take(&survey, &|_| true, at(20)).unknown, [99, 10_000_000_000]);
    assert_eq!(Book::default().take(&survey, &|_| true, at(20)).unknown.len(), 2);
}

/// Another boot leaves nothing open, and no used id becomes unused.
#[test]
fn reboot_closes_entries_and_keeps_ids() {
    let mut book = Book::default();
    let loaded = Loaded {
        entries: vec![entry("a"), Entry { state: closed(Why::Finished), ..entry("b") }],
        ..Loaded::default()
    };
    assert_eq!(book.load(loaded, "next".to_owned(), at(5)), ["a"]);
    assert_eq!(book.open().count(), 0);
    assert!(matches!(book.get("a").unwrap().state, EntryState::Closed { why: Why::Rebooted, .. }));
    assert!(matches!(book.get("b").unwrap().state, EntryState::Closed { why: Why::Finished, .. }));
    assert_eq!(
        reason(book.admit(&allowance("a"), &"d".repeat(64), at(6))),
        Some(RefusedReason::AlreadyUsed)
    );
    assert_eq!(book.id_of(10_000_000_000), None, "serials are of one boot");
}

/// Ops without a mark must not find two open allowances.
#[test]
fn two_open_entries_need_distinct_binds() {
    let mut book = book(vec![entry("a")]);
    let user = |uid| Bound { user: Some(UserRef { uid, name: None }), ..Bound::default() };
    assert_eq!(reason(book.bind_free(&user(1000))), Some(RefusedReason::BindTaken));
    assert_eq!(reason(book.bind_free(&user(1001))), None);
    assert_eq!(reason(book.bind_free(&tree("t").bound)), None, "a tree has its own");
    let _ = book.close("a", Some(&row(&entry("a"), 9)), closed(Why::Closed));
    assert_eq!(reason(book.bind_free(&user(1000))), None);
    assert_eq!(book.get("a").unwrap().grants[0].used_files, 9, "the last figures are kept");
}

#[test]
fn serial_finds_its_allowance() {
    let book = book(vec![entry("a")]);
    assert_eq!(book.id_of(10_000_000_000), Some("a"));
    assert_eq!(book.id_of(1), None);
    let ids: BTreeSet<&str> = book.open().map(|entry| entry.id.as_str()).collect();
    assert_eq!(ids, BTreeSet::from(["a"]));
}

/// The disk takes its time: what was spent meanwhile is not on it.
#[test]
fn what_changed_meanwhile_stays_unsaved() {
    let other = Entry { serial: 7, ..entry("b") };
    let mut book = book(vec![entry("a"), other.clone()]);
    let spent = |files| survey(vec![row(&entry("a"), files), row(&other, 1)], &[]);
    let _ = book.take(&spent(3), &|_| true, at(20));
    let change = book.change(at(20));
    assert_eq!(change.entries.len(), 2);
    let _ = book.take(&spent(4), &|_| true, at(21));
    let _ = book.saved(&change, Ok(()), at(30));
    let left = book.change(at(31)).entries;
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].id.as_str(), left[0].grants[0].used_files), ("a", 4));
}
