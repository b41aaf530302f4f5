//! The open log: records go into memory, from there to the file, from there to the disk.

use std::io;
use std::path::{Path, PathBuf};

use super::findings::Findings;
#[cfg(test)]
use super::key::PublicKey;
use super::mark::Mark;
use super::own::Own;
use super::queue::{Entry, Lost, Queue};
use super::recover::{self, Recovered};
use super::segments::DIRECTORY;
#[cfg(test)]
use super::writer::Fault;
use super::writer::{Open, entry};
use super::{AuditError, Limits, Record, segments};
use crate::clock::Now;

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
    findings: Findings,
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
    /// What was found wrong with it.
    pub(crate) findings: Findings,
}

impl AuditLog {
    /// Opens the log below `state_dir`, making both if they are not there.
    pub(crate) fn open(state_dir: &Path, now: Now) -> Result<(Self, Recovered), AuditError> {
        let mut log = Self::closed(state_dir, Limits::default(), now);
        let recovered = log.reach()?;
        Ok((log, recovered))
    }

    /// The same for an agent, which has to guard even if the log cannot be opened: that is tried
    /// again whenever it is to be written to the disk. Only somebody else who has it open is an
    /// error.
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
            findings: Findings::default(),
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
            self.findings.note(finding);
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

    /// Records that came, the first and the last of them then, and for which there was no room
    /// before they got here.
    pub(crate) fn missed(&mut self, records: u64, from: Now, to: Now) {
        self.queue.lose_some(records, from, to);
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

    /// Adds a record that has to be on the disk before something takes effect, and writes and signs
    /// it. If that fails it is taken back, unless `keep`: then it stays and is written as soon as
    /// that is possible.
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
        // Everything that is not on the disk is in memory now; what is not in memory is on the
        // disk.
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

    /// Writes what was added to the file. If that fails it stays in memory, and nothing of it
    /// counts as written. While the log cannot be written only [`AuditLog::sync`] tries again.
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
        // What was missed is said last, and in the same stroke: that it can be written has to be
        // seen.
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

    /// What is due: a checkpoint for what is not signed, and telling the last head to the journal
    /// and to `head.json`.
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
            findings: self.findings,
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

    /// Whether the file is as it was left. What was changed meanwhile stays as it is: the log goes
    /// on in a new segment.
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
        self.findings.note(&finding);
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
