//! The live view shows what is going on, and gives the terminal back.

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::harness::agent::BINARY;
use crate::harness::terminal::{Terminal, session};
use crate::harness::{Ctx, Tool, check, cli, hold, proc};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] =
    &[Scenario::once("top_shows_holds_and_restores_terminal", top)];

const BUDGET: u64 = 3;
/// What a terminal is told that is to show its other screen, and what it was before.
const TAKEN: &str = "\u{1b}[?1049h";
const GIVEN_BACK: &str = "\u{1b}[?1049l";

fn top(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(2, 20, BUDGET)?;
    let piped = cli::holdfast(["top"])?.code(2)?;
    check!(piped.stderr.contains("needs a terminal"), "{}", piped.describe("should say why"));
    let script =
        "stty rows 45 cols 200; (echo top is $BASHPID; exec \"$1\" top); echo \"ended with $?\"";
    let mut terminal = Terminal::start(&session("bash").args(["-c", script, "bash", BINARY]))?;
    // A zone's name may have no room.
    let short: String = ctx.zone.chars().take(12).collect();
    terminal.shows(&short, 1)?;
    // Blanks that were there before are not drawn again: only what has a style of its own comes in
    // one piece.
    terminal.shows("budgets of", 1)?;
    let unit = ctx.unit("rm")?;
    let rm = hold::rm(&tree, 0..1, &unit).start()?;
    let held = ctx.held_at(&tree, rm.pid(), BUDGET)?;
    for part in ["1 process is held until somebody decides", "LATCHED", "rm -rf"] {
        terminal.shows(part, 1)?;
    }
    held.kill()?;
    rm.wait()?;
    // As any job it can be stopped, by its key or by a signal: the terminal is given back, and
    // taken again when it goes on.
    let pid = terminal
        .screen()
        .split_once("top is ")
        .and_then(|(_, rest)| rest.split_whitespace().next().and_then(|pid| pid.parse().ok()));
    let pid: u32 = pid.context("the screen has no process number")?;
    for (times, by_key) in [(1, true), (2, false)] {
        let taken = terminal.screen().matches(TAKEN).count();
        match by_key {
            true => terminal.type_in("\u{1a}")?,
            false => proc::signal(pid, Signal::TSTP)?,
        }
        proc::stops(pid)?;
        terminal.shows(GIVEN_BACK, times)?;
        proc::signal(pid, Signal::CONT)?;
        terminal.shows(TAKEN, taken + 1)?;
    }
    // An agent that hangs holds up nobody's keys.
    let agent = ctx.lab.pid()?.to_string();
    Tool::new("kill").args(["-STOP", &agent]).ok()?;
    let shown = terminal.shows("OLD: the agent does not answer", 1);
    Tool::new("kill").args(["-CONT", &agent]).ok()?;
    shown?;
    terminal.type_in("q")?;
    terminal.shows("ended with 0", 1)?;
    let screen = terminal.screen();
    let (given_back, ended) = (screen.rfind(GIVEN_BACK), screen.find("ended with 0"));
    check!(
        given_back.is_some() && given_back < ended,
        "the screen should be as before: {screen:?}"
    );
    Ok(())
}
