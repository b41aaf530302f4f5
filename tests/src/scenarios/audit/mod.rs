//! The audit log can be trusted: what was changed shows, what was acknowledged is there, and
//! nothing takes effect unrecorded.

pub(crate) mod cuts;
pub(crate) mod full;
pub(crate) mod power;
pub(crate) mod report;

pub(crate) use cuts::release;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::harness::agent::STATE_DIR;
use crate::harness::{Ctx, Tool, Tree, check, check_eq, cli, hold, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::once("audit_log_verifies_unless_changed", changes),
    Scenario::once("audit_report_sums_up_the_log", summed_up),
];

const BUDGET: u64 = 5;

fn log_dir() -> PathBuf {
    Path::new(STATE_DIR).join("audit")
}

/// The host's key, as `holdfast audit key` shows it.
fn key() -> Result<String> {
    Ok(cli::holdfast_audit(["key"])?.ok()?.stdout.trim().to_owned())
}

/// A hold that somebody has released by three files, then killed.
fn one_hold(ctx: &mut Ctx<'_>) -> Result<Tree> {
    let tree = ctx.holding(2, 40, BUDGET)?;
    let unit = ctx.unit("rm")?;
    let rm = hold::rm(&tree, 0..2, &unit).start()?;
    let held = ctx.held_at(&tree, rm.pid(), BUDGET)?;
    held.release(3)?;
    ctx.held_at(&tree, rm.pid(), BUDGET + 3)?.kill()?;
    rm.wait()?;
    ctx.audited("kill")?;
    Ok(tree)
}

/// Waits until the log is signed to its end, and returns its head as the metrics tell it.
fn head(ctx: &Ctx<'_>) -> Result<String> {
    let all = until("the log is signed to its end", Duration::from_secs(60), || {
        let (_, status) = cli::status()?;
        Ok((status["audit"]["unsigned"].as_u64() == Some(0)).then_some(()))
    });
    all?;
    let metrics = ctx.lab.metrics()?;
    let number = |name: &str| metrics.sum(name, &[]) as u64;
    Ok(format!("{}:{:013x}", number("holdfast_audit_head_seq"), number("holdfast_audit_head_hash")))
}

/// The log of a released hold verifies, and every change to it shows.
fn changes(ctx: &mut Ctx<'_>) -> Result<()> {
    one_hold(ctx)?;
    let (key, head) = (key()?, head(ctx)?);
    let told: Vec<&str> = vec!["--key", &key, "--head", &head];
    let (outcome, summary) = cli::verify(&log_dir(), &told)?;
    check_eq!(outcome.code, Some(0), "exit status of a sound log: {summary}");
    check!(
        summary["heads_found"].as_u64() >= Some(1),
        "the head of the metrics is in it: {summary}"
    );
    check!(summary["key_given"] == true && summary["signatures"].as_u64() > Some(1), "{summary}");
    let log = ctx.lab.log()?;
    check!(log.contains("audit head") && log.contains("audit_hash="), "the journal has heads");

    // What was released was written down and signed before anybody went on.
    let records = cli::audit()?;
    let at = |kind: &str| {
        let of_zone = |record: &Value| cli::text(record, "zone") == ctx.zone;
        let found = records.iter().position(|r| cli::text(r, "type") == kind && of_zone(r));
        found.with_context(|| format!("no record of type {kind}"))
    };
    let release = at("release")?;
    check_eq!(cli::text(&records[release + 1], "type"), "checkpoint", "what follows a release");
    check!(at("release_outcome")? > release, "what it came to comes later");

    let copy = ctx.base.join("copy");
    let changed = |what: &str, change: &dyn Fn(&Path, String) -> Result<()>| -> Result<Value> {
        Tool::new("cp").arg("-a").arg(log_dir()).arg(&copy).ok()?;
        let last = copy.join(last_segment(&copy)?);
        change(&last, fs::read_to_string(&last)?)?;
        let (outcome, summary) = cli::verify(&copy, &told)?;
        check_eq!(outcome.code, Some(1), "exit status: {what}: {summary}");
        fs::remove_dir_all(&copy)?;
        Ok(summary["bad"].clone())
    };
    let line = |text: &str, kind: &str| {
        let found = text.lines().position(|line| line.contains(&format!("\"type\":\"{kind}\"")));
        found.with_context(|| format!("no {kind}"))
    };
    let bad = changed("the files of a release are edited", &|path, text| {
        Ok(fs::write(path, text.replacen("\"files\":3,\"until\"", "\"files\":2,\"until\"", 1))?)
    })?;
    check!(bad["line"].as_u64() > Some(1) && bad["seq"].is_u64(), "the record is named: {bad}");
    changed("a release is removed", &|path, text| {
        let gone = line(&text, "release")?;
        let rest: Vec<&str> =
            text.lines().enumerate().filter(|(n, _)| *n != gone).map(|(_, l)| l).collect();
        Ok(fs::write(path, rest.join("\n") + "\n")?)
    })?;
    let bad = changed("the end is cut off, and head.json with it", &|path, text| {
        let upto = line(&text, "release")?;
        let rest: Vec<&str> = text.lines().take(upto).collect();
        fs::remove_file(path.with_file_name("head.json"))?;
        Ok(fs::write(path, rest.join("\n") + "\n")?)
    })?;
    check!(cli::text(&bad, "what").contains("--head says"), "the head of the metrics tells: {bad}");
    changed("a segment is removed", &|path, _| Ok(fs::remove_file(path)?))?;
    let (outcome, _) = cli::verify(&log_dir(), &["--key", &other_key()])?;
    check_eq!(outcome.code, Some(1), "exit status with another host's key");
    let nothing = cli::holdfast_audit(["verify", "--dir", "/nonexistent"])?;
    check_eq!(nothing.code, Some(3), "exit status without a log");
    Ok(())
}

fn other_key() -> String {
    "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=".to_owned()
}

fn last_segment(dir: &Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(Some(name).filter(|name| name.starts_with("audit-")));
    }
    names.sort();
    names.pop().context("no segment")
}

fn summed_up(ctx: &mut Ctx<'_>) -> Result<()> {
    one_hold(ctx)?;
    head(ctx)?;
    let page = ctx.base.join("incident.html");
    let zone = ctx.zone.clone();
    let report = |more: &[&str]| {
        cli::holdfast_audit(["report", "--since", "1h", "--zone", &zone].iter().chain(more))
    };
    // What is in the kernel's buffer is written down.
    cli::holdfast(["manifest"])?.ok()?;
    let text = report(&[])?.ok()?.stdout;
    for part in [
        "VERIFIED",
        ": 2 pauses\n",
        "3 files released by user 0",
        "  in all: 8 ops, 8 files, ",
        "within budgets, or released: 8 ops",
        "ended    1 released",
        "NOT KNOWN",
    ] {
        check!(text.contains(part), "{part:?} in\n{text}");
    }
    report(&["--html", &page.to_string_lossy()])?.ok()?;
    let html = fs::read_to_string(&page)?;
    check!(
        html.contains("class=\"seal good\"") && html.contains("<svg"),
        "the page has a seal and a plot"
    );
    let show = |more: &[&str]| -> Result<String> {
        Ok(cli::holdfast_audit(["show", "--zone", &zone].iter().chain(more))?.ok()?.stdout)
    };
    check_eq!(show(&["--type", "release"])?.lines().count(), 1, "releases shown");
    check_eq!(show(&["--type", "release", "--until", "1h"])?.lines().count(), 0, "of an hour ago");
    let unit = format!("{zone}-rm");
    let json = show(&["--type", "hold", "--unit", &unit, "--json"])?;
    check!(json.lines().count() == 2 && cli::parse_stream(&json)?.len() == 2, "two pauses: {json}");
    Ok(())
}
