//! Whose allowance it is: everything that CMD starts, however it is started, and nobody else,
//! however near.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use holdfast_abi::{Op, Per};

use super::{own, unlink};
use crate::harness::allowance::{Doc, Draft, Grant};
use crate::harness::signing::Signing;
use crate::harness::tool::Running;
use crate::harness::{Budget, Ctx, Tool, Tree, Unit, check, check_eq, cli, hold, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::each("command_tree_spends_its_allowance", inherits),
    Scenario::each("users_second_shell_gets_nothing", second_shell),
    Scenario::once("daemon_of_ended_command_gets_nothing", daemon),
    Scenario::once("process_moved_into_unit_gets_nothing", moved),
    Scenario::once("allowance_survives_unit_and_user_change", elsewhere),
    Scenario::once("runner_and_its_parent_get_nothing", runner_itself),
];

/// What the budget gives, which is spent before anything else.
const BUDGET: u64 = 1;

/// A tree whose budget, one for the whole zone, is spent.
fn spent_out(ctx: &mut Ctx<'_>, tenants: u64, files: u64) -> Result<Tree> {
    let tree = ctx.tree(tenants, files)?;
    let zone = ctx.new_zone(&tree.root).budget(Budget::files(BUDGET).per(Per::Zone));
    ctx.guard_signed(&[zone], &Signing::usual()?)?;
    let bait = tree.root.join("bait");
    fs::write(&bait, "bait")?;
    fs::remove_file(bait)?;
    Ok(tree)
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

/// A command that runs until `go` appears.
fn waits_for(go: &Path) -> Vec<String> {
    let script = format!("until [[ -e '{}' ]]; do sleep 0.1; done", go.display());
    words(["bash", "-c", &script])
}

fn started(doc: &Doc, go: &Path, unit: &Unit) -> Result<Running> {
    let running = doc.run(waits_for(go)).unit(unit).start()?;
    until("its first process is there", Duration::from_secs(60), || {
        let report = doc.report()?.unwrap_or_default();
        Ok(report["bind"]["pid"].as_u64())
    })?;
    Ok(running)
}

fn inherits(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = spent_out(ctx, 6, 10)?;
    let (own, uring) = (own()?.display().to_string(), tree.tenant(5));
    let grant = Grant {
        ops: vec![Op::Remove, Op::Truncate],
        ..Grant::removals(&ctx.zone, &[&tree.root], 1000)
    };
    let doc = Draft::new(ctx, "tree", vec![grant])?.signed(ctx)?;
    let done = ctx.base.join("daemon-done");
    // A child, a grandchild without a parent in a session of its own, threads, a child between
    // vfork and exec, io_uring's workers, and the process itself after another exec.
    let script = "set -e; rm customer-000/*; \
        (setsid bash -c '(rm customer-001/* && touch \"$1\") & exit 0' daemon \"$2\" &) ; \
        until [[ -e $2 ]]; do sleep 0.1; done; \
        \"$1\" helper unlink customer-002 --threads 8; \
        \"$1\" helper spawn-emptying customer-003/file-0000.dat; \
        \"$1\" helper uring customer-005; \
        exec rm customer-004/file-0003.dat customer-004/file-0004.dat";
    let mut command = words(["bash", "-c", script, "script", &own]);
    command.push(done.display().to_string());
    let outcome = doc.run(&command).cwd(&tree.root).run()?.ok()?;
    check!(
        outcome.stdout.contains("ok=10 eperm=0"),
        "{}",
        outcome.describe("io_uring was refused")
    );
    check_eq!(super::snapshot(&uring)?.len(), 0, "files left by io_uring");
    until("the file is emptied", Duration::from_secs(30), || {
        Ok((tree.emptied() == 1).then_some(()))
    })?;
    check_eq!(tree.files_gone()?, 42, "files gone");
    let report = doc.becomes("closed", Some("finished"))?;
    check_eq!(cli::number(&report["grants"][0]["files"], "spent")?, 43, "files spent");
    ctx.nothing_denied()?;
    let metrics = ctx.lab.metrics()?;
    check_eq!(metrics.sum("holdfast_allowance_marks_lost_total", &[]), 0.0, "marks lost");
    Ok(())
}

fn second_shell(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = spent_out(ctx, 4, 10)?;
    let doc = ctx.removals("open", &[&tree.root], 1000)?;
    let (go, unit) = (ctx.base.join("go"), ctx.unit("same")?);
    let running = started(&doc, &go, &unit)?;
    // The same root user, the same cgroup, the same session and terminal: none of it matters.
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).run()?.refused()?;
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).unit(&unit).run()?.refused()?;
    let script = "rm -rf \"$1\"; \"$2\" helper uring \"$1\"";
    let other = Tool::new("bash").args(["-c", script, "script"]).arg(tree.tenant(1)).arg(own()?);
    let outcome = other.unit(&unit).run()?;
    check!(outcome.stdout.contains("ok=0 eperm=10"), "{}", outcome.describe("should be refused"));
    tree.lost_exactly(0)?;
    check_eq!(doc.files_spent(0)?, 0, "files spent");
    fs::write(&go, "")?;
    running.wait()?.ok()?;
    doc.becomes("closed", Some("finished")).map(drop)
}

/// It outlives the command, and the allowance does not outlive the command.
fn daemon(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = spent_out(ctx, 2, 10)?;
    let doc = ctx.removals("daemon", &[&tree.root], 1000)?;
    let (go, said) = (ctx.base.join("go"), ctx.base.join("said"));
    let script = "rm customer-000/file-0000.dat; setsid bash -c \
        'until [[ -e $1 ]]; do sleep 0.1; done; \
        \"$2\" helper unlink customer-001 >\"$3.new\" 2>&1; mv \"$3.new\" \"$3\"' \
        daemon \"$@\" </dev/null >/dev/null 2>&1 & exit 7";
    let command = ["bash", "-c", script, "script"].map(PathBuf::from);
    let command = command.into_iter().chain([go.clone(), own()?, said.clone()]);
    doc.run(command).cwd(&tree.root).run()?.code(7)?;
    doc.becomes("closed", Some("finished"))?;
    fs::write(&go, "")?;
    until("the daemon is through", Duration::from_secs(60), || Ok(said.exists().then_some(())))?;
    let text = fs::read_to_string(&said)?;
    check!(text.lines().any(|line| line == "0"), "what the daemon removed: {text}");
    tree.lost_exactly(1)
}

fn moved(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = spent_out(ctx, 2, 10)?;
    let doc = ctx.removals("moved", &[&tree.root], 1000)?;
    let (go, unit) = (ctx.base.join("go"), ctx.unit("same")?);
    let before = ctx.unit("before")?;
    let mut worker = crate::harness::worker::Worker::start(&before, 0)?;
    let running = started(&doc, &go, &unit)?;
    fs::write(unit.procs(), worker.pid().to_string())?;
    let refused = worker.step(&crate::harness::worker::Step::Unlink(tree.file(0, 0)))?;
    check_eq!(refused, rustix::io::Errno::PERM.raw_os_error(), "error of its unlink");
    tree.lost_exactly(0)?;
    fs::write(&go, "")?;
    running.wait()?.ok().map(drop)
}

fn elsewhere(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = spent_out(ctx, 2, 10)?;
    for tenant in 0..2 {
        std::os::unix::fs::chown(tree.tenant(tenant), Some(1000), Some(1000))?;
    }
    let doc = ctx.removals("elsewhere", &[&tree.root], 15)?;
    let unit = ctx.unit("other")?;
    let own = own()?.display().to_string();
    let enter = words([&own, "helper", "enter", &unit.procs().display().to_string(), "1000", "--"]);
    let outcome = doc.run([enter, unlink(&tree.root)?].concat()).run()?.ok()?;
    check_eq!(outcome.stdout.trim(), "15", "files removed");
    tree.lost_exactly(15)
}

/// `holdfast run` deletes nothing itself, but its mark would be its other children's.
fn runner_itself(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = spent_out(ctx, 1, 10)?;
    let doc = ctx.removals("runner", &[&tree.root], 1000)?;
    let script = "\"$@\" || exit 9; rm customer-000/file-0001.dat 2>/dev/null && exit 8; exit 0";
    let run = ["run", "--allow"];
    Tool::new("bash")
        .args(["-c", script, "script", crate::harness::agent::BINARY])
        .args(run)
        .arg(&doc.path)
        .args(["--", "rm", "customer-000/file-0000.dat"])
        .cwd(&tree.root)
        .run()?
        .ok()?;
    tree.lost_exactly(1)?;
    let late = hold::unlink(&tree.root, &ctx.unit("late")?)?.run()?.ok()?;
    check_eq!(late.stdout.trim(), "0", "files removed by somebody later");
    tree.lost_exactly(1).context("after it")
}
