//! An op that fails costs nothing, however it fails and however often.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rustix::thread::{CpuSet, MembarrierCommand, membarrier, sched_setaffinity};

use crate::harness::device::{make_ext4, mount_ext4};
use crate::harness::sys::{User, as_user, generation, shut_down, truncate};
use crate::harness::tree::{count, make_files};
use crate::harness::{Budget, Ctx, Tool, Tree, check, check_eq, cli, sh};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::each("rmdir_of_nonempty_directory_costs_nothing", rmdir_not_empty),
    Scenario::each("rmdir_at_limit_says_not_empty", rmdir_at_the_limit),
    Scenario::each("unlink_on_a_read_only_mount", read_only),
    Scenario::each("unlink_without_permission", without_permission),
    Scenario::each("rename_that_fails", failing_rename),
    Scenario::each("missing_files", missing),
    Scenario::each("rename_to_own_link_costs_nothing", same_file),
    Scenario::once("failed_unlinks_are_given_back", failed_unlinks),
    Scenario::once("reused_inodes_give_nothing_back", reused_inodes),
];

const BUDGET: u64 = 10;

/// Insists that the whole budget is still there.
fn nothing_was_spent(tree: &Tree) -> Result<()> {
    tree.lost_exactly(0)?;
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).run()?.refused()?;
    tree.lost_exactly(BUDGET)
}

fn rmdir_not_empty(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(2, 20, BUDGET)?;
    for _ in 0..100 {
        let error = fs::remove_dir(tree.tenant(0)).err().map(|error| error.kind());
        check_eq!(error, Some(ErrorKind::DirectoryNotEmpty), "error of rmdir");
    }
    nothing_was_spent(&tree)
}

/// A call that must fail tripped the budget that it could not have spent, and its caller saw EPERM.
fn rmdir_at_the_limit(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(2, BUDGET)?;
    let (busy, nested) = (tree.root.join("busy"), tree.root.join("nested"));
    fs::create_dir_all(nested.join("inner"))?;
    let open = make_files(&busy, "open", 1, 10)?;
    ctx.enforce(&tree.root, Budget::files(BUDGET))?;
    let _open = fs::File::open(&open[0])?;
    fs::remove_file(&open[0])?;
    for file in 1..BUDGET {
        fs::remove_file(tree.file(1, file))?;
    }
    for _ in 0..20 {
        for dir in [tree.tenant(0), nested.clone()] {
            let error = fs::remove_dir(dir).err().map(|error| error.kind());
            check_eq!(error, Some(ErrorKind::DirectoryNotEmpty), "error of rmdir");
        }
    }
    ctx.nothing_denied()?;
    // What is empty, and has but a file in it that is open and has no name any more, goes on to be
    // counted.
    let error = fs::remove_dir(&busy).err().map(|error| error.kind());
    check_eq!(error, Some(ErrorKind::PermissionDenied), "error of rmdir of an empty directory");
    Ok(())
}

fn read_only(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(2, 20, BUDGET)?;
    let view = ctx.base.join("view");
    fs::create_dir(&view)?;
    Tool::new("mount").arg("--bind").arg(&tree.root).arg(&view).ok()?;
    Tool::new("mount").args(["-o", "remount,ro,bind"]).arg(&view).ok()?;
    let outcome = sh("rm -rf \"$1\"/*", [&view])?;
    check!(outcome.stderr.contains("Read-only"), "{}", outcome.describe("should say read-only"));
    nothing_was_spent(&tree)
}

fn without_permission(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(2, 20, BUDGET)?;
    let outcome =
        Tool::new("rm").arg("-rf").arg(tree.tenant(0)).uid(1000).cwd(Path::new("/")).run()?;
    check!(
        outcome.stderr.contains("Permission denied"),
        "{}",
        outcome.describe("should say permission denied")
    );
    nothing_was_spent(&tree)
}

fn failing_rename(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(2, 20, BUDGET)?;
    let fresh = tree.root.join("fresh");
    fs::create_dir(&fresh)?;
    for _ in 0..50 {
        check!(
            fs::rename(&fresh, tree.tenant(0)).is_err(),
            "a directory over one that is not empty"
        );
        check!(fs::rename(tree.file(1, 0), tree.tenant(0)).is_err(), "a file over a directory");
        check!(fs::rename(tree.tenant(1), tree.tenant(1).join("in")).is_err(), "into itself");
    }
    fs::remove_dir(&fresh)?;
    // The removal of `fresh` cost one file.
    tree.lost_exactly(0)?;
    Tool::new("rm").arg("-rf").arg(tree.tenant(0)).run()?.refused()?;
    tree.lost_exactly(BUDGET - 1)
}

fn missing(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.guarded(2, 20, BUDGET)?;
    for n in 0..100 {
        check!(fs::remove_file(tree.root.join(n.to_string())).is_err(), "nothing of that name");
    }
    nothing_was_spent(&tree)
}

/// rename(2) of two links to one file does nothing and says it succeeded.
fn same_file(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    let files = make_files(&root, "file", 12, 10)?;
    let twin = root.join("twin");
    fs::hard_link(&files[0], &twin)?;
    ctx.enforce(&root, Budget::files(BUDGET))?;
    for _ in 0..50 {
        fs::rename(&files[0], &twin)?;
        fs::rename(&files[1], &files[1])?;
    }
    check_eq!(count(&root)?.files, 13, "names in the zone");
    // The twin's first name is free; of the eleven other files and the twin, ten go.
    sh("rm -f \"$1\"/*", [&root])?.refused()?;
    check_eq!(count(&root)?.files, 12 - BUDGET, "files left");
    Ok(())
}

/// Nobody sees how an unlink ends: one that fails after its hook, as on a disk that is gone, is
/// given back by the thread's next op, or by its end. So is what was said of it.
fn failed_unlinks(ctx: &mut Ctx<'_>) -> Result<()> {
    const FAILING: u64 = 20;
    let root = disk(ctx, &[])?;
    let files = make_files(&root, "f", BUDGET + FAILING, 10)?;
    ctx.enforce(&root, Budget::files(BUDGET))?;
    let (gone, kept) = files.split_at(3);
    gone.iter().try_for_each(fs::remove_file)?;
    shut_down(&fs::File::open(&root)?)?;
    std::thread::scope(|scope| {
        let failing = scope.spawn(|| {
            kept.iter().cycle().take(FAILING as usize).try_for_each(|path| {
                let error = fs::remove_file(path).err().and_then(|error| error.raw_os_error());
                check_eq!(error, Some(libc::EIO), "error of unlink");
                let error = truncate(path, 1).err().and_then(|error| error.raw_os_error());
                check_eq!(error, Some(libc::EIO), "error of truncate");
                Ok(())
            })
        });
        failing.join().map_err(|_| anyhow::anyhow!("the thread panicked"))?
    })?;
    for path in kept.iter().take(FAILING as usize) {
        let rm = sh("exec 2>&1; unlink \"$1\"", [path])?;
        check!(rm.stdout.contains("Input/output error"), "{}", rm.describe("should say EIO"));
    }
    ctx.nothing_denied()?;
    let zone = ctx.zone.clone();
    let labels = [("zone", zone.as_str())];
    ctx.metrics_until("three files are counted, and what failed is not", |metrics| {
        metrics.sum("holdfast_destroyed_files_total", &labels) == 3.0
    })?;
    let list = cli::holdfast(["manifest", "--zone", &zone, "--json"])?.ok()?;
    let list: serde_json::Value = serde_json::from_str(&list.stdout)?;
    check_eq!(list["tenants"][0]["records"], 3, "records in {list}");
    Ok(())
}

/// A zone's directory with an ext4 of its own.
fn disk(ctx: &Ctx<'_>, options: &[&str]) -> Result<PathBuf> {
    let (root, image) = (ctx.base.join("zone"), ctx.outside()?.join("image"));
    fs::create_dir(&root)?;
    make_ext4(&image, 16 << 20, options)?;
    mount_ext4(&image, &root)?;
    Ok(root)
}

/// Another file gets the memory, the number and the generation of one that is gone: that is not
/// there any more for that.
fn reused_inodes(ctx: &mut Ctx<'_>) -> Result<()> {
    const OWNER: u32 = 1234;
    const FILES: u64 = 30;
    let root = disk(ctx, &["-O", "^metadata_csum"])?;
    let files = make_files(&root, "f", FILES, 10)?;
    for path in files.iter().chain([&root]) {
        std::os::unix::fs::chown(path, Some(OWNER), Some(OWNER))?;
    }
    // So that the inodes are new in memory, one after the other.
    Tool::new("mount").args(["-o", "remount"]).arg(&root).ok()?;
    fs::write("/proc/sys/vm/drop_caches", "2")?;
    ctx.enforce(&root, Budget::files(BUDGET))?;
    let (mut gone, mut reused) = (0, 0);
    let mut work = || -> Result<()> {
        let mut first = CpuSet::new();
        first.set(0);
        sched_setaffinity(None, &first)?;
        for (n, path) in files.iter().enumerate() {
            let file = fs::File::open(path)?;
            let (ino, old) = (file.metadata()?.ino(), generation(&file, None)?);
            drop(file);
            if fs::remove_file(path).is_err() {
                break;
            }
            gone += 1;
            for _ in 0..3 {
                membarrier(MembarrierCommand::Global)?;
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            let new = fs::File::create(root.join(format!("n{n}")))?;
            generation(&new, Some(old))?;
            reused += u64::from(new.metadata()?.ino() == ino);
        }
        Ok(())
    };
    let mut outcome = Ok(());
    as_user(User::Effective, OWNER, || outcome = work())?;
    outcome?;
    ctx.lab.note(format!("{reused} of {gone} inodes were used again"));
    check!(reused > 0, "no inode was used again");
    check_eq!(gone, BUDGET, "files that went");
    Ok(())
}
