//! `allowed_signers` files and lists of revoked keys: nothing in one may make holdfast panic, and
//! every mistake has a place.
#![no_main]

use std::sync::LazyLock;

use holdfast_policy::Problems;
use holdfast_policy::signers::{Owner, RevokedKeys, Signers};
use holdfast_policy::sshsig::PublicKey;
use libfuzzer_sys::fuzz_target;

const PEOPLE: [&str; 2] = ["alice@example.com", "bob@example.com"];

static KEY: LazyLock<PublicKey> = LazyLock::new(|| {
    let line = include_str!("../../tests/signatures/vectors/ed25519.pub");
    PublicKey::parse(line).expect("it was made by ssh-keygen")
});

fuzz_target!(|data: &[u8]| {
    match RevokedKeys::parse("revoked_keys", data) {
        Ok(revoked) => drop(revoked.contains(&KEY)),
        Err(problems) => check(&problems),
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Signers::parse("allowed_signers", text) {
        Ok(signers) => {
            for at in [0, 1, 1_780_315_200, i64::MAX] {
                let owner = signers.owner(&KEY, "holdfast-allowance", at, &PEOPLE);
                for person in PEOPLE {
                    let named =
                        matches!(&owner, Owner::People(list) if list.iter().any(|p| p == person));
                    assert_eq!(signers.allows(person, &KEY, "holdfast-allowance", at), named);
                }
            }
        }
        Err(problems) => check(&problems),
    }
});

fn check(problems: &Problems) {
    assert!(problems.iter().all(|problem| problem.line > 0 && problem.col > 0));
    assert!(!problems.to_string().contains(|c: char| c.is_control() && c != '\n'));
}
