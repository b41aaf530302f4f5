//! How far it reaches: to the last file, one tree or one zone, and never data and copies together.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use holdfast_abi::Per;

use crate::harness::allowance::{Draft, Grant};
use crate::harness::break_glass::{self, Glass, closes, files_spent, refused_for, table};
use crate::harness::signing::Signing;
use crate::harness::{Budget, Ctx, Tool, Tree, Zone, check, check_eq, cli, hold, policy, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::each("break_glass_exact_for_eight_processes", exact),
    Scenario::each("break_glass_covers_command_tree_alone", tree_only),
    Scenario::each("break_glass_covers_one_zone_alone", one_zone),
    Scenario::once("break_glass_separates_data_and_copies", interlock),
    Scenario::once("break_glass_covers_all_but_detach", ops),
    Scenario::once("break_glass_obeys_policy_limits", limits),
];

const BUDGET: u64 = 5;
const WORKERS: u64 = 8;
const FILES: u64 = 60;
const LIMIT: u64 = 300;

fn own() -> Result<String> {
    Ok(std::env::current_exe()?.display().to_string())
}

fn denying(ctx: &Ctx<'_>, tree: &Tree) -> Zone {
    ctx.new_zone(&tree.root).budget(Budget::files(BUDGET).per(Per::Zone))
}

/// To the last file, with all of them at once.
fn exact(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(WORKERS, FILES)?;
    ctx.guard_glass(&[denying(ctx, &tree)])?;
    let codes = break_glass::codes(1)?;
    Glass::new(&ctx.zone).files(LIMIT).host_wide(&codes[0]).run()?.ok()?;
    let go = ctx.base.join("go");
    let mut script = String::new();
    for worker in 0..WORKERS {
        script += &format!(
            "'{}' helper unlink '{}' --go '{}' 2>/dev/null &\n",
            own()?,
            tree.tenant(worker).display(),
            go.display()
        );
    }
    script += &format!("sleep 2; touch '{}'; wait\n", go.display());
    let outcome = Tool::new("bash").args(["-c", &script]).run()?.ok()?;
    let gone: Vec<u64> = outcome.stdout.lines().map(str::parse).collect::<Result<_, _>>()?;
    check_eq!(gone.len() as u64, WORKERS, "processes that said how many they removed");
    check_eq!(gone.iter().sum::<u64>(), LIMIT + BUDGET, "calls that succeeded");
    tree.lost_exactly(LIMIT + BUDGET)?;
    check_eq!(files_spent()?, LIMIT, "files spent");
    ctx.counted("deny", WORKERS * FILES - LIMIT - BUDGET)?;
    break_glass::close()?;
    closes("closed").map(drop)
}

fn tree_only(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(4, 20)?;
    ctx.guard_glass(&[denying(ctx, &tree)])?;
    let codes = break_glass::codes(1)?;
    let (go, unit) = (ctx.base.join("go"), ctx.unit("same")?);
    let script = "until [[ -e $1 ]]; do sleep 0.1; done; \"$2\" helper unlink \"$3\"; \
        (setsid \"$2\" helper unlink \"$4\") ; exit 7";
    let command = ["bash", "-c", script, "script"].map(str::to_owned).to_vec();
    let words = [go.display().to_string(), own()?, tree.tenant(0).display().to_string()];
    let command = command.into_iter().chain(words).chain([tree.tenant(1).display().to_string()]);
    let running = Glass::new(&ctx.zone).run(&codes[0], command).unit(&unit).start()?;
    until("its first process is there", Duration::from_secs(60), || {
        Ok(break_glass::last()?["pid"].as_u64())
    })?;
    // The same root user, the same cgroup: none of it matters.
    let second = hold::unlink(&tree.tenant(2), &unit)?.run()?.ok()?;
    check_eq!(second.stdout.trim(), BUDGET.to_string(), "files removed by a second shell");
    let elsewhere = hold::unlink(&tree.tenant(3), &ctx.unit("other")?)?.run()?.ok()?;
    check_eq!(elsewhere.stdout.trim(), "0", "files removed elsewhere");
    fs::write(&go, "")?;
    let outcome = running.wait()?.code(7)?;
    check_eq!(outcome.stdout.lines().collect::<Vec<_>>(), ["20", "20"], "by the tree");
    let report = closes("finished")?;
    check_eq!(cli::number(&report["files"], "spent")?, 40, "files spent in {report}");
    tree.lost_exactly(40 + BUDGET)
}

/// Opened for everybody.
fn one_zone(ctx: &mut Ctx<'_>) -> Result<()> {
    let (tree, other) = (ctx.tree(3, 20)?, Tree::make(&ctx.base.join("other"), 2, 20)?);
    // One that is made after it was opened is in the zone, too.
    let later = ctx.base.join("later");
    let name = format!("{}-other", ctx.zone);
    let other_zone = Zone::new(&name, &other.root).budget(Budget::files(BUDGET).per(Per::Zone));
    ctx.guard_glass(&[denying(ctx, &tree).path(&later), other_zone])?;
    for tenant in 0..3 {
        std::os::unix::fs::chown(tree.tenant(tenant), Some(1000), Some(1000))?;
    }
    let codes = break_glass::codes(1)?;
    Glass::new(&ctx.zone).host_wide(&codes[0]).run()?.ok()?;
    let remove = |dir: &Path, unit: &str, uid| -> Result<String> {
        let outcome = hold::unlink(dir, &ctx.unit(unit)?)?.uid(uid).run()?.ok()?;
        Ok(outcome.stdout.trim().to_owned())
    };
    check_eq!(remove(&tree.tenant(0), "a", 0)?, "20", "files removed by root");
    check_eq!(remove(&tree.tenant(1), "b", 1000)?, "20", "files removed by a user");
    check_eq!(remove(&other.tenant(0), "a", 0)?, BUDGET.to_string(), "files of another zone");
    let late = Tree::make(&later, 1, 20)?;
    until("the new root is guarded", Duration::from_secs(60), || {
        let roots = ctx.lab.metrics()?.sum("holdfast_roots", &[("zone", &ctx.zone)]);
        Ok((roots == 2.0).then_some(()))
    })?;
    check_eq!(remove(&late.root, "c", 0)?, "20", "files below a root that came later");
    check_eq!(files_spent()?, 60, "files spent");
    break_glass::close()?;
    check_eq!(remove(&tree.tenant(2), "d", 0)?, BUDGET.to_string(), "files removed after it");
    other.lost_exactly(BUDGET)
}

/// One for data and one for copies are never open together.
fn interlock(ctx: &mut Ctx<'_>) -> Result<()> {
    let (tree, copies) = (ctx.tree(1, 10)?, Tree::make(&ctx.base.join("copies"), 1, 10)?);
    let backup = format!("{}-copies", ctx.zone);
    let zones = [
        denying(ctx, &tree),
        Zone::new(&backup, &copies.root).backup().budget(Budget::files(BUDGET)),
    ];
    let text = policy::render(&zones) + &Signing::usual()?.render()? + &table();
    ctx.guard_text(&zones, &text)?;
    let codes = break_glass::codes(2)?;
    let (data, copy) = (Glass::new(&ctx.zone), Glass::new(&backup));
    let allowance = |name: &str, zone: &str, root: &Path, people: &[&str]| {
        let mut draft = Draft::new(ctx, name, vec![Grant::removals(zone, &[root], 10)])?;
        draft.user = Some("1000".to_owned());
        draft.signed_by(ctx, people)
    };
    let of_data = allowance("data", &ctx.zone, &tree.root, &["alice", "bob"])?;
    let of_copies = allowance("copies", &backup, &copies.root, &["alice", "carol"])?;
    // An allowance for data is open: no break-glass for copies, but one for data.
    of_data.submit()?.ok()?;
    refused_for(ctx, "interlock", || copy.host_wide(&codes[0]).run()?.code(3))?;
    data.host_wide(&codes[0]).run()?.ok()?;
    of_data.revoke()?;
    // A break-glass for data is open: no other, and no allowance for copies.
    refused_for(ctx, "already_open", || copy.host_wide(&codes[1]).run()?.code(3))?;
    refused_for(ctx, "already_open", || data.host_wide(&codes[1]).run()?.code(3))?;
    let refused = of_copies.submit()?;
    check!(refused.stderr.contains("break-glass"), "{}", refused.describe("should be refused"));
    break_glass::close()?;
    // And the other way round.
    of_copies.submit()?.ok()?;
    refused_for(ctx, "interlock", || data.host_wide(&codes[1]).run()?.code(3))?;
    copy.host_wide(&codes[1]).run()?.ok()?;
    of_copies.revoke()?;
    break_glass::close()?;
    tree.lost_exactly(0)?;
    copies.lost_exactly(0)
}

fn ops(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(3, 10)?;
    let zone = ctx.new_zone(&tree.root).budget(Budget::files(1).per(Per::Zone));
    let outside = ctx.outside()?;
    ctx.guard_glass(&[zone])?;
    // What the budget gives is spent before anything else.
    fs::remove_file(tree.file(2, 0))?;
    let codes = break_glass::codes(1)?;
    Glass::new(&ctx.zone).host_wide(&codes[0]).run()?.ok()?;
    let script = "set -e; rm customer-000/file-0000.dat; : >customer-000/file-0001.dat; \
        mv -f customer-000/file-0002.dat customer-000/file-0003.dat; \
        mv customer-000/file-0004.dat \"$1\"";
    Tool::new("bash").args(["-c", script, "script"]).arg(&outside).cwd(&tree.root).ok()?;
    let report = break_glass::last()?;
    for op in ["remove", "truncate", "replace", "move_out"] {
        check_eq!(report["ops"][op].as_u64(), Some(1), "{op} in {report}");
    }
    Tool::new("mv").arg(tree.tenant(1)).arg(outside.join("gone")).run()?.refused()?;
    check!(tree.tenant(1).exists(), "the directory should be there");
    break_glass::close()?;
    let why = hold::unlink(&tree.tenant(2), &ctx.unit("after")?)?.run()?.ok()?;
    check_eq!(why.stdout.trim(), "0", "files removed after it");
    Ok(())
}

fn limits(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 5)?;
    let other = Tree::make(&ctx.base.join("other"), 1, 5)?;
    let name = format!("{}-other", ctx.zone);
    let zones = [denying(ctx, &tree), Zone::new(&name, &other.root).budget(Budget::files(1))];
    let text = policy::render(&zones);
    ctx.guard_text(&zones, &text)?;
    let codes = break_glass::codes(1)?;
    let glass = Glass::new(&ctx.zone);
    let refuse = |ctx: &Ctx<'_>, reason: &str, glass: &Glass| {
        refused_for(ctx, reason, || glass.host_wide(&codes[0]).run()?.code(3)).map(drop)
    };
    refuse(ctx, "not_enabled", &glass)?;
    let only = table() + &format!("zones = [\"{}\"]\n", ctx.zone);
    ctx.guard_text(&zones, &(policy::render(&zones) + &only))?;
    refuse(ctx, "zone_not_enabled", &Glass::new(&name))?;
    refuse(ctx, "unknown_zone", &Glass::new("elsewhere"))?;
    refuse(ctx, "bad_length", &glass.clone().lasts("2h"))?;
    refuse(ctx, "bad_amount", &glass.clone().files(break_glass::MOST_FILES + 1))?;
    // None of that has cost the code. A policy that takes the zone away ends it.
    glass.host_wide(&codes[0]).run()?.ok()?;
    ctx.guard_text(&zones, &text)?;
    closes("policy")?;
    tree.lost_exactly(0)
}
