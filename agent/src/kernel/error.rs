//! What can go wrong at the kernel boundary. Each names the operation and the object.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

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
    /// Another agent has the lock on the pins.
    #[error(
        "this guard is managed by another agent{} with a different --run-dir\n  \
         help: stop that agent first, or use its --run-dir",
        in_process(*agent)
    )]
    Managed {
        /// Its process, if it can be seen from here.
        agent: Option<u32>,
    },
    /// The kernel runs a guard that is not pinned where it should be.
    #[error("{}", another_guard(pin_dir, programs, *agent, covered.as_deref()))]
    AnotherGuard {
        /// Where this one is to be pinned.
        pin_dir: PathBuf,
        /// The kernel's ids of the other's LSM programs.
        programs: BTreeSet<u32>,
        /// The other's agent, if one has lately shown itself.
        agent: Option<u32>,
        /// Where one bpffs is mounted over another.
        covered: Option<PathBuf>,
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

fn in_process(agent: Option<u32>) -> String {
    agent.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}

fn another_guard(
    pin_dir: &Path,
    programs: &BTreeSet<u32>,
    agent: Option<u32>,
    covered: Option<&Path>,
) -> String {
    let mut text = format!(
        "the kernel runs another holdfast guard{}, which is not pinned in {}:",
        agent.map_or_else(String::new, |pid| format!(" (agent: pid {pid})")),
        pin_dir.display()
    );
    let ids: Vec<String> = programs.iter().map(u32::to_string).collect();
    let _ = write!(text, " BPF programs {}\n  help: ", ids.join(", "));
    match covered {
        Some(at) => {
            let at = at.display();
            let _ = write!(text, "a bpffs is mounted over its pins: `umount {at}`");
        }
        None => text.push_str(
            "use the --pin-dir in which it is pinned (look in the host's mount namespace, too), or \
             unload it: `holdfast unpin --pin-dir DIR`",
        ),
    }
    text
}

impl KernelError {
    /// Whether another agent or guard is there, and this one must not start.
    pub(crate) fn is_another(&self) -> bool {
        matches!(self, Self::Managed { .. } | Self::AnotherGuard { .. })
    }

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
