//! The disk of the audit log is full: what has to be recorded first does not take effect, or does,
//! as the policy says. Nobody who stays within budget is held up for it.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::{key, log_dir};
use crate::harness::hold::{self, Hold};
use crate::harness::metrics::Metrics;
use crate::harness::tool::Running;
use crate::harness::{Budget, Ctx, Tool, Tree, Unit, check, check_eq, cli, policy, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::once("full_audit_disk_allows_nothing_unrecorded", |ctx| {
        with_a_small_disk(ctx, denies)
    }),
    Scenario::once("full_audit_disk_may_queue_records", |ctx| with_a_small_disk(ctx, goes_on)),
    Scenario::once("restart_refuses_unrecordable_wider_policy", |ctx| {
        with_a_small_disk(ctx, restarts)
    }),
];

const BUDGET: u64 = 6;

/// The log of an agent of its own is on a tmpfs of 256 KiB.
fn with_a_small_disk(ctx: &mut Ctx<'_>, scenario: fn(&mut Ctx<'_>) -> Result<()>) -> Result<()> {
    ctx.lab.ensure(ctx.trace)?;
    ctx.lab.stop()?;
    let dir = log_dir();
    Tool::new("mount").args(["-t", "tmpfs", "-o", "size=256k,mode=700", "audit"]).arg(&dir).ok()?;
    let outcome = ctx.lab.start(ctx.trace).and_then(|()| scenario(ctx));
    let stopped = ctx.lab.stop();
    Tool::new("umount").arg(&dir).ok()?;
    outcome.and(stopped)?;
    ctx.lab.start(ctx.trace)
}

fn filler() -> PathBuf {
    log_dir().join("filler")
}

/// Leaves no room, and waits until the agent has noticed. Records that fit into the last page of
/// the log still come in.
fn fill() -> Result<()> {
    let mut file = File::create(filler())?;
    while file.write_all(&[b'x'; 1024]).is_ok() {}
    until("the agent says that the log cannot be written", Duration::from_secs(120), || {
        // Each leaves a record.
        cli::holdfast(["allow", "revoke", "never-seen", "--json"])?;
        cli::holdfast(["policy", "reload"])?;
        Ok((!audit_status()?["writable"].as_bool().unwrap_or(true)).then_some(()))
    })
}

fn audit_status() -> Result<Value> {
    Ok(cli::status()?.1["audit"].take())
}

fn free() -> Result<()> {
    fs::remove_file(filler())?;
    until("the log is written again", Duration::from_secs(60), || {
        let status = audit_status()?;
        let is_whole =
            status["writable"] == true && status["waiting"] == 0 && status["unsigned"] == 0;
        Ok(is_whole.then_some(()))
    })
}

fn policy(ctx: &Ctx<'_>, tree: &Tree, budget: u64, on_failure: &str) -> String {
    let zone = ctx.hold_zone(tree, Budget::files(budget));
    format!("on_audit_failure = \"{on_failure}\"\n{}", policy::render(&[zone]))
}

/// Somebody who is held, before a disk that is full.
fn held(ctx: &mut Ctx<'_>, on_failure: &str) -> Result<(Tree, Unit, Running, Hold)> {
    let tree = ctx.tree(2, 60)?;
    let zone = ctx.hold_zone(&tree, Budget::files(BUDGET));
    let text = policy(ctx, &tree, BUDGET, on_failure);
    ctx.guard_text(&[zone], &text)?;
    let unit = ctx.unit("rm")?;
    let rm = hold::rm(&tree, 0..2, &unit).start()?;
    let held = ctx.held_at(&tree, rm.pid(), BUDGET)?;
    fill()?;
    Ok((tree, unit, rm, held))
}

/// It is said everywhere.
fn is_loud(ctx: &Ctx<'_>) -> Result<()> {
    let metrics = ctx.lab.metrics()?;
    check_eq!(metrics.sum("holdfast_audit_writable", &[]), 0.0, "holdfast_audit_writable");
    check!(metrics.sum("holdfast_audit_write_failures_total", &[]) > 0.0, "failures are counted");
    let status = cli::holdfast(["status"])?;
    check!(status.stdout.contains("THE LOG CANNOT BE WRITTEN"), "{}", status.stdout);
    let doctor = cli::holdfast(["doctor"])?.code(5)?;
    check!(doctor.stdout.contains("FAIL  audit: cannot be written since"), "{}", doctor.stdout);
    check!(ctx.lab.log()?.contains("THE AUDIT LOG CANNOT BE WRITTEN"), "the log of the agent");
    Ok(())
}

fn is_sound() -> Result<Value> {
    let (outcome, summary) = cli::verify(&log_dir(), &["--key", &key()?])?;
    check_eq!(outcome.code, Some(0), "exit status of `holdfast audit verify`: {summary}");
    let notes = summary["notes"].to_string();
    check!(notes.contains("the log could not be written from"), "it is said in the log: {summary}");
    Ok(summary)
}

fn releases(ctx: &Ctx<'_>) -> Result<Vec<Value>> {
    let is_it = |r: &Value| cli::text(r, "type") == "release" && cli::text(r, "zone") == ctx.zone;
    Ok(cli::audit()?.into_iter().filter(is_it).collect())
}

fn denies(ctx: &mut Ctx<'_>) -> Result<()> {
    let (tree, _unit, rm, held) = held(ctx, "deny")?;
    is_loud(ctx)?;
    let id = held.id.to_string();
    let refused = hold::run(["release", &id, "--files", "3"])?.code(1)?;
    check!(refused.stderr.contains("on_audit_failure = \"deny\""), "{}", refused.stderr);
    hold::still_held(&tree, rm.pid(), BUDGET)?;
    // A policy that lets more through has to be in the log first; one that lets less through does
    // not.
    let wider = ctx.lab.try_policy(&policy(ctx, &tree, BUDGET + 50, "deny"))?.code(1)?;
    check!(wider.stderr.contains("has to be in the audit log first"), "{}", wider.stderr);
    hold::still_held(&tree, rm.pid(), BUDGET)?;
    ctx.lab.try_policy(&policy(ctx, &tree, BUDGET - 1, "deny"))?.ok()?;
    // Whoever makes room is not held up: here in no zone, and elsewhere within budget.
    let outside = ctx.outside()?.join("file");
    fs::write(&outside, "x")?;
    Tool::new("rm").arg(&outside).ok()?;
    free()?;
    check_eq!(releases(ctx)?.len(), 0, "releases recorded of one that was refused");
    is_sound()?;
    held.release(3)?;
    ctx.held_at(&tree, rm.pid(), BUDGET + 3)?.kill()?;
    rm.wait()?;
    check_eq!(releases(ctx)?.len(), 1, "releases recorded");
    Ok(())
}

/// What a reload would refuse is not what an agent starts with. (On a disk that is only full there
/// may be just enough room for it, once the agent before has ended.)
fn restarts(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(2, 60)?;
    let zone = ctx.hold_zone(&tree, Budget::files(BUDGET));
    ctx.guard_text(&[zone], &policy(ctx, &tree, BUDGET, "deny"))?;
    ctx.lab.stop()?;
    let wider = policy(ctx, &tree, BUDGET + 50, "deny");
    ctx.lab.write_policy(&wider)?;
    let remount = |how: &str| Tool::new("mount").args(["-o", how]).arg(log_dir()).ok();
    remount("remount,ro")?;
    let started = ctx.lab.start(ctx.trace);
    let limited = limit(ctx, BUDGET);
    let status = cli::status();
    remount("remount,rw")?;
    started.and(limited)?;
    let (outcome, status) = status?;
    check_eq!(outcome.code, Some(0), "exit status of `holdfast status`");
    let why = cli::text(&status["policy"], "reload_error");
    check!(why.contains("has to be in the audit log first"), "why it was refused: {status}");
    until("the log can be written", Duration::from_secs(60), || {
        Ok((audit_status()?["writable"] == true).then_some(()))
    })?;
    ctx.lab.try_policy(&wider)?.ok()?;
    limit(ctx, BUDGET + 50)
}

/// Insists that the zone has that budget.
fn limit(ctx: &Ctx<'_>, expected: u64) -> Result<()> {
    let zone = &ctx.zone;
    let limit = |metrics: &Metrics| metrics.sum("holdfast_budget_limit_files", &[("zone", zone)]);
    ctx.metrics_until(&format!("a budget of {expected} files"), |metrics| {
        limit(metrics) == expected as f64
    })
    .map(drop)
}

fn goes_on(ctx: &mut Ctx<'_>) -> Result<()> {
    let (tree, _unit, rm, held) = held(ctx, "continue")?;
    is_loud(ctx)?;
    held.release(3)?;
    ctx.held_at(&tree, rm.pid(), BUDGET + 3)?.kill()?;
    rm.wait()?;
    check!(
        ctx.lab.log()?.contains("something takes effect that is not in the audit log"),
        "it is loud"
    );
    check_eq!(releases(ctx)?.len(), 0, "releases on the disk while it is full");
    free()?;
    let released = releases(ctx)?;
    check_eq!(released.len(), 1, "releases recorded once there is room");
    check_eq!(released[0]["files"].as_u64(), Some(3), "files of {}", released[0]);
    is_sound().map(drop)
}
