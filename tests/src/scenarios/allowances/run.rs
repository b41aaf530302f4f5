//! `holdfast run` as a person or a script uses it: CMD's own streams, status and signals, and a
//! report in the end.

use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;

use super::unlink;
use crate::harness::allowance::{nothing_open, refused_for};
use crate::harness::terminal::{Terminal, session};
use crate::harness::{Ctx, check, check_eq, proc, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::once("run_keeps_the_commands_exit_status", statuses),
    Scenario::once("run_reports_spending_beside_command_output", report),
    Scenario::once("run_shows_remainder_on_terminal", terminal),
    Scenario::once("killed_runner_leaves_allowance_to_command", killed),
    Scenario::once("runner_signal_reaches_its_command", signalled),
];

fn statuses(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.signed_tree(1, 10, 2)?;
    let cases: [(&str, &[&str], i32); 6] = [
        ("zero", &["true"], 0),
        ("three", &["sh", "-c", "exit 3"], 3),
        ("term", &["sh", "-c", "kill -TERM $$"], 128 + 15),
        ("kill", &["sh", "-c", "kill -KILL $$"], 128 + 9),
        ("missing", &["no-such-command"], 127),
        ("not-executable", &["/etc/hosts"], 126),
    ];
    for (name, command, status) in cases {
        let doc = ctx.removals(name, &[&tree.root], 5)?;
        let outcome = doc.run(command).run()?;
        check_eq!(outcome.code, Some(status), "{}", outcome.describe(name));
        if !(126..=127).contains(&status) {
            doc.becomes("closed", Some("finished"))?;
        }
    }
    let doc = ctx.draft("refused", &[&tree.root], 5)?.signed_by(ctx, &["alice"])?;
    let refused = || doc.run(["rm", "-rf", &tree.root.display().to_string()]).run()?.code(125);
    refused_for(ctx, "too_few_signers", refused)?;
    tree.lost_exactly(0)?;
    nothing_open(ctx)
}

/// What was spent is told on standard error; input and output are the command's own.
fn report(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.signed_tree(2, 10, 2)?;
    let doc = ctx.removals("report", &[&tree.tenant(0)], 15)?;
    let outcome = doc.run(unlink(&tree.tenant(0))?).run()?.ok()?;
    check_eq!(outcome.stdout, "10\n", "standard output");
    for expected in [&doc.id, &ctx.zone, "10", "15"] {
        let what = format!("should say {expected} in its report");
        check!(outcome.stderr.contains(expected), "{}", outcome.describe(&what));
    }
    // What it reads and writes is its own.
    let doc = ctx.removals("streams", &[&tree.root], 15)?;
    let line = format!(
        "echo hello | {} run --allow {} -- cat",
        crate::harness::agent::BINARY,
        doc.path.display()
    );
    let outcome = crate::harness::sh::<&str>(&line, [])?.ok()?;
    check_eq!(outcome.stdout, "hello\n", "what cat got and said");
    Ok(())
}

fn terminal(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.signed_tree(1, 10, 2)?;
    let doc = ctx.removals("terminal", &[&tree.root], 15)?;
    let run = session(crate::harness::agent::BINARY).args(["run", "--allow"]).arg(&doc.path);
    let script = format!(
        "rm {0}/file-0000.dat {0}/file-0001.dat; read line; echo got-$line",
        tree.tenant(0).display()
    );
    let mut terminal = Terminal::start(&run.args(["--", "bash", "-c", &script]))?;
    until("two files are gone", Duration::from_secs(60), || {
        Ok((tree.files_gone()? == 2).then_some(()))
    })?;
    // Job control and reading work as without it.
    terminal.type_in("typed\n")?;
    terminal.shows("got-typed", 1)?;
    terminal.shows(&doc.id, 1)?;
    doc.becomes("closed", Some("finished"))?;
    check_eq!(doc.files_spent(0)?, 2, "files spent");
    Ok(())
}

/// Nothing but the command goes on under it.
fn killed(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.signed_tree(2, 10, 2)?;
    let doc = ctx.removals("killed", &[&tree.root], 100)?;
    let go = ctx.base.join("go");
    let script = format!(
        "until [[ -e '{}' ]]; do sleep 0.1; done; {} ; sleep 1",
        go.display(),
        unlink(&tree.tenant(0))?.join(" ")
    );
    let runner = doc.run(["bash", "-c", &script]).start()?;
    let pid = until("its first process is there", Duration::from_secs(60), || {
        Ok(doc.report()?.unwrap_or_default()["bind"]["pid"].as_u64())
    })?;
    proc::signal(runner.pid(), Signal::KILL)?;
    proc::ends(runner.pid())?;
    doc.becomes("open", None)?;
    std::fs::write(&go, "")?;
    proc::ends(u32::try_from(pid)?)?;
    doc.becomes("closed", Some("finished"))?;
    check_eq!(doc.files_spent(0)?, 10, "files spent");
    tree.lost_exactly(10)
}

fn signalled(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.signed_tree(1, 10, 2)?;
    for (name, signal) in [
        ("term", Signal::TERM),
        ("hup", Signal::HUP),
        ("int", Signal::INT),
        ("quit", Signal::QUIT),
        ("usr1", Signal::USR1),
        ("usr2", Signal::USR2),
        ("alrm", Signal::ALARM),
    ] {
        let doc = ctx.removals(name, &[&tree.root], 100)?;
        let ready = ctx.base.join(name);
        let script = format!(
            "trap 'exit 42' {name}; touch '{}'; while :; do sleep 0.1; done",
            ready.display()
        );
        let runner = doc.run(["bash", "-c", &script]).start()?;
        until("its command runs", Duration::from_secs(60), || Ok(ready.exists().then_some(())))?;
        proc::signal(runner.pid(), signal)?;
        runner.wait()?.code(42)?;
        doc.becomes("closed", Some("finished"))?;
    }
    Ok(())
}
