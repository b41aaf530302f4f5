//! What the manifest takes of the disk.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::{document, manifest, of, records};
use crate::harness::agent::STATE_DIR;
use crate::harness::{Budget, Ctx, check, check_eq, cli, policy, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::once("deletion_log_keeps_its_size_bound", bound),
    Scenario::once("manifest_is_for_root_alone", private),
];

const FILES: u64 = 20_000;

fn on_disk(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        // One may be summarised at this moment.
        sum += entry?.metadata().map_or(0, |metadata| metadata.len());
    }
    Ok(sum)
}

/// It says what it summarised.
fn bound(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(2, FILES / 2)?;
    let zones = [ctx.new_zone(&tree.root).budget(Budget::files(1_000_000))];
    let text = policy::render(&zones) + "[manifest]\nmax_bytes = \"1MiB\"\n";
    ctx.guard_text(&zones, &text)?;
    let dir = Path::new(STATE_DIR).join("manifest");
    // What other scenarios left is more than that: it has to make room at once.
    manifest(&ctx.zone, ["--json"])?.ok()?;
    for (n, file) in tree.paths().enumerate() {
        fs::remove_file(file)?;
        if n % 500 == 0 {
            let bytes = on_disk(&dir)?;
            check!(bytes <= 1 << 20, "{bytes} bytes on the disk after {n} removals");
        }
    }
    let told = document(&manifest(&ctx.zone, ["--json"])?.ok()?)?;
    let bytes = on_disk(&dir)?;
    check!((1 << 19..=1 << 20).contains(&bytes), "{bytes} bytes on the disk");
    let sum = |what: &str| -> u64 {
        told[what].as_array().into_iter().flatten().filter_map(|row| row["records"].as_u64()).sum()
    };
    let (kept, summarised) = (sum("tenants"), sum("summarised"));
    check!(kept > 0 && summarised > 0, "{kept} kept, {summarised} summarised");
    check_eq!(kept + summarised, FILES, "kept and summarised, together");
    let first = of(&ctx.zone, OsStr::new("customer-000"))?;
    check!(
        records(&first)?.len() < (FILES / 2) as usize,
        "the oldest tenant has all of its records"
    );
    let shown = manifest(&ctx.zone, ["--tenant", "customer-000"])?.ok()?;
    check!(
        shown.stdout.contains("SUMMARISED"),
        "{}",
        shown.describe("should say what is only a sum")
    );
    let listed = manifest(&ctx.zone, ["--tenant", "customer-000", "--files-from"])?.ok()?;
    check!(
        listed.stderr.contains("SUMMARISED"),
        "{}",
        listed.describe("should say it on standard error")
    );
    let audited = until("the audit log has it", Duration::from_secs(60), || {
        let records = cli::audit()?;
        let count =
            |kind: &str| records.iter().filter(|record| cli::text(record, "type") == kind).count();
        Ok(Some((count("manifest_seal"), count("manifest_summarise")))
            .filter(|(seals, sums)| *seals > 0 && *sums > 0))
    })?;
    check!(audited.0 >= audited.1, "more was summarised than was sealed: {audited:?}");
    ctx.metrics_until("bytes and age in the metrics", |metrics| {
        let bytes = metrics.sum("holdfast_manifest_bytes", &[]);
        bytes > 0.0
            && bytes <= f64::from(1 << 20)
            && metrics.sum("holdfast_manifest_oldest_timestamp_seconds", &[]) > 0.0
            && metrics.sum("holdfast_manifest_records_total", &[]) > 0.0
    })?;
    cli::holdfast(["manifest", "verify"])?.ok().map(drop)
}

fn private(ctx: &mut Ctx<'_>) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let tree = ctx.guarded(1, 3, 10)?;
    fs::remove_file(tree.file(0, 0))?;
    of(&ctx.zone, OsStr::new("customer-000"))?;
    let dir = Path::new(STATE_DIR).join("manifest");
    check_eq!(fs::metadata(&dir)?.permissions().mode() & 0o777, 0o700, "mode of the directory");
    for entry in fs::read_dir(&dir)? {
        let entry = entry?;
        let mode = entry.metadata()?.permissions().mode() & 0o777;
        check_eq!(mode, 0o600, "mode of {:?}", entry.file_name());
    }
    let binary = crate::harness::agent::BINARY;
    let refused = crate::harness::Tool::new(binary).arg("manifest").uid(1000).run()?;
    check!(
        !refused.succeeded() && refused.stdout.is_empty(),
        "{}",
        refused.describe("should refuse a user")
    );
    check!(refused.stderr.contains("root"), "{}", refused.describe("should say who may"));
    Ok(())
}
