//! Allowances: submitting, joining, closing and revoking them, and what there are.

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::peer::Peer;
use crate::api::SubmitBody;
use crate::daemon::{Ask, Inbox};

/// Longest id.
const MAX_ID: usize = 64;

/// `GET /v1/allowances`.
pub(super) async fn list(State(inbox): State<Inbox>) -> Response {
    super::ask(&inbox, Ask::Allowances).await
}

/// `GET /v1/allowances/{id}`.
pub(super) async fn show(State(inbox): State<Inbox>, Path(id): Path<String>) -> Response {
    match checked(id) {
        Ok(id) => super::ask(&inbox, Ask::Allowance { id }).await,
        Err(response) => *response,
    }
}

/// `POST /v1/allowances`.
pub(super) async fn submit(
    State(inbox): State<Inbox>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    body: Bytes,
) -> Response {
    match read(&body) {
        Ok(body) => {
            super::ask(&inbox, Ask::SubmitAllowance { body: Box::new(body), person: peer.person() })
                .await
        }
        Err(response) => *response,
    }
}

/// `POST /v1/allowances/{id}/join`.
pub(super) async fn join(
    State(inbox): State<Inbox>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(id): Path<String>,
) -> Response {
    match checked(id) {
        Ok(id) => super::ask(&inbox, Ask::JoinAllowance { id, person: peer.person() }).await,
        Err(response) => *response,
    }
}

/// `POST /v1/allowances/{id}/close`.
pub(super) async fn close(
    State(inbox): State<Inbox>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(id): Path<String>,
) -> Response {
    match checked(id) {
        Ok(id) => super::ask(&inbox, Ask::CloseAllowance { id, person: peer.person() }).await,
        Err(response) => *response,
    }
}

/// `POST /v1/allowances/{id}/revoke`.
pub(super) async fn revoke(
    State(inbox): State<Inbox>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(id): Path<String>,
) -> Response {
    match checked(id) {
        Ok(id) => super::ask(&inbox, Ask::RevokeAllowance { id, person: peer.person() }).await,
        Err(response) => *response,
    }
}

fn checked(id: String) -> Result<String, Box<Response>> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=MAX_ID).contains(&id.len()) && id.chars().all(fits) {
        return Ok(id);
    }
    Err(wrong("an id has 1 to 64 of a-z, A-Z, 0-9, `.`, `_` and `-`".to_owned()))
}

/// What is too long for an allowance is for the judgement to refuse, which is recorded; axum takes
/// 2 MiB at most.
fn read(body: &[u8]) -> Result<SubmitBody, Box<Response>> {
    serde_json::from_slice(body).map_err(|error| wrong(error.to_string()))
}

fn wrong(message: String) -> Box<Response> {
    Box::new(super::error(StatusCode::BAD_REQUEST, message))
}
