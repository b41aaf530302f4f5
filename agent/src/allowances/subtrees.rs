//! From the patterns of an allowance to directories and files that are there now.
//!
//! Links are followed only above a zone's root: below it, and from a pattern's first glob on,
//! whoever owns a directory could point one at something that nobody signed for. It only looks: it
//! never creates or changes anything.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use holdfast_abi as abi;
use holdfast_policy::PathPattern;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, major, minor, openat2};
use rustix::io::Errno;

/// Most directories and files that one allowance can name.
pub(crate) const MAX_PLACES: usize = 4096;
/// Most names that are looked at for one allowance: the agent has other things to do.
const MAX_NAMES: usize = 262_144;

/// What is left to look at.
#[derive(Debug)]
pub(crate) struct Looking {
    names: usize,
    places: usize,
    until: Option<Instant>,
}

/// Why a pattern cannot be followed.
#[derive(Debug)]
pub(crate) enum Lost {
    /// It leads to too much, or has too much to look at.
    TooMany(String),
    /// It takes too long.
    TooLate,
    /// Something cannot be looked at.
    Io(PathBuf, io::Error),
}

impl Default for Looking {
    fn default() -> Self {
        Self { names: MAX_NAMES, places: MAX_PLACES, until: None }
    }
}

impl Looking {
    /// No longer than that: nobody waits any more.
    pub(crate) fn until(deadline: Instant) -> Self {
        Self { until: Some(deadline), ..Self::default() }
    }

    fn in_time(&self) -> Result<(), Lost> {
        match self.until {
            Some(deadline) if Instant::now() >= deadline => Err(Lost::TooLate),
            _ => Ok(()),
        }
    }

    fn name(&mut self) -> Result<(), Lost> {
        self.in_time()?;
        let too_many = || Lost::TooMany(format!("more than {MAX_NAMES} names to look at"));
        self.names = self.names.checked_sub(1).ok_or_else(too_many)?;
        Ok(())
    }

    /// Takes note of one place; an error if that is one too many.
    pub(crate) fn place(&mut self) -> Result<(), Lost> {
        self.in_time()?;
        let too_many = || Lost::TooMany(format!("more than {MAX_PLACES} directories and files"));
        self.places = self.places.checked_sub(1).ok_or_else(too_many)?;
        Ok(())
    }
}

/// Paths that a pattern matches, sorted. A path without globs is returned whether or not anything
/// is there.
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

/// What is at a path, as far as a zone is concerned.
#[derive(Debug)]
pub(crate) enum At {
    /// No directory or regular file.
    Nothing,
    /// No root of the zone is on the way to it.
    Outside,
    /// Below the zone's root the way to it is none that counts: it leads through this.
    Through(&'static str),
    /// A directory or a regular file of the zone.
    Open {
        /// It.
        file: File,
        /// The zone's root above it, which may be itself. Only its numbers were compared: whether
        /// it is the root in force is for the kernel to say.
        root: File,
    },
}

/// Opens what is at `path` if it is a directory or a regular file below one of `roots`.
///
/// From the root on the kernel itself follows the path, and neither a link nor a mount with it:
/// whatever whoever owns a directory there puts in the way, at any moment, what is opened is where
/// the path says.
pub(crate) fn open(path: &Path, roots: &[abi::Learned]) -> io::Result<At> {
    match look(path, roots) {
        Ok(at) => Ok(at),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(At::Nothing),
        Err(Errno::LOOP) => Ok(At::Through("a link")),
        Err(Errno::XDEV) => Ok(At::Through("a mount")),
        Err(error) => Err(error.into()),
    }
}

fn look(path: &Path, roots: &[abi::Learned]) -> rustix::io::Result<At> {
    let Some((root, below)) = root_above(path, roots)? else {
        // What is not there is in no zone either.
        let exists = openat2(CWD, path, HANDLE | OFlags::NOFOLLOW, Mode::empty(), ANYWHERE);
        return exists.map(|_| At::Outside);
    };
    let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    let resolve = BENEATH | ResolveFlags::NO_XDEV;
    let handle = openat2(&root, below, HANDLE | OFlags::NOFOLLOW, Mode::empty(), resolve)?;
    // A device may do something when it is opened, and a pipe makes whoever opens it wait.
    match FileType::from_raw_mode(fstat(&handle)?.st_mode) {
        FileType::Directory | FileType::RegularFile => {}
        FileType::Symlink => return Ok(At::Through("a link")),
        _ => return Ok(At::Nothing),
    }
    Ok(At::Open { file: readable(&handle)?, root: readable(&root)? })
}

/// A place in the tree, and nothing of what is in it.
const HANDLE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
const ANYWHERE: ResolveFlags = ResolveFlags::empty();
const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

/// The last root on the way to `path`, and the rest of the way. Links are followed to the first
/// root only; from there on there may be mounts, which are an operator's, if what is mounted is a
/// root itself.
fn root_above<'a>(
    path: &'a Path,
    roots: &[abi::Learned],
) -> rustix::io::Result<Option<(OwnedFd, &'a Path)>> {
    let mut found: Option<(OwnedFd, &Path)> = None;
    let mut first: Option<OwnedFd> = None;
    let mut outermost = Path::new("");
    let mut prefixes: Vec<&Path> = path.ancestors().collect();
    prefixes.reverse();
    for prefix in prefixes {
        let flags = HANDLE | OFlags::DIRECTORY;
        // What is named is the file of that name itself.
        let flags = if prefix == path { flags | OFlags::NOFOLLOW } else { flags };
        let opened = match &first {
            None => openat2(CWD, prefix, flags, Mode::empty(), ANYWHERE),
            Some(first) => {
                let below = prefix.strip_prefix(outermost).unwrap_or(prefix);
                openat2(first, below, flags, Mode::empty(), BENEATH)
            }
        };
        let dir = match opened {
            Ok(dir) => dir,
            // What ends the way here is for whoever follows it from the root to say.
            Err(_) if found.is_some() => break,
            // The last name need not be a directory.
            Err(Errno::NOTDIR) if prefix == path => break,
            Err(error) => return Err(error),
        };
        if !is_among(&dir, roots)? {
            continue;
        }
        if first.is_none() {
            outermost = prefix;
            first = Some(dir.try_clone().map_err(|_| Errno::MFILE)?);
        }
        found = Some((dir, path.strip_prefix(prefix).unwrap_or(Path::new(""))));
    }
    Ok(found)
}

/// Whether a directory has the numbers of one of these. (On the filesystems that can host a zone,
/// fstat(2) has those of the kernel.)
fn is_among(dir: &OwnedFd, roots: &[abi::Learned]) -> rustix::io::Result<bool> {
    let stat = fstat(dir)?;
    let dev = kernel_dev(stat.st_dev);
    Ok(roots.iter().any(|root| (u64::from(root.dev), root.ino) == (dev, stat.st_ino)))
}

/// A device number as the kernel has it (`MKDEV`, include/linux/kdev_t.h).
fn kernel_dev(dev: u64) -> u64 {
    u64::from(major(dev)) << 20 | u64::from(minor(dev))
}

/// The same file, opened for reading.
fn readable(handle: &OwnedFd) -> rustix::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32);
    options
        .open(format!("/proc/self/fd/{}", handle.as_raw_fd()))
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
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
    fn globs_match_existing_paths_without_links() {
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
        let mut looking = Looking { names: 2, places: 1, until: None };
        assert!(matches!(expand(&pattern, &mut looking), Err(Lost::TooMany(_))));
        assert!(looking.place().is_ok());
        assert!(matches!(looking.place(), Err(Lost::TooMany(_))));
        let mut late = Looking::until(Instant::now());
        assert!(matches!(expand(&pattern, &mut late), Err(Lost::TooLate)));
        assert!(matches!(late.place(), Err(Lost::TooLate)));
    }

    /// What the kernel calls a directory, but for its generation, which is not looked at here.
    fn learned(dir: &Path) -> abi::Learned {
        let stat = rustix::fs::stat(dir).unwrap();
        let dev = kernel_dev(stat.st_dev).try_into().unwrap();
        abi::Learned { ino: stat.st_ino, dev, ..abi::Learned::default() }
    }

    fn ino(file: &File) -> u64 {
        fstat(file).unwrap().st_ino
    }

    /// What there is at a path for a zone with the root `zone`, in a word; of what is open, that it
    /// is what is at `real`.
    fn at(base: &Path, path: &str, real: &str) -> &'static str {
        let root = base.join("zone");
        match open(&base.join(path), &[learned(&root)]).unwrap() {
            At::Nothing => "nothing",
            At::Outside => "outside",
            At::Through(what) => what,
            At::Open { file, root: above } => {
                assert_eq!(ino(&above), learned(&root).ino);
                assert_eq!(ino(&file), learned(&base.join(real)).ino, "{path}");
                if file.metadata().unwrap().is_dir() { "directory" } else { "file" }
            }
        }
    }

    /// Others, and paths that do not exist in the zone, are not opened.
    #[test]
    fn only_files_and_directories_are_opened() {
        let (_dir, base) = host();
        let fifo = base.join("zone/fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        fs::write(base.join("file"), "").unwrap();
        for (path, expected) in [
            ("zone", "directory"),
            ("zone/a", "directory"),
            ("zone/a/cache/f", "file"),
            ("zone/fifo", "nothing"),
            ("zone/absent", "nothing"),
            ("zone/a/cache/f/x", "nothing"),
            ("absent", "nothing"),
            ("absent/below", "nothing"),
            ("file", "outside"),
            ("", "outside"),
        ] {
            assert_eq!(at(&base, path, path), expected, "{path}");
        }
    }

    #[test]
    fn links_are_followed_above_protected_path() {
        let (_dir, base) = host();
        assert_eq!(at(&base, "way/a/cache", "zone/a/cache"), "directory", "above the root");
        assert_eq!(at(&base, "way", ""), "outside", "the link itself, and not where it leads");
        for last in ["zone/c", "zone/a/friend"] {
            assert_eq!(at(&base, last, ""), "a link", "{last}");
        }
        // A friend's directory, another name of a tenant, and back to the root and down again.
        for through in ["zone/a/friend/cache", "zone/c/cache", "zone/a/up/b/cache", "zone/b/out/x"]
        {
            assert_eq!(at(&base, through, ""), "a link", "{through}");
        }
        symlink("zone/a", base.join("inside")).unwrap();
        assert_eq!(at(&base, "inside/cache", ""), "outside", "past the root");
    }

    /// A tenant once had another tenant's directory learnt in half of all attempts, by putting a
    /// link in the place of a directory of its own between two looks, and taking it away again.
    #[test]
    fn swapped_link_reaches_no_other_tenant() {
        use std::sync::atomic::{AtomicBool, Ordering};

        let (_dir, base) = host();
        let (place, link) = (base.join("zone/a/place"), base.join("zone/a/link"));
        fs::create_dir_all(place.join("cache")).unwrap();
        symlink("../b", &link).unwrap();
        let path = place.join("cache");
        let (own, other) = (learned(&path).ino, learned(&base.join("zone/b/cache")).ino);
        let roots = [learned(&base.join("zone"))];
        let (ended, mut opened, mut refused) = (AtomicBool::new(false), 0, 0);
        let mut wrong = String::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    let exchange = rustix::fs::RenameFlags::EXCHANGE;
                    rustix::fs::renameat_with(CWD, &place, CWD, &link, exchange).unwrap();
                }
            });
            // Until there was enough of both: else nothing would be shown.
            while wrong.is_empty() && (opened + refused < 5000 || opened == 0 || refused == 0) {
                match open(&path, &roots) {
                    Ok(At::Open { file, .. }) if ino(&file) == own => opened += 1,
                    Ok(At::Through("a link")) => refused += 1,
                    Ok(At::Open { file, .. }) if ino(&file) == other => wrong.push_str("another's"),
                    at => wrong = format!("{at:?}"),
                }
            }
            ended.store(true, Ordering::Relaxed);
        });
        assert_eq!(wrong, "", "after {opened} times the own, and {refused} refusals");
    }
}
