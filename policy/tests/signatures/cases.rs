//! Keys, texts, and what can be wrong with a signature or its armour.

use std::cell::RefCell;

use crate::ssh_keygen::{Key, Keygen};
use crate::token::{self, TOUCHED, Token, VERIFIED};
use crate::verdict::{Case, SPACE};

/// The text of most cases.
pub const TEXT: &[u8] = b"version = 1\nid = \"fix-2026\"\nreason = \"clean up \xc3\xa9\"\n";

/// Keys of every kind, new ones each time, and the same random numbers for the same
/// `HOLDFAST_TEST_SEED`.
pub struct Workshop {
    pub keygen: Keygen,
    pub keys: Vec<Signer>,
    random: RefCell<u64>,
}

/// Somebody who can sign.
pub struct Signer {
    pub name: &'static str,
    /// The line of the `.pub` file.
    pub line: String,
    with: With,
}

enum With {
    File(Key),
    Token(Token),
}

impl Workshop {
    pub fn new() -> Self {
        let keygen = Keygen::new();
        let mut keys: Vec<Signer> = [
            ("ed25519", "ed25519", 0),
            ("ecdsa-256", "ecdsa", 256),
            ("ecdsa-384", "ecdsa", 384),
            ("ecdsa-521", "ecdsa", 521),
            ("rsa-2048", "rsa", 2048),
            ("rsa-3072", "rsa", 3072),
            ("ed25519-other", "ed25519", 0),
        ]
        .into_iter()
        .map(|(name, kind, bits)| {
            let key = keygen.key(name, kind, bits);
            Signer { name, line: key.line.clone(), with: With::File(key) }
        })
        .collect();
        for (name, token) in [("sk-ed25519", Token::ed25519()), ("sk-ecdsa", Token::ecdsa())] {
            keys.push(Signer { name, line: token.line(), with: With::Token(token) });
        }
        let seed = std::env::var("HOLDFAST_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        Self { keygen, keys, random: RefCell::new(seed.unwrap_or(2012)) }
    }

    /// The key with this name.
    pub fn signer(&self, name: &str) -> &Signer {
        self.keys.iter().find(|key| key.name == name).expect("the names are those of `new`")
    }

    /// A signature for an allowance.
    pub fn sign(&self, key: &Signer, text: &[u8]) -> String {
        self.sign_as(key, SPACE, "sha512", text)
    }

    pub fn sign_as(&self, key: &Signer, namespace: &str, hash: &str, text: &[u8]) -> String {
        match &key.with {
            With::File(key) => self.keygen.sign(key, namespace, hash, text),
            With::Token(token) => token.sign(namespace, hash, TOUCHED, 5, text),
        }
    }

    /// A number below `end` (SplitMix64).
    pub fn below(&self, end: usize) -> usize {
        let mut state = self.random.borrow_mut();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize % end
    }
}

/// Everything that is wrong, or not, with text, namespace and armour.
pub fn all(shop: &Workshop) -> Vec<Case> {
    let mut cases = Vec::new();
    for key in &shop.keys {
        right(shop, key, &mut cases);
        edited(shop, key, &mut cases);
        wrong_namespace(shop, key, &mut cases);
        truncated(shop, key, &mut cases);
        flipped(shop, key, &mut cases);
    }
    touches(&mut cases);
    armour(shop, &mut cases);
    cases
}

fn right(shop: &Workshop, key: &Signer, cases: &mut Vec<Case>) {
    let large = vec![b'x'; 1_000_000];
    let texts: [(&str, &[u8]); 5] = [
        ("plain", TEXT),
        ("empty", b""),
        ("CRLF", b"a\r\nb\r\n"),
        ("binary", b"\0\xff\n"),
        ("large", &large),
    ];
    for (what, text) in texts {
        for hash in ["sha512", "sha256"] {
            let signature = shop.sign_as(key, SPACE, hash, text);
            let case = Case::new("right", &key.line, &signature, text);
            let what = format!("{} {what} {hash}", key.name);
            cases.push(Case { what, right: Some(true), ..case });
        }
    }
}

fn edited(shop: &Workshop, key: &Signer, cases: &mut Vec<Case>) {
    let case = Case::new("edited text", &key.line, &shop.sign(key, TEXT), TEXT);
    let mut flipped = TEXT.to_vec();
    let at = shop.below(flipped.len());
    flipped[at] ^= 1 << shop.below(8);
    let crlf = String::from_utf8_lossy(TEXT).replace('\n', "\r\n").into_bytes();
    for (what, text) in [
        ("a byte", flipped),
        ("one more line end", [TEXT, b"\n"].concat()),
        ("no last line end", TEXT[..TEXT.len() - 1].to_vec()),
        ("CRLF", crlf),
        ("nothing left", Vec::new()),
    ] {
        let what = format!("{} {what}", key.name);
        cases.push(Case { what, text, right: Some(false), ..case.clone() });
    }
    let other = shop.sign(key, b"another document\n");
    let case = Case::new("another document's signature", &key.line, &other, TEXT);
    cases.push(Case { what: key.name.to_owned(), right: Some(false), ..case });
}

fn wrong_namespace(shop: &Workshop, key: &Signer, cases: &mut Vec<Case>) {
    let others = ["file", "git", "holdfast-allowanc", "holdfast-allowance2", "Holdfast-Allowance"];
    for namespace in others {
        let signature = shop.sign_as(key, namespace, "sha512", TEXT);
        let case = Case::new("wrong namespace", &key.line, &signature, TEXT);
        let what = format!("{} signed for {namespace}", key.name);
        cases.push(Case { what, right: Some(false), ..case.clone() });
        let what = format!("{} asked for {namespace}", key.name);
        let namespace = namespace.to_owned();
        cases.push(Case { kind: "right", what, namespace, right: Some(true), ..case });
    }
}

fn truncated(shop: &Workshop, key: &Signer, cases: &mut Vec<Case>) {
    let signature = shop.sign(key, TEXT);
    let ends = signature.find("\n-----END SSH SIGNATURE-----").expect("ssh-keygen made it") + 28;
    for _ in 0..12 {
        let length = shop.below(signature.len());
        let case = Case::new("truncated armour", &key.line, &signature[..length], TEXT);
        let what = format!("{} after {length} bytes", key.name);
        // The line end behind the last line does not matter.
        cases.push(Case { what, right: Some(length >= ends), ..case });
    }
    for _ in 0..6 {
        let blob = token::blob(&signature);
        let length = shop.below(blob.len());
        let armour = token::armour(&blob[..length]);
        let case = Case::new("truncated inside the armour", &key.line, &armour, TEXT);
        let what = format!("{} after {length} bytes", key.name);
        cases.push(Case { what, right: Some(false), ..case });
    }
}

fn flipped(shop: &Workshop, key: &Signer, cases: &mut Vec<Case>) {
    let signature = shop.sign(key, TEXT);
    for _ in 0..12 {
        let mut armour = signature.clone().into_bytes();
        let at = not_the_version(shop.below(armour.len()), 43);
        // The last bit of the last byte would make it no text: see `stricter.rs`.
        let bits = if at + 1 == armour.len() { 7 } else { 8 };
        armour[at] ^= 1 << shop.below(bits);
        let case = Case::new("flipped bit of the armour", &key.line, &signature, TEXT);
        cases.push(Case { what: format!("{} at {at}", key.name), armour, ..case });
    }
    for _ in 0..12 {
        let mut blob = token::blob(&signature);
        let at = not_the_version(shop.below(blob.len()), 9);
        blob[at] ^= 1 << shop.below(8);
        let case =
            Case::new("flipped bit inside the armour", &key.line, &token::armour(&blob), TEXT);
        cases.push(Case { what: format!("{} at {at}", key.name), ..case });
    }
}

/// A flip there could make it version 0, which is a case of its own (`stricter.rs`).
fn not_the_version(at: usize, version: usize) -> usize {
    if at == version { at + 1 } else { at }
}

/// ssh-keygen takes note of the touch, and does not ask for it; whether it counts is the policy's
/// to say.
fn touches(cases: &mut Vec<Case>) {
    for (name, token) in [("sk-ed25519", Token::ed25519()), ("sk-ecdsa", Token::ecdsa())] {
        for flags in [0, TOUCHED, VERIFIED, TOUCHED | VERIFIED, 0xff] {
            for counter in [0, 1, u32::MAX] {
                let signature = token.sign(SPACE, "sha512", flags, counter, TEXT);
                let case = Case::new("hardware keys' flags", &token.line(), &signature, TEXT);
                let what = format!("{name} flags {flags:#x} counter {counter}");
                cases.push(Case { what, right: Some(true), ..case });
            }
        }
    }
}

/// The ways to write one armour, and what only looks like one.
fn armour(shop: &Workshop, cases: &mut Vec<Case>) {
    for name in ["ed25519", "rsa-2048", "sk-ecdsa"] {
        let key = shop.signer(name);
        let signature = shop.sign(key, TEXT);
        let body = signature.lines().filter(|line| !line.starts_with('-')).collect::<String>();
        let wrapped = |width: usize, end: &str| {
            let lines: Vec<&str> = body
                .as_bytes()
                .chunks(width)
                .map(|line| std::str::from_utf8(line).expect("Base64 is ASCII"))
                .collect();
            lines.join(end)
        };
        let around = |body: &str| {
            format!("-----BEGIN SSH SIGNATURE-----\n{body}\n-----END SSH SIGNATURE-----\n")
        };
        let pad = body.trim_end_matches('=');
        for (right, what, armour) in [
            (true, "one line", around(&body)),
            (true, "one letter in each line", around(&wrapped(1, "\n"))),
            (true, "64 letters in each line", around(&wrapped(64, "\n"))),
            (true, "blanks", around(&wrapped(5, " \t \n\n "))),
            (true, "other white space", around(&wrapped(7, "\x0b\x0c\r"))),
            (true, "CRLF inside", around(&(wrapped(70, "\r\n") + "\r"))),
            (true, "no last line end", signature.trim_end().to_owned()),
            (true, "something behind", format!("{signature}junk\n{signature}")),
            (true, "something behind the last line", format!("{} junk", signature.trim_end())),
            (false, "something before", format!("junk\n{signature}")),
            (false, "an empty line before", format!("\n{signature}")),
            (false, "a blank before", format!(" {signature}")),
            (false, "a blank behind the first line", signature.replacen("-----\n", "----- \n", 1)),
            (false, "no first line", body.clone() + "\n-----END SSH SIGNATURE-----\n"),
            (false, "no last line", format!("-----BEGIN SSH SIGNATURE-----\n{body}\n")),
            (false, "nothing inside", around("")),
            (false, "nothing inside and no line for it", around("").replacen("\n\n", "\n", 1)),
            (false, "nothing", String::new()),
            (false, "PGP", signature.replace("SSH SIGNATURE", "PGP SIGNATURE")),
            (false, "lower case", signature.replace("BEGIN SSH", "begin ssh")),
            (
                false,
                "a letter that is not Base64",
                around(&format!("{}!{}", &body[..20], &body[20..])),
            ),
            (false, "URL letters", around(&format!("{}-_{}", &body[..20], &body[22..]))),
            (false, "one letter more", around(&format!("A{body}"))),
            (false, "one letter less", around(&body[1..])),
            (false, "four letters less", around(&body[4..])),
            (false, "padding in the middle", around(&format!("{}=={}", &body[..20], &body[20..]))),
            (false, "more padding", around(&format!("{pad}==="))),
            (pad == body, "no padding", around(pad)),
            (false, "a comment inside", around(&format!("Comment: x\n{body}"))),
        ] {
            let case = Case::new("armour rewritten", &key.line, &armour, TEXT);
            cases.push(Case { what: format!("{name} {what}"), right: Some(right), ..case });
        }
    }
}
