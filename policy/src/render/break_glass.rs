//! What a policy says about break-glass, for people and for programs.

use std::fmt;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::string;
use crate::break_glass::BreakGlass;
use crate::units::{format_bytes, format_time};

impl fmt::Display for BreakGlass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |words: &mut dyn Iterator<Item = &str>| {
            let words: Vec<String> = words.map(string).collect();
            format!("[{}]", words.join(", "))
        };
        writeln!(f, "[break_glass]")?;
        match &self.zones {
            Some(zones) => writeln!(f, "zones = {}", list(&mut zones.iter().map(|z| z.as_str())))?,
            None => writeln!(f, "# zones: all")?,
        }
        writeln!(f, "max_length = {}", string(&format_time(self.max_length)))?;
        writeln!(f, "max_files = {}", self.max_files)?;
        writeln!(f, "max_bytes = {}", string(&format_bytes(self.max_bytes)))?;
        writeln!(f, "signers = {}", list(&mut self.signers.iter().map(String::as_str)))
    }
}

/// Without `zones`, which is null then, it is for all of them.
impl Serialize for BreakGlass {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut table = serializer.serialize_struct("BreakGlass", 6)?;
        table.serialize_field("zones", &self.zones)?;
        table.serialize_field("max_length", &format_time(self.max_length))?;
        table.serialize_field("max_length_seconds", &self.max_length.as_secs())?;
        table.serialize_field("max_files", &self.max_files)?;
        table.serialize_field("max_bytes", &self.max_bytes)?;
        table.serialize_field("signers", &self.signers)?;
        table.end()
    }
}
