//! Where a held process lives: a container, its first process, a login session, a chroot.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::harness::hold;
use crate::harness::{Ctx, Tool, Tree, Unit, check, check_eq, proc, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::each("container_process_is_held", in_container),
    Scenario::each("first_container_process_is_held", first_process),
    Scenario::once("moved_held_process_can_be_released", moved),
    Scenario::once("login_session_hold_names_its_user", login),
    Scenario::once("process_in_chroot_is_held", chroot),
    Scenario::once("customer_deleting_own_files_is_held", owner),
];

const BUDGET: u64 = 20;

/// A command as the first process of new process and mount namespaces.
fn container(unit: &Unit) -> Tool {
    Tool::new("unshare").args(["--pid", "--fork", "--mount-proc", "--mount"]).unit(unit)
}

/// The number a process has in its own namespace.
fn number_inside(pid: u32) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:")).context("no NSpid")?;
    Ok(line.split_whitespace().last().context("no number")?.to_owned())
}

fn in_container(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 60, BUDGET)?;
    let unit = ctx.unit("container")?;
    let script = "rm -rf \"$1\"; echo \"rm ended with $?\"";
    let job = container(&unit).args(["bash", "-c", script, "script"]).arg(tree.tenant(0));
    let job = job.start()?;
    let held = ctx.all_held_at(&tree, BUDGET, || unit.stopped("rm", 1))?.remove(0);
    let rm = held.pids()[0];
    check!(number_inside(rm)? != rm.to_string(), "it has another number inside");
    proc::signal(rm, Signal::CONT)?;
    hold::still_held(&tree, rm, BUDGET)?;
    held.release(10)?;
    ctx.held_at(&tree, rm, BUDGET + 10)?.release(100)?;
    check_eq!(job.wait()?.quietly()?.stdout.trim(), "rm ended with 0", "what the container said");
    tree.lost_exactly(61)
}

/// No signal stops it that comes from inside, but this one comes from the kernel.
fn first_process(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(2, 60, BUDGET)?;
    let unit = ctx.unit("container")?;
    let rm = |tenant: u64| container(&unit).args(["rm", "-rf"]).arg(tree.tenant(tenant)).start();
    let first = rm(0)?;
    let held = ctx.all_held_at(&tree, BUDGET, || unit.stopped("rm", 1))?.remove(0);
    check_eq!(number_inside(held.pids()[0])?, "1", "its number inside");
    held.release(41)?;
    first.wait()?.quietly()?;
    check_eq!(tree.gone()?, 61, "files and directories gone");
    let second = rm(1)?;
    ctx.all_held_at(&tree, 61, || unit.stopped("rm", 1))?.remove(0).kill()?;
    check!(!second.wait()?.succeeded(), "a killed container does not succeed");
    tree.lost_exactly(61)
}

/// The user who logged in, whoever it has become since.
fn login(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 60, BUDGET)?;
    let unit = ctx.unit("session")?;
    let rm = hold::rm(&tree, 0..1, &unit).login(1234).start()?;
    let held = ctx.held_at(&tree, rm.pid(), BUDGET)?;
    check_eq!(held.number("user", "uid")?, 1234, "user of the hold");
    let event = held.next().context("no next op")?;
    check_eq!(event["uid"].as_u64(), Some(0), "user of the process");
    check_eq!(event["login_uid"].as_u64(), Some(1234), "login user of the process");
    held.release(100)?;
    rm.wait()?.quietly()?;
    tree.lost_exactly(61)
}

/// In a mount namespace of its own, too.
fn chroot(ctx: &mut Ctx<'_>) -> Result<()> {
    let jail = ctx.base.join("jail");
    let tree = Tree::make(&jail.join("srv"), 2, 30)?;
    fs::copy(std::env::current_exe()?, jail.join("tests"))?;
    ctx.guard(&[ctx.hold_zone(&tree, crate::harness::Budget::files(BUDGET))])?;
    let unit = ctx.unit("jail")?;
    let tool = Tool::new("unshare").args(["--mount", "chroot"]).arg(&jail);
    let job = tool.args(["/tests", "helper", "unlink", "/srv"]).unit(&unit).start()?;
    let held = ctx.held_at(&tree, job.pid(), BUDGET)?;
    held.release(40)?;
    check_eq!(job.wait()?.quietly()?.stdout.trim(), "60", "files the jailed program removed");
    tree.lost_exactly(60)
}

fn owner(ctx: &mut Ctx<'_>) -> Result<()> {
    use std::os::unix::fs::chown;
    const CUSTOMER: u32 = 1000;
    let tree = ctx.holding(1, 60, BUDGET)?;
    let unit = ctx.unit("customer")?;
    chown(tree.tenant(0), Some(CUSTOMER), Some(CUSTOMER))?;
    for path in tree.paths() {
        chown(path, Some(CUSTOMER), Some(CUSTOMER))?;
    }
    let find = Tool::new("find").arg(tree.tenant(0)).args(["-type", "f", "-delete"]);
    let find = find.cwd(std::path::Path::new("/")).uid(CUSTOMER).unit(&unit).start()?;
    let held = ctx.held_at(&tree, find.pid(), BUDGET)?;
    check_eq!(held.number("user", "uid")?, u64::from(CUSTOMER), "user of the hold");
    held.release(40)?;
    find.wait()?.quietly()?;
    tree.lost_exactly(60)
}

/// It is held for where it is when it tries again, so a decision reaches it.
fn moved(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 60, BUDGET)?;
    let (before, after) = (ctx.unit("before")?, ctx.unit("after")?);
    let rm = hold::rm(&tree, 0..1, &before).start()?;
    let first = ctx.held_at(&tree, rm.pid(), BUDGET)?;
    fs::write(after.procs(), rm.pid().to_string())?;
    first.release(5)?;
    // What was released is for the other unit.
    let second = until("it is held for its new unit", Duration::from_secs(60), || {
        Ok(ctx.hold_of(rm.pid())?.filter(|hold| hold.id != first.id))
    })?;
    check_eq!(ctx.held_at(&tree, rm.pid(), BUDGET)?.id, second.id, "its hold");
    second.release(100)?;
    rm.wait()?.quietly()?;
    tree.lost_exactly(61)
}
