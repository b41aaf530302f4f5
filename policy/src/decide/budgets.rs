//! Asking the budgets of a zone: every one that applies is charged, or none. What a refusal leads
//! to is not decided here.

use holdfast_abi::{
    AccountKey, BudgetConf, Cost, Mode, OnTrip, Over, Reason, Receipt, TenantKey, TenantSpend,
    Terms, Trip, UNKNOWN_PLACE, Window,
};

use super::{Charge, Model, Refusal, Request};
use crate::model::Zone;

impl Model {
    /// Charges every budget that applies, or says which one refuses.
    ///
    /// They are asked in the order of their rank, not of the file: the first that refuses is that
    /// of the narrowest actor that is over, and it alone trips. An op that costs more than a whole
    /// limit is refused by that budget, no other is asked, and nobody trips: it would be refused
    /// however little was spent. Nor does anybody unless this asks so (`trips`).
    pub(super) fn charge_budgets(
        &mut self,
        request: &Request<'_>,
        trips: bool,
    ) -> Result<Charge, Refusal> {
        let mut charge = Charge { cost: request.cost, ..Charge::default() };
        let zone = &self.policy.zones[request.zone];
        let mut asked: Vec<(usize, BudgetConf)> = zone
            .budgets
            .iter()
            .map(|budget| budget.conf(zone))
            .enumerate()
            .filter(|(_, budget)| budget.concerns(request.who))
            .collect();
        asked.sort_unstable_by_key(|(_, budget)| budget.rank());
        let (who, op) = (request.who, request.op.bit());
        let never = |budget: &BudgetConf| budget.never_covers(who, op, &request.cost);
        let too_large = asked.iter().any(|(_, budget)| never(budget));
        for (index, budget) in &asked {
            if too_large && !never(budget) {
                continue;
            }
            let apart = if request.is_strict { UNKNOWN_PLACE } else { 0 };
            let actor = apart | zone.budgets[*index].per.actor(request.unit, request.user);
            let key = AccountKey { budget: budget.id, actor };
            let account = self.accounts.entry(key).or_default();
            let row = budget.needs_tenant(op, &request.cost).then(|| {
                let key = tenant_key(key, request.cost.tenant);
                self.tenants.entry(key).or_default()
            });
            match ask((account, row), zone, budget, request, trips && !too_large) {
                Ok(Some(receipt)) => charge.receipts.push((key, receipt)),
                Ok(None) => {}
                Err(reason) => {
                    let tripped = account.trip.counts_at(request.now, &budget.limit);
                    self.give_back_budgets(&charge);
                    let first = reason != Reason::Latched && !too_large;
                    return Err(Refusal { reason, first, budget: Some(*index), tripped });
                }
            }
        }
        Ok(charge)
    }

    pub(super) fn give_back_budgets(&mut self, charge: &Charge) {
        for (key, receipt) in &charge.receipts {
            if let Some(account) = self.accounts.get_mut(key) {
                let row = self.tenants.get_mut(&tenant_key(*key, charge.cost.tenant));
                account.give_back(receipt, &charge.cost, row);
            }
        }
    }
}

fn tenant_key(account: AccountKey, tenant: u64) -> TenantKey {
    TenantKey { budget: account.budget, actor: account.actor, tenant }
}

/// Charges one budget, if it counts this op. Else it trips, if it is to.
///
/// A caller whom the budget leaves out is charged the tenant alone, and only a trip of tenants
/// refuses its ops.
///
/// A latched account refuses every op, also those it does not count; but where the zone throttles,
/// a latched account is one that is paced: it goes on taking what its rate allows.
fn ask(
    (account, row): (&mut Window, Option<&mut TenantSpend>),
    zone: &Zone,
    budget: &BudgetConf,
    request: &Request<'_>,
    trips: bool,
) -> Result<Option<Receipt>, Reason> {
    let (now, mode) = (request.now, zone.mode as u32);
    let paces = zone.mode == Mode::Enforce && zone.on_trip == OnTrip::Throttle;
    let tenants_only = budget.who & request.who == 0;
    let latched = if tenants_only {
        account.latches_tenants(now, mode)
    } else {
        account.is_latched(now, mode)
    };
    if !paces && latched {
        return Err(Reason::Latched);
    }
    if budget.ops & request.op.bit() == 0 {
        return Ok(None);
    }
    if budget.cost_is_unknown(request.who, request.op.bit(), &request.cost) {
        return Err(Reason::UnknownCost);
    }
    let at_once = budget.counts_at_once(request.op.bit(), &request.cost);
    let terms = Terms { now, paced: latched, tenants_only, at_once };
    let charged = account.take(&budget.limit, terms, &request.cost, row);
    if let Err(over) = charged
        && trips
    {
        account.trip(&budget.limit, mode, paces, over);
        if over != Over::Latched {
            let Cost { tenant, .. } = request.cost;
            account.trip = Trip { tenant, ..account.trip };
        }
    }
    charged.map(Some).map_err(|over| match over {
        Over::Files => Reason::Files,
        Over::Bytes => Reason::Bytes,
        Over::Tenants => Reason::Tenants,
        Over::Latched => Reason::Latched,
    })
}
