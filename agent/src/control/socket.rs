//! Opens the control socket.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio::net::UnixListener;

/// Name of the socket in the run directory.
pub(crate) const SOCKET: &str = "control.sock";

/// Why there is no control socket.
#[derive(Debug, Error)]
pub(crate) enum ControlError {
    /// A system call failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The operation.
        what: &'static str,
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something answers.
    #[error(
        "something answers on {} already\n  help: end it, or choose another --run-dir",
        path.display()
    )]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else is there.
    #[error(
        "{} is not a socket\n  help: move it away, or choose another --run-dir",
        path.display()
    )]
    NotASocket {
        /// What is there.
        path: PathBuf,
    },
}

/// Opens it, in place of one that an agent left behind when it ended.
pub(crate) fn bind(run_dir: &Path) -> Result<UnixListener, ControlError> {
    let path = run_dir.join(SOCKET);
    let io = |what: &'static str| {
        let path = path.clone();
        move |source| ControlError::Io { what, path, source }
    };
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io("look at")(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ControlError::NotASocket { path });
        }
        Ok(_) if UnixStream::connect(&path).is_ok() => return Err(ControlError::InUse { path }),
        Ok(_) => {}
    }
    // It is made where nobody else can go, and moved into place once only its owner can use it.
    let private = run_dir.join(".control");
    if private.exists() {
        fs::remove_dir_all(&private).map_err(io("remove the old directory beside"))?;
    }
    fs::DirBuilder::new().mode(0o700).create(&private).map_err(io("make a directory beside"))?;
    let new = private.join(SOCKET);
    let listener = UnixListener::bind(&new).map_err(io("listen on"))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).map_err(io("restrict"))?;
    fs::rename(&new, &path).map_err(io("put in place"))?;
    fs::remove_dir(&private).map_err(io("remove the directory beside"))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_an_unserved_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SOCKET);
        let first = bind(dir.path()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(matches!(bind(dir.path()), Err(ControlError::InUse { .. })));
        drop(first);
        let second = bind(dir.path()).unwrap();
        drop(second);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(dir.path()), Err(ControlError::NotASocket { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}
