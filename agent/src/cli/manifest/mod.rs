//! `holdfast manifest`: what was destroyed, tenant by tenant. It reads the files in the state
//! directory; an agent that runs is only asked to write down first what it has not yet.

mod list;
pub(super) mod report;
pub(super) mod select;
pub(super) mod show;

use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use holdfast_abi::Op;

use super::client::ClientError;
use super::{Client, Dirs, Exit, Failure, out};
use crate::audit::segments;
use crate::clock::Now;
use crate::manifest::{DIRECTORY, Finding, verify};
use report::Report;
use select::{Select, parse_time};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ManifestArgs {
    #[command(subcommand)]
    command: Option<ManifestCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum ManifestCommand {
    /// Check every closed segment against its seal in the audit log
    Verify {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Whose files: the path from the zone's root to the tenant's directory, or its absolute path;
    /// `.` for what lay above all tenants
    #[arg(long, value_name = "TENANT")]
    tenant: Option<OsString>,
    /// Only in this zone
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Only below this root of the zone
    #[arg(long, value_name = "PATH")]
    root: Option<OsString>,
    /// From this time on: RFC 3339, or so long ago, such as 2h
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Up to this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only this op; can be repeated
    #[arg(long, value_name = "OP", value_parser = op)]
    op: Vec<Op>,
    /// Print paths for `rsync --files-from=-`, from the tenant's directory, one in a line
    #[arg(long, requires = "tenant", conflicts_with = "json")]
    files_from: bool,
    /// The same, each ended by NUL, for `rsync --from0 --files-from=-`: names can hold newlines
    #[arg(long, requires = "tenant", conflicts_with_all = ["json", "files_from"])]
    from0: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn op(word: &str) -> Result<Op, String> {
    let words: Vec<&str> = Op::ALL.iter().map(|op| op.word()).collect();
    Op::from_word(word).ok_or_else(|| format!("one of {}", words.join(", ")))
}

pub(super) async fn run(
    client: &Client,
    dirs: &Dirs,
    args: &ManifestArgs,
) -> Result<Exit, Failure> {
    let dir = dirs.state_dir.join(DIRECTORY);
    let unwritten = match client.flush_manifest().await {
        Ok(()) | Err(ClientError::NotRunning { .. }) => None,
        Err(ClientError::NotAllowed { .. }) => {
            let message =
                "only root may read the manifest: it has customers' paths\n  help: use sudo";
            return Err(Failure::new(Exit::Failure, message));
        }
        Err(error) => {
            Some(format!("what was destroyed in the last moments may be missing: {error}"))
        }
    };
    match &args.command {
        Some(ManifestCommand::Verify { json }) => {
            let audit = dirs.state_dir.join(segments::DIRECTORY);
            let findings = verify(&dir, &audit).map_err(|error| cannot_read(dir, &error))?;
            show_findings(&findings, *json)
        }
        None => list(dir, &args.list, unwritten),
    }
}

fn list(dir: PathBuf, args: &ListArgs, unwritten: Option<String>) -> Result<Exit, Failure> {
    let now = Now::read();
    let time = |text: &Option<String>, name| {
        let parsed = text.as_deref().map(|text| parse_time(text, now)).transpose();
        parsed.map_err(|why| Failure::new(Exit::Usage, format!("--{name}: {why}")))
    };
    let bytes = |text: &OsString| text.as_encoded_bytes().to_vec();
    let select = Select {
        tenant: args.tenant.as_ref().map(bytes),
        zone: args.zone.clone(),
        root: args.root.as_ref().map(bytes),
        since: time(&args.since, "since")?.map(select::first),
        until: time(&args.until, "until")?.map(select::last),
        ops: args.op.clone(),
    };
    let mut report =
        Report::read(&dir, &select).map_err(|(path, error)| cannot_read(path, &error))?;
    report.notes.extend(unwritten);
    if args.files_from || args.from0 {
        let end = if args.from0 { 0 } else { b'\n' };
        let listed = list::list(&report, end).map_err(|why| Failure::new(Exit::BadInput, why))?;
        let stdout = io::stdout().lock();
        if args.from0 && stdout.is_terminal() {
            return Err(Failure::new(Exit::Usage, "--from0 is for a program: pipe it into one"));
        }
        if stdout.is_terminal() && listed.steers_a_terminal() {
            let message = "a path has characters that would steer the terminal\n  help: pipe it \
                           into a program, or look at it with --tenant alone";
            return Err(Failure::new(Exit::Usage, message));
        }
        let mut stdout = BufWriter::new(stdout);
        listed.write(end, &mut stdout)?;
        stdout.flush()?;
        let mut stderr = io::stderr().lock();
        for note in listed.notes.iter().chain(&report.notes) {
            // There is nobody to tell if standard error is gone.
            let _ = writeln!(stderr, "holdfast: {note}");
        }
        return Ok(Exit::Ok);
    }
    match (args.json, &select.tenant) {
        (true, _) => out::json(&show::document(&report, select.tenant.is_some()))?,
        (false, Some(_)) => out::lines(show::records(&report))?,
        (false, None) => out::text(&show::tenants(&report))?,
    }
    Ok(Exit::Ok)
}

fn show_findings(findings: &[Finding], json: bool) -> Result<Exit, Failure> {
    let wrong = findings.iter().filter(|finding| !finding.ok).count();
    if json {
        out::json(&serde_json::json!({ "ok": wrong == 0, "segments": findings }))?;
    } else {
        let rows: Vec<Vec<String>> = findings
            .iter()
            .map(|found| {
                vec![found.segment.to_string(), found.state.to_owned(), found.says.clone()]
            })
            .collect();
        out::text(&out::table(&rows, 0))?;
    }
    if wrong == 0 {
        return Ok(Exit::Ok);
    }
    let message = format!(
        "the manifest is not what was written: {wrong} of {} findings are wrong\n  help: keep a \
         copy as it is, and compare it with a copy of the audit log from another host",
        findings.len()
    );
    Err(Failure::new(Exit::Failure, message))
}

fn cannot_read(path: PathBuf, error: &io::Error) -> Failure {
    let help =
        if error.kind() == io::ErrorKind::PermissionDenied { "\n  help: use sudo" } else { "" };
    Failure::new(Exit::Failure, format!("cannot read {}: {error}{help}", out::path(&path)))
}
