//! What an `allowed_signers` file can say about a signature that is right.

use crate::cases::{TEXT, Workshop};
use crate::verdict::{ALICE, Case, Moment, NOW};

pub fn all(shop: &Workshop) -> Vec<Case> {
    let mut cases = Vec::new();
    principals(shop, &mut cases);
    namespaces(shop, &mut cases);
    times(shop, &mut cases);
    keys(shop, &mut cases);
    lines(shop, &mut cases);
    cases
}

fn principals(shop: &Workshop, cases: &mut Vec<Case>) {
    let key = shop.signer("ed25519");
    let signature = shop.sign(key, TEXT);
    for (list, identity, right) in [
        (ALICE, ALICE, true),
        (ALICE, "bob@example.com", false),
        (ALICE, "Alice@example.com", false),
        (ALICE, "alice", false),
        (ALICE, "alice@example.com.evil", false),
        ("alice", ALICE, false),
        ("bob@example.com,alice@example.com", ALICE, true),
        ("alice@example.com,bob@example.com", "bob@example.com", true),
        ("alice@example.com,bob@example.com", "alice@example.com,bob@example.com", false),
        ("*", ALICE, true),
        ("*", "x", true),
        ("**", "x", true),
        ("*@example.com", ALICE, true),
        ("*@example.com", "alice@example.org", false),
        ("*@example.com", "@example.com", true),
        ("alice@*", ALICE, true),
        ("a*e*@*m", ALICE, true),
        ("a*z*@*m", ALICE, false),
        ("?lice@example.com", ALICE, true),
        ("?lice@example.com", "lice@example.com", false),
        ("?????@example.com", ALICE, true),
        ("??????@example.com", ALICE, false),
        ("alice@example?com", ALICE, true),
        ("*,!alice@example.com", ALICE, false),
        ("!alice@example.com,*", ALICE, false),
        ("*,!alice@*", ALICE, false),
        ("*,!bob@example.com", ALICE, true),
        ("!bob@example.com", ALICE, false),
        ("!*,alice@example.com", ALICE, false),
        ("!!alice@example.com", "!alice@example.com", false),
        ("bob,,alice@example.com,", ALICE, true),
        ("[a]lice@example.com", ALICE, false),
        ("\"alice@example.com\"", ALICE, true),
        ("\"bob,alice x\"", "alice x", true),
        ("\"alice x\"", "alice", false),
        ("ålice@example.com", "ålice@example.com", true),
        ("??lice@example.com", "ålice@example.com", true),
        ("?lice@example.com", "ålice@example.com", false),
    ] {
        let case = Case::new("principals", &key.line, &signature, TEXT);
        let allowed = format!("{list} {}\n", key.line);
        let what = format!("{identity} in {list}");
        cases.push(Case {
            what,
            allowed,
            identity: identity.to_owned(),
            right: Some(right),
            ..case
        });
    }
    for key in &shop.keys {
        let case = Case::new("wrong principal", &key.line, &shop.sign(key, TEXT), TEXT);
        let identity = "mallory@example.com".to_owned();
        cases.push(Case { what: key.name.to_owned(), identity, right: Some(false), ..case });
    }
}

fn namespaces(shop: &Workshop, cases: &mut Vec<Case>) {
    let key = shop.signer("ecdsa-256");
    let signature = shop.sign(key, TEXT);
    for (option, right) in [
        ("namespaces=\"holdfast-allowance\"", true),
        ("NAMESPACES=\"holdfast-allowance\"", true),
        ("namespaces=\"file,holdfast-allowance\"", true),
        ("namespaces=\"holdfast-*\"", true),
        ("namespaces=\"*\"", true),
        ("namespaces=\"holdfast?allowance\"", true),
        ("namespaces=\"*,!file\"", true),
        ("namespaces=\"*,!holdfast-*\"", false),
        ("namespaces=\"!file\"", false),
        ("namespaces=\"file\"", false),
        ("namespaces=\"file,git\"", false),
        ("namespaces=\"Holdfast-Allowance\"", false),
        ("namespaces=\"holdfast\"", false),
        ("namespaces=\"holdfast-allowance2\"", false),
        ("namespaces=\" holdfast-allowance\"", false),
        ("namespaces=\"a b,holdfast-allowance\"", true),
        ("namespaces=\"a\\\"b,holdfast-allowance\"", true),
        ("namespaces=\"file\",valid-after=\"20200101Z\"", false),
        ("valid-after=\"20200101Z\",namespaces=\"holdfast-allowance\"", true),
    ] {
        let case = Case::new("namespaces", &key.line, &signature, TEXT);
        let allowed = format!("{ALICE} {option} {}\n", key.line);
        cases.push(Case { what: option.to_owned(), allowed, right: Some(right), ..case });
    }
}

fn times(shop: &Workshop, cases: &mut Vec<Case>) {
    let key = shop.signer("sk-ed25519");
    let signature = shop.sign(key, TEXT);
    let moment = |text, at| Moment { text, at };
    let leap = moment("20280229000000Z", 1_835_395_200);
    for (option, moment, right) in [
        ("valid-after=\"20260601120000Z\"", NOW, true),
        ("valid-after=\"20260601115959Z\"", NOW, true),
        ("valid-after=\"20260601120001Z\"", NOW, false),
        ("valid-after=\"202606011200Z\"", NOW, true),
        ("valid-after=\"202606011201Z\"", NOW, false),
        ("valid-after=\"20260601Z\"", NOW, true),
        ("valid-after=\"20260602Z\"", NOW, false),
        ("valid-before=\"20260601120000Z\"", NOW, true),
        ("valid-before=\"20260601120001Z\"", NOW, true),
        ("valid-before=\"20260601115959Z\"", NOW, false),
        ("valid-before=\"202606011200Z\"", NOW, true),
        ("valid-before=\"202606011159Z\"", NOW, false),
        ("valid-before=\"20260601Z\"", NOW, false),
        ("valid-before=\"20260602Z\"", NOW, true),
        ("valid-before=\"20260602z\"", NOW, true),
        ("valid-before=\"20260602UTC\"", NOW, true),
        ("valid-before=\"20260601utc\"", NOW, false),
        ("Valid-After=\"20260501Z\",Valid-Before=\"20260701Z\"", NOW, true),
        ("valid-before=\"20260701Z\",valid-after=\"20260501Z\"", NOW, true),
        ("valid-after=\"20260701Z\",valid-before=\"20260801Z\"", NOW, false),
        ("valid-after=\"20260401Z\",valid-before=\"20260501Z\"", NOW, false),
        ("valid-before=\"20280229Z\"", leap, true),
        ("valid-before=\"20280228235959Z\"", leap, false),
        ("valid-after=\"20280301Z\"", leap, false),
        ("valid-after=\"20280228Z\",valid-before=\"20280301Z\"", leap, true),
        ("valid-after=\"20991231235959Z\"", moment("21000101000000Z", 4_102_444_800), true),
        ("valid-after=\"21000101000001Z\"", moment("21000101000000Z", 4_102_444_800), false),
        ("valid-after=\"19700101000001Z\"", moment("19700101000001Z", 1), true),
        ("valid-after=\"19700101000002Z\"", moment("19700101000001Z", 1), false),
    ] {
        let case = Case::new("times", &key.line, &signature, TEXT);
        let allowed = format!("{ALICE} {option} {}\n", key.line);
        let what = format!("{option} at {}", moment.text);
        cases.push(Case { what, allowed, moment, right: Some(right), ..case });
    }
    for key in &shop.keys {
        let case = Case::new("expired key", &key.line, &shop.sign(key, TEXT), TEXT);
        for (kind, option) in [
            ("expired key", "valid-before=\"20260601115959Z\""),
            ("not yet valid key", "valid-after=\"20260601120001Z\""),
        ] {
            let allowed = format!("{ALICE} {option} {}\n", key.line);
            let what = key.name.to_owned();
            cases.push(Case { kind, what, allowed, right: Some(false), ..case.clone() });
        }
    }
}

/// Every key, where another one is expected.
fn keys(shop: &Workshop, cases: &mut Vec<Case>) {
    for key in &shop.keys {
        let signature = shop.sign(key, TEXT);
        for listed in &shop.keys {
            let case = Case::new("another key", &listed.line, &signature, TEXT);
            let what = format!("{} where {} is listed", key.name, listed.name);
            cases.push(Case { what, right: Some(key.name == listed.name), ..case });
        }
    }
}

/// How lines are written, and how several of them go together.
fn lines(shop: &Workshop, cases: &mut Vec<Case>) {
    let key = shop.signer("rsa-3072");
    let signature = shop.sign(key, TEXT);
    let own = &key.line;
    let words: Vec<&str> = own.split(' ').take(2).collect();
    let bare = words.join(" ");
    let other = &shop.signer("ed25519").line;
    for (what, allowed, right) in [
        ("no line end", format!("{ALICE} {own}"), true),
        ("no comment", format!("{ALICE} {bare}\n"), true),
        ("no comment, no line end", format!("{ALICE} {bare}"), true),
        ("a long comment", format!("{ALICE} {bare} some thing # more\n"), true),
        ("CRLF", format!("# x\r\n{ALICE} {own}\r\n"), true),
        ("CRLF, no comment", format!("{ALICE} {bare}\r\n"), true),
        ("tabs", format!("\t{ALICE}\t\tnamespaces=\"*\"\t{}\t{}\tx\n", words[0], words[1]), true),
        (
            "blanks",
            format!("  {ALICE}   namespaces=\"*\"   {}   {}   \n", words[0], words[1]),
            true,
        ),
        ("comments", format!("#\n# {ALICE} {other}\n\n  # x\n \t \n{ALICE} {own}\n"), true),
        ("commented out", format!("# {ALICE} {own}\n"), false),
        ("commented out, further in", format!("  #{ALICE} {own}\n"), false),
        ("nothing", String::new(), false),
        ("only comments", "# nobody\n\n".to_owned(), false),
        ("another key first", format!("{ALICE} {other}\n{ALICE} {own}\n"), true),
        ("another person first", format!("bob {own}\n{ALICE} {own}\n"), true),
        ("another person only", format!("bob {own}\n{ALICE} {other}\n"), false),
        ("excluded first", format!("*,!{ALICE} {own}\n{ALICE} {own}\n"), true),
        ("excluded later", format!("{ALICE} {own}\n*,!{ALICE} {own}\n"), true),
        (
            "expired first",
            format!("{ALICE} valid-before=\"20250101Z\" {own}\n{ALICE} {own}\n"),
            true,
        ),
        (
            "expired and not yet valid",
            format!(
                "{ALICE} valid-before=\"20250101Z\" {own}\n\
                 {ALICE} valid-after=\"20270101Z\" {own}\n"
            ),
            false,
        ),
        (
            "another namespace first",
            format!("{ALICE} namespaces=\"file\" {own}\n{ALICE} {own}\n"),
            true,
        ),
        (
            "the namespace for another person",
            format!("{ALICE} namespaces=\"file\" {own}\nbob {own}\n"),
            false,
        ),
        ("the same line twice", format!("{ALICE} {own}\n{ALICE} {own}\n"), true),
    ] {
        let case = Case::new("lines", own, &signature, TEXT);
        cases.push(Case { what: what.to_owned(), allowed, right: Some(right), ..case });
    }
}
