//! Spending a signed allowance or a break-glass, before any budget is asked and before a held
//! thread's wait. What is not covered, in any respect, is left to the budgets: nothing here ever
//! denies.

use std::collections::HashMap;

use holdfast_abi::{GrantAccount, GrantTenant, Reason};

use super::{Charge, Model, Request};

/// An allowance that is open: in the kernel's maps an [`holdfast_abi::AllowanceConf`] with what
/// hangs on its serial.
#[derive(Clone, Debug)]
pub struct OpenAllowance {
    /// A number that no other allowance of this boot has; not 0.
    pub serial: u64,
    /// Boot-time nanoseconds after which it is over.
    pub until_ns: u64,
    /// Only this cgroup may spend it.
    pub unit: Option<u64>,
    /// Only this user may.
    pub user: Option<u32>,
    /// Only processes that carry its mark may.
    pub tree: bool,
    /// Everybody may, in the zone with this id ([`holdfast_abi::name_id`]): how a break-glass for
    /// the whole host is bound.
    pub zone: Option<u64>,
    /// Whether it is a break-glass: its one grant is good everywhere in its zone. (Not for an op
    /// whose place the kernel could not determine, which requests here do not have.)
    pub break_glass: bool,
    /// What may be destroyed, and what was; asked in this order.
    pub grants: Vec<GrantAccount>,
    /// The tenants that each grant was spent in, by the grant's number.
    pub tenants: HashMap<(usize, u64), GrantTenant>,
}

/// Where an op's place lies as an open allowance sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inside {
    /// Serial of the allowance.
    pub serial: u64,
    /// One bit for each grant that names the file or a directory above it.
    pub grants: u32,
}

impl OpenAllowance {
    /// One that nobody may spend until it is bound to somebody, and of which nothing is spent.
    pub fn new(serial: u64, until_ns: u64, grants: Vec<GrantAccount>) -> Self {
        let tenants = HashMap::new();
        Self {
            serial,
            until_ns,
            unit: None,
            user: None,
            tree: false,
            zone: None,
            break_glass: false,
            grants,
            tenants,
        }
    }

    /// A break-glass for everybody in a zone, or for a process tree.
    pub fn break_glass(serial: u64, until_ns: u64, grant: GrantAccount, tree: bool) -> Self {
        let zone = (!tree).then_some(grant.zone);
        Self { tree, zone, break_glass: true, ..Self::new(serial, until_ns, vec![grant]) }
    }

    /// Why an op goes on that it covers.
    pub fn reason(&self) -> Reason {
        if self.break_glass { Reason::BreakGlass } else { Reason::Allowance }
    }

    /// Whether an op looks here that comes from somebody without a mark: by unit, or if it names
    /// none by user, or by the op's zone.
    fn is_bound_to(&self, by: By, zone: u64, request: &Request<'_>) -> bool {
        let bound = match by {
            By::Mark => return request.mark == Some(self.serial),
            By::Unit => self.unit == Some(request.unit),
            By::User => self.unit.is_none() && self.user == Some(request.user),
            By::Zone => self.zone == Some(zone),
        };
        bound && !self.tree
    }

    /// Whether it is good now, and for whoever asks.
    fn is_for(&self, request: &Request<'_>) -> bool {
        request.now < self.until_ns
            && (!self.tree || request.mark == Some(self.serial))
            && self.unit.is_none_or(|unit| unit == request.unit)
            && self.user.is_none_or(|user| user == request.user)
    }

    /// Spends the first grant that covers the op; its number.
    fn spend(&mut self, zone: u64, request: &Request<'_>) -> Option<usize> {
        let inside = request.inside.iter().find(|inside| inside.serial == self.serial);
        let named = inside.map_or(0, |inside| inside.grants);
        let named = if self.break_glass { 1 } else { named };
        let op = u32::from(request.op.bit());
        let tenant = request.cost.tenant;
        for (index, grant) in self.grants.iter_mut().enumerate() {
            if grant.zone != zone || grant.ops & op == 0 || named & (1 << index) == 0 {
                continue;
            }
            let counts = tenant != 0 && grant.tenants != GrantAccount::ANY_TENANTS;
            let entry = counts.then(|| self.tenants.entry((index, tenant)).or_default());
            if grant.take(&request.cost, entry) {
                grant.count(request.op as u8);
                return Some(index);
            }
        }
        None
    }
}

/// Where an op looks for an allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Mark,
    Unit,
    User,
    Zone,
}

impl Model {
    /// Opens an allowance.
    pub fn open(&mut self, allowance: OpenAllowance) {
        self.allowances.push(allowance);
    }

    /// Closes an allowance; what was spent of it.
    pub fn close(&mut self, serial: u64) -> Option<OpenAllowance> {
        let at = self.allowances.iter().position(|allowance| allowance.serial == serial)?;
        Some(self.allowances.remove(at))
    }

    /// Spends an allowance for the op, if one covers it: that of the caller's process tree, else
    /// one bound to its unit, else one bound to its user, else one for everybody in the op's zone.
    /// With the reason for which the op then goes on.
    pub(super) fn spend_allowance(&mut self, request: &Request<'_>) -> Option<(Reason, Charge)> {
        let zone = holdfast_abi::name_id(self.policy.zones[request.zone].name.as_str());
        for by in [By::Mark, By::Unit, By::User, By::Zone] {
            let found = self.allowances.iter_mut().find(|one| one.is_bound_to(by, zone, request));
            let Some(allowance) = found.filter(|one| one.is_for(request)) else {
                continue;
            };
            if let Some(grant) = allowance.spend(zone, request) {
                let granted = Some((allowance.serial, grant));
                let op = request.op;
                let charge =
                    Charge { cost: request.cost, granted, op: Some(op), ..Charge::default() };
                return Some((allowance.reason(), charge));
            }
        }
        None
    }

    pub(super) fn give_back_grant(&mut self, charge: &Charge) {
        let Some((serial, index)) = charge.granted else {
            return;
        };
        let open = self.allowances.iter_mut().find(|allowance| allowance.serial == serial);
        if let Some(OpenAllowance { grants, tenants, .. }) = open {
            let grant = &mut grants[index];
            grant.give_back(&charge.cost, tenants.get_mut(&(index, charge.cost.tenant)));
            if let Some(op) = charge.op {
                grant.uncount(op as u8);
            }
        }
    }
}
