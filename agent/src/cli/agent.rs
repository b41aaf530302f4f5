//! `holdfast agent`.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing_subscriber::EnvFilter;

use super::{AgentArgs, Dirs, Exit, Failure, LogFormat};
use crate::daemon::{self, DaemonError, Options};
use crate::journal::Queued;

pub(super) async fn run(dirs: Dirs, args: AgentArgs) -> Result<Exit, Failure> {
    if args.metrics.is_remote() && !args.metrics_allow_remote {
        return Err(Failure::new(
            Exit::Usage,
            "--metrics: other hosts could reach this address\n  help: use a loopback address such \
             as 127.0.0.1:9917, or add --metrics-allow-remote if everybody there may know the \
             names of zones and how much is deleted",
        ));
    }
    let log = start_log(args.log_format)?;
    allow_descriptors();
    let options = Options {
        policy: args.policy,
        state_dir: dirs.state_dir,
        run_dir: dirs.run_dir,
        pin_dir: dirs.pin_dir,
        metrics: args.metrics,
        trace_ops: args.trace_ops,
        audit_segment: args.audit_segment,
        webhook: args.webhook.zip(args.webhook_key),
    };
    let outcome = daemon::run(options).await;
    log.end();
    outcome?;
    Ok(Exit::Ok)
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        let exit = match error {
            DaemonError::Policy(_) => Exit::BadInput,
            DaemonError::Lock(_)
            | DaemonError::Another(_)
            | DaemonError::Audit(_)
            | DaemonError::Directory { .. }
            | DaemonError::Control(_)
            | DaemonError::Signals(_)
            | DaemonError::Thread(_)
            | DaemonError::Metrics(_) => Exit::Failure,
        };
        Self { exit, message: error.to_string() }
    }
}

/// As many descriptors as the agent may have: without any left it can look at nobody, and signal
/// nobody.
fn allow_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
}

/// RUST_LOG chooses what is written; without it, everything from `info` up.
fn start_log(format: LogFormat) -> Result<Queued, Failure> {
    let queued = Queued::start().map_err(|error| {
        Failure::new(Exit::Failure, format!("cannot start the thread that writes the log: {error}"))
    })?;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(queued.clone())
        .with_target(false);
    match format {
        LogFormat::Text => log.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(queued)
}
