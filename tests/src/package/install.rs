//! What an installation leaves.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::host::{self, Host};
use crate::harness::{Tool, check, check_eq};

/// A policy that was brought along beforehand stays as it is, nobody is asked about it, and one
/// with a mistake leaves no package half way: the agent comes up by itself once it is corrected.
/// Masked, the service stays away, and that is said.
pub(super) fn over_a_wrong_policy(host: &mut Host) -> Result<()> {
    let wrong = "[[zone]]\nname = \"half\"\n";
    fs::create_dir_all("/etc/holdfast")?;
    fs::write(host::POLICY, wrong).context(host::POLICY)?;
    host::systemctl(&["mask", host::UNIT])?.ok()?;
    let outcome = host::install(&host::package(false)?)?.ok()?;
    for part in ["this zone has no `role`", "cannot be put in force", "NO AGENT RUNS"] {
        check!(outcome.said().contains(part), "{}", outcome.describe(&format!("{part:?}?")));
    }
    check_eq!(fs::read_to_string(host::POLICY)?, wrong, "the policy");
    check_eq!(host::property("ActiveState")?, "inactive", "ActiveState of a masked service");
    host::systemctl(&["unmask", host::UNIT])?.ok()?;
    let started = host::systemctl(&["start", host::UNIT])?;
    check!(!started.succeeded(), "{}", started.describe("should have failed"));
    let warned = Tool::new("journalctl").args(["-u", host::UNIT, "-p", "err", "-o", "cat"]).ok()?;
    check!(warned.stdout.contains("this zone has no `role`"), "{}", warned.describe("why?"));
    fs::copy("/usr/share/holdfast/policy.toml", host::POLICY)?;
    host::property_is("ActiveState", "active")?;
    host.note("came up by itself once the policy was right");
    let outcome = host::apt(&["purge", "holdfast"])?.ok()?;
    check!(!outcome.said().contains("dpkg: warning"), "{}", outcome.describe("should be clean"));
    check!(!Path::new("/etc/holdfast").exists(), "/etc/holdfast is left");
    // What follows is about a host that has never had it.
    fs::remove_dir_all(host::STATE_DIR).context(host::STATE_DIR)
}

/// One command, and the host is observed: nothing is stopped yet.
pub(super) fn installs(host: &mut Host) -> Result<()> {
    let outcome = host::install(&host::package(false)?)?.ok()?;
    check!(!outcome.said().contains("GUARD DOWN"), "{}", outcome.describe("should be able to"));
    check_eq!(host::property("ActiveState")?, "active", "ActiveState");
    check_eq!(host::systemctl(&["is-enabled", host::UNIT])?.stdout.trim(), "enabled", "is-enabled");
    let status = host::property("StatusText")?;
    let wanted =
        "GUARD UP, OBSERVING: nothing is stopped; without any directory: customers, backups";
    check_eq!(status, wanted, "StatusText");
    host.note(format!("STATUS={status}"));
    // No zone has a directory yet, and that is the one thing that doctor finds.
    let doctor = host::json(&["doctor", "--json"])?;
    let checks = doctor["checks"].as_array().context("no checks")?;
    for check in checks {
        let (name, ok) = (check["name"].as_str().unwrap_or_default(), check["ok"].as_bool());
        check!(ok == Some(true) || name == "zone" || name == "warning", "doctor: {check}");
    }
    Ok(())
}

/// Files, modes, pages, completions; and that the package can tell what was changed.
pub(super) fn content(_: &mut Host) -> Result<()> {
    for (path, mode) in [
        ("/usr/bin/holdfast", 0o755),
        ("/etc/holdfast/policy.toml", 0o644),
        ("/etc/holdfast", 0o755),
        ("/var/lib/holdfast", 0o700),
        ("/run/holdfast", 0o755),
        ("/usr/share/doc/holdfast/copyright", 0o644),
        ("/usr/share/doc/holdfast/install.md", 0o644),
        ("/usr/share/doc/holdfast/runbooks/HoldfastTrip.md", 0o644),
        ("/usr/share/holdfast/prometheus/holdfast.rules.yml", 0o644),
        ("/usr/share/holdfast/grafana/holdfast.json", 0o644),
        ("/usr/share/holdfast/ansible/site.yml", 0o644),
        ("/usr/lib/systemd/catalog/holdfast.catalog", 0o644),
        ("/usr/share/holdfast/policy.toml", 0o644),
        ("/usr/share/man/man1/holdfast-hold-release.1.gz", 0o644),
        ("/usr/share/man/man5/holdfast-policy.5.gz", 0o644),
        ("/usr/share/man/man5/holdfast-allowance.5.gz", 0o644),
        ("/usr/share/man/man8/holdfast-agent.8.gz", 0o644),
        ("/usr/share/bash-completion/completions/holdfast", 0o644),
        ("/usr/share/zsh/vendor-completions/_holdfast", 0o644),
        ("/usr/share/fish/vendor_completions.d/holdfast.fish", 0o644),
    ] {
        let found = fs::metadata(path).with_context(|| path.to_owned())?;
        check_eq!(found.permissions().mode() & 0o7777, mode, "mode of {path}");
    }
    let verified = Tool::new("dpkg").args(["--verify", "holdfast"]).ok()?;
    check_eq!(verified.stdout, "", "what `dpkg --verify` finds");
    let fields = ["-W", "-f", "${Conffiles}|${Maintainer}", "holdfast"];
    let fields = Tool::new("dpkg-query").args(fields).ok()?;
    check_eq!(fields.stdout, "|Local administrator <root@localhost>", "conffiles, maintainer");
    // What is seen here is the guard of an agent that is at home elsewhere: of the host of a
    // container, say.
    let elsewhere = host::holdfast(&["unpin", "--run-dir", "/nowhere"])?;
    host::fails_saying(&elsewhere, &["this guard is managed by another agent (pid "])?;
    check!(Path::new(host::PIN_DIR).exists(), "the pins are gone");
    let script = "source /usr/share/bash-completion/completions/holdfast; \
                  COMP_WORDS=(holdfast hold re); COMP_CWORD=2; \
                  _holdfast holdfast re hold; echo \"${COMPREPLY[@]}\"";
    let completed = Tool::new("bash").args(["-c", script]).ok()?;
    check!(completed.stdout.contains("release"), "{}", completed.describe("should complete"));
    Ok(())
}

/// Where an image is made on a guarded host, with the host's /sys in it, removing the package there
/// succeeds and takes nothing off.
pub(super) fn in_a_chroot(_: &mut Host) -> Result<()> {
    let make = "set -e; mkdir -p $0/proc; cp -a /bin /sbin /lib /lib64 $0; \
                mount -t proc proc $0/proc; \
                for dir in usr var sys; do mkdir $0/$dir; mount --rbind /$dir $0/$dir; \
                mount --make-rslave $0/$dir; done; \
                chroot $0 ischroot; chroot $0 ls /sys/fs/bpf/holdfast";
    let root = "/run/image";
    let bash = |script: &str| Tool::new("bash").args(["-c", script, root]);
    let pid = host::main_pid()?;
    bash(make).ok()?;
    let removed = bash("chroot $0 /bin/sh /var/lib/dpkg/info/holdfast.prerm remove").run()?;
    bash("umount -R $0/usr $0/var $0/sys; umount $0/proc").ok()?;
    removed.ok()?;
    check!(Path::new(host::PIN_DIR).exists(), "the pins are gone");
    check_eq!(host::main_pid()?, pid, "the agent's process");
    check_eq!(host::json(&["status", "--json"])?["guard_up"], true, "the guard is up");
    Ok(())
}
