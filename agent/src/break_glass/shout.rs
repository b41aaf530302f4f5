//! Tells everybody at once that a break-glass is open or over: the journal at emergency priority,
//! else the system log, else the kernel's log (and with it the console); and every terminal on
//! which somebody is logged in. It never waits for any of them.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::fs::{FileType, OFlags};
use tracing::{error, warn};

use crate::holds::Stat;

const JOURNAL: &str = "/run/systemd/journal/socket";
const SYSLOG: &str = "/dev/log";
const KERNEL_LOG: &str = "/dev/kmsg";
/// Processes whose terminal is looked for.
const MOST_PROCESSES: usize = 65_536;
/// Terminals that are written to.
const MOST_TERMINALS: usize = 256;
/// Messages on their way at once: with one more than this the terminals are stuck, and it is left
/// out.
const MOST_AT_ONCE: usize = 2;

static ON_THE_WAY: AtomicUsize = AtomicUsize::new(0);

/// Tells everybody. `text` is one line, safe for a terminal.
pub(crate) fn shout(text: &str) {
    error!("{text}");
    let line = text.to_owned();
    if ON_THE_WAY.fetch_add(1, Ordering::SeqCst) >= MOST_AT_ONCE {
        ON_THE_WAY.fetch_sub(1, Ordering::SeqCst);
        warn!("terminals are stuck: they were not told this");
        return;
    }
    // A thread of its own: opening a terminal can take its time.
    let tell = move || {
        if let Err(error) = log_emergency(&line) {
            warn!(%error, "neither journal, system log nor kernel log took the message");
        }
        tell_terminals(&line);
        ON_THE_WAY.fetch_sub(1, Ordering::SeqCst);
    };
    if let Err(error) = thread::Builder::new().name("shout".to_owned()).spawn(tell) {
        ON_THE_WAY.fetch_sub(1, Ordering::SeqCst);
        warn!(%error, "terminals cannot be told");
    }
}

/// To the first that takes it.
fn log_emergency(line: &str) -> io::Result<()> {
    let native = format!("PRIORITY=0\nSYSLOG_IDENTIFIER=holdfast\nMESSAGE={line}\n");
    // LOG_USER (1) and LOG_EMERG (0).
    let tagged = format!("<8>holdfast: {line}");
    send(JOURNAL, &native).or_else(|_| send(SYSLOG, &tagged)).or_else(|_| {
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(OFlags::NONBLOCK.bits() as i32);
        options.open(KERNEL_LOG)?.write_all(format!("{tagged}\n").as_bytes())
    })
}

fn send(socket: &str, message: &str) -> io::Result<()> {
    let from = UnixDatagram::unbound()?;
    from.set_nonblocking(true)?;
    from.send_to(message.as_bytes(), socket).map(drop)
}

fn tell_terminals(line: &str) {
    let text = format!("\r\n\x07HOLDFAST: {line}\r\n");
    for tty in terminals() {
        let Some(path) = path(tty) else { continue };
        // Whoever has no room for it does without.
        let _ = write(Path::new(&path), tty, text.as_bytes());
    }
}

/// The terminals that sessions have.
fn terminals() -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for entry in entries.take(MOST_PROCESSES) {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let mut stat = Vec::new();
        let read = File::open(format!("/proc/{pid}/stat"))
            .and_then(|file| file.take(4096).read_to_end(&mut stat));
        let tty = read.ok().and_then(|_| Stat::parse(&stat)).map_or(0, |stat| stat.tty);
        if tty != 0 && found.len() < MOST_TERMINALS {
            found.insert(tty);
        }
    }
    found
}

/// The device of a terminal, by its number as /proc tells it (proc_pid_stat(5), tty_nr).
fn path(tty: u32) -> Option<String> {
    let (major, minor) = device(tty);
    match (major, minor) {
        (136..=143, minor) => Some(format!("/dev/pts/{}", (major - 136) * 256 + minor)),
        (4, 1..=63) => Some(format!("/dev/tty{minor}")),
        (4, minor) if minor >= 64 => Some(format!("/dev/ttyS{}", minor - 64)),
        (5, 1) => Some("/dev/console".to_owned()),
        (229, minor) => Some(format!("/dev/hvc{minor}")),
        (204, minor) if minor >= 64 => Some(format!("/dev/ttyAMA{}", minor - 64)),
        _ => None,
    }
}

fn device(tty: u32) -> (u32, u32) {
    (tty >> 8 & 0xfff, tty & 0xff | tty >> 12 & 0xf_ff00)
}

/// Writes in one go, and only to a terminal with that number.
fn write(path: &Path, tty: u32, text: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
    let stat = rustix::fs::fstat(&file)?;
    let is_it = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)) == device(tty);
    if !is_it {
        return Err(io::ErrorKind::NotFound.into());
    }
    rustix::io::write(&file, text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_found_by_their_number() {
        let number = |major: u32, minor: u32| major << 8 | minor & 0xff | (minor & 0xf_ff00) << 12;
        for (major, minor, expected) in [
            (136, 0, Some("/dev/pts/0")),
            (137, 3, Some("/dev/pts/259")),
            (4, 1, Some("/dev/tty1")),
            (4, 64, Some("/dev/ttyS0")),
            (5, 1, Some("/dev/console")),
            (1, 3, None),
            (4, 0, None),
        ] {
            assert_eq!(path(number(major, minor)).as_deref(), expected, "{major}:{minor}");
            assert_eq!(device(number(major, minor)), (major, minor));
        }
        assert_eq!(device(number(136, 1000)), (136, 1000));
    }

    #[test]
    fn only_the_named_terminal_is_written() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(write(file.path(), 136 << 8, b"x").is_err());
        assert_eq!(fs::read(file.path()).unwrap(), b"");
        assert!(write(Path::new("/dev/null"), 1 << 8 | 3, b"x").is_ok(), "what it is");
        assert!(write(Path::new("/dev/null"), 136 << 8, b"x").is_err(), "another number");
    }
}
