//! `holdfast unpin`: takes the guard off this host.

use super::{Dirs, Exit, Failure, out};
use crate::audit::{AuditLog, Record};
use crate::clock::Now;
use crate::daemon::{AgentLock, LockError};
use crate::kernel;

pub(super) fn run(dirs: &Dirs, force: bool) -> Result<Exit, Failure> {
    // Held until the end, so that no agent starts meanwhile. Without a run directory none can be running.
    let lock = dirs.run_dir.is_dir().then(|| AgentLock::take(&dirs.run_dir)).transpose();
    let forced = match &lock {
        Ok(_) => false,
        Err(LockError::Running { .. }) if force => true,
        Err(LockError::Running { .. }) => {
            return Err(Failure::new(
                Exit::Failure,
                "an agent is running\n  help: stop it first (`systemctl stop holdfast`), or use --force",
            ));
        }
        Err(error @ LockError::Io { .. }) => {
            return Err(Failure::new(Exit::Failure, error.to_string()));
        }
    };
    let pins = kernel::unpin(&dirs.pin_dir)
        .map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
    record(dirs, pins, forced);
    let message = match pins {
        0 => "nothing was pinned: this host was not guarded".to_owned(),
        pins => {
            format!("the guard is off: {pins} pins removed; what has been counted is forgotten")
        }
    };
    out::text(&message)?;
    Ok(Exit::Ok)
}

/// Taking the guard off must not fail because the log cannot be written; it is said instead.
fn record(dirs: &Dirs, pins: usize, forced: bool) {
    let now = Now::read();
    let login_uid = std::fs::read_to_string("/proc/self/loginuid").ok();
    let login_uid =
        login_uid.and_then(|text| text.trim().parse().ok()).filter(|uid| *uid != u32::MAX);
    let record = Record::Unpin { pins, uid: rustix::process::getuid().as_raw(), login_uid, forced };
    let written = AuditLog::open(&dirs.state_dir, now).map_err(|error| error.to_string()).and_then(
        |(mut log, _)| {
            log.append(&record, now);
            log.sync().map_err(|error| error.to_string())
        },
    );
    if let Err(error) = written {
        out::fail(Exit::Ok, &format!("this is not in the audit log: {error}"));
    }
}
