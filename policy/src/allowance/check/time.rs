//! Whether it is its time.

use super::{Allowance, Evidence, Faults, RefusedReason};
use crate::allowance::summary::length;
use crate::allowance::utc;
use crate::units::format_time;

pub(super) fn check(evidence: &Evidence<'_>, allowance: &Allowance) -> Faults {
    let mut faults = Faults::default();
    let Allowance { not_before, not_after, .. } = *allowance;
    let now = evidence.now;
    if now < not_before {
        let message = format!("it is good from {}, and now it is {}", utc(not_before), utc(now));
        let help = "wait until then; if it is then, this host's clock is wrong";
        faults.add(RefusedReason::NotYetValid, message, help);
    }
    if now >= not_after {
        let message = format!("it was good until {}, and now it is {}", utc(not_after), utc(now));
        let help = "make a new one with another id, and have it signed";
        faults.add(RefusedReason::Expired, message, help);
    }
    let max = evidence.policy.signing.max_length;
    let long = not_after.saturating_sub(not_before);
    if u64::try_from(long).is_ok_and(|long| long > max.as_secs()) {
        let message = format!(
            "it is good for {}, and this host's policy allows at most {}",
            length(long),
            format_time(max)
        );
        let help = "make it shorter, or several; the policy says `max_length` in `[allowances]`";
        faults.add(RefusedReason::TooLong, message, help);
    }
    faults
}
