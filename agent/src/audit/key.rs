//! The host key: ed25519, made when the agent starts for the first time. It signs heads of the
//! audit log, and nothing else.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use base64ct::{Base64, Encoding as _};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use super::chain::Hash;
use crate::files::write_whole;

/// Length of a signature in bytes.
pub(super) const SIGNATURE: usize = 64;
/// Length of a public key in bytes.
const PUBLIC: usize = 32;
/// What comes before the key in a SubjectPublicKeyInfo of ed25519 (RFC 8410).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The file, below the state directory: PKCS#8.
pub(crate) const FILE: &str = "audit.key";
/// Beside it: the public key, for people.
pub(crate) const PUBLIC_FILE: &str = "audit.pub";
const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const CLOSE: &str = "-----END PUBLIC KEY-----";

/// The private key.
pub(crate) struct HostKey {
    pair: Ed25519KeyPair,
    document: Vec<u8>,
}

/// What checks its signatures.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct PublicKey([u8; PUBLIC]);

impl HostKey {
    /// A new one.
    pub(super) fn make() -> io::Result<Self> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| io::Error::other("the system gives no random numbers"))?;
        Self::read(document.as_ref()).ok_or_else(|| io::Error::other("the new key is no key"))
    }

    fn read(document: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(document).ok()?;
        Some(Self { pair, document: document.to_vec() })
    }

    /// The key in `state_dir`; made if there is none.
    pub(super) fn load_or_make(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join(FILE);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = Self::make()?;
                write_whole(state_dir, FILE, &key.document, 0o600)?;
                write_whole(state_dir, PUBLIC_FILE, key.public().pem().as_bytes(), 0o644)?;
                return Ok(key);
            }
            Err(error) => return Err(error),
            Ok(found) if !found.is_file() || found.mode() & 0o077 != 0 => {
                let message = "it can be read by others than its owner, or is no file: it proves \
                               nothing any more; remove it to have a new one made";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
            }
            Ok(_) => {}
        }
        let key = Self::read(&fs::read(&path)?).ok_or_else(|| {
            io::Error::other(
                "it is no ed25519 key in PKCS#8: restore it, or remove it to have a new one made",
            )
        })?;
        if !state_dir.join(PUBLIC_FILE).exists() {
            // A crash came in between. It is for people only: the log says it, too.
            drop(write_whole(state_dir, PUBLIC_FILE, key.public().pem().as_bytes(), 0o644));
        }
        Ok(key)
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; SIGNATURE] {
        let mut bytes = [0; SIGNATURE];
        bytes.copy_from_slice(self.pair.sign(message).as_ref());
        bytes
    }

    /// What checks its signatures.
    pub(crate) fn public(&self) -> PublicKey {
        let mut key = [0; PUBLIC];
        key.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey(key)
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({})", self.public())
    }
}

impl PublicKey {
    /// Reads a key as `holdfast audit key` shows it, in either form.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let inside = match text.strip_prefix(BEGIN) {
            Some(rest) => rest.strip_suffix(CLOSE)?,
            None => text,
        };
        let joined: String = inside.split_whitespace().collect();
        let bytes = Base64::decode_vec(&joined).ok()?;
        let key = bytes.strip_prefix(&SPKI).unwrap_or(&bytes);
        Some(Self(key.try_into().ok()?))
    }

    /// As OpenSSL reads it.
    pub(crate) fn pem(&self) -> String {
        let spki = [SPKI.as_slice(), &self.0].concat();
        format!("{BEGIN}\n{}\n{CLOSE}\n", Base64::encode_string(&spki))
    }

    /// SHA-256 of its bytes, short enough to be compared by eye.
    pub(crate) fn fingerprint(&self) -> String {
        Hash::of(&self.0).to_string()[..16].to_owned()
    }

    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

/// 44 characters of base64.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Base64::encode_string(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn key_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let key = HostKey::load_or_make(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(HostKey::load_or_make(dir.path()).unwrap().public(), key.public());
        let shown = fs::read_to_string(dir.path().join(PUBLIC_FILE)).unwrap();
        assert_eq!(PublicKey::parse(&shown), Some(key.public()));
        assert_eq!(PublicKey::parse(&key.public().to_string()), Some(key.public()));
        for mode in [0o640, 0o604] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(HostKey::load_or_make(dir.path()).is_err(), "mode {mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "no key").unwrap();
        assert!(HostKey::load_or_make(dir.path()).is_err(), "a broken key is not replaced");
    }

    #[test]
    fn what_is_no_key_is_none() {
        for text in ["", "x", "AAAA", BEGIN, &format!("{BEGIN}{CLOSE}")] {
            assert_eq!(PublicKey::parse(text), None, "{text:?}");
        }
    }
}
