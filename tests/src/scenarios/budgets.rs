//! What budgets limit, how several work together, and what happens as time passes.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use holdfast_abi::{Op, Per};

use crate::harness::tree::{count, make_files};
use crate::harness::{Budget, Ctx, Tool, check, check_eq, cli, until};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::each("bytes_of_a_few_huge_files", bytes),
    Scenario::each("distinct_tenants", tenants),
    Scenario::each("tenants_two_levels_down", tenants_two_levels),
    Scenario::each("a_budget_for_some_ops_only", some_ops),
    Scenario::each("one_budget_limits_files_bytes_tenants", three_sides),
    Scenario::once("short_and_long_budgets_together", short_and_long).waits(),
    Scenario::each("an_oversized_op_trips_nobody", oversized),
    Scenario::each("the_narrowest_actor_over_trips", narrowest),
    Scenario::once("trip_lasts_as_long_as_latch", latch).waits(),
    Scenario::once("the_window_drains", window_drains),
    Scenario::once("never_more_in_any_window", any_window).waits().traced(),
];

/// Files of 2 MiB each against a budget of 5 MiB. (They have to be written: a hole costs nothing.)
fn bytes(ctx: &mut Ctx<'_>) -> Result<()> {
    const SIZE: u64 = 2 << 20;
    let root = ctx.base.join("zone");
    make_files(&root.join("db"), "base", 5, SIZE as usize)?;
    ctx.enforce(&root, Budget::bytes(SIZE * 5 / 2))?;
    Tool::new("rm").arg("-rf").arg(root.join("db")).run()?.refused()?;
    check_eq!(count(&root)?.bytes, 3 * SIZE, "bytes left");
    let event = ctx.event("the trip", |event| cli::text(event, "reason") == "bytes")?;
    check_eq!(cli::number(&event, "bytes")?, SIZE, "bytes the denied op would have cost");
    Ok(())
}

fn tenants(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(10, 6)?;
    ctx.enforce(&tree.root, Budget::tenants(3))?;
    // Round after round, one file of each tenant.
    for file in 0..6 {
        for tenant in 0..10 {
            fs::remove_file(tree.file(tenant, file)).ok();
        }
    }
    check_eq!(tree.tenants_touched(), 3, "tenants touched");
    // The fourth tenant tripped, and a trip latches: the first three are left alone from then on,
    // too.
    tree.lost_exactly(3)?;
    ctx.event("the trip", |event| cli::text(event, "reason") == "tenants").map(drop)
}

fn tenants_two_levels(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    for host in ["a", "b"] {
        for site in 0..3 {
            make_files(&root.join(host).join(format!("site-{site}/htdocs")), "f", 4, 10)?;
        }
    }
    ctx.guard(&[ctx.new_zone(&root).depth(2).budget(Budget::tenants(4))])?;
    Tool::new("find").arg(&root).args(["-type", "f", "-delete"]).run()?;
    // Four tenants of four files each went; the fifth was one too many.
    check_eq!(count(&root)?.files, 2 * 4, "files left");
    Ok(())
}

fn some_ops(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(2, 20)?;
    ctx.enforce(&tree.root, Budget::files(5).ops(&[Op::Remove]))?;
    for file in 0..20 {
        File::options().write(true).open(tree.file(0, file))?.set_len(0)?;
    }
    check_eq!(tree.emptied(), 20, "files truncated: no budget lists that op");
    Tool::new("rm").arg("-rf").arg(tree.tenant(1)).run()?.refused()?;
    check_eq!(tree.gone()?, 5, "files removed");
    Ok(())
}

/// Whichever side is spent first stops it.
fn three_sides(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    let small = make_files(&root.join("a"), "small", 5, 10)?;
    let large = make_files(&root.join("b"), "large", 5, 10_000)?;
    let strange = make_files(&root.join("c"), "strange", 1, 10)?;
    ctx.enforce(&root, Budget::files(9).and_bytes(35_000).and_tenants(2))?;
    for path in &small {
        fs::remove_file(path)?;
    }
    let gone = large.iter().filter(|path| fs::remove_file(path).is_ok()).count();
    check_eq!(gone, 3, "large files removed before the bytes were spent");
    check!(fs::remove_file(&strange[0]).is_err(), "the trip latches for every op of that budget");
    Ok(())
}

/// A deletion slow enough for the short budget meets the long one.
fn short_and_long(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 80)?;
    let zone = ctx.new_zone(&tree.root);
    ctx.guard(&[zone
        .budget(Budget::files(20).window("2s"))
        .budget(Budget::files(50).window("1h"))])?;
    let mut paths = tree.paths();
    let mut gone = 0;
    for _ in 0..5 {
        for path in paths.by_ref().take(15) {
            gone += u64::from(fs::remove_file(path).is_ok());
        }
        // Longer than the short window with its last bucket: what follows must not depend on it.
        std::thread::sleep(Duration::from_millis(2300));
    }
    check_eq!(gone, 50, "files removed in five bursts");
    tree.lost_exactly(50)
}

/// Whether a file of its own can be removed in a new unit.
fn goes_elsewhere(ctx: &Ctx<'_>, name: &str, file: &Path) -> Result<bool> {
    let unit = ctx.unit(name)?;
    Tool::new("rm").arg(file).unit(&unit).run()?;
    Ok(!file.exists())
}

/// One truncation of more than everybody may lose tripped everybody, although nothing was spent.
fn oversized(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    let small = make_files(&root.join("a"), "small", 3, 10)?;
    let large = make_files(&root.join("b"), "large", 1, 10_000)?;
    let zone = ctx.new_zone(&root);
    ctx.guard(&[zone
        .budget(Budget::bytes(5_000))
        .budget(Budget::files(2).and_bytes(50_000).per(Per::Unit))])?;
    let file = File::options().write(true).open(&large[0])?;
    check!(file.set_len(0).is_err(), "it costs more than the whole budget");
    let event = ctx.event("the refusal", |event| event["verdict"] == "deny")?;
    check_eq!(cli::text(&event, "reason"), "bytes", "reason");
    check_eq!(event["trip"], false, "whether it tripped");
    for (n, path) in small.iter().enumerate() {
        check!(goes_elsewhere(ctx, &format!("unit-{n}"), path)?, "nobody else is stopped");
    }
    let name = ctx.zone.clone();
    let metrics = ctx.lab.metrics()?;
    check_eq!(metrics.sum("holdfast_trips_total", &[("zone", &name)]), 0.0, "trips");
    Ok(())
}

/// The file has the zone's budget first; the unit is over too.
fn narrowest(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 12)?;
    let zone = ctx.new_zone(&tree.root);
    ctx.guard(&[zone.budget(Budget::files(6)).budget(Budget::files(5).per(Per::Unit))])?;
    let unit = ctx.unit("rm")?;
    let paths: Vec<_> = tree.paths().collect();
    for path in &paths[..7] {
        Tool::new("rm").arg(path).unit(&unit).run()?;
    }
    tree.lost_exactly(5)?;
    check!(goes_elsewhere(ctx, "other", &paths[11])?, "only the unit has tripped");
    let inode = fs::metadata(&paths[5])?.ino();
    let later = ctx.event("the refusal after it", |event| event["reason"] == "latched")?;
    let cause = &later["tripped_by"];
    check_eq!(cli::text(cause, "limit"), "files", "which limit tripped");
    check_eq!(cli::number(cause, "inode")?, inode, "by which file");
    check!(cli::number(cause, "time_ns")? < cli::number(&later, "time_ns")?, "when");
    Ok(())
}

/// After the latch the window decides: it is still full, so the next op trips again.
fn latch(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 10)?;
    ctx.enforce(&tree.root, Budget::files(5).window("1h").latch("2s"))?;
    let paths: Vec<_> = tree.paths().collect();
    for path in &paths {
        fs::remove_file(path).ok();
    }
    tree.lost_exactly(5)?;
    let zone = ctx.zone.clone();
    let labels = [("zone", zone.as_str())];
    ctx.metrics_until("one trip", |metrics| metrics.sum("holdfast_trips_total", &labels) == 1.0)?;
    std::thread::sleep(Duration::from_millis(2300));
    check!(fs::remove_file(&paths[9]).is_err(), "what is spent stays spent");
    ctx.metrics_until("the next", |metrics| metrics.sum("holdfast_trips_total", &labels) == 2.0)?;
    tree.lost_exactly(5)
}

fn window_drains(ctx: &mut Ctx<'_>) -> Result<()> {
    const WINDOW: Duration = Duration::from_secs(5);
    let tree = ctx.tree(1, 200)?;
    ctx.enforce(&tree.root, Budget::files(10).window("5s"))?;
    let paths: Vec<_> = tree.paths().collect();
    let gone = paths[..30].iter().take_while(|path| fs::remove_file(path).is_ok()).count();
    check_eq!(gone, 10, "files removed until the first refusal");
    let tripped = Instant::now();
    // While it latches, nothing goes. The refusal came a moment before `tripped`.
    let mut attempts = paths[30..].iter().cycle();
    until("the latch opens", Duration::from_secs(60), || {
        let path = attempts.next().unwrap_or(&paths[30]);
        Ok(fs::remove_file(path).is_ok().then_some(()))
    })?;
    let waited = tripped.elapsed();
    check!(
        waited >= WINDOW - Duration::from_millis(500),
        "the latch opened after {waited:?}, before the window of {WINDOW:?} had passed"
    );
    check!(waited < WINDOW * 4, "the latch took {waited:?} to open");
    let left: Vec<_> = paths.iter().filter(|path| path.exists()).collect();
    let again = left.iter().take_while(|path| fs::remove_file(path).is_ok()).count();
    check_eq!(again, 9, "files removed after the window, besides the one that showed it was open");
    Ok(())
}

/// Hammers for several windows and checks every window that ends in a removal.
fn any_window(ctx: &mut Ctx<'_>) -> Result<()> {
    const WINDOW_NS: u64 = 3_000_000_000;
    let tree = ctx.tree(1, 300)?;
    ctx.enforce(&tree.root, Budget::files(25).window("3s"))?;
    let started = Instant::now();
    let mut paths = tree.paths().peekable();
    let mut gone = 0;
    while started.elapsed() < Duration::from_secs(14) {
        let Some(path) = paths.peek() else { break };
        if fs::remove_file(path).is_ok() {
            paths.next();
            gone += 1;
        } else {
            std::thread::sleep(Duration::from_millis(30));
        }
    }
    check!(gone >= 75, "several windows' worth should have gone, not {gone}");
    let times = until("an event for every removal", Duration::from_secs(60), || {
        let mut times = Vec::new();
        for event in ctx.events()?.iter().filter(|e| cli::text(e, "verdict") == "allow") {
            times.push(cli::number(event, "time_ns")?);
        }
        Ok((times.len() >= gone).then_some(times))
    })?;
    check_eq!(times.len(), gone, "removals by events");
    for (n, &end) in times.iter().enumerate() {
        let inside = times[..=n].iter().filter(|&&time| time + WINDOW_NS > end).count();
        check!(inside <= 25, "{inside} removals in the 3 s that end at {end}");
    }
    Ok(())
}
