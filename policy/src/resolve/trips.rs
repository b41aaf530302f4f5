//! What a zone does with an op over budget, and that nothing is said about it which would do
//! nothing.

use std::time::Duration;

use holdfast_abi::OnTrip;

use super::fields::{take, word};
use crate::model::{DEFAULT_HOLD_TIMEOUT, Role};
use crate::problem::{Fault, Mistakes};
use crate::raw::{Field, RawZone};
use crate::units::parse_hold_timeout;
use crate::words::choice;

/// What happens to an op over budget while the zone enforces.
pub(super) struct Trips {
    pub(super) on_trip: OnTrip,
    pub(super) hold_timeout: Duration,
    pub(super) tell_terminal: bool,
}

/// The default depends on the role. Without one (which is a mistake of its own) nothing can be said
/// about the rest.
pub(super) fn resolve(raw: &RawZone, role: Option<Role>, mistakes: &mut Mistakes) -> Option<Trips> {
    let on_trip = match &raw.on_trip {
        Field::Given(given) => word(given, "on_trip", OnTrip::ALL, OnTrip::word, mistakes),
        Field::Missing => role.map(Role::default_on_trip),
        Field::Bad => None,
    };
    let hold_timeout = match &raw.hold_timeout {
        Field::Given(given) => take(parse_hold_timeout(&given.value), given, mistakes),
        Field::Missing => Some(DEFAULT_HOLD_TIMEOUT),
        Field::Bad => None,
    };
    let tell_terminal = match &raw.tell_terminal {
        Field::Given(given) => Some(given.value),
        Field::Missing => Some(true),
        Field::Bad => None,
    };
    let on_trip = on_trip?;
    if on_trip != OnTrip::Hold {
        does_nothing(&raw.hold_timeout, "hold_timeout", on_trip, &[OnTrip::Hold], raw, mistakes);
    }
    if on_trip == OnTrip::Deny {
        let pauses = [OnTrip::Hold, OnTrip::Throttle];
        does_nothing(&raw.tell_terminal, "tell_terminal", on_trip, &pauses, raw, mistakes);
    }
    Some(Trips { on_trip, hold_timeout: hold_timeout?, tell_terminal: tell_terminal? })
}

/// A field that only means something with an `on_trip` of `needs`, and it is another.
fn does_nothing<T>(
    field: &Field<T>,
    name: &str,
    on_trip: OnTrip,
    needs: &[OnTrip],
    raw: &RawZone,
    mistakes: &mut Mistakes,
) {
    let Field::Given(given) = field else {
        return;
    };
    let happens = match on_trip {
        OnTrip::Deny => "denied",
        OnTrip::Hold => "held",
        OnTrip::Throttle => "throttled",
    };
    let needs: Vec<String> =
        needs.iter().map(|needed| format!("on_trip = \"{}\"", needed.word())).collect();
    let needs = choice(&needs.iter().map(String::as_str).collect::<Vec<_>>());
    let help = match raw.on_trip {
        Field::Missing => format!(
            "a zone of this role has `on_trip = \"{}\"` if it does not say: leave `{name}` out, or \
             add {needs}",
            on_trip.word()
        ),
        Field::Given(_) | Field::Bad => format!("leave `{name}` out, or write {needs}"),
    };
    let message = format!("`{name}` does nothing here: an op over budget is {happens}");
    mistakes.wrong(&given.span, Fault::new(message, help));
}
