//! Public keys: which kinds there are and how they are written. It never checks a signature.

use base64ct::{Base64, Base64Unpadded, Encoding};
use sha2::{Digest, Sha256};

use super::SignatureError;
use super::armour::decode_base64;
use super::wire::{Reader, put_big_number, put_string};
use crate::words::quoted;

/// Fewest bits of an RSA key.
const MIN_RSA_BITS: usize = 2048;
/// Most bits of an RSA key; what the mathematics can do.
const MAX_RSA_BITS: usize = 8192;

const HARDWARE_ED25519: &str = "sk-ssh-ed25519@openssh.com";
const HARDWARE_ECDSA: &str = "sk-ecdsa-sha2-nistp256@openssh.com";

/// A public key, as it is on the wire; two are the same key if and only if they are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey {
    /// Put together from what was read, so that two ways to write one key are one key.
    wire: Vec<u8>,
    kind: Kind,
}

/// The kinds of keys, and what each consists of. Whether a point is on its curve shows when a
/// signature is checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Ed25519 { key: [u8; 32] },
    Ecdsa { curve: Curve, point: Vec<u8> },
    Rsa { e: Vec<u8>, n: Vec<u8> },
    HardwareEd25519 { key: [u8; 32], application: String },
    HardwareEcdsa { point: Vec<u8>, application: String },
}

/// The curves of ECDSA keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

/// Why something is not a key, or not a signature by one, that could count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyFault {
    Malformed(String),
    Weak(String),
    Unsupported(String),
}

impl From<String> for KeyFault {
    fn from(what: String) -> Self {
        Self::Malformed(what)
    }
}

impl PublicKey {
    /// Reads a key as it stands in a `.pub` file: `ssh-ed25519 AAAA… comment`.
    pub fn parse(line: &str) -> Result<Self, SignatureError> {
        let mut words = line.split_whitespace();
        let (Some(kind), Some(base64)) = (words.next(), words.next()) else {
            return Err(SignatureError::Malformed("a key has a kind and Base64".to_owned()));
        };
        Ok(Self::from_words(kind, base64)?)
    }

    /// As `ssh-keygen -l` shows it: `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", Base64Unpadded::encode_string(&Sha256::digest(&self.wire)))
    }

    /// The kind, such as `ssh-ed25519`.
    pub fn algorithm(&self) -> &str {
        self.kind.name()
    }

    /// As it stands in a `.pub` file, without a comment.
    pub fn line(&self) -> String {
        format!("{} {}", self.algorithm(), Base64::encode_string(&self.wire))
    }

    /// A key from the two words of a line that are about it.
    pub(crate) fn from_words(kind: &str, base64: &str) -> Result<Self, KeyFault> {
        refuse_kind(kind)?;
        if !looks_like_a_kind(kind) {
            return Err(KeyFault::Unsupported(format!("a key of the kind {}", quoted(kind))));
        }
        let Some(wire) = decode_base64(base64) else {
            return Err(KeyFault::Malformed("the key is not Base64; is it cut short?".to_owned()));
        };
        let key = Self::from_wire(&wire)?;
        if key.algorithm() != kind {
            let inside = key.algorithm();
            return Err(KeyFault::Malformed(format!(
                "the line says {}, and its key is `{inside}`",
                quoted(kind)
            )));
        }
        Ok(key)
    }

    /// A key from its bytes.
    pub(super) fn from_wire(wire: &[u8]) -> Result<Self, KeyFault> {
        let mut reader = Reader::new(wire);
        let name = reader.text("the kind of the public key")?;
        refuse_kind(name)?;
        let kind = Kind::from_wire(name, &mut reader)?;
        reader.end("the public key")?;
        Ok(Self { wire: kind.to_wire(), kind })
    }

    pub(super) fn kind(&self) -> &Kind {
        &self.kind
    }
}

/// Whether this is the name of a kind of key that can be read.
pub(crate) fn is_a_kind(word: &str) -> bool {
    let others = ["ssh-ed25519", "ssh-rsa", HARDWARE_ED25519, HARDWARE_ECDSA];
    others.contains(&word) || Curve::ALL.iter().any(|curve| curve.key_name() == word)
}

/// Whether somebody who wrote this meant a kind of key.
pub(crate) fn looks_like_a_kind(word: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-", "rsa-", "webauthn-"].iter().any(|start| word.starts_with(start))
}

/// Says which kinds of keys cannot be used, and why.
fn refuse_kind(name: &str) -> Result<(), KeyFault> {
    if name == "ssh-dss" {
        return Err(KeyFault::Weak("a DSA key (`ssh-dss`)".to_owned()));
    }
    if name.contains("-cert-v") {
        return Err(KeyFault::Unsupported(format!("a certificate ({})", quoted(name))));
    }
    Ok(())
}

impl Kind {
    fn from_wire(name: &str, reader: &mut Reader<'_>) -> Result<Self, KeyFault> {
        Ok(match name {
            "ssh-ed25519" => Self::Ed25519 { key: ed25519(reader)? },
            HARDWARE_ED25519 => {
                Self::HardwareEd25519 { key: ed25519(reader)?, application: application(reader)? }
            }
            HARDWARE_ECDSA => Self::HardwareEcdsa {
                point: point(Curve::P256, reader)?,
                application: application(reader)?,
            },
            "ssh-rsa" => rsa(reader)?,
            _ => {
                let Some(curve) = Curve::ALL.into_iter().find(|curve| curve.key_name() == name)
                else {
                    let what = format!("a key of the kind {}", quoted(name));
                    return Err(KeyFault::Unsupported(what));
                };
                Self::Ecdsa { curve, point: point(curve, reader)? }
            }
        })
    }

    fn to_wire(&self) -> Vec<u8> {
        let mut wire = Vec::new();
        put_string(&mut wire, self.name().as_bytes());
        match self {
            Self::Ed25519 { key } => put_string(&mut wire, key),
            Self::Ecdsa { curve, point } => {
                put_string(&mut wire, curve.name().as_bytes());
                put_string(&mut wire, point);
            }
            Self::Rsa { e, n } => {
                put_big_number(&mut wire, e);
                put_big_number(&mut wire, n);
            }
            Self::HardwareEd25519 { key, application } => {
                put_string(&mut wire, key);
                put_string(&mut wire, application.as_bytes());
            }
            Self::HardwareEcdsa { point, application } => {
                put_string(&mut wire, Curve::P256.name().as_bytes());
                put_string(&mut wire, point);
                put_string(&mut wire, application.as_bytes());
            }
        }
        wire
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Ed25519 { .. } => "ssh-ed25519",
            Self::Ecdsa { curve, .. } => curve.key_name(),
            Self::Rsa { .. } => "ssh-rsa",
            Self::HardwareEd25519 { .. } => HARDWARE_ED25519,
            Self::HardwareEcdsa { .. } => HARDWARE_ECDSA,
        }
    }
}

impl Curve {
    const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    fn name(self) -> &'static str {
        match self {
            Self::P256 => "nistp256",
            Self::P384 => "nistp384",
            Self::P521 => "nistp521",
        }
    }

    fn key_name(self) -> &'static str {
        match self {
            Self::P256 => "ecdsa-sha2-nistp256",
            Self::P384 => "ecdsa-sha2-nistp384",
            Self::P521 => "ecdsa-sha2-nistp521",
        }
    }

    /// Bytes of a coordinate, and of each half of a signature.
    pub(super) const fn size(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

fn ed25519(reader: &mut Reader<'_>) -> Result<[u8; 32], KeyFault> {
    let key = reader.string("the Ed25519 key")?;
    key.try_into().map_err(|_| format!("an Ed25519 key has 32 bytes, not {}", key.len()).into())
}

/// A point as it is, not compressed: the only form OpenSSH knows.
fn point(curve: Curve, reader: &mut Reader<'_>) -> Result<Vec<u8>, KeyFault> {
    let name = reader.text("the curve's name")?;
    if name != curve.name() {
        return Err(format!("the curve is {}, not `{}`", quoted(name), curve.name()).into());
    }
    let point = reader.string("the point")?;
    if point.len() != 1 + 2 * curve.size() || point[0] != 4 {
        return Err(format!("this is no point of `{}`", curve.name()).into());
    }
    Ok(point.to_vec())
}

fn application(reader: &mut Reader<'_>) -> Result<String, KeyFault> {
    Ok(reader.text("the application")?.to_owned())
}

fn rsa(reader: &mut Reader<'_>) -> Result<Kind, KeyFault> {
    let e = reader.big_number("the exponent")?.to_vec();
    let n = reader.big_number("the modulus")?.to_vec();
    let top = n.first().map_or(8, |first| first.leading_zeros() as usize);
    let bits = (n.len() * 8).saturating_sub(top);
    match bits {
        ..MIN_RSA_BITS => Err(KeyFault::Weak(format!("an RSA key of {bits} bits"))),
        MIN_RSA_BITS..=MAX_RSA_BITS => Ok(Kind::Rsa { e, n }),
        _ => Err(KeyFault::Unsupported(format!("an RSA key of {bits} bits"))),
    }
}
