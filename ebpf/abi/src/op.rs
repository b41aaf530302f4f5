//! Operations, verdicts and the words a policy uses, each with its number in the kernel.

macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident: $repr:ty {
        $($(#[$vmeta:meta])* $variant:ident = $n:literal $word:literal),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr($repr)]
        pub enum $name { $($(#[$vmeta])* $variant = $n),+ }

        impl $name {
            /// Every value, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word used in policy, metrics, logs and on the command line.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The value with this number, as read from a map or an event.
            pub const fn from_number(n: $repr) -> Option<Self> {
                match n { $($n => Some(Self::$variant),)+ _ => None }
            }

            /// The value with this word.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

numbered! {
    /// One destructive operation, normalised.
    Op: u8 {
        /// The last link to a file, or a directory, is removed.
        Remove = 0 "remove",
        /// A rename puts something over existing data.
        Replace = 1 "replace",
        /// A file shrinks.
        Truncate = 2 "truncate",
        /// A range is punched, zeroed or collapsed.
        Punch = 3 "punch",
        /// An existing file is opened for writing in place.
        Overwrite = 4 "overwrite",
        /// A file leaves the zone.
        MoveOut = 5 "move_out",
        /// A subtree, root or mount leaves in one stroke: cost unknown, always over budget.
        Detach = 6 "detach",
        /// Raw write to the storage under a zone: cost unknown, always over budget.
        Device = 7 "device",
    }
}

numbered! {
    /// What happens to an op.
    #[must_use]
    Verdict: u8 {
        /// Within budget.
        Allow = 0 "allow",
        /// Over budget in a zone that only observes: the op goes on.
        Observe = 1 "observe",
        /// Over budget: the op fails with EPERM and nothing is lost.
        Deny = 2 "deny",
        /// The process is paused at the system call.
        Hold = 3 "hold",
        /// The process is paused and goes on at the budget's rate.
        Throttle = 4 "throttle",
    }
}

numbered! {
    /// Why a verdict is not `allow`.
    Reason: u8 {
        /// Within budget.
        None = 0 "within_budget",
        /// The files of a budget are spent.
        Files = 1 "files",
        /// The bytes of a budget are spent.
        Bytes = 2 "bytes",
        /// One more tenant would be touched than the budget lets.
        Tenants = 3 "tenants",
        /// An earlier trip of the same actor and zone still latches.
        Latched = 4 "latched",
        /// The op's cost is unknown (`detach`, `device`).
        UnknownCost = 5 "unknown_cost",
        /// The agent's own canary directory.
        Canary = 6 "canary",
        /// The process was held, and nobody decided before the deadline.
        Expired = 7 "hold_expired",
        /// A signed allowance covers the op: it is spent, and no budget is asked.
        Allowance = 8 "allowance",
        /// A break-glass is open and covers the op: it is spent, and no budget is asked.
        BreakGlass = 9 "break_glass",
        /// The kernel has no account to charge: nobody can tell what is spent.
        NoAccount = 10 "no_account",
        /// The same unit made it a moment ago, or since its trip: it can go, and no budget is
        /// charged.
        Fresh = 11 "fresh",
    }
}

numbered! {
    /// Whose spending a budget adds up.
    Per: u8 {
        /// The cgroup: a service, a session, a container.
        Unit = 0 "unit",
        /// The login user where one is set, else the real user.
        User = 1 "user",
        /// Everyone together.
        Zone = 2 "zone",
    }
}

numbered! {
    /// Whom a budget applies to.
    Who: u8 {
        /// Everybody.
        Everyone = 0 "everyone",
        /// Root, or anyone destroying files they do not own.
        Operators = 1 "operators",
        /// A user other than root, destroying its own files.
        Owners = 2 "owners",
    }
}

numbered! {
    /// What a zone does with an op over budget.
    Mode: u8 {
        /// Report it and let it go on.
        Observe = 0 "observe",
        /// Stop it.
        Enforce = 1 "enforce",
    }
}

numbered! {
    /// What an enforcing zone does with an op over budget.
    OnTrip: u8 {
        /// The op fails with EPERM.
        Deny = 0 "deny",
        /// The process is paused at the system call until a person decides.
        Hold = 1 "hold",
        /// The process is paused and goes on at the budget's rate.
        Throttle = 2 "throttle",
    }
}

/// A set of ops, one bit for each [`Op`].
pub type OpMask = u16;
/// A set of callers, one bit each: see [`Who::mask`] and [`Who::OPERATOR_BIT`].
pub type WhoMask = u8;

impl Op {
    /// This op's bit in an [`OpMask`].
    #[inline(always)]
    pub const fn bit(self) -> OpMask {
        1 << self as u8
    }

    /// Every op.
    pub const ALL_BITS: OpMask = 0xff;

    /// The ops whose cost is known.
    pub const KNOWN_BITS: OpMask = Self::ALL_BITS & !(Self::Detach.bit() | Self::Device.bit());

    /// Whether the op destroys an amount nobody can know beforehand.
    #[inline(always)]
    pub const fn cost_is_unknown(self) -> bool {
        matches!(self, Op::Detach | Op::Device)
    }
}

impl Per {
    /// Whose account of such a budget somebody in this unit and of this user spends from.
    pub const fn actor(self, unit: u64, user: u32) -> u64 {
        match self {
            Per::Unit => unit,
            Per::User => user as u64,
            Per::Zone => 0,
        }
    }
}

impl Who {
    /// The bit of a caller that is an operator for the file at hand.
    pub const OPERATOR_BIT: WhoMask = 1;
    /// The bit of a caller that owns the file at hand and is not root.
    pub const OWNER_BIT: WhoMask = 2;

    /// The callers a budget with this `who` applies to.
    #[inline(always)]
    pub const fn mask(self) -> WhoMask {
        match self {
            Who::Everyone => Self::OPERATOR_BIT | Self::OWNER_BIT,
            Who::Operators => Self::OPERATOR_BIT,
            Who::Owners => Self::OWNER_BIT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_round_trip() {
        for &op in Op::ALL {
            assert_eq!(Op::from_word(op.word()), Some(op));
            assert_eq!(Op::from_number(op as u8), Some(op));
        }
        assert_eq!(Op::from_number(8), None);
        assert_eq!(Verdict::from_word("permit"), None);
        let all = Op::ALL.iter().fold(0, |mask, op| mask | op.bit());
        assert_eq!(all, Op::ALL_BITS);
        let known = Op::ALL.iter().filter(|op| !op.cost_is_unknown());
        assert_eq!(known.fold(0, |mask, op| mask | op.bit()), Op::KNOWN_BITS);
    }

    #[test]
    fn every_caller_is_operator_or_owner() {
        assert_eq!(Who::Everyone.mask(), Who::Operators.mask() | Who::Owners.mask());
        assert_eq!(Who::Operators.mask() & Who::Owners.mask(), 0);
    }
}
