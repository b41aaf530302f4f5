//! Where holdfast refuses what `ssh-keygen -Y verify` accepts. Each is a decision, and this is the
//! whole list:
//!
//! - RSA keys below 2048 bits, whoever lists them;
//! - certificates: whoever can sign them could make new people;
//! - times without a zone: they would mean something else on each host;
//! - days that the calendar does not have, which OpenSSH counts on into the next month;
//! - lines that cannot be read, which OpenSSH passes over: a person would be missing, and nobody
//!   would know;
//! - version 0 of the format, which never was;
//! - bytes after the armour that are no text (UTF-8);
//! - Ed25519 signatures whose number is not the smallest one.
//!
//! DSA keys, which some versions still accept, and RSA keys above 8192 bits are refused, too. The
//! other way round there is one thing: a first line that ends in CRLF, which OpenSSH before 9.5
//! does not accept, is accepted.

use holdfast_policy::signers::Signers;
use holdfast_policy::sshsig::Signature;

use crate::cases::TEXT;
use crate::ssh_keygen::Keygen;
use crate::token;
use crate::verdict::{ALICE, Case, SPACE};

#[test]
fn short_rsa_keys() {
    let keygen = Keygen::new();
    let key = keygen.key("rsa-1024", "rsa", 1024);
    let signature = keygen.sign(&key, SPACE, "sha512", TEXT);
    let case = Case::new("", &key.line, &signature, TEXT);
    assert!(keygen.accepts(&case));
    let error = Signature::parse(&signature).unwrap_err();
    assert_eq!(error.to_string(), "an RSA key of 1024 bits is too weak");
    assert_eq!(problem(&case.allowed), "1:19 an RSA key of 1024 bits is too weak");
}

#[test]
fn bytes_after_the_armour() {
    let keygen = Keygen::new();
    let key = keygen.key("ed25519", "ed25519", 0);
    let signature = keygen.sign(&key, SPACE, "sha512", TEXT);
    let armour = [signature.as_bytes(), &[0x8a]].concat();
    let case = Case { armour, ..Case::new("", &key.line, &signature, TEXT) };
    assert!(keygen.accepts(&case));
    assert!(case.verdict().unwrap_err().starts_with("invalid utf-8 sequence"));
}

#[test]
fn certificates() {
    let keygen = Keygen::new();
    let authority = keygen.key("authority", "ed25519", 0);
    let key = keygen.key("alice", "ed25519", 0);
    let signature = keygen.certified(&authority, &key, SPACE, TEXT);
    let mut case = Case::new("", "", &signature, TEXT);
    case.allowed = format!("alice cert-authority {}\n", authority.line);
    case.identity = "alice".to_owned();
    assert!(keygen.accepts(&case));
    let error = Signature::parse(&signature).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a certificate (`ssh-ed25519-cert-v01@openssh.com`) is not supported"
    );
    assert_eq!(problem(&case.allowed), "1:7 `cert-authority`: certificates are not supported");
}

#[test]
fn signers_file_is_read_more_strictly() {
    let keygen = Keygen::new();
    let key = keygen.key("ed25519", "ed25519", 0);
    let signature = keygen.sign(&key, SPACE, "sha512", TEXT);
    let line = &key.line;
    for (allowed, expected) in [
        (
            format!("{ALICE} valid-before=\"20270101\" {line}\n"),
            "1:33 `20270101` is in the local time of whoever reads it",
        ),
        (
            format!("{ALICE} valid-before=\"20270230Z\" {line}\n"),
            "1:33 the calendar has no `20270230Z`",
        ),
        (format!("bob\n{ALICE} {line}\n"), "1:1 this line has no key"),
        (
            format!("bob unknown-option {line}\n{ALICE} {line}\n"),
            "1:5 there is no option `unknown-option`",
        ),
    ] {
        let case = Case { allowed, ..Case::new("", line, &signature, TEXT) };
        assert!(keygen.accepts(&case), "{}", case.allowed);
        assert_eq!(problem(&case.allowed), expected);
    }
}

#[test]
fn a_version_that_never_was() {
    let keygen = Keygen::new();
    let key = keygen.key("ed25519", "ed25519", 0);
    let mut blob = token::blob(&keygen.sign(&key, SPACE, "sha512", TEXT));
    assert_eq!(blob[6..10], [0, 0, 0, 1]);
    blob[9] = 0;
    let armour = token::armour(&blob);
    assert!(keygen.accepts(&Case::new("", &key.line, &armour, TEXT)));
    let error = Signature::parse(&armour).unwrap_err();
    assert_eq!(error.to_string(), "version 0 of SSH signatures is not supported");
}

/// The same signature with the group's order added to its number. Versions of OpenSSH may differ;
/// holdfast never accepts it.
#[test]
fn an_ed25519_signature_in_other_clothes() {
    // 2^252 + 27742317777372353535851937790883648493, little end first (RFC 8032, section 5.1).
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let keygen = Keygen::new();
    let key = keygen.key("ed25519", "ed25519", 0);
    let mut blob = token::blob(&keygen.sign(&key, SPACE, "sha512", TEXT));
    let number = blob.len() - 32;
    let mut carry = 0;
    for (byte, order) in blob[number..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    let armour = token::armour(&blob);
    let case = Case::new("", &key.line, &armour, TEXT);
    println!("this ssh-keygen accepts it: {}", keygen.accepts(&case));
    assert!(case.verdict().unwrap_err().contains("forged"));
}

#[test]
fn windows_first_line_is_accepted() {
    let keygen = Keygen::new();
    let key = keygen.key("ed25519", "ed25519", 0);
    let armour = keygen.sign(&key, SPACE, "sha512", TEXT).replace('\n', "\r\n");
    assert_eq!(Case::new("", &key.line, &armour, TEXT).verdict(), Ok(()));
}

/// The only problem with an `allowed_signers` file.
fn problem(text: &str) -> String {
    let problems = Signers::parse("allowed_signers", text).expect_err("one line is wrong");
    assert_eq!(problems.len(), 1, "{problems}");
    problems.iter().map(|p| format!("{}:{} {}", p.line, p.col, p.message)).collect()
}
