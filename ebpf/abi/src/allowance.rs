//! Keys and values of the maps through which the agent opens allowances, and the arithmetic of
//! spending them.
//!
//! An allowance has a *serial*: a number that is never used twice in a boot. Everything about it is
//! stored under that number, so that what is left of a former one (a mark on a process, an entry)
//! means nothing.

use crate::{Cost, OpMask, bpf_spin_lock};

/// How many allowances can be open at once.
pub const MAX_ALLOWANCES: u32 = 64;
/// How many of them and break-glasses together: there is always room for the one break-glass a host
/// can have.
pub const MAX_OPEN: u32 = MAX_ALLOWANCES + 1;
/// How many grants one allowance can have.
pub const MAX_GRANTS: usize = 8;
/// How many directories and files all open allowances together can name.
pub const MAX_SUBTREES: u32 = 32_768;
/// How many tenants all open allowances together can touch.
pub const MAX_GRANT_TENANTS: u32 = 131_072;

/// The bit of [`crate::Control::flags`] without which no op looks for an allowance.
pub const FLAG_ALLOWANCES: u32 = 2;

/// What a process carries that was started under an allowance; its children inherit it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Mark {
    /// Serial of the allowance; 0 for none.
    pub serial: u64,
}

/// One open allowance. Removed when it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct AllowanceConf {
    /// Boot-time nanoseconds after which it is over.
    pub until_ns: u64,
    /// The cgroup that may spend it; 0 for any.
    pub unit: u64,
    /// The user (login user where set, else real user) that may spend it;
    /// [`AllowanceConf::ANY_USER`] for any.
    pub user: u32,
    /// How many grants it has.
    pub grants: u32,
    /// 1 if only marked processes may spend it.
    pub tree: u32,
    /// [`AllowanceConf::SIGNED`] or [`AllowanceConf::BREAK_GLASS`].
    pub kind: u32,
}

impl AllowanceConf {
    /// Stands for every user.
    pub const ANY_USER: u32 = u32::MAX;
    /// A signed allowance: good in the subtrees its grants name.
    pub const SIGNED: u32 = 0;
    /// A break-glass: its one grant is good everywhere in its zone, but for ops whose place could
    /// not be determined.
    pub const BREAK_GLASS: u32 = 1;
}

/// Whose ops look for an allowance although they carry no mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct BindKey {
    /// cgroup, user, or [`crate::ZoneConf::id`] of a zone.
    pub id: u64,
    /// [`BindKey::UNIT`], [`BindKey::USER`] or [`BindKey::ZONE`].
    pub kind: u32,
    /// Always 0.
    pub pad: u32,
}

impl BindKey {
    /// `id` is a cgroup.
    pub const UNIT: u32 = 0;
    /// `id` is a user.
    pub const USER: u32 = 1;
    /// `id` is a zone's: everybody in it.
    pub const ZONE: u32 = 2;
}

/// Which grant of which allowance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct GrantKey {
    /// Serial of the allowance.
    pub serial: u64,
    /// Number of the grant, from 0.
    pub index: u32,
    /// Always 0.
    pub pad: u32,
}

/// One grant: what may be destroyed, and what was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct GrantAccount {
    /// Guards everything below.
    pub lock: bpf_spin_lock,
    /// Ops it allows, an [`OpMask`].
    pub ops: u32,
    /// [`crate::ZoneConf::id`] of its zone.
    pub zone: u64,
    /// Most files.
    pub files: u64,
    /// Most bytes.
    pub bytes: u64,
    /// Most tenants.
    pub tenants: u64,
    /// Files destroyed.
    pub used_files: u64,
    /// Bytes destroyed.
    pub used_bytes: u64,
    /// Tenants touched.
    pub used_tenants: u64,
    /// Ops.
    pub used_ops: u64,
    /// Ops of each kind, by the number of the [`crate::Op`]. The kernel counts them with atomic
    /// additions, after the lock.
    pub ops_by_kind: [u64; 8],
}

/// Which tenant of which grant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct GrantTenantKey {
    /// Serial of the allowance.
    pub serial: u64,
    /// Inode number of the tenant's directory.
    pub tenant: u64,
    /// Number of the grant.
    pub index: u32,
    /// Always 0.
    pub pad: u32,
}

/// A tenant that a grant was spent in, or nearly. Guarded by the grant's lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct GrantTenant {
    /// Ops of this grant in this tenant, that did not fail. It counts among
    /// [`GrantAccount::used_tenants`] while this is not 0.
    pub ops: u64,
}

/// A directory or file that an allowance names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct SubtreeKey {
    /// Serial of the allowance.
    pub serial: u64,
    /// Inode number as in `struct inode`.
    pub ino: u64,
    /// Device number as in `struct super_block`.
    pub dev: u32,
    /// Always 0.
    pub pad: u32,
}

/// Which grants name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Subtree {
    /// Inode generation: a reused inode number is not what was meant.
    pub generation: u32,
    /// One bit for each grant.
    pub grants: u32,
}

impl GrantAccount {
    /// Any number of tenants, which are then not counted.
    pub const ANY_TENANTS: u64 = u64::MAX;

    /// A grant of which nothing is spent.
    pub const fn new(zone: u64, ops: OpMask, files: u64, bytes: u64, tenants: u64) -> Self {
        Self {
            lock: bpf_spin_lock { val: 0 },
            ops: ops as u32,
            zone,
            files,
            bytes,
            tenants,
            used_files: 0,
            used_bytes: 0,
            used_tenants: 0,
            used_ops: 0,
            ops_by_kind: [0; 8],
        }
    }

    /// Whether `cost` is covered, by an op in a tenant in which nothing was spent yet if
    /// `is_new_tenant`. Certain only under the lock.
    #[inline(always)]
    pub fn covers(&self, cost: &Cost, is_new_tenant: bool) -> bool {
        let used_files = self.used_files.wrapping_add(Self::files_of(cost));
        let used_bytes = self.used_bytes.wrapping_add(cost.bytes);
        let overflows = used_files < self.used_files || used_bytes < self.used_bytes;
        !overflows
            && used_files <= self.files
            && used_bytes <= self.bytes
            && (!is_new_tenant || self.used_tenants < self.tenants)
    }

    /// Spends `cost`, of which all is covered or nothing. `tenant` is the entry of the op's tenant;
    /// `None` above all tenants. To be called under the lock.
    #[inline(always)]
    pub fn take(&mut self, cost: &Cost, tenant: Option<&mut GrantTenant>) -> bool {
        let is_new_tenant = tenant.as_ref().is_some_and(|tenant| tenant.ops == 0);
        if !self.covers(cost, is_new_tenant) {
            return false;
        }
        if let Some(tenant) = tenant {
            self.used_tenants += is_new_tenant as u64;
            tenant.ops += 1;
        }
        self.used_files = self.used_files.wrapping_add(Self::files_of(cost));
        self.used_bytes = self.used_bytes.wrapping_add(cost.bytes);
        self.used_ops += 1;
        true
    }

    /// Takes back what an op has spent that failed after all. To be called under the lock.
    #[inline(always)]
    pub fn give_back(&mut self, cost: &Cost, tenant: Option<&mut GrantTenant>) {
        self.used_files = self.used_files.wrapping_sub(Self::files_of(cost));
        self.used_bytes = self.used_bytes.wrapping_sub(cost.bytes);
        self.used_ops = self.used_ops.wrapping_sub(1);
        if let Some(tenant) = tenant {
            tenant.ops = tenant.ops.wrapping_sub(1);
            if tenant.ops == 0 {
                self.used_tenants = self.used_tenants.wrapping_sub(1);
            }
        }
    }

    /// Counts an op of this kind that was taken.
    #[inline(always)]
    pub fn count(&mut self, op: u8) {
        let kind = &mut self.ops_by_kind[op as usize & 7];
        *kind = kind.wrapping_add(1);
    }

    /// Takes that back.
    #[inline(always)]
    pub fn uncount(&mut self, op: u8) {
        let kind = &mut self.ops_by_kind[op as usize & 7];
        *kind = kind.wrapping_sub(1);
    }

    /// Files an op counts as. One that destroys none, such as a truncation or a move from one
    /// tenant to another, counts as one: so there is an end to them too.
    #[inline(always)]
    pub const fn files_of(cost: &Cost) -> u64 {
        if cost.files == 0 { 1 } else { cost.files }
    }
}

/// The number that stands for a zone's name, whatever slot it has: FNV-1a.
pub const fn name_id(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        index += 1;
    }
    hash
}

const _: () = assert!(size_of::<AllowanceConf>() == 32 && size_of::<GrantAccount>() == 136);
const _: () = assert!(size_of::<GrantKey>() == 16 && size_of::<GrantTenantKey>() == 24);
const _: () = assert!(size_of::<SubtreeKey>() == 24 && size_of::<Subtree>() == 8);
const _: () = assert!(size_of::<BindKey>() == 16);

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(files: u64, bytes: u64) -> Cost {
        Cost { files, bytes, tenant: 7 }
    }

    /// A grant covers up to its last file and byte, and no more.
    #[test]
    fn grant_covers_its_last_file() {
        let mut grant = GrantAccount::new(1, 1, 2, 100, 1);
        let mut tenant = GrantTenant::default();
        assert!(grant.take(&cost(1, 60), Some(&mut tenant)));
        assert!(!grant.take(&cost(1, 41), Some(&mut tenant)), "bytes");
        assert!(grant.take(&cost(1, 40), Some(&mut tenant)));
        assert!(!grant.take(&cost(1, 0), Some(&mut tenant)), "files");
        assert_eq!((grant.used_files, grant.used_bytes, grant.used_ops), (2, 100, 2));
    }

    /// A grant that was spent, in any respect, has no use for a tenant's entry: they would take the
    /// room of other allowances.
    #[test]
    fn spent_grant_covers_no_new_tenant() {
        let grant = |used_files, used_bytes, used_tenants| {
            let new = GrantAccount::new(1, 1, 2, 100, 1);
            GrantAccount { used_files, used_bytes, used_tenants, ..new }
        };
        assert!(grant(1, 60, 0).covers(&cost(1, 40), true));
        for spent in [grant(2, 0, 0), grant(1, 61, 0), grant(1, 60, 1)] {
            assert!(!spent.covers(&cost(1, 40), true), "{spent:?}");
        }
        assert!(grant(1, 60, 1).covers(&cost(1, 40), false), "a tenant that it was spent in");
        assert!(!grant(u64::MAX, 0, 0).covers(&cost(1, 0), false), "no way round");
    }

    /// A tenant counts once, and no longer if all its ops failed.
    #[test]
    fn tenant_counts_once_unless_op_failed() {
        let mut grant = GrantAccount::new(1, 1, 100, 100, 1);
        let (mut a, mut b) = (GrantTenant::default(), GrantTenant::default());
        assert!(grant.take(&cost(1, 0), Some(&mut a)));
        assert!(grant.take(&cost(1, 0), Some(&mut a)));
        assert!(!grant.take(&cost(1, 0), Some(&mut b)), "a second tenant");
        grant.give_back(&cost(1, 0), Some(&mut a));
        assert!(!grant.take(&cost(1, 0), Some(&mut b)), "the first is still touched");
        grant.give_back(&cost(1, 0), Some(&mut a));
        assert!(grant.take(&cost(1, 0), Some(&mut b)));
        assert_eq!((grant.used_files, grant.used_tenants, grant.used_ops), (1, 1, 1));
    }

    #[test]
    fn op_without_files_counts_as_one() {
        let mut grant = GrantAccount::new(1, 1, 1, 100, 1);
        assert!(grant.take(&cost(0, 10), None));
        assert!(!grant.take(&cost(0, 10), None));
    }

    #[test]
    fn ops_are_counted_by_their_kind() {
        let mut grant = GrantAccount::new(1, 1, 10, 100, GrantAccount::ANY_TENANTS);
        for op in [crate::Op::Remove, crate::Op::Truncate, crate::Op::Remove] {
            assert!(grant.take(&cost(1, 0), None));
            grant.count(op as u8);
        }
        grant.uncount(crate::Op::Remove as u8);
        assert_eq!(grant.ops_by_kind, [1, 0, 1, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn amounts_do_not_wrap() {
        let mut grant = GrantAccount::new(1, 1, u64::MAX, u64::MAX, 1);
        assert!(grant.take(&cost(1, u64::MAX), None));
        assert!(!grant.take(&cost(1, 1), None));
    }
}
