//! An agent that answers what it is told to, and remembers what it was asked.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The statuses it answers with.
#[derive(Clone, Copy)]
pub(crate) struct Answers {
    /// To a submission.
    pub(crate) submit: u16,
    /// To a join.
    pub(crate) join: u16,
    /// To a close.
    pub(crate) close: u16,
}

impl Default for Answers {
    fn default() -> Self {
        Self { submit: 200, join: 200, close: 200 }
    }
}

/// Requests, as `METHOD PATH` and body.
type Requests = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// The agent and its directory, which has a document `a.toml`, too.
pub(crate) struct Agent {
    dir: TempDir,
    requests: Requests,
}

impl Agent {
    /// Listens. Its thread ends with the test.
    pub(crate) fn start(answers: Answers) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.toml"), "document").unwrap();
        let listener = UnixListener::bind(dir.path().join("control.sock")).unwrap();
        let requests = Requests::default();
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, answers, &seen);
            }
        });
        Self { dir, requests }
    }

    /// Its directory.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it was asked, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|(request, _)| request.clone()).collect()
    }

    /// The one submission.
    pub(crate) fn submitted(&self) -> Value {
        let requests = self.requests.lock().unwrap();
        let (_, body) =
            requests.iter().find(|(request, _)| request == "POST /v1/allowances").unwrap();
        serde_json::from_slice(body).unwrap()
    }
}

fn serve(mut stream: UnixStream, answers: Answers, seen: &Requests) {
    let Some((request, body)) = read(&mut stream) else { return };
    let status = match request.as_str() {
        "POST /v1/allowances" => answers.submit,
        "POST /v1/allowances/CHG-1/join" => answers.join,
        "POST /v1/allowances/CHG-1/close" => answers.close,
        _ => 200,
    };
    let is_list = request == "GET /v1/allowances";
    let mut seen = seen.lock().unwrap();
    seen.push((request, body));
    let closed = seen.iter().any(|(request, _)| request.ends_with("/close"));
    drop(seen);
    let answer = if is_list {
        json!({ "allowances": [report(closed)] })
    } else if status == 200 {
        report(closed)
    } else {
        json!({ "error": "it is for another host\n  help: ask again", "reason": "other_host" })
    };
    let answer = answer.to_string();
    let head = format!(
        "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.len()
    );
    // Whoever asked may be gone.
    let _ = stream.write_all((head + &answer).as_bytes());
}

fn read(stream: &mut UnixStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let request = head.lines().next()?.strip_suffix(" HTTP/1.1")?.to_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some((request, body))
}

fn report(closed: bool) -> Value {
    let side =
        |spent: u64, limit: u64| json!({ "limit": limit, "spent": spent, "left": limit - spent });
    json!({
        "id": "CHG-1",
        "serial": 1,
        "digest": "",
        "state": if closed { "closed" } else { "open" },
        "reason": "remove caches",
        "requested_by": "carol@example.com",
        "signers": [],
        "opened": null,
        "opened_by": null,
        "until": (!closed).then(|| json!({ "time": "", "time_ns": 1 })),
        "seconds_left": (!closed).then_some(3600),
        "bind": { "command": "x", "pid": null, "user": null, "unit": null },
        "grants": [{
            "zone": "customers",
            "ops": ["remove"],
            "subtrees": ["/srv"],
            "places": 1,
            "files": side(12, 1000),
            "bytes": side(1024, 4096),
            "tenants": side(1, 20),
        }],
        "closed": closed.then(|| json!({ "at": "", "why": "finished", "by": null })),
    })
}
