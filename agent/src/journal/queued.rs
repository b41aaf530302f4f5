//! The agent's log lines on their way to standard error: a queue with a bound, and a thread that
//! writes. Whoever logs never waits, so that a pipe or a journal that nobody reads stops nothing. A
//! line that finds no room is dropped and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::lines::Lines;

/// Lines that wait.
const MOST_LINES: usize = 4096;
/// Bytes that wait. A line that is longer than what is left finds no room.
const MOST_BYTES: usize = 1 << 20;
/// How long the end of the agent waits for the lines that are left.
const TO_END: Duration = Duration::from_secs(1);

/// Lines of every queue of this process that were dropped.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Log lines that were dropped since the agent started.
pub(crate) fn log_dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Standard error behind a queue.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    queue: SyncSender<Item>,
    bytes: Arc<AtomicUsize>,
}

/// The same, for what is said at one level.
#[derive(Clone, Debug)]
pub(crate) struct QueuedLine {
    to: Queued,
    level: Level,
}

#[derive(Debug)]
enum Item {
    Line(Level, Vec<u8>),
    /// Everything before this was written.
    End(SyncSender<()>),
}

impl Queued {
    /// Starts the thread that writes.
    pub(crate) fn start() -> io::Result<Self> {
        let lines = Lines::new();
        Self::start_with(move |level, text| drop(lines.at(level).write_all(text)))
    }

    fn start_with(write: impl FnMut(Level, &[u8]) + Send + 'static) -> io::Result<Self> {
        let (queue, items) = sync_channel(MOST_LINES);
        let bytes = Arc::new(AtomicUsize::new(0));
        let waiting = Arc::clone(&bytes);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || run(&items, &waiting, write))?;
        Ok(Self { queue, bytes })
    }

    fn send(&self, level: Level, text: &[u8]) {
        let length = text.len();
        let had = self.bytes.fetch_add(length, Ordering::Relaxed);
        let has_room = had + length <= MOST_BYTES;
        if !has_room || self.queue.try_send(Item::Line(level, text.to_vec())).is_err() {
            self.bytes.fetch_sub(length, Ordering::Relaxed);
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits a moment until what was logged so far is written: for the end of the agent.
    pub(crate) fn end(&self) {
        let (done, is_done) = sync_channel(1);
        if self.queue.try_send(Item::End(done)).is_ok() {
            // Nobody may be reading.
            let _ = is_done.recv_timeout(TO_END);
        }
    }
}

impl<'a> MakeWriter<'a> for Queued {
    type Writer = QueuedLine;

    fn make_writer(&'a self) -> QueuedLine {
        QueuedLine { to: self.clone(), level: Level::INFO }
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> QueuedLine {
        QueuedLine { to: self.clone(), level: *about.level() }
    }
}

impl Write for QueuedLine {
    /// Takes whole lines.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.send(self.level, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn run(items: &Receiver<Item>, waiting: &AtomicUsize, mut write: impl FnMut(Level, &[u8])) {
    let mut told = log_dropped();
    for item in items {
        match item {
            Item::Line(level, text) => {
                write(level, &text);
                waiting.fetch_sub(text.len(), Ordering::Relaxed);
            }
            Item::End(done) => drop(done.try_send(())),
        }
        let dropped = log_dropped();
        if dropped > told {
            // It has room again. This line takes the way of every other.
            tracing::warn!(
                lines = dropped - told,
                "lines of this log were dropped: standard error was not read for a while"
            );
            told = dropped;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    /// A log pipe that nobody read stopped the loop, the heartbeat and every hold.
    #[test]
    fn nobody_waits_for_stalled_output() {
        let (go, wait) = channel::<()>();
        let (wrote, written) = channel();
        let log = Queued::start_with(move |_, text| {
            let _ = wait.recv();
            wrote.send(text.len()).unwrap();
        });
        let log = log.unwrap();
        let before = log_dropped();
        let line = vec![b'x'; 1024];
        // The thread has one line in its hand; this many bytes wait.
        for _ in 0..2 * MOST_BYTES / line.len() {
            log.make_writer().write_all(&line).unwrap();
        }
        assert!(log_dropped() >= before + 1024, "what finds no room is counted");
        log.end();
        drop(go);
        let first = written.recv_timeout(Duration::from_secs(20));
        assert_eq!(first, Ok(line.len()), "what had room is written");
        log.end();
        assert_eq!(written.iter().take(MOST_BYTES / line.len() - 1).count(), 1023);
        assert_eq!(log.bytes.load(Ordering::Relaxed), 0, "the room comes back");
    }

    #[test]
    fn the_end_waits_for_lines() {
        let (wrote, written) = channel();
        let log = Queued::start_with(move |level, text| {
            wrote.send((level, text.to_vec())).unwrap();
        });
        let log = log.unwrap();
        log.send(Level::WARN, b"a\n");
        log.send(Level::INFO, b"b\n");
        log.end();
        let all: Vec<_> = written.try_iter().collect();
        assert_eq!(all, [(Level::WARN, b"a\n".to_vec()), (Level::INFO, b"b\n".to_vec())]);
    }
}
