//! Renames: files that leave, files that are overwritten, directories that would vanish in one
//! stroke.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::Result;
use rustix::fs::{CWD, FileType, Mode, RenameFlags, makedev, mknodat, renameat_with};
use rustix::io::Errno;

use crate::harness::tree::{count, make_files};
use crate::harness::{Budget, Ctx, Tool, Tree, check_eq, cli, sh};
use crate::runner::{Fs, Scenario};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::each("mv_files_out_of_the_zone", mv_files_out),
    Scenario::each("mv_a_directory_out_is_denied", mv_directory_out),
    Scenario::each("mv_to_another_filesystem", mv_to_another_filesystem),
    Scenario::each("mv_within_the_zone_is_free", mv_within),
    Scenario::each("mv_over_existing_files", mv_over),
    Scenario::each("mv_from_outside_over_existing_files", mv_from_outside_over),
    Scenario::each("mv_over_empty_files_costs_each", mv_over_empty),
    Scenario::each("mv_over_links_costs_each", mv_over_special),
    Scenario::each("rename_of_the_root_is_denied", rename_root),
    Scenario::each("removal_of_the_root_is_denied", remove_root),
    Scenario::each("exchange_within_the_zone_is_free", exchange_within),
    Scenario::each("exchange_across_border_moves_out", exchange_across),
    Scenario::each("mv_between_zones_moves_out", mv_between_zones),
];

fn mv_files_out(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(2, 10, 7)?;
    let outside = ctx.outside()?;
    for (n, path) in tree.paths().enumerate() {
        Tool::new("mv").arg(path).arg(outside.join(n.to_string())).run()?;
    }
    tree.lost_exactly(7)?;
    check_eq!(count(&outside)?.files, 7, "files that arrived outside");
    let event = ctx.event("the trip", |event| cli::text(event, "verdict") == "deny")?;
    check_eq!(cli::text(&event, "op"), "move_out", "op of the trip's event");
    Ok(())
}

fn mv_directory_out(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(3, 5, 1000)?;
    Tool::new("mv").arg(tree.tenant(1)).arg(ctx.outside()?).run()?.refused()?;
    tree.lost_exactly(0)?;
    let event = ctx.event("the detach", |event| cli::text(event, "op") == "detach")?;
    check_eq!(cli::text(&event, "reason"), "unknown_cost", "reason");
    // It does not latch: single files can still be removed.
    fs::remove_file(tree.file(0, 0))?;
    tree.lost_exactly(1)
}

/// Across filesystems mv copies and then unlinks.
fn mv_to_another_filesystem(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(2, 30, 17)?;
    let other = if ctx.fs == Fs::Ext4 { Fs::Tmpfs } else { Fs::Ext4 };
    let there = std::path::Path::new(other.mount()).join(format!("{}-there", ctx.zone));
    fs::create_dir_all(&there)?;
    Tool::new("mv").arg(tree.tenant(0)).arg(tree.tenant(1)).arg(&there).run()?.refused()?;
    ctx.lab.discard(there);
    tree.lost_exactly(17)
}

fn mv_within(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(3, 10, 1)?;
    sh(
        "cd \"$1\" && for f in customer-000/*; do mv \"$f\" \"customer-001/new-${f##*/}\"; done",
        [&tree.root],
    )?
    .ok()?;
    sh("cd \"$1\" && mv customer-002 customer-001/inner", [&tree.root])?.ok()?;
    check_eq!(count(&tree.root)?.files, 30, "files in the zone");
    ctx.nothing_denied()?;
    // Nothing was spent: the one file is still in the budget, a second is not.
    sh("cd \"$1\" && rm customer-001/new-file-0000.dat", [&tree.root])?.ok()?;
    sh("cd \"$1\" && rm customer-001/new-file-0001.dat", [&tree.root])?.refused()?;
    Ok(())
}

/// Counts files of the tree whose content was replaced.
fn replaced(tree: &Tree) -> u64 {
    tree.paths().filter(|path| fs::read(path).is_ok_and(|body| body == b"xxxxx")).count() as u64
}

fn overwrite_all(tree: &Tree, sources: &[std::path::PathBuf]) -> Result<()> {
    for (source, target) in sources.iter().zip(tree.paths()) {
        Tool::new("mv").arg("-f").arg(source).arg(target).run()?;
    }
    Ok(())
}

fn mv_over(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(1, 15, 9)?;
    let sources = make_files(&tree.root.join("incoming"), "new", 15, 5)?;
    overwrite_all(&tree, &sources)?;
    check_eq!(replaced(&tree), 9, "files replaced");
    let event = ctx.event("the trip", |event| cli::text(event, "verdict") == "deny")?;
    check_eq!(cli::text(&event, "op"), "replace", "op of the trip's event");
    Ok(())
}

fn mv_from_outside_over(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(1, 15, 9)?;
    let sources = make_files(&ctx.outside()?, "new", 15, 5)?;
    overwrite_all(&tree, &sources)?;
    check_eq!(replaced(&tree), 9, "files replaced");
    check_eq!(count(&ctx.outside()?)?.files, 6, "sources that stayed");
    Ok(())
}

fn mv_over_empty(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    let targets = make_files(&root, "target", 20, 0)?;
    let sources = make_files(&root, "new", 20, 5)?;
    ctx.enforce(&root, Budget::files(6).and_bytes(1))?;
    let moved = sources.iter().zip(&targets).filter(|(from, to)| fs::rename(from, to).is_ok());
    check_eq!(moved.count(), 6, "empty files replaced, of no bytes");
    ctx.counted("allow", 6)
}

/// A chain of renames left one of a thousand links, and cost nothing.
fn mv_over_special(ctx: &mut Ctx<'_>) -> Result<()> {
    const EACH: usize = 10;
    let root = ctx.base.join("zone");
    fs::create_dir(&root)?;
    let mode = Mode::from_raw_mode(0o644);
    for n in 0..EACH {
        symlink("/nowhere", root.join(format!("link-{n}")))?;
        mknodat(CWD, root.join(format!("pipe-{n}")), FileType::Fifo, mode, 0)?;
        mknodat(CWD, root.join(format!("socket-{n}")), FileType::Socket, mode, 0)?;
        mknodat(
            CWD,
            root.join(format!("null-{n}")),
            FileType::CharacterDevice,
            mode,
            makedev(1, 3),
        )?;
    }
    let budget = 30;
    ctx.enforce(&root, Budget::files(budget).and_bytes(1))?;
    let mut replaced = 0;
    for kind in ["link", "pipe", "socket", "null"] {
        for n in 1..EACH {
            let [from, to] = [n - 1, n].map(|n| root.join(format!("{kind}-{n}")));
            replaced += u64::from(fs::rename(from, to).is_ok());
        }
    }
    check_eq!(replaced, budget, "names replaced");
    let left = fs::read_dir(&root)?.count() as u64;
    check_eq!(left, 4 * EACH as u64 - budget, "names left");
    ctx.counted("allow", budget)
}

fn rename_root(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(2, 5, 1000)?;
    let old = ctx.base.join("zone.old");
    Tool::new("mv").arg(&tree.root).arg(&old).run()?.refused()?;
    tree.lost_exactly(0)?;
    ctx.event("the detach", |event| cli::text(event, "op") == "detach").map(drop)
}

fn remove_root(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(1, 3, 1000)?;
    Tool::new("rm").arg("-rf").arg(&tree.root).run()?.refused()?;
    check_eq!(tree.root.exists(), true, "the root is there");
    check_eq!(tree.gone()?, 4, "files and directories gone, all within budget");
    Tool::new("rmdir").arg(&tree.root).run()?.refused()?;
    Ok(())
}

fn exchange(a: &std::path::Path, b: &std::path::Path) -> rustix::io::Result<()> {
    renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)
}

fn exchange_within(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(2, 10, 1)?;
    for file in 0..10 {
        exchange(&tree.file(0, file), &tree.file(1, file))?;
    }
    check_eq!(tree.gone()?, 0, "files gone");
    ctx.nothing_denied()?;
    fs::remove_file(tree.file(0, 0))?;
    check_eq!(fs::remove_file(tree.file(0, 1)).is_err(), true, "a second removal is denied");
    Ok(())
}

fn exchange_across(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(1, 20, 6)?;
    let strangers = make_files(&ctx.outside()?, "stranger", 20, 5)?;
    let mut denied = 0;
    for (file, stranger) in strangers.iter().enumerate() {
        // In either order of arguments.
        let mine = tree.file(0, file as u64);
        let (a, b) = if file % 2 == 0 { (&mine, stranger) } else { (stranger, &mine) };
        match exchange(a, b) {
            Ok(()) => {}
            Err(Errno::PERM) => denied += 1,
            Err(error) => return Err(error.into()),
        }
    }
    check_eq!((replaced(&tree), denied), (6, 14), "files exchanged away, and exchanges denied");
    Ok(())
}

fn mv_between_zones(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 20)?;
    let other = ctx.base.join("other");
    fs::create_dir_all(&other)?;
    let second = crate::harness::Zone::new(&format!("{}-other", ctx.zone), &other);
    ctx.guard(&[
        ctx.new_zone(&tree.root).budget(Budget::files(8)),
        second.backup().budget(Budget::files(1)),
    ])?;
    sh("mv \"$1\"/*/* \"$2\"", [&tree.root, &other])?.refused()?;
    tree.lost_exactly(8)?;
    check_eq!(count(&other)?.files, 8, "files that arrived in the other zone");
    Ok(())
}
