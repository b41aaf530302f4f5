//! The terminal of a held process is told, it alone, and it cannot keep the agent waiting.

use std::time::Duration;

use anyhow::Result;

use crate::harness::hold::{self, Hold, still_held};
use crate::harness::terminal::{Terminal, session};
use crate::harness::{Budget, Ctx, Tool, Tree, Unit, check, check_eq, cli, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::once("hold_prints_two_lines_on_terminal", told),
    Scenario::once("policy_silences_terminal_messages", silent),
    Scenario::once("foreign_terminal_gets_no_message", not_its_own),
    Scenario::once("stopped_terminal_does_not_block_agent", stopped),
    Scenario::once("full_terminal_does_not_block_agent", full),
];

const BUDGET: u64 = 20;

/// `rm -rf` of the first tenant as the whole session.
fn rm(tree: &Tree, unit: &Unit) -> Tool {
    session("rm").arg("-rf").arg(tree.tenant(0)).unit(unit)
}

/// The lines on the screen that are from holdfast.
fn lines(terminal: &Terminal) -> Vec<String> {
    let screen = terminal.screen();
    let ours = screen.lines().filter(|line| line.contains("holdfast")).map(str::to_owned);
    ours.collect()
}

fn told(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 60, BUDGET)?;
    let unit = ctx.unit("session")?;
    let terminal = Terminal::start(&rm(&tree, &unit))?;
    let held = ctx.held_at(&tree, terminal.pid(), BUDGET)?;
    terminal.shows(&format!("holdfast hold release {}", held.id), 1)?;
    let told = lines(&terminal);
    check_eq!(told.len(), 2, "lines on the terminal: {told:?}");
    for expected in [&ctx.zone, "customer-000", "rm"] {
        check!(told[0].contains(expected), "the first line lacks {expected:?}: {told:?}");
    }
    // Once, whoever continues it.
    hold::continue_all_the_time(terminal.pid(), 2)?;
    still_held(&tree, terminal.pid(), BUDGET)?;
    check_eq!(lines(&terminal).len(), 2, "lines after it was continued by others");
    // And once for each time that somebody has decided.
    held.release(5)?;
    ctx.held_at(&tree, terminal.pid(), BUDGET + 5)?.release(100)?;
    crate::harness::proc::ends(terminal.pid())?;
    check!(!tree.tenant(0).exists(), "rm should be through");
    Ok(())
}

fn silent(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 60)?;
    ctx.guard(&[ctx.hold_zone(&tree, Budget::files(BUDGET)).silent()])?;
    let unit = ctx.unit("session")?;
    untold(ctx, &tree, &rm(&tree, &unit))
}

/// Its output is a terminal, but its session has none: whoever sits there is somebody else.
fn not_its_own(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 60, BUDGET)?;
    let unit = ctx.unit("session")?;
    untold(
        ctx,
        &tree,
        &Tool::new("setsid").args(["--wait", "rm", "-rf"]).arg(tree.tenant(0)).unit(&unit),
    )
}

/// Insists that nothing appears on the screen from beginning to end.
fn untold(ctx: &Ctx<'_>, tree: &Tree, tool: &Tool) -> Result<()> {
    let terminal = Terminal::start(tool)?;
    ctx.held_at(tree, terminal.pid(), BUDGET)?;
    ctx.audited("hold")?;
    // Telling comes after that, if it comes.
    std::thread::sleep(Duration::from_secs(2));
    ctx.held_at(tree, terminal.pid(), BUDGET)?.release(100)?;
    crate::harness::proc::ends(terminal.pid())?;
    check_eq!(terminal.screen(), "", "what is on the screen");
    Ok(())
}

/// Insists that the agent does everything it should while it cannot write to the terminal.
fn goes_on(ctx: &Ctx<'_>, tree: &Tree, pid: impl Fn() -> Result<Vec<u32>>) -> Result<Hold> {
    let held = ctx.all_held_at(tree, BUDGET, &pid)?.remove(0);
    check_eq!(cli::status()?.0.code, Some(0), "exit status of `holdfast status`");
    ctx.metrics_until("the metrics are there", |metrics| {
        metrics.sum("holdfast_held_processes", &[("zone", ctx.zone.as_str())]) == 1.0
    })?;
    held.release(5)?;
    Ok(ctx.all_held_at(tree, BUDGET + 5, &pid)?.remove(0))
}

/// Ctrl-S.
fn stopped(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 60, BUDGET)?;
    let unit = ctx.unit("session")?;
    let mut terminal = Terminal::start_unread(&rm(&tree, &unit), "\x13")?;
    let held = goes_on(ctx, &tree, || unit.stopped("rm", 1))?;
    terminal.type_in("\x11")?;
    held.release(100)?;
    until("rm is through", Duration::from_secs(60), || Ok((!tree.tenant(0).exists()).then_some(())))
}

/// A screen that nobody reads, with a program that writes to it until there is no more room.
fn full(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 60, BUDGET)?;
    let unit = ctx.unit("session")?;
    let script = "yes & sleep 1; rm -rf \"$1\"";
    let tool = session("bash").args(["-c", script, "script"]).arg(tree.tenant(0)).unit(&unit);
    let _terminal = Terminal::start_unread(&tool, "")?;
    let held = goes_on(ctx, &tree, || unit.stopped("rm", 1))?;
    held.release(100)?;
    until("rm is through", Duration::from_secs(60), || Ok((!tree.tenant(0).exists()).then_some(())))
}
