//! The signed maintenance allowance: what the document says, and whether it counts on this host at
//! this time.
//!
//! [`check()`] is the whole judgement that needs no look at the host's files: text → document →
//! signatures → people → host → time → zones. Where the patterns lead, whether the id was used
//! before and who runs it is the agent's to look at.

mod canonical;
mod check;
mod document;
mod refused;
mod summary;
mod utc;

use std::collections::BTreeSet;

pub use refused::{Refused, RefusedReason};
pub use utc::utc;

use crate::budget::OpSet;
use crate::model::{Policy, ZoneName};
use crate::pattern::PathPattern;
use crate::problem::Problems;
use crate::signers::{RevokedKeys, Signers};
use crate::sshsig::Hardware;

/// The only version of the document.
pub const ALLOWANCE_VERSION: u32 = 1;
/// Most bytes of a document.
pub const MAX_DOCUMENT: usize = 64 * 1024;
/// Most signatures of a document.
pub const MAX_SIGNATURES: usize = 32;
/// Most bytes of a signature file.
pub const MAX_SIGNATURE: usize = 16 * 1024;

/// A document that could be read: whole and well formed. Whether it counts is another matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// What it is called; it can be activated once on each host. 1 to 64 of a-z, A-Z, 0-9, `.`,
    /// `_`, `-`, a letter or digit first.
    pub id: String,
    /// Why.
    pub reason: String,
    /// Who wants it: a person as in `allowed_signers`.
    pub requested_by: String,
    /// For which hosts.
    pub hosts: Hosts,
    /// From when, seconds since 1970 UTC.
    pub not_before: i64,
    /// Until when, seconds since 1970 UTC; later than `not_before`.
    pub not_after: i64,
    /// What may be destroyed; 1 to 8 ([`holdfast_abi::MAX_GRANTS`]).
    pub grants: Vec<Grant>,
    /// By whom.
    pub bind: Bind,
    /// SHA-256 (64 lower-case hexadecimal digits) of the rehearsal it rests on.
    pub rehearsal: Option<String>,
}

/// The hosts of an allowance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// `["*"]`: only where the policy has `any_host = true`.
    Any,
    /// Host names (as `uname -n` says) and machine ids (32 hexadecimal digits), in small letters;
    /// at least one.
    These(BTreeSet<String>),
}

/// What may be destroyed in one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The zone.
    pub zone: ZoneName,
    /// Directories (with all that is below) and files, by absolute path; globs as in a policy. At
    /// least one, sorted, each once.
    pub subtrees: Vec<PathPattern>,
    /// These ops; at least one.
    pub ops: OpSet,
    /// At most so many files, at least 1.
    pub files: u64,
    /// At most so many bytes.
    pub bytes: u64,
    /// At most in so many tenants.
    pub tenants: u32,
}

/// Who may spend an allowance; what is absent is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bind {
    /// Login user where one is set, else real user: a name or number.
    pub user: Option<String>,
    /// systemd unit (`maintenance.service`) or cgroup path from the root
    /// (`/system.slice/x.service`).
    pub unit: Option<String>,
    /// The command, which `holdfast run` has to start.
    pub command: Option<BoundCommand>,
}

/// A command and what is in its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundCommand {
    /// Absolute path of the executable.
    pub path: String,
    /// SHA-256 of the executable.
    pub sha256: String,
    /// The script it runs, which has to be its first argument, and its SHA-256.
    pub script: Option<(String, String)>,
}

/// What this host is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostNames {
    /// As `uname -n` says.
    pub name: String,
    /// As /etc/machine-id says.
    pub machine_id: Option<String>,
}

/// One file with a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureFile {
    /// Its name, to say which one is wrong.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// Somebody whose signature counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The person, as policy and `allowed_signers` call them.
    pub person: String,
    /// Fingerprint of the key.
    pub key: String,
    /// Kind of the key.
    pub algorithm: String,
    /// What a hardware key says.
    pub hardware: Option<Hardware>,
}

/// Everything a judgement rests on.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Name of the document's file.
    pub path: &'a str,
    /// Its text, which has to be canonical.
    pub text: &'a str,
    /// Its signatures.
    pub signatures: &'a [SignatureFile],
    /// The policy in force.
    pub policy: &'a Policy,
    /// Whose key is whose.
    pub signers: &'a Signers,
    /// Keys that are not trusted any more.
    pub revoked: &'a RevokedKeys,
    /// This host.
    pub host: &'a HostNames,
    /// Seconds since 1970 UTC.
    pub now: i64,
}

/// An allowance that counts on this host at this time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The document.
    pub allowance: Allowance,
    /// Whose signatures count, one for each person.
    pub signers: Vec<Signer>,
}

impl Allowance {
    /// Reads a document. `path` is only used to say where a problem is; all problems come at once.
    /// It need not be canonical.
    pub fn parse(path: &str, text: &str) -> Result<Self, Problems> {
        document::parse(path, text)
    }

    /// The one text that says this: what is shown, signed and accepted.
    pub fn canonical(&self) -> String {
        canonical::canonical(self)
    }

    /// What it says in plain words, several lines: what a person reads before signing.
    pub fn summary(&self) -> String {
        summary::summary(self)
    }
}

/// Judges an allowance.
///
/// A refusal names the first reason in the order text, signatures, host, time, zones, people; its
/// message says everything that is wrong at that point. Every signature that is presented has to be
/// right: one that is wrong refuses the whole. An allowance that at least one person of the policy
/// has really signed, and that is for other hosts, is refused with [`RefusedReason::OtherHost`]
/// whatever else is wrong with it.
pub fn check(evidence: &Evidence<'_>) -> Result<Checked, Refused> {
    check::check(evidence)
}
