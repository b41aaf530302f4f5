//! Every kind of op is held before anything is touched, and done exactly once after its release.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use rustix::io::Errno;

use crate::harness::wait::PATIENCE;
use crate::harness::worker::{Step, Worker};
use crate::harness::{Budget, Ctx, Tool, Tree, Zone, check, check_eq, cli, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::each("each_held_op_is_done_once", every_kind),
    Scenario::each("failed_op_returns_its_release", failed_op),
    Scenario::each("both_zones_hold_cross_zone_rename", two_zones),
    Scenario::once("truncation_after_vfork_is_held", vfork),
    Scenario::once("what_destroys_nothing_is_not_held", free_ops),
];

/// What shows that a step was done.
enum Done {
    Gone(PathBuf),
    Size(PathBuf, u64),
    /// The first has become the second.
    Moved(PathBuf, PathBuf, &'static str),
}

impl Done {
    fn is_so(&self) -> bool {
        match self {
            Self::Gone(path) => !path.exists(),
            Self::Size(path, size) => fs::metadata(path).is_ok_and(|meta| meta.len() == *size),
            Self::Moved(from, to, content) => {
                !from.exists() && fs::read(to).is_ok_and(|found| found == content.as_bytes())
            }
        }
    }
}

/// A step of each kind, the word for its op, and what shows that it was done.
fn steps(tree: &Tree, outside: &Path) -> Result<Vec<(Step, &'static str, Done)>> {
    let file = |n: u64| tree.file(0, n);
    let empty_dir = tree.tenant(0).join("empty-directory");
    fs::create_dir(&empty_dir)?;
    let fresh = outside.join("fresh");
    fs::write(&fresh, "fresh")?;
    let taken = outside.join("taken");
    fs::write(file(3), "taken")?;
    Ok(vec![
        (Step::Unlink(file(0)), "remove", Done::Gone(file(0))),
        (Step::Rmdir(empty_dir.clone()), "remove", Done::Gone(empty_dir)),
        (Step::Rename(fresh.clone(), file(1)), "replace", Done::Moved(fresh, file(1), "fresh")),
        (Step::Rename(file(3), taken.clone()), "move_out", Done::Moved(file(3), taken, "taken")),
        (Step::Truncate(file(4), 5), "truncate", Done::Size(file(4), 5)),
        (Step::TruncatePath(file(5), 7), "truncate", Done::Size(file(5), 7)),
        (Step::Empty(file(6)), "truncate", Done::Size(file(6), 0)),
    ])
}

/// Every kind of op is held, and done once after its release.
fn every_kind(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(2, 12)?;
    let steps = steps(&tree, &ctx.outside()?)?;
    ctx.guard(&[ctx.hold_zone(&tree, Budget::files(1))])?;
    let unit = ctx.unit("worker")?;
    let mut worker = Worker::start(&unit, 0)?;
    check_eq!(worker.step(&Step::Unlink(tree.file(1, 0)))?, 0, "error of the op within budget");
    let count = steps.len() as u64;
    for (step, op, done) in steps {
        worker.begin(&step)?;
        let held = ctx.held(worker.pid())?;
        check!(!done.is_so(), "{step:?} was done while it was held");
        let next = held.next().map(|event| cli::text(event, "op").to_owned());
        check_eq!(next.as_deref(), Some(op), "op that waits in {step:?}");
        held.release(1)?;
        check_eq!(worker.answer()?.errno, 0, "error of {step:?}");
        check!(done.is_so(), "{step:?} was not done");
    }
    worker.begin(&Step::Unlink(tree.file(1, 1)))?;
    ctx.held(worker.pid())?;
    check!(tree.file(1, 1).exists(), "each release was for one op");
    ctx.counted("allow", 1 + count)?;
    ctx.counted("hold", 1 + count)?;
    ctx.nothing_denied()
}

fn failed_op(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(2, 12)?;
    ctx.guard(&[ctx.hold_zone(&tree, Budget::files(1))])?;
    let unit = ctx.unit("worker")?;
    let mut worker = Worker::start(&unit, 0)?;
    check_eq!(worker.step(&Step::Unlink(tree.file(1, 0)))?, 0, "error of the op within budget");
    worker.begin(&Step::Unlink(tree.file(1, 1)))?;
    ctx.held(worker.pid())?.release(3)?;
    check_eq!(worker.answer()?.errno, 0, "error of the op that was held");
    // The kernel asks before it finds that another mount hides the file, but not for a directory
    // that is filled.
    let hidden = tree.file(0, 11);
    Tool::new("mount").arg("--bind").args([&tree.file(0, 10), &hidden]).ok()?;
    let busy = Step::Rename(tree.file(0, 9), hidden.clone());
    for _ in 0..4 {
        check_eq!(worker.step(&busy)?, Errno::BUSY.raw_os_error(), "error of rename");
        let not_empty = Step::Rmdir(tree.tenant(0));
        check_eq!(worker.step(&not_empty)?, Errno::NOTEMPTY.raw_os_error(), "error of rmdir");
    }
    ctx.counted("allow", 2)?;
    Tool::new("umount").arg(&hidden).ok()?;
    for file in 0..2 {
        check_eq!(worker.step(&Step::Unlink(tree.file(0, file)))?, 0, "error of unlink {file}");
    }
    worker.begin(&Step::Unlink(tree.file(0, 2)))?;
    ctx.held_at(&tree, worker.pid(), 4).map(drop)
}

/// The rename is held by each and done once.
fn two_zones(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 12)?;
    let other = Tree::make(&ctx.base.join("other"), 1, 12)?;
    let second = Zone::new(&format!("{}-b", ctx.zone), &other.root);
    ctx.guard(&[ctx.hold_zone(&tree, Budget::files(1)), second.hold().budget(Budget::files(1))])?;
    let unit = ctx.unit("worker")?;
    let mut worker = Worker::start(&unit, 0)?;
    for file in [tree.file(0, 0), other.file(0, 0)] {
        check_eq!(worker.step(&Step::Unlink(file))?, 0, "error of an op within budget");
    }
    let (from, to) = (tree.file(0, 1), other.file(0, 1));
    let (mine, theirs) = (fs::read(&from)?, fs::read(&to)?);
    worker.begin(&Step::Rename(from.clone(), to.clone()))?;
    let mut released: Vec<String> = Vec::new();
    let errno = until("both zones have let it go on", PATIENCE, || {
        if let Some(answer) = worker.answer_within(Duration::from_millis(50))? {
            return Ok(Some(answer.errno));
        }
        if let Some(held) = ctx.hold_of(worker.pid())?
            && !released.iter().any(|zone| zone == held.zone())
        {
            check_eq!(fs::read(&from)?, mine, "the file that is to be moved");
            check_eq!(fs::read(&to)?, theirs, "the file that is to be replaced");
            held.release(1)?;
            released.push(held.zone().to_owned());
        }
        Ok(None)
    })?;
    check_eq!(errno, 0, "error of the rename");
    check_eq!(released.len(), 2, "zones that held it: {released:?}");
    check!(!from.exists(), "the file should have moved");
    check_eq!(fs::read(&to)?, mine, "the file that was replaced");
    for file in [tree.file(0, 2), other.file(0, 2)] {
        worker.begin(&Step::Unlink(file.clone()))?;
        let held = ctx.held(worker.pid())?;
        check!(file.exists(), "nothing is left of either release");
        held.release(1)?;
        check_eq!(worker.answer()?.errno, 0, "error of unlink");
    }
    Ok(())
}

/// The child opens the file in its parent's memory while the parent waits in the kernel, all
/// signals blocked.
fn vfork(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 12)?;
    ctx.guard(&[ctx.hold_zone(&tree, Budget::files(1))])?;
    let unit = ctx.unit("vfork")?;
    let own = std::env::current_exe()?;
    let spawn = |file: u64| {
        let tool = Tool::new(&own).args(["helper", "spawn-emptying"]);
        tool.arg(tree.file(0, file)).unit(&unit)
    };
    spawn(0).ok()?;
    let parent = spawn(1).start()?;
    let child = until("the child is held", PATIENCE, || {
        let children = unit.pids()?.into_iter().filter(|&pid| pid != parent.pid());
        for child in children {
            if let Some(held) = ctx.hold_of(child)? {
                return Ok(Some(held));
            }
        }
        Ok(None)
    })?;
    check!(fs::metadata(tree.file(0, 1))?.len() > 0, "nothing was emptied yet");
    child.release(1)?;
    parent.wait()?.quietly()?;
    check_eq!(fs::metadata(tree.file(0, 1))?.len(), 0, "length of the emptied file");
    let again = spawn(2).start()?;
    let held = until("another child is held", PATIENCE, || Ok(ctx.holds()?.into_iter().next()))?;
    held.kill()?;
    // Its parent cannot know more than that there is no child.
    again.wait()?;
    check!(fs::metadata(tree.file(0, 2))?.len() > 0, "a killed child empties nothing");
    Ok(())
}

fn free_ops(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 12, 1)?;
    let unit = ctx.unit("worker")?;
    let mut worker = Worker::start(&unit, 0)?;
    check_eq!(worker.step(&Step::Unlink(tree.file(0, 0)))?, 0, "error of the op within budget");
    let script = "set -e; cd \"$1\"; echo more >> file-0001.dat; mkdir new; touch new/empty; \
        mv file-0002.dat new/; ln file-0003.dat link; rm link; : > new/empty; rm new/empty; \
        rm new/file-0002.dat";
    let busy = Tool::new("bash").args(["-c", script, "script"]).arg(tree.tenant(0)).unit(&unit);
    let busy = busy.start()?;
    // The last is the first that destroys anything old.
    let rm = until("the last rm is stopped", PATIENCE, || Ok(unit.stopped("rm", 1)?.pop()))?;
    let next = ctx.held(rm)?.next().map(|event| cli::text(event, "path").to_owned());
    check!(
        next.as_deref().unwrap_or_default().ends_with("new/file-0002.dat"),
        "held before {next:?}"
    );
    let there = |name: &str| tree.tenant(0).join(name).exists();
    check!(there("file-0003.dat") && !there("link"), "removing one of two links is free");
    check!(!there("new/empty"), "the unit has just made it");
    check!(
        there("new/file-0002.dat"),
        "moving within the tenant is free, removing the last link is not"
    );
    drop(busy);
    Ok(())
}
