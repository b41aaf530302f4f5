//! The lines between guest and host: what the command prints, and what the guest says about itself.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context, Result};

/// Names of the ports, in the order of their sockets.
pub const NAMES: [&str; 3] = ["control", "out", "err"];

/// Where a piece of output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output of the command.
    Out,
    /// Its standard error.
    Err,
}

/// Something came from the guest.
#[derive(Debug)]
pub enum Message {
    /// The command printed this.
    Output(Stream, Vec<u8>),
    /// The guest says: `ready UPTIME`, `exit STATUS`, or `again` for another boot.
    Control(String),
}

/// One thread for each port; the channel ends when all of them are closed. An earlier boot may have
/// used the same sockets.
pub fn listen(sockets: &[PathBuf]) -> Result<Receiver<Message>> {
    let (sender, receiver) = channel();
    for (name, path) in NAMES.iter().zip(sockets) {
        if path.exists() {
            fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        let listener = UnixListener::bind(path)
            .with_context(|| format!("cannot listen at {}", path.display()))?;
        let sender = sender.clone();
        thread::spawn(move || forward(name, &listener, &sender));
    }
    Ok(receiver)
}

fn forward(name: &str, listener: &UnixListener, sender: &Sender<Message>) {
    let Ok((mut socket, _)) = listener.accept() else {
        return;
    };
    let mut buffer = vec![0; 64 << 10];
    let mut line = String::new();
    while let Ok(length @ 1..) = socket.read(&mut buffer) {
        let bytes = &buffer[..length];
        let stream = match name {
            "out" => Stream::Out,
            "err" => Stream::Err,
            _ => {
                line += &String::from_utf8_lossy(bytes);
                while let Some(at) = line.find('\n') {
                    let whole: String = line.drain(..=at).collect();
                    if sender.send(Message::Control(whole)).is_err() {
                        return;
                    }
                }
                continue;
            }
        };
        if sender.send(Message::Output(stream, bytes.to_vec())).is_err() {
            return;
        }
    }
}
