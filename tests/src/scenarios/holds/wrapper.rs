//! Programs that stop themselves when their child is stopped, and that nobody but a shell with job
//! control would continue.

use anyhow::Result;
use rustix::process::Signal;

use crate::harness::hold::{self, still_held};
use crate::harness::{Ctx, Tool, Tree, Unit, check_eq, proc, tool::Running};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::once("wrapper_continues_with_its_child", goes_on),
    Scenario::once("wrapper_ends_with_killed_child", ends),
];

const BUDGET: u64 = 20;

/// What people type who are not root: `su` waits for its child, and stops whenever that does.
fn su_rm(tree: &Tree, unit: &Unit) -> Result<Running> {
    let script = format!("exec rm -rf {}", tree.tenant(0).display());
    Tool::new("su").args(["root", "-c", &script]).unit(unit).start()
}

fn goes_on(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 60, BUDGET)?;
    let unit = ctx.unit("su")?;
    let su = su_rm(&tree, &unit)?;
    for (gone, release) in [(BUDGET, 5), (BUDGET + 5, 5), (BUDGET + 10, 1000)] {
        let held = ctx.all_held_at(&tree, gone, || unit.stopped("rm", 1))?.remove(0);
        // It stops later than its child.
        proc::stops(su.pid())?;
        still_held(&tree, held.pids()[0], gone)?;
        held.release(release)?;
    }
    su.wait()?.quietly()?;
    tree.lost_exactly(61)?;
    ctx.nothing_held()?;
    ctx.nothing_denied()
}

fn ends(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 60, BUDGET)?;
    let unit = ctx.unit("su")?;
    for signal in ["KILL", "TERM"] {
        let su = su_rm(&tree, &unit)?;
        let held = ctx.all_held_at(&tree, BUDGET, || unit.stopped("rm", 1))?.remove(0);
        proc::stops(su.pid())?;
        check_eq!(proc::state(su.pid())?, Some('T'), "state of su");
        hold::run(["kill", &held.id.to_string(), "--signal", signal])?.ok()?;
        // Its own exit status: 128 and the signal that ended its child.
        let ended = if signal == "KILL" { Signal::KILL } else { Signal::TERM };
        su.wait()?.code(128 + ended.as_raw())?;
        ctx.nothing_held()?;
    }
    tree.lost_exactly(BUDGET)
}
