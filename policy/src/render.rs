//! The resolved policy for people (as a policy file with nothing left to defaults) and for programs
//! (JSON).

mod annotated;
mod break_glass;
mod signing;

use std::fmt;
use std::time::Duration;

use holdfast_abi::OnTrip;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::budget::{Budget, OpSet};
use crate::manifest::Manifest;
use crate::model::{Policy, Role, Zone, ZoneName};
use crate::pattern::PathPattern;
use crate::units::{Window, format_bytes, format_time};

/// The policy as a policy file: reading it again gives the same policy.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "on_audit_failure = {}", string(self.on_audit_failure.word()))?;
        for zone in &self.zones {
            writeln!(f)?;
            zone.fmt(f)?;
        }
        writeln!(f, "\n[manifest]")?;
        writeln!(f, "max_bytes = {}", string(&format_bytes(self.manifest.max_bytes)))?;
        write!(f, "\n{}", self.signing)?;
        match &self.break_glass {
            Some(break_glass) => write!(f, "\n{break_glass}"),
            None => writeln!(f, "\n# break_glass: none can be opened"),
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<String> = self.paths.iter().map(|path| string(path.as_str())).collect();
        writeln!(f, "[[zone]]")?;
        writeln!(f, "name = {}", string(self.name.as_str()))?;
        writeln!(f, "role = {}", string(self.role.word()))?;
        writeln!(f, "paths = [{}]", paths.join(", "))?;
        writeln!(f, "tenant_depth = {}", self.tenant_depth)?;
        writeln!(f, "tenant_counts_after = {}", string(&self.tenant_counts_after.to_string()))?;
        writeln!(f, "manifest = {}", self.manifest)?;
        writeln!(f, "mode = {}", string(self.mode.word()))?;
        writeln!(f, "on_trip = {}", string(self.on_trip.word()))?;
        if let Some(timeout) = hold_timeout(self) {
            writeln!(f, "hold_timeout = {}", string(&format_time(timeout)))?;
        }
        if let Some(tell) = tell_terminal(self) {
            writeln!(f, "tell_terminal = {tell}")?;
        }
        for budget in &self.budgets {
            write!(f, "\n{budget}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ops: Vec<String> = self.ops.iter().map(|op| string(op.word())).collect();
        writeln!(f, "[[zone.budget]] # {}", self.label())?;
        writeln!(f, "per = {}", string(self.per.word()))?;
        writeln!(f, "who = {}", string(self.who.word()))?;
        writeln!(f, "ops = [{}]", ops.join(", "))?;
        limit(f, "files", self.files.map(|files| files.to_string()))?;
        limit(f, "bytes", self.bytes.map(|bytes| string(&format_bytes(bytes))))?;
        limit(f, "tenants", self.tenants.map(|tenants| tenants.to_string()))?;
        writeln!(f, "window = {}", string(&self.window.to_string()))?;
        writeln!(f, "latch = {}", string(&self.latch.to_string()))
    }
}

fn limit(f: &mut fmt::Formatter<'_>, name: &str, value: Option<String>) -> fmt::Result {
    match value {
        Some(value) => writeln!(f, "{name} = {value}"),
        None => writeln!(f, "# {name}: not limited"),
    }
}

/// How long a process is held, where one can be.
fn hold_timeout(zone: &Zone) -> Option<Duration> {
    match zone.on_trip {
        OnTrip::Hold => Some(zone.hold_timeout),
        OnTrip::Deny | OnTrip::Throttle => None,
    }
}

/// Whether the terminal of a paused process is told, where one can be paused.
fn tell_terminal(zone: &Zone) -> Option<bool> {
    match zone.on_trip {
        OnTrip::Hold | OnTrip::Throttle => Some(zone.tell_terminal),
        OnTrip::Deny => None,
    }
}

/// A TOML basic string. Names, patterns and words have no control characters.
pub(crate) fn string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut policy = serializer.serialize_struct("Policy", 7)?;
        policy.serialize_field("on_audit_failure", self.on_audit_failure.word())?;
        policy.serialize_field("zones", &self.zones)?;
        policy.serialize_field("allowances", &signing::Settings(&self.signing))?;
        policy.serialize_field("groups", &self.signing.groups)?;
        policy.serialize_field("trust", &self.signing.trust)?;
        policy.serialize_field("break_glass", &self.break_glass)?;
        policy.serialize_field("manifest", &self.manifest)?;
        policy.end()
    }
}

/// What `on_trip` leaves without a meaning is null.
impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut zone = serializer.serialize_struct("Zone", 12)?;
        zone.serialize_field("name", &self.name)?;
        zone.serialize_field("role", &self.role)?;
        zone.serialize_field("paths", &self.paths)?;
        zone.serialize_field("tenant_depth", &self.tenant_depth)?;
        zone.serialize_field("tenant_counts_after", &self.tenant_counts_after.to_string())?;
        zone.serialize_field("manifest", &self.manifest)?;
        zone.serialize_field("mode", self.mode.word())?;
        zone.serialize_field("on_trip", self.on_trip.word())?;
        let timeout = hold_timeout(self);
        zone.serialize_field("hold_timeout", &timeout.map(format_time))?;
        zone.serialize_field("hold_timeout_seconds", &timeout.map(|timeout| timeout.as_secs()))?;
        zone.serialize_field("tell_terminal", &tell_terminal(self))?;
        zone.serialize_field("budgets", &self.budgets)?;
        zone.end()
    }
}

/// What is not limited is null.
impl Serialize for Budget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut budget = serializer.serialize_struct("Budget", 11)?;
        budget.serialize_field("label", &self.label())?;
        budget.serialize_field("per", self.per.word())?;
        budget.serialize_field("who", self.who.word())?;
        budget.serialize_field("ops", &self.ops)?;
        budget.serialize_field("files", &self.files)?;
        budget.serialize_field("bytes", &self.bytes)?;
        budget.serialize_field("tenants", &self.tenants)?;
        budget.serialize_field("window", &self.window)?;
        budget.serialize_field("window_seconds", &self.window.seconds())?;
        budget.serialize_field("latch", &self.latch)?;
        budget.serialize_field("latch_seconds", &self.latch.seconds())?;
        budget.end()
    }
}

impl Serialize for Manifest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut manifest = serializer.serialize_struct("Manifest", 1)?;
        manifest.serialize_field("max_bytes", &self.max_bytes)?;
        manifest.end()
    }
}

impl Serialize for OpSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|op| op.word()))
    }
}

impl Serialize for ZoneName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl Serialize for PathPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
