//! `holdfast hold` for people: what it shows, what it refuses, and who did it.

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::agent::BINARY;
use crate::harness::hold;
use crate::harness::{Budget, Ctx, Tool, check, check_eq, cli};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::once("hold_list_with_nothing_held", empty),
    Scenario::once("hold_show_names_actor_and_remainder", show),
    Scenario::once("a_release_states_an_amount", amount),
    Scenario::once("an_unknown_hold_is_an_error", unknown),
    Scenario::once("only_root_sees_and_decides_holds", only_root),
    Scenario::once("the_audit_log_names_who_decided", who_decided),
    Scenario::once("status_and_metrics_count_held_processes", counted),
];

const BUDGET: u64 = 20;

fn empty(ctx: &mut Ctx<'_>) -> Result<()> {
    ctx.holding(1, 10, BUDGET)?;
    check!(ctx.holds()?.is_empty(), "nothing should be held");
    let text = hold::run(["list"])?.ok()?;
    check!(!text.stdout.contains(&ctx.zone), "{}", text.describe("names a zone without holds"));
    check!(!text.said().trim().is_empty(), "{}", text.describe("should say that there is none"));
    Ok(())
}

/// It tells who, what and what is left.
fn show(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(2, 60)?;
    ctx.guard(&[ctx.hold_zone(&tree, Budget::files(BUDGET).and_tenants(5))])?;
    let unit = ctx.unit("nightly")?;
    let script = "rm -rf \"$1\"/customer-000; true";
    let job = Tool::new("bash").args(["-c", script, "script"]).arg(&tree.root);
    let _job = job.unit(&unit).login(1001).start()?;
    let held = ctx.all_held_at(&tree, BUDGET, || unit.stopped("rm", 1))?.remove(0);
    let rm = held.pids()[0];
    let shown = held.show()?;
    check_eq!(shown.id, held.id, "number of the hold");
    check_eq!(shown.zone(), ctx.zone, "zone");
    check_eq!(cli::text(&shown.value, "state"), "held", "state");
    check_eq!(shown.number("user", "uid")?, 1001, "login user");
    check_eq!(shown.number("unit", "id")?, unit.id()?, "unit");
    let process = shown.processes().first().context("no process")?;
    check_eq!(cli::text(process, "comm"), "rm", "name of the process");
    let words = |value: &Value| value["command"].to_string();
    check!(words(process).contains("customer-000"), "the command line: {process}");
    let parents = process["parents"].as_array().context("no parents")?;
    check!(parents.iter().any(|parent| words(parent).contains("rm -rf")), "parents: {parents:?}");
    let event = shown.next().context("no next op")?;
    let next = cli::text(event, "path");
    check!(std::path::Path::new(next).exists(), "the next path should be there: {next:?}");
    check!(next.starts_with(&tree.tenant(0).display().to_string()), "the next path: {next:?}");
    check_eq!(cli::text(&event["tenant"], "name"), "customer-000", "tenant of the next op");
    check_eq!(shown.value["budget"]["spent"]["files"].as_u64(), Some(BUDGET), "files destroyed");
    check_eq!(shown.value["tenants"].as_array().map(Vec::len), Some(1), "tenants touched");
    let deadline = shown.number("deadline", "time_ns")?;
    check!(deadline > cli::number(&shown.value, "since_ns")?, "the deadline is after the start");
    for text in [hold::run(["list"])?.ok()?, hold::run(["show", &held.id.to_string()])?.ok()?] {
        for expected in [&ctx.zone, &held.id.to_string(), &rm.to_string(), "rm"] {
            let what = format!("should name {expected:?}");
            check!(text.stdout.contains(expected), "{}", text.describe(&what));
        }
    }
    let text = hold::run(["show", &held.id.to_string()])?.ok()?;
    for expected in [next, "customer-000", "nightly", "1001", "hold release", "hold kill"] {
        let what = format!("should name {expected:?}");
        check!(text.stdout.contains(expected), "{}", text.describe(&what));
    }
    Ok(())
}

fn amount(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 60, BUDGET)?;
    let unit = ctx.unit("rm")?;
    let rm = hold::rm(&tree, 0..1, &unit).start()?;
    let held = ctx.held_at(&tree, rm.pid(), BUDGET)?;
    let id = held.id.to_string();
    let without = hold::run(["release", &id])?;
    check!(!without.succeeded(), "{}", without.describe("should have failed"));
    for option in ["--files", "--budget-reset"] {
        let what = format!("should name {option}");
        check!(without.stderr.contains(option), "{}", without.describe(&what));
    }
    let wrong: [&[&str]; 5] = [
        &["--files", "5", "--budget-reset"],
        &["--files", "0"],
        &["--files", "-1"],
        &["--files", "many"],
        &["--files", "99999999999999999999999"],
    ];
    for options in wrong {
        let args = ["release", id.as_str()].into_iter().chain(options.iter().copied());
        let refused = hold::run(args)?;
        check!(!refused.succeeded(), "{}", refused.describe("should have failed"));
    }
    hold::still_held(&tree, rm.pid(), BUDGET)?;
    held.release(1)?;
    ctx.held_at(&tree, rm.pid(), BUDGET + 1).map(drop)
}

fn unknown(ctx: &mut Ctx<'_>) -> Result<()> {
    ctx.holding(1, 10, BUDGET)?;
    let commands: [&[&str]; 4] = [
        &["show", "987654321"],
        &["release", "987654321", "--files", "1"],
        &["release", "987654321", "--budget-reset"],
        &["kill", "987654321"],
    ];
    for command in commands {
        let refused = hold::run(command.iter().copied())?;
        check!(!refused.succeeded(), "{}", refused.describe("should have failed"));
        check!(refused.stderr.contains("987654321"), "{}", refused.describe("should name it"));
    }
    for nonsense in ["zone", "-1", "", "1e3"] {
        let refused = hold::run(["show", nonsense])?;
        check!(!refused.succeeded(), "{}", refused.describe("should have failed"));
    }
    Ok(())
}

fn only_root(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 60, BUDGET)?;
    let unit = ctx.unit("rm")?;
    let rm = hold::rm(&tree, 0..1, &unit).start()?;
    let id = ctx.held_at(&tree, rm.pid(), BUDGET)?.id.to_string();
    let commands: [&[&str]; 4] = [
        &["hold", "list"],
        &["hold", "show", &id],
        &["hold", "release", &id, "--files", "5"],
        &["hold", "kill", &id],
    ];
    for command in commands {
        let tool = Tool::new(BINARY).args(command).uid(1000).cwd(std::path::Path::new("/"));
        let refused = tool.run()?;
        check!(!refused.succeeded(), "{}", refused.describe("should have failed"));
        check!(refused.stderr.contains("root"), "{}", refused.describe("should say who may"));
    }
    hold::still_held(&tree, rm.pid(), BUDGET)
}

/// The user who logged in, not the one that sudo made of it.
fn who_decided(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(1, 60, BUDGET)?;
    let (unit, admin) = (ctx.unit("rm")?, ctx.unit("admin")?);
    let rm = hold::rm(&tree, 0..1, &unit).start()?;
    let id = ctx.held_at(&tree, rm.pid(), BUDGET)?.id.to_string();
    let as_user = |login: u32, args: &[&str]| {
        Tool::new(BINARY).arg("hold").args(args).unit(&admin).login(login).ok()
    };
    as_user(4242, &["release", &id, "--files", "3"])?;
    let id = ctx.held_at(&tree, rm.pid(), BUDGET + 3)?.id.to_string();
    as_user(4343, &["kill", &id])?;
    rm.wait()?.killed_by(Signal::KILL)?;
    let held = ctx.audited("hold")?;
    check!(held.to_string().contains("\"rm\""), "the record names the process: {held}");
    for (kind, login) in [("release", "4242"), ("kill", "4343")] {
        let record = ctx.audited(kind)?;
        let person = &record["person"];
        let logged_in = person["login_uid"].to_string();
        check_eq!((logged_in.as_str(), person["uid"].as_u64()), (login, Some(0)), "who: {record}");
    }
    let release = ctx.audited("release")?;
    check_eq!(release["files"].as_u64(), Some(3), "files released: {release}");
    Ok(())
}

fn counted(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(3, 60, BUDGET)?;
    let unit = ctx.unit("three")?;
    let zone = ctx.zone.clone();
    let zone = [("zone", zone.as_str())];
    let jobs: Vec<_> =
        (0..3).map(|n| hold::rm(&tree, n..n + 1, &unit).start()).collect::<Result<_>>()?;
    let held = ctx.all_held_at(&tree, BUDGET, || unit.stopped("rm", 3))?.remove(0);
    ctx.metrics_until("three held processes", |metrics| {
        metrics.sum("holdfast_held_processes", &zone) == 3.0
            && metrics.sum("holdfast_throttled_processes", &zone) == 0.0
            && metrics.sum("holdfast_hold_seconds_count", &zone) == 0.0
    })?;
    let status = cli::status()?.1;
    check!(status["paused"]["held_processes"].as_u64() >= Some(3), "status: {}", status["paused"]);
    check_eq!(cli::status()?.0.code, Some(0), "exit status of `holdfast status`");
    held.kill()?;
    for job in jobs {
        job.wait()?.killed_by(Signal::KILL)?;
    }
    ctx.metrics_until("three holds that are over", |metrics| {
        metrics.sum("holdfast_held_processes", &zone) == 0.0
            && metrics.sum("holdfast_hold_seconds_count", &zone) == 3.0
            && metrics.sum("holdfast_hold_seconds_sum", &zone) > 0.0
    })?;
    ctx.holds_ended("killed", 3)
}
