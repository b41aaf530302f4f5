//! The root disk of the guest: a small Debian 12 with the real tools that real scripts use.
//!
//! The image is never written to by a guest. Its name carries a digest of its recipe: a change makes a new one.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::archive::{self, Archive};
use super::{apt, disk};
use crate::{paths, process, ui};

const SUITE: &str = "bookworm";
const PACKAGES: [&str; 22] = [
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
    "strace",
    "tar",
    "util-linux",
    "vim-tiny",
    "xz-utils",
    "zstd",
];
/// Raise when anything but the package list changes.
const RECIPE: u32 = 1;
/// Programs that every boot brings along, at the place where a shell finds them.
const LINKS: [&str; 2] = ["holdfast", "holdfast-tests"];

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
    let dir = paths::cache("guest");
    fs::create_dir_all(&dir)?;
    let root_disk = dir.join(format!("root-{:016x}.ext4", digest()));
    let busybox = dir.join("busybox");
    if !busybox.is_file() {
        ui::step("guest: fetching a static busybox", || fetch_busybox(&busybox))?;
    }
    if !root_disk.is_file() {
        ui::step("guest: making the root disk (about a minute)", || make_root_disk(&root_disk))?;
        remove_others(&root_disk)?;
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

fn make_root_disk(place: &PathBuf) -> Result<()> {
    if !apt::is_root()? {
        // Files of the image belong to root, and only root can give them to root.
        bail!("making the guest's root disk needs root, once. Run `sudo -E cargo xtask setup`");
    }
    let tree = paths::cache("guest/.root.new");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    let sources = paths::cache("guest/.sources.list");
    fs::write(&sources, archive::mirror()?.line(SUITE))?;
    let mut command = process::program("mmdebstrap");
    command.args(["--variant=essential", "--quiet"]);
    command.arg(format!("--include={}", PACKAGES.join(",")));
    command.arg("--aptopt=Apt::Install-Recommends \"false\"");
    for useless in ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"] {
        command.arg(format!("--dpkgopt=path-exclude={useless}"));
    }
    command.arg(SUITE).arg(&tree).arg(&sources).env("DEBIAN_FRONTEND", "noninteractive");
    process::output(&mut command)?;

    for dir in ["data", "mnt/tmpfs", "usr/lib/modules", "etc/holdfast", "var/lib/holdfast"] {
        fs::create_dir_all(tree.join(dir))?;
    }
    fs::write(tree.join("etc/hostname"), "guest\n")?;
    fs::write(tree.join("etc/hosts"), "127.0.0.1 localhost guest\n::1 localhost\n")?;
    for name in LINKS {
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

fn remove_others(current: &PathBuf) -> Result<()> {
    for entry in fs::read_dir(paths::cache("guest"))? {
        let path = entry?.path();
        let is_root = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("root-"));
        if is_root && path != *current {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// FNV-1a of everything that the image is made from.
fn digest() -> u64 {
    let recipe = format!("{RECIPE} {SUITE} {PACKAGES:?} {LINKS:?}");
    recipe.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
