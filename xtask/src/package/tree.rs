//! The files of a package as they lie on the disk before they are packed, with the modes and the
//! time they are to have.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::files;
use crate::process;

/// A tree that is being filled.
pub struct Tree<'a> {
    /// Where it is.
    pub root: &'a Path,
    /// The time that everything in it has, in seconds since 1970.
    pub epoch: u64,
}

impl Tree<'_> {
    /// Writes a file.
    pub fn file(&self, name: &str, content: &[u8], mode: u32) -> Result<()> {
        let path = self.root.join(name);
        let parent = path.parent().context("a file needs a directory")?;
        fs::create_dir_all(parent)?;
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        Ok(())
    }

    /// Bytes of all files so far.
    pub fn size(&self) -> Result<u64> {
        files(self.root)?.iter().map(|file| Ok(fs::metadata(file)?.len())).sum()
    }

    /// What `dpkg --verify` compares with.
    pub fn md5sums(&self) -> Result<String> {
        let mut sums = String::new();
        for file in files(self.root)? {
            let name = file.strip_prefix(self.root)?.display().to_string();
            let text = process::output(process::program("md5sum").arg(&file))?;
            let sum = text.split_whitespace().next().unwrap_or_default();
            sums.push_str(&format!("{sum}  {name}\n"));
        }
        Ok(sums)
    }

    /// Gives directories their mode, and everything its time; whatever umask and clock this machine
    /// has.
    pub fn settle(&self) -> Result<()> {
        let time = UNIX_EPOCH + Duration::from_secs(self.epoch);
        for path in everything(self.root)? {
            if path.is_dir() {
                fs::set_permissions(&path, Permissions::from_mode(0o755))?;
            }
            File::open(&path)?.set_modified(time)?;
        }
        Ok(())
    }
}

/// Everything in a directory, deepest first, and the directory itself.
fn everything(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(everything(&path)?);
        } else {
            found.push(path);
        }
    }
    found.push(dir.to_owned());
    Ok(found)
}
