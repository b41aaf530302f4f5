//! A mass deletion that was let through, and bringing one customer back.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

use super::{bytes, document, manifest, matches, of, records, snapshot};
use crate::harness::agent::BINARY;
use crate::harness::allowance::{Draft, Grant};
use crate::harness::break_glass::{self, Glass};
use crate::harness::signing::Signing;
use crate::harness::{Budget, Ctx, Tool, Zone, check, check_eq, cli, policy, sh};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::each("deletion_log_restores_one_tenant", mass_deletion),
    Scenario::once("deletion_log_names_actor_and_allowance", under_an_allowance),
    Scenario::once("deletion_log_names_break_glass", under_a_break_glass),
    Scenario::once("deletion_log_lists_moves_out", moves),
    Scenario::once("deletion_log_marks_too_deep_paths", too_deep),
    Scenario::once("deletion_log_finds_tenants_by_level", depths),
    Scenario::once("policy_turns_deletion_log_off", off),
];

fn tenants() -> [OsString; 3] {
    [b"alice".to_vec(), b"bob & sons".to_vec(), b"c\n\xff#".to_vec()].map(OsString::from_vec)
}

/// Everything a site can have, and what makes names hard.
fn fill(tenant: &Path) -> Result<()> {
    let site = tenant.join("site");
    fs::create_dir_all(site.join("empty"))?;
    for n in 0..24 {
        fs::write(site.join(format!("page {n}.html")), format!("page {n} of {tenant:?}\n"))?;
    }
    for name in
        [&b"new\nline"[..], b"\xfe\xff", b"#comment", b";also", b"-rf", "süß".as_bytes(), b" "]
    {
        fs::write(site.join(OsStr::from_bytes(name)), name)?;
    }
    let deep = (0..40).fold(site.join("deep"), |dir, n| dir.join(format!("level-{n}")));
    fs::create_dir_all(&deep)?;
    fs::write(deep.join("bottom"), "deep down\n")?;
    std::os::unix::fs::symlink("nowhere", site.join("link"))?;
    fs::write(site.join("both-1"), "two names, and both go\n")?;
    fs::hard_link(site.join("both-1"), site.join("both-2"))?;
    let keep = tenant.join("keep");
    fs::create_dir_all(&keep)?;
    for name in ["stays", "cut", "replaced", "first"] {
        fs::write(keep.join(name), format!("{name} of {tenant:?}, as it was\n"))?;
    }
    fs::hard_link(keep.join("first"), keep.join("second"))?;
    Ok(())
}

/// Eight processes at once remove every site; then what looks like destruction, and is none or is
/// another kind.
fn destroy(root: &Path, tenants: &[OsString]) -> Result<()> {
    let script = "cd \"$1\" && find . -mindepth 2 -path './*/site*' ! -type d -print0 \
                  | xargs -0 -n 5 -P 8 rm -f -- \
                  && find . -depth -mindepth 2 -path './*/site*' -type d -print0 \
                  | xargs -0 rmdir --";
    sh(script, [root])?.ok()?;
    for tenant in tenants {
        let keep = root.join(tenant).join("keep");
        fs::remove_file(keep.join("first"))?;
        File::options().write(true).open(keep.join("cut"))?.set_len(3)?;
        fs::rename(keep.join("new"), keep.join("replaced"))?;
        check!(fs::remove_dir(&keep).is_err(), "it is not empty");
        check!(fs::rename(keep.join("stays"), &keep).is_err(), "a file over a directory");
    }
    Ok(())
}

fn mass_deletion(ctx: &mut Ctx<'_>) -> Result<()> {
    let (root, backup) = (ctx.base.join("customers"), ctx.base.join("copies"));
    let tenants = tenants();
    for tenant in &tenants {
        fill(&root.join(tenant))?;
    }
    Tool::new("cp").arg("-a").arg(&root).arg(&backup).ok()?;
    for tenant in &tenants {
        // Now: one that is made later could get the inode number of something that is gone.
        fs::write(root.join(tenant).join("keep/new"), "another\n")?;
    }
    // Within budget for the first few, over it for the rest.
    ctx.guard(&[ctx.new_zone(&root).observe().budget(Budget::files(7))])?;
    let before: Vec<_> =
        tenants.iter().map(|tenant| snapshot(&root.join(tenant))).collect::<Result<_>>()?;
    destroy(&root, &tenants)?;
    let mut total = 0;
    for (tenant, before) in tenants.iter().zip(&before) {
        let after = snapshot(&root.join(tenant))?;
        let document = of(&ctx.zone, tenant)?;
        let gone = matches(&document, before, &after)?;
        // Its site with 24 pages, seven odd names, 42 directories and a file deep down, a link, a
        // file of two names and an empty directory; and what was replaced.
        check_eq!(gone, 24 + 7 + 42 + 1 + 1 + 1 + 1 + 1, "what {tenant:?} lost");
        let cut: Vec<_> = records(&document)?
            .iter()
            .filter(|record| cli::text(record, "op") == "truncate")
            .collect();
        check_eq!(cut.len(), 1, "truncations of {tenant:?}");
        check_eq!(bytes(&cut[0]["path"])?, b"keep/cut", "the file that was cut");
        check_eq!(cli::number(cut[0], "bytes")?, before[&b"keep/cut"[..]].bytes - 3, "bytes cut");
        check_eq!(records(&document)?.len(), gone + 1, "everything that is listed of {tenant:?}");
        // Other scenarios may have left gaps of other kinds: a new ring, a torn line.
        check!(!document["gaps"].to_string().contains("ring_full"), "a gap: {}", document["gaps"]);
        total += gone + 1;
    }
    let over = |record: &&serde_json::Value| record["over_budget"] == true;
    let observed = records(&of(&ctx.zone, &tenants[0])?)?.iter().filter(over).count();
    check!(observed > 0, "what went over the budget is listed too");
    let all = document(&manifest(&ctx.zone, ["--json"])?.ok()?)?;
    let sums: u64 = all["tenants"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|row| row["records"].as_u64())
        .sum();
    check_eq!(sums, total as u64, "ops of all tenants");
    bring_back(ctx, &root, &backup, &tenants)
}

/// Only the last tenant, whose name is the worst.
fn bring_back(ctx: &Ctx<'_>, root: &Path, backup: &Path, tenants: &[OsString]) -> Result<()> {
    let (whose, others) = (&tenants[2], &tenants[..2]);
    let lost: Vec<_> =
        others.iter().map(|tenant| snapshot(&root.join(tenant))).collect::<Result<_>>()?;
    let newlines = [OsStr::new("--files-from"), OsStr::new("--tenant"), whose];
    let refused = manifest(&ctx.zone, newlines)?.code(3)?;
    check!(refused.stderr.contains("--from0"), "{}", refused.describe("should name --from0"));
    let script = "set -o pipefail; \"$1\" manifest --zone \"$2\" --tenant \"$3\" \
                  --since 1h --from0 \
                  | rsync -a --from0 --files-from=- \"$4/$3/\" \"$5/$3/\"";
    let arguments = [
        BINARY.as_ref(),
        ctx.zone.as_ref(),
        whose.as_os_str(),
        backup.as_os_str(),
        root.as_os_str(),
    ];
    sh(script, arguments)?.ok()?;
    let (names, copies) = (snapshot(&root.join(whose))?, snapshot(&backup.join(whose))?);
    let mut missing = Vec::new();
    for (name, copy) in &copies {
        let shown = String::from_utf8_lossy(name).into_owned();
        let Some(entry) = names.get(name) else {
            missing.push(shown);
            continue;
        };
        check_eq!((entry.is_dir, entry.bytes), (copy.is_dir, copy.bytes), "{shown:?}");
        let path = OsStr::from_bytes(name);
        if backup.join(whose).join(path).symlink_metadata()?.is_file() {
            let read = |base: &Path| fs::read(base.join(whose).join(path));
            check_eq!(read(root)?, read(backup)?, "what is in {shown:?}");
        }
    }
    // Names that went while their file lived on under another are not destroyed: `first`, and
    // whichever of `both` was first.
    let both = missing.pop().filter(|name| name == "site/both-1" || name == "site/both-2");
    check!(both.is_some() && missing == ["keep/first"], "not brought back: {missing:?}, {both:?}");
    let new: Vec<_> = names.keys().filter(|name| !copies.contains_key(*name)).collect();
    check!(new.is_empty(), "what the backup never had: {new:?}");
    for (tenant, lost) in others.iter().zip(lost) {
        check_eq!(snapshot(&root.join(tenant))?, lost, "{tenant:?} is as it was left");
    }
    Ok(())
}

fn under_an_allowance(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(3, 10)?;
    let zones = [ctx.new_zone(&tree.root).budget(Budget::files(2))];
    ctx.guard_signed(&zones, &Signing::usual()?)?;
    let before = snapshot(&tree.tenant(1))?;
    let grant = Grant::removals(&ctx.zone, &[&tree.tenant(1)], 20);
    let doc = Draft::new(ctx, "clean", vec![grant])?.signed(ctx)?;
    let unit = ctx.unit("cleaner")?;
    let command: Vec<PathBuf> =
        vec!["rm".into(), "-rf".into(), tree.file(1, 0), tree.file(1, 1), tree.file(1, 2)];
    doc.run(&command).unit(&unit).run()?.ok()?;
    fs::remove_file(tree.file(0, 0))?;
    let document = of(&ctx.zone, OsStr::new("customer-001"))?;
    check_eq!(matches(&document, &before, &snapshot(&tree.tenant(1))?)?, 3, "files gone");
    for record in records(&document)? {
        check_eq!(cli::text(record, "allowance"), doc.id, "the allowance in {record}");
        check_eq!(bytes(&record["comm"])?, b"rm", "who did it");
        check!(cli::text(record, "unit").contains(&unit.path()), "the unit in {record}");
        check_eq!(cli::text(record, "root"), tree.root.to_string_lossy(), "the root");
        check_eq!(record["uid"].as_u64(), Some(0), "the user");
    }
    let other = of(&ctx.zone, OsStr::new("customer-000"))?;
    check_eq!(records(&other)?.len(), 1, "of the other tenant");
    check!(
        records(&other)?[0]["allowance"].is_null(),
        "no allowance for what a budget let through"
    );
    let absolute = of(&ctx.zone, tree.tenant(1).as_os_str())?;
    check_eq!(absolute["records"], document["records"], "by its absolute path");
    Ok(())
}

fn under_a_break_glass(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(2, 10)?;
    ctx.guard_glass(&[ctx.new_zone(&tree.root).budget(Budget::files(2))])?;
    let codes = break_glass::codes(1)?;
    Glass::new(&ctx.zone).host_wide(&codes[0]).run()?.ok()?;
    fs::remove_file(tree.file(0, 0))?;
    let id = cli::text(&break_glass::status()?["open"], "id").to_owned();
    break_glass::close()?;
    fs::remove_file(tree.file(0, 1))?;
    let document = of(&ctx.zone, OsStr::new("customer-000"))?;
    let under: Vec<_> = records(&document)?.iter().map(|r| r["allowance"].clone()).collect();
    check_eq!(under, [Value::from(id), Value::Null], "what each was done under");
    Ok(())
}

/// A file that leaves, one that goes to another tenant, and a directory that takes all that is in
/// it along.
fn moves(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(2, 6)?;
    let outside = ctx.outside()?;
    fs::create_dir(tree.tenant(0).join("dir"))?;
    fs::write(tree.tenant(0).join("dir/inside"), "goes along")?;
    ctx.guard(&[ctx.new_zone(&tree.root).observe().budget(Budget::files(100))])?;
    fs::rename(tree.file(0, 0), outside.join("out"))?;
    fs::rename(tree.file(0, 1), tree.tenant(1).join("taken"))?;
    fs::rename(tree.tenant(0).join("dir"), outside.join("dir"))?;
    fs::rename(tree.file(0, 2), tree.tenant(0).join("renamed"))?;
    let document = of(&ctx.zone, OsStr::new("customer-000"))?;
    let told: Vec<(&str, &str, u64)> = records(&document)?
        .iter()
        .map(|record| {
            Ok((cli::text(record, "op"), cli::text(record, "kind"), cli::number(record, "files")?))
        })
        .collect::<Result<_>>()?;
    check_eq!(
        told,
        [("move_out", "file", 1), ("move_out", "file", 0), ("detach", "directory", 1)],
        "what left"
    );
    let listed =
        manifest(&ctx.zone, ["--files-from", "--tenant", "customer-000", "--op", "detach"])?
            .ok()?;
    check_eq!(listed.stdout, "./dir\n", "the directory");
    check!(
        listed.stderr.contains("in one stroke"),
        "{}",
        listed.describe("should say that more is missing")
    );
    Ok(())
}

/// Such a path keeps its tenant.
fn too_deep(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    let deep = (0..90).fold(root.join("customer"), |dir, n| dir.join(format!("d{n}")));
    fs::create_dir_all(&deep)?;
    fs::write(deep.join("bottom"), "x")?;
    ctx.enforce(&root, Budget::files(100))?;
    fs::remove_file(deep.join("bottom"))?;
    let document = of(&ctx.zone, OsStr::new("customer"))?;
    let [record] = &records(&document)?[..] else { anyhow::bail!("not one record: {document}") };
    check_eq!(record["cut"], true, "cut in {record}");
    check!(bytes(&record["path"])?.ends_with(b"d88/d89/bottom"), "the end of its path in {record}");
    let listed = manifest(&ctx.zone, ["--from0", "--tenant", "customer"])?.ok()?;
    check!(
        listed.stdout.is_empty() && listed.stderr.contains("NOT LISTED"),
        "{}",
        listed.describe("should say so")
    );
    Ok(())
}

/// Tenants two levels down, and protected paths that are tenants themselves.
fn depths(ctx: &mut Ctx<'_>) -> Result<()> {
    let (two, none) = (ctx.base.join("two"), ctx.base.join("none"));
    for dir in [two.join("a/alice"), two.join("b/alice"), none.clone()] {
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("file"), "x")?;
    }
    fs::write(two.join("a/above"), "x")?;
    let other = format!("{}-0", ctx.zone);
    ctx.guard(&[
        ctx.new_zone(&two).depth(2).observe().budget(Budget::files(100)),
        Zone::new(&other, &none).depth(0).observe().budget(Budget::files(100)),
    ])?;
    for file in
        [two.join("a/alice/file"), two.join("b/alice/file"), two.join("a/above"), none.join("file")]
    {
        fs::remove_file(file)?;
    }
    let paths = |zone: &str, tenant: &OsStr| -> Result<Vec<Vec<u8>>> {
        records(&of(zone, tenant)?)?.iter().map(|record| bytes(&record["path"])).collect()
    };
    check_eq!(
        paths(&ctx.zone, OsStr::new("a/alice"))?,
        [b"file".to_vec()],
        "a tenant two levels down"
    );
    check_eq!(
        paths(&ctx.zone, OsStr::new("alice"))?,
        Vec::<Vec<u8>>::new(),
        "half a name is nobody's"
    );
    check_eq!(paths(&ctx.zone, OsStr::new("."))?, [b"a/above".to_vec()], "above all tenants");
    check_eq!(paths(&other, none.as_os_str())?, [b"file".to_vec()], "a root that is a tenant");
    Ok(())
}

fn off(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 9)?;
    let zones = [ctx.new_zone(&tree.root).budget(Budget::files(100))];
    let text = policy::render(&zones).replace("[[zone]]", "[[zone]]\nmanifest = false");
    ctx.guard_text(&zones, &text)?;
    fs::remove_file(tree.file(0, 0))?;
    let off = of(&ctx.zone, OsStr::new("customer-000"))?;
    check_eq!(records(&off)?.len(), 0, "records while it is off");
    check!(off["notes"].to_string().contains("was not recorded"), "no word of it in {off}");
    ctx.guard(&zones)?;
    fs::remove_file(tree.file(0, 1))?;
    check_eq!(
        records(&of(&ctx.zone, OsStr::new("customer-000"))?)?.len(),
        1,
        "records once it is on"
    );
    Ok(())
}
