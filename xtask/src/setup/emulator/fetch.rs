//! Unpacks an emulator and every library it needs into the cache.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::choose::{OLDEST, version_among};
use super::{Emulator, PACKAGE};
use crate::setup::apt;
use crate::setup::archive::Archive;
use crate::ui;

/// It fits no loader but its own; the machine's is of the same release and serves as well.
const LIBC: &str = "libc6=";

/// Fetches it; the cache changes only when it has been seen to start.
pub fn emulator(place: &Path) -> Result<Emulator> {
    let scratch = place.with_extension("new");
    // The lists may be older than what the mirror still has.
    unpack(&scratch, false).or_else(|_| unpack(&scratch, true))?;
    Emulator::unpacked(&scratch)?;
    if place.exists() {
        fs::remove_dir_all(place)?;
    }
    fs::rename(&scratch, place)?;
    Emulator::unpacked(place)
}

fn unpack(scratch: &Path, refresh: bool) -> Result<()> {
    if scratch.exists() {
        fs::remove_dir_all(scratch)?;
    }
    let archive = Archive::open(refresh)?;
    let release = apt::codename()?;
    let mut packages = archive.with_dependencies(PACKAGE, &release)?;
    packages.retain(|package| !package.starts_with(LIBC));
    let version = version_among(&packages, PACKAGE).with_context(|| {
        format!("the Debian archive has no {PACKAGE} of version {OLDEST} or later for {release}")
    })?;
    ui::step(&format!("QEMU: fetching {version} (about 35 MB, once)"), || {
        archive.unpack(&packages, scratch)
    })
}
