//! Attacks on allowances. Each starts from one allowance that counts, changes one thing as somebody
//! who wants more would, and is refused with its own reason and its own message.

use std::collections::BTreeSet;

use holdfast_policy::allowance::{MAX_DOCUMENT, MAX_SIGNATURE, RefusedReason};

use crate::support::{Case, NAMESPACE, file, public, sign};
use crate::token::{TOUCHED, Token, VERIFIED};

struct Attack {
    name: &'static str,
    what: fn(&mut Case),
    reason: RefusedReason,
    /// A part of the message.
    says: &'static str,
}

const fn attack(
    name: &'static str,
    what: fn(&mut Case),
    reason: RefusedReason,
    says: &'static str,
) -> Attack {
    Attack { name, what, reason, says }
}

const HARDWARE: &str = "role = \"primary\"\nhardware = true\nneeds";
const VERIFIED_TOO: &str = "role = \"primary\"\nhardware = true\nverified = true\nneeds";
const PRIMARY: &str = "role = \"primary\"\nneeds";
const BACKUP_GRANT: &str = "\n[[grant]]\nzone = \"backups\"\nsubtrees = [\"/srv/backups/x\"]\n\
                            ops = [\"remove\"]\n\
                            files = 1\nbytes = 0\ntenants = 1\n";

/// Alice and Bob get hardware keys; what these say of themselves is `flags`.
fn with_hardware(case: &mut Case, flags: u8) {
    let tokens = [("alice", Token::ed25519()), ("bob", Token::ecdsa())];
    case.signers.clear();
    case.signatures.clear();
    for (name, token) in tokens {
        case.signers += &format!("{name}@example.com {}\n", token.line());
        let signature = token.sign(NAMESPACE, "sha512", flags, 7, case.text.as_bytes());
        case.signatures.push(file(name, signature));
    }
}

/// Alice's signature with another hash, by a hardware key of hers.
fn with_hash(case: &mut Case, hash: &str) {
    with_hardware(case, TOUCHED);
    let signature = Token::ed25519().sign(NAMESPACE, hash, TOUCHED, 7, case.text.as_bytes());
    case.signatures[0] = file("alice", signature);
}

#[rustfmt::skip]
const ATTACKS: &[Attack] = &[
    // The text.
    attack("cut off in the middle", |c| c.text.truncate(300), RefusedReason::Malformed, "error:"),
    attack("a field nobody knows, to be read by a later version",
        |c| c.write("files = 1000", "files = 1000\nextra_files = 9"),
        RefusedReason::Malformed, "a grant has no field `extra_files`"),
    attack("another version", |c| c.write("version = 1", "version = 2"),
        RefusedReason::Malformed, "version 2 of allowances is not known here"),
    attack("no hosts at all", |c| c.write("[\"web1\"]", "[]"),
        RefusedReason::Malformed, "for no host"),
    attack("a pattern of hosts", |c| c.write("web1", "web*"),
        RefusedReason::Malformed, "hosts are named one by one"),
    attack("a name that every host has", |c| c.write("web1", "localhost"),
        RefusedReason::Malformed, "any host may be called"),
    attack("the whole filesystem", |c| c.write("/srv/customers/*/cache", "/"),
        RefusedReason::Malformed, "the whole filesystem"),
    attack("out of the tree by `..`", |c| c.write("/*/cache", "/../backups"),
        RefusedReason::Malformed, "`..`"),
    attack("a reason that reads backwards", |c| c.write("old release", "\u{202e}esaeler dlo"),
        RefusedReason::Malformed, "nobody sees: U+202E"),
    attack("a subtree with an invisible letter", |c| c.write("/cache", "/ca\u{200b}che"),
        RefusedReason::Malformed, "U+200B"),
    attack("a time without a zone", |c| c.write("22:00:00Z", "22:00:00"),
        RefusedReason::Malformed, "no zone"),
    attack("a user that is everybody",
        |c| { c.text += "\n[bind]\nuser = \"4294967295\"\n"; c.signed_by(&["alice", "bob"]); },
        RefusedReason::Malformed, "`4294967295` cannot be a user's number"),
    attack("an empty binding that looks like one",
        |c| { c.text += "\n[bind]\n"; c.signed_by(&["alice", "bob"]); },
        RefusedReason::Malformed, "`[bind]` is empty"),
    attack("longer than anybody reads",
        |c| { c.text += &"#".repeat(MAX_DOCUMENT); c.signed_by(&["alice", "bob"]); },
        RefusedReason::Malformed, "bytes, 65536 can be"),
    attack("a comment that says something else",
        |c| c.write("files = 1000", "files = 1000 # at most 10"),
        RefusedReason::NotCanonical, "has to be `files = 1000`"),
    attack("lines that end otherwise",
        |c| { c.text = c.text.replace('\n', "\r\n"); c.signed_by(&["alice", "bob"]); },
        RefusedReason::NotCanonical, "line 1 is"),
    attack("something behind the end", |c| { c.text += "\n"; c.signed_by(&["alice", "bob"]); },
        RefusedReason::NotCanonical, "is too much"),
    attack("without its last line's end", |c| { c.text.pop(); c.signed_by(&["alice", "bob"]); },
        RefusedReason::NotCanonical, "line 15 has no end"),
    attack("fields in another order",
        |c| c.write("files = 1000\nbytes = \"10GiB\"", "bytes = \"10GiB\"\nfiles = 1000"),
        RefusedReason::NotCanonical, "line 13 is `bytes"),
    attack("the same time in another zone", |c| c.write("22:00:00Z", "22:00:00+00:00"),
        RefusedReason::NotCanonical, "line 7 is"),
    // The signatures.
    attack("no signature", |c| c.signatures.clear(), RefusedReason::Unsigned, "nobody has signed"),
    attack("more signatures than anybody needs",
        |c| { let one = c.signatures[0].clone(); c.signatures = vec![one; 33]; },
        RefusedReason::TooManySignatures, "there are 33 signatures"),
    attack("an endless signature", |c| c.signatures[1].text = "A".repeat(MAX_SIGNATURE + 1),
        RefusedReason::TooManySignatures, "`change.toml.bob.sig` has 16385 bytes"),
    attack("a signature cut short",
        |c| { let half = c.signatures[1].text.len() / 2; c.signatures[1].text.truncate(half); },
        RefusedReason::SignatureMalformed, "`change.toml.bob.sig`: this is no SSH signature"),
    attack("a public key as a signature", |c| c.signatures[0].text = public("alice"),
        RefusedReason::SignatureMalformed, "`change.toml.alice.sig`: this is no SSH signature"),
    attack("a signature for git", |c| c.signatures[1] = file("bob", sign("bob", "git", &c.text)),
        RefusedReason::WrongNamespace, "namespace `git`"),
    attack("a signature for files",
        |c| c.signatures[0] = file("alice", sign("alice", "file", &c.text)),
        RefusedReason::WrongNamespace, "namespace `file`"),
    attack("more files, after it was signed", |c| c.forge("files = 1000", "files = 9000"),
        RefusedReason::SignatureInvalid,
        "`change.toml.alice.sig`: the text is not what was signed"),
    attack("this host's name, after it was signed for another",
        |c| { c.write("web1", "web2"); c.forge("web2", "web1"); c.signatures.remove(0); },
        RefusedReason::SignatureInvalid, "`change.toml.bob.sig`: the text is not what was signed"),
    attack("a signature of another document",
        |c| {
            let other = c.text.replace("CHG-1042", "CHG-1041");
            c.signatures.push(file("dave", sign("dave", NAMESPACE, &other)));
        },
        RefusedReason::SignatureInvalid, "`change.toml.dave.sig`: the text is not"),
    attack("a weak key",
        |c| { c.signatures.push(file("rsa1024", sign("rsa1024", NAMESPACE, &c.text))); },
        RefusedReason::WeakKey, "`change.toml.rsa1024.sig`"),
    attack("a weak hash", |c| with_hash(c, "sha1"),
        RefusedReason::WeakKey, "the hash `sha1` is too weak"),
    attack("a hash nobody knows", |c| with_hash(c, "rot13"),
        RefusedReason::UnsupportedKey, "the hash `rot13` is not supported"),
    // Whose they are.
    attack("a stranger among enough good ones",
        |c| c.signatures.push(file("mallory", sign("mallory", NAMESPACE, &c.text))),
        RefusedReason::UnknownSigner, "`change.toml.mallory.sig`: the key SHA256:"),
    attack("a key that is for git only",
        |c| c.list("bob@example.com ", "bob@example.com namespaces=\"git\" "),
        RefusedReason::SignerNotForAllowances, "not for allowances"),
    attack("somebody whom the policy does not name",
        |c| c.list("bob@example.com ", "frank@example.com "),
        RefusedReason::SignerNotInPolicy, "of nobody whom"),
    attack("one key for everybody", |c| c.list("bob@example.com ", "*@example.com "),
        RefusedReason::SignerAmbiguous, "stands for 5 people"),
    attack("one key in two people's names",
        |c| { let line = format!("dave@example.com {}\n", public("bob")); c.signers += &line; },
        RefusedReason::SignerAmbiguous, "stands for 2 people: bob@example.com, dave@example.com"),
    attack("somebody who has left",
        |c| c.list("bob@example.com ", "bob@example.com valid-before=\"20260630Z\" "),
        RefusedReason::SignerExpired, "counted until 2026-06-30"),
    attack("somebody who comes next month",
        |c| c.list("bob@example.com ", "bob@example.com valid-after=\"20260801Z\" "),
        RefusedReason::SignerNotYetValid, "counts from 2026-08-01"),
    attack("a stolen key", |c| c.revoked = public("bob"),
        RefusedReason::SignerRevoked, "of bob@example.com is revoked"),
    attack("a hardware key that malware used", |c| with_hardware(c, VERIFIED),
        RefusedReason::NotTouched, "nobody touched the hardware key of alice@example.com"),
    attack("a hardware key whose PIN nobody knew",
        |c| { with_hardware(c, TOUCHED); c.rule(PRIMARY, VERIFIED_TOO); },
        RefusedReason::NotVerified, "asked for no PIN"),
    attack("a copied key file, where hardware is asked for", |c| c.rule(PRIMARY, HARDWARE),
        RefusedReason::NotHardware, "the key of alice@example.com is in a file"),
    // The host.
    attack("another host's allowance", |c| c.write("web1", "web2"),
        RefusedReason::OtherHost, "is for web2, and this is `web1`"),
    attack("another host's, long over", |c| { c.write("web1", "web3"); c.now += 86_400; },
        RefusedReason::OtherHost, "is for web3"),
    attack("another host's, with too few and wrong signatures",
        |c| { c.write("web1", "web4"); c.signatures[1].text.clear(); },
        RefusedReason::OtherHost,
        "(machine `0123456789abcdef0123456789abcdef`); it is signed by alice@example.com"),
    attack("another host's, not even canonical", |c| c.write("\"web1\"", "\"WEB5\""),
        RefusedReason::OtherHost, "is for web5"),
    attack("another machine with the same name",
        |c| c.write("web1", "ffffffffffffffffffffffffffffffff"),
        RefusedReason::OtherHost, "is for ffffffffffffffffffffffffffffffff"),
    attack("a host that calls itself like another's machine id",
        |c| { c.write("web1", "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"); c.host.name = "e".repeat(32); },
        RefusedReason::OtherHost, "this is `eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee`"),
    attack("another host's, with a signature that says nothing",
        |c| { c.write("web1", "web6"); c.signatures.push(file("dave", String::new())); },
        RefusedReason::OtherHost, "is for web6"),
    attack("another host's, with too many signatures",
        |c| {
            c.write("web1", "web7");
            c.signatures.extend((0..40).map(|n| file(&format!("x{n}"), String::new())));
        },
        RefusedReason::OtherHost, "is for web7"),
    attack("every host", |c| c.write("web1", "*"), RefusedReason::AnyHost, "for every host"),
    // The time.
    attack("before its time", |c| c.now -= 86_400,
        RefusedReason::NotYetValid, "good from 2026-07-01T20:00:00Z"),
    attack("a second too late", |c| c.now = 1_782_943_200,
        RefusedReason::Expired, "now it is 2026-07-01T22:00:00Z"),
    attack("good for ever", |c| c.write("not_after = 2026", "not_after = 9999"),
        RefusedReason::TooLong, "policy allows at most 8h"),
    attack("a second too long", |c| c.write("2026-07-01T22:00:00Z", "2026-07-02T04:00:01Z"),
        RefusedReason::TooLong, "good for 8 hours 1 second"),
    // The zones.
    attack("a zone that is not there", |c| c.write("\"customers\"", "\"custmers\""),
        RefusedReason::UnknownZone, "no zone `custmers`"),
    attack("data and its copies at once",
        |c| { c.text += BACKUP_GRANT; c.signed_by(&["alice", "bob", "erin"]); },
        RefusedReason::Interlock, "primary (customers) and backup (backups) at once"),
    // The people.
    attack("a policy that trusts nobody",
        |c| { let at = c.policy.find("[[trust]]").unwrap(); c.policy.truncate(at); },
        RefusedReason::NobodyTrusted, "it has no `[[trust]]`"),
    attack("a role for which nobody can sign",
        |c| {
            let at = c.policy.find(PRIMARY).unwrap() - "[[trust]]\n".len();
            let end = c.policy.rfind("[[trust]]").unwrap();
            c.policy.replace_range(at..end, "");
        },
        RefusedReason::NobodyTrusted, "nobody to sign for `primary` zones"),
    attack("only one person", |c| c.signed_by(&["alice"]),
        RefusedReason::TooFewSigners,
        "1 of 2 people of group `ops` have signed (alice@example.com); still needed: 1 of \
         bob@example.com, dave@example.com"),
    attack("one person with two keys",
        |c| {
            let line = format!("alice@example.com {}\n", public("alice2"));
            c.signers += &line;
            c.signed_by(&["alice", "alice2"]);
        },
        RefusedReason::SamePerson, "by one person, alice@example.com"),
    attack("one signature under two names",
        |c| { c.signatures[1] = file("bob", c.signatures[0].text.clone()); },
        RefusedReason::SameKey, "are by one key, SHA256:"),
    attack("who asks signs too", |c| c.signed_by(&["alice", "carol"]),
        RefusedReason::RequesterSigned, "`carol@example.com` asks for it and has signed it"),
    attack("who asks signs too, and writes the name otherwise",
        |c| { c.write("carol@", "Carol@"); c.signed_by(&["alice", "carol"]); },
        RefusedReason::RequesterSigned, "`Carol@example.com` asks for it and has signed it"),
    attack("enough people, of the wrong group", |c| c.signed_by(&["alice", "erin"]),
        RefusedReason::GroupMissing, "erin@example.com has signed, and is in none of these groups"),
    attack("one person for two needs",
        |c| { c.write("customers", "backups"); c.signed_by(&["alice", "dave"]); },
        RefusedReason::TooFewSigners, "not enough people have signed for `backup` zones"),
    attack("the backups without their owners",
        |c| {
            c.write("customers", "backups");
            c.write("carol@", "frank@");
            c.signed_by(&["alice", "bob", "carol"]);
        },
        RefusedReason::GroupMissing,
        "0 of 1 people of group `owners` have signed; still needed: 1 of erin@example.com, \
         dave@example.com"),
];

/// Reasons that only the host can find.
const OF_THE_HOST: &[RefusedReason] = &[
    RefusedReason::ClockSetBack,
    RefusedReason::NothingMatches,
    RefusedReason::OutsideZone,
    RefusedReason::TooManySubtrees,
    RefusedReason::TooSlow,
    RefusedReason::Unbound,
    RefusedReason::WrongUser,
    RefusedReason::WrongUnit,
    RefusedReason::WrongCommand,
    RefusedReason::WrongScript,
    RefusedReason::WrongProcess,
    RefusedReason::AlreadyUsed,
    RefusedReason::IdReused,
    RefusedReason::Revoked,
    RefusedReason::BindTaken,
    RefusedReason::TooManyOpen,
    RefusedReason::SignersUnreadable,
    RefusedReason::StateUnreadable,
    RefusedReason::NoGuard,
];

/// Each attack is refused, with a message that no other has.
#[test]
fn each_attack_has_its_own_message() {
    let good = Case::good();
    let mut messages = BTreeSet::new();
    for Attack { name, what, reason, says } in ATTACKS {
        let checked = good.check().unwrap_or_else(|refused| panic!("before `{name}`: {refused}"));
        assert_eq!(checked.signers.len(), 2);
        let mut case = good.clone();
        what(&mut case);
        let refused = case.refused();
        assert_eq!(refused.reason, *reason, "{name}: {refused}");
        assert!(refused.message.contains(says), "{name}: no `{says}` in\n{refused}");
        assert!(refused.message.contains("\n  help: "), "{name}: {refused}");
        let shown = |c: char| c == '\n' || !(c.is_control() || "\u{200b}\u{202e}".contains(c));
        assert!(refused.message.chars().all(shown), "{name}: {:?}", refused.message);
        assert!(messages.insert(refused.message.clone()), "{name}: the message of another attack");
    }
    assert!(ATTACKS.len() >= 60, "{}", ATTACKS.len());
}

/// Every reason has an attack here, or is one that only the host can find.
#[test]
fn every_reason_has_an_attack() {
    let attacked = ATTACKS.iter().map(|attack| attack.reason);
    let reasons: BTreeSet<RefusedReason> = attacked.chain(OF_THE_HOST.iter().copied()).collect();
    let all: BTreeSet<RefusedReason> = RefusedReason::ALL.iter().copied().collect();
    assert_eq!(
        reasons, all,
        "a new reason needs an attack here, or a place among those of the host"
    );
    assert!(ATTACKS.iter().all(|attack| !OF_THE_HOST.contains(&attack.reason)));
}
