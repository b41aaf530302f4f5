//! Signing and verifying with real keys, made by ssh-keygen.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::args::{NewArgs, ShowArgs, SignArgs, VerifyArgs};
use super::*;

/// A directory with a document and who may sign it.
struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { dir: tempfile::tempdir().unwrap() };
        let text = |text: &str| Some(text.to_owned());
        let args = NewArgs {
            id: text("CHG-1"),
            reason: text("remove caches"),
            requested_by: text("carol@example.com"),
            hosts: vec!["web1".to_owned()],
            from: text("2026-07-01T20:00:00Z"),
            length: text("2h"),
            zone: text("customers"),
            subtrees: vec!["/srv/customers/*/cache".to_owned()],
            ops: text("remove"),
            files: text("1000"),
            bytes: text("10GiB"),
            tenants: text("20"),
            output: Some(desk.file()),
            ..NewArgs::default()
        };
        new::create(&args).unwrap();
        let signers: String = ["alice", "bob"]
            .iter()
            .map(|name| desk.key(name, &format!("{name}@example.com")))
            .collect();
        std::fs::write(desk.path("allowed_signers"), signers).unwrap();
        let policy = format!(
            r#"
[allowances]
signers = "{}"
[[group]]
name = "ops"
people = ["alice@example.com", "bob@example.com"]
[[trust]]
role = "primary"
needs = [{{ group = "ops", people = 2 }}]
[[zone]]
name = "customers"
role = "primary"
paths = ["/srv/customers"]
[[zone.budget]]
per = "unit"
files = 20
window = "10m"
"#,
            desk.path("allowed_signers").display()
        );
        std::fs::write(desk.path("policy.toml"), policy).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.path("a.toml")
    }

    /// Makes a key, and its line of `allowed_signers`.
    fn key(&self, name: &str, comment: &str) -> String {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"])
            .arg(self.path(name))
            .stdin(Stdio::null())
            .status()
            .expect("ssh-keygen is needed for this test");
        assert!(made.success());
        let public = std::fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap();
        format!("{comment} namespaces=\"holdfast-allowance\" {public}")
    }

    fn sign(&self, key: &str) -> Result<String, Failure> {
        let args = SignArgs { file: self.file(), key: Some(self.path(key)), yes: true };
        sign::Signing::new(&args)?.sign(&args.file)
    }

    fn verify(&self, host: &str) -> Result<String, Failure> {
        let (exit, page) = self.verify_at(host, "2026-07-01T21:00:00Z", false)?;
        assert_eq!(exit, Exit::Ok);
        Ok(page)
    }

    fn verify_at(&self, host: &str, at: &str, json: bool) -> Result<(Exit, String), Failure> {
        verify::judge(&VerifyArgs {
            file: self.file(),
            signatures: Vec::new(),
            policy: self.path("policy.toml"),
            signers: None,
            revoked: None,
            host: Some(host.to_owned()),
            at: Some(at.to_owned()),
            json,
        })
    }

    fn signatures(&self) -> Vec<String> {
        let mut names: Vec<String> = signatures(&self.file(), &[])
            .unwrap()
            .into_iter()
            .map(|file| Path::new(&file.name).file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    /// Why a verification fails.
    fn missing(&self, host: &str) -> String {
        let failure = self.verify(host).unwrap_err();
        assert_eq!(failure.exit, Exit::BadInput);
        failure.message
    }
}

/// Before that, `verify` says what is missing.
#[test]
fn two_signatures_make_a_document_count() {
    let desk = Desk::new();
    assert!(desk.missing("web1").contains("(unsigned)"), "{}", desk.missing("web1"));
    desk.sign("alice").unwrap();
    assert!(desk.missing("web1").contains("ops"), "{}", desk.missing("web1"));
    desk.sign("bob").unwrap();
    assert_eq!(desk.signatures(), ["a.toml.alice@example.com.sig", "a.toml.bob@example.com.sig"]);
    let page = desk.verify("web1").unwrap();
    for part in [
        "a.toml: ok, it counts on web1 at 2026-07-01T21:00:00Z",
        "allowance CHG-1",
        "alice@example.com  ssh-ed25519  SHA256:",
        "bob@example.com    ssh-ed25519  SHA256:",
    ] {
        assert!(page.contains(part), "{part:?} in\n{page}");
    }
    assert!(desk.missing("web2").contains("(other_host)"), "{}", desk.missing("web2"));
    let late = desk.verify_at("web1", "2026-07-01T22:00:01Z", false).unwrap_err();
    assert!(late.message.contains("(expired)"), "{}", late.message);
    let json = |host: &str| -> (Exit, serde_json::Value) {
        let (exit, text) = desk.verify_at(host, "2026-07-01T21:00:00Z", true).unwrap();
        (exit, serde_json::from_str(&text).unwrap())
    };
    let (exit, value) = json("web1");
    assert_eq!((exit, &value["ok"]), (Exit::Ok, &true.into()));
    assert_eq!(value["signers"][0]["person"], "alice@example.com");
    let (exit, value) = json("web2");
    assert_eq!((exit, &value["reason"]), (Exit::BadInput, &"other_host".into()));
    let usage = desk.verify_at("web1", "today", false).unwrap_err();
    assert_eq!(usage.exit, Exit::Usage);
}

#[test]
fn plain_ssh_keygen_signatures_count() {
    let desk = Desk::new();
    for name in ["alice", "bob"] {
        let signed = Command::new("ssh-keygen")
            .args(["-Y", "sign", "-n", "holdfast-allowance", "-f"])
            .args([desk.path(name), desk.file()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(signed.success());
        std::fs::rename(desk.path("a.toml.sig"), desk.path(&format!("a.toml.{name}.sig"))).unwrap();
    }
    desk.verify("web1").unwrap();
}

#[test]
fn nobodys_signature_is_overwritten() {
    let desk = Desk::new();
    desk.sign("alice").unwrap();
    let first = std::fs::read(desk.path("a.toml.alice@example.com.sig")).unwrap();
    desk.sign("alice").expect("signing twice is no mistake");
    assert_eq!(desk.signatures().len(), 1);
    desk.key("alice2", "alice@example.com");
    desk.sign("alice2").unwrap();
    assert_eq!(desk.signatures().len(), 2, "{:?}", desk.signatures());
    assert_eq!(std::fs::read(desk.path("a.toml.alice@example.com.sig")).unwrap(), first);
    let text = std::fs::read_to_string(desk.file()).unwrap();
    std::fs::write(desk.file(), text.replace("files = 1000", "files = 9999")).unwrap();
    let failure = desk.sign("alice").unwrap_err();
    assert!(failure.message.contains("of another text"), "{}", failure.message);
    assert_eq!(std::fs::read(desk.path("a.toml.alice@example.com.sig")).unwrap(), first);
}

#[test]
fn only_canonical_text_is_signed() {
    let desk = Desk::new();
    let text = std::fs::read_to_string(desk.file()).unwrap();
    std::fs::write(desk.file(), format!("# small print\n{text}")).unwrap();
    let failure = desk.sign("alice").unwrap_err();
    assert_eq!(failure.exit, Exit::BadInput);
    assert!(failure.message.contains("--canonical"), "{}", failure.message);
    assert!(desk.signatures().is_empty());
    std::fs::write(desk.file(), "version = 1\n").unwrap();
    assert!(desk.sign("alice").unwrap_err().message.contains("a.toml:1:1: error: "));
}

#[test]
fn missing_key_signs_nothing() {
    let desk = Desk::new();
    let failure = desk.sign("nobody").unwrap_err();
    assert!(failure.message.contains("not signed"), "{}", failure.message);
    assert!(desk.signatures().is_empty());
}

/// Keys on a list that only the signer's machine has.
#[test]
fn named_list_revokes_a_key() {
    let desk = Desk::new();
    desk.sign("alice").unwrap();
    desk.sign("bob").unwrap();
    let args = VerifyArgs {
        file: desk.file(),
        signatures: Vec::new(),
        policy: desk.path("policy.toml"),
        signers: Some(desk.path("allowed_signers")),
        revoked: Some(desk.path("bob.pub")),
        host: Some("web1".to_owned()),
        at: Some("2026-07-01T21:00:00Z".to_owned()),
        json: false,
    };
    let failure = verify::judge(&args).unwrap_err();
    assert!(failure.message.contains("(signer_revoked)"), "{}", failure.message);
}

#[test]
fn what_is_signed_is_shown_first() {
    let desk = Desk::new();
    let args = SignArgs { file: desk.file(), key: Some("\u{1b}key".into()), yes: true };
    let page = sign::Signing::new(&args).unwrap().shown();
    let text = std::fs::read_to_string(desk.file()).unwrap();
    assert!(page.starts_with("allowance CHG-1\n") && page.ends_with(&text), "{page}");
    assert!(page.contains(r"with \x1bkey"), "{page}");
}

#[test]
fn file_is_shown_with_its_signers() {
    let desk = Desk::new();
    let page =
        |canonical, json| show::page(&ShowArgs { what: desk.file(), canonical, json }).unwrap();
    assert!(page(false, false).contains("nobody has signed it"));
    desk.sign("alice").unwrap();
    let text = std::fs::read_to_string(desk.file()).unwrap();
    assert_eq!(page(true, false), text);
    assert!(page(false, false).contains("signed  with ssh-ed25519 SHA256:"));
    let json: serde_json::Value = serde_json::from_str(&page(false, true)).unwrap();
    assert_eq!((&json["canonical"], &json["signatures"][0]["ok"]), (&true.into(), &true.into()));
    assert_eq!(json["allowance"]["grants"][0]["bytes"], 10u64 << 30);
    std::fs::write(desk.file(), text.replace("id = ", "id  =  ")).unwrap();
    let edited = page(false, false);
    assert!(edited.contains("NOT CANONICAL") && edited.contains("WRONG"), "{edited}");
    assert_eq!(page(true, false), text, "the same allowance in the form that is signed");
}

/// The agent is asked for it.
#[tokio::test]
async fn word_without_file_is_an_id() {
    let dir = tempfile::tempdir().unwrap();
    let client = Client::new(dir.path());
    let show = |what: &str, canonical| ShowArgs { what: what.into(), canonical, json: false };
    let asked = show::run(&client, &show("CHG-1", false)).await.unwrap_err();
    assert_eq!(asked.exit, Exit::Unreachable, "{}", asked.message);
    let text = show::run(&client, &show("CHG-1", true)).await.unwrap_err();
    assert_eq!(text.exit, Exit::Usage, "{}", text.message);
    let file = show::run(&client, &show("./none.toml", false)).await.unwrap_err();
    assert_eq!(file.exit, Exit::BadInput, "{}", file.message);
}

/// Somebody who is told a word looks it up there.
#[test]
fn every_reason_to_refuse_is_explained() {
    let page = include_str!("../../../../docs/allowances.md");
    for reason in holdfast_policy::allowance::RefusedReason::ALL {
        let row = format!("| `{}` | ", reason.word());
        assert_eq!(page.matches(&row).count(), 1, "{row}");
    }
    let rows =
        page.lines().filter(|line| line.starts_with("| `") && line.matches(" | ").count() == 2);
    assert_eq!(rows.count(), holdfast_policy::allowance::RefusedReason::ALL.len());
}
