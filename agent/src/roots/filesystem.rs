//! Which filesystems can be guarded.

use std::path::Path;

use holdfast_policy::Zone;

use super::{Host, RootProblem, shown};

// linux/magic.h
const EXT: u64 = 0xef53;
const XFS: u64 = 0x5846_5342;
const TMPFS: u64 = 0x0102_1994;

/// Filesystems on which the kernel programs know what an inode number and a device number mean.
#[derive(Clone, Copy, Debug)]
pub(super) enum Guardable {
    /// What this build guards.
    ThisBuild,
    /// None, to show what is said then.
    #[cfg(test)]
    Nothing,
    /// All: tests resolve paths on whatever filesystem they run.
    #[cfg(test)]
    Everything,
}

/// Why the directory at `path` cannot be guarded, if it cannot.
pub(super) fn problem(zone: &Zone, path: &Path, host: &Host) -> Option<RootProblem> {
    let magic = match rustix::fs::statfs(path) {
        Ok(stat) => stat.f_type as u64,
        Err(error) => {
            let message = format!("cannot tell the filesystem of {}: {error}", shown(path));
            let help = "check that it is mounted and readable";
            return Some(RootProblem::new(zone, message, help).about(path));
        }
    };
    if host.guardable.has(magic) {
        return None;
    }
    let name = filesystem_name(path, magic, host);
    Some(unguardable(zone, path, &name))
}

/// What is on a filesystem of that name cannot be guarded.
pub(super) fn unguardable(zone: &Zone, path: &Path, name: &str) -> RootProblem {
    let message = format!("{} is on {name}, which cannot be guarded yet", shown(path));
    RootProblem::new(zone, message, help(name)).about(path)
}

impl Guardable {
    fn has(self, magic: u64) -> bool {
        match self {
            Self::ThisBuild => matches!(magic, EXT | XFS | TMPFS),
            #[cfg(test)]
            Self::Nothing => false,
            #[cfg(test)]
            Self::Everything => true,
        }
    }
}

fn filesystem_name(path: &Path, magic: u64, host: &Host) -> String {
    match host.mounts.of(path) {
        Some(mount) => mount.filesystem.clone(),
        None => format!("a filesystem of type {magic:#x}"),
    }
}

fn help(filesystem: &str) -> String {
    let advice = match filesystem {
        "overlay" => {
            "name the directory in the lower filesystem instead (its upperdir), which sees every \
             change"
        }
        "nfs" | "nfs4" | "cifs" | "smb3" | "ceph" => {
            "run holdfast on the server, where the data is"
        }
        "btrfs" | "bcachefs" => {
            "inode numbers are not unique across its subvolumes; keep guarded data on one of those \
             meanwhile"
        }
        "zfs" => "keep guarded data on one of those meanwhile",
        _ => "move the data to one of those, or take the path out of the policy",
    };
    format!("ext2, ext3, ext4, xfs and tmpfs can be guarded; {advice}")
}
