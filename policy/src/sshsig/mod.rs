//! OpenSSH's detached signatures (SSHSIG): reading the armour and checking the mathematics. Whose
//! key it is, and whether that person's word counts, is not decided here.
//!
//! The format is that of OpenSSH's `PROTOCOL.sshsig`, keys and their signatures those of RFC 4253,
//! 5656, 8332 and 8709 and, for hardware keys, of OpenSSH's `PROTOCOL.u2f`. What
//! `ssh-keygen -Y verify` refuses is refused here; what is refused here and accepted there is
//! listed in `policy/tests/signatures/stricter.rs`.

mod armour;
mod key;
mod proof;
#[cfg(test)]
mod tests;
mod wire;

use sha2::{Digest, Sha256, Sha512};
use thiserror::Error;

pub use key::PublicKey;
pub(crate) use key::{KeyFault, is_a_kind, looks_like_a_kind};

use crate::words::{printable, quoted};
use proof::Proof;
use wire::Reader;

/// The namespace under which allowances are signed: `ssh-keygen -Y sign -n holdfast-allowance`.
pub const ALLOWANCE_NAMESPACE: &str = "holdfast-allowance";

/// What an SSHSIG, and what is signed with it, begins with.
const MAGIC: &[u8] = b"SSHSIG";
/// The only version of the format.
const VERSION: u32 = 1;

/// A signature file that could be read. It may still be wrong for the text at hand.
#[derive(Clone, Debug)]
pub struct Signature {
    key: PublicKey,
    namespace: String,
    hash: Hash,
    proof: Proof,
}

/// How the text is condensed before it is signed.
#[derive(Clone, Copy, Debug)]
enum Hash {
    Sha256,
    Sha512,
}

/// What a signature by a hardware key says about the moment it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hardware {
    /// Somebody touched the key (user presence).
    pub touched: bool,
    /// Somebody gave its PIN or fingerprint (user verification).
    pub verified: bool,
}

/// A signature that is right for the text and the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// With which key.
    pub key: PublicKey,
    /// What a hardware key says; `None` for a key in a file.
    pub hardware: Option<Hardware>,
}

/// Why a signature is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// It is no SSHSIG, or is cut short.
    #[error("this is no SSH signature: {0}")]
    Malformed(String),
    /// It was made for another purpose.
    #[error("it was made for the namespace `{found}`, not for `{wanted}`")]
    WrongNamespace {
        /// The signature's.
        found: String,
        /// What it had to be.
        wanted: String,
    },
    /// A kind of key or signature that is too weak (`ssh-dss`, SHA-1, RSA below 2048 bits).
    #[error("{0} is too weak")]
    Weak(String),
    /// A kind of key that is not supported, such as a certificate.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// It is not a signature of this text by that key.
    #[error("the text is not what was signed, or the signature is forged")]
    Invalid,
}

impl Signature {
    /// Reads an armoured signature as `ssh-keygen -Y sign` writes it.
    pub fn parse(armour: &str) -> Result<Self, SignatureError> {
        let blob = armour::open(armour).map_err(SignatureError::Malformed)?;
        Self::from_wire(&blob).map_err(SignatureError::from)
    }

    /// The key it claims to be made with. Not proven until [`Signature::verify`].
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Checks it against a text.
    pub fn verify(&self, namespace: &str, text: &[u8]) -> Result<Verified, SignatureError> {
        if self.namespace != namespace {
            let found = self.namespace.chars().map(printable).collect();
            return Err(SignatureError::WrongNamespace { found, wanted: namespace.to_owned() });
        }
        if !self.proof.holds(&self.key, &self.hash.message(namespace, text)) {
            return Err(SignatureError::Invalid);
        }
        Ok(Verified { key: self.key.clone(), hardware: self.proof.hardware() })
    }

    fn from_wire(blob: &[u8]) -> Result<Self, KeyFault> {
        let Some(rest) = blob.strip_prefix(MAGIC) else {
            return Err(KeyFault::Malformed("it does not begin with `SSHSIG`".to_owned()));
        };
        let mut reader = Reader::new(rest);
        let version = reader.number("the version")?;
        if version != VERSION {
            return Err(KeyFault::Unsupported(format!("version {version} of SSH signatures")));
        }
        let key = PublicKey::from_wire(reader.string("the public key")?)?;
        let namespace = reader.text("the namespace")?.to_owned();
        // For later versions of the format, and to be ignored: it is signed as empty whatever is in
        // it.
        reader.string("the reserved field")?;
        let hash = Hash::named(reader.text("the name of the hash")?)?;
        let proof = Proof::from_wire(&key, reader.string("the signature")?)?;
        reader.end("the signature")?;
        Ok(Self { key, namespace, hash, proof })
    }
}

impl Hash {
    fn named(name: &str) -> Result<Self, KeyFault> {
        match name {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            "md5" | "sha1" => Err(KeyFault::Weak(format!("the hash {}", quoted(name)))),
            _ => Err(KeyFault::Unsupported(format!("the hash {}", quoted(name)))),
        }
    }

    /// What is really signed.
    fn message(self, namespace: &str, text: &[u8]) -> Vec<u8> {
        let (name, digest) = match self {
            Self::Sha256 => ("sha256", Sha256::digest(text).to_vec()),
            Self::Sha512 => ("sha512", Sha512::digest(text).to_vec()),
        };
        let mut message = MAGIC.to_vec();
        for field in [namespace.as_bytes(), b"", name.as_bytes(), &digest] {
            wire::put_string(&mut message, field);
        }
        message
    }
}

impl From<KeyFault> for SignatureError {
    fn from(fault: KeyFault) -> Self {
        match fault {
            KeyFault::Malformed(what) => Self::Malformed(what),
            KeyFault::Weak(what) => Self::Weak(what),
            KeyFault::Unsupported(what) => Self::Unsupported(what),
        }
    }
}
