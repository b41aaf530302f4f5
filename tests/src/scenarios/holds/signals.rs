//! Signals from others: not one lets an op through.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;

use crate::harness::hold::{self, Hold, continue_all_the_time, still_held};
use crate::harness::{Budget, Ctx, Tool, Tree, Unit, check, check_eq, proc, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::each("a_foreign_sigcont_lets_nothing_through", sigcont),
    Scenario::each("hold_outlasts_window_until_decision", outlasts).waits(),
    Scenario::each("signal_storm_causes_no_error", storm).shared(),
    Scenario::once("sigcont_handler_sees_no_interrupted_call", sigcont_handler),
    Scenario::once("handled_signal_leaves_process_held", other_handler),
    Scenario::once("timeout_ends_a_held_command", timeout).waits(),
];

fn sigcont(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(2, 100, 50)?;
    let unit = ctx.unit("rm")?;
    let rm = hold::rm(&tree, 0..2, &unit).start()?;
    ctx.held_at(&tree, rm.pid(), 50)?;
    continue_all_the_time(rm.pid(), 4)?;
    still_held(&tree, rm.pid(), 50)?;
    // And while somebody releases.
    let held = ctx.held_at(&tree, rm.pid(), 50)?;
    let storm = "while :; do kill -CONT \"$1\" || exit; done";
    let storm = Tool::new("bash").args(["-c", storm, "storm", &rm.pid().to_string()]).start()?;
    held.release(20)?;
    let spent = until("what was released is spent", Duration::from_secs(60), || {
        Ok((tree.gone()? >= 70).then_some(()))
    });
    spent?;
    std::thread::sleep(Duration::from_secs(2));
    drop(storm);
    ctx.held_at(&tree, rm.pid(), 70)?;
    ctx.counted("allow", 70)
}

/// The window is long over, and everything that was spent has drained.
fn outlasts(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 100)?;
    ctx.guard(&[ctx.hold_zone(&tree, Budget::files(20).window("5s"))])?;
    let unit = ctx.unit("rm")?;
    let rm = hold::rm(&tree, 0..1, &unit).start()?;
    ctx.held_at(&tree, rm.pid(), 20)?;
    std::thread::sleep(Duration::from_secs(7));
    still_held(&tree, rm.pid(), 20)?;
    continue_all_the_time(rm.pid(), 3)?;
    still_held(&tree, rm.pid(), 20)?;
    ctx.held_at(&tree, rm.pid(), 20)?.kill()?;
    rm.wait()?.killed_by(Signal::KILL)?;
    tree.lost_exactly(20)
}

/// Four threads that stop each other while two shells continue them: the stop signal of one must
/// not be taken for that of another, or its call returns 513.
fn storm(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 400, 20)?;
    let unit = ctx.unit("threads")?;
    let deleter =
        hold::unlink(&tree.tenant(0), &unit)?.args(["--raw", "--threads", "4"]).start()?;
    let pid = deleter.pid();
    ctx.held_at(&tree, pid, 20)?;
    std::thread::scope(|scope| {
        let storms = [(); 2].map(|()| scope.spawn(move || continue_all_the_time(pid, 8)));
        storms.into_iter().try_for_each(|storm| match storm.join() {
            Ok(outcome) => outcome.map(drop),
            Err(_) => anyhow::bail!("a thread panicked"),
        })
    })?;
    still_held(&tree, pid, 20)?;
    ctx.held(pid)?.release(380)?;
    let outcome = deleter.wait()?.quietly()?;
    check_eq!(outcome.stdout.trim(), "400", "files it says it removed");
    Ok(())
}

/// A deleter in Perl that writes the name of each signal it gets into a file. Its handlers do not
/// ask for calls to be made again, so that an interrupted one would show.
fn deleter(tree: &Tree, unit: &Unit, seen: &std::path::Path) -> Tool {
    const SCRIPT: &str = "my $seen = shift; \
        for my $name (qw(TERM CONT)) { \
            $SIG{$name} = sub { open my $f, '>>', $seen; print $f \"$name\\n\"; }; } \
        for (@ARGV) { unlink $_ or print STDERR \"$_: $!\\n\"; }";
    Tool::new("perl").args(["-e", SCRIPT]).arg(seen).args(tree.paths()).unit(unit)
}

/// Waits until a held process was continued by somebody and stopped again.
fn stopped_again(ctx: &Ctx<'_>, pid: u32) -> Result<Hold> {
    until("a held process was continued and stopped again", Duration::from_secs(60), || {
        let hold = ctx.held(pid)?;
        let again = hold.threads().any(|thread| thread["stopped_again"].as_u64() > Some(0));
        Ok(again.then_some(hold))
    })
}

fn sigcont_handler(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 60, 20)?;
    let (unit, seen) = (ctx.unit("perl")?, ctx.base.join("seen"));
    let deleter = deleter(&tree, &unit, &seen).start()?;
    ctx.held_at(&tree, deleter.pid(), 20)?;
    for _ in 0..50 {
        proc::signal(deleter.pid(), Signal::CONT)?;
        std::thread::sleep(Duration::from_millis(5));
    }
    stopped_again(ctx, deleter.pid())?;
    still_held(&tree, deleter.pid(), 20)?;
    ctx.held_at(&tree, deleter.pid(), 20)?.release(40)?;
    deleter.wait()?.quietly()?;
    tree.lost_exactly(60)?;
    check!(fs::read_to_string(&seen)?.contains("CONT"), "the handler should have run");
    Ok(())
}

fn other_handler(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 60, 20)?;
    let (unit, seen) = (ctx.unit("perl")?, ctx.base.join("seen"));
    let deleter = deleter(&tree, &unit, &seen).start()?;
    let held = ctx.held_at(&tree, deleter.pid(), 20)?;
    hold::run(["kill", &held.id.to_string(), "--signal", "TERM"])?.ok()?;
    let held = stopped_again(ctx, deleter.pid())?;
    still_held(&tree, deleter.pid(), 20)?;
    held.release(40)?;
    deleter.wait()?.quietly()?;
    tree.lost_exactly(60)?;
    check!(fs::read_to_string(&seen)?.contains("TERM"), "the handler should have run");
    Ok(())
}

fn timeout(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 60, 20)?;
    let unit = ctx.unit("timeout")?;
    let command = Tool::new("timeout").args(["15", "rm", "-rf"]).arg(tree.tenant(0)).unit(&unit);
    let command = command.start()?;
    ctx.all_held_at(&tree, 20, || unit.stopped("rm", 1))?;
    check_eq!(command.wait()?.code, Some(124), "exit status of timeout");
    tree.lost_exactly(20)?;
    ctx.nothing_held()?;
    ctx.holds_ended("gone", 1)
}
