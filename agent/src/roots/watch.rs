//! Waits for what can change where the paths of a policy lead, so that a new mount or a new match
//! is guarded within milliseconds: the mount table tells when it changes, and inotify tells of
//! names in the directories above.
//!
//! A thread of its own waits; it decides nothing and looks at nothing. Whatever it misses is found
//! by the survey every few seconds.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use holdfast_policy::Component;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::sync::mpsc;

/// Least time between two surveys that events ask for.
const LEAST_PAUSE: Duration = Duration::from_millis(2);

/// A directory in which a new name can matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Watched {
    /// The directory; it need not exist.
    pub(crate) dir: PathBuf,
    /// The names.
    pub(crate) names: Names,
}

/// Which names matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Those that match a component of a pattern.
    Of(Component),
    /// All but directories: a link can be a tenant.
    Links,
}

/// Names that matter, by watch descriptor.
type Wanted = Arc<Mutex<HashMap<i32, Vec<Names>>>>;

/// The thread, and what it waits for.
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: Arc<OwnedFd>,
    wanted: Wanted,
    /// How long the last survey took.
    cost_ns: Arc<AtomicU64>,
    /// Wakes the loop.
    changed: mpsc::Sender<()>,
    /// Whether it was said that there is no room for more.
    full: bool,
}

impl Watch {
    /// Starts the thread, and returns where it tells that something has changed.
    pub(crate) fn start() -> io::Result<(Self, mpsc::Receiver<()>)> {
        let (changed, receiver) = mpsc::channel(1);
        let inotify = Arc::new(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?);
        let mounts = File::open("/proc/self/mountinfo")?;
        let watch = Self {
            inotify,
            wanted: Wanted::default(),
            cost_ns: Arc::default(),
            changed,
            full: false,
        };
        let (inotify, wanted) = (watch.inotify.clone(), watch.wanted.clone());
        let (cost_ns, changed) = (watch.cost_ns.clone(), watch.changed.clone());
        let wait = move || wait(&mounts, &inotify, &wanted, &cost_ns, &changed);
        thread::Builder::new().name("watch".to_owned()).spawn(wait)?;
        Ok((watch, receiver))
    }

    /// Watches these directories and no others. What happened in a new one before it was watched is
    /// found by one more survey, which this asks for.
    pub(crate) fn set(&mut self, watched: Vec<Watched>, survey: Duration) {
        self.cost_ns.store(u64::try_from(survey.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let mut now: HashMap<i32, Vec<Names>> = HashMap::new();
        let mut full = false;
        for Watched { dir, names } in watched {
            let events = WatchFlags::CREATE
                | WatchFlags::MOVED_TO
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF
                | WatchFlags::ONLYDIR;
            // It gives the same number for the same directory.
            match inotify::add_watch(&*self.inotify, &dir, events) {
                Ok(number) => now.entry(number).or_default().push(names),
                Err(Errno::NOSPC | Errno::NOMEM) => full = true,
                // It is not there: the one above it is watched.
                Err(_) => {}
            }
        }
        if full && !std::mem::replace(&mut self.full, full) {
            tracing::warn!(
                "no more directories can be watched: new ones are guarded after seconds there; \
                 raise the sysctl fs.inotify.max_user_watches"
            );
        }
        self.full = full;
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let before: HashSet<i32> = wanted.keys().copied().collect();
        for gone in before.iter().filter(|number| !now.contains_key(number)) {
            // It may be gone by itself.
            let _ = inotify::remove_watch(&*self.inotify, *gone);
        }
        let is_new = now.keys().any(|number| !before.contains(number));
        *wanted = now;
        drop(wanted);
        if is_new {
            self.wake();
        }
    }

    /// Asks for a survey.
    pub(crate) fn wake(&self) {
        // If one is asked for already, that is enough.
        let _ = self.changed.try_send(());
    }
}

fn wait(
    mounts: &File,
    inotify: &OwnedFd,
    wanted: &Wanted,
    cost_ns: &AtomicU64,
    changed: &mpsc::Sender<()>,
) {
    while !changed.is_closed() {
        let mut fds = [PollFd::new(mounts, PollFlags::PRI), PollFd::new(inotify, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                tracing::error!(
                    %error,
                    "changes cannot be waited for: new directories are guarded after seconds"
                );
                return;
            }
        }
        let mounted = fds[0].revents().intersects(PollFlags::PRI | PollFlags::ERR);
        let named = !fds[1].revents().is_empty() && drain(inotify, wanted);
        if mounted || named {
            let _ = changed.try_send(());
            // However much happens, the loop has half of its time for other things.
            thread::sleep(LEAST_PAUSE.max(Duration::from_nanos(cost_ns.load(Ordering::Relaxed))));
        }
    }
}

/// Reads all events. Whether one of them matters.
fn drain(inotify: &OwnedFd, wanted: &Wanted) -> bool {
    let mut buffer = [MaybeUninit::uninit(); 16 << 10];
    let mut reader = Reader::new(inotify, &mut buffer);
    let mut matters = false;
    while let Ok(event) = reader.next() {
        let is_directory = event.events().contains(ReadFlags::ISDIR);
        let wanted = wanted.lock().unwrap_or_else(PoisonError::into_inner);
        matters |= match (event.file_name(), wanted.get(&event.wd())) {
            (Some(name), Some(names)) => names.iter().any(|names| match names {
                Names::Of(component) => component.matches(name.to_bytes()),
                Names::Links => !is_directory,
            }),
            // Events were lost, or the directory itself is gone or elsewhere.
            (None, _) => !event.events().contains(ReadFlags::IGNORED),
            (Some(_), None) => false,
        };
    }
    matters
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_names_that_matter_wake() {
        let dir = tempfile::tempdir().unwrap();
        let (mut watch, _changed) = Watch::start().unwrap();
        // Without the thread: it would take the events.
        watch.inotify =
            Arc::new(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap());
        let pattern = holdfast_policy::PathPattern::parse("/x/web*").unwrap();
        let names = Names::Of(pattern.components()[1].clone());
        let watched = |names| vec![Watched { dir: dir.path().to_owned(), names }];
        watch.set(watched(names), Duration::ZERO);
        let wakes = |watch: &Watch| drain(&watch.inotify, &watch.wanted);
        fs::create_dir(dir.path().join("other")).unwrap();
        assert!(!wakes(&watch));
        fs::create_dir(dir.path().join("web1")).unwrap();
        assert!(wakes(&watch));
        fs::rename(dir.path().join("other"), dir.path().join("web2")).unwrap();
        assert!(wakes(&watch));
        watch.set(watched(Names::Links), Duration::ZERO);
        fs::create_dir(dir.path().join("web3")).unwrap();
        assert!(!wakes(&watch));
        symlink("web1", dir.path().join("link")).unwrap();
        assert!(wakes(&watch));
        watch.set(vec![], Duration::ZERO);
        drain(&watch.inotify, &watch.wanted);
        symlink("web1", dir.path().join("link2")).unwrap();
        assert!(!wakes(&watch), "no longer watched");
    }

    #[tokio::test]
    async fn new_watch_asks_for_survey() {
        let dir = tempfile::tempdir().unwrap();
        let (mut watch, mut changed) = Watch::start().unwrap();
        let watched = vec![Watched { dir: dir.path().to_owned(), names: Names::Links }];
        watch.set(watched.clone(), Duration::ZERO);
        changed.recv().await.unwrap();
        watch.set(watched, Duration::ZERO);
        assert!(changed.try_recv().is_err(), "it is not new");
        symlink("x", dir.path().join("link")).unwrap();
        changed.recv().await.unwrap();
    }
}
