//! An op for people: who, with what, when, where.

use serde::Serialize;

use crate::api::EventReport;
use crate::manifest::{Name, Record, absolute};
use crate::text;

/// All that is shown of one op. Its texts are safe for a terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Deed {
    /// RFC 3339.
    pub(crate) time: String,
    /// Zone it was recorded in.
    pub(crate) zone: String,
    /// The op.
    pub(crate) op: String,
    /// Files.
    pub(crate) files: u64,
    /// Bytes.
    pub(crate) bytes: u64,
    /// The unit.
    pub(crate) unit: String,
    /// Real user.
    pub(crate) uid: u32,
    /// Login user, where one was set.
    pub(crate) login_uid: Option<u32>,
    /// Process.
    pub(crate) pid: u32,
    /// Name of the thread: the executable's, unless it has given itself another.
    pub(crate) comm: String,
    /// Where.
    pub(crate) path: String,
    /// It was denied: it did not happen.
    pub(crate) denied: bool,
}

/// Where an op was read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Evidence<'a> {
    /// In the manifest.
    Done(&'a Record),
    /// In the audit log.
    Denied(&'a EventReport),
}

impl Deed {
    pub(crate) fn of(evidence: Evidence<'_>) -> Self {
        match evidence {
            Evidence::Done(record) => Self::done(record),
            Evidence::Denied(event) => Self::denied(event),
        }
    }

    fn done(record: &Record) -> Self {
        let (file, place, actor) = (&record.file, &record.dir.place, &record.actor);
        let mut path = match (&place.root, &place.tenant) {
            (Some(root), Some(tenant)) => absolute(root, tenant),
            (Some(root), None) => root.0.clone(),
            (None, tenant) => tenant.clone().unwrap_or_default().0,
        };
        if place.cut {
            path.extend(b"/\xe2\x80\xa6");
        }
        let below = record.path();
        if !below.0.is_empty() {
            path = absolute(&Name(path), &below);
        }
        Self {
            time: record.time(),
            zone: place.zone.clone(),
            op: file.op.clone().into_owned(),
            files: file.files,
            bytes: file.bytes,
            unit: text::for_terminal(actor.unit.as_bytes()),
            uid: actor.uid,
            login_uid: actor.login_uid,
            pid: actor.pid,
            comm: actor.comm.shown(),
            path: text::for_terminal(&path),
            denied: false,
        }
    }

    fn denied(event: &EventReport) -> Self {
        let unit = match &event.unit.path {
            Some(path) => text::for_terminal(path.as_bytes()),
            None => format!("cgroup {}", event.unit.id),
        };
        let path = text::original(&event.path, event.path_bytes.as_deref());
        Self {
            time: event.time.clone(),
            zone: event.zone.clone(),
            op: event.op.clone(),
            files: event.files,
            bytes: event.bytes,
            unit,
            uid: event.uid,
            login_uid: event.login_uid,
            pid: event.pid,
            comm: text::for_terminal(event.comm.as_bytes()),
            path: text::for_terminal(path),
            denied: true,
        }
    }

    /// The user as budgets count it, and as whom it ran if that is another.
    pub(crate) fn user(&self) -> String {
        match self.login_uid.filter(|login| *login != self.uid) {
            Some(login) => format!("{login} as {}", self.uid),
            None => self.uid.to_string(),
        }
    }

    /// Who, in a few words.
    pub(crate) fn who(&self) -> String {
        format!("{}[{}], user {}, unit {}", self.comm, self.pid, self.user(), self.unit)
    }
}
