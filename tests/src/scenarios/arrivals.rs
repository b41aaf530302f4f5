//! What comes to lie in a zone without an op there, and is deleted at once: nothing of it goes
//! beyond the budget. The agent finds such places too, but only milliseconds later.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::fs::inotify;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsmount, fsopen, mount, mount_bind, mount_bind_recursive,
    mount_move, move_mount, open_tree, unmount,
};

use crate::harness::agent::age_files;
use crate::harness::device::make_ext4;
use crate::harness::tree::{count, make_files};
use crate::harness::{Budget, Ctx, Tool, Zone, check, check_eq, cli, until};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::once("mount_then_delete_is_guarded", mount_then_delete).waits(),
    Scenario::once("disk_then_delete_is_guarded", disk_then_delete),
    Scenario::once("mounts_outside_are_not_charged", mounts_outside),
    Scenario::once("new_match_then_delete_is_guarded", match_then_delete).waits(),
    Scenario::each("new_matches_need_no_agent", matches_without_agent),
    Scenario::once("paths_are_guarded_once_they_exist", late_paths),
    Scenario::once("paths_that_are_replaced_stay_guarded", replaced_paths),
    Scenario::once("links_of_users_lead_nowhere", users_links),
    Scenario::each("new_matches_have_their_tenants", tenants_of_matches),
    Scenario::once("what_matches_no_pattern_is_free", no_match),
    Scenario::each("own_new_matches_can_be_removed", own_match),
    Scenario::each("known_outsiders_come_into_the_zone", outsiders),
    Scenario::each("moves_race_with_deletions", racing_moves).shared(),
    Scenario::each("deletions_are_charged_where_they_are", racing_zones),
    Scenario::once("names_survive_dropped_caches", dropped_caches),
];

const FILES: u64 = 10;
const BUDGET: u64 = 15;

/// How often each way is tried.
fn tries(ctx: &Ctx<'_>) -> u32 {
    ctx.usual_or_nightly(25, 200)
}

/// Makes so many files, removes as many as it may, and says how many that were.
fn delete(dir: &Path) -> Result<u64> {
    let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let files = names.iter().filter(|path| path.is_file());
    Ok(files.filter(|path| fs::remove_file(path).is_ok()).count() as u64)
}

fn fill(dir: &Path) -> Result<()> {
    make_files(dir, "f", FILES, 10).map(drop)
}

/// A new tmpfs that is mounted nowhere yet.
fn detached_tmpfs() -> Result<rustix::fd::OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let (flags, attributes) = (FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty());
    Ok(fsmount(&context, flags, attributes)?)
}

fn tmpfs(at: &Path) -> Result<()> {
    fs::create_dir_all(at)?;
    mount("none", at, "tmpfs", MountFlags::empty(), c"size=1m").context("mount a tmpfs")
}

/// What one way of mounting does: from a directory outside to a place in the zone. Returns where
/// the files are.
type Way = fn(outside: &Path, at: &Path) -> Result<PathBuf>;

const WAYS: &[(&str, Way)] = &[
    ("a new filesystem", |_, at| {
        tmpfs(at)?;
        fill(at)?;
        Ok(at.to_owned())
    }),
    ("a bind", |outside, at| {
        fill(outside)?;
        mount_bind(outside, at)?;
        Ok(at.to_owned())
    }),
    ("a moved mount", |outside, at| {
        tmpfs(outside)?;
        fill(outside)?;
        mount_move(outside, at)?;
        Ok(at.to_owned())
    }),
    ("a tree of mounts", |outside, at| {
        tmpfs(&outside.join("a/disk"))?;
        fill(&outside.join("a/disk"))?;
        mount_bind_recursive(outside, at)?;
        Ok(at.join("a/disk"))
    }),
    ("fsmount and move_mount", |_, at| {
        let detached = detached_tmpfs()?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&detached, "", rustix::fs::CWD, at, flags)?;
        fill(at)?;
        Ok(at.to_owned())
    }),
    ("open_tree and move_mount", |outside, at| {
        fill(outside)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(rustix::fs::CWD, outside, flags)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&tree, "", rustix::fs::CWD, at, flags)?;
        Ok(at.to_owned())
    }),
    ("a mount on a mount", |outside, at| {
        tmpfs(at)?;
        fill(outside)?;
        mount_bind(outside, at)?;
        Ok(at.to_owned())
    }),
];

fn mount_then_delete(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    fs::create_dir_all(&root)?;
    ctx.enforce(&root, Budget::files(BUDGET))?;
    let doctor = cli::holdfast(["doctor"])?.stdout;
    check!(doctor.contains("ok    mounts"), "{doctor}");
    let outside = ctx.outside()?;
    let tries = tries(ctx);
    let mut gone = 0;
    for (number, (name, way)) in WAYS.iter().enumerate() {
        let before = gone;
        for n in 0..tries {
            let source = outside.join(format!("{number}-{n}"));
            let at = root.join(format!("{number}-{n}"));
            for dir in [&source, &at] {
                fs::create_dir_all(dir)?;
            }
            let dir = way(&source, &at).with_context(|| format!("{name}, try {n}"))?;
            gone += delete(&dir).with_context(|| format!("{name}, try {n}"))?;
            // Of two, the lower one too; nothing in use is left behind.
            while unmount(&at, UnmountFlags::DETACH).is_ok() {}
            while unmount(&source, UnmountFlags::DETACH).is_ok() {}
        }
        ctx.lab.note(format!("{name}: {} files gone in {tries} tries", gone - before));
    }
    check_eq!(gone, BUDGET, "files gone of all mounts together");
    Ok(())
}

/// A disk with its data on it, as a backup job mounts it.
fn disk_then_delete(ctx: &mut Ctx<'_>) -> Result<()> {
    const DISKS: u32 = 8;
    let root = ctx.base.join("zone");
    fs::create_dir_all(&root)?;
    let outside = ctx.outside()?;
    let mut devices = Vec::new();
    for n in 0..DISKS {
        let image = outside.join(format!("image{n}"));
        make_ext4(&image, 4 << 20, &[])?;
        let looped = Tool::new("losetup").args(["--find", "--show"]).arg(&image).ok()?;
        devices.push(looped.stdout.trim().to_owned());
    }
    ctx.enforce(&root, Budget::files(BUDGET))?;
    let mut gone = 0;
    for (n, device) in devices.iter().enumerate() {
        let at = root.join(format!("disk{n}"));
        fs::create_dir_all(&at)?;
        mount(device.as_str(), &at, "ext4", MountFlags::empty(), c"")?;
        fill(&at)?;
        gone += delete(&at)?;
    }
    for (n, device) in devices.iter().enumerate() {
        unmount(root.join(format!("disk{n}")), UnmountFlags::empty())?;
        Tool::new("losetup").args(["-d", device]).ok()?;
    }
    check_eq!(gone, BUDGET, "files gone of all disks together");
    Ok(())
}

/// What is mounted beside a zone is nobody's, also while it is a mount of something near.
fn mounts_outside(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    let beside = ctx.base.join("beside");
    fs::create_dir_all(&root)?;
    ctx.enforce(&root, Budget::files(BUDGET))?;
    for n in 0..20 {
        let at = beside.join(n.to_string());
        tmpfs(&at)?;
        fill(&at)?;
        check_eq!(delete(&at)?, FILES, "files removed beside the zone");
        unmount(&at, UnmountFlags::empty())?;
    }
    // A tree that holds the zone itself: all of it would count.
    let at = root.join("all");
    fs::create_dir_all(&at)?;
    let outside = ctx.outside()?;
    fill(&outside)?;
    mount_bind(ctx.fs.mount(), &at)?;
    let removed = delete(&outside)?;
    unmount(&at, UnmountFlags::DETACH)?;
    check_eq!(removed, FILES, "files removed beside the zone's own filesystem");
    check!(count(&root)?.files == 0, "nothing is left");
    ctx.nothing_denied()
}

/// A pattern with a glob in it and a name after that.
const PATTERN: &str = "cust*/site";

/// Ways in which a directory comes to match [`PATTERN`]; what they return has files in it. `at` is
/// what the glob matches.
const MATCHES: &[(&str, Way)] = &[
    ("mkdir", |_, at| {
        fill(&at.join("site"))?;
        Ok(at.join("site"))
    }),
    ("mkdir, deeper", |_, at| {
        fill(&at.join("site/a/b/c"))?;
        Ok(at.join("site/a/b/c"))
    }),
    ("a rename to the last name", |outside, at| {
        fill(outside)?;
        fs::create_dir(at)?;
        fs::rename(outside, at.join("site"))?;
        Ok(at.join("site"))
    }),
    ("a rename to the glob", |outside, at| {
        fill(&outside.join("site"))?;
        fs::rename(outside, at)?;
        Ok(at.join("site"))
    }),
    ("an exchange", |outside, at| {
        fill(&outside.join("site"))?;
        fs::create_dir(at)?;
        let flags = rustix::fs::RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(rustix::fs::CWD, outside, rustix::fs::CWD, at, flags)?;
        Ok(at.join("site"))
    }),
    ("a filesystem on the glob", |_, at| {
        tmpfs(at)?;
        fill(&at.join("site"))?;
        Ok(at.join("site"))
    }),
    ("a bind on the glob", |outside, at| {
        fill(&outside.join("site"))?;
        fs::create_dir(at)?;
        mount_bind(outside, at)?;
        Ok(at.join("site"))
    }),
    ("a filesystem on the match", |_, at| {
        tmpfs(&at.join("site"))?;
        fill(&at.join("site"))?;
        Ok(at.join("site"))
    }),
];

/// Has directories come to match, and deletes what is in them at once; says how much went.
fn try_matches(ctx: &mut Ctx<'_>, root: &Path, tries: u32) -> Result<u64> {
    let outside = ctx.outside()?;
    let mut gone = 0;
    for (number, (name, way)) in MATCHES.iter().enumerate() {
        let before = gone;
        for n in 0..tries {
            let source = outside.join(format!("match-{number}-{n}"));
            let at = root.join(format!("cust{number}-{n}"));
            fs::create_dir(&source)?;
            let dir = way(&source, &at).with_context(|| format!("{name}, try {n}"))?;
            gone += delete(&dir).with_context(|| format!("{name}, try {n}"))?;
            while unmount(&at, UnmountFlags::DETACH).is_ok() {}
            while unmount(at.join("site"), UnmountFlags::DETACH).is_ok() {}
        }
        ctx.lab.note(format!("{name}: {} files gone in {tries} tries", gone - before));
    }
    Ok(gone)
}

fn match_then_delete(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("customers");
    fs::create_dir_all(&root)?;
    ctx.enforce(&root.join(PATTERN), Budget::files(BUDGET))?;
    let gone = try_matches(ctx, &root, tries(ctx))?;
    check_eq!(gone, BUDGET, "files gone of all matches together");
    Ok(())
}

/// With nobody who could look for them, the kernel programs find all of them.
fn matches_without_agent(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("customers");
    fs::create_dir_all(&root)?;
    ctx.enforce(&root.join(PATTERN), Budget::files(BUDGET))?;
    ctx.lab.kill()?;
    let gone = try_matches(ctx, &root, 3)?;
    check_eq!(gone, BUDGET, "files gone of all matches together");
    Ok(())
}

/// Paths that do not exist when the policy comes into force, and one that a mount makes anew.
fn late_paths(ctx: &mut Ctx<'_>) -> Result<()> {
    let base = ctx.base.clone();
    let (made, renamed) = (base.join("late/disk"), base.join("renamed/x/y"));
    let (covered, glob) = (base.join("above/disk/data"), base.join("long*/[a-z]?/x"));
    fs::create_dir_all(&covered)?;
    let zone = ctx.new_zone(&made).path(&renamed).path(&covered).path(&glob);
    ctx.guard(&[zone.budget(Budget::files(BUDGET))])?;
    ctx.lab.kill()?;
    fill(&made)?;
    let mut gone = delete(&made)?;
    fill(&base.join("other/y"))?;
    fs::create_dir(base.join("renamed"))?;
    fs::rename(base.join("other"), base.join("renamed/x"))?;
    gone += delete(&renamed)?;
    check_eq!(gone, BUDGET, "files gone of two paths that came to exist");
    tmpfs(&base.join("above"))?;
    fill(&covered)?;
    check_eq!(delete(&covered)?, 0, "files gone where a mount above the path made it anew");
    let wide = base.join("longer/zü/x");
    fill(&wide)?;
    check_eq!(delete(&wide)?, 0, "files gone where a character has two bytes");
    for free in ["late/free", "renamed/free/y", "longer/z/x", "longer/Zz/x", ".long/zz/x"] {
        fill(&base.join(free))?;
        check_eq!(delete(&base.join(free))?, FILES, "files removed in {free}");
    }
    Ok(())
}

/// Each new match is a tenant; below a deeper level, each directory there is.
fn tenants_of_matches(ctx: &mut Ctx<'_>) -> Result<()> {
    for (depth, tenants) in [(0, "node"), (2, "node/a/tenant")] {
        let root = ctx.base.join(format!("depth{depth}"));
        fs::create_dir_all(&root)?;
        let zone = Zone::new(&format!("{}{depth}", ctx.zone), &root.join("node*")).depth(depth);
        ctx.guard(&[zone.budget(Budget::tenants(2))])?;
        ctx.lab.kill()?;
        for (n, expected) in [(1, FILES), (2, FILES), (3, 0)] {
            let dir = root.join(format!("{tenants}{n}"));
            fill(&dir)?;
            check_eq!(delete(&dir)?, expected, "files gone of tenant {n} at depth {depth}");
        }
    }
    Ok(())
}

/// Directories beside the matches, whose names are compared at each op, stay free.
fn no_match(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("customers");
    fs::create_dir_all(&root)?;
    ctx.enforce(&root.join(PATTERN), Budget::files(BUDGET))?;
    for name in ["cus/site", "custom/sit", "custom/sitee", "other/site", ".cust/site", "custom"] {
        fill(&root.join(name))?;
        check_eq!(delete(&root.join(name))?, FILES, "files removed in {name}");
        // The files themselves have names that match nothing, or are no directories.
        fs::write(root.join("custom-file"), "x")?;
        fs::rename(root.join("custom-file"), root.join("custom-other"))?;
        fs::remove_file(root.join("custom-other"))?;
    }
    ctx.nothing_denied()
}

/// Whoever makes a directory that matches can take it away again while it is empty.
fn own_match(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("customers");
    fs::create_dir_all(&root)?;
    ctx.enforce(&root.join("*"), Budget::files(BUDGET))?;
    for n in 0..3 {
        let at = root.join(n.to_string());
        fs::create_dir(&at)?;
        if n > 0 {
            until("it is a root", std::time::Duration::from_secs(60), || {
                let status = cli::holdfast(["explain".as_ref(), at.as_os_str()])?.stdout;
                Ok(status.contains(&ctx.zone).then_some(()))
            })?;
        }
        fs::remove_dir(&at).context("an empty directory of one's own")?;
    }
    fs::create_dir(root.join("old"))?;
    age_files()?;
    check!(fs::remove_dir(root.join("old")).is_err(), "an old one went");
    Ok(())
}

/// Fills a directory outside and removes one file there, so that the kernel programs know that it
/// is in no zone.
fn outsider(dir: &Path) -> Result<()> {
    fill(dir)?;
    Ok(fs::remove_file(dir.join("f-0000"))?)
}

/// What was in no zone when it was looked up comes to be in one, in each way there is.
fn outsiders(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    let outside = ctx.outside()?;
    for name in ["moved", "above/b/c", "exchanged", "cust1/site/d", "bound/d", "named"] {
        outsider(&outside.join(name))?;
    }
    fs::create_dir_all(root.join("there"))?;
    fs::create_dir(root.join("mount"))?;
    let zone = ctx.new_zone(&root).path(&ctx.base.join(PATTERN));
    ctx.guard(&[zone.clone().budget(Budget::files(1))])?;
    for name in ["moved", "above/b/c", "exchanged", "cust1/site/d", "bound/d", "named"] {
        // Again: the policy that came into force has made the first look void.
        fs::remove_file(outside.join(name).join("f-0001"))?;
    }
    fs::rename(outside.join("moved"), root.join("moved"))?;
    fs::rename(outside.join("above"), root.join("above"))?;
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    let (from, to) = (outside.join("exchanged"), root.join("there"));
    rustix::fs::renameat_with(rustix::fs::CWD, &to, rustix::fs::CWD, &from, flags)
        .expect_err("a directory leaves the zone");
    fs::rename(outside.join("cust1"), ctx.base.join("cust1"))?;
    mount_bind(outside.join("bound"), root.join("mount"))?;
    check_eq!(delete(&root.join("moved"))?, 1, "files gone in what was moved");
    for name in ["zone/above/b/c", "cust1/site/d", "zone/mount/d"] {
        check_eq!(delete(&ctx.base.join(name))?, 0, "files gone in {name}");
    }
    check_eq!(delete(&from)?, FILES - 2, "files removed where nothing came into a zone");
    ctx.guard(&[zone.path(&outside.join("named")).budget(Budget::files(1))])?;
    check_eq!(delete(&outside.join("named"))?, 0, "files gone where a policy names a directory");
    Ok(())
}

/// Directories are moved into the zone while others delete in them and look them up.
fn racing_moves(ctx: &mut Ctx<'_>) -> Result<()> {
    const THREADS: u64 = 4;
    const MOVES: u64 = 50;
    let root = ctx.base.join("zone");
    let outside = ctx.outside()?;
    fs::create_dir_all(&root)?;
    ctx.enforce(&root, Budget::files(1))?;
    let mut before = 0;
    for n in 0..MOVES {
        let (from, to) = (outside.join(n.to_string()), root.join(n.to_string()));
        let files = make_files(&from.join("a/b"), "f", 40 * THREADS, 1)?;
        let dir = fs::File::open(from.join("a/b"))?;
        let left = std::thread::scope(|scope| -> Result<u64> {
            for share in files.chunks(40) {
                let (names, dir) = (share.iter().filter_map(|path| path.file_name()), &dir);
                scope.spawn(move || {
                    for name in names {
                        // From some moment on each of them is refused.
                        let _ = rustix::fs::unlinkat(dir, name, rustix::fs::AtFlags::empty());
                    }
                });
            }
            fs::rename(&from, &to)?;
            Ok(count(&to)?.files)
        })?;
        before += 40 * THREADS - left;
        let late = left - count(&to)?.files;
        // The budget, and what each thread was about to do when the directory was moved.
        check!(late <= THREADS + 1, "{late} files went after the directory was in the zone");
    }
    ctx.lab.note(format!("{before} files of {} went before", 40 * THREADS * MOVES));
    Ok(())
}

/// A directory goes from one zone's tenant to another's, while files in it are removed: what goes
/// after that is the other's.
fn racing_zones(ctx: &mut Ctx<'_>) -> Result<()> {
    const THREADS: u64 = 4;
    const FILES: u64 = 40 * THREADS;
    const MOVES: u64 = 25;
    let (first, second) = (ctx.base.join("first"), ctx.base.join("second"));
    for root in [&first, &second] {
        fs::create_dir_all(root.join("tenant"))?;
    }
    let name = format!("{}-2", ctx.zone);
    let budget = || Budget::files(1_000_000);
    let zones = [ctx.new_zone(&first), Zone::new(&name, &second)];
    ctx.guard(&zones.map(|zone| zone.observe().budget(budget())))?;
    let mut after = 0;
    for n in 0..MOVES {
        let at = |root: &Path| root.join("tenant").join(n.to_string());
        let files = make_files(&at(&first).join("a/b"), "f", FILES, 1)?;
        let dir = fs::File::open(at(&first).join("a/b"))?;
        std::thread::scope(|scope| -> Result<()> {
            for share in files.chunks(40) {
                let (names, dir) = (share.iter().filter_map(|path| path.file_name()), &dir);
                scope.spawn(move || {
                    for name in names {
                        let _ = rustix::fs::unlinkat(dir, name, rustix::fs::AtFlags::empty());
                    }
                });
            }
            fs::rename(at(&first), at(&second))?;
            after += count(&at(&second))?.files;
            Ok(())
        })?;
        check_eq!(count(&at(&second))?.files, 0, "files left");
    }
    let zone = ctx.zone.clone();
    let removed = |zone: &str| {
        let labels = [("zone", zone), ("op", "remove")];
        Ok::<_, anyhow::Error>(ctx.lab.metrics()?.sum("holdfast_destroyed_files_total", &labels))
    };
    until("all are counted", std::time::Duration::from_secs(60), || {
        Ok((removed(&zone)? + removed(&name)? == (FILES * MOVES) as f64).then_some(()))
    })?;
    let late = removed(&name)?;
    ctx.lab.note(format!("{after} files of {} went after the move", FILES * MOVES));
    // What each thread was about to do when the directory was moved, and what went while they were
    // counted.
    let least = (after.saturating_sub(THREADS * MOVES)) as f64;
    check!(late >= least, "{late} files charged to the second zone, of {after} that went there");
    check!(late <= (FILES * MOVES) as f64, "{late} files charged to the second zone");
    Ok(())
}

/// Directories whose names have left memory, and whose inodes have not: what is known of the inode
/// is not good for the names any more.
fn dropped_caches(ctx: &mut Ctx<'_>) -> Result<()> {
    const DIRS: u64 = 400;
    const ROUNDS: u64 = 12;
    let root = ctx.base.join("zone");
    let dirs: Vec<_> = (0..DIRS).map(|n| root.join(format!("a{}/b/d{n}", n % 7))).collect();
    let files = dirs.iter().map(|dir| make_files(dir, "f", ROUNDS, 1));
    let files = files.collect::<Result<Vec<_>>>()?;
    ctx.guard(&[ctx.new_zone(&root).observe().budget(Budget::files(1_000_000))])?;
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC)?;
    for dir in &dirs {
        inotify::add_watch(&watch, dir, inotify::WatchFlags::MOVE_SELF)?;
    }
    for round in 0..ROUNDS as usize {
        files.iter().try_for_each(|files| fs::remove_file(&files[round]))?;
        (0..3).try_for_each(|_| fs::write("/proc/sys/vm/drop_caches", "2"))?;
    }
    let report = cli::holdfast(["manifest", "--zone", &ctx.zone, "--json"])?.ok()?;
    let report: serde_json::Value = serde_json::from_str(&report.stdout)?;
    let tenants = report["tenants"].as_array().context("tenants")?;
    let known = tenants.iter().filter(|row| row["tenant"].is_string());
    let records: u64 = known.filter_map(|row| row["records"].as_u64()).sum();
    check_eq!(records, DIRS * ROUNDS, "records with their tenant");
    check_eq!(tenants.len(), 7, "tenants");
    Ok(())
}

/// What is above a protected path is replaced, so that the path leads to another directory; or it
/// was a mount before, and has been one for long.
fn replaced_paths(ctx: &mut Ctx<'_>) -> Result<()> {
    let base = ctx.base.clone();
    let (app, next) = (base.join("app"), base.join("app.new"));
    fs::create_dir_all(app.join("data"))?;
    fs::create_dir_all(next.join("data"))?;
    fs::create_dir_all(base.join("empty"))?;
    let bound = base.join("cust1");
    fs::create_dir(&bound)?;
    mount_bind(ctx.outside()?, &bound)?;
    let zone = ctx.new_zone(&app.join("data")).path(&base.join("empty/data"));
    ctx.guard(&[zone.path(&base.join(PATTERN)).budget(Budget::files(BUDGET))])?;
    ctx.lab.kill()?;
    fs::rename(&app, base.join("app.old"))?;
    fs::rename(&next, &app)?;
    fill(&app.join("data"))?;
    let mut gone = delete(&app.join("data"))?;
    fs::remove_dir(base.join("empty"))?;
    for dir in [base.join("empty/data"), bound.join("site")] {
        fill(&dir)?;
        gone += delete(&dir)?;
    }
    check_eq!(gone, BUDGET, "files gone of all that was replaced");
    Ok(())
}

/// A user's link below a glob shows other trees: they are not charged to the zone, and whose they
/// are is decided without it.
fn users_links(ctx: &mut Ctx<'_>) -> Result<()> {
    let (home, outside) = (ctx.base.join("home"), ctx.outside()?);
    let disk = outside.join("disk");
    tmpfs(&disk)?;
    fs::create_dir_all(disk.join("victim/site"))?;
    fs::create_dir_all(home.join("alice"))?;
    std::os::unix::fs::symlink(&disk, home.join("alice/domains"))?;
    ctx.enforce(&home.join("*/domains/*/site"), Budget::files(BUDGET))?;
    for dir in [disk.join("victim/site"), disk.join("new/site")] {
        fill(&dir)?;
        check_eq!(delete(&dir)?, FILES, "files removed in {}", dir.display());
    }
    ctx.nothing_denied()
}
