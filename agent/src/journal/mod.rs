//! Entries in systemd's journal with fields and a MESSAGE_ID for each class of events, beside the
//! lines of the log. The catalogue (`journalctl -x`) is `dist/holdfast.catalog`.
//!
//! It never waits: an entry for which the journal has no room is dropped and counted. The audit log
//! is what is complete.

mod class;
mod entry;
mod lines;
mod queued;

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::audit::Record;
use crate::clock::Now;
use crate::webhook::Webhook;
use class::Class;
use entry::Entry;
pub(crate) use lines::Lines;
pub(crate) use queued::{Queued, log_dropped};

const SOCKET: &str = "/run/systemd/journal/socket";
/// Of what there can be very many, an entry of each class this often; it says how many others it
/// stands for.
const PAUSE: Duration = Duration::from_secs(1);

/// The way to the journal, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    socket: Option<(UnixDatagram, PathBuf)>,
    webhook: Option<Webhook>,
    /// Why there is none although one is wanted, and how many messages it has missed.
    no_webhook: Option<(String, u64)>,
    /// For each frequent class: when its last entry was, and how many were left out since.
    recent: Vec<(Class, Now, u64)>,
    dropped: u64,
    failing: bool,
}

impl Journal {
    /// The journal if standard error goes there, as under systemd; else none. What it is told goes
    /// to `webhook`, too; that can be wanted and missing.
    pub(crate) fn open(webhook: Result<Option<Webhook>, String>) -> Self {
        let journal =
            if lines::is_journal() { Self::at(Path::new(SOCKET)) } else { Self::default() };
        match webhook {
            Ok(webhook) => Self { webhook, ..journal },
            Err(why) => Self { no_webhook: Some((why, 0)), ..journal },
        }
    }

    fn at(path: &Path) -> Self {
        let open = || -> io::Result<UnixDatagram> {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        match open() {
            Ok(socket) => Self { socket: Some((socket, path.to_owned())), ..Self::default() },
            Err(error) => {
                tracing::warn!(%error, "the journal gets lines only, no fields");
                Self::default()
            }
        }
    }

    /// Tells it of a record, if that is of a class it hears of.
    pub(crate) fn tell(&mut self, record: &Record, now: Now) {
        if self.socket.is_none() && self.webhook.is_none() && self.no_webhook.is_none() {
            return;
        }
        if let Some(class) = Class::of(record)
            && let Some(omitted) = self.is_due(class, now)
        {
            self.send(&Entry::of(class, record).standing_for(omitted), now);
        }
    }

    /// Tells it that the audit log cannot be written.
    pub(crate) fn audit_failed(&mut self, error: &str, now: Now) {
        self.send(&Entry::audit_failure(error), now);
    }

    /// Entries that it had no room for.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What the web hook took, and what it did not; `None` if there is none.
    pub(crate) fn webhook(&self) -> Option<(u64, u64)> {
        let missed = || self.no_webhook.as_ref().map(|(_, missed)| (0, *missed));
        self.webhook.as_ref().map(|hook| (hook.delivered(), hook.dropped())).or_else(missed)
    }

    /// Why there is no web hook although one is wanted.
    pub(crate) fn webhook_error(&self) -> Option<&str> {
        self.no_webhook.as_ref().map(|(why, _)| why.as_str())
    }

    /// How many were left out before it, if this one is to be told.
    fn is_due(&mut self, class: Class, now: Now) -> Option<u64> {
        if !class.is_frequent() {
            return Some(0);
        }
        match self.recent.iter_mut().find(|(known, ..)| *known == class) {
            None => {
                self.recent.push((class, now, 0));
                Some(0)
            }
            Some((_, last, omitted)) if now.since(*last) < PAUSE => {
                *omitted += 1;
                None
            }
            Some((_, last, omitted)) => {
                *last = now;
                Some(std::mem::take(omitted))
            }
        }
    }

    fn send(&mut self, entry: &Entry, now: Now) {
        if let Some(webhook) = &self.webhook {
            webhook.send(entry.json(now));
        }
        if let Some((_, missed)) = &mut self.no_webhook {
            *missed += 1;
        }
        let Some((socket, path)) = &self.socket else { return };
        match socket.send_to(&entry.encode(), path) {
            Ok(_) => self.failing = false,
            Err(error) => {
                self.dropped += 1;
                // Once: this line goes to the journal, too.
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, "the journal takes no entries at the moment");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
