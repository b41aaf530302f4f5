//! Goes through what was recorded, as often as it is asked to.

use std::io;
use std::path::PathBuf;

use holdfast_abi::{Cost, Op, Who};
use holdfast_policy::Policy;
use holdfast_policy::replay::RecordedOp;

use super::deed::Evidence;
use super::denied::{Aside, Denials};
use super::places::Placed;
use super::timeline::{Timeline, unit};
use super::{Places, Told};
use crate::api::EventReport;
use crate::audit::segments;
use crate::clock::{self, Now};
use crate::manifest::{DIRECTORY, Line, Record, Records};

/// What was recorded on this host since some time.
#[derive(Debug)]
pub(crate) struct Past {
    manifest: PathBuf,
    audit: PathBuf,
    since: String,
    until: String,
    zone: Option<String>,
    aside: Aside,
}

/// Why nothing can be said about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PastError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}{}", path.display(), help(error))]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There is no manifest.
    #[error(
        "there is no manifest in {}: nothing was recorded on this host\n  help: run the agent with \
         a policy that names the zones, with mode = \"observe\" and without `manifest = false`, \
         and come back after a week (or name another --state-dir)",
        path.display()
    )]
    NoManifest {
        /// Where it would be.
        path: PathBuf,
    },
    /// Nothing was recorded in that time.
    #[error(
        "nothing was recorded since {since}{}: {why}\n  help: {help}",
        zone.as_ref().map_or_else(String::new, |zone| format!(" in zone {zone}"))
    )]
    Nothing {
        /// Since when.
        since: String,
        /// Of which zone.
        zone: Option<String>,
        /// What is known about it.
        why: String,
        /// What to do.
        help: &'static str,
    },
}

fn help(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied { "\n  help: use sudo" } else { "" }
}

/// What else there is to choose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Take {
    /// Ops that were denied, too.
    pub(crate) denied: bool,
    /// Ops while a break-glass was open, too.
    pub(crate) break_glass: bool,
}

impl Past {
    /// What was recorded in a state directory since `since_seconds` after 1970.
    pub(crate) fn open(
        state_dir: &std::path::Path,
        since_seconds: i64,
        zone: Option<String>,
        now: Now,
    ) -> Self {
        let audit = state_dir.join(segments::DIRECTORY);
        let aside = Aside::read(&audit, since_seconds.saturating_mul(1000), zone.as_deref());
        let since = clock::rfc3339(since_seconds.saturating_mul(1_000_000_000));
        Self { manifest: state_dir.join(DIRECTORY), audit, since, until: now.wall(), zone, aside }
    }

    /// Has each op visited that a policy has a zone for, oldest first.
    pub(crate) fn replay(
        &self,
        policy: &Policy,
        take: Take,
        visit: &mut dyn FnMut(&RecordedOp, Evidence<'_>),
    ) -> Result<Told, PastError> {
        let told = Told::new(self.since.clone(), self.until.clone(), take.break_glass);
        let denials = take.denied.then(|| Denials::open(&self.audit));
        let mut walk = Walk {
            past: self,
            places: Places::new(policy),
            take,
            visit,
            told,
            timeline: Timeline::default(),
            boot: String::new(),
            denials,
        };
        let found = Records::read(&self.manifest, &mut |line| walk.line(line))
            .map_err(|(path, error)| PastError::Unreadable { path, error })?;
        walk.denied_until(i64::MAX);
        let mut told = walk.told;
        let is_zone = |name: &str| self.is_zone(name);
        told.finish(&found.summary, found.unreadable, &self.aside, &is_zone);
        if !found.is_there {
            return Err(PastError::NoManifest { path: self.manifest.clone() });
        }
        if told.ops == 0 && told.outside.is_empty() {
            return Err(self.nothing(&told));
        }
        Ok(told)
    }

    fn nothing(&self, told: &Told) -> PastError {
        let (since, zone) = (self.since.clone(), self.zone.clone());
        let is_off = told.notes.iter().find(|note| note.contains("manifest = false"));
        if let Some(off) = is_off {
            let help = "take `manifest = false` out of the zone, and come back after a week";
            return PastError::Nothing { since, zone, why: off.clone(), help };
        }
        let why = if told.notes.is_empty() {
            "no op destroyed anything there, and nothing is missing in the record".to_owned()
        } else {
            told.notes.join("; ")
        };
        let help = "choose an earlier --since, or another --zone; `holdfast manifest` shows what \
                    is recorded";
        PastError::Nothing { since, zone, why, help }
    }

    /// Also not later than when this was opened: each time through has to see the same ops.
    fn is_then(&self, time: &str) -> bool {
        (self.since.as_str()..=self.until.as_str()).contains(&time)
    }

    fn is_zone(&self, name: &str) -> bool {
        self.zone.as_deref().is_none_or(|zone| zone == name)
    }
}

/// One time through.
struct Walk<'a> {
    past: &'a Past,
    places: Places<'a>,
    take: Take,
    visit: &'a mut dyn FnMut(&RecordedOp, Evidence<'_>),
    told: Told,
    timeline: Timeline,
    boot: String,
    denials: Option<Denials>,
}

impl Walk<'_> {
    fn line(&mut self, line: Line) {
        match &line {
            Line::Gone(record) => self.gone(record),
            Line::Head { ring, .. } | Line::Ring { ring, .. } => {
                // A ring's name is the boot's, and a number after a slash.
                let boot = ring.split('/').next().unwrap_or_default();
                boot.clone_into(&mut self.boot);
            }
            _ => {}
        }
        let past = self.past;
        self.told.take(&line, &|name| past.is_zone(name));
    }

    fn gone(&mut self, record: &Record) {
        let (time, file, zone) = (record.time(), &record.file, &record.dir.place.zone);
        if !self.past.is_then(&time) || !self.past.is_zone(zone) {
            return;
        }
        if record.actor.allowance.is_some() {
            self.told.under_allowance += 1;
            return;
        }
        if self.past.aside.is_open(zone, &time) {
            self.told.under_break_glass += 1;
            if !self.take.break_glass {
                return;
            }
        }
        let Some(op) = Op::from_word(&file.op) else { return };
        let wall = clock::parse_rfc3339_millis(&time).unwrap_or(0);
        self.denied_until(wall);
        let Placed::In { zone, tenant, by_name } = self.places.of(record) else {
            *self.told.outside.entry(zone.clone()).or_default() += 1;
            return;
        };
        // As the kernel tells it: `hf_ask` in ebpf/src/decide.rs.
        let is_operator = record.actor.uid == 0 || record.actor.uid != record.dir.owner;
        let op = RecordedOp {
            zone,
            op,
            who: if is_operator { Who::OPERATOR_BIT } else { Who::OWNER_BIT },
            unit: unit(&self.boot, record.actor.unit_id, &record.actor.unit),
            user: record.actor.login_uid.unwrap_or(record.actor.uid),
            cost: Cost { files: file.files, bytes: file.bytes, tenant },
            now: self.timeline.at(&self.boot, file.time_ns, wall),
        };
        self.told.unseen += u64::from(file.unseen);
        self.take(&op, by_name, Evidence::Done(record));
    }

    /// Takes what was denied up to that time.
    fn denied_until(&mut self, wall: i64) {
        while let Some((boot, time, event)) =
            self.denials.as_mut().and_then(|denials| denials.next(wall))
        {
            self.denied(&boot, time, &event);
        }
    }

    fn denied(&mut self, boot: &str, wall: i64, event: &EventReport) {
        if !self.past.is_then(&event.time) || !self.past.is_zone(&event.zone) {
            return;
        }
        let Some(op) = Op::from_word(&event.op) else { return };
        let tenant = event.tenant.as_ref().map_or(0, |tenant| tenant.inode);
        let Placed::In { zone, tenant, by_name } = self.places.by_name(&event.zone, tenant) else {
            *self.told.outside.entry(event.zone.clone()).or_default() += 1;
            return;
        };
        let is_owner = event.who == Who::Owners.word();
        let op = RecordedOp {
            zone,
            op,
            who: if is_owner { Who::OWNER_BIT } else { Who::OPERATOR_BIT },
            unit: unit(boot, event.unit.id, event.unit.path.as_deref().unwrap_or_default()),
            user: event.login_uid.unwrap_or(event.uid),
            cost: Cost { files: event.files, bytes: event.bytes, tenant },
            now: self.timeline.at(boot, event.time_ns, wall),
        };
        self.told.denied += 1;
        self.take(&op, by_name, Evidence::Denied(event));
    }

    fn take(&mut self, op: &RecordedOp, by_name: bool, evidence: Evidence<'_>) {
        self.told.ops += 1;
        self.told.files += op.cost.files;
        self.told.bytes = self.told.bytes.saturating_add(op.cost.bytes);
        self.told.by_name += u64::from(by_name);
        (self.visit)(op, evidence);
    }
}
