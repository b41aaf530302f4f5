//! Writes to the disk aside of the loop: a disk that stalls must not hold up the agent.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::Document;

/// What is on the disk is written anew after so long although nothing was spent: time since the
/// last write does not count after a power cut. Nanoseconds.
const REFRESH: u64 = 600_000_000_000;
/// How long the last write may take before the agent ends all the same.
const LAST: Duration = Duration::from_secs(5);

/// The thread that writes.
#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    work: Mutex<Work>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Work {
    /// What is to be written next: the latest counts.
    next: Option<Document>,
    /// Whether it is written although it says nothing new.
    last: bool,
    busy: bool,
    /// Why the last write failed.
    error: Option<String>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper {
    /// A thread that writes into this directory.
    pub(crate) fn start(state_dir: PathBuf) -> Self {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let body = move || {
            let mut written: Option<(u64, u64)> = None;
            loop {
                let mut work = own.lock();
                while work.next.is_none() {
                    work = own.news.wait(work).unwrap_or_else(PoisonError::into_inner);
                }
                let Some(next) = work.next.take() else { continue };
                work.busy = true;
                let is_last = work.last;
                drop(work);
                let gist = next.gist();
                let is_new = is_last || written.is_none_or(|before| next.is_news(gist, before));
                let outcome = if is_new { next.write(&state_dir) } else { Ok(()) };
                let mut work = own.lock();
                work.busy = false;
                work.error = outcome.as_ref().err().map(ToString::to_string);
                match outcome {
                    Ok(()) if is_new => written = Some(gist),
                    Ok(()) => {}
                    Err(_) => written = None,
                }
                own.news.notify_all();
            }
        };
        let spawned = thread::Builder::new().name("carryover".to_owned()).spawn(body);
        if let Err(error) = spawned {
            shared.lock().error = Some(format!("there is no thread for it: {error}"));
        }
        Self { shared }
    }

    /// Has a document written, as soon as the disk takes it.
    pub(crate) fn write(&self, document: Document) {
        self.shared.lock().next = Some(document);
        self.shared.news.notify_all();
    }

    /// Has the last document written and waits for that, but not for long.
    pub(crate) fn finish(&self, document: Document) {
        let mut work = self.shared.lock();
        (work.next, work.last) = (Some(document), true);
        self.shared.news.notify_all();
        let waits = |work: &mut Work| work.next.is_some() || work.busy;
        // What is not written by then is late, as after a power cut.
        drop(self.shared.news.wait_timeout_while(work, LAST, waits));
    }

    /// Why the last write failed, if it did.
    pub(crate) fn error(&self) -> Option<String> {
        self.shared.lock().error.clone()
    }
}

impl Document {
    /// A hash of the windows, and the time.
    fn gist(&self) -> (u64, u64) {
        let mut hasher = DefaultHasher::new();
        self.windows.hash(&mut hasher);
        (hasher.finish(), self.boot_ns)
    }

    /// Whether it, of this gist, says more than the one of the gist `before`.
    fn is_news(&self, gist: (u64, u64), before: (u64, u64)) -> bool {
        let is_old = gist.1.saturating_sub(before.1) >= REFRESH;
        gist.0 != before.0 || (is_old && !self.windows.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::super::VERSION;
    use super::*;

    fn document(boot_ns: u64) -> Document {
        Document { version: VERSION, boot_id: "first".to_owned(), boot_ns, windows: vec![] }
    }

    /// Only what has changed is written, and anew once it has become old.
    #[test]
    fn unchanged_spending_is_no_news() {
        let first = super::super::tests::document();
        let is_news = |next: &Document, before: &Document| next.is_news(next.gist(), before.gist());
        let later = |after| Document { boot_ns: first.boot_ns + after, ..first.clone() };
        assert!(!is_news(&later(REFRESH - 1), &first));
        assert!(is_news(&later(REFRESH), &first));
        let mut more = later(1);
        more.windows[1].window.carry(1);
        assert!(is_news(&more, &first));
        assert!(!is_news(&document(REFRESH), &document(0)), "of nobody");
    }

    /// The last document is on the disk once the keeper has finished, and a failure is told.
    #[test]
    fn last_document_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = Keeper::start(dir.path().to_owned());
        keeper.write(document(1));
        keeper.finish(document(2));
        assert_eq!(Document::read(dir.path()), Ok(Some(document(2))));
        assert_eq!(keeper.error(), None);
        let keeper = Keeper::start(dir.path().join("none"));
        keeper.finish(document(3));
        assert!(keeper.error().is_some());
    }
}
