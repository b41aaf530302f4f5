//! Hard links: data is destroyed with its last link and not before.

use std::fs;

use anyhow::Result;

use crate::harness::tree::{count, make_files};
use crate::harness::{Budget, Ctx, Tool, check, check_eq, sh};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::each("hard_links_cost_nothing_until_the_last", until_the_last),
    Scenario::each("a_link_outside_keeps_the_data", link_outside),
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

/// Seven generations, as rsnapshot keeps them: the oldest goes, the others move on, the newest is copied as links.
fn rotation(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    make_files(&root.join("daily.0/host/etc"), "file", 60, 100)?;
    sh("cd \"$1\" && for n in 1 2 3 4 5 6; do cp -al daily.0 daily.$n; done", [&root])?.ok()?;
    // A directory costs one file: a rotation removes three (the generation, host, etc).
    ctx.enforce(&root, Budget::files(9))?;
    let rotate = "cd \"$1\" && rm -r daily.6 && for n in 5 4 3 2 1 0; do mv daily.$n daily.$((n+1)); done \
        && cp -al daily.1 daily.0";
    for _ in 0..3 {
        sh(rotate, [&root])?.ok()?;
    }
    ctx.nothing_denied()?;
    check_eq!(count(&root)?.files, 7 * 60, "files in seven generations");
    sh(rotate, [&root])?.refused()?;
    Ok(())
}

/// A file without any name left is gone already; shrinking it destroys nothing that anyone could come back to.
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
