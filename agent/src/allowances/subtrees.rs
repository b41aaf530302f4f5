//! From the patterns of an allowance to directories and files that are there now.
//!
//! Links are followed only above a zone's root: below it, and from a pattern's first glob on, whoever owns a directory could
//! point one at something that nobody signed for. It only looks: it never creates or changes anything.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use holdfast_policy::PathPattern;
use rustix::fs::OFlags;

/// Most directories and files that one allowance can name.
pub(crate) const MAX_PLACES: usize = 4096;
/// Most names that are looked at for one allowance: the agent has other things to do.
const MAX_NAMES: usize = 262_144;

/// What is left to look at.
#[derive(Debug)]
pub(crate) struct Looking {
    names: usize,
    places: usize,
}

/// Why a pattern cannot be followed.
#[derive(Debug)]
pub(crate) enum Lost {
    /// It leads to too much, or has too much to look at.
    TooMany(String),
    /// Something cannot be looked at.
    Io(PathBuf, io::Error),
}

impl Default for Looking {
    fn default() -> Self {
        Self { names: MAX_NAMES, places: MAX_PLACES }
    }
}

impl Looking {
    fn name(&mut self) -> Result<(), Lost> {
        let too_many = || Lost::TooMany(format!("more than {MAX_NAMES} names to look at"));
        self.names = self.names.checked_sub(1).ok_or_else(too_many)?;
        Ok(())
    }

    /// Takes note of one place; an error if that is one too many.
    pub(crate) fn place(&mut self) -> Result<(), Lost> {
        let too_many = || Lost::TooMany(format!("more than {MAX_PLACES} directories and files"));
        self.places = self.places.checked_sub(1).ok_or_else(too_many)?;
        Ok(())
    }
}

/// Paths that a pattern matches, sorted. A path without globs is returned whether or not anything is there.
pub(crate) fn expand(pattern: &PathPattern, looking: &mut Looking) -> Result<Vec<PathBuf>, Lost> {
    let mut level = vec![PathBuf::from("/")];
    let mut after_glob = false;
    for component in pattern.components() {
        let literal = component.literal();
        after_glob |= literal.is_none();
        let mut next = Vec::new();
        for dir in level {
            match &literal {
                Some(name) => next.push(dir.join(name)),
                None => {
                    for name in names(&dir, looking)? {
                        if component.matches(name.as_bytes()) {
                            next.push(dir.join(name));
                        }
                    }
                }
            }
        }
        if after_glob {
            next.retain(|path| {
                fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_symlink())
            });
        }
        level = next;
    }
    level.sort();
    Ok(level)
}

fn names(dir: &Path, looking: &mut Looking) -> Result<Vec<std::ffi::OsString>, Lost> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(Lost::Io(dir.to_owned(), error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        looking.name()?;
        names.push(entry.map_err(|error| Lost::Io(dir.to_owned(), error))?.file_name());
    }
    Ok(names)
}

/// Opens what is at `path` if it is a directory or a regular file, and says where it really is. `None`: nothing of that kind is
/// there.
pub(crate) fn open(path: &Path) -> io::Result<Option<(File, PathBuf, bool)>> {
    let found = (|| {
        let real = real(path)?;
        // A device may do something when it is opened.
        let kind = fs::symlink_metadata(&real)?;
        if !kind.is_dir() && !kind.is_file() {
            return Ok(None);
        }
        let mut options = OpenOptions::new();
        options.read(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
        let file = options.open(&real)?;
        let metadata = file.metadata()?;
        let is_as_before = (metadata.dev(), metadata.ino()) == (kind.dev(), kind.ino());
        // Between the looks somebody may have put a link into its path and taken it out again: only the open file knows where it is.
        let opened = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        if !is_as_before || opened != real || self::real(path)? != real {
            return Err(io::Error::other("it changes while it is looked at"));
        }
        Ok(Some((file, real, metadata.is_dir())))
    })();
    match found {
        Err(error) if is_absent(&error) => Ok(None),
        found => found,
    }
}

/// Its path without links; the last name is not followed.
fn real(path: &Path) -> io::Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok(fs::canonicalize(parent)?.join(name)),
        _ => fs::canonicalize(path),
    }
}

/// Whether `path`, which really is `real`, leads there from the zone's `root` without a link.
pub(crate) fn is_direct(path: &Path, real: &Path, root: &Path) -> io::Result<bool> {
    let Ok(below) = real.strip_prefix(root) else { return Ok(false) };
    if !path.ends_with(below) {
        return Ok(false);
    }
    let above = path.components().count() - below.components().count();
    let above: PathBuf = path.components().take(above).collect();
    // A link inside the zone may lead back to its root.
    for outside in above.ancestors().skip(1) {
        if fs::canonicalize(outside)?.starts_with(root) {
            return Ok(false);
        }
    }
    let (above, root) = (fs::metadata(above)?, fs::metadata(root)?);
    Ok((above.dev(), above.ino()) == (root.dev(), root.ino()))
}

/// Not there: a component of the path that is no directory counts as that too.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// `zone/{a,b}/cache/f`, a fifo, and links of every kind.
    fn host() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(dir.path()).unwrap();
        for tenant in ["a", "b"] {
            fs::create_dir_all(base.join("zone").join(tenant).join("cache")).unwrap();
            fs::write(base.join("zone").join(tenant).join("cache/f"), "").unwrap();
        }
        symlink("zone", base.join("way")).unwrap();
        symlink("../b", base.join("zone/a/friend")).unwrap();
        symlink("/etc", base.join("zone/b/out")).unwrap();
        symlink("a", base.join("zone/c")).unwrap();
        symlink("..", base.join("zone/a/up")).unwrap();
        (dir, base)
    }

    fn expanded(base: &Path, pattern: &str) -> Vec<String> {
        let pattern = PathPattern::parse(&format!("{}/{pattern}", base.display())).unwrap();
        let paths = expand(&pattern, &mut Looking::default()).unwrap();
        let below = |path: PathBuf| path.strip_prefix(base).unwrap().display().to_string();
        paths.into_iter().map(below).collect()
    }

    #[test]
    fn globs_lead_to_what_is_there_and_through_no_link() {
        let (_dir, base) = host();
        assert_eq!(expanded(&base, "zone/*/cache"), ["zone/a/cache", "zone/b/cache"]);
        assert_eq!(expanded(&base, "zone/*"), ["zone/a", "zone/b"]);
        assert_eq!(expanded(&base, "zone/a/f*"), [] as [&str; 0], "a link");
        assert_eq!(expanded(&base, "zone/*/cache/absent"), [] as [&str; 0]);
        assert_eq!(
            expanded(&base, "way/*/cache"),
            ["way/a/cache", "way/b/cache"],
            "above the glob"
        );
        assert_eq!(expanded(&base, "zone/absent"), ["zone/absent"], "a name is taken at its word");
    }

    #[test]
    fn there_is_an_end_to_looking() {
        let (_dir, base) = host();
        let pattern = PathPattern::parse(&format!("{}/zone/*", base.display())).unwrap();
        let mut looking = Looking { names: 2, places: 1 };
        assert!(matches!(expand(&pattern, &mut looking), Err(Lost::TooMany(_))));
        assert!(looking.place().is_ok());
        assert!(matches!(looking.place(), Err(Lost::TooMany(_))));
    }

    #[test]
    fn only_directories_and_files_are_opened_and_no_link() {
        let (_dir, base) = host();
        let fifo = base.join("zone/fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        let kind = |name: &str| open(&base.join(name)).unwrap().map(|(_, _, is_dir)| is_dir);
        assert_eq!((kind("zone/a"), kind("zone/a/cache/f")), (Some(true), Some(false)));
        assert_eq!((kind("zone/fifo"), kind("zone/c"), kind("zone/a/friend")), (None, None, None));
        assert_eq!((kind("absent"), kind("zone/a/cache/f/x")), (None, None));
        let (_, real, _) = open(&base.join("way/a")).unwrap().unwrap();
        assert_eq!(real, base.join("zone/a"));
    }

    #[test]
    fn a_link_below_the_root_is_no_direct_way() {
        let (_dir, base) = host();
        let root = base.join("zone");
        let direct =
            |path: &str, real: &str| is_direct(&base.join(path), &base.join(real), &root).unwrap();
        assert!(direct("zone/a/cache", "zone/a/cache"));
        assert!(direct("way/a/cache", "zone/a/cache"), "a link above the root");
        assert!(direct("zone", "zone") && direct("way", "zone"));
        assert!(!direct("zone/a/friend/cache", "zone/b/cache"));
        assert!(!direct("zone/c/cache", "zone/a/cache"));
        assert!(!direct("zone/a/up/b/cache", "zone/b/cache"), "back to the root and down again");
        assert!(!direct("zone/a", "elsewhere"));
    }
}
