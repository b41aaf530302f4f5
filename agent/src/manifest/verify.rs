//! Whether the manifest is what was written: each closed segment against its seal in the audit log,
//! and against the segment after it. What the audit log itself is worth is not looked at here.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::Serialize;

use super::segment::{self, digest, scan};
use super::{Line, Summary};
use crate::audit::read::{Read, Reader};

/// What was found about one segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Its number.
    pub(crate) segment: u64,
    /// `intact`, `open` (still written to, so not sealed yet), `summarised`, `unsealed`, `edited`,
    /// `removed` or `unreadable`.
    pub(crate) state: &'static str,
    /// Whether that is as it should be.
    pub(crate) ok: bool,
    /// What that means, in a sentence.
    pub(crate) says: String,
}

/// Looks at every segment in `dir`, and at every seal in the audit log in `audit`.
pub(crate) fn verify(dir: &Path, audit: &Path) -> io::Result<Vec<Finding>> {
    let told = Told::read(audit)?;
    let seals = &told.seals;
    // In this order: a segment that becomes sums meanwhile is in one of both.
    let numbers = match segment::list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        numbers => numbers?,
    };
    let summary = Summary::read(dir)?;
    let mut findings = Vec::new();
    let mut previous = summary.sha256.clone();
    let mut expected = summary.through + 1;
    for &number in numbers.iter().filter(|&&number| number > summary.through) {
        for missing in expected..number {
            findings.push(removed(missing));
            previous = None;
        }
        expected = number + 1;
        let path = segment::path(dir, number);
        let mut before = None;
        let found = scan(&path, &mut |line| {
            if let Line::Head { previous, .. } = line {
                before = Some(previous);
            }
        })?;
        let (sha256, _) = digest(&path)?;
        findings.push(judge(number, &sha256, found.ended, found.unreadable, seals));
        let chained =
            before.as_ref().is_none_or(|before| previous.is_none() || *before == previous);
        if !chained {
            findings.push(Finding {
                segment: number,
                state: "edited",
                ok: false,
                says: "it does not follow the segment before it: one of both was exchanged"
                    .to_owned(),
            });
        }
        previous = Some(sha256);
    }
    for &number in seals.keys().filter(|&&number| number >= expected) {
        findings.push(removed(number));
    }
    if summary.through > 0 {
        findings.insert(0, told.judge(&summary));
    }
    Ok(findings)
}

fn judge(
    segment: u64,
    sha256: &str,
    ended: bool,
    unreadable: u64,
    seals: &BTreeMap<u64, Vec<String>>,
) -> Finding {
    let sealed = seals.get(&segment);
    let (state, ok, says) = match sealed {
        Some(seals) if seals.iter().any(|seal| seal != sha256) => {
            ("edited", false, "its SHA-256 is not the one in the audit log")
        }
        Some(_) => ("intact", true, "as it was sealed in the audit log"),
        None if unreadable > 0 => ("unreadable", false, "it has lines that are no records"),
        None if ended => ("unsealed", false, "it is closed, and the audit log has no seal of it"),
        None => ("open", true, "still written to: it is sealed when it is closed"),
    };
    Finding { segment, state, ok, says: says.to_owned() }
}

fn removed(segment: u64) -> Finding {
    let says = "it is gone, and was never summarised".to_owned();
    Finding { segment, state: "removed", ok: false, says }
}

/// What the audit log says about segments.
#[derive(Default)]
struct Told {
    /// Whether it goes back to its first record.
    whole: bool,
    /// SHA-256 of each that was closed. One can be there more than once, and then has to say the
    /// same.
    seals: BTreeMap<u64, Vec<String>>,
    /// SHA-256 and records of each of which only sums are left.
    summarised: BTreeMap<u64, (String, u64)>,
}

impl Told {
    fn read(log: &Path) -> io::Result<Self> {
        let mut told = Self::default();
        let mut log = match Reader::open(log) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(told),
            log => log?,
        };
        while let Some(read) = log.next()? {
            let Read::Entry(entry) = read else { continue };
            told.whole |= entry.seq == 1;
            let (Some(segment), Some(sha256)) =
                (entry.number(&["segment"]), entry.text(&["sha256"]))
            else {
                continue;
            };
            let sha256 = sha256.to_owned();
            match entry.kind.as_str() {
                "manifest_seal" => told.seals.entry(segment).or_default().push(sha256),
                "manifest_summarise" => {
                    let records = entry.number(&["records"]).unwrap_or(0);
                    told.summarised.insert(segment, (sha256, records));
                }
                _ => {}
            }
        }
        Ok(told)
    }

    /// What is to be said about the sums.
    fn judge(&self, summary: &Summary) -> Finding {
        let segment = summary.through;
        let finding = |state, ok, says: &str| Finding { segment, state, ok, says: says.to_owned() };
        if !self.whole {
            let says = "summarised; the audit log here does not go back far enough to tell whether \
                        that is right";
            return finding("summarised", true, says);
        }
        let (mut records, mut last) = (0, None);
        for number in 1..=segment {
            let sealed = self.seals.get(&number);
            match self.summarised.get(&number) {
                Some((sha256, count))
                    if sealed.is_none_or(|seals| seals.iter().all(|seal| seal == sha256)) =>
                {
                    (records, last) = (records + count, Some(sha256));
                }
                Some(_) => {
                    return finding("edited", false, "what was summarised is not what was sealed");
                }
                None => {
                    let says = format!(
                        "segment {number} counts as summarised, and the audit log has no record of \
                         that: a crash at that moment, or somebody removed it"
                    );
                    return finding("removed", false, &says);
                }
            }
        }
        let sums: u64 = summary.rows.iter().map(|row| row.records).sum();
        if sums != records || last != summary.sha256.as_ref() {
            return finding("edited", false, "the sums are not those of what was summarised");
        }
        finding("summarised", true, "summarised, because there was no more room")
    }
}
