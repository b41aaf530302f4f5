//! Printing: to a terminal, a pipe or a file, without ever panicking because the reader went away.

use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use serde::Serialize;
use tracing::Level;

use super::Exit;
use crate::api::{PausedCount, ProcessReport, Side, UnitRef};
use crate::journal::Lines;
use crate::text;

/// Prints a text as it is, with a newline at its end.
pub(super) fn text(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Prints a document as JSON that people can read, too.
pub(super) fn json(document: &impl Serialize) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    serde_json::to_writer_pretty(&mut out, document)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Prints lines that are made one by one, each with its newline.
pub(super) fn lines(lines: impl Iterator<Item = String>) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for line in lines {
        out.write_all(line.as_bytes())?;
    }
    out.flush()
}

/// Says why a command failed, and passes its status on.
pub(super) fn fail(exit: Exit, message: &str) -> Exit {
    if !message.is_empty() {
        say(if exit == Exit::Ok { Level::WARN } else { Level::ERROR }, message);
    }
    exit
}

/// Says something beside the outcome.
pub(super) fn note(message: &str) {
    say(Level::INFO, message);
}

fn say(level: Level, message: &str) {
    // There is nobody to tell if standard error is gone.
    let _ = Lines::new().at(level).write_all(format!("holdfast: {message}\n").as_bytes());
}

/// A path, safe for a terminal.
pub(super) fn path(path: &Path) -> String {
    text::for_terminal(path.as_os_str().as_encoded_bytes())
}

/// A name from the agent, safe for a terminal.
pub(super) fn name(name: &str, bytes: Option<&[u8]>) -> String {
    text::for_terminal(text::original(name, bytes))
}

/// A unit's name, or its number if it has none any more.
pub(super) fn unit(unit: &UnitRef) -> String {
    match &unit.path {
        Some(path) => name(path, None),
        None => format!("cgroup {}", unit.id),
    }
}

/// What is paused, in a sentence; `None` if nothing is.
pub(super) fn paused(count: &PausedCount) -> Option<String> {
    let some = |n: u64, then: &str| {
        let is = if n == 1 { "is" } else { "are" };
        (n > 0).then(|| format!("{} {is} {then}", text::processes(n as usize)))
    };
    let parts = [
        some(count.held_processes, "held until somebody decides"),
        some(count.throttled_processes, "throttled"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// A zone's mode and what it does with ops over budget, such as `enforce (hold)`.
pub(super) fn mode(mode: &str, on_trip: &str) -> String {
    if mode == "enforce" { format!("{mode} ({on_trip})") } else { mode.to_owned() }
}

/// A command line as one could type it, safe for a terminal.
pub(super) fn command(arguments: &[String]) -> String {
    let quoted = arguments.iter().map(|argument| {
        let plain = |c: char| c.is_alphanumeric() || "-_./=:,@%+".contains(c);
        let shown = name(argument, None);
        if !shown.is_empty() && argument.chars().all(plain) {
            shown
        } else {
            format!("'{}'", shown.replace('\'', "'\\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// What a process runs: its command line, else its name.
pub(super) fn program(process: &ProcessReport) -> String {
    match (&process.command, &process.comm) {
        (Some(arguments), _) => {
            format!("{}{}", command(arguments), if process.command_cut { " …" } else { "" })
        }
        (None, Some(comm)) => format!("[{}]", name(comm, None)),
        (None, None) => "unknown".to_owned(),
    }
}

/// What is left of each limited side, such as `17 of 200 files, 1.5 GiB of 2.0 GiB`.
pub(super) fn sides(files: Option<Side>, bytes: Option<Side>, tenants: Option<Side>) -> String {
    let plain = |side: Side, noun: &str| format!("{} of {} {noun}", side.left, side.limit);
    let parts = [
        files.map(|side| plain(side, "files")),
        bytes.map(|side| format!("{} of {}", text::size(side.left), text::size(side.limit))),
        tenants.map(|side| plain(side, "tenants")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Columns, each as wide as its widest cell, two blanks apart.
pub(super) fn table(rows: &[Vec<String>], indent: usize) -> String {
    table_lines(rows.iter(), indent).collect()
}

/// The same, line by line. Rows are made twice, so that they need not all be kept.
pub(super) fn table_lines<R: AsRef<[String]>>(
    rows: impl Iterator<Item = R> + Clone,
    indent: usize,
) -> impl Iterator<Item = String> {
    let mut widths = Vec::new();
    for row in rows.clone() {
        let row = row.as_ref();
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    rows.map(move |row| {
        let cells = row.as_ref().iter().zip(&widths);
        let cells: Vec<String> = cells.map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{:indent$}{}\n", "", cells.join("  ").trim_end())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_can_be_told_apart() {
        let command = |arguments: &[&str]| {
            command(&arguments.iter().map(|&argument| argument.to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(command(&["rm", "-rf", "/srv/a b", ""]), "rm -rf '/srv/a b' ''");
        assert_eq!(command(&["it's"]), r"'it'\''s'");
        assert_eq!(command(&["\u{1b}[2J\n"]), r"'\x1b[2J\x0a'");
    }
}
