//! What the roots in force are called, for the next agent: one that has left its path by then is still guarded, and no path leads to
//! its name any more.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Name;

const FILE: &str = "roots.json";

/// A root, as the kernel calls it: device and inode.
pub(super) type Key = (u32, u64);

#[derive(Serialize, Deserialize)]
struct Document {
    /// The kernel's ring then: numbers of another boot mean nothing.
    ring: String,
    roots: Vec<Root>,
}

#[derive(Serialize, Deserialize)]
struct Root {
    dev: u32,
    ino: u64,
    path: Name,
}

/// What an agent before this one has left, if it had the same ring.
pub(super) fn read(dir: &Path, ring: &str) -> io::Result<Vec<(Key, PathBuf)>> {
    let text = match fs::read(dir.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text?,
    };
    let document: Document = serde_json::from_slice(&text)?;
    let roots = document.roots.into_iter().filter(|_| document.ring == ring);
    let path = |name: Name| PathBuf::from(std::ffi::OsString::from_vec(name.0));
    Ok(roots.map(|root| ((root.dev, root.ino), path(root.path))).collect())
}

/// Leaves them, all or nothing. Whether they fit into `most` bytes; if not, none is left.
pub(super) fn write(
    dir: &Path,
    ring: &str,
    roots: &[(Key, PathBuf)],
    most: u64,
) -> io::Result<bool> {
    let root = |((dev, ino), path): &(Key, PathBuf)| Root {
        dev: *dev,
        ino: *ino,
        path: path.as_os_str().as_bytes().into(),
    };
    let document = Document { ring: ring.to_owned(), roots: roots.iter().map(root).collect() };
    let bytes = serde_json::to_vec(&document)?;
    if bytes.len() as u64 > most {
        return match fs::remove_file(dir.join(FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(false),
        };
    }
    let new = dir.join(format!("{FILE}.new"));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&new)?.write_all(&bytes)?;
    fs::rename(&new, dir.join(FILE))?;
    Ok(true)
}

/// Its length on the disk.
pub(super) fn length(dir: &Path) -> u64 {
    fs::metadata(dir.join(FILE)).map_or(0, |metadata| metadata.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_bytes_are_there_for_the_same_ring_and_within_the_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = PathBuf::from(std::ffi::OsString::from_vec(b"/srv/\xff\n".to_vec()));
        let roots = vec![((1, 7), path), ((1, 8), PathBuf::from("/srv/b"))];
        assert_eq!(read(dir.path(), "boot/1").unwrap(), []);
        assert!(write(dir.path(), "boot/1", &roots, 1000).unwrap());
        assert_eq!(read(dir.path(), "boot/1").unwrap(), roots);
        assert_eq!(read(dir.path(), "boot/2").unwrap(), []);
        assert!(length(dir.path()) > 0);
        assert!(!write(dir.path(), "boot/1", &roots, 20).unwrap());
        assert_eq!((read(dir.path(), "boot/1").unwrap().len(), length(dir.path())), (0, 0));
    }
}
