//! From records to what is told about an incident.

use std::collections::BTreeMap;

use super::destroyed::Destroyed;
use super::glass::Glasses;
use super::sentence::{actor, list, person, sentence, signers, spent, zones};
use crate::audit::read::Entry;

/// Rows of the timeline; those beyond are counted.
const ROWS: usize = 1000;
/// Actors and tenants that are kept; those beyond are counted.
const MOST: usize = 4096;
/// Events of one actor that are no further apart are one row, in milliseconds.
const TOGETHER: i64 = 60_000;

/// Everything that is told.
#[derive(Debug)]
pub(crate) struct Incident {
    /// From then, in milliseconds since 1970.
    pub(crate) since: i64,
    /// To before then.
    pub(crate) until: i64,
    /// Of this zone only.
    pub(crate) zone: Option<String>,
    /// The host, as the log says.
    pub(crate) host: Option<String>,
    /// Records in that time (and zone).
    pub(crate) records: u64,
    /// Lines of the whole log that are no records.
    pub(crate) unreadable_lines: u64,
    /// What happened, in order.
    pub(crate) timeline: Vec<Row>,
    /// Rows beyond those kept.
    pub(crate) rows_left_out: u64,
    /// Events by zone and what became of the op.
    pub(crate) ops: BTreeMap<(String, &'static str), Ops>,
    /// Events by who.
    pub(crate) actors: BTreeMap<String, Ops>,
    /// Events by zone and tenant.
    pub(crate) tenants: BTreeMap<(String, String), Ops>,
    /// Events of actors and tenants beyond those kept.
    pub(crate) not_kept: u64,
    /// Events that the kernel left out, as the events that were recorded say.
    pub(crate) suppressed: u64,
    /// Holds, by their number and zone.
    pub(crate) holds: BTreeMap<(u64, String), Hold>,
    /// Allowances, by id.
    pub(crate) allowances: BTreeMap<String, Allowance>,
    /// Break-glass.
    pub(crate) glasses: Glasses,
    /// What was destroyed, as the manifest has it.
    pub(crate) destroyed: Destroyed,
    /// What is wrong with the log itself in that time.
    pub(crate) gaps: Vec<String>,
    /// For the plots: when, how many files, whether it went on, and the tenant.
    pub(crate) points: Vec<Point>,
}

/// One row of the timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// When, as the log has it.
    pub(crate) time: String,
    /// When the last of what is in this row was.
    pub(crate) last: i64,
    /// Number of the (first) record.
    pub(crate) seq: u64,
    /// Its type.
    pub(crate) kind: String,
    /// What happened.
    pub(crate) text: String,
    /// How many records are in this row.
    pub(crate) records: u64,
    key: Option<String>,
}

/// Ops that were recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ops {
    /// How many.
    pub(crate) ops: u64,
    /// Files of those that went on, in files and bytes.
    pub(crate) gone: (u64, u64),
    /// Files of those that did not.
    pub(crate) stopped: (u64, u64),
    /// Events that were left out before one of these.
    pub(crate) suppressed: u64,
}

/// One hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hold {
    /// Who was held.
    pub(crate) actors: Vec<String>,
    /// How often a thread was held.
    pub(crate) held: u64,
    /// How they ended, and how many.
    pub(crate) ended: BTreeMap<String, u64>,
    /// What was decided, by whom and when.
    pub(crate) decisions: Vec<String>,
}

/// One allowance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Why it was wanted, and by whom.
    pub(crate) reason: Option<String>,
    /// Who signed it.
    pub(crate) signers: String,
    /// Who opened it, and when.
    pub(crate) opened: Option<String>,
    /// How it ended.
    pub(crate) ended: Option<String>,
    /// Files and bytes, as the last record in that time says; absent if none does.
    pub(crate) spent: Option<(u64, u64)>,
    /// The same before that time.
    pub(crate) before: (u64, u64),
}

/// One event for the plots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// When.
    pub(crate) millis: i64,
    /// Files.
    pub(crate) files: u64,
    /// Whether it went on.
    pub(crate) went_on: bool,
    /// Whose they were.
    pub(crate) tenant: Option<(String, String)>,
}

impl Incident {
    /// Nothing yet.
    pub(crate) fn new(since: i64, until: i64, zone: Option<String>) -> Self {
        Self {
            since,
            until,
            zone,
            host: None,
            records: 0,
            unreadable_lines: 0,
            timeline: Vec::new(),
            rows_left_out: 0,
            ops: BTreeMap::new(),
            actors: BTreeMap::new(),
            tenants: BTreeMap::new(),
            not_kept: 0,
            suppressed: 0,
            holds: BTreeMap::new(),
            allowances: BTreeMap::new(),
            glasses: Glasses::default(),
            destroyed: Destroyed::default(),
            gaps: Vec::new(),
            points: Vec::new(),
        }
    }

    /// Takes note of a record; records come in order.
    pub(crate) fn take(&mut self, entry: &Entry) {
        if let Some(host) = entry.text(&["host"]).filter(|_| entry.kind == "head") {
            self.host = Some(host.to_owned());
        }
        let own = self.zone.as_deref();
        let is_own = own.is_none_or(|own| {
            let mut named = zones(entry).peekable();
            // What names no zone is about all of them.
            named.peek().is_none() || named.any(|zone| zone == own)
        });
        if !is_own || entry.millis >= self.until {
            return;
        }
        if entry.millis < self.since {
            self.before(entry);
            return;
        }
        match entry.kind.as_str() {
            // How the log is kept says nothing about what happened.
            "head" | "checkpoint" => return,
            "verdict" => self.verdict(entry),
            "hold" | "throttle" | "hold_end" | "release" | "release_outcome" | "kill"
            | "expire" => self.hold(entry),
            "torn" | "behind" | "unmarked" | "damaged" | "disturbed" | "lost" | "unwritable" => {
                self.gaps.extend(sentence(entry).map(|text| format!("{}: {text}", entry.time)));
            }
            kind if kind.starts_with("allowance_") => self.allowance(entry),
            kind if kind.starts_with("break_glass_") => self.glasses.take(entry),
            _ => {}
        }
        self.records += 1;
        self.row(entry);
    }

    /// What was spent before is not of this time.
    fn before(&mut self, entry: &Entry) {
        if matches!(entry.kind.as_str(), "allowance_spend" | "allowance_close")
            && let Some(id) = entry.text(&["id"])
        {
            self.allowances.entry(id.to_owned()).or_default().before = spent(entry);
        }
        if entry.kind.starts_with("break_glass_") {
            self.glasses.before(entry);
        }
    }

    fn verdict(&mut self, entry: &Entry) {
        let number = |field: &str| entry.number(&["event", field]).unwrap_or(0);
        let verdict = entry.text(&["event", "verdict"]).unwrap_or("?");
        let (became, went_on) = match verdict {
            "allow" => ("went on at the budget's rate", true),
            "observe" => ("went on (the zone only observes)", true),
            "throttle" => ("paused, and went on later", false),
            "hold" => ("held", false),
            "deny" => ("denied", false),
            _ => ("not known", false),
        };
        let cost = (number("files"), number("bytes"));
        let suppressed = number("suppressed");
        let zone = entry.text(&["event", "zone"]).unwrap_or("?").to_owned();
        let tenant = entry.text(&["event", "tenant", "name"]);
        let tenant = tenant.map(|name| (zone.clone(), name.to_owned()));
        self.suppressed += suppressed;
        self.ops.entry((zone, became)).or_default().add(cost, went_on, suppressed);
        let who = actor(entry);
        if self.actors.len() < MOST || self.actors.contains_key(&who) {
            self.actors.entry(who).or_default().add(cost, went_on, suppressed);
        } else {
            self.not_kept += 1;
        }
        if let Some(tenant) = &tenant {
            if self.tenants.len() < MOST || self.tenants.contains_key(tenant) {
                self.tenants.entry(tenant.clone()).or_default().add(cost, went_on, suppressed);
            } else {
                self.not_kept += 1;
            }
        }
        self.points.push(Point { millis: entry.millis, files: cost.0, went_on, tenant });
    }

    fn hold(&mut self, entry: &Entry) {
        let Some(number) = entry.number(&["hold"]) else { return };
        let zone = entry.text(&["zone"]).unwrap_or("?").to_owned();
        let hold = self.holds.entry((number, zone)).or_default();
        match entry.kind.as_str() {
            "hold" | "throttle" => {
                hold.held += 1;
                let who = actor(entry);
                if !hold.actors.contains(&who) && hold.actors.len() < MOST {
                    hold.actors.push(who);
                }
            }
            "hold_end" => {
                let outcome = entry.text(&["outcome"]).unwrap_or("?").to_owned();
                *hold.ended.entry(outcome).or_default() += 1;
            }
            _ => {
                let text = sentence(entry).unwrap_or_default();
                let what = text.split_once(": ").map_or(text.as_str(), |(_, what)| what);
                hold.decisions.push(format!("{}: {what}", entry.time));
            }
        }
    }

    fn allowance(&mut self, entry: &Entry) {
        let Some(id) = entry.text(&["id"]) else { return };
        let allowance = self.allowances.entry(id.to_owned()).or_default();
        if !list(entry, &["signers"]).is_empty() {
            allowance.signers = signers(entry);
        }
        match entry.kind.as_str() {
            "allowance_activate" => {
                let text = |field| entry.text(&[field]).unwrap_or("?");
                allowance.reason =
                    Some(format!("{} (asked for by {})", text("reason"), text("requested_by")));
                allowance.opened = Some(format!("{} by {}", entry.time, person(entry)));
            }
            "allowance_spend" => allowance.spent = Some(spent(entry)),
            "allowance_close" => {
                allowance.spent = Some(spent(entry));
                allowance.ended =
                    Some(format!("{}: {}", entry.time, entry.text(&["why"]).unwrap_or("?")));
            }
            "allowance_refuse" => {
                allowance.ended = Some(format!(
                    "{}: REFUSED ({}), submitted by {}",
                    entry.time,
                    entry.text(&["reason"]).unwrap_or("?"),
                    person(entry)
                ));
            }
            "allowance_revoke" => {
                allowance.ended = Some(format!("{}: revoked by {}", entry.time, person(entry)));
            }
            _ => {}
        }
    }

    /// Events that are alike and close together make one row.
    fn row(&mut self, entry: &Entry) {
        let key = (entry.kind == "verdict").then(|| {
            let text = |field| entry.text(&["event", field]).unwrap_or("?");
            format!("{}\0{}\0{}\0{}", text("zone"), text("verdict"), text("op"), actor(entry))
        });
        let recent = self.timeline.iter_mut().rev().take(32);
        if key.is_some()
            && let Some(row) = recent.into_iter().find(|row| row.key == key)
            && entry.millis - row.last <= TOGETHER
        {
            row.last = entry.millis;
            row.records += 1;
            return;
        }
        if self.timeline.len() >= ROWS {
            self.rows_left_out += 1;
            return;
        }
        let text = sentence(entry).unwrap_or_else(|| {
            // A newer agent's.
            format!("a record of type {}: `holdfast audit show --type {}`", entry.kind, entry.kind)
        });
        self.timeline.push(Row {
            time: entry.time.clone(),
            last: entry.millis,
            seq: entry.seq,
            kind: entry.kind.clone(),
            text,
            records: 1,
            key,
        });
    }

    /// What is not known, in sentences.
    pub(crate) fn unknown(&self) -> Vec<String> {
        let everything = if self.destroyed.is_known {
            "The log has ops over budget only; the manifest has all that was destroyed, those of \
             them that went on included: do not add the two up."
        } else {
            "Ops within budget are not in the log, nor is what customers removed of their own \
             within theirs: see holdfast_destroyed_files_total for all that was destroyed."
        };
        let mut unknown = vec![
            everything.to_owned(),
            "A row counts what was recorded. A process that was held tries again when it is \
             continued, so that one file can be in more than one record."
                .to_owned(),
        ];
        if self.suppressed > 0 {
            unknown.push(format!(
                "At least {} events were left out because their actors sent more than are \
                 recorded: their files, bytes and tenants are not known, and the figures below are \
                 lower bounds.",
                self.suppressed
            ));
        } else {
            unknown.push(
                "Events that were left out are told by the next event of the same actor; after its \
                 last there may be some that nobody has told."
                    .to_owned(),
            );
        }
        let mut add = |n: u64, what: &str| {
            if n > 0 {
                unknown.push(format!("{n} {what}"));
            }
        };
        add(self.unreadable_lines, "lines of the log are no records.");
        add(
            self.not_kept,
            "events are not in the tables of actors and tenants: there are too many of those.",
        );
        add(
            self.rows_left_out,
            "more rows of the timeline are left out: `holdfast audit show` has everything.",
        );
        unknown
    }

    /// Distinct tenants that recorded ops were about.
    pub(crate) fn tenants_of(&self, zone: &str) -> usize {
        self.tenants.keys().filter(|(of, _)| of == zone).count()
    }
}

impl Ops {
    fn add(&mut self, (files, bytes): (u64, u64), went_on: bool, suppressed: u64) {
        self.ops += 1;
        self.suppressed += suppressed;
        let side = if went_on { &mut self.gone } else { &mut self.stopped };
        side.0 = side.0.saturating_add(files);
        side.1 = side.1.saturating_add(bytes);
    }
}

impl Allowance {
    /// Whether nothing about it is of this time.
    pub(super) fn is_quiet(&self) -> bool {
        self.opened.is_none() && self.ended.is_none() && self.spent.is_none()
    }

    /// What is known about it.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = Vec::new();
        let mut add = |name, value: Option<String>| facts.extend(value.map(|value| (name, value)));
        add("why", self.reason.clone());
        add("signed", (!self.signers.is_empty()).then(|| self.signers.clone()));
        add("opened", self.opened.clone());
        add("ended", self.ended.clone());
        let spent = self.spent.map(|(files, bytes)| {
            use crate::text::{count, size};
            let (files, bytes) =
                (files.saturating_sub(self.before.0), bytes.saturating_sub(self.before.1));
            format!("{}, {}, as last recorded in this time", count(files, "file"), size(bytes))
        });
        add(
            "spent",
            spent.or_else(|| {
                self.opened.as_ref().map(|_| "not known yet: nothing was recorded".to_owned())
            }),
        );
        facts
    }
}
