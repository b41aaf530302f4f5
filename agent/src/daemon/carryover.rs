//! What is spent is kept over a reboot: the executor's part with the kernel's accounts and the
//! names of units.

use std::collections::HashMap;

use holdfast_abi::{AccountKey, OVERFLOW_ACTOR, Per};
use tracing::{error, info, warn};

use super::executor::Executor;
use crate::carryover::{Carried, Document, Keeper, Known, Spender, merged};
use crate::clock::Now;
use crate::kernel::{Spending, Started, Tenants};

/// How often what is spent is looked at, and written if it has changed; nanoseconds.
const SAVE_EVERY: u64 = 10_000_000_000;
/// Units that are gone and remembered, so that no walk through all cgroups looks for them again.
const NAMELESS: usize = 16_384;
/// How many times a unit is looked for: a look that comes right after another finds what that
/// found.
const LOOKS: u8 = 3;

/// What the agent knows about windows of earlier boots.
#[derive(Debug, Default)]
pub(super) struct Carryover {
    keeper: Option<Keeper>,
    /// Windows that the kernel does not have yet: their units are not there.
    waiting: Vec<Carried>,
    /// Budgets whose accounts are kept.
    known: Known,
    saved: Option<Now>,
    /// Units that are gone, and how many times each was looked for.
    nameless: HashMap<u64, u8>,
    /// Why what was spent before is not known.
    unread: Option<String>,
}

impl Carryover {
    /// What is spent is written within a second: a person has changed it.
    pub(super) fn save_soon(&mut self) {
        self.saved = None;
    }

    /// What is wrong, for people.
    pub(super) fn problem(&self) -> Option<String> {
        let unread = self.unread.clone();
        let unwritten = || {
            let why = self.keeper.as_ref()?.error()?;
            Some(format!("what is spent of budgets would not survive a reboot: {why}"))
        };
        unread.or_else(unwritten)
    }
}

impl Executor {
    /// The guard has just come up, and no zone is in force yet if it is a fresh one: what was spent
    /// before is in its accounts before anything can be charged.
    pub(super) fn restore_budgets(&mut self, started: Started, now: Now) {
        let state_dir = self.options.state_dir.clone();
        let read = super::boot_id().ok_or_else(|| "cannot read which boot this is".to_owned());
        let read = read.and_then(|boot_id| Ok((Document::read(&state_dir)?, boot_id)));
        // With pins of this boot the kernel has all of it but what waits.
        let is_fresh = started == Started::Fresh;
        let windows = match read {
            Ok((Some(document), boot_id)) => document.carry(&boot_id),
            Ok((None, _)) => {
                if is_fresh && super::kept::is_there(&state_dir) {
                    let why = format!(
                        "what was spent before is not known, and budgets begin anew: there is no \
                         budgets.json in {}",
                        state_dir.display()
                    );
                    error!("{why}");
                    self.carryover.unread = Some(why);
                }
                Vec::new()
            }
            Err(error) => {
                let why = if is_fresh {
                    format!("what was spent before is not known, and budgets begin anew: {error}")
                } else {
                    format!(
                        "what units have spent that have not appeared yet is not known: {error}"
                    )
                };
                error!("{why}");
                self.carryover.unread = Some(why);
                Vec::new()
            }
        };
        self.carryover.known.carried(&windows);
        let mut restored = 0;
        for mut carried in windows {
            if carried.is_drained(now.boot_ns) {
                continue;
            }
            if !is_fresh && !carried.waits {
                continue;
            }
            // The overflow account is made when the budget is put in force.
            if !is_fresh
                || carried.spender == Spender::Overflow
                || !self.put_back(&carried, &mut None, now)
            {
                carried.waits = true;
                self.carryover.waiting.push(carried);
            } else {
                restored += 1;
            }
        }
        let waiting = self.carryover.waiting.len();
        info!(restored, waiting, "what was spent before this boot counts on");
        self.carryover.keeper = Some(Keeper::start(state_dir));
    }

    /// Puts windows back whose units have appeared, and has what is spent written; to be called
    /// every second.
    pub(super) fn keep_budgets(&mut self, now: Now) {
        if self.guard.is_none() {
            return;
        }
        let waiting = std::mem::take(&mut self.carryover.waiting);
        let (mut changed, mut known) = (false, None);
        for carried in waiting {
            if carried.is_drained(now.boot_ns) {
                continue;
            }
            if self.put_back(&carried, &mut known, now) {
                changed = true;
            } else {
                self.carryover.waiting.push(carried);
            }
        }
        let is_due = |saved: Now| now.boot_ns.saturating_sub(saved.boot_ns) >= SAVE_EVERY;
        if changed || self.carryover.saved.is_none_or(is_due) {
            self.carryover.saved = Some(now);
            if let Some(document) = self.spent(now)
                && let Some(keeper) = &self.carryover.keeper
            {
                keeper.write(document);
            }
        }
    }

    /// The agent ends: what is spent is on the disk before.
    pub(super) fn finish_budgets(&mut self, now: Now) {
        if let Some(document) = self.spent(now)
            && let Some(keeper) = &self.carryover.keeper
        {
            keeper.finish(document);
        }
    }

    /// Adds a window to the kernel's accounts, if whose it is can be found.
    fn put_back(&mut self, carried: &Carried, known: &mut Option<Tenants>, now: Now) -> bool {
        let actor = match &carried.spender {
            Spender::Unit(path) => match self.units.find(path) {
                Ok((unit, _)) => unit,
                Err(_) => return false,
            },
            Spender::User(user) => Per::User.actor(0, *user),
            Spender::Zone => Per::Zone.actor(0, 0),
            Spender::Overflow => OVERFLOW_ACTOR,
        };
        let Some(guard) = &mut self.guard else { return false };
        let key = AccountKey { budget: carried.budget, actor };
        let before = carried.spending();
        let merge = |own: &Spending| merged(&before, own, carried.window_ns, now.boot_ns);
        match guard.carry_over(key, known, &merge) {
            Ok(there) => there,
            Err(error) => {
                let why = format!("what was spent before this boot cannot be put back: {error}");
                if self.carryover.unread.is_none() {
                    warn!("{why}");
                }
                self.carryover.unread = Some(why);
                false
            }
        }
    }

    /// What is spent now.
    fn spent(&mut self, now: Now) -> Option<Document> {
        let guard = self.guard.as_ref()?;
        let boot_id = super::boot_id()?;
        let (units, nameless) = (&mut self.units, &mut self.carryover.nameless);
        if nameless.len() > NAMELESS {
            nameless.clear();
        }
        let mut name = |unit: u64| {
            let looks = nameless.get(&unit).copied().unwrap_or(0);
            if looks >= LOOKS {
                return None;
            }
            let name = units.path_of(unit, now);
            if name.is_none() {
                nameless.insert(unit, looks + 1);
            }
            name
        };
        let known = &mut self.carryover.known;
        let mut read = || {
            known.in_force(&guard.budgets()?);
            let (accounts, tenants) = (guard.accounts(), guard.tenants()?);
            Document::of(&boot_id, known, accounts, tenants, &mut name, now.boot_ns)
        };
        match read() {
            Ok(mut document) => {
                document.windows.extend_from_slice(&self.carryover.waiting);
                Some(document)
            }
            Err(error) => {
                warn!(%error, "what is spent cannot be read");
                None
            }
        }
    }
}
