//! Hard links: data is destroyed with its last link and not before.

use std::fs;

use anyhow::Result;

use crate::harness::tree::{count, make_files};
use crate::harness::{Budget, Ctx, Tool, check, check_eq, cli, sh};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::each("only_the_last_link_costs", until_the_last),
    Scenario::each("a_link_outside_keeps_the_data", link_outside),
    Scenario::each("links_out_of_the_zone_count", links_out),
    Scenario::once("a_link_that_fails_costs_nothing", failing_link),
    Scenario::each("truncation_through_a_link_outside_counts", truncated_outside),
    Scenario::each("links_to_another_tenant_touch_it", links_to_tenant),
    Scenario::each("rsnapshot_rotation_is_free", rotation),
    Scenario::each("an_unlinked_open_file_is_free", unlinked_open_file),
];

fn until_the_last(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    let files = make_files(&root.join("t"), "file", 30, 10)?;
    for (n, file) in files.iter().enumerate() {
        fs::hard_link(file, root.join(format!("second-{n:02}")))?;
        fs::hard_link(file, root.join(format!("third-{n:02}")))?;
    }
    ctx.enforce(&root, Budget::files(12))?;
    sh("rm \"$1\"/second-*", [&root])?.ok()?;
    sh("rm \"$1\"/t/*", [&root])?.ok()?;
    ctx.nothing_denied()?;
    sh("rm \"$1\"/third-*", [&root])?.refused()?;
    check_eq!(count(&root)?.files, 18, "last links left");
    Ok(())
}

fn link_outside(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 22)?;
    let outside = ctx.outside()?;
    for file in 0..20 {
        fs::hard_link(tree.file(0, file), outside.join(file.to_string()))?;
    }
    ctx.enforce(&tree.root, Budget::files(1))?;
    for file in 0..20 {
        fs::remove_file(tree.file(0, file))?;
    }
    check_eq!(count(&outside)?.files, 20, "files outside");
    ctx.nothing_denied()?;
    // The last two have no other link, and the budget is one file.
    fs::remove_file(tree.file(0, 20))?;
    check!(fs::remove_file(tree.file(0, 21)).is_err(), "a second removal is denied");
    Ok(())
}

/// `cp -al` out and `rm` inside destroyed everything for the price of the directories.
fn links_out(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(2, 10, 7)?;
    let outside = ctx.outside()?;
    sh("cp -al \"$1\" \"$2\"", [&tree.root, &outside])?.refused()?;
    check_eq!(count(&outside)?.files, 7, "files that were linked out");
    let event = ctx.event("the trip", |event| cli::text(event, "verdict") == "deny")?;
    check_eq!(cli::text(&event, "op"), "move_out", "op of the trip's event");
    tree.lost_exactly(0)
}

/// A tmpfs that has no inode left for another name.
fn failing_link(ctx: &mut Ctx<'_>) -> Result<()> {
    let mount = ctx.base.join("small");
    fs::create_dir(&mount)?;
    Tool::new("mount").args(["-t", "tmpfs", "-o", "nr_inodes=20", "small"]).arg(&mount).ok()?;
    let (root, outside) = (mount.join("zone"), mount.join("outside"));
    fs::create_dir(&outside)?;
    let files = make_files(&root, "file", 6, 10)?;
    ctx.enforce(&root, Budget::files(3))?;
    let fill = |n: u32| fs::write(outside.join(format!("filler-{n}")), "").is_ok();
    let fillers = (0..20).take_while(|&n| fill(n)).count();
    check!(fillers < 20, "the file system should be full");
    for n in 0..20 {
        let error = fs::hard_link(&files[0], outside.join(n.to_string())).err();
        let kind = error.map(|error| error.kind());
        check_eq!(kind, Some(std::io::ErrorKind::StorageFull), "error of link number {n}");
    }
    sh("rm \"$1\"/filler-*", [&outside])?.ok()?;
    for (n, file) in files.iter().enumerate() {
        let linked = fs::hard_link(file, outside.join(n.to_string())).is_ok();
        check_eq!(linked, n < 3, "whether link number {n} was made");
    }
    Ok(())
}

/// The alias is in no zone, but the file has a name in one.
fn truncated_outside(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 10)?;
    let outside = ctx.outside()?;
    let aliases: Vec<_> = (0..10).map(|file| outside.join(file.to_string())).collect();
    for (file, alias) in aliases.iter().enumerate() {
        fs::hard_link(tree.file(0, file as u64), alias)?;
    }
    ctx.enforce(&tree.root, Budget::files(4))?;
    let empty = |path: &&std::path::PathBuf| {
        fs::File::options().write(true).open(path).is_ok_and(|file| file.set_len(0).is_ok())
    };
    check_eq!(aliases.iter().filter(empty).count(), 4, "files emptied by their other name");
    check_eq!(tree.emptied(), 4, "files emptied");
    // Without a name in the zone it is nobody's.
    fs::remove_file(tree.file(0, 9))?;
    check_eq!(empty(&&aliases[9]), true, "the last name is outside");
    Ok(())
}

/// Everybody's files could be linked into one tenant, and then removed as that one's.
fn links_to_tenant(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(8, 2)?;
    let junk = tree.root.join("junk");
    fs::create_dir(&junk)?;
    ctx.enforce(&tree.root, Budget::tenants(3))?;
    for file in 0..2 {
        fs::hard_link(tree.file(0, file), tree.tenant(0).join(format!("link-{file}")))?;
    }
    let link = |n: &u64| fs::hard_link(tree.file(*n, 0), junk.join(n.to_string())).is_ok();
    check_eq!((0..8).filter(link).count(), 3, "tenants whose files were linked to another");
    Ok(())
}

/// Seven generations, as rsnapshot keeps them: the oldest goes, the others move on, the newest is
/// copied as links.
fn rotation(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    make_files(&root.join("daily.0/host/etc"), "file", 60, 100)?;
    sh("cd \"$1\" && for n in 1 2 3 4 5 6; do cp -al daily.0 daily.$n; done", [&root])?.ok()?;
    // A directory costs one file: a rotation removes three (the generation, host, etc).
    ctx.enforce(&root, Budget::files(9))?;
    let rotate = "cd \"$1\" && rm -r daily.6 && for n in 5 4 3 2 1 0; \
        do mv daily.$n daily.$((n+1)); done && cp -al daily.1 daily.0";
    for _ in 0..3 {
        sh(rotate, [&root])?.ok()?;
    }
    ctx.nothing_denied()?;
    check_eq!(count(&root)?.files, 7 * 60, "files in seven generations");
    sh(rotate, [&root])?.refused()?;
    Ok(())
}

/// A file without any name left is gone already; shrinking it destroys nothing that anyone could
/// come back to.
fn unlinked_open_file(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    let files = make_files(&root, "file", 3, 100)?;
    ctx.enforce(&root, Budget::files(2))?;
    let open = fs::File::options().write(true).open(&files[0])?;
    fs::remove_file(&files[0])?;
    for size in (0..50).rev() {
        open.set_len(size)?;
    }
    Tool::new("rm").arg(&files[1]).ok()?;
    check!(fs::remove_file(&files[2]).is_err(), "the budget of two files is spent");
    Ok(())
}
