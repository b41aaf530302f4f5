//! `holdfast run`: what it submits, what the command gets, and what is told.

use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::fake::{Agent, Answers};
use super::text;

/// `holdfast run … -- COMMAND`, not started yet.
fn runner(agent: &Agent, command: &[&str]) -> Command {
    // What is ignored stays ignored, so nothing must be: these tests may run under nohup.
    let mut holdfast = Command::new("env");
    holdfast.args(["--default-signal=HUP,INT,QUIT,PIPE", env!("CARGO_BIN_EXE_holdfast")]);
    holdfast.arg("run").arg("--run-dir").arg(agent.dir());
    holdfast.arg("--allow").arg(agent.dir().join("a.toml")).arg("--").args(command);
    holdfast.stdin(Stdio::null());
    holdfast
}

fn run(agent: &Agent, command: &[&str]) -> Output {
    runner(agent, command).output().unwrap()
}

/// Waits until a file is there: the command has come that far.
fn wait_for(agent: &Agent, name: &str) {
    let start = Instant::now();
    while !agent.dir().join(name).exists() {
        assert!(start.elapsed() < Duration::from_secs(30), "{name} never came");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn send(child: &Child, signal: &str) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// The end of the allowance is told.
#[test]
fn runner_keeps_the_command_status() {
    let agent = Agent::start(Answers::default());
    let output = run(&agent, &["sh", "-c", "echo out; exit 7"]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(text(&output.stdout), "out\n");
    let told = text(&output.stderr);
    assert!(
        told.starts_with("holdfast: allowance CHG-1 is closed: its command has ended\n"),
        "{told}"
    );
    assert!(told.contains("zone customers  12 of 1000 files"), "{told}");
    assert!(!told.contains('\x1b'), "no line of progress but on a terminal: {told}");
    assert_eq!(
        agent.asked(),
        [
            "POST /v1/allowances",
            "POST /v1/allowances/CHG-1/join",
            "POST /v1/allowances/CHG-1/close"
        ]
    );
    let killed = Agent::start(Answers::default());
    assert_eq!(run(&killed, &["sh", "-c", "kill -9 $$"]).status.code(), Some(137));
}

#[test]
fn runner_submits_document_signatures_and_command() {
    let agent = Agent::start(Answers::default());
    fs::write(agent.dir().join("a.toml.alice.sig"), "signature").unwrap();
    let mut runner = runner(&agent, &["sh", "-c", "true", "a b"]);
    assert!(runner.current_dir("/").status().unwrap().success());
    let body = agent.submitted();
    assert_eq!(body["document"], "document");
    assert_eq!(body["signatures"][0]["text"], "signature");
    assert_eq!(body["signatures"].as_array().map(Vec::len), Some(1));
    assert_eq!(body["run"]["argv"], serde_json::json!(["sh", "-c", "true", "a b"]));
    assert_eq!(body["run"]["directory"], "/");
    let path = ["/bin/sh", "/usr/bin/sh"].iter().find_map(|path| fs::canonicalize(path).ok());
    assert_eq!(body["run"]["executable"], path.unwrap().to_str().unwrap());
}

/// It is a child of the runner.
#[test]
fn command_inherits_everything_from_runner() {
    let agent = Agent::start(Answers::default());
    let script = "echo $0 $PPID $MARK; pwd; cat; grep -E '^Sig(Ign|Blk)' /proc/self/status";
    // A link, so that the command's own name and the file it leads to differ.
    std::os::unix::fs::symlink("/bin/sh", agent.dir().join("my-shell")).unwrap();
    let shell = agent.dir().join("my-shell").display().to_string();
    let mut child = runner(&agent, &[&shell, "-c", script])
        .env("MARK", "kept")
        .current_dir("/usr")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let runner = child.id();
    child.stdin.take().unwrap().write_all(b"from standard input\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let lines: Vec<String> = text(&output.stdout).lines().map(str::to_owned).collect();
    assert_eq!(lines[0], format!("{shell} {runner} kept"));
    assert_eq!(lines[1], "/usr");
    assert_eq!(lines[2], "from standard input");
    for (line, name) in lines[3..].iter().zip(["SigBlk:", "SigIgn:"]) {
        let mask = u64::from_str_radix(line.strip_prefix(name).unwrap().trim(), 16).unwrap();
        // INT, QUIT, TERM, HUP and PIPE.
        assert_eq!(mask & 0b101_0000_0000_0111, 0, "{line}");
    }
    assert_eq!(lines.len(), 5, "{lines:?}");
}

#[test]
fn a_refused_allowance_runs_nothing() {
    for (answers, requests) in [
        (Answers { submit: 422, ..Answers::default() }, 1),
        // Then the agent is asked what became of it.
        (Answers { join: 422, ..Answers::default() }, 3),
    ] {
        let agent = Agent::start(answers);
        let touched = agent.dir().join("touched");
        let output = run(&agent, &["touch", touched.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(125));
        assert!(!touched.exists());
        let told = text(&output.stderr);
        assert!(told.contains("it is for another host"), "{told}");
        assert_eq!(agent.asked().len(), requests);
    }
}

#[test]
fn without_an_agent_nothing_is_run() {
    let agent = Agent::start(Answers::default());
    fs::remove_file(agent.dir().join("control.sock")).unwrap();
    let output = run(&agent, &["true"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(text(&output.stderr).contains("the agent is not running"));
    let missing = Agent::start(Answers::default());
    fs::remove_file(missing.dir().join("a.toml")).unwrap();
    assert_eq!(run(&missing, &["true"]).status.code(), Some(125));
    assert!(missing.asked().is_empty());
}

#[test]
fn failed_start_uses_no_allowance() {
    let agent = Agent::start(Answers::default());
    let document = agent.dir().join("a.toml");
    let output = run(&agent, &["no-such-command-anywhere"]);
    assert_eq!(output.status.code(), Some(127));
    assert!(text(&output.stderr).contains("command not found"));
    assert_eq!(run(&agent, &[document.to_str().unwrap()]).status.code(), Some(126));
    assert_eq!(run(&agent, &["/"]).status.code(), Some(126));
    assert!(agent.asked().is_empty(), "{:?}", agent.asked());
}

#[test]
fn lost_agent_does_not_affect_command() {
    let agent = Agent::start(Answers::default());
    let socket = agent.dir().join("control.sock");
    let script = format!("rm {}; exit 5", socket.display());
    let output = run(&agent, &["sh", "-c", &script]);
    assert_eq!(output.status.code(), Some(5));
    assert!(text(&output.stderr).contains("cannot tell what allowance CHG-1 came to"));
}

#[test]
fn early_closed_allowance_is_reported() {
    let agent = Agent::start(Answers { close: 422, ..Answers::default() });
    let output = run(&agent, &["true"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("is closed: its command has ended"));
    assert_eq!(agent.asked().last().map(String::as_str), Some("GET /v1/allowances/CHG-1"));
}

/// `script` gives the runner a terminal of its own.
#[test]
fn terminal_line_shows_the_spending() {
    let agent = Agent::start(Answers::default());
    let told = |quiet: &str| {
        let line = format!(
            "{} run {quiet} --run-dir {dir} --allow {dir}/a.toml -- sleep 1.6",
            env!("CARGO_BIN_EXE_holdfast"),
            dir = agent.dir().display()
        );
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).stdin(Stdio::null());
        let output = script.output().expect("`script` of util-linux is needed for this test");
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout)
    };
    let page = told("");
    assert!(page.starts_with("\r\x1b[Kholdfast: 1h 0m left; 12/1000 files"), "{page:?}");
    assert!(page.contains("\r\x1b[Kholdfast: allowance CHG-1 is closed"), "{page:?}");
    assert_eq!(told("--quiet"), "");
}

#[test]
fn quiet_says_nothing() {
    let agent = Agent::start(Answers::default());
    let mut holdfast = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    holdfast.args(["run", "--quiet", "--run-dir"]).arg(agent.dir());
    holdfast.arg("--allow").arg(agent.dir().join("a.toml")).args(["--", "true"]);
    assert_eq!(text(&holdfast.output().unwrap().stderr), "");
}

/// The command's answer to TERM or HUP is what counts, and the runner waits for it.
#[test]
fn service_manager_signals_are_forwarded() {
    for (signal, status) in [("-TERM", 9), ("-HUP", 10)] {
        let agent = Agent::start(Answers::default());
        let ready = agent.dir().join("ready");
        let script = format!(
            "trap 'exit 9' TERM; trap 'exit 10' HUP; touch {}; while :; do sleep 0.05; done",
            ready.display()
        );
        let mut child =
            runner(&agent, &["sh", "-c", &script]).stderr(Stdio::null()).spawn().unwrap();
        wait_for(&agent, "ready");
        send(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(status), "{signal}");
    }
}

/// In no terminal's foreground, INT and QUIT were meant for the command; the runner is not to end
/// before it, and loses nobody's status.
#[test]
fn runner_interrupt_reaches_only_the_command() {
    let agent = Agent::start(Answers::default());
    let (ready, go) = (agent.dir().join("ready"), agent.dir().join("go"));
    let script = format!(
        "trap 'touch {dir}/INT' INT; trap 'touch {dir}/QUIT' QUIT; touch {}; \
         while ! test -e {}; do sleep 0.05; done; exit 3",
        ready.display(),
        go.display(),
        dir = agent.dir().display()
    );
    let mut runner = runner(&agent, &["sh", "-c", &script]);
    // Also where these tests run in a terminal.
    let mut child = runner.process_group(0).stderr(Stdio::null()).spawn().unwrap();
    wait_for(&agent, "ready");
    let mut heard = Vec::new();
    for signal in ["INT", "QUIT"] {
        send(&child, &format!("-{signal}"));
        for _ in 0..200 {
            if agent.dir().join(signal).exists() {
                heard.push(signal);
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let ended_early = child.try_wait().unwrap().is_some();
    // Before anything is insisted on: the command is not to go on for ever.
    fs::write(&go, "").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert!(!ended_early, "it ended before its command");
    assert_eq!(heard, ["INT", "QUIT"], "what reached the command");
}

/// Under nohup a command goes on when its terminal is gone; under holdfast, too.
#[test]
fn what_was_ignored_stays_ignored() {
    let agent = Agent::start(Answers::default());
    let script = format!(
        "trap '' HUP; exec {} run --quiet --run-dir {dir} --allow {dir}/a.toml -- grep SigIgn \
         /proc/self/status",
        env!("CARGO_BIN_EXE_holdfast"),
        dir = agent.dir().display()
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    let line = text(&output.stdout);
    let mask = u64::from_str_radix(line.trim_start_matches("SigIgn:").trim(), 16).unwrap();
    assert_eq!(mask & 1, 1, "{line}");
}
