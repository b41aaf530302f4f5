//! Break-glass over the socket: who asks is who connected.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde::de::DeserializeOwned;

use super::peer::Peer;
use crate::api::CloseGlassBody;
use crate::daemon::{Ask, GlassAsk, Inbox};

/// Everything below `/v1/break-glass`.
pub(super) fn routes() -> Router<Inbox> {
    Router::new()
        .route("/v1/break-glass", get(|State(inbox): State<Inbox>| ask(inbox, GlassAsk::Status)))
        .route(
            "/v1/break-glass/codes",
            get(|State(inbox): State<Inbox>| ask(inbox, GlassAsk::Codes)).post(codes),
        )
        .route("/v1/break-glass/challenge", post(challenge))
        .route("/v1/break-glass/open", post(open))
        .route("/v1/break-glass/join", post(join))
        .route("/v1/break-glass/close", post(close))
}

async fn ask(inbox: Inbox, ask: GlassAsk) -> Response {
    super::ask(&inbox, Ask::Glass(Box::new(ask))).await
}

async fn codes(
    State(inbox): State<Inbox>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    body: Bytes,
) -> Response {
    match document(&body) {
        Ok(body) => ask(inbox, GlassAsk::NewCodes(body, peer.person())).await,
        Err(response) => *response,
    }
}

async fn challenge(
    State(inbox): State<Inbox>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    body: Bytes,
) -> Response {
    match document(&body) {
        Ok(body) => ask(inbox, GlassAsk::Challenge(body, peer.person())).await,
        Err(response) => *response,
    }
}

async fn open(
    State(inbox): State<Inbox>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    body: Bytes,
) -> Response {
    match document(&body) {
        Ok(body) => ask(inbox, GlassAsk::Open(Box::new(body), peer.person())).await,
        Err(response) => *response,
    }
}

async fn join(State(inbox): State<Inbox>, ConnectInfo(peer): ConnectInfo<Peer>) -> Response {
    ask(inbox, GlassAsk::Join(peer.person())).await
}

async fn close(
    State(inbox): State<Inbox>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    body: Bytes,
) -> Response {
    match document(&body) {
        Ok(CloseGlassBody { number }) => ask(inbox, GlassAsk::Close(number, peer.person())).await,
        Err(response) => *response,
    }
}

/// What is wrong is said by its place only: a body can have a code in it.
fn document<T: DeserializeOwned>(body: &[u8]) -> Result<T, Box<Response>> {
    serde_json::from_slice(body).map_err(|error| {
        let message =
            format!("this is no such request (line {}, column {})", error.line(), error.column());
        Box::new(super::error(StatusCode::BAD_REQUEST, message))
    })
}
