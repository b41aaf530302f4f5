//! Few connections at a time, none of them for long: a descriptor that a connection has is one that the agent lacks when it
//! looks at a process. It never looks at what is asked.

use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// Connections at a time; the others wait until they are accepted.
const MOST: usize = 32;
/// How long a question may take to arrive.
const TO_ASK: Duration = Duration::from_secs(10);
/// How long it may take from then on until the answer is read. The agent may be loading its programs.
const TO_ANSWER: Duration = Duration::from_secs(120);

/// A listener that has few connections at a time.
#[derive(Debug)]
pub(super) struct Few {
    listener: TcpListener,
    room: Arc<Semaphore>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct One {
    stream: TcpStream,
    asked: Asked,
    deadline: Pin<Box<Sleep>>,
    is_last: bool,
    _room: OwnedSemaphorePermit,
}

/// Whether the question has arrived.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked(Arc<AtomicBool>);

impl Few {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, room: Arc::new(Semaphore::new(MOST)) }
    }
}

impl Asked {
    /// It has.
    pub(super) fn note(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Connected<IncomingStream<'_, Few>> for Asked {
    fn connect_info(stream: IncomingStream<'_, Few>) -> Self {
        stream.io().asked.clone()
    }
}

impl Listener for Few {
    type Io = One;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (One, SocketAddr) {
        let room = self.room.clone().acquire_owned().await;
        let room = room.expect("nobody closes the semaphore");
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        let deadline = Box::pin(sleep(TO_ASK));
        let asked = Asked::default();
        (One { stream, asked, deadline, is_last: false, _room: room }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl One {
    /// An error once it has lasted too long.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.deadline.as_mut().poll(cx).is_ready() {
            if self.is_last || !self.asked.0.load(Ordering::Acquire) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.is_last = true;
            self.deadline.as_mut().reset(Instant::now() + TO_ANSWER);
        }
        Ok(())
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

    #[tokio::test]
    async fn a_crowd_waits_outside() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut few = Few::new(listener);
        let mut crowd = Vec::new();
        for _ in 0..MOST + 8 {
            crowd.push(TcpStream::connect(address).await.unwrap());
        }
        let mut inside = Vec::new();
        for _ in 0..MOST {
            inside.push(few.accept().await.0);
        }
        assert!(timeout(Duration::from_millis(100), few.accept()).await.is_err());
        inside.pop();
        assert!(timeout(Duration::from_secs(20), few.accept()).await.is_ok());
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
        one.asked.note();
        let waits = timeout(Duration::from_millis(100), one.read(&mut [0])).await;
        assert!(waits.is_err(), "it has asked");
        one.deadline.as_mut().reset(Instant::now());
        assert!(one.read(&mut [0]).await.is_err(), "it does not read the answer");
    }
}
