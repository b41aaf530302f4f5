//! What was recorded on this host, oldest first, for whoever wants to know what another policy
//! would have done with it.
//!
//! One way through: segments of the manifest (what happened) and the audit log (what was denied) →
//! one stream of ops, each with its zone in the policy at hand → whoever decides them again. It
//! works without an agent, writes nothing, and keeps one op at a time. What is missing in it is
//! part of the outcome: [`Told::notes`].

mod deed;
mod denied;
mod gaps;
mod places;
mod read;
mod tally;
#[cfg(test)]
mod tests;
mod timeline;

pub(crate) use deed::{Deed, Evidence};
pub(crate) use gaps::Told;
pub(crate) use places::Places;
pub(crate) use read::{Past, PastError, Take};
pub(crate) use tally::{BudgetTally, Tally, Trip, ZoneTally};
