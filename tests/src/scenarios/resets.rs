//! `holdfast budget`: what each actor has spent, and resets, also where nothing is held that could
//! be released.

use std::path::Path;

use anyhow::{Context as _, Result};
use holdfast_abi::Per;
use serde_json::Value;

use crate::harness::agent::BINARY;
use crate::harness::hold;
use crate::harness::{Budget, Ctx, Outcome, Tool, Tree, Unit, check, check_eq, cli};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::once("budget_reset_where_ops_are_denied", denied),
    Scenario::once("budget_reset_continues_held_process", held),
    Scenario::once("budget_reset_refuses_wrong_actor", wrong),
];

const BUDGET: u64 = 20;

fn reset(zone: &str, actor: &str) -> Result<Outcome> {
    let words = ["budget", "reset", "--zone", zone, "--actor", actor, "--reason", "change 12"];
    cli::holdfast(words)
}

/// The accounts of this zone, as `holdfast budget list --json` shows them.
fn accounts(zone: &str) -> Result<Vec<Value>> {
    let outcome = cli::holdfast(["budget", "list", "--json"])?.ok()?;
    let list: Value = serde_json::from_str(&outcome.stdout).context("not JSON")?;
    let budgets = list["budgets"].as_array().context("no budgets")?;
    let own = budgets.iter().filter(|budget| budget["zone"] == zone);
    Ok(own.filter_map(|budget| budget["accounts"].as_array()).flatten().cloned().collect())
}

fn remove(tree: &Tree, tenant: u64, unit: &Unit) -> Result<()> {
    // What goes over is denied: its own status says nothing here.
    hold::unlink(&tree.tenant(tenant), unit)?.run().map(drop)
}

/// The listed command gives a tripped unit exactly one more budget, and another unit nothing; who
/// did it and why is in the audit log before what came of it.
fn denied(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(3, 60)?;
    let zone = ctx.new_zone(&tree.root);
    ctx.guard(&[zone.budget(Budget::files(BUDGET).per(Per::Unit))])?;
    let (one, two) = (ctx.unit("one")?, ctx.unit("two")?);
    remove(&tree, 0, &one)?;
    remove(&tree, 1, &two)?;
    tree.lost_exactly(2 * BUDGET)?;
    let found = accounts(&ctx.zone)?;
    check_eq!(found.len(), 2, "accounts in {found:?}");
    let one_id = one.id()?;
    let mine = found.iter().find(|account| account["actor"]["id"] == one_id);
    let mine = mine.context("the unit has no account")?;
    check_eq!(cli::number(&mine["spent"], "files")?, BUDGET, "files spent");
    check!(mine["tripped_until"]["time"].is_string(), "not tripped: {mine}");
    let command = mine["reset"].as_array().context("no command")?;
    let words: Vec<&str> = command.iter().filter_map(Value::as_str).collect();
    check!(words[0] == "holdfast" && words.contains(&cli::text(mine, "word")), "{words:?}");
    let text = cli::holdfast(["budget", "list"])?.ok()?;
    check!(text.stdout.contains("TRIPPED until"), "{}", text.describe("should say so"));
    let said = Tool::new(BINARY).args(&words[1..]).arg("change 12").run()?.ok()?;
    check!(said.stdout.contains(&ctx.zone), "{}", said.describe("should name the zone"));
    remove(&tree, 0, &one)?;
    remove(&tree, 1, &two)?;
    tree.lost_exactly(3 * BUDGET)?;
    let records = cli::audit()?;
    let own = records.iter().filter(|record| {
        record["type"] == "budget_reset" && record["zone"].as_str() == Some(&ctx.zone)
    });
    let outcomes: Vec<&str> = own.clone().map(|record| cli::text(record, "outcome")).collect();
    check_eq!(outcomes, ["intended", "done"], "records of the reset");
    for record in own {
        check_eq!(cli::text(record, "reason"), "change 12", "reason");
        check!(record["person"]["uid"] == 0, "who did it: {record}");
    }
    Ok(())
}

/// A process that is held goes on once the budget of its actor is reset.
fn held(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 60)?;
    ctx.guard(&[ctx.hold_zone(&tree, Budget::files(BUDGET))])?;
    let unit = ctx.unit("rm")?;
    let rm = hold::rm(&tree, 0..1, &unit).start()?;
    ctx.held_at(&tree, rm.pid(), BUDGET)?;
    reset(&ctx.zone, "zone")?.ok()?;
    ctx.held_at(&tree, rm.pid(), 2 * BUDGET)?.kill()?;
    rm.wait().map(drop)
}

/// A zone or an actor that is not there is refused with those that are; only root may reset.
fn wrong(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(1, 60, BUDGET)?;
    let unit = ctx.unit("rm")?;
    remove(&tree, 0, &unit)?;
    for actor in ["unit:/none", "user:none", "everyone", "zone:0"] {
        let outcome = reset(&ctx.zone, actor)?.code(3)?;
        check!(outcome.stderr.contains("are used up by `zone`"), "{}", outcome.describe(actor));
    }
    let outcome = reset("none", "zone")?.code(3)?;
    check!(outcome.stderr.contains(&ctx.zone), "{}", outcome.describe("should list zones"));
    let words = ["budget", "reset", "--zone", &ctx.zone, "--actor", "zone", "--reason"];
    let empty = cli::holdfast(words.into_iter().chain([" "]))?.code(2)?;
    check!(empty.stderr.contains("say why"), "{}", empty.describe("has no reason"));
    let stranger = Tool::new(BINARY).args(words).arg("x").uid(1000).cwd(Path::new("/")).run()?;
    check!(!stranger.succeeded(), "{}", stranger.describe("should have failed"));
    check!(stranger.stderr.contains("root"), "{}", stranger.describe("is not root"));
    tree.lost_exactly(BUDGET)?;
    reset(&ctx.zone, "zone")?.ok()?;
    // Nothing is left to reset.
    reset(&ctx.zone, "zone")?.code(3)?;
    remove(&tree, 0, &unit)?;
    tree.lost_exactly(2 * BUDGET)
}
