//! What an `allowed_signers` file means, and what somebody who got one wrong is told.

use super::*;

const ED25519: &str = include_str!("../../tests/signatures/vectors/ed25519.pub");
const RSA: &str = include_str!("../../tests/signatures/vectors/rsa-2048.pub");
const HARDWARE: &str = include_str!("../../tests/signatures/vectors/sk-ed25519.pub");

const SPACE: &str = "holdfast-allowance";
const PEOPLE: [&str; 2] = ["alice@example.com", "bob@example.com"];

/// `KEY` in a text stands for this key.
fn put_key(text: &str) -> String {
    text.replace("KEY", ED25519.trim_end())
}

fn signers(text: &str) -> Signers {
    Signers::parse("allowed_signers", &put_key(text))
        .unwrap_or_else(|problems| panic!("{problems}"))
}

fn key(line: &str) -> PublicKey {
    PublicKey::parse(line).unwrap()
}

fn owner(text: &str, at: i64) -> Owner {
    signers(text).owner(&key(ED25519), SPACE, at, &PEOPLE)
}

fn people(people: &[&str]) -> Owner {
    Owner::People(people.iter().map(|&person| person.to_owned()).collect())
}

/// The only problem: `line:col message (help)`.
fn problem(text: &str) -> String {
    let problems = Signers::parse("allowed_signers", &put_key(text)).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems}");
    problems.iter().map(|p| format!("{}:{} {} ({})", p.line, p.col, p.message, p.help)).collect()
}

#[test]
fn line_names_its_keys_owner() {
    assert_eq!(owner("alice@example.com KEY", 0), people(&["alice@example.com"]));
    assert_eq!(owner("carol@example.com KEY", 0), people(&[]));
    assert_eq!(owner("", 0), Owner::Unknown);
    assert_eq!(owner(&format!("alice@example.com {RSA}"), 0), Owner::Unknown);
}

/// A key of several people is ambiguous, in whatever form the file says so.
#[test]
fn shared_key_is_ambiguous() {
    for text in [
        "alice@example.com,bob@example.com KEY",
        "bob@example.com KEY\nalice@example.com KEY",
        "*@example.com KEY",
        "? KEY\n*,!carol@example.com KEY",
    ] {
        assert_eq!(owner(text, 0), people(&PEOPLE), "{text}");
    }
    let asked_twice = signers("alice@example.com KEY\nalice* KEY").owner(
        &key(ED25519),
        SPACE,
        0,
        &["alice@example.com", "alice@example.com"],
    );
    assert_eq!(asked_twice, people(&["alice@example.com"]));
}

/// Blanks, comments and line ends of other systems are accepted.
#[test]
fn foreign_blanks_and_comments_are_accepted() {
    let text = "# people\r\n\r\n \t# more\n\t alice@example.com \t namespaces=\"x,holdfast-*\"  \
                KEY a comment # here\r\n   \n";
    assert_eq!(owner(text, 0), people(&["alice@example.com"]));
    let quoted = signers("\"alice x@example.com,bob\" KEY");
    assert!(quoted.allows("alice x@example.com", &key(ED25519), SPACE, 0));
    assert!(quoted.allows("bob", &key(ED25519), SPACE, 0));
}

#[test]
fn namespaces_limit_a_line() {
    let not = Owner::NotForNamespace;
    for (list, expected) in [
        ("holdfast-allowance", people(&["alice@example.com"])),
        ("file,holdfast-*", people(&["alice@example.com"])),
        ("*,!git", people(&["alice@example.com"])),
        ("file", not.clone()),
        ("*,!holdfast-*", not.clone()),
        ("Holdfast-Allowance", not.clone()),
        ("holdfast-allowance ", not),
    ] {
        let text = format!("alice@example.com NameSpaces=\"{list}\" KEY");
        assert_eq!(owner(&text, 0), expected, "{list}");
    }
    let both = "alice@example.com namespaces=\"file\" KEY\nbob@example.com KEY";
    assert_eq!(owner(both, 0), people(&["bob@example.com"]));
}

/// A line counts from its first second to its last, both included.
#[test]
fn line_counts_through_its_last_second() {
    let text = "alice@example.com valid-after=\"20260101Z\",valid-before=\"20260201Z\" KEY";
    let (from, to) = (1_767_225_600, 1_769_904_000);
    assert_eq!(owner(text, from - 1), Owner::NotYetValid(from));
    assert_eq!(owner(text, from), people(&["alice@example.com"]));
    assert_eq!(owner(text, to), people(&["alice@example.com"]));
    assert_eq!(owner(text, to + 1), Owner::Expired(to));
    let earlier = "alice@example.com valid-before=\"20250101Z\" KEY";
    assert_eq!(owner(&format!("{text}\n{earlier}"), to + 1), Owner::Expired(to));
    assert_eq!(owner(&format!("{text}\n{earlier}"), from - 1), Owner::NotYetValid(from));
    let valid = format!("{earlier}\nbob@example.com KEY");
    assert_eq!(owner(&valid, to), people(&["bob@example.com"]));
}

#[test]
fn allows_is_what_ssh_keygen_asks() {
    let text = signers("*@example.com,!eve@example.com KEY");
    assert!(text.allows("alice@example.com", &key(ED25519), SPACE, 0));
    assert!(!text.allows("eve@example.com", &key(ED25519), SPACE, 0));
    assert!(!text.allows("alice@example.com", &key(RSA), SPACE, 0));
}

#[test]
fn wrong_line_is_located() {
    let example =
        "a line is as in `alice@example.com namespaces=\"holdfast-allowance\" ssh-ed25519 AAAA…`";
    let known = "possible here: `namespaces`, `valid-after` or `valid-before`";
    let utc = "write it as in `20261231Z` or `202612312359Z`";
    for (text, expected) in [
        ("alice", format!("1:1 this line has no key ({example})")),
        ("KEY", format!("1:1 this line has a key, and does not say whose it is ({example})")),
        ("\n\na ssh-ed25519", format!("3:3 there is no key behind `ssh-ed25519` ({example})")),
        ("\"\" KEY", format!("1:1 this names nobody ({example})")),
        ("\"a KEY", "1:1 this quote has no end (close it with `\"`)".to_owned()),
        (
            "a\"b\" KEY",
            "1:1 a quote in the middle of the principals (quote all the principals, as in \
             `\"alice@example.com,bob@example.com\"`, or none)".to_owned(),
        ),
        (
            "\"a\"b KEY",
            "1:1 a quote in the middle of the principals (quote all the principals, as in \
             `\"alice@example.com,bob@example.com\"`, or none)".to_owned(),
        ),
        (
            "a cert-authority KEY",
            "1:3 `cert-authority`: certificates are not supported (list the key of each person on \
             a line of its own)".to_owned(),
        ),
        (
            "a no-touch-required KEY",
            format!("1:3 there is no option `no-touch-required` ({known})"),
        ),
        ("a whatever=\"x y\" KEY", format!("1:3 there is no option `whatever` ({known})")),
        (
            "a namespace=\"x\" KEY",
            "1:3 there is no option `namespace` (did you mean `namespaces`? Possible here: \
             `namespaces`, `valid-after` or `valid-before`)".to_owned(),
        ),
        ("a ,namespaces=\"x\" KEY", format!("1:3 an option without a name ({known})")),
        (
            "a namespaces=\"x\", KEY",
            "1:17 there is no option behind this comma (remove the comma)".to_owned(),
        ),
        (
            "a namespaces KEY",
            "1:3 `namespaces` needs a value (write `namespaces=\"…\"`)".to_owned(),
        ),
        (
            "a namespaces=x KEY",
            "1:3 the value of `namespaces` needs double quotes (write \
             `namespaces=\"x\"`)".to_owned(),
        ),
        (
            "a namespaces=\"x\"y KEY",
            "1:17 something stands right behind the quote (separate options with a \
             comma)".to_owned(),
        ),
        (
            "a namespaces=\"\" KEY",
            "1:15 no namespace at all (name one, as in `namespaces=\"holdfast-allowance\"`, or \
             leave the option out)".to_owned(),
        ),
        (
            "a namespaces=\"x\",namespaces=\"y\" KEY",
            "1:18 `namespaces` is given twice (keep one of the two)".to_owned(),
        ),
        (
            "a valid-before=\"20260101\" KEY",
            "1:17 `20260101` is in the local time of whoever reads it (say which time zone: \
             `20260101Z` is UTC)".to_owned(),
        ),
        ("a valid-after=\"2026-01-01\" KEY", format!("1:16 `2026-01-01` is not a time ({utc})")),
        (
            "a valid-after=\"20260230Z\" KEY",
            format!("1:16 the calendar has no `20260230Z` ({utc})"),
        ),
        (
            "a valid-after=\"20260102Z\",valid-before=\"20260102Z\" KEY",
            "1:3 `valid-before` is not later than `valid-after` (this key would never be \
             valid)".to_owned(),
        ),
        (
            "a ssh-ed25519 AAAA",
            "1:3 this is no public key: the kind of the public key is cut short (copy the whole \
             line of the `.pub` file)".to_owned(),
        ),
        (
            "a ssh-dss AAAA",
            "1:3 a DSA key (`ssh-dss`) is too weak (use an Ed25519, ECDSA, RSA (2048 to 8192 bits) \
             or hardware key)".to_owned(),
        ),
        (
            "a ssh-ed25519-cert-v01@openssh.com AAAA",
            "1:3 a certificate (`ssh-ed25519-cert-v01@openssh.com`) is not supported (use an \
             Ed25519, ECDSA, RSA (2048 to 8192 bits) or hardware key)".to_owned(),
        ),
    ] {
        assert_eq!(problem(text), expected, "{text}");
    }
    let quote = problem("a namespaces=\"x KEY").replace(ED25519.trim_end(), "KEY");
    assert!(quote.starts_with("1:14 this quote has no end"), "{quote}");
    let long = problem(&format!("{},b KEY", "a".repeat(1023)));
    assert!(long.contains("… is too long") || long.contains("…` is too long"), "{long}");
    assert!(!signers(&format!("{},b KEY", "a".repeat(1022))).allows("a", &key(ED25519), SPACE, 0));
}

#[test]
fn all_mistakes_come_in_file_order() {
    let text = put_key(
        "alice cert-authority,namespaces=x,valid-after=\"2026\" KEY\n\
         # fine\n\
         bob ssh-rsa AAAA\n\
         carol KEY\n",
    );
    let problems = Signers::parse("/etc/holdfast/allowed_signers", &text).unwrap_err();
    let places: Vec<(usize, usize)> = problems.iter().map(|p| (p.line, p.col)).collect();
    assert_eq!(places, [(1, 7), (1, 22), (1, 48), (3, 5)]);
    let shown = problems.to_string();
    assert!(shown.starts_with(
        "/etc/holdfast/allowed_signers:1:7: error: `cert-authority`: certificates are not \
         supported\n"
    ));
    assert!(shown.contains(
        "/etc/holdfast/allowed_signers:3:5: error: this is no public key: the kind of the public \
         key is cut short\n \
         3 | bob ssh-rsa AAAA\n   |     ^^^^^^^^^^^^\n   = help: copy the whole line"
    ), "{shown}");
}

/// A principal may have a name that begins like a kind of key.
#[test]
fn principal_may_resemble_a_key() {
    assert!(signers("ssh-admins KEY").allows("ssh-admins", &key(ED25519), SPACE, 0));
}

#[test]
fn revoked_keys_match_whole_or_fingerprint() {
    let hash = key(RSA).fingerprint();
    let weak = include_str!("../../tests/signatures/vectors/dsa.pub");
    let text = format!("# gone\n\n{ED25519}\r\n  {hash} rsa of bob\n{weak}");
    let revoked = RevokedKeys::parse("revoked_keys", text.as_bytes()).unwrap();
    assert!(revoked.contains(&key(ED25519)));
    assert!(revoked.contains(&key(RSA)));
    assert!(!revoked.contains(&key(HARDWARE)));
    assert!(!RevokedKeys::default().contains(&key(ED25519)));
}

#[test]
fn unreadable_revoked_keys_are_located() {
    let problem = |text: &[u8]| {
        let problems = RevokedKeys::parse("revoked_keys", text).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems}");
        problems.iter().map(|p| format!("{}:{} {}", p.line, p.col, p.message)).collect::<String>()
    };
    assert_eq!(
        problem(b"SSHKRL\n\0\0\0\0\x01"),
        "1:1 a binary key revocation list (KRL) is not supported"
    );
    assert_eq!(problem(b"# ok\nab\xffcd"), "2:3 this is not UTF-8 text");
    assert_eq!(problem(b"SHA256:short"), "1:1 `SHA256:short` is no SHA-256 fingerprint");
    assert_eq!(problem(b"\n MD5:00:11"), "2:2 a key of the kind `MD5:00:11` is not supported");
    assert_eq!(
        problem(b"ssh-ed25519 AAAA"),
        "1:1 this is no public key: the kind of the public key is cut short"
    );
    let certificate = include_bytes!("../../tests/signatures/vectors/certificate.pub");
    assert_eq!(
        problem(certificate),
        "1:1 a certificate (`ssh-ed25519-cert-v01@openssh.com`) is not supported"
    );
}
