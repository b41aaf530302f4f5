//! Names of units: from a cgroup id to the path below the root of the cgroup filesystem.
//!
//! Best effort, and only for people to read: budgets count by id.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::clock::Now;
use crate::roots::Mounts;

/// Where a host has its cgroup filesystem.
pub(crate) const CGROUPS: &str = "/sys/fs/cgroup";
/// Names kept; when there are more, those of units that are gone go first.
const KEPT: usize = 4096;
/// Cgroups that are looked at to find one by name.
const MOST_LOOKED_AT: usize = 65_536;
/// Shortest time between two walks through the cgroup filesystem, in nanoseconds.
const BETWEEN_WALKS: u64 = 1_000_000_000;

/// What the cgroup filesystem of this host is, if not version 2 alone. The kernel tells apart only
/// the cgroups of version 2 (`bpf_get_current_cgroup_id`): to budgets, all processes are one unit
/// on such a host, or much fewer than there are.
pub(crate) fn are_shared(mounts: &Mounts) -> Option<&'static str> {
    let at = Path::new(CGROUPS);
    let mount = mounts.of(at).filter(|mount| mount.point == at)?;
    let unified = at.join("unified");
    let is_hybrid = mounts.of(&unified).is_some_and(|mount| mount.point == unified);
    match mount.filesystem.as_str() {
        "cgroup2" => None,
        _ if is_hybrid => Some("cgroup v1 beside v2 (hybrid)"),
        _ => Some("cgroup v1"),
    }
}

/// The names found so far.
#[derive(Debug)]
pub(crate) struct Units {
    /// Where the cgroup v2 filesystem is mounted.
    base: PathBuf,
    names: HashMap<u64, String>,
    walked: Option<Now>,
}

impl Units {
    /// Looks below `base`, which is `/sys/fs/cgroup` unless a test says otherwise.
    pub(crate) fn new(base: PathBuf) -> Self {
        // On a host with both cgroup versions the second one is a directory of its own.
        let unified = base.join("unified");
        let base = if unified.is_dir() { unified } else { base };
        Self { base, names: HashMap::new(), walked: None }
    }

    /// Those of this host.
    pub(crate) fn system() -> Self {
        Self::new(PathBuf::from("/sys/fs/cgroup"))
    }

    /// The path of unit `id` if it is there: another unit can have the path of one that has ended.
    pub(crate) fn path_of(&mut self, id: u64, now: Now) -> Option<String> {
        let name = self.name(id, None, now);
        name.filter(|name| self.find(name).is_ok_and(|(found, _)| found == id))
    }

    /// The name of unit `id`, of which `pid` was a member a moment ago.
    pub(crate) fn name(&mut self, id: u64, pid: Option<u32>, now: Now) -> Option<String> {
        if let Some(name) = self.names.get(&id) {
            return Some(name.clone());
        }
        if let Some((found, name)) = pid.and_then(|pid| self.of_process(pid))
            && found == id
        {
            self.keep(id, name);
        } else {
            self.walk(now);
        }
        self.names.get(&id).cloned()
    }

    /// The unit a process is in now.
    pub(crate) fn of_process(&self, pid: u32) -> Option<(u64, String)> {
        let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let name = table.lines().find_map(|line| line.strip_prefix("0::"))?;
        let dir = self.base.join(name.trim_start_matches('/'));
        Some((fs::metadata(dir).ok()?.ino(), name.to_owned()))
    }

    /// The unit that a person means by `name`: a cgroup path from the root, or the name of one of
    /// the system's units. Those of users are not looked at: anybody could have one of any name.
    pub(crate) fn find(&self, name: &str) -> Result<(u64, String), String> {
        let dir = if name.starts_with('/') {
            if name.split('/').any(|part| part == "." || part == "..") {
                return Err(format!("{name} has `.` or `..` in it"));
            }
            self.base.join(name.trim_start_matches('/'))
        } else {
            self.named(name)?
        };
        match fs::symlink_metadata(&dir) {
            Ok(metadata) if metadata.is_dir() => Ok((metadata.ino(), display(&self.base, &dir))),
            Ok(_) => Err(format!("{name} is no cgroup")),
            Err(_) => Err(format!("there is no unit {name} now")),
        }
    }

    /// The directory of a unit below the system's slices.
    fn named(&self, name: &str) -> Result<PathBuf, String> {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(format!("`{name}` is no name of a unit"));
        }
        let mut found = Vec::new();
        let (mut open, mut looked) = (vec![self.base.clone()], 0);
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                looked += 1;
                if looked > MOST_LOOKED_AT {
                    return Err(format!(
                        "there are too many cgroups to look for {name}: give its path"
                    ));
                }
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                let other = entry.file_name();
                if other == name {
                    found.push(entry.path());
                }
                let is_slice = Path::new(&other).extension().is_some_and(|kind| kind == "slice");
                if is_slice && other != "user.slice" {
                    open.push(entry.path());
                }
            }
        }
        match found.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(format!("the unit {name} is not running now")),
            [..] => {
                Err(format!("there are {} units {name}: give the path of its cgroup", found.len()))
            }
        }
    }

    fn keep(&mut self, id: u64, name: String) {
        if self.names.len() >= KEPT {
            self.names.clear();
        }
        self.names.insert(id, name);
    }

    fn walk(&mut self, now: Now) {
        if self.walked.is_some_and(|then| now.boot_ns.saturating_sub(then.boot_ns) < BETWEEN_WALKS)
        {
            return;
        }
        self.walked = Some(now);
        let mut found = HashMap::new();
        let mut open = vec![self.base.clone()];
        while let Some(dir) = open.pop() {
            let Ok(metadata) = fs::metadata(&dir) else {
                continue;
            };
            found.insert(metadata.ino(), display(&self.base, &dir));
            let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
            open.extend(
                entries
                    .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                    .map(|entry| entry.path()),
            );
        }
        // Names of units that are gone stay useful for a while: events of theirs still come.
        if self.names.len() + found.len() <= KEPT {
            found.extend(
                std::mem::take(&mut self.names)
                    .into_iter()
                    .filter(|(id, _)| !found.contains_key(id))
                    .collect::<Vec<_>>(),
            );
        }
        self.names = found;
    }
}

fn display(base: &Path, dir: &Path) -> String {
    let below = dir.strip_prefix(base).unwrap_or(dir);
    format!("/{}", below.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now { boot_ns: seconds * 1_000_000_000, wall_ns: 0 }
    }

    #[test]
    fn only_cgroup_v2_tells_units_apart() {
        let line = |at: &str, kind: &str| format!("30 25 0:26 / {at} rw shared:4 - {kind} x rw\n");
        let shared = |lines: &[String]| are_shared(&Mounts::parse(lines.concat().as_bytes()));
        let sys = line("/sys", "sysfs");
        assert_eq!(shared(std::slice::from_ref(&sys)), None, "nothing can be said");
        assert_eq!(shared(&[sys.clone(), line(CGROUPS, "cgroup2")]), None);
        let old = [sys, line(CGROUPS, "tmpfs"), line("/sys/fs/cgroup/memory", "cgroup")];
        assert_eq!(shared(&old), Some("cgroup v1"));
        let unified = line("/sys/fs/cgroup/unified", "cgroup2");
        let found = shared(&[old.concat(), unified]);
        assert_eq!(found, Some("cgroup v1 beside v2 (hybrid)"));
    }

    /// It is remembered when it is gone.
    #[test]
    fn unit_is_found_by_inode_number() {
        let dir = tempfile::tempdir().unwrap();
        let unit = dir.path().join("system.slice/cron.service");
        fs::create_dir_all(&unit).unwrap();
        let id = fs::metadata(&unit).unwrap().ino();
        let mut units = Units::new(dir.path().to_owned());
        assert_eq!(units.name(id, None, at(10)).as_deref(), Some("/system.slice/cron.service"));
        fs::remove_dir(&unit).unwrap();
        assert_eq!(units.name(u64::MAX, None, at(20)), None);
        assert_eq!(units.name(id, None, at(30)).as_deref(), Some("/system.slice/cron.service"));
    }

    #[test]
    fn only_system_units_have_names() {
        let dir = tempfile::tempdir().unwrap();
        for unit in [
            "system.slice/clean.service",
            "system.slice/system-getty.slice/getty@tty1.service",
            "user.slice/user-1000.slice/user@1000.service/app.slice/evil.service",
            "system.slice/clean.service/inner.service",
            "a.slice/twice.service",
            "b.slice/twice.service",
        ] {
            fs::create_dir_all(dir.path().join(unit)).unwrap();
        }
        let units = Units::new(dir.path().to_owned());
        let path = |name: &str| units.find(name).map(|(_, path)| path);
        assert_eq!(path("clean.service").unwrap(), "/system.slice/clean.service");
        let getty = "/system.slice/system-getty.slice/getty@tty1.service";
        assert_eq!(path("getty@tty1.service").unwrap(), getty);
        assert_eq!(path("/a.slice/twice.service").unwrap(), "/a.slice/twice.service");
        let id = fs::metadata(dir.path().join("a.slice/twice.service")).unwrap().ino();
        assert_eq!(units.find("/a.slice/twice.service").unwrap().0, id);
        for (name, why) in [
            ("evil.service", "not running"),
            ("inner.service", "not running"),
            ("absent.service", "not running"),
            ("twice.service", "2 units"),
            ("/a.slice/../b.slice/twice.service", "`..`"),
            ("/absent", "no unit"),
            ("", "no name"),
            ("..", "no name"),
        ] {
            let error = path(name).unwrap_err();
            assert!(error.contains(why), "{name}: {error}");
        }
    }

    #[test]
    fn unknown_unit_walks_are_rate_limited() {
        let dir = tempfile::tempdir().unwrap();
        let mut units = Units::new(dir.path().to_owned());
        assert_eq!(units.name(u64::MAX, None, at(10)), None);
        let late = dir.path().join("late");
        fs::create_dir(&late).unwrap();
        let id = fs::metadata(&late).unwrap().ino();
        assert_eq!(units.name(id, None, Now { boot_ns: 10_500_000_000, wall_ns: 0 }), None);
        assert_eq!(units.name(id, None, at(11)).as_deref(), Some("/late"));
    }
}
