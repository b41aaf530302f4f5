//! Looks at what the kernel has paused.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_abi::{Event, Held, TaskKey};

use super::book::Book;
use super::process::{Process, task_state};
use super::stat::TaskState;
use crate::daemon::Decided;
use crate::kernel::HoldRow;

/// Threads that are looked at more closely in one survey; the others wait for the next one, so that
/// no survey takes long.
const MOST_NEWS: usize = 256;
/// How long that may take: whoever is paused can make it slow.
const MOST_TIME: Duration = Duration::from_secs(1);

/// What the kernel has paused at one moment.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Every paused thread.
    pub(crate) threads: Vec<Thread>,
    /// Every hold, read after the threads: a thread without one is no longer part of any.
    pub(crate) rows: Vec<HoldRow>,
}

/// A paused thread.
pub(crate) struct Thread {
    /// Which.
    pub(crate) key: TaskKey,
    /// What it was about to do.
    pub(crate) held: Held,
    /// What /proc says about it.
    pub(crate) state: TaskState,
    /// What was found out about it, if it was not known before. `None` for one of those that wait
    /// for the next survey, too.
    pub(crate) news: Option<News>,
}

/// What is found out once about a paused thread.
#[derive(Clone, Debug)]
pub(crate) struct News {
    /// Its op, with names.
    pub(crate) decided: Arc<Decided>,
    /// Its process.
    pub(crate) process: Arc<Process>,
}

/// Looks at every thread; `names` finds the names that belong to an op.
pub(crate) fn look(
    held: Vec<(TaskKey, Held)>,
    rows: Vec<HoldRow>,
    book: &Book,
    mut names: impl FnMut(Event) -> Decided,
) -> Survey {
    let (mut looked_at, start) = (0, Instant::now());
    let mut threads: Vec<Thread> = Vec::with_capacity(held.len());
    // Whoever reads a map while it changes can get an entry twice.
    let mut seen = HashSet::new();
    let held = held.into_iter().filter(|(key, _)| seen.insert(*key));
    for (key, held) in held {
        let mut thread = Thread { key, held, state: task_state(&key), news: None };
        let is_news = thread.state != TaskState::Unknown && !book.knows(&key, &held);
        if looked_at < MOST_NEWS && start.elapsed() < MOST_TIME && is_news {
            looked_at += 1;
            let same = |other: &&Thread| other.key.pid == key.pid;
            let found = threads.iter().filter(same).find_map(|other| other.news.as_ref());
            let process = found.map(|news| news.process.clone());
            let process = process.or_else(|| known_process(book, &held, key.pid));
            thread.news = Some(news(names(held.event), process, key.pid));
        }
        threads.push(thread);
    }
    Survey { threads, rows }
}

/// What is known about a process, or what can be found out now.
fn news(decided: Decided, process: Option<Arc<Process>>, pid: u32) -> News {
    let process = process.unwrap_or_else(|| Arc::new(Process::read(pid)));
    News { decided: Arc::new(decided), process }
}

/// A process that was looked at before, if it is still the same.
fn known_process(book: &Book, held: &Held, pid: u32) -> Option<Arc<Process>> {
    let process = book.process(held.hold, pid)?;
    let same = process.leader.is_some_and(|leader| task_state(&leader).is_there());
    same.then_some(process)
}

impl std::fmt::Debug for Thread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Thread")
            .field("key", &self.key)
            .field("hold", &self.held.hold)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::book::tests::thread;
    use super::*;

    #[test]
    fn duplicate_map_entries_are_one_thread() {
        let held = thread(100, 10).held;
        let key = TaskKey { start_ns: 1, pid: u32::MAX, tid: 1 };
        let other = TaskKey { tid: 2, ..key };
        let names = |event| crate::report::test_events::decided(event);
        let entries = vec![(key, held), (other, held), (key, held)];
        let survey = look(entries, vec![], &Book::default(), names);
        assert_eq!(
            survey.threads.iter().map(|thread| thread.key).collect::<Vec<_>>(),
            [key, other]
        );
    }
}
