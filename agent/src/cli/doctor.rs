//! `holdfast doctor`: can this host be guarded, and is everything that the policy names?

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::{Client, Dirs, Exit, Failure, out};
use crate::api::{AuditStatus, PathState, Status, ZoneState, ZoneStatus};
use crate::daemon;
use crate::holds::is_paused_now;
use crate::kernel;
use crate::text;

/// Where an agent that does not run would read its policy.
const DEFAULT_POLICY: &str = "/etc/holdfast/policy.toml";

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    name: String,
    ok: bool,
    found: String,
    fix: Option<String>,
}

#[derive(Debug, Serialize)]
struct Findings {
    ok: bool,
    /// As the first line of `holdfast status`.
    guard: String,
    checks: Vec<Finding>,
}

pub(super) async fn run(client: &Client, dirs: &Dirs, json: bool) -> Result<Exit, Failure> {
    let mut checks: Vec<Finding> = kernel::probe(&dirs.pin_dir)
        .into_iter()
        .map(|check| finding(check.name, check.ok, check.found, check.fix.filter(|_| !check.ok)))
        .collect();
    let mut guard = "no agent answers".to_owned();
    match client.status().await {
        Ok(status) => {
            guard.clone_from(&status.summary);
            checks.extend(agent(&status));
            // Without a guard of its own the agent knows of none.
            checks.extend(status.started.is_none().then(|| left_behind(&dirs.pin_dir)).flatten());
        }
        Err(error) => {
            let message = error.to_string();
            let (found, fix) =
                message.split_once("\n  help: ").unwrap_or((&message, "see the agent's log"));
            checks.push(finding("agent", false, found.to_owned(), Some(fix.to_owned())));
            checks.push(policy(Path::new(DEFAULT_POLICY)));
            checks.extend(left_behind(&dirs.pin_dir));
        }
    }
    let findings = Findings { ok: checks.iter().all(|check| check.ok), guard, checks };
    if json {
        out::json(&findings)?;
    } else {
        out::text(&render(&findings))?;
    }
    Ok(if findings.ok { Exit::Ok } else { Exit::NotEnforcing })
}

/// Processes that an agent left paused, and that nobody can let go on until there is one again.
fn left_behind(pin_dir: &Path) -> Option<Finding> {
    // Where nothing can be read, that is among what the other checks find.
    let held = kernel::paused(pin_dir).unwrap_or_default();
    let pids: BTreeSet<u32> = held
        .iter()
        .map(|(key, _)| key)
        .filter(|key| is_paused_now(key))
        .map(|key| key.pid)
        .collect();
    let list: Vec<String> = pids.iter().map(u32::to_string).collect();
    let found = format!("{} paused: pid {}", text::processes(pids.len()), list.join(", "));
    let fix = "get the agent and its guard to run, then `holdfast hold list`".to_owned();
    (!pids.is_empty()).then(|| finding("paused", false, found, Some(fix)))
}

/// What a running agent has to say.
fn agent(status: &Status) -> Vec<Finding> {
    let mut checks = vec![finding(
        "agent",
        true,
        format!("version {}, pid {}", status.version, status.pid),
        None,
    )];
    let found = match (&status.why, &status.coverage) {
        (Some(why), _) => why.clone(),
        (None, Some(coverage)) => {
            let ops: Vec<&str> = coverage.ops.iter().map(|op| op.op.as_str()).collect();
            format!("up: the self-test has just passed ({})", ops.join(", "))
        }
        (None, None) => "the self-test has not run".to_owned(),
    };
    checks.push(finding("guard", status.guard_up, found, status.fix.clone()));
    checks.push(policy(Path::new(&status.policy.path)));
    if status.policy.reload_failed {
        let found = status.policy.reload_error.clone().unwrap_or_default();
        let fix = "correct it, then `holdfast policy reload`; the policy before it is in force"
            .to_owned();
        checks.push(finding("policy-reload", false, found, Some(fix)));
    }
    // Without a guard no path is guarded, for the reason given above.
    checks.extend(status.zones.iter().filter(|_| status.guard_up).flat_map(zone));
    if let Some(paused) = out::paused(&status.paused) {
        // Nothing is wrong with the host: the guard has done what it is there for.
        checks.push(finding("paused", true, format!("{paused}: see `holdfast hold list`"), None));
    }
    checks.extend(audit(&status.audit));
    if let Some(address) = &status.metrics {
        checks.push(metrics(address));
    }
    for warning in status.warnings.iter().filter(|_| !status.policy.reload_failed) {
        checks.push(finding(
            "warning",
            false,
            warning.clone(),
            Some("see the agent's log".to_owned()),
        ));
    }
    checks
}

/// What a zone does, and everything of it that is not guarded.
fn zone(zone: &ZoneStatus) -> Vec<Finding> {
    let of = |state| zone.paths.iter().filter(move |path| path.state == state);
    let missing: Vec<&str> =
        of(PathState::Missing).filter_map(|path| path.path.as_deref()).collect();
    let mut found = format!("{}: {}, {}", zone.name, zone.state.words(), {
        let guarded = of(PathState::Guarded).count() + zone.kept_roots;
        format!("{} guarded", text::directories(guarded))
    });
    if !missing.is_empty() {
        found.push_str(&format!("; missing: {}", missing.join(", ")));
    }
    if zone.state.is_good() {
        return vec![finding("zone", true, found, None)];
    }
    if zone.state == ZoneState::Empty {
        let fix = "make it or mount it, or correct the path in the policy".to_owned();
        return vec![finding("zone", false, found, Some(fix))];
    }
    let not_guarded = of(PathState::NotGuarded).map(|path| {
        let found = format!("{}: {}", zone.name, path.why.as_deref().unwrap_or_default());
        finding("not guarded", false, found, path.fix.clone())
    });
    not_guarded.collect()
}

/// Whether what is decided can be written down.
fn audit(audit: &AuditStatus) -> Option<Finding> {
    let Some(error) = &audit.error else {
        let head = audit.head_seq?;
        return Some(finding("audit", true, format!("signed up to record {head}"), None));
    };
    let since = audit.failing_since.as_deref().unwrap_or("?");
    let lost = audit.lost;
    let found = format!(
        "cannot be written since {since}: {error}; {lost} records are lost, on_audit_failure is \
         \"{}\"",
        audit.on_failure
    );
    let fix = "free or mend the disk of the state directory: it is tried again every second; ops \
               within budget go on meanwhile";
    Some(finding("audit", false, found, Some(fix.to_owned())))
}

fn policy(path: &Path) -> Finding {
    match daemon::check_file(path) {
        Ok((policy, _)) => {
            let modes: Vec<String> = policy
                .zones
                .iter()
                .map(|zone| format!("{} ({})", zone.name, zone.mode.word()))
                .collect();
            finding("policy", true, format!("{}: {}", path.display(), modes.join(", ")), None)
        }
        Err(error) => {
            let fix = format!("correct {}, then `holdfast policy reload`", path.display());
            finding("policy", false, error.to_string(), Some(fix))
        }
    }
}

fn metrics(address: &str) -> Finding {
    let fix = || {
        Some(
            "see the agent's log; choose another address with `holdfast agent --metrics`"
                .to_owned(),
        )
    };
    match scrape(address) {
        Ok(true) => finding("metrics", true, format!("http://{address}/metrics answers"), None),
        Ok(false) => {
            finding("metrics", false, format!("{address} answers, but not with metrics"), fix())
        }
        Err(error) => {
            finding("metrics", false, format!("{address} does not answer: {error}"), fix())
        }
    }
}

fn scrape(address: &str) -> std::io::Result<bool> {
    let address: SocketAddr = address.parse().map_err(std::io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut page = Vec::new();
    stream.take(16 << 20).read_to_end(&mut page)?;
    Ok(String::from_utf8_lossy(&page).contains("holdfast_guard_up"))
}

fn render(findings: &Findings) -> String {
    let mut page = String::new();
    for check in &findings.checks {
        let mark = if check.ok { "ok  " } else { "FAIL" };
        let found: Vec<String> = check.found.lines().map(|line| out::name(line, None)).collect();
        page.push_str(&format!("{mark}  {}: {}\n", check.name, found.join("\n      ")));
        if let Some(fix) = &check.fix {
            page.push_str(&format!("      fix: {fix}\n"));
        }
    }
    let failed = findings.checks.iter().filter(|check| !check.ok).count();
    page.push_str(&match failed {
        0 => format!("\n{}\n", out::name(&findings.guard, None)),
        1 => "\n1 check failed\n".to_owned(),
        n => format!("\n{n} checks failed\n"),
    });
    page
}

fn finding(name: impl Into<String>, ok: bool, found: String, fix: Option<String>) -> Finding {
    Finding { name: name.into(), ok, found, fix }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_shown_with_fixes() {
        let checks = vec![
            finding("btf", true, "there".to_owned(), None),
            finding(
                "bpf-lsm",
                false,
                "lsm=landlock".to_owned(),
                Some("add bpf to lsm=".to_owned()),
            ),
        ];
        let page = render(&Findings { ok: false, guard: String::new(), checks });
        assert!(
            page.contains(
                "ok    btf: there\nFAIL  bpf-lsm: lsm=landlock\n      fix: add bpf to lsm="
            ),
            "{page}"
        );
        assert!(page.ends_with("1 check failed\n"));
    }

    #[test]
    fn missing_policy_is_a_failure() {
        let missing = policy(Path::new("/nonexistent/policy.toml"));
        assert!(!missing.ok && missing.found.contains("/nonexistent/policy.toml"), "{missing:?}");
    }
}
