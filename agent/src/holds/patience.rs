//! Asks what may never be answered, and waits only so long.
//!
//! A process can make readers of its own /proc files, and whoever touches a file it has open, wait for ever (a page of its
//! command line on a FUSE filesystem that does not answer is enough). The agent's loop must not be the one that waits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Threads that wait for an answer at once; beyond that nothing is asked.
const MOST_WAITING: usize = 16;

static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Runs `ask` on a thread of its own, and does not wait for it at all. False if too many are waiting already.
pub(super) fn leave_to_itself(ask: impl FnOnce() + Send + 'static) -> bool {
    if WAITING.fetch_add(1, Ordering::AcqRel) >= MOST_WAITING {
        WAITING.fetch_sub(1, Ordering::AcqRel);
        return false;
    }
    let run = move || {
        let _done = Done;
        ask();
    };
    // Dropping the closure, as happens if there is no thread, does not count down: only running it does.
    let started = thread::Builder::new().name("holds".to_owned()).spawn(run).is_ok();
    if !started {
        WAITING.fetch_sub(1, Ordering::AcqRel);
    }
    started
}

/// Every answer that comes within `patience`. `ask` hands each over as soon as it has it.
pub(super) fn answers<T: Send + 'static>(
    patience: Duration,
    ask: impl FnOnce(mpsc::Sender<T>) + Send + 'static,
) -> Vec<T> {
    let (sender, receiver) = mpsc::channel();
    let mut answers = Vec::new();
    if !leave_to_itself(move || ask(sender)) {
        return answers;
    }
    let start = Instant::now();
    while let Ok(answer) = receiver.recv_timeout(patience.saturating_sub(start.elapsed())) {
        answers.push(answer);
    }
    answers
}

struct Done;

impl Drop for Done {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_never_answers_is_not_waited_for() {
        let (hold, held) = mpsc::channel::<()>();
        let start = Instant::now();
        let got = answers(Duration::from_millis(50), move |sender| {
            let _ = sender.send(1);
            let _ = held.recv();
            let _ = sender.send(2);
        });
        assert_eq!(got, [1]);
        assert!(start.elapsed() < Duration::from_secs(20));
        drop(hold);
        let ask = |sender: mpsc::Sender<i32>| sender.send(3).unwrap();
        assert_eq!(answers(Duration::from_secs(20), ask), [3]);
    }
}
