//! Trees of tenants and files whose content says where it belongs, and exact counts of what is left
//! of them.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::agent::age_files;
use super::check_eq;

/// A zone's content as it was made.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
    pub(crate) tenants: u64,
    pub(crate) files: u64,
}

/// What is below a directory (which itself is not counted).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) files: u64,
    pub(crate) dirs: u64,
    pub(crate) bytes: u64,
}

impl Tree {
    /// Makes `tenants` directories with `files` files each.
    pub(crate) fn make(root: &Path, tenants: u64, files: u64) -> Result<Self> {
        Self::make_with(root, tenants, files, |_| ())
    }

    /// The same, and says after each tenant that it is there.
    pub(crate) fn make_with(
        root: &Path,
        tenants: u64,
        files: u64,
        mut progress: impl FnMut(u64),
    ) -> Result<Self> {
        let tree = Self { root: root.to_owned(), tenants, files };
        for tenant in 0..tenants {
            fs::create_dir_all(tree.tenant(tenant)).context("cannot make a tenant")?;
            for file in 0..files {
                let path = tree.file(tenant, file);
                fs::write(&path, content(tenant, file))
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            progress(tenant);
        }
        age_files()?;
        Ok(tree)
    }

    pub(crate) fn tenant(&self, tenant: u64) -> PathBuf {
        self.root.join(format!("customer-{tenant:03}"))
    }

    pub(crate) fn file(&self, tenant: u64, file: u64) -> PathBuf {
        self.tenant(tenant).join(format!("file-{file:04}.dat"))
    }

    /// Every file, tenant after tenant.
    pub(crate) fn paths(&self) -> impl Iterator<Item = PathBuf> + '_ {
        (0..self.tenants).flat_map(move |t| (0..self.files).map(move |f| self.file(t, f)))
    }

    pub(crate) fn total(&self) -> u64 {
        self.tenants * self.files
    }

    /// How many files are gone.
    pub(crate) fn files_gone(&self) -> Result<u64> {
        Ok(self.total() - count(&self.root)?.files)
    }

    /// How many files and directories are gone.
    pub(crate) fn gone(&self) -> Result<u64> {
        let left = count(&self.root)?;
        Ok(self.total() + self.tenants - left.files - left.dirs)
    }

    /// Insists that exactly so many files and directories are gone and that every other is as it
    /// was.
    pub(crate) fn lost_exactly(&self, lost: u64) -> Result<()> {
        check_eq!(self.gone()?, lost, "files and directories gone from {}", self.root.display());
        self.rest_is_intact()
    }

    /// Insists that every file that is left has the content it was made with.
    pub(crate) fn rest_is_intact(&self) -> Result<()> {
        for tenant in 0..self.tenants {
            for file in 0..self.files {
                let path = self.file(tenant, file);
                match fs::read(&path) {
                    Ok(found) if found == content(tenant, file).as_bytes() => {}
                    Ok(found) => bail!("{} is damaged: {} bytes", path.display(), found.len()),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error).context(path.display().to_string()),
                }
            }
        }
        Ok(())
    }

    /// How many tenants lost at least one file.
    pub(crate) fn tenants_touched(&self) -> u64 {
        let complete = |t: u64| (0..self.files).all(|f| self.file(t, f).exists());
        (0..self.tenants).filter(|&t| !complete(t)).count() as u64
    }

    /// How many files are there but empty.
    pub(crate) fn emptied(&self) -> u64 {
        self.paths().filter(|path| fs::metadata(path).is_ok_and(|meta| meta.len() == 0)).count()
            as u64
    }
}

/// What a file was made with.
pub(crate) fn content(tenant: u64, file: u64) -> String {
    format!("customer {tenant}, file {file}: something nobody else has a copy of\n")
}

/// Counts what is below `dir`; a missing directory holds nothing.
pub(crate) fn count(dir: &Path) -> Result<Found> {
    let mut found = Found::default();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).context(dir.display().to_string()),
        };
        for entry in entries {
            let entry = entry?;
            let meta = match entry.metadata() {
                Ok(meta) => meta,
                // Gone since the directory was read.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).context(entry.path().display().to_string()),
            };
            if meta.is_dir() {
                found.dirs += 1;
                todo.push(entry.path());
            } else {
                found.files += 1;
                found.bytes += meta.size();
            }
        }
    }
    Ok(found)
}

/// Makes `count` files named `prefix-0000` and so on, each of `size` bytes.
pub(crate) fn make_files(
    dir: &Path,
    prefix: &str,
    count: u64,
    size: usize,
) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(dir)?;
    let body = vec![b'x'; size];
    let files = (0..count)
        .map(|n| {
            let path = dir.join(format!("{prefix}-{n:04}"));
            fs::write(&path, &body).with_context(|| format!("cannot write {}", path.display()))?;
            Ok(path)
        })
        .collect();
    age_files()?;
    files
}
