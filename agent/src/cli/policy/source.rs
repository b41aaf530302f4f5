//! Which policy is meant where none is named, and since when the past is looked at.

use std::path::{Path, PathBuf};

use clap::Args;
use holdfast_policy::{Policy, Window};

use super::super::allow::time;
use super::super::client::ClientError;
use super::super::{Client, Dirs, Exit, Failure, out};
use crate::clock::Now;
use crate::daemon;
use crate::past::{Past, PastError};

/// Where an agent reads its policy if nobody says otherwise. The same as for `holdfast agent`.
#[derive(Debug, Args)]
pub(super) struct AgentPolicy {
    /// Policy file of this host's agent
    #[arg(
        long = "agent-policy",
        value_name = "FILE",
        env = "HOLDFAST_POLICY",
        default_value = "/etc/holdfast/policy.toml"
    )]
    file: PathBuf,
}

/// What of the past is looked at.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// From this time on: so long ago, such as 7d, or RFC 3339
    #[arg(long, value_name = "TIME", default_value = "7d")]
    since: String,
    /// Only what was recorded in this zone
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
}

/// A policy and what to call it.
pub(super) struct Named {
    pub(super) policy: Policy,
    pub(super) name: String,
}

impl AgentPolicy {
    /// The policy in force; without an agent, what is in its file.
    pub(super) async fn in_force(&self, client: &Client) -> Result<Named, Failure> {
        match client.policy().await {
            Ok(report) => {
                let policy = Policy::parse(&report.path, &report.text).map_err(|problems| {
                    let message =
                        format!("the agent has a policy of another version in force:\n{problems}");
                    Failure::new(Exit::BadInput, message)
                })?;
                let name = format!("the policy in force ({})", out::name(&report.path, None));
                Ok(Named { policy, name })
            }
            Err(ClientError::NotRunning { .. }) => {
                let named = read(&self.file)?;
                out::note(&format!(
                    "no agent runs: {} is what the next one would read",
                    out::path(&self.file)
                ));
                Ok(named)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A policy file.
pub(super) fn read(file: &Path) -> Result<Named, Failure> {
    let (policy, _) = daemon::parse_file(file)?;
    Ok(Named { policy, name: out::path(file) })
}

impl Which {
    /// What was recorded, with what the agent had not written down yet.
    pub(super) async fn past(
        &self,
        client: &Client,
        dirs: &Dirs,
    ) -> Result<(Past, Vec<String>), Failure> {
        let now = Now::read();
        let since = seconds(&self.since, now)
            .map_err(|why| Failure::new(Exit::Usage, format!("--since: {why}")))?;
        let notes = match client.flush_manifest().await {
            Ok(()) | Err(ClientError::NotRunning { .. }) => Vec::new(),
            Err(ClientError::NotAllowed { .. }) => {
                let message = "only root may read what was recorded: it has \
                               customers' paths\n  help: use sudo";
                return Err(Failure::new(Exit::BadInput, message));
            }
            Err(error) => {
                vec![format!("what was destroyed in the last moments may be missing: {error}")]
            }
        };
        Ok((Past::open(&dirs.state_dir, since, self.zone.clone(), now), notes))
    }

    /// Insists that a policy has the zone that was named.
    pub(super) fn check(&self, named: &Named) -> Result<(), Failure> {
        let Some(zone) = &self.zone else { return Ok(()) };
        if named.policy.zone(zone).is_some() {
            return Ok(());
        }
        let zones: Vec<&str> = named.policy.zones.iter().map(|zone| zone.name.as_str()).collect();
        let message = format!(
            "{} has no zone {}: it has {}",
            named.name,
            out::name(zone, None),
            zones.join(", ")
        );
        Err(Failure::new(Exit::BadInput, message))
    }

    pub(super) fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }
}

impl From<PastError> for Failure {
    /// Never 1, which says something else here.
    fn from(error: PastError) -> Self {
        Self::new(Exit::BadInput, error.to_string())
    }
}

/// Seconds since 1970 of a time, or of so long ago.
fn seconds(text: &str, now: Now) -> Result<i64, String> {
    if let Ok(ago) = Window::parse(text) {
        let ago = i64::try_from(ago.seconds()).unwrap_or(i64::MAX);
        return Ok(now.unix_seconds().saturating_sub(ago).max(0));
    }
    time::parse(text).map_err(|why| format!("{why}; or how long ago, as in 7d"))
}
