//! A recorded past, made up.

use std::fs;
use std::path::Path;

use holdfast_abi::{Op, Verdict, Who};
use holdfast_policy::Policy;
use holdfast_policy::replay::{RecordedOp, Simulation};
use serde_json::{Value, json};

use super::*;
use crate::clock::{Now, rfc3339};
use crate::manifest::{Gap, GapWhy, Line, Record, example, segment_text};

const SECOND: i64 = 1_000_000_000;
/// 2012-06-20.
const DAY: i64 = 1_340_150_400;

/// A state directory that is filled line by line.
struct Host {
    dir: tempfile::TempDir,
    lines: Vec<Line>,
    audit: Vec<Value>,
}

impl Host {
    fn new() -> Self {
        let mut host =
            Self { dir: tempfile::tempdir().unwrap(), lines: Vec::new(), audit: Vec::new() };
        host.head("boot-a/1", DAY);
        host
    }

    fn head(&mut self, ring: &str, second: i64) {
        let time = rfc3339(second * SECOND);
        let head = json!({ "head": { "version": 2, "segment": 1, "time": time, "ring": ring,
            "position": 0, "lost": {} } });
        self.lines.push(serde_json::from_value(head).unwrap());
    }

    fn gone(&mut self, second: i64, edit: impl FnOnce(&mut Record)) {
        let mut record = example("alice", b"f", (1_000 + second as u64) * SECOND as u64);
        record.clock = (DAY - 1_000) * SECOND;
        edit(&mut record);
        self.lines.push(Line::Gone(Box::new(record)));
    }

    fn said(&mut self, second: i64, kind: &str, mut rest: Value) {
        let seq = self.audit.len();
        rest["type"] = json!(kind);
        rest["seq"] = json!(seq);
        rest["time"] = json!(rfc3339((DAY + second) * SECOND));
        self.audit.push(rest);
    }

    fn denied(&mut self, second: i64, inode: u64) {
        let event = json!({
            "time": rfc3339((DAY + second) * SECOND),
            "time_ns": (1_000 + second as u64) * SECOND as u64,
            "zone": "z", "op": "remove", "verdict": "deny", "reason": "files", "trip": true,
            "files": 1, "bytes": 12, "tenant": { "inode": 7, "name": "alice" },
            "path": "/srv/alice/g", "path_cut": false, "inode": inode, "device": "8:1",
            "strict": false, "kernel_thread": false, "unit": { "id": 5, "path": "/u" }, "uid": 0,
            "login_uid": 1001, "who": "operators", "pid": 9, "tid": 9, "comm": "rm", "budget": null,
            "latched_until": null, "suppressed": 3,
        });
        self.said(second, "verdict", json!({ "event": event }));
    }

    /// Opens what is there, a day before until long after.
    fn past(&self, zone: Option<&str>) -> Past {
        let write = |dir: &str, name: &str, text: String| {
            let dir = self.dir.path().join(dir);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(name), text).unwrap();
        };
        write("manifest", "00000001.jsonl", segment_text(self.lines.iter().cloned()));
        let audit = self.audit.iter().map(|line| format!("{line}\n")).collect();
        write("audit", "audit-000001.jsonl", audit);
        open(self.dir.path(), zone)
    }
}

fn open(dir: &Path, zone: Option<&str>) -> Past {
    let now = Now { boot_ns: 1, wall_ns: (DAY + 864_000) * SECOND };
    Past::open(dir, DAY - 60, zone.map(str::to_owned), now)
}

fn policy(files: u64) -> Policy {
    let text = format!(
        "[[zone]]\nname = \"z\"\nrole = \"primary\"\npaths = [\"/srv\"]\n[[zone.budget]]\n\
         per = \"unit\"\nfiles = {files}\nwindow = \"1m\""
    );
    Policy::parse("p", &text).unwrap_or_else(|problems| panic!("{problems}"))
}

const ALL: Take = Take { denied: true, break_glass: true };

fn ops(past: &Past, take: Take) -> (Vec<RecordedOp>, Told) {
    let mut ops = Vec::new();
    let told = past.replay(&policy(3), take, &mut |op, _| ops.push(*op)).unwrap();
    (ops, told)
}

#[test]
fn record_has_every_decision_input() {
    let mut host = Host::new();
    host.gone(1, |_| ());
    host.gone(2, |record| {
        (record.actor_mut().uid, record.actor_mut().login_uid) = (1000, Some(1002));
        let file = &mut record.file;
        (file.op, file.files, file.bytes) = ("truncate".into(), 0, 99);
    });
    host.gone(3, |record| (record.actor_mut().uid, record.actor_mut().unit_id) = (33, 6));
    let past = host.past(None);
    let (ops, told) = ops(&past, ALL);
    let [first, owner, stranger] = ops[..] else { panic!("{ops:?}") };
    assert_eq!(
        (first.zone, first.op, first.who, first.user),
        (0, Op::Remove, Who::OPERATOR_BIT, 0)
    );
    assert_eq!((first.cost.files, first.cost.bytes, first.cost.tenant), (1, 12, 7));
    assert_eq!(first.now, (DAY + 1) as u64 * SECOND as u64);
    assert_eq!((owner.op, owner.who, owner.user), (Op::Truncate, Who::OWNER_BIT, 1002));
    assert_eq!((owner.cost.files, owner.cost.bytes, owner.now - first.now), (0, 99, SECOND as u64));
    assert_eq!((stranger.who, stranger.user), (Who::OPERATOR_BIT, 33));
    assert!(owner.unit == first.unit && stranger.unit != first.unit);
    assert_eq!((told.ops, told.bytes, told.by_name), (3, 12 + 99 + 12, 0));
    assert_eq!(
        told.notes,
        ["recorded only since 2012-06-20T00:00:00.000Z: what was before that is not known"]
    );
}

/// It has its place among the others.
#[test]
fn denied_op_is_replayed_once() {
    let mut host = Host::new();
    host.said(0, "start", json!({ "boot_id": "boot-a" }));
    host.gone(1, |_| ());
    host.gone(5, |_| ());
    host.denied(3, 20);
    host.denied(4, 20);
    host.denied(9, 21);
    let past = host.past(None);
    let (all, told) = ops(&past, ALL);
    let seconds: Vec<u64> = all.iter().map(|op| (op.now - all[0].now) / SECOND as u64).collect();
    assert_eq!((seconds, told.denied), (vec![0, 2, 4, 8], 2));
    assert!(all.iter().all(|op| op.unit == all[0].unit), "the unit of both logs is one");
    assert_eq!(all[1].user, 1001);
    assert!(told.notes.iter().any(|note| note.contains("2 ops were denied")), "{:?}", told.notes);
    assert!(
        told.notes.iter().any(|note| note.contains("9 ops were over budget not listed")),
        "{:?}",
        told.notes
    );
    let (done, told) = ops(&past, Take { denied: false, ..ALL });
    assert_eq!((done.len(), told.denied), (2, 0));
}

/// So are those under a break-glass.
#[test]
fn ops_under_allowances_are_reported() {
    let mut host = Host::new();
    host.gone(1, |record| record.actor_mut().allowance = Some("CHG-1".into()));
    host.gone(2, |_| ());
    host.said(10, "break_glass_open", json!({ "zone": "z" }));
    host.gone(11, |_| ());
    host.said(12, "break_glass_close", json!({ "zone": "z" }));
    host.gone(13, |record| record.file.unseen = true);
    let past = host.past(None);
    let (done, told) = ops(&past, Take { break_glass: false, ..ALL });
    assert_eq!(
        (done.len(), told.under_allowance, told.under_break_glass, told.unseen),
        (2, 1, 1, 1)
    );
    assert_eq!(ops(&past, ALL).0.len(), 3);
    for says in [
        "1 op was under a signed allowance",
        "1 op was done while a break-glass was open",
        "1 op is of a call",
    ] {
        assert!(told.notes.iter().any(|note| note.contains(says)), "{says}: {:?}", told.notes);
    }
}

#[test]
fn what_is_missing_is_told() {
    let mut host = Host::new();
    host.gone(1, |_| ());
    host.gone(2, |record| record.dir_mut().place.zone = "gone-zone".into());
    host.gone(3, |record| {
        let place = &mut record.dir_mut().place;
        (place.zone, place.root) = ("w".into(), Some(b"/data"[..].into()));
    });
    let time = |second: i64| rfc3339((DAY + second) * SECOND);
    for zone in ["z", "other"] {
        let (from, to, zone, lost) = (time(4), time(5), Some(zone.to_owned()), Some(7));
        host.lines.push(Line::Gap(Gap { from, to, zone, lost, why: GapWhy::RingFull, total: 0 }));
    }
    host.lines.push(Line::Switch { time: time(6), zone: "z".into(), manifest: false });
    host.lines.push(Line::Switch { time: time(7), zone: "z".into(), manifest: true });
    let row = json!({
        "zone": "z", "several": false, "records": 40, "files": 40, "bytes": 1, "from": time(-9),
        "to": time(-5),
    });
    let past = host.past(None);
    let path = host.dir.path().join("manifest/00000001.jsonl");
    fs::write(&path, fs::read_to_string(&path).unwrap() + "nothing of ours\n").unwrap();
    let summary = json!({ "through": 0, "sha256": null, "rows": [row], "gaps": [] }).to_string();
    fs::write(host.dir.path().join("manifest/summary.json"), summary).unwrap();
    let (done, told) = ops(&past, ALL);
    assert_eq!((done.len(), told.outside.get("w")), (2, Some(&1)));
    for says in [
        "GAP: 7 ops are missing in zone z",
        "zone z was not recorded from 2012-06-20T00:00:06.000Z to 2012-06-20T00:00:07.000Z",
        "1 line of the manifest cannot be read",
        "SUMMARISED: of up to 40 ops until 2012-06-19T23:59:55.000Z",
        "1 op that was recorded in zone w would be in no zone of this policy",
    ] {
        assert!(told.notes.iter().any(|note| note.starts_with(says)), "{says}: {:?}", told.notes);
    }
    let (_, told) = ops(&host.past(Some("z")), ALL);
    assert!(
        !told.notes.iter().any(|note| note.contains("zone other") || note.contains("zone w")),
        "{:?}",
        told.notes
    );
}

#[test]
fn missing_records_say_what_to_do() {
    let error = |past: &Past| past.replay(&policy(3), ALL, &mut |_, _| ()).unwrap_err().to_string();
    let empty = tempfile::tempdir().unwrap();
    let told = error(&open(empty.path(), None));
    assert!(
        told.starts_with("there is no manifest in ") && told.contains("help: run the agent"),
        "{told}"
    );
    let mut host = Host::new();
    let told = error(&host.past(None));
    assert!(
        told.contains("nothing was recorded since 2012-06-19T23:59:00.000Z: recorded only since"),
        "{told}"
    );
    assert!(told.contains("help: choose an earlier --since"), "{told}");
    let time = rfc3339((DAY + 6) * SECOND);
    host.lines.push(Line::Switch { time, zone: "z".into(), manifest: false });
    let told = error(&host.past(Some("z")));
    assert!(
        told.contains("in zone z") && told.contains("take `manifest = false` out of the zone"),
        "{told}"
    );
}

#[test]
fn trips_name_actor_time_and_aftermath() {
    let mut host = Host::new();
    for second in 0..10 {
        host.gone(second, |_| ());
    }
    // Another unit, and the first one again once its window has drained.
    host.gone(11, |record| {
        (record.actor_mut().unit_id, record.actor_mut().unit) = (6, "/other".into());
    });
    (200..205).for_each(|second| host.gone(second, |_| ()));
    let policy = policy(3);
    let (mut simulation, mut tally) = (Simulation::new(policy.clone()), Tally::new(&policy, 1));
    let mut verdicts = Vec::new();
    host.past(None)
        .replay(&policy, ALL, &mut |op, evidence| {
            let decision = simulation.decide(op);
            verdicts.push(decision.verdict);
            tally.take(&policy, op, &decision, evidence);
        })
        .unwrap();
    let stopped = verdicts.iter().filter(|verdict| **verdict != Verdict::Allow).count() as u64;
    assert_eq!((tally.trips(), tally.stopped(), stopped), (2, 9, 9));
    let [trip] = &tally.first[..] else { panic!("{:?}", tally.first) };
    assert_eq!(
        (trip.deed.time.as_str(), trip.last.as_str()),
        ("2012-06-20T00:00:03.000Z", "2012-06-20T00:00:09.000Z")
    );
    assert_eq!(
        (trip.stopped, trip.stopped_files, trip.verdict, trip.reason),
        (7, 7, "observe", "files")
    );
    assert_eq!(trip.deed.who(), "rm[100], user 0, unit /u");
    assert_eq!(trip.deed.path, "/srv/alice/f");
    let budget = &tally.zones[0].budgets[0];
    assert_eq!((budget.trips, budget.stopped, budget.files), (2, 9, 9));
    assert_eq!(budget.actors.iter().next(), Some((&"rm, user 0, unit /u".to_owned(), &2)));
    assert_eq!(tally.zones[0].verdicts.get("allow"), Some(&7));
}
