//! holdfast says that it enforces only while that is so, and otherwise says what to do.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::harness::{Budget, Ctx, Tool, check, check_eq, cli, policy, until};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::once("ftrace_switched_off_is_noticed", ftrace).waits(),
    Scenario::once("doctor_finds_nothing_wrong", doctor),
    Scenario::once("doctor_names_securityfs", securityfs),
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

/// `ftrace_enabled=0` disarms LSM programs on some kernels, silently. What holdfast says must follow what is so.
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
        Ok((ctx.lab.metrics()?.sum("holdfast_enforcing", &[]) == claim).then_some(()))
    })?;
    if !really_enforced {
        let (outcome, value) = cli::status()?;
        check_eq!(outcome.code, Some(5), "exit status of `holdfast status`");
        claims_nothing(&value)?;
        let plain = cli::holdfast(["status"])?.code(5)?;
        check!(plain.said().contains("NOT ENFORCING"), "{}", plain.describe("does not say it"));
        check!(plain.said().contains("ftrace_enabled"), "{}", plain.describe("does not say why"));
        let refused = cli::holdfast(["policy", "reload"])?;
        check!(!refused.succeeded(), "{}", refused.describe("should have failed"));
        check!(refused.said().contains("ftrace_enabled=1"), "{}", refused.describe("why?"));
    }
    drop(restore);
    until("the metrics say it enforces again", Duration::from_secs(60), || {
        Ok((ctx.lab.metrics()?.sum("holdfast_enforcing", &[]) == 1.0).then_some(()))
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

fn claims_nothing(status: &Value) -> Result<()> {
    check!(cli::text(status, "level") != "prevent", "status claims level prevent: {status}");
    check!(
        status.get("enforcing").and_then(Value::as_bool) != Some(true),
        "status claims to enforce: {status}"
    );
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
    check_eq!(cli::text(&value, "level"), "none", "level");
    claims_nothing(&value)?;
    let plain = cli::holdfast(["status"])?.code(5)?;
    for expected in ["NOT ENFORCING", "lsm=", "bpf"] {
        check!(
            plain.said().contains(expected),
            "{}",
            plain.describe(&format!("lacks {expected:?}"))
        );
    }
    let metrics = ctx.lab.metrics()?;
    check_eq!(metrics.sum("holdfast_enforcing", &[]), 0.0, "holdfast_enforcing");
    check_eq!(metrics.sum("holdfast_level", &[("level", "none")]), 1.0, "level none");
    check_eq!(metrics.sum("holdfast_level", &[("level", "prevent")]), 0.0, "level prevent");
    check!(ctx.lab.is_running()?, "the agent keeps running, so that monitoring sees it");
    // And what it says is so.
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).ok()?;
    tree.lost_exactly(31)
}

fn no_bpf_doctor(_ctx: &mut Ctx<'_>) -> Result<()> {
    let outcome = cli::holdfast(["doctor"])?.code(5)?;
    // What is active on this boot, and `bpf`: with another list the others would be switched off.
    let list = "lsm=lockdown,yama,bpf";
    check!(outcome.said().contains(list), "{}", outcome.describe("names no fix"));
    let json = cli::holdfast(["doctor", "--json"])?.code(5)?;
    let value: Value = serde_json::from_str(&json.stdout)?;
    check!(value.to_string().contains("lsm="), "the JSON names no fix: {value}");
    Ok(())
}
