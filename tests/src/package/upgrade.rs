//! A later version: the agent is another, the programs are others, and there is no gap.

use std::fs;

use anyhow::{Context as _, Result};

use super::host::{self, BUDGET, Deleter, Host, POLICY};
use crate::harness::{Tool, Tree, check, check_eq};

/// Somebody deletes while apt upgrades. The administrator's policy stays as it is.
pub(super) fn upgrade(host: &mut Host) -> Result<()> {
    let tree = Tree { root: "/data/upgrade".into(), tenants: 3, files: 100 };
    let (pid, policy) = (host::main_pid()?, fs::read_to_string(POLICY).context(POLICY)?);
    let deleter = Deleter::start(&tree);
    host::install(&host::package(true)?)?.ok()?;
    let tried = deleter.end()?;
    check!(tried > 2 * BUDGET, "only tried {tried} times");
    let gone = tree.files_gone()?;
    // In the moment in which both count, an op can be charged twice: never too little.
    check!((BUDGET - 5..=BUDGET).contains(&gone), "{gone} files gone");
    tree.rest_is_intact()?;
    check!(host::main_pid()? != pid, "the agent is still the one before");
    check_eq!(host::property("ActiveState")?, "active", "ActiveState");
    let started = host::json(&["status", "--json"])?["started"].clone();
    check_eq!(started, "upgraded", "how the agent came up");
    let version = Tool::new("dpkg-query").args(["-W", "-f", "${Version}", "holdfast"]).ok()?.stdout;
    check!(version.ends_with("+next"), "version {version}");
    check_eq!(fs::read_to_string(POLICY)?, policy, "the policy");
    host.note(format!("{tried} removals tried during the upgrade, {gone} done"));
    Ok(())
}

/// A policy that the version to come does not accept: it says so, and what is there goes on.
pub(super) fn refused(_: &mut Host) -> Result<()> {
    let pid = host::main_pid()?;
    let good = fs::read_to_string(POLICY)?;
    fs::write(POLICY, format!("{good}\nnonsense = 1\n"))?;
    let outcome =
        host::apt(&["install", "--reinstall", &host::package(true)?.display().to_string()])?;
    host::fails_saying(&outcome, &["does not accept", "nonsense"])?;
    check_eq!(host::main_pid()?, pid, "the agent's process");
    check_eq!(host::property("ActiveState")?, "active", "ActiveState");
    fs::write(POLICY, good)?;
    Tool::new("dpkg").args(["--configure", "holdfast"]).ok()?;
    check!(host::main_pid()? != pid, "the agent is still the one before");
    Ok(())
}
