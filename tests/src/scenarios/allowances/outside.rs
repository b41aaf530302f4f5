//! What an allowance does not cover is the budget's to answer, as if there were none.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use holdfast_abi::{Op, Per};

use super::{own, unlink};
use crate::harness::allowance::{Doc, Draft, Grant, nothing_open};
use crate::harness::hold::{self, still_held};
use crate::harness::signing::Signing;
use crate::harness::tree::make_files;
use crate::harness::{Budget, Ctx, Tree, Unit, Zone, check_eq, cli, clock, proc, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::each("budgets_decide_outside_an_allowance", outside),
    Scenario::each("an_allowance_ends_at_its_time", expires).waits(),
    Scenario::once("revoked_allowance_ends_at_once", revoked),
    Scenario::each("process_outside_allowance_is_held", held),
    Scenario::once("observing_zone_spends_allowance_too", observes),
    Scenario::once("allowance_covers_tripped_actor", latched),
    Scenario::once("user_allowance_covers_that_user_alone", user),
    Scenario::once("unit_allowance_covers_that_unit_alone", unit),
];

const BUDGET: u64 = 3;

/// Insists that a deleter under the allowance got no further than its budget.
fn only_the_budget(doc: &Doc, unit: &Unit, dir: &Path, what: &str) -> Result<()> {
    let outcome = doc.run(unlink(dir)?).unit(unit).run()?.ok()?;
    check_eq!(outcome.stdout.trim(), BUDGET.to_string(), "files removed: {what}");
    check_eq!(doc.files_spent(0)?, 0, "files spent: {what}");
    Ok(())
}

fn outside(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(3, 20)?;
    let second = Tree::make(&ctx.base.join("second"), 1, 20)?;
    let budget = || Budget::files(BUDGET).per(Per::Unit);
    let name = format!("{}-second", ctx.zone);
    let zones = [
        ctx.new_zone(&tree.root).budget(budget()),
        Zone::new(&name, &second.root).budget(budget()),
    ];
    ctx.guard_signed(&zones, &Signing::usual()?)?;
    let of = |grant: Grant, name: &str| Draft::new(ctx, name, vec![grant])?.signed(ctx);
    let removals = || Grant::removals(&ctx.zone, &[&tree.tenant(0)], 100);

    let unit = ctx.unit("elsewhere")?;
    only_the_budget(&of(removals(), "elsewhere")?, &unit, &tree.tenant(1), "another subtree")?;
    let unit = ctx.unit("zone")?;
    only_the_budget(&of(removals(), "zone")?, &unit, &second.root, "another zone")?;
    let unit = ctx.unit("op")?;
    let truncations = Grant { ops: vec![Op::Truncate], ..removals() };
    only_the_budget(&of(truncations, "op")?, &unit, &tree.tenant(0), "another op")?;
    let unit = ctx.unit("tenants")?;
    let none = Grant { tenants: 0, ..removals() };
    only_the_budget(&of(none, "tenants")?, &unit, &tree.tenant(0), "no tenant")?;
    let unit = ctx.unit("bytes")?;
    let none = Grant { bytes: 0, ..removals() };
    only_the_budget(&of(none, "bytes")?, &unit, &tree.tenant(0), "no bytes")?;
    // Spent: the one after the last.
    let unit = ctx.unit("spent")?;
    let doc = of(Grant { files: 2, ..removals() }, "spent")?;
    let outcome = doc.run(unlink(&tree.tenant(0))?).unit(&unit).run()?.ok()?;
    check_eq!(outcome.stdout.trim(), (2 + BUDGET).to_string(), "files removed: spent");
    // A single file, by name.
    let unit = ctx.unit("file")?;
    let doc = of(Grant::removals(&ctx.zone, &[&tree.file(2, 7)], 100), "file")?;
    let outcome = doc.run(unlink(&tree.tenant(2))?).unit(&unit).run()?.ok()?;
    check_eq!(outcome.stdout.trim(), (1 + BUDGET).to_string(), "files removed: one by name");
    nothing_open(ctx)
}

fn expires(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.signed_tree(2, 20, BUDGET)?;
    let mut draft = ctx.draft("short", &[&tree.root], 100)?;
    draft.not_after = clock::now() + 8;
    let doc = draft.signed(ctx)?;
    let script = format!(
        "\"$@\" '{}'; while (($(date +%s) <= {})); do sleep 0.1; done; sleep 0.2; \"$@\" '{}'",
        tree.tenant(0).display(),
        draft.not_after,
        tree.tenant(1).display()
    );
    let own = own()?.display().to_string();
    let outcome =
        doc.run(["bash", "-c", &script, "script", &own, "helper", "unlink"]).run()?.ok()?;
    let removed: Vec<_> = outcome.stdout.lines().collect();
    check_eq!(removed, ["20", "3"], "files removed before and after its end");
    let report = doc.becomes("closed", Some("expired"))?;
    check_eq!(cli::number(&report["grants"][0]["files"], "spent")?, 20, "files spent");
    tree.lost_exactly(23)
}

fn revoked(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.signed_tree(2, 20, BUDGET)?;
    let doc = ctx.removals("revoked", &[&tree.root], 100)?;
    let (first, go) = (ctx.base.join("first"), ctx.base.join("go"));
    let script = "\"$4\" helper unlink \"$1\"; touch \"$2\"; \
        until [[ -e $3 ]]; do sleep 0.1; done; \
        \"$4\" helper unlink \"$5\"";
    let words = [tree.tenant(0), first.clone(), go.clone(), own()?, tree.tenant(1)];
    let command = ["bash", "-c", script, "script"].map(PathBuf::from).into_iter().chain(words);
    let running = doc.run(command).start()?;
    until("the first half is done", Duration::from_secs(60), || Ok(first.exists().then_some(())))?;
    doc.revoke()?;
    doc.becomes("closed", Some("revoked"))?;
    std::fs::write(go, "")?;
    let outcome = running.wait()?.ok()?;
    check_eq!(outcome.stdout.lines().collect::<Vec<_>>(), ["20", "3"], "files removed");
    let record = doc.audited("allowance_revoke")?;
    check_eq!(record["person"]["uid"].as_u64(), Some(0), "who revoked it: {record}");
    tree.lost_exactly(23)
}

fn held(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(3, 20)?;
    let zone = ctx.hold_zone(&tree, Budget::files(BUDGET));
    ctx.guard_signed(&[zone], &Signing::usual()?)?;
    let doc = ctx.removals("held", &[&tree.tenant(0)], 100)?;
    let unit = ctx.unit("run")?;
    let rm = doc.run(hold_words(&tree)).unit(&unit).start()?;
    // All that is allowed, and then the budget.
    let gone = 21 + BUDGET;
    let hold = ctx.all_held_at(&tree, gone, || unit.stopped("rm", 1))?.remove(0);
    check_eq!(doc.files_spent(0)?, 21, "files spent");
    still_held(&tree, hold.pids()[0], gone)?;
    hold.kill()?;
    rm.wait()?.code(128 + 9)?;
    doc.becomes("closed", Some("finished"))?;
    // One that is held already goes on where an allowance comes for its unit.
    let rm = hold::rm(&tree, 1..2, &unit).start()?;
    ctx.held_at(&tree, rm.pid(), gone)?;
    let mut draft = ctx.draft("late", &[&tree.tenant(1)], 100)?;
    draft.unit = Some(unit.path());
    let late = draft.signed(ctx)?;
    late.submit()?.ok()?;
    until("it goes on", Duration::from_secs(60), || {
        proc::signal(rm.pid(), rustix::process::Signal::CONT)?;
        Ok(proc::state(rm.pid())?.is_none().then_some(()))
    })?;
    rm.wait()?.quietly()?;
    late.revoke()?;
    tree.lost_exactly(42)?;
    ctx.nothing_held()
}

/// `rm -rf` of two tenants, the first of which is allowed.
fn hold_words(tree: &Tree) -> Vec<PathBuf> {
    vec!["rm".into(), "-rf".into(), tree.tenant(0), tree.tenant(1)]
}

fn observes(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(2, 20)?;
    let zone = ctx.new_zone(&tree.root).observe().budget(Budget::files(BUDGET));
    ctx.guard_signed(&[zone], &Signing::usual()?)?;
    let doc = ctx.removals("observed", &[&tree.tenant(0)], 100)?;
    doc.run(unlink(&tree.root)?).run()?.ok()?;
    check_eq!(doc.files_spent(0)?, 20, "files spent");
    ctx.counted("allow", 20 + BUDGET)?;
    ctx.counted("observe", 20 - BUDGET)
}

fn latched(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.signed_tree(3, 20, BUDGET)?;
    let unit = ctx.unit("latched")?;
    let over = hold::unlink(&tree.tenant(2), &unit)?.run()?.ok()?;
    check_eq!(over.stdout.trim(), BUDGET.to_string(), "files removed without an allowance");
    let doc = ctx.removals("latched", &[&tree.tenant(0)], 100)?;
    let inside = doc.run(unlink(&tree.root)?).unit(&unit).run()?.ok()?;
    check_eq!(inside.stdout.trim(), "20", "files removed with it");
    check_eq!(tree.tenants_touched(), 2, "tenants touched");
    tree.lost_exactly(20 + BUDGET)
}

/// Bound to somebody, without a command: whatever that user does, wherever.
fn user(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.signed_tree(4, 20, BUDGET)?;
    for tenant in 0..4 {
        std::os::unix::fs::chown(tree.tenant(tenant), Some(1000), Some(1000))?;
    }
    let mut draft = ctx.draft("user", &[&tree.root], 100)?;
    draft.user = Some("1000".to_owned());
    let doc = draft.signed(ctx)?;
    doc.submit()?.ok()?;
    let units = [ctx.unit("a")?, ctx.unit("b")?];
    let remove = |tenant, unit, uid| -> Result<String> {
        let outcome = hold::unlink(&tree.tenant(tenant), unit)?.uid(uid).run()?.ok()?;
        Ok(outcome.stdout.trim().to_owned())
    };
    check_eq!(remove(0, &units[0], 1000)?, "20", "files removed by the user");
    check_eq!(remove(1, &units[0], 0)?, BUDGET.to_string(), "files removed by root");
    check_eq!(remove(2, &units[1], 1000)?, "20", "files removed by the user in another unit");
    // A login as that user stays one, whatever `su` and `sudo` make of it.
    let login = hold::unlink(&tree.tenant(3), &units[1])?.login(1000).run()?.ok()?;
    check_eq!(login.stdout.trim(), "20", "files removed by root who logged in as the user");
    doc.revoke()?;
    let report = doc.becomes("closed", Some("revoked"))?;
    check_eq!(cli::number(&report["grants"][0]["files"], "spent")?, 60, "files spent");
    tree.lost_exactly(60 + BUDGET)
}

fn unit(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(3, 20)?;
    let new = tree.tenant(0).join("more");
    make_files(&new, "file", 10, 100)?;
    let zone = ctx.new_zone(&tree.root).budget(Budget::files(BUDGET).per(Per::Unit));
    ctx.guard_signed(&[zone], &Signing::usual()?)?;
    let units = [ctx.unit("maintenance")?, ctx.unit("other")?];
    let mut draft = ctx.draft("unit", &[&tree.root], 100)?;
    draft.unit = Some(units[0].path());
    let doc = draft.signed(ctx)?;
    doc.submit()?.ok()?;
    let remove = |dir: &Path, unit: &Unit| -> Result<String> {
        Ok(hold::unlink(dir, unit)?.run()?.ok()?.stdout.trim().to_owned())
    };
    check_eq!(remove(&tree.tenant(0), &units[0])?, "30", "files removed in the unit");
    check_eq!(remove(&tree.tenant(1), &units[1])?, BUDGET.to_string(), "files removed elsewhere");
    check_eq!(doc.files_spent(0)?, 30, "files spent");
    doc.revoke()?;
    check_eq!(remove(&tree.tenant(2), &units[0])?, BUDGET.to_string(), "files removed after it");
    Ok(())
}
