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
use std::path::PathBuf;

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

/// One inode, as stat(2) tells it. A directory that is made anew can have both numbers again (and within a tick of
/// the kernel's clock even the same time of birth): only the kernel programs tell such two apart, by generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    /// Device number.
    pub(crate) dev: u64,
    /// Inode number.
    pub(crate) ino: u64,
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
        Self { zone: None, message, help: "mount proc on /proc".to_owned() }
    }

    fn new(zone: &Zone, message: String, help: impl Into<String>) -> Self {
        Self { zone: Some(zone.name.to_string()), message, help: help.into() }
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
pub(crate) fn resolve(policy: &Policy, host: &Host) -> Result<Vec<ZoneRoots>, Vec<RootProblem>> {
    let mut problems = Vec::new();
    let mut zones: Vec<ZoneRoots> =
        policy.zones.iter().map(|zone| expand::zone(zone, &mut problems)).collect();
    for (zone, found) in policy.zones.iter().zip(&zones) {
        for root in &found.roots {
            problems.extend(filesystem::problem(zone, root, host));
        }
    }
    problems.extend(overlap::problems(policy, &zones, &host.mounts));
    let count: usize = zones.iter().map(|zone| zone.roots.len()).sum();
    // One more is the agent's own.
    if count + 1 > MAX_ROOTS as usize
        && let Some(largest) = (0..zones.len()).max_by_key(|&index| zones[index].roots.len())
    {
        let message = format!(
            "the policy's paths lead to {count} directories; {} can be guarded",
            MAX_ROOTS - 1
        );
        let help = "name a directory above them, and set `tenant_depth` to the level at which tenants live";
        problems.push(RootProblem::new(&policy.zones[largest], message, help));
    }
    for zone in &mut zones {
        zone.roots.sort_by(|a, b| a.path.cmp(&b.path));
    }
    if problems.is_empty() { Ok(zones) } else { Err(problems) }
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
