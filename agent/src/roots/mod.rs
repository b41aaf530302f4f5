//! From the paths of a policy to directories that exist now: globs expanded, links followed,
//! overlaps and filesystems that cannot be guarded found.
//!
//! It only looks: it never creates, opens for writing or changes anything, and never talks to the
//! kernel programs. A path that does not exist is not an error; it is reported as missing.

mod bases;
mod branch;
mod expand;
mod filesystem;
mod links;
mod mounts;
mod overlap;
mod room;
mod watch;

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

use holdfast_abi::MAX_PATHS;
use holdfast_policy::{Policy, Zone};

use crate::text;

pub(crate) use bases::{Base, BasePattern};
pub(crate) use expand::identity;
pub(crate) use links::Listings;
pub(crate) use mounts::{Mounts, absolute, place_of};
pub(crate) use watch::{Watch, Watched};

/// One directory from which on everything below it on its filesystem is in a zone: a protected
/// path, or a *branch*, which lies below one by its name only, behind a mount or a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    /// Its real path, without links.
    pub(crate) path: PathBuf,
    /// What it is, whatever it is called.
    pub(crate) identity: Identity,
    /// The pattern of the policy that led to it.
    pattern: String,
    /// The protected path it is or lies below.
    pub(crate) protected: PathBuf,
    /// The names from there to it; empty for the protected path itself.
    pub(crate) below: PathBuf,
    /// As in [`holdfast_abi::RootConf::tenant`].
    pub(crate) tenant: u64,
}

impl Root {
    /// Levels below the protected path.
    pub(crate) fn level(&self) -> u32 {
        u32::try_from(self.below.components().count()).unwrap_or(u32::MAX)
    }

    /// Its name below the protected path: what people call it, also where a link leads there.
    pub(crate) fn name(&self) -> PathBuf {
        if self.below.as_os_str().is_empty() {
            self.path.clone()
        } else {
            self.protected.join(&self.below)
        }
    }
}

#[cfg(test)]
impl Root {
    /// One that its own path leads to.
    pub(crate) fn test(path: PathBuf, identity: Identity) -> Self {
        let pattern = path.to_string_lossy().into_owned();
        let (protected, below) = (path.clone(), PathBuf::new());
        Self { path, identity, pattern, protected, below, tenant: 0 }
    }
}

/// One inode, as stat(2) tells it. A directory that is made anew can have both numbers again (and
/// within a tick of the kernel's clock even the same time of birth): only the kernel programs tell
/// such two apart, by generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    /// Device number.
    pub(crate) dev: u64,
    /// Inode number.
    pub(crate) ino: u64,
}

/// Where the paths of a policy lead now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The directories of each zone that can be used, in the order of the policy.
    pub(crate) zones: Vec<ZoneRoots>,
    /// Where patterns go on that new directories can match.
    pub(crate) bases: Vec<Base>,
    /// Where a new name can lead to another directory.
    pub(crate) watched: Vec<Watched>,
    /// What was left out on purpose.
    pub(crate) skipped: Vec<RootProblem>,
    /// What was left out because it cannot be used: a policy that asks for it is refused, and a
    /// policy in force is kept up without it.
    pub(crate) unusable: Vec<RootProblem>,
}

/// The directories of one zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ZoneRoots {
    /// Those that exist.
    pub(crate) roots: Vec<Root>,
    /// Patterns that nothing matches now.
    pub(crate) missing: Vec<String>,
}

/// What is wrong with the paths of a policy on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RootProblem {
    zone: Option<String>,
    /// What is not guarded because of it.
    path: Option<PathBuf>,
    message: String,
    help: String,
}

impl fmt::Display for RootProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(zone) = &self.zone {
            write!(f, "zone `{zone}`: ")?;
        }
        write!(f, "{}\n  help: {}", self.message, self.help)
    }
}

impl RootProblem {
    /// The mount table could not be read.
    pub(crate) fn host(error: &std::io::Error) -> Self {
        let message = format!("cannot read /proc/self/mountinfo: {error}");
        Self { zone: None, path: None, message, help: "mount proc on /proc".to_owned() }
    }

    /// The zone it is about; `None`: all.
    pub(crate) fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// The path that is not guarded because of it, if it is about a single one.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What is wrong, with the path it is about.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub(crate) fn help(&self) -> &str {
        &self.help
    }

    fn new(zone: &Zone, message: String, help: impl Into<String>) -> Self {
        Self { zone: Some(zone.name.to_string()), path: None, message, help: help.into() }
    }

    fn about(self, path: &Path) -> Self {
        Self { path: Some(path.to_owned()), ..self }
    }

    /// One that says this.
    #[cfg(test)]
    pub(crate) fn test(zone: &Zone, path: &Path, message: &str, help: &str) -> Self {
        Self::new(zone, message.to_owned(), help).about(path)
    }

    fn is_about(&self, zone: &Zone, root: &Root) -> bool {
        self.zone.as_deref() == Some(zone.name.as_str()) && self.path.as_ref() == Some(&root.path)
    }
}

/// What the host looks like, as far as roots are concerned.
#[derive(Debug)]
pub(crate) struct Host {
    /// Every mount.
    pub(crate) mounts: Mounts,
    /// Filesystems that can be guarded.
    guardable: filesystem::Guardable,
    /// What is known of directories from surveys before.
    listings: Listings,
    /// The directories that are guarded now: they come before new ones.
    guarded: HashSet<Identity>,
}

impl Host {
    /// Reads it from the running system.
    pub(crate) fn read(listings: &Listings, guarded: &[ZoneRoots]) -> std::io::Result<Self> {
        let guardable = filesystem::Guardable::ThisBuild;
        let guarded = guarded.iter().flat_map(|zone| &zone.roots).map(|root| root.identity);
        let (mounts, listings) = (Mounts::read()?, listings.clone());
        Ok(Self { mounts, guardable, listings, guarded: guarded.collect() })
    }
}

/// Resolves every zone of `policy`, in its order. All problems are reported at once.
pub(crate) fn resolve(policy: &Policy, host: &Host) -> Found {
    let mut found = Found::default();
    let mut ways = Vec::new();
    for zone in &policy.zones {
        let roots = expand::zone(zone, &host.mounts, &mut found, &mut ways);
        found.zones.push(roots);
    }
    for (zone, roots) in policy.zones.iter().zip(&found.zones) {
        let problems =
            roots.roots.iter().filter_map(|root| filesystem::problem(zone, &root.path, host));
        found.unusable.extend(problems);
    }
    found.unusable.extend(overlap::problems(policy, &found.zones, &host.mounts));
    for (zone, roots) in policy.zones.iter().zip(&mut found.zones) {
        roots
            .roots
            .retain(|root| !found.unusable.iter().any(|problem| problem.is_about(zone, root)));
        roots.roots.sort_by(|a, b| a.path.cmp(&b.path));
    }
    for problem in branch::grow(policy, &mut found.zones, &mut found.watched, host) {
        if !found.skipped.contains(&problem) {
            found.skipped.push(problem);
        }
    }
    // The other half is for what stays guarded without a path, and for what the kernel programs
    // enter.
    room::fit(policy, &mut found, &host.guarded, MAX_PATHS as usize);
    found.bases = bases::find(policy, ways, &found.zones, host);
    found
}

/// Every problem, one after the other.
pub(crate) fn render(problems: &[RootProblem], policy_path: &str) -> String {
    let lines: Vec<String> =
        problems.iter().map(|problem| format!("{policy_path}: error: {problem}")).collect();
    lines.join("\n")
}

fn shown(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    format!("`{}`", text::for_terminal(path.as_os_str().as_bytes()))
}

#[cfg(test)]
mod tests;
