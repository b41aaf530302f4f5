//! The files of one run. All of them go away with it, but for the kernel's log.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::initramfs::Task;
use super::{Boot, initramfs, ports, room};
use crate::{paths, process};

const DATA_DISK: u64 = 2 << 30;
const DATA_INODES: &str = "400000";
const PREFIX: &str = "holdfast-vm-";
const LOGS_KEPT: usize = 30;

/// Files of a run.
#[derive(Debug)]
pub struct Scratch {
    /// The directory that holds them.
    pub dir: PathBuf,
    /// Drivers and payload.
    pub initramfs: PathBuf,
    /// A fresh ext4 disk.
    pub data_disk: Option<PathBuf>,
    /// Sockets that QEMU connects to.
    pub ports: Vec<PathBuf>,
    /// What the kernel says. This one stays.
    pub log: PathBuf,
}

impl Scratch {
    /// Makes the files for a boot.
    pub fn new(boot: &Boot) -> Result<Self> {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let run = format!("{}-{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
        // Not in the cache: a socket's path must be short.
        let dir = std::env::temp_dir().join(format!("{PREFIX}{run}"));
        remove_orphans(&std::env::temp_dir());
        if !matches!(boot.task, Task::Probe) {
            room::at_first(&std::env::temp_dir())?;
        }
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let logs = paths::cache("vm/log");
        fs::create_dir_all(&logs)?;
        remove_old(&logs)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let scratch = Self {
            initramfs: dir.join("initramfs"),
            data_disk: (!matches!(boot.task, Task::Probe)).then(|| dir.join("data")),
            ports: ports::NAMES.iter().map(|name| dir.join(name)).collect(),
            log: logs.join(format!("{now}-{run}-{}.log", boot.kernel.name)),
            dir,
        };
        File::create(&scratch.log)?;
        fs::write(&scratch.initramfs, initramfs::build(boot)?)?;
        if let Some(data) = &scratch.data_disk {
            File::create(data)?.set_len(DATA_DISK)?;
            let mut mke2fs = process::program("mke2fs");
            mke2fs.args(["-q", "-F", "-t", "ext4", "-L", "data", "-N", DATA_INODES]).arg(data);
            process::output(&mut mke2fs)?;
        }
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing depends on it: at worst a directory stays behind in the temporary directory.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Removes what runs left behind that were interrupted: their process is gone.
fn remove_orphans(temporary: &Path) {
    for entry in fs::read_dir(temporary).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let Some((process, _)) = run.and_then(|run| run.split_once('-')) else {
            continue;
        };
        if !Path::new("/proc").join(process).exists() {
            // Somebody else's, perhaps: then it is theirs to remove.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn remove_old(logs: &Path) -> Result<()> {
    let mut files: Vec<PathBuf> = fs::read_dir(logs)?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let surplus = files.len().saturating_sub(LOGS_KEPT);
    for old in &files[..surplus] {
        // Another run may have removed it first.
        let _ = fs::remove_file(old);
    }
    Ok(())
}
