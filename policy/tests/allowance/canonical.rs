//! The one form: every allowance has one text, and reading that text gives the allowance.

use holdfast_abi::Op;
use holdfast_policy::allowance::{Allowance, Bind, BoundCommand, Grant, Hosts};
use holdfast_policy::{OpSet, PathPattern, ZoneName};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::subsequence;

use crate::support::{DOCUMENT, allowance, replaced};

#[test]
fn every_field_has_its_place() {
    let golden = include_str!("../golden/allowance.toml");
    assert_eq!(allowance(golden).canonical(), golden);
}

#[test]
fn the_good_document_is_canonical() {
    assert_eq!(allowance(DOCUMENT).canonical(), DOCUMENT);
}

/// A signature is worthless if the text it was made for is not made again byte for byte.
#[test]
fn equal_documents_have_one_text() {
    for (old, new) in [
        ("\"web1\"", "'web1'"),
        ("[\"web1\"]", "[ \"WEB1\", \"web1\", ]"),
        ("20:00:00Z", "22:00:00+02:00"),
        ("2026-07-01T22:00:00Z", "2026-07-01 14:30:00-07:30"),
        ("2026-07-01T22:00:00Z", "2026-07-02t00:00:00.000+02:00"),
        ("cache\"", "cache/\", \"/srv/customers/*/cache\""),
        ("[\"remove\", \"truncate\"]", "[\"truncate\", \"remove\"]"),
        ("1000", "1_000"),
        ("1000", "0x3e8"),
        ("\"10GiB\"", "\"10240 MiB\""),
        ("\"10GiB\"", "10737418240"),
        ("tenants = 20\n", "tenants = 20 # customers\n\n"),
        ("version = 1\nid = \"CHG-1042\"\n", "id = \"CHG-1042\"\nversion = 1\n"),
        ("remove the caches", "remove \\u0074he caches"),
    ] {
        let text = replaced(DOCUMENT, old, new);
        assert_ne!(text, DOCUMENT);
        assert_eq!(allowance(&text).canonical(), DOCUMENT, "{new}");
    }
}

fn some_digest() -> impl Strategy<Value = String> {
    "[0-9a-f]{64}"
}

fn some_path() -> impl Strategy<Value = String> {
    "(/[a-zA-Z0-9_\"\\\\ üж漢*?=#-]{1,6}){1,4}"
}

/// Patterns as an allowance has them: sorted, each once.
fn some_subtrees() -> impl Strategy<Value = Vec<PathPattern>> {
    vec("(/[a-z0-9_\" üж漢?=#-]{1,6}\\*?){1,4}", 1..4).prop_map(|mut texts| {
        texts.sort_unstable();
        texts.dedup();
        texts.iter().map(|text| PathPattern::parse(text).unwrap()).collect()
    })
}

fn some_grant() -> impl Strategy<Value = Grant> {
    let subtrees = some_subtrees();
    let ops = subsequence(OpSet::GUARDED.iter().collect::<Vec<Op>>(), 1..=5)
        .prop_map(|ops| OpSet::new(&ops).unwrap());
    let bytes = prop_oneof![
        Just(0),
        0..10_000u64,
        (1..2_000u64).prop_map(|n| n << 30),
        0..=i64::MAX as u64
    ];
    ("[a-z0-9][a-z0-9._-]{0,20}", subtrees, ops, 1..=i64::MAX as u64, bytes, 0..=131_072u32)
        .prop_filter_map("reserved", |(zone, subtrees, ops, files, bytes, tenants)| {
            Some(Grant { zone: ZoneName::parse(&zone).ok()?, subtrees, ops, files, bytes, tenants })
        })
}

fn some_bind() -> impl Strategy<Value = Bind> {
    let user = prop_oneof!["[a-z_][a-z0-9_.@-]{0,20}", (0..u32::MAX).prop_map(|n| n.to_string())];
    let unit =
        prop_oneof!["[A-Za-z0-9:._\\\\@-]{1,20}\\.(service|scope)", "(/[a-z\\\\@.]{3,9}){1,3}"];
    let script = option::of((some_path(), some_digest()));
    let command = (some_path(), some_digest(), script)
        .prop_map(|(path, sha256, script)| BoundCommand { path, sha256, script });
    (option::of(user), option::of(unit), option::of(command)).prop_map(|(user, unit, command)| {
        Bind {
            user,
            unit: unit.filter(|unit: &String| !unit.split('/').any(|name| name == "..")),
            command,
        }
    })
}

fn some_hosts() -> impl Strategy<Value = Hosts> {
    let names = prop_oneof!["[a-z0-9][a-z0-9._-]{0,30}", "[0-9a-f]{32}"]
        .prop_filter("any host's name", |name| !name.starts_with("localhost"));
    prop_oneof![Just(Hosts::Any), btree_set(names, 1..5).prop_map(Hosts::These)]
}

fn some_allowance() -> impl Strategy<Value = Allowance> {
    let times = (0..250_000_000_000i64, 1..1_000_000_000i64);
    let reason = "[a-zA-Z0-9\"'\\\\#=,.;:ÄßéжД漢한€–„“ ]{0,60}[a-zé\"\\\\]";
    (
        "[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
        reason,
        "[A-Za-z0-9.+_\\\\-]{1,20}@[a-z.]{1,10}",
        some_hosts(),
        times,
        vec(some_grant(), 1..=8),
        some_bind(),
        option::of(some_digest()),
    )
        .prop_map(
            |(id, reason, requested_by, hosts, (from, length), grants, bind, rehearsal)| {
                Allowance {
                    id,
                    reason,
                    requested_by,
                    hosts,
                    not_before: from,
                    not_after: from + length,
                    grants,
                    bind,
                    rehearsal,
                }
            },
        )
}

proptest! {
    #[test]
    fn canonical_text_round_trips(allowance in some_allowance()) {
        let text = allowance.canonical();
        match Allowance::parse("shown", &text) {
            Ok(read) => {
                prop_assert_eq!(&read, &allowance);
                prop_assert_eq!(read.canonical(), text);
            }
            Err(problems) => prop_assert!(false, "{}\n{}", problems, text),
        }
    }

    /// Two allowances that say different things never have the same text: what is signed is what
    /// counts.
    #[test]
    fn different_allowances_have_different_texts(a in some_allowance(), b in some_allowance()) {
        prop_assert_eq!(a == b, a.canonical() == b.canonical());
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC*") {
        let _ = Allowance::parse("test", &text);
    }

    /// A document damaged anywhere is refused with a place, or is another whole allowance whose
    /// text is one again.
    #[test]
    fn damage_never_halves_an_allowance(
        at in 0..DOCUMENT.len(),
        skip in 0..20usize,
        damage in "\\PC{0,3}|\n|[\\x00-\\x1f]",
    ) {
        let rest = DOCUMENT.get(at + skip..).unwrap_or_default();
        let text = format!("{}{damage}{rest}", &DOCUMENT[..at]);
        match Allowance::parse("test", &text) {
            Ok(allowance) => {
                let canonical = allowance.canonical();
                prop_assert_eq!(Allowance::parse("again", &canonical), Ok(allowance));
            }
            Err(problems) => {
                let shown = problems.to_string();
                prop_assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", shown);
                for problem in &problems {
                    prop_assert!(problem.line >= 1 && problem.col >= 1 && !problem.help.is_empty());
                }
            }
        }
    }
}
