//! Allowances: submitting one, and what became of each.

use serde::{Deserialize, Serialize};

use super::{Person, Until, UserRef};

/// What is submitted (`POST /v1/allowances`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubmitBody {
    /// Name of the document's file, to say where something is wrong.
    pub(crate) path: String,
    /// The document.
    pub(crate) document: String,
    /// Its signatures.
    pub(crate) signatures: Vec<SignatureBody>,
    /// The command it is for, if it is to cover a process tree. The process that submits it is then
    /// the only one whose child can join it (`POST /v1/allowances/{id}/join`), once.
    #[serde(default)]
    pub(crate) run: Option<RunBody>,
}

/// One signature file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignatureBody {
    /// Its name.
    pub(crate) name: String,
    /// Its content.
    pub(crate) text: String,
}

/// A command that is about to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunBody {
    /// Absolute path of the executable, links followed.
    pub(crate) executable: String,
    /// Its arguments, the first of which is its own name.
    pub(crate) argv: Vec<String>,
    /// Directory it is started in, absolute: relative arguments are looked up there.
    pub(crate) directory: String,
}

/// Why an allowance was refused: what [`super::ErrorReport`] says, and the reason in one word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefusedReport {
    /// What is wrong and what to do; may have several lines.
    pub(crate) error: String,
    /// A `RefusedReason`'s word.
    pub(crate) reason: String,
}

/// Every allowance this host has seen (`GET /v1/allowances`): the open ones, and of the others the
/// latest 1,000.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AllowanceList {
    /// Open ones first, then the latest closed first.
    pub(crate) allowances: Vec<AllowanceReport>,
}

/// One allowance (`GET /v1/allowances/{id}`; answer to submit, revoke and close).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AllowanceReport {
    /// Its id.
    pub(crate) id: String,
    /// The kernel's number for it, this boot.
    pub(crate) serial: u64,
    /// SHA-256 of the document.
    pub(crate) digest: String,
    /// `open` or `closed` (or, of one that was never activated, `revoked`, or `failed` if the
    /// kernel refused it).
    pub(crate) state: String,
    /// Why it is wanted.
    pub(crate) reason: String,
    /// Who wants it.
    pub(crate) requested_by: String,
    /// Who signed it.
    pub(crate) signers: Vec<SignerReport>,
    /// When it was activated, RFC 3339 UTC; absent if it never was.
    pub(crate) opened: Option<String>,
    /// By whom.
    pub(crate) opened_by: Option<Person>,
    /// Until when it is good; absent once it is closed.
    pub(crate) until: Option<Until>,
    /// Seconds until then.
    pub(crate) seconds_left: Option<u64>,
    /// Who may spend it.
    pub(crate) bind: BindReport,
    /// What it grants.
    pub(crate) grants: Vec<GrantReport>,
    /// How it ended.
    pub(crate) closed: Option<ClosedReport>,
}

/// Somebody who signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SignerReport {
    /// The person.
    pub(crate) person: String,
    /// Fingerprint of the key.
    pub(crate) key: String,
    /// Kind of the key.
    pub(crate) algorithm: String,
    /// Whether a hardware key was touched; absent for a key in a file.
    pub(crate) touched: Option<bool>,
    /// Whether a hardware key asked for a PIN or fingerprint.
    pub(crate) verified: Option<bool>,
}

/// Who may spend an allowance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BindReport {
    /// A process tree: this command.
    pub(crate) command: Option<String>,
    /// Its first process, once it has started.
    pub(crate) pid: Option<u32>,
    /// This user.
    pub(crate) user: Option<UserRef>,
    /// This unit.
    pub(crate) unit: Option<String>,
}

/// One grant, and what was spent of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GrantReport {
    /// The zone.
    pub(crate) zone: String,
    /// The ops.
    pub(crate) ops: Vec<String>,
    /// The patterns, as signed.
    pub(crate) subtrees: Vec<String>,
    /// How many directories and files they led to here.
    pub(crate) places: usize,
    /// Files.
    pub(crate) files: Spent,
    /// Bytes.
    pub(crate) bytes: Spent,
    /// Tenants.
    pub(crate) tenants: Spent,
}

/// One side of a grant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spent {
    /// Granted.
    pub(crate) limit: u64,
    /// Spent.
    pub(crate) spent: u64,
    /// Left.
    pub(crate) left: u64,
}

/// How an allowance ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClosedReport {
    /// When, RFC 3339 UTC.
    pub(crate) at: String,
    /// `finished` (its command ended), `never_started` (nothing joined it in time), `expired`,
    /// `revoked`, `closed` (on request), `rebooted`, `policy` (the policy no longer has a zone of
    /// it) or `lost` (the kernel had it no more).
    pub(crate) why: String,
    /// Who did it, if somebody did.
    pub(crate) by: Option<Person>,
}
