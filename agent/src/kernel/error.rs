//! What can go wrong at the kernel boundary. Each names the operation and the object.

use std::path::PathBuf;

use thiserror::Error;

/// An operation on the kernel side that failed.
#[derive(Debug, Error)]
pub enum KernelError {
    /// The binary has no kernel programs in it.
    #[error("this binary was built without its kernel programs; build it with `cargo xtask build`")]
    NotBuilt,
    /// BPF LSM cannot work on this kernel as it was booted.
    #[error("BPF LSM is not active: {found}")]
    LsmInactive {
        /// What was found instead.
        found: String,
    },
    /// This kernel is laid out in a way the programs do not know.
    #[error("this kernel is not supported: {what}")]
    Layout {
        /// The difference.
        what: String,
    },
    /// A pinned map has another shape than this build needs.
    #[error(
        "the pinned map {} has {found} where this version needs {wanted}; \
         `holdfast unpin` removes it, and with it what has been counted", path.display()
    )]
    Incompatible {
        /// The pin.
        path: PathBuf,
        /// What it has.
        found: String,
        /// What is needed.
        wanted: String,
    },
    /// The kernel refused a program or map.
    #[error("the kernel refused to {what}: {reason}")]
    Refused {
        /// The operation and its object.
        what: String,
        /// Its reason.
        reason: String,
    },
    /// A system call failed.
    #[error("cannot {what}: {source}")]
    Io {
        /// The operation and its object.
        what: String,
        /// Its reason.
        source: std::io::Error,
    },
    /// The kernel did not tell what it calls an inode.
    #[error("the kernel programs did not answer about {what}: {why}")]
    NotLearned {
        /// The file.
        what: String,
        /// What to look at.
        why: String,
    },
    /// A policy asks for more than the maps can hold.
    #[error("{what}")]
    TooMany {
        /// What, and how many can be.
        what: String,
    },
}

impl KernelError {
    pub(super) fn refused(what: impl Into<String>, reason: impl std::error::Error) -> Self {
        // The cause is often two levels down: the verifier's last words are what one needs to see.
        let mut text = reason.to_string();
        let mut source = reason.source();
        while let Some(inner) = source {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            source = inner.source();
        }
        Self::Refused { what: what.into(), reason: text }
    }

    pub(super) fn io(what: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Io { what: what.into(), source: source.into() }
    }
}
