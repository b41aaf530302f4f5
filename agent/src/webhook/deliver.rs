//! One request: HTTP/1.1, a connection of its own, few seconds.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ring::hmac;

use super::Target;

/// How long all of it may take: a hook that takes and gives a byte now and then is as good as one
/// that hangs. A test on a busy machine is not about that.
pub(super) const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 60 } else { 5 });

/// So much of an answer is read.
const LONGEST: u64 = 1 << 16;

/// Sends one message. The signature is of the time, a point, and the body.
pub(super) fn post(
    target: &Target,
    key: &hmac::Key,
    body: &str,
    patience: Duration,
) -> io::Result<()> {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let signature = hmac::sign(key, format!("{time}.{body}").as_bytes());
    let signature: String = signature.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let until = Instant::now() + patience;
    let stream = TcpStream::connect_timeout(&target.address, patience)?;
    let mut stream = Until { stream, until };
    let request = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\
         Holdfast-Time: {time}\r\nHoldfast-Signature: sha256={signature}\r\n\r\n{body}",
        target.path,
        target.address,
        body.len(),
    );
    stream.write_all(request.as_bytes())?;
    // `HTTP/1.1 204`
    let mut start = [0; 12];
    stream.read_exact(&mut start)?;
    let status = String::from_utf8_lossy(&start).into_owned();
    // Closed before all of the answer was read, the connection would be reset under the hook's
    // hands. What it says is not of interest.
    let _ = io::copy(&mut stream.take(LONGEST), &mut io::sink());
    match status.strip_prefix("HTTP/1.").and_then(|rest| rest.as_bytes().get(2)) {
        Some(b'2') => Ok(()),
        _ => Err(io::Error::other(format!("it answered {:?}", status))),
    }
}

/// A connection that is over at a moment, however much still comes and goes.
struct Until {
    stream: TcpStream,
    until: Instant,
}

impl Until {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it takes too long"));
        }
        Ok(Some(left))
    }
}

impl Read for Until {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(bytes)
    }
}

impl Write for Until {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
