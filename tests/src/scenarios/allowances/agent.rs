//! Without an agent an allowance is what it was: good to the last file, until its time is over, and
//! not a moment longer.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::own;
use crate::harness::allowance::{Doc, nothing_open};
use crate::harness::clock::{self, Way, WrongClock};
use crate::harness::tool::Running;
use crate::harness::{Ctx, Tree, check, check_eq, cli, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::each("killed_agent_keeps_allowance_unchanged", killed),
    Scenario::once("restarted_agent_adopts_open_allowance", adopts).waits(),
    Scenario::once("allowance_expires_without_an_agent", dies_in_time).waits(),
    Scenario::once("allowance_expires_despite_clock_set_back", set_back).waits(),
    Scenario::once("allowance_expires_despite_clock_adjustment", adjusted).waits(),
];

const BUDGET: u64 = 4;
const LIMIT: u64 = 100;

/// A command that removes one tenant after another, each when it is told to.
struct Steps {
    running: Running,
    dir: PathBuf,
}

impl Steps {
    fn start(ctx: &Ctx<'_>, doc: &Doc, tree: &Tree) -> Result<Self> {
        let dir = ctx.base.join("steps");
        fs::create_dir_all(&dir)?;
        let script = "for n in {0..9}; do until [[ -e $1/go-$n ]]; do [[ -e $1/end ]] && exit 5; \
            sleep 0.05; done; \
            \"$2\" helper unlink \"$3/customer-00$n\" 2>/dev/null >$1/new; \
            mv $1/new $1/done-$n; done";
        let words = ["bash", "-c", script, "script"].map(PathBuf::from);
        let words = words.into_iter().chain([dir.clone(), own()?, tree.root.clone()]);
        let running = doc.run(words).start()?;
        until("its first process is there", Duration::from_secs(60), || {
            Ok(doc.report()?.unwrap_or_default()["bind"]["pid"].as_u64())
        })?;
        Ok(Self { running, dir })
    }

    /// Files that a step removed.
    fn step(&self, n: u64) -> Result<u64> {
        fs::write(self.dir.join(format!("go-{n}")), "")?;
        let done = self.dir.join(format!("done-{n}"));
        until(&format!("step {n} is done"), Duration::from_secs(120), || {
            Ok(done.exists().then_some(()))
        })?;
        fs::read_to_string(done)?.trim().parse().context("not a count")
    }

    fn end(self) -> Result<()> {
        fs::write(self.dir.join("end"), "")?;
        self.running.wait()?.code(5).map(drop)
    }
}

fn started(ctx: &mut Ctx<'_>, lasts: i64) -> Result<(Tree, Doc, Steps)> {
    let tree = ctx.signed_tree(8, 30, BUDGET)?;
    let mut draft = ctx.draft("steps", &[&tree.root], LIMIT)?;
    draft.not_after = clock::now() + lasts;
    let doc = draft.signed(ctx)?;
    let steps = Steps::start(ctx, &doc, &tree)?;
    Ok((tree, doc, steps))
}

fn killed(ctx: &mut Ctx<'_>) -> Result<()> {
    let (tree, doc, steps) = started(ctx, 3600)?;
    check_eq!(steps.step(0)?, 30, "files removed with an agent");
    ctx.lab.kill()?;
    check_eq!(steps.step(1)?, 30, "files removed without one");
    check_eq!(steps.step(2)?, 30, "files removed without one");
    check_eq!(steps.step(3)?, 10 + BUDGET, "the last of the allowance, and the budget");
    check_eq!(steps.step(4)?, 0, "files removed after that");
    tree.lost_exactly(LIMIT + BUDGET)?;
    steps.end()?;
    ctx.lab.start(false)?;
    let report = doc.becomes("closed", Some("finished"))?;
    check_eq!(cli::number(&report["grants"][0]["files"], "spent")?, LIMIT, "files spent");
    doc.audited("allowance_close")?;
    nothing_open(ctx)
}

fn adopts(ctx: &mut Ctx<'_>) -> Result<()> {
    let (tree, doc, steps) = started(ctx, 3600)?;
    check_eq!(steps.step(0)?, 30, "files removed with an agent");
    let spent = doc.audited("allowance_spend")?;
    check_eq!(spent["grants"][0]["files"]["spent"].as_u64(), Some(30), "files spent in {spent}");
    ctx.lab.kill()?;
    check_eq!(steps.step(1)?, 30, "files removed without one");
    ctx.lab.start(false)?;
    check_eq!(cli::text(&cli::status()?.1, "started"), "adopted", "how the agent came up");
    doc.becomes("open", None)?;
    check_eq!(doc.files_spent(0)?, 60, "files spent, as the new agent says");
    check_eq!(steps.step(2)?, 30, "files removed with the new agent");
    ctx.metrics_until("the spent files are in the metrics", |metrics| {
        metrics.sum("holdfast_allowance_spent_files", &[("id", &doc.id)]) == 90.0
            && metrics.sum("holdfast_allowance_granted_files", &[("id", &doc.id)]) == LIMIT as f64
            && metrics.sum("holdfast_allowances_open", &[]) == 1.0
    })?;
    // Restarted as in an upgrade.
    ctx.lab.stop()?;
    ctx.lab.start(false)?;
    check_eq!(steps.step(3)?, 10 + BUDGET, "the last of the allowance, and the budget");
    steps.end()?;
    let report = doc.becomes("closed", Some("finished"))?;
    check_eq!(cli::number(&report["grants"][0]["files"], "spent")?, LIMIT, "files spent");
    tree.lost_exactly(LIMIT + BUDGET)?;
    nothing_open(ctx)
}

fn dies_in_time(ctx: &mut Ctx<'_>) -> Result<()> {
    over_in_time(ctx, None)
}

fn set_back(ctx: &mut Ctx<'_>) -> Result<()> {
    over_in_time(ctx, Some(Way::Set))
}

fn adjusted(ctx: &mut Ctx<'_>) -> Result<()> {
    over_in_time(ctx, Some(Way::Adjust))
}

/// Its end comes by the clock that nobody can set.
fn over_in_time(ctx: &mut Ctx<'_>, way: Option<Way>) -> Result<()> {
    let (tree, doc, steps) = started(ctx, 15)?;
    let until_ns = cli::number(&doc.becomes("open", None)?["until"], "time_ns")?;
    check_eq!(steps.step(0)?, 30, "files removed in time");
    ctx.lab.kill()?;
    let wrong = way.map(|way| WrongClock::shifted(-3600, way)).transpose()?;
    check!(clock::boot_ns() < until_ns, "the machine is too slow for this scenario");
    until("its time is over", Duration::from_secs(60), || {
        Ok((clock::boot_ns() > until_ns).then_some(()))
    })?;
    check_eq!(steps.step(1)?, BUDGET, "files removed after its end");
    tree.lost_exactly(30 + BUDGET)?;
    drop(wrong);
    ctx.lab.start(false)?;
    let report = doc.becomes("closed", Some("expired"))?;
    check_eq!(cli::number(&report["grants"][0]["files"], "spent")?, 30, "files spent");
    check_eq!(steps.step(2)?, 0, "files removed with an agent again");
    steps.end()
}
