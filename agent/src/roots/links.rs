//! Symbolic links in the directories of tenants, and what is remembered of a directory that has not
//! changed since it was read.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;

use super::Identity;

/// A directory that was changed this long before it was read changes its time with the next change:
/// clocks of filesystems are coarse.
const SETTLED: Duration = Duration::from_secs(1);
/// Names that are looked at where others than root can make them: no link there is followed, only
/// told.
const MOST_NAMES: usize = 1024;
/// `S_IWGRP | S_IWOTH`
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The names in directories, by their state when they were read: a survey of many tenants costs one
/// stat(2) for each directory above them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listings(Arc<Mutex<HashMap<PathBuf, Listing>>>);

/// The subdirectories and links of one directory.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    state: (u64, u64, i64, i64),
    /// Whether nobody but root can make, rename or remove a name in it.
    pub(super) is_roots: bool,
    pub(super) directories: Arc<[OsString]>,
    pub(super) links: Arc<[OsString]>,
}

impl Listings {
    /// What is in a directory.
    pub(super) fn of(&self, dir: &Path) -> io::Result<Listing> {
        let metadata = fs::symlink_metadata(dir)?;
        let state = (metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec());
        let is_roots = metadata.uid() == 0 && metadata.mode() & WRITABLE_BY_OTHERS == 0;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(listing) = known.get(dir).filter(|listing| listing.state == state) {
            return Ok(Listing { is_roots, ..listing.clone() });
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (mut directories, mut links) = (Vec::new(), Vec::new());
        let most = if is_roots { usize::MAX } else { MOST_NAMES };
        for entry in fs::read_dir(dir)?.take(most) {
            let entry = entry?;
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(entry.file_name()),
                Ok(kind) if kind.is_symlink() => links.push(entry.file_name()),
                _ => {}
            }
        }
        links.sort();
        let listing =
            Listing { state, is_roots, directories: directories.into(), links: links.into() };
        let changed = Duration::from_secs(u64::try_from(metadata.mtime()).unwrap_or_default());
        if now > changed + SETTLED {
            known.insert(dir.to_owned(), listing.clone());
        } else {
            known.remove(dir);
        }
        Ok(listing)
    }
}

/// Where a link leads, as far as its text says.
pub(super) fn target(link: &Path) -> io::Result<PathBuf> {
    let text = fs::read_link(link)?;
    let mut path = match link.parent() {
        Some(parent) if text.is_relative() => parent.to_owned(),
        _ => PathBuf::from("/"),
    };
    for component in text.components() {
        match component {
            Component::ParentDir => drop(path.pop()),
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    Ok(path)
}

/// What is at the end of a way.
pub(super) enum End {
    /// A directory.
    Directory(Identity),
    /// Nobody knows: there is another link on the way.
    BehindLink,
    /// No directory.
    Nothing,
}

/// What is at a path; no link is followed.
pub(super) fn end(path: &Path) -> io::Result<End> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        Ok(dir) => {
            let stat = fstat(&dir)?;
            Ok(End::Directory(Identity { dev: stat.st_dev, ino: stat.st_ino }))
        }
        Err(Errno::LOOP) => Ok(End::BehindLink),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(End::Nothing),
        Err(error) => Err(error.into()),
    }
}
