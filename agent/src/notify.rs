//! Messages to the service manager that started this process, as in sd_notify(3). It never waits,
//! and never decides what to say.
//!
//! Without `NOTIFY_SOCKET` in the environment nobody is told anything.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use tracing::warn;

/// Names the socket. A leading `@` stands for the abstract namespace.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// Where the service manager listens, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    target: Option<(UnixDatagram, SocketAddr)>,
    /// Messages that did not get through, one after another.
    failed: u64,
}

impl Notify {
    /// As the environment says. A socket that cannot be used is said once: the service manager will
    /// then hold the agent for hung.
    pub(crate) fn from_environment() -> Self {
        let Some(name) = env::var_os(VARIABLE).filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        match open(&name) {
            Ok(target) => Self { target: Some(target), failed: 0 },
            Err(error) => {
                warn!(%error, socket = ?name, "the service manager cannot be told how things are");
                Self::default()
            }
        }
    }

    /// Sends a message of one or more lines.
    pub(crate) fn send(&mut self, message: &str) {
        let Some((socket, address)) = &self.target else { return };
        match socket.send_to_addr(message.as_bytes(), address) {
            Ok(_) => self.failed = 0,
            Err(error) => {
                self.failed += 1;
                if self.failed == 1 {
                    warn!(%error, "the service manager was not told how things are");
                }
            }
        }
    }
}

fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::other("it is neither a path nor an abstract name")),
    };
    let socket = UnixDatagram::unbound()?;
    // A full queue is no reason for the daemon to wait.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(name: &str) -> Notify {
        Notify { target: Some(open(OsStr::new(name)).unwrap()), failed: 0 }
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_socket_with_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        to(path.to_str().unwrap()).send("READY=1\nSTATUS=up\n");
        assert_eq!(received(&manager), "READY=1\nSTATUS=up\n");
    }

    #[test]
    fn a_socket_in_the_abstract_namespace() {
        let name = format!("holdfast-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        to(&format!("@{name}")).send("WATCHDOG=1\n");
        assert_eq!(received(&manager), "WATCHDOG=1\n");
    }

    #[test]
    fn notify_never_waits_and_counts_failures() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let mut notify = to(path.to_str().unwrap());
        for _ in 0..10_000 {
            notify.send("WATCHDOG=1\n");
        }
        assert!(notify.failed > 0, "the queue is full, and nobody waited for it");
        let _ = received(&manager);
        notify.send("WATCHDOG=1\n");
        assert_eq!(notify.failed, 0, "it got through again");
        drop(manager);
        notify.send("WATCHDOG=1\n");
        assert_eq!(notify.failed, 1);
    }

    #[test]
    fn without_a_socket_nothing_happens() {
        let mut notify = Notify::default();
        notify.send("READY=1\n");
        assert_eq!(notify.failed, 0);
        assert!(open(OsStr::new("relative")).is_err());
    }
}
