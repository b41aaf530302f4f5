//! `holdfast events`.

use std::fmt::Write as _;

use super::{Client, Exit, Failure, out};
use crate::api::{EventLine, EventReport};
use crate::text;

pub(super) async fn run(client: &Client, follow: bool, json: bool) -> Result<Exit, Failure> {
    let mut lines = client.events(follow).await?;
    let mut any = false;
    while let Some(line) = lines.next().await? {
        any = true;
        let line = String::from_utf8_lossy(&line);
        if json {
            out::text(&line)?;
        } else {
            out::text(&human(&line))?;
        }
    }
    if follow {
        return Err(Failure::new(Exit::Unreachable, "the agent ended"));
    }
    if !any && !json {
        out::fail(Exit::Ok, "nothing was over budget since the agent started");
    }
    Ok(Exit::Ok)
}

/// A line of the stream, for people.
pub(super) fn human(line: &str) -> String {
    match serde_json::from_str(line) {
        Ok(EventLine::Event(event)) => render(&event),
        Ok(EventLine::Lost { lost }) => {
            format!("-- {lost} events were lost: this reader was too slow")
        }
        // From an agent of another version.
        Err(_) => text::for_terminal(line.as_bytes()),
    }
}

/// `2026-01-01T00:00:00.000Z  DENY remove in customers: /srv/… (1 file, 4.0 KiB) …`
fn render(event: &EventReport) -> String {
    let mut line = format!(
        "{}  {} {} in {}: {}",
        event.time,
        event.verdict.to_uppercase(),
        event.op,
        event.zone,
        out::name(&event.path, event.path_bytes.as_deref()),
    );
    // Writing to a string cannot fail.
    let mut add = |part: String| {
        let _ = write!(line, "{part}");
    };
    add(format!(" ({}, {}", text::count(event.files, "file"), text::size(event.bytes)));
    if let Some(tenant) = &event.tenant {
        add(format!(", tenant {}", out::name(&tenant.name, tenant.name_bytes.as_deref())));
    }
    add(format!(") by {} pid {} uid {}", out::name(&event.comm, None), event.pid, event.uid));
    if let Some(login_uid) = event.login_uid {
        add(format!(" login {login_uid}"));
    }
    add(format!(" in {}", out::unit(&event.unit)));
    if event.reason != "within_budget" {
        add(format!("; {}", event.reason));
    }
    if let Some(budget) = &event.budget {
        add(format!(" of \"{}\"", budget.label.as_deref().unwrap_or("a former budget")));
        // What is left of a limit that refused nothing would only mislead.
        let concerns = |limit| event.reason == limit || event.reason == "within_budget";
        if let Some(files) = budget.files_left.filter(|_| concerns("files")) {
            add(format!(", {} left", text::count(files, "file")));
        }
        if let Some(bytes) = budget.bytes_left.filter(|_| concerns("bytes")) {
            add(format!(", {} left", text::size(bytes)));
        }
    }
    if let Some(until) = &event.latched_until {
        add(format!(", latched until {}", until.time));
    }
    if let Some(cause) = event.tripped_by.as_ref().filter(|_| !event.trip) {
        add(format!(
            ", tripped at {} on {} by inode {} on {}",
            cause.time, cause.limit, cause.inode, cause.device
        ));
        if let Some(tenant) = cause.tenant_inode {
            add(format!(" (tenant's directory: inode {tenant})"));
        }
    }
    if let Some(why) = &event.not_held {
        add(format!(" [denied, not held: {}]", out::name(why, None)));
    }
    for (set, note) in [
        (event.trip, "TRIP"),
        (event.paced, "paced"),
        (event.strict, "place unknown"),
        (event.kernel_thread, "kernel thread"),
        (event.suppressed > 0, "more like this were left out"),
    ] {
        if set {
            add(format!(" [{note}]"));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report;

    #[test]
    fn hostile_names_stay_on_their_line() {
        let raw = report::test_events::denied();
        let event = report::event(
            &report::test_events::decided(raw),
            Some("customers"),
            Some("label"),
            false,
            report::test_events::NOW,
        );
        let json = serde_json::to_string(&EventLine::Event(Box::new(event))).unwrap();
        let line = human(&json);
        assert!(!line.chars().any(char::is_control), "{line:?}");
        for part in [
            r"/srv/a\xff/b\x1b\x0a",
            r"tenant ten\xff\x0a",
            r"by rm\x1b[2J pid 100",
            "DENY remove",
            "[TRIP]",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(human(r#"{"type":"lost","lost":7}"#).contains("7 events were lost"));
        assert!(!human("\u{1b}[2J not json").contains('\u{1b}'));
    }
}
