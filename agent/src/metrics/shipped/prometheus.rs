//! A Prometheus on loopback, out of a temporary directory, that scrapes pages of the agent's. It
//! ends with the test.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::page::{metrics, page};
use super::programs;

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running Prometheus.
pub(super) struct Prometheus {
    child: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// Starts one that scrapes each second and evaluates these rules.
    pub(super) fn start(rules: &Path) -> Self {
        let agent = serve_pages();
        for _ in 0..3 {
            let mut started = Self::spawn(agent, rules);
            if started.is_ready() {
                return started;
            }
            // Somebody else may have taken the port in the meantime.
        }
        panic!("Prometheus does not start");
    }

    fn spawn(agent: SocketAddr, rules: &Path) -> Self {
        let dir = TempDir::new().unwrap();
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
             rule_files: [{rules:?}]\n\
             scrape_configs: [{{job_name: holdfast, static_configs: [{{targets: [\"{agent}\"], \
             labels: {{instance: web1}}}}]}}]\n"
        );
        let file = dir.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(programs::find("prometheus"));
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap();
        Self { child, address, _dir: dir }
    }

    fn is_ready(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && self.child.try_wait().unwrap().is_none() {
            if self.get("/-/ready").is_some_and(|answer| answer.starts_with("HTTP/1.0 200")) {
                return true;
            }
            thread::sleep(Duration::from_millis(100));
        }
        false
    }

    /// The series that an expression has now.
    pub(super) fn query(&self, expr: &str) -> Vec<Value> {
        let answer = self.api(&format!("/api/v1/query?query={}", encoded(expr)));
        assert_eq!(answer["status"], "success", "{expr}: {answer}");
        answer["data"]["result"].as_array().expect("a vector").clone()
    }

    /// Each rule with its health and its last error.
    pub(super) fn rules(&self) -> Vec<(String, String, String)> {
        let answer = self.api("/api/v1/rules");
        let groups = answer["data"]["groups"].as_array().expect("groups").iter();
        let rules = groups.flat_map(|group| group["rules"].as_array().expect("rules"));
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        rules
            .map(|rule| (word(&rule["name"]), word(&rule["health"]), word(&rule["lastError"])))
            .collect()
    }

    fn api(&self, path: &str) -> Value {
        let answer = self.get(path).expect("an answer");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        serde_json::from_str(body).expect("JSON")
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }
}

/// Serves the agent's pages, each a little later than the one before, for as long as the test runs.
fn serve_pages() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut metrics = metrics();
        for (turn, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { continue };
            let mut question = [0; 4096];
            let _ = stream.read(&mut question);
            let page = page(&mut metrics, turn as u64);
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close";
            let length = page.len();
            // Whoever asked may be gone.
            let _ = write!(stream, "{head}\r\nContent-Length: {length}\r\n\r\n{page}");
        }
    });
    address
}

/// As a part of an address.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
