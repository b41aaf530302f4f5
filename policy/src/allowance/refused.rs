//! Why an allowance is refused.

use std::fmt;

/// Why an allowance is refused, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Refused {
    /// The reason, for metrics and the audit log.
    pub reason: RefusedReason,
    /// What is wrong and what to do; may have several lines, the last of them starting with
    /// `help:`.
    pub message: String,
}

impl Refused {
    /// A refusal with its message and what to do about it.
    pub fn new(reason: RefusedReason, message: impl fmt::Display, help: impl fmt::Display) -> Self {
        Self { reason, message: format!("{message}\n  help: {help}") }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused ({}): {}", self.reason.word(), self.message)
    }
}

impl std::error::Error for Refused {}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// Every reason to refuse an allowance.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum RefusedReason { $($(#[$doc])* $name,)* }

        impl RefusedReason {
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
    /// It is no allowance, or says something that cannot be.
    Malformed = "malformed",
    /// It is not in the one form that can be signed.
    NotCanonical = "not_canonical",
    /// There is no signature.
    Unsigned = "unsigned",
    /// Too many or too long signatures.
    TooManySignatures = "too_many_signatures",
    /// A signature file is no signature, or cut short.
    SignatureMalformed = "signature_malformed",
    /// A signature was made for another purpose.
    WrongNamespace = "wrong_namespace",
    /// The text was edited, the signature is another document's, or forged.
    SignatureInvalid = "signature_invalid",
    /// A key or algorithm that is too weak.
    WeakKey = "weak_key",
    /// A kind of key that is not supported.
    UnsupportedKey = "unsupported_key",
    /// No line of `allowed_signers` has the key.
    UnknownSigner = "unknown_signer",
    /// `allowed_signers` has the key for other purposes only.
    SignerNotForAllowances = "signer_not_for_allowances",
    /// The key stands for nobody whom the policy names.
    SignerNotInPolicy = "signer_not_in_policy",
    /// The key stands for more than one person.
    SignerAmbiguous = "signer_ambiguous",
    /// `valid-before` is over.
    SignerExpired = "signer_expired",
    /// `valid-after` is to come.
    SignerNotYetValid = "signer_not_yet_valid",
    /// The key is revoked.
    SignerRevoked = "signer_revoked",
    /// A hardware key that nobody touched.
    NotTouched = "not_touched",
    /// A hardware key that asked for no PIN, and the policy wants that.
    NotVerified = "not_verified",
    /// A key in a file, and the policy wants hardware.
    NotHardware = "not_hardware",
    /// One person signed twice, and a second one is needed.
    SamePerson = "same_person",
    /// One key signed twice, and a second one is needed. (A key of two people is
    /// [`RefusedReason::SignerAmbiguous`].)
    SameKey = "same_key",
    /// Who asks for it cannot sign it.
    RequesterSigned = "requester_signed",
    /// Not enough people.
    TooFewSigners = "too_few_signers",
    /// Not enough people of a group.
    GroupMissing = "group_missing",
    /// The policy trusts nobody for zones of this role.
    NobodyTrusted = "nobody_trusted",
    /// It is signed, and for other hosts.
    OtherHost = "other_host",
    /// It is for every host, which the policy does not allow.
    AnyHost = "any_host",
    /// Its time is to come.
    NotYetValid = "not_yet_valid",
    /// Its time is over.
    Expired = "expired",
    /// Its time is longer than the policy allows.
    TooLong = "too_long",
    /// The host's clock was set back: nobody can tell whether its time is over.
    ClockSetBack = "clock_set_back",
    /// A zone that this host's policy does not have.
    UnknownZone = "unknown_zone",
    /// It would spend in primary and backup zones at once.
    Interlock = "interlock",
    /// A pattern that leads to nothing on this host.
    NothingMatches = "nothing_matches",
    /// A pattern that leads out of the zone.
    OutsideZone = "outside_zone",
    /// Its patterns lead to too many directories.
    TooManySubtrees = "too_many_subtrees",
    /// The files that it names could not be looked at in time.
    TooSlow = "too_slow",
    /// It binds to nobody, and was not started with `holdfast run`.
    Unbound = "unbound",
    /// It is for another user.
    WrongUser = "wrong_user",
    /// It is for another unit.
    WrongUnit = "wrong_unit",
    /// It is for another command, or the command's file is not the one that was signed.
    WrongCommand = "wrong_command",
    /// The script is not the one that was signed.
    WrongScript = "wrong_script",
    /// It is for the child of another process, or has its process already.
    WrongProcess = "wrong_process",
    /// It was activated here before.
    AlreadyUsed = "already_used",
    /// Another document with this id was activated here before.
    IdReused = "id_reused",
    /// Somebody revoked it.
    Revoked = "revoked",
    /// Another open allowance is bound to the same user or unit.
    BindTaken = "bind_taken",
    /// Too many are open.
    TooManyOpen = "too_many_open",
    /// Who may sign cannot be read.
    SignersUnreadable = "signers_unreadable",
    /// What was used before cannot be read or written.
    StateUnreadable = "state_unreadable",
    /// There is no guard in force that could count.
    NoGuard = "no_guard",
}
