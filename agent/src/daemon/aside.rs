//! Work that the loop does not wait for: looks at files that may take long, or for ever (a
//! filesystem in user space or on the network that does not answer, a large file to hash). While
//! the loop waits nobody shows the kernel that the agent is there, and after ten seconds of that
//! nobody is held any more.
//!
//! Each piece of work has a thread of its own and a deadline; what came of it comes back as an
//! event like any other.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::thread;
use std::time::{Duration, Instant};

use holdfast_abi::Learned;
use holdfast_policy::allowance::{Refused, RefusedReason};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::message::Event;

/// Pieces of work at once. One that never ends keeps its place for ever.
const MOST: usize = 4;
/// How long one may take.
const LONGEST: Duration = Duration::from_secs(30);
/// Events that can wait; who has more of them waits longer.
const BACKLOG: usize = 16;

/// Where what the kernel calls a file is sent to.
pub(crate) type LearnReply = blocking::SyncSender<io::Result<Learned>>;

/// What is done aside of the loop.
#[derive(Debug)]
pub(super) struct Aside {
    sender: mpsc::Sender<Event>,
    places: Arc<Semaphore>,
    longest: Duration,
}

/// How work that is done aside has the loop ask the kernel, as only the loop can.
#[derive(Clone, Debug)]
pub(super) struct Learner(mpsc::Sender<Event>);

impl Aside {
    /// Also returns where the events come from.
    pub(super) fn new() -> (Self, mpsc::Receiver<Event>) {
        let (sender, events) = mpsc::channel(BACKLOG);
        (Self { sender, places: Arc::new(Semaphore::new(MOST)), longest: LONGEST }, events)
    }

    /// The way for events of other threads.
    pub(super) fn events(&self) -> mpsc::Sender<Event> {
        self.sender.clone()
    }

    /// For work that is about to be done.
    pub(super) fn learner(&self) -> Learner {
        Learner(self.sender.clone())
    }

    /// Has `work` done, which is told its deadline. `then` makes an event of the outcome; it is
    /// returned at once if there is nobody to do it.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(Instant) -> Result<T, Refused> + Send + 'static,
        then: impl FnOnce(Result<T, Refused>) -> Event + Send + 'static,
    ) -> Option<Event> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let why = format!("{MOST} others are being looked at, and none of them gets done");
            return Some(then(Err(too_slow(why))));
        };
        let longest = self.longest;
        let deadline = Instant::now() + longest;
        let (done, outcome) = oneshot::channel();
        let body = move || {
            let _place = place;
            // Nobody may be waiting any more.
            drop(done.send(work(deadline)));
        };
        // A thread and not one of the runtime's: the agent has to be able to end although it hangs.
        if let Err(error) = thread::Builder::new().name("aside".to_owned()).spawn(body) {
            return Some(then(Err(too_slow(format!("there is no thread for it: {error}")))));
        }
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let outcome = match timeout(longest, outcome).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(too_slow("it was given up".to_owned())),
                Err(_) => Err(late("what it names")),
            };
            // The daemon may be ending.
            drop(sender.send(then(outcome)).await);
        });
        None
    }
}

impl Learner {
    /// What the kernel calls an open file.
    pub(super) fn learn(&self, file: File) -> io::Result<Learned> {
        let ending = || io::Error::other("the agent is ending");
        let (reply, answer) = blocking::sync_channel(1);
        self.0.blocking_send(Event::Learn(file, reply)).map_err(|_| ending())?;
        answer.recv().map_err(|_| ending())?
    }
}

/// This takes longer than it may.
pub(super) fn late(what: &str) -> Refused {
    too_slow(format!("{what} cannot be looked at within {} s", LONGEST.as_secs()))
}

fn too_slow(why: String) -> Refused {
    let help = "nothing was opened: see whether a filesystem hangs on which its subtrees, its \
                command or its script are, or fewer or smaller files will do";
    Refused::new(RefusedReason::TooSlow, why, help)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event that says only whether it was done.
    fn event(outcome: Result<(), Refused>) -> Event {
        match outcome {
            Ok(()) => Event::Tick,
            Err(refused) => Event::AllowancesSaved(Box::default(), Err(refused.message)),
        }
    }

    fn said(event: Option<Event>) -> String {
        match event {
            Some(Event::AllowancesSaved(_, Err(message))) => message,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// A path on a filesystem that did not answer stopped the whole agent, and with it every hold
    /// on the host.
    #[tokio::test]
    async fn hanging_work_is_refused_without_waiting() {
        let (mut aside, mut events) = Aside::new();
        aside.longest = Duration::from_millis(50);
        let (hang, hanging) = blocking::channel::<()>();
        let work = move |_| {
            let _ = hanging.recv();
            Ok(())
        };
        let started = Instant::now();
        assert!(aside.run(work, event).is_none());
        let message = said(events.recv().await);
        assert!(
            message.contains("cannot be looked at within") && message.contains("help: "),
            "{message}"
        );
        assert!(started.elapsed() < Duration::from_secs(20));
        // Its late outcome is nobody's.
        drop(hang);
        aside.longest = Duration::from_secs(20);
        assert!(aside.run(|_| Ok(()), event).is_none());
        assert!(matches!(events.recv().await, Some(Event::Tick)));
    }

    #[tokio::test]
    async fn hanging_work_takes_bounded_places() {
        let (mut aside, mut events) = Aside::new();
        aside.longest = Duration::from_millis(50);
        let mut hangs = Vec::new();
        for _ in 0..MOST {
            let (hang, hanging) = blocking::channel::<()>();
            hangs.push(hang);
            let work = move |_| {
                let _ = hanging.recv();
                Ok(())
            };
            assert!(aside.run(work, event).is_none());
            said(events.recv().await);
        }
        let message = said(aside.run(|_| Ok(()), event));
        assert!(message.starts_with("4 others"), "{message}");
        drop(hangs);
        while aside.run(|_| Ok(()), event).is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn main_loop_asks_the_kernel() {
        let (aside, mut events) = Aside::new();
        let learner = aside.learner();
        let ask = move |_| match learner.learn(File::open("/").unwrap()) {
            Ok(learned) if learned.ino == 7 => Ok(()),
            other => Err(too_slow(format!("{other:?}"))),
        };
        assert!(aside.run(ask, event).is_none());
        let Some(Event::Learn(_, reply)) = events.recv().await else { panic!("not asked") };
        reply.send(Ok(Learned { ino: 7, ..Learned::default() })).unwrap();
        assert!(matches!(events.recv().await, Some(Event::Tick)));
    }
}
