//! Expands the patterns of one zone by reading directories.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use holdfast_policy::{PathPattern, Zone};

use super::bases::{Way, Ways};
use super::watch::{Names, Watched};
use super::{Found, Identity, Mounts, Root, RootProblem, ZoneRoots, filesystem, shown};
use crate::text;

/// Links named in one warning.
pub(super) const NAMED: usize = 3;

/// The directories that a zone's patterns lead to, each once. What is on a filesystem that may not
/// answer is not looked at: the agent would wait with it. Whoever names it is told that it cannot
/// be guarded; what a glob matches can be mounted by others.
pub(super) fn zone(
    zone: &Zone,
    mounts: &Mounts,
    all: &mut Found,
    ways: &mut Vec<Way>,
) -> ZoneRoots {
    let index = all.zones.len();
    let Found { watched, skipped, unusable: problems, .. } = all;
    let mut found = ZoneRoots::default();
    let mut links: Vec<(&PathPattern, PathBuf, Identity)> = Vec::new();
    for (number, pattern) in zone.paths.iter().enumerate() {
        let mut matched = false;
        let ways = Ways::new((index, number), pattern, mounts, ways);
        for path in matches(zone, ways, mounts, watched, skipped, problems) {
            if let Some(mount) = mounts.unanswering(&path) {
                matched = true;
                let problem = filesystem::unguardable(zone, &path, &mount.filesystem);
                match pattern.literal() {
                    Some(_) => problems.push(problem),
                    None => skipped.push(problem),
                }
                continue;
            }
            match root(&path, pattern) {
                Ok(Match::Directory(root)) => {
                    matched = true;
                    // A link or a bind mount can show one directory twice.
                    if !found.roots.iter().any(|other| other.identity == root.identity) {
                        found.roots.push(root);
                    }
                }
                Ok(Match::BehindLink(identity)) => links.push((pattern, path, identity)),
                // A glob takes the directories among what it matches; a path has to be one.
                Ok(Match::Other) if pattern.literal().is_none() => {}
                Ok(Match::Other) => problems.push(RootProblem::new(
                    zone,
                    format!("{} is not a directory", shown(&path)),
                    "a zone is made of directory trees: name the directory that holds it",
                )),
                Err(error) if is_absent(&error) => {}
                Err(error) => problems.push(unreadable(zone, &path, &error)),
            }
        }
        if !matched {
            found.missing.push(pattern.as_str().to_owned());
        }
    }
    // A link to what is guarded anyway hides nothing.
    links.retain(|(_, _, identity)| !found.roots.iter().any(|root| root.identity == *identity));
    skipped.extend(zone.paths.iter().filter_map(|pattern| {
        let paths = links.iter().filter(|(of, ..)| *of == pattern).map(|(_, path, _)| path);
        behind_links(zone, pattern, &paths.collect::<Vec<_>>())
    }));
    found
}

/// One problem for all of a pattern's matches that links lead to: their owners can make any number.
fn behind_links(zone: &Zone, pattern: &PathPattern, paths: &[&PathBuf]) -> Option<RootProblem> {
    if paths.is_empty() {
        return None;
    }
    let mut names: Vec<String> = paths.iter().take(NAMED).map(|path| shown(path)).collect();
    if paths.len() > NAMED {
        names.push("…".to_owned());
    }
    let message = format!(
        "`{}` matches {} through symbolic links, which are not followed at or below a glob: {}",
        pattern.as_str(),
        text::directories(paths.len()),
        names.join(", "),
    );
    let help = "whoever owns the directory could point a link at another tree: name the directory \
                itself in the policy if it is to be guarded";
    Some(RootProblem::new(zone, message, help))
}

/// The identity of what is at `path`, links followed, and whether it is a directory.
pub(crate) fn identity(path: &Path) -> io::Result<(Identity, bool)> {
    let metadata = fs::metadata(path)?;
    Ok((Identity { dev: metadata.dev(), ino: metadata.ino() }, metadata.is_dir()))
}

/// Existing paths that a pattern matches, links not resolved yet.
fn matches(
    zone: &Zone,
    mut ways: Ways<'_>,
    mounts: &Mounts,
    watched: &mut Vec<Watched>,
    skipped: &mut Vec<RootProblem>,
    problems: &mut Vec<RootProblem>,
) -> Vec<PathBuf> {
    let mut level = vec![PathBuf::from("/")];
    for (before, component) in ways.pattern.components().iter().enumerate() {
        let mut next = Vec::new();
        for dir in level {
            if mounts.unanswering(&dir).is_none() {
                let names = Names::Of(component.clone());
                watched.push(Watched { dir: dir.clone(), names });
                ways.through(&dir, before);
            }
            if let Some(name) = component.literal() {
                next.push(dir.join(name));
                continue;
            }
            if let Some(mount) = mounts.unanswering(&dir) {
                skipped.push(filesystem::unguardable(zone, &dir, &mount.filesystem));
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

/// What a path that matches a pattern is.
enum Match {
    /// To be guarded.
    Directory(Root),
    /// A directory, but a link at or below the pattern's first glob leads to it.
    BehindLink(Identity),
    /// No directory.
    Other,
}

fn root(path: &Path, pattern: &PathPattern) -> io::Result<Match> {
    let real = fs::canonicalize(path)?;
    let (identity, is_dir) = identity(&real)?;
    if !is_dir {
        return Ok(Match::Other);
    }
    if real != without_links_below_glob(path, pattern)? {
        return Ok(Match::BehindLink(identity));
    }
    let pattern = pattern.as_str().to_owned();
    let (protected, below) = (real.clone(), PathBuf::new());
    Ok(Match::Directory(Root { path: real, identity, pattern, protected, below, tenant: 0 }))
}

/// The path with links followed in what comes before the first glob only. The names before it were
/// written by whoever wrote the policy; those from there on can be made by others.
fn without_links_below_glob(path: &Path, pattern: &PathPattern) -> io::Result<PathBuf> {
    let Some(glob) = pattern.components().iter().position(|name| name.literal().is_none()) else {
        return fs::canonicalize(path);
    };
    // The root of the filesystem comes before the first name.
    let names: Vec<_> = path.components().collect();
    let (before, from_glob) = names.split_at(glob + 1);
    let mut real = fs::canonicalize(before.iter().collect::<PathBuf>())?;
    real.extend(from_glob);
    Ok(real)
}

/// Not there, or not yet: a component of the path that is no directory counts as that too.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn unreadable(zone: &Zone, path: &Path, error: &io::Error) -> RootProblem {
    RootProblem::new(
        zone,
        format!("cannot look at {}: {error}", shown(path)),
        "the agent runs as root and must be able to read it: check the path, its filesystem and \
         the sandboxing of the agent's service",
    )
}
