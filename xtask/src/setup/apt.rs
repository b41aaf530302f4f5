//! Packages of the machine itself.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{process, ui};

/// Whether packages can be had by apt here.
pub fn is_debian() -> bool {
    Path::new("/etc/debian_version").exists() && process::find_program("apt-get").is_some()
}

/// The suite this machine runs, such as `bookworm`.
pub fn codename() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    text.lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .context("/etc/os-release has no VERSION_CODENAME: is this a Debian release?")
}

/// Installs packages. Where that is not possible, the error says what to run.
pub fn install(packages: &[&str], what_for: &str) -> Result<()> {
    let list = packages.join(" ");
    if !is_debian() {
        bail!(
            "{what_for}: missing here. This is not a Debian system; install what Debian calls \
             `{list}` with your own package manager, then run this again"
        );
    }
    if !is_root()? {
        bail!(
            "{what_for}: missing here, and only root can install it. Run\n\n    \
             sudo apt-get update && sudo apt-get install --no-install-recommends {list}\n\n\
             and then this again"
        );
    }
    if packages.iter().any(|package| !has_candidate(package)) {
        update()?;
    }
    if apt_install(packages).is_err() {
        // The lists may be older than what the mirror still has.
        update()?;
        apt_install(packages)?;
    }
    Ok(())
}

/// Whether apt knows where to get a package.
pub fn has_candidate(package: &str) -> bool {
    candidate(package).is_some()
}

/// The version of a package that apt would install.
pub fn candidate(package: &str) -> Option<String> {
    let mut command = Command::new("apt-cache");
    let policy = process::output(command.env("LC_ALL", "C").args(["policy", package])).ok()?;
    candidate_in(&policy).map(str::to_owned)
}

/// Gets new package lists, unless they are from the last few minutes.
pub fn update() -> Result<()> {
    if !is_root()? {
        return Ok(());
    }
    ui::step("apt: updating the package lists", || {
        let deadline = Instant::now() + Duration::from_secs(300);
        loop {
            let result = process::output(apt_get().args(["update", "-q"]));
            match result {
                // This lock has no waiting of its own.
                Err(error) if error.to_string().contains("lock") && Instant::now() < deadline => {
                    sleep(Duration::from_secs(3));
                }
                other => return other.map(drop),
            }
        }
    })
}

/// Whether this process may install packages.
pub fn is_root() -> Result<bool> {
    Ok(process::output(Command::new("id").arg("-u"))?.trim() == "0")
}

fn apt_install(packages: &[&str]) -> Result<()> {
    ui::step(&format!("apt: installing {}", packages.join(" ")), || {
        let mut command = apt_get();
        command.args(["install", "-y", "-q", "--no-install-recommends"]).args(packages);
        process::output(&mut command).map(drop)
    })
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-o", "DPkg::Lock::Timeout=300"]);
    command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
    command
}

fn candidate_in(policy: &str) -> Option<&str> {
    policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))
        .filter(|version| *version != "(none)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates() {
        assert_eq!(candidate_in("x:\n  Installed: (none)\n  Candidate: 1.2-3\n"), Some("1.2-3"));
        assert_eq!(candidate_in("x:\n  Installed: (none)\n  Candidate: (none)\n"), None);
        assert_eq!(candidate_in(""), None);
    }
}
