//! What a tripped unit can still remove: its own lock and temporary files, made a moment ago, and
//! nothing else.

use std::fs;
use std::io::ErrorKind;

use anyhow::Result;
use holdfast_abi::Per;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::harness::wait::PATIENCE;
use crate::harness::{Budget, Ctx, Tool, Tree, Unit, check_eq, sh, until};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::each("tripped_unit_removes_its_fresh_files", own_files).shared(),
    Scenario::each("fresh_files_are_never_paused", never_paused),
    Scenario::each("fresh_files_trip_nobody", no_trip),
    Scenario::each("old_files_do_not_become_fresh", old_files),
    Scenario::each("opening_makes_no_file_fresh", opened),
    Scenario::each("another_units_files_stay_refused", other_units),
];

const BUDGET: u64 = 5;
/// Ops of [`CHURN`] that destroy something.
const CHURNED: u64 = 9;
/// What jobs do with their own lock and temporary files: each line ends with what it made gone.
const CHURN: &str = r#"
set -e
cd "$1"
mkdir lock.exclusive; rmdir lock.exclusive
echo $$ >lock; rm lock
echo $$ >lock.$$; ln lock.$$ lock; rm lock.$$; rm lock
ln -s $$ lock; rm lock
mkfifo queue; rm queue
echo 1 >temp; mv temp index; rm index
echo 1 >temp; mv temp index; echo 2 >temp; mv temp index; rm index
mkdir work; mv work done; rmdir done
"#;

/// A tree of one tenant, guarded; and this process, which has spent the budget and tripped it.
fn tripped(ctx: &mut Ctx<'_>) -> Result<Tree> {
    let tree = ctx.tree(1, 20)?;
    ctx.enforce(&tree.root, Budget::files(BUDGET).per(Per::Unit))?;
    spend(&tree)?;
    refused(fs::remove_file(tree.file(0, BUDGET)), "one file more")?;
    Ok(tree)
}

fn spend(tree: &Tree) -> Result<()> {
    for file in 0..BUDGET {
        fs::remove_file(tree.file(0, file))?;
    }
    Ok(())
}

fn refused(outcome: std::io::Result<()>, what: &str) -> Result<()> {
    let kind = outcome.err().map(|error| error.kind());
    check_eq!(kind, Some(ErrorKind::PermissionDenied), "error of {what}");
    Ok(())
}

/// Insists that the old files, without those of the budget, are there and hold what they held.
fn old_ones_are_intact(tree: &Tree) -> Result<()> {
    tree.lost_exactly(BUDGET)?;
    tree.rest_is_intact()
}

fn churn(tree: &Tree, unit: &Unit) -> Result<()> {
    let dir = tree.tenant(0);
    let limit = ["-s", "KILL", "60", "bash", "-c", CHURN, "churn"];
    Tool::new("timeout").args(limit).arg(&dir).unit(unit).ok().map(drop)
}

/// It can, however often; it is counted and recorded as what it is, and stops nobody's budget from
/// being spent.
fn own_files(ctx: &mut Ctx<'_>) -> Result<()> {
    const TIMES: u64 = 20;
    let tree = ctx.tree(1, 20)?;
    ctx.enforce(&tree.root, Budget::files(BUDGET).per(Per::Unit))?;
    let unit = ctx.unit("job")?;
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).unit(&unit).run()?.refused()?;
    let denied = ctx.lab.metrics()?.ops(&ctx.zone, "deny");
    for _ in 0..TIMES {
        churn(&tree, &unit)?;
    }
    old_ones_are_intact(&tree)?;
    ctx.counted("allow", BUDGET + TIMES * CHURNED)?;
    ctx.counted("deny", denied as u64)?;
    // Another unit still has all of its own budget.
    let other = ctx.unit("other")?;
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).unit(&other).run()?.refused()?;
    tree.lost_exactly(2 * BUDGET)
}

fn never_paused(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 20)?;
    let budget = Budget::files(BUDGET).per(Per::Unit);
    for zone in [ctx.new_zone(&tree.root).hold(), ctx.new_zone(&tree.root).throttle()] {
        ctx.guard(&[zone.budget(budget.clone())])?;
        let unit = ctx.unit("job")?;
        let rm = Tool::new("rm").arg("-rf").arg(tree.tenant(0)).unit(&unit).start()?;
        until("the job is paused", PATIENCE, || {
            Ok(Some(unit.stopped("rm", 1)?).filter(|pids| !pids.is_empty()))
        })?;
        churn(&tree, &unit)?;
        unit.kill()?;
        rm.wait()?;
    }
    tree.rest_is_intact()
}

/// A unit that has spent its budget to the last file has not tripped yet, and does not by removing
/// its lock.
fn no_trip(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 20)?;
    ctx.enforce(&tree.root, Budget::files(BUDGET).per(Per::Zone))?;
    spend(&tree)?;
    let lock = tree.tenant(0).join("lock");
    for _ in 0..50 {
        fs::create_dir(&lock)?;
        fs::remove_dir(&lock)?;
    }
    ctx.counted("allow", BUDGET + 50)?;
    let labels = [("zone", ctx.zone.as_str())];
    check_eq!(ctx.lab.metrics()?.sum("holdfast_trips_total", &labels), 0.0, "trips");
    refused(fs::remove_file(tree.file(0, BUDGET)), "a file that was there before")?;
    ctx.metrics_until("the trip", |metrics| metrics.sum("holdfast_trips_total", &labels) == 1.0)?;
    old_ones_are_intact(&tree)
}

/// By a rename, an exchange or a link an old file comes to the name of a fresh one.
fn old_files(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = tripped(ctx)?;
    let (dir, old) = (tree.tenant(0), tree.file(0, 10));
    let name = dir.join("name");

    fs::write(&name, "")?;
    fs::rename(&old, &name)?;
    refused(fs::remove_file(&name), "an old file that was moved over a fresh one")?;
    fs::rename(&name, &old)?;

    fs::write(&name, "")?;
    renameat_with(CWD, &name, CWD, &old, RenameFlags::EXCHANGE)?;
    refused(fs::remove_file(&name), "an old file that was exchanged with a fresh one")?;
    renameat_with(CWD, &name, CWD, &old, RenameFlags::EXCHANGE)?;
    fs::remove_file(&name)?;

    fs::hard_link(&old, &name)?;
    fs::remove_file(&old)?;
    refused(fs::remove_file(&name), "the last name of an old file")?;
    fs::rename(&name, &old)?;

    // Its own new file cannot take the place of an old one, and can go.
    fs::write(&name, "new")?;
    refused(fs::rename(&name, &old), "a fresh file over an old one")?;
    let outside = ctx.outside()?.join("name");
    refused(fs::rename(&name, outside), "a fresh file out of the zone")?;
    refused(fs::write(&name, ""), "the truncation of a fresh file")?;
    fs::remove_file(&name)?;

    // A fresh directory goes empty, and takes nothing along.
    let (box_, moved) = (dir.join("box"), dir.join("moved"));
    fs::create_dir(&box_)?;
    fs::rename(&old, box_.join("old"))?;
    fs::rename(&box_, &moved)?;
    refused(fs::remove_file(moved.join("old")), "an old file in a fresh directory")?;
    let error = fs::remove_dir(&moved).err().map(|error| error.kind());
    check_eq!(error, Some(ErrorKind::DirectoryNotEmpty), "error of rmdir");
    fs::rename(moved.join("old"), &old)?;
    fs::remove_dir(&moved)?;
    old_ones_are_intact(&tree)
}

/// open(2) with O_CREAT asks whether a file may be made before it looks whether it is there, if the
/// name is not in memory.
fn opened(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = tripped(ctx)?;
    fs::write("/proc/sys/vm/drop_caches", "2")?;
    for file in tree.paths().skip(BUDGET as usize) {
        drop(fs::OpenOptions::new().create(true).append(true).open(&file)?);
        refused(fs::remove_file(&file), "a file that was only opened")?;
    }
    old_ones_are_intact(&tree)
}

fn other_units(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = tripped(ctx)?;
    let (file, dir) = (tree.tenant(0).join("file"), tree.tenant(0).join("dir"));
    let unit = ctx.unit("other")?;
    let make = "echo other >\"$1\"; mkdir \"$2\"";
    Tool::new("bash").args(["-c", make, "make"]).arg(&file).arg(&dir).unit(&unit).ok()?;
    refused(fs::remove_file(&file), "another unit's file")?;
    refused(fs::remove_dir(&dir), "another unit's directory")?;
    let own = tree.tenant(0).join("own");
    fs::write(&own, "own")?;
    refused(fs::rename(&own, &file), "a fresh file over another unit's")?;
    sh("rm \"$1\"", [&own])?.ok()?;
    let take = "rm \"$1\"; rmdir \"$2\"";
    Tool::new("bash").args(["-c", take, "take"]).arg(&file).arg(&dir).unit(&unit).ok()?;
    old_ones_are_intact(&tree)
}
