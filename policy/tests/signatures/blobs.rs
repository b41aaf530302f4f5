//! What is inside the armour, changed on purpose.

use crate::cases::{Signer, TEXT, Workshop};
use crate::token::{self, TOUCHED, Token, fields};
use crate::verdict::{Case, SPACE};

/// The fields of a signature.
#[derive(Clone)]
struct Blob {
    key: Vec<u8>,
    namespace: Vec<u8>,
    reserved: Vec<u8>,
    hash: Vec<u8>,
    proof: Vec<u8>,
    rest: Vec<u8>,
}

pub fn all(shop: &Workshop) -> Vec<Case> {
    let mut cases = Vec::new();
    for key in &shop.keys {
        let blob = Blob::read(&token::blob(&shop.sign(key, TEXT)));
        for (right, what, changed) in changes(shop, key, &blob) {
            let armour = token::armour(&changed.write());
            let case = Case::new("fields changed", &key.line, &armour, TEXT);
            cases.push(Case { what: format!("{} {what}", key.name), right: Some(right), ..case });
        }
    }
    numbers(shop, &mut cases);
    cases
}

fn changes(shop: &Workshop, key: &Signer, blob: &Blob) -> Vec<(bool, &'static str, Blob)> {
    let with = |change: &dyn Fn(&mut Blob)| {
        let mut changed = blob.clone();
        change(&mut changed);
        changed
    };
    let other = Blob::read(&token::blob(&shop.sign(shop.signer(other_than(key.name)), TEXT)));
    let file = Blob::read(&token::blob(&shop.sign_as(key, "file", "sha512", TEXT)));
    let half = Blob::read(&token::blob(&shop.sign_as(key, SPACE, "sha256", TEXT)));
    vec![
        (true, "nothing", blob.clone()),
        (true, "reserved field", with(&|b| b.reserved = b"later".to_vec())),
        (false, "something behind", with(&|b| b.rest = vec![0])),
        (false, "itself behind", with(&|b| b.rest = blob.write())),
        (false, "another's key", with(&|b| b.key.clone_from(&other.key))),
        (false, "another's signature", with(&|b| b.proof.clone_from(&other.proof))),
        (
            false,
            "another's key and signature",
            with(&|b| {
                b.key.clone_from(&other.key);
                b.proof.clone_from(&other.proof);
            }),
        ),
        (false, "another namespace's signature", with(&|b| b.proof.clone_from(&file.proof))),
        (false, "the other hash's signature", with(&|b| b.proof.clone_from(&half.proof))),
        (false, "the other hash's name", with(&|b| b.hash = b"sha256".to_vec())),
        (false, "an unknown hash", with(&|b| b.hash = b"sha384".to_vec())),
        (false, "a weak hash", with(&|b| b.hash = b"sha1".to_vec())),
        (false, "no hash", with(&|b| b.hash.clear())),
        (false, "an empty key", with(&|b| b.key.clear())),
        (false, "something behind the key", with(&|b| b.key.push(0))),
        (false, "an empty signature", with(&|b| b.proof.clear())),
        (false, "something behind the signature", with(&|b| b.proof.push(0))),
        (false, "an empty namespace", with(&|b| b.namespace.clear())),
        (
            false,
            "a wrong kind of signature",
            with(&|b| {
                let at = 4 + length(&b.proof);
                b.proof = [fields(&[b"ssh-ed448"]), b.proof[at..].to_vec()].concat();
            }),
        ),
        (
            false,
            "a wrong kind of key",
            with(&|b| {
                let at = 4 + length(&b.key);
                b.key = [fields(&[b"ssh-ed448"]), b.key[at..].to_vec()].concat();
            }),
        ),
        (
            false,
            "SHA-1",
            with(&|b| {
                let at = 4 + length(&b.proof);
                b.proof = [fields(&[b"ssh-rsa"]), b.proof[at..].to_vec()].concat();
            }),
        ),
    ]
}

/// Numbers that are longer than they need to be, negative, or nothing.
fn numbers(shop: &Workshop, cases: &mut Vec<Case>) {
    for name in ["ecdsa-256", "ecdsa-384", "ecdsa-521"] {
        let key = shop.signer(name);
        let blob = Blob::read(&token::blob(&shop.sign(key, TEXT)));
        let (kind, rest) = split(&blob.proof);
        let (inner, _) = split(rest);
        let (r, after) = split(inner);
        let (s, _) = split(after);
        let zeros = |bytes: &[u8]| [&[0, 0, 0], bytes].concat();
        for (right, what, numbers) in [
            (true, "leading zeros", fields(&[&zeros(r), &zeros(s)])),
            (false, "swapped", fields(&[s, r])),
            (false, "zero", fields(&[b"", s])),
            (false, "both zero", fields(&[b"", b""])),
            (false, "negative", fields(&[&[0x80, 1], s])),
            (false, "too large", fields(&[&[1; 80], s])),
            (false, "far too large", fields(&[&[1; 4000], s])),
            (false, "three", fields(&[r, s, s])),
            (false, "one", fields(&[r])),
        ] {
            let proof = fields(&[kind, &numbers]);
            let armour = token::armour(&Blob { proof, ..blob.clone() }.write());
            let case = Case::new("numbers of the signature", &key.line, &armour, TEXT);
            cases.push(Case { what: format!("{name} {what}"), right: Some(right), ..case });
        }
    }
    rsa_numbers(shop, cases);
    let token = Token::ecdsa();
    let signature = token.sign(SPACE, "sha512", TOUCHED, 5, TEXT);
    let blob = Blob::read(&token::blob(&signature));
    for cut in 1..=6 {
        let mut proof = blob.proof.clone();
        proof.truncate(proof.len() - cut);
        let armour = token::armour(&Blob { proof, ..blob.clone() }.write());
        let case = Case::new("a hardware key's stamp cut short", &token.line(), &armour, TEXT);
        cases.push(Case { what: format!("{cut} bytes"), right: Some(false), ..case });
    }
}

fn rsa_numbers(shop: &Workshop, cases: &mut Vec<Case>) {
    let key = shop.signer("rsa-2048");
    let blob = Blob::read(&token::blob(&shop.sign(key, TEXT)));
    let (kind, rest) = split(&blob.proof);
    let (number, _) = split(rest);
    let (name, rest) = split(&blob.key);
    let (e, rest) = split(rest);
    let (n, _) = split(rest);
    let zeros = |bytes: &[u8]| [&[0, 0, 0], bytes].concat();
    let proof = |number: &[u8]| Blob { proof: fields(&[kind, number]), ..blob.clone() };
    for (right, what, changed) in [
        (false, "a longer number", proof(&zeros(number))),
        // A zero that is left out is put back: one random signature in 256 begins with one.
        (number[0] == 0, "a shorter number", proof(&number[1..])),
        (false, "no number", proof(b"")),
        (false, "the modulus itself", proof(&n[1..])),
        (
            true,
            "leading zeros in the key",
            Blob { key: fields(&[name, &zeros(e), &zeros(n)]), ..blob.clone() },
        ),
        (
            false,
            "exponent and modulus swapped",
            Blob { key: fields(&[name, n, e]), ..blob.clone() },
        ),
        (
            false,
            "the other hash's kind",
            Blob { proof: fields(&[b"rsa-sha2-256", number]), ..blob.clone() },
        ),
    ] {
        let armour = token::armour(&changed.write());
        let case = Case::new("numbers of the signature", &key.line, &armour, TEXT);
        cases.push(Case { what: format!("rsa {what}"), right: Some(right), ..case });
    }
    // Of the text `40`, whose signature begins with a zero that was left out.
    let line = include_str!("vectors/rsa-2048.pub").trim_end();
    let armour = include_str!("vectors/rsa-2048-short.sig");
    let case = Case::new("numbers of the signature", line, armour, b"40");
    cases.push(Case { what: "rsa without its zero".to_owned(), right: Some(true), ..case });
}

fn other_than(name: &str) -> &'static str {
    if name == "ed25519" { "ed25519-other" } else { "ed25519" }
}

fn length(field: &[u8]) -> usize {
    let (length, _) = field.split_first_chunk().expect("a field says how long it is");
    u32::from_be_bytes(*length) as usize
}

/// The first field, and what follows it.
fn split(wire: &[u8]) -> (&[u8], &[u8]) {
    wire[4..].split_at(length(wire))
}

impl Blob {
    fn read(blob: &[u8]) -> Self {
        let (key, rest) = split(&blob[10..]);
        let (namespace, rest) = split(rest);
        let (reserved, rest) = split(rest);
        let (hash, rest) = split(rest);
        let (proof, rest) = split(rest);
        let [key, namespace, reserved, hash, proof, rest] =
            [key, namespace, reserved, hash, proof, rest].map(<[u8]>::to_vec);
        Self { key, namespace, reserved, hash, proof, rest }
    }

    fn write(&self) -> Vec<u8> {
        let Self { key, namespace, reserved, hash, proof, rest } = self;
        let all = fields(&[key, namespace, reserved, hash, proof]);
        [b"SSHSIG\0\0\0\x01", all.as_slice(), rest].concat()
    }
}
