//! What was found at one stage. It decides nothing but which of several reasons is the first.

use crate::allowance::{Refused, RefusedReason};

/// What is wrong, in the order it was found.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<(RefusedReason, String, String)>);

impl Faults {
    /// One thing that is wrong, and what to do about it.
    pub(super) fn add(
        &mut self,
        reason: RefusedReason,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.0.push((reason, message.into(), help.into()));
    }

    pub(super) fn append(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
    }

    /// A refusal for the first reason that says everything, if there is anything.
    pub(super) fn refuse(self) -> Result<(), Refused> {
        let Some((reason, ..)) = self.0.first() else {
            return Ok(());
        };
        let messages: Vec<&str> = self.0.iter().map(|(_, message, _)| message.as_str()).collect();
        let mut helps: Vec<&str> = Vec::new();
        for (_, _, help) in &self.0 {
            if !helps.contains(&help.as_str()) {
                helps.push(help);
            }
        }
        Err(Refused::new(*reason, messages.join("\n  "), helps.join("; ")))
    }
}

/// The first few of many names: `a, b and 7 more`.
pub(super) fn some<S: AsRef<str>>(names: &[S]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
