//! Checks the files of a log, without an agent.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

use super::chain::Hash;
use super::key::PublicKey;
use super::mark::{self, Found, Mark};
use super::segments;
use super::verify::{Bad, Expected, Summary, Verifier, key_of};

/// Longest line that is read.
pub(super) const LONGEST: u64 = 16 << 20;

/// Checks the log in `dir`.
pub(crate) fn verify(dir: &Path, keys: &[PublicKey], expected: &[Expected]) -> io::Result<Summary> {
    let numbers = segments::list(dir)?;
    let was_there = Mark::tells_of_records(dir) || !expected.is_empty();
    if numbers.is_empty() && was_there {
        let bad = Bad {
            file: segments::name(1),
            line: 0,
            seq: None,
            what: "there is not one segment, and a head was told".to_owned(),
            means: "all of the log was taken away",
        };
        return Ok(Verifier::new(keys.to_vec(), Vec::new()).finish(Some(bad)));
    }
    if numbers.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "there is no audit-NNNNNN.jsonl in it",
        ));
    }
    let own = first_key(dir, &numbers);
    let known: Vec<PublicKey> =
        if keys.is_empty() { own.into_iter().collect() } else { keys.to_vec() };
    // Before the lines are read: an agent may be adding some.
    let found = Mark::read(dir, &known)?;
    let mut expected = expected.to_vec();
    if let Found::Signed(Mark { head, length: 1.., .. }) = &found {
        let from = "head.json (the agent's own note on this disk)";
        expected.push(Expected { seq: head.seq, hash: head.hash.to_string(), from });
    }
    let mut verifier = Verifier::new(keys.to_vec(), expected);
    if found == Found::Missing {
        verifier.note("there is no head.json, which would show whether the end was cut".to_owned());
    }
    let mut torn = 0;
    for (index, number) in numbers.iter().enumerate() {
        match segment(&mut verifier, dir, *number, index + 1 == numbers.len()) {
            Ok(rest) => torn = rest,
            Err(Stop::Bad(bad)) => return Ok(verifier.finish(Some(bad))),
            Err(Stop::Io(error)) => return Err(error),
        }
    }
    if let Some(bad) = previous_log(&mut verifier, dir)? {
        return Ok(verifier.finish(Some(bad)));
    }
    if found == Found::Wrong {
        let bad = Bad {
            file: mark::FILE.to_owned(),
            line: 0,
            seq: None,
            what: "its signature is not one of the host's key".to_owned(),
            means: "the note of where the log ended was changed: the end may have been cut off",
        };
        return Ok(verifier.finish(Some(bad)));
    }
    Ok(verifier.end(torn))
}

enum Stop {
    Bad(Bad),
    Io(io::Error),
}

impl From<Bad> for Stop {
    fn from(bad: Bad) -> Self {
        Self::Bad(bad)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Checks a segment; how many bytes come after its last whole line.
fn segment(verifier: &mut Verifier, dir: &Path, number: u64, is_last: bool) -> Result<usize, Stop> {
    use std::io::Read as _;
    verifier.segment(number)?;
    let path = dir.join(segments::name(number));
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut lines = BufReader::new(File::open(&path).map_err(named)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        (&mut lines).take(LONGEST).read_until(b'\n', &mut line).map_err(named)?;
        match line.last() {
            None => return Ok(0),
            Some(b'\n') => verifier.line(&line)?,
            // Nothing may come after it: a line that is only too long is none.
            Some(_) if is_last && lines.fill_buf().map_err(named)?.is_empty() => {
                return Ok(line.len());
            }
            Some(_) => verifier.line(&line)?,
        }
    }
}

/// Whether the log before the segments is the one that the first record names.
fn previous_log(verifier: &mut Verifier, dir: &Path) -> io::Result<Option<Bad>> {
    let Some(told) = verifier.previous_log.clone() else {
        if segments::old(dir).is_none() {
            return Ok(None);
        }
        if verifier.summary.first_seq == Some(1) {
            return Ok(Some(Bad {
                file: segments::OLD_FILE.to_owned(),
                line: 0,
                seq: None,
                what: "the first record names no log before this one".to_owned(),
                means: "it is not part of this log: somebody put it there",
            }));
        }
        verifier.note(format!(
            "{} cannot be checked: the segment that would name it is not here; it is not read",
            segments::OLD_FILE
        ));
        return Ok(None);
    };
    let Some(path) = segments::old(dir) else {
        verifier.note(format!("{}, which was before this log, is not here", told.file));
        return Ok(None);
    };
    let hash = Hash::of(&std::fs::read(path)?).to_string();
    Ok((hash != told.sha256).then(|| Bad {
        file: told.file,
        line: 0,
        seq: None,
        what: format!("its hash is {hash}, and the first record says {}", told.sha256),
        means: "the log of the former version was changed after this one began",
    }))
}

/// The key that the first segment names.
fn first_key(dir: &Path, numbers: &[u64]) -> Option<PublicKey> {
    let text = segments::read_from(&dir.join(segments::name(*numbers.first()?)), 0).ok()?;
    key_of(text.split(|byte| *byte == b'\n').next()?)
}
