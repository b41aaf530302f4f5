//! Budgets: what is spent, and resets.

use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::response::Response;

use super::holds::document;
use super::peer::Peer;
use crate::api::ResetBody;
use crate::daemon::{Ask, Inbox};

/// `GET /v1/budgets`.
pub(super) async fn list(State(inbox): State<Inbox>) -> Response {
    super::ask(&inbox, Ask::Budgets).await
}

/// `POST /v1/budgets/reset`.
pub(super) async fn reset(
    State(inbox): State<Inbox>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    body: Bytes,
) -> Response {
    match document::<ResetBody>(&body) {
        Ok(body) => {
            let (body, person) = (Box::new(body), peer.person());
            super::ask(&inbox, Ask::ResetBudgets { body, person }).await
        }
        Err(response) => *response,
    }
}
