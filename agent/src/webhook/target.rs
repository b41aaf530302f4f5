//! Where a hook is, and the key that signs what is sent to it.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::str::FromStr;

use ring::hmac;

/// The shortest key.
const SHORTEST: usize = 32;
/// The longest.
const LONGEST: u64 = 4096;

/// A hook's address: `http://ADDRESS:PORT/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(super) address: SocketAddr,
    pub(super) path: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || {
            "write http://ADDRESS:PORT/PATH with an IP address, such as \
             http://127.0.0.1:9094/holdfast"
                .to_owned()
        };
        if text.starts_with("https:") {
            return Err(
                "there is no TLS in the agent: let a proxy on this host or a private network pass \
                 it on"
                    .to_owned(),
            );
        }
        let rest = text.strip_prefix("http://").ok_or_else(form)?;
        let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let address: SocketAddr = address.parse().map_err(|_| form())?;
        let path = if path.is_empty() { "/" } else { path };
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(form());
        }
        if !is_near(address.ip().to_canonical()) {
            return Err(format!(
                "{} is neither this host nor a private network: what is sent there could be read \
                 on the way, as there is no TLS",
                address.ip()
            ));
        }
        Ok(Self { address, path: path.to_owned() })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.address, self.path)
    }
}

/// Loopback, or one of the networks that are private by RFC 1918 and RFC 4193.
fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_private(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local(),
    }
}

/// The key in a file of root's, or of whoever runs this, that nobody else can read: at least 32
/// bytes, white space at the ends not counted.
pub(crate) fn read_key(path: &Path) -> Result<hmac::Key, String> {
    let wrong = |what: &str| format!("the key of the web hook, {}: {what}", path.display());
    // A pipe without a writer would be waited for.
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = open.map_err(|error| wrong(&error.to_string()))?;
    let about = file.metadata().map_err(|error| wrong(&error.to_string()))?;
    if !about.is_file() {
        return Err(wrong("it is no file"));
    }
    if about.mode() & 0o077 != 0 {
        return Err(wrong("others can read it\n  help: chmod 600"));
    }
    if about.uid() != 0 && about.uid() != rustix::process::geteuid().as_raw() {
        return Err(wrong(&format!(
            "it is user {}'s, who knows it\n  help: chown root",
            about.uid()
        )));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|error| wrong(&error.to_string()))?;
    if bytes.len() as u64 > LONGEST {
        // Cut off here, it would not be the one that the hook has.
        return Err(wrong("it is longer than 4 KiB\n  help: openssl rand -hex 32 > FILE"));
    }
    let key = bytes.trim_ascii();
    if key.len() < SHORTEST {
        return Err(wrong("it is shorter than 32 bytes\n  help: openssl rand -hex 32 > FILE"));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, key))
}
