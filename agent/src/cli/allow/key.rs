//! Which SSH key signs, and what its signature's file is called. It never reads a private key.

use std::path::{Path, PathBuf};

use holdfast_policy::sshsig::PublicKey;

use super::files::bad;
use crate::cli::{Failure, out};

/// Keys as ssh-keygen names them, best first.
const NAMES: [&str; 5] = ["id_ed25519_sk", "id_ecdsa_sk", "id_ed25519", "id_ecdsa", "id_rsa"];
/// Longest name of a signer in the name of a file.
const MAX_NAME: usize = 64;

/// The key that is used if none is named: the first there is, also if only its public half is (the
/// SSH agent may have the other).
pub(super) fn default_key(home: Option<&Path>) -> Result<PathBuf, Failure> {
    let Some(home) = home else {
        return Err(bad("HOME is not set: name a key with --key".to_owned()));
    };
    let directory = home.join(".ssh");
    for name in NAMES {
        for file in [directory.join(name), directory.join(format!("{name}.pub"))] {
            if file.is_file() {
                return Ok(file);
            }
        }
    }
    let message = format!(
        "no key to sign with in {}; looked for {} and the .pub file of each\n  help: name one with \
         --key, or make one with `ssh-keygen -t ed25519`",
        out::path(&directory),
        NAMES.join(", ")
    );
    Err(bad(message))
}

/// The comment of `key` in the public key file that belongs to `file`; `None` if there is none, or
/// it is of another key.
pub(super) fn comment(file: &Path, key: &PublicKey) -> Option<String> {
    let public = if file.extension().is_some_and(|extension| extension == "pub") {
        file.to_owned()
    } else {
        let mut name = file.as_os_str().to_owned();
        name.push(".pub");
        name.into()
    };
    let text = std::fs::read_to_string(public).ok()?;
    let line = text.lines().next()?;
    (PublicKey::parse(line).ok()? == *key).then_some(())?;
    let comment = line.split_ascii_whitespace().skip(2).collect::<Vec<_>>().join(" ");
    (!comment.is_empty()).then_some(comment)
}

/// A signer's name as part of a file's name.
pub(super) fn signer(comment: Option<&str>, key: &PublicKey) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "@._+-".contains(c);
    let name: String = comment
        .unwrap_or_default()
        .chars()
        .map(|c| if fits(c) { c } else { '_' })
        .take(MAX_NAME)
        .collect();
    let name = name.trim_matches(['.', '_', '-']);
    if name.is_empty() { short(key) } else { name.to_owned() }
}

/// A few characters of a key's fingerprint.
pub(super) fn short(key: &PublicKey) -> String {
    let fingerprint = key.fingerprint();
    let digits = fingerprint.trim_start_matches("SHA256:").chars();
    digits.filter(char::is_ascii_alphanumeric).take(12).collect()
}

/// `FILE.NAME.sig`.
pub(super) fn signature_file(document: &Path, name: &str) -> PathBuf {
    let mut file = document.as_os_str().to_owned();
    file.push(format!(".{name}.sig"));
    file.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "ssh-ed25519 \
                        AAAAC3NzaC1lZDI1NTE5AAAAIBpWtGlT5mRkqkNFzlY3oXO2PBZdYQyu1yJ3wTF1tU0y \
                        alice@laptop";

    fn key() -> PublicKey {
        PublicKey::parse(LINE).unwrap()
    }

    #[test]
    fn signature_file_has_key_comment() {
        let name = |comment: &str| signer(Some(comment), &key());
        assert_eq!(name("alice@example.com"), "alice@example.com");
        assert_eq!(name("Alice's laptop / work"), "Alice_s_laptop___work");
        assert_eq!(name("../../etc/x"), "etc_x");
        assert_eq!(name(&"a".repeat(500)).len(), MAX_NAME);
        for none in ["", ".", "../..", "üü"] {
            assert_eq!(name(none), short(&key()), "{none:?}");
        }
        assert_eq!(signer(None, &key()), short(&key()));
        assert_eq!(short(&key()).len(), 12);
        assert_eq!(
            signature_file(Path::new("/x/a.toml"), "alice"),
            Path::new("/x/a.toml.alice.sig")
        );
    }

    #[test]
    fn comment_belongs_to_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("id");
        assert_eq!(comment(&file, &key()), None);
        std::fs::write(dir.path().join("id.pub"), LINE).unwrap();
        assert_eq!(comment(&file, &key()).as_deref(), Some("alice@laptop"));
        assert_eq!(comment(&dir.path().join("id.pub"), &key()).as_deref(), Some("alice@laptop"));
        let other = LINE.replace("IBpW", "IBpX");
        std::fs::write(dir.path().join("id.pub"), other).unwrap();
        assert_eq!(comment(&file, &key()), None);
    }

    #[test]
    fn default_key_is_the_best_available() {
        let home = tempfile::tempdir().unwrap();
        let ssh = home.path().join(".ssh");
        let failure = default_key(Some(home.path())).unwrap_err();
        assert!(NAMES.iter().all(|name| failure.message.contains(name)), "{}", failure.message);
        assert!(default_key(None).unwrap_err().message.contains("--key"));
        std::fs::create_dir(&ssh).unwrap();
        for name in ["id_rsa", "id_ed25519.pub", "id_ed25519"] {
            std::fs::write(ssh.join(name), "").unwrap();
            assert_eq!(default_key(Some(home.path())).unwrap(), ssh.join(name));
        }
    }
}
