//! Whom a policy trusts, for people and for programs.

use std::fmt;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::string;
use crate::model::Role;
use crate::signing::{Group, Need, Signing, Trust};
use crate::units::format_time;

impl fmt::Display for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[allowances]")?;
        writeln!(f, "signers = {}", string(&self.signers))?;
        match &self.revoked {
            Some(path) => writeln!(f, "revoked = {}", string(path))?,
            None => writeln!(f, "# revoked: no list")?,
        }
        writeln!(f, "max_length = {}", string(&format_time(self.max_length)))?;
        writeln!(f, "any_host = {}", self.any_host)?;
        for role in Role::ALL {
            if self.trust(*role).is_none() {
                writeln!(f, "# role {}: nobody can sign", role.word())?;
            }
        }
        for group in &self.groups {
            write!(f, "\n{group}")?;
        }
        for trust in &self.trust {
            write!(f, "\n{trust}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let people: Vec<String> = self.people.iter().map(|person| string(person)).collect();
        writeln!(f, "[[group]]")?;
        writeln!(f, "name = {}", string(&self.name))?;
        writeln!(f, "people = [{}]", people.join(", "))
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let need = |need: &Need| {
            format!("{{ group = {}, people = {} }}", string(&need.group), need.people)
        };
        let needs: Vec<String> = self.needs.iter().map(need).collect();
        writeln!(f, "[[trust]]")?;
        writeln!(f, "role = {}", string(self.role.word()))?;
        writeln!(f, "needs = [{}]", needs.join(", "))?;
        writeln!(f, "requester_may_sign = {}", self.requester_may_sign)?;
        writeln!(f, "hardware = {}", self.hardware)?;
        writeln!(f, "verified = {}", self.verified)
    }
}

/// What `[allowances]` says; groups and trust have fields of their own in the policy.
pub(super) struct Settings<'a>(pub(super) &'a Signing);

impl Serialize for Settings<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Settings(signing) = self;
        let mut settings = serializer.serialize_struct("Allowances", 5)?;
        settings.serialize_field("signers", &signing.signers)?;
        settings.serialize_field("revoked", &signing.revoked)?;
        settings.serialize_field("max_length", &format_time(signing.max_length))?;
        settings.serialize_field("max_length_seconds", &signing.max_length.as_secs())?;
        settings.serialize_field("any_host", &signing.any_host)?;
        settings.end()
    }
}

impl Serialize for Group {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut group = serializer.serialize_struct("Group", 2)?;
        group.serialize_field("name", &self.name)?;
        group.serialize_field("people", &self.people)?;
        group.end()
    }
}

impl Serialize for Trust {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut trust = serializer.serialize_struct("Trust", 5)?;
        trust.serialize_field("role", &self.role)?;
        trust.serialize_field("needs", &self.needs)?;
        trust.serialize_field("requester_may_sign", &self.requester_may_sign)?;
        trust.serialize_field("hardware", &self.hardware)?;
        trust.serialize_field("verified", &self.verified)?;
        trust.end()
    }
}

impl Serialize for Need {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut need = serializer.serialize_struct("Need", 2)?;
        need.serialize_field("group", &self.group)?;
        need.serialize_field("people", &self.people)?;
        need.end()
    }
}
