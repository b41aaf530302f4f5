//! Held processes: a mass deletion pauses at the budget, to the file, and goes on as if nothing had
//! been once a person says so; whatever else anybody does to the process lets nothing through.
//!
//! What would be held must never be done by this process itself: it would be held, and with it the
//! tests.

pub(super) mod agent;
pub(super) mod cli;
pub(super) mod debugger;
pub(super) mod job;
pub(super) mod kills;
pub(super) mod many;
pub(super) mod nfs;
pub(super) mod ops;
pub(super) mod places;
pub(super) mod policy;
pub(super) mod refused;
pub(super) mod release;
pub(super) mod signals;
pub(super) mod stalls;
pub(super) mod terminal;
pub(super) mod wrapper;
