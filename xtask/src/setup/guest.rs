//! The root disks of the guests: a small Debian 12 with the real tools that real scripts use, one
//! with systemd and apt, one that something is rolled out to, and one with the tools that the guard
//! is compared with.
//!
//! An image is never written to by a guest. Its name carries a digest of its recipe: a change makes
//! a new one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::archive::{self, Archive};
use super::{apt, disk};
use crate::{paths, process, ui};

const SUITE: &str = "bookworm";
/// What a root disk is made of.
#[derive(Debug)]
struct Recipe {
    /// Its directory in the cache.
    dir: &'static str,
    packages: &'static [&'static str],
    /// Raise when anything but the package list changes.
    version: u32,
    /// Programs that every boot brings along, at the place where a shell finds them.
    links: &'static [&'static str],
    /// Whether packages that are installed in the guest keep their documentation, and services are
    /// the guest's to start.
    whole: bool,
    /// Services of packages that do not start by themselves.
    quiet: &'static [&'static str],
}

/// Where nothing runs but what a test starts.
const BARE: Recipe = Recipe {
    dir: "guest",
    packages: &[
        "bash",
        "coreutils",
        "dpkg",
        "e2fsprogs",
        "findutils",
        "gdb-minimal",
        "git",
        "grep",
        "kmod",
        "logrotate",
        "mount",
        "nfs-kernel-server",
        "openssh-client",
        "procps",
        "rsync",
        "sed",
        "sqlite3",
        "strace",
        "tar",
        "util-linux",
        "vim-tiny",
        "xz-utils",
        "zstd",
    ],
    version: 1,
    links: &["holdfast", "holdfast-tests"],
    whole: false,
    quiet: &[],
};

/// A host as it is in a data centre: systemd, packages, monitoring. `holdfast` comes as a package,
/// so there is no link.
const SYSTEMD: Recipe = Recipe {
    dir: "guest-systemd",
    packages: &[
        "apt",
        "bash",
        "curl",
        "dbus",
        "e2fsprogs",
        "findutils",
        "grep",
        "kmod",
        "mount",
        "openssh-client",
        "procps",
        "prometheus",
        "prometheus-alertmanager",
        "rsync",
        "sed",
        "systemd",
        "systemd-sysv",
        "tar",
        "util-linux",
    ],
    version: 1,
    links: &["holdfast-tests"],
    whole: true,
    quiet: &["prometheus.service", "prometheus-alertmanager.service"],
};

/// A host of a fleet, as Ansible finds it: a login, sudo, Python. It has a disk of its own, so that
/// only who rolls out waits for it.
const FLEET: Recipe = Recipe {
    dir: "guest-fleet",
    packages: &[
        "apt",
        "bash",
        "dbus",
        "e2fsprogs",
        "findutils",
        "grep",
        "iproute2",
        "kmod",
        "mount",
        "openssh-server",
        "procps",
        "python3",
        "python3-apt",
        "sed",
        "sudo",
        "systemd",
        "systemd-sysv",
        "tar",
        "util-linux",
    ],
    version: 1,
    links: &[],
    whole: true,
    quiet: &["ssh.service"],
};

/// Where the benchmark runs: the bare guest's shell and tools, and the peers that are measured
/// beside the guard. It has a disk of its own, so that no test waits for the LLVM that bpftrace
/// needs.
const BENCH: Recipe = Recipe {
    dir: "guest-bench",
    packages: &[
        "apparmor",
        "auditd",
        "bash",
        "bpftrace",
        "coreutils",
        "e2fsprogs",
        "fatrace",
        "findutils",
        "grep",
        "inotify-tools",
        "kmod",
        "mount",
        "sed",
        "tar",
        "util-linux",
    ],
    ..BARE
};

/// What a guest needs besides a kernel.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The root disk.
    pub root_disk: PathBuf,
    /// A static busybox, for the time before the root disk is there.
    pub busybox: PathBuf,
}

/// The guest's files, made if they are not there yet.
pub fn ensure() -> Result<Guest> {
    ensure_of(&BARE)
}

/// The files of the guest with systemd, made if they are not there yet.
pub fn ensure_systemd() -> Result<Guest> {
    ensure_of(&SYSTEMD)
}

/// The files of a host of a fleet, made if they are not there yet.
pub fn ensure_fleet() -> Result<Guest> {
    ensure_of(&FLEET)
}

/// The files of the benchmark's guest, made if they are not there yet.
pub fn ensure_bench() -> Result<Guest> {
    ensure_of(&BENCH)
}

fn ensure_of(recipe: &Recipe) -> Result<Guest> {
    let dir = paths::cache(recipe.dir);
    fs::create_dir_all(&dir)?;
    fs::create_dir_all(paths::cache(BARE.dir))?;
    let root_disk = dir.join(format!("root-{:016x}.ext4", digest(recipe)));
    let busybox = paths::cache(BARE.dir).join("busybox");
    if !busybox.is_file() {
        ui::step("guest: fetching a static busybox", || fetch_busybox(&busybox))?;
    }
    if !root_disk.is_file() {
        let what = format!("{}: making the root disk (about a minute)", recipe.dir);
        ui::step(&what, || make_root_disk(recipe, &root_disk))?;
        remove_others(recipe, &root_disk)?;
    }
    Ok(Guest { root_disk, busybox })
}

fn fetch_busybox(place: &PathBuf) -> Result<()> {
    let scratch = paths::cache("guest/.busybox.new");
    fs::create_dir_all(&scratch)?;
    Archive::open(false)?.unpack(&[format!("busybox-static/{SUITE}")], &scratch)?;
    let program = [scratch.join("bin/busybox"), scratch.join("usr/bin/busybox")]
        .into_iter()
        .find(|file| file.is_file())
        .context("package busybox-static has no busybox")?;
    fs::rename(program, place)?;
    fs::remove_dir_all(&scratch)?;
    Ok(())
}

fn make_root_disk(recipe: &Recipe, place: &Path) -> Result<()> {
    if !apt::is_root()? {
        // Files of the image belong to root, and only root can give them to root.
        bail!("making the guest's root disk needs root, once. Run `sudo -E cargo xtask setup`");
    }
    let tree = paths::cache(recipe.dir).join(".root.new");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    let sources = paths::cache(recipe.dir).join(".sources.list");
    fs::write(&sources, archive::mirror()?.line(SUITE))?;
    let mut command = process::program("mmdebstrap");
    command.args(["--variant=essential", "--quiet"]);
    command.arg(format!("--include={}", recipe.packages.join(",")));
    command.arg("--aptopt=Apt::Install-Recommends \"false\"");
    for useless in ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"] {
        command.arg(format!("--dpkgopt=path-exclude={useless}"));
    }
    command.arg(SUITE).arg(&tree).arg(&sources).env("DEBIAN_FRONTEND", "noninteractive");
    process::output(&mut command)?;

    for dir in ["data", "mnt/tmpfs", "usr/lib/modules"] {
        fs::create_dir_all(tree.join(dir))?;
    }
    if recipe.whole {
        make_whole(&tree, recipe.quiet)?;
    } else {
        // What the package brings along elsewhere.
        for dir in ["etc/holdfast", "var/lib/holdfast"] {
            fs::create_dir_all(tree.join(dir))?;
        }
    }
    fs::write(tree.join("etc/hostname"), "guest\n")?;
    fs::write(tree.join("etc/hosts"), "127.0.0.1 localhost guest\n::1 localhost\n")?;
    for name in recipe.links {
        let link = tree.join("usr/local/bin").join(name);
        std::os::unix::fs::symlink(format!("/run/payload/{name}"), link)?;
    }
    let image = place.with_extension("new");
    disk::make(&tree, &image, "root")?;
    fs::rename(&image, place)?;
    fs::remove_dir_all(&tree)?;
    fs::remove_file(&sources)?;
    Ok(())
}

/// What is left out of the image itself is not left out of packages that a guest installs; and no
/// service starts by itself but those of systemd. With a machine id it is no first boot, at which
/// systemd would start everything that is installed.
fn make_whole(tree: &Path, quiet: &[&str]) -> Result<()> {
    let excludes = tree.join("etc/dpkg/dpkg.cfg.d/99mmdebstrap");
    fs::remove_file(&excludes).with_context(|| format!("no {}", excludes.display()))?;
    fs::write(tree.join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n")?;
    let wanted = tree.join("etc/systemd/system/multi-user.target.wants");
    for name in quiet {
        let link = wanted.join(name);
        fs::remove_file(&link).with_context(|| format!("no {}", link.display()))?;
    }
    Ok(())
}

fn remove_others(recipe: &Recipe, current: &Path) -> Result<()> {
    for entry in fs::read_dir(paths::cache(recipe.dir))? {
        let path = entry?.path();
        let is_root = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("root-"));
        if is_root && path != current {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// FNV-1a of everything that an image is made from.
fn digest(recipe: &Recipe) -> u64 {
    let Recipe { packages, version, links, .. } = recipe;
    let recipe = format!("{version} {SUITE} {packages:?} {links:?}");
    recipe.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_disk_has_its_own_digest() {
        assert_ne!(digest(&BARE), digest(&SYSTEMD));
        assert_ne!(digest(&SYSTEMD), digest(&FLEET));
        assert_ne!(digest(&SYSTEMD), digest(&Recipe { version: 99, ..SYSTEMD }));
    }
}
