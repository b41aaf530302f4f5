//! The control socket: HTTP and JSON over a Unix socket that only root and the agent's own user may
//! use.
//!
//! It translates between HTTP and [`Ask`]; it never looks at the daemon's state or the kernel.

mod allowances;
mod break_glass;
mod budgets;
mod events;
mod holds;
mod peer;
mod socket;

use std::io;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde::Deserialize;
use tokio::net::UnixListener;

use crate::api::ErrorReport;
use crate::daemon::{Answer, Ask, Inbox, Refusal};
use crate::text;

pub(crate) use socket::{ControlError, SOCKET, bind};

/// Serves for as long as the agent runs.
pub(crate) async fn serve(listener: UnixListener, inbox: Inbox) -> io::Result<()> {
    let router = router(inbox).layer(middleware::from_fn(peer::admit));
    axum::serve(listener, router.into_make_service_with_connect_info::<peer::Peer>()).await
}

fn router(inbox: Inbox) -> Router {
    Router::new()
        .route(
            "/v1/status",
            get(|State(inbox): State<Inbox>| async move { ask(&inbox, Ask::Status).await }),
        )
        .route(
            "/v1/look",
            get(|State(inbox): State<Inbox>| async move { ask(&inbox, Ask::Look).await }),
        )
        .route("/v1/events", get(list_events))
        .route("/v1/explain", get(explain))
        .route(
            "/v1/policy",
            get(|State(inbox): State<Inbox>| async move { ask(&inbox, Ask::Policy).await }),
        )
        .route(
            "/v1/policy/reload",
            post(|State(inbox): State<Inbox>| async move { ask(&inbox, Ask::Reload).await }),
        )
        .route(
            "/v1/manifest/flush",
            post(|State(inbox): State<Inbox>| async move { ask(&inbox, Ask::FlushManifest).await }),
        )
        .route(
            "/v1/holds",
            get(|State(inbox): State<Inbox>| async move { ask(&inbox, Ask::Holds).await }),
        )
        .route("/v1/holds/{id}", get(holds::show))
        .route("/v1/holds/{id}/release", post(holds::release))
        .route("/v1/holds/{id}/kill", post(holds::kill))
        .route("/v1/budgets", get(budgets::list))
        .route("/v1/budgets/reset", post(budgets::reset))
        .route("/v1/allowances", get(allowances::list).post(allowances::submit))
        .route("/v1/allowances/{id}", get(allowances::show))
        .route("/v1/allowances/{id}/join", post(allowances::join))
        .route("/v1/allowances/{id}/close", post(allowances::close))
        .route("/v1/allowances/{id}/revoke", post(allowances::revoke))
        .merge(break_glass::routes())
        .with_state(inbox)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    #[serde(default)]
    follow: u8,
}

async fn list_events(State(inbox): State<Inbox>, Query(query): Query<EventsQuery>) -> Response {
    ask(&inbox, Ask::Events { follow: query.follow != 0 }).await
}

/// The path is any bytes, percent-encoded twice: a query is text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainQuery {
    path: String,
    pid: u32,
}

async fn explain(State(inbox): State<Inbox>, Query(query): Query<ExplainQuery>) -> Response {
    match text::percent_decode(&query.path)
        .filter(|path| path.starts_with(b"/") && !path.contains(&0))
    {
        Some(path) => ask(&inbox, Ask::Explain { path, pid: query.pid }).await,
        None => error(
            StatusCode::BAD_REQUEST,
            "`path` has to be an absolute path, percent-encoded".to_owned(),
        ),
    }
}

async fn ask(inbox: &Inbox, ask: Ask) -> Response {
    match inbox.ask(ask).await {
        Some(Answer::Json(json)) => {
            ([(header::CONTENT_TYPE, "application/json")], json).into_response()
        }
        Some(Answer::Text(text)) => text.into_response(),
        Some(Answer::Events { kept, live }) => events::response(kept, live),
        Some(Answer::Refused(report)) => {
            (StatusCode::UNPROCESSABLE_ENTITY, Json(report)).into_response()
        }
        Some(Answer::Error(refusal, message)) => error(status(refusal), message),
        None => error(StatusCode::SERVICE_UNAVAILABLE, "the agent is ending".to_owned()),
    }
}

const fn status(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::BadInput => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::NotFound => StatusCode::NOT_FOUND,
        Refusal::Failed => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn error(status: StatusCode, error: String) -> Response {
    (status, Json(ErrorReport { error })).into_response()
}

#[cfg(test)]
mod tests;
