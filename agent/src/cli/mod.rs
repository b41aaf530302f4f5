//! The command line: each flag is defined once (here, or in the file of its command), and each
//! command has a file of its own.
//!
//! Commands ask the agent and print; they never change the kernel's state themselves (but for
//! `unpin`).

mod agent;
mod allow;
mod audit;
mod break_glass;
mod budget;
mod client;
mod doctor;
#[cfg(test)]
#[path = "documents_tests.rs"]
mod documents;
mod events;
mod exit;
mod explain;
mod hold;
mod join;
mod manifest;
mod out;
#[cfg(feature = "pages")]
mod pages;
mod policy;
mod programs;
mod run;
mod status;
mod top;
mod unpin;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::metrics::MetricsAddress;
use crate::webhook::Target;

pub(crate) use client::Client;
pub(crate) use exit::Exit;

/// Guards a host's data against mass deletion.
///
/// The kernel programs of holdfast charge every removal, replacement, truncation and move in a zone
/// to a budget, and stop what would go over it.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, after_help = exit::HELP, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    dirs: Dirs,
    #[command(subcommand)]
    command: Command,
}

/// Where an agent keeps its things.
#[derive(Clone, Debug, Args)]
struct Dirs {
    /// Directory of the control socket
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "HOLDFAST_RUN_DIR",
        default_value = "/run/holdfast"
    )]
    run_dir: PathBuf,
    /// Directory on bpffs that keeps the guard in the kernel when no agent runs
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "HOLDFAST_PIN_DIR",
        default_value = "/sys/fs/bpf/holdfast"
    )]
    pin_dir: PathBuf,
    /// Directory of the audit log
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "HOLDFAST_STATE_DIR",
        default_value = "/var/lib/holdfast"
    )]
    state_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the guard (a service manager does)
    Agent(AgentArgs),
    /// Show zones, budgets left, who is latched and what is paused
    Status(Json),
    /// Watch zones, budgets, who is latched and what is paused, as it changes
    ///
    /// Keys: up and down choose the zone whose budgets are shown, space stops and continues, q
    /// ends.
    Top(top::TopArgs),
    /// Show what was decided about ops that were over budget
    Events(EventsArgs),
    /// Show which zone, tenant and budgets apply to a path, and what removing it would come to
    Explain(ExplainArgs),
    /// Show what is paused, and decide about it
    #[command(subcommand)]
    Hold(HoldCommand),
    /// Show what each actor has spent, and reset a tripped one
    #[command(subcommand)]
    Budget(budget::BudgetCommand),
    /// Write, sign, check and submit allowances for planned maintenance
    #[command(subcommand)]
    Allow(allow::AllowCommand),
    /// Run a command under an allowance, for its process tree only
    ///
    /// The command has the terminal, environment and signals it would have by itself, and its exit
    /// status is kept. The allowance is closed when the command has ended, even if processes it
    /// started go on.
    Run(run::RunArgs),
    /// Become a command of `holdfast run`
    #[command(name = "__join", hide = true)]
    Join(join::JoinArgs),
    /// Check, read and sum up the audit log, without an agent
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// The emergency override: single-use, timed, and loud
    #[command(subcommand)]
    BreakGlass(break_glass::GlassCommand),
    /// Show what was destroyed, tenant by tenant, for recovery
    ///
    /// Without --tenant: which tenants lost how much, from when to when. It works without an agent.
    Manifest(manifest::ManifestArgs),
    /// Look whether this host can enforce; every failure comes with its fix
    Doctor(Json),
    /// Show each kernel program of the guard: runs, time, size
    ///
    /// Counts runs for a few seconds: the kernel does so only meanwhile, for every BPF program on
    /// the host, and each run takes two time stamps more. SKIPPED is since the program was loaded;
    /// VERIFIED are the instructions that the verifier followed. It works without an agent.
    Programs(programs::ProgramsArgs),
    /// Check, show, reload, compare, try and learn policies
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Write man pages and completions into a directory
    #[cfg(feature = "pages")]
    #[command(name = "__pages", hide = true)]
    Pages {
        /// The directory
        dir: PathBuf,
    },
    /// Take the guard off this host
    ///
    /// Refused while a zone is enforced, unless a break-glass is open there for everybody: who
    /// takes the guard off needs what everybody else needs to get past it.
    Unpin(UnpinArgs),
}

#[derive(Debug, Args)]
struct Json {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct AgentArgs {
    /// Policy file
    #[arg(
        long,
        value_name = "FILE",
        env = "HOLDFAST_POLICY",
        default_value = "/etc/holdfast/policy.toml"
    )]
    policy: PathBuf,
    /// Address that serves /metrics, or `off`
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "HOLDFAST_METRICS",
        default_value = "127.0.0.1:9917"
    )]
    metrics: MetricsAddress,
    /// Let other hosts read the metrics: they tell the names of zones and how much is deleted
    #[arg(long, env = "HOLDFAST_METRICS_ALLOW_REMOTE")]
    metrics_allow_remote: bool,
    /// How to write the log, to standard error
    #[arg(long, value_enum, env = "HOLDFAST_LOG_FORMAT", default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Show every op in a zone as an event, also those within budget
    #[arg(long)]
    trace_ops: bool,
    /// Size at which a segment of the audit log is full, and the next begins; none is ever deleted
    #[arg(
        long,
        value_name = "SIZE",
        env = "HOLDFAST_AUDIT_SEGMENT",
        default_value = "16MiB",
        value_parser = segment_size
    )]
    audit_segment: u64,
    /// Send what somebody may have to act on to http://ADDRESS:PORT/PATH on this host or a private
    /// network, signed; see docs/fleet.md
    #[arg(long, value_name = "URL", env = "HOLDFAST_WEBHOOK", requires = "webhook_key")]
    webhook: Option<Target>,
    /// File with the key that signs it: 32 bytes or more, for root alone
    #[arg(long, value_name = "FILE", env = "HOLDFAST_WEBHOOK_KEY", requires = "webhook")]
    webhook_key: Option<PathBuf>,
}

/// A segment is read as a whole when the agent starts.
fn segment_size(text: &str) -> Result<u64, String> {
    match holdfast_policy::parse_bytes(text) {
        Ok(size @ 4096..=1_073_741_824) => Ok(size),
        Ok(_) | Err(_) => Err("write a size from 4KiB to 1GiB, as in 16MiB".to_owned()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON document per line
    Json,
}

#[derive(Debug, Args)]
struct EventsArgs {
    /// Go on showing events as they come
    #[arg(long, short)]
    follow: bool,
    /// Print JSON, one document per line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ExplainArgs {
    /// A file or directory; links in its last name are not followed, as in a removal
    path: PathBuf,
    /// Explain for this process instead of the caller
    #[arg(long)]
    pid: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum HoldCommand {
    /// Show what is paused: whose processes, before what, and until when somebody can decide
    List(Json),
    /// Show everything about one hold: its processes, their parents, budgets, tenants
    Show(HoldShowArgs),
    /// Let the processes of a hold go on, for a stated amount
    ///
    /// A release states an amount, so that nobody lets a mass deletion go on without a limit:
    /// either --files, or --budget-reset. Once that is spent, the next op over budget is held
    /// again.
    Release(HoldReleaseArgs),
    /// Kill the processes of a hold
    ///
    /// Every paused process of the hold is sent the signal. For signals other than KILL it is
    /// continued too, as it would not receive them otherwise: one that survives is held again at
    /// its next op over budget. Parents are left alone: a script or shell whose command was killed
    /// may go on with the next one.
    Kill(HoldKillArgs),
}

#[derive(Debug, Args)]
struct HoldShowArgs {
    /// Number of the hold, as `holdfast hold list` shows it
    id: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct HoldReleaseArgs {
    /// Number of the hold, as `holdfast hold list` shows it
    id: u64,
    /// Let so many more files be destroyed, beyond every budget
    #[arg(long, value_name = "N", conflicts_with = "budget_reset")]
    files: Option<std::num::NonZeroU64>,
    /// Start every budget anew that latches the hold's unit or user, as if nothing had been spent
    #[arg(long)]
    budget_reset: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct HoldKillArgs {
    /// Number of the hold, as `holdfast hold list` shows it
    id: u64,
    /// A signal that ends processes: its name, with or without SIG, or its number
    #[arg(long, value_name = "SIG", default_value = "KILL")]
    signal: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Check a policy file, without an agent
    Check(PolicyCheckArgs),
    /// Show a policy with nothing left to defaults: a file, or the one in force
    Show(PolicyShowArgs),
    /// Have the agent read its policy again; a file with mistakes changes nothing
    Reload(Json),
    /// Say in words what a policy would change
    ///
    /// Ends with 0 if it would change nothing, and with 1 if it would.
    Diff(policy::diff::DiffArgs),
    /// Try a policy on what was recorded on this host: what would it have stopped?
    ///
    /// Ends with 0 if nothing would have been over budget, with 1 if something would, and with 3 if
    /// that cannot be said. It works without an agent.
    Simulate(policy::simulate::SimulateArgs),
    /// Propose budgets that fit what was recorded on this host
    ///
    /// Prints a policy file in which comments say where each limit comes from, what was left out,
    /// and what would have tripped. It works without an agent.
    Learn(policy::learn::LearnArgs),
}

#[derive(Debug, Args)]
struct PolicyCheckArgs {
    /// Policy file
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct PolicyShowArgs {
    /// Policy file; without it, the policy the agent has in force
    file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct UnpinArgs {
    /// Even while zones are enforced, an agent runs (it will say that it no longer enforces) or
    /// processes are paused (they stay so until somebody continues or kills them). It is on record
    /// that it was forced
    #[arg(long)]
    force: bool,
    /// Only say whether it would be refused. That an agent runs is no reason
    #[arg(long, conflicts_with = "force")]
    check: bool,
}

/// Whether there is such a command, for what is written down.
#[cfg(test)]
pub(crate) fn test_parse(words: &[&str]) -> Result<(), String> {
    Cli::try_parse_from(words).map(drop).map_err(|error| error.to_string())
}

/// Runs the command that was asked for.
pub(crate) fn main() -> ExitCode {
    let Cli { dirs, command } = Cli::parse();
    if let Command::Join(args) = &command {
        // No runtime: what becomes the command is this very thread.
        let failure = join::run(&dirs.run_dir, args);
        return out::fail(failure.exit, &failure.message).into();
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return out::fail(Exit::Failure, &format!("cannot start: {error}")).into(),
    };
    let outcome = runtime.block_on(run(dirs, command));
    // Nothing that still waits, such as a follower's connection, holds up the end.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|failure| out::fail(failure.exit, &failure.message).into())
}

async fn run(dirs: Dirs, command: Command) -> Result<ExitCode, Failure> {
    let client = Client::new(&dirs.run_dir);
    let exit = match command {
        Command::Run(args) => return run::run(&client, &dirs, &args).await,
        Command::BreakGlass(command) => return break_glass::run(&client, &dirs, &command).await,
        Command::Join(_) => unreachable!("it is run without a runtime"),
        Command::Allow(command) => allow::run(&client, &command).await,
        Command::Audit(command) => audit::run(&dirs, &command).await,
        Command::Agent(args) => agent::run(dirs, args).await,
        Command::Status(args) => status::run(&client, args.json).await,
        Command::Top(args) => top::run(&client, &args).await,
        Command::Events(args) => events::run(&client, args.follow, args.json).await,
        Command::Explain(args) => explain::run(&client, &args).await,
        Command::Hold(HoldCommand::List(args)) => hold::list(&client, args.json).await,
        Command::Hold(HoldCommand::Show(args)) => hold::show(&client, &args).await,
        Command::Hold(HoldCommand::Release(args)) => hold::release(&client, &args).await,
        Command::Hold(HoldCommand::Kill(args)) => hold::kill(&client, &args).await,
        Command::Budget(command) => budget::run(&client, &command).await,
        Command::Manifest(args) => manifest::run(&client, &dirs, &args).await,
        Command::Programs(args) => programs::run(&dirs, &args).await,
        Command::Doctor(args) => doctor::run(&client, &dirs, args.json).await,
        Command::Policy(PolicyCommand::Check(args)) => policy::check(&args.file, args.json),
        Command::Policy(PolicyCommand::Show(args)) => {
            policy::show(&client, args.file.as_deref(), args.json).await
        }
        Command::Policy(PolicyCommand::Reload(args)) => policy::reload(&client, args.json).await,
        Command::Policy(PolicyCommand::Diff(args)) => policy::diff::run(&client, &args).await,
        Command::Policy(PolicyCommand::Simulate(args)) => {
            policy::simulate::run(&client, &dirs, &args).await
        }
        Command::Policy(PolicyCommand::Learn(args)) => {
            policy::learn::run(&client, &dirs, &args).await
        }
        #[cfg(feature = "pages")]
        Command::Pages { dir } => pages::write(&dir),
        Command::Unpin(args) => unpin::run(&dirs, &args),
    };
    exit.map(ExitCode::from)
}

/// Why a command failed, and with which status it ends.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

impl From<client::ClientError> for Failure {
    fn from(error: client::ClientError) -> Self {
        Self { exit: error.exit(), message: error.to_string() }
    }
}

impl From<crate::daemon::PlanError> for Failure {
    fn from(error: crate::daemon::PlanError) -> Self {
        Self { exit: Exit::BadInput, message: error.to_string() }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        // Whoever read the output has seen enough.
        let exit =
            if error.kind() == std::io::ErrorKind::BrokenPipe { Exit::Ok } else { Exit::Failure };
        Self { exit, message: if exit == Exit::Ok { String::new() } else { error.to_string() } }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["holdfast", "status", "--json", "--run-dir", "/x"]).unwrap();
        assert_eq!(cli.dirs.run_dir, PathBuf::from("/x"));
        assert!(Cli::try_parse_from(["holdfast", "agent", "--metrics", "nonsense"]).is_err());
        let release = |rest: &[&str]| {
            Cli::try_parse_from(["holdfast", "hold", "release"].iter().chain(rest)).is_ok()
        };
        assert!(release(&["7", "--files", "5"]) && release(&["7", "--budget-reset"]));
        assert!(
            !release(&["7", "--files", "5", "--budget-reset"]) && !release(&["7", "--files", "0"])
        );
        assert!(!release(&["x", "--files", "5"]) && !release(&["--files", "5"]));
        let run =
            |rest: &[&str]| Cli::try_parse_from(["holdfast", "run"].iter().chain(rest)).is_ok();
        assert!(run(&["--allow", "a.toml", "--", "rm", "-rf", "--", "--allow"]));
        assert!(!run(&["--allow", "a.toml", "rm"]) && !run(&["--allow", "a.toml", "--"]));
        assert!(!run(&["--", "rm"]));
        let new = |rest: &[&str]| {
            Cli::try_parse_from(["holdfast", "allow", "new"].iter().chain(rest)).is_ok()
        };
        assert!(new(&[]) && new(&["--for", "2h"]) && new(&["--command", "sh", "--script", "x"]));
        let open = |rest: &[&str]| {
            Cli::try_parse_from(["holdfast", "break-glass", "open"].iter().chain(rest)).is_ok()
        };
        assert!(open(&["--zone", "z", "--reason", "r", "--host-wide"]));
        assert!(open(&["--zone", "z", "--reason", "r", "--for", "5m", "--", "rm", "-rf", "x"]));
        assert!(open(&["--challenge", "c", "--sig", "s", "--", "rm"]));
        assert!(!open(&["--zone", "z", "--reason", "r", "--host-wide", "--", "rm"]));
        assert!(!open(&["--challenge", "c"]) && !open(&["--code", "x"]));
        assert!(!new(&["--for", "2h", "--until", "x"]) && !new(&["--script", "x"]));
    }

    #[test]
    fn help_tells_every_exit_status() {
        let help = Cli::command().render_long_help().to_string();
        for exit in Exit::ALL {
            assert!(
                help.contains(&format!("  {}  {}", *exit as u8, exit.meaning())),
                "{exit:?} in {help}"
            );
        }
    }
}
