//! `holdfast top`: what `status`, `hold list` and `events` show, as it changes. It only looks:
//! decisions are commands of their own.

mod model;
mod view;

use std::future::poll_fn;
use std::io::{self, IsTerminal as _};
use std::task::Poll;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEvent};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::layout::Rect;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Signal as Number, getpid, kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{self, Receiver, UnboundedReceiver};
use tokio::time::{sleep, timeout};

use self::model::{Flow, Model};
use super::{Client, Exit, Failure, events};
use crate::allowances::host_names;
use crate::api::Look;

/// An event stream that ended is asked for again after so long.
const AGAIN: Duration = Duration::from_secs(2);
/// What is shown is old if there was no answer for so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the agent said, and when; or why it said nothing.
type Looked = (Instant, Result<Look, String>);

#[derive(Debug, Args)]
pub(super) struct TopArgs {
    /// Look this often
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = every)]
    interval: Duration,
}

/// Each look asks the agent for everything it knows, and has it try nothing.
fn every(text: &str) -> Result<Duration, String> {
    match holdfast_policy::parse_time(text) {
        Ok(time) if (1..=3600).contains(&time.as_secs()) => Ok(time),
        Ok(_) | Err(_) => Err("write a time from 1s to 1h, as in 5s".to_owned()),
    }
}

pub(super) async fn run(client: &Client, args: &TopArgs) -> Result<Exit, Failure> {
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        let message = "`holdfast top` needs a terminal\n  help: `holdfast status` and `holdfast \
                       hold list` show the same once, with `--json` for programs";
        return Err(Failure::new(Exit::Usage, message));
    }
    // Without an agent that is said as by any other command, and the terminal stays as it is.
    let Look { status, holds } = client.look().await?;
    let mut model = Model::new(host_names().name, status, holds, Instant::now());
    // Before the terminal is another: none finds it half way.
    let mut signals = Signals::new()?;
    let mut terminal = ratatui::try_init().inspect_err(|_| drop(ratatui::try_restore()))?;
    let outcome = watch(&mut terminal, &mut model, client, args.interval, &mut signals).await;
    // What it was before, also if that fails.
    let restored = ratatui::try_restore();
    outcome?;
    restored?;
    Ok(Exit::Ok)
}

/// It never waits for the agent: keys and signals are served whatever that does.
async fn watch(
    terminal: &mut DefaultTerminal,
    model: &mut Model,
    client: &Client,
    every: Duration,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let (mut keys, mut lines) = (keys(), lines(client.clone()));
    let mut looks = looks(client.clone(), every);
    loop {
        terminal.draw(|frame| view::draw(frame, model))?;
        tokio::select! {
            key = keys.recv() => match key {
                Some(Event::Key(key)) if is_press(&key) => match model.key(key) {
                    Flow::On => {}
                    Flow::Suspend => suspend(terminal)?,
                    Flow::End => return Ok(()),
                },
                Some(_) => {}
                // The terminal is gone.
                None => return Ok(()),
            },
            Some(line) = lines.recv() => model.event(line),
            () = any(&mut signals.end) => return Ok(()),
            _ = signals.stop.recv() => suspend(terminal)?,
            // Whoever stopped it in another way has had the terminal meanwhile.
            _ = signals.go_on.recv() => take_terminal(terminal)?,
            Some((at, look)) = looks.recv(), if !model.is_stopped() => match look {
                Ok(Look { status, holds }) => model.took(status, holds, at),
                Err(why) => model.failed(&why),
            },
        }
    }
}

/// What others may want of it.
struct Signals {
    end: [Signal; 4],
    stop: Signal,
    go_on: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let end = [
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::quit())?,
        ];
        let [stop, go_on] = [Number::TSTP, Number::CONT].map(|number| signal(kind(number)));
        Ok(Self { end, stop: stop?, go_on: go_on? })
    }
}

fn kind(number: Number) -> SignalKind {
    SignalKind::from_raw(number.as_raw())
}

/// Stops as any job does, with the terminal as it was before. It comes back when the shell has it
/// go on.
fn suspend(terminal: &mut DefaultTerminal) -> io::Result<()> {
    terminal.show_cursor()?;
    ratatui::try_restore()?;
    kill_process(getpid(), Number::STOP)?;
    take_terminal(terminal)
}

/// Has the terminal to itself, and draws everything anew.
fn take_terminal(terminal: &mut DefaultTerminal) -> io::Result<()> {
    // A shell may have set it otherwise, and what is raw already is left alone.
    disable_raw_mode()?;
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen)?;
    // `clear` would ask the terminal where the cursor is, and wait for an answer that the reader of
    // keys takes.
    let size = terminal.size()?;
    terminal.resize(Rect::new(0, 0, size.width, size.height))
}

/// Any of them came.
async fn any(signals: &mut [Signal]) {
    poll_fn(|context| {
        let came = signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
        if came { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// What the agent says, again and again. Nobody asks it while nobody takes that.
fn looks(client: Client, every: Duration) -> Receiver<Looked> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let look = match timeout(PATIENCE, client.look()).await {
                Ok(outcome) => outcome.map_err(|error| error.to_string()),
                Err(_) => Err(format!("nothing for {} s", PATIENCE.as_secs())),
            };
            if sender.send((Instant::now(), look)).await.is_err() {
                return;
            }
            sleep(every).await;
        }
    });
    receiver
}

fn is_press(key: &KeyEvent) -> bool {
    key.kind != event::KeyEventKind::Release
}

/// What is typed. Reading blocks, so that has a thread of its own; it ends with the terminal.
fn keys() -> UnboundedReceiver<Event> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        while is_typed(&io::stdin()) {
            while let Ok(true) = event::poll(Duration::ZERO) {
                let Ok(event) = event::read() else { return };
                if sender.send(event).is_err() {
                    return;
                }
            }
        }
    });
    receiver
}

/// Waits until there is something to read. Not if the terminal is gone: reading would go round in
/// circles.
fn is_typed(stdin: &io::Stdin) -> bool {
    let mut stdin = [PollFd::new(stdin, PollFlags::IN)];
    while let Err(error) = poll(&mut stdin, None) {
        if error != Errno::INTR {
            return false;
        }
    }
    stdin[0].revents() == PollFlags::IN
}

/// What is decided, line by line, the latest of what was before included.
fn lines(client: Client) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(64);
    tokio::spawn(async move {
        while !sender.is_closed() {
            if let Ok(mut lines) = client.events(true).await {
                while let Ok(Some(line)) = lines.next().await {
                    let line = events::human(&String::from_utf8_lossy(&line));
                    if sender.send(line).await.is_err() {
                        return;
                    }
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    });
    receiver
}
