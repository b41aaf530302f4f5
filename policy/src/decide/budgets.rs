//! Asking the budgets of a zone: every one that applies is charged, or none. What a refusal leads to is not decided here.

use holdfast_abi::{
    AccountKey, BudgetConf, Cost, Mode, OnTrip, Over, Reason, Receipt, Trip, UNKNOWN_PLACE, Window,
};

use super::{Charge, Model, Refusal, Request};
use crate::model::Zone;

impl Model {
    /// Charges every budget that applies, or says which one refuses.
    ///
    /// They are asked in the order of their rank, not of the file: the first that refuses is that of the narrowest actor
    /// that is over, and it alone trips. An op that costs more than a whole limit is refused by that budget, no other is
    /// asked, and nobody trips: it would be refused however little was spent. Nor does anybody unless this asks so
    /// (`trips`).
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
            .map(|budget| budget.conf(&zone.name))
            .enumerate()
            .filter(|(_, budget)| budget.who & request.who != 0)
            .collect();
        asked.sort_unstable_by_key(|(_, budget)| budget.rank());
        let never = |budget: &BudgetConf| budget.never_covers(request.op.bit(), &request.cost);
        let too_large = asked.iter().any(|(_, budget)| never(budget));
        for (index, budget) in &asked {
            if too_large && !never(budget) {
                continue;
            }
            let apart = if request.is_strict { UNKNOWN_PLACE } else { 0 };
            let actor = apart | zone.budgets[*index].per.actor(request.unit, request.user);
            let key = AccountKey { budget: budget.id, actor };
            let account = self.accounts.entry(key).or_default();
            match ask(account, zone, budget, request, trips && !too_large) {
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
                account.give_back(receipt, &charge.cost);
            }
        }
    }
}

/// Charges one budget, if it counts this op. Else it trips, if it is to.
///
/// A latched account refuses every op, also those it does not count; but where the zone throttles, a latched account is
/// one that is paced: it goes on taking what its rate allows.
fn ask(
    account: &mut Window,
    zone: &Zone,
    budget: &BudgetConf,
    request: &Request<'_>,
    trips: bool,
) -> Result<Option<Receipt>, Reason> {
    let (now, mode) = (request.now, zone.mode as u32);
    let paces = zone.mode == Mode::Enforce && zone.on_trip == OnTrip::Throttle;
    let latched = account.is_latched(now, mode);
    if !paces && latched {
        return Err(Reason::Latched);
    }
    if budget.ops & request.op.bit() == 0 {
        return Ok(None);
    }
    if request.op.cost_is_unknown() {
        return Err(Reason::UnknownCost);
    }
    let charged = account.take(&budget.limit, now, latched, &request.cost);
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
