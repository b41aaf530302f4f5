//! What applies to a path, and what removing it now would come to: the same decision the kernel
//! takes, made by `holdfast_policy::decide` with the kernel's own accounts.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use holdfast_abi::{
    AccountKey, Cost as AbiCost, HoldKey, Op, Per, Reason, TenantKey, TenantSpend, Verdict, Window,
};
use holdfast_policy::decide::{Model, Released, Request};
use holdfast_policy::{Policy, Zone};

use super::GuardReport;
use super::{Ledger, Left, budgets};
use crate::api::{Caller, Cost, ExplainBudget, Explanation, NotGuarded, Removal, Tenant, Until};
use crate::clock::Now;
use crate::daemon::Standing;
use crate::text;

/// Where a path is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Index of the zone in the policy.
    pub(crate) zone: usize,
    /// The root above it.
    pub(crate) root: Vec<u8>,
    /// Its tenant: inode number and name.
    pub(crate) tenant: Option<(u64, Vec<u8>)>,
}

/// Everything that was found out about the path and the caller.
#[derive(Debug)]
pub(crate) struct Question {
    /// The path, its directory resolved.
    pub(crate) path: Vec<u8>,
    /// Where it is; `None` outside all zones.
    pub(crate) place: Option<Place>,
    /// The caller; its `who` is right for this file.
    pub(crate) caller: Caller,
    /// What a removal destroys; `None` if it is one of several links to a file, or a root.
    pub(crate) cost: Cost,
    /// Whether it is a root itself: removing that is `detach`.
    pub(crate) is_root: bool,
    /// What was decided about the hold that the caller is or would be part of.
    pub(crate) released: Released,
    /// Its tenant, by the accounts that may have touched it.
    pub(crate) spends: HashMap<TenantKey, TenantSpend>,
    /// What else to know.
    pub(crate) notes: Vec<String>,
}

/// The whole document.
pub(crate) fn explanation(
    question: Question,
    policy: &Policy,
    ledger: &Ledger,
    guard: &GuardReport,
    now: Now,
) -> Explanation {
    let (path, path_bytes) = text::lossless(&question.path);
    let place = question.place.as_ref();
    let zone = place.map(|place| &policy.zones[place.zone]);
    let budgets = zone.map(|zone| zone_budgets(zone, &question, ledger, now)).unwrap_or_default();
    let removal = place.map(|place| removal(place, &question, policy, ledger, now));
    let not_guarded = match &guard.standing {
        Standing::Down { why, fix } => {
            zone.map(|_| NotGuarded { why: format!("the guard is down: {why}"), fix: fix.clone() })
        }
        // One that is known about a path below counts, although a directory above it is guarded.
        Standing::Up => {
            guard.not_guarded(Path::new(OsStr::from_bytes(&question.path))).map(|path| NotGuarded {
                why: path.why.clone().unwrap_or_default(),
                fix: path.fix.clone().unwrap_or_default(),
            })
        }
    };
    Explanation {
        path,
        path_bytes,
        zone: zone.map(|zone| zone.name.to_string()),
        mode: zone.map(|zone| zone.mode.word().to_owned()),
        on_trip: zone.map(|zone| zone.on_trip.word().to_owned()),
        root: place.map(|place| text::lossless(&place.root).0),
        tenant: place.and_then(|place| place.tenant.as_ref()).map(|(inode, name)| {
            let (name, name_bytes) = text::lossless(name);
            Tenant { inode: *inode, name, name_bytes }
        }),
        caller: question.caller,
        budgets,
        removal,
        not_guarded,
        notes: question.notes,
    }
}

fn removal(
    place: &Place,
    question: &Question,
    policy: &Policy,
    ledger: &Ledger,
    now: Now,
) -> Removal {
    let mut model = Model::new(policy.clone());
    model.accounts = accounts(&policy.zones[place.zone], question, ledger);
    model.tenants.clone_from(&question.spends);
    let tenant = place.tenant.as_ref().map_or(0, |(inode, _)| *inode);
    let request = Request {
        zone: place.zone,
        op: if question.is_root { Op::Detach } else { Op::Remove },
        who: who_mask(&question.caller),
        unit: unit(&question.caller),
        user: user(&question.caller),
        cost: AbiCost { files: question.cost.files, bytes: question.cost.bytes, tenant },
        now: now.boot_ns,
        // The agent that answers is there to let it go on.
        is_strict: false,
        can_wait: true,
        held_since: None,
        // This is about budgets; a note says where an allowance may cover it.
        mark: None,
        // Nobody says who would remove a new file: as for one that was there before.
        made_at: None,
        inside: &[],
    };
    model.releases.insert(request.hold_key(), question.released);
    let decision = model.decide(&request);
    let zone = &policy.zones[place.zone];
    Removal {
        cost: question.cost,
        verdict: Verdict::word(decision.verdict).to_owned(),
        reason: Reason::word(decision.reason).to_owned(),
        budget: decision.budget.map(|index| zone.budgets[index].label()),
    }
}

fn zone_budgets(zone: &Zone, question: &Question, ledger: &Ledger, now: Now) -> Vec<ExplainBudget> {
    let budget = |budget: &holdfast_policy::Budget| {
        let conf = budget.conf(zone);
        let window =
            ledger.account(conf.id, actor(budget.per, &question.caller)).unwrap_or_default();
        let (left, mode) = (Left::of(&window, &conf.limit, now), zone.mode);
        // Of a budget that leaves the caller out only the limit of tenants holds.
        let is_whole = budget.who.mask() & who_mask(&question.caller) != 0;
        let latched = if is_whole {
            budgets::latched(&window, mode, now)
        } else {
            budget.tenants.is_some() && window.latches_tenants(now.boot_ns, mode as u32)
        };
        ExplainBudget {
            label: budget.label(),
            applies: budget.concerns(who_mask(&question.caller)),
            charges_remove: budget.ops.contains(Op::Remove),
            files: left.files.filter(|_| is_whole),
            bytes: left.bytes.filter(|_| is_whole),
            tenants: left.tenants,
            latched_until: latched.then(|| Until {
                time: now.wall_at(window.latched_until),
                time_ns: window.latched_until,
            }),
        }
    };
    zone.budgets.iter().map(budget).collect()
}

/// The caller's accounts in this zone.
fn accounts(zone: &Zone, question: &Question, ledger: &Ledger) -> HashMap<AccountKey, Window> {
    let keys = zone.budgets.iter().map(|budget| AccountKey {
        budget: budget.id(&zone.name),
        actor: actor(budget.per, &question.caller),
    });
    keys.filter_map(|key| ledger.account(key.budget, key.actor).map(|window| (key, window)))
        .collect()
}

fn actor(per: Per, caller: &Caller) -> u64 {
    per.actor(unit(caller), user(caller))
}

/// The hold that a caller is or would be part of in the zone of this slot.
pub(crate) fn hold_key(caller: &Caller, slot: u32) -> HoldKey {
    HoldKey { unit: unit(caller), zone: slot, user: user(caller) }
}

fn unit(caller: &Caller) -> u64 {
    caller.unit.as_ref().map_or(0, |unit| unit.id)
}

fn user(caller: &Caller) -> u32 {
    caller.login_uid.unwrap_or(caller.uid)
}

fn who_mask(caller: &Caller) -> holdfast_abi::WhoMask {
    use holdfast_abi::Who;
    if caller.who == Who::Owners.word() { Who::OWNER_BIT } else { Who::OPERATOR_BIT }
}

#[cfg(test)]
mod tests {
    use holdfast_abi::{Account, Mode, OnTrip, Release};

    use super::*;
    use crate::api::UnitRef;

    const NOW: Now = Now { boot_ns: 1_000_000_000_000, wall_ns: 0 };

    fn policy() -> Policy {
        let text = "[[zone]]\nname = \"z\"\nrole = \"primary\"\npaths = [\"/srv/z\"]\n\
                    mode = \"enforce\"\n\
                    [[zone.budget]]\nper = \"unit\"\nwho = \"operators\"\nfiles = 2\n\
                    window = \"10m\"\n\
                    [[zone.budget]]\nper = \"user\"\nwho = \"owners\"\nfiles = 100\n\
                    window = \"10m\"\n";
        let mut policy = Policy::parse("test", text).unwrap();
        policy.zones[0].on_trip = OnTrip::Deny;
        policy
    }

    fn question(who: &str, cost: Cost) -> Question {
        let unit = Some(UnitRef { id: 7, path: None });
        Question {
            path: b"/srv/z/t/file".to_vec(),
            place: Some(Place {
                zone: 0,
                root: b"/srv/z".to_vec(),
                tenant: Some((5, b"t".to_vec())),
            }),
            caller: Caller { pid: 1, uid: 33, login_uid: None, unit, who: who.to_owned() },
            cost,
            is_root: false,
            released: Released::default(),
            spends: HashMap::new(),
            notes: vec![],
        }
    }

    fn ledger(policy: &Policy, files: u64) -> Ledger {
        let zone = &policy.zones[0];
        let conf = zone.budgets[0].conf(zone);
        let mut window = Window::new();
        for _ in 0..files {
            let cost = AbiCost { files: 1, bytes: 0, tenant: 5 };
            let _ = window.charge(&conf.limit, NOW.boot_ns, Mode::Enforce as u32, &cost, None);
        }
        let account =
            Account { lock: Default::default(), suppressed: 0, event_second: 0, events: 0, window };
        Ledger::from_iter([(AccountKey { budget: conf.id, actor: 7 }, account)])
    }

    fn up() -> GuardReport {
        GuardReport { standing: Standing::Up, zones: vec![] }
    }

    const ONE: Cost = Cost { files: 1, bytes: 10 };

    /// Of an operators' budget an owner is told the tenants, and what its tenant has lost is asked.
    #[test]
    fn tenant_limit_is_told_to_owners() {
        let text = "[[zone]]\nname = \"z\"\nrole = \"primary\"\npaths = [\"/srv/z\"]\n\
                    mode = \"enforce\"\n\
                    on_trip = \"deny\"\ntenant_counts_after = \"3 files\"\n[[zone.budget]]\n\
                    per = \"unit\"\n\
                    who = \"operators\"\nfiles = 9\ntenants = 1\nwindow = \"10m\"";
        let policy = Policy::parse("test", text).unwrap();
        let conf = policy.zones[0].budgets[0].conf(&policy.zones[0]);
        let key = AccountKey { budget: conf.id, actor: 7 };
        let mut model = Model::new(policy.clone());
        let mut lose = |tenant, files| {
            let cost = AbiCost { files, bytes: 0, tenant };
            let request = Request {
                zone: 0,
                op: Op::Remove,
                who: holdfast_abi::Who::OWNER_BIT,
                unit: 7,
                user: 33,
                cost,
                now: NOW.boot_ns,
                can_wait: true,
                held_since: None,
                mark: None,
                inside: &[],
                is_strict: false,
                made_at: None,
            };
            assert_eq!(model.decide(&request).verdict, Verdict::Allow);
        };
        lose(4, 3);
        lose(5, 2);
        let account = Account { window: model.accounts[&key], ..Account::new() };
        let ledger = Ledger::from_iter([(key, account)]);
        let asked = |spends| {
            let question = Question { spends, ..question("owners", ONE) };
            explanation(question, &policy, &ledger, &up(), NOW)
        };
        let told = asked(model.tenants.clone());
        let budget = &told.budgets[0];
        assert!(budget.applies && budget.files.is_none());
        assert_eq!(budget.tenants.unwrap().left, 0);
        assert_eq!(told.removal.unwrap().reason, "tenants");
        assert_eq!(asked(HashMap::new()).removal.unwrap().verdict, "allow");
    }

    #[test]
    fn verdict_matches_the_kernel() {
        let policy = policy();
        let within =
            explanation(question("operators", ONE), &policy, &ledger(&policy, 1), &up(), NOW);
        assert_eq!(within.removal.as_ref().unwrap().verdict, "allow");
        assert_eq!(within.budgets[0].files.unwrap().left, 1);
        assert!(within.budgets[0].applies && !within.budgets[1].applies);
        let over =
            explanation(question("operators", ONE), &policy, &ledger(&policy, 2), &up(), NOW);
        let removal = over.removal.unwrap();
        assert_eq!((removal.verdict.as_str(), removal.reason.as_str()), ("deny", "files"));
        assert_eq!(removal.budget.as_deref(), Some("operators per unit, 10m"));
        let latched =
            explanation(question("operators", ONE), &policy, &ledger(&policy, 3), &up(), NOW);
        assert_eq!(latched.removal.unwrap().reason, "latched");
        assert!(latched.budgets[0].latched_until.is_some());
        let free = explanation(
            question("operators", Cost::default()),
            &policy,
            &ledger(&policy, 3),
            &up(),
            NOW,
        );
        assert_eq!(
            free.removal.unwrap().verdict,
            "allow",
            "what destroys nothing is free, latched or not"
        );
        let owner = explanation(question("owners", ONE), &policy, &ledger(&policy, 3), &up(), NOW);
        assert_eq!(owner.removal.unwrap().verdict, "allow");
    }

    #[test]
    fn a_zone_that_pauses_would_pause() {
        let mut policy = policy();
        let mut verdict = |on_trip, released| {
            policy.zones[0].on_trip = on_trip;
            let question = Question { released, ..question("operators", ONE) };
            let explained = explanation(question, &policy, &ledger(&policy, 2), &up(), NOW);
            assert_eq!(explained.on_trip.as_deref(), Some(on_trip.word()));
            explained.removal.unwrap().verdict
        };
        let none = Released::default();
        assert_eq!(verdict(OnTrip::Hold, none), "hold");
        assert_eq!(verdict(OnTrip::Throttle, none), "throttle");
        let release = Release { files: 1, until_ns: NOW.boot_ns + 1, ..Release::default() };
        assert_eq!(verdict(OnTrip::Hold, Released { release, used: 0 }), "allow");
        assert_eq!(verdict(OnTrip::Hold, Released { release, used: 1 }), "hold");
        let release = Release { denied_until_ns: NOW.boot_ns + 1, ..Release::default() };
        assert_eq!(verdict(OnTrip::Hold, Released { release, used: 0 }), "deny");
    }

    /// It counts as a detach, whose cost is unknown.
    #[test]
    fn protected_path_removal_is_denied() {
        let policy = policy();
        let root = Question { is_root: true, ..question("operators", ONE) };
        let removal = explanation(root, &policy, &Ledger::default(), &up(), NOW).removal.unwrap();
        assert_eq!((removal.verdict.as_str(), removal.reason.as_str()), ("deny", "unknown_cost"));
    }

    #[test]
    fn outside_all_zones_nothing_applies() {
        let outside = Question { place: None, ..question("operators", ONE) };
        let down = Standing::Down { why: "no".to_owned(), fix: String::new() };
        let down = GuardReport { standing: down, zones: vec![] };
        let explanation = explanation(outside, &policy(), &Ledger::default(), &down, NOW);
        assert!(
            explanation.zone.is_none()
                && explanation.removal.is_none()
                && explanation.budgets.is_empty()
        );
        assert!(explanation.not_guarded.is_none() && explanation.notes.is_empty());
    }
}
