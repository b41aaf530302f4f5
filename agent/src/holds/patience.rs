//! Asks what may never be answered, and waits only so long.
//!
//! A process can make readers of its own /proc files, and whoever touches a file it has open, wait
//! for ever (a page of its command line on a FUSE filesystem that does not answer is enough). The
//! agent's loop must not be the one that waits.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tracing::warn;

/// Threads that wait for an answer at once; beyond that nothing is asked.
const MOST_WAITING: usize = 16;
/// Threads that wait for processes of one user: nobody can have the agent ask nothing about anybody
/// else.
const MOST_FOR_ONE: usize = 4;

/// The real user whose process is asked, if it is known.
type User = Option<u32>;

static WAITING: Mutex<Option<Waiting>> = Mutex::new(None);

#[derive(Debug, Default)]
struct Waiting {
    by_user: HashMap<User, usize>,
    /// Whether it was said that there is no room.
    said: bool,
}

/// Runs `ask` on a thread of its own, and does not wait for it at all. False if too many are
/// waiting already.
pub(super) fn leave_to_itself(user: User, ask: impl FnOnce() + Send + 'static) -> bool {
    if !with(|waiting| waiting.enter(user)) {
        return false;
    }
    let run = move || {
        let _done = Done(user);
        ask();
    };
    // Dropping the closure, as happens if there is no thread, does not count down: only running it
    // does.
    let started = thread::Builder::new().name("holds".to_owned()).spawn(run).is_ok();
    if !started {
        with(|waiting| waiting.leave(user));
    }
    started
}

/// Every answer that comes within `patience`, to all of `asks` together: what to ask, and about
/// whose processes. Each hands an answer over as soon as it has it.
pub(super) fn answers<T: Send + 'static, A: FnOnce(mpsc::Sender<T>) + Send + 'static>(
    patience: Duration,
    asks: impl IntoIterator<Item = (User, A)>,
) -> Vec<T> {
    let (sender, receiver) = mpsc::channel();
    for (user, ask) in asks {
        let sender = sender.clone();
        leave_to_itself(user, move || ask(sender));
    }
    drop(sender);
    let mut answers = Vec::new();
    let start = Instant::now();
    while let Ok(answer) = receiver.recv_timeout(patience.saturating_sub(start.elapsed())) {
        answers.push(answer);
    }
    answers
}

impl Waiting {
    /// One more, if there is room.
    fn enter(&mut self, user: User) -> bool {
        let all: usize = self.by_user.values().sum();
        let own = self.by_user.get(&user).copied().unwrap_or_default();
        let has_room = all < MOST_WAITING && own < MOST_FOR_ONE;
        if has_room {
            self.by_user.insert(user, own + 1);
        } else if !std::mem::replace(&mut self.said, true) {
            warn!(
                waiting = all,
                user,
                "reading what /proc says about processes hangs: command lines of this user's \
                 paused processes will be missing"
            );
        }
        has_room
    }

    fn leave(&mut self, user: User) {
        if let Some(count) = self.by_user.get_mut(&user) {
            *count -= 1;
            if *count == 0 {
                self.by_user.remove(&user);
            }
        }
        // Next time it is news again.
        self.said &= !self.by_user.is_empty();
    }
}

fn with<T>(change: impl FnOnce(&mut Waiting) -> T) -> T {
    let mut waiting: MutexGuard<'_, _> = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    change(waiting.get_or_insert_default())
}

struct Done(User);

impl Drop for Done {
    fn drop(&mut self) {
        with(|waiting| waiting.leave(self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_answers_are_not_awaited() {
        let (hold, held) = mpsc::channel::<()>();
        let start = Instant::now();
        let ask = move |sender: mpsc::Sender<i32>| {
            let _ = sender.send(1);
            let _ = held.recv();
            let _ = sender.send(2);
        };
        let got = answers(Duration::from_millis(50), [(Some(1), ask)]);
        assert_eq!(got, [1]);
        assert!(start.elapsed() < Duration::from_secs(20));
        drop(hold);
        let ask = |sender: mpsc::Sender<i32>| sender.send(3).unwrap();
        assert_eq!(answers(Duration::from_secs(20), [(Some(1), ask), (Some(2), ask)]), [3, 3]);
    }

    #[test]
    fn one_user_cannot_take_every_place() {
        let mut waiting = Waiting::default();
        let mut enter = |user, times| (0..times).filter(|_| waiting.enter(user)).count();
        assert_eq!(enter(Some(1000), 100), MOST_FOR_ONE);
        assert_eq!(enter(None, 100), MOST_FOR_ONE, "of those that nobody knows");
        assert_eq!(enter(Some(0), 1), 1);
        assert_eq!(enter(Some(1001), 100) + enter(Some(1002), 100) + enter(Some(1003), 100), 7);
        assert!(waiting.said);
        for user in [Some(1000), None, Some(1001)] {
            (0..MOST_FOR_ONE).for_each(|_| waiting.leave(user));
        }
        assert!(waiting.said && waiting.enter(Some(1000)));
        for (user, times) in [(Some(1000), 1), (Some(0), 1), (Some(1002), 3)] {
            (0..times).for_each(|_| waiting.leave(user));
        }
        assert!(!waiting.said && waiting.by_user.is_empty(), "{waiting:?}");
    }
}
