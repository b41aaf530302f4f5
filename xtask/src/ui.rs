//! What a developer sees while waiting. All of it on stderr: stdout belongs to what was asked for.

use std::io::{IsTerminal, Write, stderr};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Prints one line.
pub fn say(text: &str) {
    eprintln!("{text}");
}

/// Shows that a step is under way, and how it ended and how long it took.
pub fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let live = stderr().is_terminal();
    if !live {
        eprintln!("  … {what}");
    }
    let (stop, stopped) = channel::<()>();
    let result = thread::scope(|scope| {
        if live {
            scope.spawn(move || tick(what, start, &stopped));
        }
        let result = work();
        drop(stop);
        result
    });
    let mark = if result.is_ok() { '✓' } else { '✗' };
    let clear = if live { "\r\x1b[K" } else { "" };
    eprintln!("{clear}  {mark} {what} ({})", elapsed(start.elapsed()));
    result
}

/// A duration for people.
pub fn elapsed(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds >= 100 {
        return format!("{} min {:02} s", seconds / 60, seconds % 60);
    }
    format!("{:.1} s", time.as_secs_f64())
}

fn tick(what: &str, start: Instant, stopped: &Receiver<()>) {
    loop {
        eprint!("\r\x1b[K  … {what} ({} s)", start.elapsed().as_secs());
        if stderr().flush().is_err() {
            return;
        }
        match stopped.recv_timeout(Duration::from_secs(1)) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(elapsed(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(elapsed(Duration::from_secs(125)), "2 min 05 s");
    }
}
