//! What people decide about those who were stopped, and what is spent of it. No budget is charged
//! here.

use holdfast_abi::{AccountKey, HoldKey, Mode, OnTrip, Release, UNKNOWN_PLACE};

use super::{Charge, Model, Request};

/// What was decided about one hold, and how many of the files released are spent.
///
/// In the kernel's maps these are two, because the agent writes one and the programs the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// The decision.
    pub release: Release,
    /// [`holdfast_abi::Hold::used`].
    pub used: u64,
}

impl Model {
    /// Somebody releases `files` more files to a hold, to be spent until `until`. What is left of
    /// an earlier release stays good if it still is, and is then good for as long as the longer of
    /// the two.
    pub fn release(&mut self, key: &HoldKey, files: u64, until: u64, now: u64) {
        let Released { release, used } = self.releases.entry(*key).or_default();
        let (base, still) = if now < release.until_ns {
            (release.files.max(*used), release.until_ns)
        } else {
            (*used, 0)
        };
        *release = Release {
            files: base.saturating_add(files),
            until_ns: until.max(still),
            released_ns: now,
            denied_until_ns: 0,
        };
    }

    /// Nobody has decided in time, or somebody ends it: until `until` a hold's ops over budget are
    /// denied.
    pub fn deny(&mut self, key: &HoldKey, until: u64) {
        self.releases.entry(*key).or_default().release.denied_until_ns = until;
    }

    /// Somebody starts every budget anew that latches a hold's actor, and lets its threads try
    /// again.
    ///
    /// # Panics
    /// If the policy has no such zone.
    pub fn reset(&mut self, key: &HoldKey, now: u64) {
        let zone = &self.policy.zones[key.zone as usize];
        for budget in &zone.budgets {
            let actor = budget.per.actor(key.unit, key.user);
            for actor in [actor, actor | UNKNOWN_PLACE] {
                let account = AccountKey { budget: budget.id(&zone.name), actor };
                if let Some(window) = self.accounts.get_mut(&account) {
                    // Also a latch that was set while the zone only observed.
                    if window.is_latched(now, Mode::Observe as u32) {
                        *window = window.reset();
                    }
                }
            }
        }
        let Released { release, .. } = self.releases.entry(*key).or_default();
        *release = Release { released_ns: now, denied_until_ns: 0, ..*release };
    }

    /// Whether the calling thread is held and nobody has decided since. It then stays held without
    /// any budget being asked, also when the window has drained meanwhile: a person was promised
    /// the choice.
    pub(super) fn waits_for_a_decision(&self, request: &Request<'_>) -> bool {
        let zone = &self.policy.zones[request.zone];
        let holds = zone.mode == Mode::Enforce && zone.on_trip == OnTrip::Hold;
        let released = self.decided(request).release.released_ns;
        holds && request.held_since.is_some_and(|since| released < since)
    }

    /// Whether the caller's ops over budget are denied instead of held.
    pub(super) fn is_denied(&self, request: &Request<'_>) -> bool {
        request.now < self.decided(request).release.denied_until_ns
    }

    /// Takes what the op costs from what was released, if that is good and covers it. An op that
    /// costs no file, such as a truncation, counts as one.
    pub(super) fn spend_released(&mut self, request: &Request<'_>) -> Option<Charge> {
        let key = request.hold_key();
        let Released { release, used } = self.releases.get_mut(&key)?;
        let files = request.cost.files.max(1);
        let after = used.saturating_add(files);
        if release.until_ns <= request.now || release.files < after {
            return None;
        }
        *used = after;
        Some(Charge { cost: request.cost, released: Some((key, files)), ..Charge::default() })
    }

    pub(super) fn give_back_released(&mut self, charge: &Charge) {
        let Some((key, files)) = charge.released else {
            return;
        };
        if let Some(Released { used, .. }) = self.releases.get_mut(&key) {
            *used = used.saturating_sub(files);
        }
    }

    fn decided(&self, request: &Request<'_>) -> Released {
        self.releases.get(&request.hold_key()).copied().unwrap_or_default()
    }
}
