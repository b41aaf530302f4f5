//! What was used stays used across reboots: of a machine whose power failed, and of one that wakes
//! up in the past.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use holdfast_abi::Per;

use super::{own, unlink};
use crate::harness::allowance::{Doc, Draft, Grant, nothing_open, refused_for};
use crate::harness::signing::Signing;
use crate::harness::{Budget, Ctx, Tool, Tree, Zone, check, check_eq, cli, clock};
use crate::runner::{Scenario, boot_number};

pub(crate) const SCENARIOS: &[Scenario] =
    &[Scenario::once("allowance_opens_once_across_reboots", reboots).across_reboots()];

const LIMIT: u64 = 30;
const BUDGET: u64 = 4;
/// Documents, signatures and `allowed_signers`, which the guest's own disk forgets.
const KEPT: &str = "/data/kept";

/// The same in every boot, unlike a scenario's own.
const ZONE: &str = "lasting";

fn place(name: &str) -> Doc {
    Doc { id: name.to_owned(), path: Path::new(KEPT).join(format!("{name}.toml")) }
}

fn tree() -> Tree {
    Tree { root: PathBuf::from("/data/lasting"), tenants: 4, files: 20 }
}

fn zones(tree: &Tree) -> [Zone; 1] {
    [Zone::new(ZONE, &tree.root).budget(Budget::files(BUDGET).per(Per::Unit))]
}

fn reboots(ctx: &mut Ctx<'_>) -> Result<()> {
    match boot_number() {
        1 => first(ctx),
        2 => second(ctx),
        _ => third(ctx),
    }
}

/// Signs, and keeps what is needed later.
fn keep(ctx: &Ctx<'_>, name: &str, tree: &Tree, lasts: i64) -> Result<Doc> {
    let grant = Grant::removals(ZONE, &[&tree.root], LIMIT);
    let mut draft = Draft::new(ctx, name, vec![grant])?;
    draft.id = name.to_owned();
    draft.not_before = clock::now() - 7200;
    draft.not_after = clock::now() + lasts;
    let doc = draft.signed(ctx)?;
    let kept = place(name);
    fs::create_dir_all(KEPT)?;
    fs::copy(&doc.path, &kept.path)?;
    for person in ["alice", "bob"] {
        fs::copy(doc.signature(person), kept.signature(person))?;
    }
    Ok(kept)
}

fn first(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = Tree::make(&tree().root, 4, 20)?;
    ctx.guard_signed(&zones(&tree), &Signing::usual()?)?;
    let used = keep(ctx, "used", &tree, 3 * 3600)?;
    let open = keep(ctx, "open", &tree, 3 * 3600)?;
    keep(ctx, "unused", &tree, 3 * 3600)?;
    let revoked = keep(ctx, "revoked", &tree, 3 * 3600)?;
    Tool::new("cp").args(["-a", "/tmp/holdfast-keys", KEPT]).ok()?;
    // What the scenario needs of its own is on the disk; what the agent needs is its own to see to.
    Tool::new("sync").ok()?;
    let outcome = used.run(unlink(&tree.tenant(0))?).run()?.ok()?;
    check_eq!(outcome.stdout.trim(), "20", "files removed");
    used.becomes("closed", Some("finished"))?;
    revoked.revoke()?;
    // Still open, and being spent, when the power fails.
    let script = "\"$1\" helper unlink \"$2\"; sleep 3600";
    let words = ["bash", "-c", script, "script"].map(PathBuf::from);
    let running = open.run(words.into_iter().chain([own()?, tree.tenant(1)])).start()?;
    crate::harness::until("some of it is spent", std::time::Duration::from_secs(60), || {
        Ok((open.files_spent(0).unwrap_or(0) == 20).then_some(()))
    })?;
    // Not ended: its handle would kill it.
    std::mem::forget(running);
    Ok(())
}

fn second(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = tree();
    restore_keys()?;
    ctx.guard_signed(&zones(&tree), &Signing::usual()?)?;
    let before = tree.files_gone()?;
    let words = unlink(&tree.root)?;
    for name in ["used", "open"] {
        let doc = place(name);
        refused_for(ctx, "already_used", || doc.run(&words).run()?.code(125))?;
        refused_for(ctx, "already_used", || doc.submit())?;
        // Edited and signed anew, it is still the same id.
        let text = fs::read_to_string(&doc.path)?.replace("files = 30", "files = 31");
        let edited = Doc { path: doc.path.with_extension("edited"), ..doc.clone() };
        fs::write(&edited.path, text)?;
        edited.sign("alice")?;
        edited.sign("bob")?;
        refused_for(ctx, "id_reused", || edited.run(&words).run()?.code(125))?;
    }
    refused_for(ctx, "revoked", || place("revoked").run(&words).run()?.code(125))?;
    check_eq!(tree.files_gone()?, before, "files gone in this boot");
    let used = place("used").becomes("closed", Some("finished"))?;
    check_eq!(
        cli::number(&used["grants"][0]["files"], "spent")?,
        20,
        "files spent before the reboot"
    );
    // By the reboot, or before it by a policy without its zone: other scenarios run in the first
    // boot after this one.
    let open = place("open").becomes("closed", None)?;
    let why = cli::text(&open["closed"], "why");
    check!(why == "rebooted" || why == "policy", "why it is closed: {open}");
    nothing_open(ctx)?;
    // One that was never used is as good as before.
    let outcome = place("unused").run(unlink(&tree.tenant(2))?).run()?.ok()?;
    check_eq!(outcome.stdout.trim(), "20", "files removed in the second boot");
    place("unused").becomes("closed", Some("finished"))?;
    let late = keep(ctx, "late", &tree, 3 * 3600)?;
    check!(late.path.exists(), "it is kept");
    Tool::new("sync").ok().map(drop)
}

/// The clock says it is an hour before the first boot. No agent has seen that yet.
fn third(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = tree();
    restore_keys()?;
    let right = clock::now();
    clock::set(right - 3600)?;
    ctx.guard_signed(&zones(&tree), &Signing::usual()?)?;
    let before = tree.files_gone()?;
    let late = place("late");
    refused_for(ctx, "clock_set_back", || late.run(unlink(&tree.root)?).run()?.code(125))?;
    check_eq!(tree.files_gone()?, before, "files gone in this boot");
    nothing_open(ctx)?;
    clock::set(right + 5)?;
    let outcome = late.run(unlink(&tree.tenant(3))?).run()?.ok()?;
    check_eq!(outcome.stdout.trim(), "20", "files removed once the clock is right");
    refused_for(ctx, "already_used", || place("unused").submit()).map(drop)
}

fn restore_keys() -> Result<()> {
    Tool::new("cp").args(["-a", &format!("{KEPT}/holdfast-keys"), "/tmp/"]).ok().map(drop)
}
