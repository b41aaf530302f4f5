//! What every scenario stands on: an agent of its own, trees to lose, real tools, and exact counts.
//!
//! It never judges: scenarios do. It never takes a fixed pause for proof that something has
//! happened; it waits for a condition and says which one did not come true.

pub(crate) mod agent;
pub(crate) mod allowance;
pub(crate) mod break_glass;
pub(crate) mod cli;
pub(crate) mod clock;
pub(crate) mod ctx;
pub(crate) mod device;
pub(crate) mod helper;
pub(crate) mod hold;
pub(crate) mod metrics;
pub(crate) mod monitoring;
pub(crate) mod policy;
pub(crate) mod proc;
pub(crate) mod race;
pub(crate) mod random;
pub(crate) mod signing;
pub(crate) mod sys;
pub(crate) mod terminal;
pub(crate) mod tool;
pub(crate) mod tracer;
pub(crate) mod tree;
pub(crate) mod unit;
pub(crate) mod uring;
pub(crate) mod wait;
pub(crate) mod worker;

pub(crate) use agent::Lab;
pub(crate) use ctx::Ctx;
pub(crate) use policy::{Budget, Zone};
pub(crate) use random::Random;
pub(crate) use tool::{Outcome, Tool, sh};
pub(crate) use tree::Tree;
pub(crate) use unit::Unit;
pub(crate) use wait::until;

/// Fails the scenario unless both sides are equal.
macro_rules! check_eq {
    ($got:expr, $want:expr, $($what:tt)+) => {{
        match (&$got, &$want) {
            (got, want) => {
                if got != want {
                    anyhow::bail!(
                        "{}: expected {want:?}, found {got:?} ({}:{})",
                        format_args!($($what)+),
                        file!(),
                        line!()
                    );
                }
            }
        }
    }};
}

/// Fails the scenario unless the condition holds.
macro_rules! check {
    ($condition:expr, $($what:tt)+) => {{
        let holds: bool = $condition;
        if !holds {
            anyhow::bail!("{} ({}:{})", format_args!($($what)+), file!(), line!());
        }
    }};
}

pub(crate) use {check, check_eq};
