//! Whether the manifest is what was written: each closed segment against its seal in the audit log, and against the segment
//! after it. What the audit log itself is worth is not looked at here.

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
    /// `intact`, `open` (still written to, so not sealed yet), `summarised`, `unsealed`, `edited`, `removed` or `unreadable`.
    pub(crate) state: &'static str,
    /// Whether that is as it should be.
    pub(crate) ok: bool,
    /// What that means, in a sentence.
    pub(crate) says: String,
}

/// Looks at every segment in `dir`, and at every seal in the audit log in `audit`.
pub(crate) fn verify(dir: &Path, audit: &Path) -> io::Result<Vec<Finding>> {
    let seals = seals(audit)?;
    let summary = Summary::read(dir)?;
    let numbers = match segment::list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        numbers => numbers?,
    };
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
        findings.push(judge(number, &sha256, found.ended, found.unreadable, &seals));
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
        let says = "summarised, because there was no more room".to_owned();
        let segment = summary.through;
        findings.insert(0, Finding { segment, state: "summarised", ok: true, says });
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

/// Every seal by segment. One can be there more than once, and then has to say the same.
fn seals(log: &Path) -> io::Result<BTreeMap<u64, Vec<String>>> {
    let mut seals = BTreeMap::<u64, Vec<String>>::new();
    let mut log = match Reader::open(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(seals),
        log => log?,
    };
    while let Some(read) = log.next()? {
        if let Read::Entry(entry) = read
            && entry.kind == "manifest_seal"
            && let (Some(segment), Some(sha256)) =
                (entry.number(&["segment"]), entry.text(&["sha256"]))
        {
            seals.entry(segment).or_default().push(sha256.to_owned());
        }
    }
    Ok(seals)
}
