//! The manifest: what was really destroyed, op by op and tenant by tenant, so that recovery can
//! stay inside each customer.
//!
//! One way through: the kernel's ring → a thread of its own ([`Keeper`]) → segments of JSON lines
//! in the state directory → whoever reads them ([`Records`], also without an agent). It never holds
//! up a decision or the daemon's loop, and it never leaves anything out in silence: what the ring
//! could not take, what a crash cut off and what had to be summarised is in the list itself.

mod batch;
mod keeper;
mod line;
mod name;
mod names;
mod off;
mod pause;
mod place;
mod read;
mod ring;
mod roots;
mod segment;
mod store;
mod summary;
mod verify;

pub(crate) use keeper::{Keeper, News};
#[cfg(test)]
pub(crate) use line::tests::{example, segment as segment_text};
pub(crate) use line::{Gap, GapWhy, Line, Record, absolute};
pub(crate) use name::Name;
pub(crate) use names::SharedNames;
pub(crate) use off::{Off, Offs};
pub(crate) use place::Place;
pub(crate) use read::Records;
pub(crate) use roots::RootName;
pub(crate) use segment::{Sealed, Summarised};
pub(crate) use summary::{RowKey, SpentFrom, Sum, Summary, SummaryRow};
pub(crate) use verify::{Finding, verify};

/// Name of the manifest below the state directory.
pub(crate) const DIRECTORY: &str = "manifest";
