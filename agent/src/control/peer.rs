//! Who is at the other end of a connection, as the kernel says.

use std::fs::File;
use std::io::Read as _;

use axum::extract::{ConnectInfo, Request, connect_info::Connected};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

use crate::api::Person;
use crate::text;

/// The other end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// Its user; `None` if the kernel did not say.
    uid: Option<u32>,
    /// Its process when it connected; `None` if the kernel did not say.
    pid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let credentials = stream.io().peer_cred().ok();
        // 0 stands for a process that this namespace cannot see.
        let pid = credentials.and_then(|credentials| credentials.pid());
        let pid = pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0);
        Self { uid: credentials.map(|credentials| credentials.uid()), pid }
    }
}

impl Peer {
    /// Who it is, for the audit log. What /proc says is about the process that connected, while it
    /// lives.
    pub(super) fn person(self) -> Person {
        let read = |name: &str| {
            let mut bytes = Vec::new();
            let file = File::open(format!("/proc/{}/{name}", self.pid?)).ok()?;
            file.take(64).read_to_end(&mut bytes).ok()?;
            Some(text::lossless(bytes.trim_ascii_end()).0)
        };
        Person {
            // Nobody is let through of whom this is not known.
            uid: self.uid.unwrap_or(u32::MAX),
            pid: self.pid,
            login_uid: read("loginuid")
                .and_then(|uid| uid.parse().ok())
                .filter(|uid| *uid != u32::MAX),
            comm: read("comm"),
        }
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
    fn a_person_is_who_connected() {
        let person = Peer { uid: Some(7), pid: Some(std::process::id()) }.person();
        assert_eq!((person.uid, person.pid), (7, Some(std::process::id())));
        assert!(person.comm.is_some_and(|comm| !comm.is_empty() && !comm.contains('\n')));
        assert_ne!(person.login_uid, Some(u32::MAX));
        let gone = Peer { uid: Some(0), pid: None }.person();
        assert!(gone.comm.is_none() && gone.login_uid.is_none());
    }

    #[test]
    fn root_and_agent_user_may_ask() {
        assert!(may_ask(Some(0), 0) && may_ask(Some(0), 500) && may_ask(Some(500), 500));
        assert!(!may_ask(Some(501), 500) && !may_ask(None, 0));
    }
}
