//! `holdfast audit key`, and keys on the command line.

use std::path::Path;

use super::super::{Dirs, Exit, Failure, out};
use super::KeyArgs;
use crate::audit::{PUBLIC_FILE, PublicKey};

pub(super) fn run(dirs: &Dirs, args: &KeyArgs) -> Result<Exit, Failure> {
    let path = dirs.state_dir.join(PUBLIC_FILE);
    let key = from_file(&path).map_err(|why| {
        let message =
            format!("{why}\n  help: the agent makes it when it starts for the first time");
        Failure::new(Exit::BadInput, message)
    })?;
    out::text(&if args.pem { key.pem() } else { key.to_string() })?;
    Ok(Exit::Ok)
}

/// A key, or a file with one.
pub(super) fn parse(text: &str) -> Result<PublicKey, Failure> {
    if let Some(key) = PublicKey::parse(text) {
        return Ok(key);
    }
    from_file(Path::new(text)).map_err(|why| {
        let message = format!(
            "--key: {why}\n  help: give what `holdfast audit key` prints on the host, or a file \
             with it"
        );
        Failure::new(Exit::BadInput, message)
    })
}

fn from_file(path: &Path) -> Result<PublicKey, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    PublicKey::parse(&text).ok_or_else(|| format!("{} has no ed25519 public key", path.display()))
}
