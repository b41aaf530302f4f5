//! The resolved policy: what is guarded and what it may cost. It cannot be wrong, and it decides
//! nothing.

use std::fmt;
use std::time::Duration;

use holdfast_abi::{Mode, OnTrip};

use crate::audit::OnAuditFailure;
use crate::break_glass::BreakGlass;
use crate::budget::{Budget, TenantCountsAfter};
use crate::manifest::Manifest;
use crate::pattern::PathPattern;
use crate::problem::{Fault, Mistakes, Problems, Source};
use crate::signing::Signing;
use crate::words::quoted;
use crate::{raw, resolve};

/// Longest name of a zone, in bytes: the kernel keeps 64, one of them for the closing NUL.
pub const MAX_ZONE_NAME: usize = 63;

/// How long a process is held if the policy does not say.
pub const DEFAULT_HOLD_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// The shortest a process can be held: in less nobody has read who is paused, and why.
pub const MIN_HOLD_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest a process can be held: a week, so that no weekend ends one.
pub const MAX_HOLD_TIMEOUT: Duration = Duration::from_secs(7 * 86_400);

/// The agent's own zone, in which it proves that ops are stopped. No policy can use the name.
pub const RESERVED_ZONE_NAME: &str = "canary";

/// Everything that is guarded on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// At least one zone; no two with the same name, and none inside another.
    pub zones: Vec<Zone>,
    /// Who can sign allowances.
    pub signing: Signing,
    /// What becomes of decisions while the audit log cannot be written.
    pub on_audit_failure: OnAuditFailure,
    /// The emergency override. Without it none can be opened.
    pub break_glass: Option<BreakGlass>,
    /// How the manifest is kept.
    pub manifest: Manifest,
}

/// A named set of directory trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its name.
    pub name: ZoneName,
    /// Whether it holds the data or copies of it.
    pub role: Role,
    /// Where its trees are; at least one.
    pub paths: Vec<PathPattern>,
    /// How many levels below a root its tenants are; 0: each root is a tenant.
    pub tenant_depth: u32,
    /// How much of a tenant has to go in a window until the tenant counts as touched in it.
    pub tenant_counts_after: TenantCountsAfter,
    /// Whether everything that is destroyed in it is listed, for recovery.
    pub manifest: bool,
    /// Whether an op over budget is stopped.
    pub mode: Mode,
    /// How, if it is.
    pub on_trip: OnTrip,
    /// How long a process is held before it is denied after all: whole seconds, from
    /// [`MIN_HOLD_TIMEOUT`] to [`MAX_HOLD_TIMEOUT`]. Means nothing (and is the default) unless
    /// `on_trip` is `hold`.
    pub hold_timeout: Duration,
    /// Whether the terminal of a paused process is told. Means nothing (and is true) where
    /// `on_trip` is `deny`.
    pub tell_terminal: bool,
    /// At least one, at most [`holdfast_abi::MAX_BUDGETS`], in the order of the file.
    pub budgets: Vec<Budget>,
}

/// What a zone holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The data.
    Primary,
    /// Copies of it.
    Backup,
}

/// A zone's name: lower-case letters, digits, `.`, `_` and `-`, a letter or digit first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneName(String);

impl Policy {
    /// Reads a policy. `path` is only used to say where a problem is.
    ///
    /// Everything that is wrong is reported at once.
    pub fn parse(path: &str, text: &str) -> Result<Self, Problems> {
        let source = Source::new(text);
        let mut mistakes = Mistakes::default();
        let raw = raw::read(text, &mut mistakes);
        let policy = resolve::resolve(&raw, &source, &mut mistakes);
        match mistakes.into_problems(path, &source) {
            None => Ok(policy),
            Some(problems) => Err(problems),
        }
    }

    /// The zone with this name.
    pub fn zone(&self, name: &str) -> Option<&Zone> {
        self.zones.iter().find(|zone| zone.name.as_str() == name)
    }
}

impl Role {
    /// Every role.
    pub const ALL: &'static [Self] = &[Role::Primary, Role::Backup];

    /// The word used in policy, metrics, logs and on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::Backup => "backup",
        }
    }

    /// What happens to an op over budget if the policy does not say: a pause leaves a choice, but
    /// copies are the last that is left.
    pub const fn default_on_trip(self) -> OnTrip {
        match self {
            Role::Primary => OnTrip::Hold,
            Role::Backup => OnTrip::Deny,
        }
    }

    /// The role with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|role| role.word() == word)
    }
}

impl ZoneName {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let rule =
            "a name has 1 to 63 characters: a-z, 0-9, `.`, `_` and `-`, a letter or digit first";
        let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let other = |c: char| first(c) || matches!(c, '.' | '_' | '-');
        if text.len() > MAX_ZONE_NAME {
            let message = format!("the name {} is too long", quoted(text));
            return Err(Fault::new(message, rule));
        }
        if !text.starts_with(first) || !text.chars().all(other) {
            return Err(Fault::new(format!("{} cannot be a zone's name", quoted(text)), rule));
        }
        if text == RESERVED_ZONE_NAME {
            return Err(Fault::new(
                format!("the name `{RESERVED_ZONE_NAME}` is reserved"),
                "holdfast proves with a zone of this name that ops are stopped: choose another one",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_can_and_cannot_be() {
        for name in ["a", "0", "customers", "web-01.eu_west", &"x".repeat(63)] {
            assert_eq!(ZoneName::parse(name).unwrap().as_str(), name);
        }
        for name in ["", "-a", ".a", "A", "a b", "ä", "a/b", "canary", "a\n", &"x".repeat(64)] {
            assert!(ZoneName::parse(name).is_err(), "{name:?}");
        }
    }
}
