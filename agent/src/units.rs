//! Names of units: from a cgroup id to the path below the root of the cgroup filesystem.
//!
//! Best effort, and only for people to read: budgets count by id.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::clock::Now;

/// Names kept; when there are more, those of units that are gone go first.
const KEPT: usize = 4096;
/// Shortest time between two walks through the cgroup filesystem, in nanoseconds.
const BETWEEN_WALKS: u64 = 1_000_000_000;

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
    fn a_unit_is_found_by_its_inode_number_and_remembered_when_it_is_gone() {
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
    fn an_unknown_unit_does_not_cause_a_walk_each_time() {
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
