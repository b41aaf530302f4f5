//! The power fails at many moments while releases are recorded: every release that was acknowledged
//! before is in the log that the disk holds, and the log is sound once it was opened again.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{key, log_dir};
use crate::harness::agent::{RUN_DIR, STATE_DIR};
use crate::harness::device::{Disk, after_a_cut, recover};
use crate::harness::{Ctx, Tool, check, check_eq, cli, hold, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] =
    &[Scenario::once("audit_log_keeps_every_acknowledged_release", cuts).heavy()];

/// Room for every release.
const DISK: u64 = 24 << 20;
const FILES: u64 = 4000;

/// Also where the power fails.
fn cuts(ctx: &mut Ctx<'_>) -> Result<()> {
    ctx.lab.ensure(ctx.trace)?;
    ctx.lab.stop()?;
    let disk = Disk::mount("hf-audit", Path::new("/tmp/audit.img"), DISK, &log_dir())?;
    // Small ones, so that power fails while one follows another, too.
    ctx.lab.audit_segment(Some("48KiB"));
    let outcome = ctx.lab.start(ctx.trace).and_then(|()| while_releasing(ctx, &disk));
    ctx.lab.audit_segment(None);
    let stopped = ctx.lab.stop();
    disk.remove()?;
    outcome.and(stopped)?;
    ctx.lab.start(ctx.trace)
}

fn while_releasing(ctx: &mut Ctx<'_>, disk: &Disk) -> Result<()> {
    let tree = ctx.holding(1, FILES, 3)?;
    let unit = ctx.unit("rm")?;
    let rm = hold::rm(&tree, 0..1, &unit).start()?;
    let id = ctx.held_at(&tree, rm.pid(), 3)?.id;
    let releases = Arc::new(Releases::default());
    let releaser = {
        let releases = Arc::clone(&releases);
        std::thread::spawn(move || -> Result<()> {
            while !releases.over.load(Ordering::Relaxed) {
                if releases.paused.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(5));
                } else if release(id)? {
                    releases.acknowledged.fetch_add(1, Ordering::SeqCst);
                }
            }
            Ok(())
        })
    };
    let outcome = (|| {
        until("the first releases", Duration::from_secs(60), || {
            Ok((releases.acknowledged.load(Ordering::SeqCst) > 3).then_some(()))
        })?;
        all_cuts(ctx, disk, &releases)
    })();
    releases.over.store(true, Ordering::Relaxed);
    let released = releaser.join().ok().context("the releaser panicked")?;
    for hold in ctx.holds()? {
        hold.kill()?;
    }
    rm.wait()?;
    outcome.and(released)
}

/// What the releaser does, and has done.
#[derive(Debug, Default)]
struct Releases {
    acknowledged: AtomicU64,
    /// While a state of the disk is looked at, so that the log does not grow without end.
    paused: AtomicBool,
    over: AtomicBool,
}

fn all_cuts(ctx: &mut Ctx<'_>, disk: &Disk, releases: &Releases) -> Result<()> {
    let (mut at, mut torn, mut segments) = (Vec::new(), 0, 0);
    let mut random = u64::from(std::process::id()) | 1;
    let cuts = ctx.usual_or_nightly(10, 50);
    for n in 0..cuts {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        releases.paused.store(false, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(30 + random % 200));
        let before = releases.acknowledged.load(Ordering::SeqCst);
        let image = disk.cut()?;
        releases.paused.store(true, Ordering::Relaxed);
        let found =
            look(&image, before).with_context(|| format!("cut {n}, {before} acknowledged"))?;
        at.push(before);
        torn += u64::from(found.0);
        segments = found.1;
    }
    let went_on = at.windows(2).filter(|pair| pair[0] < pair[1]).count();
    check!(went_on > cuts * 3 / 4, "releases went on between {went_on} of the cuts only: {at:?}");
    let last = at.last().copied().unwrap_or_default();
    ctx.lab.note(format!(
        "{cuts} cuts over {last} releases in {segments} segments; {torn} had a torn end"
    ));
    Ok(())
}

/// What a machine finds that starts with such a disk: whether the log's end was torn, and how many
/// segments there are.
fn look(image: &[u8], acknowledged: u64) -> Result<(bool, u64)> {
    let state = Path::new("/tmp/cut");
    let dir = state.join("audit");
    fs::create_dir_all(&dir)?;
    after_a_cut(image, Path::new("/tmp/cut.img"), &dir, || {
        fs::copy(Path::new(STATE_DIR).join("audit.key"), state.join("audit.key"))?;
        Tool::new("chmod").arg("600").arg(state.join("audit.key")).ok()?;
        recover(state, Path::new("/tmp/no-pins"))?;
        let (outcome, summary) = cli::verify(&dir, &["--key", &key()?])?;
        check_eq!(outcome.code, Some(0), "exit status of `holdfast audit verify`: {summary}");
        let records = cli::audit_in(&dir)?;
        let of =
            |kind: &str| records.iter().filter(|r| cli::text(r, "type") == kind).count() as u64;
        let released = of("release");
        check!(
            released >= acknowledged,
            "{released} releases recorded, {acknowledged} acknowledged"
        );
        Ok((of("torn") > 0, summary["segments"].as_u64().unwrap_or_default()))
    })
}

/// Releases one file of a hold; whether that was acknowledged.
pub(crate) fn release(id: u64) -> Result<bool> {
    let mut socket = UnixStream::connect(Path::new(RUN_DIR).join("control.sock"))?;
    let body = "{\"files\":1}";
    write!(
        socket,
        "POST /v1/holds/{id}/release HTTP/1.1\r\nHost: holdfast\r\n\
         Content-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let is_ok = head.starts_with("HTTP/1.1 200");
    check!(!is_ok || serde_json::from_str::<Value>(body).is_ok(), "no answer: {answer}");
    Ok(is_ok)
}
