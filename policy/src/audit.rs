//! What becomes of decisions that have to be recorded while the audit log cannot be written.

/// `on_audit_failure`. Ops within budget are never denied for it, and what is over budget is
/// stopped in any case: it is about what people let through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnAuditFailure {
    /// Nothing takes effect that has to be recorded first.
    #[default]
    Deny,
    /// It takes effect, and its record waits in memory. It is lost if the agent ends before the log
    /// can be written again.
    Continue,
}

impl OnAuditFailure {
    /// Each.
    pub const ALL: &'static [Self] = &[Self::Deny, Self::Continue];

    /// The word used in policy, status and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Continue => "continue",
        }
    }
}
