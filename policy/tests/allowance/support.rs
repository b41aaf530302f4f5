//! A host, its policy and its people, and an allowance for it that counts. Keys and signatures are
//! made by `ssh-keygen`.

use std::collections::HashMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex};

use holdfast_policy::Policy;
use holdfast_policy::allowance::{
    Allowance, Checked, Evidence, HostNames, Refused, SignatureFile, check,
};
use holdfast_policy::signers::{RevokedKeys, Signers};
use tempfile::TempDir;

pub(crate) const NAMESPACE: &str = "holdfast-allowance";

pub(crate) const POLICY: &str = r#"
[[zone]]
name = "customers"
role = "primary"
paths = ["/srv/customers"]
[[zone.budget]]
per = "unit"
files = 100
window = "10m"

[[zone]]
name = "backups"
role = "backup"
paths = ["/srv/backups"]
[[zone.budget]]
per = "unit"
files = 100
window = "10m"

[[group]]
name = "ops"
people = ["alice@example.com", "bob@example.com", "carol@example.com", "dave@example.com"]

[[group]]
name = "owners"
people = ["erin@example.com", "dave@example.com"]

[[trust]]
role = "primary"
needs = [{ group = "ops", people = 2 }]

[[trust]]
role = "backup"
needs = [{ group = "ops", people = 2 }, { group = "owners", people = 1 }]
"#;

/// Canonical; asked for by carol, for two hours from 2026-07-01 20:00 UTC, on web1.
pub(crate) const DOCUMENT: &str = r#"version = 1
id = "CHG-1042"
reason = "remove the caches of the old release"
requested_by = "carol@example.com"
hosts = ["web1"]
not_before = 2026-07-01T20:00:00Z
not_after = 2026-07-01T22:00:00Z

[[grant]]
zone = "customers"
subtrees = ["/srv/customers/*/cache"]
ops = ["remove", "truncate"]
files = 1000
bytes = "10GiB"
tenants = 20
"#;

/// 2026-07-01 20:30 UTC.
pub(crate) const NOW: i64 = 1_782_937_800;

/// Everything a judgement rests on, to be changed at will.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) text: String,
    pub(crate) signatures: Vec<SignatureFile>,
    pub(crate) policy: String,
    pub(crate) signers: String,
    pub(crate) revoked: String,
    pub(crate) host: HostNames,
    pub(crate) now: i64,
}

impl Case {
    /// Alice and Bob have signed, and it counts.
    pub(crate) fn good() -> Self {
        let people = ["alice", "bob", "carol", "dave", "erin"];
        let line = |name: &&str| format!("{name}@example.com {}\n", public(name));
        let mut case = Self {
            text: DOCUMENT.to_owned(),
            signatures: Vec::new(),
            policy: POLICY.to_owned(),
            signers: people.iter().map(line).collect(),
            revoked: String::new(),
            host: HostNames {
                name: "web1".to_owned(),
                machine_id: Some("0123456789abcdef0123456789abcdef".to_owned()),
            },
            now: NOW,
        };
        case.signed_by(&["alice", "bob"]);
        case
    }

    /// The signatures of these, and no others.
    pub(crate) fn signed_by(&mut self, keys: &[&str]) {
        self.signatures =
            keys.iter().map(|key| file(key, sign(key, NAMESPACE, &self.text))).collect();
    }

    /// Puts something into the document in place of something else, before it is signed.
    pub(crate) fn write(&mut self, old: &str, new: &str) {
        self.text = replaced(&self.text, old, new);
        self.signed_by(&["alice", "bob"]);
    }

    /// Puts something into the document in place of something else, after it was signed.
    pub(crate) fn forge(&mut self, old: &str, new: &str) {
        self.text = replaced(&self.text, old, new);
    }

    /// Puts something into the policy in place of something else.
    pub(crate) fn rule(&mut self, old: &str, new: &str) {
        self.policy = replaced(&self.policy, old, new);
    }

    /// Puts something into `allowed_signers` in place of something else.
    pub(crate) fn list(&mut self, old: &str, new: &str) {
        self.signers = replaced(&self.signers, old, new);
    }

    pub(crate) fn check(&self) -> Result<Checked, Refused> {
        let policy = Policy::parse("policy.toml", &self.policy).unwrap_or_else(|e| panic!("{e}"));
        let signers = Signers::parse("signers", &self.signers).unwrap_or_else(|e| panic!("{e}"));
        let revoked = RevokedKeys::parse("revoked", self.revoked.as_bytes());
        check(&Evidence {
            path: "change.toml",
            text: &self.text,
            signatures: &self.signatures,
            policy: &policy,
            signers: &signers,
            revoked: &revoked.unwrap_or_else(|e| panic!("{e}")),
            host: &self.host,
            now: self.now,
        })
    }

    pub(crate) fn refused(&self) -> Refused {
        match self.check() {
            Ok(checked) => panic!("accepted: {checked:?}"),
            Err(refused) => refused,
        }
    }
}

/// The allowance of a text that has to be one.
pub(crate) fn allowance(text: &str) -> Allowance {
    Allowance::parse("change.toml", text).unwrap_or_else(|problems| panic!("{problems}"))
}

pub(crate) fn replaced(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "there is no {old:?} in {text:?}");
    text.replace(old, new)
}

pub(crate) fn file(key: &str, text: String) -> SignatureFile {
    SignatureFile { name: format!("change.toml.{key}.sig"), text }
}

/// Directory of the keys; each is made when it is first asked for.
static KEYS: LazyLock<(TempDir, Mutex<HashMap<String, String>>)> =
    LazyLock::new(|| (tempfile::tempdir().unwrap(), Mutex::default()));

/// The public key `NAME`, as a line without its comment. Names that begin with `rsa1024` are weak.
pub(crate) fn public(name: &str) -> String {
    let (directory, made) = &*KEYS;
    let mut made = made.lock().unwrap();
    let line = made.entry(name.to_owned()).or_insert_with(|| {
        let path = directory.path().join(name);
        let kind: &[&str] = if name.starts_with("rsa1024") {
            &["-t", "rsa", "-b", "1024"]
        } else {
            &["-t", "ed25519"]
        };
        run(
            Command::new("ssh-keygen")
                .args(kind)
                .args(["-q", "-N", "", "-C", ""])
                .arg("-f")
                .arg(&path),
            "",
        );
        std::fs::read_to_string(path.with_extension("pub")).unwrap().trim().to_owned()
    });
    line.clone()
}

/// What `ssh-keygen -Y sign` says with the key `NAME`.
pub(crate) fn sign(name: &str, namespace: &str, text: &str) -> String {
    public(name);
    let path = KEYS.0.path().join(name);
    run(Command::new("ssh-keygen").args(["-Y", "sign", "-n", namespace]).arg("-f").arg(path), text)
}

fn run(command: &mut Command, input: &str) -> String {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| {
        panic!(
            "these tests need ssh-keygen (Debian: openssh-client), which cannot be started: {error}"
        )
    });
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}
