//! One agent per run directory: a lock that the kernel gives back when the agent ends, however it
//! ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use thiserror::Error;

/// Held for as long as the agent runs.
#[derive(Debug)]
pub(crate) struct AgentLock {
    _file: File,
}

/// Why there is no lock.
#[derive(Debug, Error)]
pub(crate) enum LockError {
    /// Another agent has it.
    #[error(
        "an agent is running already ({} is locked)\n  help: `holdfast status` shows it; to have \
         it read its policy again, `holdfast policy reload`",
        path.display()
    )]
    Running {
        /// The lock file.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("cannot lock {}: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl AgentLock {
    /// Takes the lock, or says who has it.
    pub(crate) fn take(run_dir: &Path) -> Result<Self, LockError> {
        let path = run_dir.join("agent.lock");
        let io = |source: io::Error| LockError::Io { path: path.clone(), source };
        // The file stays when the agent ends: removing it would let two agents lock two files of
        // that name.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(Errno::WOULDBLOCK) => Err(LockError::Running { path }),
            Err(errno) => Err(io(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_agent_runs() {
        let dir = tempfile::tempdir().unwrap();
        let first = AgentLock::take(dir.path()).unwrap();
        assert!(matches!(AgentLock::take(dir.path()), Err(LockError::Running { .. })));
        drop(first);
        assert!(AgentLock::take(dir.path()).is_ok());
    }
}
