//! Data that goes although every file stays: shrinking costs a file and the bytes lost, all else is
//! free.

use std::fs::{self, File};

use anyhow::Result;

use crate::harness::tree::{content, count, make_files};
use crate::harness::{Budget, Ctx, Tool, check, check_eq, cli, sh};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::each("truncate_s_0", truncate_tool),
    Scenario::each("redirection_empties_files", redirection),
    Scenario::each("ftruncate", ftruncate),
    Scenario::each("shrinking_costs_the_bytes_lost", shrinking),
    Scenario::each("sparse_files_cost_their_blocks", sparse),
    Scenario::each("growing_is_free", growing),
    Scenario::each("truncating_empty_files_is_free", empty),
    Scenario::each("cp_over_existing_files", cp_over),
];

fn truncate_tool(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(2, 25, 13)?;
    sh("truncate -s 0 \"$1\"/*/*", [&tree.root])?.refused()?;
    check_eq!(tree.emptied(), 13, "files emptied");
    check_eq!(tree.gone()?, 0, "files gone");
    let event = ctx.event("the trip", |event| cli::text(event, "verdict") == "deny")?;
    check_eq!(cli::text(&event, "op"), "truncate", "op of the trip's event");
    Ok(())
}

fn redirection(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(2, 25, 13)?;
    let outcome = sh("for f in \"$1\"/*/*; do > \"$f\"; done", [&tree.root])?;
    check!(
        outcome.stderr.contains("Operation not permitted"),
        "{}",
        outcome.describe("should have said what was refused")
    );
    check_eq!(tree.emptied(), 13, "files emptied");
    Ok(())
}

fn ftruncate(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(1, 30, 11)?;
    let mut refused = 0;
    for path in tree.paths() {
        let file = File::options().write(true).open(&path)?;
        refused += u64::from(file.set_len(1).is_err());
    }
    check_eq!(refused, 19, "ftruncate calls refused");
    check_eq!(count(&tree.root)?.bytes, 11 + intact_bytes(11..30), "bytes left");
    Ok(())
}

fn intact_bytes(files: std::ops::Range<u64>) -> u64 {
    files.map(|file| content(0, file).len() as u64).sum()
}

fn shrinking(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    let files = make_files(&root, "file", 10, 1000)?;
    ctx.enforce(&root, Budget::bytes(2500))?;
    // 400 bytes each: six times fit into 2,500, a seventh does not.
    for (n, path) in files.iter().enumerate() {
        let outcome = File::options().write(true).open(path)?.set_len(600);
        check_eq!(outcome.is_ok(), n < 6, "truncation number {n}");
    }
    check_eq!(count(&root)?.bytes, 10_000 - 2400, "bytes left");
    Ok(())
}

/// Eight removals of sparse files spent everybody's budget of a day. What was written a moment ago
/// counts, although it may have no blocks on the disk yet.
fn sparse(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    let sparse = make_files(&root, "sparse", 10, 100)?;
    let dense = make_files(&root, "dense", 6, 100_000)?;
    for path in &sparse {
        File::options().write(true).open(path)?.set_len(1 << 30)?;
    }
    // A file's blocks, and a page or so of the cache for each.
    ctx.enforce(&root, Budget::bytes(3 * 100_000 + 10 * 20_000))?;
    for (n, path) in sparse.iter().enumerate() {
        match n % 2 {
            0 => fs::remove_file(path)?,
            _ => File::options().write(true).open(path)?.set_len(200)?,
        }
    }
    ctx.nothing_denied()?;
    let gone = dense.iter().filter(|path| fs::remove_file(path).is_ok()).count();
    check!((3..=4).contains(&gone), "{gone} files of 100,000 bytes went");
    Ok(())
}

fn growing(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(1, 30, 1)?;
    Tool::new("truncate").args(["-s", "4096"]).args(tree.paths()).ok()?;
    Tool::new("truncate").args(["-s", "4096"]).args(tree.paths()).ok()?;
    sh("for f in \"$1\"/*/*; do echo more >> \"$f\"; done", [&tree.root])?.ok()?;
    ctx.nothing_denied()?;
    File::options().write(true).open(tree.file(0, 0))?.set_len(0)?;
    check!(
        File::options().write(true).open(tree.file(0, 1))?.set_len(0).is_err(),
        "growing must have cost nothing, and the budget is one file"
    );
    Ok(())
}

fn empty(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    let files = make_files(&root, "file", 30, 0)?;
    ctx.enforce(&root, Budget::files(1))?;
    sh("for f in \"$1\"/*; do > \"$f\"; truncate -s 0 \"$f\"; done", [&root])?.ok()?;
    ctx.nothing_denied()?;
    fs::remove_file(&files[0])?;
    check!(fs::remove_file(&files[1]).is_err(), "the budget is one file");
    Ok(())
}

/// cp opens its target with O_TRUNC.
fn cp_over(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(1, 12, 8)?;
    let source = make_files(&ctx.outside()?, "source", 1, 5)?;
    sh("for f in \"$1\"/*/*; do cp \"$2\" \"$f\"; done", [&tree.root, &source[0]])?;
    let lost =
        tree.paths().filter(|path| fs::read(path).is_ok_and(|body| body == b"xxxxx")).count();
    check_eq!(lost, 8, "files overwritten");
    Ok(())
}
