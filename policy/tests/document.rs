//! The policy file as a whole: what it gives, what it says when it is wrong, and that it is read as
//! it was written.
#![expect(clippy::unwrap_used, reason = "a test that cannot make its data has to fail")]

use std::time::Duration;

use holdfast_abi::{MAX_BUDGETS, Mode, OnTrip, Op, Per, Who};
use holdfast_policy::break_glass::BreakGlass;
use holdfast_policy::{
    Budget, DEFAULT_HOLD_TIMEOUT, Group, MAX_HOLD_TIMEOUT, MAX_MANIFEST_BYTES, MIN_HOLD_TIMEOUT,
    MIN_MANIFEST_BYTES, Manifest, Need, OnAuditFailure, OpSet, PathPattern, Policy, Role, Signing,
    TenantCountsAfter, Trust, Window, Zone, ZoneName,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

const SHIPPED: &str = include_str!("../../agent/dist/policy.toml");

fn parse(text: &str) -> Policy {
    match Policy::parse("test.toml", text) {
        Ok(policy) => policy,
        Err(problems) => panic!("{problems}"),
    }
}

#[test]
fn omitted_fields_get_documented_defaults() {
    let policy = parse(
        r#"
        [[zone]]
        name = "customers"
        role = "primary"
        paths = ["/srv/customers/"]
        [[zone.budget]]
        per = "unit"
        bytes = "2GiB"
        window = "10m"
        "#,
    );
    let expected = Zone {
        name: ZoneName::parse("customers").unwrap(),
        role: Role::Primary,
        paths: vec![PathPattern::parse("/srv/customers").unwrap()],
        tenant_depth: 1,
        tenant_counts_after: TenantCountsAfter::Files(1),
        manifest: true,
        mode: Mode::Observe,
        on_trip: OnTrip::Hold,
        hold_timeout: Duration::from_secs(30 * 60),
        tell_terminal: true,
        budgets: vec![Budget {
            per: Per::Unit,
            who: Who::Everyone,
            ops: OpSet::GUARDED,
            files: None,
            bytes: Some(2 << 30),
            tenants: None,
            window: Window::parse("10m").unwrap(),
            latch: Window::parse("10m").unwrap(),
        }],
    };
    assert_eq!(policy.zones, [expected]);
    assert!(policy.zone("customers").is_some());
    assert!(policy.zone("backups").is_none());
}

/// A policy of one zone with these lines of its own.
fn zone(lines: &str) -> Zone {
    let budget = "[[zone.budget]]\nper = \"unit\"\nfiles = 1\nwindow = \"10m\"";
    let text = format!("[[zone]]\nname = \"z\"\npaths = [\"/z\"]\n{lines}\n{budget}\n");
    parse(&text).zones.remove(0)
}

/// What happens to an op over budget, as the zone says it or by its role.
#[test]
fn trip_fields_have_role_defaults() {
    let of = |lines: &str| {
        let zone = zone(lines);
        (zone.on_trip, zone.hold_timeout.as_secs(), zone.tell_terminal)
    };
    for (lines, expected) in [
        ("role = 'primary'", (OnTrip::Hold, 1_800, true)),
        ("role = 'backup'", (OnTrip::Deny, 1_800, true)),
        ("role = 'primary'\non_trip = 'deny'", (OnTrip::Deny, 1_800, true)),
        ("role = 'backup'\non_trip = 'hold'\nhold_timeout = '7d'", (OnTrip::Hold, 604_800, true)),
        (
            "role = 'primary'\nhold_timeout = '10s'\ntell_terminal = false",
            (OnTrip::Hold, 10, false),
        ),
        (
            "role = 'primary'\non_trip = 'throttle'\ntell_terminal = false",
            (OnTrip::Throttle, 1_800, false),
        ),
        // It can be said before it happens.
        ("role = 'backup'\nmode = 'observe'\non_trip = 'hold'", (OnTrip::Hold, 1_800, true)),
    ] {
        assert_eq!(of(lines), expected, "{lines}");
    }
}

/// A policy shown to people leaves nothing to defaults.
#[test]
fn shown_policy_omits_no_default() {
    let policy = parse(
        "zone = [{ name = 'z', role = 'backup', paths = ['/a', '/b/*'], budget = [{ per = 'zone', \
         who = 'owners', ops = ['move_out', 'remove'], files = 5, window = '3600s' }] }]",
    );
    let expected = r#"on_audit_failure = "deny"

[[zone]]
name = "z"
role = "backup"
paths = ["/a", "/b/*"]
tenant_depth = 1
tenant_counts_after = "1 file"
manifest = true
mode = "observe"
on_trip = "deny"

[[zone.budget]] # owners per zone, 1h (remove, move_out)
per = "zone"
who = "owners"
ops = ["remove", "move_out"]
files = 5
# bytes: not limited
# tenants: not limited
window = "1h"
latch = "10m"

[manifest]
max_bytes = "256MiB"

[allowances]
signers = "/etc/holdfast/allowed_signers"
# revoked: no list
max_length = "8h"
any_host = false
# role primary: nobody can sign
# role backup: nobody can sign

# break_glass: none can be opened
"#;
    assert_eq!(policy.to_string(), expected);
}

const ONE_ZONE: &str = "zone = [{ name = 'z', role = 'backup', paths = ['/a'], budget = [{ \
                        per = 'zone', ops = ['remove'], bytes = '1KiB', window = '1h' }] }]\n";

#[test]
fn who_can_sign() {
    let policy = parse(&format!(
        "{ONE_ZONE}[allowances]\nsigners = '/a/signers'\nrevoked = '/a/revoked'\n\
         max_length = '90m'\nany_host = true\n\
         [[group]]\nname = 'ops'\npeople = ['alice@example.com', 'bob@example.com', \
         'carol@example.com']\n\
         [[group]]\nname = 'backup-owners'\npeople = ['carol@example.com']\n\
         [[trust]]\nrole = 'backup'\nhardware = true\nverified = true\nrequester_may_sign = true\n\
         needs = [{{ group = 'ops', people = 2 }}, {{ group = 'backup-owners', people = 1 }}]\n"
    ));
    let shown = r#"[allowances]
signers = "/a/signers"
revoked = "/a/revoked"
max_length = "90m"
any_host = true
# role primary: nobody can sign

[[group]]
name = "ops"
people = ["alice@example.com", "bob@example.com", "carol@example.com"]

[[group]]
name = "backup-owners"
people = ["carol@example.com"]

[[trust]]
role = "backup"
needs = [{ group = "ops", people = 2 }, { group = "backup-owners", people = 1 }]
requester_may_sign = true
hardware = true
verified = true
"#;
    assert!(policy.to_string().contains(shown), "{policy}");
    let signing = &policy.signing;
    assert_eq!(
        signing.people(),
        ["alice@example.com", "bob@example.com", "carol@example.com"],
        "each once"
    );
    assert!(signing.trust(Role::Primary).is_none());
    assert_eq!(signing.trust(Role::Backup).map(Trust::people), Some(3));
    assert_eq!(signing.group("backup-owners").map(|group| group.people.len()), Some(1));
    let value = serde_json::to_value(&policy).unwrap();
    assert_eq!(value["allowances"]["max_length_seconds"], 5_400);
    assert_eq!(value["groups"][1]["people"][0], "carol@example.com");
    assert_eq!(value["trust"][0]["needs"][0]["people"], 2);
}

/// A policy that says nothing about allowances trusts no signer.
#[test]
fn silent_policy_trusts_nobody() {
    assert_eq!(parse(ONE_ZONE).signing, Signing::default());
    let defaults = "[[group]]\nname = 'ops'\npeople = ['a']\n\
                    [[trust]]\nrole = 'primary'\nneeds = [{ group = 'ops', people = 1 }]\n";
    let trust = parse(&format!("{ONE_ZONE}{defaults}")).signing.trust.remove(0);
    assert_eq!((trust.requester_may_sign, trust.hardware, trust.verified), (false, false, false));
}

/// Shown to people, a zone has only the fields that mean something with its `on_trip`.
#[test]
fn shown_zone_omits_meaningless_fields() {
    let shown = |lines: &str| {
        let shown = zone(lines).to_string();
        let (_, trips) = shown.split_once("mode = \"observe\"\n").unwrap();
        trips.split_once("\n\n").unwrap().0.to_owned()
    };
    for (lines, expected) in [
        ("role = 'primary'", "on_trip = \"hold\"\nhold_timeout = \"30m\"\ntell_terminal = true"),
        (
            "role = 'primary'\nhold_timeout = '5400s'\ntell_terminal = false",
            "on_trip = \"hold\"\nhold_timeout = \"90m\"\ntell_terminal = false",
        ),
        ("role = 'primary'\non_trip = 'deny'", "on_trip = \"deny\""),
        ("role = 'backup'\non_trip = 'throttle'", "on_trip = \"throttle\"\ntell_terminal = true"),
    ] {
        assert_eq!(shown(lines), expected);
    }
}

#[test]
fn json_policy_uses_same_words() {
    let policy = parse(
        "zone = [{ name = 'z', role = 'backup', paths = ['/a'], budget = [{ per = 'zone', \
         ops = ['remove'], bytes = '1KiB', window = '1h' }] }]",
    );
    let expected = serde_json::json!({ "on_audit_failure": "deny", "zones": [{
        "name": "z", "role": "backup", "paths": ["/a"], "tenant_depth": 1,
        "tenant_counts_after": "1 file", "manifest": true, "mode": "observe",
        "on_trip": "deny", "hold_timeout": null, "hold_timeout_seconds": null,
        "tell_terminal": null,
        "budgets": [{
            "label": "everyone per zone, 1h (remove)", "per": "zone", "who": "everyone",
            "ops": ["remove"], "files": null, "bytes": 1024, "tenants": null,
            "window": "1h", "window_seconds": 3600, "latch": "10m", "latch_seconds": 600,
        }],
    }],
    "allowances": {
        "signers": "/etc/holdfast/allowed_signers", "revoked": null, "max_length": "8h",
        "max_length_seconds": 28_800, "any_host": false,
    },
    "groups": [], "trust": [], "break_glass": null, "manifest": { "max_bytes": 268_435_456 }});
    assert_eq!(serde_json::to_value(&policy).unwrap(), expected);

    let held = serde_json::to_value(zone("role = 'primary'")).unwrap();
    assert_eq!(held["on_trip"], "hold");
    assert_eq!(held["hold_timeout"], "30m");
    assert_eq!(held["hold_timeout_seconds"], 1_800);
    assert_eq!(held["tell_terminal"], true);
    let throttled = serde_json::to_value(zone("role = 'primary'\non_trip = 'throttle'")).unwrap();
    assert_eq!(throttled["hold_timeout"], serde_json::Value::Null);
    assert_eq!(throttled["tell_terminal"], true);
}

fn some_name() -> impl Strategy<Value = ZoneName> {
    "[a-z0-9][a-z0-9._-]{0,62}"
        .prop_filter_map("reserved", |text: String| ZoneName::parse(&text).ok())
}

fn some_budget() -> impl Strategy<Value = Budget> {
    let ops = subsequence(OpSet::GUARDED.iter().collect::<Vec<Op>>(), 1..=5)
        .prop_map(|ops| OpSet::new(&ops).unwrap());
    let bytes = prop_oneof![1..10_000u64, (1..2_000u64).prop_map(|n| n << 30)];
    let seconds = |seconds: u64| Window::parse(&format!("{seconds}s")).unwrap();
    let window = (1..=Window::MAX.seconds())
        .prop_flat_map(|window| (Just(window), 1..=window))
        .prop_map(move |(window, latch)| (seconds(window), seconds(latch)));
    (
        select(Per::ALL),
        select(Who::ALL),
        ops,
        1..=i64::MAX as u64,
        proptest::option::of(bytes),
        proptest::option::of(1..=64u32),
        window,
    )
        .prop_map(|(per, who, ops, files, bytes, tenants, (window, latch))| Budget {
            per,
            who,
            ops,
            files: (files % 2 == 0 || (bytes, tenants) == (None, None)).then_some(files),
            bytes,
            tenants,
            window,
            latch,
        })
}

/// Those settings that `on_trip` leaves without a meaning are the default.
fn some_trips() -> impl Strategy<Value = (OnTrip, Duration, bool)> {
    let timeout = MIN_HOLD_TIMEOUT.as_secs()..=MAX_HOLD_TIMEOUT.as_secs();
    (select(OnTrip::ALL), timeout, any::<bool>()).prop_map(|(on_trip, seconds, tell)| match on_trip
    {
        OnTrip::Deny => (on_trip, DEFAULT_HOLD_TIMEOUT, true),
        OnTrip::Hold => (on_trip, Duration::from_secs(seconds), tell),
        OnTrip::Throttle => (on_trip, DEFAULT_HOLD_TIMEOUT, tell),
    })
}

fn some_counts_after() -> impl Strategy<Value = TenantCountsAfter> {
    prop_oneof![
        (1..=i64::MAX as u64).prop_map(TenantCountsAfter::Files),
        (1..=i64::MAX as u64).prop_map(TenantCountsAfter::Bytes),
    ]
}

fn some_zone() -> impl Strategy<Value = Zone> {
    (
        some_name(),
        select(Role::ALL),
        vec("(/[a-z\"'# =ü][a-z0-9]{0,3}(\\*|\\?|\\[a-c\\]|\\[!x\\])?){1,3}", 1..4),
        (0..=4u32, any::<bool>(), some_counts_after()),
        select(Mode::ALL),
        some_trips(),
        vec(some_budget(), 1..=MAX_BUDGETS),
    )
        .prop_map(|(name, role, paths, place, mode, trips, budgets)| {
            let (tenant_depth, manifest, tenant_counts_after) = place;
            // Each below a directory of its own, so that none overlaps another.
            let pattern = |(index, path)| {
                PathPattern::parse(&format!("/{}{index}{path}", name.as_str())).unwrap()
            };
            let paths = paths.iter().enumerate().map(pattern).collect();
            let (on_trip, hold_timeout, tell_terminal) = trips;
            Zone {
                name,
                role,
                paths,
                tenant_depth,
                tenant_counts_after,
                manifest,
                mode,
                on_trip,
                hold_timeout,
                tell_terminal,
                budgets,
            }
        })
}

/// Groups that share people, and needs that are met by so many different people.
fn some_signing() -> impl Strategy<Value = Signing> {
    let people: Vec<String> = (0..6).map(|n| format!("p{n}+x@example.com")).collect();
    let groups = vec(subsequence(people, 1..=6), 1..4);
    let trust = || proptest::option::of((any::<bool>(), any::<bool>(), any::<bool>(), 1..=2u32));
    let path = || "/[a-z\"# \\\\ü]{1,8}";
    (groups, trust(), trust(), path(), proptest::option::of(path()), 60..=604_800u64, any::<bool>())
        .prop_map(|(groups, primary, backup, signers, revoked, seconds, any_host)| {
            let group = |(index, people)| Group { name: format!("g-{index}"), people };
            let groups: Vec<Group> = groups.into_iter().enumerate().map(group).collect();
            let trust = [(Role::Primary, primary), (Role::Backup, backup)]
                .into_iter()
                .filter_map(|(role, trust)| trust.map(|trust| (role, trust)))
                .map(|(role, (requester_may_sign, hardware, verified, people))| {
                    let group = &groups[people as usize % groups.len()];
                    let people = people.min(group.people.len() as u32);
                    let needs = vec![Need { group: group.name.clone(), people }];
                    let verified = verified && hardware;
                    Trust { role, needs, requester_may_sign, hardware, verified }
                })
                .collect();
            let max_length = Duration::from_secs(seconds);
            Signing { signers, revoked, max_length, any_host, groups, trust }
        })
}

fn some_policy() -> impl Strategy<Value = Policy> {
    let bytes = MIN_MANIFEST_BYTES..=MAX_MANIFEST_BYTES;
    let most = i64::MAX as u64;
    let glass = proptest::option::of((60..=86_400u64, 1..=most, 1..=most, any::<bool>()));
    (vec(some_zone(), 1..5), some_signing(), glass, select(OnAuditFailure::ALL), bytes).prop_map(
        |(mut zones, signing, break_glass, on_audit_failure, max_bytes)| {
            zones.sort_by(|a, b| a.name.cmp(&b.name));
            zones.dedup_by(|a, b| a.name == b.name);
            for zone in &mut zones {
                let mut seen = Vec::new();
                zone.budgets.retain(|budget| {
                    let id = budget.id(&zone.name);
                    let new = !seen.contains(&id);
                    seen.push(id);
                    new
                });
            }
            // Names such as `a` and `a0` could give the same directory.
            let mut paths: Vec<PathPattern> = Vec::new();
            zones.retain(|zone| {
                let free = zone.paths.iter().all(|path| !paths.iter().any(|p| p.may_overlap(path)));
                paths.extend(zone.paths.iter().cloned());
                free
            });
            let break_glass = break_glass.map(|(seconds, max_files, max_bytes, all)| BreakGlass {
                zones: (!all).then(|| vec![zones[0].name.clone()]),
                max_length: Duration::from_secs(seconds),
                max_files,
                max_bytes,
                signers: signing.people().iter().take(2).map(|&person| person.to_owned()).collect(),
            });
            let manifest = Manifest { max_bytes };
            Policy { zones, signing, break_glass, on_audit_failure, manifest }
        },
    )
}

proptest! {
    #[test]
    fn shown_policy_round_trips(policy in some_policy()) {
        let shown = policy.to_string();
        match Policy::parse("shown", &shown) {
            Ok(read) => prop_assert_eq!(read, policy),
            Err(problems) => prop_assert!(false, "{}\n{}", problems, shown),
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC*") {
        let _ = Policy::parse("test", &text);
    }

    #[test]
    fn misplaced_lines_never_panic(
        lines in vec(prop_oneof![
            select(SHIPPED.lines().collect::<Vec<_>>()).prop_map(str::to_owned),
            "[a-z]{1,8} ?= ?[\\[\\]{}\"',0-9a-z]{0,10}",
            "\\[{1,2}[a-z.]{1,8}\\]{0,2}",
        ], 0..30),
    ) {
        let text = lines.join("\n");
        if let Err(problems) = Policy::parse("test", &text) {
            let lines = text.split('\n').count();
            for problem in &problems {
                prop_assert!((1..=lines).contains(&problem.line));
                prop_assert!(problem.col >= 1 && !problem.message.is_empty());
                prop_assert!(!problem.help.is_empty());
                prop_assert!(problem.marker.trim_start().chars().all(|c| c == '^'));
            }
        }
    }

    /// A file cut or damaged anywhere is either refused with a place, or still a whole policy.
    #[test]
    fn damage_never_halves_a_policy(
        at in 0..SHIPPED.len(), damage in "\\PC{0,3}", cut in any::<bool>(),
    ) {
        let at = SHIPPED.floor_char_boundary(at);
        let rest = if cut { "" } else { &SHIPPED[at..] };
        let text = format!("{}{damage}{rest}", &SHIPPED[..at]);
        if let Ok(policy) = Policy::parse("test", &text) {
            prop_assert!(!policy.zones.is_empty());
            for zone in &policy.zones {
                prop_assert!(!zone.paths.is_empty() && !zone.budgets.is_empty());
            }
        }
    }
}
