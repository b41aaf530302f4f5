//! To the last file, byte and tenant, however many spend it at once.

use std::fs;

use anyhow::{Context as _, Result};
use holdfast_abi::Op;

use super::{own, unlink};
use crate::harness::allowance::{Doc, Draft, Grant};
use crate::harness::tree::{content, make_files};
use crate::harness::{Ctx, Tool, Tree, check, check_eq, cli};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::each("allowance_is_exact_for_eight_processes", processes),
    Scenario::each("allowance_is_exact_for_eight_threads", threads),
    Scenario::each("failed_op_spends_no_allowance", failed),
    Scenario::each("allowance_is_exact_to_the_byte", bytes),
    Scenario::each("allowance_is_exact_to_the_tenant", tenants),
    Scenario::each("granted_ops_are_covered_and_counted", ops),
];

const ALLOWED: u64 = 1000;
/// What the budget gives on top.
const BUDGET: u64 = 5;
const WORKERS: u64 = 8;
const FILES: u64 = 130;

fn thousand(ctx: &mut Ctx<'_>) -> Result<(Tree, Doc)> {
    let tree = ctx.signed_tree(WORKERS, FILES, BUDGET)?;
    let doc = ctx.removals("thousand", &[&tree.root], ALLOWED)?;
    Ok((tree, doc))
}

/// The thousand of the allowance and the few of the budget are gone, and nothing else.
fn a_thousand(ctx: &Ctx<'_>, tree: &Tree, doc: &Doc) -> Result<()> {
    let report = doc.becomes("closed", Some("finished"))?;
    check_eq!(cli::number(&report["grants"][0]["files"], "spent")?, ALLOWED, "files spent");
    tree.lost_exactly(ALLOWED + BUDGET)?;
    ctx.counted("allow", ALLOWED + BUDGET)?;
    ctx.counted("deny", WORKERS * FILES - ALLOWED - BUDGET)
}

/// All at once, under an allowance of a thousand files.
fn processes(ctx: &mut Ctx<'_>) -> Result<()> {
    let (tree, doc) = thousand(ctx)?;
    let go = ctx.base.join("go");
    let mut script = String::new();
    for worker in 0..WORKERS {
        let (own, dir) = (own()?, tree.tenant(worker));
        script += &format!(
            "'{}' helper unlink '{}' --go '{}' 2>/dev/null &\n",
            own.display(),
            dir.display(),
            go.display()
        );
    }
    script += &format!("sleep 2; touch '{}'; wait\n", go.display());
    let outcome = doc.run(["bash", "-c", &script]).run()?.ok()?;
    let gone: Vec<u64> = outcome.stdout.lines().map(str::parse).collect::<Result<_, _>>()?;
    check_eq!(gone.len() as u64, WORKERS, "processes that said how many they removed");
    check_eq!(gone.iter().sum::<u64>(), ALLOWED + BUDGET, "calls that succeeded");
    a_thousand(ctx, &tree, &doc)
}

/// All at once, under an allowance of a thousand files.
fn threads(ctx: &mut Ctx<'_>) -> Result<()> {
    let (tree, doc) = thousand(ctx)?;
    let mut command = unlink(&tree.root)?;
    command.extend(["--threads".to_owned(), WORKERS.to_string()]);
    let outcome = doc.run(&command).run()?.ok()?;
    check_eq!(outcome.stdout.trim(), (ALLOWED + BUDGET).to_string(), "calls that succeeded");
    a_thousand(ctx, &tree, &doc)
}

/// Directories that are not empty cannot be removed, however often somebody tries.
fn failed(ctx: &mut Ctx<'_>) -> Result<()> {
    const LIMIT: u64 = 30;
    let tree = ctx.signed_tree(1, 60, 1)?;
    let doc = ctx.removals("failed", &[&tree.tenant(0)], LIMIT)?;
    let script =
        "for n in {1..40}; do rmdir \"$1\" 2>/dev/null && exit 9; done; shift; exec \"$@\"";
    let command = [
        vec!["bash".into(), "-c".into(), script.into(), "script".into()],
        vec![tree.tenant(0).display().to_string()],
        unlink(&tree.tenant(0))?,
    ]
    .concat();
    let outcome = doc.run(&command).run()?.ok()?;
    check_eq!(outcome.stdout.trim(), (LIMIT + 1).to_string(), "calls that succeeded");
    tree.lost_exactly(LIMIT + 1)?;
    check_eq!(doc.files_spent(0)?, LIMIT, "files spent");
    Ok(())
}

fn bytes(ctx: &mut Ctx<'_>) -> Result<()> {
    const SIZE: u64 = 1000;
    let root = ctx.base.join("zone");
    make_files(&root.join("tenant"), "file", 30, SIZE as usize)?;
    ctx.signed_tree(0, 0, 1)?;
    for (name, bytes, covered) in [("even", 10 * SIZE, 10), ("odd", 4 * SIZE - 1, 3)] {
        let unit = ctx.unit(name)?;
        let grant = Grant { bytes, ..Grant::removals(&ctx.zone, &[&root], 1000) };
        let doc = Draft::new(ctx, name, vec![grant])?.signed(ctx)?;
        let outcome = doc.run(unlink(&root)?).unit(&unit).run()?.ok()?;
        check_eq!(outcome.stdout.trim(), (covered + 1).to_string(), "calls that succeeded");
        let report = doc.becomes("closed", None)?;
        let spent = &report["grants"][0];
        check_eq!(cli::number(&spent["bytes"], "spent")?, covered * SIZE, "bytes spent");
        check_eq!(cli::number(&spent["files"], "spent")?, covered, "files spent");
    }
    Ok(())
}

fn tenants(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.signed_tree(6, 10, 1)?;
    let grant = Grant { tenants: 3, ..Grant::removals(&ctx.zone, &[&tree.root], 1000) };
    let doc = Draft::new(ctx, "three", vec![grant])?.signed(ctx)?;
    let outcome = doc.run(unlink(&tree.root)?).run()?.ok()?;
    check_eq!(outcome.stdout.trim(), "31", "calls that succeeded");
    tree.lost_exactly(31)?;
    let report = doc.becomes("closed", None)?;
    check_eq!(cli::number(&report["grants"][0]["tenants"], "spent")?, 3, "tenants spent");
    Ok(())
}

/// Replacing, emptying, moving out and moving a whole directory out, each once.
fn ops(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.signed_tree(2, 8, 1)?;
    let outside = ctx.outside()?;
    let ops = [Op::Remove, Op::Replace, Op::Truncate, Op::MoveOut, Op::Detach];
    // Moved with all that is in it: what that costs nobody knows, and it has to be listed.
    fs::create_dir(tree.tenant(1).join("site"))?;
    fs::write(tree.tenant(1).join("site/index"), "index")?;
    let grant =
        Grant { ops: ops.to_vec(), ..Grant::removals(&ctx.zone, &[&tree.root], ops.len() as u64) };
    let doc = Draft::new(ctx, "ops", vec![grant])?.signed(ctx)?;
    Tool::new("rm").arg(tree.file(1, 7)).ok()?;
    let script = "set -e; rm file-0000.dat; mv -f file-0001.dat file-0002.dat; : >file-0003.dat; \
        mv file-0004.dat \"$1\"; mv ../customer-001/site \"$1\"; \
        rm file-0005.dat 2>/dev/null && exit 9; exit 0";
    let outside_text = outside.display().to_string();
    let run = doc.run(["bash", "-c", script, "script", &outside_text]);
    run.cwd(&tree.tenant(0)).run()?.ok()?;
    let report = doc.becomes("closed", None)?;
    check_eq!(cli::number(&report["grants"][0]["files"], "left")?, 0, "files left");
    check!(outside.join("site/index").exists() && tree.file(0, 5).exists(), "one more was refused");
    let moved = fs::read_to_string(tree.file(0, 2)).context("the file that was replaced")?;
    check_eq!(moved, content(0, 1), "what replaced it");
    ctx.counted("deny", 1)
}
