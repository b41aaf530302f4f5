//! `holdfast policy diff`: what a policy would change.

use std::path::PathBuf;

use clap::Args;
use holdfast_policy::{Change, Direction};
use serde_json::json;

use super::super::{Client, Exit, Failure, out};
use super::source::{AgentPolicy, Named, read};

#[derive(Debug, Args)]
pub(in super::super) struct DiffArgs {
    /// The policy that would be put in force
    new: PathBuf,
    /// The policy it would follow; without it, the one in force, or without an agent the one in its
    /// file
    old: Option<PathBuf>,
    #[command(flatten)]
    agent: AgentPolicy,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(in super::super) async fn run(client: &Client, args: &DiffArgs) -> Result<Exit, Failure> {
    let new = read(&args.new)?;
    let old = match &args.old {
        Some(file) => read(file)?,
        None => args.agent.in_force(client).await?,
    };
    let changes = new.policy.changes(&old.policy);
    if args.json {
        let count = |direction| changes.iter().filter(|one| one.direction == direction).count();
        out::json(&json!({
            "old": old.name,
            "new": new.name,
            "differs": !changes.is_empty(),
            "widens": new.policy.widens(&old.policy),
            "looser": count(Direction::Looser),
            "tighter": count(Direction::Tighter),
            "other": count(Direction::Other),
            "changes": changes,
        }))?;
    } else {
        out::text(&page(&old, &new, &changes))?;
    }
    Ok(if changes.is_empty() { Exit::Ok } else { Exit::Failure })
}

fn page(old: &Named, new: &Named, changes: &[Change]) -> String {
    if changes.is_empty() {
        return format!("{} changes nothing of {}\n", new.name, old.name);
    }
    let mut page = format!("{} instead of {}:\n", new.name, old.name);
    let mut place: Option<Option<&str>> = None;
    for change in changes {
        if place != Some(change.zone.as_deref()) {
            place = Some(change.zone.as_deref());
            match &change.zone {
                Some(zone) => page.push_str(&format!("zone {zone}\n")),
                None => page.push_str("beside the zones\n"),
            }
        }
        page.push_str(&format!("  {:<8} {}\n", mark(change.direction), change.text));
    }
    if new.policy.widens(&old.policy) {
        page.push_str(
            "It lets more through, or it cannot be told: it will be on record before it takes \
             effect.\n",
        );
    }
    page
}

const fn mark(direction: Direction) -> &'static str {
    match direction {
        Direction::Looser => "LOOSER",
        Direction::Tighter => "tighter",
        Direction::Other => "other",
    }
}
