//! Who is at the other end of a connection, as the kernel says.

use axum::extract::{ConnectInfo, Request, connect_info::Connected};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

/// The other end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// Its user; `None` if the kernel did not say.
    uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: stream.io().peer_cred().ok().map(|credentials| credentials.uid()) }
    }
}

/// Lets root and the agent's own user through.
pub(super) async fn admit(
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if may_ask(peer.uid, rustix::process::geteuid().as_raw()) {
        return next.run(request).await;
    }
    super::error(StatusCode::FORBIDDEN, "only root may ask the agent".to_owned())
}

fn may_ask(uid: Option<u32>, own: u32) -> bool {
    uid.is_some_and(|uid| uid == 0 || uid == own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_agents_own_user_may_ask() {
        assert!(may_ask(Some(0), 0) && may_ask(Some(0), 500) && may_ask(Some(500), 500));
        assert!(!may_ask(Some(501), 500) && !may_ask(None, 0));
    }
}
