use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use super::filesystem::Guardable;
use super::*;

fn host(guardable: Guardable) -> Host {
    Host { mounts: Mounts::read().unwrap(), guardable }
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

fn resolve_one(base: &str, patterns: &[&str]) -> ZoneRoots {
    let paths: Vec<String> = patterns.iter().map(|pattern| format!("{base}/{pattern}")).collect();
    resolve(&policy(&[("z", &paths)]), &host(Guardable::Everything)).unwrap().remove(0)
}

#[test]
fn globs_take_directories_and_leave_files_and_hidden_names() {
    let (dir, base) = dirs(&["web1/www", "web2/www", "web3", ".web/www", "other/www"]);
    fs::write(dir.path().join("web9"), "").unwrap();
    let zone = resolve_one(&base, &["web?/www"]);
    assert_eq!(found(&zone, &base), ["web1/www", "web2/www"]);
    assert!(zone.missing.is_empty());
    assert_eq!(found(&resolve_one(&base, &["*"]), &base), ["other", "web1", "web2", "web3"]);
}

#[test]
fn what_does_not_exist_is_missing_and_found_when_it_appears() {
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
fn links_are_followed_and_one_directory_counts_once() {
    let (dir, base) = dirs(&["real/a", "links"]);
    symlink(dir.path().join("real/a"), dir.path().join("links/one")).unwrap();
    symlink("../real/a", dir.path().join("links/two")).unwrap();
    symlink("nowhere", dir.path().join("links/broken")).unwrap();
    let zone = resolve_one(&base, &["links/*", "real/a"]);
    assert_eq!(found(&zone, &base), ["real/a"]);
    assert!(zone.missing.is_empty(), "{:?}", zone.missing);
}

#[test]
fn zones_that_meet_through_a_link_are_refused() {
    let (dir, base) = dirs(&["outer/inner"]);
    symlink("outer/inner", dir.path().join("link")).unwrap();
    let policy = policy(&[("a", &[format!("{base}/outer")]), ("b", &[format!("{base}/link")])]);
    let problems = resolve(&policy, &host(Guardable::Everything)).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    let text = render(&problems, "/etc/holdfast/policy.toml");
    for part in
        ["policy.toml: error: zone `b`", "outer/inner", "/link", "is inside", "zone `a`", "help: "]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn two_zones_on_one_directory_are_refused() {
    let (dir, base) = dirs(&["data"]);
    symlink("data", dir.path().join("alias")).unwrap();
    let policy = policy(&[("a", &[format!("{base}/data")]), ("b", &[format!("{base}/alias")])]);
    let problems = resolve(&policy, &host(Guardable::Everything)).unwrap_err();
    assert!(render(&problems, "p").contains("is the same directory as"), "{problems:?}");
}

#[test]
fn roots_inside_one_another_through_a_bind_mount_are_refused() {
    let (_dir, base) = dirs(&["data/sub", "elsewhere"]);
    // As if data/sub were mounted on elsewhere, too.
    let table = format!(
        "1 1 8:1 / / rw - ext4 x rw\n2 1 8:1 {base}/data/sub {base}/elsewhere rw - ext4 x rw\n"
    );
    let host = Host { mounts: Mounts::parse(table.as_bytes()), guardable: Guardable::Everything };
    let policy = policy(&[("a", &[format!("{base}/data")]), ("b", &[format!("{base}/elsewhere")])]);
    let problems = resolve(&policy, &host).unwrap_err();
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
    assert_eq!(resolve(&policy, &host(Guardable::Everything)).unwrap().len(), 4);
}

#[test]
fn a_filesystem_that_cannot_be_guarded_and_a_file_are_both_reported() {
    let (dir, base) = dirs(&["a"]);
    fs::write(dir.path().join("file"), "").unwrap();
    let policy = policy(&[("a", &[format!("{base}/a"), format!("{base}/file")])]);
    let problems = resolve(&policy, &host(Guardable::Nothing)).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:?}");
    let text = render(&problems, "p");
    let name = Mounts::read().unwrap().of(Path::new(&base)).unwrap().filesystem.clone();
    assert!(text.contains(&format!("is on {name}, which cannot be guarded")), "{text}");
    assert!(text.contains("/file` is not a directory"), "{text}");
}
