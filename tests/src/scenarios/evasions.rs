//! Ways around the budget that somebody once found, and that are closed. Each tells its story.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use holdfast_abi::{ABI_VERSION, Control, RootKey, ZoneConf, zone_index};

use crate::harness::agent::PIN_DIR;
use crate::harness::sys::PinnedMap;
use crate::harness::{Budget, Ctx, Tool, Tree, check, check_eq, cli, until};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::each("links_leaving_separately_cost_the_file", linked_files_leave),
    Scenario::each("gathering_tenants_under_one_counts_them", gather_tenants),
    Scenario::each("tenants_do_not_leave_their_level", leave_level),
    Scenario::each("racing_renames_cost_the_linked_file", racing_renames),
    Scenario::each("failed_call_refunds_no_other_call", stale_charges),
    Scenario::each("concurrent_failing_calls_cost_little", failing_at_once),
    Scenario::once("missing_hook_program_is_noticed", hook_gone).waits(),
    Scenario::once("missing_exit_program_is_noticed", exit_gone).waits(),
    Scenario::once("zeroed_zone_is_noticed_and_repaired", zeroed_zone).waits(),
    Scenario::once("removed_root_is_noticed_and_repaired", removed_root).waits(),
];

const THREADS: usize = 8;

/// Each of two links could leave the zone for free, because the other one was still there.
fn linked_files_leave(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 20)?;
    for file in 0..20 {
        fs::hard_link(tree.file(0, file), tree.tenant(0).join(format!("link-{file}")))?;
    }
    ctx.enforce(&tree.root, Budget::files(7))?;
    let outside = ctx.outside()?;
    let mut left = 0;
    for file in 0..20 {
        for name in [tree.file(0, file), tree.tenant(0).join(format!("link-{file}"))] {
            let to = outside.join(name.file_name().context("a name")?);
            left += u64::from(fs::rename(&name, to).is_ok());
        }
    }
    check_eq!(left, 7, "names that left the zone");
    Ok(())
}

/// Thirty tenants moved under one directory looked like one tenant afterwards.
fn gather_tenants(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(10, 3)?;
    let junk = tree.root.join("junk");
    fs::create_dir(&junk)?;
    ctx.enforce(&tree.root, Budget::tenants(2))?;
    let mut moved = 0;
    for tenant in 0..10 {
        let to = junk.join(format!("t{tenant}"));
        moved += u64::from(fs::rename(tree.tenant(tenant), to).is_ok());
    }
    check_eq!(moved, 2, "tenants that were gathered");
    Ok(())
}

/// With tenants two levels down, the directory above them took them all along, under one tenant of
/// another, for nothing.
fn leave_level(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    for tenant in 0..6 {
        fs::create_dir_all(root.join(format!("one/t{tenant}/data")))?;
    }
    fs::create_dir_all(root.join("two/host"))?;
    ctx.guard(&[ctx.new_zone(&root).depth(2).budget(Budget::tenants(2))])?;
    for to in ["two/host/one", "two/one"] {
        let error = fs::rename(root.join("one"), root.join(to)).err();
        let kind = error.map(|error| error.kind());
        check_eq!(kind, Some(std::io::ErrorKind::PermissionDenied), "one to {to}");
    }
    // At its own level it takes nobody anywhere.
    fs::rename(root.join("one"), root.join("uno"))?;
    fs::rename(root.join("uno/t0"), root.join("two/t0"))?;
    // By way of a place above all tenants: that touches it, and there it is a directory above them.
    let via = root.join("via");
    fs::rename(root.join("uno/t1"), &via)?;
    check!(fs::rename(&via, root.join("two/host/t1")).is_err(), "down again, under another");
    let gather = |tenant: &u32| {
        let to = root.join(format!("two/host/t{tenant}"));
        fs::rename(root.join(format!("uno/t{tenant}")), to).is_ok()
    };
    check_eq!((2..6).filter(gather).count(), 1, "tenants that were gathered");
    Ok(())
}

/// Two renames at once, each over one of a file's two links, both saw the other link and cost
/// nothing.
fn racing_renames(ctx: &mut Ctx<'_>) -> Result<()> {
    const FILES: u64 = 400;
    let root = ctx.base.join("zone");
    for side in ["a", "b"] {
        fs::create_dir_all(root.join("customer").join(side))?;
    }
    let at = |side: &str, name: &str, n: u64| {
        root.join("customer").join(side).join(format!("{name}{n}"))
    };
    for n in 0..FILES {
        fs::write(at("a", "victim", n), "data")?;
        fs::hard_link(at("a", "victim", n), at("b", "victim", n))?;
        for side in ["a", "b"] {
            fs::write(at(side, "new", n), "")?;
        }
    }
    ctx.enforce(&root, Budget::files(100_000))?;
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        for side in ["a", "b"] {
            let (barrier, at) = (&barrier, &at);
            scope.spawn(move || {
                for n in 0..FILES {
                    barrier.wait();
                    fs::rename(at(side, "new", n), at(side, "victim", n)).ok();
                }
            });
        }
    });
    let destroyed = [("zone", ctx.zone.as_str()), ("op", "replace")];
    let metrics = ctx.metrics_until("the replaced files are counted", |metrics| {
        metrics.sum("holdfast_destroyed_files_total", &destroyed) >= FILES as f64
    })?;
    // Where both saw that no link was left, both were charged: at worst too much.
    let counted = metrics.sum("holdfast_destroyed_files_total", &destroyed);
    check!(counted <= 2.0 * FILES as f64, "{counted} files counted for {FILES}");
    Ok(())
}

/// A call that fails before the hook gave back what the one before it had rightly been charged.
fn stale_charges(ctx: &mut Ctx<'_>) -> Result<()> {
    const FILES: u64 = 250;
    let tree = ctx.tree(THREADS as u64, FILES)?;
    ctx.enforce(&tree.root, Budget::files(100_000))?;
    thread::scope(|scope| {
        for tenant in 0..THREADS as u64 {
            let tree = &tree;
            scope.spawn(move || {
                for file in 0..FILES {
                    fs::remove_file(tree.file(tenant, file)).ok();
                    // EISDIR, before any hook.
                    fs::remove_file(tree.tenant(tenant)).ok();
                }
            });
        }
    });
    let all = THREADS as u64 * FILES;
    tree.lost_exactly(all)?;
    ctx.counted("allow", all)
}

/// The kernel skips a tracing program that would run while the same one is preempted; then a failed
/// call is not given back. That is on the safe side, but it must stay rare.
fn failing_at_once(ctx: &mut Ctx<'_>) -> Result<()> {
    const CALLS: u64 = 500;
    let tree = ctx.tree(THREADS as u64, 1)?;
    ctx.enforce(&tree.root, Budget::files(100_000))?;
    thread::scope(|scope| {
        for tenant in 0..THREADS as u64 {
            let directory = tree.tenant(tenant);
            scope.spawn(move || {
                for _ in 0..CALLS {
                    fs::remove_dir(&directory).ok();
                }
            });
        }
    });
    let labels = [("zone", ctx.zone.as_str()), ("op", "remove"), ("verdict", "allow")];
    let kept = ctx.lab.metrics()?.sum("holdfast_ops_total", &labels);
    ctx.lab.note(format!("{kept} of {} failed calls stayed charged", THREADS as u64 * CALLS));
    check!(kept <= (THREADS as u64 * CALLS) as f64 / 50.0, "{kept} failed calls stayed charged");
    Ok(())
}

/// One hook without its program: the other tries were denied, and the guard was said to be up.
fn hook_gone(ctx: &mut Ctx<'_>) -> Result<()> {
    without_program(ctx, "hf_rmdir-")
}

/// Without the programs at the exit of truncate, what fails spends budgets and the deletion log has
/// gaps; and without the second of the two, where the first is preempted. Nothing was said of
/// either.
fn exit_gone(ctx: &mut Ctx<'_>) -> Result<()> {
    without_program(ctx, "hf_truncate_exit-")?;
    without_program(ctx, "hf_truncate_exit_again-")
}

fn without_program(ctx: &mut Ctx<'_>, prefix: &str) -> Result<()> {
    ctx.guarded(1, 1, 5)?;
    let links = format!("{PIN_DIR}/v{ABI_VERSION}/links");
    for entry in fs::read_dir(links)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            fs::remove_file(entry.path())?;
        }
    }
    until("the metrics say what is so", Duration::from_secs(60), || {
        let metrics = ctx.lab.metrics()?;
        let zone = metrics.sum("holdfast_zone_enforcing", &[]);
        Ok((metrics.sum("holdfast_guard_up", &[]) == 0.0 && zone == 0.0).then_some(()))
    })?;
    let status = cli::holdfast(["status"])?.code(5)?;
    let program = prefix.trim_end_matches('-');
    for part in ["GUARD DOWN: ", &format!("{program} is not attached"), "restart holdfast"] {
        check!(status.stdout.contains(part), "{}", status.describe(&format!("lacks {part:?}")));
    }
    // A new agent finds the set incomplete and puts a whole one in its place.
    ctx.lab.kill()?;
    ctx.lab.start(false)?;
    until("the guard is up again", Duration::from_secs(60), || {
        Ok((ctx.lab.metrics()?.sum("holdfast_guard_up", &[]) == 1.0).then_some(()))
    })
}

fn map(name: &str) -> Result<PinnedMap> {
    let path = Path::new(PIN_DIR).join(format!("v{ABI_VERSION}/maps/{name}"));
    PinnedMap::open(&path).with_context(|| path.display().to_string())
}

/// The bank in force.
fn bank() -> Result<u32> {
    let mut control = Control::default();
    check!(map("CONTROL")?.has(&0_u32, &mut control)?, "no control entry");
    Ok(control.bank())
}

/// Waits until the agent has noticed what `edit` did to the kernel's maps and has undone it; then
/// the budget is exact.
fn repaired(ctx: &mut Ctx<'_>, edit: impl FnOnce(&Tree, u32) -> Result<()>) -> Result<()> {
    let tree = ctx.guarded(1, 60, 5)?;
    let before = ctx.lab.metrics()?.sum("holdfast_repairs_total", &[]);
    let (_, status) = cli::status()?;
    let zones = status["zones"].as_array().into_iter().flatten();
    let slot = zones.filter_map(|zone| zone["slot"].as_u64()).next().context("no slot")?;
    edit(&tree, u32::try_from(slot)?)?;
    ctx.metrics_until("the policy is in force anew", |metrics| {
        metrics.sum("holdfast_repairs_total", &[]) > before
            && metrics.sum("holdfast_guard_up", &[]) == 1.0
            && metrics.sum("holdfast_zone_enforcing", &[]) == 1.0
    })?;
    let records = cli::audit()?;
    let told = records.iter().any(|record| {
        record["type"] == "coverage"
            && record["complete"] == false
            && record.to_string().contains("\"configuration\"")
    });
    check!(told, "the audit log does not say that the maps were edited");
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).run()?.refused()?;
    tree.lost_exactly(5)
}

/// All that a zone is was zeroed by hand: everything went, for ever, while the guard was said to be
/// up.
fn zeroed_zone(ctx: &mut Ctx<'_>) -> Result<()> {
    repaired(ctx, |_, slot| {
        let nothing = [0_u8; size_of::<ZoneConf>()];
        Ok(map("ZONES")?.set(&zone_index(bank()?, slot), &nothing)?)
    })
}

/// The entry of a protected path was removed by hand.
fn removed_root(ctx: &mut Ctx<'_>) -> Result<()> {
    repaired(ctx, |tree, _| {
        let about = fs::metadata(&tree.root)?;
        let dev = libc::major(about.dev()) << 20 | libc::minor(about.dev());
        Ok(map("ROOTS")?.remove(&RootKey { ino: about.ino(), dev, bank: bank()? })?)
    })
}
