//! What the policy in force says about the paused ops of a zone.

use std::time::Duration;

use holdfast_abi::{Mode, OnTrip, Verdict};
use holdfast_policy::{DEFAULT_HOLD_TIMEOUT, Zone};

/// The rules of one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ZoneRule {
    /// Its name.
    pub(crate) name: String,
    /// How it pauses ops now; `None` if it no longer does.
    pauses: Option<OnTrip>,
    /// Whether that is known: not before a policy is in force.
    known: bool,
    /// How long a process is held.
    pub(crate) hold_timeout: Duration,
    /// Whether terminals are told.
    pub(crate) tell_terminal: bool,
}

impl ZoneRule {
    /// A zone in force.
    pub(crate) fn of(zone: &Zone) -> Self {
        let pauses = match (zone.mode, zone.on_trip) {
            (Mode::Observe, _) | (Mode::Enforce, OnTrip::Deny) => None,
            (Mode::Enforce, OnTrip::Hold | OnTrip::Throttle) => Some(zone.on_trip),
        };
        Self {
            name: zone.name.to_string(),
            pauses,
            known: true,
            hold_timeout: zone.hold_timeout,
            tell_terminal: zone.tell_terminal,
        }
    }

    /// A zone of a former policy.
    pub(crate) fn gone(name: &str) -> Self {
        Self { pauses: None, known: true, ..Self::unknown(name) }
    }

    /// A zone of which nothing is known yet.
    pub(crate) fn unknown(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            pauses: None,
            known: false,
            hold_timeout: DEFAULT_HOLD_TIMEOUT,
            tell_terminal: true,
        }
    }

    /// Whether the zone pauses ops at all.
    pub(crate) fn pauses(&self) -> bool {
        self.pauses.is_some()
    }

    /// Whether it is known what applies.
    pub(crate) fn is_known(&self) -> bool {
        self.known
    }

    /// Whether an op that got this verdict would be paused in another way now, or not at all.
    pub(crate) fn would_differ(&self, verdict: u8) -> bool {
        let now = self.pauses.map(|pauses| match pauses {
            OnTrip::Deny => Verdict::Deny,
            OnTrip::Hold => Verdict::Hold,
            OnTrip::Throttle => Verdict::Throttle,
        });
        self.known && now.is_none_or(|now| now as u8 != verdict)
    }
}
