//! A cgroup to run things in, as a service or a session would be.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{proc, until};

/// One cgroup (v2). Dropping it kills what is in it, paused or not, and removes it.
#[derive(Debug)]
pub(crate) struct Unit {
    dir: PathBuf,
}

impl Unit {
    /// A new cgroup below the root of the hierarchy.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let dir = Path::new(root()?).join(name);
        fs::create_dir_all(&dir)
            .with_context(|| format!("cannot make cgroup {}", dir.display()))?;
        Ok(Self { dir })
    }

    pub(crate) fn procs(&self) -> PathBuf {
        self.dir.join("cgroup.procs")
    }

    /// Its path from the root of the hierarchy, as /proc/PID/cgroup has it.
    pub(crate) fn path(&self) -> String {
        format!("/{}", self.dir.file_name().unwrap_or_default().to_string_lossy())
    }

    /// What the kernel calls it: the inode number of its directory.
    pub(crate) fn id(&self) -> Result<u64> {
        Ok(fs::metadata(&self.dir)?.ino())
    }

    /// Its processes.
    pub(crate) fn pids(&self) -> Result<Vec<u32>> {
        let text = fs::read_to_string(self.procs())?;
        text.lines().map(|line| line.parse().context("not a process number")).collect()
    }

    /// Those of its processes that have this name.
    pub(crate) fn named(&self, name: &str) -> Result<Vec<u32>> {
        let mut found = Vec::new();
        for pid in self.pids()? {
            if proc::name(pid)? == name {
                found.push(pid);
            }
        }
        Ok(found)
    }

    /// Its processes of this name, if there are exactly so many and all of them are stopped; else
    /// none.
    pub(crate) fn stopped(&self, name: &str, count: usize) -> Result<Vec<u32>> {
        let pids = self.named(name)?;
        let mut all = pids.len() == count;
        for &pid in &pids {
            all &= matches!(proc::state(pid)?, Some('T' | 't'));
        }
        Ok(if all { pids } else { Vec::new() })
    }

    /// Ends everything in it, as an out-of-band `cgroup.kill` would, and waits until it is empty.
    pub(crate) fn kill(&self) -> Result<()> {
        fs::write(self.dir.join("cgroup.kill"), "1").context("cannot kill a cgroup")?;
        until("a killed cgroup is empty", Duration::from_secs(30), || {
            Ok(self.pids()?.is_empty().then_some(()))
        })
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        self.kill().ok();
        fs::remove_dir(&self.dir).ok();
    }
}

/// Where the unified hierarchy is; mounts it where the guest has none.
fn root() -> Result<&'static str> {
    const ROOT: &str = "/sys/fs/cgroup";
    if !Path::new(ROOT).join("cgroup.procs").exists() {
        super::Tool::new("mount").args(["-t", "cgroup2", "cgroup2", ROOT]).ok()?;
    }
    Ok(ROOT)
}
