//! The line that tells, once a second, what the command has spent. It is only ever written to a
//! terminal.

use std::io::{self, Write as _};
use std::time::Duration;

use super::super::Client;
use super::super::allow::progress;

const EVERY: Duration = Duration::from_secs(1);
/// Back to the first column, and nothing left of what stood there.
const CLEAR: &str = "\r\x1b[K";

/// Writes the line again and again, until it is aborted. An agent that does not answer is no reason
/// to bother the command.
pub(super) async fn show(client: Client, id: String) {
    loop {
        tokio::time::sleep(EVERY).await;
        if let Ok(report) = client.allowance(&id).await {
            // The cursor goes back to the first column, so that what the command writes next starts
            // a line.
            write(&format!("{CLEAR}{}\r", progress(&report)));
        }
    }
}

/// Takes the line away.
pub(super) fn clear() {
    write(CLEAR);
}

fn write(text: &str) {
    let mut err = io::stderr().lock();
    // Whoever cannot see it does without.
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}
