//! Whether one signature on a challenge opens a break-glass: by a person whom the policy names for
//! it, with a key in hardware that was touched and asked for its PIN or fingerprint.

use super::{BREAK_GLASS_NAMESPACE, BreakGlass, GlassReason, GlassRefused};
use crate::allowance::{MAX_SIGNATURE, Signer, utc};
use crate::signers::{Owner, RevokedKeys, Signers};
use crate::sshsig::{Signature, Verified};

/// Everything a judgement rests on.
#[derive(Clone, Copy, Debug)]
pub struct GlassEvidence<'a> {
    /// What the policy says.
    pub rule: &'a BreakGlass,
    /// The challenge, as this host made it.
    pub challenge: &'a str,
    /// The signature.
    pub signature: &'a str,
    /// Whose key is whose.
    pub signers: &'a Signers,
    /// Keys that are not trusted any more.
    pub revoked: &'a RevokedKeys,
    /// Seconds since 1970 UTC.
    pub now: i64,
}

const SIGN: &str =
    "sign the challenge as it is with `ssh-keygen -Y sign -n holdfast-break-glass -f KEY FILE`";

/// Who signed it, if that counts.
pub fn judge(evidence: &GlassEvidence<'_>) -> Result<Signer, GlassRefused> {
    let bad = |message: String| GlassRefused::new(GlassReason::BadSignature, message, SIGN);
    if evidence.signature.len() > MAX_SIGNATURE {
        return Err(bad(format!("the signature is longer than {MAX_SIGNATURE} bytes")));
    }
    let text = evidence.challenge.as_bytes();
    let verified = Signature::parse(evidence.signature)
        .and_then(|signature| signature.verify(BREAK_GLASS_NAMESPACE, text));
    let Verified { key, hardware } = verified.map_err(|error| bad(error.to_string()))?;
    let whose = format!("the key {}", key.fingerprint());
    let unknown = |message: String| {
        let help =
            "see `signers` of `[break_glass]`, `allowed_signers` and the list of revoked keys";
        GlassRefused::new(GlassReason::UnknownSigner, message, help)
    };
    if evidence.revoked.contains(&key) {
        return Err(unknown(format!("{whose} is revoked")));
    }
    let people: Vec<&str> = evidence.rule.signers.iter().map(String::as_str).collect();
    let owner = evidence.signers.owner(&key, BREAK_GLASS_NAMESPACE, evidence.now, &people);
    let person = match owner {
        Owner::People(people) => match &people[..] {
            [person] => person.clone(),
            [] => return Err(unknown(format!("{whose} is of nobody who can open a break-glass"))),
            several => {
                return Err(unknown(format!("{whose} stands for {} people", several.len())));
            }
        },
        Owner::Unknown => {
            return Err(unknown(format!("{whose} is in no line of `allowed_signers`")));
        }
        Owner::NotForNamespace => {
            return Err(unknown(format!(
                "{whose} is in `allowed_signers`, and not for {BREAK_GLASS_NAMESPACE}"
            )));
        }
        Owner::NotYetValid(from) => {
            return Err(unknown(format!("{whose} counts from {} only", utc(from))));
        }
        Owner::Expired(until) => {
            return Err(unknown(format!("{whose} counted until {} only", utc(until))));
        }
    };
    if !hardware.is_some_and(|hardware| hardware.touched && hardware.verified) {
        let message = format!(
            "{whose} of {person} is not in hardware, or was not touched, or asked for no PIN or \
             fingerprint"
        );
        let help = "sign with a key made with `ssh-keygen -t ed25519-sk -O verify-required`, or \
                    use a code";
        return Err(GlassRefused::new(GlassReason::NotVerified, message, help));
    }
    Ok(Signer { person, key: key.fingerprint(), algorithm: key.algorithm().to_owned(), hardware })
}
