//! Sends what the journal hears of to a web hook as well, if the agent is told so: JSON by HTTP,
//! signed, best effort.
//!
//! There is no TLS in the agent. So a hook is on this host or on a private network; what goes
//! further is for a proxy there to do. A signature shows who sent it, and that nobody has changed
//! it on the way; it does not hide it.
//!
//! It never waits: a thread of its own sends, from a queue with a bound, and what finds no room or
//! is not taken is counted.

mod deliver;
mod target;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use ring::hmac;

pub(crate) use target::{Target, read_key};

/// Messages that wait.
const QUEUE: usize = 256;

/// The way to the hook.
#[derive(Debug)]
pub(crate) struct Webhook {
    queue: SyncSender<String>,
    counts: Arc<Counts>,
}

/// What became of messages.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    delivered: AtomicU64,
    dropped: AtomicU64,
}

impl Webhook {
    /// Starts the thread that sends.
    pub(crate) fn start(target: Target, key: hmac::Key) -> std::io::Result<Self> {
        let (queue, messages) = sync_channel::<String>(QUEUE);
        let counts = Arc::new(Counts::default());
        let told = Arc::clone(&counts);
        let send = move || {
            let mut failing = false;
            for body in messages {
                match deliver::post(&target, &key, &body, deliver::PATIENCE) {
                    Ok(()) => {
                        told.delivered.fetch_add(1, Ordering::Relaxed);
                        failing = false;
                    }
                    Err(error) => {
                        told.dropped.fetch_add(1, Ordering::Relaxed);
                        if !std::mem::replace(&mut failing, true) {
                            tracing::warn!(%error, "the web hook does not take what happens");
                        }
                    }
                }
            }
        };
        std::thread::Builder::new().name("webhook".to_owned()).spawn(send)?;
        Ok(Self { queue, counts })
    }

    /// Sends a message, or counts it as dropped.
    pub(crate) fn send(&self, body: String) {
        match self.queue.try_send(body) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// How many were taken.
    pub(crate) fn delivered(&self) -> u64 {
        self.counts.delivered.load(Ordering::Relaxed)
    }

    /// How many were not, or found no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
