//! What comes to lie in a zone without an op there, and is deleted at once: nothing of it goes
//! beyond the budget. The agent finds such places too, but only milliseconds later.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsmount, fsopen, mount, mount_bind, mount_bind_recursive,
    mount_move, move_mount, open_tree, unmount,
};

use crate::harness::tree::{count, make_files};
use crate::harness::{Budget, Ctx, Tool, check, check_eq, cli};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::once("mount_then_delete_is_guarded", mount_then_delete).waits(),
    Scenario::once("disk_then_delete_is_guarded", disk_then_delete),
    Scenario::once("mounts_outside_are_not_charged", mounts_outside),
];

const TRIES: u32 = 200;
const FILES: u64 = 10;
const BUDGET: u64 = 15;

/// Makes so many files, removes as many as it may, and says how many that were.
fn delete(dir: &Path) -> Result<u64> {
    let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let files = names.iter().filter(|path| path.is_file());
    Ok(files.filter(|path| fs::remove_file(path).is_ok()).count() as u64)
}

fn fill(dir: &Path) -> Result<()> {
    make_files(dir, "f", FILES, 10).map(drop)
}

/// A new tmpfs that is mounted nowhere yet.
fn detached_tmpfs() -> Result<rustix::fd::OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let (flags, attributes) = (FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty());
    Ok(fsmount(&context, flags, attributes)?)
}

fn tmpfs(at: &Path) -> Result<()> {
    fs::create_dir_all(at)?;
    mount("none", at, "tmpfs", MountFlags::empty(), c"size=1m").context("mount a tmpfs")
}

/// What one way of mounting does: from a directory outside to a place in the zone. Returns where
/// the files are.
type Way = fn(outside: &Path, at: &Path) -> Result<PathBuf>;

const WAYS: &[(&str, Way)] = &[
    ("a new filesystem", |_, at| {
        tmpfs(at)?;
        fill(at)?;
        Ok(at.to_owned())
    }),
    ("a bind", |outside, at| {
        fill(outside)?;
        mount_bind(outside, at)?;
        Ok(at.to_owned())
    }),
    ("a moved mount", |outside, at| {
        tmpfs(outside)?;
        fill(outside)?;
        mount_move(outside, at)?;
        Ok(at.to_owned())
    }),
    ("a tree of mounts", |outside, at| {
        tmpfs(&outside.join("a/disk"))?;
        fill(&outside.join("a/disk"))?;
        mount_bind_recursive(outside, at)?;
        Ok(at.join("a/disk"))
    }),
    ("fsmount and move_mount", |_, at| {
        let detached = detached_tmpfs()?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&detached, "", rustix::fs::CWD, at, flags)?;
        fill(at)?;
        Ok(at.to_owned())
    }),
    ("open_tree and move_mount", |outside, at| {
        fill(outside)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(rustix::fs::CWD, outside, flags)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&tree, "", rustix::fs::CWD, at, flags)?;
        Ok(at.to_owned())
    }),
    ("a mount on a mount", |outside, at| {
        tmpfs(at)?;
        fill(outside)?;
        mount_bind(outside, at)?;
        Ok(at.to_owned())
    }),
];

fn mount_then_delete(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    fs::create_dir_all(&root)?;
    ctx.enforce(&root, Budget::files(BUDGET))?;
    let doctor = cli::holdfast(["doctor"])?.stdout;
    check!(doctor.contains("ok    mounts"), "{doctor}");
    let outside = ctx.outside()?;
    let mut gone = 0;
    for (number, (name, way)) in WAYS.iter().enumerate() {
        let before = gone;
        for n in 0..TRIES {
            let source = outside.join(format!("{number}-{n}"));
            let at = root.join(format!("{number}-{n}"));
            for dir in [&source, &at] {
                fs::create_dir_all(dir)?;
            }
            let dir = way(&source, &at).with_context(|| format!("{name}, try {n}"))?;
            gone += delete(&dir).with_context(|| format!("{name}, try {n}"))?;
            // Of two, the lower one too; nothing in use is left behind.
            while unmount(&at, UnmountFlags::DETACH).is_ok() {}
            while unmount(&source, UnmountFlags::DETACH).is_ok() {}
        }
        ctx.lab.note(format!("{name}: {} files gone in {TRIES} tries", gone - before));
    }
    check_eq!(gone, BUDGET, "files gone of all mounts together");
    Ok(())
}

/// A disk with its data on it, as a backup job mounts it.
fn disk_then_delete(ctx: &mut Ctx<'_>) -> Result<()> {
    const DISKS: u32 = 8;
    let root = ctx.base.join("zone");
    fs::create_dir_all(&root)?;
    let outside = ctx.outside()?;
    Tool::new("modprobe").arg("loop").ok()?;
    let mut devices = Vec::new();
    for n in 0..DISKS {
        let image = outside.join(format!("image{n}"));
        fs::File::create(&image)?.set_len(4 << 20)?;
        Tool::new("mke2fs").args(["-q", "-F", "-t", "ext4"]).arg(&image).ok()?;
        let looped = Tool::new("losetup").args(["--find", "--show"]).arg(&image).ok()?;
        devices.push(looped.stdout.trim().to_owned());
    }
    ctx.enforce(&root, Budget::files(BUDGET))?;
    let mut gone = 0;
    for (n, device) in devices.iter().enumerate() {
        let at = root.join(format!("disk{n}"));
        fs::create_dir_all(&at)?;
        mount(device.as_str(), &at, "ext4", MountFlags::empty(), c"")?;
        fill(&at)?;
        gone += delete(&at)?;
    }
    for (n, device) in devices.iter().enumerate() {
        unmount(root.join(format!("disk{n}")), UnmountFlags::empty())?;
        Tool::new("losetup").args(["-d", device]).ok()?;
    }
    check_eq!(gone, BUDGET, "files gone of all disks together");
    Ok(())
}

/// What is mounted beside a zone is nobody's, also while it is a mount of something near.
fn mounts_outside(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    let beside = ctx.base.join("beside");
    fs::create_dir_all(&root)?;
    ctx.enforce(&root, Budget::files(BUDGET))?;
    for n in 0..20 {
        let at = beside.join(n.to_string());
        tmpfs(&at)?;
        fill(&at)?;
        check_eq!(delete(&at)?, FILES, "files removed beside the zone");
        unmount(&at, UnmountFlags::empty())?;
    }
    // A tree that holds the zone itself: all of it would count.
    let at = root.join("all");
    fs::create_dir_all(&at)?;
    let outside = ctx.outside()?;
    fill(&outside)?;
    mount_bind(ctx.fs.mount(), &at)?;
    let removed = delete(&outside)?;
    unmount(&at, UnmountFlags::DETACH)?;
    check_eq!(removed, FILES, "files removed beside the zone's own filesystem");
    check!(count(&root)?.files == 0, "nothing is left");
    ctx.nothing_denied()
}
