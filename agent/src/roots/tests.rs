use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::path::Path;

use tempfile::TempDir;

use super::filesystem::Guardable;
use holdfast_abi::MAX_BASE_PATTERNS;

use super::*;

fn host(guardable: Guardable) -> Host {
    with_mounts(Mounts::read().unwrap(), guardable)
}

fn with_mounts(mounts: Mounts, guardable: Guardable) -> Host {
    Host { mounts, guardable, listings: Listings::default(), guarded: HashSet::new() }
}

fn policy(zones: &[(&str, &[String])]) -> Policy {
    let text: String = zones
        .iter()
        .map(|(name, paths)| {
            format!(
                "[[zone]]\nname = \"{name}\"\nrole = \"primary\"\npaths = {paths:?}\n\
                 [[zone.budget]]\nper = \"unit\"\nfiles = 1\nwindow = \"1m\"\n"
            )
        })
        .collect();
    Policy::parse("test.toml", &text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn dirs(names: &[&str]) -> (TempDir, String) {
    let dir = TempDir::new().unwrap();
    for name in names {
        fs::create_dir_all(dir.path().join(name)).unwrap();
    }
    let real = fs::canonicalize(dir.path()).unwrap();
    (dir, real.to_str().unwrap().to_owned())
}

fn found(zone: &ZoneRoots, base: &str) -> Vec<String> {
    let relative = |root: &Root| root.path.strip_prefix(base).unwrap().to_str().unwrap().to_owned();
    zone.roots.iter().map(relative).collect()
}

fn look(base: &str, patterns: &[&str]) -> Found {
    let paths: Vec<String> = patterns.iter().map(|pattern| format!("{base}/{pattern}")).collect();
    resolve(&policy(&[("z", &paths)]), &host(Guardable::Everything))
}

fn resolve_one(base: &str, patterns: &[&str]) -> ZoneRoots {
    let mut all = look(base, patterns);
    assert_eq!((&all.skipped, &all.unusable), (&vec![], &vec![]));
    all.zones.remove(0)
}

#[test]
fn globs_take_only_visible_directories() {
    let (dir, base) = dirs(&["web1/www", "web2/www", "web3", ".web/www", "other/www"]);
    fs::write(dir.path().join("web9"), "").unwrap();
    let zone = resolve_one(&base, &["web?/www"]);
    assert_eq!(found(&zone, &base), ["web1/www", "web2/www"]);
    assert!(zone.missing.is_empty());
    assert_eq!(found(&resolve_one(&base, &["*"]), &base), ["other", "web1", "web2", "web3"]);
}

#[test]
fn missing_path_is_found_once_created() {
    let (dir, base) = dirs(&["here"]);
    let before = resolve_one(&base, &["here", "later/x", "glob*/y"]);
    assert_eq!(found(&before, &base), ["here"]);
    assert_eq!(before.missing, [format!("{base}/later/x"), format!("{base}/glob*/y")]);
    fs::create_dir_all(dir.path().join("later/x")).unwrap();
    let after = resolve_one(&base, &["here", "later/x", "glob*/y"]);
    assert_eq!(found(&after, &base), ["here", "later/x"]);
    assert_ne!(before, after);
}

#[test]
fn linked_directory_counts_once() {
    let (dir, base) = dirs(&["real/a", "links"]);
    symlink(dir.path().join("real/a"), dir.path().join("links/one")).unwrap();
    symlink("../real/a", dir.path().join("links/two")).unwrap();
    symlink("nowhere", dir.path().join("links/broken")).unwrap();
    let zone = resolve_one(&base, &["links/one", "links/two", "real/*"]);
    assert_eq!(found(&zone, &base), ["real/a"]);
    assert!(zone.missing.is_empty(), "{:?}", zone.missing);
    // A link below a glob to what is guarded anyway is nothing to talk about.
    let zone = resolve_one(&base, &["links/*", "real/a"]);
    assert_eq!(found(&zone, &base), ["real/a"]);
    assert_eq!(zone.missing, [format!("{base}/links/*")]);
}

#[test]
fn links_in_globs_are_skipped() {
    let (dir, base) =
        dirs(&["home/alice/www", "home/bob", "home/carl/www", "elsewhere/www", "away"]);
    let link = |target: &str, name: &str| symlink(dir.path().join(target), dir.path().join(name));
    link("elsewhere/www", "home/bob/www").unwrap();
    link("elsewhere", "home/dora").unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    fs::create_dir(dir.path().join("home/emil")).unwrap();
    link("file", "home/emil/www").unwrap();
    // What comes before the glob is the administrator's.
    link("home", "away/homes").unwrap();
    for pattern in ["home/*/www", "away/homes/*/www"] {
        let all = look(&base, &[pattern]);
        assert_eq!(found(&all.zones[0], &base), ["home/alice/www", "home/carl/www"]);
        assert!(all.unusable.is_empty(), "{:?}", all.unusable);
        assert_eq!(all.skipped.len(), 1, "{:?}", all.skipped);
        let text = all.skipped[0].to_string();
        for part in ["zone `z`", "2 directories through symbolic links", "bob/www`", "dora/www`"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("emil"), "no directory: {text}");
    }
    let literal = resolve_one(&base, &["home/bob/www"]);
    assert_eq!(found(&literal, &base), ["elsewhere/www"], "without a glob links are followed");
}

#[test]
fn zones_meeting_through_link_are_refused() {
    let (dir, base) = dirs(&["outer/inner"]);
    symlink("outer/inner", dir.path().join("link")).unwrap();
    let policy = policy(&[("a", &[format!("{base}/outer")]), ("b", &[format!("{base}/link")])]);
    let all = resolve(&policy, &host(Guardable::Everything));
    let problems = all.unusable;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(found(&all.zones[0], &base), ["outer"], "all others can be used");
    assert!(all.zones[1].roots.is_empty(), "{:?}", all.zones[1]);
    let text = render(&problems, "/etc/holdfast/policy.toml");
    for part in
        ["policy.toml: error: zone `b`", "outer/inner", "/link", "is inside", "zone `a`", "help: "]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn zones_sharing_a_directory_are_refused() {
    let (dir, base) = dirs(&["data"]);
    symlink("data", dir.path().join("alias")).unwrap();
    let policy = policy(&[("a", &[format!("{base}/data")]), ("b", &[format!("{base}/alias")])]);
    let problems = resolve(&policy, &host(Guardable::Everything)).unusable;
    assert!(render(&problems, "p").contains("is the same directory as"), "{problems:?}");
}

#[test]
fn bind_mounted_nested_paths_are_refused() {
    let (_dir, base) = dirs(&["data/sub", "elsewhere"]);
    // As if data/sub were mounted on elsewhere, too.
    let table = format!(
        "1 1 8:1 / / rw - ext4 x rw\n2 1 8:1 {base}/data/sub {base}/elsewhere rw - ext4 x rw\n"
    );
    let host = with_mounts(Mounts::parse(table.as_bytes()), Guardable::Everything);
    let policy = policy(&[("a", &[format!("{base}/data")]), ("b", &[format!("{base}/elsewhere")])]);
    let problems = resolve(&policy, &host).unusable;
    assert!(render(&problems, "p").contains("elsewhere` (`"), "{problems:?}");
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn neighbours_do_not_overlap() {
    let (_dir, base) = dirs(&["a", "ab", "a.b", "b/a"]);
    let zone = |name: &str| [format!("{base}/{name}")];
    let policy = policy(&[
        ("one", &zone("a")),
        ("two", &zone("ab")),
        ("three", &zone("a.b")),
        ("four", &zone("b/a")),
    ]);
    let all = resolve(&policy, &host(Guardable::Everything));
    assert_eq!((all.zones.len(), all.unusable.len()), (4, 0));
}

#[test]
fn unguardable_filesystem_and_file_are_reported() {
    let (dir, base) = dirs(&["a"]);
    fs::write(dir.path().join("file"), "").unwrap();
    let policy = policy(&[("a", &[format!("{base}/a"), format!("{base}/file")])]);
    let problems = resolve(&policy, &host(Guardable::Nothing)).unusable;
    assert_eq!(problems.len(), 2, "{problems:?}");
    let text = render(&problems, "p");
    let name = Mounts::read().unwrap().of(Path::new(&base)).unwrap().filesystem.clone();
    assert!(text.contains(&format!("is on {name}, which cannot be guarded")), "{text}");
    assert!(text.contains("/file` is not a directory"), "{text}");
}

#[test]
fn largest_zone_loses_excess_directories() {
    let (_dir, base) = dirs(&["a", "b/1", "b/2", "b/3"]);
    let policy = policy(&[("one", &[format!("{base}/a")]), ("two", &[format!("{base}/b/*")])]);
    let mut all = resolve(&policy, &host(Guardable::Everything));
    room::fit(&policy, &mut all, &HashSet::new(), 4);
    assert!(all.unusable.is_empty(), "{:?}", all.unusable);
    room::fit(&policy, &mut all, &HashSet::new(), 2);
    assert_eq!(all.unusable.len(), 1);
    assert_eq!(found(&all.zones[0], &base), ["a"]);
    assert_eq!(found(&all.zones[1], &base), ["b/1"]);
}

/// The agent's loop waited with whoever looked at a server that did not answer: after ten seconds
/// nobody was held any more, and after twenty the agent was ended, to wait again.
#[test]
fn unresponsive_mount_is_not_queried() {
    let (_dir, base) = dirs(&["a/site", "b/site"]);
    // Where it is mounted there is nothing: who looked would find that out.
    let table = format!(
        "1 0 8:1 / / rw - ext4 x rw\n2 1 0:40 / {base}/b rw - nfs4 x rw\n\
         3 1 0:41 / {base}/c rw - fuse.x x rw\n"
    );
    let host = with_mounts(Mounts::parse(table.as_bytes()), Guardable::Everything);
    let look = |patterns: &[&str]| {
        let paths: Vec<String> =
            patterns.iter().map(|pattern| format!("{base}/{pattern}")).collect();
        resolve(&policy(&[("z", &paths)]), &host)
    };
    let globbed = look(&["*/site"]);
    assert_eq!(found(&globbed.zones[0], &base), ["a/site"]);
    assert_eq!(globbed.unusable, []);
    assert!(globbed.skipped[0].to_string().contains("b/site` is on nfs4, which cannot be guarded"));
    assert_eq!(look(&["b/*"]).skipped.len(), 1, "nor is it listed");
    let named = look(&["c"]);
    assert!(named.unusable[0].to_string().contains("c` is on fuse.x, which cannot be guarded"));
    assert!(named.zones[0].missing.is_empty(), "nobody has looked whether it is there");
}

/// `ID 1 DEVICE ROOT POINT OPTIONS - TYPE x rw`, with the device of a directory that is there.
fn mount_line(base: &str, root: &str, point: &str, rest: &str) -> String {
    let dev = fs::metadata(base).unwrap().dev();
    let (major, minor) = (rustix::fs::major(dev), rustix::fs::minor(dev));
    format!("9 1 {major}:{minor} {root} {point} {rest}\n")
}

/// A zone with tenants at that level whose path is `base/zone`, on a host with these mounts.
fn look_with(base: &str, depth: u32, mounts: &str) -> Found {
    let paths = [format!("{base}/zone")];
    let mut policy = policy(&[("z", &paths)]);
    policy.zones[0].tenant_depth = depth;
    let table = mount_line(base, "/", "/", "rw - ext4 x rw") + mounts;
    resolve(&policy, &with_mounts(Mounts::parse(table.as_bytes()), Guardable::Everything))
}

fn named(found: &Found, base: &str) -> Vec<(String, u32)> {
    let roots = found.zones[0].roots.iter();
    let mut all: Vec<_> = roots
        .map(|root| {
            let name = root.name().strip_prefix(base).unwrap().to_str().unwrap().to_owned();
            (name, root.level())
        })
        .collect();
    all.sort();
    all
}

/// A volume for each customer was in no zone, and nothing said so.
#[test]
fn mounts_below_belong_to_the_zone() {
    let (_dir, base) = dirs(&["zone/a/data", "zone/b/proc", "zone/c", "zone/d", "zoned"]);
    let line = |root: &str, point: &str, rest: &str| {
        mount_line(&base, root, &format!("{base}/{point}"), rest)
    };
    let mounts = line("/vol/a", "zone/a", "rw - ext4 x rw")
        + &line("/vol/data", "zone/a/data", "rw - ext4 x rw")
        + &line("/", "zone/b/proc", "rw - proc x rw")
        // Something else is mounted over that directory.
        + &line("/vol/c", "zone/c", "rw - ext4 x rw")
        + "9 1 0:77 / {base}/zone/c rw - tmpfs x rw\n".replace("{base}", &base).as_str()
        // A tree that is in the zone anyway, one that only shows what is elsewhere, and a
        // neighbour.
        + &line(&format!("{base}/zone/a"), "zone/d", "rw - ext4 x rw")
        + &line("/usr", "zone/b", "ro - ext4 x rw")
        + &line("/vol/z", "zoned", "rw - ext4 x rw");
    let found = look_with(&base, 1, &mounts);
    assert_eq!(found.skipped, []);
    let expected = [("zone", 0), ("zone/a", 1), ("zone/a/data", 2)];
    assert_eq!(named(&found, &base), expected.map(|(name, level)| (name.to_owned(), level)));
}

/// All customers of a disk that is mounted at one of them were one tenant.
#[test]
fn customers_on_one_disk_are_tenants() {
    let (_dir, base) = dirs(&["zone/pool", "zone/alice", "zone/alice/again"]);
    let line = |root: &str, point: &str| {
        mount_line(&base, root, &format!("{base}/{point}"), "rw - ext4 x rw")
    };
    let mounts = line("/vol", "zone/pool")
        + &line("/vol/alice", "zone/alice")
        + &line("/vol/alice/x", "zone/alice/again");
    let found = look_with(&base, 1, &mounts);
    assert_eq!(found.skipped, []);
    let expected = [("zone", 0), ("zone/alice", 1), ("zone/pool", 1)];
    assert_eq!(named(&found, &base), expected.map(|(name, level)| (name.to_owned(), level)));
    let tenants: HashSet<u64> = found.zones[0].roots.iter().map(|root| root.tenant).collect();
    assert_eq!(tenants.len(), 3);
}

#[test]
fn shared_directory_is_reported() {
    let (_dir, base) = dirs(&["a/t", "b/t"]);
    let line = |root: &str, point: &str| {
        mount_line(&base, root, &format!("{base}/{point}"), "rw - ext4 x rw")
    };
    let mounts = mount_line(&base, "/", "/", "rw - ext4 x rw")
        + &line("/vol", "a/t")
        + &line("/vol/below", "b/t");
    let mounts = Mounts::parse(mounts.as_bytes());
    let (a, b) = ([format!("{base}/a")], [format!("{base}/b")]);
    let found =
        resolve(&policy(&[("a", &a), ("b", &b)]), &with_mounts(mounts, Guardable::Everything));
    let told = found.skipped.iter().map(ToString::to_string).collect::<String>();
    assert!(told.contains("b/t` shows what zone `a` guards as"), "{told}");
    assert_eq!(found.skipped[0].zone(), Some("b"));
}

#[test]
fn unguardable_mounts_below_are_reported() {
    let (_dir, base) = dirs(&["zone/a", "zone/b/c", "zone/d"]);
    let nfs = format!(
        "9 1 0:40 / {base}/zone/a rw - nfs4 x rw\n8 9 0:41 / {base}/zone/a/x rw - tmpfs x rw\n"
    );
    let whole = mount_line(&base, "/", &format!("{base}/zone/d"), "rw - ext4 x rw");
    let found = look_with(&base, 1, &(nfs + &whole));
    let paths: Vec<_> = found.skipped.iter().filter_map(RootProblem::path).collect();
    assert_eq!(paths, [format!("{base}/zone/a"), format!("{base}/zone/d")].map(PathBuf::from));
    assert!(found.skipped[0].to_string().contains("is on nfs4, which cannot be guarded"));
    assert!(found.skipped[1].to_string().contains("holds a protected path itself"));
    assert!(found.unusable.is_empty(), "the rest of the zone is guarded");
}

/// What is mounted at a tenant's directory or below is the tenant's; two filesystems have equal
/// inode numbers.
#[test]
fn a_mount_has_its_tenant() {
    let zone = policy(&[("z", &["/srv".to_owned()])]).zones.remove(0);
    let (_dir, base) = dirs(&["a", "b"]);
    let root = |below: &str, dev: u64, ino: u64| Root {
        path: format!("/srv/{below}").into(),
        identity: Identity { dev, ino },
        pattern: "/srv".to_owned(),
        protected: base.clone().into(),
        below: below.into(),
        tenant: 0,
    };
    let tenants = |depth, roots: &mut [Root]| {
        let zone = Zone { tenant_depth: depth, ..zone.clone() };
        branch::set_tenants(&zone, roots, &Default::default());
        roots.iter().map(|root| root.tenant).collect::<Vec<_>>()
    };
    let (outer, _) = identity(Path::new(&base)).unwrap();
    let (a, _) = identity(&Path::new(&base).join("a")).unwrap();
    let dev = outer.dev;
    let all =
        tenants(1, &mut [root("", dev, 2), root("x", 1, 2), root("y", 3, 2), root("a/data", 1, 2)]);
    assert_eq!(all[0], 0, "the numbers of the first filesystem are used as they are");
    assert!(all[1] != all[2] && all[1] != 2 && all[2] != 2, "{all:?}");
    assert_eq!(all[3], a.ino, "the tenant above the mount");
    let above = tenants(2, &mut [root("", dev, 2), root("disk1", 1, 2), root("disk2", 3, 2)]);
    assert!(above[1] != above[2] && above[0] == 0, "{above:?}");
    assert_eq!(tenants(0, &mut [root("", dev, 7)]), [7]);
}

#[test]
fn a_link_of_root_is_followed() {
    let (dir, base) = dirs(&["zone/a", "disk/bob", "disk/eve", "zone/g/x"]);
    symlink(format!("{base}/disk/bob"), dir.path().join("zone/bob")).unwrap();
    symlink("../disk/eve/../bob", dir.path().join("zone/twice")).unwrap();
    symlink("a", dir.path().join("zone/inside")).unwrap();
    symlink("nowhere", dir.path().join("zone/broken")).unwrap();
    symlink(format!("{base}/zone/bob"), dir.path().join("zone/indirect")).unwrap();
    symlink(format!("{base}/disk/eve"), dir.path().join("zone/g/x/deep")).unwrap();
    let found = look_with(&base, 1, "");
    let own = fs::metadata(dir.path().join("zone")).unwrap();
    if own.uid() == 0 {
        let expected = [("zone", 0), ("zone/bob", 1)];
        assert_eq!(named(&found, &base), expected.map(|(name, level)| (name.to_owned(), level)));
        // Others may write where the link is.
        fs::set_permissions(dir.path().join("zone"), PermissionsExt::from_mode(0o777)).unwrap();
    }
    let found = look_with(&base, 1, "");
    assert_eq!(named(&found, &base), [("zone".to_owned(), 0)]);
    let told = found.skipped.iter().map(ToString::to_string).collect::<String>();
    assert!(told.contains("zone/bob") && told.contains("users other than root"), "{told}");
}

/// A customer who made 4,300 directories under a glob pushed out one that was guarded.
#[test]
fn new_directories_displace_no_guarded_one() {
    let names: Vec<String> = (0..12).map(|n| format!("home/eve/{n:02}")).collect();
    let mut all: Vec<&str> = names.iter().map(String::as_str).collect();
    all.extend(["home/zoe/a", "home/zoe/b"]);
    let (dir, base) = dirs(&all);
    let policy = policy(&[("z", &[format!("{base}/home/*/*")])]);
    let host = host(Guardable::Everything);
    let identity = |name: &str| identity(&dir.path().join(name)).unwrap().0;
    let fitted = |guarded: &[&str], room| {
        let mut found = resolve(&policy, &host);
        let guarded = guarded.iter().map(|name| identity(name)).collect();
        room::fit(&policy, &mut found, &guarded, room);
        found
    };
    let zoes = |all: &Found| {
        found(&all.zones[0], &base).iter().filter(|name| name.contains("zoe")).count()
    };
    let kept = fitted(&["home/zoe/a", "home/zoe/b"], 4);
    assert_eq!((zoes(&kept), kept.zones[0].roots.len(), kept.unusable.len()), (2, 4, 1));
    if fs::metadata(dir.path()).unwrap().uid() == 0 {
        std::os::unix::fs::chown(dir.path().join("home/eve"), Some(1000), None).unwrap();
        let limited = fitted(&[], 16);
        assert_eq!((zoes(&limited), limited.zones[0].roots.len()), (2, 6));
        assert_eq!((limited.skipped.len(), limited.unusable.len()), (1, 0));
        assert!(limited.skipped[0].to_string().contains("8 more are not guarded"));
    }
}

/// Bases below `base`: the path, whether it is guarded, and the patterns that go on there.
fn bases(all: &Found, base: &str) -> Vec<(String, bool, Vec<String>)> {
    let below =
        all.bases.iter().filter_map(|found| Some((found, found.path.strip_prefix(base).ok()?)));
    let names = |pattern: &BasePattern| {
        pattern.names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join("/")
    };
    let told = |(found, path): (&Base, &Path)| {
        let patterns = found.patterns.iter().map(names).collect();
        (path.to_str().unwrap().to_owned(), found.is_guarded, patterns)
    };
    below.map(told).collect()
}

/// The same where these directories are mounts.
fn look_at_mounts(base: &str, points: &[&str], patterns: &[&str]) -> Found {
    let points = points.iter().map(|point| format!("{base}/{point}"));
    let line = |(n, point): (usize, String)| {
        let point = point.trim_end_matches('/');
        format!("{n} 1 8:{n} / {point} rw - ext4 /dev/x rw\n")
    };
    let table = String::from("1 0 8:1 / / rw - ext4 /dev/x rw\n")
        + &(2..).zip(points).map(line).collect::<String>();
    let paths: Vec<String> = patterns.iter().map(|pattern| format!("{base}/{pattern}")).collect();
    let mounts = Mounts::parse(table.as_bytes());
    resolve(&policy(&[("z", &paths)]), &with_mounts(mounts, Guardable::Everything))
}

fn base_of(path: &str, is_guarded: bool, patterns: &[&str]) -> (String, bool, Vec<String>) {
    let patterns = patterns.iter().map(|text| (*text).to_owned()).collect();
    (path.to_owned(), is_guarded, patterns)
}

#[test]
fn bases_are_mounts_crossed_by_patterns() {
    let (_dir, base) = dirs(&["home/alice/www", "home/bob", "srv/there"]);
    let patterns = ["srv/there", "srv/late/x", "home/*/www"];
    let all = look_at_mounts(&base, &["", "home", "home/bob", "home/alice/www/x"], &patterns);
    let expected = [
        // Globs first; the home directories are on another mount, the rest is here.
        base_of("", true, &["home/*/www", "srv/there", "srv/late/x"]),
        base_of("home", true, &["*/www"]),
        base_of("home/bob", true, &["www"]),
    ];
    assert_eq!(bases(&all, &base), expected);
    let all = look_at_mounts(&base, &["", "home"], &["home/*/www"]);
    assert_eq!(bases(&all, &base)[0], base_of("", false, &["home/*/www"]));
}

/// Its owner could lead the kernel programs into any tree.
#[test]
fn bases_follow_no_user_links() {
    let (dir, base) = dirs(&["home/alice", "elsewhere/victim/www"]);
    symlink(dir.path().join("elsewhere"), dir.path().join("home/alice/sites")).unwrap();
    let points = ["", "elsewhere", "elsewhere/victim"];
    let all = look_at_mounts(&base, &points, &["home/*/sites/*/www"]);
    assert_eq!(bases(&all, &base), [base_of("", true, &["home/*/sites/*/www"])]);
    // The administrator wrote what comes before the first glob.
    symlink(dir.path().join("elsewhere"), dir.path().join("link")).unwrap();
    let all = look_at_mounts(&base, &points, &["link/v*/www"]);
    assert_eq!(bases(&all, &base)[1], base_of("elsewhere", true, &["v*/www"]));
}

#[test]
fn bases_are_not_inside_a_zone() {
    let (_dir, base) = dirs(&["data/sub", "srv/bind"]);
    let table = format!(
        "1 0 8:1 / / rw - ext4 /dev/x rw\n2 1 8:2 / {base} rw - ext4 /dev/y rw\n\
         3 2 8:2 /data/sub {base}/srv/bind rw - ext4 /dev/y rw\n"
    );
    let mounts = with_mounts(Mounts::parse(table.as_bytes()), Guardable::Everything);
    let paths = ["data", "srv/bind/x*"].map(|path| format!("{base}/{path}"));
    let all = resolve(&policy(&[("z", &paths)]), &mounts);
    assert_eq!(bases(&all, &base), [base_of("", true, &["srv/bind/x*", "data"])]);
}

#[test]
fn bases_skip_unmatchable_patterns() {
    let (_dir, base) = dirs(&["a"]);
    let long = format!("a/c*/{}", "x".repeat(64));
    let deep = (0..20).map(|_| "d").collect::<Vec<_>>().join("/");
    let all = look_at_mounts(&base, &["a"], &["a/[ä-ü]", &long, &format!("a/{deep}"), "a/b*"]);
    assert_eq!(bases(&all, &base), [base_of("a", true, &["b*"])]);
    let many: Vec<String> = (0..40).map(|n| format!("a/x{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let all = look_at_mounts(&base, &["a"], &many);
    assert_eq!(bases(&all, &base)[0].2.len(), MAX_BASE_PATTERNS as usize);
}

/// Where the kernel programs cannot guard, names are compared for mounts only.
#[test]
fn bases_are_guarded_where_possible() {
    let (_dir, base) = dirs(&["a"]);
    let paths = [format!("{base}/a/*")];
    let found = resolve(&policy(&[("z", &paths)]), &host(Guardable::Nothing));
    assert!(!found.bases.is_empty());
    assert!(found.bases.iter().all(|base| !base.is_guarded), "{:?}", found.bases);
}
