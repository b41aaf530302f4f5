//! The thread that takes records off the kernel's ring and keeps them. It is off the decision path
//! and off the daemon's loop: nothing waits for it, and what it holds in memory is one batch.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tracing::{error, info, warn};

use super::line::Actor;
use super::pause::Pause;
use super::ring::Ring;
use super::store::{Change, ROOTS, Store};
use super::{Gap, GapWhy, Line, Place, Sealed, SharedNames, Summarised, roots};
use crate::clock::Now;
use crate::kernel::{DestroyedStream, Lost};
use crate::units::Units;

/// How often the ring is looked at. It holds some 70,000 records: 1,400,000 in a second.
const POLL: Duration = Duration::from_millis(50);
/// Bytes that make a batch full: it is then put into the file, though there are more records.
const BATCH: usize = 256 * 1024;
/// How often the name of a unit is looked for that was not found.
const UNNAMED_EVERY: Duration = Duration::from_secs(1);
/// How often what is written is put on the disk, and what is missing is looked for.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// Without a policy in force names are not known: so long they are waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// A segment is closed, and so sealed, after this time even if it is not full.
const SEAL_EVERY: Duration = Duration::from_secs(3600);
/// How long the end may take, and how often to look.
const PATIENCE_AT_THE_END: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);

/// What the audit log has to know about the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// A segment is closed.
    Sealed(Sealed),
    /// A segment was summarised.
    Summarised(Summarised),
}

/// What the metrics show.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// Records kept since the agent started.
    pub(crate) records: AtomicU64,
    /// Bytes on the disk.
    pub(crate) bytes: AtomicU64,
    /// When the oldest record that is kept was written, in seconds since 1970; 0 for none.
    pub(crate) oldest: AtomicI64,
    /// Whether nothing can be written at the moment.
    pub(crate) failing: AtomicBool,
}

/// Called when everything that was in the ring is kept.
type Done = Box<dyn FnOnce(Result<(), String>) + Send>;

enum Command {
    Flush(Done),
    Limit(u64),
    Stop,
}

/// The thread, as the daemon sees it.
pub(crate) struct Keeper {
    commands: Sender<Command>,
    thread: JoinHandle<()>,
    /// What the metrics show.
    pub(crate) stats: Arc<Stats>,
}

impl Keeper {
    /// Starts it.
    pub(crate) fn start(
        dir: PathBuf,
        stream: DestroyedStream,
        names: SharedNames,
        max_bytes: u64,
        news: UnboundedSender<News>,
    ) -> std::io::Result<Self> {
        let (commands, receiver) = channel();
        let stats = Arc::new(Stats::default());
        let work = Work {
            dir,
            stream,
            names,
            max_bytes,
            news,
            stats: stats.clone(),
            store: None,
            resumed: None,
            units: Units::system(),
            named: 0,
            unnamed: None,
            began: Now::read(),
            checked: None,
            recorded: Vec::new(),
            oldest: None,
            pause: Pause::default(),
        };
        let thread = thread::Builder::new()
            .name("manifest".to_owned())
            .spawn(move || work.run(&receiver))?;
        Ok(Self { commands, thread, stats })
    }

    /// Has everything that is in the ring now kept, and then calls `done`.
    pub(crate) fn flush(&self, done: Done) {
        if let Err(error) = self.commands.send(Command::Flush(done))
            && let Command::Flush(done) = error.0
        {
            done(Err("the manifest is no longer kept; see the agent's log".to_owned()));
        }
    }

    /// Another bound for what it takes of the disk.
    pub(crate) fn limit(&self, max_bytes: u64) {
        // A thread that has ended has said so.
        let _ = self.commands.send(Command::Limit(max_bytes));
    }

    /// Whether its thread is gone, which it is only after a fault.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Keeps what is in the ring, closes the segment and ends. A disk that hangs is not waited for:
    /// what is in the ring stays there.
    pub(crate) fn stop(self) {
        let _ = self.commands.send(Command::Stop);
        let start = Instant::now();
        while !self.thread.is_finished() {
            if start.elapsed() > PATIENCE_AT_THE_END {
                error!("the manifest cannot be closed in time; the next agent goes on with it");
                return;
            }
            std::thread::sleep(LOOK);
        }
        if self.thread.join().is_err() {
            error!("the thread that keeps the manifest panicked");
        }
    }
}

struct Work<R> {
    dir: PathBuf,
    stream: R,
    names: SharedNames,
    max_bytes: u64,
    news: UnboundedSender<News>,
    stats: Arc<Stats>,
    store: Option<Store>,
    /// Time of the last line of an earlier agent: what is missing at first may be missing since
    /// then.
    resumed: Option<String>,
    units: Units,
    /// The names that the segment's lines go by: [`super::names::Names::changes`].
    named: u64,
    /// Since when they go by a unit without a name.
    unnamed: Option<Now>,
    began: Now,
    /// When it was last looked for what is missing.
    checked: Option<Now>,
    /// Zones, and whether they are recorded, as last written down.
    recorded: Vec<(String, bool)>,
    /// The oldest segment, and when it was begun.
    oldest: Option<(PathBuf, i64)>,
    /// Nothing is written before it is over, unless somebody asks for it.
    pause: Pause,
}

/// What came of looking at the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Nothing was taken: nobody knows yet what the records are of.
    Waits,
    /// Everything was taken.
    Done,
    /// There is more.
    More,
}

impl<R: Ring> Work<R> {
    fn run(mut self, commands: &Receiver<Command>) {
        let mut more = false;
        loop {
            let wait = if more { Duration::ZERO } else { POLL };
            match commands.recv_timeout(wait) {
                Ok(Command::Flush(done)) => {
                    let outcome = self.asked(Now::read());
                    done(outcome);
                }
                Ok(Command::Limit(max_bytes)) => {
                    self.max_bytes = max_bytes;
                    let now = Now::read();
                    let limited = self.store.as_mut().map(|store| store.set_limit(max_bytes, now));
                    if let Some(Err(error)) = limited {
                        self.note(Err(error), now);
                    }
                }
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    // What waits for names is left in the ring to the next agent.
                    let flushed = self.flush(Now::read()).map(drop);
                    // Also if that failed: what was closed is to be sealed.
                    let ended = self.end();
                    if let Err(error) = flushed.and(ended) {
                        error!(
                            %error,
                            "the manifest could not be closed; the next agent goes on with it"
                        );
                    }
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            more = self.tick(Now::read());
        }
    }

    /// Looks at the ring, unless it failed a moment ago. Whether there is more.
    fn tick(&mut self, now: Now) -> bool {
        if !self.pause.is_over(now) {
            return false;
        }
        let outcome = self.turn(false, now);
        let more = matches!(outcome, Ok(Turn::More));
        self.note(outcome.map(drop), now);
        more
    }

    /// What somebody is told who wants everything kept.
    fn asked(&mut self, now: Now) -> Result<(), String> {
        match self.flush(now)? {
            Turn::Done | Turn::More => Ok(()),
            Turn::Waits => {
                let left = PATIENCE.saturating_sub(now.since(self.began)).as_secs() + 1;
                Err(format!(
                    "no policy is in force yet, so that the zones have no names: what was \
                     destroyed stays in the kernel's buffer, for {left} s at most; ask again then"
                ))
            }
        }
    }

    /// Everything that is in the ring.
    fn flush(&mut self, now: Now) -> Result<Turn, String> {
        loop {
            match self.turn(true, now) {
                Ok(Turn::More) => {}
                outcome => {
                    let said = outcome.as_ref().map(|turn| *turn).map_err(ToString::to_string);
                    self.note(outcome.map(drop), now);
                    return said;
                }
            }
        }
    }

    fn end(&mut self) -> Result<(), String> {
        let now = Now::read();
        let Some(store) = &mut self.store else { return Ok(()) };
        let stop = Line::Stop { time: now.wall() };
        let outcome = store.append(&stop, now).and_then(|()| store.close(now));
        let outcome = outcome.and_then(|()| store.sync()).map_err(|error| error.to_string());
        self.tell();
        outcome
    }

    /// Takes some records.
    fn turn(&mut self, at_once: bool, now: Now) -> std::io::Result<Turn> {
        let knows_names = self.names.get().zones.is_some();
        if !knows_names && now.since(self.began) < PATIENCE {
            return Ok(Turn::Waits);
        }
        if self.store.is_none() {
            self.open(now)?;
        }
        let more = self.drain(now)?;
        self.switches(now)?;
        if !more && (at_once || self.checked.is_none_or(|checked| now.since(checked) >= SYNC_EVERY))
        {
            self.missing(now)?;
            if let Some(store) = &mut self.store {
                store.close_older(SEAL_EVERY, now)?;
                store.sync()?;
            }
            self.show();
        }
        self.tell();
        self.keep_roots()?;
        Ok(if more { Turn::More } else { Turn::Done })
    }

    fn open(&mut self, now: Now) -> std::io::Result<()> {
        let ring = (self.stream.id(), self.stream.kept());
        let store = Store::open(&self.dir, self.max_bytes, ring, now)?;
        info!(bytes = store.bytes(), dir = %self.dir.display(), "the manifest is kept");
        // An earlier agent may have been killed when it had kept them, and before it said so.
        self.stream.keep(store.position());
        self.resumed = store.time().map(str::to_owned);
        self.store = Some(store);
        match roots::read(&self.dir, self.stream.id()) {
            Ok(roots) => self.names.get().learn(roots),
            Err(error) => warn!(%error, "what roots were called before cannot be read"),
        }
        Ok(())
    }

    /// Leaves what roots are called to the next agent.
    fn keep_roots(&mut self) -> std::io::Result<()> {
        let Some(new) = self.names.get().new_roots() else { return Ok(()) };
        match roots::write(&self.dir, self.stream.id(), &new, self.max_bytes / ROOTS) {
            Ok(true) => Ok(()),
            Ok(false) => {
                warn!(
                    roots = new.len(),
                    "there is no room to keep what the roots are called: raise `max_bytes` of \
                     [manifest]"
                );
                Ok(())
            }
            Err(error) => {
                self.names.get().ask_again();
                Err(error)
            }
        }
    }

    /// Not before this time is what is found missing now.
    fn since(&self) -> String {
        match self.checked {
            Some(checked) => checked.wall(),
            None => self.resumed.clone().unwrap_or_else(|| self.began.wall()),
        }
    }

    /// Keeps a batch. Whether there is more.
    fn drain(&mut self, now: Now) -> std::io::Result<bool> {
        let since = self.since();
        let Self { stream, store: Some(store), names, units, unnamed, .. } = self else {
            return Ok(false);
        };
        let changes = names.get().changes();
        let is_late = |since: Now| now.since(since) >= UNNAMED_EVERY;
        if std::mem::replace(&mut self.named, changes) != changes || unnamed.is_some_and(is_late) {
            store.forget_names();
            *unnamed = None;
        }
        let (mut to, mut unreadable) = (stream.kept(), None);
        let more = loop {
            let mut at = to;
            let gone = match stream.next(&mut at) {
                Some(Some(gone)) => gone,
                Some(None) => {
                    unreadable = Some(at);
                    break true;
                }
                None => {
                    to = at;
                    break false;
                }
            };
            let head = gone.head;
            let place = || {
                let names = names.get();
                Place::of(&gone, names.zone(head.zone), names.root(head.dev, head.root))
            };
            let actor = || {
                let unit = units.name(head.unit, Some(head.pid), now).unwrap_or_else(|| {
                    unnamed.get_or_insert(now);
                    format!("cgroup {}", head.unit)
                });
                Actor::of(head, unit, names.get().allowance_id(head.allowance))
            };
            if !store.add(&gone, now, place, actor)? {
                break true;
            }
            to = at;
            if store.pending() >= BATCH {
                break true;
            }
        };
        self.stats.records.fetch_add(store.commit(to)?, Ordering::Relaxed);
        stream.keep(to);
        if let Some(to) = unreadable {
            let (from, to_time) = (since.min(now.wall()), now.wall());
            let (lost, why) = (Some(1), GapWhy::Unreadable);
            let gap = Gap { from, to: to_time, zone: None, lost, why, total: 0 };
            store.append(&Line::Gap(gap), now)?;
            stream.keep(to);
        }
        Ok(more)
    }

    /// Writes down where a zone is no longer recorded, or is again.
    fn switches(&mut self, now: Now) -> std::io::Result<()> {
        let zones = self.names.get().zones.clone().unwrap_or_default();
        let Some(store) = &mut self.store else { return Ok(()) };
        for zone in &zones {
            let known = self.recorded.iter_mut().find(|(name, _)| *name == zone.name);
            // What an earlier agent wrote about it is not known here: said again.
            if known.as_ref().map(|(_, manifest)| *manifest) != Some(zone.manifest) {
                let (time, manifest) = (now.wall(), zone.manifest);
                store.append(&Line::Switch { time, zone: zone.name.clone(), manifest }, now)?;
            }
            match known {
                Some((_, manifest)) => *manifest = zone.manifest,
                None => self.recorded.push((zone.name.clone(), zone.manifest)),
            }
        }
        self.recorded.retain(|(name, _)| zones.iter().any(|zone| zone.name == *name));
        Ok(())
    }

    /// Writes down what the kernel could not send, also of zones that are in force no more.
    fn missing(&mut self, now: Now) -> std::io::Result<()> {
        let since = self.since();
        let Some(store) = &mut self.store else { return Ok(()) };
        for Lost { zone, records: total, last_ns } in self.stream.lost()? {
            let known = store.lost(&zone);
            if total < known {
                store.forget_lost(&zone);
            }
            let lost = total.saturating_sub(store.lost(&zone));
            if lost == 0 {
                continue;
            }
            let to = now.wall_at(last_ns);
            let from = since.clone().min(to.clone());
            warn!(
                zone,
                lost, "the manifest has a gap: the kernel's buffer was full, or it had no memory"
            );
            let (zone, lost, why) = (Some(zone), Some(lost), GapWhy::RingFull);
            store.append(&Line::Gap(Gap { from, to, zone, lost, why, total }), now)?;
        }
        self.checked = Some(now);
        Ok(())
    }

    /// Brings the metrics up to date.
    fn show(&mut self) {
        let Some(store) = &self.store else { return };
        let bytes = store.bytes() + roots::length(&self.dir);
        self.stats.bytes.store(bytes, Ordering::Relaxed);
        let oldest = store.oldest();
        if self.oldest.as_ref().map(|(path, _)| path) != oldest.as_ref() {
            self.oldest = oldest.map(|path| {
                let began = std::fs::metadata(&path).and_then(|metadata| metadata.created());
                let since =
                    began.ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
                (path, since.map_or(0, |since| since.as_secs().cast_signed()))
            });
        }
        let oldest = self.oldest.as_ref().map_or(0, |(_, time)| *time);
        self.stats.oldest.store(oldest, Ordering::Relaxed);
    }

    fn tell(&mut self) {
        let Some(store) = &mut self.store else { return };
        for change in store.take_changes() {
            let news = match change {
                Change::Sealed(sealed) => News::Sealed(sealed),
                Change::Summarised(summarised) => News::Summarised(summarised),
            };
            // The daemon is ending: the next one says it again.
            let _ = self.news.send(news);
        }
    }

    /// Says it once when the manifest cannot be written, and once when it can again.
    fn note(&mut self, outcome: std::io::Result<()>, now: Now) {
        match &outcome {
            Ok(()) => self.pause.worked(),
            Err(_) => self.pause.failed(now),
        }
        let was_failing = self.stats.failing.swap(outcome.is_err(), Ordering::Relaxed);
        match outcome {
            Ok(()) if was_failing => info!("the manifest can be written again"),
            Ok(()) => {}
            Err(error) if !was_failing => {
                error!(
                    %error,
                    dir = %self.dir.display(),
                    "the manifest cannot be written: is the disk full? The kernel keeps what it can"
                );
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
