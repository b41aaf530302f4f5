//! Files that are reached by a handle when no name of theirs is in memory, as an NFS server's
//! clients do: the kernel programs cannot tell where they are.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use holdfast_abi::Per;

use crate::harness::tree::make_files;
use crate::harness::{Budget, Ctx, Tool, Unit, check, check_eq, cli};
use crate::runner::{Fs, Scenario};

pub(super) const SCENARIOS: &[Scenario] = &[
    // tmpfs keeps every name in memory.
    Scenario::once("unknown_places_trip_no_zone", trips_no_zone).on(&[Fs::Ext4]),
    Scenario::once("cached_name_places_the_file", placed_by_name).on(&[Fs::Ext4]),
];

const BUDGET: u64 = 5;
/// Cuts files to a byte each, of each a handle while its name is in memory and a descriptor when it
/// no longer is. Names those that were refused, after the number of those that were cut. With a
/// first argument of 1, the names are looked up between the two.
const CUT: &str = r#"
use strict; use warnings;
my ($look, $dir, @files) = @ARGV;
opendir my $mount, $dir or die "$dir: $!";
my @handles = map {
    my ($handle, $id) = (pack('Ii', 128, 0) . "\0" x 128, pack('i', 0));
    syscall(303, -100, $_, $handle, $id, 0) == 0 or die "name_to_handle_at: $!";
    $handle;
} @files;
system('sync; echo 2 >/proc/sys/vm/drop_caches') == 0 or die 'drop_caches';
my $cut = 0;
for my $n (0 .. $#files) {
    my $fd = syscall(304, fileno($mount), $handles[$n], 2);
    $fd >= 0 or die "open_by_handle_at: $!";
    stat $files[$n] if $look;
    open my $file, '+<&=', $fd or die "fdopen: $!";
    if (truncate $file, 1) { ++$cut } else { print STDERR "$files[$n]: $!\n" }
}
print "$cut\n";
"#;

/// How many files were cut by their handles.
fn cut(looks: bool, dir: &Path, files: &[PathBuf], unit: &Unit) -> Result<u64> {
    let look = if looks { "1" } else { "0" };
    let perl = Tool::new("perl").args(["-e", CUT, look]).arg(dir).args(files).unit(unit);
    let outcome = perl.ok()?;
    outcome.stdout.trim().parse().context("not a number")
}

/// What is cut may be in no zone at all: it has a budget of its own, and everybody's is left.
fn trips_no_zone(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 20)?;
    let files = make_files(&ctx.outside()?, "file", 20, 100)?;
    ctx.enforce(&tree.root, Budget::files(BUDGET).per(Per::Zone))?;
    let unit = ctx.unit("server")?;
    check_eq!(cut(false, &ctx.base, &files, &unit)?, BUDGET, "files cut");
    let event = ctx.event("a denial", |event| cli::text(event, "verdict") == "deny")?;
    check_eq!(event["strict"].as_bool(), Some(true), "whether the place was unknown");
    for file in 0..BUDGET {
        fs::remove_file(tree.file(0, file))?;
    }
    check!(fs::remove_file(tree.file(0, BUDGET)).is_err(), "one more went");
    tree.lost_exactly(BUDGET)?;
    // Both show, each by its name, and can be reset.
    let list = cli::holdfast(["budget", "list", "--json"])?.ok()?;
    for word in ["\"zone\"", "\"unknown-place:zone\""] {
        check!(list.stdout.contains(word), "{}", list.describe("should name the actor"));
    }
    let reset = ["budget", "reset", "--zone", &ctx.zone, "--actor", "unknown-place:zone"];
    cli::holdfast(reset.into_iter().chain(["--reason", "a restart of the server"]))?.ok()?;
    check_eq!(cut(false, &ctx.base, &files[10..], &unit)?, BUDGET, "files cut after the reset");
    check!(fs::remove_file(tree.file(0, BUDGET)).is_err(), "the zone's budget was reset as well");
    tree.lost_exactly(BUDGET)
}

/// A name that was looked up since the handle was opened says where the file is: in no zone, or in
/// one.
fn placed_by_name(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 20)?;
    let files = make_files(&ctx.outside()?, "file", 20, 100)?;
    ctx.enforce(&tree.root, Budget::files(BUDGET).per(Per::Zone))?;
    let unit = ctx.unit("server")?;
    check_eq!(cut(true, &ctx.base, &files, &unit)?, 20, "files cut that are in no zone");
    ctx.nothing_denied()?;
    let inside: Vec<_> = tree.paths().collect();
    check_eq!(cut(true, &ctx.base, &inside, &unit)?, BUDGET, "files cut that are in the zone");
    let event = ctx.event("a denial", |event| cli::text(event, "verdict") == "deny")?;
    check_eq!(event["strict"].as_bool(), Some(false), "whether the place was unknown");
    let is_short = |path: &&PathBuf| fs::metadata(path).is_ok_and(|meta| meta.len() == 1);
    check_eq!(inside.iter().filter(is_short).count() as u64, BUDGET, "files cut in the zone");
    Ok(())
}
