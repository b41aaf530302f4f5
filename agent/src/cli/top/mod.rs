//! `holdfast top`: what `status`, `hold list` and `events` show, as it changes. It only looks: decisions are commands of their own.

mod model;
mod view;

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEvent};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::{MissedTickBehavior, interval};

use self::model::{Flow, Model};
use super::client::ClientError;
use super::{Client, Exit, Failure, events};
use crate::allowances::host_names;
use crate::api::{HoldReport, Status};

/// An event stream that ended is asked for again after so long.
const AGAIN: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct TopArgs {
    /// Look this often
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = every)]
    interval: Duration,
}

/// Each look asks the agent for everything it knows.
fn every(text: &str) -> Result<Duration, String> {
    match holdfast_policy::parse_time(text) {
        Ok(time) if (1..=3600).contains(&time.as_secs()) => Ok(time),
        Ok(_) | Err(_) => Err("write a time from 1s to 1h, as in 5s".to_owned()),
    }
}

pub(super) async fn run(client: &Client, args: &TopArgs) -> Result<Exit, Failure> {
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        let message = "`holdfast top` needs a terminal\n  help: `holdfast status` and `holdfast hold list` show the same once, with \
                       `--json` for programs";
        return Err(Failure::new(Exit::Usage, message));
    }
    // Without an agent that is said as by any other command, and the terminal stays as it is.
    let (status, holds) = look(client).await?;
    let mut model = Model::new(host_names().name, status, holds, Instant::now());
    let mut terminal = ratatui::try_init()?;
    let outcome = watch(&mut terminal, &mut model, client, args.interval).await;
    // What it was before, also if that fails.
    let restored = ratatui::try_restore();
    outcome?;
    restored?;
    Ok(Exit::Ok)
}

async fn look(client: &Client) -> Result<(Status, Vec<HoldReport>), ClientError> {
    Ok((client.status().await?, client.holds().await?.holds))
}

async fn watch(
    terminal: &mut DefaultTerminal,
    model: &mut Model,
    client: &Client,
    every: Duration,
) -> Result<(), Failure> {
    let (mut keys, mut lines) = (keys(), lines(client.clone()));
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut end = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        terminal.draw(|frame| view::draw(frame, model))?;
        tokio::select! {
            key = keys.recv() => match key {
                Some(Event::Key(key)) if is_press(&key) && model.key(key) == Flow::End => return Ok(()),
                Some(_) => {}
                // The terminal is gone.
                None => return Ok(()),
            },
            Some(line) = lines.recv() => model.event(line),
            _ = end.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            _ = tick.tick(), if !model.is_stopped() => match look(client).await {
                Ok((status, holds)) => model.took(status, holds, Instant::now()),
                Err(error) => model.failed(&error.to_string()),
            },
        }
    }
}

fn is_press(key: &KeyEvent) -> bool {
    key.kind != event::KeyEventKind::Release
}

/// What is typed. Reading blocks, so that has a thread of its own; it ends with the process.
fn keys() -> UnboundedReceiver<Event> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.send(event).is_err() {
                return;
            }
        }
    });
    receiver
}

/// What is decided, line by line, from now on.
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
