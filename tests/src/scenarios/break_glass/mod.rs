//! The emergency override: it is there at night, for one zone, so much and so long, once for each
//! code, and everybody knows.

pub(super) mod agent;
pub(super) mod codes;
pub(super) mod night;
pub(super) mod reach;
pub(super) mod reboot;
