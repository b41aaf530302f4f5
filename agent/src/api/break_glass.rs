//! Break-glass: opening one, codes, and what became of each.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ClosedReport, Person, RunBody, SignerReport, Spent, Until};

/// A code on its way. It is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantedBody {
    /// The zone.
    pub(crate) zone: String,
    /// Why.
    pub(crate) reason: String,
    /// For how long.
    pub(crate) seconds: u64,
    /// At most so many files; absent: as many as the policy allows.
    pub(crate) files: Option<u64>,
    /// At most so many bytes; absent: as many as the policy allows.
    pub(crate) bytes: Option<u64>,
    /// For everybody in the zone, and not for one command.
    pub(crate) host_wide: bool,
}

/// What is to be opened (`POST /v1/break-glass/open`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GlassBody {
    /// What lets it open.
    pub(crate) proof: ProofBody,
    /// The command it is for, unless it is for everybody in the zone. The process that opens it is
    /// then the only one whose child can join it (`POST /v1/break-glass/join`), once.
    #[serde(default)]
    pub(crate) run: Option<RunBody>,
}

/// What lets it open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum ProofBody {
    /// A code, and what is asked for.
    Code {
        /// The code.
        code: Secret,
        /// What is asked for.
        wanted: WantedBody,
    },
    /// A challenge of this host, and a signature on it.
    Signature {
        /// The challenge, which says what is asked for.
        challenge: String,
        /// The signature.
        signature: String,
    },
}

/// How many codes to make (`POST /v1/break-glass/codes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCodesBody {
    /// So many.
    pub(crate) count: u32,
    /// Whether those that are unused so far are good no more.
    pub(crate) replace: bool,
}

/// Which one to close (`POST /v1/break-glass/close`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CloseGlassBody {
    /// The one of this number, if that is open; absent: whichever is.
    pub(crate) number: Option<u64>,
}

/// New codes. This is the only time they are shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NewCodesReport {
    /// Each with its number.
    pub(crate) codes: Vec<NewCode>,
    /// How many there are now that were not used.
    pub(crate) left: usize,
    /// What keeps them from opening anything, if something does.
    pub(crate) warning: Option<String>,
}

/// A new code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NewCode {
    /// Its number, which is no secret.
    pub(crate) number: u64,
    /// The code.
    pub(crate) code: Secret,
}

/// Which codes there are (`GET /v1/break-glass/codes`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CodesReport {
    /// How many were not used.
    pub(crate) left: usize,
    /// Each.
    pub(crate) codes: Vec<CodeReport>,
}

/// A code, as far as it is known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CodeReport {
    /// Its number.
    pub(crate) number: u64,
    /// When it was made, RFC 3339 UTC.
    pub(crate) made: String,
    /// When it was used.
    pub(crate) used: Option<String>,
    /// By whom.
    pub(crate) used_by: Option<Person>,
}

/// A challenge (`POST /v1/break-glass/challenge`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ChallengeReport {
    /// What has to be signed, byte for byte.
    pub(crate) challenge: String,
    /// Until when it waits.
    pub(crate) until: Until,
}

/// Everything about break-glass (`GET /v1/break-glass`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct GlassStatus {
    /// The one that is open.
    pub(crate) open: Option<GlassReport>,
    /// The latest of those that are over.
    pub(crate) closed: Vec<GlassReport>,
    /// Zones for which one can be opened.
    pub(crate) zones: Vec<String>,
    /// The longest one can be open, seconds; absent if none can be.
    pub(crate) max_seconds: Option<u64>,
    /// The most files.
    pub(crate) max_files: Option<u64>,
    /// The most bytes.
    pub(crate) max_bytes: Option<u64>,
    /// Codes that were not used.
    pub(crate) codes_left: usize,
    /// Wrong codes of late.
    pub(crate) wrong_codes: u32,
}

/// One break-glass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GlassReport {
    /// Its number.
    pub(crate) number: u64,
    /// What events call it.
    pub(crate) id: String,
    /// The kernel's number for it, in its boot.
    pub(crate) serial: u64,
    /// `open`, `closed`, or `failed` if the kernel refused it.
    pub(crate) state: String,
    /// The zone.
    pub(crate) zone: String,
    /// `primary` or `backup`.
    pub(crate) role: String,
    /// Why.
    pub(crate) reason: String,
    /// `host_wide` or `command`.
    pub(crate) scope: String,
    /// The command.
    pub(crate) command: Option<String>,
    /// Its first process, once it has started.
    pub(crate) pid: Option<u32>,
    /// When it was opened, RFC 3339 UTC.
    pub(crate) opened: String,
    /// By whom.
    pub(crate) opened_by: Person,
    /// With the code of this number.
    pub(crate) code: Option<u64>,
    /// With this person's signature.
    pub(crate) signer: Option<SignerReport>,
    /// Until when; absent once it is closed.
    pub(crate) until: Option<Until>,
    /// Seconds until then.
    pub(crate) seconds_left: Option<u64>,
    /// Files.
    pub(crate) files: Spent,
    /// Bytes.
    pub(crate) bytes: Spent,
    /// Ops that spent, by op.
    pub(crate) ops: BTreeMap<String, u64>,
    /// How it ended.
    pub(crate) closed: Option<ClosedReport>,
}
