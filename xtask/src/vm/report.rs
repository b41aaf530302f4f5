//! Tells the developer how a run ended.

use std::fs;
use std::io::{Write, stderr, stdout};
use std::path::Path;

use anyhow::Result;

use super::{Boot, End, Outcome, Stream};
use crate::{process, ui};

/// The time was up.
const STATUS_TIMED_OUT: i32 = 124;
/// The guest died, or its kernel complained.
const STATUS_KERNEL: i32 = 125;

/// The status to exit with: the command's own, unless the kernel is not well.
pub fn exit_status(outcome: &Outcome) -> i32 {
    match outcome.end {
        End::TimedOut => STATUS_TIMED_OUT,
        End::Died => STATUS_KERNEL,
        End::Exit(_) if !outcome.trouble.is_empty() => STATUS_KERNEL,
        End::Exit(status) => status,
    }
}

/// Passes the guest's output on as it comes.
pub fn terminal(stream: Stream, bytes: &[u8]) {
    // If our own reader has gone away, the guest's command still runs to its end.
    let _ = match stream {
        Stream::Out => stdout().write_all(bytes).and_then(|()| stdout().flush()),
        Stream::Err => stderr().write_all(bytes),
    };
}

/// Prints the last lines about a run.
pub fn print(boot: &Boot, outcome: &Outcome) -> Result<()> {
    let total = ui::elapsed(outcome.total_time);
    let booted = outcome.boot_time.map_or_else(
        || "it never came up".to_owned(),
        |time| format!("{} of it booting", ui::elapsed(time)),
    );
    let end = match outcome.end {
        End::Exit(status) => format!("exit status {status}"),
        End::TimedOut => format!("TIME IS UP after {}", ui::elapsed(boot.limit)),
        End::Died => "THE GUEST DIED".to_owned(),
    };
    ui::say(&format!("── VM: {end} after {total}, {booted} ──"));
    if matches!(outcome.end, End::Exit(_)) && outcome.trouble.is_empty() {
        return Ok(());
    }
    for line in &outcome.trouble {
        ui::say(&format!("the kernel said: {line}"));
    }
    let text = String::from_utf8_lossy(&fs::read(&outcome.log)?).into_owned();
    if !text.trim().is_empty() {
        ui::say(&format!("the end of its log:\n{}", process::tail(&text, 30)));
    }
    ui::say(&format!("the whole log: {}", shown(&outcome.log)));
    if outcome.end == End::TimedOut {
        ui::say("more time: --timeout SECONDS");
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    path.strip_prefix(crate::paths::root()).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn outcome(end: End, trouble: &[&str]) -> Outcome {
        Outcome {
            end,
            trouble: trouble.iter().map(|line| (*line).to_owned()).collect(),
            log: "none".into(),
            boot_time: None,
            total_time: Duration::ZERO,
        }
    }

    #[test]
    fn sick_kernel_is_no_success() {
        assert_eq!(exit_status(&outcome(End::Exit(0), &[])), 0);
        assert_eq!(exit_status(&outcome(End::Exit(7), &[])), 7);
        assert_eq!(exit_status(&outcome(End::Exit(0), &["WARNING: x"])), 125);
        assert_eq!(exit_status(&outcome(End::Died, &[])), 125);
        assert_eq!(exit_status(&outcome(End::TimedOut, &[])), 124);
    }
}
