//! One budget of a zone, and the form in which the kernel takes it. It never charges anything.

use std::fmt;

use holdfast_abi::{BudgetConf, Limit, Op, OpMask, Per, Who, WhoMask};

use crate::model::{Zone, ZoneName};
use crate::problem::Fault;
use crate::units::{Window, format_bytes, parse_counts_after};

/// For one kind of actor, and those callers `who` stands for: at most so much in any window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Whose spending is added up.
    pub per: Per,
    /// Whom it applies to. The limit of tenants holds for everybody.
    pub who: Who,
    /// What is charged to it.
    pub ops: OpSet,
    /// Most files in any window; not limited if `None`.
    pub files: Option<u64>,
    /// Most bytes in any window; not limited if `None`.
    pub bytes: Option<u64>,
    /// Most distinct tenants in any window; not limited if `None`.
    pub tenants: Option<u32>,
    /// Length of the window.
    pub window: Window,
    /// How long a trip lasts; never longer than the window. Where the zone throttles it means
    /// nothing.
    pub latch: Window,
}

impl Budget {
    /// How long a trip of a budget of this window lasts if the policy does not say: as long as the
    /// window, but never more than ten minutes. What is spent stays spent for the window, and the
    /// next op over it trips again.
    pub fn default_latch(window: Window) -> Window {
        window.min(Window::TEN_MINUTES)
    }

    /// Names this budget's accounts in the kernel; never 0.
    ///
    /// It depends on zone, per, who, ops and window only: when a limit changes, what is spent stays
    /// spent. It is the 64-bit FNV-1a hash of these
    /// (<https://datatracker.ietf.org/doc/html/rfc9923>), and must stay so: other numbers would
    /// empty every account of a running host.
    pub fn id(&self, zone: &ZoneName) -> u64 {
        let text = format!(
            "{zone}\n{}\n{}\n{}\n{}",
            self.per.word(),
            self.who.word(),
            self.ops.mask(),
            self.window.ns()
        );
        fnv1a(text.as_bytes()).max(1)
    }

    /// What the kernel is told.
    pub fn conf(&self, zone: &Zone) -> BudgetConf {
        let window_ns = self.window.ns();
        let (after_files, after_bytes) = zone.tenant_counts_after.amounts();
        BudgetConf {
            id: self.id(&zone.name),
            limit: Limit {
                window_ns,
                bucket_ns: Limit::bucket_for(window_ns),
                files: self.files.unwrap_or(u64::MAX),
                bytes: self.bytes.unwrap_or(u64::MAX),
                latch_ns: self.latch.ns(),
                after_files,
                after_bytes,
                tenants: self.tenants.unwrap_or(u32::MAX),
                pad: 0,
            },
            ops: self.ops.mask(),
            per: self.per as u8,
            who: self.who.mask(),
            pad: 0,
        }
    }

    /// Whether it has a say about a caller: one whom it applies to, and everybody where it limits
    /// tenants.
    pub fn concerns(&self, who: WhoMask) -> bool {
        self.who.mask() & who != 0 || self.tenants.is_some()
    }

    /// A short name, unique within the zone: `operators per unit, 10m`, followed by the ops if
    /// these are not all that are guarded.
    pub fn label(&self) -> String {
        let label = format!("{} per {}, {}", self.who.word(), self.per.word(), self.window);
        if self.ops == OpSet::GUARDED { label } else { format!("{label} ({})", self.ops) }
    }
}

/// How much of a tenant has to go in a window, by one actor, until the tenant counts as touched in
/// it. Until then it does not count towards the limit of tenants, and that limit does not stop the
/// op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantCountsAfter {
    /// So many files; never 0.
    Files(u64),
    /// So many bytes; never 0.
    Bytes(u64),
}

impl TenantCountsAfter {
    /// Reads an amount such as `100 files` or `50MiB`.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        parse_counts_after(text)
    }

    /// Whether every tenant that counts with this counts with `other`, too.
    pub fn is_as_tight_as(self, other: Self) -> bool {
        match (self, other) {
            (Self::Files(own), Self::Files(other)) | (Self::Bytes(own), Self::Bytes(other)) => {
                own <= other
            }
            // An op of one file counts at once, whatever its bytes are.
            (own, _) => own == Self::default(),
        }
    }

    /// As the kernel takes it: files and bytes, of which one is not asked for.
    const fn amounts(self) -> (u64, u64) {
        match self {
            Self::Files(files) => (files, u64::MAX),
            Self::Bytes(bytes) => (u64::MAX, bytes),
        }
    }
}

impl Default for TenantCountsAfter {
    fn default() -> Self {
        Self::Files(1)
    }
}

impl fmt::Display for TenantCountsAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(1) => f.write_str("1 file"),
            Self::Files(files) => write!(f, "{files} files"),
            Self::Bytes(bytes) => f.write_str(&format_bytes(*bytes)),
        }
    }
}

/// A set of ops; never empty, and never one that is not guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpSet(OpMask);

impl OpSet {
    /// Every op the kernel programs guard.
    pub const GUARDED: Self = Self(
        Op::Remove.bit()
            | Op::Replace.bit()
            | Op::Truncate.bit()
            | Op::MoveOut.bit()
            | Op::Detach.bit(),
    );

    /// The set of these ops. `None` if there are none, or one is not guarded.
    pub fn new(ops: &[Op]) -> Option<Self> {
        let mask = ops.iter().fold(0, |mask, op| mask | op.bit());
        (mask != 0 && mask & !Self::GUARDED.0 == 0).then_some(Self(mask))
    }

    /// Whether the set has this op.
    pub const fn contains(self, op: Op) -> bool {
        self.0 & op.bit() != 0
    }

    /// The ops, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Op> {
        Op::ALL.iter().copied().filter(move |op| self.contains(*op))
    }

    /// One bit for each op, as the kernel takes it.
    pub const fn mask(self) -> OpMask {
        self.0
    }
}

impl fmt::Display for OpSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.iter().map(Op::word).collect();
        f.write_str(&words.join(", "))
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> Budget {
        Budget {
            per: Per::Unit,
            who: Who::Operators,
            ops: OpSet::GUARDED,
            files: Some(200),
            bytes: None,
            tenants: Some(3),
            window: Window::parse("10m").unwrap(),
            latch: Window::parse("5m").unwrap(),
        }
    }

    fn zone(name: &str) -> ZoneName {
        ZoneName::parse(name).unwrap()
    }

    #[test]
    fn the_hash_is_the_published_one() {
        // Vectors from the reference: https://github.com/lcn2/fnv, test_fnv.c.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    /// Changing a limit keeps the account; changing what a budget means starts a new one.
    #[test]
    fn changed_limit_keeps_account() {
        let id = budget().id(&zone("customers"));
        let latch = Window::MIN;
        let raised = Budget { files: Some(9), bytes: Some(1), tenants: None, latch, ..budget() };
        assert_eq!(raised.id(&zone("customers")), id);
        let others = [
            Budget { per: Per::User, ..budget() },
            Budget { who: Who::Everyone, ..budget() },
            Budget { ops: OpSet::new(&[Op::Remove]).unwrap(), ..budget() },
            Budget { window: Window::parse("11m").unwrap(), ..budget() },
        ];
        for other in others {
            assert_ne!(other.id(&zone("customers")), id, "{other:?}");
        }
        assert_ne!(budget().id(&zone("backups")), id);
    }

    #[test]
    fn kernel_config_states_missing_limits() {
        let text = "[[zone]]\nname = \"customers\"\nrole = \"primary\"\npaths = [\"/c\"]\n\
                    tenant_counts_after = \"50MiB\"\n[[zone.budget]]\nper = \"zone\"\nfiles = 1\n\
                    window = \"1h\"";
        let policy = crate::Policy::parse("p", text).unwrap();
        let conf = budget().conf(&policy.zones[0]);
        assert_eq!((conf.limit.after_files, conf.limit.after_bytes), (u64::MAX, 50 << 20));
        assert_eq!(conf.id, budget().id(&zone("customers")), "what is spent stays spent");
        assert_eq!((conf.limit.files, conf.limit.bytes, conf.limit.tenants), (200, u64::MAX, 3));
        assert_eq!(conf.limit.window_ns, 600_000_000_000);
        assert_eq!(conf.limit.latch_ns, 300_000_000_000);
        assert!(conf.limit.bucket_ns * 31 >= conf.limit.window_ns);
        assert_eq!((conf.per, conf.who), (Per::Unit as u8, Who::OPERATOR_BIT));
        assert_eq!(conf.ops, 0b0110_0111);
    }

    /// A label names the ops only where they distinguish budgets.
    #[test]
    fn label_names_ops_unless_default() {
        assert_eq!(budget().label(), "operators per unit, 10m");
        let some = OpSet::new(&[Op::MoveOut, Op::Remove]).unwrap();
        assert_eq!(
            Budget { ops: some, ..budget() }.label(),
            "operators per unit, 10m (remove, move_out)"
        );
    }

    #[test]
    fn op_set_rejects_empty_and_unguarded() {
        assert_eq!(OpSet::new(&[]), None);
        assert_eq!(OpSet::new(&[Op::Remove, Op::Punch]), None);
    }
}
