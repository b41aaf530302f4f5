//! From observe to enforce: what was recorded, the budgets that are proposed from it, and what they
//! do.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;
use toml::Table;

use super::ordinary::{backup, everything};
use crate::harness::agent::{BINARY, POLICY};
use crate::harness::tree::count;
use crate::harness::{Budget, Ctx, Outcome, Tool, Tree, Unit, Zone, check, check_eq, cli, sh};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::once("learned_policy_passes_ordinary_work", ordinary).heavy(),
    Scenario::once("learn_leaves_a_mass_deletion_out", mass_deletion),
    Scenario::once("learn_and_simulate_report_missing_records", not_recorded),
];

/// Customers and their backups, both observed by budgets that nobody reaches.
struct Site {
    zones: [String; 2],
    roots: [PathBuf; 2],
    trees: [Tree; 2],
}

impl Site {
    fn observed(ctx: &mut Ctx<'_>) -> Result<Self> {
        let zones = [ctx.zone.clone(), format!("{}-backup", ctx.zone)];
        let roots = ["customers", "backups"].map(|name| ctx.base.join(name));
        let trees = [Tree::make(&roots[0], 30, 10)?, Tree::make(&roots[1], 30, 10)?];
        let useless = || Budget::files(1_000_000).window("400d");
        ctx.guard(&[
            Zone::new(&zones[0], &roots[0]).observe().budget(useless()),
            Zone::new(&zones[1], &roots[1]).backup().observe().budget(useless()),
        ])?;
        Ok(Self { zones, roots, trees })
    }

    fn work(&self, ctx: &Ctx<'_>, tenant: &str) -> Result<()> {
        let [customer, copies] = self.roots.each_ref().map(|root| root.join(tenant));
        fs::create_dir_all(&customer)?;
        fs::create_dir_all(&copies)?;
        everything(ctx, &customer)?;
        backup(ctx, &copies)
    }

    /// The update script of 2012, in a session of its own.
    fn update(&self, session: &str) -> Result<(Unit, Outcome)> {
        let unit = Unit::new(session)?;
        let tool = Tool::new("bash").args(["-c", crate::demo::SCRIPT, "update"]);
        let outcome = tool.args(&self.roots).unit(&unit).run()?;
        Ok((unit, outcome))
    }

    /// Files of the trees that are gone, and tenants that lost any.
    fn lost(&self, zone: usize) -> Result<(u64, u64)> {
        let tree = &self.trees[zone];
        let mut left = 0;
        for tenant in (0..tree.tenants).filter(|tenant| tree.tenant(*tenant).exists()) {
            left += count(&tree.tenant(tenant))?.files;
        }
        Ok((tree.total() - left, tree.tenants_touched()))
    }
}

/// What a proposal limits in the short window of a unit: in the first budget that limits it.
pub(crate) fn limit(learnt: &Value, zone: usize, side: &str) -> Result<u64> {
    let budgets = learnt["zones"][zone]["budgets"].as_array().context("no budgets")?;
    let limit = budgets.iter().find_map(|one| one["budget"][side].as_u64());
    limit.with_context(|| format!("no limit of {side} in {learnt}"))
}

/// The same policy, every zone enforced.
pub(crate) fn enforcing(text: &str) -> Result<String> {
    let mut policy: Table = text.parse()?;
    let zones = policy.get_mut("zone").and_then(toml::Value::as_array_mut).context("no zones")?;
    for zone in zones {
        zone.as_table_mut().context("no table")?.insert("mode".into(), "enforce".into());
    }
    Ok(toml::to_string(&policy)?)
}

/// A week in minutes: recorded, learnt, tried, enforced; and then the day it is for.
fn ordinary(ctx: &mut Ctx<'_>) -> Result<()> {
    let site = Site::observed(ctx)?;
    site.work(ctx, "tenant-a")?;

    let learnt = cli::policy_json(&["learn", "--since", "1h", "--json"], 0)?;
    // A moment later the record is longer, and what is scaled up from it less.
    let proposed = cli::text(&learnt, "text").to_owned();
    let file = ctx.base.join("proposed.toml");
    fs::write(&file, &proposed)?;
    let file = file.to_str().context("a path that is no text")?;
    cli::policy(&["check", file])?.ok()?;
    for says in [
        "would have tripped: never",
        "and 50 % of headroom",
        "SCALED UP: only ",
        "mode = \"observe\"",
    ] {
        check!(proposed.contains(says), "{says:?} should be in\n{proposed}");
    }
    check!(!proposed.contains("WOULD HAVE TRIPPED"), "nothing would have tripped in\n{proposed}");
    check_eq!(cli::number(&learnt, "trips")?, 0, "trips of the proposal");
    check_eq!(learnt["outliers"].as_array().map(Vec::len), Some(0), "outliers");

    // What was recorded is what the kernel counted.
    let simulated =
        cli::policy_json(&["simulate", "--policy", file, "--since", "1h", "--json"], 0)?;
    check_eq!(cli::number(&simulated, "trips")?, 0, "trips in the simulation");
    let metrics = ctx.lab.metrics()?;
    for (n, zone) in site.zones.iter().enumerate() {
        let recorded = cli::number(&simulated["zones"][n], "ops")?;
        check!(recorded > [300, 15][n], "the work should have destroyed something: {recorded} ops");
        check!(recorded as f64 <= metrics.ops(zone, "allow"), "more was recorded than counted");
        check_eq!(metrics.ops(zone, "observe"), 0.0, "ops over the budgets nobody reaches");
    }

    // A tighter one would have tripped, and says who.
    let tight = ctx.base.join("tight.toml");
    let files = limit(&learnt, 0, "files")?;
    let line = format!("files = {files}\n");
    check!(proposed.contains(&line), "{line:?} should be in\n{proposed}");
    fs::write(&tight, proposed.replacen(&line, "files = 10\n", 1))?;
    let tight = tight.to_str().context("a path that is no text")?;
    let trips = cli::policy_json(&["simulate", "--policy", tight, "--since", "1h", "--json"], 1)?;
    check!(cli::number(&trips, "trips")? > 0, "trips: {trips}");
    check!(!cli::text(&trips["first"][0], "comm").is_empty(), "who tripped: {trips}");

    // What it would change, in words.
    check_eq!(
        cli::policy(&["diff", file, file])?.code,
        Some(0),
        "exit status without a difference"
    );
    let diff = cli::policy(&["diff", file])?;
    check_eq!(diff.code, Some(1), "{}", diff.describe("exit status with a difference"));
    check!(diff.stdout.contains("is gone: 1000000 files"), "{}", diff.describe("the words"));

    // Enforced: the same work goes through, to the last op.
    ctx.lab.try_policy(&enforcing(&proposed)?)?.ok()?;
    site.work(ctx, "tenant-b")?;
    let metrics = ctx.lab.metrics()?;
    for zone in &site.zones {
        for verdict in ["deny", "hold", "throttle", "observe"] {
            check_eq!(metrics.ops(zone, verdict), 0.0, "ops with {verdict} in zone {zone}");
        }
    }

    // And the update script of 2012 does not.
    let (_unit, outcome) = site.update("learnt-update")?;
    check!(
        outcome.stderr.contains("Operation not permitted"),
        "{}",
        outcome.describe("should have been stopped")
    );
    for zone in 0..2 {
        let (files, tenants) = site.lost(zone)?;
        let (most_files, most_tenants) =
            (limit(&learnt, zone, "files")?, limit(&learnt, zone, "tenants")?);
        ctx.lab.note(format!(
            "{}: {files} of 300 files gone, of {tenants} tenants \
            (limits: {most_files}, {most_tenants})",
            site.zones[zone]
        ));
        check!(files <= most_files && tenants <= most_tenants, "{files} files, {tenants} tenants");
        check!(files < 300, "it should have been stopped");
    }

    // Also known without an agent, with what was denied.
    ctx.lab.stop()?;
    let after = cli::policy_json(&["simulate", "--policy", file, "--since", "1h", "--json"], 1)?;
    check!(cli::number(&after, "trips")? >= 1, "the script trips: {after}");
    check!(cli::number(&after["recorded"], "denied")? >= 1, "what was denied is asked about");
    cli::policy(&["learn", "--since", "1h", "--zone", &site.zones[0]])?.ok().map(drop)
}

/// What is recorded has a mass deletion in it: it is shown, left out, and the proposal stops it.
fn mass_deletion(ctx: &mut Ctx<'_>) -> Result<()> {
    let site = Site::observed(ctx)?;
    let quiet = site.roots[0].join("tenant-a");
    fs::create_dir_all(&quiet)?;
    sh("cd \"$1\"; for n in $(seq 40); do echo x > f-$n; done; rm f-*", [&quiet])?.ok()?;
    let (unit, outcome) = site.update("recorded-update")?;
    check!(outcome.succeeded(), "{}", outcome.describe("nothing stops it yet"));
    for zone in 0..2 {
        check_eq!(site.lost(zone)?, (300, 30), "gone");
    }
    let learnt = cli::policy_json(&["learn", "--since", "1h", "--json"], 0)?;
    let of_script = |one: &&Value| {
        cli::text(one, "zone") == site.zones[0]
            && cli::text(&one["what"]["first"], "unit") == unit.path()
            && cli::text(one, "side") == "tenants"
    };
    let outliers = learnt["outliers"].as_array().context("no outliers")?;
    let outlier = outliers.iter().find(of_script);
    let outlier = outlier.with_context(|| format!("the script is no outlier: {outliers:?}"))?;
    check_eq!(cli::text(outlier, "rule"), "ceiling", "the rule");
    check!(
        outlier["what"]["programs"].to_string().contains("rm"),
        "the programs should be named: {outlier}"
    );
    check!(cli::number(&learnt, "trips")? >= 1, "trips of the proposal");
    let tenants = limit(&learnt, 0, "tenants")?;
    check!(tenants <= 5 && limit(&learnt, 0, "files")? <= 2000, "limits: {learnt}");
    let page = cli::policy(&["learn", "--since", "1h"])?.ok()?.stdout;
    for says in ["# OUTLIER ", "# WOULD HAVE TRIPPED 1 time", "recorded-update"] {
        check!(page.contains(says), "{says:?} should be in\n{page}");
    }
    // Enforced on the other half of the fleet, it stops.
    let again = Tree::make(&site.roots[0], 30, 10)?;
    ctx.lab.try_policy(&enforcing(&page)?)?.ok()?;
    let (_unit, outcome) = site.update("stopped-update")?;
    check!(
        outcome.stderr.contains("Operation not permitted"),
        "{}",
        outcome.describe("should have been stopped")
    );
    check!(again.tenants_touched() <= tenants, "{} tenants", again.tenants_touched());
    Ok(())
}

/// Neither guesses where there is nothing to know.
fn not_recorded(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(2, 5)?;
    let zone = ctx.new_zone(&tree.root).observe().budget(Budget::files(1_000));
    let text = {
        ctx.guard(std::slice::from_ref(&zone))?;
        fs::read_to_string(POLICY)?
    };
    let off = text.replacen("mode = ", "manifest = false\nmode = ", 1);
    ctx.lab.apply_text(&off)?;
    fs::remove_file(tree.file(0, 0))?;
    let args = ["--since", "1h", "--zone", &ctx.zone];
    for (what, command) in
        [("learn", vec!["learn"]), ("simulate", vec!["simulate", "--policy", POLICY])]
    {
        let outcome = cli::policy(&[&command[..], &args[..]].concat())?;
        check_eq!(outcome.code, Some(3), "{}", outcome.describe("exit status"));
        for says in ["nothing was recorded since", "help: take `manifest = false` out of the zone"]
        {
            check!(outcome.stderr.contains(says), "{what}: {}", outcome.describe("the words"));
        }
    }
    // A zone that is recorded again: what happened before is told to be missing.
    ctx.lab.apply_text(&text)?;
    fs::remove_file(tree.file(0, 1))?;
    let told =
        cli::policy(&[&["simulate", "--policy", POLICY][..], &args[..]].concat())?.ok()?.stdout;
    let says = format!("note: zone {} was not recorded from ", ctx.zone);
    check!(told.contains(&says), "{says:?} should be in\n{told}");
    let empty = ctx.base.join("no-state");
    fs::create_dir_all(&empty)?;
    let outcome = no_manifest(&empty)?;
    check_eq!(outcome.code, Some(3), "{}", outcome.describe("exit status"));
    check!(outcome.stderr.contains("there is no manifest in"), "{}", outcome.describe("the words"));
    Ok(())
}

fn no_manifest(state: &Path) -> Result<Outcome> {
    Tool::new(BINARY).args(["policy", "learn", "--state-dir"]).arg(state).run()
}
