//! What a key makes of a message, and whether it did: the one place where signatures are checked.
//! The mathematics is that of `ring` and, for P-521, which that does not have, of `p521`.

use p521::ecdsa::signature::Verifier;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use sha2::{Digest, Sha256};

use super::Hardware;
use super::key::{Curve, KeyFault, Kind, PublicKey};
use super::wire::Reader;
use crate::words::quoted;

/// Somebody touched the hardware key.
const TOUCHED: u8 = 0x01;
/// Somebody gave the hardware key's PIN or fingerprint.
const VERIFIED: u8 = 0x04;

/// A signature, in the form its mathematics wants.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    bytes: Vec<u8>,
    scheme: Scheme,
}

#[derive(Clone, Copy, Debug)]
enum Scheme {
    Ed25519,
    Ecdsa(Curve),
    RsaSha256,
    RsaSha512,
    HardwareEd25519(Stamp),
    HardwareEcdsa(Stamp),
}

/// What a hardware key signs beside the message.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    flags: u8,
    counter: u32,
}

impl Proof {
    /// Reads a signature by `key`.
    pub(super) fn from_wire(key: &PublicKey, wire: &[u8]) -> Result<Self, KeyFault> {
        let mut reader = Reader::new(wire);
        let name = reader.text("the kind of the signature")?;
        refuse_scheme(key.kind(), name)?;
        let inner = reader.string("the signature")?;
        let (bytes, scheme) = match key.kind() {
            Kind::Ed25519 { .. } => (ed25519(inner)?, Scheme::Ed25519),
            Kind::Ecdsa { curve, .. } => (halves(*curve, inner)?, Scheme::Ecdsa(*curve)),
            Kind::Rsa { n, .. } if name == "rsa-sha2-256" => (rsa(n, inner)?, Scheme::RsaSha256),
            Kind::Rsa { n, .. } => (rsa(n, inner)?, Scheme::RsaSha512),
            Kind::HardwareEd25519 { .. } => {
                (ed25519(inner)?, Scheme::HardwareEd25519(Stamp::from_wire(&mut reader)?))
            }
            Kind::HardwareEcdsa { .. } => {
                (halves(Curve::P256, inner)?, Scheme::HardwareEcdsa(Stamp::from_wire(&mut reader)?))
            }
        };
        reader.end("the signature")?;
        Ok(Self { bytes, scheme })
    }

    /// Whether this is `key`'s signature of `message`.
    pub(super) fn holds(&self, key: &PublicKey, message: &[u8]) -> bool {
        let by = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8], message: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(message, &self.bytes).is_ok()
        };
        match (key.kind(), self.scheme) {
            (Kind::Ed25519 { key }, Scheme::Ed25519) => by(&ED25519, key, message),
            (Kind::Ecdsa { point, .. }, Scheme::Ecdsa(Curve::P256)) => {
                by(&ECDSA_P256_SHA256_FIXED, point, message)
            }
            (Kind::Ecdsa { point, .. }, Scheme::Ecdsa(Curve::P384)) => {
                by(&ECDSA_P384_SHA384_FIXED, point, message)
            }
            (Kind::Ecdsa { point, .. }, Scheme::Ecdsa(Curve::P521)) => {
                p521_holds(point, message, &self.bytes)
            }
            (Kind::Rsa { e, n }, Scheme::RsaSha256) => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, &self.bytes)
                .is_ok(),
            (Kind::Rsa { e, n }, Scheme::RsaSha512) => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA512, message, &self.bytes)
                .is_ok(),
            (Kind::HardwareEd25519 { key, application }, Scheme::HardwareEd25519(stamp)) => {
                by(&ED25519, key, &stamp.message(application, message))
            }
            (Kind::HardwareEcdsa { point, application }, Scheme::HardwareEcdsa(stamp)) => {
                by(&ECDSA_P256_SHA256_FIXED, point, &stamp.message(application, message))
            }
            // Another kind of key than the one it was read for.
            _ => false,
        }
    }

    /// What a hardware key says about the moment.
    pub(super) fn hardware(&self) -> Option<Hardware> {
        match self.scheme {
            Scheme::HardwareEd25519(Stamp { flags, .. })
            | Scheme::HardwareEcdsa(Stamp { flags, .. }) => {
                Some(Hardware { touched: flags & TOUCHED != 0, verified: flags & VERIFIED != 0 })
            }
            Scheme::Ed25519 | Scheme::Ecdsa(_) | Scheme::RsaSha256 | Scheme::RsaSha512 => None,
        }
    }
}

impl Stamp {
    fn from_wire(reader: &mut Reader<'_>) -> Result<Self, String> {
        let flags = reader.byte("the hardware key's flags")?;
        Ok(Self { flags, counter: reader.number("the hardware key's counter")? })
    }

    /// What the hardware key really signs.
    fn message(self, application: &str, message: &[u8]) -> Vec<u8> {
        let mut signed = Sha256::digest(application.as_bytes()).to_vec();
        signed.push(self.flags);
        signed.extend_from_slice(&self.counter.to_be_bytes());
        signed.extend_from_slice(&Sha256::digest(message));
        signed
    }
}

/// Says why a key cannot have made a signature of this kind, or should not.
fn refuse_scheme(key: &Kind, name: &str) -> Result<(), KeyFault> {
    let fits = match key {
        Kind::Rsa { .. } => name == "rsa-sha2-256" || name == "rsa-sha2-512",
        other => name == other.name(),
    };
    if fits {
        return Ok(());
    }
    if name == "ssh-rsa" || name == "ssh-dss" {
        return Err(KeyFault::Weak(format!("a signature with SHA-1 (`{name}`)")));
    }
    if name.starts_with("webauthn-") {
        return Err(KeyFault::Unsupported(format!("a browser's signature ({})", quoted(name))));
    }
    let what = format!("a `{}` key cannot sign as {}", key.name(), quoted(name));
    Err(KeyFault::Malformed(what))
}

fn ed25519(inner: &[u8]) -> Result<Vec<u8>, KeyFault> {
    if inner.len() != 64 {
        return Err(format!("an Ed25519 signature has 64 bytes, not {}", inner.len()).into());
    }
    Ok(inner.to_vec())
}

/// The two numbers of an ECDSA signature, each as long as the curve's order.
fn halves(curve: Curve, inner: &[u8]) -> Result<Vec<u8>, KeyFault> {
    let mut reader = Reader::new(inner);
    let mut bytes = Vec::with_capacity(2 * curve.size());
    for _ in 0..2 {
        padded(&mut bytes, reader.big_number("a number of the signature")?, curve.size())?;
    }
    reader.end("the numbers of the signature")?;
    Ok(bytes)
}

/// An RSA signature as long as the modulus: leading zeros may have been left out.
fn rsa(n: &[u8], inner: &[u8]) -> Result<Vec<u8>, KeyFault> {
    let mut bytes = Vec::with_capacity(n.len());
    padded(&mut bytes, inner, n.len())?;
    Ok(bytes)
}

fn padded(to: &mut Vec<u8>, number: &[u8], size: usize) -> Result<(), KeyFault> {
    let Some(zeros) = size.checked_sub(number.len()) else {
        return Err("a number of the signature is too large".to_owned().into());
    };
    to.extend(std::iter::repeat_n(0, zeros));
    to.extend_from_slice(number);
    Ok(())
}

fn p521_holds(point: &[u8], message: &[u8], bytes: &[u8]) -> bool {
    let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(point);
    let signature = p521::ecdsa::Signature::from_slice(bytes);
    matches!((key, signature), (Ok(key), Ok(signature)) if key.verify(message, &signature).is_ok())
}
