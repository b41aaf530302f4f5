//! Prometheus and Alertmanager as a site would run them, with the rules and examples that are
//! shipped, on loopback; and somebody who is paged.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::wait::PATIENCE;
use super::{check, clock, until};

const RULES: &str = include_str!("../../../agent/dist/prometheus/holdfast.rules.yml");
const PROMETHEUS: &str = include_str!("../../../agent/dist/prometheus/prometheus.yml");
const ALERTMANAGER: &str = include_str!("../../../agent/dist/prometheus/alertmanager.yml");
/// The disk that guests have these programs on.
const PROGRAMS: &str = "/opt";
/// Where they look for their templates.
const SHARE: &str = "/usr/share/prometheus";
/// Where the shipped example for Alertmanager sends what it has.
const RECEIVER: &str = "127.0.0.1:9094";
const ALERTMANAGER_ADDRESS: &str = "127.0.0.1:9093";
const PROMETHEUS_ADDRESS: &str = "127.0.0.1:9090";

/// Both, running. They end with this.
#[derive(Debug)]
pub(crate) struct Monitoring {
    children: Vec<Child>,
    delivered: Arc<Mutex<Vec<Delivery>>>,
}

/// What arrived at the one who is paged.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    /// Boot time, nanoseconds.
    pub(crate) at_ns: u64,
    /// Which receiver: `/page` or `/ticket`.
    pub(crate) path: String,
    pub(crate) body: Value,
}

impl Drop for Monitoring {
    fn drop(&mut self) {
        for child in &mut self.children {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

impl Monitoring {
    /// Starts both in a fresh directory, scraping and evaluating this often, and waits for the
    /// first scrape.
    pub(crate) fn start(dir: &Path, interval: &str) -> Result<Self> {
        fs::create_dir_all(dir)?;
        if !Path::new(SHARE).exists() {
            symlink(Path::new(PROGRAMS).join("share/prometheus"), SHARE)?;
        }
        let shipped = "interval: 15s";
        check!(PROMETHEUS.matches(shipped).count() == 2, "the example has other intervals");
        let config = PROMETHEUS.replace(shipped, &format!("interval: {interval}"));
        fs::write(dir.join("prometheus.yml"), config)?;
        fs::write(dir.join("holdfast.rules.yml"), RULES)?;
        fs::write(dir.join("alertmanager.yml"), ALERTMANAGER)?;
        let delivered = Arc::default();
        receive(TcpListener::bind(RECEIVER).context(RECEIVER)?, Arc::clone(&delivered));
        let mut monitoring = Self { children: Vec::new(), delivered };
        monitoring.spawn(
            "prometheus-alertmanager",
            dir,
            &[
                "--config.file=alertmanager.yml",
                "--storage.path=alertmanager",
                "--cluster.listen-address=",
                &format!("--web.listen-address={ALERTMANAGER_ADDRESS}"),
            ],
        )?;
        monitoring.spawn(
            "prometheus",
            dir,
            &[
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=prometheus",
                &format!("--web.listen-address={PROMETHEUS_ADDRESS}"),
            ],
        )?;
        until("Alertmanager is ready", PATIENCE, || {
            monitoring.all_run(dir)?;
            Ok(get(ALERTMANAGER_ADDRESS, "/-/ready").ok())
        })?;
        until("Prometheus has scraped the agent", PATIENCE, || {
            monitoring.all_run(dir)?;
            let answer = get(PROMETHEUS_ADDRESS, "/api/v1/query?query=holdfast_guard_up").ok();
            Ok(answer.filter(|answer| answer.contains("\"instance\":\"web1\"")))
        })?;
        Ok(monitoring)
    }

    /// All that has arrived.
    pub(crate) fn delivered(&self) -> Vec<Delivery> {
        self.delivered.lock().map(|all| all.clone()).unwrap_or_default()
    }

    /// The first page that tells of this alert in this zone.
    pub(crate) fn page(&self, alert: &str, zone: &str) -> Option<(Delivery, Value)> {
        self.delivered().into_iter().filter(|delivery| delivery.path == "/page").find_map(|page| {
            let alerts = page.body["alerts"].as_array()?;
            let is = |found: &&Value| {
                let labels = &found["labels"];
                found["status"] == "firing"
                    && labels["alertname"] == alert
                    && labels["zone"] == zone
            };
            let found = alerts.iter().find(is)?.clone();
            Some((page, found))
        })
    }

    fn spawn(&mut self, program: &str, dir: &Path, args: &[&str]) -> Result<()> {
        let log = File::create(dir.join(format!("{program}.log")))?;
        let path = Path::new(PROGRAMS).join(program);
        let mut command = Command::new(&path);
        command.args(args).current_dir(dir);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {}", path.display()))?;
        self.children.push(child);
        Ok(())
    }

    fn all_run(&mut self, dir: &Path) -> Result<()> {
        for (child, name) in self.children.iter_mut().zip(["prometheus-alertmanager", "prometheus"])
        {
            if let Some(status) = child.try_wait()? {
                let log = fs::read_to_string(dir.join(format!("{name}.log"))).unwrap_or_default();
                bail!("{name} has ended: {status}\n{log}");
            }
        }
        Ok(())
    }
}

/// Takes what is delivered, for as long as the machine runs.
fn receive(listener: TcpListener, delivered: Arc<Mutex<Vec<Delivery>>>) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Ok(delivery) = delivery(stream)
                && let Ok(mut all) = delivered.lock()
            {
                all.push(delivery);
            }
        }
    });
}

fn delivery(stream: TcpStream) -> Result<Delivery> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut path, mut length) = (String::new(), String::new(), 0);
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(' ') {
            None => break,
            Some(("POST", rest)) => path = rest.split(' ').next().unwrap_or_default().to_owned(),
            Some((name, value)) if name.eq_ignore_ascii_case("content-length:") => {
                length = value.trim().parse()?;
            }
            Some(_) => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let at_ns = clock::boot_ns();
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    reader.get_mut().write_all(answer)?;
    Ok(Delivery { at_ns, path, body: serde_json::from_slice(&body)? })
}

fn get(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    check!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    Ok(answer)
}
