//! What was really destroyed in an incident, as the manifest has it: within budgets, too.
//!
//! Its texts are safe for a terminal: names in them are escaped.

use std::collections::BTreeMap;

use crate::manifest::{SpentFrom, Sum, SummaryRow};
use crate::text::{count, for_terminal, size};

/// What the manifest says.
#[derive(Debug, Default)]
pub(crate) struct Destroyed {
    /// Whether there is a manifest that could be read. If not, `notes` say why.
    pub(crate) is_known: bool,
    /// Whose, and how much: that with the most files first.
    pub(crate) tenants: Vec<(String, SummaryRow)>,
    /// How much by what let it go on.
    pub(crate) from: BTreeMap<SpentFrom, Sum>,
    /// Whether it is as it was sealed.
    pub(crate) seals: Vec<String>,
    /// Whether something is wrong with that.
    pub(crate) is_changed: bool,
    /// What is missing, and what only sums are left of.
    pub(crate) notes: Vec<String>,
}

impl Destroyed {
    /// There is none, and why.
    pub(crate) fn unknown(why: &str) -> Self {
        Self { notes: vec![for_terminal(why.as_bytes())], ..Self::default() }
    }

    /// Puts those who lost the most first.
    pub(crate) fn sorted(mut self) -> Self {
        self.tenants.sort_by_key(|(_, row)| std::cmp::Reverse((row.files, row.bytes, row.records)));
        self
    }

    /// What was destroyed under one of these allowances.
    pub(super) fn under(&self, ids: &[String]) -> Option<String> {
        let sums = ids.iter().filter_map(|id| self.from.get(&SpentFrom::Allowance(id.clone())));
        let sums: Vec<&Sum> = sums.collect();
        let [first, ..] = sums[..] else { return None };
        let total = sums[1..].iter().fold(first.clone(), |total, sum| total.and(sum));
        Some(amount(&total))
    }

    /// All of it.
    pub(super) fn total(&self) -> String {
        let total = self.from.values().fold(Sum::default(), |total, sum| total.and(sum));
        amount(&total)
    }

    /// How much by what let it go on.
    pub(super) fn by_ground(&self) -> Vec<(String, String)> {
        let name = |from: &SpentFrom| match from {
            SpentFrom::Budgets => "within budgets, or released".to_owned(),
            SpentFrom::Nothing => "over budget, in a zone that observes".to_owned(),
            SpentFrom::Allowance(id) => format!("under {}", for_terminal(id.as_bytes())),
        };
        self.from.iter().map(|(from, sum)| (name(from), amount(sum))).collect()
    }
}

fn amount(sum: &Sum) -> String {
    let of = count(sum.tenants.len() as u64, "tenant");
    format!("{}, {}, {}, of {of}", count(sum.ops, "op"), count(sum.files, "file"), size(sum.bytes))
}
