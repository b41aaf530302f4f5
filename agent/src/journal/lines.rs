//! Lines on standard error. Where the journal reads them, each has its priority in front as in
//! sd-daemon(3), which the journal takes off again: without it every line would be `info`, and
//! `journalctl -p warning` would find none of them.
//!
//! Each line gets one, also those in the middle of a text: a text with a line break in it gives
//! itself no priority.

use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;

use tracing::Level;

/// Standard error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines {
    is_journal: bool,
}

/// Standard error for what is said at one level.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    priority: Option<u8>,
}

impl Lines {
    /// As it is.
    pub(crate) fn new() -> Self {
        Self { is_journal: is_journal() }
    }

    /// For what is said at `level`.
    pub(crate) fn at(self, level: Level) -> Line {
        Line { priority: self.is_journal.then(|| priority(level)) }
    }
}

impl Write for Line {
    /// Takes whole lines.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.priority {
            Some(priority) => io::stderr().lock().write_all(&marked(bytes, priority))?,
            None => io::stderr().lock().write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Whether the journal reads standard error: the service manager says which stream that is
/// (systemd.exec(5), JOURNAL_STREAM).
pub(super) fn is_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").ok();
    let stderr = std::fs::metadata("/proc/self/fd/2").ok();
    stderr
        .zip(stream)
        .is_some_and(|(stderr, stream)| stream == format!("{}:{}", stderr.dev(), stderr.ino()))
}

/// Priorities of syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

fn marked(text: &[u8], priority: u8) -> Vec<u8> {
    let mut marked = Vec::with_capacity(text.len() + 16);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        marked.extend_from_slice(format!("<{priority}>").as_bytes());
        marked.extend_from_slice(line);
    }
    marked
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `journalctl -u holdfast -p warning` of the runbooks found no line of the log: none had a
    /// priority.
    #[test]
    fn line_has_priority_of_its_level() {
        let text = |level| {
            let line = Lines { is_journal: true }.at(level);
            String::from_utf8(marked(b"a\nb\n", line.priority.unwrap())).unwrap()
        };
        assert_eq!(text(Level::ERROR), "<3>a\n<3>b\n");
        assert_eq!(text(Level::WARN), "<4>a\n<4>b\n");
        assert_eq!(text(Level::INFO), "<6>a\n<6>b\n");
        assert_eq!(text(Level::TRACE), "<7>a\n<7>b\n");
        assert_eq!(Lines { is_journal: false }.at(Level::WARN).priority, None);
    }

    /// What somebody has named a file cannot raise an alarm, or hide one.
    #[test]
    fn no_text_gives_itself_a_priority() {
        assert_eq!(marked(b"x\n<0>all is lost\n", 6), b"<6>x\n<6><0>all is lost\n");
        assert_eq!(marked(b"", 6), b"");
    }
}
