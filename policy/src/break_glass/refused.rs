//! Why a break-glass is refused.

use std::fmt;

/// Why a break-glass is not opened, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct GlassRefused {
    /// The reason, for metrics and the audit log.
    pub reason: GlassReason,
    /// What is wrong and what to do; the last line starts with `help:`.
    pub message: String,
}

impl GlassRefused {
    /// A refusal with its message and what to do about it.
    pub fn new(reason: GlassReason, message: impl fmt::Display, help: impl fmt::Display) -> Self {
        Self { reason, message: format!("{message}\n  help: {help}") }
    }
}

impl fmt::Display for GlassRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused ({}): {}", self.reason.word(), self.message)
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// Every reason to refuse a break-glass.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum GlassReason { $($(#[$doc])* $name,)* }

        impl GlassReason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word used in messages, metrics and the audit log.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

reasons! {
    /// The policy has no `[break_glass]`.
    NotEnabled = "not_enabled",
    /// The policy has no such zone.
    UnknownZone = "unknown_zone",
    /// The policy does not allow it for this zone.
    ZoneNotEnabled = "zone_not_enabled",
    /// No reason, or none that can be shown.
    BadReason = "bad_reason",
    /// Longer than the policy allows, or no time at all.
    BadLength = "bad_length",
    /// More files or bytes than the policy allows, or none.
    BadAmount = "bad_amount",
    /// One is open on this host.
    AlreadyOpen = "already_open",
    /// Something is open for zones of the other role.
    Interlock = "interlock",
    /// There is no guard in force.
    NoGuard = "no_guard",
    /// A code with a slip of the pen: not counted as an attempt.
    MistypedCode = "mistyped_code",
    /// There is no such code.
    WrongCode = "wrong_code",
    /// A code that was used before.
    UsedCode = "used_code",
    /// It was never made here, has expired, or was used: a challenge is good once.
    UnknownChallenge = "unknown_challenge",
    /// A signature that is none, is of another text, or of another purpose.
    BadSignature = "bad_signature",
    /// The key is of nobody whom the policy lets sign, or is revoked or out of its time.
    UnknownSigner = "unknown_signer",
    /// The key is not in hardware, nobody touched it, or it asked for no PIN or fingerprint.
    NotVerified = "not_verified",
    /// Who may sign cannot be read.
    SignersUnreadable = "signers_unreadable",
    /// Which codes were used cannot be read or written.
    StateUnreadable = "state_unreadable",
    /// It is for the child of another process, or has its process already.
    WrongProcess = "wrong_process",
}
