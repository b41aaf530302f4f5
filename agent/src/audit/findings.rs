//! How often which kind of thing was found wrong with the log.

use super::own::Own;

/// Counts, since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    torn: u64,
    behind: u64,
    damaged: u64,
    disturbed: u64,
}

impl Findings {
    /// One more.
    pub(super) fn note(&mut self, finding: &Own) {
        match finding {
            Own::Torn { .. } => self.torn += 1,
            Own::Behind { .. } => self.behind += 1,
            Own::Damaged { .. } => self.damaged += 1,
            Own::Disturbed { .. } => self.disturbed += 1,
            Own::Head { .. }
            | Own::Checkpoint { .. }
            | Own::Lost { .. }
            | Own::Unwritable { .. } => {}
        }
    }

    /// Each kind under the name of its record.
    pub(crate) fn by_kind(&self) -> [(&'static str, u64); 4] {
        [
            ("torn", self.torn),
            ("behind", self.behind),
            ("damaged", self.damaged),
            ("disturbed", self.disturbed),
        ]
    }
}

#[cfg(test)]
impl Findings {
    /// Records were missing once.
    pub(crate) fn test_behind() -> Self {
        Self { behind: 1, ..Self::default() }
    }
}
