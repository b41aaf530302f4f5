//! Break-glass in an incident: who opened what, why, how long, what was destroyed under it, how it
//! ended, and who was refused.

use std::collections::BTreeMap;

use super::destroyed::Destroyed;
use super::sentence::{by, list, person};
use crate::audit::read::Entry;
use crate::clock;
use crate::text::{count, size};

/// Refusals and codes of which there is a line each; those beyond are counted.
const MOST: usize = 100;

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Glasses {
    /// By when it was opened, and its number.
    opened: BTreeMap<(String, u64), Glass>,
    /// What else is to be said, in order.
    told: Vec<String>,
    left_out: u64,
}

/// One of them, as the last record about it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Glass {
    id: String,
    serial: u64,
    zone: String,
    who: String,
    how: String,
    why: String,
    whom: String,
    /// Processes that joined it.
    joined: Vec<u64>,
    until: Option<String>,
    limits: (u64, u64),
    spent: Spent,
    /// The same before the time that is told of.
    before: Spent,
    /// How it ended.
    ended: Option<String>,
    /// Whether there is a record of it in that time.
    is_recorded: bool,
    /// Whether it was over before that.
    was_over: bool,
}

/// Files, bytes, and ops of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Spent {
    files: u64,
    bytes: u64,
    ops: BTreeMap<String, u64>,
}

impl Glasses {
    /// Takes note of a record of that time.
    pub(super) fn take(&mut self, entry: &Entry) {
        match entry.kind.as_str() {
            "break_glass_join" => self.joined(entry),
            "break_glass_refuse" => {
                let n = entry.number(&["count"]).unwrap_or(1);
                let error = entry.text(&["error"]).unwrap_or_default();
                self.tell(format!(
                    "{}: REFUSED{}, {}{}: {}",
                    entry.time,
                    if n == 1 { String::new() } else { format!(" {n} times, the last one") },
                    person(entry),
                    entry.text(&["zone"]).map_or_else(String::new, |zone| format!(", for {zone}")),
                    error.lines().next().unwrap_or_default()
                ));
            }
            "break_glass_codes" => self.tell(format!(
                "{}: {} made by {}; {} worthless since then",
                entry.time,
                count(list(entry, &["numbers"]).len() as u64, "new code"),
                person(entry),
                count(entry.number(&["replaced"]).unwrap_or(0), "old one")
            )),
            _ => {
                if let Some(glass) = self.glass(entry) {
                    glass.take(entry);
                    glass.is_recorded = true;
                }
            }
        }
    }

    /// Takes note of a record from before that time.
    pub(super) fn before(&mut self, entry: &Entry) {
        match entry.kind.as_str() {
            "break_glass_refuse" | "break_glass_codes" => {}
            "break_glass_join" => self.joined(entry),
            kind => {
                let is_over = kind == "break_glass_close";
                if let Some(glass) = self.glass(entry) {
                    glass.take(entry);
                    glass.before = glass.spent.clone();
                    glass.was_over = is_over;
                }
            }
        }
    }

    fn glass(&mut self, entry: &Entry) -> Option<&mut Glass> {
        let opened = entry.text(&["opened"])?.to_owned();
        Some(self.opened.entry((opened, entry.number(&["number"])?)).or_default())
    }

    fn joined(&mut self, entry: &Entry) {
        let number = entry.number(&["number"]);
        let mut latest = self.opened.iter_mut().rev();
        if let Some((_, glass)) = latest.find(|((_, own), _)| Some(*own) == number) {
            glass.joined.extend(entry.number(&["pid"]));
        }
    }

    fn tell(&mut self, what: String) {
        if self.told.len() < MOST {
            self.told.push(what);
        } else {
            self.left_out += 1;
        }
    }

    /// Those that were open at some moment since `since`, in milliseconds since 1970: a heading,
    /// and what is known.
    pub(super) fn facts(
        &self,
        since: i64,
        destroyed: &Destroyed,
    ) -> Vec<(String, Vec<(&'static str, String)>)> {
        let of_time = self.opened.iter().filter(|(_, glass)| glass.was_open(since));
        of_time
            .map(|((opened, number), glass)| {
                (format!("break-glass {number} in {}", glass.zone), glass.facts(opened, destroyed))
            })
            .collect()
    }

    /// Refusals, new codes, and how many of these are left out.
    pub(super) fn told(&self) -> Vec<String> {
        let more = (self.left_out > 0).then(|| format!("and {} more such records", self.left_out));
        self.told.iter().cloned().chain(more).collect()
    }
}

impl Glass {
    /// Takes over what a record says that has all about it.
    fn take(&mut self, entry: &Entry) {
        let text = |path: &[&str]| entry.text(path).unwrap_or("?").to_owned();
        let number = |path: &[&str]| entry.number(path).unwrap_or(0);
        self.id = text(&["id"]);
        self.serial = number(&["serial"]);
        self.zone = text(&["zone"]);
        self.who = by(entry, &["opened_by"]);
        self.how = match entry.number(&["code"]) {
            Some(code) => format!("with code {code}"),
            None => format!(
                "with the signature of {} ({} {})",
                text(&["signer", "person"]),
                text(&["signer", "algorithm"]),
                text(&["signer", "key"])
            ),
        };
        self.why = text(&["reason"]);
        self.whom = match entry.text(&["command"]) {
            Some(command) => format!("the processes of: {command}"),
            None => "everybody in the zone".to_owned(),
        };
        if let Some(until) = entry.text(&["until", "time"]) {
            self.until = Some(until.to_owned());
        }
        self.limits = (number(&["files", "limit"]), number(&["bytes", "limit"]));
        let ops = entry.get(&["ops"]).and_then(serde_json::Value::as_object).into_iter().flatten();
        self.spent = Spent {
            files: number(&["files", "spent"]),
            bytes: number(&["bytes", "spent"]),
            ops: ops.filter_map(|(op, n)| Some((op.clone(), n.as_u64()?))).collect(),
        };
        if entry.kind == "break_glass_close" {
            let person = entry.get(&["closed", "by"]).map(|_| by(entry, &["closed", "by"]));
            let person = person.map_or_else(String::new, |person| format!(", by {person}"));
            let why = match entry.text(&["closed", "why"]).unwrap_or("?") {
                "finished" => "its command has ended",
                "never_started" => "nothing joined it in time",
                "expired" => "its time was over",
                "closed" => "closed on request",
                "rebooted" => "the host was started anew",
                "policy" => "the policy has its zone no more",
                "lost" => "the kernel had it no more",
                other => other,
            };
            self.ended = Some(format!("{}: {why}{person}", text(&["closed", "at"])));
        }
    }

    fn was_open(&self, since: i64) -> bool {
        let over = self.until.as_deref().and_then(clock::parse_rfc3339_millis);
        self.is_recorded || (!self.was_over && over.is_none_or(|over| over >= since))
    }

    fn facts(&self, opened: &str, destroyed: &Destroyed) -> Vec<(&'static str, String)> {
        let until = self.until.as_ref();
        let until = until.map_or_else(|| "?".to_owned(), ToString::to_string);
        let joined: Vec<String> = self.joined.iter().map(|pid| format!("pid {pid}")).collect();
        let joined =
            if joined.is_empty() { String::new() } else { format!(" ({})", joined.join(", ")) };
        let (files, bytes) = self.limits;
        let mut facts = vec![
            ("who", format!("{}, {}", self.who, self.how)),
            ("why", self.why.clone()),
            ("for", format!("{}{joined}", self.whom)),
            ("open", format!("from {opened} to {until} at the latest")),
            ("limits", format!("{}, {} at most", count(files, "file"), size(bytes))),
            ("gone", self.gone()),
        ];
        let ids = [self.id.clone(), format!("serial {}", self.serial)];
        facts.extend(destroyed.under(&ids).map(|sum| ("manifest", sum)));
        let ended = self.ended.clone();
        facts.push((
            "ended",
            ended.unwrap_or_else(|| "that is not on record in this time".to_owned()),
        ));
        facts
    }

    /// What was destroyed under it.
    fn gone(&self) -> String {
        let (now, before) = (&self.spent, &self.before);
        let ops = now.ops.iter().filter_map(|(op, n)| {
            let n = n.saturating_sub(before.ops.get(op).copied().unwrap_or(0));
            (n > 0).then(|| format!("{op} {n}"))
        });
        let ops: Vec<String> = ops.collect();
        format!(
            "{}, {} destroyed under it ({}), as last recorded in this time",
            count(now.files.saturating_sub(before.files), "file"),
            size(now.bytes.saturating_sub(before.bytes)),
            if ops.is_empty() { "no op".to_owned() } else { ops.join(", ") }
        )
    }
}
