//! Asks the agent over its control socket.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::UnixStream;

use super::Exit;
use crate::api::{
    AllowanceList, AllowanceReport, Amount, BudgetList, ChallengeReport, CloseGlassBody,
    CodesReport, ErrorReport, GlassBody, GlassReport, GlassStatus, HoldList, HoldReport, KillBody,
    KillReport, Look, NewCodesBody, NewCodesReport, PolicyReport, RefusedReport, ReleaseReport,
    ReloadReport, ResetBody, ResetReport, Status, SubmitBody, WantedBody,
};
use crate::control::SOCKET;
use crate::text;

/// How long the agent may take to answer. It answers between batches of events, and may be proving
/// the guard.
const PATIENCE: Duration = Duration::from_secs(60);

/// Talks to one agent.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    socket: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    /// Nobody listens.
    #[error(
        "the agent is not running (nothing answers on {})\n  help: start it (`systemctl start \
         holdfast`, or `holdfast agent`); what it pinned in the kernel stays in force without it",
        socket.display()
    )]
    NotRunning {
        /// The socket.
        socket: PathBuf,
    },
    /// This user may not.
    #[error("only root may ask the agent (on {})\n  help: use sudo", socket.display())]
    NotAllowed {
        /// The socket.
        socket: PathBuf,
    },
    /// It listens, but something is wrong.
    #[error("the agent cannot be reached on {}: {reason}", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// Why.
        reason: String,
    },
    /// It says no.
    #[error("{message}")]
    Refused {
        /// Its HTTP status.
        status: StatusCode,
        /// Its reason.
        message: String,
        /// Its reason in one word, if an allowance was refused.
        reason: Option<String>,
    },
}

impl ClientError {
    /// The status with which a command ends that gets this.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NotRunning { .. } | Self::NotAllowed { .. } | Self::Unreachable { .. } => {
                Exit::Unreachable
            }
            Self::Refused { status, .. } if status.is_client_error() => Exit::BadInput,
            Self::Refused { .. } => Exit::Failure,
        }
    }
}

impl Client {
    /// The agent whose run directory this is.
    pub(crate) fn new(run_dir: &Path) -> Self {
        Self { socket: run_dir.join(SOCKET) }
    }

    /// Everything.
    pub(crate) async fn status(&self) -> Result<Status, ClientError> {
        self.document(Method::GET, "/v1/status").await
    }

    /// Everything, with every hold, without anything being tried for it: for who asks again and
    /// again.
    pub(crate) async fn look(&self) -> Result<Look, ClientError> {
        self.document(Method::GET, "/v1/look").await
    }

    /// The policy in force.
    pub(crate) async fn policy(&self) -> Result<PolicyReport, ClientError> {
        self.document(Method::GET, "/v1/policy").await
    }

    /// Has the policy read again.
    pub(crate) async fn reload(&self) -> Result<ReloadReport, ClientError> {
        self.document(Method::POST, "/v1/policy/reload").await
    }

    /// Has everything that was destroyed so far written to the manifest.
    pub(crate) async fn flush_manifest(&self) -> Result<(), ClientError> {
        self.send(Method::POST, "/v1/manifest/flush", Bytes::new()).await.map(drop)
    }

    /// Every hold.
    pub(crate) async fn holds(&self) -> Result<HoldList, ClientError> {
        self.document(Method::GET, "/v1/holds").await
    }

    /// One hold.
    pub(crate) async fn hold(&self, id: u64) -> Result<HoldReport, ClientError> {
        self.document(Method::GET, &format!("/v1/holds/{id}")).await
    }

    /// Lets what a hold holds go on, as far as this.
    pub(crate) async fn release(
        &self,
        id: u64,
        amount: Amount,
    ) -> Result<ReleaseReport, ClientError> {
        self.post(&format!("/v1/holds/{id}/release"), &amount).await
    }

    /// Kills what a hold holds.
    pub(crate) async fn kill(&self, id: u64, signal: &str) -> Result<KillReport, ClientError> {
        let body = KillBody { signal: signal.to_owned() };
        self.post(&format!("/v1/holds/{id}/kill"), &body).await
    }

    /// What each actor has spent of each budget.
    pub(crate) async fn budgets(&self) -> Result<BudgetList, ClientError> {
        self.document(Method::GET, "/v1/budgets").await
    }

    /// Resets the budgets that an actor has used up.
    pub(crate) async fn reset_budgets(&self, body: &ResetBody) -> Result<ResetReport, ClientError> {
        self.post("/v1/budgets/reset", body).await
    }

    /// Every allowance the agent has seen.
    pub(crate) async fn allowances(&self) -> Result<AllowanceList, ClientError> {
        self.document(Method::GET, "/v1/allowances").await
    }

    /// One allowance.
    pub(crate) async fn allowance(&self, id: &str) -> Result<AllowanceReport, ClientError> {
        self.document(Method::GET, &allowance(id)).await
    }

    /// Activates an allowance.
    pub(crate) async fn submit(&self, body: &SubmitBody) -> Result<AllowanceReport, ClientError> {
        self.post("/v1/allowances", body).await
    }

    /// Closes an allowance.
    pub(crate) async fn close_allowance(&self, id: &str) -> Result<AllowanceReport, ClientError> {
        self.document(Method::POST, &format!("{}/close", allowance(id))).await
    }

    /// Closes an allowance for good, also one that was never submitted.
    pub(crate) async fn revoke_allowance(&self, id: &str) -> Result<AllowanceReport, ClientError> {
        self.document(Method::POST, &format!("{}/revoke", allowance(id))).await
    }

    /// Everything about break-glass.
    pub(crate) async fn glass(&self) -> Result<GlassStatus, ClientError> {
        self.document(Method::GET, "/v1/break-glass").await
    }

    /// Opens one. A wrong code is answered late.
    pub(crate) async fn open_glass(&self, body: &GlassBody) -> Result<GlassReport, ClientError> {
        self.post("/v1/break-glass/open", body).await
    }

    /// Ends the one that is open; with a number, only if it is that one.
    pub(crate) async fn close_glass(
        &self,
        number: Option<u64>,
    ) -> Result<GlassReport, ClientError> {
        self.post("/v1/break-glass/close", &CloseGlassBody { number }).await
    }

    /// A challenge to sign.
    pub(crate) async fn glass_challenge(
        &self,
        body: &WantedBody,
    ) -> Result<ChallengeReport, ClientError> {
        self.post("/v1/break-glass/challenge", body).await
    }

    /// New codes.
    pub(crate) async fn new_codes(
        &self,
        body: &NewCodesBody,
    ) -> Result<NewCodesReport, ClientError> {
        self.post("/v1/break-glass/codes", body).await
    }

    /// Which codes there are.
    pub(crate) async fn codes(&self) -> Result<CodesReport, ClientError> {
        self.document(Method::GET, "/v1/break-glass/codes").await
    }

    /// What applies to an absolute path, for a process.
    pub(crate) async fn explain<T: DeserializeOwned>(
        &self,
        path: &[u8],
        pid: u32,
    ) -> Result<T, ClientError> {
        // Twice: a query is text, and a path is any bytes.
        let path = text::percent_encode(text::percent_encode(path).as_bytes());
        self.document(Method::GET, &format!("/v1/explain?path={path}&pid={pid}")).await
    }

    /// The events in memory, and those to come if it follows.
    pub(crate) async fn events(&self, follow: bool) -> Result<Lines, ClientError> {
        let response = self
            .send(Method::GET, &format!("/v1/events?follow={}", u8::from(follow)), Bytes::new())
            .await?;
        Ok(Lines {
            socket: self.socket.clone(),
            body: response.into_body(),
            ready: VecDeque::new(),
            rest: Vec::new(),
        })
    }

    async fn document<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
    ) -> Result<T, ClientError> {
        self.read(self.send(method, path, Bytes::new()).await?).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.unreachable(&error))?;
        self.read(self.send(Method::POST, path, body.into()).await?).await
    }

    async fn read<T: DeserializeOwned>(
        &self,
        response: Response<Incoming>,
    ) -> Result<T, ClientError> {
        let body =
            response.into_body().collect().await.map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| {
            self.unreachable(&format!(
                "it answers in another form than this version knows: {error}"
            ))
        })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|error| self.no_connection(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.unreachable(&error))?;
        // Its errors show in the answer.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, "holdfast")
            .body(Full::new(body))
            .map_err(|error| self.unreachable(&error))?;
        let response = tokio::time::timeout(PATIENCE, sender.send_request(request))
            .await
            .map_err(|_| {
                self.unreachable(&format!("it did not answer for {} s", PATIENCE.as_secs()))
            })?
            .map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(self.refused(response).await)
        }
    }

    async fn refused(&self, response: Response<Incoming>) -> ClientError {
        let status = response.status();
        if status == StatusCode::FORBIDDEN {
            return ClientError::NotAllowed { socket: self.socket.clone() };
        }
        match response.into_body().collect().await {
            Ok(body) => {
                let body = body.to_bytes();
                if let Ok(RefusedReport { error, reason }) = serde_json::from_slice(&body) {
                    return ClientError::Refused { status, message: error, reason: Some(reason) };
                }
                let message = serde_json::from_slice::<ErrorReport>(&body)
                    .map_or_else(|_| format!("the agent answered {status}"), |report| report.error);
                ClientError::Refused { status, message, reason: None }
            }
            Err(error) => self.unreachable(&error),
        }
    }

    fn no_connection(&self, error: &io::Error) -> ClientError {
        let socket = self.socket.clone();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning { socket }
            }
            io::ErrorKind::PermissionDenied => ClientError::NotAllowed { socket },
            _ => self.unreachable(error),
        }
    }

    fn unreachable(&self, reason: &impl ToString) -> ClientError {
        ClientError::Unreachable { socket: self.socket.clone(), reason: reason.to_string() }
    }
}

fn allowance(id: &str) -> String {
    format!("/v1/allowances/{}", text::percent_encode(id.as_bytes()))
}

/// Lines of an answer, as they come.
#[derive(Debug)]
pub(crate) struct Lines {
    socket: PathBuf,
    body: Incoming,
    ready: VecDeque<Vec<u8>>,
    rest: Vec<u8>,
}

impl Lines {
    /// The next line, without its end. `None`: there are no more.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.take(&data);
                    }
                }
                Some(Err(error)) => {
                    let reason = format!("the connection broke: {error}");
                    return Err(ClientError::Unreachable { socket: self.socket.clone(), reason });
                }
            }
        }
    }

    fn take(&mut self, data: &[u8]) {
        let mut parts = data.split(|&byte| byte == b'\n');
        if let Some(first) = parts.next() {
            self.rest.extend_from_slice(first);
        }
        for part in parts {
            self.ready.push_back(std::mem::replace(&mut self.rest, part.to_vec()));
        }
    }
}
