//! The night it is for: something is held, the signers sleep, and the disk is full.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use holdfast_abi::Per;

use crate::harness::agent::{BINARY, STATE_DIR};
use crate::harness::break_glass::{self, Glass, audited, closes, files_spent, refused_for};
use crate::harness::terminal::{Terminal, session};
use crate::harness::{Budget, Ctx, Tool, check, check_eq, cli, hold, sh, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::once("break_glass_resumes_rm_then_closes", held).waits(),
    Scenario::once("break_glass_tells_terminals_without_waiting", told),
    Scenario::once("break_glass_prompt_hides_the_code", typed),
    Scenario::once("break_glass_opens_on_full_disk", full),
];

const BUDGET: u64 = 3;

/// An `rm` that is held goes on, and the break-glass closes by itself.
fn held(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(3, 20)?;
    ctx.guard_glass(&[ctx.hold_zone(&tree, Budget::files(BUDGET))])?;
    let codes = break_glass::codes(2)?;
    let unit = ctx.unit("rm")?;
    let rm = hold::rm(&tree, 0..2, &unit).start()?;
    ctx.held_at(&tree, rm.pid(), BUDGET)?;
    let glass = Glass::new(&ctx.zone).lasts("40s");
    let said = glass.host_wide(&codes[0]).run()?.ok()?;
    check!(said.stdout.contains("detach"), "{}", said.describe("should say what is not covered"));
    // Nobody continues it but the agent.
    rm.wait()?.quietly()?;
    let spent = 42 - BUDGET;
    tree.lost_exactly(42)?;
    check_eq!(files_spent()?, spent, "files spent");
    let open = break_glass::status()?["open"].clone();
    check_eq!(open["ops"]["remove"].as_u64(), Some(spent), "removals in {open}");
    check_eq!(cli::text(&cli::status()?.1["break_glass"], "zone"), ctx.zone, "zone in `status`");
    let labels = [("zone", ctx.zone.as_str())];
    let metrics = ctx.lab.metrics()?;
    check_eq!(metrics.sum("holdfast_break_glass_open", &labels), 1.0, "open by the metrics");
    check_eq!(metrics.sum("holdfast_break_glass_spent_files", &labels), spent as f64, "spent");
    check_eq!(metrics.sum("holdfast_allowances_open", &[]), 0.0, "it is no allowance");
    let record = audited("break_glass_open", &ctx.zone)?;
    check_eq!(cli::text(&record, "reason"), "the disk fills up", "reason in {record}");
    let kernel_log = Tool::new("dmesg").ok()?.stdout;
    check!(
        kernel_log.contains(&format!("zone {} for everybody", ctx.zone)),
        "the kernel's log should tell it"
    );
    // Its time is over: nobody closes it.
    let report = closes("expired")?;
    check_eq!(cli::number(&report["files"], "spent")?, spent, "files spent in {report}");
    let record = audited("break_glass_close", &ctx.zone)?;
    check_eq!(record["ops"]["remove"].as_u64(), Some(spent), "removals in {record}");
    let late_unit = ctx.unit("late")?;
    let late = hold::rm(&tree, 2..3, &late_unit).start()?;
    let late_hold = ctx.held_at(&tree, late.pid(), 42)?;
    refused_for(ctx, "used_code", || glass.host_wide(&codes[0]).run()?.code(3))?;
    check_eq!(tree.gone()?, 42, "files gone after a used code");
    late_hold.kill()?;
    late.wait()?.killed_by(rustix::process::Signal::KILL)?;
    ctx.nothing_held()
}

fn told(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 5)?;
    ctx.guard_glass(&[ctx.new_zone(&tree.root).budget(Budget::files(BUDGET))])?;
    let codes = break_glass::codes(1)?;
    let here = Terminal::start(&session("sleep").arg("600"))?;
    let there = Terminal::start(&session("sleep").arg("600"))?;
    // One that nobody reads, and that has no room left.
    let stuck = Terminal::start_unread(&session("yes"), "")?;
    std::thread::sleep(Duration::from_secs(1));
    Glass::new(&ctx.zone).host_wide(&codes[0]).run()?.ok()?;
    for terminal in [&here, &there] {
        terminal.shows(&format!("BREAK-GLASS OPEN in primary zone {}", ctx.zone), 1)?;
    }
    break_glass::close()?;
    for terminal in [&here, &there] {
        terminal.shows("BREAK-GLASS CLOSED", 1)?;
    }
    drop(stuck);
    cli::status().map(drop)
}

fn typed(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 5)?;
    ctx.guard_glass(&[ctx.new_zone(&tree.root).budget(Budget::files(BUDGET))])?;
    let code = break_glass::codes(1)?.remove(0);
    let args = Glass::new(&ctx.zone).args();
    let tool = session(BINARY).args(["break-glass", "open", "--host-wide"]).args(args);
    let mut terminal = Terminal::start(&tool)?;
    terminal.shows("break-glass code", 1)?;
    // With a slip: it is told at once, and costs nothing.
    let last = code.chars().last().map_or('0', |c| if c == 'A' { 'B' } else { 'A' });
    let slip = format!("{}{last}", &code[..code.len() - 1]);
    terminal.type_in(&format!("{slip}\r"))?;
    terminal.shows("it was not tried", 1)?;
    check_eq!(break_glass::refused(ctx, "wrong_code")?, 0.0, "wrong codes");
    terminal.shows("break-glass code", 2)?;
    terminal.type_in(&format!("{}\r", code.to_lowercase()))?;
    terminal.shows("amount", 1)?;
    let screen = terminal.screen().to_uppercase();
    for secret in code.split('-') {
        check!(!screen.contains(secret), "the screen should not show the code");
    }
    check_eq!(cli::text(&break_glass::last()?, "state"), "open", "what became of it");
    break_glass::close().map(drop)
}

/// What has to be written fits into what was set aside.
fn full(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 30)?;
    ctx.lab.ensure(ctx.trace)?;
    ctx.lab.stop()?;
    let mount = Tool::new("mount").args(["-t", "tmpfs", "-o", "size=48m", "small", STATE_DIR]);
    mount.ok()?;
    let outcome = on_a_full_disk(ctx, &tree);
    ctx.lab.stop()?;
    Tool::new("umount").arg(STATE_DIR).ok()?;
    ctx.lab.start(false)?;
    outcome
}

fn on_a_full_disk(ctx: &mut Ctx<'_>, tree: &crate::harness::Tree) -> Result<()> {
    ctx.lab.start(false)?;
    let zone = ctx.new_zone(&tree.root).budget(Budget::files(BUDGET).per(Per::Zone));
    ctx.guard_glass(&[zone])?;
    let codes = break_glass::codes(2)?;
    fill("probe")?;
    // The log has lost what it wanted to write meanwhile; the next record decides.
    until("the agent notices", Duration::from_secs(60), || {
        Ok(fs::write(format!("{STATE_DIR}/probe"), vec![0; 4096]).is_err().then_some(()))
    })?;
    Glass::new(&ctx.zone).host_wide(&codes[0]).run()?.ok()?;
    audited("break_glass_open", &ctx.zone)?;
    let gone = hold::unlink(&tree.root, &ctx.unit("rm")?)?.run()?.ok()?;
    check_eq!(gone.stdout.trim(), "30", "files removed");
    fs::remove_file(format!("{STATE_DIR}/fill"))?;
    break_glass::close()?;
    // Another night, and nothing is set aside: nothing opens, and the code is as good as before.
    fill("break-glass.reserve")?;
    let refused = Glass::new(&ctx.zone).host_wide(&codes[1]).run()?.code(3)?;
    check!(refused.stderr.contains("cannot be written"), "{}", refused.describe("should say why"));
    fs::remove_file(format!("{STATE_DIR}/fill"))?;
    Glass::new(&ctx.zone).host_wide(&codes[1]).run()?.ok()?;
    break_glass::close().map(drop)
}

/// Leaves no room in the state directory, and no file `without`. Over and over: the agent may
/// give room back when a write of its own fails, and set something aside as a break-glass closes.
fn fill(without: &str) -> Result<()> {
    let mut full = 0;
    until("the state directory is full", Duration::from_secs(60), || {
        let fill = "rm -f \"$1/$2\"; cat /dev/zero >>\"$1/fill\" 2>/dev/null; stat -f -c %f \"$1\"";
        full = if sh(fill, [STATE_DIR, without])?.stdout.trim() == "0" { full + 1 } else { 0 };
        Ok((full == 5).then_some(()))
    })
}
