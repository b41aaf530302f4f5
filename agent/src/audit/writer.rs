//! The segment that is written to: what of it is certain to be on the disk, the next one, and
//! whether somebody else has touched it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::chain::{self, Head};
use super::key::{HostKey, PublicKey};
use super::mark::{Found, Mark};
use super::own::{Own, PreviousLog};
use super::queue::{Entry, Queue};
use super::recover::{self, Ending, Recovered};
use super::segments::DIRECTORY;
use super::{AuditError, segments};
use crate::clock::Now;

/// Version of what is described in docs/audit.md.
const FORMAT: u32 = 1;
/// Lines that are written at a time, in bytes.
const BATCH: usize = 1 << 18;

/// What is open as long as the log can be reached.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) dir: PathBuf,
    /// Keeps others out.
    _lock: File,
    pub(super) key: HostKey,
    pub(super) file: File,
    pub(super) segment: u64,
    /// Up to here the segment is on the disk.
    pub(super) durable: End,
    /// Up to here it is written.
    pub(super) end: End,
    /// Whether what comes after `durable` has to be cut off before anything else.
    pub(super) settle: bool,
    #[cfg(test)]
    pub(super) fault: Fault,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) length: u64,
    pub(super) head: Head,
    /// Where the last checkpoint or head record ended.
    pub(super) signed: Option<(u64, Head)>,
}

/// A record of the log's own.
pub(super) fn entry(own: &Own, now: Now) -> Entry {
    let signed = match own {
        Own::Head { .. } | Own::Checkpoint { .. } => true,
        Own::Torn { .. }
        | Own::Behind { .. }
        | Own::Unmarked { .. }
        | Own::Damaged { .. }
        | Own::Disturbed { .. }
        | Own::Lost { .. }
        | Own::Unwritable { .. } => false,
    };
    Entry { time: now.wall(), body: own.body(), signed }
}

impl Open {
    /// Opens what is below `state_dir`; says what was found, and what of it has to be recorded.
    pub(super) fn reach(
        state_dir: &Path,
        now: Now,
    ) -> Result<(Self, Recovered, Vec<Own>), AuditError> {
        let dir = state_dir.join(DIRECTORY);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(|error| AuditError::io("make", &dir, error))?;
        let lock = File::open(&dir).map_err(|error| AuditError::io("open", &dir, error))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(AuditError::InUse { path: dir }),
            outcome => outcome.map_err(|error| AuditError::io("lock", &dir, error))?,
        }
        let key = HostKey::load_or_make(state_dir)
            .map_err(|error| AuditError::io("use", &state_dir.join(super::key::FILE), error))?;
        let mut keys = vec![key.public()];
        keys.extend(last_key(&dir));
        let mark = Mark::read(&dir, &keys)
            .map_err(|error| AuditError::io("read", &dir.join(super::mark::FILE), error))?;
        let is_new = mark == Found::Missing;
        let mut ending = recover::ending(&dir, mark)?;
        let last_seq = (ending.head.seq > 0).then_some(ending.head.seq);
        let mut findings = std::mem::take(&mut ending.findings);
        if is_new && (ending.segment == 0 || (ending.segment, ending.length) == (1, 0)) {
            // Before there is anything to be missed.
            let first = Mark { segment: 1, length: 0, head: ending.head };
            first
                .write(&dir, &key)
                .map_err(|error| AuditError::io("write", &dir.join(super::mark::FILE), error))?;
        }
        let open = Self::at(dir, lock, key, ending, &mut findings, now)?;
        let news = findings.iter().filter_map(recover::news).collect();
        Ok((open, Recovered { last_seq, news, unavailable: None }, findings))
    }

    fn at(
        dir: PathBuf,
        lock: File,
        key: HostKey,
        ending: Ending,
        findings: &mut Vec<Own>,
        now: Now,
    ) -> Result<Self, AuditError> {
        let end = End { length: ending.length, head: ending.head, signed: None };
        let path = dir.join(segments::name(ending.segment.max(1)));
        let io = |what, path: &Path, error| AuditError::io(what, path, error);
        let leave = ending.leave || ending.segment == 0;
        let mut why = match (&ending.previous_log, ending.segment) {
            (Some(_), _) => Some("taken_over"),
            (None, 0) => Some("first"),
            (None, _) if ending.leave => Some(leaving(findings)),
            (None, _) => None,
        };
        let file = if leave {
            // Never written to: the next segment takes its place at once.
            File::open(&dir).map_err(|error| io("open", &dir, error))?
        } else {
            let mut options = OpenOptions::new();
            options.read(true).append(true).mode(0o600);
            let file = options.open(&path).map_err(|error| io("open", &path, error))?;
            file.set_permissions(std::fs::Permissions::from_mode(0o600))
                .map_err(|error| io("restrict", &path, error))?;
            if ending.torn > 0 {
                let torn = recover::keep_aside(&file, &dir, &ending, now)
                    .map_err(|error| io("repair", &path, error))?;
                findings.push(torn);
            }
            // What a crash left in the file may not be on the disk.
            file.sync_all().map_err(|error| io("write to disk", &path, error))?;
            file
        };
        let mut open = Self {
            dir,
            _lock: lock,
            key,
            file,
            segment: ending.segment,
            durable: end,
            end,
            settle: false,
            #[cfg(test)]
            fault: Fault::None,
        };
        if !leave && ending.length == 0 {
            // Made, and not begun before a crash: it is begun now, under its own number.
            open.segment -= 1;
            why = why.or(Some(if open.end.head == Head::NONE { "first" } else { "full" }));
        } else if !leave && !open.is_mine().map_err(|error| io("read", &path, error))? {
            why = Some("new_key");
        }
        if let Some(why) = why {
            let path = open.dir.join(segments::name(open.segment + 1));
            open.begin(why, ending.previous_log, now).map_err(|error| io("make", &path, error))?;
        }
        Ok(open)
    }

    /// Whether the segment says that it is signed with this key.
    fn is_mine(&self) -> io::Result<bool> {
        let text = segments::read_from(&self.dir.join(segments::name(self.segment)), 0)?;
        let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        Ok(super::verify::key_of(first) == Some(self.key.public()))
    }

    /// Goes on in the next segment.
    pub(super) fn next_segment(&mut self, why: &'static str, now: Now) -> io::Result<()> {
        self.begin(why, None, now)
    }

    /// Makes the next segment, with its first record, on the disk. If that fails nothing has
    /// changed.
    fn begin(
        &mut self,
        why: &'static str,
        previous_log: Option<PreviousLog>,
        now: Now,
    ) -> io::Result<()> {
        let number = self.segment + 1;
        let path = self.dir.join(segments::name(number));
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let head = Own::Head {
            format: FORMAT,
            segment: number,
            host: host.trim().to_owned(),
            key: self.key.public().to_string(),
            why,
            previous_log,
        };
        let line = chain::sign(self.end.head.line(&now.wall(), &head.body()), &self.key);
        let made = make(&path, &self.dir, &line);
        if made.is_err() {
            // If it cannot be removed it is empty, or has a line that was cut short: the next
            // attempt takes it as it is.
            drop(std::fs::remove_file(&path));
        }
        self.file = made?;
        self.segment = number;
        let (length, head) = (line.len() as u64, self.end.head.after(&line));
        self.end = End { length, head, signed: Some((length, head)) };
        (self.durable, self.settle) = (self.end, false);
        Ok(())
    }

    /// Cuts off what does not count.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        if self.settle {
            self.file.set_len(self.durable.length)?;
            self.settle = false;
        }
        Ok(())
    }

    /// Everything that was written is on the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        #[cfg(test)]
        self.fault.check_sync()?;
        self.file.sync_data()?;
        self.durable = self.end;
        Ok(())
    }

    fn put(&mut self, lines: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        if let Err(error) = self.fault.check_write() {
            // As a full disk does: some of it is written.
            self.file.write_all(&lines[..lines.len() / 2])?;
            return Err(error);
        }
        self.file.write_all(lines)
    }

    /// Writes some of what waits, up to `limit`; whether that was anything.
    pub(super) fn write_some(&mut self, queue: &mut Queue, limit: u64) -> io::Result<bool> {
        let (mut lines, mut end, mut count) = (Vec::new(), self.end, 0_usize);
        while lines.len() < BATCH
            && end.length < limit
            && let Some(entry) = queue.next()
        {
            lines.extend_from_slice(&self.line(entry, &mut end));
            queue.wrote();
            count += 1;
        }
        self.put(&lines)?;
        self.end = end;
        Ok(count > 0)
    }

    pub(super) fn write_line(&mut self, entry: &Entry) -> io::Result<()> {
        let mut end = self.end;
        let line = self.line(entry, &mut end);
        self.put(&line)?;
        self.end = end;
        Ok(())
    }

    /// The line of a record, and the end of the log with it.
    fn line(&self, entry: &Entry, end: &mut End) -> Vec<u8> {
        let mut line = end.head.line(&entry.time, &entry.body);
        if entry.signed {
            line = chain::sign(line, &self.key);
        }
        end.head = end.head.after(&line);
        end.length += line.len() as u64;
        if entry.signed {
            end.signed = Some((end.length, end.head));
        }
        line
    }

    /// What somebody else has done to the file; `None` if nothing, or if it cannot be told.
    pub(super) fn disturbance(&self) -> Option<String> {
        let ours = self.file.metadata().ok()?;
        let path = self.dir.join(segments::name(self.segment));
        match std::fs::symlink_metadata(&path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {}
            Ok(_) => return Some("another file has taken its place".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Some("it is gone".to_owned());
            }
            Err(_) => return None,
        }
        let expected = if self.settle { return None } else { self.end.length };
        let found = ours.len();
        (found != expected).then(|| format!("it is {found} bytes long instead of {expected}"))
    }

    /// What checks the signatures.
    #[cfg(test)]
    pub(super) fn public(&self) -> PublicKey {
        self.key.public()
    }
}

/// The key that the last segment names: it may be the host's former one.
fn last_key(dir: &Path) -> Option<PublicKey> {
    let last = segments::list(dir).ok()?.pop()?;
    let text = segments::read_from(&dir.join(segments::name(last)), 0).ok()?;
    super::verify::key_of(text.split(|byte| *byte == b'\n').next()?)
}

/// Why the last segment is left alone.
fn leaving(findings: &[Own]) -> &'static str {
    let is_behind = findings.iter().any(|finding| matches!(finding, Own::Behind { .. }));
    if is_behind { "behind" } else { "damaged" }
}

/// Makes a segment with one line, durably.
fn make(path: &Path, dir: &Path, line: &[u8]) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    let mut file = options.open(path)?;
    if file.metadata()?.len() > 0 {
        if std::fs::read(path)?.contains(&b'\n') {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a segment already"));
        }
        file.set_len(0)?;
    }
    file.write_all(line)?;
    file.sync_all()?;
    File::open(dir)?.sync_all()?;
    Ok(file)
}

/// What fails in a test.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Write,
    Sync,
}

#[cfg(test)]
impl Fault {
    fn check_write(self) -> io::Result<()> {
        if self == Self::Write { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn check_sync(self) -> io::Result<()> {
        if self == Self::Sync { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
    }
}
