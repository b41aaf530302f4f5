//! FirstServer, 20 June 2012, with a proper allowance: the script's targets are this host's, and on
//! any other host it stops.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use holdfast_abi::Per;

use super::{only_lost, snapshot};
use crate::harness::agent::STATE_DIR;
use crate::harness::allowance::{Draft, Grant, host_name, nothing_open, refused_for};
use crate::harness::signing::Signing;
use crate::harness::{Budget, Ctx, Tool, Tree, Zone, check, check_eq, cli};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] =
    &[Scenario::once("firstserver_allowance_covers_host_a_alone", firstserver)];

const TENANTS: u64 = 12;
const FILES: u64 = 12;
const CACHED: u64 = 15;
/// Files in an hour, for each unit.
const BUDGET: u64 = 20;
/// Deletes what the vulnerable version left behind, of every customer.
const SCRIPT: &str =
    "#!/bin/bash\nset -e\nfor customer in \"$1\"/customer-*; do rm -r \"$customer\"/cache; done\n";

/// The host's name, until it is dropped.
struct Named {
    before: String,
}

impl Named {
    fn new(name: &str) -> Result<Self> {
        let before = host_name()?;
        Tool::new("hostname").arg(name).ok()?;
        Ok(Self { before })
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        Tool::new("hostname").arg(&self.before).ok().ok();
    }
}

/// The agent of a host that has never seen an allowance.
fn another_host(ctx: &mut Ctx<'_>, zones: &[Zone], signing: &Signing) -> Result<()> {
    ctx.lab.finish()?;
    for entry in fs::read_dir(STATE_DIR)? {
        let path = entry?.path();
        if path.is_dir() { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
    }
    ctx.guard_signed(zones, signing)
}

fn fill(customers: &Tree) -> Result<u64> {
    let mut bytes = 0;
    for tenant in 0..TENANTS {
        let cache = customers.tenant(tenant).join("cache");
        fs::create_dir_all(&cache)?;
        for n in 0..CACHED {
            let text = format!("customer {tenant}, cached {n}\n");
            fs::write(cache.join(format!("{n}")), &text)?;
            bytes += text.len() as u64;
        }
    }
    Ok(bytes)
}

fn is_cache(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "cache")
}

fn firstserver(ctx: &mut Ctx<'_>) -> Result<()> {
    let customers = Tree::make(&ctx.base.join("customers"), TENANTS, FILES)?;
    let backups = Tree::make(&ctx.base.join("backups"), 6, 10)?;
    let bytes = fill(&customers)?;
    let script = ctx.papers()?.join("update.sh");
    fs::write(&script, SCRIPT)?;
    let budget = || Budget::files(BUDGET).per(Per::Unit);
    let zones = [
        ctx.new_zone(&customers.root).budget(budget()),
        Zone::new(&format!("{}-backup", ctx.zone), &backups.root).backup().budget(budget()),
    ];
    let signing = Signing::usual()?;
    let before = [snapshot(&customers.root)?, snapshot(&backups.root)?];

    // Host A, which the document names.
    let name = Named::new("host-a")?;
    another_host(ctx, &zones, &signing)?;
    let caches = customers.root.join("customer-*/cache");
    let grant = Grant {
        bytes,
        tenants: TENANTS,
        ..Grant::removals(&ctx.zone, &[&caches], TENANTS * (CACHED + 1))
    };
    let doc = Draft::new(ctx, "update", vec![grant])?.signed(ctx)?;
    let update: Vec<PathBuf> = vec!["bash".into(), script, customers.root.clone()];
    let unit = ctx.unit("maintenance")?;
    let done = doc.run(&update).unit(&unit).run()?.ok()?;
    check!(
        done.stdout.is_empty(),
        "{}",
        done.describe("should leave standard output to the script")
    );
    only_lost(&customers.root, &before[0], is_cache)?;
    only_lost(&backups.root, &before[1], |_| false)?;
    let report = doc.becomes("closed", Some("finished"))?;
    for (key, spent) in [("files", TENANTS * (CACHED + 1)), ("bytes", bytes), ("tenants", TENANTS)]
    {
        check_eq!(cli::number(&report["grants"][0][key], "spent")?, spent, "{key} spent");
        check_eq!(cli::number(&report["grants"][0][key], "left")?, 0, "{key} left");
    }
    ctx.nothing_denied()?;
    nothing_open(ctx)?;
    for kind in ["allowance_submit", "allowance_activate", "allowance_close"] {
        let record = doc.audited(kind)?;
        check_eq!(cli::text(&record, "digest"), cli::text(&report, "digest"), "digest in {record}");
        let signed = record.to_string().contains("alice@example.com");
        // Who really signed is not known before it is looked at.
        check!(signed || kind == "allowance_submit", "{kind} should name who signed: {record}");
    }
    // The budgets have not noticed: all of them is left, to the file.
    let two = [customers.tenant(0), customers.tenant(1)];
    Tool::new("rm").arg("-rf").args(two).unit(&unit).run()?.refused()?;
    customers.lost_exactly(BUDGET)?;
    drop(name);

    // Host B, which is a copy of it but for the name, and was never a target.
    let _name = Named::new("host-b")?;
    ctx.lab.finish()?;
    fs::remove_dir_all(&customers.root)?;
    let customers = Tree::make(&customers.root, TENANTS, FILES)?;
    fill(&customers)?;
    another_host(ctx, &zones, &signing)?;
    let said = refused_for(ctx, "other_host", || doc.run(&update).unit(&unit).run()?.code(125))?;
    check!(said.contains("host-a") && said.contains("host-b"), "it should name both hosts: {said}");
    refused_for(ctx, "other_host", || doc.submit())?;
    only_lost(&customers.root, &before[0], |_| false)?;
    let log = ctx.lab.log()?;
    let critical =
        log.lines().rfind(|line| line.contains("CRITICAL")).context("nothing critical")?;
    check!(critical.contains("ERROR") && critical.contains(&doc.id), "the log's line: {critical}");
    let record = doc.audited("allowance_refuse")?.to_string();
    check!(record.contains("alice@example.com"), "the refusal should name who signed: {record}");
    // And without it.
    let stopped = Tool::new("bash").args(&update[1..]).unit(&unit).run()?.refused()?;
    check!(!stopped.succeeded(), "{}", stopped.describe("should have been stopped"));
    let lost = before[0].len() - snapshot(&customers.root)?.len();
    check_eq!(lost as u64, BUDGET, "files and directories gone on host B");
    only_lost(&backups.root, &before[1], |_| false)
}
