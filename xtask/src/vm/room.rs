//! Room for the disks of a guest. The emulator stops a guest whose disk cannot grow and says
//! nothing, so this has to.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::fs::statvfs;

/// What has to be free before a guest is switched on, in bytes. Most write a tenth of it.
const AT_FIRST: u64 = 1 << 30;
/// What has to stay free while it runs, in bytes.
const ALL_ALONG: u64 = 32 << 20;

/// Whether there is room enough to switch a guest on, whose disks are in this directory.
pub fn at_first(dir: &Path) -> Result<()> {
    enough(dir, free(dir)?, AT_FIRST)
}

/// Whether there is still enough.
pub fn all_along(dir: &Path) -> Result<()> {
    enough(dir, free(dir)?, ALL_ALONG)
}

/// Bytes that this process could write there.
fn free(dir: &Path) -> Result<u64> {
    let here =
        statvfs(dir).with_context(|| format!("cannot ask for the room in {}", dir.display()))?;
    Ok(here.f_bavail.saturating_mul(here.f_frsize))
}

fn enough(dir: &Path, free: u64, needed: u64) -> Result<()> {
    ensure!(
        free >= needed,
        "{} MiB are free where the disks of a guest go, and it needs {}: free some on the file \
         system of {}, or set TMPDIR to a directory with more room",
        free >> 20,
        needed >> 20,
        dir.display(),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_room_is_shown_with_figures() {
        let dir = Path::new("/var/tmp/x");
        assert!(enough(dir, ALL_ALONG, ALL_ALONG).is_ok());
        let told = enough(dir, 128 << 20, AT_FIRST).map_err(|error| error.to_string());
        let told = told.expect_err("128 MiB are too little");
        for part in ["128 MiB are free", "needs 1024", "/var/tmp/x", "TMPDIR"] {
            assert!(told.contains(part), "{part} in {told}");
        }
    }

    #[test]
    fn the_room_is_the_file_systems() {
        assert!(free(&std::env::temp_dir()).is_ok_and(|bytes| bytes > 0));
        assert!(free(Path::new("/nowhere/at/all")).is_err());
    }
}
