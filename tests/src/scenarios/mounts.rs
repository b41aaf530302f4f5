//! What is below a protected path by its name only: mounts, and tenants that are links.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::harness::tree::{count, make_files};
use crate::harness::{Budget, Ctx, Tool, Tree, check, check_eq, cli, until};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::each("a_mount_below_is_guarded", mount_below),
    Scenario::once("mounted_tenants_are_tenants", mounted_tenants),
    Scenario::once("a_mount_above_tenants_is_guarded", mount_above_tenants),
    Scenario::once("a_linked_tenant_is_guarded", linked_tenant),
    Scenario::once("an_unguarded_mount_is_told", unguarded_mount),
    Scenario::once("new_mount_is_guarded_at_once", new_mount),
];

pub(super) fn mount_tmpfs(at: &Path) -> Result<()> {
    fs::create_dir_all(at)?;
    Tool::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "none"]).arg(at).ok()?;
    Ok(())
}

/// Waits until so many directories of the scenario's zone are guarded.
fn until_guarded(ctx: &Ctx<'_>, roots: usize) -> Result<()> {
    let zone = ctx.zone.clone();
    ctx.metrics_until(&format!("{roots} guarded directories"), |metrics| {
        metrics.sum("holdfast_roots", &[("zone", &zone)]) == roots as f64
    })?;
    Ok(())
}

/// A volume for each customer once was in no zone at all: everything on it could be removed while
/// the guard was up.
fn mount_below(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    mount_tmpfs(&root.join("customer-000"))?;
    let tree = Tree::make(&root, 2, 30)?;
    ctx.enforce(&root, Budget::files(12))?;
    until_guarded(ctx, 2)?;
    let explained = cli::holdfast(["explain".as_ref(), tree.file(0, 29).as_os_str()])?.ok()?;
    for part in [ctx.zone.as_str(), "customer-000"] {
        check!(explained.stdout.contains(part), "{}", explained.describe(part));
    }
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).run()?.refused()?;
    tree.lost_exactly(12)?;
    Tool::new("rm").arg("-rf").arg(tree.tenant(1)).run()?.refused()?;
    tree.lost_exactly(12)?;
    let deletions = ["manifest", "--zone", &ctx.zone, "--tenant", "customer-000", "--json"];
    let deletions: Value = serde_json::from_str(&cli::holdfast(deletions)?.ok()?.stdout)?;
    let records = deletions["records"].as_array().map(Vec::len);
    check_eq!(records, Some(12), "records of the tenant in the deletion log");
    Ok(())
}

/// Two fresh filesystems give their root directories the same inode number: their customers once
/// were one.
fn mounted_tenants(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    for tenant in ["a", "b"] {
        mount_tmpfs(&root.join(tenant))?;
        make_files(&root.join(tenant).join("www"), "f", 10, 10)?;
    }
    // What is mounted inside a tenant is that tenant's.
    mount_tmpfs(&root.join("a/www/data"))?;
    make_files(&root.join("a/www/data"), "d", 10, 10)?;
    make_files(&root.join("c"), "f", 10, 10)?;
    ctx.enforce(&root, Budget::tenants(2))?;
    until_guarded(ctx, 4)?;
    let rm = |path: &str| Tool::new("rm").arg(root.join(path)).run();
    for allowed in ["a/www/f-0000", "a/www/data/d-0000", "b/www/f-0000", "a/www/data/d-0001"] {
        rm(allowed)?.ok()?;
    }
    rm("c/f-0000")?.refused()?;
    check_eq!(count(&root.join("c"))?.files, 10, "files of the third tenant");
    Ok(())
}

fn mount_above_tenants(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    for disk in ["disk1", "disk2"] {
        mount_tmpfs(&root.join(disk))?;
        for tenant in ["a", "b"] {
            make_files(&root.join(disk).join(tenant), "f", 10, 10)?;
        }
    }
    ctx.guard(&[ctx.new_zone(&root).depth(2).budget(Budget::tenants(2))])?;
    until_guarded(ctx, 3)?;
    let rm = |path: &str| Tool::new("rm").arg(root.join(path)).run();
    for allowed in ["disk1/a/f-0000", "disk2/a/f-0000", "disk1/a/f-0001", "disk2/a/f-0001"] {
        rm(allowed)?.ok()?;
    }
    rm("disk2/b/f-0000")?.refused()?;
    rm("disk1/b/f-0000")?.refused()?;
    Ok(())
}

fn linked_tenant(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    let disk = ctx.outside()?.join("disk2");
    make_files(&disk.join("bob/www"), "f", 30, 10)?;
    make_files(&root.join("alice"), "f", 10, 10)?;
    symlink(disk.join("bob"), root.join("bob"))?;
    // A link that a customer could have made leads nowhere.
    make_files(&disk.join("eve"), "f", 10, 10)?;
    symlink(disk.join("eve"), root.join("eve"))?;
    std::os::unix::fs::lchown(root.join("eve"), Some(1000), None)?;
    ctx.enforce(&root, Budget::files(12))?;
    until_guarded(ctx, 2)?;
    Tool::new("rm").arg("-rf").arg(root.join("bob/www")).run()?.refused()?;
    check_eq!(count(&disk.join("bob"))?.files, 18, "files left behind the link");
    told(&root.join("eve"))?;
    Tool::new("rm").arg("-rf").arg(disk.join("eve")).ok()?;
    Ok(())
}

fn unguarded_mount(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    let at = root.join("alice");
    fs::create_dir_all(&at)?;
    Tool::new("mount").args(["-t", "ramfs", "none"]).arg(&at).ok()?;
    // A view of the kernel holds no data.
    fs::create_dir_all(root.join("bob/proc"))?;
    Tool::new("mount").args(["-t", "proc", "none"]).arg(root.join("bob/proc")).ok()?;
    ctx.enforce(&root, Budget::files(12))?;
    told(&at)?;
    let reasons = reasons()?;
    check!(!reasons.iter().any(|why| why.contains("bob/proc")), "{reasons:?}");
    Ok(())
}

/// Surveys used to be seconds apart. There is no time in here: it is enough that none of many tries
/// needs to wait for a tick.
fn new_mount(ctx: &mut Ctx<'_>) -> Result<()> {
    const TRIES: u32 = 20;
    let root = ctx.base.join("zone");
    fs::create_dir_all(&root)?;
    ctx.enforce(&root, Budget::files(1_000_000))?;
    let mut seen = 0;
    let started = std::time::Instant::now();
    for n in 0..TRIES {
        let at = root.join(format!("disk{n}"));
        mount_tmpfs(&at)?;
        let file = at.join("probe");
        let mut removed = 0;
        until("a removal on the new mount is counted", Duration::from_secs(60), || {
            fs::write(&file, "x")?;
            fs::remove_file(&file)?;
            removed += 1;
            let allowed = ctx.lab.metrics()?.ops(&ctx.zone, "allow") as u64;
            Ok((allowed > seen).then_some(()))
        })?;
        seen = ctx.lab.metrics()?.ops(&ctx.zone, "allow") as u64;
        ctx.lab.note(format!("mount {n}: counted from removal {removed} on"));
    }
    ctx.lab.note(format!("{TRIES} mounts in {:?}", started.elapsed()));
    until_guarded(ctx, 1 + TRIES as usize)
}

/// Why paths of any zone are not guarded.
fn reasons() -> Result<Vec<String>> {
    let (_, status) = cli::status()?;
    let zones = status["zones"].as_array().into_iter().flatten();
    let paths = zones.flat_map(|zone| zone["paths"].as_array().into_iter().flatten());
    Ok(paths
        .filter(|path| path["state"] != "guarded")
        .map(|path| cli::text(path, "why").to_owned())
        .collect())
}

/// Waits until the status says why this is not guarded.
fn told(path: &Path) -> Result<()> {
    let path = path.display().to_string();
    until("status says what is not guarded", Duration::from_secs(60), || {
        Ok(reasons()?.iter().any(|why| why.contains(&path)).then_some(()))
    })
}
