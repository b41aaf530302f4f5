//! Checks the lines of a log one after another: the chain, the signatures, the order, and that
//! nothing is missing at its end. No I/O.

use serde::{Deserialize, Serialize};

use super::chain::{self, Hash, Head, SHORT};
use super::key::PublicKey;
use super::own::{Own, PreviousLog};
use super::segments;

/// A step back of the clock that is worth a word.
const STEP_BACK: i64 = 60;
/// Notes that are kept.
const NOTES: usize = 100;

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Bad {
    /// The file.
    pub(crate) file: String,
    /// The line, from 1; 0 if it is about the whole file.
    pub(crate) line: u64,
    /// Number of the record, as far as it is known.
    pub(crate) seq: Option<u64>,
    /// What was found.
    pub(crate) what: String,
    /// What that means.
    pub(crate) means: &'static str,
}

/// A head that was told elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Number of the record.
    pub(crate) seq: u64,
    /// The first digits of its hash, at least [`SHORT`].
    pub(crate) hash: String,
    /// Where it was told.
    pub(crate) from: &'static str,
}

/// What was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    /// Whether nothing is wrong.
    pub(crate) sound: bool,
    /// The first thing that is.
    pub(crate) bad: Option<Bad>,
    /// Segments that were read.
    pub(crate) segments: u64,
    /// Records that were checked.
    pub(crate) records: u64,
    /// Number of the first.
    pub(crate) first_seq: Option<u64>,
    /// Number of the last.
    pub(crate) last_seq: Option<u64>,
    /// When the last was added.
    pub(crate) last_time: Option<String>,
    /// Hash of the last.
    pub(crate) hash: Option<String>,
    /// Number of the last signed record.
    pub(crate) signed_seq: Option<u64>,
    /// Signatures that were checked.
    pub(crate) signatures: u64,
    /// Records after that: nothing but a head that was told elsewhere shows if they were cut off or
    /// rewritten.
    pub(crate) unsigned: u64,
    /// The key that has signed.
    pub(crate) key: Option<String>,
    /// Whether that key was given; if not, the log's own word was taken.
    pub(crate) key_given: bool,
    /// Heads from elsewhere that were found in the log.
    pub(crate) heads_found: u64,
    /// What is not wrong, and worth knowing.
    pub(crate) notes: Vec<String>,
    /// Notes that were left out.
    pub(crate) notes_left_out: u64,
}

/// Checks lines one after another.
#[derive(Clone, Debug)]
pub(crate) struct Verifier {
    keys: Vec<PublicKey>,
    expected: Vec<Expected>,
    /// `None` before the first line.
    head: Option<Head>,
    key: Option<PublicKey>,
    file: String,
    number: u64,
    line: u64,
    last_time: Option<i64>,
    pub(super) previous_log: Option<PreviousLog>,
    pub(super) summary: Summary,
}

#[derive(Deserialize)]
struct HeadFields {
    segment: u64,
    key: String,
    previous_log: Option<PreviousLog>,
}

/// Fields of the records that say that something is missing.
#[derive(Deserialize)]
struct Finding {
    expected_seq: Option<u64>,
    found_seq: Option<u64>,
    file: Option<String>,
    what: Option<String>,
    records: Option<u64>,
    bytes: Option<u64>,
    kept_in: Option<String>,
    error: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

/// The key that a head record names.
pub(super) fn key_of(line: &[u8]) -> Option<PublicKey> {
    let fields: HeadFields = serde_json::from_slice(line).ok()?;
    PublicKey::parse(&fields.key)
}

impl Verifier {
    /// With these keys; without any, the key that the first head record names is taken.
    pub(crate) fn new(keys: Vec<PublicKey>, expected: Vec<Expected>) -> Self {
        Self {
            keys,
            expected,
            head: None,
            key: None,
            file: String::new(),
            number: 0,
            line: 0,
            last_time: None,
            previous_log: None,
            summary: Summary::default(),
        }
    }

    /// A segment begins.
    pub(crate) fn segment(&mut self, number: u64) -> Result<(), Bad> {
        let before = std::mem::replace(&mut self.number, number);
        (self.file, self.line) = (segments::name(number), 0);
        self.summary.segments += 1;
        if before == 0 {
            if number > 1 {
                self.note(format!(
                    "{} is the first file here: nothing before it was checked",
                    self.file
                ));
            }
            return Ok(());
        }
        if number != before + 1 {
            let what = format!("{} is not there", segments::name(before + 1));
            return Err(self.bad(what, "a whole file of records is missing"));
        }
        Ok(())
    }

    /// A line, with its newline.
    pub(crate) fn line(&mut self, line: &[u8]) -> Result<(), Bad> {
        self.line += 1;
        let changed = "the line was changed, or something was put in its place";
        let Some(content) = line.strip_suffix(b"\n") else {
            return Err(self.bad("the line has no end".to_owned(), "the file was cut"));
        };
        let found = match chain::envelope(content) {
            Ok(found) => found,
            Err(error) => return Err(self.bad(format!("it is no record: {error}"), changed)),
        };
        let Some(prev) = found.prev.as_deref().and_then(Hash::parse) else {
            return Err(self.bad("its `prev` is no hash".to_owned(), changed));
        };
        self.follows(found.seq, prev)?;
        let seq = found.seq;
        let is_first_of_file = self.line == 1;
        let (time, kind) = (found.time.into_owned(), found.kind.into_owned());
        if is_first_of_file != (kind == "head") {
            let what = if is_first_of_file {
                format!("the file begins with a record of type {kind}")
            } else {
                "a head record stands in the middle of a file".to_owned()
            };
            return Err(self.bad_at(
                seq,
                what,
                "files were joined or split, or the beginning was cut off",
            ));
        }
        if kind == "head" {
            self.begins(seq, prev, content)?;
        }
        if Own::is_signed(&kind) {
            let signed = self.key.is_some_and(|key| chain::is_signed(line, &key));
            if !signed {
                let what = "its signature is not one of the host's key".to_owned();
                return Err(self.bad_at(
                    seq,
                    what,
                    "the record was made or changed by somebody else",
                ));
            }
            self.summary.signatures += 1;
            (self.summary.signed_seq, self.summary.unsigned) = (Some(seq), 0);
        } else {
            self.summary.unsigned += 1;
        }
        let hash = Hash::of(line);
        self.as_told(seq, hash)?;
        self.head = Some(Head { seq, hash });
        self.summary.records += 1;
        self.summary.first_seq.get_or_insert(seq);
        self.summary.last_seq = Some(seq);
        self.clock(seq, &time);
        self.summary.last_time = Some(time);
        self.admits(seq, &kind, content)
    }

    fn follows(&self, seq: u64, prev: Hash) -> Result<(), Bad> {
        let Some(head) = self.head else { return Ok(()) };
        let changed = "the record before it was changed, removed or replaced";
        if seq != head.seq + 1 {
            let what = format!("record {seq} comes after record {}", head.seq);
            let means = if seq > head.seq {
                "records are missing in between"
            } else {
                "a record was put in, or the order was changed"
            };
            return Err(self.bad_at(seq, what, means));
        }
        if prev != head.hash {
            let what = format!(
                "its `prev` is not the hash of record {}, which is {}",
                head.seq, head.hash
            );
            return Err(self.bad_at(seq, what, changed));
        }
        Ok(())
    }

    fn begins(&mut self, seq: u64, prev: Hash, content: &[u8]) -> Result<(), Bad> {
        let fields: HeadFields = serde_json::from_slice(content).map_err(|error| {
            self.bad_at(seq, format!("it is no head record: {error}"), "it was changed")
        })?;
        if fields.segment != self.number {
            let what = format!("it says that it is segment {}", fields.segment);
            return Err(self.bad_at(seq, what, "the file was renamed, or is another host's"));
        }
        if self.head.is_none() && self.number == 1 {
            let expected = match &fields.previous_log {
                Some(log) => Hash::parse(&log.sha256),
                None => Some(Hash::NONE),
            };
            if Some(prev) != expected || (fields.previous_log.is_none() && seq != 1) {
                let what = "it is not how a log begins".to_owned();
                return Err(self.bad_at(
                    seq,
                    what,
                    "the beginning of the log was cut off or changed",
                ));
            }
            self.previous_log = fields.previous_log;
        }
        let Some(key) = PublicKey::parse(&fields.key) else {
            return Err(self.bad_at(seq, "its key is no key".to_owned(), "it was changed"));
        };
        if self.keys.is_empty() {
            // The log's own word.
            if self.key.is_some_and(|before| before != key) {
                let what = format!("another key signs from here on: {key}");
                let means = "the host has a new key, or somebody goes on with a key of his own; if \
                             it is the host's, give both with --key";
                return Err(self.bad_at(seq, what, means));
            }
        } else if !self.keys.contains(&key) {
            let what = format!("it is signed with another key than the one given: {key}");
            return Err(self.bad_at(
                seq,
                what,
                "it is another host's, or somebody wrote it anew with a key of his own",
            ));
        }
        self.key = Some(key);
        Ok(())
    }

    fn as_told(&mut self, seq: u64, hash: Hash) -> Result<(), Bad> {
        let mut hash_text = None;
        for index in 0..self.expected.len() {
            if self.expected[index].seq != seq {
                continue;
            }
            let text = hash_text.get_or_insert_with(|| hash.to_string());
            let Expected { hash: told, from, .. } = &self.expected[index];
            if !text.starts_with(told.as_str()) {
                let what = format!("its hash is {hash}, and {from} says {told}");
                let means = "this is not the record that was there: the log was cut and goes on \
                             otherwise, or was replaced";
                return Err(self.bad_at(seq, what, means));
            }
            self.summary.heads_found += 1;
        }
        Ok(())
    }

    fn clock(&mut self, seq: u64, time: &str) {
        let Some(now) = crate::clock::parse_rfc3339(time) else {
            self.note(format!("record {seq}: `{time}` is no time"));
            return;
        };
        if let Some(before) = self.last_time.replace(now)
            && before - now > STEP_BACK
        {
            let back =
                crate::clock::words(std::time::Duration::from_secs((before - now).unsigned_abs()));
            self.note(format!("record {seq}: the clock went back by {back} ({time})"));
        }
    }

    /// A log can be sound and say by itself that something is missing.
    fn admits(&mut self, seq: u64, kind: &str, content: &[u8]) -> Result<(), Bad> {
        if !matches!(
            kind,
            "behind" | "unmarked" | "damaged" | "disturbed" | "lost" | "torn" | "unwritable"
        ) {
            return Ok(());
        }
        let Ok(found) = serde_json::from_slice::<Finding>(content) else { return Ok(()) };
        let file = found.file.unwrap_or_default();
        let what = found.what.unwrap_or_default();
        match kind {
            "behind" => {
                let (expected, last) =
                    (found.expected_seq.unwrap_or(0), found.found_seq.unwrap_or(0));
                let what = format!(
                    "the agent found {last} as the last record, and {expected} had been signed"
                );
                return Err(self.bad_at(
                    seq,
                    what,
                    "the log was cut, or the disk has lost its end",
                ));
            }
            "unmarked" => {
                let last = found.found_seq.unwrap_or(0);
                let what =
                    format!("the agent found records up to {last} and no head.json beside them");
                let means = "somebody has removed it, and may have cut off what came after that \
                             record: only a head that was told elsewhere (--head) shows whether";
                return Err(self.bad_at(seq, what, means));
            }
            "damaged" | "disturbed" => {
                let what = format!("the agent found {file} changed: {what}");
                return Err(self.bad_at(
                    seq,
                    what,
                    "somebody else has written to the log, or the disk is failing",
                ));
            }
            "lost" => self.note(format!(
                "record {seq}: {} records could not be kept, from {} to {}",
                found.records.unwrap_or(0),
                found.from.unwrap_or_default(),
                found.to.unwrap_or_default()
            )),
            "torn" => self.note(format!(
                "record {seq}: a crash cut {file} short; {} bytes are kept in {}",
                found.bytes.unwrap_or(0),
                found.kept_in.unwrap_or_default()
            )),
            _ => self.note(format!(
                "record {seq}: the log could not be written from {} on: {}",
                found.from.unwrap_or_default(),
                found.error.unwrap_or_default()
            )),
        }
        Ok(())
    }

    /// Nothing comes any more. `torn` is the length of a last line without an end.
    pub(crate) fn end(mut self, torn: usize) -> Summary {
        if torn > 0 {
            self.note(format!(
                "{} ends with {torn} bytes that are no whole line: the agent is writing it just \
                 now, or a crash cut it short (the next start keeps it aside)",
                self.file
            ));
        }
        let last = self.head.map_or(0, |head| head.seq);
        let first = self.summary.first_seq.unwrap_or(u64::MAX);
        self.line += 1;
        let missing = self.expected.iter().find(|told| told.seq > last).map(|told| {
            let what = format!(
                "the log ends with record {last}, and {} says that {} was there",
                told.from, told.seq
            );
            self.bad_at(last, what, "its end was cut off, or it is an older copy")
        });
        for told in self.expected.clone().iter().filter(|told| told.seq < first && last > 0) {
            self.note(format!(
                "record {}, which {} tells, is before what is here",
                told.seq, told.from
            ));
        }
        self.finish(missing)
    }

    /// What was checked up to the first thing that is wrong.
    pub(crate) fn finish(self, bad: Option<Bad>) -> Summary {
        let mut summary = self.summary;
        summary.sound = bad.is_none();
        summary.bad = bad;
        summary.hash = self.head.map(|head| head.hash.to_string());
        summary.key = self.key.map(|key| key.to_string());
        summary.key_given = !self.keys.is_empty();
        summary
    }

    pub(super) fn note(&mut self, note: String) {
        if self.summary.notes.len() < NOTES {
            self.summary.notes.push(note);
        } else {
            self.summary.notes_left_out += 1;
        }
    }

    fn bad(&self, what: String, means: &'static str) -> Bad {
        let seq = self.head.map(|head| head.seq + 1);
        Bad { file: self.file.clone(), line: self.line, seq, what, means }
    }

    fn bad_at(&self, seq: u64, what: String, means: &'static str) -> Bad {
        Bad { seq: Some(seq), ..self.bad(what, means) }
    }
}

impl Expected {
    /// Reads `SEQ:HASH`, as the journal and the metrics have them.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no head: write it as in 1042:9f86d081884c7d65…, the hash with at \
                 least {SHORT} digits"
            )
        };
        let (seq, hash) = text.split_once(':').ok_or_else(wrong)?;
        let is_hash = (SHORT..=64).contains(&hash.len())
            && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let seq = seq.parse().ok().filter(|seq| *seq > 0 && is_hash).ok_or_else(wrong)?;
        Ok(Self { seq, hash: hash.to_owned(), from: "--head" })
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
