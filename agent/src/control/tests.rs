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
async fn any_path_reaches_the_daemon_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path: Vec<u8> =
        std::iter::once(b'/').chain((1..=255).filter(|byte| *byte != b'/')).collect();
    let mut seen = served(&dir, vec![Answer::Json("{}".to_owned())]);
    let _: serde_json::Value = client(&dir).explain(&path, 7).await.unwrap();
    assert_eq!(seen.recv().await, Some(Ask::Explain { path, pid: 7 }));
}

#[tokio::test]
async fn a_refusal_is_told_with_its_reason() {
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
async fn a_slow_reader_loses_events_and_is_told() {
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
async fn a_decision_reaches_the_daemon_with_who_made_it() {
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
async fn a_release_that_states_no_amount_does_not_reach_the_daemon() {
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
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let mut stream = tokio::net::UnixStream::connect(dir.path().join(SOCKET)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path} {body}: {answer}");
    }
    assert!(questions.try_recv().is_err(), "nothing was asked");
}
