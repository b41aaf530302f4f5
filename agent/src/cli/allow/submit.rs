//! `holdfast allow submit`, `list` and `revoke`: what only the agent can do.

use serde_json::json;

use super::args::{RevokeArgs, SubmitArgs};
use super::show::checked_id;
use super::{Document, report, signatures};
use crate::api::{AllowanceReport, SignatureBody, SubmitBody};
use crate::cli::client::ClientError;
use crate::cli::{Client, Exit, Failure, out};

pub(super) async fn submit(client: &Client, args: &SubmitArgs) -> Result<Exit, Failure> {
    let document = Document::read(&args.file)?;
    let signatures = signatures(&args.file, &args.signatures)?;
    let signatures =
        signatures.into_iter().map(|file| SignatureBody { name: file.name, text: file.text });
    let body = SubmitBody {
        path: document.path,
        document: document.text,
        signatures: signatures.collect(),
        run: None,
    };
    match client.submit(&body).await {
        Ok(report) => {
            told(&report, args.json)?;
            Ok(Exit::Ok)
        }
        Err(ClientError::Refused { message, reason: Some(reason), .. }) if args.json => {
            out::json(&json!({ "error": message, "reason": reason }))?;
            Ok(Exit::BadInput)
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn list(client: &Client, json: bool) -> Result<Exit, Failure> {
    let list = client.allowances().await?;
    if json {
        out::json(&list)?
    } else {
        out::text(&report::list(&list.allowances))?
    }
    Ok(Exit::Ok)
}

pub(super) async fn revoke(client: &Client, args: &RevokeArgs) -> Result<Exit, Failure> {
    let report = client.revoke_allowance(checked_id(&args.id)?).await?;
    told(&report, args.json)?;
    Ok(Exit::Ok)
}

fn told(report: &AllowanceReport, json: bool) -> Result<(), Failure> {
    if json {
        out::json(report)?
    } else {
        out::text(&report::render(report))?
    }
    Ok(())
}
