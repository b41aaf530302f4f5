//! Runs `ssh-keygen` in a directory of its own: makes keys, signs, and asks for its verdict.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::verdict::Case;

/// A directory with keys and whatever is signed.
pub struct Keygen {
    dir: TempDir,
}

/// A key in a file.
#[derive(Clone, Debug)]
pub struct Key {
    /// What it is called in the counts.
    pub name: &'static str,
    /// Its private file.
    file: PathBuf,
    /// The line of its `.pub` file.
    pub line: String,
}

impl Keygen {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory can be made") }
    }

    /// A new key.
    pub fn key(&self, name: &'static str, kind: &str, bits: u32) -> Key {
        let file = self.path(name);
        let bits = bits.to_string();
        let mut words = vec!["-q", "-t", kind, "-N", "", "-C", name];
        if kind != "ed25519" {
            words.extend(["-b", &bits]);
        }
        self.must(self.command(&words).arg("-f").arg(&file));
        Key { name, line: self.public(&file), file }
    }

    /// An armoured signature of a text.
    pub fn sign(&self, key: &Key, namespace: &str, hash: &str, text: &[u8]) -> String {
        self.sign_with(&key.file, namespace, hash, text)
    }

    /// A certificate for a key and for alice, by another key; and alice's signature with it.
    pub fn certified(&self, authority: &Key, key: &Key, namespace: &str, text: &[u8]) -> String {
        let public = key.file.with_extension("pub");
        self.must(
            self.command(&["-q", "-I", "x", "-n", "alice", "-s"]).arg(&authority.file).arg(&public),
        );
        let certificate = self.path(&format!("{}-cert.pub", key.name));
        self.sign_with(&certificate, namespace, "sha512", text)
    }

    /// Whether `ssh-keygen -Y verify` accepts it.
    pub fn accepts(&self, case: &Case) -> bool {
        let write = |name: &str, content: &[u8]| {
            let path = self.path(name);
            fs::write(&path, content).expect("the temporary directory can be written to");
            path
        };
        let signature = write("case.sig", &case.armour);
        let allowed = write("case.allowed", case.allowed.as_bytes());
        let text = write("case.text", &case.text);
        let mut command = self.command(&["-Y", "verify", "-I", case.identity.as_str()]);
        command.args(["-n", case.namespace.as_str(), "-O"]);
        command.arg(format!("verify-time={}", case.moment.text));
        command.arg("-f").arg(allowed).arg("-s").arg(signature);
        command.stdin(File::open(text).expect("it was just written"));
        let output = run(&mut command);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        // A verdict, and not a crash or a word of the command line it does not know.
        match output.status.code() {
            Some(0) if said.starts_with("Good ") => true,
            Some(255) if said.contains("Could not verify signature") => false,
            _ => panic!("{case:?}\nssh-keygen gave no verdict: {output:?}"),
        }
    }

    fn sign_with(&self, key: &Path, namespace: &str, hash: &str, text: &[u8]) -> String {
        let file = self.path("signed");
        fs::write(&file, text).expect("the temporary directory can be written to");
        let signature = self.path("signed.sig");
        let _ = fs::remove_file(&signature);
        let hash = format!("hashalg={hash}");
        let words = ["-q", "-Y", "sign", "-n", namespace, "-O", hash.as_str(), "-f"];
        self.must(self.command(&words).arg(key).arg(&file));
        fs::read_to_string(signature).expect("ssh-keygen has written a signature")
    }

    fn public(&self, file: &Path) -> String {
        let text = fs::read_to_string(file.with_extension("pub"));
        text.expect("ssh-keygen has written a key").trim_end().to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("ssh-keygen");
        // Times without a zone are local ones; no agent may be asked.
        command.args(words).env("TZ", "UTC").env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
        command
    }

    fn must(&self, command: &mut Command) {
        let output = run(command);
        assert!(output.status.success(), "{command:?}: {output:?}");
    }
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| {
        panic!("ssh-keygen cannot be run ({error}); `cargo xtask setup` installs it")
    })
}
