use std::collections::BTreeMap;

use tempfile::TempDir;

use super::*;
use crate::api::Person;
use crate::report::test_events;

fn at(millis: u64) -> Now {
    Now { boot_ns: millis * 1_000_000, wall_ns: 0 }
}

/// A journal that keeps what it gets.
struct Fake {
    socket: UnixDatagram,
    _dir: TempDir,
}

impl Fake {
    fn start() -> (Self, Journal) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("socket");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        (Self { socket, _dir: dir }, Journal::at(&path))
    }

    /// The next entry, as journald reads it; `None` if there is none.
    fn next(&self) -> Option<BTreeMap<String, String>> {
        let mut bytes = vec![0; 1 << 16];
        let length = self.socket.recv(&mut bytes).ok()?;
        let mut rest = &bytes[..length];
        let mut fields = BTreeMap::new();
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n' || *byte == b'=').unwrap();
            let name = String::from_utf8(rest[..end].to_vec()).unwrap();
            assert_eq!(rest[end], b'\n', "{name}: a length comes first");
            let (length, after) = rest[end + 1..].split_at(8);
            let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
            let value = String::from_utf8(after[..length].to_vec()).unwrap();
            assert_eq!(after[length], b'\n');
            let valid = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
            assert!(name.chars().all(valid) && name.len() <= 64, "{name}");
            assert_eq!(fields.insert(name, value), None, "a field comes once");
            rest = &after[length + 1..];
        }
        Some(fields)
    }
}

fn verdict(trip: bool) -> Record {
    let decided = test_events::decided(test_events::denied());
    let mut event = crate::report::event(&decided, Some("customers"), None, false, at(0));
    event.trip = trip;
    Record::Verdict { event: Box::new(event) }
}

fn refuse(reason: &'static str, error: &str) -> Record {
    let person = Person { uid: 0, pid: Some(7), login_uid: Some(1000), comm: None };
    let allowance =
        crate::audit::AllowanceRef { id: Some("CHG-1".to_owned()), digest: None, signers: vec![] };
    Record::AllowanceRefuse { allowance, reason, error: error.to_owned(), person }
}

#[test]
fn trip_entry_has_fields_and_id() {
    let (fake, mut journal) = Fake::start();
    journal.tell(&verdict(true), at(0));
    let entry = fake.next().unwrap();
    assert_eq!(entry["MESSAGE_ID"], Class::Trip.id());
    assert_eq!((entry["PRIORITY"].as_str(), entry["HOLDFAST_EVENT"].as_str()), ("4", "trip"));
    assert_eq!(entry["HOLDFAST_ZONE"], "customers");
    assert_eq!(entry["HOLDFAST_VERDICT"], "deny");
    assert!(entry["MESSAGE"].starts_with("over a budget of zone customers: "), "{entry:?}");
    for name in ["HOLDFAST_OP", "HOLDFAST_PID", "HOLDFAST_UID", "HOLDFAST_COMM", "HOLDFAST_PATH"] {
        assert!(entry.contains_key(name), "{name}: {entry:?}");
    }
    assert_eq!((fake.next(), journal.dropped()), (None, 0));
}

#[test]
fn refusal_entry_has_reason_and_person() {
    let (fake, mut journal) = Fake::start();
    journal.tell(&refuse("other_host", "it is for web2"), at(0));
    let entry = fake.next().unwrap();
    assert_eq!(entry["MESSAGE_ID"], Class::AllowanceRefuse.id());
    assert_eq!(entry["MESSAGE"], "allowance CHG-1 is refused: other_host");
    assert_eq!(entry["HOLDFAST_PERSON_LOGIN_UID"], "1000");
    assert_eq!(entry["HOLDFAST_ERROR"], "it is for web2");
}

/// A name or a reason with a newline puts no field of its own into the journal.
#[test]
fn nobody_puts_fields_in() {
    let (fake, mut journal) = Fake::start();
    journal.tell(&refuse("other_host", "x\nPRIORITY=0\nMESSAGE=all is well\n"), at(0));
    let entry = fake.next().unwrap();
    assert_eq!(entry["PRIORITY"], "4");
    assert_eq!(entry["HOLDFAST_ERROR"], "x\nPRIORITY=0\nMESSAGE=all is well\n");
    journal.audit_failed(&format!("a\nb{}", "é".repeat(5000)), at(0));
    let entry = fake.next().unwrap();
    assert!(entry["MESSAGE"].starts_with("the audit log cannot be written: a\u{fffd}b"));
    assert!(entry["HOLDFAST_ERROR"].len() <= 2048);
}

/// Each entry says how many it stands for.
#[test]
fn denial_flood_is_entry_per_second() {
    let (fake, mut journal) = Fake::start();
    for millis in 0..2500 {
        journal.tell(&verdict(false), at(millis));
    }
    let omitted: Vec<Option<String>> = std::iter::from_fn(|| fake.next())
        .map(|mut entry| entry.remove("HOLDFAST_OMITTED"))
        .collect();
    assert_eq!(omitted, [None, Some("999".to_owned()), Some("999".to_owned())]);
}

/// It is not waited for, and what is dropped is counted.
#[test]
fn absent_or_full_journal_drops_entries() {
    let (fake, mut journal) = Fake::start();
    for _ in 0..100_000 {
        journal.tell(&verdict(true), at(0));
    }
    assert!(journal.dropped() > 0, "nobody has read it: it is full");
    let before = journal.dropped();
    while fake.next().is_some() {}
    journal.tell(&verdict(true), at(0));
    assert_eq!(journal.dropped(), before, "there is room again");
    drop(fake);
    journal.tell(&verdict(true), at(0));
    assert_eq!(journal.dropped(), before + 1, "it is gone");
    Journal::default().tell(&verdict(true), at(0));
}

#[test]
fn complete_self_test_is_good_news() {
    let (fake, mut journal) = Fake::start();
    journal.tell(&Record::Coverage { complete: false, ops: vec![] }, at(0));
    journal.tell(&Record::Coverage { complete: true, ops: vec![] }, at(0));
    assert_eq!(fake.next().unwrap()["PRIORITY"], "3");
    assert_eq!(fake.next().unwrap()["PRIORITY"], "6");
}

/// Each class has an id of its own and a text in the catalogue, whose fields there are.
#[test]
fn the_catalogue_has_each_class_once() {
    let catalogue = include_str!("../../dist/holdfast.catalog");
    let ids: Vec<&str> = catalogue.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
    let known: Vec<&str> = Class::ALL.iter().map(|class| class.id()).collect();
    assert_eq!(ids, known);
    for id in ids {
        assert!(id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
    }
    for text in catalogue.split("\n-- ").skip(1) {
        assert!(
            text.contains("\nSubject: ") && text.contains("\nDefined-By: holdfast\n"),
            "{text}"
        );
    }
    let source = include_str!("entry.rs");
    for name in catalogue.split('@').skip(1).step_by(2) {
        assert!(source.contains(&format!("\"{name}\"")), "no field {name}");
    }
}

/// They say the same as the journal.
#[test]
fn web_hook_gets_json_entries() {
    let entry = Entry::of(Class::AllowanceRefuse, &refuse("other_host", "it is for \"web2\""));
    let json: serde_json::Value = serde_json::from_str(&entry.json(at(0))).unwrap();
    assert_eq!(json["event"], "allowance_refuse");
    assert_eq!((&json["allowance"], &json["reason"]), (&"CHG-1".into(), &"other_host".into()));
    assert_eq!(json["error"], "it is for \"web2\"");
    assert_eq!(json["time"], "1970-01-01T00:00:00.000Z");
    assert!(!json["host"].as_str().unwrap().is_empty());
}

/// A key that was moved kept the agent from starting: after a reboot the host had no guard, for
/// want of a message.
#[test]
fn unusable_web_hook_counts_missed_entries() {
    let mut journal = Journal::open(Err("no key".to_owned()));
    assert_eq!((journal.webhook_error(), journal.webhook()), (Some("no key"), Some((0, 0))));
    journal.tell(&verdict(true), at(0));
    assert_eq!(journal.webhook(), Some((0, 1)));
    let journal = Journal::open(Ok(None));
    assert_eq!((journal.webhook_error(), journal.webhook()), (None, None));
}
