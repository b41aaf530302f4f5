//! From observe to enforce, in earnest: a day on a hosting node is recorded under the shipped
//! policy, budgets are learnt from it and tried on it, enforced through another day, and then the
//! script of 2012 comes.
//!
//! It needs a VM whose clock skips the time in which nothing happens (`qemu -icount sleep=off`):
//! then a day with its 86,400 seconds takes minutes, and everything in it, the agent's own clock
//! too, has lived through a day.

mod node;
mod plan;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::harness::agent::STATE_DIR;
use crate::harness::{Lab, Tool, Unit, check, check_eq, cli, hold, proc, until};
use crate::scenarios::{SHIPPED, enforcing, limit};
use node::Node;

const ZONES: [&str; 2] = ["customers", "backups"];
const PROPOSED: &str = "/root/proposed.toml";
/// What is not `allow`.
const OVER: [&str; 4] = ["observe", "deny", "hold", "throttle"];

/// Lives through two days of so many hours.
pub(crate) fn run(hours: u64) -> Result<()> {
    let mut lab = Lab::default();
    println!("making {} customers and their copies", plan::TENANTS);
    let mut node = Node::make()?;
    lab.write_policy(SHIPPED)?;
    lab.start(false)?;

    println!("\nA day under the shipped policy, which observes:");
    day(&lab, &mut node, 1, hours)?;
    let over = sum(&lab, &OVER)?;
    println!("over the shipped budgets: {over} ops");
    let learnt = learn(hours)?;

    println!("\nAnother day, the proposal enforced:");
    let before = sum(&lab, &["allow"])?;
    lab.try_policy(&enforcing(&fs::read_to_string(PROPOSED)?)?)?.ok()?;
    day(&lab, &mut node, 2, hours)?;
    let after = sum(&lab, &["allow"])?;
    check!(after > before, "nothing was destroyed on the second day");
    check_eq!(sum(&lab, &OVER[1..])?, 0, "ops denied, held or throttled on the second day");
    println!("denied, held or throttled: 0 of {} ops", after - before);

    println!("\nAnd then the script of 2012:");
    script(&learnt)?;
    lab.finish()
}

/// Does what the plan says, each piece at its time.
fn day(lab: &Lab, node: &mut Node, seed: u64, hours: u64) -> Result<()> {
    let agent = lab.pid()?;
    let (resident, busy) = (proc::resident(agent)?, proc::busy(agent)?);
    let (jobs, midnight) = (plan::plan(seed, hours), Instant::now());
    let mut told = 0;
    for job in &jobs {
        wait_until(midnight, job.at);
        if job.at / 3600 >= told + 3 {
            told = job.at / 3600;
            println!("  {told:02}:00  {} ops so far", sum(lab, &["allow", "observe"])?);
        }
        let outcome = node.work(job)?;
        check!(outcome.succeeded(), "{job:?}: {}", outcome.describe("is ordinary work"));
    }
    wait_until(midnight, hours * 3600);
    node.night();
    let metrics = lab.metrics()?;
    check_eq!(metrics.sum("holdfast_events_lost_total", &[]), 0.0, "events lost");
    println!("{} pieces of work in {} s", jobs.len(), midnight.elapsed().as_secs());
    println!(
        "the agent: {resident} of memory before, {} after; \
        a CPU of one instruction per nanosecond for {:.1} s",
        proc::resident(agent)?,
        (proc::busy(agent)? - busy).as_secs_f64()
    );
    let du = Tool::new("du").args(["-sh", STATE_DIR]).ok()?.stdout;
    println!("manifest and audit log: {}", du.split('\t').next().unwrap_or_default());
    Ok(())
}

fn wait_until(midnight: Instant, at: u64) {
    thread::sleep((midnight + Duration::from_secs(at)).saturating_duration_since(Instant::now()));
}

/// Ops of both zones with one of these verdicts, as the kernel has counted them.
fn sum(lab: &Lab, verdicts: &[&str]) -> Result<u64> {
    let metrics = lab.metrics()?;
    let of = |zone: &str| verdicts.iter().map(|verdict| metrics.ops(zone, verdict)).sum::<f64>();
    Ok(ZONES.iter().map(|zone| of(zone)).sum::<f64>() as u64)
}

/// Proposes budgets from the day, and tries them on it.
fn learn(hours: u64) -> Result<Value> {
    // What was done at midnight is to be in it.
    let since = format!("{}m", hours * 60 + 10);
    let mut args = vec!["learn", "--since", &since];
    let first = cli::policy_json(&[&args[..], &["--json"]].concat(), 0)?;
    let outliers = first["outliers"].as_array().context("no outliers")?;
    if !outliers.is_empty() {
        println!("outliers, which somebody has looked at and found ordinary:");
        args.push("--keep-alone");
    }
    for outlier in outliers {
        println!("  {outlier}");
    }
    let learnt = cli::policy_json(&[&args[..], &["--json"]].concat(), 0)?;
    check_eq!(cli::number(&learnt, "trips")?, 0, "trips of the proposal");
    let proposed = cli::text(&learnt, "text");
    fs::write(PROPOSED, proposed)?;
    println!("the proposal:\n{proposed}");
    let simulate = ["simulate", "--policy", PROPOSED, "--since", &since, "--json"];
    let simulated = cli::policy_json(&simulate, 0)?;
    check_eq!(cli::number(&simulated, "trips")?, 0, "trips in the simulation");
    let recorded = &simulated["recorded"];
    check_eq!(recorded["gaps"].as_array().map(Vec::len), Some(0), "gaps in the record");
    println!("simulated over {} recorded ops: 0 trips", cli::number(recorded, "ops")?);
    Ok(learnt)
}

/// It runs in somebody's session, over both roots. Where it is held, somebody kills what is held
/// after ten minutes.
fn script(learnt: &Value) -> Result<()> {
    let before = node::left()?;
    let unit = Unit::new("session-2012.scope")?;
    let tool = Tool::new("bash").args(["-c", crate::demo::SCRIPT, "update"]).args(node::ROOTS);
    let script = tool.unit(&unit).start()?;
    let mut kills = 0;
    until("the script has ended", Duration::from_secs(3 * 3600), || {
        for hold in hold::all()? {
            thread::sleep(Duration::from_secs(600));
            hold.kill()?;
            kills += 1;
        }
        Ok(proc::state(script.pid())?.is_none().then_some(()))
    })?;
    let outcome = script.wait()?;
    let after = node::left()?;
    for (n, zone) in ZONES.iter().enumerate() {
        let lost = before[n] - after[n];
        let limit = limit(learnt, n, "files")?;
        println!(
            "{zone}: {lost} of {} files and directories gone; the limit is {limit}",
            before[n]
        );
        check!(lost <= limit, "more than the limit is gone");
    }
    let denied = outcome.stderr.matches("Operation not permitted").count();
    println!("held and killed {kills} times; {denied} removals denied");
    check!(denied > 0, "{}", outcome.describe("should have been stopped in the backups"));
    Ok(())
}
