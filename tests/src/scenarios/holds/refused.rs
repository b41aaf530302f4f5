//! What cannot wait is denied, with an error that every program knows.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};
use rustix::io::Errno;
use rustix::process::Signal;

use crate::harness::tool::Running;
use crate::harness::worker::{Step, Worker};
use crate::harness::{
    Budget, Ctx, Outcome, Tool, Tree, check, check_eq, cli, hold, proc, sh, until,
};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::each("holding_zone_denies_io_uring", io_uring),
    Scenario::each("detach_is_denied_not_held", detach),
    Scenario::each("overlay_upper_layer_obeys_budget", overlay_upper),
    Scenario::each("overlay_whiteouts_obey_the_budget", overlay_whiteouts),
    Scenario::each("overlay_makes_a_directory_again", overlay_directory),
];

/// A worker of the ring has no system call to make again: its completion must be an error, not a
/// request to the kernel.
fn io_uring(ctx: &mut Ctx<'_>) -> Result<()> {
    const BUDGET: u64 = 23;
    let tree = ctx.holding(2, 30, BUDGET)?;
    let unit = ctx.unit("uring")?;
    let own = std::env::current_exe()?;
    let ring = Tool::new(own).args(["helper", "uring"]).arg(&tree.root).unit(&unit).start()?;
    let outcome = ring.wait()?.quietly()?;
    let expected = format!("ok={BUDGET} eperm={} other=0", tree.total() - BUDGET);
    check_eq!(outcome.stdout.trim(), expected, "completions");
    tree.lost_exactly(BUDGET)?;
    check!(ctx.holds()?.is_empty(), "nothing should be held");
    ctx.counted("hold", 0)?;
    ctx.counted("deny", tree.total() - BUDGET)?;
    let event = ctx.event("a denial", |event| cli::text(event, "verdict") == "deny")?;
    check_eq!(cli::text(&event, "not_held"), "kernel_thread", "why it was not held");
    // A system call of the same unit is held.
    let mut worker = Worker::start(&unit, 0)?;
    let left = tree.paths().find(|path| path.exists()).context("no file left")?;
    worker.begin(&Step::Unlink(left))?;
    ctx.held_at(&tree, worker.pid(), BUDGET).map(drop)
}

fn detach(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(3, 10, 1000)?;
    let (unit, outside) = (ctx.unit("worker")?, ctx.outside()?);
    let empty = ctx.base.join("empty-root");
    fs::create_dir(&empty)?;
    let zone = ctx.hold_zone(&tree, Budget::files(1000)).path(&empty);
    ctx.guard(&[zone])?;
    let mut worker = Worker::start(&unit, 0)?;
    let steps = [
        Step::Rename(tree.tenant(0), outside.join("tenant")),
        Step::Rename(tree.root.clone(), outside.join("root")),
        Step::Rmdir(empty.clone()),
    ];
    for step in &steps {
        check_eq!(worker.step(step)?, Errno::PERM.raw_os_error(), "error of {step:?}");
    }
    check!(empty.exists(), "the empty root should be there");
    tree.lost_exactly(0)?;
    ctx.counted("hold", 0)?;
    let event = ctx.event("a detach", |event| cli::text(event, "op") == "detach")?;
    check_eq!(cli::text(&event, "not_held"), "unknown_cost", "why it was not held");
    // An amount that is released covers no unknown cost either.
    let tight = ctx.hold_zone(&tree, Budget::files(1)).path(&empty);
    ctx.guard(&[tight])?;
    check_eq!(worker.step(&Step::Unlink(tree.file(1, 0)))?, 0, "error of the op within budget");
    worker.begin(&Step::Unlink(tree.file(1, 1)))?;
    ctx.held(worker.pid())?.release(100)?;
    check_eq!(worker.answer()?.errno, 0, "error of the released op");
    for step in &steps {
        check_eq!(worker.step(step)?, Errno::PERM.raw_os_error(), "error of {step:?}, released");
    }
    tree.lost_exactly(2)
}

/// Mounts an overlay over `lower`, with the zone's only tenant as its upper layer.
fn overlay(ctx: &Ctx<'_>, tree: &Tree) -> Result<std::path::PathBuf> {
    let dir = |name: &str| ctx.base.join(name);
    for name in ["lower", "work", "merged"] {
        fs::create_dir_all(dir(name))?;
    }
    Tool::new("modprobe").arg("overlay").run()?;
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        dir("lower").display(),
        tree.tenant(0).display(),
        dir("work").display()
    );
    let mount = Tool::new("mount").args(["-t", "overlay", "overlay", "-o", &options]);
    mount.arg(dir("merged")).ok()?;
    Ok(dir("merged"))
}

/// What a deleter in an overlay came to: held by then, or over.
enum Found {
    Held(Running),
    Over(Outcome),
}

fn held_or_over(ctx: &Ctx<'_>, deleter: Running) -> Result<Found> {
    let pid = deleter.pid();
    let is_held = until("the deleter is held or has ended", Duration::from_secs(60), || {
        if proc::state(pid)?.is_none() {
            return Ok(Some(false));
        }
        let held = matches!(proc::state(pid)?, Some('T')) && ctx.hold_of(pid)?.is_some();
        Ok(held.then_some(true))
    })?;
    Ok(if is_held { Found::Held(deleter) } else { Found::Over(deleter.wait()?) })
}

/// Insists that a program saw no error but the one for a denied op.
fn only_eperm(outcome: &Outcome) -> Result<()> {
    let eperm = format!("error {}:", Errno::PERM.raw_os_error());
    let sane = outcome.stderr.lines().all(|line| line.starts_with(&eperm));
    check!(sane, "{}", outcome.describe("should have had no error but EPERM"));
    Ok(())
}

/// In an overlay whose upper layer is in the zone.
fn overlay_upper(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 40)?;
    let merged = overlay(ctx, &tree)?;
    ctx.guard(&[ctx.hold_zone(&tree, Budget::files(10))])?;
    let unit = ctx.unit("deleter")?;
    let deleter = hold::unlink(&merged, &unit)?.arg("--raw").start()?;
    match held_or_over(ctx, deleter)? {
        Found::Held(deleter) => {
            ctx.held_at(&tree, deleter.pid(), 10)?.release(5)?;
            ctx.held_at(&tree, deleter.pid(), 15)?.release(25)?;
            deleter.wait()?.quietly()?;
            tree.lost_exactly(40)?;
            ctx.lab.note("deleting in an overlay was held".to_owned());
        }
        Found::Over(outcome) => {
            only_eperm(&outcome)?;
            tree.lost_exactly(10)?;
            ctx.lab.note("deleting in an overlay was denied".to_owned());
        }
    }
    Ok(())
}

/// A directory of the lower layer goes by exchanging it in the upper one with an empty directory
/// and with a whiteout, from beside the zone: that looked like a directory that leaves in one
/// stroke. Anybody else's exchange with a whiteout is one.
fn overlay_directory(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 5)?;
    let lower = ctx.base.join("lower/etc");
    fs::create_dir_all(lower.join("inner"))?;
    fs::write(lower.join("file"), "below")?;
    let merged = overlay(ctx, &tree)?;
    ctx.enforce(&tree.root, Budget::files(30))?;
    for _ in 0..2 {
        sh("cd \"$1\" && rm -r etc && mkdir -p etc/inner && touch etc/file", [&merged])?.ok()?;
    }
    ctx.nothing_denied()?;
    check!(merged.join("etc/file").exists(), "the directory is there again");
    let (inside, whiteout) = (tree.tenant(0).join("etc"), ctx.base.join("#1"));
    mknodat(CWD, &whiteout, FileType::CharacterDevice, Mode::empty(), 0)?;
    let outcome = renameat_with(CWD, &inside, CWD, &whiteout, RenameFlags::EXCHANGE);
    check_eq!(outcome, Err(Errno::PERM), "an exchange with a whiteout outside");
    Ok(())
}

/// Each deletion becomes several ops in the upper layer and beside it: a whiteout is made, moved in
/// and the old file dropped.
fn overlay_whiteouts(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 20)?;
    let merged = overlay(ctx, &tree)?;
    for file in 0..20 {
        let name = tree.file(0, file);
        let name = name.file_name().context("a name")?;
        fs::write(ctx.base.join("lower").join(name), "below")?;
    }
    ctx.guard(&[ctx.hold_zone(&tree, Budget::files(5))])?;
    let unit = ctx.unit("deleter")?;
    let deleter = hold::unlink(&merged, &unit)?.arg("--raw").start()?;
    let found = held_or_over(ctx, deleter)?;
    let (mut gone, mut intact) = (0, 0);
    for path in tree.paths() {
        // A whiteout is a character device, and no file.
        let is_file = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file());
        *if is_file { &mut intact } else { &mut gone } += 1;
    }
    // What a deletion costs here is up to overlayfs, but it costs something.
    check!(gone <= 5 && gone + intact == 20, "{gone} files gone and {intact} left");
    match found {
        Found::Held(deleter) => {
            ctx.held(deleter.pid())?.kill()?;
            deleter.wait()?.killed_by(Signal::KILL)?;
            ctx.lab.note("whiteouts in an overlay were held".to_owned());
        }
        Found::Over(outcome) => {
            only_eperm(&outcome)?;
            ctx.lab.note("whiteouts in an overlay were denied".to_owned());
        }
    }
    Ok(())
}
