//! `holdfast allow submit`, `list`, `show ID` and `revoke`: what they ask the agent, and how they
//! end.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::fake::{Agent, Answers};
use super::text;

fn allow(agent: &Agent, arguments: &[&str]) -> Output {
    let mut holdfast = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    holdfast.arg("allow").args(arguments).arg("--run-dir").arg(agent.dir());
    // Names of files are taken from there.
    holdfast.current_dir(agent.dir()).stdin(Stdio::null()).output().unwrap()
}

/// No command is submitted.
#[test]
fn document_is_submitted_with_its_signatures() {
    let agent = Agent::start(Answers::default());
    std::fs::write(agent.dir().join("a.toml.sig"), "one").unwrap();
    let output = allow(&agent, &["submit", "a.toml"]);
    assert!(output.status.success());
    assert!(text(&output.stdout).starts_with("allowance CHG-1  OPEN until"));
    let body = agent.submitted();
    assert_eq!((&body["path"], &body["run"]), (&"a.toml".into(), &Value::Null));
    assert_eq!(body["signatures"][0]["name"], "a.toml.sig");
}

#[test]
fn refusal_shows_its_reason_word() {
    let agent = Agent::start(Answers { submit: 422, ..Answers::default() });
    let output = allow(&agent, &["submit", "a.toml"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("it is for another host"), "{output:?}");
    let output = allow(&agent, &["submit", "a.toml", "--json"]);
    assert_eq!(output.status.code(), Some(3));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["reason"], "other_host");
}

#[test]
fn agent_is_asked_by_id() {
    let agent = Agent::start(Answers::default());
    for (arguments, request) in [
        (&["list"][..], "GET /v1/allowances"),
        (&["show", "CHG-1"], "GET /v1/allowances/CHG-1"),
        (&["revoke", "CHG-1"], "POST /v1/allowances/CHG-1/revoke"),
    ] {
        let output = allow(&agent, arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        assert!(text(&output.stdout).starts_with("allowance CHG-1  OPEN until"), "{output:?}");
        assert_eq!(agent.asked().last().map(String::as_str), Some(request));
        let json = allow(&agent, &[arguments, &["--json"]].concat());
        let json: Value = serde_json::from_slice(&json.stdout).unwrap();
        let one = json.get("allowances").map_or(&json, |list| &list[0]);
        assert_eq!(one["id"], "CHG-1");
    }
    let asked = agent.asked().len();
    let output = allow(&agent, &["revoke", "../policy/reload"]);
    assert_eq!(output.status.code(), Some(3), "no id leads to another route");
    assert_eq!(agent.asked().len(), asked);
}
