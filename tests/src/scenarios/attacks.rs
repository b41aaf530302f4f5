//! Ways to destroy more than the budget by how it is counted. Each destroys what is allowed, and no
//! more.

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::path::Path;

use anyhow::Result;
use holdfast_abi::{Per, Who};

use crate::harness::tree::count;
use crate::harness::{Budget, Ctx, Tool, Tree, Zone, check_eq, sh};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::each("attack_by_real_uid", real_uid),
    Scenario::each("attack_by_seteuid", seteuid),
    Scenario::once("attack_by_cgroup_per_file", cgroup_per_file),
    Scenario::once("attack_by_uid_per_file", uid_per_file),
    Scenario::each("attack_by_sparse_files", sparse),
    Scenario::each("attack_by_links_out", links_out),
    Scenario::each("attack_by_gathering_above_tenants", gather),
];

/// Customers with ten files each, which belong to a user of their own.
fn customers(ctx: &Ctx<'_>) -> Result<Tree> {
    let tree = ctx.tree(10, 10)?;
    for customer in 0..tree.tenants {
        let uid = Some(3_000 + customer as u32);
        chown(tree.tenant(customer), uid, uid)?;
        for file in 0..tree.files {
            chown(tree.file(customer, file), uid, uid)?;
        }
    }
    Ok(tree)
}

/// Guards it with that zone, runs the script in a unit of its own, and insists on how many files
/// are gone.
fn destroys(ctx: &mut Ctx<'_>, tree: &Tree, zone: Zone, script: &str, lost: u64) -> Result<()> {
    ctx.guard(&[zone])?;
    let (unit, outside) = (ctx.unit("attack")?, ctx.outside()?);
    let tool = Tool::new("bash").args(["-c", script, "attack"]).arg(&tree.root).arg(outside);
    tool.cwd(Path::new("/")).unit(&unit).run()?;
    let gone = tree.total() - count(&tree.root)?.files;
    ctx.lab.note(format!("{gone} of {} files gone", tree.total()));
    check_eq!(gone, lost, "files gone of {}", tree.total());
    tree.rest_is_intact()
}

/// Root takes each owner as its real uid only: what it may do it still does as root.
fn real_uid(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = customers(ctx)?;
    let zone = ctx
        .new_zone(&tree.root)
        .budget(Budget::files(20).per(Per::Unit).who(Who::Operators))
        .budget(Budget::files(1_000).per(Per::User).who(Who::Owners));
    let script = "for customer in \"$1\"/*; do \
        setpriv --ruid \"$(stat -c %u \"$customer\")\" find \"$customer\" -type f -delete; done";
    destroys(ctx, &tree, zone, script, 20)
}

/// A server that works as each customer by its effective uid is that customer's, for as many as the
/// tenants allow.
fn seteuid(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = customers(ctx)?;
    let zone = ctx
        .new_zone(&tree.root)
        .budget(Budget::files(15).per(Per::Unit).who(Who::Operators))
        .budget(Budget::tenants(3).per(Per::Unit));
    let script = "for customer in \"$1\"/*; do \
        setpriv --euid \"$(stat -c %u \"$customer\")\" find \"$customer\" -type f -delete; done";
    destroys(ctx, &tree, zone, script, 30)
}

/// Each removal is in a cgroup of its own.
fn cgroup_per_file(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = customers(ctx)?;
    let zone = ctx
        .new_zone(&tree.root)
        .budget(Budget::files(5).per(Per::Unit))
        .budget(Budget::files(20).per(Per::Zone));
    let script = "above=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup); n=0; \
        for file in \"$1\"/*/*; do \
            mkdir \"$above/$((++n))\"; \
            (echo $BASHPID >\"$above/$n/cgroup.procs\"; exec rm -f \"$file\"); \
            rmdir \"$above/$n\"; \
        done";
    destroys(ctx, &tree, zone, script, 20)
}

/// Each removal has a uid of its own, none of them the owner's.
fn uid_per_file(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = customers(ctx)?;
    let zone = ctx
        .new_zone(&tree.root)
        .budget(Budget::files(5).per(Per::User).who(Who::Operators))
        .budget(Budget::files(20).per(Per::Zone).who(Who::Operators));
    let script =
        "n=50000; for file in \"$1\"/*/*; do setpriv --ruid $((++n)) rm -f \"$file\"; done";
    destroys(ctx, &tree, zone, script, 20)
}

/// Files without a block cost the bytes they hold, which are none: they use up nobody's budget.
fn sparse(ctx: &mut Ctx<'_>) -> Result<()> {
    const FILES: u64 = 20;
    let root = ctx.base.join("zone");
    fs::create_dir_all(root.join("alice"))?;
    for n in 0..FILES {
        File::create(root.join(format!("alice/sparse-{n}")))?.set_len(9 << 30)?;
    }
    ctx.guard(&[ctx.new_zone(&root).budget(Budget::bytes(10 << 30).and_tenants(5))])?;
    let outcome = sh("rm -f \"$1\"/alice/*", [&root])?;
    let gone = FILES - count(&root)?.files;
    ctx.lab.note(format!("{gone} of {FILES} sparse files gone"));
    outcome.quietly()?;
    check_eq!(gone, FILES, "sparse files gone");
    let trips = ctx.lab.metrics()?.sum("holdfast_trips_total", &[("zone", &ctx.zone)]);
    check_eq!(trips, 0.0, "trips");
    Ok(())
}

/// Everything is linked to outside first, so that no removal inside is of a file's last name.
fn links_out(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = customers(ctx)?;
    let zone = ctx.new_zone(&tree.root).budget(Budget::files(20).per(Per::Unit));
    let script = "cp -al \"$1\" \"$2/copy\"; find \"$1\" -type f -delete; rm -rf \"$2/copy\"";
    destroys(ctx, &tree, zone, script, 20)
}

/// Tenants are two levels down. The directory above them is moved into one of them, by another unit
/// before: then all would be one tenant.
fn gather(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    let tree = Tree::make(&root.join("group-a"), 10, 10)?;
    fs::create_dir_all(root.join("group-b/tenant"))?;
    ctx.guard(&[ctx.new_zone(&root).depth(2).budget(Budget::tenants(2).per(Per::Unit))])?;
    let (before, unit) = (ctx.unit("gather")?, ctx.unit("remove")?);
    let (from, to) = (root.join("group-a"), root.join("group-b/tenant/group-a"));
    let moved = Tool::new("mv").arg(&from).arg(&to).unit(&before).run()?;
    Tool::new("find").arg(&root).args(["-type", "f", "-delete"]).unit(&unit).run()?;
    let gone = tree.total() - count(&root)?.files;
    ctx.lab.note(format!("{gone} of {} files gone", tree.total()));
    check_eq!(gone, 20, "files gone of {}", tree.total());
    moved.refused().map(drop)
}
