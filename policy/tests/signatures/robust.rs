//! Files that nobody meant to write: a clear answer, never a panic.

use std::fs;
use std::path::PathBuf;

use holdfast_policy::signers::{RevokedKeys, Signers};
use holdfast_policy::sshsig::Signature;
use proptest::prelude::*;

use crate::cases::TEXT;
use crate::token;
use crate::verdict::SPACE;

/// Signatures of every kind, as fixed files.
const SIGNATURES: [&str; 7] = [
    include_str!("vectors/ed25519.sig"),
    include_str!("vectors/ecdsa-256.sig"),
    include_str!("vectors/ecdsa-384.sig"),
    include_str!("vectors/ecdsa-521.sig"),
    include_str!("vectors/rsa-2048.sig"),
    include_str!("vectors/sk-ed25519.sig"),
    include_str!("vectors/sk-ecdsa.sig"),
];

fn judge(armour: &str) {
    match Signature::parse(armour) {
        Ok(signature) => drop(signature.verify(SPACE, TEXT)),
        Err(error) => assert!(!error.to_string().contains(char::is_control)),
    }
}

fn judge_list(text: &str) {
    let revoked = RevokedKeys::parse("revoked_keys", text.as_bytes()).err();
    for problems in Signers::parse("allowed_signers", text).err().iter().chain(&revoked) {
        let lines = text.split('\n').count();
        assert!(problems.iter().all(|p| (1..=lines).contains(&p.line) && p.col > 0), "{problems}");
    }
}

proptest! {
    #[test]
    fn mutated_armour_never_panics(
        which in 0..SIGNATURES.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<char>()), 1..8),
    ) {
        let mut armour: Vec<char> = SIGNATURES[which].chars().collect();
        for (at, c) in changes {
            let at = at.index(armour.len());
            armour[at] = c;
        }
        judge(&armour.into_iter().collect::<String>());
    }

    #[test]
    fn mutated_fields_never_panic(
        which in 0..SIGNATURES.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut blob = token::blob(SIGNATURES[which]);
        for (at, byte) in changes {
            let at = at.index(blob.len());
            blob[at] = byte;
        }
        if cut {
            blob.truncate(length.index(blob.len()));
        }
        judge(&token::armour(&blob));
    }

    #[test]
    fn any_text_parses_or_locates_mistakes(text in "(?s).{0,200}") {
        judge(&text);
        judge_list(&text);
    }

    #[test]
    fn pieces_parse_or_locate_mistakes(
        pieces in proptest::collection::vec(0usize..18, 0..30),
    ) {
        let key = include_str!("vectors/ed25519.pub");
        let words = [
            "alice", "*", "!", ",", " ", "\t", "\n", "\r\n", "#", "\"", "\\\"", "=", "namespaces",
            "valid-after=\"20260101Z\"", "cert-authority", key, "é", "SHA256:",
        ];
        judge_list(&pieces.iter().map(|&piece| words[piece]).collect::<String>());
    }

    #[test]
    fn revoked_keys_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        drop(RevokedKeys::parse("revoked_keys", &bytes));
    }
}

/// What fuzzing has found worth keeping, once more in every test run.
#[test]
fn the_corpus_of_the_fuzz_targets() {
    let corpus = |target: &str| -> Vec<Vec<u8>> {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let files = fs::read_dir(dir).expect("the corpus is part of the repository");
        files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
    };
    let signatures = corpus("signature");
    assert!(!signatures.is_empty());
    for bytes in signatures {
        judge(&String::from_utf8_lossy(&bytes));
        judge(&token::armour(&bytes));
    }
    let lists = corpus("signers");
    assert!(!lists.is_empty());
    for bytes in lists {
        judge_list(&String::from_utf8_lossy(&bytes));
        drop(RevokedKeys::parse("revoked_keys", &bytes));
    }
}
