//! The emergency override, as far as it can be judged without the host: what a policy allows, what
//! a command asks for, the challenge that is signed instead of giving a code, and whether a
//! signature on it counts.
//!
//! It never knows a code, which are the agent's.

mod challenge;
mod refused;
mod signature;
mod terms;

use std::time::Duration;

pub use challenge::challenge;
pub use refused::{GlassReason, GlassRefused};
pub use signature::{GlassEvidence, judge};
pub use terms::{MAX_REASON, Scope, Terms, Wanted};

use crate::model::ZoneName;

/// The longest a break-glass can be open if the policy does not say.
pub const DEFAULT_MAX_LENGTH: Duration = Duration::from_secs(3600);
/// The shortest `max_length` a policy can have.
pub(crate) const MIN_LENGTH: Duration = Duration::from_secs(60);
/// The longest `max_length` a policy can have: an emergency of more than a day is a plan.
pub(crate) const MAX_LENGTH: Duration = Duration::from_secs(86_400);
/// The namespace under which a challenge is signed.
pub const BREAK_GLASS_NAMESPACE: &str = "holdfast-break-glass";

/// What a policy says about break-glass. Without it none can be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakGlass {
    /// For which zones one can be opened; `None`: for each.
    pub zones: Option<Vec<ZoneName>>,
    /// The longest it can be open.
    pub max_length: Duration,
    /// The most files it can destroy.
    pub max_files: u64,
    /// The most bytes it can destroy.
    pub max_bytes: u64,
    /// Persons as in `allowed_signers` who can open one with a hardware key instead of a code.
    pub signers: Vec<String>,
}

impl BreakGlass {
    /// Whether one can be opened for this zone.
    pub fn is_for(&self, zone: &str) -> bool {
        self.zones.as_ref().is_none_or(|zones| zones.iter().any(|name| name.as_str() == zone))
    }
}
