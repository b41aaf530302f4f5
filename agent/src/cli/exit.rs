//! The statuses with which a command ends. Stable: scripts rely on them.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// As it should.
    Ok = 0,
    /// Something failed. (`policy diff`: there are differences; `policy simulate`: something would
    /// have tripped; these end with [`Exit::BadInput`] if something failed.)
    Failure = 1,
    /// The command line is wrong. (The parser ends with it by itself.)
    Usage = 2,
    /// A policy, an allowance, a path or the number of a hold is wrong.
    BadInput = 3,
    /// There is no agent.
    Unreachable = 4,
    /// Not every zone is enforced.
    NotEnforcing = 5,
    /// `holdfast run` ran nothing.
    NotRun = 125,
    /// `holdfast run`: what it found cannot be executed.
    NotExecutable = 126,
    /// `holdfast run`: there is no such command.
    NotFound = 127,
}

/// For `--help`.
pub(super) const HELP: &str = "Exit status:
  0  done; for status: every zone is enforced; for doctor: nothing to fix
  1  something failed
  2  the command line is wrong
  3  bad input: a wrong policy or allowance, or a path, hold or id that does not exist
  4  the agent is not running, or cannot be reached
  5  an agent answers, and the guard is down, a protected path is not guarded, or a zone
     only observes (status; its first line and --json say which); something to fix (doctor)
holdfast policy diff and simulate end with 0 if there is no difference, or no trip,
with 1 if there is one, and with 3 if that cannot be said.
holdfast run ends as its command does (128 and the number of the signal that killed it), or:
  125  nothing was run: the allowance was refused, or the agent cannot be reached
  126  nothing was run: the command cannot be executed
  127  nothing was run: there is no such command";

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
        Self::NotRun,
        Self::NotExecutable,
        Self::NotFound,
    ];

    /// What it means, as in `--help`.
    #[cfg(test)]
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done; for status: every zone is enforced; for doctor: nothing to fix",
            Self::Failure => "something failed",
            Self::Usage => "the command line is wrong",
            Self::BadInput => {
                "bad input: a wrong policy or allowance, or a path, hold or id that does not exist"
            }
            Self::Unreachable => "the agent is not running, or cannot be reached",
            Self::NotEnforcing => "an agent answers, and the guard is down",
            Self::NotRun => {
                "nothing was run: the allowance was refused, or the agent cannot be reached"
            }
            Self::NotExecutable => "nothing was run: the command cannot be executed",
            Self::NotFound => "nothing was run: there is no such command",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
