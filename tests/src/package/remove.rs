//! Taking it off: refused while something is enforced, and then as one gets past the guard.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::host::{self, Host, PIN_DIR, STATE_DIR, UNIT};
use crate::harness::{Tool, check, check_eq, cli};

/// A package manager that is told to remove it does not take the guard along.
pub(super) fn refused(_: &mut Host) -> Result<()> {
    let pid = host::main_pid()?;
    for action in ["remove", "purge"] {
        let outcome = host::apt(&[action, "holdfast"])?;
        host::fails_saying(&outcome, &["NOT REMOVED", "watchdog, stopped", "break-glass open"])?;
    }
    check_eq!(host::main_pid()?, pid, "the agent's process");
    check_eq!(host::property("ActiveState")?, "active", "ActiveState");
    check!(Path::new(PIN_DIR).exists(), "no pins");
    check_eq!(host::systemctl(&["is-enabled", UNIT])?.stdout.trim(), "enabled", "is-enabled");
    let state =
        Tool::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", "holdfast"]).ok()?;
    check_eq!(state.stdout, "installed", "state of the package");
    Tool::new("rm").args(["-rf", "/data/watchdog"]).run()?.refused()?;
    // Nor is it taken for no guard at all if one of its maps cannot be found: another version may
    // have others.
    let maps = Tool::new("find").args([PIN_DIR, "-name", "HEARTBEAT"]).ok()?;
    fs::remove_file(maps.stdout.trim()).context("HEARTBEAT")?;
    let outcome = host::holdfast(&["unpin", "--check"])?;
    host::fails_saying(&outcome, &["cannot be read", "maps of programs that are attached"])
}

/// With a code: for the one zone that still is enforced.
pub(super) fn through_break_glass(host: &mut Host) -> Result<()> {
    let codes = host::json(&["break-glass", "codes", "new", "--count", "1", "--json"])?;
    let code = codes["codes"][0]["code"].as_str().or(codes["codes"][0].as_str());
    let code = code.with_context(|| format!("no code in {codes}"))?.to_owned();
    let one = host::zone("boot", "deny");
    host::put_in_force(&format!(
        "{one}[break_glass]\nmax_length = \"1h\"\nmax_files = 1000\nmax_bytes = \"1GiB\"\n"
    ))?;
    host::fails_saying(&host::apt(&["remove", "holdfast"])?, &["NOT REMOVED", "boot"])?;
    let script = "/usr/bin/holdfast break-glass open --code-stdin --zone boot --reason \"$2\" \
        --for 10m --host-wide <<<\"$1\"";
    let reason = "this host is taken out of service";
    Tool::new("bash").args(["-c", script, "script", &code, reason]).ok()?;
    let outcome = host::apt(&["remove", "holdfast"])?.ok()?;
    check!(outcome.said().contains("the guard is off"), "{}", outcome.describe("should say so"));
    check!(!Path::new(PIN_DIR).exists(), "pins are left");
    check!(!Path::new("/usr/bin/holdfast").exists(), "the binary is left");
    let records = cli::audit_in(&Path::new(STATE_DIR).join("audit"))?;
    let last = records.iter().rev().find(|record| cli::text(record, "type") == "unpin");
    let last = last.context("no record of it")?;
    check!(last["forced"] == false && last["enforced"][0] == "boot", "{last}");
    let kinds: Vec<&str> = records.iter().map(|record| cli::text(record, "type")).collect();
    check!(kinds.iter().any(|kind| kind.starts_with("break_glass")), "{kinds:?}");
    Tool::new("rm").args(["-rf", "/data/boot"]).ok()?;
    host.note(format!("on record: {last}"));
    Ok(())
}

/// State goes, the audit log stays and can be verified, and that is said.
pub(super) fn purge(_: &mut Host) -> Result<()> {
    check!(Path::new(STATE_DIR).join("allowances.redb").exists(), "no state was there");
    let outcome = host::apt(&["purge", "holdfast"])?.ok()?;
    check!(outcome.said().contains("the audit log stays"), "{}", outcome.describe("should say so"));
    check!(!outcome.said().contains("dpkg: warning"), "{}", outcome.describe("is said twice"));
    let mut left: Vec<String> = Vec::new();
    for entry in fs::read_dir(STATE_DIR).context(STATE_DIR)? {
        left.push(entry?.file_name().to_string_lossy().into_owned());
    }
    left.sort();
    check_eq!(left, ["audit", "audit.key", "audit.pub"], "what is left of the state");
    check!(!Path::new("/etc/holdfast").exists(), "/etc/holdfast is left");
    let link = "/etc/systemd/system/sysinit.target.wants/holdfast.service";
    check!(fs::symlink_metadata(link).is_err(), "{link} is left");
    // The tests' own binary cannot verify it; the package's can, from where it was unpacked.
    Tool::new("dpkg-deb").arg("-x").arg(host::package(false)?).arg("/tmp/holdfast").ok()?;
    let dir = format!("{STATE_DIR}/audit");
    let verify =
        Tool::new("/tmp/holdfast/usr/bin/holdfast").args(["audit", "verify", "--dir", &dir]);
    verify.ok().map(drop)
}
