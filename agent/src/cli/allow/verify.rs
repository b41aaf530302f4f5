//! `holdfast allow verify`: the agent's judgement, without an agent.
//!
//! What only the host can tell is not looked at: where the patterns lead, whether the id was used,
//! who runs it.

use std::path::Path;

use holdfast_policy::Policy;
use holdfast_policy::allowance::{Checked, Evidence, HostNames, Refused, check};
use holdfast_policy::signers::{RevokedKeys, Signers};
use serde_json::{Value, json};

use super::args::VerifyArgs;
use super::files::{Document, bad, read, signatures};
use super::{show, time};
use crate::allowances::host_names;
use crate::cli::{Exit, Failure, out};
use crate::clock::Now;
use crate::daemon;

/// A list of keys that is longer is none.
const MAX_KEYS: usize = 1 << 20;

pub(super) fn run(args: &VerifyArgs) -> Result<Exit, Failure> {
    let (exit, page) = judge(args)?;
    out::text(&page)?;
    Ok(exit)
}

/// The judgement, and what is printed about it.
pub(super) fn judge(args: &VerifyArgs) -> Result<(Exit, String), Failure> {
    let document = Document::read(&args.file)?;
    let signatures = signatures(&args.file, &args.signatures)?;
    let now = match &args.at {
        Some(time) => {
            time::parse(time).map_err(|why| Failure::new(Exit::Usage, format!("--at: {why}")))?
        }
        None => Now::read().unix_seconds(),
    };
    let host = host(args.host.as_deref());
    let (policy, _) = daemon::parse_file(&args.policy)?;
    let signers = match &args.signers {
        Some(file) => signers(file)?,
        None => signers(Path::new(&policy.signing.signers))?,
    };
    let revoked = revoked(args.revoked.as_deref(), &policy)?;
    let outcome = check(&Evidence {
        path: &document.path,
        text: &document.text,
        signatures: &signatures,
        policy: &policy,
        signers: &signers,
        revoked: &revoked,
        host: &host,
        now,
    });
    if args.json {
        let exit = if outcome.is_ok() { Exit::Ok } else { Exit::BadInput };
        let json = as_json(&document, &host, now, &outcome);
        return Ok((exit, format!("{json:#}")));
    }
    match outcome {
        Ok(checked) => Ok((Exit::Ok, render(&document, &host, now, &checked))),
        Err(refused) => Err(bad(format!("{}: {refused}", document.path))),
    }
}

/// The host that is asked about: 32 hexadecimal digits are a machine id.
fn host(named: Option<&str>) -> HostNames {
    let is_id = |name: &str| name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    match named {
        None => host_names(),
        Some(id) if is_id(id) => HostNames { name: String::new(), machine_id: Some(id.to_owned()) },
        Some(name) => HostNames { name: name.to_owned(), machine_id: None },
    }
}

fn signers(file: &Path) -> Result<Signers, Failure> {
    let bytes = keys(file, "who may sign in")?;
    let path = out::path(file);
    let text = String::from_utf8(bytes).map_err(|_| bad(format!("{path} is not UTF-8 text")))?;
    Signers::parse(&path, &text).map_err(|problems| bad(problems.to_string()))
}

fn revoked(named: Option<&Path>, policy: &Policy) -> Result<RevokedKeys, Failure> {
    let Some(file) = named.or(policy.signing.revoked.as_deref().map(Path::new)) else {
        return Ok(RevokedKeys::default());
    };
    let text = keys(file, "the revoked keys in")?;
    RevokedKeys::parse(&out::path(file), &text).map_err(|problems| bad(problems.to_string()))
}

fn keys(file: &Path, what: &str) -> Result<Vec<u8>, Failure> {
    let bytes = read(file, MAX_KEYS, what)?;
    if bytes.len() > MAX_KEYS {
        return Err(bad(format!(
            "{} is larger than 1 MiB: check that this is it",
            out::path(file)
        )));
    }
    Ok(bytes)
}

fn render(document: &Document, host: &HostNames, now: i64, checked: &Checked) -> String {
    let host = match (&host.name[..], &host.machine_id) {
        ("", Some(id)) => id,
        (name, _) => name,
    };
    let signed = checked.signers.iter().map(|signer| {
        let touched = match &signer.hardware {
            Some(hardware) if hardware.verified => "touched, with PIN or fingerprint",
            Some(hardware) if hardware.touched => "touched",
            _ => "",
        };
        [&signer.person, &signer.algorithm, &signer.key, touched]
            .map(|cell| out::name(cell, None))
            .to_vec()
    });
    let signed = out::table(&signed.collect::<Vec<_>>(), 2);
    format!(
        "{}: ok, it counts on {} at {}\n\n{}\nsigned by\n{signed}\nnot looked at here: where its \
         paths lead, whether its id was used before, and who runs it\n",
        out::name(&document.path, None),
        out::name(host, None),
        time::show(now),
        checked.allowance.summary(),
    )
}

fn as_json(
    document: &Document,
    host: &HostNames,
    now: i64,
    outcome: &Result<Checked, Refused>,
) -> Value {
    let mut value = json!({
        "ok": outcome.is_ok(),
        "path": document.path,
        "digest": document.digest(),
        "host": { "name": host.name, "machine_id": host.machine_id },
        "at": time::show(now),
    });
    let more = match outcome {
        Ok(checked) => {
            let signers: Vec<Value> = checked
                .signers
                .iter()
                .map(|signer| {
                    json!({
                        "person": signer.person,
                        "key": signer.key,
                        "algorithm": signer.algorithm,
                        "touched": signer.hardware.map(|hardware| hardware.touched),
                        "verified": signer.hardware.map(|hardware| hardware.verified),
                    })
                })
                .collect();
            json!({ "allowance": show::fields(&checked.allowance), "signers": signers })
        }
        Err(refused) => json!({ "reason": refused.reason.word(), "error": refused.message }),
    };
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}
