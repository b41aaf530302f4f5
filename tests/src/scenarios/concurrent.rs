//! Many at once: the sum of what all of them destroy is exact, in every kind of account.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Barrier;

use anyhow::{Context as _, Result};
use holdfast_abi::Per;

use crate::harness::tool::Running;
use crate::harness::{Budget, Ctx, Tool, Tree, Unit, check, check_eq};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::each("eight_threads_at_once", threads),
    Scenario::each("eight_processes_at_once", processes),
    Scenario::each("eight_units_with_a_budget_each", units),
    Scenario::each("eight_units_share_the_zone_budget", units_under_zone),
    Scenario::each("two_attackers_with_a_budget_each", two_attackers),
    Scenario::each("all_op_kinds_share_a_budget", mixed_ops),
];

const WORKERS: u64 = 8;
const FILES: u64 = 60;

fn threads(ctx: &mut Ctx<'_>) -> Result<()> {
    const BUDGET: u64 = 111;
    let tree = ctx.guarded(WORKERS, FILES, BUDGET)?;
    let barrier = Barrier::new(WORKERS as usize);
    let gone: u64 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|n| {
                let (tree, barrier) = (&tree, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    (0..FILES).filter(|&file| fs::remove_file(tree.file(n, file)).is_ok()).count()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or(0) as u64).sum()
    });
    check_eq!(gone, BUDGET, "calls that succeeded");
    tree.lost_exactly(BUDGET)?;
    ctx.counted("allow", BUDGET)?;
    ctx.counted("deny", WORKERS * FILES - BUDGET)
}

/// Starts a deleter for each directory; all begin when `go` appears.
fn start(dirs: &[(PathBuf, Option<&Unit>)], go: &Path) -> Result<Vec<Running>> {
    dirs.iter()
        .map(|(dir, unit)| {
            let mut tool = Tool::new(std::env::current_exe()?).args(["helper", "unlink", "--go"]);
            tool = tool.arg(go).arg(dir);
            if let Some(unit) = unit {
                tool = tool.unit(unit);
            }
            tool.start()
        })
        .collect()
}

/// Lets them go and returns how many files each removed.
fn finish(running: Vec<Running>, go: &Path) -> Result<Vec<u64>> {
    fs::write(go, "")?;
    running
        .into_iter()
        .map(|one| one.wait()?.ok()?.stdout.trim().parse().context("not a count"))
        .collect()
}

fn processes(ctx: &mut Ctx<'_>) -> Result<()> {
    const BUDGET: u64 = 100;
    let tree = ctx.guarded(WORKERS, FILES, BUDGET)?;
    let go = ctx.base.join("go");
    let dirs: Vec<_> = (0..WORKERS).map(|n| (tree.tenant(n), None)).collect();
    let gone = finish(start(&dirs, &go)?, &go)?;
    check_eq!(gone.iter().sum::<u64>(), BUDGET, "files removed by all: {gone:?}");
    tree.lost_exactly(BUDGET)?;
    ctx.counted("allow", BUDGET)
}

/// Runs eight deleters, each in a cgroup of its own; how many files each removed.
fn in_units(ctx: &Ctx<'_>, tree: &Tree) -> Result<Vec<u64>> {
    let units: Vec<_> =
        (0..WORKERS).map(|n| Unit::new(&format!("{}-{n}", ctx.zone))).collect::<Result<_>>()?;
    let go = ctx.base.join("go");
    let dirs: Vec<_> = (0..WORKERS).map(|n| (tree.tenant(n), Some(&units[n as usize]))).collect();
    finish(start(&dirs, &go)?, &go)
}

fn units(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(WORKERS, FILES)?;
    ctx.enforce(&tree.root, Budget::files(19).per(Per::Unit))?;
    let gone = in_units(ctx, &tree)?;
    check_eq!(gone, vec![19; WORKERS as usize], "files each unit removed");
    tree.lost_exactly(19 * WORKERS)
}

fn units_under_zone(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(WORKERS, FILES)?;
    let zone = ctx.new_zone(&tree.root);
    ctx.guard(&[zone.budget(Budget::files(19).per(Per::Unit)).budget(Budget::files(100))])?;
    let gone = in_units(ctx, &tree)?;
    check_eq!(gone.iter().sum::<u64>(), 100, "files all units removed: {gone:?}");
    check!(gone.iter().all(|&files| files <= 19), "no unit removed more than 19: {gone:?}");
    tree.lost_exactly(100)
}

fn two_attackers(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(2, 100)?;
    ctx.enforce(&tree.root, Budget::files(30).per(Per::Unit))?;
    let units = [Unit::new(&format!("{}-a", ctx.zone))?, Unit::new(&format!("{}-b", ctx.zone))?];
    let rm = |n: u64| Tool::new("rm").arg("-rf").arg(tree.tenant(n)).unit(&units[n as usize]);
    let (first, second) = (rm(0).start()?, rm(1).start()?);
    first.wait()?.refused()?;
    second.wait()?.refused()?;
    for tenant in 0..2 {
        let left = crate::harness::tree::count(&tree.tenant(tenant))?.files;
        check_eq!(left, 70, "files left of tenant {tenant}");
    }
    tree.rest_is_intact()
}

/// Removing, replacing, truncating and moving out side by side spend from one account.
fn mixed_ops(ctx: &mut Ctx<'_>) -> Result<()> {
    const BUDGET: u64 = 90;
    let tree = ctx.guarded(4, FILES, BUDGET)?;
    let outside = ctx.outside()?;
    let sources = crate::harness::tree::make_files(&outside.join("new"), "new", FILES, 5)?;
    let barrier = Barrier::new(4);
    let ops: [&(dyn Fn(u64) -> bool + Sync); 4] = [
        &|file| fs::remove_file(tree.file(0, file)).is_ok(),
        &|file| fs::rename(&sources[file as usize], tree.file(1, file)).is_ok(),
        &|file| fs::File::options().write(true).truncate(true).open(tree.file(2, file)).is_ok(),
        &|file| fs::rename(tree.file(3, file), outside.join(file.to_string())).is_ok(),
    ];
    let done: u64 = std::thread::scope(|scope| {
        let workers: Vec<_> = ops
            .iter()
            .map(|op| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    (0..FILES).filter(|&file| op(file)).count() as u64
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or(0)).sum()
    });
    check_eq!(done, BUDGET, "ops that succeeded");
    ctx.counted("allow", BUDGET)
}
