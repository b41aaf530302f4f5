//! The command line of holdfast as a person or a script uses it, and the fields of its JSON that
//! scenarios read.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Outcome, Tool, agent, check_eq};

/// Runs `holdfast ARGS`.
pub(crate) fn holdfast<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<Outcome> {
    Tool::new(agent::BINARY).args(args).run()
}

/// `holdfast status --json`: how it ended and what it said.
pub(crate) fn status() -> Result<(Outcome, Value)> {
    let outcome = holdfast(["status", "--json"])?;
    let value = serde_json::from_str(&outcome.stdout)
        .with_context(|| outcome.describe("should have printed JSON"))?;
    Ok((outcome, value))
}

/// The events the agent still has, oldest first.
pub(crate) fn events() -> Result<Vec<Value>> {
    let outcome = holdfast(["events", "--json"])?.ok()?;
    parse_stream(&outcome.stdout)
}

/// One JSON value per line, or one array of them.
pub(crate) fn parse_stream(text: &str) -> Result<Vec<Value>> {
    let values: Vec<Value> = serde_json::Deserializer::from_str(text)
        .into_iter()
        .collect::<Result<_, _>>()
        .context("events are not JSON")?;
    Ok(values
        .into_iter()
        .flat_map(|value| match value {
            Value::Array(list) => list,
            other => vec![other],
        })
        .collect())
}

/// `holdfast policy ARGS`.
pub(crate) fn policy(args: &[&str]) -> Result<Outcome> {
    Tool::new(agent::BINARY).arg("policy").args(args).run()
}

/// The same, which prints JSON and ends with that status.
pub(crate) fn policy_json(args: &[&str], code: i32) -> Result<Value> {
    let outcome = policy(args)?;
    check_eq!(outcome.code, Some(code), "{}", outcome.describe("exit status"));
    serde_json::from_str(&outcome.stdout)
        .with_context(|| outcome.describe("should have printed JSON"))
}

/// `holdfast audit ARGS`.
pub(crate) fn holdfast_audit<S: AsRef<OsStr>>(
    args: impl IntoIterator<Item = S>,
) -> Result<Outcome> {
    Tool::new(agent::BINARY).arg("audit").args(args).run()
}

/// `holdfast audit verify --json` on a directory: how it ended and what it said.
pub(crate) fn verify(dir: &Path, more: &[&str]) -> Result<(Outcome, Value)> {
    let outcome = Tool::new(agent::BINARY)
        .args(["audit", "verify", "--json", "--dir"])
        .arg(dir)
        .args(more)
        .run()?;
    let value = serde_json::from_str(&outcome.stdout)
        .with_context(|| outcome.describe("should have printed JSON"))?;
    Ok((outcome, value))
}

/// The records of the audit log, with those that an agent has in memory if it can write them.
pub(crate) fn audit() -> Result<Vec<Value>> {
    let is_settled = || {
        let Ok((_, status)) = status() else { return Ok(Some(())) };
        let audit = &status["audit"];
        Ok((audit["writable"] != true || audit["waiting"] == 0).then_some(()))
    };
    super::until("the audit log is written", Duration::from_secs(60), is_settled)?;
    audit_in(&Path::new(agent::STATE_DIR).join("audit"))
}

/// The records of the log in a directory, across its segments.
pub(crate) fn audit_in(dir: &Path) -> Result<Vec<Value>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            segments.push(path);
        }
    }
    segments.sort();
    let mut records = Vec::new();
    for path in segments {
        records.extend(parse_stream(&fs::read_to_string(&path)?)?);
    }
    Ok(records)
}

/// A field as text; empty where it is missing.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A field as a number.
pub(crate) fn number(value: &Value, key: &str) -> Result<u64> {
    value.get(key).and_then(Value::as_u64).with_context(|| format!("no number {key:?} in {value}"))
}
