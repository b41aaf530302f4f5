//! The daemon: one loop over one closed set of events. What an event means is decided in [`state`],
//! as actions; the [`executor`] does them.
//!
//! The daemon never decides about an op: the kernel does, and goes on doing so when the daemon is
//! gone.

mod allowance;
mod allowing;
mod aside;
mod budgets;
mod carryover;
mod deciding;
mod disk;
mod executor;
mod glass;
mod glass_doing;
mod glass_open;
mod glass_opening;
mod heart;
mod holding;
mod kept;
mod locate;
mod lock;
mod manifesting;
mod message;
mod opening;
mod pausing;
mod placing;
mod plan;
mod readiness;
mod records;
mod ring;
mod source;
mod spending;
mod standing;
mod state;

use std::collections::VecDeque;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info};

use crate::audit::{AuditError, AuditLog, Limits};
use crate::clock::Now;
use crate::control;
use crate::journal::Journal;
use crate::kernel::{self, EventStream};
use crate::manifest::News;
use crate::metrics::{self, Metrics, MetricsAddress};
use crate::roots::Watch;
use crate::webhook::{self, Target, Webhook};
use executor::Executor;
use kept::Start;
use readiness::Turn;

pub(crate) use allowance::AllowanceCount;
pub(crate) use glass::{GlassAsk, GlassCount};
pub(crate) use lock::{AgentLock, LockError};
#[cfg(test)]
pub(crate) use message::ZoneInForce;
pub(crate) use message::{Answer, Ask, Decided, Refusal};
pub(crate) use plan::{PlanError, check_file, parse_file};
pub(crate) use records::started_word;
pub(crate) use standing::Standing;
pub(crate) use state::State;

/// Questions that can wait; who asks while there are more waits longer.
const INBOX: usize = 64;
/// How often it is looked whether a throttled process may go on.
const PACE: Duration = Duration::from_millis(100);

/// How to run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Policy file.
    pub(crate) policy: PathBuf,
    /// Audit log, and what has to survive a reboot.
    pub(crate) state_dir: PathBuf,
    /// Control socket and canary directory.
    pub(crate) run_dir: PathBuf,
    /// Directory on bpffs.
    pub(crate) pin_dir: PathBuf,
    /// Where to serve metrics.
    pub(crate) metrics: MetricsAddress,
    /// Event every op.
    pub(crate) trace_ops: bool,
    /// How long a segment of the audit log can be, in bytes.
    pub(crate) audit_segment: u64,
    /// Where to send what somebody may have to act on, and the file with the key that signs it.
    pub(crate) webhook: Option<(Target, PathBuf)>,
}

/// Why the daemon cannot start.
#[derive(Debug, Error)]
pub(crate) enum DaemonError {
    /// The policy.
    #[error("{0}")]
    Policy(#[from] PlanError),
    /// Another agent.
    #[error("{0}")]
    Lock(#[from] LockError),
    /// Another guard, or another agent of this one.
    #[error("{0}")]
    Another(#[source] kernel::KernelError),
    /// The audit log.
    #[error("the audit log: {0}\n  help: is another agent running, or `holdfast unpin`?")]
    Audit(#[from] AuditError),
    /// A directory.
    #[error("cannot make {}: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The control socket.
    #[error("the control socket: {0}")]
    Control(#[from] control::ControlError),
    /// Signals.
    #[error("cannot wait for signals: {0}")]
    Signals(std::io::Error),
    /// A thread.
    #[error("cannot start the thread that writes to the state directory: {0}")]
    Thread(std::io::Error),
    /// Metrics.
    #[error("cannot set up metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Where the daemon's loop takes questions.
#[derive(Clone, Debug)]
pub(crate) struct Inbox(mpsc::Sender<(Ask, message::Reply)>);

impl Inbox {
    /// Asks, and waits for the answer. `None`: the daemon is ending.
    pub(crate) async fn ask(&self, ask: Ask) -> Option<Answer> {
        let (reply, answer) = oneshot::channel();
        self.0.send((ask, reply)).await.ok()?;
        answer.await.ok()
    }
}

/// Runs until a signal ends it.
pub(crate) async fn run(options: Options) -> Result<(), DaemonError> {
    let now = Now::read();
    make_dir(&options.run_dir, 0o755)?;
    if let Err(error) = make_dir(&options.state_dir, 0o700) {
        // Guarding goes on without: the audit log and allowances say so, each in its way.
        error!("{error}");
    }
    let _lock = AgentLock::take(&options.run_dir)?;
    // Who manages this guard must be known before anything of it changes. What else is wrong with
    // the host is no reason to end: the agent says so, and goes on saying so.
    let claim = kernel::Claim::take(&options.pin_dir)
        .and_then(|claim| kernel::refuse_another(&options.pin_dir).map(|()| claim));
    let claim = match claim {
        Err(error) if error.is_another() => return Err(DaemonError::Another(error)),
        claim => claim,
    };
    let start = Start::read(&options.policy, &options.state_dir, now)?;
    if let Some(why) = &start.plan.shared_units {
        error!("{why}");
    }
    let journal = Journal::open(open_webhook(&options));
    let limits = Limits { segment_bytes: options.audit_segment, ..Limits::default() };
    let (audit, recovered) = AuditLog::start(&options.state_dir, limits, now)?;

    let (sender, questions) = mpsc::channel(INBOX);
    let inbox = Inbox(sender);
    let listener = control::bind(&options.run_dir)?;
    let metrics_address = serve_metrics(options.metrics, &inbox).await;
    tokio::spawn(async move {
        if let Err(error) = control::serve(listener, inbox).await {
            error!(%error, "the control socket ended");
        }
    });

    let (manifest, manifest_news) = manifesting::Manifest::new();
    let mut executor =
        Executor::new(options.clone(), audit, journal, Metrics::new()?, metrics_address, manifest)
            .map_err(DaemonError::Thread)?;
    executor.claim = Some(claim);
    let changed = match Watch::start() {
        Ok((watch, changed)) => {
            executor.watch = Some(watch);
            Some(changed)
        }
        Err(error) => {
            error!(
                %error,
                "changes of mounts cannot be waited for: new directories are guarded after seconds"
            );
            None
        }
    };
    let state = State::starting(start, now);
    let first = state.begin(recovered, boot_id());
    let waiting = VecDeque::new();
    let mut daemon = Daemon { state, executor, stream: None, manifest_news, waiting };
    daemon.perform(first);
    daemon.notify(Turn::Other);
    info!(version = env!("CARGO_PKG_VERSION"), policy = daemon.state.plan.origin.path, "ready");
    daemon.watch(questions, changed).await
}

struct Daemon {
    state: State,
    executor: Executor,
    stream: Option<AsyncFd<EventStream>>,
    /// What the audit log has to know about the manifest.
    manifest_news: mpsc::UnboundedReceiver<News>,
    /// What has to wait until an allowance or a break-glass that is being opened is open, or
    /// refused.
    waiting: VecDeque<message::Event>,
}

impl Daemon {
    async fn watch(
        &mut self,
        mut questions: mpsc::Receiver<(Ask, message::Reply)>,
        mut changed: Option<mpsc::Receiver<()>>,
    ) -> Result<(), DaemonError> {
        let mut hang_up = signal(SignalKind::hangup()).map_err(DaemonError::Signals)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(DaemonError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(DaemonError::Signals)?;
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut aside = self.executor.take_outcomes();
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.executor.stopped.is_none() {
            self.executor.pulse.note(Now::read());
            self.take_stream();
            let wants_pace = self.state.wants_pace(Now::read());
            let event = tokio::select! {
                _ = hang_up.recv() => message::Event::HangUp,
                _ = terminate.recv() => message::Event::Terminate("SIGTERM"),
                _ = interrupt.recv() => message::Event::Terminate("SIGINT"),
                () = host_changed(&mut changed) => message::Event::HostChanged,
                Some((ask, reply)) = questions.recv() => message::Event::Asked(ask, reply),
                Some(event) = aside.recv() => event,
                batch = source::batch(&mut self.stream) => {
                    self.decided(batch);
                    continue;
                }
                Some(news) = self.manifest_news.recv() => message::Event::Manifest(news),
                _ = tick.tick() => message::Event::Tick,
                _ = pace.tick(), if wants_pace => message::Event::Pace,
            };
            let now = Now::read();
            self.turn(event, now);
        }
        self.perform(vec![message::Action::Notify(readiness::stopping())]);
        // Nobody takes them any more.
        drop(aside);
        self.executor.end(&mut self.manifest_news, Now::read());
        Ok(())
    }

    fn decided(&mut self, batch: Vec<holdfast_abi::Event>) {
        let now = Now::read();
        for raw in batch {
            let decided = self.executor.name(raw, now);
            let actions = self.state.handle(message::Event::Decided(Box::new(decided)), now);
            self.perform(actions);
        }
        self.turn(message::Event::CaughtUp, Now::read());
    }

    fn turn(&mut self, event: message::Event, now: Now) {
        let turn = Turn::of(&event);
        if turn == Turn::Tick {
            while let Some((id, why)) = self.executor.disk.overdue(now) {
                self.perform(vec![message::Action::Resume(id, Err(why))]);
            }
        }
        self.handle_in_turn(event, now);
        while !self.executor.is_granting()
            && let Some(event) = self.waiting.pop_front()
        {
            self.handle_in_turn(event, now);
        }
        self.executor.note_audit(now);
        self.notify(turn);
    }

    /// What depends on what is being opened at the moment waits for that.
    fn handle_in_turn(&mut self, event: message::Event, now: Now) {
        if !event.is_about_grants() || !self.executor.is_granting() {
            let actions = self.state.handle(event, now);
            self.perform(actions);
        } else if self.waiting.len() < INBOX {
            self.waiting.push_back(event);
        } else if let message::Event::Asked(_, reply) = event {
            let message = "too many others wait for the disk of the state directory: try again";
            drop(reply.send(Answer::Error(Refusal::Failed, message.to_owned())));
        }
    }

    /// Tells the service manager, after everything that a turn was about.
    fn notify(&mut self, turn: Turn) {
        let news = self.state.readiness_news(turn, Now::read());
        if !news.is_empty() {
            self.perform(vec![message::Action::Notify(news)]);
        }
    }

    /// Does everything in order; what follows from one action comes before the next. Some actions
    /// take seconds, such as loading the programs: each happens at its own time.
    fn perform(&mut self, actions: Vec<message::Action>) {
        let mut queue = VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            if let Some(outcome) = self.executor.execute(action, &self.state, Now::read()) {
                for follow_up in self.state.handle(outcome, Now::read()).into_iter().rev() {
                    queue.push_front(follow_up);
                }
            }
        }
    }

    /// Once the guard is up its events are waited for.
    fn take_stream(&mut self) {
        let Some(stream) = self.executor.events.take() else {
            return;
        };
        #[expect(
            deprecated,
            reason = "what replaces it is unsafe, which belongs to the kernel module"
        )]
        let registered = AsyncFd::with_interest(stream, tokio::io::Interest::READABLE);
        match registered {
            Ok(stream) => self.stream = Some(stream),
            Err(error) => {
                error!(%error, "events of the kernel cannot be waited for; none will be shown")
            }
        }
    }
}

/// Waits until mounts or names have changed. Never returns where nobody tells.
async fn host_changed(changed: &mut Option<mpsc::Receiver<()>>) {
    let told = match changed {
        Some(changed) => changed.recv().await,
        None => None,
    };
    if told.is_none() {
        std::future::pending().await
    }
}

/// The web hook, if one is wanted, or why there is none. Guarding goes on without.
fn open_webhook(options: &Options) -> Result<Option<Webhook>, String> {
    let Some((target, key)) = &options.webhook else { return Ok(None) };
    let started = webhook::read_key(key)
        .and_then(|key| Webhook::start(target.clone(), key).map_err(|error| error.to_string()));
    match &started {
        Ok(_) => info!(%target, "what somebody may have to act on is sent there, signed"),
        Err(error) => error!("nothing is sent to the web hook: {error}"),
    }
    started.map(Some)
}

/// The address that serves metrics, or why there is none; `None` if none is wanted. Guarding goes
/// on without.
async fn serve_metrics(address: MetricsAddress, inbox: &Inbox) -> Option<Result<String, String>> {
    let MetricsAddress::At(address) = address else {
        return None;
    };
    match metrics::bind(address).await {
        Ok((listener, bound)) => {
            let inbox = inbox.clone();
            tokio::spawn(async move {
                if let Err(error) = metrics::serve(listener, inbox).await {
                    error!(%error, "the metrics server ended");
                }
            });
            Some(Ok(bound))
        }
        Err(error) => {
            error!("nothing serves /metrics: {error}; choose another address with --metrics");
            Some(Err(error))
        }
    }
}

/// A document as an answer.
fn json(document: &impl Serialize) -> Answer {
    match serde_json::to_string(document) {
        Ok(text) => Answer::Json(text),
        Err(error) => Answer::Error(Refusal::Failed, format!("cannot be written as JSON: {error}")),
    }
}

/// The id of this boot.
pub(crate) fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

fn make_dir(path: &Path, mode: u32) -> Result<(), DaemonError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|source| DaemonError::Directory { path: path.to_owned(), source })
}

/// An inbox and what reads it.
#[cfg(test)]
pub(crate) fn test_inbox() -> (Inbox, mpsc::Receiver<(Ask, message::Reply)>) {
    let (sender, questions) = mpsc::channel(INBOX);
    (Inbox(sender), questions)
}

/// A state of that plan, with a guard that has just been proven.
#[cfg(test)]
pub(crate) fn test_guarded() -> State {
    state::tests::guarded()
}

/// One zone, `customers`, whose only directory does not exist.
#[cfg(test)]
pub(crate) fn test_plan() -> plan::Plan {
    let text = "[[zone]]\nname = \"customers\"\nrole = \"primary\"\n\
                paths = [\"/nonexistent/customers\"]\n\
                mode = \"enforce\"\n\
                [[zone.budget]]\nper = \"unit\"\nwho = \"operators\"\nfiles = 200\n\
                window = \"10m\"\n";
    let policy = holdfast_policy::Policy::parse("test.toml", text).expect("a policy");
    let zones = plan::survey(&policy, &Default::default(), &[]).expect("no problems").zones;
    let read = Now { boot_ns: 1, wall_ns: 0 };
    let origin = plan::Origin {
        path: "test.toml".to_owned(),
        sha256: "0".repeat(64),
        text: text.into(),
        read,
    };
    plan::Plan { policy, zones, bases: Vec::new(), skipped: Vec::new(), shared_units: None, origin }
}
