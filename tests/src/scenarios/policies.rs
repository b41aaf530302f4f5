//! Bad policies: every mistake is located, nothing changes, and the guard that runs goes on.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Context as _, Result};
use holdfast_abi::Per;

use crate::harness::agent::POLICY;
use crate::harness::{Budget, Ctx, Outcome, Tool, check, check_eq, cli, policy};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::once("five_mistakes_give_five_errors", five_mistakes),
    Scenario::once("good_policy_is_checked_and_shown", check_and_show),
    Scenario::once("overlapping_zones_are_refused", overlapping),
    Scenario::once("zones_overlapping_through_symlink_are_refused", overlapping_link),
    Scenario::once("a_root_on_proc_is_refused", on_proc),
    Scenario::once("unit_budgets_need_cgroup_v2", unit_budgets),
    Scenario::once("a_root_on_overlayfs_is_refused", on_overlay),
    Scenario::once("boot_falls_back_to_last_policy", boot_without_a_policy),
];

/// Mistakes in lines 3, 5, 8, 9 and 11.
const FIVE_MISTAKES: &str = r#"[[zone]]
name = "customers"
role = "primry"
paths = ["/data/customers"]
mod = "enforce"
[[zone.budget]]
per = "unit"
files = 0
window = "10 fortnights"
[[zone]]
name = "customers"
role = "backup"
paths = ["/data/backups"]
[[zone.budget]]
per = "unit"
files = 100
window = "10m"
"#;

/// Insists on five errors, each at its line.
fn located(outcome: &Outcome) -> Result<()> {
    let said = outcome.said();
    for line in [3, 5, 8, 9, 11] {
        let place = format!("policy.toml:{line}:");
        check!(said.contains(&place), "{}", outcome.describe(&format!("should name {place}")));
    }
    check_eq!(said.matches("error:").count(), 5, "errors in {said}");
    check!(said.contains('^'), "{}", outcome.describe("should point with a caret"));
    Ok(())
}

/// A policy with mistakes changes nothing.
fn five_mistakes(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(2, 40, 30)?;
    let good = fs::read_to_string(POLICY)?;
    for file in 0..10 {
        fs::remove_file(tree.file(0, file))?;
    }
    ctx.lab.write_policy(FIVE_MISTAKES)?;
    located(&cli::holdfast(["policy", "check", POLICY])?.code(3)?)?;
    located(&cli::holdfast(["policy", "reload"])?.code(3)?)?;
    let zone = ctx.zone.clone();
    ctx.metrics_until("the failed reload in the metrics", |metrics| {
        metrics.sum("holdfast_policy_reload_failed", &[]) == 1.0
            && metrics.has("holdfast_budget_limit_files", &[("zone", &zone)])
    })?;
    check_eq!(cli::status()?.0.code, Some(0), "exit status of `holdfast status`");
    // The guard still denies, and at the same count.
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).arg(tree.tenant(1)).run()?.refused()?;
    tree.lost_exactly(30)?;
    ctx.lab.try_policy(&good)?.ok()?;
    ctx.metrics_until("the good reload in the metrics", |metrics| {
        metrics.sum("holdfast_policy_reload_failed", &[]) == 0.0
    })
    .map(drop)
}

fn check_and_show(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(1, 1, 30)?;
    cli::holdfast(["policy", "check", POLICY])?.ok()?;
    let shown = cli::holdfast(["policy", "show"])?.ok()?;
    for expected in [&ctx.zone, &tree.root.display().to_string(), "30"] {
        check!(shown.stdout.contains(expected), "{}", shown.describe(&format!("lacks {expected}")));
    }
    let json = cli::holdfast(["policy", "show", "--json"])?.ok()?;
    serde_json::from_str::<serde_json::Value>(&json.stdout)?;
    let missing = cli::holdfast(["policy", "check", "/nonexistent/policy.toml"])?;
    check!(!missing.succeeded(), "{}", missing.describe("should have failed"));
    check!(
        missing.stderr.contains("/nonexistent/policy.toml"),
        "{}",
        missing.describe("names no file")
    );
    Ok(())
}

/// Tries a policy that must be refused for that reason, while another stays in force.
fn refused(ctx: &mut Ctx<'_>, bad: &str, because: &[&str]) -> Result<()> {
    let tree = crate::harness::Tree::make(&ctx.base.join("good"), 1, 10)?;
    ctx.enforce(&tree.root, Budget::files(4))?;
    let good = fs::read_to_string(POLICY)?;
    let outcome = ctx.lab.try_policy(bad)?;
    let restored = ctx.lab.write_policy(&good);
    let outcome = outcome.code(3)?;
    restored?;
    for reason in because {
        check!(
            outcome.said().contains(reason),
            "{}",
            outcome.describe(&format!("should mention {reason:?}"))
        );
    }
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).run()?.refused()?;
    tree.lost_exactly(4)?;
    ctx.lab.try_policy(&good)?.ok().map(drop)
}

/// What a boot finds: no guard, and a policy file that is wrong, or not there.
fn boot_without_a_policy(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(3, 40, 10)?;
    let good = fs::read_to_string(POLICY)?;
    for (tenant, bad) in [(0, Some(FIVE_MISTAKES)), (1, None)] {
        ctx.lab.stop()?;
        cli::holdfast(["unpin", "--force"])?.ok()?;
        match bad {
            Some(text) => ctx.lab.write_policy(text)?,
            None => fs::remove_file(POLICY)?,
        }
        ctx.lab.start(ctx.trace)?;
        let (outcome, status) = cli::status()?;
        check_eq!(outcome.code, Some(0), "exit status of `holdfast status`");
        check_eq!(cli::text(&status, "started"), "fresh", "how the agent came up");
        check!(
            status["warnings"].to_string().contains("the policy file was refused"),
            "warnings: {status}"
        );
        Tool::new("rm").arg("-rf").arg(tree.tenant(tenant)).run()?.refused()?;
        // A fresh start goes on with what was spent before.
        check_eq!(tree.files_gone()?, 10, "files gone");
        let doctor = cli::holdfast(["doctor"])?.code(5)?;
        for part in ["FAIL  policy-reload", POLICY] {
            check!(doctor.stdout.contains(part), "{}", doctor.describe("should name the file"));
        }
        check_eq!(ctx.lab.metrics()?.sum("holdfast_policy_reload_failed", &[]), 1.0, "told");
        let refused = cli::audit()?.into_iter().rev().find(|record| {
            cli::text(record, "outcome") == "refused" && cli::text(record, "cause") == "start"
        });
        let refused = refused.context("no record of the refused policy")?;
        check_eq!(cli::text(&refused, "path"), POLICY, "which was refused");
    }
    // The same text from its own file: nothing changes but where it is from.
    ctx.lab.try_policy(&good)?.ok()?;
    let (_, status) = cli::status()?;
    check_eq!(cli::text(&status["policy"], "path"), POLICY, "which is in force");
    check!(!status["warnings"].to_string().contains("refused"), "warnings: {status}");
    Ok(())
}

fn two_zones(ctx: &Ctx<'_>, first: &std::path::Path, second: &std::path::Path) -> String {
    let budget = Budget::files(5);
    let zone = |name: &str, root| crate::harness::Zone::new(name, root).budget(budget.clone());
    policy::render(&[zone(&ctx.zone, first), zone("inner", second)])
}

fn overlapping(ctx: &mut Ctx<'_>) -> Result<()> {
    let outer = ctx.base.join("outer");
    fs::create_dir_all(outer.join("inner"))?;
    let bad = two_zones(ctx, &outer, &outer.join("inner"));
    let zone = ctx.zone.clone();
    refused(ctx, &bad, &["outer/inner", &zone])
}

fn overlapping_link(ctx: &mut Ctx<'_>) -> Result<()> {
    let outer = ctx.base.join("outer");
    fs::create_dir_all(outer.join("inner"))?;
    let link = ctx.base.join("link");
    symlink(outer.join("inner"), &link)?;
    let bad = two_zones(ctx, &outer, &link);
    refused(ctx, &bad, &["outer"])
}

fn unguardable(ctx: &mut Ctx<'_>, root: &std::path::Path, filesystem: &str) -> Result<()> {
    let zone = crate::harness::Zone::new(&format!("{}-bad", ctx.zone), root);
    let bad = policy::render(&[zone.budget(Budget::files(5))]);
    refused(ctx, &bad, &[&root.display().to_string(), filesystem, "cannot be guarded"])
}

fn on_proc(ctx: &mut Ctx<'_>) -> Result<()> {
    unguardable(ctx, std::path::Path::new("/proc/sys"), "proc")
}

fn on_overlay(ctx: &mut Ctx<'_>) -> Result<()> {
    let dir = |name: &str| ctx.base.join(name);
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(dir(name))?;
    }
    Tool::new("modprobe").arg("overlay").run()?;
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        dir("lower").display(),
        dir("upper").display(),
        dir("work").display()
    );
    Tool::new("mount")
        .args(["-t", "overlay", "overlay", "-o", &options])
        .arg(dir("merged"))
        .ok()?;
    let merged = dir("merged");
    unguardable(ctx, &merged, "overlay")
}

/// Covers the cgroup filesystem as on a host with version 1, until it is dropped.
struct CgroupV1;

impl Drop for CgroupV1 {
    fn drop(&mut self) {
        Tool::new("umount").arg("/sys/fs/cgroup").run().ok();
    }
}

/// On a host with cgroup v1 all processes are one unit to the kernel.
fn unit_budgets(ctx: &mut Ctx<'_>) -> Result<()> {
    const REASON: [&str; 2] = ["per = \"unit\"", "systemd.unified_cgroup_hierarchy=1"];
    let tree = ctx.tree(1, 10)?;
    let zone = ctx.new_zone(&tree.root);
    let per_unit = policy::render(&[zone.budget(Budget::files(3).per(Per::Unit))]);
    Tool::new("mount").args(["-t", "tmpfs", "cgroup", "/sys/fs/cgroup"]).ok()?;
    let covered = CgroupV1;
    // While the zone-wide budget of another policy is in force, and stays so.
    refused(ctx, &per_unit, &REASON)?;
    ctx.lab.write_policy(&per_unit)?;
    for args in [["policy", "check", POLICY].as_slice(), &["doctor"]] {
        let outcome = cli::holdfast(args)?;
        check!(!outcome.succeeded(), "{}", outcome.describe("should have failed"));
        for reason in REASON {
            check!(outcome.said().contains(reason), "{}", outcome.describe("why?"));
        }
    }
    // An agent that starts with it goes on with everything, and says so.
    ctx.lab.stop()?;
    ctx.lab.start(ctx.trace)?;
    let status = cli::holdfast(["status"])?.ok()?;
    check!(status.said().contains("all processes are one unit"), "{}", status.describe("silent"));
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).run()?.refused()?;
    tree.lost_exactly(3)?;
    drop(covered);
    ctx.lab.try_policy(&per_unit)?.ok().map(drop)
}
