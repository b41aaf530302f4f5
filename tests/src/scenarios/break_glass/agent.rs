//! Whatever becomes of the agent: it ends in time, and the next one takes it over.

use std::time::Duration;

use anyhow::Result;
use holdfast_abi::Per;

use crate::harness::break_glass::{self, Glass, audited, closes, files_spent};
use crate::harness::{Budget, Ctx, Tree, check_eq, cli, hold, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::once("break_glass_expires_without_an_agent", dies_in_time).waits(),
    Scenario::once("next_agent_adopts_break_glass", taken_over),
];

const BUDGET: u64 = 4;

fn opened(ctx: &mut Ctx<'_>, lasts: &str) -> Result<Tree> {
    let tree = ctx.tree(4, 20)?;
    ctx.guard_glass(&[ctx.new_zone(&tree.root).budget(Budget::files(BUDGET).per(Per::Zone))])?;
    let codes = break_glass::codes(1)?;
    Glass::new(&ctx.zone).lasts(lasts).host_wide(&codes[0]).run()?.ok()?;
    Ok(tree)
}

fn remove(ctx: &Ctx<'_>, tree: &Tree, tenant: u64) -> Result<String> {
    let unit = ctx.unit(&format!("rm-{tenant}"))?;
    Ok(hold::unlink(&tree.tenant(tenant), &unit)?.run()?.ok()?.stdout.trim().to_owned())
}

fn boot_time() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn dies_in_time(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = opened(ctx, "25s")?;
    let until_ns = cli::number(&break_glass::last()?["until"], "time_ns")?;
    ctx.lab.kill()?;
    check_eq!(remove(ctx, &tree, 0)?, "20", "files removed without an agent");
    until("its time is over", Duration::from_secs(90), || {
        Ok((boot_time() > until_ns).then_some(()))
    })?;
    check_eq!(remove(ctx, &tree, 1)?, BUDGET.to_string(), "files removed after its time");
    tree.lost_exactly(20 + BUDGET)?;
    ctx.lab.start(false)?;
    let report = closes("expired")?;
    check_eq!(cli::number(&report["files"], "spent")?, 20, "files spent in {report}");
    audited("break_glass_close", &ctx.zone).map(drop)
}

fn taken_over(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = opened(ctx, "10m")?;
    check_eq!(remove(ctx, &tree, 0)?, "20", "files removed with an agent");
    ctx.lab.kill()?;
    ctx.lab.start(false)?;
    check_eq!(cli::text(&break_glass::last()?, "state"), "open", "what the next agent says");
    check_eq!(remove(ctx, &tree, 1)?, "20", "files removed with the next one");
    until("it has counted them", Duration::from_secs(30), || {
        Ok((files_spent()? == 40).then_some(()))
    })?;
    // It goes on reminding.
    let reminder = audited("break_glass_spend", &ctx.zone)?;
    check_eq!(cli::text(&reminder, "state"), "open", "state in {reminder}");
    break_glass::close()?;
    check_eq!(remove(ctx, &tree, 2)?, BUDGET.to_string(), "files removed after it");
    closes("closed").map(drop)
}
