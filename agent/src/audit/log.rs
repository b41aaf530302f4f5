//! The open log: records go into memory, from there to the file, from there to the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::chain::{self, Head};
use super::key::{HostKey, PublicKey};
use super::mark::Mark;
use super::own::Own;
use super::queue::{Entry, Lost, Queue};
use super::recover::{self, Ending, Recovered};
use super::segments::DIRECTORY;
use super::{AuditError, Limits, Record, segments};
use crate::clock::Now;

/// Version of what is described in docs/audit.md.
const FORMAT: u32 = 1;
/// Lines that are written at a time, in bytes.
const BATCH: usize = 1 << 18;

/// The log. Nobody else can have it open for writing at the same time.
#[derive(Debug)]
pub(crate) struct AuditLog {
    state_dir: PathBuf,
    limits: Limits,
    open: Option<Open>,
    queue: Queue,
    /// Records since the last checkpoint, and when the first of them was added.
    unsigned: u64,
    unsigned_since: Option<Now>,
    /// The latest moment anybody told.
    now: Now,
    trouble: Option<Trouble>,
    failures: u64,
    written: u64,
    signed: Option<Mark>,
    told: Option<Mark>,
}

/// What is open as long as the log can be reached.
#[derive(Debug)]
struct Open {
    dir: PathBuf,
    /// Keeps others out.
    _lock: File,
    key: HostKey,
    file: File,
    segment: u64,
    /// Up to here the segment is on the disk.
    durable: End,
    /// Up to here it is written.
    end: End,
    /// Whether what comes after `durable` has to be cut off before anything else.
    settle: bool,
    #[cfg(test)]
    fault: Fault,
}

#[derive(Clone, Copy, Debug)]
struct End {
    length: u64,
    head: Head,
    /// Where the last checkpoint or head record ended.
    signed: Option<(u64, Head)>,
}

/// Since when the log cannot be written, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Since when.
    pub(crate) since: Now,
    /// Why, at first.
    pub(crate) error: String,
}

/// The log in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AuditFacts {
    /// Since when it cannot be written, and why; `None` if it can.
    pub(crate) trouble: Option<Trouble>,
    /// Records on the disk since the agent started.
    pub(crate) written: u64,
    /// Records in memory that are not written yet.
    pub(crate) waiting: u64,
    /// Records that were lost since the agent started.
    pub(crate) lost: u64,
    /// How often writing failed.
    pub(crate) failures: u64,
    /// The last signed head.
    pub(crate) signed: Option<Mark>,
    /// Records since that.
    pub(crate) unsigned: u64,
    /// Bytes of all segments.
    pub(crate) bytes: u64,
}

impl AuditLog {
    /// Opens the log below `state_dir`, making both if they are not there.
    pub(crate) fn open(state_dir: &Path, now: Now) -> Result<(Self, Recovered), AuditError> {
        let mut log = Self::closed(state_dir, Limits::default(), now);
        let recovered = log.reach()?;
        Ok((log, recovered))
    }

    /// The same for an agent, which has to guard even if the log cannot be opened: that is tried again whenever it is to be
    /// written to the disk. Only somebody else who has it open is an error.
    pub(crate) fn start(
        state_dir: &Path,
        limits: Limits,
        now: Now,
    ) -> Result<(Self, Recovered), AuditError> {
        let mut log = Self::closed(state_dir, limits, now);
        match log.reach() {
            Ok(recovered) => Ok((log, recovered)),
            Err(error @ AuditError::InUse { .. }) => Err(error),
            Err(error @ AuditError::Io { .. }) => {
                let why = error.to_string();
                log.failed(&why);
                Ok((log, Recovered { unavailable: Some(why), ..Recovered::default() }))
            }
        }
    }

    fn closed(state_dir: &Path, limits: Limits, now: Now) -> Self {
        Self {
            state_dir: state_dir.to_owned(),
            limits,
            open: None,
            queue: Queue::default(),
            unsigned: 0,
            unsigned_since: None,
            now,
            trouble: None,
            failures: 0,
            written: 0,
            signed: None,
            told: None,
        }
    }

    /// Opens what is on the disk.
    fn reach(&mut self) -> Result<Recovered, AuditError> {
        let (open, recovered, findings) = Open::reach(&self.state_dir, self.now)?;
        self.signed =
            open.end.signed.map(|(length, head)| Mark { segment: open.segment, length, head });
        if open.end.signed != Some((open.end.length, open.end.head)) {
            // What an agent before this one has left unsigned is signed with what comes.
            self.added();
        }
        self.open = Some(open);
        for finding in findings.iter().rev() {
            self.queue.add_first(entry(finding, self.now));
            self.added();
        }
        Ok(recovered)
    }

    /// Adds a record. It is in the file after the next [`AuditLog::flush`].
    pub(crate) fn append(&mut self, record: &Record, now: Now) {
        self.now = now;
        match serde_json::to_vec(record) {
            Ok(body) => {
                let entry = Entry { time: now.wall(), body, signed: false };
                if self.queue.push(entry, record.is_event(), now) {
                    self.added();
                }
            }
            Err(error) => {
                // Records are plain structures: this cannot happen, and if it does it shows.
                tracing::error!(%error, "an audit record cannot be written as JSON");
                self.queue.lose(now);
            }
        }
    }

    fn added(&mut self) {
        self.unsigned += 1;
        self.unsigned_since.get_or_insert(self.now);
        if self.unsigned >= self.limits.checkpoint_records {
            self.checkpoint("count");
        }
    }

    /// Signs everything that was added so far.
    fn checkpoint(&mut self, why: &'static str) {
        self.queue.add(entry(&Own::Checkpoint { why }, self.now));
        (self.unsigned, self.unsigned_since) = (0, None);
    }

    /// Adds a record that has to be on the disk before something takes effect, and writes and signs it. If that fails it is taken
    /// back, unless `keep`: then it stays and is written as soon as that is possible.
    pub(crate) fn record_first(&mut self, record: &Record, keep: bool, now: Now) -> io::Result<()> {
        let lost = self.queue.lost_total();
        let unsigned = (self.unsigned, self.unsigned_since);
        let before = self.queue.len();
        self.append(record, now);
        self.checkpoint("decision");
        let added = self.queue.len() - before;
        let Err(error) = self.sync() else {
            let is_kept = self.queue.lost_total() == lost;
            return if is_kept {
                Ok(())
            } else {
                Err(io::Error::other("there was no room for it"))
            };
        };
        // Everything that is not on the disk is in memory now; what is not in memory is on the disk.
        match self.queue.len().checked_sub(added) {
            None => return Ok(()),
            Some(others) if !keep => {
                self.queue.cut(others);
                (self.unsigned, self.unsigned_since) = unsigned;
            }
            Some(_) => {}
        }
        Err(error)
    }

    /// Writes what was added to the file. If that fails it stays in memory, and nothing of it counts as written. While the log
    /// cannot be written only [`AuditLog::sync`] tries again.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if let Some(trouble) = &self.trouble {
            return Err(io::Error::other(trouble.error.clone()));
        }
        if self.queue.waiting() == 0 {
            return Ok(());
        }
        let outcome = self.write();
        self.note(outcome)
    }

    /// Writes everything to the disk, if there is anything new.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.open.is_none() {
            match self.reach() {
                Ok(recovered) => recovered.news.iter().for_each(|news| tracing::error!("{news}")),
                Err(error) => return self.note(Err(io::Error::other(error.to_string()))),
            }
        }
        self.look_after();
        // What was missed is said last, and in the same stroke: that it can be written has to be seen.
        let (before, lost) = (self.queue.len(), self.queue.lost().cloned());
        self.tell_trouble(lost.as_ref());
        let added = self.queue.len() - before;
        let outcome = self.write().and_then(|()| self.make_durable());
        let outcome = self.note(outcome);
        if outcome.is_ok() {
            self.trouble = None;
            self.queue.told(lost.as_ref());
            if added > 0 {
                (self.unsigned, self.unsigned_since) = (0, None);
            }
        } else if added > 0 {
            self.queue.cut(self.queue.len().saturating_sub(added));
        }
        outcome
    }

    fn tell_trouble(&mut self, lost: Option<&Lost>) {
        if let Some(Trouble { since, error }) = &self.trouble {
            let (error, from, waited) = (error.clone(), since.wall(), self.queue.len() as u64);
            self.queue.add(entry(&Own::Unwritable { error, from, waited }, self.now));
        }
        if let Some(Lost { records, from, to }) = lost.cloned() {
            self.queue.add(entry(&Own::Lost { records, from, to }, self.now));
        }
        if self.trouble.is_some() || lost.is_some() {
            self.queue.add(entry(&Own::Checkpoint { why: "time" }, self.now));
        }
    }

    /// What is due: a checkpoint for what is not signed, and telling the last head to the journal and to `head.json`.
    pub(crate) fn tend(&mut self, now: Now) -> io::Result<()> {
        self.now = now;
        let is_due = self
            .unsigned_since
            .is_some_and(|since| now.since(since) >= self.limits.checkpoint_after);
        if is_due && self.trouble.is_none() {
            self.checkpoint("time");
        }
        let outcome = self.sync();
        self.tell();
        outcome
    }

    /// Signs and writes everything: nothing comes after this.
    pub(crate) fn close(&mut self, now: Now) -> io::Result<()> {
        self.now = now;
        if self.unsigned > 0 {
            self.checkpoint("stop");
        }
        let outcome = self.sync();
        self.tell();
        outcome
    }

    /// Records that could not be kept.
    pub(crate) fn lost(&self) -> u64 {
        self.queue.lost_total()
    }

    /// Whether the log cannot be written, and why.
    #[cfg(test)]
    pub(crate) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// The log in numbers.
    pub(crate) fn facts(&self) -> AuditFacts {
        AuditFacts {
            trouble: self.trouble.clone(),
            written: self.written,
            waiting: self.queue.waiting() as u64,
            lost: self.queue.lost_total(),
            failures: self.failures,
            signed: self.signed,
            unsigned: self.unsigned,
            bytes: segments::bytes(&self.state_dir.join(DIRECTORY)),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        loop {
            let Some(open) = &mut self.open else {
                let why = self.trouble.as_ref().map(|trouble| trouble.error.clone());
                return Err(io::Error::other(why.unwrap_or_else(|| "it is not open".to_owned())));
            };
            open.settle()?;
            if open.end.length >= self.limits.segment_bytes {
                self.rotate()?;
                continue;
            }
            if !open.write_some(&mut self.queue, self.limits.segment_bytes)? {
                return Ok(());
            }
        }
    }

    fn make_durable(&mut self) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if self.queue.is_dirty() {
            open.sync()?;
            self.written += self.queue.durable();
            self.mark();
        }
        Ok(())
    }

    /// Takes note of the last signature that is on the disk.
    fn mark(&mut self) {
        if let Some(open) = &self.open
            && let Some((length, head)) = open.durable.signed
        {
            self.signed = Some(Mark { segment: open.segment, length, head });
        }
    }

    /// Closes the segment with a signature, and goes on in the next.
    fn rotate(&mut self) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if open.end.signed != Some((open.end.length, open.end.head)) {
            open.write_line(&entry(&Own::Checkpoint { why: "full" }, self.now))?;
            self.written += 1;
        }
        open.sync()?;
        self.written += self.queue.durable();
        open.next_segment("full", self.now)?;
        self.written += 1;
        // Everything that was added is signed by now, but for what is still to be written.
        self.mark();
        Ok(())
    }

    /// Whether the file is as it was left. What was changed meanwhile stays as it is: the log goes on in a new segment.
    fn look_after(&mut self) {
        let Some(open) = &mut self.open else { return };
        let Some(what) = open.disturbance() else { return };
        let finding = Own::Disturbed { file: segments::name(open.segment), what };
        recover::news(&finding).iter().for_each(|news| tracing::error!("{news}"));
        // What was not on the disk for certain is written anew.
        (open.end, open.settle) = (open.durable, false);
        self.queue.rewind();
        if let Err(error) = open.next_segment("replaced", self.now) {
            self.open = None;
            self.failed(&error.to_string());
            return;
        }
        self.written += 1;
        self.queue.add_first(entry(&finding, self.now));
        self.added();
    }

    /// After a failure nothing counts that is not on the disk for certain.
    fn note(&mut self, outcome: io::Result<()>) -> io::Result<()> {
        if let Err(error) = &outcome {
            self.failed(&error.to_string());
            self.queue.rewind();
            if let Some(open) = &mut self.open {
                (open.end, open.settle) = (open.durable, true);
                // If that fails, too, it is done before anything is written again.
                drop(open.settle());
            }
        }
        outcome
    }

    fn failed(&mut self, error: &str) {
        self.failures += 1;
        self.trouble.get_or_insert_with(|| Trouble { since: self.now, error: error.to_owned() });
    }

    /// Tells the last head, once it is on the disk.
    fn tell(&mut self) {
        let (Some(open), Some(mark)) = (&self.open, self.signed) else { return };
        if self.told == Some(mark) {
            return;
        }
        let Mark { segment, length, head } = mark;
        tracing::info!(
            audit_seq = head.seq,
            audit_hash = %head.hash,
            audit_segment = segment,
            audit_bytes = length,
            audit_key = %open.key.public().fingerprint(),
            "audit head"
        );
        self.told = Some(mark);
        if let Err(error) = mark.write(&open.dir, &open.key) {
            tracing::warn!(%error, "the head of the audit log cannot be kept beside it");
        }
    }
}

fn entry(own: &Own, now: Now) -> Entry {
    let signed = match own {
        Own::Head { .. } | Own::Checkpoint { .. } => true,
        Own::Torn { .. }
        | Own::Behind { .. }
        | Own::Damaged { .. }
        | Own::Disturbed { .. }
        | Own::Lost { .. }
        | Own::Unwritable { .. } => false,
    };
    Entry { time: now.wall(), body: own.body(), signed }
}

impl Open {
    /// Opens what is below `state_dir`; says what was found, and what of it has to be recorded.
    fn reach(state_dir: &Path, now: Now) -> Result<(Self, Recovered, Vec<Own>), AuditError> {
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
        let mut ending = recover::ending(&dir, mark)?;
        let last_seq = (ending.head.seq > 0).then_some(ending.head.seq);
        let mut findings = std::mem::take(&mut ending.findings);
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
            why = Some(if open.end.head == Head::NONE { "first" } else { "full" });
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
    fn next_segment(&mut self, why: &'static str, now: Now) -> io::Result<()> {
        self.begin(why, None, now)
    }

    /// Makes the next segment, with its first record, on the disk. If that fails nothing has changed.
    fn begin(
        &mut self,
        why: &'static str,
        previous_log: Option<super::own::PreviousLog>,
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
            // If it cannot be removed it is empty, or has a line that was cut short: the next attempt takes it as it is.
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
    fn settle(&mut self) -> io::Result<()> {
        if self.settle {
            self.file.set_len(self.durable.length)?;
            self.settle = false;
        }
        Ok(())
    }

    /// Everything that was written is on the disk.
    fn sync(&mut self) -> io::Result<()> {
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
    fn write_some(&mut self, queue: &mut Queue, limit: u64) -> io::Result<bool> {
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

    fn write_line(&mut self, entry: &Entry) -> io::Result<()> {
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
    fn disturbance(&self) -> Option<String> {
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
    fn public(&self) -> PublicKey {
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

#[cfg(test)]
impl AuditLog {
    /// What checks its signatures.
    pub(crate) fn public(&self) -> PublicKey {
        self.open.as_ref().expect("it is open").public()
    }

    /// Has every write or sync fail from now on, or none.
    pub(crate) fn fail(&mut self, fault: Fault) {
        self.open.as_mut().expect("it is open").fault = fault;
    }
}

#[cfg(test)]
impl AuditLog {
    /// Has every write fail from now on, or none.
    pub(crate) fn fail_writes(&mut self, fails: bool) {
        self.fail(if fails { Fault::Write } else { Fault::None });
    }
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
