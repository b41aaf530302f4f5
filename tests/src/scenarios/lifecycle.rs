//! The agent may be killed, stopped and started again: what the kernel holds stays, never looser.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::harness::agent::{self, PIN_DIR};
use crate::harness::tree::count;
use crate::harness::{Budget, Ctx, Outcome, Tool, check, check_eq, cli, until};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::each("agent_kill_keeps_budget_during_attack", killed),
    Scenario::each("agent_stopped_before_the_attack", stopped),
    Scenario::once("a_restart_adopts_and_counters_continue", adopted),
    Scenario::once("restart_during_attack_leaves_no_gap", no_gap),
    Scenario::once("the_agent_frozen_changes_nothing", frozen),
    Scenario::once("unpin_takes_the_guard_off", unpin),
    Scenario::once("second_agent_is_refused", second),
    Scenario::once("covered_guard_is_named", covered),
];

/// The words of `holdfast status` about how the agent came up.
fn start_of(value: &serde_json::Value) -> String {
    cli::text(value, "started").to_owned()
}

fn killed(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(4, 15, 30)?;
    let attack = Tool::new("find").arg(&tree.root).args(["-type", "f", "-exec", "rm", "{}", ";"]);
    let attack = attack.start()?;
    until("the attack is under way", Duration::from_secs(60), || {
        Ok((tree.gone()? >= 5).then_some(()))
    })?;
    ctx.lab.kill()?;
    let when_killed = tree.gone()?;
    attack.wait()?;
    tree.lost_exactly(30)?;
    check!(when_killed < 30, "the agent was killed too late to show anything: {when_killed} gone");
    ctx.lab.start(false)?;
    check_eq!(start_of(&cli::status()?.1), "adopted", "how the agent came up");
    // Still spent, still latched.
    Tool::new("rm").arg("-rf").arg(tree.tenant(3)).run()?.refused()?;
    tree.lost_exactly(30)?;
    ctx.counted("allow", 30)
}

fn stopped(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(4, 30, 25)?;
    ctx.lab.stop()?;
    Tool::new("rm").arg("-rf").arg(&tree.root).run()?.refused()?;
    tree.lost_exactly(25)?;
    let unreachable = cli::holdfast(["status"])?;
    check_eq!(unreachable.code, Some(4), "exit status of `holdfast status` without an agent");
    ctx.lab.start(false)
}

fn adopted(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(2, 40, 30)?;
    let remove = |files: std::ops::Range<u64>| -> Result<()> {
        for file in files {
            fs::remove_file(tree.file(0, file))?;
        }
        Ok(())
    };
    remove(0..10)?;
    ctx.counted("allow", 10)?;
    ctx.lab.stop()?;
    remove(10..15)?;
    ctx.lab.start(false)?;
    check_eq!(start_of(&cli::status()?.1), "adopted", "how the agent came up");
    ctx.counted("allow", 15)?;
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).arg(tree.tenant(1)).run()?.refused()?;
    tree.lost_exactly(30)?;
    ctx.counted("allow", 30)
}

fn no_gap(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(4, 50, 40)?;
    let script = "while [ ! -e \"$2\" ]; do rm -rf \"$1\"/*; done";
    let done = ctx.base.join("done");
    let attack =
        Tool::new("bash").args(["-c", script, "script"]).args([&tree.root, &done]).start()?;
    let restarted = (|| -> Result<()> {
        for _ in 0..2 {
            ctx.lab.kill()?;
            ctx.lab.start(false)?;
        }
        Ok(())
    })();
    fs::write(&done, "")?;
    attack.wait()?;
    restarted?;
    tree.lost_exactly(40)
}

/// A stopped process drains no events; the kernel does not wait for it.
fn frozen(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(4, 50, 40)?;
    let pid = ctx.lab.pid()?.to_string();
    Tool::new("kill").args(["-STOP", &pid]).ok()?;
    let outcome = Tool::new("rm").arg("-rf").arg(&tree.root).run();
    Tool::new("kill").args(["-CONT", &pid]).ok()?;
    outcome?.refused()?;
    tree.lost_exactly(40)?;
    ctx.counted("allow", 40)
}

fn unpin(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(2, 30, 10)?;
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).run()?.refused()?;
    ctx.lab.stop()?;
    // The zone is enforced: nobody takes the guard off by the way.
    let refused = cli::holdfast(["unpin"])?;
    check!(!refused.succeeded(), "{}", refused.describe("should have failed"));
    check!(refused.stderr.contains(&ctx.zone), "{}", refused.describe("should name the zone"));
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).run()?.refused()?;
    tree.lost_exactly(10)?;
    cli::holdfast(["unpin", "--force"])?.ok()?;
    check_eq!(count(Path::new(PIN_DIR))?.files, 0, "pins left");
    // What it says is so: the kernel lets go a moment after the last pin is gone, and it waits for
    // that.
    Tool::new("rm").arg("-rf").arg(&tree.root).ok()?;
    check!(!tree.root.exists(), "the tree should be gone");
    let other = crate::harness::Tree::make(&ctx.base.join("again"), 2, 30)?;
    ctx.enforce(&other.root, Budget::files(10))?;
    check_eq!(start_of(&cli::status()?.1), "fresh", "how the agent came up");
    // Taking the guard off is no way to a new budget.
    Tool::new("rm").arg("-rf").arg(&other.root).run()?.refused()?;
    other.lost_exactly(0)
}

/// An agent with a policy that only observes, and with every directory of its own but that of the
/// pins. One that is not refused is ended after a while.
fn start_another(ctx: &Ctx<'_>) -> Result<Outcome> {
    let own = |name: &str| ctx.base.join(name);
    fs::write(own("policy.toml"), agent::idle())?;
    let agent = Tool::new("timeout").args(["30", agent::BINARY, "agent", "--metrics", "off"]);
    let agent = agent.arg("--run-dir").arg(own("run")).arg("--state-dir").arg(own("state"));
    agent.arg("--policy").arg(own("policy.toml")).run()
}

/// Somebody tries an agent of their own on a guarded host: it would have put its policy in force
/// for everybody.
fn second(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(1, 30, 10)?;
    let pid = format!("managed by another agent (pid {})", ctx.lab.pid()?);
    let other = start_another(ctx)?.code(1)?;
    check!(other.stderr.contains(&pid), "{}", other.describe("should name the agent"));
    let run_dir = ctx.base.join("run");
    let unpin = Tool::new(agent::BINARY).arg("unpin").arg("--run-dir").arg(&run_dir);
    ctx.guard(&[ctx.new_zone(&tree.root).observe().budget(Budget::files(10))])?;
    let unpin = unpin.run()?.code(1)?;
    check!(unpin.stderr.contains(&pid), "{}", unpin.describe("should name the agent"));
    ctx.enforce(&tree.root, Budget::files(10))?;
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).run()?.refused()?;
    tree.lost_exactly(10)?;
    check_eq!(cli::status()?.0.code, Some(0), "exit status of `holdfast status`");
    // An agent that was killed is in nobody's way.
    ctx.lab.kill()?;
    ctx.lab.start(false)
}

/// Unmounts the bpffs that covers the other, come what may.
struct Cover;

impl Drop for Cover {
    fn drop(&mut self) {
        Tool::new("umount").arg(BPFFS).run().ok();
    }
}

const BPFFS: &str = "/sys/fs/bpf";

/// With a bpffs mounted over the pins, an agent found none and loaded a second guard beside the
/// first.
fn covered(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(1, 30, 10)?;
    let pid = format!("another holdfast guard (agent: pid {})", ctx.lab.pid()?);
    Tool::new("mount").args(["-t", "bpf", "bpf", BPFFS]).ok()?;
    let cover = Cover;
    let other = start_another(ctx)?.code(1)?;
    let doctor = cli::holdfast(["doctor"])?.code(5)?;
    let unpin = cli::holdfast(["unpin"])?.code(1)?;
    for outcome in [other, doctor, unpin] {
        for part in [pid.as_str(), "BPF programs ", "umount /sys/fs/bpf"] {
            check!(
                outcome.said().contains(part),
                "{}",
                outcome.describe(&format!("should say {part:?}"))
            );
        }
    }
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).run()?.refused()?;
    tree.lost_exactly(10)?;
    drop(cover);
    ctx.lab.kill()?;
    ctx.lab.start(false)?;
    check_eq!(start_of(&cli::status()?.1), "adopted", "how the agent came up");
    check!(fs::remove_file(tree.file(0, 29)).is_err(), "what was spent is spent");
    cli::holdfast(["doctor"])?.ok().map(drop)
}
