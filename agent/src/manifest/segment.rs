//! Files of the manifest: which there are, and what one of them has in it.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memchr::memmem;
use ring::digest::{Context, SHA256};
use serde::Serialize;

use super::line::{Actor, Dir, FILE, FileLine, Key, Line, Record, VERSION};
use crate::text;

/// A segment that is closed: nothing in it changes any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Sealed {
    /// Its number.
    pub(crate) segment: u64,
    /// SHA-256 of the whole file.
    pub(crate) sha256: String,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// Records in it.
    pub(crate) records: u64,
    /// Time of the first; absent if there is none.
    pub(crate) from: Option<String>,
    /// Time of the last.
    pub(crate) to: Option<String>,
}

/// A segment of which only sums are left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Summarised {
    /// Its number.
    pub(crate) segment: u64,
    /// SHA-256 of what it was.
    pub(crate) sha256: String,
    /// Records it had.
    pub(crate) records: u64,
    /// Files they stood for.
    pub(crate) files: u64,
    /// Bytes they stood for.
    pub(crate) bytes: u64,
}

/// Where a segment is.
pub(super) fn path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:08}.jsonl"))
}

/// Every segment, by number.
pub(super) fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// SHA-256 of a file, and its length.
pub(super) fn digest(path: &Path) -> io::Result<(String, u64)> {
    let (hasher, length) = hasher_of(path)?;
    Ok((text::hex(hasher.finish().as_ref()), length))
}

pub(super) fn hasher_of(path: &Path) -> io::Result<(Context, u64)> {
    let (mut file, mut hasher, mut length) = (File::open(path)?, Context::new(&SHA256), 0);
    let mut chunk = vec![0; 256 * 1024];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok((hasher, length)),
            read => {
                hasher.update(&chunk[..read]);
                length += read as u64;
            }
        }
    }
}

/// What a look through a segment finds.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Its first line is a head of this version.
    pub(super) head: bool,
    /// Its last line says that it is closed.
    pub(super) ended: bool,
    /// Records.
    pub(super) records: u64,
    /// Time of the first line that has one.
    pub(super) began: Option<String>,
    /// Time of the first record.
    pub(super) from: Option<String>,
    /// Time of the last record.
    pub(super) to: Option<String>,
    /// Time of the last line that has one.
    pub(super) time: Option<String>,
    /// The kernel's ring at the end, and up to where its records are kept.
    pub(super) ring: String,
    pub(super) position: u64,
    /// The first number that explains nothing yet.
    pub(super) next: u32,
    /// Records missing at the end, by zone.
    pub(super) lost: BTreeMap<String, u64>,
    /// Length of all complete lines.
    pub(super) length: u64,
    /// Length up to the end of the last batch that is whole.
    pub(super) settled: u64,
    /// Bytes after the last complete line.
    pub(super) torn: u64,
    /// Complete lines that are none of ours.
    pub(super) unreadable: u64,
}

impl Scan {
    /// The seal of a segment that was looked through.
    pub(super) fn sealed(&self, segment: u64, sha256: String, bytes: u64) -> Sealed {
        let (from, to, records) = (self.from.clone(), self.to.clone(), self.records);
        Sealed { segment, sha256, bytes, records, from, to }
    }
}

/// Records that were taken back in a segment, of this or an earlier one.
pub(super) fn taken_back(path: &Path) -> io::Result<Vec<(Key, Line)>> {
    let mut found = Vec::new();
    // They are rare: most files are not looked through any further.
    if memmem::find(&fs::read(path)?, br#""undone":true"#).is_some() {
        scan(path, &mut |line| match line {
            Line::Gone(record) if record.file.undone => {
                found.push((record.key(), Line::Gone(record)))
            }
            _ => {}
        })?;
    }
    Ok(found)
}

/// Looks through a segment, line by line.
pub(super) fn scan(path: &Path, visit: &mut dyn FnMut(Line)) -> io::Result<Scan> {
    let mut reader = BufReader::with_capacity(256 * 1024, File::open(path)?);
    let (mut found, mut bytes) = (Scan::default(), Vec::new());
    let mut explained = Explained::default();
    loop {
        bytes.clear();
        let read = reader.read_until(b'\n', &mut bytes)? as u64;
        if read == 0 {
            return Ok(found);
        }
        if bytes.last() != Some(&b'\n') {
            found.torn = read;
            return Ok(found);
        }
        found.length += read;
        found.ended = false;
        match explained.read(&bytes) {
            Some(line) => {
                found.note(&line);
                visit(line);
            }
            None => found.unreadable += 1,
        }
    }
}

/// What lines before the one that is read have explained.
#[derive(Default)]
struct Explained {
    dirs: HashMap<u32, Arc<Dir>>,
    actors: HashMap<u32, Arc<Actor>>,
    clock: Option<i64>,
}

impl Explained {
    fn read(&mut self, bytes: &[u8]) -> Option<Line> {
        if bytes.starts_with(FILE) {
            let file: FileLine = serde_json::from_slice(bytes).ok()?;
            let (dir, actor) = (self.dirs.get(&file.dir)?, self.actors.get(&file.actor)?);
            let (dir, actor, clock) = (dir.clone(), actor.clone(), self.clock?);
            return Some(Line::Gone(Box::new(Record { file, dir, actor, clock })));
        }
        let line = serde_json::from_slice(bytes).ok()?;
        match &line {
            Line::Head { version, .. } if *version != VERSION => return None,
            Line::Dir(number, dir) => drop(self.dirs.insert(*number, dir.clone().into())),
            Line::Actor(number, actor) => {
                self.actors.insert(*number, actor.clone().into());
            }
            Line::Clock(clock) => self.clock = Some(*clock),
            _ => {}
        }
        Some(line)
    }
}

impl Scan {
    fn note(&mut self, line: &Line) {
        let time = match line {
            Line::Dir(number, _) | Line::Actor(number, _) => {
                self.next = self.next.max(number.saturating_add(1));
                return;
            }
            Line::Clock(_) => return,
            Line::Gone(record) => {
                self.records += 1;
                let time = record.time();
                self.from.get_or_insert_with(|| time.clone());
                self.to = Some(time.clone());
                self.time = Some(time);
                return;
            }
            Line::Kept(position) => {
                (self.position, self.settled) = (*position, self.length);
                return;
            }
            Line::Head { time, ring, position, lost, .. } => {
                (self.head, self.ring, self.lost) = (true, ring.clone(), lost.clone());
                self.position = *position;
                time
            }
            Line::Gap(gap) => {
                if let Some(zone) = gap.zone.as_ref().filter(|_| gap.total > 0) {
                    self.lost.insert(zone.clone(), gap.total);
                }
                &gap.to
            }
            Line::Ring { time, ring, position } => {
                (self.ring, self.position) = (ring.clone(), *position);
                self.lost.clear();
                time
            }
            Line::End { time, .. } => {
                self.ended = true;
                time
            }
            Line::Switch { time, .. } | Line::Stop { time } => time,
        };
        self.began.get_or_insert_with(|| time.clone());
        self.time = Some(time.clone());
        self.settled = self.length;
    }
}
