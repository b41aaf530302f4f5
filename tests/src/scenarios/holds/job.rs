//! A held process in a shell with job control is a stopped job, and `fg` is no release.

use std::time::Duration;

use anyhow::Result;

use crate::harness::hold::{self, still_held};
use crate::harness::terminal::{Terminal, session};
use crate::harness::{Ctx, check, proc, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::each("fg_does_not_release_held_job", foreground),
    Scenario::once("background_job_continues_after_release", background),
];

const BUDGET: u64 = 20;

fn shell(unit: &crate::harness::Unit) -> crate::harness::Tool {
    session("bash").args(["--norc", "--noprofile", "-i"]).env("TERM", "dumb").unit(unit)
}

/// A held job is stopped in its shell.
fn foreground(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 60, BUDGET)?;
    let unit = ctx.unit("login")?;
    let mut terminal = Terminal::start(&shell(&unit))?;
    terminal.type_in(&format!("rm -rf {}\n", tree.tenant(0).display()))?;
    let held = ctx.all_held_at(&tree, BUDGET, || unit.stopped("rm", 1))?.remove(0);
    let rm = held.pids()[0];
    terminal.shows("Stopped", 1)?;
    terminal.shows(&format!("holdfast hold release {}", held.id), 1)?;
    for times in 2..4 {
        terminal.type_in("fg\n")?;
        terminal.shows("Stopped", times)?;
        still_held(&tree, rm, BUDGET)?;
    }
    ctx.held_at(&tree, rm, BUDGET)?.release(5)?;
    ctx.held_at(&tree, rm, BUDGET + 5)?;
    terminal.type_in("fg\n")?;
    terminal.shows("Stopped", 4)?;
    still_held(&tree, rm, BUDGET + 5)?;
    // The rest goes on in the background; whether or not it is through by then, the shell has to be
    // of use again.
    ctx.held_at(&tree, rm, BUDGET + 5)?.release(100)?;
    proc::ends(rm)?;
    terminal.type_in("fg; echo finished-$((40 + 2))\n")?;
    terminal.shows("finished-42", 1)?;
    check!(!tree.tenant(0).exists(), "rm should be through");
    ctx.nothing_held()
}

fn background(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 60, BUDGET)?;
    let unit = ctx.unit("login")?;
    let mut terminal = Terminal::start(&shell(&unit))?;
    let command = format!("rm -rf {} & echo started-$((40 + 1))\n", tree.tenant(0).display());
    terminal.type_in(&command)?;
    terminal.shows("started-41", 1)?;
    let held = ctx.all_held_at(&tree, BUDGET, || unit.stopped("rm", 1))?.remove(0);
    // The shell itself is of use all the time.
    terminal.type_in("echo alive-$((40 + 2)); jobs\n")?;
    terminal.shows("alive-42", 1)?;
    terminal.shows("Stopped", 1)?;
    held.release(100)?;
    until("rm is through", Duration::from_secs(60), || {
        Ok((!tree.tenant(0).exists()).then_some(()))
    })?;
    terminal.type_in("wait; echo finished-$((40 + 3))\n")?;
    terminal.shows("finished-43", 1)?;
    hold::run(["list"])?.ok()?;
    ctx.nothing_held()
}
