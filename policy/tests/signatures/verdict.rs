//! One question that both are asked, and holdfast's answer.

use holdfast_policy::signers::Signers;
use holdfast_policy::sshsig::Signature;

/// What a signature is for, in most cases.
pub const SPACE: &str = "holdfast-allowance";
/// Who signs, in most cases.
pub const ALICE: &str = "alice@example.com";

/// A time, in both forms.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// As ssh-keygen wants it.
    pub text: &'static str,
    /// Seconds since 1970 UTC.
    pub at: i64,
}

/// The time of most cases.
pub const NOW: Moment = Moment { text: "20260601120000Z", at: 1_780_315_200 };

/// A signature, a text, and who is said to have signed it for what, when.
#[derive(Clone, Debug)]
pub struct Case {
    /// For the counts.
    pub kind: &'static str,
    /// What is special about it.
    pub what: String,
    /// The signature file.
    pub armour: Vec<u8>,
    pub text: Vec<u8>,
    /// The `allowed_signers` file.
    pub allowed: String,
    pub identity: String,
    pub namespace: String,
    pub moment: Moment,
    /// The verdict, where it is known beforehand.
    pub right: Option<bool>,
}

impl Case {
    /// A signature that is right if nothing is changed about it.
    pub fn new(kind: &'static str, key_line: &str, armour: &str, text: &[u8]) -> Self {
        Self {
            kind,
            what: String::new(),
            armour: armour.into(),
            text: text.into(),
            allowed: format!("{ALICE} {key_line}\n"),
            identity: ALICE.to_owned(),
            namespace: SPACE.to_owned(),
            moment: NOW,
            right: None,
        }
    }

    /// Whether holdfast accepts it; if not, why.
    pub fn verdict(&self) -> Result<(), String> {
        let signers =
            Signers::parse("allowed_signers", &self.allowed).map_err(|e| e.to_string())?;
        let armour = std::str::from_utf8(&self.armour).map_err(|e| e.to_string())?;
        let signature = Signature::parse(armour).map_err(|e| e.to_string())?;
        let verified = signature.verify(&self.namespace, &self.text).map_err(|e| e.to_string())?;
        if signers.allows(&self.identity, &verified.key, &self.namespace, self.moment.at) {
            Ok(())
        } else {
            Err("not an allowed signer".to_owned())
        }
    }
}
