//! Every way to cheat with an allowance that somebody has thought of, tried on a real agent: each
//! is refused for its own reason, counted under it and written to the audit log; and afterwards
//! nothing is open, and the budget stops at the same file as before.

mod clocks;
mod documents;
mod hosts;
mod ids;
mod joins;
mod signatures;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use holdfast_abi::Per;

use crate::harness::allowance::{Doc, Draft, Grant, Refusals, nothing_open, refused_for};
use crate::harness::hold;
use crate::harness::signing::Signing;
use crate::harness::{Budget, Ctx, Outcome, Tree, Zone, check, check_eq};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::once("forged_and_borrowed_signatures_are_refused", |ctx| {
        table(ctx, signatures::TABLE)
    }),
    Scenario::once("edited_or_excessive_documents_are_refused", |ctx| table(ctx, documents::TABLE)),
    Scenario::once("allowance_for_another_host_is_refused", |ctx| table(ctx, hosts::TABLE)),
    Scenario::once("an_id_is_used_once", |ctx| table(ctx, ids::TABLE)),
    Scenario::once("set_back_clock_reopens_no_allowance", |ctx| table(ctx, clocks::TABLE)),
    Scenario::once("only_runner_child_joins_allowance", joins::joins),
    Scenario::once("refusal_reasons_are_counted_from_start", reasons),
];

const BUDGET: u64 = 7;

/// One attack.
struct Attack {
    /// What somebody tries.
    name: &'static str,
    /// Why it is refused.
    reason: &'static str,
    /// What the message has to say, besides the reason.
    says: &'static str,
    run: fn(&mut Scene<'_, '_>) -> Result<Outcome>,
    /// Whether it restarts the agent.
    restarts: bool,
}

const fn attack(
    name: &'static str,
    reason: &'static str,
    says: &'static str,
    run: fn(&mut Scene<'_, '_>) -> Result<Outcome>,
) -> Attack {
    Attack { name, reason, says, run, restarts: false }
}

impl Attack {
    const fn restarting(mut self) -> Self {
        self.restarts = true;
        self
    }
}

/// What an attack is tried on: a primary and a backup zone, with the usual people to sign.
struct Scene<'c, 'l> {
    ctx: &'c mut Ctx<'l>,
    tree: Tree,
    zones: Vec<Zone>,
    attempt: usize,
}

impl Scene<'_, '_> {
    fn signing(&mut self, signing: &Signing) -> Result<()> {
        self.ctx.guard_signed(&self.zones, signing)
    }

    fn backup(&self) -> String {
        format!("{}-backup", self.ctx.zone)
    }

    fn removals(&self) -> Grant {
        Grant::removals(&self.ctx.zone, &[&self.tree.root], 1000)
    }

    /// A right one, but for what the attack makes of it.
    fn draft(&self) -> Result<Draft> {
        self.draft_of(vec![self.removals()])
    }

    fn draft_of(&self, grants: Vec<Grant>) -> Result<Draft> {
        Draft::new(self.ctx, &format!("x{}", self.attempt), grants)
    }

    /// Tries to delete everything under it.
    fn run(&self, doc: &Doc) -> Result<Outcome> {
        doc.run(super::unlink(&self.tree.root)?).run()?.code(125)
    }

    fn run_draft(&self, draft: &Draft) -> Result<Outcome> {
        self.run(&draft.signed(self.ctx)?)
    }
}

/// Tries every attack of a table.
fn table(ctx: &mut Ctx<'_>, attacks: &[Attack]) -> Result<()> {
    let tree = ctx.tree(3, 20)?;
    let backup = Tree::make(&ctx.base.join("backup"), 1, 5)?;
    let zones = vec![
        ctx.new_zone(&tree.root).budget(Budget::files(BUDGET).per(Per::Zone)),
        Zone::new(&format!("{}-backup", ctx.zone), &backup.root).backup().budget(Budget::files(1)),
    ];
    let mut scene = Scene { ctx, tree, zones, attempt: 0 };
    let mut messages: BTreeMap<String, &str> = BTreeMap::new();
    for attack in attacks {
        scene.attempt += 1;
        scene.signing(&Signing::usual()?)?;
        let said = refused(&mut scene, attack).with_context(|| attack.name)?;
        let line = said.split("help:").next().unwrap_or_default();
        // The same words for another reason would tell nobody what to do.
        let other = messages.insert(anonymous(line), attack.reason);
        check!(
            other.is_none_or(|other| other == attack.reason),
            "{} and {other:?} have one message: {line}",
            attack.reason
        );
        scene.tree.lost_exactly(0).with_context(|| attack.name)?;
    }
    nothing_open(scene.ctx)?;
    // As if nothing had been tried.
    let unit = scene.ctx.unit("in-the-end")?;
    let outcome = hold::unlink(&scene.tree.root, &unit)?.run()?.ok()?;
    check_eq!(outcome.stdout.trim(), BUDGET.to_string(), "files removed in the end");
    check_eq!(backup.gone()?, 0, "files gone from the backup");
    let count = attacks.len();
    scene.ctx.lab.note(format!("{count} attacks, each refused for its own reason"));
    scene.tree.lost_exactly(BUDGET)
}

fn refused(scene: &mut Scene<'_, '_>, attack: &Attack) -> Result<String> {
    let mut before = Refusals::of(scene.ctx, attack.reason)?;
    let outcome = (attack.run)(scene)?;
    if attack.restarts {
        // A new agent starts to count anew.
        before.restarted();
    }
    let said = before.one_more(scene.ctx, &outcome)?;
    check!(said.contains(attack.says), "it should say {:?}: {said}", attack.says);
    check!(said.contains("help:"), "it should say what to do: {said}");
    Ok(said)
}

/// Without what differs from one attempt to the next.
fn anonymous(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

fn reasons(ctx: &mut Ctx<'_>) -> Result<()> {
    ctx.signed_tree(1, 1, 1)?;
    let metrics = ctx.lab.metrics()?;
    for reason in holdfast_policy::allowance::RefusedReason::ALL {
        let labels = [("reason", reason.word())];
        check!(
            metrics.has("holdfast_allowances_refused_total", &labels),
            "the metrics have nothing for {}",
            reason.word()
        );
    }
    // And one of them rises by one.
    let doc = ctx.draft("unsigned", &[&ctx.base.join("zone")], 1)?.write(ctx)?;
    refused_for(ctx, "unsigned", || doc.submit()).map(drop)
}
