//! What another policy would change, in words. It decides nothing, and where it cannot be told
//! whether a change stops more or less, it says neither.

mod budgets;
mod rest;
mod zones;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::model::Policy;

/// Whether a change lets more through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// More is let through.
    Looser,
    /// Less is.
    Tighter,
    /// Something else is guarded, or it cannot be told.
    Other,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whether it lets more through.
    pub direction: Direction,
    /// The zone it is in; none if it is in none.
    pub zone: Option<String>,
    /// What it is about, as in a policy: `mode`, `paths`, `budget`, `group` and so on.
    pub what: &'static str,
    /// What changes, in a sentence.
    pub text: String,
}

impl Policy {
    /// What changes when this policy follows `before`. None if and only if both are the same, but
    /// for the order of what has none.
    pub fn changes(&self, before: &Self) -> Vec<Change> {
        let mut changes = zones::changes(before, self);
        changes.extend(rest::changes(before, self));
        changes
    }
}

impl Direction {
    /// Each.
    pub const ALL: &'static [Self] = &[Self::Looser, Self::Tighter, Self::Other];

    /// The word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Looser => "looser",
            Self::Tighter => "tighter",
            Self::Other => "other",
        }
    }

    /// For a limit, where none is more than any.
    fn of_limit<T: PartialOrd>(before: Option<T>, now: Option<T>) -> Self {
        match (before, now) {
            (Some(before), Some(now)) if now > before => Self::Looser,
            (Some(_), None) => Self::Looser,
            _ => Self::Tighter,
        }
    }
}

impl Change {
    fn new(direction: Direction, what: &'static str, text: String) -> Self {
        Self { direction, zone: None, what, text }
    }

    fn in_zone(self, zone: &str) -> Self {
        Self { zone: Some(zone.to_owned()), ..self }
    }
}

impl Serialize for Change {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut change = serializer.serialize_struct("Change", 4)?;
        change.serialize_field("direction", self.direction.word())?;
        change.serialize_field("zone", &self.zone)?;
        change.serialize_field("what", self.what)?;
        change.serialize_field("text", &self.text)?;
        change.end()
    }
}
