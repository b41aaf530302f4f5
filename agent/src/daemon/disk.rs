//! The disk of the state directory. A thread of its own does everything that the daemon writes
//! there, one thing after the other: the audit log, what has to survive about allowances, the
//! policy in force, and what is set aside for a break-glass.
//!
//! The loop never waits for it. An ordinary record is put in a queue with a bound. What has to be
//! on the disk before something takes effect comes back as [`Event::OnDisk`], and the loop goes on
//! with what follows. It has [`PATIENCE`]: after that it is refused, and what has not begun is not
//! done any more.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::error;

use super::executor::Executor;
use super::kept::Kept;
use super::message::Event;
use super::state::State;
use crate::allowances::{Change, Store};
use crate::audit::{AuditFacts, AuditLog, MOST_RECORDS, Record, Trouble};
use crate::clock::Now;

/// How long something may take to be on the disk.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the end of the agent waits for it.
const TO_END: Duration = Duration::from_secs(5);
/// Work that can wait.
const MOST_WORK: usize = 64;
/// Records that are taken without making sure that they are on the disk.
const AT_ONCE: usize = 1024;

/// The loop's side.
#[derive(Debug)]
pub(super) struct Disk {
    shared: Arc<Shared>,
    pending: BTreeMap<u64, Pending>,
    last_id: u64,
}

/// The thread's side: all that is written.
#[derive(Debug)]
pub(super) struct OnDisk {
    pub(super) audit: AuditLog,
    /// What has to survive about allowances; `None` if it could not be read.
    pub(super) store: Option<Store>,
    /// The policy in force.
    pub(super) kept: Kept,
    pub(super) state_dir: PathBuf,
    /// Whether nothing could be set aside for a break-glass.
    pub(super) reserve_missing: bool,
}

/// Why something is not on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotOnDisk {
    /// It could not be written, and is not there.
    Failed(String),
    /// The disk does not answer.
    Late {
        /// Whether it may be there all the same, or will be.
        begun: bool,
    },
}

/// What came of it.
pub(crate) type Outcome = Result<(), NotOnDisk>;
/// What follows once that is known.
type Then = Box<dyn FnOnce(&mut Executor, Outcome, &State, Now) -> Option<Event>>;
type Work = Box<dyn FnOnce(&mut OnDisk) -> Result<(), String> + Send>;

/// What is being done about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// An allowance or a break-glass is opened, or its process joins. What one of them decides
    /// depends on the one before.
    Grant,
    /// A policy that widens.
    Policy,
    /// Something else.
    Other,
}

struct Pending {
    about: About,
    since: Now,
    progress: Arc<AtomicU8>,
    then: Then,
}

enum Job {
    Record(Arc<Record>, Now),
    Tend(Now),
    /// Without a number nobody hears what came of it.
    Work(Option<u64>, Arc<AtomicU8>, Work),
    End(Now, SyncSender<()>),
}

const WAITS: u8 = 0;
const BEGUN: u8 = 1;
const GIVEN_UP: u8 = 2;

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    more: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    records: usize,
    /// Records that the thread has taken since the log was last looked at.
    taken: usize,
    work: usize,
    /// Records for which there was no room, that the log has not been told of; when the first and
    /// the last were.
    lost: Option<(u64, Now, Now)>,
    /// Since when the thread has been at one thing.
    busy: Option<Now>,
    audit: AuditFacts,
    keep_error: Option<String>,
}

impl Disk {
    /// Starts the thread. What is done comes out at `events`.
    pub(super) fn start(
        audit: AuditLog,
        state_dir: PathBuf,
        events: mpsc::Sender<Event>,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        shared.queue().audit = audit.facts();
        let on_disk =
            OnDisk { audit, store: None, kept: Kept::default(), state_dir, reserve_missing: false };
        let of_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("disk".to_owned())
            .spawn(move || of_thread.run(on_disk, &events))?;
        Ok(Self { shared, pending: BTreeMap::new(), last_id: 0 })
    }

    /// Adds an ordinary record. It is counted as lost if there is no room.
    pub(super) fn append(&self, record: Arc<Record>, now: Now) {
        let mut queue = self.shared.queue();
        // Events leave the last quarter of the room to what people do and decide.
        let share = if record.is_event() { 3 } else { 4 };
        if queue.records >= MOST_RECORDS / 4 * share {
            let (count, first, _) = queue.lost.unwrap_or((0, now, now));
            queue.lost = Some((count + 1, first, now));
            return;
        }
        queue.records += 1;
        queue.jobs.push_back(Job::Record(record, now));
        self.shared.more.notify_one();
    }

    /// Has the log do what is due.
    pub(super) fn tend(&self, now: Now) {
        let mut queue = self.shared.queue();
        if !queue.jobs.iter().any(|job| matches!(job, Job::Tend(_))) {
            queue.jobs.push_back(Job::Tend(now));
            self.shared.more.notify_one();
        }
    }

    /// Has something done of which nobody waits for the outcome.
    pub(super) fn leave(&self, work: impl FnOnce(&mut OnDisk) + Send + 'static) {
        let work = |disk: &mut OnDisk| {
            work(disk);
            Ok(())
        };
        self.push(None, Arc::default(), Box::new(work));
    }

    /// Has `work` done; `then` follows. An error at once if that makes no sense: the disk does not
    /// answer.
    pub(super) fn run(
        &mut self,
        about: About,
        now: Now,
        work: Work,
        then: Then,
    ) -> Result<(), Then> {
        if self.is_stuck(now) || self.shared.queue().work >= MOST_WORK {
            return Err(then);
        }
        self.last_id += 1;
        let progress = Arc::new(AtomicU8::new(WAITS));
        self.push(Some(self.last_id), Arc::clone(&progress), work);
        self.pending.insert(self.last_id, Pending { about, since: now, progress, then });
        Ok(())
    }

    fn push(&self, id: Option<u64>, progress: Arc<AtomicU8>, work: Work) {
        let mut queue = self.shared.queue();
        if id.is_none() && queue.work >= MOST_WORK {
            return;
        }
        queue.work += 1;
        queue.jobs.push_back(Job::Work(id, progress, work));
        self.shared.more.notify_one();
    }

    /// What follows something that was done; `None` if it was given up before.
    pub(super) fn done(&mut self, id: u64) -> Option<Then> {
        self.pending.remove(&id).map(|pending| pending.then)
    }

    /// Gives up what has taken too long: one thing, and why.
    pub(super) fn overdue(&mut self, now: Now) -> Option<(u64, NotOnDisk)> {
        let (id, pending) =
            self.pending.iter().find(|(_, pending)| now.since(pending.since) >= PATIENCE)?;
        let was =
            pending.progress.compare_exchange(WAITS, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire);
        Some((*id, NotOnDisk::Late { begun: was.is_err() }))
    }

    /// Whether something like this is being done.
    pub(super) fn is_at(&self, about: About) -> bool {
        self.pending.values().any(|pending| pending.about == about)
    }

    fn is_stuck(&self, now: Now) -> bool {
        self.shared.queue().busy.is_some_and(|since| now.since(since) >= PATIENCE)
    }

    /// The audit log in numbers. A disk that does not answer is one that cannot be written.
    pub(super) fn audit(&self, now: Now) -> AuditFacts {
        let stuck = self.is_stuck(now);
        let queue = self.shared.queue();
        let mut facts = queue.audit.clone();
        facts.waiting += (queue.records + queue.taken) as u64;
        facts.lost += queue.lost.map_or(0, |(count, ..)| count);
        if let Some(since) = queue.busy.filter(|_| stuck) {
            let error = "the disk of the state directory does not answer".to_owned();
            facts.trouble.get_or_insert(Trouble { since, error });
        }
        facts
    }

    /// Why the policy in force is not kept.
    pub(super) fn keep_error(&self) -> Option<String> {
        self.shared.queue().keep_error.clone()
    }

    /// Signs and writes everything, and ends the thread. A disk that does not answer is waited for
    /// a few seconds.
    pub(super) fn end(&mut self, now: Now) {
        self.pending.clear();
        let (done, is_done) = sync_channel(1);
        self.shared.queue().jobs.push_back(Job::End(now, done));
        self.shared.more.notify_one();
        if is_done.recv_timeout(TO_END).is_err() {
            error!(
                records = self.audit(now).waiting,
                "the disk of the state directory does not answer: the audit log is not closed, and \
                 records in memory are lost"
            );
        }
    }

    /// Has something done at once, and waits for it.
    #[cfg(test)]
    pub(super) fn at_once<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut OnDisk) -> T + Send + 'static,
    ) -> T {
        let (done, outcome) = sync_channel(1);
        self.leave(move |disk| done.send(work(disk)).unwrap());
        outcome.recv().unwrap()
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut disk: OnDisk, events: &mpsc::Sender<Event>) {
        let mut taken = 0;
        loop {
            let (job, lost) = self.next();
            if let Some((count, first, last)) = lost {
                disk.audit.missed(count, first, last);
            }
            let is_record = matches!(job, Job::Record(..));
            let news = match job {
                Job::Record(record, now) => {
                    disk.audit.append(&record, now);
                    None
                }
                Job::Tend(now) => {
                    // It takes note of it if it fails.
                    let _ = disk.audit.tend(now);
                    None
                }
                Job::Work(id, progress, work) => {
                    let begin = progress.compare_exchange(
                        WAITS,
                        BEGUN,
                        Ordering::AcqRel,
                        Ordering::Acquire,
                    );
                    let outcome = begin.is_ok().then(|| work(&mut disk));
                    id.zip(outcome)
                }
                Job::End(now, done) => {
                    let _ = disk.audit.close(now);
                    self.publish(&disk, true);
                    let _ = done.send(());
                    return;
                }
            };
            taken += usize::from(is_record);
            // It takes note of it if either fails.
            if taken >= AT_ONCE {
                // What is in the file is in memory as well until it is on the disk.
                let _ = disk.audit.sync();
                taken = 0;
            }
            let is_last = self.queue().jobs.is_empty();
            if is_last {
                let _ = disk.audit.flush();
            }
            self.publish(&disk, is_last || !is_record);
            if let Some((id, outcome)) = news {
                let outcome = outcome.map_err(NotOnDisk::Failed);
                // The daemon may be ending.
                drop(events.blocking_send(Event::OnDisk(id, outcome)));
            }
        }
    }

    /// Waits for the next thing to do.
    fn next(&self) -> (Job, Option<(u64, Now, Now)>) {
        let mut queue = self.queue();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                match &job {
                    Job::Record(..) => {
                        queue.records -= 1;
                        queue.taken += 1;
                    }
                    Job::Work(..) => queue.work -= 1,
                    Job::Tend(_) | Job::End(..) => {}
                }
                queue.busy = Some(Now::read());
                return (job, queue.lost.take());
            }
            queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn publish(&self, disk: &OnDisk, with_facts: bool) {
        // Before the lock: it looks at files.
        let facts = with_facts.then(|| disk.audit.facts());
        let mut queue = self.queue();
        queue.busy = None;
        queue.keep_error.clone_from(&disk.kept.error);
        if let Some(facts) = facts {
            queue.audit = facts;
            queue.taken = 0;
        }
    }
}

impl OnDisk {
    /// Writes a change to the store.
    pub(super) fn write(&mut self, change: &Change) -> Result<(), String> {
        let store = self.store.as_mut().ok_or("what is kept on disk could not be read")?;
        store.write(change).map_err(|error| error.to_string())
    }

    /// Has a record on the disk, signed. If it cannot be written it is not recorded, unless `keep`:
    /// then it waits in memory.
    pub(super) fn record(&mut self, record: &Record, keep: bool, now: Now) -> Result<(), String> {
        self.audit.record_first(record, keep, now).map_err(|error| error.to_string())
    }
}

impl fmt::Display for NotOnDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) => f.write_str(why),
            Self::Late { begun } => {
                let seconds = PATIENCE.as_secs();
                write!(f, "the disk of the state directory has not answered for {seconds} s")?;
                if *begun {
                    f.write_str("; if this is on record later, so is that nothing came of it")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("about", &self.about)
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
