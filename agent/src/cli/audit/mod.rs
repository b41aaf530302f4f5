//! `holdfast audit`: the log is checked, read and summed up from its files. No agent is asked, and
//! nothing is written to it.

mod key;
mod report;
mod show;
mod verify;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::allow::time;
use super::{Dirs, Exit, Failure};
use crate::audit::PublicKey;
use crate::audit::segments::DIRECTORY;
use crate::clock::Now;

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Check the chain, the signatures and the order of all records; the first bad one is named
    ///
    /// Ends with 0 if the log is sound, and with 1 if it was changed, cut or lost something. What
    /// came after the last signature (a few seconds at most, while an agent runs) can only be
    /// checked with a head that was told elsewhere: --head.
    Verify(VerifyArgs),
    /// Show records
    Show(ShowArgs),
    /// Sum up what happened: a timeline, who, what, how much, whose data, and who let it
    Report(ReportArgs),
    /// Show the key that checks this host's signatures
    Key(KeyArgs),
}

/// Which log.
#[derive(Debug, Args)]
struct Log {
    /// Directory with the segments; without it, the one below --state-dir
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// What its signatures are checked with.
#[derive(Debug, Args)]
struct Keys {
    /// The host's public key as `holdfast audit key` shows it, or a file with it; without it the
    /// log's own word is taken. Can be given more than once if the host has had several
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    log: Log,
    /// A head as the journal ("audit head": audit_seq, audit_hash) or the metrics tell it; can be
    /// given more than once
    #[arg(long, value_name = "SEQ:HASH")]
    head: Vec<String>,
    #[command(flatten)]
    keys: Keys,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which records.
#[derive(Debug, Args)]
struct Span {
    /// Since when: 2026-07-01T20:00Z, or how long ago, as in 2h
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until when, in the same way
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    log: Log,
    #[command(flatten)]
    span: Span,
    /// Only of this zone
    #[arg(long)]
    zone: Option<String>,
    /// Only of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Only of this unit: its path, or the end of it
    #[arg(long)]
    unit: Option<String>,
    /// Only of this user: a number
    #[arg(long)]
    user: Option<u32>,
    /// Only of this type, such as verdict or release; can be given more than once
    #[arg(long = "type", value_name = "TYPE")]
    kind: Vec<String>,
    /// Go on showing records as they are written
    #[arg(long, short)]
    follow: bool,
    /// Print the records as they are in the log, one JSON document per line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    log: Log,
    /// Since when: 2026-07-01T20:00Z, or how long ago, as in 2h
    #[arg(long, value_name = "TIME")]
    since: String,
    /// Until when, in the same way; until now if left out
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only of this zone
    #[arg(long)]
    zone: Option<String>,
    #[command(flatten)]
    keys: Keys,
    /// Directory with the manifest, for what was destroyed; without it, the one below --state-dir,
    /// or beside --dir if that is given
    #[arg(long, value_name = "DIR")]
    manifest: Option<PathBuf>,
    /// Write it as one HTML page that needs nothing else, instead of printing text
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// In the form that OpenSSL reads
    #[arg(long)]
    pem: bool,
}

pub(super) async fn run(dirs: &Dirs, command: &AuditCommand) -> Result<Exit, Failure> {
    match command {
        AuditCommand::Verify(args) => verify::run(dirs, args),
        AuditCommand::Show(args) => show::run(dirs, args).await,
        AuditCommand::Report(args) => report::run(dirs, args),
        AuditCommand::Key(args) => key::run(dirs, args),
    }
}

impl Log {
    /// Where it is.
    fn dir(&self, dirs: &Dirs) -> PathBuf {
        self.dir.clone().unwrap_or_else(|| dirs.state_dir.join(DIRECTORY))
    }
}

impl Keys {
    fn read(&self) -> Result<Vec<PublicKey>, Failure> {
        self.key.iter().map(|text| key::parse(text)).collect()
    }
}

/// The log cannot be read.
fn unreadable(dir: &Path, error: &std::io::Error) -> Failure {
    let message = format!(
        "cannot read the audit log in {}: {error}\n  help: --dir names a directory with \
         audit-000001.jsonl and so on; the agent's own can be read by root",
        dir.display()
    );
    Failure::new(Exit::BadInput, message)
}

/// Milliseconds since 1970: a time, or how long ago.
fn moment(name: &str, text: &str, now: Now) -> Result<i64, Failure> {
    if let Ok(ago) = holdfast_policy::Window::parse(text) {
        let ago = i64::try_from(ago.seconds()).unwrap_or(i64::MAX);
        return Ok(now.unix_seconds().saturating_sub(ago).saturating_mul(1000));
    }
    time::parse(text).map(|seconds| seconds * 1000).map_err(|_| {
        let message = format!(
            "--{name}: `{text}` is neither a date and time with a zone nor how long ago\n  help: \
             {}, or 2h",
            time::EXAMPLE
        );
        Failure::new(Exit::BadInput, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_date_or_age() {
        let now = Now { boot_ns: 0, wall_ns: 1_340_150_400_000_000_000 };
        let moment = |text: &str| moment("since", text, now).map_err(|failure| failure.message);
        assert_eq!(moment("2h"), Ok((1_340_150_400 - 7200) * 1000));
        assert_eq!(moment("2012-06-20T00:00Z"), Ok(1_340_150_400_000));
        assert!(moment("yesterday").unwrap_err().contains("--since: `yesterday` is neither"));
    }
}
