//! The package of a later version, for the test of an upgrade: the same files, but that the kernel
//! programs are others to the agent, which therefore has to replace what is attached instead of
//! adopting it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{epoch, pack, remove, version};
use crate::{paths, process};

/// Text that is in the kernel programs for people only (a file's name in their debug information),
/// and another of the same length.
const MARK: (&[u8], &[u8]) = (b"/holdfast/ebpf/src", b"/holdfast/ebpf/SRC");
/// Added to the version.
const SUFFIX: &str = "+next";

/// Makes it beside `package`.
pub fn next(package: &Path) -> Result<PathBuf> {
    let place = paths::root().join("target/package");
    let tree = place.join("next");
    remove(&tree)?;
    process::output(process::program("dpkg-deb").arg("-R").arg(package).arg(&tree))?;
    let binary = tree.join("usr/bin/holdfast");
    let mut bytes = fs::read(&binary)?;
    if replace(&mut bytes, MARK.0, MARK.1) == 0 {
        bail!("{} has no {} in it", binary.display(), String::from_utf8_lossy(MARK.0));
    }
    fs::write(&binary, bytes)?;
    // Another policy comes with it, which is nobody's business who has one.
    let policy = tree.join("usr/share/holdfast/policy.toml");
    let text = fs::read_to_string(&policy).with_context(|| policy.display().to_string())?;
    fs::write(&policy, format!("# of a later version\n{text}"))?;
    let control = tree.join("DEBIAN/control");
    let text = fs::read_to_string(&control)?;
    let version = version()?;
    let later = format!("{version}{SUFFIX}");
    let changed = text.replace(&format!("Version: {version}\n"), &format!("Version: {later}\n"));
    if changed == text {
        bail!("{} has no version {version}", control.display());
    }
    fs::write(&control, changed)?;
    // Its sums are those of the version before.
    fs::remove_file(tree.join("DEBIAN/md5sums")).context("no md5sums")?;
    let later = place.join(format!("holdfast_{later}_amd64.deb"));
    pack(&tree, &later, epoch()?)?;
    remove(&tree)?;
    Ok(later)
}

/// Replaces text by other text of the same length; how often.
fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) -> usize {
    let mut count = 0;
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(from.len()).position(|window| window == from) {
        bytes[at + found..at + found + from.len()].copy_from_slice(to);
        at += found + from.len();
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_occurrence_is_replaced_in_place() {
        let mut bytes = b"xabyabab".to_vec();
        assert_eq!(replace(&mut bytes, b"ab", b"CD"), 3);
        assert_eq!(bytes, b"xCDyCDCD");
        assert_eq!(MARK.0.len(), MARK.1.len());
    }
}
