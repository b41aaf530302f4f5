//! A host that starts: nothing may be destroyed before the guard is there.

use std::fs;

use anyhow::{Context as _, Result};

use super::host::{self, BUDGET, Host, PATIENCE, UNIT};
use crate::harness::{Tool, Tree, check, check_eq, until};

const ENEMY: &str = "enemy.service";

/// As early as a service can be that does not go out of its way: after sysinit.target, before
/// anything else.
pub(super) fn plant(_: &mut Host) -> Result<()> {
    let unit = "[Unit]\nDescription=Deletes as soon as it can\n[Service]\nType=oneshot\n\
                RemainAfterExit=yes\nExecStart=-/bin/rm -rf /data/boot\n\
                [Install]\nWantedBy=basic.target\n";
    fs::write(format!("/etc/systemd/system/{ENEMY}"), unit)?;
    host::systemctl(&["daemon-reload"])?.ok()?;
    host::systemctl(&["enable", ENEMY])?.ok().map(drop)
}

/// The first service of the boot has tried, and its budget is all it got.
pub(super) fn protects(host: &mut Host) -> Result<()> {
    let show = |unit: &str, name: &str| -> Result<u64> {
        let words = ["show", unit, "--value", "--property", name];
        let text = Tool::new("systemctl").args(words).ok()?.stdout;
        text.trim().parse().with_context(|| format!("{name} of {unit} is {text:?}"))
    };
    until("the enemy has been there", PATIENCE, || {
        Ok((show(ENEMY, "ExecMainExitTimestampMonotonic")? > 0).then_some(()))
    })?;
    let ready = show(UNIT, "ActiveEnterTimestampMonotonic")?;
    let enemy = show(ENEMY, "ExecMainStartTimestampMonotonic")?;
    check!(ready < enemy, "ready at {ready} µs, the enemy started at {enemy} µs");
    let tree = Tree { root: "/data/boot".into(), tenants: 3, files: 100 };
    tree.lost_exactly(BUDGET)?;
    check_eq!(host::property("NRestarts")?, "0", "NRestarts");
    let order =
        Tool::new("systemctl").args(["list-dependencies", "sysinit.target", "--plain"]).ok()?;
    check!(order.stdout.contains(UNIT), "sysinit.target does not want {UNIT}");
    let cycles =
        Tool::new("journalctl").args(["-b", "--no-pager", "-o", "cat", "-p", "warning"]).ok()?;
    check!(
        !cycles.stdout.contains("ordering cycle"),
        "systemd found an ordering cycle:\n{}",
        cycles.stdout
    );
    host.note(format!("ready {} ms before the first service started", (enemy - ready) / 1000));
    Ok(())
}
