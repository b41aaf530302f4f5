//! Kernels for the VM, unpacked from Debian's packages into `.cache/kernels/<name>`.

mod choose;
mod fetch;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::archive::Archive;
use crate::{paths, ui};

/// The kernels that tests run on: the oldest supported and the newest offered.
pub const TESTED: [&str; 2] = ["6.1", "newest"];
/// The kernels of a nightly run: with the one in between, which Debian 13 has.
pub const NIGHTLY: [&str; 3] = ["6.1", "6.12", "newest"];
/// The name that stands for the newest kernel offered.
pub const NEWEST: &str = "newest";

const META_PACKAGE: &str = "linux-image-cloud-amd64";

/// A kernel in the cache.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// What it is called here: `6.1`, `6.12`, `newest`.
    pub name: String,
    /// What `uname -r` will say.
    pub release: String,
    dir: PathBuf,
}

impl Kernel {
    /// The bootable image.
    pub fn image(&self) -> PathBuf {
        self.dir.join("vmlinuz")
    }

    /// The directory with `modules.dep`.
    pub fn modules(&self) -> PathBuf {
        self.dir.join("modules").join(&self.release)
    }

    /// A disk image of all modules.
    pub fn modules_disk(&self) -> PathBuf {
        self.dir.join("modules.ext4")
    }

    /// The version of the package.
    pub fn package_version(&self) -> String {
        fs::read_to_string(self.dir.join("version")).unwrap_or_default().trim().to_owned()
    }
}

/// Kernels in the cache.
pub fn cached() -> Vec<Kernel> {
    let Ok(entries) = fs::read_dir(paths::cache("kernels")) else {
        return Vec::new();
    };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names.iter().filter_map(|name| open(name)).collect()
}

/// The kernel of that name, fetched if it is not there yet.
pub fn ensure(name: &str, refresh: bool) -> Result<Kernel> {
    let known = name == NEWEST || name.split('.').all(|part| part.parse::<u32>().is_ok());
    if !known {
        bail!("no kernel is called `{name}`: say `newest`, or a version such as `6.1` or `6.12`");
    }
    let cached = open(name);
    if let (Some(kernel), false) = (&cached, refresh) {
        return Ok(kernel.clone());
    }
    let archive = Archive::open(refresh)?;
    let version = choose::version(name, &archive.versions(META_PACKAGE)?)?;
    match cached {
        Some(kernel) if kernel.package_version() == version => return Ok(kernel),
        _ => ui::step(&format!("kernel {name}: fetching {version}"), || {
            fetch::kernel(name, &version, &archive)
        })?,
    }
    open(name).with_context(|| format!("kernel {name} is incomplete after unpacking it"))
}

fn open(name: &str) -> Option<Kernel> {
    let dir = paths::cache("kernels").join(name);
    let release = fs::read_to_string(dir.join("release")).ok()?.trim().to_owned();
    let kernel = Kernel { name: name.to_owned(), release, dir };
    (kernel.image().is_file() && kernel.modules_disk().is_file()).then_some(kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path() {
        assert!(ensure("../x", false).unwrap_err().to_string().contains("../x"));
    }
}
