//! Small scripts, each after a public bug report: what another tool got wrong, or what takes a
//! guard off a host.
//!
//! A script says itself what is right. It has an agent of its own, and everything it starts is in
//! one cgroup, so that none of it outlives the scenario.

use std::fs;

use anyhow::{Context as _, Result};

use super::SHIPPED;
use crate::harness::{Ctx, Tool, check};
use crate::runner::Scenario;

const LIB: &str = include_str!("../../cases/lib.sh");

/// A scenario, its script's name, and the script.
macro_rules! case {
    ($scenario:literal, $name:literal) => {
        Scenario::once($scenario, |ctx| {
            run(ctx, $name, include_str!(concat!("../../cases/", $name, ".sh")))
        })
    };
}

pub(super) const SCENARIOS: &[Scenario] = &[
    case!("case_seteuid_owner", "seteuid-owner"),
    case!("case_nfs_owner", "nfs-owner"),
    case!("case_nested_mount", "nested-mount"),
    case!("case_mount_then_delete", "mount-then-delete"),
    case!("case_second_agent", "second-agent").of_the_agent().waits(),
    case!("case_stalled_stderr", "stalled-stderr").of_the_agent().waits(),
    case!("case_rmdir_at_limit", "rmdir-at-limit"),
    case!("case_git_gc", "git-gc").heavy(),
    case!("case_service_account", "service-account"),
    case!("case_backup_lock", "backup-lock"),
    case!("case_reboot", "reboot").of_the_agent(),
    case!("case_bind_mount_in_rootfs", "bind-mount-in-rootfs"),
];

/// Runs a script; anything but PASS in its last line is a failure that says all it said.
fn run(ctx: &mut Ctx<'_>, name: &str, script: &str) -> Result<()> {
    ctx.lab.stop()?;
    let dir = ctx.base.join("scripts");
    fs::create_dir_all(&dir)?;
    let file = format!("{name}.sh");
    for (name, text) in [("lib.sh", LIB), ("policy.toml", SHIPPED), (&file, script)] {
        fs::write(dir.join(name), text).with_context(|| name.to_owned())?;
    }
    let unit = ctx.unit("script")?;
    let tool = Tool::new("bash").arg(dir.join(&file)).arg(&ctx.base).unit(&unit);
    let outcome = tool.run()?.ok()?;
    let result = outcome.stdout.lines().rfind(|line| line.starts_with("RESULT "));
    let passed = result.and_then(|result| result.strip_prefix("RESULT PASS: "));
    check!(passed.is_some(), "{}", outcome.describe("should have ended with RESULT PASS"));
    if let Some(seen) = passed {
        ctx.lab.note(seen.to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_has_a_scenario() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/cases");
        let mut files: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "lib.sh")
            .map(|name| format!("case_{}", name.trim_end_matches(".sh").replace('-', "_")))
            .collect();
        files.sort_unstable();
        let mut scenarios: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        scenarios.sort_unstable();
        assert_eq!(files, scenarios);
    }
}
