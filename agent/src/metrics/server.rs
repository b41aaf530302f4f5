//! Serves the metrics page over TCP, on loopback unless it was said otherwise. Anybody on this host
//! can connect: each connection is for one question, and there are few at a time.

use std::net::SocketAddr;
use std::str::FromStr;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::few::{Asked, Few};
use crate::daemon::{Answer, Ask, Inbox};

/// Where to serve the metrics page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricsAddress {
    /// Nowhere.
    Off,
    /// Here.
    At(SocketAddr),
}

impl FromStr for MetricsAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let address = text.parse().map_err(|_| {
            "an IP address and a port, such as 127.0.0.1:9917 or [::1]:9917, or `off`".to_owned()
        })?;
        Ok(Self::At(address))
    }
}

impl MetricsAddress {
    /// Whether anybody but this host could reach it.
    pub(crate) fn is_remote(self) -> bool {
        match self {
            Self::Off => false,
            Self::At(address) => !address.ip().to_canonical().is_loopback(),
        }
    }
}

/// Opens the port.
pub(crate) async fn bind(address: SocketAddr) -> Result<(TcpListener, String), String> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let bound = listener.local_addr().unwrap_or(address).to_string();
    Ok((listener, bound))
}

/// Serves for as long as the agent runs.
pub(crate) async fn serve(listener: TcpListener, inbox: Inbox) -> std::io::Result<()> {
    let router = Router::new().route("/metrics", get(page)).with_state(inbox);
    let router = router.layer(middleware::from_fn(once));
    axum::serve(Few::new(listener), router.into_make_service_with_connect_info::<Asked>()).await
}

/// One question for each connection: whoever keeps one open keeps others out.
async fn once(ConnectInfo(asked): ConnectInfo<Asked>, request: Request, next: Next) -> Response {
    asked.note();
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn page(State(inbox): State<Inbox>) -> Response {
    match inbox.ask(Ask::Metrics).await {
        Some(Answer::Text(page)) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page)
                .into_response()
        }
        Some(Answer::Error(_, error)) => (StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
        Some(Answer::Json(_) | Answer::Refused(_) | Answer::Events { .. }) | None => {
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn page_is_served_then_connection_closed() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (inbox, mut questions) = crate::daemon::test_inbox();
        let (listener, address) = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        tokio::spawn(serve(listener, inbox));
        tokio::spawn(async move {
            let (_, reply) = questions.recv().await.unwrap();
            reply.send(Answer::Text("up 1\n".to_owned())).unwrap();
        });
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("up 1\n"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }

    /// As many as a customer likes: each sends half a request, and some of them a whole one and
    /// read nothing.
    #[tokio::test]
    async fn a_scrape_gets_past_slow_clients() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (inbox, mut questions) = crate::daemon::test_inbox();
        let (listener, address) = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        tokio::spawn(serve(listener, inbox));
        tokio::spawn(async move {
            while let Some((_, reply)) = questions.recv().await {
                let _ = reply.send(Answer::Text("up 1\n".repeat(1 << 20)));
            }
        });
        let mut slow = Vec::new();
        for number in 0..200 {
            let mut client = tokio::net::TcpStream::connect(&address).await.unwrap();
            let rest = if number % 4 == 0 { "\r\n" } else { "" };
            let half = format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{rest}");
            client.write_all(half.as_bytes()).await.unwrap();
            slow.push(client);
        }
        let mut client = tokio::net::TcpStream::connect(&address).await.unwrap();
        client.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        let read = client.read_to_string(&mut answer);
        // As long as a scrape may take if nobody says otherwise.
        tokio::time::timeout(std::time::Duration::from_secs(10), read).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("up 1\n"));
        drop(slow);
    }

    #[test]
    fn only_loopback_counts_as_this_host() {
        let remote = |text: &str| text.parse::<MetricsAddress>().unwrap().is_remote();
        assert!(
            !remote("127.0.0.1:9917")
                && !remote("127.8.8.8:1")
                && !remote("[::1]:9917")
                && !remote("off")
        );
        assert!(!remote("[::ffff:127.0.0.1]:9917"));
        assert!(remote("0.0.0.0:9917") && remote("[::]:9917") && remote("10.0.0.1:9917"));
        assert!("localhost:9917".parse::<MetricsAddress>().is_err(), "a name could lead anywhere");
    }
}
