//! Whether a package depends on the place it is made at: it is made once more, from a copy of the
//! sources in another directory.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{epoch, remove, sha256};
use crate::{paths, process, ui};

/// Makes it again elsewhere, with nothing that was built before, and fails unless it is the same.
pub fn compare(package: &Path, digest: &str) -> Result<()> {
    let copy = paths::root().join("target/package/again");
    remove(&copy)?;
    fs::create_dir_all(&copy)?;
    let listed = process::output(
        Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(paths::root()),
    )?;
    for name in listed.split('\0').filter(|name| !name.is_empty()) {
        let (from, to) = (paths::root().join(name), copy.join(name));
        // What was removed and not committed is still listed.
        if from.is_file() {
            fs::create_dir_all(to.parent().context("a file needs a directory")?)?;
            fs::copy(&from, &to).with_context(|| format!("cannot copy {name}"))?;
        }
    }
    // Tools are the same: they are part of what a package is made from.
    let cache = fs::canonicalize(paths::cache(""))?;
    std::os::unix::fs::symlink(cache, copy.join(".cache"))?;
    ui::say("making it again from a copy of the sources (as long as the first build from nothing)");
    let mut command = process::own_cargo();
    command.args(["run", "--quiet", "--package", "xtask", "--", "package"]).current_dir(&copy);
    command.env("SOURCE_DATE_EPOCH", epoch()?.to_string()).env_remove("CARGO_TARGET_DIR");
    process::run(&mut command)?;
    let name = package.file_name().context("a package without a name")?;
    let again = copy.join("target/package").join(name);
    let other = sha256(&again)?;
    if other != digest {
        bail!(
            "it is not the same: {other} is the SHA-256 of {}\n  help: compare the two with \
             `dpkg-deb -x`, and `cmp`",
            again.display()
        );
    }
    remove(&copy)
}
