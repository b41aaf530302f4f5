//! `holdfast allow show`: a document, or what became of one that was submitted.

use std::path::Path;

use holdfast_policy::allowance::{Allowance, Hosts, SignatureFile};
use holdfast_policy::sshsig::{ALLOWANCE_NAMESPACE, Signature, Verified};
use serde_json::{Value, json};

use super::args::ShowArgs;
use super::files::{Document, bad, signatures};
use super::{report, time};
use crate::cli::{Client, Exit, Failure, out};

pub(super) async fn run(client: &Client, args: &ShowArgs) -> Result<Exit, Failure> {
    if !args.what.exists()
        && let Some(id) = as_id(&args.what)
    {
        if args.canonical {
            let message = format!("there is no file {id}: only a file has a canonical text");
            return Err(Failure::new(Exit::Usage, message));
        }
        let report = client.allowance(id).await?;
        if args.json {
            out::json(&report)?
        } else {
            out::text(&report::render(&report))?
        }
        return Ok(Exit::Ok);
    }
    out::text(&page(args)?)?;
    Ok(Exit::Ok)
}

/// What there is to say about a file.
pub(super) fn page(args: &ShowArgs) -> Result<String, Failure> {
    let document = Document::read(&args.what)?;
    let allowance = document.parse()?;
    if args.canonical {
        return Ok(allowance.canonical());
    }
    let signatures = signatures(&args.what, &[])?;
    Ok(if args.json {
        format!("{:#}", as_json(&document, &allowance, &signatures))
    } else {
        render(&document, &allowance, &signatures)
    })
}

/// A word that can be an allowance's id.
fn as_id(what: &Path) -> Option<&str> {
    let text = what.to_str()?;
    checked_id(text).ok()
}

/// The id, if it can be one.
pub(super) fn checked_id(text: &str) -> Result<&str, Failure> {
    super::field::id(text).map_err(bad)?;
    Ok(text)
}

fn render(document: &Document, allowance: &Allowance, signatures: &[SignatureFile]) -> String {
    let mut page = allowance.summary();
    let rows: Vec<Vec<String>> = signatures
        .iter()
        .map(|file| match looked_at(document, file) {
            Ok(verified) => vec![
                "signed".to_owned(),
                format!("with {} {}", verified.key.algorithm(), verified.key.fingerprint()),
                out::name(&file.name, None),
            ],
            Err(why) => vec!["WRONG".to_owned(), why, out::name(&file.name, None)],
        })
        .collect();
    if rows.is_empty() {
        page.push_str("  nobody has signed it\n");
    }
    page.push_str(&out::table(&rows, 2));
    page.push_str(&format!("  digest {}\n", document.digest()));
    if allowance.canonical() != document.text {
        page.push_str(&format!("\nNOT CANONICAL: {}\n", not_canonical(&document.path)));
    }
    page
}

/// What to do about a text that cannot be signed.
pub(super) fn not_canonical(path: &str) -> String {
    let name = out::command(&[path.to_owned()]);
    format!(
        "it says what it says in another form than the one that is signed\n  help: `holdfast allow \
         show --canonical {name}` prints that form; write it to a file of its own and sign that"
    )
}

/// The mathematics of a signature only: whose key it is, the policy's people say.
fn looked_at(document: &Document, file: &SignatureFile) -> Result<Verified, String> {
    let signature = Signature::parse(&file.text).map_err(|error| error.to_string())?;
    let verified = signature.verify(ALLOWANCE_NAMESPACE, document.text.as_bytes());
    verified.map_err(|error| error.to_string())
}

fn as_json(document: &Document, allowance: &Allowance, signatures: &[SignatureFile]) -> Value {
    let signatures: Vec<Value> = signatures
        .iter()
        .map(|file| match looked_at(document, file) {
            Ok(verified) => json!({
                "file": file.name,
                "ok": true,
                "key": verified.key.fingerprint(),
                "algorithm": verified.key.algorithm(),
            }),
            Err(why) => json!({ "file": file.name, "ok": false, "error": why }),
        })
        .collect();
    json!({
        "path": document.path,
        "digest": document.digest(),
        "canonical": allowance.canonical() == document.text,
        "allowance": fields(allowance),
        "signatures": signatures,
    })
}

/// A document's fields.
pub(super) fn fields(allowance: &Allowance) -> Value {
    let hosts: Vec<&str> = match &allowance.hosts {
        Hosts::Any => vec!["*"],
        Hosts::These(names) => names.iter().map(String::as_str).collect(),
    };
    let grants: Vec<Value> = allowance
        .grants
        .iter()
        .map(|grant| {
            json!({
                "zone": grant.zone.as_str(),
                "subtrees": grant
                    .subtrees
                    .iter()
                    .map(|subtree| subtree.as_str())
                    .collect::<Vec<_>>(),
                "ops": grant.ops.iter().map(|op| op.word()).collect::<Vec<_>>(),
                "files": grant.files,
                "bytes": grant.bytes,
                "tenants": grant.tenants,
            })
        })
        .collect();
    let command = allowance.bind.command.as_ref().map(|command| {
        let (script, script_sha256) = command.script.clone().unzip();
        json!({
            "path": command.path,
            "sha256": command.sha256,
            "script": script,
            "script_sha256": script_sha256,
        })
    });
    json!({
        "id": allowance.id,
        "reason": allowance.reason,
        "requested_by": allowance.requested_by,
        "hosts": hosts,
        "not_before": time::show(allowance.not_before),
        "not_after": time::show(allowance.not_after),
        "grants": grants,
        "bind": { "user": allowance.bind.user, "unit": allowance.bind.unit, "command": command },
        "rehearsal": allowance.rehearsal,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_is_a_word_path_not() {
        for id in ["CHG-1042", "2026-07-01-customers", "a.toml"] {
            assert_eq!(as_id(Path::new(id)), Some(id));
        }
        for path in ["./CHG-1042", "/a", "a/b", "", "a b"] {
            assert_eq!(as_id(Path::new(path)), None, "{path:?}");
        }
    }
}
