//! Ordinary work under the budgets of the shipped policy, all zones enforcing: not one op may be
//! denied.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use toml::{Table, Value};

use crate::harness::tree::{count, make_files};
use crate::harness::{Ctx, Tool, check, check_eq, cli, sh};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::each("git_clone_and_gc", |ctx| undisturbed(ctx, git)).shared(),
    Scenario::each("atomic_replaces_by_editors", |ctx| undisturbed(ctx, editors)),
    Scenario::each("logrotate", |ctx| undisturbed(ctx, logrotate)),
    Scenario::each("dpkg_install_upgrade_and_remove", |ctx| undisturbed(ctx, dpkg)).shared(),
    Scenario::each("session_clean_up_by_its_owner", |ctx| undisturbed(ctx, sessions)),
    Scenario::each("restoring_and_syncing_a_backup", |ctx| undisturbed(ctx, backup)),
];

/// All of it, in a directory that is one tenant.
pub(super) fn everything(ctx: &Ctx<'_>, tenant: &Path) -> Result<()> {
    for (what, work) in [
        ("git", git as fn(&Ctx<'_>, &Path) -> Result<()>),
        ("editors", editors),
        ("logrotate", logrotate),
        ("dpkg", dpkg),
        ("sessions", sessions),
        ("rsync", backup),
    ] {
        work(ctx, tenant).with_context(|| format!("{what} in {}", tenant.display()))?;
    }
    Ok(())
}

/// The example policy that comes with the package.
pub(crate) const SHIPPED: &str = include_str!("../../../agent/dist/policy.toml");

/// Guards a directory for each zone of the shipped policy, with that zone's own budgets, enforcing.
pub(super) fn shipped(ctx: &mut Ctx<'_>) -> Result<Vec<PathBuf>> {
    let mut policy: Table = SHIPPED.parse()?;
    let zones = policy.get_mut("zone").and_then(Value::as_array_mut).context("no zones")?;
    let mut roots = Vec::new();
    for (n, zone) in zones.iter_mut().enumerate() {
        let zone = zone.as_table_mut().context("a zone that is no table")?;
        let root = ctx.base.join(format!("zone-{n}"));
        fs::create_dir_all(root.join("tenant"))?;
        zone.insert("name".into(), format!("{}-{n}", ctx.zone).into());
        zone.insert("paths".into(), vec![root.display().to_string()].into());
        zone.insert("mode".into(), "enforce".into());
        if holds(zone) {
            // What should not be held is denied soon instead of waiting for somebody.
            zone.insert("hold_timeout".into(), "10s".into());
        }
        roots.push(root.join("tenant"));
    }
    ctx.lab.ensure(ctx.trace)?;
    ctx.lab.try_policy(&toml::to_string(&policy)?)?.ok()?;
    Ok(roots)
}

/// Whether a zone of a policy pauses what is over budget until somebody decides.
fn holds(zone: &Table) -> bool {
    let word = |key: &str| zone.get(key).and_then(Value::as_str);
    word("on_trip").map_or(word("role") == Some("primary"), |on_trip| on_trip == "hold")
}

/// Does that work in every zone and insists that nothing was denied or held, and nothing would have
/// been.
fn undisturbed(ctx: &mut Ctx<'_>, work: impl Fn(&Ctx<'_>, &Path) -> Result<()>) -> Result<()> {
    for (n, root) in shipped(ctx)?.iter().enumerate() {
        work(ctx, root).with_context(|| format!("in zone {n} of the shipped policy"))?;
        let (zone, metrics) = (format!("{}-{n}", ctx.zone), ctx.lab.metrics()?);
        check_eq!(metrics.ops(&zone, "deny"), 0.0, "ops denied");
        for (verdict, what) in
            [("hold", "held"), ("throttle", "throttled"), ("observe", "over budget")]
        {
            check_eq!(metrics.ops(&zone, verdict), 0.0, "ops {what}");
        }
        check!(metrics.ops(&zone, "allow") > 0.0, "the work should have destroyed something");
    }
    check!(ctx.holds()?.is_empty(), "nothing should be held: {:?}", ctx.holds()?);
    check_eq!(cli::status()?.0.code, Some(0), "exit status of `holdfast status`");
    Ok(())
}

fn git(ctx: &Ctx<'_>, root: &Path) -> Result<()> {
    let origin = ctx.base.join("origin");
    let make = "set -e; rm -rf \"$1\"; git init -q \"$1\"; cd \"$1\"; \
        git config user.name x; git config user.email x@example.org; git config gc.auto 0; \
        for n in $(seq 6); do for f in $(seq 6); do echo $n $f > file-$f; done; \
        git add .; git commit -qm \"change $n\"; done";
    sh(make, [&origin])?.ok()?;
    // Loose objects are what gc removes: fetch them unpacked.
    let work = "set -e; cd \"$2\"; git -c transfer.unpackLimit=10000 clone -q --no-local \
        \"$1\" clone; cd clone; git config user.name x; git config user.email x@example.org; \
        echo more > file-1; git commit -qam more; git checkout -q -b topic HEAD~3; \
        git checkout -q -; git branch -q -D topic; git gc -q --prune=now; git fsck";
    sh(work, [&origin, &root.to_owned()])?.ok().map(drop)
}

fn editors(_: &Ctx<'_>, root: &Path) -> Result<()> {
    let file = root.join("wp-config.php");
    fs::write(&file, "define('DB_NAME', 'old');\n".repeat(20))?;
    for n in 0..4 {
        let vim = ["-es", "-u", "NONE", "-c", &format!("%s/DB_NAME/DB_NAME{n}/"), "-c", "wq"];
        Tool::new("vim.tiny").args(vim).arg(&file).ok()?;
        Tool::new("sed").args(["-i", "s/old/new/"]).arg(&file).ok()?;
        let fresh = root.join("wp-config.php.new");
        fs::write(&fresh, "define('DB_NAME', 'old');\n")?;
        fs::rename(&fresh, &file)?;
    }
    Ok(())
}

fn logrotate(ctx: &Ctx<'_>, root: &Path) -> Result<()> {
    let logs = root.join("logs");
    fs::create_dir_all(&logs)?;
    for name in ["access", "error", "mail"] {
        fs::write(logs.join(format!("{name}.log")), "a line of a log\n".repeat(500))?;
    }
    let conf = ctx.base.join("logrotate.conf");
    let text = format!(
        "{}/*.log {{\n rotate 3\n compress\n create\n missingok\n su root root\n}}\n",
        logs.display()
    );
    fs::write(&conf, text)?;
    for n in 0..5 {
        fs::write(logs.join("access.log"), format!("run {n}\n").repeat(300))?;
        Tool::new("logrotate")
            .args(["--force", "--state"])
            .args([ctx.base.join("logrotate.state"), conf.clone()])
            .ok()?;
    }
    check!(logs.join("access.log.3.gz").exists(), "logrotate did rotate");
    Ok(())
}

/// A package of an application with forty files below the zone: installed, upgraded, purged.
/// Another one has the directories above it too, as packages of a distribution do.
fn dpkg(ctx: &Ctx<'_>, root: &Path) -> Result<()> {
    let place = root.parent().and_then(Path::file_name).unwrap_or_default();
    let name = format!("{}-{}", ctx.zone, place.display());
    install(ctx, root, &format!("{name}-base"), "1.0", "base", 1)?;
    for version in ["1.0", "2.0"] {
        install(ctx, root, &name, version, "app", 40)?;
        check_eq!(count(&root.join("app"))?.files, 40, "files installed by {version}");
    }
    Tool::new("dpkg").args(["--purge", &name]).ok()?;
    check!(!root.join("app").exists(), "the package should be gone");
    check!(root.join("base").exists(), "and the other one not");
    Ok(())
}

/// Builds a package and installs it.
fn install(
    ctx: &Ctx<'_>,
    root: &Path,
    name: &str,
    version: &str,
    dir: &str,
    files: u64,
) -> Result<()> {
    let build = ctx.base.join(format!("build-{dir}-{version}"));
    make_files(&build.join(root.strip_prefix("/")?).join(dir), "module", files, 400)?;
    fs::create_dir_all(build.join("DEBIAN"))?;
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\n\
         Maintainer: X <x@example.org>\nDescription: example\n"
    );
    fs::write(build.join("DEBIAN/control"), control)?;
    let package = ctx.base.join(format!("{name}-{version}.deb"));
    Tool::new("dpkg-deb").arg("--build").args([&build, &package]).ok()?;
    Tool::new("dpkg").arg("-i").arg(&package).ok()?;
    fs::remove_dir_all(&build)?;
    Ok(())
}

/// What PHP's session clean-up does: two hundred files at once, by the user they belong to.
fn sessions(_: &Ctx<'_>, root: &Path) -> Result<()> {
    const WWW_DATA: u32 = 33;
    let dir = root.join("sessions");
    for round in 0..3 {
        for path in make_files(&dir, &format!("sess-{round}"), 200, 300)? {
            chown(path, Some(WWW_DATA), Some(WWW_DATA))?;
        }
        chown(&dir, Some(WWW_DATA), Some(WWW_DATA))?;
        let find = Tool::new("find").arg(&dir).args(["-type", "f", "-name", "sess-*", "-delete"]);
        find.uid(WWW_DATA).cwd(Path::new("/")).ok()?;
    }
    check_eq!(count(&dir)?.files, 0, "sessions left");
    Ok(())
}

/// rsync writes beside each file and renames over it; a few files went away at the source.
pub(super) fn backup(ctx: &Ctx<'_>, root: &Path) -> Result<()> {
    let source = ctx.base.join("source");
    let target = root.join("mirror");
    let sync = || {
        let dirs = [format!("{}/", source.display()), format!("{}/", target.display())];
        Tool::new("rsync").args(["-a", "--delete", "--checksum"]).args(dirs).ok()
    };
    make_files(&source, "file", 60, 500)?;
    sync()?;
    for n in 0..10 {
        fs::write(source.join(format!("file-{n:04}")), "changed\n")?;
        fs::remove_file(source.join(format!("file-{:04}", n + 50)))?;
    }
    sync()?;
    check_eq!(count(&target)?.files, 50, "files in the mirror");
    Ok(())
}
