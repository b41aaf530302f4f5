//! What allowances take up in the kernel's maps, and what is left there of one that is over.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use holdfast_abi::{
    ABI_VERSION, BindKey, GrantAccount, GrantKey, GrantTenant, GrantTenantKey, Subtree, SubtreeKey,
};
use rustix::process::{Pid, Signal, kill_process};

use super::own;
use crate::harness::allowance::{Draft, Grant, nothing_open};
use crate::harness::sys::PinnedMap;
use crate::harness::tool::Running;
use crate::harness::{Ctx, agent, check, check_eq, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::once("agent_clears_killed_agents_allowance", cleared),
    Scenario::once("spent_allowance_frees_tenant_room", spent),
];

const PATIENCE: Duration = Duration::from_secs(60);
/// Nobody's user.
const USER: u32 = 4321;

fn map(name: &str) -> Result<PinnedMap> {
    let path = Path::new(agent::PIN_DIR).join(format!("v{ABI_VERSION}/maps/{name}"));
    PinnedMap::open(&path).with_context(|| path.display().to_string())
}

/// The user was bound for ever: every allowance for it was refused with "File exists".
fn cleared(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.signed_tree(2, 20, 3)?;
    let draft = |name: &str| {
        let mut draft = ctx.draft(name, &[&tree.root], 10)?;
        draft.user = Some(USER.to_string());
        draft.signed(ctx)
    };
    let (early, late) = (draft("early")?, draft("late")?);
    // One that is open has to stay.
    let open = ctx.removals("open", &[&tree.root], 10)?;
    let waiting = open.run(["sleep", "600"]).start()?;
    open.becomes("open", None)?;
    ctx.lab.kill()?;
    let serial = 42;
    let bind = BindKey { id: USER.into(), kind: BindKey::USER, pad: 0 };
    let grant = GrantKey { serial, index: 0, pad: 0 };
    let place = SubtreeKey { serial, ino: 1, dev: 1, pad: 0 };
    let tenant = GrantTenantKey { serial, tenant: 1, index: 0, pad: 0 };
    map("BINDS")?.insert(&bind, &serial)?;
    map("GRANTS")?.insert(&grant, &GrantAccount::new(1, 1, 1, 1, 1))?;
    map("SUBTREES")?.insert(&place, &Subtree { generation: 0, grants: 1 })?;
    map("GRANT_TENANTS")?.insert(&tenant, &GrantTenant { ops: 1 })?;
    ctx.lab.start(false)?;
    let left = [
        ("BINDS", map("BINDS")?.has(&bind, &mut 0u64)?),
        ("GRANTS", map("GRANTS")?.has(&grant, &mut GrantAccount::new(0, 0, 0, 0, 0))?),
        ("SUBTREES", map("SUBTREES")?.has(&place, &mut Subtree::default())?),
        ("GRANT_TENANTS", map("GRANT_TENANTS")?.has(&tenant, &mut GrantTenant { ops: 0 })?),
    ];
    let left: Vec<_> = left.iter().filter(|(_, is_left)| *is_left).map(|(name, _)| name).collect();
    check_eq!(left, Vec::<&&str>::new(), "maps in which something is left");
    early.submit()?.ok()?;
    early.becomes("open", None)?;
    early.revoke()?;
    check!(late.submit()?.succeeded(), "the user can be bound again");
    late.revoke()?;
    check_eq!(open.report()?.context("no report")?["state"].as_str(), Some("open"), "the open one");
    end(waiting)?;
    nothing_open(ctx)
}

/// All allowances share the room for tenants: a command that went on when its own was spent could
/// take the others' away.
fn spent(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.signed_tree(8, 10, 1)?;
    for (name, files, tenants, expected) in [("files", 15, 100, 2), ("tenants", 1000, 3, 3)] {
        let grant = Grant { tenants, ..Grant::removals(&ctx.zone, &[&tree.root], files) };
        let doc = Draft::new(ctx, name, vec![grant])?.signed(ctx)?;
        // Everything is tried, in every tenant, and then the allowance is kept open.
        let script = "\"$1\" helper unlink \"$2\" >/dev/null 2>&1; touch \"$3\"; exec sleep 600";
        let done = ctx.base.join(format!("{name}-done"));
        let words = ["bash", "-c", script, "script"].map(PathBuf::from);
        let words = words.into_iter().chain([own()?, tree.root.clone(), done.clone()]);
        let unit = ctx.unit(name)?;
        let running = doc.run(words).unit(&unit).start()?;
        until("everything was tried", PATIENCE, || Ok(done.exists().then_some(())))?;
        let serial = doc.audited("allowance_activate")?["serial"].as_u64().context("no serial")?;
        let map = map("GRANT_TENANTS")?;
        let mut entries = 0;
        for tenant in 0..8 {
            let tenant = fs::metadata(tree.tenant(tenant))?.ino();
            let key = GrantTenantKey { serial, tenant, index: 0, pad: 0 };
            entries += u32::from(map.has(&key, &mut GrantTenant { ops: 0 })?);
        }
        check_eq!(entries, expected, "tenants that take up room: {name}");
        end(running)?;
        doc.becomes("closed", Some("finished"))?;
    }
    nothing_open(ctx)
}

/// Ends a command that `holdfast run` has started.
fn end(running: Running) -> Result<()> {
    kill_process(Pid::from_raw(running.pid().cast_signed()).context("no pid")?, Signal::TERM)?;
    running.wait()?.code(128 + 15).map(drop)
}
