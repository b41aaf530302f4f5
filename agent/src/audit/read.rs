//! Reads the records of a log, across its segments and the log before them, oldest first. It checks
//! nothing: that is [`super::verify()`]'s.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::chain::Hash;
use super::check::LONGEST;
use super::segments;
use crate::clock;

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// The file.
    pub(crate) file: String,
    /// The line, from 1.
    pub(crate) line: u64,
    /// Its number.
    pub(crate) seq: u64,
    /// When it was added, RFC 3339 UTC.
    pub(crate) time: String,
    /// The same, in milliseconds since 1970.
    pub(crate) millis: i64,
    /// Its type.
    pub(crate) kind: String,
    /// All of it.
    pub(crate) value: Value,
}

impl Entry {
    /// Reads a line, without its newline.
    pub(crate) fn parse(file: &str, line: u64, text: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(text).ok()?;
        let field = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let time = field("time")?;
        Some(Self {
            file: file.to_owned(),
            line,
            seq: value.get("seq")?.as_u64()?,
            millis: clock::parse_rfc3339_millis(&time)?,
            kind: field("type")?,
            time,
            value,
        })
    }

    /// A text at the end of a path of fields.
    pub(crate) fn text(&self, path: &[&str]) -> Option<&str> {
        self.get(path)?.as_str()
    }

    /// A number at the end of a path of fields.
    pub(crate) fn number(&self, path: &[&str]) -> Option<u64> {
        self.get(path)?.as_u64()
    }

    /// A value at the end of a path of fields; null is none.
    pub(crate) fn get(&self, path: &[&str]) -> Option<&Value> {
        let found = path.iter().try_fold(&self.value, |value, field| value.get(field));
        found.filter(|value| !value.is_null())
    }
}

/// What comes out of a log.
#[derive(Debug)]
pub(crate) enum Read {
    /// A record.
    Entry(Box<Entry>),
    /// A whole line that is none.
    NoRecord {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
    },
}

/// The records of a log, from where it stands on.
#[derive(Debug)]
pub(crate) struct Reader {
    dir: PathBuf,
    /// Files that were not begun yet, oldest last.
    files: Vec<String>,
    open: Option<(String, u64, BufReader<File>)>,
    /// The beginning of a line that is not whole yet.
    part: Vec<u8>,
}

/// Whether there is a log before the segments, and it is the one that their first record names.
/// Without any segment it is all there is.
fn is_part_of_the_log(dir: &Path) -> io::Result<bool> {
    let Some(old) = segments::old(dir) else { return Ok(false) };
    if segments::list(dir)?.is_empty() {
        return Ok(true);
    }
    let first = match File::open(dir.join(segments::name(1))) {
        Ok(first) => first,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut line = Vec::new();
    BufReader::new(first).take(LONGEST).read_until(b'\n', &mut line)?;
    let head: Value = serde_json::from_slice(&line).unwrap_or_default();
    let named = head["previous_log"]["sha256"].as_str();
    Ok(named == Some(Hash::of(&std::fs::read(old)?).to_string().as_str()))
}

impl Reader {
    /// Everything in `dir`.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let mut files: Vec<String> = segments::list(dir)?.into_iter().map(segments::name).collect();
        if is_part_of_the_log(dir)? {
            files.insert(0, segments::OLD_FILE.to_owned());
        }
        files.reverse();
        Ok(Self { dir: dir.to_owned(), files, open: None, part: Vec::new() })
    }

    /// The next record; `None` if there is none yet.
    pub(crate) fn next(&mut self) -> io::Result<Option<Read>> {
        loop {
            let Some((name, line, file)) = &mut self.open else {
                let Some(name) = self.files.pop() else { return Ok(None) };
                let file = BufReader::new(File::open(self.dir.join(&name))?);
                self.open = Some((name, 0, file));
                continue;
            };
            file.read_until(b'\n', &mut self.part)?;
            if self.part.last() == Some(&b'\n') {
                *line += 1;
                let text = std::mem::take(&mut self.part);
                let entry = Entry::parse(name, *line, &text);
                return Ok(Some(match entry {
                    Some(entry) => Read::Entry(Box::new(entry)),
                    None => Read::NoRecord { file: name.clone(), line: *line },
                }));
            }
            if self.files.is_empty() {
                // More may come: of this line, or in a segment that is not there yet.
                let known = segments::number(name).unwrap_or(0);
                let newer = segments::list(&self.dir)?.into_iter().filter(|number| *number > known);
                self.files = newer.map(segments::name).collect();
                self.files.reverse();
                if self.files.is_empty() {
                    return Ok(None);
                }
                // What was added before that segment was made comes first.
                file.read_until(b'\n', &mut self.part)?;
                if !self.part.is_empty() {
                    continue;
                }
            }
            self.part.clear();
            self.open = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64) -> String {
        format!(
            "{{\"seq\":{seq},\"time\":\"2012-06-20T00:00:00.{seq:03}Z\",\"prev\":null,\
             \"type\":\"t\",\"a\":{{\"b\":\"c\"}}}}\n"
        )
    }

    fn all(reader: &mut Reader) -> Vec<u64> {
        let mut found = Vec::new();
        while let Some(read) = reader.next().unwrap() {
            match read {
                Read::Entry(entry) => found.push(entry.seq),
                Read::NoRecord { .. } => found.push(0),
            }
        }
        found
    }

    /// They come as they are written, too.
    #[test]
    fn records_come_in_order_across_segments() {
        use std::io::Write as _;
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
        let old = line(1) + &line(2);
        let named =
            format!("\"previous_log\":{{\"sha256\":\"{}\"}},\"seq\"", Hash::of(old.as_bytes()));
        write("audit.jsonl", old);
        write("audit-000001.jsonl", line(3).replacen("\"seq\"", &named, 1) + "no record\n");
        write("audit-000002.jsonl", line(5) + &line(6)[..10]);
        let mut reader = Reader::open(dir.path()).unwrap();
        assert_eq!(all(&mut reader), [1, 2, 3, 0, 5]);
        let mut file =
            File::options().append(true).open(dir.path().join("audit-000002.jsonl")).unwrap();
        file.write_all(&line(6).as_bytes()[10..]).unwrap();
        assert_eq!(all(&mut reader), [6]);
        file.write_all(line(7).as_bytes()).unwrap();
        write("audit-000003.jsonl", line(8));
        assert_eq!(all(&mut reader), [7, 8]);
        assert_eq!(all(&mut reader), [0_u64; 0]);
    }

    /// It was read first, whatever it said, and nobody had signed that.
    #[test]
    fn foreign_earlier_log_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
        write("audit.jsonl", line(1));
        assert_eq!(all(&mut Reader::open(dir.path()).unwrap()), [1], "nothing else is there");
        write("audit-000001.jsonl", line(3));
        assert_eq!(all(&mut Reader::open(dir.path()).unwrap()), [3]);
    }

    #[test]
    fn fields_are_found_by_their_path() {
        let text = line(7);
        let entry = Entry::parse("f", 1, text.trim_end().as_bytes()).unwrap();
        assert_eq!(
            (entry.text(&["a", "b"]), entry.text(&["a", "x"]), entry.number(&["seq"])),
            (Some("c"), None, Some(7))
        );
        assert_eq!(entry.get(&["prev"]), None);
        assert_eq!(entry.millis, 1_340_150_400_007);
    }
}
