//! Looks at the end of a log as it is found: a crash can have cut the last line short.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use serde::Deserialize;

use super::AuditError;
use super::record::Torn;
use crate::clock::Now;

/// How much of the log is looked at, at a time, from its end.
const STEP: u64 = 64 * 1024;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// Length of all complete lines.
    pub(crate) length: u64,
    /// Number of the last record; `None` if there is none.
    pub(crate) last_seq: Option<u64>,
    /// What was cut short and kept aside.
    pub(crate) torn: Option<Torn>,
    /// Complete lines after the last record that are no records.
    pub(crate) unreadable_lines: u64,
}

#[derive(Deserialize)]
struct Numbered {
    seq: u64,
}

/// Keeps aside what comes after the last complete line, and finds the last record.
pub(super) fn recover(file: &File, path: &Path, now: Now) -> Result<Recovered, AuditError> {
    let io = |what, error| AuditError::io(what, path, error);
    let size = file.metadata().map_err(|error| io("look at", error))?.len();
    let mut found = last_record(file, size).map_err(|error| io("read", error))?;
    if found.length < size {
        let torn =
            keep_aside(file, path, found.length..size, now).map_err(|error| io("repair", error))?;
        found.torn = Some(torn);
    }
    Ok(found)
}

/// Reads backwards until a line is a record.
fn last_record(file: &File, size: u64) -> io::Result<Recovered> {
    let mut found = Recovered::default();
    let (mut start, mut tail) = (size, Vec::new());
    let mut complete = false;
    while start > 0 {
        let step = STEP.min(start);
        start -= step;
        let mut chunk = vec![0; step as usize];
        file.read_exact_at(&mut chunk, start)?;
        chunk.append(&mut tail);
        tail = chunk;
        if !complete {
            let Some(end) = tail.iter().rposition(|&byte| byte == b'\n') else {
                continue;
            };
            tail.truncate(end + 1);
            found.length = start + tail.len() as u64;
            complete = true;
        }
        // Now `tail` ends with a newline; take lines off it while their beginning is known.
        while let Some(without_newline) = tail.len().checked_sub(1) {
            let line_start = match tail[..without_newline].iter().rposition(|&byte| byte == b'\n') {
                Some(newline) => newline + 1,
                None if start == 0 => 0,
                None => break,
            };
            if let Ok(record) =
                serde_json::from_slice::<Numbered>(&tail[line_start..without_newline])
            {
                found.last_seq = Some(record.seq);
                return Ok(found);
            }
            found.unreadable_lines += 1;
            tail.truncate(line_start);
        }
    }
    Ok(found)
}

/// Copies the end of the log to a file of its own, and only then cuts it off.
fn keep_aside(file: &File, path: &Path, range: std::ops::Range<u64>, now: Now) -> io::Result<Torn> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    file.read_exact_at(&mut bytes, range.start)?;
    let name = format!("torn-{}-{}.bin", range.start, now.wall_ns);
    let aside = path.with_file_name(&name);
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    copy.write_all(&bytes)?;
    copy.sync_all()?;
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    file.set_len(range.start)?;
    file.sync_all()?;
    Ok(Torn { bytes: bytes.len() as u64, kept_in: name })
}
