//! `holdfast allow sign`: shows an allowance, and has ssh-keygen sign it. It never touches a key
//! itself.

use std::fs::{self, DirBuilder};
use std::io::{self, IsTerminal as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use holdfast_policy::allowance::{Allowance, MAX_SIGNATURE};
use holdfast_policy::sshsig::{ALLOWANCE_NAMESPACE, Signature, Verified};

use super::args::SignArgs;
use super::files::{Document, bad, read};
use super::new::write_new;
use super::{ask, key, show};
use crate::cli::{Exit, Failure, out};

pub(super) fn run(args: &SignArgs) -> Result<Exit, Failure> {
    let signing = Signing::new(args)?;
    out::text(&signing.shown())?;
    let asks = !args.yes && io::stdin().is_terminal();
    if asks && !ask::confirmed(&mut ask::terminal(), "sign it?")? {
        return Err(Failure::new(Exit::Failure, "not signed"));
    }
    out::text(&signing.sign(&args.file)?)?;
    Ok(Exit::Ok)
}

/// What is to be signed, and with what.
#[derive(Debug)]
pub(super) struct Signing {
    document: Document,
    allowance: Allowance,
    key: PathBuf,
}

impl Signing {
    /// Reads it; only a canonical text is signed.
    pub(super) fn new(args: &SignArgs) -> Result<Self, Failure> {
        let document = Document::read(&args.file)?;
        let allowance = document.parse()?;
        if allowance.canonical() != document.text {
            return Err(bad(format!("{}: {}", document.path, show::not_canonical(&document.path))));
        }
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let key = match &args.key {
            Some(key) => key.clone(),
            None => key::default_key(home.as_deref())?,
        };
        Ok(Self { document, allowance, key })
    }

    /// What somebody reads before signing.
    pub(super) fn shown(&self) -> String {
        format!(
            "{}\nwhat is signed, with {}:\n\n{}",
            self.allowance.summary(),
            out::path(&self.key),
            self.document.text
        )
    }

    /// Signs it, and says where the signature is.
    pub(super) fn sign(&self, file: &Path) -> Result<String, Failure> {
        let armour = sign(&self.document, &self.key)?;
        let verified = verified(&self.document, &armour).map_err(|why| {
            let message = format!("ssh-keygen made a signature that cannot count: {why}");
            Failure::new(Exit::Failure, message)
        })?;
        let kept = keep(file, &self.document, &armour, &self.key, &verified)?;
        Ok(format!(
            "signed with {} {}: {}",
            verified.key.algorithm(),
            verified.key.fingerprint(),
            out::path(&kept)
        ))
    }
}

/// Has ssh-keygen sign the very text that was shown. It has the terminal to itself, for passphrase,
/// PIN and touch.
fn sign(document: &Document, key: &Path) -> Result<String, Failure> {
    // ssh-keygen names its output after the file, and asks for a passphrase only if standard input
    // is the terminal: so the text goes into a file in a place of its own.
    let room = Room::new()?;
    let name = "allowance.toml";
    fs::write(room.0.join(name), &document.text)?;
    let status = Command::new("ssh-keygen")
        .args(["-Y", "sign", "-n", ALLOWANCE_NAMESPACE, "-f"])
        .arg(std::path::absolute(key)?)
        .arg(name)
        .current_dir(&room.0)
        .status();
    let status = status.map_err(|error| {
        let help = "install OpenSSH 8.2 or later (`openssh-client`), or sign on another machine";
        Failure::new(Exit::Failure, format!("cannot run ssh-keygen: {error}\n  help: {help}"))
    })?;
    if !status.success() {
        let message = format!(
            "not signed: ssh-keygen ended with {status}\n  help: what it said is above; for a key \
             that is in the SSH agent, give its .pub file to --key"
        );
        return Err(Failure::new(Exit::Failure, message));
    }
    let armour = read(&room.0.join(format!("{name}.sig")), MAX_SIGNATURE, "the signature")?;
    Ok(String::from_utf8_lossy(&armour).into_owned())
}

/// Puts a signature beside its document, and nobody else's out of the way.
fn keep(
    file: &Path,
    document: &Document,
    armour: &str,
    key: &Path,
    made: &Verified,
) -> Result<PathBuf, Failure> {
    let name = key::signer(key::comment(key, &made.key).as_deref(), &made.key);
    let longer = format!("{name}-{}", key::short(&made.key));
    for name in [name, longer] {
        let place = key::signature_file(file, &name);
        let Ok(there) = fs::read(&place) else {
            write_new(&place, armour, "write")?;
            return Ok(place);
        };
        let there = String::from_utf8_lossy(&there);
        if !Signature::parse(&there).is_ok_and(|signature| *signature.key() == made.key) {
            // Somebody else's, whose key has the same comment.
            continue;
        }
        if verified(document, &there).is_ok() {
            return Ok(place);
        }
        let message = format!(
            "{} is by this key and of another text\n  help: it counts for nothing here: remove it, \
             and sign again",
            out::path(&place)
        );
        return Err(Failure::new(Exit::Failure, message));
    }
    let message =
        format!("no name is free for the signature beside {}: make room there", out::path(file));
    Err(Failure::new(Exit::Failure, message))
}

fn verified(document: &Document, armour: &str) -> Result<Verified, String> {
    let signature = Signature::parse(armour).map_err(|error| error.to_string())?;
    let verified = signature.verify(ALLOWANCE_NAMESPACE, document.text.as_bytes());
    verified.map_err(|error| error.to_string())
}

/// A directory that only this user can look into, for as long as this lives.
struct Room(PathBuf);

impl Room {
    fn new() -> Result<Self, Failure> {
        let stamp = crate::clock::Now::read().wall_ns;
        let name = format!("holdfast-sign-{}-{stamp}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| {
            Failure::new(Exit::Failure, format!("cannot make {}: {error}", out::path(&path)))
        })?;
        Ok(Self(path))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // What cannot be removed holds nothing that is secret.
        let _ = fs::remove_dir_all(&self.0);
    }
}
