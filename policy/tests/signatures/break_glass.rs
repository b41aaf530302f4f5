//! A signature that opens a break-glass: by a hardware key that was touched and asked for its PIN,
//! of somebody the policy names, on this very challenge.

use std::time::Duration;

use holdfast_policy::Policy;
use holdfast_policy::allowance::HostNames;
use holdfast_policy::break_glass::{
    BREAK_GLASS_NAMESPACE, GlassEvidence, GlassReason, Scope, Terms, Wanted, challenge, judge,
};
use holdfast_policy::signers::{RevokedKeys, Signers};

use crate::token::{TOUCHED, Token, VERIFIED};

const POLICY: &str = "[[zone]]\nname = \"customers\"\nrole = \"primary\"\npaths = [\"/srv\"]\n\
    [[zone.budget]]\nper = \"unit\"\nfiles = 1\nwindow = \"1h\"\n\
    [break_glass]\nmax_files = 1000\nmax_bytes = \"1GiB\"\nsigners = [\"alice@example.com\"]\n";

fn policy() -> Policy {
    Policy::parse("policy.toml", POLICY).expect("a policy")
}

fn terms(files: u64) -> Terms {
    let wanted = Wanted {
        zone: "customers".to_owned(),
        reason: "the \"disk\" fills up".to_owned(),
        length: Duration::from_secs(900),
        files: Some(files),
        bytes: None,
        scope: Scope::HostWide,
    };
    Terms::new(&policy(), &wanted).expect("the policy allows it")
}

fn text(files: u64, nonce: &str) -> String {
    let host = HostNames { name: "web1".to_owned(), machine_id: Some("0".repeat(32)) };
    challenge(&host, &terms(files), nonce, 1_340_150_400)
}

fn signers(person: &str, options: &str, token: &Token) -> Signers {
    let line = format!("{person} {options}{}\n", token.line());
    Signers::parse("allowed_signers", &line).expect("a line")
}

/// What becomes of a signature on `signed`, presented for `presented`.
fn outcome(
    token: &Token,
    (namespace, flags): (&str, u8),
    signed: &str,
    presented: &str,
    signers: &Signers,
    revoked: &RevokedKeys,
) -> Result<String, GlassReason> {
    let policy = policy();
    let signature = token.sign(namespace, "sha512", flags, 5, signed.as_bytes());
    let evidence = GlassEvidence {
        rule: policy.break_glass.as_ref().expect("it has one"),
        challenge: presented,
        signature: &signature,
        signers,
        revoked,
        now: 1_340_150_400,
    };
    judge(&evidence).map(|signer| signer.person).map_err(|refused| refused.reason)
}

/// Only a verified hardware key of a named person opens break-glass.
#[test]
fn only_verified_hardware_key_opens() {
    let (own, none) = (text(10, "n1"), RevokedKeys::default());
    let both = (BREAK_GLASS_NAMESPACE, TOUCHED | VERIFIED);
    for token in [Token::ed25519(), Token::ecdsa()] {
        let alice = signers("alice@example.com", "namespaces=\"holdfast-break-glass\" ", &token);
        let try_with = |mark, signed: &str, presented: &str, signers: &Signers| {
            outcome(&token, mark, signed, presented, signers, &none)
        };
        assert_eq!(try_with(both, &own, &own, &alice), Ok("alice@example.com".to_owned()));
        let not_verified = Err(GlassReason::NotVerified);
        for flags in [0, TOUCHED, VERIFIED] {
            assert_eq!(try_with((BREAK_GLASS_NAMESPACE, flags), &own, &own, &alice), not_verified);
        }
        let bad = Err(GlassReason::BadSignature);
        assert_eq!(try_with(("holdfast-allowance", 5), &own, &own, &alice), bad);
        for other in [text(11, "n1"), text(10, "n2"), own.replace("web1", "web2")] {
            assert_eq!(try_with(both, &other, &own, &alice), bad, "{other}");
        }
        let unknown = Err(GlassReason::UnknownSigner);
        let others = [
            signers("mallory@example.com", "", &token),
            signers("alice@example.com", "namespaces=\"holdfast-allowance\" ", &token),
            signers("alice@example.com", "valid-before=\"20100101Z\" ", &token),
            signers("alice@example.com", "valid-after=\"20200101Z\" ", &token),
            Signers::parse("allowed_signers", "").expect("nobody"),
        ];
        for others in &others {
            assert_eq!(try_with(both, &own, &own, others), unknown);
        }
        let revoked = RevokedKeys::parse("revoked", token.line().as_bytes()).expect("a key");
        assert_eq!(outcome(&token, both, &own, &own, &alice, &revoked), unknown);
    }
}

#[test]
fn what_is_no_signature_is_refused() {
    let policy = policy();
    let nobody = Signers::parse("allowed_signers", "").expect("nobody");
    for signature in ["", "nonsense", &"x".repeat(100_000)] {
        let refused = judge(&GlassEvidence {
            rule: policy.break_glass.as_ref().expect("it has one"),
            challenge: "x",
            signature,
            signers: &nobody,
            revoked: &RevokedKeys::default(),
            now: 0,
        });
        assert_eq!(refused.map_err(|refused| refused.reason), Err(GlassReason::BadSignature));
    }
}

#[test]
fn challenge_states_everything_it_opens() {
    let expected = "# holdfast break-glass: whoever signs this opens it.\nhost = \"web1\"\n\
        machine_id = \"00000000000000000000000000000000\"\nzone = \"customers\"\n\
        role = \"primary\"\n\
        reason = \"the \\\"disk\\\" fills up\"\nlength = \"15m\"\nfiles = 10\nbytes = \"1GiB\"\n\
        who = \"everybody in the zone\"\nissued = \"2012-06-20T00:00:00Z\"\nnonce = \"n1\"\n";
    assert_eq!(text(10, "n1"), expected);
}
