//! Looks at a log as it is found when it is opened: where it ends, and whether that is where it
//! ended.
//!
//! What was signed and on the disk once is expected to be there (`head.json` says it). What came
//! after it may be cut short, or be anything, after a power failure: it is kept aside.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::chain::{self, Hash, Head};
use super::mark::{Found as FoundMark, Mark};
use super::own::{Own, PreviousLog};
use super::{AuditError, segments};
use crate::clock::Now;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// Number of the last record; `None` if there is none.
    pub(crate) last_seq: Option<u64>,
    /// What has to be told about it.
    pub(crate) news: Vec<String>,
    /// Why the log could not be opened; it is tried again.
    pub(crate) unavailable: Option<String>,
}

/// Where a log ends.
#[derive(Debug)]
pub(super) struct Ending {
    /// Its last segment; 0 if there is none.
    pub(super) segment: u64,
    /// How much of that counts.
    pub(super) length: u64,
    /// The last record.
    pub(super) head: Head,
    /// What comes after `length` in the last segment, and does not count.
    pub(super) torn: u64,
    /// What has to be recorded.
    pub(super) findings: Vec<Own>,
    /// Whether the last segment is to be left as it is.
    pub(super) leave: bool,
    /// The log before the segments.
    pub(super) previous_log: Option<PreviousLog>,
}

impl Ending {
    /// Of a log without any record.
    const NONE: Self = Self {
        segment: 0,
        length: 0,
        head: Head::NONE,
        torn: 0,
        findings: vec![],
        leave: false,
        previous_log: None,
    };
}

/// Looks where the log in `dir` ends.
pub(super) fn ending(dir: &Path, mark: FoundMark) -> Result<Ending, AuditError> {
    let io = |error| AuditError::io("read", dir, error);
    let numbers = segments::list(dir).map_err(io)?;
    let is_missing = mark == FoundMark::Missing;
    let (mark, mut findings) = match mark {
        FoundMark::Signed(mark) => (Some(mark), vec![]),
        FoundMark::Missing => (None, vec![]),
        FoundMark::Wrong => {
            let what = "it is not what this host's key has signed".to_owned();
            (None, vec![Own::Damaged { file: super::mark::FILE.to_owned(), what }])
        }
    };
    let Some(&last) = numbers.last() else {
        return beginning(dir, mark.filter(|mark| mark.length > 0), findings).map_err(io);
    };
    if let Some(mark) = &mark {
        match whole_up_to(dir, mark).map_err(io)? {
            Kept::Whole => {
                let after = numbers.iter().copied().filter(|number| *number >= mark.segment);
                let ending = follow(dir, after, mark.length, Some(mark.head), findings);
                return ending.and_then(|ending| begun(dir, ending)).map_err(io);
            }
            Kept::Shorter => {}
            Kept::Changed(what) => {
                findings.push(Own::Damaged { file: segments::name(mark.segment), what });
            }
        }
    }
    // Without a mark that fits: the last segment that has anything speaks for itself.
    let from = numbers.iter().rev().copied().find(|number| {
        let text = segments::read_from(&dir.join(segments::name(*number)), 0);
        text.is_ok_and(|text| text.contains(&b'\n'))
    });
    let from = from.unwrap_or(last);
    let after = numbers.iter().copied().filter(|number| *number >= from);
    let ending = follow(dir, after, 0, None, findings);
    let mut ending = ending.and_then(|ending| begun(dir, ending)).map_err(io)?;
    if is_missing && (ending.length > 0 || ending.segment > 1) {
        ending.findings.push(Own::Unmarked { found_seq: ending.head.seq });
    }
    if let Some(mark) = mark {
        let Head { seq, hash } = mark.head;
        if ending.head.seq < seq {
            let found_seq = ending.head.seq;
            ending.findings.push(Own::Behind {
                expected_seq: seq,
                expected_hash: hash.to_string(),
                found_seq,
            });
            // No number is used twice.
            ending.head.seq = seq;
        }
        ending.leave = true;
    }
    Ok(ending)
}

/// There are no segments.
fn beginning(dir: &Path, mark: Option<Mark>, mut findings: Vec<Own>) -> io::Result<Ending> {
    let mut ending = Ending { leave: true, ..Ending::NONE };
    if let Some(mark) = mark {
        let Head { seq, hash } = mark.head;
        findings.push(Own::Behind {
            expected_seq: seq,
            expected_hash: hash.to_string(),
            found_seq: 0,
        });
        (ending.segment, ending.head.seq) = (mark.segment, seq);
    } else {
        take_over(dir, &mut ending)?;
    }
    ending.findings = findings;
    Ok(ending)
}

/// A log of which a crash left the first segment without its first record begins as one without
/// any.
fn begun(dir: &Path, mut ending: Ending) -> io::Result<Ending> {
    if (ending.segment, ending.length) == (1, 0) {
        take_over(dir, &mut ending)?;
    }
    Ok(ending)
}

/// The log goes on from one that a former version has left, if there is one.
fn take_over(dir: &Path, ending: &mut Ending) -> io::Result<()> {
    let Some(path) = segments::old(dir) else { return Ok(()) };
    let text = std::fs::read(path)?;
    let hash = Hash::of(&text);
    let last = text.rsplit(|byte| *byte == b'\n').find_map(|line| chain::envelope(line).ok());
    ending.head = Head { seq: last.map_or(0, |last| last.seq), hash };
    ending.previous_log = Some(PreviousLog {
        file: segments::OLD_FILE.to_owned(),
        bytes: text.len() as u64,
        sha256: hash.to_string(),
    });
    Ok(())
}

enum Kept {
    Whole,
    Shorter,
    Changed(String),
}

/// Whether the log still has the line that a mark names, where it was.
fn whole_up_to(dir: &Path, mark: &Mark) -> io::Result<Kept> {
    if mark.length == 0 {
        // From before the first record.
        return Ok(Kept::Whole);
    }
    let file = match File::open(dir.join(segments::name(mark.segment))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::Shorter),
        file => file?,
    };
    if file.metadata()?.len() < mark.length {
        return Ok(Kept::Shorter);
    }
    let text = {
        let mut text = vec![0; usize::try_from(mark.length).map_err(io::Error::other)?];
        file.read_exact_at(&mut text, 0)?;
        text
    };
    let before = text.len().checked_sub(1).map(|end| &text[..end]).unwrap_or_default();
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    if Hash::of(&text[start..]) == mark.head.hash {
        return Ok(Kept::Whole);
    }
    Ok(Kept::Changed(format!(
        "its first {} bytes do not end with record {}",
        mark.length, mark.head.seq
    )))
}

/// Follows the chain through segments from `offset` of the first on. Without a `head` the first
/// line is taken at its word.
fn follow(
    dir: &Path,
    numbers: impl Iterator<Item = u64>,
    mut offset: u64,
    mut head: Option<Head>,
    mut findings: Vec<Own>,
) -> io::Result<Ending> {
    let numbers: Vec<u64> = numbers.collect();
    let mut ending = Ending::NONE;
    let was_signed = head.is_some();
    for (index, number) in numbers.iter().enumerate() {
        let name = segments::name(*number);
        let text = segments::read_from(&dir.join(&name), offset)?;
        let (good, last) = follow_text(&text, head);
        (head, ending.segment, ending.length) = (last, *number, offset + good as u64);
        ending.head = last.unwrap_or(ending.head);
        ending.torn = (text.len() - good) as u64;
        let is_last = index + 1 == numbers.len();
        let rest = &text[good..];
        // What a crash leaves behind is at the end, and not signed. Where nobody can tell what was
        // signed, records after something else were changed by somebody.
        let is_changed = !is_last || (!was_signed && last_record(rest).is_some());
        if ending.torn > 0 && is_changed {
            let what = format!("byte {} on: no record that follows the one before", ending.length);
            findings.push(Own::Damaged { file: name, what });
            ending.leave = true;
            // What comes next goes on from what stands there.
            head = None;
            ending.head = last_record(rest).unwrap_or(ending.head);
        }
        offset = 0;
    }
    ending.findings = findings;
    Ok(ending)
}

/// How many bytes of `text` are lines that follow one another, and the head they end with.
fn follow_text(text: &[u8], mut head: Option<Head>) -> (usize, Option<Head>) {
    let mut good = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let next = line.strip_suffix(b"\n").and_then(|content| {
            let found = chain::envelope(content).ok()?;
            let prev = found.prev.as_deref().and_then(Hash::parse)?;
            let follows = head.is_none_or(|head| (found.seq, prev) == (head.seq + 1, head.hash));
            follows.then(|| Head { seq: found.seq, hash: Hash::of(line) })
        });
        if next.is_none() {
            break;
        }
        head = next;
        good += line.len();
    }
    (good, head)
}

/// The last line that is a record at all.
fn last_record(text: &[u8]) -> Option<Head> {
    let mut lines = text.split_inclusive(|byte| *byte == b'\n');
    lines.rfind(|line| line.ends_with(b"\n") && chain::envelope(line).is_ok()).map(|line| Head {
        seq: chain::envelope(line).map_or(0, |found| found.seq),
        hash: Hash::of(line),
    })
}

/// Copies the end of a segment to a file of its own, and only then cuts it off.
pub(super) fn keep_aside(file: &File, dir: &Path, ending: &Ending, now: Now) -> io::Result<Own> {
    let mut bytes = vec![0; usize::try_from(ending.torn).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, ending.length)?;
    let kept_in = format!("torn-{:06}-{}-{}.bin", ending.segment, ending.length, now.wall_ns);
    set_aside(&dir.join(&kept_in), |copy| {
        copy.write_all(&bytes)?;
        copy.sync_all()
    })?;
    File::open(dir)?.sync_all()?;
    file.set_len(ending.length)?;
    file.sync_all()?;
    Ok(Own::Torn {
        file: segments::name(ending.segment),
        offset: ending.length,
        bytes: ending.torn,
        sha256: Hash::of(&bytes).to_string(),
        kept_in,
    })
}

/// Makes a file that `fill` writes to, all of it or nothing: on a full disk it is tried again every
/// second.
fn set_aside(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    fill(&mut copy).inspect_err(|_| {
        // The first error is the one that is told.
        drop(std::fs::remove_file(path));
    })
}

/// What to tell people about a finding.
pub(super) fn news(finding: &Own) -> Option<String> {
    match finding {
        Own::Torn { file, bytes, kept_in, .. } => Some(format!(
            "the last {bytes} bytes of {file} were cut short by a crash; they are kept in {kept_in}"
        )),
        Own::Behind { expected_seq, found_seq, .. } => Some(format!(
            "RECORDS ARE MISSING: the audit log ends with record {found_seq}, and record \
             {expected_seq} was on this disk; somebody has cut or replaced it, or the disk has \
             lost it: `holdfast audit verify`"
        )),
        Own::Unmarked { found_seq } => Some(format!(
            "THE NOTE OF WHERE THE AUDIT LOG ENDS IS GONE: there is no {} beside records up to \
             {found_seq}; somebody has removed it, and may have cut off what came after: `holdfast \
             audit verify --head` with a head from the journal or the metrics",
            super::mark::FILE
        )),
        Own::Damaged { file, what } => Some(format!(
            "THE AUDIT LOG WAS CHANGED: {file}: {what}; it is left as it is: `holdfast audit \
             verify`"
        )),
        Own::Disturbed { file, what } => {
            Some(format!("THE AUDIT LOG WAS CHANGED while it was written to: {file}: {what}"))
        }
        Own::Head { .. } | Own::Checkpoint { .. } | Own::Lost { .. } | Own::Unwritable { .. } => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A full disk got one more half of a copy each second.
    #[test]
    fn failed_copy_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("torn.bin");
        let half = set_aside(&path, |file| {
            file.write_all(b"half of it")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(half.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        set_aside(&path, |file| file.write_all(b"all of it")).unwrap();
        assert!(set_aside(&path, |_| Ok(())).is_err(), "nothing is overwritten");
        assert_eq!(std::fs::read(&path).unwrap(), b"all of it");
    }
}
