//! The decision, rule by rule, as the kernel has to take it.

mod allowances;
mod budgets;
mod fresh;
mod holds;
mod promises;
mod throttles;

use holdfast_abi::{Cost, Op, Reason, Verdict, Who, WhoMask};
use holdfast_policy::Policy;
use holdfast_policy::decide::{Decision, Model, Request};

const OPERATOR: WhoMask = Who::OPERATOR_BIT;
const OWNER: WhoMask = Who::OWNER_BIT;
const SECOND: u64 = 1_000_000_000;

/// What the tests compare of a decision.
type Outcome = (Verdict, Reason, bool, Option<usize>);

const ALLOWED: Outcome = (Verdict::Allow, Reason::None, false, None);

/// A model of one zone with these lines of its own and these budgets.
fn model(zone: &str, budgets: &[&str]) -> Model {
    let mut text =
        format!("[[zone]]\nname = \"z\"\nrole = \"primary\"\npaths = [\"/z\"]\n{zone}\n");
    for budget in budgets {
        text += &format!("[[zone.budget]]\n{}\n", budget.replace(", ", "\n"));
    }
    match Policy::parse("test", &text) {
        Ok(policy) => Model::new(policy),
        Err(problems) => panic!("{problems}"),
    }
}

fn request(op: Op, who: WhoMask, files: u64, bytes: u64) -> Request<'static> {
    let cost = Cost { files, bytes, tenant: 1 };
    let now = 100 * SECOND;
    Request {
        zone: 0,
        op,
        who,
        unit: 5,
        user: 1_000,
        cost,
        now,
        is_strict: false,
        can_wait: true,
        held_since: None,
        mark: None,
        made_at: None,
        inside: &[],
    }
}

fn remove(files: u64) -> Request<'static> {
    request(Op::Remove, OPERATOR, files, 0)
}

fn outcome(decision: &Decision) -> Outcome {
    (decision.verdict, decision.reason, decision.first, decision.budget)
}
