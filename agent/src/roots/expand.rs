//! Expands the patterns of one zone by reading directories.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use holdfast_policy::{PathPattern, Zone};

use super::{Identity, Root, RootProblem, ZoneRoots, shown};

/// The directories that a zone's patterns lead to, each once.
pub(super) fn zone(zone: &Zone, problems: &mut Vec<RootProblem>) -> ZoneRoots {
    let mut found = ZoneRoots::default();
    for pattern in &zone.paths {
        let before = found.roots.len();
        let mut known = false;
        for path in matches(zone, pattern, problems) {
            match root(&path, pattern) {
                Ok(Some(root)) => {
                    // A link or a bind mount can show one directory twice.
                    known |= found.roots.iter().any(|other| same_directory(other, &root));
                    if !found.roots.iter().any(|other| same_directory(other, &root)) {
                        found.roots.push(root);
                    }
                }
                // A glob takes the directories among what it matches; a path has to be one.
                Ok(None) if pattern.literal().is_none() => {}
                Ok(None) => problems.push(RootProblem::new(
                    zone,
                    format!("{} is not a directory", shown(&path)),
                    "a zone is made of directory trees: name the directory that holds it",
                )),
                Err(error) if is_absent(&error) => {}
                Err(error) => problems.push(unreadable(zone, &path, &error)),
            }
        }
        if found.roots.len() == before && !known {
            found.missing.push(pattern.as_str().to_owned());
        }
    }
    found
}

/// The identity of what is at `path`, links followed, and whether it is a directory.
pub(crate) fn identity(path: &Path) -> io::Result<(Identity, bool)> {
    let metadata = fs::metadata(path)?;
    Ok((Identity { dev: metadata.dev(), ino: metadata.ino() }, metadata.is_dir()))
}

/// Existing paths that `pattern` matches, links not resolved yet.
fn matches(zone: &Zone, pattern: &PathPattern, problems: &mut Vec<RootProblem>) -> Vec<PathBuf> {
    let mut level = vec![PathBuf::from("/")];
    for component in pattern.components() {
        let mut next = Vec::new();
        for dir in level {
            if let Some(name) = component.literal() {
                next.push(dir.join(name));
                continue;
            }
            match names(&dir) {
                Ok(names) => next.extend(
                    names
                        .into_iter()
                        .filter(|name| component.matches(name.as_bytes()))
                        .map(|name| dir.join(name)),
                ),
                Err(error) if is_absent(&error) => {}
                Err(error) => problems.push(unreadable(zone, &dir, &error)),
            }
        }
        level = next;
    }
    level.sort();
    level
}

fn names(dir: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
}

/// `None` if it is not a directory.
fn root(path: &Path, pattern: &PathPattern) -> io::Result<Option<Root>> {
    let real = fs::canonicalize(path)?;
    let (identity, is_dir) = identity(&real)?;
    Ok(is_dir.then(|| Root { path: real, identity, pattern: pattern.as_str().to_owned() }))
}

fn same_directory(a: &Root, b: &Root) -> bool {
    a.identity == b.identity
}

/// Not there, or not yet: a component of the path that is no directory counts as that too.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn unreadable(zone: &Zone, path: &Path, error: &io::Error) -> RootProblem {
    RootProblem::new(
        zone,
        format!("cannot look at {}: {error}", shown(path)),
        "the agent runs as root and must be able to read it: check the path, its filesystem and the sandboxing of \
         the agent's service",
    )
}
