//! Holds: what is paused, releases and kills.

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::de::DeserializeOwned;

use super::peer::Peer;
use crate::api::{Amount, KillBody};
use crate::daemon::{Ask, Inbox};
use crate::holds::DeadlySignal;

/// A hold and what to do with it. Refusals are boxed: they are large, and seldom.
type Read<T> = Result<(u64, T), Box<Response>>;

/// `GET /v1/holds/{id}`.
pub(super) async fn show(State(inbox): State<Inbox>, Path(id): Path<String>) -> Response {
    match number(&id) {
        Ok(id) => super::ask(&inbox, Ask::Hold { id }).await,
        Err(response) => *response,
    }
}

/// `POST /v1/holds/{id}/release`.
pub(super) async fn release(
    State(inbox): State<Inbox>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    let read = || -> Read<Amount> { Ok((number(&id)?, document(&body)?)) };
    match read() {
        Ok((id, amount)) => {
            super::ask(&inbox, Ask::Release { id, amount, person: peer.person() }).await
        }
        Err(response) => *response,
    }
}

/// `POST /v1/holds/{id}/kill`.
pub(super) async fn kill(
    State(inbox): State<Inbox>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    let read = || -> Read<DeadlySignal> {
        let KillBody { signal } = document(&body)?;
        let signal = DeadlySignal::parse(&signal).map_err(wrong)?;
        Ok((number(&id)?, signal))
    };
    match read() {
        Ok((id, signal)) => {
            super::ask(&inbox, Ask::Kill { id, signal, person: peer.person() }).await
        }
        Err(response) => *response,
    }
}

fn number(text: &str) -> Result<u64, Box<Response>> {
    text.parse()
        .map_err(|_| wrong("a hold has a number: `holdfast hold list` shows them".to_owned()))
}

pub(super) fn document<T: DeserializeOwned>(body: &[u8]) -> Result<T, Box<Response>> {
    serde_json::from_slice(body).map_err(|error| wrong(error.to_string()))
}

fn wrong(message: String) -> Box<Response> {
    Box::new(super::error(StatusCode::BAD_REQUEST, message))
}
