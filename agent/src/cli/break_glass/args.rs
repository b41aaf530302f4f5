//! Flags of `holdfast break-glass`.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::Json;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum GlassCommand {
    /// Open the emergency override for one zone: with a code, or with a signature on a challenge
    ///
    /// What it covers goes through beyond every budget, until its time is over or its amount is
    /// spent. A directory that is moved or renamed out of the zone as a whole (detach) stays
    /// denied: nobody knows how much that is. Everybody on this host is told.
    Open(OpenArgs),
    /// End it now
    Close(Json),
    /// Show what is open, what was, and what one could be opened for
    Status(Json),
    /// Print a challenge for a signer of the policy: what is signed instead of giving a code
    Challenge(ChallengeArgs),
    /// Make codes, or see how many are left
    #[command(subcommand)]
    Codes(CodesCommand),
}

/// What is asked for.
#[derive(Debug, Args)]
pub(in crate::cli) struct WantedArgs {
    /// The zone
    #[arg(long, value_name = "ZONE")]
    pub(super) zone: Option<String>,
    /// What is wrong, in one line: everybody who is woken reads it
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
    /// For how long, such as 15m: it cannot be extended
    #[arg(long = "for", value_name = "TIME", default_value = "15m")]
    pub(super) length: String,
    /// At most so many files [default: as many as the policy allows]
    #[arg(long, value_name = "N")]
    pub(super) files: Option<u64>,
    /// At most so many bytes, such as 50GiB [default: as many as the policy allows]
    #[arg(long, value_name = "SIZE")]
    pub(super) bytes: Option<String>,
    /// For everybody in the zone, what is held there included, and not for one command
    #[arg(long)]
    pub(super) host_wide: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct OpenArgs {
    #[command(flatten)]
    pub(super) wanted: WantedArgs,
    /// Read the code from the first line of standard input, and not from the terminal
    #[arg(long)]
    pub(super) code_stdin: bool,
    /// The challenge that was signed: it says all the rest
    #[arg(
        long,
        value_name = "FILE",
        requires = "signature",
        conflicts_with_all = ["zone", "reason", "files", "bytes", "code_stdin"]
    )]
    pub(super) challenge: Option<PathBuf>,
    /// The signature on it
    #[arg(long = "sig", value_name = "FILE", requires = "challenge")]
    pub(super) signature: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    /// The command and its arguments: it and what it starts, and nobody else, can spend it
    #[arg(last = true, num_args = 1.., value_name = "COMMAND", conflicts_with = "host_wide")]
    pub(super) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ChallengeArgs {
    #[command(flatten)]
    pub(super) wanted: WantedArgs,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum CodesCommand {
    /// Make codes and print them: the only time they are shown
    New(NewArgs),
    /// Show how many are left, and which were used when
    Status(Json),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct NewArgs {
    /// How many
    #[arg(long, value_name = "N", default_value = "5")]
    pub(super) count: NonZeroU32,
    /// Make every code worthless that is unused so far
    #[arg(long)]
    pub(super) replace: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}
