//! What holdfast says happened is what happened: metrics, status, events and audit against the
//! disk.

use std::fs::{self, File};
use std::time::Duration;

use anyhow::Result;

use crate::harness::tree::{count, make_files};
use crate::harness::{Budget, Ctx, Tool, Zone, check, check_eq, cli, hold, until};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::each("counters_equal_reality", counters),
    Scenario::once("figures_match_for_every_verdict", every_verdict).waits(),
    Scenario::once("the_audit_log_has_the_trip", audit),
    Scenario::once("the_metrics_page_is_well_formed", page),
    Scenario::once("status_tells_what_is_left", status),
    Scenario::once("new_zone_counters_start_at_zero", new_zones).waits(),
    Scenario::once("denial_flood_is_counted_in_full", flood),
];

fn counters(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    let outside = ctx.outside()?;
    let files = make_files(&root.join("t"), "file", 40, 1000)?;
    fs::hard_link(&files[0], root.join("t/link"))?;
    fs::create_dir(root.join("t/dir"))?;
    ctx.enforce(&root, Budget::files(30))?;
    let before = count(&root)?;
    fs::remove_file(&files[0])?; // another link stays
    for path in &files[1..9] {
        fs::remove_file(path)?;
    }
    fs::remove_dir(root.join("t/dir"))?;
    for path in &files[9..14] {
        File::options().write(true).open(path)?.set_len(100)?;
    }
    for (n, path) in files[14..18].iter().enumerate() {
        fs::rename(path, outside.join(n.to_string()))?;
    }
    for pair in files[18..24].chunks(2) {
        fs::rename(&pair[0], &pair[1])?;
    }
    check!(fs::remove_dir(root.join("t")).is_err(), "not empty: costs nothing");
    let after = count(&root)?;
    let expected = [
        ("remove", 9, 8 * 1000),
        ("truncate", 5, 5 * 900),
        ("move_out", 4, 4 * 1000),
        ("replace", 3, 3 * 1000),
    ];
    let bytes: u64 = expected.iter().map(|(_, _, bytes)| bytes).sum();
    // The first file's name went, its data did not; count() sees each link's size.
    check_eq!(before.bytes - after.bytes, bytes + 1000, "bytes gone by the disk itself");
    let zone = ctx.zone.clone();
    for (op, files, bytes) in expected {
        let labels = [("zone", zone.as_str()), ("op", op)];
        ctx.metrics_until(
            &format!("{op}: {files} files and {bytes} bytes in the metrics"),
            |metrics| {
                metrics.sum("holdfast_destroyed_files_total", &labels) == f64::from(files)
                    && metrics.sum("holdfast_destroyed_bytes_total", &labels) == bytes as f64
            },
        )?;
    }
    // 21 of 30 are spent.
    Tool::new("find").arg(&root).args(["-type", "f", "-delete"]).run()?.refused()?;
    let metrics = ctx.metrics_until("an empty budget in the metrics", |metrics| {
        metrics.sum("holdfast_budget_left_files", &[("zone", &zone)]) == 0.0
    })?;
    check_eq!(metrics.sum("holdfast_destroyed_files_total", &[("zone", &zone)]), 30.0, "files");
    check_eq!(metrics.sum("holdfast_trips_total", &[("zone", &zone)]), 1.0, "trips");
    Ok(())
}

/// Twelve files in each of four zones with a budget of five: each op counts once, whatever was
/// decided about it, and how often.
fn every_verdict(ctx: &mut Ctx<'_>) -> Result<()> {
    const FILES: u64 = 12;
    let held = ctx.tree(1, FILES)?;
    let (base, zone) = (ctx.base.clone(), ctx.zone.clone());
    let root = |name: &str| base.join(name);
    let other = |name: &str| Zone::new(&format!("{zone}-{name}"), &root(name));
    for name in ["observe", "deny", "throttle"] {
        make_files(&root(name).join("t"), "file", FILES, 10)?;
    }
    let holds = ctx.hold_zone(&held, Budget::files(5));
    ctx.guard(&[
        holds,
        other("observe").observe().budget(Budget::files(5)),
        other("deny").budget(Budget::files(5)),
        other("throttle").throttle().budget(Budget::files(5).window("3s")),
    ])?;
    let unit = ctx.unit("deleter")?;
    let deleter = hold::unlink(&held.root, &unit)?.arg("--raw").start()?;
    ctx.held_at(&held, deleter.pid(), 5)?.release(100)?;
    deleter.wait()?.quietly()?;
    for name in ["observe", "deny", "throttle"] {
        let find = Tool::new("find").arg(root(name)).args(["-type", "f", "-delete"]);
        find.unit(&unit).run()?;
    }
    let left = |name: &str| count(&root(name)).map(|count| count.files as f64);
    for (zone, left, once) in [
        (ctx.zone.clone(), count(&held.root)?.files as f64, "hold"),
        (format!("{}-observe", ctx.zone), left("observe")?, "observe"),
        (format!("{}-deny", ctx.zone), left("deny")?, "deny"),
        (format!("{}-throttle", ctx.zone), left("throttle")?, "throttle"),
    ] {
        let gone = FILES as f64 - left;
        let zone = [("zone", zone.as_str())];
        let metrics = ctx.metrics_until(&format!("{gone} files gone: {once}"), |metrics| {
            metrics.sum("holdfast_destroyed_files_total", &zone) == gone
        })?;
        let ops = |verdict| metrics.sum("holdfast_ops_total", &[zone[0], ("verdict", verdict)]);
        let went = ops("allow") + ops("observe");
        check_eq!(went, gone, "ops that went on in the zone that should {once}");
        check_eq!(ops("deny"), left, "ops denied in the zone that should {once}");
        check!(ops(once) >= 1.0, "no op with the verdict {once}");
        if once == "hold" {
            check_eq!(ops("hold"), 1.0, "ops held");
        }
    }
    Ok(())
}

fn audit(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(1, 30, 7)?;
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).run()?.refused()?;
    let zone = ctx.zone.clone();
    let record = until("the trip in the audit log", Duration::from_secs(60), || {
        let records = cli::audit()?;
        Ok(records.into_iter().find(|record| {
            let text = record.to_string();
            text.contains(&zone) && text.contains("\"deny\"")
        }))
    })?;
    let text = record.to_string();
    for expected in ["customer-000", "remove", "\"rm\""] {
        check!(text.contains(expected), "the audit record lacks {expected}: {text}");
    }
    tree.lost_exactly(7)
}

fn page(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(1, 30, 7)?;
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).run()?.refused()?;
    ctx.counted("allow", 7)?;
    let metrics = ctx.lab.metrics()?;
    let zone = ctx.zone.as_str();
    for (name, labels) in [
        ("holdfast_ops_total", vec![("zone", zone), ("op", "remove"), ("verdict", "deny")]),
        ("holdfast_destroyed_files_total", vec![("zone", zone), ("op", "remove")]),
        ("holdfast_destroyed_bytes_total", vec![("zone", zone), ("op", "remove")]),
        ("holdfast_trips_total", vec![("zone", zone)]),
        ("holdfast_budget_left_files", vec![("zone", zone)]),
        ("holdfast_budget_limit_files", vec![("zone", zone)]),
        ("holdfast_events_lost_total", vec![("zone", zone)]),
        ("holdfast_events_suppressed_total", vec![("zone", zone)]),
        ("holdfast_zone_mode", vec![("zone", zone), ("mode", "enforce")]),
        ("holdfast_guard_up", vec![]),
        ("holdfast_zone_enforcing", vec![("zone", zone)]),
        ("holdfast_paths_unguarded", vec![("zone", zone)]),
        ("holdfast_coverage_ok", vec![("op", "remove")]),
        ("holdfast_coverage_timestamp_seconds", vec![]),
        ("holdfast_roots", vec![("zone", zone)]),
        ("holdfast_roots_missing", vec![("zone", zone)]),
        ("holdfast_accounts", vec![]),
        ("holdfast_policy_reload_failed", vec![]),
        ("holdfast_policy_reload_timestamp_seconds", vec![]),
        ("holdfast_build_info", vec![]),
    ] {
        check!(metrics.has(name, &labels), "no {name} with {labels:?} in:\n{}", metrics.text);
    }
    check_eq!(metrics.sum("holdfast_zone_enforcing", &[("zone", zone)]), 1.0, "zone enforcing");
    check_eq!(metrics.sum("holdfast_zone_mode", &[("zone", zone)]), 1.0, "one mode per zone");
    for label in metrics.label_names() {
        let private = ["path", "pid", "uid", "user", "comm", "file", "tenant"].contains(&label);
        check!(!private, "the label {label} tells too much or has too many values");
    }
    Ok(())
}

fn status(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(1, 30, 20)?;
    for file in 0..13 {
        fs::remove_file(tree.file(0, file))?;
    }
    let (outcome, value) = cli::status()?;
    check_eq!(outcome.code, Some(0), "exit status");
    check!(value["guard_up"] == true && value["enforcing"] == true, "{value}");
    let text = value.to_string();
    check!(text.contains(&ctx.zone), "status lacks the zone: {text}");
    let plain = cli::holdfast(["status"])?.ok()?;
    check!(plain.stdout.contains(&ctx.zone), "{}", plain.describe("lacks the zone"));
    let zone = ctx.zone.clone();
    ctx.metrics_until("7 files left in the metrics", |metrics| {
        metrics.sum("holdfast_budget_left_files", &[("zone", &zone)]) == 7.0
    })
    .map(drop)
}

/// The kernel has room for 62 zones at a time. A zone that took over the room of one that was gone
/// once began with that one's counters.
fn new_zones(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 140)?;
    let mut files = tree.paths();
    for n in 0..70 {
        let name = format!("{}-{n}", ctx.zone);
        let zone = crate::harness::Zone::new(&name, &tree.root);
        ctx.guard(&[zone.budget(Budget::files(1))])?;
        let (first, second) = (files.next(), files.next());
        check!(first.is_some_and(|path| fs::remove_file(path).is_ok()), "the budget is one file");
        check!(second.is_some_and(|path| fs::remove_file(path).is_err()), "and not two");
        for verdict in ["allow", "deny"] {
            check_eq!(ctx.lab.metrics()?.ops(&name, verdict), 1.0, "{verdict} in zone number {n}");
        }
    }
    tree.lost_exactly(70)
}

/// Events are limited so that an attacker cannot drown the agent; what is left out is counted.
fn flood(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(1, 10, 1)?;
    let mut denied = 0;
    for _ in 0..2000 {
        for file in 0..3 {
            denied += u64::from(
                fs::remove_file(tree.file(0, file))
                    .is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied),
            );
        }
    }
    tree.lost_exactly(1)?;
    ctx.counted("deny", denied)?;
    let zone = ctx.zone.clone();
    let metrics = ctx.lab.metrics()?;
    let suppressed = metrics.sum("holdfast_events_suppressed_total", &[("zone", &zone)]);
    let lost = metrics.sum("holdfast_events_lost_total", &[("zone", &zone)]);
    let sent = ctx.events()?.len() as f64;
    check!(
        sent + suppressed + lost >= 1.0 && sent + suppressed + lost <= denied as f64,
        "{sent} events, {suppressed} suppressed, {lost} lost of {denied}"
    );
    check!(suppressed > 0.0, "a flood of {denied} denials should have been thinned out");
    Ok(())
}
