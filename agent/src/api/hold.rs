//! Holds: who is paused, before what, and what was decided about it.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use super::{Cost, EventReport, Side, Tenant, UnitRef, Until};

/// Every hold (`GET /v1/holds`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HoldList {
    /// Oldest first.
    pub(crate) holds: Vec<HoldReport>,
}

/// One hold: the paused processes of one unit and user in one zone (`GET /v1/holds/{id}`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HoldReport {
    /// Its number.
    pub(crate) id: u64,
    /// Name of the zone.
    pub(crate) zone: String,
    /// `held`, `throttled`, `released` (waiting for ops) or `denied` (nobody decided in time).
    pub(crate) state: String,
    /// Since when, RFC 3339 UTC.
    pub(crate) since: String,
    /// Since when, boot-time nanoseconds.
    pub(crate) since_ns: u64,
    /// Seconds since.
    pub(crate) age_seconds: u64,
    /// When it is denied if nobody decides; absent if nothing is held.
    pub(crate) deadline: Option<Until>,
    /// Seconds until then.
    pub(crate) deadline_seconds: Option<u64>,
    /// Whose: the unit.
    pub(crate) unit: UnitRef,
    /// Whose: the login user where one is set, else the real user.
    pub(crate) user: UserRef,
    /// The budget that refused the op that waits longest; absent if nothing waits, or the policy no
    /// longer has it.
    pub(crate) budget: Option<HoldBudget>,
    /// The tenants this hold's actors have touched and those their next ops are about; absent if no
    /// budget counts tenants.
    pub(crate) tenants: Option<Vec<HoldTenant>>,
    /// What was released and can still be spent.
    pub(crate) released: Option<ReleasedFiles>,
    /// Until when its ops are denied.
    pub(crate) denied_until: Option<Until>,
    /// What is paused, longest first.
    pub(crate) processes: Vec<PausedProcess>,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserRef {
    /// Its number.
    pub(crate) uid: u32,
    /// Its name, where /etc/passwd has one.
    pub(crate) name: Option<String>,
}

/// A budget and what the hold's actor spent of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HoldBudget {
    /// Such as `operators per unit, 10m`.
    pub(crate) label: String,
    /// Destroyed in the window.
    pub(crate) spent: Cost,
    /// Length of the window.
    pub(crate) window_seconds: u64,
    /// Files left; absent if not limited.
    pub(crate) files: Option<Side>,
    /// Bytes left; absent if not limited.
    pub(crate) bytes: Option<Side>,
    /// Tenants left; absent if not limited.
    pub(crate) tenants: Option<Side>,
}

/// A tenant that was touched, or is about to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HoldTenant {
    /// Inode number of its directory.
    pub(crate) inode: u64,
    /// Its name, if an event told it.
    pub(crate) name: Option<Tenant>,
}

/// What was released to a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReleasedCount {
    /// Files released, all releases together.
    pub(crate) files: u64,
    /// How many of them are spent.
    pub(crate) used: u64,
}

/// A release that can still be spent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReleasedFiles {
    /// How many.
    #[serde(flatten)]
    pub(crate) count: ReleasedCount,
    /// Until when.
    pub(crate) until: Until,
}

/// A process that is paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PausedProcess {
    /// As it was found when it was paused.
    #[serde(flatten)]
    pub(crate) process: ProcessReport,
    /// Its paused threads.
    pub(crate) threads: Vec<PausedThread>,
}

/// A thread that is paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PausedThread {
    /// Its number.
    pub(crate) tid: u32,
    /// Since when, RFC 3339 UTC.
    pub(crate) since: String,
    /// Seconds since.
    pub(crate) age_seconds: u64,
    /// How many times it was continued by somebody, tried again and was stopped again.
    pub(crate) stopped_again: u64,
    /// When a throttled one tries again.
    pub(crate) retry: Option<Until>,
    /// What it is about to do.
    pub(crate) event: EventReport,
}

/// What /proc said about a process when it was paused. Everything can be missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessReport {
    /// Process.
    pub(crate) pid: u32,
    /// Its name; bytes that are not UTF-8 as `\xNN`, here and below.
    pub(crate) comm: Option<String>,
    /// Its command line.
    pub(crate) command: Option<Vec<String>>,
    /// Whether the command line was longer.
    pub(crate) command_cut: bool,
    /// Its working directory.
    pub(crate) cwd: Option<String>,
    /// Its controlling terminal, such as `pts/1`, or major:minor.
    pub(crate) terminal: Option<String>,
    /// Its parent, its parent's parent and so on, up to process 1 or 16 of them.
    pub(crate) parents: Vec<ParentReport>,
}

/// An ancestor of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ParentReport {
    /// Process.
    pub(crate) pid: u32,
    /// Its name.
    pub(crate) comm: String,
    /// Its command line.
    pub(crate) command: Option<Vec<String>>,
}

/// What is paused, in short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PausedCount {
    /// Holds that wait for a decision.
    pub(crate) holds: u64,
    /// Processes that are held.
    pub(crate) held_processes: u64,
    /// Processes that are throttled.
    pub(crate) throttled_processes: u64,
}

/// How much is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ReleaseBody", into = "ReleaseBody")]
pub(crate) enum Amount {
    /// So many files beyond every budget.
    Files(NonZeroU64),
    /// Every budget that latches the hold's actors starts anew.
    BudgetReset,
}

/// Body of `POST /v1/holds/{id}/release`: exactly one of the two.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleaseBody {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    files: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    budget_reset: Option<bool>,
}

/// Why a release has to say how much.
pub(crate) const STATE_AN_AMOUNT: &str = "a release states an amount: either so many files, or a \
                                          fresh start of the budgets; nothing is let go without a \
                                          limit";

impl TryFrom<ReleaseBody> for Amount {
    type Error = &'static str;

    fn try_from(body: ReleaseBody) -> Result<Self, Self::Error> {
        match (body.files, body.budget_reset) {
            (Some(files), None) => match NonZeroU64::new(files) {
                Some(files) => Ok(Self::Files(files)),
                None => Err("0 files are no release: say how many"),
            },
            (None, Some(true)) => Ok(Self::BudgetReset),
            (Some(_), Some(_)) => Err("a release is `files` or `budget_reset`, not both"),
            (None, Some(false) | None) => Err(STATE_AN_AMOUNT),
        }
    }
}

impl From<Amount> for ReleaseBody {
    fn from(amount: Amount) -> Self {
        match amount {
            Amount::Files(files) => Self { files: Some(files.get()), budget_reset: None },
            Amount::BudgetReset => Self { files: None, budget_reset: Some(true) },
        }
    }
}

/// Body of `POST /v1/holds/{id}/kill`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KillBody {
    /// A signal that ends a process: its name, with or without `SIG`, or its number.
    #[serde(default = "kill")]
    pub(crate) signal: String,
}

fn kill() -> String {
    "KILL".to_owned()
}

/// Answer to a release.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReleaseReport {
    /// The hold.
    pub(crate) id: u64,
    /// Its zone.
    pub(crate) zone: String,
    /// Files released now; absent if budgets were reset.
    pub(crate) files: Option<u64>,
    /// Until when they can be spent.
    pub(crate) until: Option<Until>,
    /// Budgets that were reset; absent if files were released.
    pub(crate) budgets_reset: Option<usize>,
    /// Processes that were continued.
    pub(crate) continued: Vec<u32>,
    /// Processes that could not be.
    pub(crate) failed: Vec<SignalFailure>,
}

/// Answer to a kill.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KillReport {
    /// The hold.
    pub(crate) id: u64,
    /// Its zone.
    pub(crate) zone: String,
    /// The signal.
    pub(crate) signal: String,
    /// Processes that were sent it.
    pub(crate) signalled: Vec<u32>,
    /// Processes that could not be.
    pub(crate) failed: Vec<SignalFailure>,
}

/// A process that could not be signalled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SignalFailure {
    /// Process.
    pub(crate) pid: u32,
    /// Why.
    pub(crate) error: String,
}

/// Who asked the agent for something, as the kernel says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Person {
    /// User of the process that asked.
    pub(crate) uid: u32,
    /// The process, if the kernel said.
    pub(crate) pid: Option<u32>,
    /// Its login user, where one is set.
    pub(crate) login_uid: Option<u32>,
    /// Its name.
    pub(crate) comm: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(text: &str) -> Result<Amount, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_release_states_exactly_one_amount() {
        let seven = Amount::Files(NonZeroU64::new(7).unwrap());
        assert_eq!(amount(r#"{"files":7}"#), Ok(seven));
        assert_eq!(amount(r#"{"budget_reset":true}"#), Ok(Amount::BudgetReset));
        for (body, why) in [
            ("{}", "states an amount"),
            (r#"{"budget_reset":false}"#, "states an amount"),
            (r#"{"files":7,"budget_reset":true}"#, "not both"),
            (r#"{"files":7,"budget_reset":false}"#, "not both"),
            (r#"{"files":0}"#, "no release"),
            (r#"{"files":-1}"#, "invalid value"),
            (r#"{"files":7,"bytes":1}"#, "unknown field"),
            ("[]", ""),
        ] {
            let error = amount(body).unwrap_err();
            assert!(error.contains(why), "{body}: {error}");
        }
        for given in [seven, Amount::BudgetReset] {
            assert_eq!(amount(&serde_json::to_string(&given).unwrap()), Ok(given));
        }
    }

    #[test]
    fn kill_signal_is_default() {
        let signal = |text| serde_json::from_str::<KillBody>(text).map(|body| body.signal);
        assert_eq!(signal("{}").unwrap(), "KILL");
        assert_eq!(signal(r#"{"signal":"TERM"}"#).unwrap(), "TERM");
        assert!(signal(r#"{"signal":"TERM","pid":1}"#).is_err());
    }
}
