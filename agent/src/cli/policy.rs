//! `holdfast policy`.

pub(super) mod diff;
pub(super) mod learn;
pub(super) mod simulate;
mod source;

use std::path::Path;

use serde_json::json;

use super::{Client, Exit, Failure, out};
use crate::daemon::{self, PlanError};

pub(super) fn check(file: &Path, json: bool) -> Result<Exit, Failure> {
    match daemon::check_file(file) {
        Ok((policy, sha256)) => {
            if json {
                out::json(&json!({
                    "ok": true, "path": file.to_string_lossy(), "sha256": sha256, "problems": [],
                }))?;
            } else {
                let zones = policy.zones.len();
                let s = if zones == 1 { "" } else { "s" };
                out::text(&format!("{}: ok, {zones} zone{s}", out::path(file)))?;
            }
            Ok(Exit::Ok)
        }
        Err(error) if json => {
            out::json(&problems(file, &error))?;
            Ok(Exit::BadInput)
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn show(
    client: &Client,
    file: Option<&Path>,
    json: bool,
) -> Result<Exit, Failure> {
    match file {
        Some(file) => {
            let (policy, _) = daemon::parse_file(file)?;
            if json { out::json(&policy)? } else { out::text(&policy.to_string())? }
        }
        None => {
            let report = client.policy().await?;
            if json {
                out::json(&report.resolved)?;
            } else {
                out::text(&format!(
                    "# {}, sha256 {}\n{}",
                    out::name(&report.path, None),
                    report.sha256,
                    report.text
                ))?;
            }
        }
    }
    Ok(Exit::Ok)
}

pub(super) async fn reload(client: &Client, json: bool) -> Result<Exit, Failure> {
    let report = client.reload().await?;
    if json {
        out::json(&report)?;
        return Ok(Exit::Ok);
    }
    let sha256 = report.sha256.get(..12).unwrap_or(&report.sha256);
    let what = if report.in_force { "in force" } else { "read, and NOT in force" };
    out::text(&format!("the policy is {what}: {} zones, sha256 {sha256}", report.zones))?;
    for path in &report.missing {
        out::text(&format!("missing: {} (guarded as soon as it appears)", out::name(path, None)))?;
    }
    if !report.in_force {
        out::text("GUARD DOWN: see `holdfast status`")?;
    }
    Ok(Exit::Ok)
}

fn problems(file: &Path, error: &PlanError) -> serde_json::Value {
    let problems = match error {
        PlanError::Wrong(problems) => problems.iter().map(|problem| json!(problem)).collect(),
        PlanError::Unreadable { .. } | PlanError::Neither { .. } | PlanError::Host { .. } => {
            vec![json!({ "message": error.to_string() })]
        }
    };
    json!({ "ok": false, "path": file.to_string_lossy(), "problems": problems })
}
