//! The report of a night with a break-glass: who, why, how long, how much, and whose data.

use std::fs;

use anyhow::Result;
use holdfast_abi::Per;

use crate::harness::break_glass::{self, Glass, audited, closes};
use crate::harness::{Budget, Ctx, check, check_eq, cli, hold};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] =
    &[Scenario::once("audit_report_shows_break_glass_deletions", night)];

const BUDGET: u64 = 5;
const FILES: u64 = 20;

/// Among them, whose data is gone.
fn night(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(2, FILES)?;
    let zone = ctx.new_zone(&tree.root).budget(Budget::files(BUDGET).per(Per::Zone));
    ctx.guard_glass(&[zone])?;
    let unit = ctx.unit("rm")?;
    let remove = |tenant| -> Result<u64> {
        let outcome = hold::unlink(&tree.tenant(tenant), &unit)?.run()?.ok()?;
        Ok(outcome.stdout.trim().parse()?)
    };
    check_eq!(remove(0)?, BUDGET, "files removed within the budget");
    let codes = break_glass::codes(1)?;
    break_glass::ask(&ctx.zone, "no code at all")?;
    Glass::new(&ctx.zone).host_wide(&codes[0]).run()?.ok()?;
    check_eq!(remove(1)?, FILES, "files removed under the break-glass");
    break_glass::close()?;
    closes("closed")?;
    audited("break_glass_close", &ctx.zone)?;
    // What is in the kernel's buffer is written down.
    cli::holdfast(["manifest"])?.ok()?;

    let report = |more: &[&str]| -> Result<String> {
        let args = ["report", "--since", "1h", "--zone", &ctx.zone];
        Ok(cli::holdfast_audit(args.iter().chain(more))?.ok()?.stdout)
    };
    let text = report(&[])?;
    let tenant =
        |n: u64| tree.tenant(n).file_name().unwrap_or_default().to_string_lossy().into_owned();
    for part in [
        "DESTROYED, as the manifest has it\n  as it was sealed: ",
        &format!(
            "  {} in {} ({}): {FILES} ops, {FILES} files, ",
            tenant(1),
            ctx.zone,
            tree.root.display()
        ),
        &format!(
            "  {} in {} ({}): {BUDGET} ops, {BUDGET} files, ",
            tenant(0),
            ctx.zone,
            tree.root.display()
        ),
        &format!("  in all: {} ops, {} files, ", FILES + BUDGET, FILES + BUDGET),
        "BREAK-GLASS\n  break-glass ",
        "who      user 0",
        ", with code ",
        "why      the disk fills up\n",
        "for      everybody in the zone\n",
        &format!("gone     {FILES} files, "),
        &format!("(remove {FILES})"),
        &format!("manifest {FILES} ops, {FILES} files, "),
        ": closed on request, by user 0",
    ] {
        check!(text.contains(part), "{part:?} in\n{text}");
    }
    let page = ctx.base.join("night.html");
    report(&["--html", &page.to_string_lossy()])?;
    let html = fs::read_to_string(&page)?;
    check!(
        html.contains("<h2>Break-glass</h2>") && html.contains("<b>why</b> the disk fills up"),
        "the page has it, too"
    );
    // A log without a manifest beside it.
    let none = report(&["--manifest", "/nonexistent"])?;
    check!(none.contains("  not known: there is no manifest in /nonexistent"), "{none}");
    Ok(())
}
