//! What happened, decided again, and budgets that are learnt from it.

mod exact;
mod promises;
mod rules;

use holdfast_abi::{Cost, Op, Verdict, Who};
use holdfast_policy::Policy;
use holdfast_policy::learn::{Proposal, Rules, Survey};
use holdfast_policy::replay::{RecordedOp, Simulation};

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// An arbitrary start, so that no window begins with the clock.
const START: u64 = 1_000 * DAY;

/// A primary and a backup zone with these budgets in both.
fn policy(budgets: &str) -> Policy {
    let mut text = String::new();
    for (name, role) in [("data", "primary"), ("copies", "backup")] {
        text += &format!(
            "[[zone]]\nname = \"{name}\"\nrole = \"{role}\"\npaths = [\"/{name}\"]\n\
             mode = \"observe\"\n{budgets}\n"
        );
    }
    match Policy::parse("test", &text) {
        Ok(policy) => policy,
        Err(problems) => panic!("{problems}"),
    }
}

const LOOSE: &str = "[[zone.budget]]\nper = \"zone\"\nfiles = 1000000\nwindow = \"1h\"";

/// One file of 1,000 bytes that root removes.
fn remove(now: u64, unit: u64, tenant: u64) -> RecordedOp {
    RecordedOp {
        zone: 0,
        op: Op::Remove,
        who: Who::OPERATOR_BIT,
        unit,
        user: 0,
        cost: Cost { files: 1, bytes: 1_000, tenant },
        now,
    }
}

/// So many files of a tenant, a millisecond apart.
fn burst(now: u64, unit: u64, tenant: u64, files: u64) -> impl Iterator<Item = RecordedOp> {
    (0..files).map(move |n| remove(now + n * SECOND / 1_000, unit, tenant))
}

fn learn(policy: &Policy, rules: Rules, ops: &[RecordedOp]) -> (Survey, Proposal) {
    learn_in(u64::MAX, policy, rules, ops)
}

/// The same from a record of so many seconds.
fn learn_in(
    recorded: u64,
    policy: &Policy,
    rules: Rules,
    ops: &[RecordedOp],
) -> (Survey, Proposal) {
    let mut first = Survey::new(policy, rules);
    ops.iter().for_each(|op| first.take(op));
    let mut second = first.again(policy);
    ops.iter().for_each(|op| second.take(op));
    let proposal = second.clone().propose(recorded);
    (second, proposal)
}

/// The ops that such a policy stops.
fn stopped(policy: Policy, ops: &[RecordedOp]) -> Vec<usize> {
    let mut simulation = Simulation::new(policy);
    let stopped = |op: &RecordedOp| simulation.decide(op).verdict != Verdict::Allow;
    let flags: Vec<bool> = ops.iter().map(stopped).collect();
    (0..ops.len()).filter(|&n| flags[n]).collect()
}
