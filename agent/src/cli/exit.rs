//! The statuses with which a command ends. Stable: scripts rely on them.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// As it should.
    Ok = 0,
    /// Something failed.
    Failure = 1,
    /// The command line is wrong. (The parser ends with it by itself.)
    Usage = 2,
    /// A policy, a path or the number of a hold is wrong.
    BadInput = 3,
    /// There is no agent.
    Unreachable = 4,
    /// Nothing is enforced.
    NotEnforcing = 5,
}

/// For `--help`.
pub(super) const HELP: &str = "Exit status:
  0  done; for status and doctor: enforcing
  1  something failed
  2  the command line is wrong
  3  bad input: a policy with mistakes, or a path or hold that does not exist
  4  the agent is not running, or cannot be reached
  5  not enforcing (status, doctor)";

impl Exit {
    /// Every status.
    #[cfg(test)]
    pub(crate) const ALL: &'static [Self] = &[
        Self::Ok,
        Self::Failure,
        Self::Usage,
        Self::BadInput,
        Self::Unreachable,
        Self::NotEnforcing,
    ];

    /// What it means, as in `--help`.
    #[cfg(test)]
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done; for status and doctor: enforcing",
            Self::Failure => "something failed",
            Self::Usage => "the command line is wrong",
            Self::BadInput => {
                "bad input: a policy with mistakes, or a path or hold that does not exist"
            }
            Self::Unreachable => "the agent is not running, or cannot be reached",
            Self::NotEnforcing => "not enforcing (status, doctor)",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
