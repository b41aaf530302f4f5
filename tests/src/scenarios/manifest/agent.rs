//! The manifest whatever becomes of the agent: nothing missing, nothing twice, and what did not fit
//! is said.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};

use super::{document, manifest, matches, of, records, snapshot};
use crate::harness::agent::STATE_DIR;
use crate::harness::{Budget, Ctx, Tool, check, check_eq, cli};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::each("deletion_log_survives_agent_kills", killed).shared(),
    Scenario::once("deletion_log_survives_agent_absence", away).of_the_agent(),
    Scenario::once("deletion_log_counts_ring_overflow", overflow).of_the_agent(),
    Scenario::once("removed_segments_are_not_written_again", removed).of_the_agent(),
    Scenario::once("links_and_moves_keep_names_apart", links_and_moves),
];

/// Killed three times while eight processes delete.
fn killed(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(8, 150, 10_000)?;
    let before: Vec<_> = (0..8).map(|n| snapshot(&tree.tenant(n))).collect::<Result<_>>()?;
    let own = std::env::current_exe()?;
    let deleters = (0..8)
        .map(|n| Tool::new(&own).args(["helper", "unlink"]).arg(tree.tenant(n)).start())
        .collect::<Result<Vec<_>>>()?;
    for _ in 0..3 {
        ctx.lab.kill()?;
        ctx.lab.start(ctx.trace)?;
    }
    for deleter in deleters {
        deleter.wait()?.ok()?;
    }
    for (n, before) in before.iter().enumerate() {
        let document = of(&ctx.zone, OsStr::new(&format!("customer-{n:03}")))?;
        check_eq!(
            matches(&document, before, &snapshot(&tree.tenant(n as u64))?)?,
            150,
            "files of customer {n}"
        );
        check_eq!(document["gaps"].to_string().contains("ring_full"), false, "a gap");
    }
    Ok(())
}

/// The kernel keeps what it can while nobody is there, and a line that a crash cut short is mended.
fn away(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(1, 300, 10_000)?;
    let before = snapshot(&tree.tenant(0))?;
    for file in 0..100 {
        fs::remove_file(tree.file(0, file))?;
    }
    of(&ctx.zone, OsStr::new("customer-000"))?;
    ctx.lab.kill()?;
    for file in 100..200 {
        fs::remove_file(tree.file(0, file))?;
    }
    let known = of(&ctx.zone, OsStr::new("customer-000"))?;
    check_eq!(records(&known)?.len(), 100, "what can be read without an agent");
    let dir = Path::new(STATE_DIR).join("manifest");
    let newest = fs::read_dir(&dir)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension() == Some(OsStr::new("jsonl")))
        .max();
    let newest = newest.context("no segment")?;
    // As if the machine had gone down in the middle of a line.
    let mut text = fs::read(&newest)?;
    text.extend(b"{\"d\":0,\"a\":1,\"t\":20");
    fs::write(&newest, text)?;
    ctx.lab.start(ctx.trace)?;
    for file in 200..300 {
        fs::remove_file(tree.file(0, file))?;
    }
    let document = of(&ctx.zone, OsStr::new("customer-000"))?;
    check_eq!(matches(&document, &before, &snapshot(&tree.tenant(0))?)?, 300, "files gone");
    check!(
        document["gaps"].to_string().contains("torn"),
        "the torn line is not said: {}",
        document["gaps"]
    );
    ctx.lab.stop()?;
    let verified = cli::holdfast(["manifest", "verify", "--json"])?.ok()?;
    check!(super::document(&verified)?["ok"] == true, "{}", verified.describe("should be intact"));
    // Somebody takes one line out.
    let text = fs::read_to_string(&newest)?;
    let edited: Vec<_> =
        text.lines().enumerate().filter(|(n, _)| *n != 5).map(|(_, line)| line).collect();
    fs::write(&newest, edited.join("\n") + "\n")?;
    let verified = cli::holdfast(["manifest", "verify"])?.code(1)?;
    check!(verified.stdout.contains("edited"), "{}", verified.describe("should name the segment"));
    fs::write(&newest, text)?;
    cli::holdfast(["manifest", "verify"])?.ok().map(drop)
}

/// Names as long as can be, so that fewer ops fill the ring. A thread tells a directory's names
/// once as long as it stays there: it goes from one to the other.
const NAMES: usize = 6;
const FILES: usize = 13_000;

fn overflow(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    let dir = (0..NAMES).fold(root.join("customer"), |dir, _| dir.join("n".repeat(230)));
    let open = |name: &str| -> Result<_> {
        fs::create_dir_all(dir.join(name))?;
        let (flags, mode) = (rustix::fs::OFlags::PATH, rustix::fs::Mode::empty());
        Ok(rustix::fs::open(dir.join(name), flags, mode)?)
    };
    let handles = [open("even")?, open("odd")?];
    let create = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    for n in 0..FILES {
        rustix::fs::openat(&handles[n % 2], format!("f{n:05}"), create, 0o600.into())?;
    }
    ctx.enforce(&root, Budget::files(1_000_000))?;
    ctx.lab.stop()?;
    for n in 0..FILES {
        let none = rustix::fs::AtFlags::empty();
        rustix::fs::unlinkat(&handles[n % 2], format!("f{n:05}"), none)?;
    }
    ctx.lab.start(ctx.trace)?;
    let told = document(&manifest(&ctx.zone, ["--json"])?.ok()?)?;
    let kept = told["tenants"][0]["records"].as_u64().context("no tenant")?;
    let lost: u64 =
        told["gaps"].as_array().into_iter().flatten().filter_map(|gap| gap["lost"].as_u64()).sum();
    check!(lost > 0 && kept > 5_000, "{kept} kept, {lost} lost of {FILES}");
    check_eq!(kept + lost, FILES as u64, "kept and lost, together");
    let zone = ctx.zone.clone();
    ctx.metrics_until("the gap in the metrics", |metrics| {
        metrics.sum("holdfast_manifest_lost_total", &[("zone", &zone)]) == lost as f64
    })?;
    let shown = manifest(&ctx.zone, ["--tenant", "customer"])?.ok()?;
    check!(
        shown.stdout.contains(&format!("GAP: {lost} ops are missing")),
        "{}",
        shown.describe("should show the gap")
    );
    let listed = manifest(&ctx.zone, ["--tenant", "customer", "--from0"])?.ok()?;
    check!(listed.stderr.contains("GAP"), "{}", listed.describe("should say it on standard error"));
    // It is told once, also by the next agent.
    ctx.lab.kill()?;
    ctx.lab.start(ctx.trace)?;
    let again = document(&manifest(&ctx.zone, ["--json"])?.ok()?)?;
    check_eq!(again["gaps"], told["gaps"], "gaps after another start");
    Ok(())
}

/// The records of segments that somebody has removed are in the ring still, and stay out of the
/// log.
fn removed(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(1, 60, 10_000)?;
    for file in 0..50 {
        fs::remove_file(tree.file(0, file))?;
    }
    of(&ctx.zone, OsStr::new("customer-000"))?;
    ctx.lab.stop()?;
    fs::remove_dir_all(Path::new(STATE_DIR).join("manifest"))?;
    ctx.lab.start(ctx.trace)?;
    for file in 50..60 {
        fs::remove_file(tree.file(0, file))?;
    }
    let known = of(&ctx.zone, OsStr::new("customer-000"))?;
    check_eq!(records(&known)?.len(), 10, "records");
    Ok(())
}

/// A file goes to and fro between two directories while a thread links to it: what that thread
/// deletes next is listed where it was.
fn links_and_moves(ctx: &mut Ctx<'_>) -> Result<()> {
    const FILES: u64 = 1_500;
    let tree = ctx.guarded(3, FILES, 1_000_000)?;
    let [here, there, beyond] = [0, 1, 2].map(|n| tree.tenant(n));
    let before = snapshot(&here)?;
    let [file, moved, link] = [here.join("moved"), there.join("moved"), beyond.join("link")];
    fs::write(&file, "it moves")?;
    let (end, mut links) = (AtomicBool::new(false), 0);
    std::thread::scope(|scope| -> Result<()> {
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                let _ = fs::rename(&file, &moved).and_then(|()| fs::rename(&moved, &file));
            }
        });
        let all = (0..FILES).try_for_each(|n| {
            // From here on the thread has to tell the other directory again.
            fs::remove_file(tree.file(2, n))?;
            if fs::hard_link(&file, &link).is_ok() {
                links += 1;
                fs::remove_file(&link)?;
            }
            fs::remove_file(tree.file(0, n)).map_err(Into::into)
        });
        end.store(true, Ordering::Relaxed);
        all
    })?;
    check!(links > 100, "{links} links");
    let document = of(&ctx.zone, OsStr::new("customer-000"))?;
    check_eq!(matches(&document, &before, &snapshot(&here)?)?, FILES as usize, "files");
    Ok(())
}
