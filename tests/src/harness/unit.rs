//! A cgroup to run things in, as a service or a session would be.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// One cgroup (v2), removed when dropped if it is empty by then.
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

    /// What the kernel calls it: the inode number of its directory.
    pub(crate) fn id(&self) -> Result<u64> {
        Ok(fs::metadata(&self.dir)?.ino())
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
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
