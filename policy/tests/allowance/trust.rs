//! Who has to sign: tables, and a comparison with trying every way to give people their places.

use std::collections::HashMap;
use std::sync::LazyLock;

use holdfast_policy::allowance::{RefusedReason, SignatureFile};
use proptest::prelude::*;
use proptest::sample::subsequence;

use crate::support::{Case, DOCUMENT, NAMESPACE, file, public, sign};
use crate::token::Token;

/// The people whose signatures count, without their domain.
fn signers(case: &Case) -> Vec<String> {
    let checked = case.check().unwrap_or_else(|refused| panic!("{refused}"));
    checked.signers.iter().map(|signer| signer.person.replace("@example.com", "")).collect()
}

#[test]
fn enough_people_of_the_right_groups() {
    for (zone, keys, expected) in [
        ("customers", &["alice", "bob"][..], &["alice", "bob"][..]),
        ("customers", &["bob", "dave", "alice"], &["bob", "dave", "alice"]),
        // Once more does not hurt, and does not help.
        ("customers", &["alice", "bob", "alice"], &["alice", "bob"]),
        // Who is in no needed group does not count, and is not in the way.
        ("customers", &["alice", "erin", "bob"], &["alice", "bob"]),
        ("backups", &["alice", "bob", "erin"], &["alice", "bob", "erin"]),
        // Dave is in both groups: he stands where he is needed.
        ("backups", &["dave", "alice", "bob"], &["dave", "alice", "bob"]),
        ("backups", &["dave", "alice", "erin"], &["dave", "alice", "erin"]),
    ] {
        let mut case = Case::good();
        case.write("customers", zone);
        case.signed_by(keys);
        assert_eq!(signers(&case), expected, "{zone} {keys:?}");
    }
}

#[test]
fn missing_signers_are_named() {
    for (zone, keys, expected) in [
        (
            "customers",
            &["erin"][..],
            "not enough people have signed for `primary` zones:\n    0 of 2 people of group `ops` \
             have signed; still needed: 2 of alice@example.com, bob@example.com, \
             dave@example.com\n    erin@example.com has signed, and is in none of these groups\n  \
             help: ",
        ),
        (
            "backups",
            &["bob", "erin"],
            "1 of 2 people of group `ops` have signed (bob@example.com); still needed: 1 of \
             alice@example.com, dave@example.com\n    1 of 1 people of group `owners` have signed \
             (erin@example.com)\n  help: ",
        ),
        (
            "backups",
            &["dave", "bob"],
            "2 of 2 people of group `ops` have signed (bob@example.com, dave@example.com)\n    0 \
             of 1 people of group `owners` have signed; still needed: 1 of erin@example.com\n  \
             help: ",
        ),
    ] {
        let mut case = Case::good();
        case.write("customers", zone);
        case.signed_by(keys);
        let message = case.refused().message;
        assert!(message.contains(expected), "{keys:?}:\n{message}");
    }
}

/// If the group without the requester is too small, the message says so.
#[test]
fn requester_may_leave_too_few() {
    let mut case = Case::good();
    case.rule(
        "needs = [{ group = \"ops\", people = 2 }]",
        "needs = [{ group = \"owners\", people = 2 }]",
    );
    case.write("carol@", "dave@");
    case.signed_by(&["erin"]);
    let refused = case.refused();
    assert_eq!(refused.reason, RefusedReason::TooFewSigners);
    assert!(
        refused.message.contains("still needed: 1, and the group has too few others"),
        "{refused}"
    );
}

#[test]
fn requester_signs_only_if_policy_allows() {
    let mut case = Case::good();
    case.signed_by(&["alice", "carol"]);
    let refused = case.refused();
    assert_eq!(refused.reason, RefusedReason::RequesterSigned);
    // Who asks does not count: so much is missing beside.
    let missing = "1 of 2 people of group `ops` have signed (alice@example.com); still needed: 1 \
                   of bob@example.com, dave";
    assert!(refused.message.contains(missing), "{refused}");
    case.rule("role = \"primary\"\nneeds", "role = \"primary\"\nrequester_may_sign = true\nneeds");
    assert_eq!(signers(&case), ["alice", "carol"]);
}

#[test]
fn all_signature_faults_come_at_once() {
    let mut case = Case::good();
    case.list("alice@example.com ", "alice@example.com valid-before=\"20200101Z\" ");
    case.signatures.push(file("mallory", "nothing".to_owned()));
    case.revoked = public("bob");
    let refused = case.refused();
    assert_eq!(refused.reason, RefusedReason::SignerExpired);
    for part in ["`change.toml.alice.sig`", "`change.toml.bob.sig`", "`change.toml.mallory.sig`"] {
        assert_eq!(refused.message.matches(part).count(), 1, "{refused}");
    }
    assert_eq!(refused.message.matches("\n  help: ").count(), 1, "{refused}");
}

/// A host is known by its name, in upper or lower case, and by its machine id.
#[test]
fn host_matches_name_or_machine_id() {
    let mut case = Case::good();
    case.host.name = "WEB1".to_owned();
    assert!(case.check().is_ok());
    case.write("web1", "0123456789abcdef0123456789abcdef");
    assert!(case.check().is_ok());
    case.host.machine_id = None;
    assert_eq!(case.refused().reason, RefusedReason::OtherHost);
    // A part of a name is no name.
    for other in ["web", "web11", "web1.example.com", ""] {
        let mut case = Case::good();
        case.host.name = other.to_owned();
        assert_eq!(case.refused().reason, RefusedReason::OtherHost, "{other}");
    }
}

#[test]
fn stranger_raises_no_other_host_alarm() {
    let mut case = Case::good();
    case.write("web1", "web2");
    case.signed_by(&["mallory"]);
    assert_eq!(case.refused().reason, RefusedReason::UnknownSigner);
    case.signatures.clear();
    assert_eq!(case.refused().reason, RefusedReason::Unsigned);
}

/// Nor does a revoked key or one without a touch raise an alarm about another host. Else somebody
/// with a stolen key could raise it at will.
#[test]
fn revoked_key_raises_no_alarm() {
    let mut case = Case::good();
    case.write("web1", "web2");
    case.signed_by(&["bob"]);
    case.revoked = public("bob");
    assert_eq!(case.refused().reason, RefusedReason::SignerRevoked);

    let token = Token::ed25519();
    case.signers = format!("alice@example.com {}\n", token.line());
    let untouched = token.sign(NAMESPACE, "sha512", 0, 7, case.text.as_bytes());
    case.signatures = vec![file("alice", untouched)];
    assert_eq!(case.refused().reason, RefusedReason::NotTouched);
}

#[test]
fn policy_allows_any_host() {
    let mut case = Case::good();
    case.write("web1", "*");
    case.rule(
        "[[group]]\nname = \"ops\"",
        "[allowances]\nany_host = true\n[[group]]\nname = \"ops\"",
    );
    assert!(case.check().is_ok());
}

/// An allowance is valid from its first second until just before its end.
#[test]
fn validity_excludes_its_end() {
    let mut case = Case::good();
    let [from, until] = [1_782_936_000, 1_782_943_200];
    for (now, expected) in [
        (from - 1, Some(RefusedReason::NotYetValid)),
        (from, None),
        (until - 1, None),
        (until, Some(RefusedReason::Expired)),
        (i64::MIN, Some(RefusedReason::NotYetValid)),
        (i64::MAX, Some(RefusedReason::Expired)),
    ] {
        case.now = now;
        assert_eq!(case.check().err().map(|refused| refused.reason), expected, "{now}");
    }
    // Everything that is wrong with the time at once, and the first of it is the reason.
    case.write("2026-07-01T22:00:00Z", "2026-07-03T22:00:00Z");
    case.now = from - 1;
    let refused = case.refused();
    assert_eq!(refused.reason, RefusedReason::NotYetValid);
    assert!(refused.message.contains("good for 2 days 2 hours"), "{refused}");
    // Eight hours are not longer than eight hours.
    case.write("2026-07-03T22:00:00Z", "2026-07-02T04:00:00Z");
    case.now = from;
    assert!(case.check().is_ok());
}

const PEOPLE: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];

/// Signatures of the good document, made once.
static SIGNED: LazyLock<HashMap<&str, SignatureFile>> = LazyLock::new(|| {
    PEOPLE.into_iter().map(|key| (key, file(key, sign(key, NAMESPACE, DOCUMENT)))).collect()
});

/// Whether the places can be given to different people, by trying everything.
fn can_fill(places: &[&Vec<&str>], people: &[&str]) -> bool {
    let Some((place, rest)) = places.split_first() else {
        return true;
    };
    people.iter().enumerate().any(|(index, person)| {
        let others: Vec<&str> = [&people[..index], &people[index + 1..]].concat();
        place.contains(person) && can_fill(rest, &others)
    })
}

proptest! {
    /// It counts exactly if different people meet every need.
    #[test]
    fn different_people_meet_every_need(
        groups in proptest::collection::vec(subsequence(PEOPLE.to_vec(), 1..=5), 1..=3),
        numbers in proptest::collection::vec(1..=2usize, 3),
        mut signed in subsequence(PEOPLE.to_vec(), 0..=5).prop_shuffle(),
        requester_may_sign in any::<bool>(),
    ) {
        let places: Vec<&Vec<&str>> = groups
            .iter()
            .zip(&numbers)
            .flat_map(|(group, number)| std::iter::repeat_n(group, (*number).min(group.len())))
            .collect();
        // A policy whose needs nobody can meet cannot be.
        prop_assume!(can_fill(&places, &PEOPLE));
        let mut case = Case::good();
        let zones = case.policy.find("[[group]]").unwrap();
        case.policy.truncate(zones);
        for (index, group) in groups.iter().enumerate() {
            let quoted = |name: &&str| format!("\"{name}@example.com\"");
            let people: Vec<String> = group.iter().map(quoted).collect();
            case.policy += &format!(
                "[[group]]\nname = \"g{index}\"\npeople = [{}]\n",
                people.join(", ")
            );
        }
        let needs: Vec<String> = groups
            .iter()
            .zip(&numbers)
            .enumerate()
            .map(|(index, (group, number))| {
                format!("{{ group = \"g{index}\", people = {} }}", (*number).min(group.len()))
            })
            .collect();
        case.policy += &format!(
            "[[trust]]\nrole = \"primary\"\nrequester_may_sign = {requester_may_sign}\n\
             needs = [{}]\n",
            needs.join(", ")
        );
        // Whom no group names has no key that counts: that is refused before anybody counts people.
        signed.retain(|name| groups.iter().any(|group| group.contains(name)));
        case.signatures = signed.iter().map(|name| SIGNED[name].clone()).collect();
        let by_requester = !requester_may_sign && signed.contains(&"carol");
        let expected = !by_requester && can_fill(&places, &signed);
        match case.check() {
            Ok(checked) => {
                prop_assert!(expected, "accepted {:?} for {}", signed, case.policy);
                prop_assert_eq!(checked.signers.len(), signed.len());
            }
            Err(refused) => {
                prop_assert!(!expected, "{}", refused);
                let wanted = if signed.is_empty() {
                    RefusedReason::Unsigned
                } else if by_requester {
                    RefusedReason::RequesterSigned
                } else if signed.len() < places.len() {
                    RefusedReason::TooFewSigners
                } else {
                    RefusedReason::GroupMissing
                };
                prop_assert_eq!(refused.reason, wanted);
            }
        }
    }
}
