//! From the paths of a policy to directories that exist now: globs expanded, links followed, overlaps and
//! filesystems that cannot be guarded found.
//!
//! It only looks: it never creates, opens for writing or changes anything, and never talks to the kernel
//! programs. A path that does not exist is not an error; it is reported as missing.

mod expand;
mod filesystem;
mod mounts;
mod overlap;

use std::fmt;
use std::path::{Path, PathBuf};

use holdfast_abi::MAX_ROOTS;
use holdfast_policy::{Policy, Zone};

use crate::text;

pub(crate) use expand::identity;
pub(crate) use mounts::{Mounts, absolute, place_of};

/// One directory that is the root of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    /// Its real path, without links.
    pub(crate) path: PathBuf,
    /// What it is, whatever it is called.
    pub(crate) identity: Identity,
    /// The pattern of the policy that led to it.
    pattern: String,
}

#[cfg(test)]
impl Root {
    /// One that its own path leads to.
    pub(crate) fn test(path: PathBuf, identity: Identity) -> Self {
        let pattern = path.to_string_lossy().into_owned();
        Self { path, identity, pattern }
    }
}

/// One inode, as stat(2) tells it. A directory that is made anew can have both numbers again (and within a tick of
/// the kernel's clock even the same time of birth): only the kernel programs tell such two apart, by generation.
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
    /// What was left out on purpose.
    pub(crate) skipped: Vec<RootProblem>,
    /// What was left out because it cannot be used: a policy that asks for it is refused, and a policy in force is
    /// kept up without it.
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
    /// The root that is not to be used because of it.
    root: Option<PathBuf>,
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
        Self { zone: None, root: None, message, help: "mount proc on /proc".to_owned() }
    }

    /// The zone it is about; `None`: all.
    pub(crate) fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// The path that is not guarded because of it, if it is about a single one.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.root.as_deref()
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
        Self { zone: Some(zone.name.to_string()), root: None, message, help: help.into() }
    }

    fn about(self, root: &Root) -> Self {
        Self { root: Some(root.path.clone()), ..self }
    }

    /// One that says this.
    #[cfg(test)]
    pub(crate) fn test(zone: &Zone, path: &Path, message: &str, help: &str) -> Self {
        Self { root: Some(path.to_owned()), ..Self::new(zone, message.to_owned(), help) }
    }

    fn is_about(&self, zone: &Zone, root: &Root) -> bool {
        self.zone.as_deref() == Some(zone.name.as_str()) && self.root.as_ref() == Some(&root.path)
    }
}

/// What the host looks like, as far as roots are concerned.
#[derive(Debug)]
pub(crate) struct Host {
    /// Every mount.
    pub(crate) mounts: Mounts,
    /// Filesystems that can be guarded.
    guardable: filesystem::Guardable,
}

impl Host {
    /// Reads it from the running system.
    pub(crate) fn read() -> std::io::Result<Self> {
        Ok(Self { mounts: Mounts::read()?, guardable: filesystem::Guardable::ThisBuild })
    }
}

/// Resolves every zone of `policy`, in its order. All problems are reported at once.
pub(crate) fn resolve(policy: &Policy, host: &Host) -> Found {
    let mut found = Found::default();
    for zone in &policy.zones {
        let roots = expand::zone(zone, &host.mounts, &mut found.skipped, &mut found.unusable);
        found.zones.push(roots);
    }
    for (zone, roots) in policy.zones.iter().zip(&found.zones) {
        let problems = roots.roots.iter().filter_map(|root| filesystem::problem(zone, root, host));
        found.unusable.extend(problems);
    }
    found.unusable.extend(overlap::problems(policy, &found.zones, &host.mounts));
    for (zone, roots) in policy.zones.iter().zip(&mut found.zones) {
        roots
            .roots
            .retain(|root| !found.unusable.iter().any(|problem| problem.is_about(zone, root)));
        roots.roots.sort_by(|a, b| a.path.cmp(&b.path));
    }
    // One is the agent's own.
    fit(policy, &mut found, MAX_ROOTS as usize - 1);
    found
}

/// Leaves out what is too much, from the zone that has most.
fn fit(policy: &Policy, found: &mut Found, room: usize) {
    let count: usize = found.zones.iter().map(|zone| zone.roots.len()).sum();
    let largest = (0..found.zones.len()).max_by_key(|&index| found.zones[index].roots.len());
    if let (Some(excess @ 1..), Some(largest)) = (count.checked_sub(room), largest) {
        let message =
            format!("the policy's paths lead to {count} directories; {room} can be guarded");
        let help = "name a directory above them, and set `tenant_depth` to the level at which tenants live";
        found.unusable.push(RootProblem::new(&policy.zones[largest], message, help));
        let roots = &mut found.zones[largest].roots;
        roots.truncate(roots.len().saturating_sub(excess));
    }
}

/// Every problem, one after the other.
pub(crate) fn render(problems: &[RootProblem], policy_path: &str) -> String {
    let lines: Vec<String> =
        problems.iter().map(|problem| format!("{policy_path}: error: {problem}")).collect();
    lines.join("\n")
}

fn shown(path: &std::path::Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    format!("`{}`", text::for_terminal(path.as_os_str().as_bytes()))
}

#[cfg(test)]
mod tests;
