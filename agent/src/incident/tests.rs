use serde_json::{Value, json};

use super::*;
use crate::audit::Summary;
use crate::audit::read::Entry;
use crate::clock::{Now, rfc3339};

const START: i64 = 1_340_150_400_000;
const NOW: Now = Now { boot_ns: 0, wall_ns: (START + 3_600_000) * 1_000_000 };
const EVIL: &str = "<script>alert(1)</script>\"'\u{1b}[2J\u{202e}";

struct Log {
    entries: Vec<Entry>,
}

impl Log {
    fn add(&mut self, second: i64, kind: &str, mut value: Value) {
        let seq = self.entries.len() as u64 + 1;
        let fields = value.as_object_mut().unwrap();
        fields.insert("seq".into(), seq.into());
        fields.insert("time".into(), rfc3339((START + second * 1000) * 1_000_000).into());
        fields.insert("type".into(), kind.into());
        self.entries.push(Entry::parse("f", seq, value.to_string().as_bytes()).unwrap());
    }

    fn verdict(&mut self, second: i64, verdict: &str, tenant: &str, suppressed: u32) {
        let event = json!({
            "zone": "customers", "op": "remove", "verdict": verdict, "trip": second == 10,
            "files": 2, "bytes": 2048, "tenant": {"name": tenant},
            "path": format!("/srv/{tenant}/{EVIL}"), "unit": {"id": 7, "path": "/cron.service"},
            "uid": 0, "login_uid": 1000, "pid": 4, "comm": EVIL, "suppressed": suppressed,
        });
        self.add(second, "verdict", json!({ "event": event }));
    }
}

/// A night as one would want to read about it.
fn log() -> Log {
    let mut log = Log { entries: vec![] };
    log.add(0, "head", json!({"host": "web1"}));
    let person = json!({"uid": 0, "login_uid": 4242, "pid": 9, "comm": "holdfast"});
    let signers = json!([{"person": "alice@example.com"}, {"person": "bob@example.com"}]);
    let grants = |files: u64| {
        json!([{
            "zone": "customers", "files": {"spent": files}, "bytes": {"spent": files * 10},
        }])
    };
    let activate = json!({
        "id": "CHG-1", "signers": signers, "reason": EVIL, "requested_by": "carol",
        "person": person, "grants": grants(0),
    });
    log.add(1, "allowance_activate", activate);
    log.add(5, "allowance_spend", json!({"id": "CHG-1", "signers": signers, "grants": grants(30)}));
    log.verdict(10, "hold", "alice", 0);
    log.verdict(11, "hold", "bob", 5);
    log.verdict(12, "observe", "carol", 0);
    log.add(
        13,
        "hold",
        json!({"hold": 7, "zone": "customers", "event": log.entries[3].value["event"]}),
    );
    log.add(20, "release", json!({"hold": 7, "zone": "customers", "files": 3, "person": person}));
    let end = json!({
        "hold": 7, "zone": "customers", "pid": 4, "outcome": "released", "held_seconds": 8.0,
    });
    log.add(21, "hold_end", end);
    log.add(
        25,
        "allowance_close",
        json!({"id": "CHG-1", "why": "finished", "signers": signers, "grants": grants(100)}),
    );
    log.add(26, "lost", json!({"records": 4, "from": "a", "to": "b"}));
    log.add(27, "from_the_future", json!({"zone": "customers"}));
    log.verdict(4000, "deny", "late", 0);
    log
}

fn gather(since: i64, until: i64, zone: Option<&str>) -> Incident {
    let mut incident =
        Incident::new(START + since * 1000, START + until * 1000, zone.map(str::to_owned));
    log().entries.iter().for_each(|entry| incident.take(entry));
    incident
}

fn sound() -> Summary {
    Summary { sound: true, records: 13, segments: 1, signatures: 2, ..Summary::default() }
}

#[test]
fn report_shows_records_and_limits() {
    let page = text(&gather(0, 60, None), &sound(), NOW);
    for part in [
        "host      web1, zones: all",
        "log       VERIFIED: 13 records in 1 segment, 2 signatures checked",
        "log       the key is the log's own word",
        "gap       2012-06-20T00:00:26.000Z: 4 records were lost, from a to b",
        "customers: held: 2 ops: 4 files, 4.0 KiB stopped (and 5 events left out)",
        "customers: went on (the zone only observes): 1 op: 2 files, 2.0 KiB destroyed",
        "customers: 3 tenants in these records",
        "user 0 (login user 1000), /cron.service: 3 ops",
        "bob in customers: 1 op: 2 files",
        "hold 7 in customers: 1 pause\n",
        "decided  2012-06-20T00:00:20.000Z: 3 files released by user 0 (login user 4242)",
        "ended    1 released",
        "signed   alice@example.com, bob@example.com",
        "spent    100 files, 1000 B",
        "(2 such records, the last at 2012-06-20T00:00:11.000Z)",
        "a record of type from_the_future",
        "At least 5 events were left out",
    ] {
        assert!(page.contains(part), "{part:?} in\n{page}");
    }
    assert!(!page.contains("late in customers"), "{page}");
    assert!(
        !page.chars().any(|c| c.is_control() && c != '\n') && !page.contains('\u{202e}'),
        "{page:?}"
    );
}

/// It counts only what is of its time and zone.
#[test]
fn report_covers_only_its_span() {
    let later = gather(6, 60, None);
    let page = text(&later, &sound(), NOW);
    assert!(page.contains("spent    70 files, 700 B"), "30 were spent before: {page}");
    assert!(!page.contains("opened "), "{page}");
    let other = gather(0, 60, Some("backups"));
    assert_eq!((other.records, other.points.len()), (1, 0), "the lost records are about all zones");
    let page = text(&other, &sound(), NOW);
    assert!(
        page.contains("nothing that was recorded") && page.contains("ALLOWANCES\n  none"),
        "{page}"
    );
    assert!(page.contains("Ops within budget are not in the log"), "{page}");
}

#[test]
fn unsound_log_is_reported_first() {
    let bad = crate::audit::Bad {
        file: "audit-000001.jsonl".to_owned(),
        line: 7,
        seq: Some(9),
        what: EVIL.to_owned(),
        means: "it was changed",
    };
    let log = Summary { sound: false, bad: Some(bad), ..sound() };
    let page = text(&gather(0, 60, None), &log, NOW);
    assert!(
        page.lines().nth(2).unwrap().contains("NOT SOUND: audit-000001.jsonl:7, record 9"),
        "{page}"
    );
    let page = html(&gather(0, 60, None), &log, NOW);
    let seal = page.find("class=\"seal bad\"").unwrap();
    assert!(seal < page.find("<h2>").unwrap());
}

#[test]
fn page_is_self_contained_and_inert() {
    let page = html(&gather(0, 60, None), &sound(), NOW);
    for part in [
        "<!doctype html>",
        "class=\"seal good\"",
        "default-src 'none'",
        "prefers-color-scheme:dark",
        "@media print",
        "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;",
        "alice@example.com",
        "class=\"gone\"",
        "class=\"stopped\"",
        "class=\"line\"",
        "At least 5 events were left out",
    ] {
        assert!(page.contains(part), "{part:?} in\n{page}");
    }
    for never in [
        "<script", "http://", "https://", "src=", "url(", "@import", "<link", "<img", "\u{1b}",
        "\u{202e}",
    ] {
        assert!(!page.contains(never), "{never:?}");
    }
    // Every element is closed, in order.
    let mut open = Vec::new();
    for tag in page.split('<').skip(1).filter_map(|rest| rest.split_once('>').map(|(tag, _)| tag)) {
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "in {open:?}");
        } else if !tag.starts_with('!') && !tag.ends_with('/') && !["meta", "br"].contains(&name) {
            open.push(name.to_owned());
        }
    }
    assert_eq!(open, [""; 0]);
    let empty = html(&gather(5000, 5001, None), &sound(), NOW);
    assert!(
        !empty.contains("<svg") && empty.contains("Nothing that was recorded"),
        "no plot of nothing"
    );
}

#[test]
fn a_plot_shows_each_file_once() {
    let incident = gather(0, 5000, None);
    let plot = super::plot::files(&incident).unwrap();
    let shown = plot.split("<title>").filter_map(|part| part.split_once(" files</title>"));
    let files: u64 = shown.filter_map(|(files, _)| files.parse::<u64>().ok()).sum();
    assert_eq!(files, incident.points.iter().map(|point| point.files).sum::<u64>());
    assert_eq!(
        super::plot::tenants(&incident).unwrap().matches('V').count(),
        1 + 4,
        "an axis and four tenants"
    );
}

#[test]
fn long_incident_is_truncated_with_note() {
    let mut incident = Incident::new(i64::MIN, i64::MAX, None);
    let mut log = Log { entries: vec![] };
    for n in 0..1500 {
        log.add(n * 100, "coverage", json!({"complete": false}));
    }
    log.entries.iter().for_each(|entry| incident.take(entry));
    assert_eq!((incident.timeline.len(), incident.rows_left_out), (1000, 500));
    assert!(incident.unknown().iter().any(|what| what.starts_with("500 more rows")));
}

fn at(second: i64) -> String {
    rfc3339((START + second * 1000) * 1_000_000)
}

/// What the agent records about a break-glass that was opened at second 10, for five minutes.
fn glass(number: u64, files: u64, closed: Value) -> Value {
    let until = json!({"time": at(310)});
    json!({
        "number": number, "id": format!("break-glass-{number}"), "serial": 77, "zone": "customers",
        "role": "primary", "reason": format!("the disk is full {EVIL}"), "scope": "host_wide",
        "command": null, "opened": at(10), "opened_by": {"uid": 0, "login_uid": 4242},
        "code": 3, "signer": null, "until": if closed.is_null() { until } else { Value::Null },
        "files": {"limit": 2000, "spent": files},
        "bytes": {"limit": 1 << 20, "spent": files * 1024},
        "ops": {"remove": files}, "closed": closed,
    })
}

/// Glass 1 is spent and closed, glass 2 was signed for one command and has no end on record.
fn night_of_break_glass() -> Log {
    let mut log = Log { entries: vec![] };
    let person = json!({"uid": 1000, "login_uid": 1000});
    let wrong = |count: u64| {
        json!({"zone": "customers", "reason": "wrong_code", "count": count,
        "error": "that is no code\nhelp", "person": person})
    };
    log.add(2, "break_glass_refuse", wrong(1));
    log.add(8, "break_glass_refuse", wrong(41));
    log.add(10, "break_glass_open", glass(1, 0, Value::Null));
    log.add(70, "break_glass_spend", glass(1, 30, Value::Null));
    log.add(130, "break_glass_spend", glass(1, 80, Value::Null));
    let closed = json!({"at": at(140), "why": "closed", "by": {"uid": 0, "login_uid": 7}});
    log.add(140, "break_glass_close", glass(1, 100, closed));
    let mut second = glass(2, 0, Value::Null);
    second["opened"] = at(200).into();
    second["command"] = "rm -rf /srv".into();
    (second["code"], second["scope"]) = (Value::Null, "command".into());
    second["signer"] = json!({"person": "alice", "key": "SHA256:x", "algorithm": "sk-ssh-ed25519"});
    second["until"]["time"] = at(500).into();
    log.add(200, "break_glass_open", second);
    log.add(201, "break_glass_join", json!({"number": 2, "zone": "customers", "pid": 55}));
    log.add(205, "break_glass_codes", json!({"numbers": [4, 5], "replaced": 1, "person": person}));
    log
}

fn glass_page(since: i64, until: i64, zone: Option<&str>) -> String {
    let mut incident =
        Incident::new(START + since * 1000, START + until * 1000, zone.map(str::to_owned));
    night_of_break_glass().entries.iter().for_each(|entry| incident.take(entry));
    let page = text(&incident, &sound(), NOW);
    let from = page.find("\nBREAK-GLASS\n").expect("a section of its own");
    page[from..page.find("\nTIMELINE").unwrap()].to_owned()
}

#[test]
fn break_glass_has_a_full_section() {
    let page = glass_page(0, 300, None);
    for part in [
        "  break-glass 1 in customers\n",
        "    who      user 0 (login user 4242), with code 3\n",
        "    why      the disk is full <script>",
        "    for      everybody in the zone\n",
        "    open     from 2012-06-20T00:00:10.000Z to 2012-06-20T00:05:10.000Z at the latest\n",
        "    limits   2000 files, 1.0 MiB at most\n",
        "    gone     100 files, 100.0 KiB destroyed under it (remove 100), as last recorded",
        "    ended    2012-06-20T00:02:20.000Z: closed on request, by user 0 (login user 7)\n",
        "  break-glass 2 in customers\n",
        "with the signature of alice (sk-ssh-ed25519 SHA256:x)\n",
        "    for      the processes of: rm -rf /srv (pid 55)\n",
        "    ended    that is not on record in this time\n",
        "00:00:02.000Z: REFUSED, user 1000 (login user 1000), for customers: that is no code\n",
        "00:00:08.000Z: REFUSED 41 times, the last one, user 1000",
        "2 new codes made by user 1000 (login user 1000); 1 old one worthless since then",
    ] {
        assert!(page.contains(part), "{part:?} in\n{page}");
    }
    assert!(!page.contains('\u{1b}') && !page.contains('\u{202e}'), "{page:?}");
    let nothing = glass_page(0, 300, Some("backups"));
    assert!(nothing.contains("none was open") && !nothing.contains("REFUSED"), "{nothing}");
}

#[test]
fn break_glass_counts_only_the_span() {
    let page = glass_page(100, 300, None);
    assert!(page.contains("70 files, 70.0 KiB destroyed under it (remove 70)"), "{page}");
    assert!(page.contains("who      user 0 (login user 4242)") && !page.contains("REFUSED"));
    let later = glass_page(150, 400, None);
    assert!(!later.contains("break-glass 1"), "it was over: {later}");
    assert!(later.contains("break-glass 2"));
    let quiet = glass_page(300, 400, None);
    assert!(quiet.contains("break-glass 2"), "open, and nothing is recorded of it: {quiet}");
    assert!(quiet.contains("0 files, 0 B destroyed under it (no op)"), "{quiet}");
    let over = glass_page(501, 600, None);
    assert!(over.contains("none was open"), "its time is over: {over}");
}

/// The report splits them by tenant, and by what allowed them.
#[test]
fn deletions_are_split_by_source() {
    use crate::manifest::{SpentFrom, SummaryRow, example};
    let mut destroyed = Destroyed { is_known: true, ..Destroyed::default() };
    for (n, tenant, from) in [
        (1, "alice", SpentFrom::Budgets),
        (2, "bob", SpentFrom::Budgets),
        (3, "bob", SpentFrom::Allowance("break-glass-1".to_owned())),
        (4, "bob", SpentFrom::Nothing),
    ] {
        let record = example(tenant, b"f", n);
        let row = SummaryRow::of(&record);
        destroyed.from.entry(from).or_default().add(&record, &row.key());
        match destroyed.tenants.iter_mut().find(|(name, _)| name == tenant) {
            Some((_, known)) => known.add(&row),
            None => destroyed.tenants.push((tenant.to_owned(), row)),
        }
    }
    destroyed.notes.push("GAP: of <b>".to_owned());
    destroyed.seals.push("as it was sealed: 1 segment open".to_owned());
    let mut incident = Incident::new(START, START + 300_000, None);
    night_of_break_glass().entries.iter().for_each(|entry| incident.take(entry));
    incident.destroyed = destroyed.sorted();
    let page = text(&incident, &sound(), NOW);
    for part in [
        "DESTROYED, as the manifest has it\n  as it was sealed: 1 segment open\n  bob: 3 ops, 3 \
         files, 36 B, ",
        "  alice: 1 op, 1 file, 12 B, 2012-06-19T23:59:55.000Z to ",
        "  in all: 4 ops, 4 files, 48 B, of 2 tenants\n",
        "    within budgets, or released: 2 ops, 2 files, 24 B, of 2 tenants\n",
        "    over budget, in a zone that observes: 1 op, 1 file, 12 B, of 1 tenant\n",
        "    under break-glass-1: 1 op, 1 file, 12 B, of 1 tenant\n",
        "  GAP: of <b>\n",
        "    manifest 1 op, 1 file, 12 B, of 1 tenant\n",
        "do not add the two up",
    ] {
        assert!(page.contains(part), "{part:?} in\n{page}");
    }
    assert!(!page.contains("holdfast_destroyed_files_total"), "{page}");
    let page = html(&incident, &sound(), NOW);
    for part in [
        "<td>bob</td><td class=\"n\">3</td><td class=\"n\">3</td><td class=\"n\">36 B</td>",
        "<b>within budgets, or released</b> 2 ops",
        "GAP: of &lt;b&gt;",
        "<h2>Break-glass</h2>",
        "<b>who</b> user 0 (login user 4242), with code 3",
        "the disk is full &lt;script&gt;",
        "REFUSED 41 times",
    ] {
        assert!(page.contains(part), "{part:?} in\n{page}");
    }
    assert!(!page.contains("<script") && !page.contains('\u{1b}'));
    incident.destroyed = Destroyed::unknown("not known: there is no manifest in /x\u{1b}[2J");
    let page = text(&incident, &sound(), NOW);
    assert!(
        page.contains("as the manifest has it\n  not known: there is no manifest in /x\\x1b[2J\n")
    );
    assert!(page.contains("holdfast_destroyed_files_total"), "{page}");
}
