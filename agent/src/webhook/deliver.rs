//! One request: HTTP/1.1, a connection of its own, few seconds.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::hmac;

use super::Target;

/// How long connecting, sending and being answered may take, each.
const PATIENCE: Duration = Duration::from_secs(3);

/// Sends one message. The signature is of the time, a point, and the body.
pub(super) fn post(target: &Target, key: &hmac::Key, body: &str) -> io::Result<()> {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let signature = hmac::sign(key, format!("{time}.{body}").as_bytes());
    let signature: String = signature.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut stream = TcpStream::connect_timeout(&target.address, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\
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
    match status.strip_prefix("HTTP/1.").and_then(|rest| rest.as_bytes().get(2)) {
        Some(b'2') => Ok(()),
        _ => Err(io::Error::other(format!("it answered {status}"))),
    }
}
