//! Disasters that happened, with the tools that did them, on a small scale.

use anyhow::Result;
use holdfast_abi::{Op, Per, Who};

use crate::harness::tree::{count, make_files};
use crate::harness::{Budget, Ctx, Tool, Tree, Zone, check, check_eq, sh};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::each("firstserver_2012", firstserver),
    Scenario::once("kyoto_university_2021", kyoto),
    Scenario::each("gitlab_2017", gitlab),
    Scenario::each("one_two_three_reg_2016", images),
    Scenario::each("steam_3671", steam),
    Scenario::each("atlassian_2022", atlassian),
    Scenario::each("mirror_from_an_empty_source", mirror),
    Scenario::each("mv_away_and_mount_over", mv_away),
];

/// Production and backup in one go, on hosts that were never targets.
fn firstserver(ctx: &mut Ctx<'_>) -> Result<()> {
    let (customers, backups) = firstserver_host(ctx)?;
    firstserver_script(&customers, &backups)?;
    customers.lost_exactly(20)?;
    backups.lost_exactly(10)
}

/// One of those hosts, guarded: at most 20 files of the customers' and 10 of the backups.
pub(super) fn firstserver_host(ctx: &mut Ctx<'_>) -> Result<(Tree, Tree)> {
    let customers = Tree::make(&ctx.base.join("customers"), 10, 30)?;
    let backups = Tree::make(&ctx.base.join("backups"), 10, 30)?;
    let second = Zone::new(&format!("{}-backup", ctx.zone), &backups.root).backup();
    ctx.guard(&[
        ctx.new_zone(&customers.root).budget(Budget::files(20).per(Per::Unit).window("10m")),
        second.budget(Budget::files(10).per(Per::Unit).window("10m")),
    ])?;
    Ok((customers, backups))
}

/// The script that ran on it.
pub(super) fn firstserver_script(customers: &Tree, backups: &Tree) -> Result<()> {
    let script = crate::demo::SCRIPT;
    let update = Tool::new("bash").args(["-c", script, "update"]);
    update.arg(&customers.root).arg(&backups.root).run().map(drop)
}

/// A clean-up of old logs let loose on the data, slowly: no short window sees it, the long one
/// does.
fn kyoto(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(6, 30)?;
    let zone = ctx.new_zone(&tree.root);
    ctx.guard(&[zone
        .budget(Budget::files(40).window("2s"))
        .budget(Budget::files(75).window("1d"))])?;
    // LOG_DIR is not set: the script's own file was replaced while it ran.
    let script = "cd \"$1\" && for d in customer-00?; do \
        find \"$PWD/$LOG_DIR\"\"$d\" -name '*' -type f -delete; sleep 2.3; done";
    let outcome = sh(script, [&tree.root])?;
    check!(
        outcome.stderr.contains("Operation not permitted"),
        "{}",
        outcome.describe("not stopped")
    );
    check_eq!(tree.files_gone()?, 75, "files gone");
    tree.rest_is_intact()
}

/// 300 GB in a few files, on the wrong host, in seconds. Here 4 files of 8 MiB, all written: a hole
/// costs nothing.
fn gitlab(ctx: &mut Ctx<'_>) -> Result<()> {
    const SIZE: u64 = 8 << 20;
    let root = ctx.base.join("zone");
    make_files(&root.join("postgresql/base"), "table", 4, SIZE as usize)?;
    ctx.guard(&[ctx
        .new_zone(&root)
        .budget(Budget::files(1000))
        .budget(Budget::bytes(SIZE / 4).per(Per::Unit))])?;
    Tool::new("rm").arg("-Rvf").arg(root.join("postgresql/base")).run()?.refused()?;
    check_eq!(count(&root)?.bytes, 4 * SIZE, "bytes left: one file alone is over budget");
    Ok(())
}

/// A clean-up that reads "no records" and deletes live machines' images.
fn images(ctx: &mut Ctx<'_>) -> Result<()> {
    const SIZE: u64 = 1 << 20;
    let root = ctx.base.join("zone");
    for vm in 0..8 {
        make_files(&root.join(format!("vm-{vm}")), "disk", 1, SIZE as usize)?;
    }
    ctx.enforce(&root, Budget::bytes(5 * SIZE).and_tenants(2))?;
    sh("for vm in \"$1\"/*; do grep -qs \"${vm##*/}\" /dev/null || rm -rf \"$vm\"; done", [&root])?
        .refused()?;
    check_eq!(count(&root)?.bytes, 6 * SIZE, "bytes left: two machines, then no more");
    Ok(())
}

/// `rm -rf "$STEAMROOT/"*` with an empty variable, a mounted backup drive included.
fn steam(ctx: &mut Ctx<'_>) -> Result<()> {
    let home = Tree::make(&ctx.base.join("fs/home"), 3, 20)?;
    let backup = Tree::make(&ctx.base.join("fs/media-backup"), 3, 20)?;
    let second = Zone::new(&format!("{}-backup", ctx.zone), &backup.root).backup();
    ctx.guard(&[
        ctx.new_zone(&home.root).budget(Budget::files(11)),
        second.budget(Budget::files(5)),
    ])?;
    let outcome = sh("cd \"$1\" && rm -rf \"$PWD$STEAMROOT/\"*", [ctx.base.join("fs")])?;
    outcome.refused()?;
    home.lost_exactly(11)?;
    backup.lost_exactly(5)
}

/// The wrong identifiers: whole sites, one after another.
fn atlassian(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(12, 15)?;
    ctx.enforce(&tree.root, Budget::tenants(4).per(Per::Unit).who(Who::Operators))?;
    let ids: Vec<_> = (0..12).map(|n| tree.tenant(n)).collect();
    Tool::new("rm").arg("-rf").args(&ids).run()?.refused()?;
    check_eq!(tree.tenants_touched(), 4, "tenants touched");
    tree.lost_exactly(4 * 16)
}

fn mirror(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(12, 15)?;
    let zone = ctx.new_zone(&tree.root).backup();
    ctx.guard(&[zone.budget(Budget::files(500).and_tenants(2))])?;
    let source = ctx.outside()?.display().to_string() + "/";
    let target = tree.root.display().to_string() + "/";
    let outcome = Tool::new("rsync").args(["-a", "--delete", &source, &target]).run()?;
    check!(!outcome.succeeded(), "{}", outcome.describe("should have failed"));
    check_eq!(tree.tenants_touched(), 2, "tenants touched");
    tree.rest_is_intact()
}

/// `mv customers customers.old` and something else in its place: gone in one call, no file removed.
fn mv_away(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(3, 10)?;
    ctx.enforce(&tree.root, Budget::files(1000).ops(&[Op::Remove, Op::MoveOut, Op::Detach]))?;
    sh("mv \"$1\" \"$1.old\" && mkdir \"$1\"", [&tree.root])?.refused()?;
    sh("mkdir \"$1.new\" && mv -T \"$1\"/customer-000 \"$1.new\"/gone", [&tree.root])?.refused()?;
    tree.lost_exactly(0)
}
