//! A document and the signatures that lie beside it. It reads files and judges nothing.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use holdfast_policy::allowance::{
    Allowance, MAX_DOCUMENT, MAX_SIGNATURE, MAX_SIGNATURES, SignatureFile,
};
use sha2::{Digest as _, Sha256};

use super::super::{Exit, Failure, out};
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
        let path = out::path(file);
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

/// The signatures named, or else those found beside the document. One that cannot be read is
/// presented as one that says nothing, and of too many only as many as show that: the judgement
/// refuses both, but not before it has looked whether the document was signed for another host,
/// which has to be seen whatever else is wrong.
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
        out::note(&format!(
            "{} has {} signature files, {MAX_SIGNATURES} can be: name those that count with --sig",
            out::path(document),
            files.len()
        ));
    }
    let read = if named.is_empty() { read_beside } else { read };
    Ok(files.iter().take(MAX_SIGNATURES + 1).map(|file| signature(file, read)).collect())
}

/// `FILE.sig` and `FILE.*.sig`, in the order of their names.
fn beside(document: &Path) -> Result<Vec<PathBuf>, Failure> {
    let Some(name) = document.file_name() else {
        return Ok(Vec::new());
    };
    let directory = directory(document);
    let unreadable = |error: io::Error| {
        Failure::new(Exit::Failure, format!("cannot look into {}: {error}", out::path(directory)))
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

type Read = fn(&Path, usize, &str) -> Result<Vec<u8>, Failure>;

fn signature(file: &Path, read: Read) -> SignatureFile {
    let bytes = read(file, MAX_SIGNATURE, "the signature").unwrap_or_else(|failure| {
        out::note(&failure.message);
        Vec::new()
    });
    // What is not text is no signature either: the judgement says so.
    let text = String::from_utf8_lossy(&bytes).into_owned();
    SignatureFile { name: out::path(file), text }
}

/// The same for a file that nobody has named: it may be a pipe that nobody ever writes to.
fn read_beside(file: &Path, most: usize, what: &str) -> Result<Vec<u8>, Failure> {
    match file.metadata() {
        Ok(metadata) if !metadata.is_file() => {
            Err(bad(format!("cannot read {what} {}: it is no regular file", out::path(file))))
        }
        _ => read(file, most, what),
    }
}

/// A file's content, one byte more than `most` at most: whoever reads it says that it is too long.
pub(super) fn read(file: &Path, most: usize, what: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|open| open.take(most as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| bad(format!("cannot read {what} {}: {error}", out::path(file))))?;
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
        assert_eq!(
            texts(&[dir.path().join("none.sig"), dir.path().join("b.toml.sig")]),
            ["", "b.toml.sig"]
        );
        assert_eq!(directory(Path::new("a.toml")), Path::new("."));
    }

    /// The agent never heard of a document of another host, because of a file that lay beside it.
    #[test]
    fn unreadable_signature_does_not_block_others() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.toml");
        std::fs::write(dir.path().join("a.toml.alice.sig"), "signed").unwrap();
        let pipe = dir.path().join("a.toml.bob.sig");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        std::fs::create_dir(dir.path().join("a.toml.carol.sig")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("a.toml.dave.sig")).unwrap();
        let texts: Vec<_> =
            signatures(&file, &[]).unwrap().into_iter().map(|file| file.text).collect();
        assert_eq!(texts, ["signed", "", "", ""]);
        for n in 0..2 * MAX_SIGNATURES {
            std::fs::write(dir.path().join(format!("a.toml.x{n}.sig")), "x").unwrap();
        }
        let presented = signatures(&file, &[]).unwrap();
        assert_eq!((presented.len(), presented[0].text.as_str()), (MAX_SIGNATURES + 1, "signed"));
    }

    #[test]
    fn a_path_cannot_control_the_terminal() {
        let failure = Document::read(Path::new("/nonexistent/\x1b[2J\n.toml")).unwrap_err();
        assert!(!failure.message.chars().any(char::is_control), "{:?}", failure.message);
    }

    #[test]
    fn overlong_document_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.toml");
        std::fs::write(&file, "#".repeat(3 * MAX_DOCUMENT)).unwrap();
        let document = Document::read(&file).unwrap();
        assert_eq!(document.text.len(), MAX_DOCUMENT + 1);
        assert!(document.parse().is_err());
    }
}
