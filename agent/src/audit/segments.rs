//! The files of a log: their names, and what is in the directory.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Name of the log below the state directory.
pub(crate) const DIRECTORY: &str = "audit";
/// The log of a version that did not chain its records.
pub(crate) const OLD_FILE: &str = "audit.jsonl";

/// Name of a segment.
pub(crate) fn name(number: u64) -> String {
    format!("audit-{number:06}.jsonl")
}

/// The number in a segment's name.
pub(crate) fn number(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_prefix("audit-")?.strip_suffix(".jsonl")?;
    let number = digits.parse().ok().filter(|number| *number > 0)?;
    // One number, one name.
    (name(number) == file_name).then_some(number)
}

/// The segments in a directory, oldest first.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        numbers.extend(entry?.file_name().to_str().and_then(number));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Bytes of every segment, and of the log before them.
pub(crate) fn bytes(dir: &Path) -> u64 {
    let names = list(dir).unwrap_or_default().into_iter().map(name).chain([OLD_FILE.to_owned()]);
    names.filter_map(|name| fs::metadata(dir.join(name)).ok()).map(|found| found.len()).sum()
}

/// Everything in a file from `offset` on.
pub(super) fn read_from(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    use std::io::Seek as _;
    let mut file = File::open(path)?;
    file.seek(io::SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The log before the segments, if there is one.
pub(crate) fn old(dir: &Path) -> Option<PathBuf> {
    let path = dir.join(OLD_FILE);
    path.is_file().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_has_one_name() {
        assert_eq!(
            (name(1), name(1_000_000)),
            ("audit-000001.jsonl".into(), "audit-1000000.jsonl".into())
        );
        assert_eq!(number("audit-000012.jsonl"), Some(12));
        assert_eq!(number("audit-1000000.jsonl"), Some(1_000_000));
        for other in [
            "audit.jsonl",
            "audit-12.jsonl",
            "audit-000000.jsonl",
            "audit-0000012.jsonl",
            "audit-00000x.jsonl",
        ] {
            assert_eq!(number(other), None, "{other}");
        }
    }
}
