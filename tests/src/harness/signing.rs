//! People who sign, with keys made by `ssh-keygen`, and what a policy says about them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{Tool, sh};

/// Whose key is whose on this machine.
pub(crate) const SIGNERS: &str = "/etc/holdfast/allowed_signers";
/// Keys that are not trusted any more.
pub(crate) const REVOKED: &str = "/etc/holdfast/revoked_keys";
/// The purpose that allowances are signed for.
pub(crate) const NAMESPACE: &str = "holdfast-allowance";
const KEYS: &str = "/tmp/holdfast-keys";

/// Everybody who has a line in the usual `allowed_signers`: two of `ops`, one of `backup-owners`,
/// and one whom the policy does not name.
pub(crate) const EVERYBODY: [&str; 4] = ["alice", "bob", "carol", "mallory"];

/// What a policy says about allowances, and what `allowed_signers` does.
#[derive(Clone, Debug)]
pub(crate) struct Signing {
    max_length: &'static str,
    any_host: bool,
    hardware: bool,
    groups: Vec<(&'static str, Vec<&'static str>)>,
    trust: Vec<(&'static str, Vec<(&'static str, u32)>)>,
    /// Lines of `allowed_signers`.
    lines: Vec<String>,
    /// Lines of the list of revoked keys.
    revoked: Vec<String>,
}

impl Signing {
    /// Two of `ops` (alice, bob, dave) for primary zones; one of them and one of `backup-owners`
    /// (carol) for backups.
    pub(crate) fn usual() -> Result<Self> {
        let lines = EVERYBODY.map(|name| line(name, name, ""));
        Ok(Self {
            max_length: "8h",
            any_host: false,
            hardware: false,
            groups: vec![("ops", vec!["alice", "bob", "dave"]), ("backup-owners", vec!["carol"])],
            trust: vec![
                ("primary", vec![("ops", 2)]),
                ("backup", vec![("ops", 1), ("backup-owners", 1)]),
            ],
            lines: lines.into_iter().collect::<Result<_>>()?,
            revoked: Vec::new(),
        })
    }

    /// One more line in `allowed_signers`: a person, whose key it is, and options.
    pub(crate) fn and_line(mut self, person: &str, key: &str, options: &str) -> Result<Self> {
        self.lines.push(line(person, key, options)?);
        Ok(self)
    }

    /// Nobody has a line with this person's name any more.
    pub(crate) fn without(mut self, person: &str) -> Self {
        self.lines.retain(|line| !line.starts_with(&mail(person)));
        self
    }

    /// This key is not trusted any more.
    pub(crate) fn revoke(mut self, key: &str) -> Result<Self> {
        self.revoked.push(public(key)?);
        Ok(self)
    }

    /// Who is needed for primary zones.
    pub(crate) fn primary_needs(mut self, needs: &[(&'static str, u32)]) -> Self {
        self.trust.retain(|(role, _)| *role != "primary");
        if !needs.is_empty() {
            self.trust.push(("primary", needs.to_vec()));
        }
        self
    }

    /// Only hardware keys count.
    pub(crate) fn hardware(mut self) -> Self {
        self.hardware = true;
        self
    }

    /// The policy's lines; writes the files they name.
    pub(crate) fn render(&self) -> Result<String> {
        write_list(SIGNERS, &self.lines)?;
        write_list(REVOKED, &self.revoked)?;
        let mut text = format!(
            "[allowances]\nsigners = {SIGNERS:?}\nrevoked = {REVOKED:?}\nmax_length = {:?}\n\
            any_host = {}\n",
            self.max_length, self.any_host
        );
        for (name, people) in &self.groups {
            let people: Vec<_> = people.iter().map(|name| mail(name)).collect();
            let _ = writeln!(text, "[[group]]\nname = {name:?}\npeople = {people:?}");
        }
        for (role, needs) in &self.trust {
            let need = |(group, people): &(&str, u32)| {
                format!("{{ group = {group:?}, people = {people} }}")
            };
            let needs: Vec<_> = needs.iter().map(need).collect();
            let _ = writeln!(
                text,
                "[[trust]]\nrole = {role:?}\nhardware = {}\nneeds = [{}]",
                self.hardware,
                needs.join(", ")
            );
        }
        Ok(text)
    }
}

/// Signs a file's text with somebody's key; the signature.
pub(crate) fn sign(document: &Path, key: &str, namespace: &str) -> Result<String> {
    let script = "ssh-keygen -q -Y sign -f \"$1\" -n \"$2\" <\"$3\"";
    let private = private(key)?.display().to_string();
    let document = document.display().to_string();
    let signed = sh(script, [private.as_str(), namespace, document.as_str()])?.ok()?;
    Ok(signed.stdout)
}

/// A person as policy and `allowed_signers` call them.
pub(crate) fn mail(name: &str) -> String {
    format!("{name}@example.com")
}

/// A line of `allowed_signers`.
fn line(person: &str, key: &str, options: &str) -> Result<String> {
    let options = match options {
        "" => format!("namespaces=\"{NAMESPACE}\""),
        options => options.to_owned(),
    };
    Ok(format!("{} {options} {}", mail(person), public(key)?))
}

/// Somebody's private key, made the first time it is asked for. One named `…-rsa1024` is as weak as
/// that.
fn private(name: &str) -> Result<PathBuf> {
    let path = Path::new(KEYS).join(name);
    if !path.exists() {
        fs::create_dir_all(KEYS)?;
        let kind: &[&str] = match name.strip_suffix("-rsa1024") {
            Some(_) => &["-t", "rsa", "-b", "1024"],
            None => &["-t", "ed25519"],
        };
        let tool = Tool::new("ssh-keygen").args(["-q", "-N", "", "-C", name]).args(kind);
        tool.arg("-f").arg(&path).ok()?;
    }
    Ok(path)
}

/// The public one, without its comment.
fn public(name: &str) -> Result<String> {
    let path = private(name)?.with_extension("pub");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(text.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}

fn write_list(path: &str, lines: &[String]) -> Result<()> {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(path, text).context(path.to_owned())
}
