//! The judgement: one stage after another, and everything that is wrong at the first stage at which
//! something is.

mod canonical;
mod faults;
mod host;
mod people;
mod signatures;
mod time;
mod zones;

use self::faults::Faults;
use super::{Checked, Evidence, Refused, RefusedReason};
use crate::allowance::Allowance;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<Checked, Refused> {
    let allowance = Allowance::parse(evidence.path, evidence.text).map_err(|problems| {
        let help = "correct it, and have what `holdfast allow show --canonical` prints signed";
        Refused::new(RefusedReason::Malformed, problems.to_string().trim_end(), help)
    })?;
    let judged = signatures::judge(evidence, &allowance);
    // Whatever else is wrong with it: somebody signed it, and it has come to a host it was not
    // meant for.
    host::other(evidence, &allowance, &judged).refuse()?;
    canonical::check(evidence, &allowance).refuse()?;
    people::anybody(evidence.policy).refuse()?;
    signatures::faults(evidence, &judged).refuse()?;
    host::any(evidence, &allowance).refuse()?;
    time::check(evidence, &allowance).refuse()?;
    let roles = zones::roles(evidence.policy, &allowance)?;
    let mut faults = Faults::default();
    let signers = people::check(evidence.policy, &allowance, &roles, &judged, &mut faults);
    faults.refuse()?;
    Ok(Checked { allowance, signers })
}
