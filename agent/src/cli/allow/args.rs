//! The flags of `holdfast allow`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::super::Json;

/// What to do with allowances.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum AllowCommand {
    /// Write a new allowance, to be signed
    ///
    /// Asks for what the flags leave out if standard input is a terminal. The file holds the
    /// canonical text: what is signed, byte for byte.
    New(Box<NewArgs>),
    /// Show what an allowance says and who has signed it, or what became of one that was submitted
    Show(ShowArgs),
    /// Sign an allowance with an SSH key, after showing it
    ///
    /// The same as `ssh-keygen -Y sign -n holdfast-allowance -f KEY FILE`, but each signer's
    /// signature gets a file of its own: FILE.NAME.sig, where NAME is the key's comment.
    Sign(SignArgs),
    /// Check an allowance without an agent: who signed, what it grants, or what is missing
    Verify(VerifyArgs),
    /// Activate an allowance that is bound to a user or unit (one for a command is activated by
    /// `holdfast run`)
    Submit(SubmitArgs),
    /// Show the allowances this host has seen
    List(Json),
    /// Close an allowance for good, also one that was never activated here
    Revoke(RevokeArgs),
}

/// `holdfast allow new`.
#[derive(Debug, Default, Args)]
pub(in crate::cli) struct NewArgs {
    /// What it is called; it can be activated once on each host
    #[arg(long)]
    pub(super) id: Option<String>,
    /// What is done and why, in one line
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
    /// Who wants it, as `allowed_signers` calls that person
    #[arg(long, value_name = "PERSON")]
    pub(super) requested_by: Option<String>,
    /// For this host, as `uname -n` says there, or its machine id; can be repeated
    #[arg(long = "host", value_name = "HOST")]
    pub(super) hosts: Vec<String>,
    /// From when, such as 2026-07-01T22:00:00+02:00; without it, from now
    #[arg(long, value_name = "TIME")]
    pub(super) from: Option<String>,
    /// Until when
    #[arg(long, value_name = "TIME", conflicts_with = "length")]
    pub(super) until: Option<String>,
    /// For how long, such as 2h
    #[arg(long = "for", value_name = "LENGTH")]
    pub(super) length: Option<String>,
    /// In this zone
    #[arg(long)]
    pub(super) zone: Option<String>,
    /// In this directory or file, by absolute path or pattern; can be repeated
    #[arg(long = "subtree", value_name = "PATTERN")]
    pub(super) subtrees: Vec<String>,
    /// These ops, such as remove,truncate
    #[arg(long)]
    pub(super) ops: Option<String>,
    /// At most so many files
    #[arg(long, value_name = "N")]
    pub(super) files: Option<String>,
    /// At most so many bytes, such as 10GiB
    #[arg(long, value_name = "SIZE")]
    pub(super) bytes: Option<String>,
    /// In at most so many tenants
    #[arg(long, value_name = "N")]
    pub(super) tenants: Option<String>,
    /// One more grant: 'zone=… subtree=… ops=… files=… bytes=… tenants=…'; can be repeated, and
    /// `subtree=` in it too
    #[arg(long = "grant", value_name = "GRANT")]
    pub(super) grants: Vec<String>,
    /// Only for this user: login user where one is set
    #[arg(long)]
    pub(super) user: Option<String>,
    /// Only for this unit, such as maintenance.service
    #[arg(long)]
    pub(super) unit: Option<String>,
    /// Only for this command, as it is on this machine now: its file is hashed
    #[arg(long, value_name = "COMMAND")]
    pub(super) command: Option<PathBuf>,
    /// Only if the command runs this script, as it is on this machine now
    #[arg(long, value_name = "FILE", requires = "command")]
    pub(super) script: Option<PathBuf>,
    /// File to write; never one that exists [default: ID.toml]
    #[arg(long, short, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
}

/// `holdfast allow show`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// A document, or, where there is no such file, the id of an allowance this host has seen
    /// (./NAME is always a file)
    #[arg(value_name = "FILE|ID")]
    pub(super) what: PathBuf,
    /// Print the canonical text and nothing else
    #[arg(long, conflicts_with = "json")]
    pub(super) canonical: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `holdfast allow sign`.
#[derive(Debug, Args)]
pub(in crate::cli) struct SignArgs {
    /// The document
    pub(super) file: PathBuf,
    /// Key to sign with; a .pub file if the key itself is in the SSH agent [default:
    /// ~/.ssh/id_ed25519 and its like]
    #[arg(long, value_name = "FILE")]
    pub(super) key: Option<PathBuf>,
    /// Do not ask before signing
    #[arg(long, short)]
    pub(super) yes: bool,
}

/// `holdfast allow verify`.
#[derive(Debug, Args)]
pub(in crate::cli) struct VerifyArgs {
    /// The document
    pub(super) file: PathBuf,
    /// A signature; can be repeated [default: FILE.sig and FILE.*.sig]
    #[arg(long = "sig", value_name = "FILE")]
    pub(super) signatures: Vec<PathBuf>,
    /// Policy that says who has to sign
    #[arg(
        long,
        value_name = "FILE",
        env = "HOLDFAST_POLICY",
        default_value = "/etc/holdfast/policy.toml"
    )]
    pub(super) policy: PathBuf,
    /// Whose key is whose [default: what the policy names]
    #[arg(long, value_name = "FILE")]
    pub(super) signers: Option<PathBuf>,
    /// Keys that are not trusted any more [default: what the policy names]
    #[arg(long, value_name = "FILE")]
    pub(super) revoked: Option<PathBuf>,
    /// Check it for another host than this one
    #[arg(long)]
    pub(super) host: Option<String>,
    /// Check it for another time than now, such as 2026-07-01T22:00:00+02:00
    #[arg(long, value_name = "TIME")]
    pub(super) at: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `holdfast allow submit`.
#[derive(Debug, Args)]
pub(in crate::cli) struct SubmitArgs {
    /// The document
    pub(super) file: PathBuf,
    /// A signature; can be repeated [default: FILE.sig and FILE.*.sig]
    #[arg(long = "sig", value_name = "FILE")]
    pub(super) signatures: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `holdfast allow revoke`.
#[derive(Debug, Args)]
pub(in crate::cli) struct RevokeArgs {
    /// The allowance's id
    pub(super) id: String,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}
