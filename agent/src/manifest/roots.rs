//! What the roots in force are called, for the next agent: one that has left its path by then is
//! still guarded, and no path leads to its name any more.

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

/// What a root is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RootName {
    /// Its path, as it follows from the protected path.
    pub(crate) path: PathBuf,
    /// How many names of it are below the protected path.
    pub(crate) level: u32,
}

impl RootName {
    /// The protected path.
    pub(super) fn protected(&self) -> &Path {
        self.path.ancestors().nth(self.level as usize).unwrap_or(&self.path)
    }

    /// The names from the protected path to it.
    pub(super) fn below(&self) -> Vec<&[u8]> {
        let below = self.path.strip_prefix(self.protected()).unwrap_or(Path::new(""));
        below.components().map(|name| name.as_os_str().as_bytes()).collect()
    }
}

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
    #[serde(default)]
    level: u32,
}

/// What an agent before this one has left, if it had the same ring.
pub(super) fn read(dir: &Path, ring: &str) -> io::Result<Vec<(Key, RootName)>> {
    let text = match fs::read(dir.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text?,
    };
    let document: Document = serde_json::from_slice(&text)?;
    let roots = document.roots.into_iter().filter(|_| document.ring == ring);
    let path = |name: Name| PathBuf::from(std::ffi::OsString::from_vec(name.0));
    let named = |root: Root| RootName { path: path(root.path), level: root.level };
    Ok(roots.map(|root| ((root.dev, root.ino), named(root))).collect())
}

/// Leaves them, all or nothing. Whether they fit into `most` bytes; if not, none is left.
pub(super) fn write(
    dir: &Path,
    ring: &str,
    roots: &[(Key, RootName)],
    most: u64,
) -> io::Result<bool> {
    let root = |((dev, ino), name): &(Key, RootName)| Root {
        dev: *dev,
        ino: *ino,
        path: name.path.as_os_str().as_bytes().into(),
        level: name.level,
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

    /// They may have any bytes, and the file is bounded.
    #[test]
    fn names_are_kept_for_one_ring() {
        let dir = tempfile::tempdir().unwrap();
        let path = PathBuf::from(std::ffi::OsString::from_vec(b"/srv/\xff\n".to_vec()));
        let roots = vec![
            ((1, 7), RootName { path, level: 0 }),
            ((1, 8), RootName { path: "/srv/b/c".into(), level: 2 }),
        ];
        assert_eq!(roots[1].1.protected(), Path::new("/srv"));
        assert_eq!(roots[1].1.below(), [b"b", b"c"]);
        assert_eq!(read(dir.path(), "boot/1").unwrap(), []);
        assert!(write(dir.path(), "boot/1", &roots, 1000).unwrap());
        assert_eq!(read(dir.path(), "boot/1").unwrap(), roots);
        assert_eq!(read(dir.path(), "boot/2").unwrap(), []);
        assert!(length(dir.path()) > 0);
        assert!(!write(dir.path(), "boot/1", &roots, 20).unwrap());
        assert_eq!((read(dir.path(), "boot/1").unwrap().len(), length(dir.path())), (0, 0));
    }
}
