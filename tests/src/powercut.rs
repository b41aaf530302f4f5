//! What a machine does whose power fails at any moment: it releases and allows, and says each time
//! what was acknowledged. What the log has is compared out there, where no power fails; and here
//! with what is really gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::harness::agent::STATE_DIR;
use crate::harness::allowance::{Draft, Grant};
use crate::harness::signing::Signing;
use crate::harness::{Budget, Ctx, Lab, Tool, Tree, check, check_eq, cli, hold};
use crate::runner::{Fs, boot_number, keep_state};
use crate::scenarios::release;

/// Files of the tenant whose removal is held and released.
const FILES: u64 = 3000;
/// Files that nobody has to allow.
const BUDGET: u64 = 3;
/// Tenants that are removed under an allowance each, and their files.
const TENANTS: u64 = 20;
const EACH: u64 = 10;

/// Ends only if the power fails no more.
pub(crate) fn run(cuts: u32) -> Result<()> {
    keep_state()?;
    let mut lab = Lab::default();
    if boot_number() > 1 {
        look(&mut lab)?;
    }
    if boot_number() > cuts {
        return lab.finish();
    }
    let title = format!("cut-{}", boot_number());
    let mut ctx = Ctx::new(&mut lab, Fs::Ext4, &title, false)?;
    let tree = held(&ctx.base);
    Tree::make(&tree.root, 1, FILES)?;
    let theirs = theirs(&ctx.base);
    Tree::make(&theirs.root, TENANTS, EACH)?;
    // The trees are there before anything of them goes.
    rustix::fs::sync();
    let zone = ctx.new_zone(&ctx.base.join("zone")).hold().budget(Budget::files(BUDGET));
    ctx.guard_signed(&[zone], &Signing::usual()?)?;
    let unit = ctx.unit("rm")?;
    let rm = hold::rm(&tree, 0..1, &unit).start()?;
    let id = ctx.held_at(&tree, rm.pid(), BUDGET)?.id;
    thread::spawn(move || {
        // It ends with the power.
        loop {
            match release(id) {
                Ok(true) => println!("acknowledged release"),
                Ok(false) => thread::sleep(Duration::from_millis(5)),
                Err(error) => println!("no answer to a release: {error:#}"),
            }
        }
    });
    for n in 0..TENANTS {
        allowed(&ctx, &theirs, n)?;
    }
    // More than enough for any moment at which it can fail.
    thread::sleep(Duration::from_secs(60));
    bail!("the power did not fail")
}

/// Removes a tenant under an allowance of its own.
fn allowed(ctx: &Ctx<'_>, tree: &Tree, n: u64) -> Result<()> {
    let grant = Grant::removals(&ctx.zone, &[&tree.tenant(n)], 1000);
    let draft =
        Draft { user: Some("root".to_owned()), ..Draft::new(ctx, &n.to_string(), vec![grant])? };
    let doc = draft.signed(ctx)?;
    doc.submit()?.ok()?;
    println!("acknowledged allowance");
    Tool::new("rm").arg("-rf").arg(tree.tenant(n)).ok()?;
    // So that it is gone after the power has failed, too.
    rustix::fs::sync();
    doc.revoke().map(drop)
}

/// What the power left behind: the log is sound, and has all that let something go.
fn look(lab: &mut Lab) -> Result<()> {
    lab.ensure(false)?;
    let dir = Path::new(STATE_DIR).join("audit");
    let key = cli::holdfast_audit(["key"])?.ok()?.stdout.trim().to_owned();
    let (outcome, summary) = cli::verify(&dir, &["--key", &key])?;
    check_eq!(outcome.code, Some(0), "exit status of `holdfast audit verify`: {summary}");
    let records = cli::audit().context("the log")?;
    let of =
        |kind: &str| records.iter().filter(|r| cli::text(r, "type") == kind).collect::<Vec<_>>();
    let (releases, allowances) = (of("release"), of("allowance_activate"));
    let mut released: BTreeMap<&str, u64> = BTreeMap::new();
    for record in &releases {
        *released.entry(cli::text(record, "zone")).or_default() += 1;
    }
    let allowed: BTreeSet<&str> = allowances.iter().map(|record| cli::text(record, "id")).collect();
    for base in bases()? {
        gone_on_record(&base, &released, &allowed)?;
        fs::remove_dir_all(&base)?;
    }
    println!("recorded releases {} allowances {}", releases.len(), allowances.len());
    Ok(())
}

/// Nothing of a tree is gone that no record let go.
fn gone_on_record(
    base: &Path,
    released: &BTreeMap<&str, u64>,
    allowed: &BTreeSet<&str>,
) -> Result<()> {
    let zone = base.file_name().and_then(|name| name.to_str()).context("a zone has a name")?;
    let (gone, released) = (gone(&held(base), 0), released.get(zone).copied().unwrap_or(0));
    check!(
        gone <= BUDGET + released,
        "{gone} files are gone in zone {zone}, and {released} releases of one are on record"
    );
    let mut under = 0;
    for n in 0..TENANTS {
        let gone = self::gone(&theirs(base), n);
        let id = format!("{zone}-{n}");
        check!(
            gone == 0 || allowed.contains(id.as_str()),
            "{gone} files of tenant {n} are gone in zone {zone}, and {id} was never activated"
        );
        under += gone;
    }
    println!("zone {zone}: {gone} files gone over {released} releases; {under} under allowances");
    Ok(())
}

/// What is held and released, file by file.
fn held(base: &Path) -> Tree {
    Tree { root: base.join("zone/held"), tenants: 1, files: FILES }
}

/// What is removed under allowances.
fn theirs(base: &Path) -> Tree {
    Tree { root: base.join("zone/allowed"), tenants: TENANTS, files: EACH }
}

/// How many files of a tenant are gone.
fn gone(tree: &Tree, tenant: u64) -> u64 {
    (0..tree.files).filter(|file| !tree.file(tenant, *file).exists()).count() as u64
}

/// Directories of former boots.
fn bases() -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(Fs::Ext4.mount())?.collect::<std::io::Result<Vec<_>>>()?;
    let is_one = |name: &Path| name.to_string_lossy().contains("-cut-");
    Ok(entries.into_iter().map(|entry| entry.path()).filter(|path| is_one(path)).collect())
}
