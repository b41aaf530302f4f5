//! The service: when it is ready, what it may, and what it does when the agent hangs.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use super::host::{self, BUDGET, Deleter, Host, PATIENCE, PIN_DIR, POLICY, UNIT};
use crate::harness::terminal::{Terminal, session};
use crate::harness::{Tool, Tree, check, check_eq, cli, proc, until};

/// systemd is told so after the audit log has that every op was tried, and not before.
pub(super) fn ready(host: &mut Host) -> Result<()> {
    let records = cli::audit_in(&Path::new(host::STATE_DIR).join("audit"))?;
    let coverage = records.iter().find(|record| cli::text(record, "type") == "coverage");
    let coverage = coverage.context("no record of type coverage")?;
    check!(coverage["complete"] == true, "{coverage}");
    // `Tue 2026-11-24 19:00:00.123456 UTC`, and `2026-11-24T19:00:00.123Z`.
    let active = host::property("ActiveEnterTimestamp")?;
    let words: Vec<&str> = active.split(' ').collect();
    let [_, day, time, _] = words[..] else { anyhow::bail!("a time like {active:?}") };
    let (active, tried) =
        (format!("{day}T{time}"), cli::text(coverage, "time").trim_end_matches('Z'));
    check!(!tried.is_empty(), "{coverage}");
    check!(
        *tried <= *active,
        "every op was tried at {tried}, but the service was ready at {active}"
    );
    host.note(format!("tried at {tried}, ready at {active}"));
    Ok(())
}

/// With what it may and may not, it does all it has to: for a zone on a filesystem that is mounted
/// later, for a user whose terminal is nobody else's.
pub(super) fn works(host: &mut Host) -> Result<()> {
    let score = Tool::new("systemd-analyze").args(["security", "--no-pager", UNIT]).run()?;
    let score = score.stdout.lines().last().unwrap_or_default().trim().to_owned();
    check!(score.contains("Overall exposure level"), "{score:?}");
    host.note(score);
    for name in ["watchdog", "stopped", "boot", "unusable", "upgrade", "held"] {
        host::tree(name)?;
    }
    host::put_in_force(&host::policy())?;

    // Mounted after the service was started: what the host mounts has to reach it.
    // The directory is on it: who does not see the mount does not see the directory.
    let late = Path::new("/srv/late-late");
    Tool::new("mount").args(["-t", "tmpfs", "tmpfs", "/srv"]).ok()?;
    fs::create_dir_all(late)?;
    let tree = Tree::make(&late.join("below"), 1, 50)?;
    until("the mount that came later is a root", PATIENCE, || {
        let status = host::json(&["status", "--json"])?;
        let zones = status["zones"].as_array().context("no zones")?;
        let late = zones.iter().find(|zone| zone["name"] == "late").context("no zone")?;
        let mut paths = late["paths"].as_array().context("no paths")?.iter();
        let mounted =
            paths.any(|path| path["path"] == "/srv/late-late" && path["state"] == "guarded");
        Ok(mounted.then_some(()))
    })?;
    Tool::new("rm").arg("-rf").arg(&tree.root).run()?.refused()?;
    tree.lost_exactly(BUDGET)?;
    until(
        "what was mounted can be unmounted: the service does not hold on to it",
        PATIENCE,
        || Ok(Tool::new("umount").arg("/srv").run()?.succeeded().then_some(())),
    )?;

    // Held, told on a terminal that only its user may write to, looked at, released.
    let script = "chown -R 1000 /data/held; chown 1000 $(tty); chmod 600 $(tty); \
                  exec setpriv --reuid=1000 --regid=1000 --clear-groups \
                  rm -rf /data/held/customer-000";
    let terminal = Terminal::start(&session("bash").args(["-c", script]))?;
    terminal.shows("holdfast hold", 1)?;
    let holds = until("the hold is listed", PATIENCE, || {
        let list = host::json(&["hold", "list", "--json"])?;
        Ok(list["holds"].as_array().filter(|holds| !holds.is_empty()).cloned())
    })?;
    let id = holds[0]["id"].to_string();
    let shown = host::holdfast(&["hold", "show", &id])?.ok()?;
    check!(shown.stdout.contains("rm -rf /data/held/customer-000"), "{}", shown.stdout);
    host::holdfast(&["hold", "release", &id, "--files", "500"])?.ok()?;
    until("what was released is done", PATIENCE, || {
        Ok((!Path::new("/data/held/customer-000").exists()).then_some(()))
    })
}

/// What was held and released a moment ago is in the journal, with fields, and `journalctl -x` says
/// what to do about it.
pub(super) fn journal(host: &mut Host) -> Result<()> {
    let held = "MESSAGE_ID=5bc7b38060694a7590f187acc0ca891d";
    let entries = |more: &[&str]| {
        Tool::new("journalctl").args(["--no-pager", held, "HOLDFAST_ZONE=held"]).args(more).ok()
    };
    let entry = until("the journal has the hold", PATIENCE, || {
        let found = entries(&["-o", "json"])?.stdout;
        Ok(found.lines().next().and_then(|line| serde_json::from_str(line).ok()))
    })?;
    let entry: serde_json::Value = entry;
    for field in ["HOLDFAST_HOLD", "HOLDFAST_UID", "HOLDFAST_UNIT", "PRIORITY"] {
        check!(!cli::text(&entry, field).is_empty(), "no {field} in {entry}");
    }
    check_eq!(cli::text(&entry, "_SYSTEMD_UNIT"), UNIT, "whose entry it is");
    let explained = entries(&["-x"])?;
    check!(
        explained.stdout.contains("is paused before its next op"),
        "{}",
        explained.describe("should explain the entry")
    );
    let released = "MESSAGE_ID=2b1e7c711a6243e68aac3cadcb031423";
    let released = Tool::new("journalctl").args(["--no-pager", "-o", "json", released]).ok()?;
    check!(released.stdout.contains("HOLDFAST_PERSON_UID"), "{}", released.describe("who?"));
    // Lines of the log have their priority, too: the runbooks look for them so.
    let lines = |priority: &str| {
        let words = ["-u", UNIT, "--no-pager", "-o", "cat", "_TRANSPORT=stdout", "-p", priority];
        Ok::<_, anyhow::Error>(Tool::new("journalctl").args(words).run()?.stdout)
    };
    let (warnings, all) = (lines("warning")?, lines("debug")?);
    check!(warnings.contains("does not exist; it is guarded as soon as it appears"), "{warnings}");
    check!(!warnings.contains("the guard is up") && all.contains("the guard is up"), "{warnings}");
    check!(
        !all.contains("<4>") && !all.contains("<6>"),
        "the journal has not understood it: {all}"
    );
    host.note(format!("journal: {}", cli::text(&entry, "MESSAGE")));
    Ok(())
}

/// `systemctl reload` says what is wrong, and the policy before stays. SIGHUP is answered too.
pub(super) fn reload(_: &mut Host) -> Result<()> {
    let before = host::json(&["policy", "show", "--json"])?;
    fs::write(POLICY, "[[zone]]\nname = \"half\"\n").context(POLICY)?;
    let refused = host::systemctl(&["reload", UNIT])?;
    check!(!refused.succeeded(), "{}", refused.describe("should have failed"));
    check_eq!(host::json(&["policy", "show", "--json"])?, before, "the policy in force");
    Tool::new("systemctl").args(["kill", "--signal=HUP", UNIT]).ok()?;
    until("the status says that the policy was refused", PATIENCE, || {
        Ok(host::property("StatusText")?.contains("the last policy was refused").then_some(()))
    })?;
    host::property_is("ActiveState", "active")?;
    host::put_in_force(&host::policy())?;
    until("the status says that it was accepted", PATIENCE, || {
        let status = host::property("StatusText")?;
        let good = !status.contains("refused") && status.contains("GUARD UP");
        Ok(good.then_some(()))
    })
}

/// As after a boot: no guard, and a policy file that is wrong. What was in force last is, with all
/// that the service may and may not.
pub(super) fn unusable(host: &mut Host) -> Result<()> {
    let good = fs::read_to_string(POLICY).context(POLICY)?;
    host::systemctl(&["stop", UNIT])?.ok()?;
    host::holdfast(&["unpin", "--force"])?.ok()?;
    fs::write(POLICY, "[[zone]]\nname = \"half\"\n").context(POLICY)?;
    host::systemctl(&["start", UNIT])?.ok()?;
    let status = host::json(&["status", "--json"])?;
    check_eq!(status["started"], "fresh", "how the agent came up");
    check!(status["guard_up"] == true && status["policy"]["reload_failed"] == true, "{status}");
    let text = host::property("StatusText")?;
    check!(text.contains("GUARD UP") && text.contains("was refused"), "{text}");
    let tree = Tree { root: "/data/unusable".into(), tenants: 3, files: 100 };
    Tool::new("rm").arg("-rf").arg(&tree.root).run()?.refused()?;
    tree.lost_exactly(BUDGET)?;
    host.note(text);
    host::put_in_force(&good)
}

/// A loop that does not go round is noticed and ended. Meanwhile somebody deletes: the guard is in
/// the kernel.
pub(super) fn watchdog(host: &mut Host) -> Result<()> {
    let tree = Tree { root: "/data/watchdog".into(), tenants: 3, files: 100 };
    let (pid, restarts) = (host::main_pid()?, host::property("NRestarts")?);
    proc::signal(pid, Signal::STOP)?;
    let deleter = Deleter::start(&tree);
    let start = std::time::Instant::now();
    until("systemd has started another agent", PATIENCE, || {
        let now = host::main_pid()?;
        Ok((now != 0 && now != pid).then_some(()))
    })?;
    host::property_is("ActiveState", "active")?;
    let tried = deleter.end()?;
    tree.lost_exactly(BUDGET)?;
    check!(tried > 2 * BUDGET, "only tried {tried} times");
    check!(host::property("NRestarts")? != restarts, "NRestarts is still {restarts}");
    let said = Tool::new("journalctl").args(["-u", UNIT, "--no-pager", "-o", "cat"]).ok()?.stdout;
    check!(said.to_lowercase().contains("watchdog timeout"), "the journal does not say why");
    let seconds = start.elapsed().as_secs();
    host.note(format!(
        "a new agent after {seconds} s; {tried} removals tried meanwhile, {BUDGET} done"
    ));
    Ok(())
}

/// `systemctl stop` ends the agent, not the guard.
pub(super) fn stopped(_: &mut Host) -> Result<()> {
    let tree = Tree { root: "/data/stopped".into(), tenants: 3, files: 100 };
    host::systemctl(&["stop", UNIT])?.ok()?;
    check_eq!(host::property("ActiveState")?, "inactive", "ActiveState");
    check_eq!(host::property("Result")?, "success", "Result");
    check!(Path::new(PIN_DIR).exists(), "no pins");
    Tool::new("rm").arg("-rf").arg(&tree.root).run()?.refused()?;
    tree.lost_exactly(BUDGET)?;
    host::systemctl(&["start", UNIT])?.ok()?;
    let started = host::json(&["status", "--json"])?["started"].clone();
    check_eq!(started, "adopted", "how the agent came up");
    Ok(())
}
