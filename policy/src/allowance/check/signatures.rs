//! Each signature by itself: is it one, is it right, whose is it, and does the policy take such a
//! key. Every one that is presented has to be right: with a wrong one among them somebody is
//! confused, or worse.

use super::{Allowance, Evidence, Faults, RefusedReason, zones};
use crate::allowance::{MAX_SIGNATURE, MAX_SIGNATURES, SignatureFile, Signer, utc};
use crate::signers::Owner;
use crate::signing::Trust;
use crate::sshsig::{
    ALLOWANCE_NAMESPACE, Hardware, PublicKey, Signature, SignatureError, Verified,
};
use crate::words::quoted;

/// One signature file.
#[derive(Debug)]
pub(super) struct Judged<'e> {
    pub(super) file: &'e SignatureFile,
    /// Who really signed, if it is somebody whom the policy names.
    pub(super) signer: Option<Signer>,
    faults: Faults,
}

impl Judged<'_> {
    /// Who really signed.
    pub(super) fn person(&self) -> Option<&str> {
        self.signer.as_ref().map(|signer| signer.person.as_str())
    }
}

/// What everybody can do whose signature was refused.
const SIGN: &str = "sign the canonical text with `holdfast allow sign`, or with \
                    `ssh-keygen -Y sign -n holdfast-allowance -f KEY FILE`";
/// What to do about a file that should not be there.
const TAKE_AWAY: &str = "take the file away and have the document signed again";

/// Looks at every signature, or as many as there can be.
pub(super) fn judge<'e>(evidence: &Evidence<'e>, allowance: &Allowance) -> Vec<Judged<'e>> {
    let people = evidence.policy.signing.people();
    let zones = zones::known(evidence.policy, allowance);
    let trust: Vec<&Trust> =
        zones.iter().filter_map(|zone| evidence.policy.signing.trust(zone.role)).collect();
    let files = evidence.signatures.iter().take(MAX_SIGNATURES);
    files.map(|file| Judge { evidence, people: &people, trust: &trust, file }.judge()).collect()
}

/// Everything that is wrong with them.
pub(super) fn faults(evidence: &Evidence<'_>, judged: &[Judged<'_>]) -> Faults {
    let mut faults = Faults::default();
    let number = evidence.signatures.len();
    if number == 0 {
        faults.add(RefusedReason::Unsigned, "nobody has signed it", SIGN);
    }
    if number > MAX_SIGNATURES {
        let message = format!("there are {number} signatures, {MAX_SIGNATURES} can be");
        faults.add(RefusedReason::TooManySignatures, message, "keep one of each person");
    }
    for judged in judged {
        faults.append(&judged.faults);
    }
    faults
}

/// What one signature is looked at with.
struct Judge<'e, 'a> {
    evidence: &'a Evidence<'e>,
    people: &'a [&'e str],
    trust: &'a [&'e Trust],
    file: &'e SignatureFile,
}

impl<'e> Judge<'e, '_> {
    fn judge(&self) -> Judged<'e> {
        let mut faults = Faults::default();
        let signer = self.verified(&mut faults).and_then(|found| self.signer(found, &mut faults));
        Judged { file: self.file, signer, faults }
    }

    /// The mathematics.
    fn verified(&self, faults: &mut Faults) -> Option<Verified> {
        let name = quoted(&self.file.name);
        if self.file.text.len() > MAX_SIGNATURE {
            let length = self.file.text.len();
            let message =
                format!("{name} has {length} bytes, a signature has at most {MAX_SIGNATURE}");
            faults.add(RefusedReason::TooManySignatures, message, TAKE_AWAY);
            return None;
        }
        let text = self.evidence.text.as_bytes();
        let verified = Signature::parse(&self.file.text)
            .and_then(|signature| signature.verify(ALLOWANCE_NAMESPACE, text));
        verified
            .map_err(|error| {
                let (reason, help) = match &error {
                    SignatureError::Malformed(_) => (RefusedReason::SignatureMalformed, TAKE_AWAY),
                    SignatureError::WrongNamespace { .. } => (RefusedReason::WrongNamespace, SIGN),
                    SignatureError::Weak(_) => (RefusedReason::WeakKey, SIGN_BETTER),
                    SignatureError::Unsupported(_) => (RefusedReason::UnsupportedKey, SIGN_BETTER),
                    SignatureError::Invalid => (RefusedReason::SignatureInvalid, TAKE_AWAY),
                };
                faults.add(reason, format!("{name}: {error}"), help);
            })
            .ok()
    }

    /// Whose it is, and everything that is wrong with that.
    fn signer(&self, verified: Verified, faults: &mut Faults) -> Option<Signer> {
        let Verified { key, hardware } = verified;
        let person = self.person(&key, faults);
        let name = quoted(&self.file.name);
        let whose = person.clone().unwrap_or_else(|| key.fingerprint());
        let revoked = self.evidence.revoked.contains(&key);
        if revoked {
            let message = format!("{name}: the key {} of {whose} is revoked", key.fingerprint());
            let help = "sign with another key, and ask why this one is revoked";
            faults.add(RefusedReason::SignerRevoked, message, help);
        }
        let touched = self.hardware(&whose, hardware, faults);
        let signer = Signer {
            person: person?,
            key: key.fingerprint(),
            algorithm: key.algorithm().to_owned(),
            hardware,
        };
        (touched && !revoked).then_some(signer)
    }

    fn person(&self, key: &PublicKey, faults: &mut Faults) -> Option<String> {
        let Evidence { signers, now, .. } = *self.evidence;
        let whose = format!("{}: the key {}", quoted(&self.file.name), key.fingerprint());
        match signers.owner(key, ALLOWANCE_NAMESPACE, now, self.people) {
            Owner::People(people) => match &people[..] {
                [person] => return Some(person.clone()),
                [] => {
                    let message = format!("{whose} is of nobody whom a group of the policy names");
                    let help = "have somebody sign whom the policy names (`holdfast policy show`)";
                    faults.add(RefusedReason::SignerNotInPolicy, message, help);
                }
                several => {
                    let message = format!(
                        "{whose} stands for {} people: {}",
                        several.len(),
                        several.join(", ")
                    );
                    let help = "give each person a key of their own in `allowed_signers`, without \
                                patterns";
                    faults.add(RefusedReason::SignerAmbiguous, message, help);
                }
            },
            Owner::Unknown => {
                let message = format!("{whose} is in no line of `allowed_signers`");
                let help = "have somebody sign who is listed there, or list whose key it is";
                faults.add(RefusedReason::UnknownSigner, message, help);
            }
            Owner::NotForNamespace => {
                let message = format!("{whose} is in `allowed_signers`, and not for allowances");
                let help = "add `holdfast-allowance` to its `namespaces=`, if it is meant for this";
                faults.add(RefusedReason::SignerNotForAllowances, message, help);
            }
            Owner::NotYetValid(from) => {
                let message = format!("{whose} counts from {} only", utc(from));
                let help = "see `valid-after=` in `allowed_signers`, and this host's clock";
                faults.add(RefusedReason::SignerNotYetValid, message, help);
            }
            Owner::Expired(until) => {
                let message = format!("{whose} counted until {} only", utc(until));
                let help =
                    "see `valid-before=` in `allowed_signers`, and sign with a key that is good";
                faults.add(RefusedReason::SignerExpired, message, help);
            }
        }
        None
    }

    /// What the policy wants of a key. `false` if nobody touched it: then nobody meant to sign.
    fn hardware(&self, whose: &str, hardware: Option<Hardware>, faults: &mut Faults) -> bool {
        let name = quoted(&self.file.name);
        let Some(hardware) = hardware else {
            if let Some(trust) = self.trust.iter().find(|trust| trust.hardware) {
                let message = format!(
                    "{name}: the key of {whose} is in a file, and for `{}` zones it has to be in \
                     hardware",
                    trust.role.word()
                );
                let help = "sign with a hardware key (`ssh-keygen -t ed25519-sk`) that \
                            `allowed_signers` lists";
                faults.add(RefusedReason::NotHardware, message, help);
            }
            return true;
        };
        if !hardware.touched {
            let message = format!("{name}: nobody touched the hardware key of {whose}");
            let help = "use a key made without `no-touch-required`, and touch it";
            faults.add(RefusedReason::NotTouched, message, help);
        }
        if let Some(trust) = self.trust.iter().find(|trust| trust.verified)
            && !hardware.verified
        {
            let message = format!(
                "{name}: the hardware key of {whose} asked for no PIN or fingerprint, and for `{}` \
                 zones it has to",
                trust.role.word()
            );
            let help = "use a key made with `ssh-keygen -t ed25519-sk -O verify-required`";
            faults.add(RefusedReason::NotVerified, message, help);
        }
        hardware.touched
    }
}

const SIGN_BETTER: &str = "sign with an Ed25519, ECDSA, RSA (2048 bits or more) or hardware key";
