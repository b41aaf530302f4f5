//! What a change of policy is told as.

use holdfast_policy::{Change, Direction, Policy};

const BEFORE: &str = r#"
on_audit_failure = "deny"
[[zone]]
name = "a"
role = "primary"
paths = ["/srv/a", "/srv/b"]
mode = "enforce"
on_trip = "hold"
hold_timeout = "30m"
[[zone.budget]]
per = "unit"
ops = ["remove", "truncate"]
files = 10
tenants = 3
window = "10m"
[[zone.budget]]
per = "zone"
bytes = "1GiB"
window = "1d"
[allowances]
signers = "/etc/holdfast/allowed_signers"
max_length = "8h"
[[group]]
name = "ops"
people = ["alice@example.com", "bob@example.com"]
[[trust]]
role = "primary"
needs = [{ group = "ops", people = 2 }]
[break_glass]
max_length = "1h"
max_files = 1000
max_bytes = "1GiB"
signers = ["alice@example.com"]
"#;

fn policy(text: &str) -> Policy {
    Policy::parse("p.toml", text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn changes(from: &str, to: &str) -> Vec<Change> {
    assert!(BEFORE.contains(from), "{from}");
    policy(&BEFORE.replacen(from, to, 1)).changes(&policy(BEFORE))
}

#[test]
fn each_change_is_told_in_words() {
    use Direction::{Looser, Other, Tighter};
    for (from, to, direction, what, says) in [
        (
            "\"enforce\"",
            "\"observe\"",
            Looser,
            "mode",
            "ops over budget are only observed instead of stopped",
        ),
        (
            "\"hold\"\nhold_timeout = \"30m\"",
            "\"deny\"",
            Tighter,
            "on_trip",
            "an op over budget is denied instead of held until a person decides",
        ),
        (
            "\"30m\"",
            "\"1h\"",
            Looser,
            "hold_timeout",
            "who is held and nobody decides about is denied after 1h instead of 30m",
        ),
        ("\"/srv/a\", ", "", Looser, "paths", "/srv/a is no longer a root"),
        ("\"/srv/b\"", "\"/srv/b\", \"/srv/c\"", Tighter, "paths", "/srv/c becomes a root"),
        (
            "role = \"primary\"\npaths",
            "role = \"backup\"\npaths",
            Other,
            "role",
            "role: backup instead of primary",
        ),
        (
            "mode =",
            "tenant_depth = 0\nmode =",
            Other,
            "tenant_depth",
            "each root is a tenant instead of tenants are 1 level below the root",
        ),
        (
            "mode =",
            "tenant_counts_after = \"100 files\"\nmode =",
            Looser,
            "tenant_counts_after",
            "a tenant counts after 100 files instead of 1 file",
        ),
        (
            "mode =",
            "manifest = false\nmode =",
            Looser,
            "manifest",
            "what is destroyed is no longer listed in the manifest",
        ),
        (
            "files = 10\n",
            "files = 11\n",
            Looser,
            "budget",
            "budget \"everyone per unit, 10m (remove, truncate)\": files 11 instead of 10",
        ),
        (
            "tenants = 3",
            "tenants = 2",
            Tighter,
            "budget",
            "budget \"everyone per unit, 10m (remove, truncate)\": tenants 2 instead of 3",
        ),
        (
            "files = 10\n",
            "",
            Looser,
            "budget",
            "budget \"everyone per unit, 10m (remove, truncate)\": files not limited instead of 10",
        ),
        (
            "files = 10\n",
            "files = 10\nbytes = \"1MiB\"\n",
            Tighter,
            "budget",
            "budget \"everyone per unit, 10m (remove, truncate)\": bytes 1MiB instead of not \
             limited",
        ),
        (
            "tenants = 3",
            "tenants = 3\nlatch = \"1m\"",
            Looser,
            "budget",
            "budget \"everyone per unit, 10m (remove, truncate)\": a trip lasts 1m instead of 10m",
        ),
        (
            "\"deny\"",
            "\"continue\"",
            Looser,
            "on_audit_failure",
            "while the audit log cannot be written, decisions take effect all the same",
        ),
        (
            "\"8h\"",
            "\"4h\"",
            Tighter,
            "allowances",
            "an allowance is good for 4h at most instead of 8h",
        ),
        (
            "max_length = \"8h\"",
            "any_host = true",
            Looser,
            "allowances",
            "an allowance may be for every host",
        ),
        (
            ", \"bob@example.com\"",
            ", \"carol@example.com\"",
            Other,
            "group",
            "bob@example.com leaves group ops",
        ),
        (
            "people = 2",
            "people = 1",
            Other,
            "trust",
            "who can sign for primary zones: 1 of ops instead of 2 of ops",
        ),
        (
            "max_files = 1000",
            "max_files = 2000",
            Looser,
            "break_glass",
            "a break-glass destroys 2000 files at most instead of 1000 files",
        ),
        (
            "\n[allowances]",
            "\n[manifest]\nmax_bytes = \"1GiB\"\n[allowances]",
            Other,
            "manifest",
            "the manifest takes at most 1GiB of the disk instead of 256MiB",
        ),
    ] {
        let changes = changes(from, to);
        let told =
            changes.iter().map(|change| (change.direction, change.what, change.text.as_str()));
        assert_eq!(
            told.clone().next(),
            Some((direction, what, says)),
            "{from} -> {to}: {changes:?}"
        );
        if what != "group" {
            assert_eq!(told.count(), 1, "{changes:?}");
        }
    }
}

#[test]
fn new_account_is_a_new_budget() {
    let changes = changes("window = \"10m\"", "window = \"5m\"");
    let told: Vec<_> = changes.iter().map(|c| (c.direction, c.text.as_str())).collect();
    assert_eq!(
        told,
        [
            (
                Direction::Looser,
                "budget \"everyone per unit, 10m (remove, truncate)\" is gone: 10 files, 3 tenants"
            ),
            (
                Direction::Tighter,
                "a new budget, of which nothing is spent: 10 files, 3 tenants for everyone per \
                 unit, 5m (remove, truncate)"
            ),
        ]
    );
    assert!(changes.iter().all(|change| change.zone.as_deref() == Some("a")));
}

#[test]
fn zones_that_come_and_go() {
    let without = policy(&BEFORE.replace("name = \"a\"", "name = \"b\""));
    let changes = without.changes(&policy(BEFORE));
    let [gone, new] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((gone.direction, gone.zone.as_deref()), (Direction::Looser, Some("a")));
    assert_eq!(gone.text, "the zone is gone: nothing guards /srv/a, /srv/b any more");
    assert_eq!((new.direction, new.zone.as_deref()), (Direction::Tighter, Some("b")));
}

#[test]
fn rewritten_policy_has_no_change() {
    assert_eq!(policy(BEFORE).changes(&policy(BEFORE)), []);
    assert_eq!(policy(&policy(BEFORE).to_string()).changes(&policy(BEFORE)), []);
}

/// Where a change is told to be looser, it has to be recorded before it takes effect; and what has
/// to be is never told to be only tighter.
#[test]
fn looser_changes_are_recorded_first() {
    let edits = [
        ("\"deny\"", "\"continue\""),
        ("\"enforce\"", "\"observe\""),
        ("\"hold\"\nhold_timeout = \"30m\"", "\"throttle\""),
        ("\"hold\"\nhold_timeout = \"30m\"", "\"deny\""),
        ("\"30m\"", "\"31m\""),
        ("\"30m\"", "\"29m\""),
        ("\"/srv/a\", ", ""),
        ("\"/srv/b\"", "\"/srv/b\", \"/srv/c\""),
        ("role = \"primary\"\npaths", "role = \"backup\"\npaths"),
        ("name = \"a\"", "name = \"b\""),
        ("[\"remove\", \"truncate\"]", "[\"remove\"]"),
        ("files = 10", "files = 11"),
        ("files = 10", "files = 9"),
        ("files = 10\n", ""),
        ("tenants = 3", "tenants = 4"),
        ("\"10m\"", "\"5m\""),
        ("mode = ", "manifest = false\nmode = "),
        ("\"unit\"", "\"user\""),
        ("\"1GiB\"\nwindow", "\"2GiB\"\nwindow"),
        ("mode =", "tenant_depth = 2\nmode ="),
    ];
    for (from, to) in edits {
        let (before, after) = (policy(BEFORE), policy(&BEFORE.replacen(from, to, 1)));
        let changes = after.changes(&before);
        assert!(!changes.is_empty(), "{from} -> {to}");
        let looser = changes.iter().any(|change| change.direction == Direction::Looser);
        let only_tighter = changes.iter().all(|change| change.direction == Direction::Tighter);
        assert!(!looser || after.widens(&before), "{from} -> {to}: {changes:?}");
        assert!(!only_tighter || !after.widens(&before), "{from} -> {to}: {changes:?}");
    }
}
