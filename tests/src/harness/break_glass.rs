//! The emergency override as people use it, with `holdfast break-glass`.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::agent::{BINARY, RUN_DIR};
use super::allowance::counted_refusals;
use super::{Ctx, Outcome, Tool, Zone, check, check_eq, cli, policy, until};

/// The most a policy of these scenarios lets one be for.
pub(crate) const MOST_FILES: u64 = 5000;

/// What somebody asks for.
#[derive(Clone, Debug)]
pub(crate) struct Glass {
    zone: String,
    length: String,
    files: Option<u64>,
}

impl Glass {
    pub(crate) fn new(zone: &str) -> Self {
        Self { zone: zone.to_owned(), length: "10m".to_owned(), files: None }
    }

    pub(crate) fn lasts(self, length: &str) -> Self {
        Self { length: length.to_owned(), ..self }
    }

    pub(crate) fn files(self, files: u64) -> Self {
        Self { files: Some(files), ..self }
    }

    /// The arguments that say this.
    pub(crate) fn args(&self) -> Vec<String> {
        let words = ["--zone", &self.zone, "--reason", "the disk fills up", "--for", &self.length];
        let mut words = words.map(str::to_owned).to_vec();
        if let Some(files) = self.files {
            words.extend(["--files".to_owned(), files.to_string()]);
        }
        words
    }

    /// `holdfast break-glass open --code-stdin …`, and what follows.
    pub(crate) fn open<S: AsRef<std::ffi::OsStr>>(
        &self,
        code: &str,
        rest: impl IntoIterator<Item = S>,
    ) -> Tool {
        let script = "code=$1; shift; exec \"$@\" <<<\"$code\"";
        Tool::new("bash")
            .args(["-c", script, "script", code, BINARY, "break-glass", "open", "--code-stdin"])
            .args(self.args())
            .args(rest)
    }

    /// The same for everybody in the zone.
    pub(crate) fn host_wide(&self, code: &str) -> Tool {
        self.open(code, ["--host-wide"])
    }

    /// The same for a command.
    pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(
        &self,
        code: &str,
        command: impl IntoIterator<Item = S>,
    ) -> Tool {
        self.open(code, ["--"]).args(command)
    }
}

/// So many new codes.
pub(crate) fn codes(count: usize) -> Result<Vec<String>> {
    new_codes(&["--count", &count.to_string()])
}

/// So many new codes, instead of all that were not used.
pub(crate) fn only_codes(count: usize) -> Result<Vec<String>> {
    new_codes(&["--count", &count.to_string(), "--replace"])
}

fn new_codes(args: &[&str]) -> Result<Vec<String>> {
    let words = ["break-glass", "codes", "new", "--json"].iter().chain(args);
    let outcome = cli::holdfast(words)?.ok()?;
    let value: Value = serde_json::from_str(&outcome.stdout).context("not JSON")?;
    let codes = value["codes"].as_array().context("no codes")?;
    let codes = codes.iter().map(|code| code["code"].as_str().map(str::to_owned));
    codes.collect::<Option<_>>().context("a code is no text")
}

/// `holdfast break-glass status --json`.
pub(crate) fn status() -> Result<Value> {
    let outcome = cli::holdfast(["break-glass", "status", "--json"])?.ok()?;
    serde_json::from_str(&outcome.stdout).context("not JSON")
}

/// The last one, open or not.
pub(crate) fn last() -> Result<Value> {
    let status = status()?;
    let open = &status["open"];
    Ok(if open.is_null() { status["closed"][0].clone() } else { open.clone() })
}

/// Waits until the last one is closed for that reason; what it came to.
pub(crate) fn closes(why: &str) -> Result<Value> {
    let mut seen = Value::Null;
    let found =
        until(&format!("the break-glass is closed: {why}"), Duration::from_secs(90), || {
            seen = last()?;
            Ok((cli::text(&seen["closed"], "why") == why).then(|| seen.clone()))
        });
    found.with_context(|| format!("at last: {seen}"))
}

/// Files spent of the last one.
pub(crate) fn files_spent() -> Result<u64> {
    cli::number(&last()?["files"], "spent")
}

/// `holdfast break-glass close`.
pub(crate) fn close() -> Result<Outcome> {
    cli::holdfast(["break-glass", "close"])?.ok()
}

/// Asks the agent by its socket, for everybody in the zone; the status of its answer, and the
/// answer.
pub(crate) fn ask(zone: &str, code: &str) -> Result<(u16, Value)> {
    let wanted = json!({
        "zone": zone,
        "reason": "guessing",
        "seconds": 60,
        "files": null,
        "bytes": null,
        "host_wide": true,
    });
    let body = json!({ "proof": { "code": { "code": code, "wanted": wanted } } }).to_string();
    let mut stream = UnixStream::connect(Path::new(RUN_DIR).join("control.sock"))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let length = body.len();
    write!(
        stream,
        "POST /v1/break-glass/open HTTP/1.1\r\nHost: holdfast\r\nConnection: close\r\n\
        Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.get(9..12).and_then(|status| status.parse().ok()).context("no status")?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
    Ok((status, serde_json::from_str(body).context("not JSON")?))
}

/// How often one was refused for that reason, since the agent started.
pub(crate) fn refused(ctx: &Ctx<'_>, reason: &str) -> Result<f64> {
    counted_refusals(ctx, "holdfast_break_glass_refused_total", reason)
}

/// Insists that this was refused for that reason, and counted; what was said.
pub(crate) fn refused_for(
    ctx: &Ctx<'_>,
    reason: &str,
    attempt: impl FnOnce() -> Result<Outcome>,
) -> Result<String> {
    let before = refused(ctx, reason)?;
    let outcome = attempt()?;
    let what = format!("should have been refused for {reason}");
    check!(!outcome.succeeded(), "{}", outcome.describe(&what));
    check_eq!(refused(ctx, reason)?, before + 1.0, "{}", outcome.describe(&what));
    Ok(outcome.stderr)
}

/// Waits for an audit record of that type about the zone.
pub(crate) fn audited(kind: &str, zone: &str) -> Result<Value> {
    until(&format!("an audit record of type {kind}"), Duration::from_secs(90), || {
        let is_it =
            |record: &Value| cli::text(record, "type") == kind && cli::text(record, "zone") == zone;
        Ok(cli::audit()?.into_iter().rfind(is_it))
    })
}

/// The policy's table.
pub(crate) fn table() -> String {
    format!(
        "[break_glass]\nmax_length = \"1h\"\nmax_files = {MOST_FILES}\nmax_bytes = \"10GiB\"\n\
        signers = [\"alice@example.com\"]\n"
    )
}

impl Ctx<'_> {
    /// Puts these zones in force, and lets a break-glass be opened for each.
    pub(crate) fn guard_glass(&mut self, zones: &[Zone]) -> Result<()> {
        let text = policy::render(zones) + &table();
        self.guard_text(zones, &text)
    }
}
