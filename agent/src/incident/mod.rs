//! One incident, summed up from the audit log: a timeline, who, what, how much, whose data, and who
//! let it.
//!
//! It says what is in the log, and what is not: events are rate-limited, and ops within budget are
//! in the manifest alone. No figure is made up. It does no I/O.

mod destroyed;
mod gather;
mod glass;
mod html;
mod plot;
mod sentence;
mod text;

pub(crate) use destroyed::Destroyed;
pub(crate) use gather::Incident;
pub(crate) use html::html;
pub(crate) use sentence::{sentence, unit, users, zones};
pub(crate) use text::text;

#[cfg(test)]
mod tests;
