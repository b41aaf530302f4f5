//! The pure domain of holdfast: what a policy file says, what it means, and what the kernel must
//! answer.
//!
//! One way through: text → raw document → resolved policy ([`Policy`]) → what goes into the
//! kernel's maps ([`Budget::conf`]) and what the kernel has to decide with it ([`decide`]).
//!
//! It never does I/O, reads a clock or the environment, uses randomness or async. Time is a
//! parameter, and a [`Policy`] cannot be wrong: everything that can be checked without looking at
//! the host was checked by [`Policy::parse`]. What only the host can tell (do the paths exist, do
//! two of them lead to one directory, can their filesystem be guarded) is the agent's to check.
#![forbid(unsafe_code)]

pub mod allowance;
mod audit;
pub mod break_glass;
mod budget;
pub mod decide;
mod difference;
mod glob;
pub mod learn;
mod manifest;
mod model;
mod pattern;
mod problem;
mod raw;
mod render;
pub mod replay;
mod resolve;
pub mod signers;
mod signing;
pub mod sshsig;
mod units;
mod widens;
mod words;

pub use audit::OnAuditFailure;
pub use budget::{Budget, OpSet, TenantCountsAfter};
pub use difference::{Change, Direction};
pub use glob::Component;
pub use manifest::{DEFAULT_MANIFEST_BYTES, MAX_MANIFEST_BYTES, MIN_MANIFEST_BYTES, Manifest};
pub use model::{
    DEFAULT_HOLD_TIMEOUT, MAX_HOLD_TIMEOUT, MAX_ZONE_NAME, MIN_HOLD_TIMEOUT, Policy,
    RESERVED_ZONE_NAME, Role, Zone, ZoneName,
};
pub use pattern::PathPattern;
pub use problem::{Fault, Problem, Problems};
pub use signing::{DEFAULT_MAX_LENGTH, DEFAULT_SIGNERS, Group, Need, Signing, Trust};
pub use units::{Window, format_bytes, format_time, parse_bytes, parse_time};
