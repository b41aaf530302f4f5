//! What a command asks for, and what the policy makes of that.

use std::time::Duration;

use super::{BreakGlass, GlassReason, GlassRefused};
use crate::model::{Policy, Role};
use crate::units::{format_bytes, format_time};
use crate::words::{did_you_mean, is_hidden, quoted};

/// Longest reason, in characters.
pub const MAX_REASON: usize = 400;

/// What is asked for; what is left out is as much as the policy allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Name of the zone.
    pub zone: String,
    /// Why, for everybody who reads of it.
    pub reason: String,
    /// For how long.
    pub length: Duration,
    /// At most so many files.
    pub files: Option<u64>,
    /// At most so many bytes.
    pub bytes: Option<u64>,
    /// For whom.
    pub scope: Scope,
}

/// Who may spend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everybody in the zone.
    HostWide,
    /// One command, with all its children.
    Command,
}

/// What a break-glass is for: nothing is left open, and the policy allows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Name of the zone.
    pub zone: String,
    /// The zone's role.
    pub role: Role,
    /// Why.
    pub reason: String,
    /// For how long; whole seconds.
    pub length: Duration,
    /// At most so many files.
    pub files: u64,
    /// At most so many bytes.
    pub bytes: u64,
    /// For whom.
    pub scope: Scope,
}

impl Scope {
    /// The word used in reports and the audit log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::HostWide => "host_wide",
            Self::Command => "command",
        }
    }
}

impl Terms {
    /// What `wanted` comes to under a policy.
    pub fn new(policy: &Policy, wanted: &Wanted) -> Result<Self, GlassRefused> {
        let Some(rule) = &policy.break_glass else {
            let message = "this host's policy allows no break-glass: it has no `[break_glass]`";
            let help = "add the table and reload (`holdfast policy reload`); until then `holdfast \
                        hold release` decides about what is held";
            return Err(GlassRefused::new(GlassReason::NotEnabled, message, help));
        };
        let Some(zone) = policy.zone(&wanted.zone) else {
            let names: Vec<&str> = policy.zones.iter().map(|zone| zone.name.as_str()).collect();
            let message = format!("there is no zone {}", quoted(&wanted.zone));
            let help = did_you_mean(&wanted.zone, &names);
            return Err(GlassRefused::new(GlassReason::UnknownZone, message, help));
        };
        if !rule.is_for(&wanted.zone) {
            let message = format!("the policy allows no break-glass for zone {}", wanted.zone);
            let help = "see `zones` of `[break_glass]`";
            return Err(GlassRefused::new(GlassReason::ZoneNotEnabled, message, help));
        }
        let reason = reason(&wanted.reason)?;
        let length = length(wanted.length, rule)?;
        let files = amount("files", wanted.files, rule.max_files, |n| n.to_string())?;
        let bytes = amount("bytes", wanted.bytes, rule.max_bytes, format_bytes)?;
        let zone_name = wanted.zone.clone();
        let scope = wanted.scope;
        Ok(Self { zone: zone_name, role: zone.role, reason, length, files, bytes, scope })
    }

    /// What would have to be asked for to come to this.
    pub fn wanted(&self) -> Wanted {
        Wanted {
            zone: self.zone.clone(),
            reason: self.reason.clone(),
            length: self.length,
            files: Some(self.files),
            bytes: Some(self.bytes),
            scope: self.scope,
        }
    }
}

fn reason(text: &str) -> Result<String, GlassRefused> {
    let text = text.trim();
    let help = "say in one line what is wrong: everybody who is woken by this reads it";
    if text.is_empty() {
        return Err(GlassRefused::new(GlassReason::BadReason, "there is no reason", help));
    }
    if text.chars().count() > MAX_REASON || text.chars().any(|c| c.is_control() || is_hidden(c)) {
        let message = format!(
            "the reason is longer than {MAX_REASON} characters, or has some that cannot be seen"
        );
        return Err(GlassRefused::new(GlassReason::BadReason, message, help));
    }
    Ok(text.to_owned())
}

fn length(length: Duration, rule: &BreakGlass) -> Result<Duration, GlassRefused> {
    if length.as_secs() == 0 || length > rule.max_length {
        let message = format!("it cannot be open for {}", format_time(length));
        let help = format!(
            "the policy allows up to {}; it cannot be extended, only opened again",
            format_time(rule.max_length)
        );
        return Err(GlassRefused::new(GlassReason::BadLength, message, help));
    }
    Ok(Duration::from_secs(length.as_secs()))
}

fn amount(
    what: &str,
    wanted: Option<u64>,
    most: u64,
    show: impl Fn(u64) -> String,
) -> Result<u64, GlassRefused> {
    let amount = wanted.unwrap_or(most);
    if amount == 0 || amount > most {
        let message = format!("it cannot be for {} {what}", show(amount));
        let help = format!("the policy allows 1 to {}", show(most));
        return Err(GlassRefused::new(GlassReason::BadAmount, message, help));
    }
    Ok(amount)
}
