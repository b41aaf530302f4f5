use std::sync::Arc;

use tokio::sync::{broadcast, mpsc};

use super::*;
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
