//! `holdfast policy learn`: budgets that fit what was recorded. It reads that three times: to find
//! what stands out, to measure the rest, and to see what the proposal would stop.

mod found;
mod show;

use clap::Args;
use holdfast_policy::learn::{Proposal, Rules, Survey, ceilings};
use holdfast_policy::replay::Simulation;
use serde_json::json;

use super::super::{Client, Dirs, Exit, Failure, out};
use super::simulate::shared;
use super::source::{AgentPolicy, Named, Which};
use crate::past::{Take, Tally, Told};
use found::Found;

#[derive(Debug, Args)]
pub(in super::super) struct LearnArgs {
    #[command(flatten)]
    which: Which,
    /// How much more than the most that was seen, in percent
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(0..=1000)
    )]
    headroom: u32,
    /// Propose up to so many times the ceilings, which are the budgets of the policy that comes
    /// with the package
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    ceiling_times: u32,
    /// Learn also what stands alone: a person has looked at it, and it was ordinary
    #[arg(long)]
    keep_alone: bool,
    #[command(flatten)]
    agent: AgentPolicy,
    /// How many trips and outliers to show in full, of each budget
    #[arg(long, value_name = "N", default_value_t = 10)]
    first: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Everything there is to show.
struct Learnt {
    named: Named,
    rules: Rules,
    proposal: Proposal,
    /// What the proposal would stop, whatever the zones' modes are.
    tally: Tally,
    found: Found,
    told: Told,
}

pub(in super::super) async fn run(
    client: &Client,
    dirs: &Dirs,
    args: &LearnArgs,
) -> Result<Exit, Failure> {
    let named = args.agent.in_force(client).await?;
    args.which.check(&named)?;
    let (past, unwritten) = args.which.past(client, dirs).await?;
    let rules = Rules {
        headroom: args.headroom,
        ceiling_times: args.ceiling_times,
        keep_alone: args.keep_alone,
    };
    let policy = &named.policy;
    let take = Take { denied: false, break_glass: false };

    let mut survey = Survey::new(policy, rules);
    past.replay(policy, take, &mut |op, _| survey.take(op))?;
    let mut survey = survey.again(policy);
    let recorded = past.replay(policy, take, &mut |op, _| survey.take(op))?.seconds();
    let too_many = survey.shared();
    let proposal = survey.propose(recorded);

    let enforced = proposal.enforced(policy);
    let limits: Vec<_> = policy.zones.iter().map(|zone| ceilings(zone.role)).collect();
    let mut simulation = Simulation::new(enforced.clone());
    let mut tally = Tally::new(&enforced, args.first.saturating_mul(64));
    let mut found = Found::default();
    let mut told = past.replay(policy, take, &mut |op, evidence| {
        let decision = simulation.decide(op);
        if !proposal.zones[op.zone].budgets.is_empty() {
            tally.take(&enforced, op, &decision, evidence);
        }
        if let Some(outlier) = proposal.outliers.find(op, &limits[op.zone]) {
            found.take(outlier, op, evidence);
        }
    })?;
    told.notes.extend(unwritten);
    told.notes.extend(shared(too_many));
    if proposal.outliers.dropped > 0 {
        told.notes.push(format!(
            "{} outliers more than can be kept apart: they are learnt as far as the ceilings allow",
            proposal.outliers.dropped
        ));
    }
    let learnt = Learnt { named, rules, proposal, tally, found, told };
    if args.json {
        out::json(&learnt.document())?;
    } else {
        out::text(&learnt.page(args.first))?;
    }
    Ok(Exit::Ok)
}

impl Learnt {
    fn document(&self) -> serde_json::Value {
        let policy = self.proposal.policy(&self.named.policy);
        json!({
            "learnt_for": self.named.name,
            "rules": {
                "headroom_percent": self.rules.headroom,
                "ceiling_times": self.rules.ceiling_times,
                "keep_alone": self.rules.keep_alone,
            },
            "recorded": self.told,
            "zones": (0..policy.zones.len())
                .map(|zone| self.zone_document(zone))
                .collect::<Vec<_>>(),
            "outliers": self.outliers_document(),
            "trips": self.tally.trips(),
            "first": self.tally.first,
            "policy": policy,
            "text": self.page(0),
        })
    }
}
