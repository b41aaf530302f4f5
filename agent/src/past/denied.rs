//! What the audit log knows that the manifest does not: ops that were denied, and break-glass.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use crate::api::EventReport;
use crate::audit::read::{Entry, Read, Reader};
use crate::clock;

/// Break-glass that are kept apart.
const MOST: usize = 1_024;
/// Ops that were denied are known again by zone and inode, so that who tries again is not counted
/// again; as many as this.
const MOST_TRIED: usize = 65_536;

/// A time in which everything in a zone may have been covered by a break-glass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glass {
    pub(super) zone: String,
    pub(super) from: i64,
    pub(super) to: i64,
}

/// What is known without going through ops.
#[derive(Debug, Default)]
pub(super) struct Aside {
    pub(super) glass: Vec<Glass>,
    /// Threads that were held.
    pub(super) held: u64,
    /// Ops that were throttled.
    pub(super) throttled: u64,
    /// Events that the kernel left out.
    pub(super) suppressed: u64,
    /// Lines that are no records.
    pub(super) unreadable: u64,
    /// Why the log cannot be read.
    pub(super) failed: Option<String>,
}

impl Aside {
    /// Reads the whole log once.
    pub(super) fn read(dir: &Path, since: i64, zone: Option<&str>) -> Self {
        let mut aside = Self::default();
        if let Err(error) = aside.go_through(dir, since, zone) {
            aside.failed = Some(format!("cannot read the audit log in {}: {error}", dir.display()));
        }
        aside
    }

    fn go_through(&mut self, dir: &Path, since: i64, zone: Option<&str>) -> io::Result<()> {
        let is_wanted = |name: Option<&str>| zone.is_none_or(|zone| name == Some(zone));
        let mut reader = Reader::open(dir)?;
        while let Some(read) = reader.next()? {
            let entry = match read {
                Read::Entry(entry) => entry,
                Read::NoRecord { .. } => {
                    self.unreadable += 1;
                    continue;
                }
            };
            match entry.kind.as_str() {
                "break_glass_open" => self.opened(&entry),
                "break_glass_close" => self.closed(&entry),
                "hold" if entry.millis >= since && is_wanted(entry.text(&["event", "zone"])) => {
                    self.held += 1;
                }
                "verdict" if entry.millis >= since && is_wanted(entry.text(&["event", "zone"])) => {
                    self.suppressed += entry.number(&["event", "suppressed"]).unwrap_or(0);
                    let throttled = entry.text(&["event", "verdict"]) == Some("throttle");
                    self.throttled += u64::from(throttled);
                }
                _ => {}
            }
        }
        self.glass.retain(|glass| glass.to >= since);
        Ok(())
    }

    fn opened(&mut self, entry: &Entry) {
        if let Some(zone) = entry.text(&["zone"])
            && self.glass.len() < MOST
        {
            self.glass.push(Glass { zone: zone.to_owned(), from: entry.millis, to: i64::MAX });
        }
    }

    fn closed(&mut self, entry: &Entry) {
        let zone = entry.text(&["zone"]);
        let open = |glass: &&mut Glass| Some(glass.zone.as_str()) == zone && glass.to == i64::MAX;
        if let Some(glass) = self.glass.iter_mut().rev().find(open) {
            glass.to = entry.millis;
        }
    }

    /// Whether a break-glass was open in a zone at that time.
    pub(super) fn is_open(&self, zone: &str, time: &str) -> bool {
        let mut of_zone = self.glass.iter().filter(|glass| glass.zone == zone).peekable();
        if of_zone.peek().is_none() {
            return false;
        }
        let Some(millis) = clock::parse_rfc3339_millis(time) else { return false };
        of_zone.any(|glass| (glass.from..=glass.to).contains(&millis))
    }
}

/// Denied ops, as they come.
#[derive(Debug)]
pub(super) struct Denials {
    reader: Option<Reader>,
    boot: String,
    ahead: Option<(String, i64, Box<EventReport>)>,
    tried: HashSet<(String, u64, String)>,
}

impl Denials {
    /// None if the log cannot be read: that was told before.
    pub(super) fn open(dir: &Path) -> Self {
        let reader = Reader::open(dir).ok();
        Self { reader, boot: String::new(), ahead: None, tried: HashSet::new() }
    }

    /// The next one up to that time, with its boot and wall-clock time.
    pub(super) fn next(&mut self, until: i64) -> Option<(String, i64, Box<EventReport>)> {
        loop {
            match self.ahead.take() {
                Some(next) if next.1 <= until => return Some(next),
                Some(later) => {
                    self.ahead = Some(later);
                    return None;
                }
                None => self.ahead = Some(self.find()?),
            }
        }
    }

    fn find(&mut self) -> Option<(String, i64, Box<EventReport>)> {
        let reader = self.reader.as_mut()?;
        loop {
            let Ok(Some(read)) = reader.next() else {
                self.reader = None;
                return None;
            };
            let Read::Entry(entry) = read else { continue };
            match entry.kind.as_str() {
                "start" => {
                    self.boot = entry.text(&["boot_id"]).unwrap_or_default().trim().to_owned();
                }
                "verdict" if entry.text(&["event", "verdict"]) == Some("deny") => {
                    let Some(event) = entry.get(&["event"]).cloned() else { continue };
                    let Ok(event) = serde_json::from_value::<EventReport>(event) else { continue };
                    let key = (event.zone.clone(), event.inode, event.op.clone());
                    // A retry is no second file. Without room to tell, it counts.
                    let is_new = !self.tried.contains(&key);
                    if is_new && self.tried.len() < MOST_TRIED {
                        self.tried.insert(key);
                    }
                    if is_new {
                        let time = clock::parse_rfc3339_millis(&event.time);
                        let time = time.unwrap_or(entry.millis);
                        return Some((self.boot.clone(), time, Box::new(event)));
                    }
                }
                _ => {}
            }
        }
    }
}
