//! Asking the budgets of a zone: every one that applies is charged, or none. What a refusal leads to is not decided here.

use holdfast_abi::{AccountKey, Limit, Mode, OnTrip, Over, Reason, Receipt, Window};

use super::{Charge, Model, Refusal, Request};
use crate::budget::Budget;
use crate::model::Zone;

impl Model {
    /// Charges every budget that applies, or says which one refuses.
    pub(super) fn charge_budgets(&mut self, request: &Request<'_>) -> Result<Charge, Refusal> {
        let mut charge = Charge { cost: request.cost, ..Charge::default() };
        let zone = &self.policy.zones[request.zone];
        for (index, budget) in zone.budgets.iter().enumerate() {
            if budget.who.mask() & request.who == 0 {
                continue;
            }
            let conf = budget.conf(&zone.name);
            let actor = budget.per.actor(request.unit, request.user);
            let key = AccountKey { budget: conf.id, actor };
            let account = self.accounts.entry(key).or_default();
            match ask(account, zone, budget, &conf.limit, request) {
                Ok(Some(receipt)) => charge.receipts.push((key, receipt)),
                Ok(None) => {}
                Err(reason) => {
                    self.give_back_budgets(&charge);
                    return Err(Refusal { reason, budget: Some(index) });
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

/// Charges one budget, if it counts this op.
///
/// A latched account refuses every op, also those it does not count; but where the zone throttles, a latched account is
/// one that is paced: it goes on taking what its rate allows.
fn ask(
    account: &mut Window,
    zone: &Zone,
    budget: &Budget,
    limit: &Limit,
    request: &Request<'_>,
) -> Result<Option<Receipt>, Reason> {
    let (now, mode) = (request.now, zone.mode as u32);
    let paces = zone.mode == Mode::Enforce && zone.on_trip == OnTrip::Throttle;
    if !paces && account.is_latched(now, mode) {
        return Err(Reason::Latched);
    }
    if !budget.ops.contains(request.op) {
        return Ok(None);
    }
    if request.op.cost_is_unknown() {
        return Err(Reason::UnknownCost);
    }
    let charged = if paces {
        account.charge_paced(limit, now, mode, &request.cost)
    } else {
        account.charge(limit, now, mode, &request.cost)
    };
    charged.map(Some).map_err(|over| match over {
        Over::Files => Reason::Files,
        Over::Bytes => Reason::Bytes,
        Over::Tenants => Reason::Tenants,
        Over::Latched => Reason::Latched,
    })
}
