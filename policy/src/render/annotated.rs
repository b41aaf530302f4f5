//! A policy as a policy file, with comments before zones and budgets.

use std::fmt::Write as _;

use crate::model::{Policy, Zone};

impl Policy {
    /// The policy as a policy file in which each zone and each budget has lines of comment before
    /// it. `note` gets the index of the zone, and that of the budget; its lines must have no
    /// control characters.
    pub fn annotated(&self, note: &dyn Fn(usize, Option<usize>) -> Vec<String>) -> String {
        let mut text = Policy { zones: Vec::new(), ..self.clone() }.to_string();
        let comment = |text: &mut String, lines: Vec<String>| {
            for line in lines {
                text.push_str(if line.is_empty() { "#" } else { "# " });
                text.push_str(&line);
                text.push('\n');
            }
        };
        for (index, zone) in self.zones.iter().enumerate() {
            text.push('\n');
            comment(&mut text, note(index, None));
            // Writing to a string cannot fail.
            let _ = write!(text, "{}", Zone { budgets: Vec::new(), ..zone.clone() });
            for (budget_index, budget) in zone.budgets.iter().enumerate() {
                text.push('\n');
                comment(&mut text, note(index, Some(budget_index)));
                let _ = write!(text, "{budget}");
            }
        }
        text
    }
}
