//! A document and the signatures that lie beside it. It reads files and judges nothing.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use holdfast_policy::allowance::{
    Allowance, MAX_DOCUMENT, MAX_SIGNATURE, MAX_SIGNATURES, SignatureFile,
};
use sha2::{Digest as _, Sha256};

use super::super::{Exit, Failure};
use crate::text;

/// A document as it was read.
#[derive(Debug)]
pub(in crate::cli) struct Document {
    /// Its file, as it was named.
    pub(in crate::cli) path: String,
    /// Its text, which need not be canonical.
    pub(in crate::cli) text: String,
}

impl Document {
    /// Reads a file, whatever it says.
    pub(in crate::cli) fn read(file: &Path) -> Result<Self, Failure> {
        let path = file.display().to_string();
        let bytes = read(file, MAX_DOCUMENT, "the allowance")?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            bad(format!("{path}: byte {at} is not UTF-8 text\n  help: save the file as UTF-8"))
        })?;
        Ok(Self { path, text })
    }

    /// What it says; problems are told with their place.
    pub(in crate::cli) fn parse(&self) -> Result<Allowance, Failure> {
        Allowance::parse(&self.path, &self.text).map_err(|problems| bad(problems.to_string()))
    }

    /// SHA-256 of the text.
    pub(in crate::cli) fn digest(&self) -> String {
        text::hex(&Sha256::digest(self.text.as_bytes()))
    }
}

/// The signatures named, or else those found beside the document.
pub(in crate::cli) fn signatures(
    document: &Path,
    named: &[PathBuf],
) -> Result<Vec<SignatureFile>, Failure> {
    let found;
    let files = if named.is_empty() {
        found = beside(document)?;
        &found
    } else {
        named
    };
    if files.len() > MAX_SIGNATURES {
        let message = format!(
            "{} has {} signature files, {MAX_SIGNATURES} can be\n  help: name those that count with --sig",
            document.display(),
            files.len()
        );
        return Err(bad(message));
    }
    files.iter().map(|file| signature(file)).collect()
}

/// `FILE.sig` and `FILE.*.sig`, in the order of their names.
fn beside(document: &Path) -> Result<Vec<PathBuf>, Failure> {
    let Some(name) = document.file_name() else {
        return Ok(Vec::new());
    };
    let directory = directory(document);
    let unreadable = |error: io::Error| {
        Failure::new(Exit::Failure, format!("cannot look into {}: {error}", directory.display()))
    };
    let mut prefix = name.as_encoded_bytes().to_vec();
    prefix.push(b'.');
    let mut found = Vec::new();
    for entry in directory.read_dir().map_err(unreadable)? {
        let name: OsString = entry.map_err(unreadable)?.file_name();
        if let Some(rest) = name.as_encoded_bytes().strip_prefix(&*prefix)
            && (rest == b"sig" || rest.ends_with(b".sig"))
        {
            found.push(document.with_file_name(name));
        }
    }
    found.sort();
    Ok(found)
}

/// The directory of a file; `.` if it names none.
pub(super) fn directory(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn signature(file: &Path) -> Result<SignatureFile, Failure> {
    let bytes = read(file, MAX_SIGNATURE, "the signature")?;
    // What is not text is no signature either: the judgement says so.
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(SignatureFile { name: file.display().to_string(), text })
}

/// A file's content, one byte more than `most` at most: whoever reads it says that it is too long.
pub(super) fn read(file: &Path, most: usize, what: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|open| open.take(most as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| bad(format!("cannot read {what} {}: {error}", file.display())))?;
    Ok(bytes)
}

/// Input that is wrong.
pub(super) fn bad(message: String) -> Failure {
    Failure::new(Exit::BadInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_lie_beside_the_document() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.toml");
        for name in [
            "a.toml",
            "a.toml.sig",
            "a.toml.bob.sig",
            "a.toml.sig.bak",
            "b.toml.sig",
            "a.tomlx.sig",
        ] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let texts = |named: &[PathBuf]| -> Vec<String> {
            signatures(&file, named).unwrap().into_iter().map(|file| file.text).collect()
        };
        assert_eq!(texts(&[]), ["a.toml.bob.sig", "a.toml.sig"]);
        assert_eq!(texts(&[dir.path().join("b.toml.sig")]), ["b.toml.sig"]);
        assert!(signatures(&file, &[dir.path().join("none.sig")]).is_err());
        assert_eq!(directory(Path::new("a.toml")), Path::new("."));
    }

    #[test]
    fn a_document_that_is_too_long_is_read_no_further() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.toml");
        std::fs::write(&file, "#".repeat(3 * MAX_DOCUMENT)).unwrap();
        let document = Document::read(&file).unwrap();
        assert_eq!(document.text.len(), MAX_DOCUMENT + 1);
        assert!(document.parse().is_err());
    }
}
