//! Keys that are not trusted any more. A list for people to edit; OpenSSH's binary key revocation
//! lists are not read.

use std::collections::BTreeSet;

use base64ct::{Base64Unpadded, Encoding};

use super::line::{Cursor, key_fault};
use super::lines;
use crate::problem::{Fault, Mistakes, Problems, Source};
use crate::sshsig::{KeyFault, PublicKey};
use crate::words::quoted;

/// What a binary key revocation list begins with.
const KRL: &[u8] = b"SSHKRL\n\0";

/// Keys that are not trusted any more: in each line one public key, or its fingerprint as
/// `ssh-keygen -l` shows it.
#[derive(Clone, Debug, Default)]
pub struct RevokedKeys {
    fingerprints: BTreeSet<String>,
}

impl RevokedKeys {
    /// Reads the file. A binary KRL is not supported, and says so.
    pub fn parse(path: &str, text: &[u8]) -> Result<Self, Problems> {
        let mut mistakes = Mistakes::default();
        let mut fingerprints = BTreeSet::new();
        let shown = String::from_utf8_lossy(text);
        if text.starts_with(KRL) {
            let help = "list the public keys or `SHA256:…` fingerprints, one in a line";
            let fault = Fault::new("a binary key revocation list (KRL) is not supported", help);
            mistakes.wrong(&(0..KRL.len() - 2), fault);
        } else if let Err(error) = std::str::from_utf8(text) {
            // Up to here what is shown is what is there.
            let at = error.valid_up_to();
            mistakes.wrong(&(at..at), Fault::new("this is not UTF-8 text", "write plain text"));
        } else {
            for (start, line) in lines(&shown) {
                fingerprints.extend(read(line, start, &mut mistakes));
            }
        }
        match mistakes.into_problems(path, &Source::new(&shown)) {
            None => Ok(Self { fingerprints }),
            Some(problems) => Err(problems),
        }
    }

    /// Whether this key is revoked.
    pub fn contains(&self, key: &PublicKey) -> bool {
        self.fingerprints.contains(&key.fingerprint())
    }
}

/// The fingerprint that a line is about.
fn read(line: &str, start: usize, mistakes: &mut Mistakes) -> Option<String> {
    let mut cursor = Cursor { rest: line, at: start };
    let kind = cursor.word();
    let fault = if let Some(hash) = kind.strip_prefix("SHA256:") {
        match fingerprint(hash) {
            Some(fingerprint) => return Some(fingerprint),
            None => Fault::new(
                format!("{} is no SHA-256 fingerprint", quoted(kind)),
                "copy it from `ssh-keygen -l -f FILE.pub`: `SHA256:` and 43 characters",
            ),
        }
    } else {
        cursor.skip_blanks();
        match PublicKey::from_words(kind, cursor.word()) {
            Ok(key) => return Some(key.fingerprint()),
            // It could never sign anyway, and whoever revokes it should not be told to use a better
            // key.
            Err(KeyFault::Weak(_)) => return None,
            Err(fault @ KeyFault::Malformed(_)) => key_fault(fault),
            Err(KeyFault::Unsupported(what)) => Fault::new(
                format!("{what} is not supported"),
                "write `KEY-TYPE BASE64`, or the fingerprint `SHA256:…` that `ssh-keygen -l` shows",
            ),
        }
    };
    mistakes.wrong(&(start..cursor.at), fault);
    None
}

fn fingerprint(hash: &str) -> Option<String> {
    let mut bytes = [0; 32];
    let hash = hash.trim_end_matches('=');
    let length = Base64Unpadded::decode(hash, &mut bytes).ok()?.len();
    (length == bytes.len()).then(|| format!("SHA256:{hash}"))
}
