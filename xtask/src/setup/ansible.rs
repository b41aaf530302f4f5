//! Ansible, from Debian's packages: unpacked into the cache and run from there by the machine's own
//! Python, whose release they are of.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::apt;
use super::archive::Archive;
use crate::{paths, process, ui};

/// What runs it: Debian's, not another that may come first in PATH.
const PYTHON: &str = "/usr/bin/python3";
/// It, and what it cannot do without.
const PACKAGES: [&str; 6] = [
    "ansible-core",
    "python3-jinja2",
    "python3-markupsafe",
    "python3-packaging",
    "python3-resolvelib",
    "python3-yaml",
];

/// Where it is; fetched if it is not there yet.
pub fn ensure() -> Result<PathBuf> {
    if !Path::new(PYTHON).is_file() {
        apt::install(&["python3"], "Python for Ansible")?;
    }
    let place = paths::cache("ansible");
    if !place.is_dir() {
        // The lists may be older than what the mirror still has.
        ui::step("Ansible: fetching (about 2 MB, once)", || {
            fetch(&place, false).or_else(|_| fetch(&place, true))
        })?;
    }
    Ok(place)
}

/// `ansible-playbook` from there.
pub fn playbook(place: &Path) -> Command {
    let mut command = Command::new(PYTHON);
    command.arg(place.join("usr/bin/ansible-playbook"));
    command.env("PYTHONPATH", place.join("usr/lib/python3/dist-packages"));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// The cache changes only when it has been seen to start.
fn fetch(place: &Path, refresh: bool) -> Result<()> {
    let scratch = place.with_extension("new");
    if scratch.exists() {
        fs::remove_dir_all(&scratch)?;
    }
    let release = apt::codename()?;
    let packages = PACKAGES.map(|package| format!("{package}/{release}"));
    Archive::open(refresh)?.unpack(&packages, &scratch)?;
    process::output(playbook(&scratch).arg("--version"))
        .context("Ansible was fetched, and does not start")?;
    fs::rename(&scratch, place).with_context(|| format!("cannot move to {}", place.display()))
}
