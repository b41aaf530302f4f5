//! Prometheus, its promtool, and Alertmanager, from Debian's packages: unpacked into the cache,
//! installed and started nowhere.
//!
//! The tests of alerts and dashboard run them, on the host by hand and on loopback only; guests
//! have them on a disk of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::archive::Archive;
use super::disk;
use crate::{paths, process, ui};

/// Of the guest's release: they need its C library, or a later one.
const SUITE: &str = "bookworm";
const PACKAGES: [&str; 2] = ["prometheus", "prometheus-alertmanager"];
/// What the host runs.
const HOST: [&str; 3] = ["promtool", "prometheus", "amtool"];
/// What guests run.
const GUEST: [&str; 2] = ["prometheus", "prometheus-alertmanager"];
const DISK: &str = "guest-2.ext4";
/// Templates and pages that the programs look for in /usr/share.
const SHARE: &str = "usr/share/prometheus";

/// Where the programs are; fetched if they are not there yet.
pub fn ensure() -> Result<PathBuf> {
    let place = paths::cache("prometheus");
    let is_there = |name: &str| place.join("usr/bin").join(name).is_file();
    if HOST.iter().chain(&GUEST).all(|name| is_there(name)) && place.join(DISK).is_file() {
        return Ok(place);
    }
    // The lists may be older than what the mirror still has.
    ui::step("Prometheus and Alertmanager: fetching (about 30 MB, once)", || {
        fetch(&place, false).or_else(|_| fetch(&place, true))
    })?;
    Ok(place)
}

/// A disk with the programs that guests run.
pub fn disk() -> Result<PathBuf> {
    Ok(ensure()?.join(DISK))
}

/// The cache changes only when everything is there.
fn fetch(place: &Path, refresh: bool) -> Result<()> {
    let scratch = place.with_extension("new");
    if scratch.exists() {
        fs::remove_dir_all(&scratch)?;
    }
    let packages = PACKAGES.map(|package| format!("{package}/{SUITE}"));
    Archive::open(refresh)?.unpack(&packages, &scratch)?;
    let programs = scratch.join("programs");
    fs::create_dir(&programs)?;
    for name in GUEST {
        let program = scratch.join("usr/bin").join(name);
        fs::hard_link(&program, programs.join(name))
            .with_context(|| format!("package {name} has no {}", program.display()))?;
    }
    fs::create_dir(programs.join("share"))?;
    process::output(
        Command::new("cp").arg("-a").arg(scratch.join(SHARE)).arg(programs.join("share")),
    )?;
    disk::make(&programs, &scratch.join(DISK), "tools")?;
    fs::remove_dir_all(&programs)?;
    if place.exists() {
        fs::remove_dir_all(place)?;
    }
    fs::rename(&scratch, place).with_context(|| format!("cannot move to {}", place.display()))
}
