//! What is left of each budget, and to whom.

use std::collections::HashMap;

use holdfast_abi::{
    Account, AccountKey, Limit, Mode, OVERFLOW_ACTOR, Per, Trip, UNKNOWN_PLACE, Window,
};
use holdfast_policy::{Budget, Zone};

use crate::api::{AccountReport, Actor, BudgetAccounts, BudgetStatus, Cost, Side, Tripped, Until};
use crate::carryover::Stored;
use crate::clock::Now;
use crate::report::Names;

/// Every account, by budget.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    by_budget: HashMap<u64, Vec<Entry>>,
    count: u64,
}

/// An account's window without what is empty in it: there can be very many.
#[derive(Debug)]
struct Entry {
    actor: u64,
    trip: Trip,
    epoch: u32,
    stored: Stored,
}

impl Entry {
    fn window(&self) -> Window {
        Window { trip: self.trip, epoch: self.epoch, ..self.stored.window() }
    }
}

/// What one account, or the worst of several, has left. `None`: not limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// Files.
    pub(crate) files: Option<Side>,
    /// Bytes.
    pub(crate) bytes: Option<Side>,
    /// Tenants.
    pub(crate) tenants: Option<Side>,
}

impl FromIterator<(AccountKey, Account)> for Ledger {
    /// Sorts the kernel's accounts. The one that each budget keeps for the case that there is no
    /// room for more is nobody's until it is used.
    fn from_iter<I: IntoIterator<Item = (AccountKey, Account)>>(accounts: I) -> Self {
        let mut ledger = Self::default();
        for (AccountKey { budget, actor }, Account { window, .. }) in accounts {
            if actor == OVERFLOW_ACTOR && window == Window::new() {
                continue;
            }
            let (trip, epoch, stored) = (window.trip, window.epoch, Stored::of(&window));
            let entry = Entry { actor, trip, epoch, stored };
            ledger.count += 1;
            ledger.by_budget.entry(budget).or_default().push(entry);
        }
        ledger
    }
}

impl Ledger {
    /// How many accounts there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    fn entries(&self, budget: u64) -> &[Entry] {
        self.by_budget.get(&budget).map_or(&[], Vec::as_slice)
    }

    /// The actors with an account of one budget.
    pub(crate) fn actors(&self, budget: u64) -> impl Iterator<Item = u64> {
        self.entries(budget).iter().map(|entry| entry.actor)
    }

    fn of(&self, budget: u64) -> impl Iterator<Item = (u64, Window)> {
        self.entries(budget).iter().map(|entry| (entry.actor, entry.window()))
    }

    /// One actor's account.
    pub(crate) fn account(&self, budget: u64, actor: u64) -> Option<Window> {
        self.entries(budget).iter().find(|entry| entry.actor == actor).map(Entry::window)
    }

    /// On each limited side, the least that any actor has left.
    pub(crate) fn least(&self, budget: &Budget, zone: &Zone, now: Now) -> Left {
        let conf = budget.conf(zone);
        let mut least = Left::of(&Window::new(), &conf.limit, now);
        for (_, window) in self.of(conf.id) {
            let left = Left::of(&window, &conf.limit, now);
            least.files = min(least.files, left.files);
            least.bytes = min(least.bytes, left.bytes);
            least.tenants = min(least.tenants, left.tenants);
        }
        least
    }

    /// How many actors are latched in one budget.
    pub(crate) fn tripped(&self, budget: &Budget, zone: &Zone, now: Now) -> u64 {
        let accounts = self.of(budget.id(&zone.name));
        accounts.filter(|(_, window)| latched(window, zone.mode, now)).count() as u64
    }

    /// One budget for the status: who has least left, and who is latched. `unit` gives the name of
    /// a unit.
    pub(super) fn status(
        &self,
        budget: &Budget,
        zone: &Zone,
        now: Now,
        unit: &mut dyn FnMut(u64) -> Option<String>,
    ) -> BudgetStatus {
        let conf = budget.conf(zone);
        let accounts = || self.of(conf.id);
        let lefts = accounts().map(|(actor, window)| (actor, Left::of(&window, &conf.limit, now)));
        let tightest = lefts.min_by_key(|(_, left)| left.millionths());
        let left = tightest.map_or_else(|| Left::of(&Window::new(), &conf.limit, now), |of| of.1);
        let tripped = accounts().filter(|(_, window)| latched(window, zone.mode, now)).map(
            |(actor, window)| Tripped {
                actor: name(budget.per, actor, unit),
                until: Until {
                    time: now.wall_at(window.latched_until),
                    time_ns: window.latched_until,
                },
                by: super::event::trip_cause(&window.trip, now),
            },
        );
        let tripped = tripped.collect();
        BudgetStatus {
            label: budget.label(),
            per: budget.per.word().to_owned(),
            who: budget.who.word().to_owned(),
            ops: budget.ops.iter().map(|op| op.word().to_owned()).collect(),
            window_seconds: budget.window.seconds(),
            files: left.files,
            bytes: left.bytes,
            tenants: left.tenants,
            tightest: tightest.map(|(actor, _)| name(budget.per, actor, unit)),
            accounts: self.entries(conf.id).len() as u64,
            tripped,
        }
    }

    /// Every account of one budget that has something in it or is tripped: those first, then the
    /// fullest.
    pub(crate) fn accounts(
        &self,
        budget: &Budget,
        zone: &Zone,
        now: Now,
        names: &mut Names<'_>,
    ) -> BudgetAccounts {
        let conf = budget.conf(zone);
        let mut accounts: Vec<_> = self
            .of(conf.id)
            .map(|(actor, window)| {
                let until = latched(&window, zone.mode, now).then_some(window.latched_until);
                let left = Left::of(&window, &conf.limit, now).millionths();
                ((until.is_none(), left, actor), until, window.spent(&conf.limit, now.boot_ns))
            })
            .filter(|(_, until, spent)| until.is_some() || *spent != (0, 0, 0))
            .collect();
        accounts.sort_by_key(|(order, ..)| *order);
        let accounts = accounts.into_iter().map(|((_, _, actor), until, spent)| {
            let word = word(budget.per, actor, names);
            let until = until.map(|until| super::until(until, now));
            let reset = until.is_some().then(|| {
                let words = ["holdfast", "budget", "reset", "--zone", zone.name.as_str()];
                let actor = ["--actor", word.as_str(), "--reason"];
                words.into_iter().chain(actor).map(str::to_owned).collect()
            });
            let mut unit = |unit| (names.unit)(unit, None);
            let (files, bytes, tenants) = spent;
            AccountReport {
                actor: name(budget.per, actor, &mut unit),
                word,
                spent: Cost { files, bytes },
                tenants,
                tripped_until: until,
                reset,
            }
        });
        let accounts = accounts.collect();
        let limited = |limit: u64| (limit != u64::MAX).then_some(limit);
        BudgetAccounts {
            zone: zone.name.to_string(),
            label: budget.label(),
            window_seconds: budget.window.seconds(),
            files: limited(conf.limit.files),
            bytes: limited(conf.limit.bytes),
            tenants: (conf.limit.tenants != u32::MAX).then(|| conf.limit.tenants.into()),
            accounts,
        }
    }

    /// Whether an account stops an op: it has tripped within its window, or nothing is left on some
    /// side.
    pub(crate) fn is_used_up(&self, budget: &Budget, zone: &Zone, actor: u64, now: Now) -> bool {
        let conf = budget.conf(zone);
        self.account(conf.id, actor).is_some_and(|window| {
            let left = Left::of(&window, &conf.limit, now);
            let sides = [left.files, left.bytes, left.tenants];
            window.has_tripped(&conf.limit, now.boot_ns)
                || sides.into_iter().flatten().any(|side| side.left == 0)
        })
    }
}

/// How a command names an actor.
pub(crate) fn word(per: Per, actor: u64, names: &mut Names<'_>) -> String {
    match per {
        _ if actor == OVERFLOW_ACTOR => "overflow".to_owned(),
        _ if actor & UNKNOWN_PLACE != 0 => {
            format!("unknown-place:{}", word(per, actor ^ UNKNOWN_PLACE, names))
        }
        Per::Unit => {
            format!("unit:{}", (names.unit)(actor, None).unwrap_or_else(|| actor.to_string()))
        }
        Per::User => {
            let name = u32::try_from(actor).ok().and_then(|user| (names.user)(user));
            format!("user:{}", name.unwrap_or_else(|| actor.to_string()))
        }
        Per::Zone => "zone".to_owned(),
    }
}

impl Left {
    /// What `window` has left of `limit`.
    pub(crate) fn of(window: &Window, limit: &Limit, now: Now) -> Self {
        let (files, bytes, tenants) = window.spent(limit, now.boot_ns);
        let side = |limit: u64, spent: u64| Side { left: limit.saturating_sub(spent), limit };
        Self {
            files: (limit.files != u64::MAX).then(|| side(limit.files, files)),
            bytes: (limit.bytes != u64::MAX).then(|| side(limit.bytes, bytes)),
            tenants: (limit.tenants != u32::MAX)
                .then(|| side(limit.tenants.into(), tenants.into())),
        }
    }

    /// The scarcest side, in millionths of its limit.
    fn millionths(&self) -> u64 {
        let part =
            |side: Side| (u128::from(side.left) * 1_000_000 / u128::from(side.limit.max(1))) as u64;
        [self.files, self.bytes, self.tenants]
            .into_iter()
            .flatten()
            .map(part)
            .min()
            .unwrap_or(1_000_000)
    }
}

/// Whether a trip of this account binds in a zone of this mode.
pub(super) fn latched(window: &Window, mode: Mode, now: Now) -> bool {
    window.is_latched(now.boot_ns, mode as u32)
}

fn min(a: Option<Side>, b: Option<Side>) -> Option<Side> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.left < a.left { b } else { a }),
        (a, b) => a.or(b),
    }
}

fn name(per: Per, actor: u64, unit: &mut dyn FnMut(u64) -> Option<String>) -> Actor {
    let name = match per {
        _ if actor == OVERFLOW_ACTOR => "everybody for whom there was no room".to_owned(),
        _ if actor & UNKNOWN_PLACE != 0 => {
            format!("{} in unknown places", name(per, actor ^ UNKNOWN_PLACE, unit).name)
        }
        Per::Unit => format!("unit {}", unit(actor).unwrap_or_else(|| format!("{actor} (gone)"))),
        Per::User => format!("user {actor}"),
        Per::Zone => "everyone".to_owned(),
    };
    Actor { id: actor, name }
}

#[cfg(test)]
mod tests {
    use holdfast_abi::Cost;
    use holdfast_policy::Policy;

    use super::*;

    const NOW: Now = Now { boot_ns: 1_000_000_000_000, wall_ns: 0 };

    fn policy() -> Policy {
        let text = "[[zone]]\nname = \"z\"\nrole = \"primary\"\npaths = [\"/srv/z\"]\n\
                    mode = \"enforce\"\n\
                    [[zone.budget]]\nper = \"user\"\nfiles = 10\nbytes = 1000\nwindow = \"10m\"\n";
        Policy::parse("test", text).unwrap()
    }

    fn account(zone: &Zone, files: u64, bytes: u64) -> Account {
        let limit = zone.budgets[0].conf(zone).limit;
        let mut window = Window::new();
        let mut charge = |files, bytes| {
            let cost = Cost { files, bytes, tenant: 0 };
            let _ = window.charge(&limit, NOW.boot_ns, Mode::Enforce as u32, &cost, None);
        };
        // An op larger than the limit would trip nobody.
        let over = files.saturating_sub(limit.files);
        if over > 0 {
            charge(over, 0);
        }
        charge(files - over, bytes);
        Account { lock: Default::default(), suppressed: 0, event_second: 0, events: 0, window }
    }

    /// What was spent refuses the next op as well, after the trip has ended.
    #[test]
    fn tripped_actor_is_used_up() {
        let policy = policy();
        let (zone, budget) = (&policy.zones[0], &policy.zones[0].budgets[0]);
        let key = AccountKey { budget: budget.id(&zone.name), actor: 3 };
        // One file is left after the refusal.
        let mut spent = account(zone, 9, 0);
        let limit = budget.conf(zone).limit;
        let cost = Cost { files: 2, bytes: 0, tenant: 0 };
        spent.window.charge(&limit, NOW.boot_ns, Mode::Enforce as u32, &cost, None).unwrap_err();
        let ledger = Ledger::from_iter([(key, spent)]);
        let after = |seconds: u64| Now { boot_ns: NOW.boot_ns + seconds * 1_000_000_000, ..NOW };
        assert!(ledger.is_used_up(budget, zone, 3, after(599)));
        assert!(!ledger.is_used_up(budget, zone, 3, after(640)));
    }

    #[test]
    fn tightest_actor_has_the_scarcest_side() {
        let policy = policy();
        let zone = &policy.zones[0];
        let budget = zone.budgets[0].id(&zone.name);
        let key = |actor| AccountKey { budget, actor };
        let accounts = vec![
            (key(1), account(zone, 5, 100)),
            (key(2), account(zone, 1, 900)),
            (key(3), account(zone, 11, 0)),
        ];
        let ledger = Ledger::from_iter(accounts);
        let status = ledger.status(&zone.budgets[0], zone, NOW, &mut |_| None);
        assert_eq!(status.tightest.unwrap().name, "user 2");
        assert_eq!(status.files, Some(Side { left: 9, limit: 10 }));
        assert_eq!(status.bytes, Some(Side { left: 100, limit: 1000 }));
        assert_eq!((status.tenants, status.accounts), (None, 3));
        let tripped: Vec<u64> = status.tripped.iter().map(|tripped| tripped.actor.id).collect();
        assert_eq!(tripped, [3]);
        assert_eq!(ledger.tripped(&zone.budgets[0], zone, NOW), 1);
        let least = ledger.least(&zone.budgets[0], zone, NOW);
        assert_eq!((least.files.unwrap().left, least.bytes.unwrap().left), (5, 100));
        let later = Now { boot_ns: NOW.boot_ns + 700_000_000_000, wall_ns: 0 };
        assert_eq!(ledger.tripped(&zone.budgets[0], zone, later), 0);
        assert_eq!(ledger.least(&zone.budgets[0], zone, later).files.unwrap().left, 10);
    }

    #[test]
    fn nobody_has_spent_anything() {
        let policy = policy();
        let zone = &policy.zones[0];
        let status = Ledger::default().status(&zone.budgets[0], zone, NOW, &mut |_| None);
        assert_eq!((status.tightest, status.files), (None, Some(Side { left: 10, limit: 10 })));
    }
}
