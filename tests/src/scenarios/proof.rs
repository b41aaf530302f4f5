//! holdfast says that it enforces only while that is so, and otherwise says what to do.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::harness::{Budget, Ctx, Tool, Tree, check, check_eq, cli, policy, until};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::once("ftrace_switched_off_is_noticed", ftrace).waits(),
    Scenario::once("doctor_finds_nothing_wrong", doctor),
    Scenario::once("doctor_names_securityfs", securityfs),
    Scenario::once("unsupported_mount_is_not_guarded", unsupported_mount),
    Scenario::once("observing_claims_to_stop_nothing", observing),
    Scenario::once("missing_path_has_one_answer", missing),
    Scenario::once("unmounted_tmpfs_is_not_still_guarded", unmounted),
    Scenario::once("without_bpf_the_agent_claims_nothing", no_bpf).without_bpf(),
    Scenario::once("without_bpf_doctor_names_the_fix", no_bpf_doctor).without_bpf(),
];

const FTRACE: &str = "/proc/sys/kernel/ftrace_enabled";

/// Switches ftrace on again, come what may.
struct FtraceOn;

impl Drop for FtraceOn {
    fn drop(&mut self) {
        fs::write(FTRACE, "1").ok();
    }
}

/// `ftrace_enabled=0` disarms LSM programs on some kernels, silently. What holdfast says must
/// follow what is so.
fn ftrace(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(1, 60, 5)?;
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).run()?.refused()?;
    tree.lost_exactly(5)?;
    let restore = FtraceOn;
    let switched_off = fs::write(FTRACE, "0").is_ok();
    let really_enforced = fs::remove_file(tree.file(0, 59)).is_err();
    check!(
        switched_off || really_enforced,
        "the switch could not be turned, and still nothing is denied"
    );
    let claim = if really_enforced { 1.0 } else { 0.0 };
    until("the metrics say what is so", Duration::from_secs(30), || {
        Ok((ctx.lab.metrics()?.sum("holdfast_guard_up", &[]) == claim).then_some(()))
    })?;
    if !really_enforced {
        let (outcome, value) = cli::status()?;
        check_eq!(outcome.code, Some(5), "exit status of `holdfast status`");
        claims_nothing(&value)?;
        let plain = cli::holdfast(["status"])?.code(5)?;
        check!(plain.said().contains("GUARD DOWN"), "{}", plain.describe("does not say it"));
        check!(plain.said().contains("ftrace_enabled"), "{}", plain.describe("does not say why"));
        let refused = cli::holdfast(["policy", "reload"])?;
        check!(!refused.succeeded(), "{}", refused.describe("should have failed"));
        check!(refused.said().contains("ftrace_enabled=1"), "{}", refused.describe("why?"));
    }
    drop(restore);
    until("the metrics say it enforces again", Duration::from_secs(60), || {
        Ok((ctx.lab.metrics()?.sum("holdfast_guard_up", &[]) == 1.0).then_some(()))
    })?;
    check_eq!(cli::status()?.0.code, Some(0), "exit status of `holdfast status` in the end");
    check!(fs::remove_file(tree.file(0, 58)).is_err(), "and it is so: the budget is spent");
    Ok(())
}

fn doctor(ctx: &mut Ctx<'_>) -> Result<()> {
    ctx.guarded(1, 1, 5)?;
    cli::holdfast(["doctor"])?.ok()?;
    let json = cli::holdfast(["doctor", "--json"])?.ok()?;
    serde_json::from_str::<Value>(&json.stdout)?;
    Ok(())
}

/// Without securityfs nobody can say which LSMs are active.
fn securityfs(ctx: &mut Ctx<'_>) -> Result<()> {
    ctx.guarded(1, 1, 5)?;
    Tool::new("umount").args(["-l", "/sys/kernel/security"]).ok()?;
    let outcome = cli::holdfast(["doctor"]);
    let mount = "mount -t securityfs securityfs /sys/kernel/security";
    Tool::new("sh").args(["-c", mount]).ok()?;
    let outcome = outcome?.code(5)?;
    check!(outcome.said().contains(mount), "{}", outcome.describe("names no fix"));
    cli::holdfast(["doctor"])?.ok().map(drop)
}

/// What status says in its first line, and how it and doctor end.
fn answer() -> Result<(String, Option<i32>, Option<i32>)> {
    let status = cli::holdfast(["status"])?;
    let first = status.stdout.lines().next().unwrap_or_default().to_owned();
    Ok((first, status.code, cli::holdfast(["doctor"])?.code))
}

/// A filesystem that cannot be guarded, mounted over an enforced path: everything on it can go, and
/// the directory below is still guarded. It was level `prevent`, exit status 0, metric 1.
fn unsupported_mount(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(1, 20, 5)?;
    let root = tree.root.to_str().context("not UTF-8")?;
    let zone = ctx.zone.clone();
    let labels = [("zone", zone.as_str())];
    check_eq!(answer()?, (ENFORCING.to_owned(), Some(0), Some(0)), "before");
    Tool::new("mount").args(["-t", "ramfs", "none", root]).ok()?;
    let metrics = ctx.metrics_until("the path that is not guarded", |metrics| {
        metrics.sum("holdfast_paths_unguarded", &labels) == 1.0
    })?;
    check_eq!(metrics.sum("holdfast_zone_enforcing", &labels), 0.0, "zone enforcing");
    check_eq!(metrics.sum("holdfast_guard_up", &[]), 1.0, "guard up");
    let (first, status, doctor) = answer()?;
    let wanted = format!("0 of 1 zones enforcing; NOT GUARDED: `{root}` is on ramfs");
    check!(first.contains(&wanted), "{first}");
    check_eq!((status, doctor), (Some(5), Some(5)), "exit statuses");
    check!(cli::holdfast(["doctor"])?.said().contains(root), "doctor does not name it");
    let file = tree.root.join("file");
    fs::write(&file, "x")?;
    let explained = cli::holdfast(["explain".as_ref(), file.as_os_str()])?.ok()?;
    check!(explained.stdout.contains("NOT GUARDED"), "{}", explained.describe("says nothing"));
    Tool::new("umount").arg(root).ok()?;
    ctx.metrics_until("the zone enforces again", |metrics| {
        metrics.sum("holdfast_zone_enforcing", &labels) == 1.0
            && metrics.sum("holdfast_paths_unguarded", &labels) == 0.0
    })?;
    check_eq!(answer()?, (ENFORCING.to_owned(), Some(0), Some(0)), "afterwards");
    Ok(())
}

const ENFORCING: &str = "GUARD UP, ENFORCING: ops over budget are stopped";

/// "PREVENT: ops over budget are stopped" was said where not one zone enforced.
fn observing(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 20)?;
    let watched = ctx.new_zone(&tree.root).observe().budget(Budget::files(5));
    ctx.guard(std::slice::from_ref(&watched))?;
    let wanted = "GUARD UP, OBSERVING: nothing is stopped".to_owned();
    check_eq!(answer()?, (wanted, Some(5), Some(0)), "the answer");
    let metrics = ctx.lab.metrics()?;
    for (name, value) in [
        ("holdfast_guard_up", 1.0),
        ("holdfast_zone_enforcing", 0.0),
        ("holdfast_paths_unguarded", 0.0),
    ] {
        check_eq!(metrics.sum(name, &[]), value, "{name}");
    }
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).ok()?;
    // One that enforces beside it.
    let other = Tree::make(&ctx.base.join("other"), 1, 1)?;
    let mut enforced = ctx.new_zone(&other.root).budget(Budget::files(5));
    enforced.name.push_str("-other");
    ctx.guard(&[watched, enforced])?;
    let wanted = format!("GUARD UP, 1 of 2 zones enforcing; only observed: {}", ctx.zone);
    check_eq!(answer()?, (wanted, Some(5), Some(0)), "the answer");
    Ok(())
}

/// It was exit status 0 for one command and 5 for the other.
fn missing(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    ctx.enforce(&root, Budget::files(5))?;
    let wanted = format!("GUARD UP, 0 of 1 zones enforcing; without any directory: {}", ctx.zone);
    check_eq!(answer()?, (wanted, Some(5), Some(5)), "the answer");
    fs::create_dir(&root)?;
    until("it is guarded", Duration::from_secs(60), || {
        Ok((answer()? == (ENFORCING.to_owned(), Some(0), Some(0))).then_some(()))
    })
}

/// A tmpfs that is unmounted is gone with all its data; "1 directory has left its path and is still
/// guarded" was said.
fn unmounted(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    fs::create_dir(&root)?;
    Tool::new("mount").args(["-t", "tmpfs", "none"]).arg(&root).ok()?;
    ctx.enforce(&root, Budget::files(5))?;
    check_eq!(answer()?.1, Some(0), "status before");
    Tool::new("umount").arg(&root).ok()?;
    until("status says that it is gone", Duration::from_secs(60), || {
        let page = cli::holdfast(["status"])?.stdout;
        check!(!page.contains("kept "), "{page}");
        Ok(page.contains("not mounted any more").then_some(()))
    })
}

fn claims_nothing(status: &Value) -> Result<()> {
    for claim in ["guard_up", "enforcing"] {
        check!(status[claim] == false, "status claims {claim}: {status}");
    }
    let zones = status["zones"].as_array().into_iter().flatten();
    check!(zones.clone().count() > 0, "no zones: {status}");
    for zone in zones {
        check_eq!(cli::text(zone, "state"), "not_guarded", "what a zone does");
    }
    Ok(())
}

fn no_bpf(ctx: &mut Ctx<'_>) -> Result<()> {
    let active = fs::read_to_string("/sys/kernel/security/lsm")?;
    check!(!active.contains("bpf"), "this boot should lack bpf among its LSMs, but has {active}");
    let tree = ctx.tree(1, 30)?;
    let zone = ctx.new_zone(&tree.root).budget(Budget::files(5));
    ctx.lab.write_policy(&policy::render(&[zone]))?;
    ctx.lab.start(false)?;
    let (outcome, value) = cli::status()?;
    check_eq!(outcome.code, Some(5), "exit status of `holdfast status`");
    claims_nothing(&value)?;
    let plain = cli::holdfast(["status"])?.code(5)?;
    for expected in ["GUARD DOWN", "lsm=", "bpf"] {
        check!(
            plain.said().contains(expected),
            "{}",
            plain.describe(&format!("lacks {expected:?}"))
        );
    }
    let metrics = ctx.lab.metrics()?;
    for (name, value) in [
        ("holdfast_guard_up", 0.0),
        ("holdfast_zone_enforcing", 0.0),
        ("holdfast_paths_unguarded", 1.0),
    ] {
        check_eq!(metrics.sum(name, &[]), value, "{name}");
    }
    check!(ctx.lab.is_running()?, "the agent keeps running, so that monitoring sees it");
    // And what it says is so.
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).ok()?;
    tree.lost_exactly(31)
}

fn no_bpf_doctor(_ctx: &mut Ctx<'_>) -> Result<()> {
    let outcome = cli::holdfast(["doctor"])?.code(5)?;
    // What is active on this boot, and `bpf`: with another list the others would be switched off.
    let active = std::fs::read_to_string("/sys/kernel/security/lsm")?;
    let kept = active.trim().split(',').filter(|&lsm| lsm != "capability");
    let list = format!("lsm={}", kept.chain(["bpf"]).collect::<Vec<_>>().join(","));
    check!(outcome.said().contains(&list), "{}", outcome.describe("names no fix"));
    let json = cli::holdfast(["doctor", "--json"])?.code(5)?;
    let value: Value = serde_json::from_str(&json.stdout)?;
    check!(value.to_string().contains("lsm="), "the JSON names no fix: {value}");
    Ok(())
}
