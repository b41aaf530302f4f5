//! Events as lines of JSON: those in memory, then those to come.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use http_body_util::channel::{Channel, Sender};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::api::EventLine;

/// Lines that wait for a slow reader before it starts to fall behind.
const ROOM: usize = 16;

/// The answer. A reader that is too slow gets a line that says how many events it lost; nobody
/// waits for it.
pub(super) fn response(
    kept: Vec<Arc<str>>,
    live: Option<broadcast::Receiver<Arc<str>>>,
) -> Response {
    let mut lines = String::with_capacity(kept.iter().map(|line| line.len() + 1).sum());
    for line in kept {
        lines.push_str(&line);
        lines.push('\n');
    }
    let content_type = [(header::CONTENT_TYPE, "application/x-ndjson")];
    let Some(live) = live else {
        return (content_type, lines).into_response();
    };
    let (sender, body) = Channel::<Bytes, Infallible>::new(ROOM);
    tokio::spawn(follow(lines, live, sender));
    (content_type, Body::new(body)).into_response()
}

/// Ends when the reader goes, or the agent does.
async fn follow(
    kept: String,
    mut live: broadcast::Receiver<Arc<str>>,
    mut reader: Sender<Bytes, Infallible>,
) {
    if !kept.is_empty() && reader.send_data(kept.into()).await.is_err() {
        return;
    }
    loop {
        let line = match live.recv().await {
            Ok(line) => format!("{line}\n"),
            Err(RecvError::Lagged(lost)) => {
                match serde_json::to_string(&EventLine::Lost { lost }) {
                    Ok(line) => line + "\n",
                    Err(_) => return,
                }
            }
            Err(RecvError::Closed) => return,
        };
        if reader.send_data(line.into()).await.is_err() {
            return;
        }
    }
}
