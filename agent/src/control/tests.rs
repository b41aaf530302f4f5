use std::sync::Arc;

use tokio::sync::{broadcast, mpsc};

use super::*;
use crate::api::Amount;
use crate::cli::Client;
use crate::daemon::test_inbox;

/// A daemon that answers `answers`, one after the other, and says what it was asked.
fn served(dir: &tempfile::TempDir, answers: Vec<Answer>) -> mpsc::UnboundedReceiver<Ask> {
    let (inbox, mut questions) = test_inbox();
    let (asked, seen) = mpsc::unbounded_channel();
    let listener = bind(dir.path()).unwrap();
    tokio::spawn(serve(listener, inbox));
    tokio::spawn(async move {
        for answer in answers {
            let (ask, reply) = questions.recv().await.unwrap();
            asked.send(ask).unwrap();
            reply.send(answer).unwrap();
        }
    });
    seen
}

fn client(dir: &tempfile::TempDir) -> Client {
    Client::new(dir.path())
}

#[tokio::test]
async fn path_bytes_reach_the_daemon_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let path: Vec<u8> =
        std::iter::once(b'/').chain((1..=255).filter(|byte| *byte != b'/')).collect();
    let mut seen = served(&dir, vec![Answer::Json("{}".to_owned())]);
    let _: serde_json::Value = client(&dir).explain(&path, 7).await.unwrap();
    assert_eq!(seen.recv().await, Some(Ask::Explain { path, pid: 7 }));
}

#[tokio::test]
async fn refusal_carries_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let _seen = served(
        &dir,
        vec![Answer::Error(Refusal::BadInput, "policy.toml:1:2: error: no".to_owned())],
    );
    let error = client(&dir).reload().await.unwrap_err();
    assert!(error.to_string().contains("policy.toml:1:2: error: no"), "{error}");
    assert_eq!(error.exit(), crate::cli::Exit::BadInput);
}

#[tokio::test]
async fn nobody_answers() {
    let dir = tempfile::tempdir().unwrap();
    let error = client(&dir).status().await.unwrap_err();
    assert!(error.to_string().contains("the agent is not running"), "{error}");
    assert_eq!(error.exit(), crate::cli::Exit::Unreachable);
}

#[tokio::test]
async fn slow_reader_is_told_of_loss() {
    let dir = tempfile::tempdir().unwrap();
    let sender = broadcast::Sender::<Arc<str>>::new(4);
    let live = Some(sender.subscribe());
    for n in 0..10 {
        sender.send(format!("{n}").into()).unwrap();
    }
    let kept = vec!["first".into(), "second".into()];
    let mut seen = served(&dir, vec![Answer::Events { kept, live }]);
    drop(sender);
    let mut lines = client(&dir).events(true).await.unwrap();
    let mut got = Vec::new();
    while let Some(line) = lines.next().await.unwrap() {
        got.push(String::from_utf8(line).unwrap());
    }
    assert_eq!(got, ["first", "second", r#"{"type":"lost","lost":6}"#, "6", "7", "8", "9"]);
    assert_eq!(seen.recv().await, Some(Ask::Events { follow: true }));
}

#[tokio::test]
async fn decision_carries_its_person() {
    let dir = tempfile::tempdir().unwrap();
    let answers = (0..2).map(|_| Answer::Error(Refusal::NotFound, "there is no hold 7".to_owned()));
    let mut seen = served(&dir, answers.collect());
    let files = Amount::Files(std::num::NonZeroU64::new(5).unwrap());
    let error = client(&dir).release(7, files).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no hold 7");
    assert_eq!(error.exit(), crate::cli::Exit::BadInput);
    let Some(Ask::Release { id: 7, amount, person }) = seen.recv().await else {
        panic!("no release")
    };
    assert_eq!(amount, files);
    assert_eq!(person.uid, rustix::process::geteuid().as_raw());
    assert_eq!(person.pid, Some(std::process::id()));
    let _ = client(&dir).kill(8, "SIGTERM").await.unwrap_err();
    let Some(Ask::Kill { id: 8, signal, .. }) = seen.recv().await else { panic!("no kill") };
    assert_eq!(signal.to_string(), "TERM");
    let error = client(&dir).kill(8, "STOP").await.unwrap_err();
    assert!(error.to_string().contains("does not end a process"), "{error}");
}

#[tokio::test]
async fn release_without_amount_is_refused() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let dir = tempfile::tempdir().unwrap();
    let (inbox, mut questions) = test_inbox();
    tokio::spawn(serve(bind(dir.path()).unwrap(), inbox));
    for (path, body) in [
        ("/v1/holds/7/release", "{}"),
        ("/v1/holds/7/release", ""),
        ("/v1/holds/7/release", r#"{"files":0}"#),
        ("/v1/holds/7/release", r#"{"files":1,"budget_reset":true}"#),
        ("/v1/holds/7/release", r#"{"files":1,"all":true}"#),
        ("/v1/holds/x/release", r#"{"files":1}"#),
        ("/v1/holds/-7/kill", "{}"),
        ("/v1/holds/7/kill", r#"{"signal":"CONT"}"#),
    ] {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\
             \r\n{body}"
        );
        let mut stream = tokio::net::UnixStream::connect(dir.path().join(SOCKET)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path} {body}: {answer}");
    }
    assert!(questions.try_recv().is_err(), "nothing was asked");
}

/// What a raw request is answered, status line first.
async fn raw(dir: &tempfile::TempDir, method: &str, path: &str, body: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\
         \r\n{body}"
    );
    let mut stream = tokio::net::UnixStream::connect(dir.path().join(SOCKET)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn allowance_request_carries_its_person() {
    let dir = tempfile::tempdir().unwrap();
    let answers = (0..6).map(|_| Answer::Json("{}".to_owned()));
    let mut seen = served(&dir, answers.collect());
    for (method, path) in [
        ("GET", "/v1/allowances"),
        ("GET", "/v1/allowances/CHG-1"),
        ("POST", "/v1/allowances/CHG-1/join"),
        ("POST", "/v1/allowances/CHG-1/close"),
        ("POST", "/v1/allowances/CHG-1/revoke"),
    ] {
        let answer = raw(&dir, method, path, "").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    let body = r#"{"path":"a.toml","document":"x","signatures":[{"name":"a.sig","text":"y"}]}"#;
    assert!(raw(&dir, "POST", "/v1/allowances", body).await.starts_with("HTTP/1.1 200"));
    let id = || "CHG-1".to_owned();
    assert_eq!(seen.recv().await, Some(Ask::Allowances));
    assert_eq!(seen.recv().await, Some(Ask::Allowance { id: id() }));
    let own = std::process::id();
    let Some(Ask::JoinAllowance { id: joined, person }) = seen.recv().await else { panic!() };
    assert_eq!((joined, person.pid), (id(), Some(own)));
    let Some(Ask::CloseAllowance { person, .. }) = seen.recv().await else { panic!() };
    assert_eq!(person.pid, Some(own));
    let Some(Ask::RevokeAllowance { person, .. }) = seen.recv().await else { panic!() };
    assert_eq!(person.pid, Some(own));
    let Some(Ask::SubmitAllowance { body, person }) = seen.recv().await else { panic!() };
    assert_eq!((body.signatures[0].name.as_str(), person.pid), ("a.sig", Some(own)));
    assert!(body.run.is_none());
}

#[tokio::test]
async fn refused_allowance_has_a_reason_word() {
    let dir = tempfile::tempdir().unwrap();
    let report = crate::api::RefusedReport {
        error: "it is for web-1".to_owned(),
        reason: "other_host".to_owned(),
    };
    let _seen = served(&dir, vec![Answer::Refused(report)]);
    let body = r#"{"path":"a.toml","document":"x","signatures":[]}"#;
    let answer = raw(&dir, "POST", "/v1/allowances", body).await;
    assert!(answer.starts_with("HTTP/1.1 422"), "{answer}");
    assert!(answer.ends_with(r#"{"error":"it is for web-1","reason":"other_host"}"#), "{answer}");
}

#[tokio::test]
async fn invalid_id_or_submission_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = served(&dir, vec![]);
    let long = format!("/v1/allowances/{}", "x".repeat(65));
    for (method, path, body) in [
        ("GET", long.as_str(), ""),
        ("GET", "/v1/allowances/a%2Fb", ""),
        ("POST", "/v1/allowances/a%0Ab/revoke", ""),
        ("POST", "/v1/allowances/%1b/close", ""),
        ("POST", "/v1/allowances", "{}"),
        ("POST", "/v1/allowances", r#"{"path":"a","document":"x","signatures":[],"more":1}"#),
    ] {
        let answer = raw(&dir, method, path, body).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
    }
    assert!(seen.try_recv().is_err());
}
