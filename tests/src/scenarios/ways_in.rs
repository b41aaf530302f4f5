//! Every way in leads past the same guard: bind mounts, chroots, mount namespaces, io_uring, deep
//! trees.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::harness::{Budget, Ctx, Tool, check, check_eq, sh};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::each("bind_mount", bind_mount),
    Scenario::each("chroot", chroot),
    Scenario::each("mount_namespace", mount_namespace),
    Scenario::each("io_uring_unlink", io_uring),
    Scenario::each("working_directory_and_descriptors", relative),
    Scenario::each("two_thousand_levels_in_the_zone", deep_inside).shared(),
    Scenario::each("two_thousand_levels_outside_the_zone", deep_outside).shared(),
];

const BUDGET: u64 = 23;

fn bind_mount(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(2, 30, BUDGET)?;
    let elsewhere = ctx.base.join("elsewhere");
    fs::create_dir(&elsewhere)?;
    Tool::new("mount").arg("--bind").arg(tree.tenant(0)).arg(&elsewhere).ok()?;
    sh("rm -rf \"$1\"/*", [&elsewhere])?.refused()?;
    tree.lost_exactly(BUDGET)
}

fn chroot(ctx: &mut Ctx<'_>) -> Result<()> {
    let jail = ctx.base.join("jail");
    let tree = crate::harness::Tree::make(&jail.join("srv"), 2, 30)?;
    fs::copy(std::env::current_exe()?, jail.join("tests"))?;
    ctx.enforce(&tree.root, Budget::files(BUDGET))?;
    let outcome =
        Tool::new("chroot").arg(&jail).args(["/tests", "helper", "unlink", "/srv"]).ok()?;
    check_eq!(outcome.stdout.trim(), BUDGET.to_string(), "files the chrooted program removed");
    tree.lost_exactly(BUDGET)
}

fn mount_namespace(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(2, 30, BUDGET)?;
    let place = ctx.base.join("place");
    fs::create_dir(&place)?;
    let script = "mount --bind \"$1\" \"$2\" && cd \"$2\" && rm -rf ./*";
    Tool::new("unshare")
        .args(["-m", "bash", "-c", script, "script"])
        .args([&tree.root, &place])
        .run()?
        .refused()?;
    tree.lost_exactly(BUDGET)
}

fn io_uring(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(2, 30, BUDGET)?;
    let outcome =
        Tool::new(std::env::current_exe()?).args(["helper", "uring"]).arg(&tree.root).ok()?;
    let expected = format!("ok={BUDGET} eperm={} other=0", tree.total() - BUDGET);
    check_eq!(outcome.stdout.trim(), expected, "completions");
    tree.lost_exactly(BUDGET)
}

/// unlinkat relative to a descriptor that was opened before the guard came.
fn relative(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 40)?;
    let dir = rustix::fs::open(tree.tenant(0), OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    ctx.enforce(&tree.root, Budget::files(BUDGET))?;
    let mut gone = 0;
    for file in 0..40 {
        let name = format!("file-{file:04}.dat");
        match rustix::fs::unlinkat(&dir, name, rustix::fs::AtFlags::empty()) {
            Ok(()) => gone += 1,
            Err(error) => check_eq!(error, Errno::PERM, "error of unlinkat"),
        }
    }
    check_eq!(gone, BUDGET, "successful calls");
    tree.lost_exactly(BUDGET)
}

const LEVELS: u64 = 2000;

/// A chain of directories, far longer than a path may be, with a file at the bottom.
fn make_deep(top: &Path) -> Result<()> {
    fs::create_dir_all(top)?;
    let mut dir = rustix::fs::open(top, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    for _ in 0..LEVELS {
        rustix::fs::mkdirat(&dir, "a-level", Mode::from_raw_mode(0o755))?;
        dir = rustix::fs::openat(&dir, "a-level", OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    }
    let flags = OFlags::CREATE | OFlags::WRONLY;
    let file = rustix::fs::openat(&dir, "bottom", flags, Mode::from_raw_mode(0o644))?;
    rustix::io::write(&file, b"deep down\n")?;
    Ok(())
}

/// How many levels there are still.
fn depth_of(top: &Path) -> Result<u64> {
    let mut dir = rustix::fs::open(top, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    let mut levels = 0;
    loop {
        match rustix::fs::openat(&dir, "a-level", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
            Ok(next) => dir = next,
            Err(Errno::NOENT) => return Ok(levels),
            Err(error) => return Err(error).context("walking down"),
        }
        levels += 1;
    }
}

fn deep_inside(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    make_deep(&root.join("tenant"))?;
    ctx.enforce(&root, Budget::files(BUDGET))?;
    let outcome = Tool::new("rm").arg("-rf").arg(root.join("tenant")).run()?;
    check!(!outcome.succeeded(), "{}", outcome.describe("should have failed"));
    // The file at the bottom and then the directories above it, one by one.
    check_eq!(depth_of(&root.join("tenant"))?, LEVELS - (BUDGET - 1), "levels left");
    Ok(())
}

/// Nothing to do with any zone, and on a filesystem that has one: must not be in the guard's way.
fn deep_outside(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(1, 3, 1)?;
    let deep = ctx.outside()?.join("deep");
    make_deep(&deep)?;
    Tool::new("rm").arg("-rf").arg(&deep).ok()?;
    check!(!deep.exists(), "the deep tree should be gone");
    ctx.nothing_denied()?;
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).run()?.refused()?;
    tree.lost_exactly(1)
}
