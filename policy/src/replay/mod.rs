//! What happened, decided again: recorded ops against a policy that may be another one than was in
//! force.
//!
//! There is no second copy of the decision here: [`Simulation`] asks [`crate::decide::Model`], to
//! which the kernel's answers are compared, and only keeps what that remembers small. It reads
//! nothing; whoever has the records feeds them in, oldest first.

mod simulation;

use holdfast_abi::{Cost, Op, WhoMask};

use crate::decide::Request;

pub(crate) use simulation::gone;
pub use simulation::{MAX_ACCOUNTS, Simulation};

/// One op that happened, or was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedOp {
    /// Index of the zone in [`crate::Policy::zones`].
    pub zone: usize,
    /// The op.
    pub op: Op,
    /// What the caller was for this file.
    pub who: WhoMask,
    /// The caller's unit: any number that no other unit has.
    pub unit: u64,
    /// The caller's login user where one was set, else its real user.
    pub user: u32,
    /// What it destroyed.
    pub cost: Cost,
    /// When, in nanoseconds since any fixed moment; never 0.
    pub now: u64,
}

impl RecordedOp {
    /// As it is asked about. A process that was paused in between is not in the records: each op is
    /// that of a thread of its own, which could be paused. No allowance covers it: what was spent
    /// of one is not asked about at all.
    pub fn request(&self) -> Request<'static> {
        Request {
            zone: self.zone,
            op: self.op,
            who: self.who,
            unit: self.unit,
            user: self.user,
            cost: self.cost,
            now: self.now,
            is_strict: false,
            can_wait: true,
            held_since: None,
            mark: None,
            made_at: None,
            inside: &[],
        }
    }
}
