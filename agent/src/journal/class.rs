//! Which records the journal hears of, and under which MESSAGE_ID (sd_journal(3)). The ids never
//! change: people search for them.

use crate::audit::Record;

/// Priorities of syslog(3).
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const NOTICE: u8 = 5;
const CRITICAL: u8 = 2;

macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $word:literal, $priority:ident;)+) => {
        /// A class of events.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Class { $($(#[$doc])* $name,)+ }

        impl Class {
            /// All of them.
            #[cfg(test)]
            pub(super) const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its MESSAGE_ID.
            pub(crate) const fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)+ }
            }

            /// Its name, in HOLDFAST_EVENT.
            pub(crate) const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// Its priority.
            pub(crate) const fn priority(self) -> u8 {
                match self { $(Self::$name => $priority,)+ }
            }
        }
    };
}

classes! {
    /// The first op over a budget.
    Trip = "bdae5829645d42d3927eae457f565887", "trip", WARNING;
    /// An op was denied.
    Denied = "9de964125e3946ff9017bd9771f16b87", "denied", NOTICE;
    /// A thread is held.
    Hold = "5bc7b38060694a7590f187acc0ca891d", "hold", WARNING;
    /// A person released a hold, or reset an actor's budgets.
    Release = "2b1e7c711a6243e68aac3cadcb031423", "release", NOTICE;
    /// Somebody killed what was held.
    Kill = "292d6814a56b46998d9a50b3a2d8585a", "kill", NOTICE;
    /// Nobody decided about a hold in time.
    Expire = "07241e921844446aa448750c99a4457f", "expire", WARNING;
    /// A break-glass was opened.
    BreakGlassOpen = "79447180f4104cde8d9d6c6b66c9b9c9", "break_glass_open", CRITICAL;
    /// It is over.
    BreakGlassClose = "60f2a403a21e418ebf9944644a772b87", "break_glass_close", WARNING;
    /// One was refused.
    BreakGlassRefuse = "a12c65bc2a8e45d0a6cb1cb5186475d3", "break_glass_refuse", WARNING;
    /// An allowance was opened.
    AllowanceActivate = "fed7318467e34237a9482183a319cb35", "allowance_activate", NOTICE;
    /// One was refused.
    AllowanceRefuse = "a523c200fca94ac8a217696dca903882", "allowance_refuse", WARNING;
    /// The proof came out differently than before.
    Coverage = "7df5def8fe144e8b89c08c92b0b81ced", "coverage", ERROR;
    /// A policy was put in force, or refused.
    Policy = "010ef84ba358455d914901a4bf60d69f", "policy", NOTICE;
    /// The audit log cannot be written.
    AuditFailure = "182b21bc6db84831803d60f2eccfa866", "audit_failure", CRITICAL;
}

impl Class {
    /// What a record is for the journal; `None`: nothing.
    pub(super) fn of(record: &Record) -> Option<Self> {
        match record {
            Record::Verdict { event } if event.trip => Some(Self::Trip),
            Record::Verdict { event } if event.verdict == "deny" => Some(Self::Denied),
            Record::Hold { .. } => Some(Self::Hold),
            Record::Release { .. } | Record::BudgetReset { outcome: "intended", .. } => {
                Some(Self::Release)
            }
            Record::Kill { .. } => Some(Self::Kill),
            Record::Expire { .. } => Some(Self::Expire),
            Record::BreakGlassOpen { .. } => Some(Self::BreakGlassOpen),
            Record::BreakGlassClose { .. } => Some(Self::BreakGlassClose),
            Record::BreakGlassRefuse { .. } => Some(Self::BreakGlassRefuse),
            Record::AllowanceActivate { .. } => Some(Self::AllowanceActivate),
            Record::AllowanceRefuse { .. } => Some(Self::AllowanceRefuse),
            Record::Coverage { .. } => Some(Self::Coverage),
            Record::Policy { cause: "roots", .. } => None,
            Record::Policy { .. } => Some(Self::Policy),
            // Not worth an entry of its own; the audit log has them.
            Record::Verdict { .. }
            | Record::Start { .. }
            | Record::Stop { .. }
            | Record::Adopt { .. }
            | Record::Throttle { .. }
            | Record::HoldEnd { .. }
            | Record::ReleaseOutcome { .. }
            | Record::HoldRetry { .. }
            | Record::BudgetReset { .. }
            | Record::AllowanceSubmit { .. }
            | Record::AllowanceJoin { .. }
            | Record::AllowanceSpend { .. }
            | Record::AllowanceClose { .. }
            | Record::AllowanceRevoke { .. }
            | Record::AllowanceUnknown { .. }
            | Record::BreakGlassJoin { .. }
            | Record::BreakGlassSpend { .. }
            | Record::BreakGlassCodes { .. }
            | Record::ManifestSeal { .. }
            | Record::ManifestSummarise { .. }
            | Record::Unpin { .. } => None,
        }
    }

    /// Whether there can be very many of them.
    pub(super) const fn is_frequent(self) -> bool {
        matches!(self, Self::Denied | Self::Hold)
    }
}
