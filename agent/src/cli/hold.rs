//! `holdfast hold`: what is paused, and decisions about it.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Client, Exit, Failure, HoldKillArgs, HoldReleaseArgs, HoldShowArgs, out};
use crate::api::{
    Amount, HoldList, HoldReport, KillReport, PausedProcess, PausedThread, ReleaseReport,
    STATE_AN_AMOUNT, SignalFailure, UserRef,
};
use crate::{clock, text};

pub(super) async fn list(client: &Client, json: bool) -> Result<Exit, Failure> {
    let list = client.holds().await?;
    if json {
        out::json(&list)?
    } else {
        out::text(&render_list(&list))?
    }
    Ok(Exit::Ok)
}

pub(super) async fn show(client: &Client, args: &HoldShowArgs) -> Result<Exit, Failure> {
    let hold = client.hold(args.id).await?;
    if args.json {
        out::json(&hold)?
    } else {
        out::text(&render(&hold))?
    }
    Ok(Exit::Ok)
}

pub(super) async fn release(client: &Client, args: &HoldReleaseArgs) -> Result<Exit, Failure> {
    let amount = match (args.files, args.budget_reset) {
        (Some(files), _) => Amount::Files(files),
        (None, true) => Amount::BudgetReset,
        (None, false) => {
            let message = format!(
                "{STATE_AN_AMOUNT}\n  help: `holdfast hold release {id} --files N` lets N more \
                 files go, `holdfast hold release {id} --budget-reset` starts the budgets anew; \
                 `holdfast hold show {id}` helps to choose",
                id = args.id
            );
            return Err(Failure::new(Exit::Usage, message));
        }
    };
    let report = client.release(args.id, amount).await?;
    if args.json {
        out::json(&report)?
    } else {
        out::text(&render_release(&report))?
    }
    Ok(if report.failed.is_empty() { Exit::Ok } else { Exit::Failure })
}

pub(super) async fn kill(client: &Client, args: &HoldKillArgs) -> Result<Exit, Failure> {
    let report = client.kill(args.id, &args.signal).await?;
    if args.json {
        out::json(&report)?
    } else {
        out::text(&render_kill(&report))?
    }
    Ok(if report.failed.is_empty() { Exit::Ok } else { Exit::Failure })
}

fn render_list(list: &HoldList) -> String {
    if list.holds.is_empty() {
        return "no process is held\n".to_owned();
    }
    let mut page = String::new();
    for hold in &list.holds {
        page.push_str(&head(hold));
        page.push_str(&out::table(&summary(hold), 2));
        let processes = hold.processes.iter().map(|paused| {
            let pid = paused.process.pid.to_string();
            vec!["pid".to_owned(), pid, out::program(&paused.process)]
        });
        page.push_str(&out::table(&processes.collect::<Vec<_>>(), 2));
        page.push('\n');
    }
    page.push_str(&hint(&list.holds));
    page
}

/// `hold 7  HELD 12s  zone customers  denied in 29m 48s`
fn head(hold: &HoldReport) -> String {
    let state = match hold.state.as_str() {
        "released" => "RELEASED: waiting for ops".to_owned(),
        "denied" => "DENIED (expired)".to_owned(),
        other => other.to_uppercase(),
    };
    let then = match (&hold.deadline, hold.deadline_seconds, &hold.denied_until) {
        (_, _, Some(until)) => format!("  until {}", until.time),
        (Some(deadline), Some(seconds), None) => {
            format!("  denied in {} ({})", seconds_words(seconds), deadline.time)
        }
        _ => String::new(),
    };
    format!("hold {}  zone {}  {state}{then}\n", hold.id, hold.zone)
}

/// What everybody wants to know.
fn summary(hold: &HoldReport) -> Vec<Vec<String>> {
    let mut rows = vec![
        row("since", format!("{} ({} ago)", hold.since, seconds_words(hold.age_seconds))),
        row("unit", out::unit(&hold.unit)),
        row("user", user(&hold.user)),
    ];
    if let Some(budget) = &hold.budget {
        let spent = format!(
            "{} and {} in the last {}",
            text::count(budget.spent.files, "file"),
            text::size(budget.spent.bytes),
            seconds_words(budget.window_seconds)
        );
        rows.push(row("destroyed", spent));
        let left = out::sides(budget.files, budget.bytes, budget.tenants);
        rows.push(row("budget", format!("\"{}\": {left} left", budget.label)));
    }
    if let Some(released) = &hold.released {
        let (files, used) = (released.count.files, released.count.used);
        rows.push(row(
            "released",
            format!("{used} of {} used, until {}", text::count(files, "file"), released.until.time),
        ));
    }
    if let Some(next) = hold.processes.iter().flat_map(|paused| &paused.threads).next() {
        rows.push(row("next", op(next)));
    }
    rows.push(row("processes", hold.processes.len().to_string()));
    rows
}

fn render(hold: &HoldReport) -> String {
    let mut page = head(hold);
    let mut rows = summary(hold);
    match &hold.tenants {
        Some(tenants) => {
            let names = tenants.iter().map(|tenant| match &tenant.name {
                Some(name) => out::name(&name.name, name.name_bytes.as_deref()),
                None => format!("inode {}", tenant.inode),
            });
            let names: Vec<String> = names.collect();
            rows.push(row("tenants", format!("{}: {}", names.len(), names.join(", "))));
        }
        None => {
            rows.push(row("tenants", "not counted: no budget of the zone limits them".to_owned()))
        }
    }
    page.push_str(&out::table(&rows, 2));
    for paused in &hold.processes {
        page.push('\n');
        page.push_str(&process(paused));
    }
    page.push('\n');
    page.push_str(&hint(std::slice::from_ref(hold)));
    page
}

fn process(paused: &PausedProcess) -> String {
    let process = &paused.process;
    let unknown = || "unknown".to_owned();
    let mut rows = vec![
        row("command", out::program(process)),
        row("name", process.comm.as_ref().map_or_else(unknown, |comm| out::name(comm, None))),
        row("directory", process.cwd.as_ref().map_or_else(unknown, |cwd| out::name(cwd, None))),
        row("terminal", process.terminal.clone().unwrap_or_else(|| "none".to_owned())),
    ];
    if let Some(thread) = paused.threads.first() {
        let event = &thread.event;
        let login = event.login_uid.map_or_else(|| "none".to_owned(), |uid| uid.to_string());
        rows.push(row("user", format!("{}, login user {login}, as {}", event.uid, event.who)));
        rows.push(row("unit", out::unit(&event.unit)));
    }
    for (depth, parent) in process.parents.iter().enumerate() {
        let command = parent.command.as_ref();
        let command =
            command.map_or_else(|| out::name(&parent.comm, None), |command| out::command(command));
        let name = if depth == 0 { "started by" } else { "" };
        rows.push(row(name, format!("{} {command}", parent.pid)));
    }
    for thread in &paused.threads {
        rows.push(row("paused", paused_thread(thread)));
        rows.push(row("before", op(thread)));
    }
    format!("process {}\n{}", process.pid, out::table(&rows, 2))
}

fn paused_thread(thread: &PausedThread) -> String {
    let mut text = format!(
        "thread {} since {} ({} ago)",
        thread.tid,
        thread.since,
        seconds_words(thread.age_seconds)
    );
    // Writing to a string cannot fail.
    if thread.stopped_again > 0 {
        let times = text::count(thread.stopped_again, "time");
        let _ = write!(text, "; it was continued by somebody, and stopped again {times}");
    }
    if let Some(retry) = &thread.retry {
        let _ = write!(text, "; tries again at {}", retry.time);
    }
    text
}

/// `remove of /srv/… (1 file, 4.0 KiB, tenant alice); files of "operators per unit, 10m"`
pub(super) fn op(thread: &PausedThread) -> String {
    let event = &thread.event;
    let mut text = format!(
        "{} of {} ({}, {}",
        event.op,
        out::name(&event.path, event.path_bytes.as_deref()),
        text::count(event.files, "file"),
        text::size(event.bytes)
    );
    if let Some(tenant) = &event.tenant {
        let _ = write!(text, ", tenant {}", out::name(&tenant.name, tenant.name_bytes.as_deref()));
    }
    let _ = write!(text, "); {}", event.reason);
    if let Some(label) = event.budget.as_ref().and_then(|budget| budget.label.as_deref()) {
        let _ = write!(text, " of \"{label}\"");
    }
    text
}

/// The commands that decide.
fn hint(holds: &[HoldReport]) -> String {
    let [only] = holds else {
        return "to decide:  holdfast hold show ID\n\
                \x20           holdfast hold release ID --files N\n\
                \x20           holdfast hold release ID --budget-reset\n\
                \x20           holdfast hold kill ID\n"
            .to_owned();
    };
    let id = only.id;
    let mut rows = vec![
        row(&format!("holdfast hold release {id} --files N"), "lets N more files go".to_owned()),
        row(
            &format!("holdfast hold release {id} --budget-reset"),
            "starts its budgets anew".to_owned(),
        ),
    ];
    if !only.processes.is_empty() {
        rows.push(row(&format!("holdfast hold kill {id}"), "ends its processes".to_owned()));
    }
    format!("to decide:\n{}", out::table(&rows, 2))
}

fn render_release(report: &ReleaseReport) -> String {
    let what = match (report.files, &report.until, report.budgets_reset) {
        (Some(files), Some(until), _) => {
            format!("{} released, until {}", text::count(files, "more file"), until.time)
        }
        (_, _, Some(budgets)) => format!("{} reset", text::count(budgets as u64, "budget")),
        _ => "released".to_owned(),
    };
    let continued = continued(&report.continued, "continued");
    format!(
        "hold {} (zone {}): {what}; {continued}\n{}",
        report.id,
        report.zone,
        failed(&report.failed)
    )
}

fn render_kill(report: &KillReport) -> String {
    let sent = continued(&report.signalled, &format!("sent SIG{}", report.signal));
    format!("hold {} (zone {}): {sent}\n{}", report.id, report.zone, failed(&report.failed))
}

/// `2 processes continued: 4242, 4243`
fn continued(pids: &[u32], verb: &str) -> String {
    let list: Vec<String> = pids.iter().map(u32::to_string).collect();
    let colon = if pids.is_empty() { "" } else { ": " };
    format!("{} {verb}{colon}{}", text::processes(pids.len()), list.join(", "))
}

fn failed(failed: &[SignalFailure]) -> String {
    failed.iter().fold(String::new(), |mut page, failure| {
        let _ = writeln!(page, "FAILED  pid {}: {}", failure.pid, failure.error);
        page
    })
}

pub(super) fn user(user: &UserRef) -> String {
    match &user.name {
        Some(name) => format!("{} ({})", out::name(name, None), user.uid),
        None => user.uid.to_string(),
    }
}

fn seconds_words(seconds: u64) -> String {
    clock::words(Duration::from_secs(seconds))
}

fn row(name: &str, value: String) -> Vec<String> {
    vec![name.to_owned(), value]
}

#[cfg(test)]
#[path = "hold_tests.rs"]
mod tests;
