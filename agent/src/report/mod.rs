//! Puts what the agent and the kernel know into the documents of [`crate::api`]. It only reads what
//! it is given.

mod allowances;
mod audit;
mod break_glass;
mod budgets;
mod coverage;
mod event;
mod explain;
mod guard;
mod holds;
mod status;

pub(crate) use allowances::{
    allowance, allowance_of, allowance_ref, allowances, bind as allowance_bind,
    grants as allowance_grants, open_allowances,
};
pub(crate) use audit::audit;
pub(crate) use break_glass::{codes as glass_codes, glass, glass_status};
pub(crate) use budgets::{Ledger, Left, word as actor_word};
pub(crate) use coverage::{coverage_ops, coverage_why};
pub(crate) use event::{event, trip_message};
pub(crate) use explain::{Place, Question, explanation, hold_key};
pub(crate) use guard::{GuardReport, guard};
pub(crate) use holds::{Names, holds, until};
pub(crate) use status::{Facts, ManifestFacts, OpsNet, status};

#[cfg(test)]
pub(crate) use event::tests as test_events;
