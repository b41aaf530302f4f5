//! Few connections at a time, none of them for long: a descriptor that a connection has is one that
//! the agent lacks when it looks at a process. It never looks at what is asked.
//!
//! Slow clients do not keep a scraper out: where there is no room, a new connection closes one that
//! has not sent its request, or does not read its answer. Each has a moment for that first. The
//! address with the most connections loses one before the others.

use std::collections::HashMap;
use std::future::Future as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// Connections at a time.
const MOST: usize = 32;
/// Nobody loses a connection within this time after it was made, or after its answer was ready.
const MOMENT: Duration = Duration::from_millis(500);
/// How long a request may take to arrive.
const TO_ASK: Duration = Duration::from_secs(2);
/// How long the answer may take to be ready. The agent may be loading its programs.
const TO_ANSWER: Duration = Duration::from_secs(120);
/// How long the answer may take to be read.
const TO_READ: Duration = Duration::from_secs(10);

/// A listener that has few connections at a time.
#[derive(Debug)]
pub(super) struct Few {
    listener: TcpListener,
    room: Arc<Room>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct One {
    stream: TcpStream,
    place: Asked,
    /// The phase that `deadline` is for.
    phase: Phase,
    deadline: Pin<Box<Sleep>>,
    closed: oneshot::Receiver<()>,
}

/// The place of a connection in the room, to note that its request has arrived.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    id: u64,
    room: Arc<Room>,
}

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its request has not arrived.
    Asks,
    /// The answer is not ready: that is not its fault.
    Waits,
    /// It reads the answer.
    Reads,
}

#[derive(Debug, Default)]
struct Room {
    inside: Mutex<Inside>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Inside {
    last_id: u64,
    connections: HashMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    address: IpAddr,
    phase: Phase,
    since: Instant,
    /// Closes it.
    close: oneshot::Sender<()>,
}

impl Few {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, room: Arc::default() }
    }
}

impl Asked {
    /// Its request has arrived.
    pub(super) fn note(&self) {
        self.enter(Phase::Waits);
    }

    fn enter(&self, phase: Phase) {
        if let Some(connection) = self.room.inside().connections.get_mut(&self.id) {
            (connection.phase, connection.since) = (phase, Instant::now());
        }
    }

    /// `None` once it is to be closed.
    fn phase(&self) -> Option<Phase> {
        self.room.inside().connections.get(&self.id).map(|connection| connection.phase)
    }
}

impl Connected<IncomingStream<'_, Few>> for Asked {
    fn connect_info(stream: IncomingStream<'_, Few>) -> Self {
        stream.io().place.clone()
    }
}

impl Listener for Few {
    type Io = One;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (One, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        self.room.make_room().await;
        let (close, closed) = oneshot::channel();
        let id = self.room.inside().enter(peer.ip(), close);
        let place = Asked { id, room: Arc::clone(&self.room) };
        let deadline = Box::pin(sleep(TO_ASK));
        (One { stream, place, phase: Phase::Asks, deadline, closed }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Room {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one more has room: one has left, or one can be closed.
    async fn make_room(&self) {
        loop {
            let left = self.left.notified();
            let Some(next) = self.inside().make_room(Instant::now()) else { return };
            match next {
                Some(at) => tokio::select! { () = left => {}, () = sleep_until(at) => {} },
                None => left.await,
            }
        }
    }
}

impl Inside {
    fn enter(&mut self, address: IpAddr, close: oneshot::Sender<()>) -> u64 {
        self.last_id += 1;
        let connection = Connection { address, phase: Phase::Asks, since: Instant::now(), close };
        self.connections.insert(self.last_id, connection);
        self.last_id
    }

    /// `None`: there is room now. Else when one of them has had its moment, if any of them keeps
    /// others waiting.
    fn make_room(&mut self, now: Instant) -> Option<Option<Instant>> {
        if self.connections.len() < MOST {
            return None;
        }
        let slow = || self.connections.iter().filter(|(_, one)| one.phase != Phase::Waits);
        let mut of_address: HashMap<IpAddr, usize> = HashMap::new();
        for connection in self.connections.values() {
            *of_address.entry(connection.address).or_default() += 1;
        }
        let had_moment = slow().filter(|(_, one)| one.since + MOMENT <= now);
        let first = had_moment.min_by_key(|(id, one)| {
            (std::cmp::Reverse(of_address.get(&one.address).copied()), one.since, **id)
        });
        let Some(id) = first.map(|(id, _)| *id) else {
            return Some(slow().map(|(_, one)| one.since + MOMENT).min());
        };
        if let Some(connection) = self.connections.remove(&id) {
            // Its task may just have ended.
            let _ = connection.close.send(());
        }
        None
    }
}

impl One {
    /// An error once it has lasted too long, or another needs the room.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let is_closed = Pin::new(&mut self.closed).poll(cx).is_ready();
        let Some(phase) = self.place.phase().filter(|_| !is_closed) else {
            return Err(io::ErrorKind::ConnectionAborted.into());
        };
        if phase != self.phase {
            self.phase = phase;
            let longest = match phase {
                Phase::Asks => TO_ASK,
                Phase::Waits => TO_ANSWER,
                Phase::Reads => TO_READ,
            };
            self.deadline.as_mut().reset(Instant::now() + longest);
        }
        match self.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.place.room.inside().connections.remove(&self.place.id);
        self.place.room.left.notify_one();
    }
}

impl AsyncRead for One {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        ready!(pin!(&mut self.stream).poll_read(cx, buffer))?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for One {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.phase != Phase::Reads {
            self.place.enter(Phase::Reads);
        }
        self.check(cx)?;
        pin!(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        pin!(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        pin!(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    /// Sixty-four connections of one customer that asked nothing kept every scrape out for as long
    /// as they lasted.
    #[tokio::test]
    async fn slow_clients_give_way() {
        use tokio::io::AsyncReadExt as _;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut few = Few::new(listener);
        let mut crowd = Vec::new();
        let mut inside = Vec::new();
        for _ in 0..MOST {
            crowd.push(TcpStream::connect(address).await.unwrap());
            inside.push(few.accept().await.0);
        }
        inside[0].place.note();
        crowd.push(TcpStream::connect(address).await.unwrap());
        let next = timeout(Duration::from_secs(20), few.accept()).await.unwrap().0;
        assert_eq!(next.place.phase(), Some(Phase::Asks));
        assert_eq!(inside[0].place.phase(), Some(Phase::Waits), "it has asked");
        assert_eq!(inside[1].place.phase(), None, "the oldest that has not");
        let error = inside[1].read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(inside[2].place.phase(), Some(Phase::Asks));
    }

    #[tokio::test]
    async fn whoever_waits_keeps_its_place() {
        let mut inside = Inside::default();
        let now = Instant::now();
        let mut closed = Vec::new();
        for number in 0..MOST as u8 {
            let (close, is_closed) = oneshot::channel();
            closed.push(is_closed);
            inside.enter([10, 0, 0, number].into(), close);
        }
        let waits = inside.make_room(now);
        assert!(waits.is_some_and(|at| at.is_some_and(|at| at > now)), "each has a moment");
        for connection in inside.connections.values_mut() {
            connection.phase = Phase::Waits;
        }
        assert_eq!(inside.make_room(now + TO_ANSWER), Some(None), "nobody can be closed");
        let (one, two) = (inside.connections.get_mut(&7).unwrap(), now);
        (one.phase, one.since) = (Phase::Reads, two);
        assert_eq!(inside.make_room(now + MOMENT), None);
        assert!(!inside.connections.contains_key(&7) && closed[6].try_recv().is_ok());
    }

    #[tokio::test]
    async fn the_fullest_address_loses_first() {
        let mut inside = Inside::default();
        let mut enter = |address: [u8; 4]| inside.enter(address.into(), oneshot::channel().0);
        let scraper = enter([10, 0, 0, 1]);
        let first_of_crowd = enter([10, 0, 0, 2]);
        for _ in 2..MOST {
            enter([10, 0, 0, 2]);
        }
        assert_eq!(inside.make_room(Instant::now() + MOMENT), None);
        assert!(inside.connections.contains_key(&scraper));
        assert!(!inside.connections.contains_key(&first_of_crowd));
    }

    #[tokio::test]
    async fn a_connection_does_not_last() {
        use tokio::io::AsyncReadExt as _;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut one, _) = Few::new(listener).accept().await;
        one.deadline.as_mut().reset(Instant::now());
        let error = one.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "it asks nothing");
        one.place.note();
        let waits = timeout(Duration::from_millis(100), one.read(&mut [0])).await;
        assert!(waits.is_err(), "it has asked");
        one.place.enter(Phase::Reads);
        let reads = timeout(Duration::from_millis(100), one.read(&mut [0])).await;
        assert!(reads.is_err(), "its answer is ready");
        one.deadline.as_mut().reset(Instant::now());
        assert!(one.read(&mut [0]).await.is_err(), "it does not read the answer");
    }
}
