//! What each budget counts, whom it is for, and what its refusal leaves behind. The zone denies, or
//! only observes.

use holdfast_abi::{Cost, Op, Reason, Verdict};
use holdfast_policy::decide::{Model, Request};

use crate::{ALLOWED, OPERATOR, OWNER, SECOND, outcome, remove, request};

/// A model of one zone with these budgets.
fn model(mode: &str, budgets: &[&str]) -> Model {
    crate::model(&format!("mode = \"{mode}\"\non_trip = \"deny\""), budgets)
}

#[test]
fn first_op_over_budget_trips() {
    let mut model = model("enforce", &["per = \"unit\", files = 2, window = \"10m\""]);
    assert_eq!(outcome(&model.decide(&remove(1))), ALLOWED);
    assert_eq!(outcome(&model.decide(&remove(1))), ALLOWED);
    assert_eq!(outcome(&model.decide(&remove(1))), (Verdict::Deny, Reason::Files, true, Some(0)));
    assert_eq!(
        outcome(&model.decide(&remove(1))),
        (Verdict::Deny, Reason::Latched, false, Some(0))
    );
}

#[test]
fn each_limit_has_its_own_reason() {
    let budget = "per = \"unit\", files = 5, bytes = 100, tenants = 1, window = \"10m\"";
    for (second, reason) in [
        (request(Op::Remove, OPERATOR, 5, 0), Reason::Files),
        (request(Op::Truncate, OPERATOR, 0, 100), Reason::Bytes),
        (Request { cost: Cost { files: 1, bytes: 0, tenant: 2 }, ..remove(1) }, Reason::Tenants),
    ] {
        let mut model = model("enforce", &[budget]);
        assert_eq!(outcome(&model.decide(&request(Op::Remove, OPERATOR, 1, 1))), ALLOWED);
        assert_eq!(outcome(&model.decide(&second)), (Verdict::Deny, reason, true, Some(0)));
    }
}

/// An observing zone reports the trip, and charges no budget.
#[test]
fn observing_zone_charges_nothing() {
    let mut model = model("observe", &["per = \"unit\", files = 2, window = \"10m\""]);
    assert_eq!(outcome(&model.decide(&remove(2))), ALLOWED);
    let over = model.decide(&remove(1));
    assert_eq!(outcome(&over), (Verdict::Observe, Reason::Files, true, Some(0)));
    assert_eq!(over.charge.accounts().count(), 0);
    assert_eq!(
        outcome(&model.decide(&remove(1))),
        (Verdict::Observe, Reason::Latched, false, Some(0))
    );
}

/// An op that destroys nothing is allowed, even to a tripped actor.
#[test]
fn harmless_op_is_always_allowed() {
    let mut model = model("enforce", &["per = \"unit\", files = 2, window = \"10m\""]);
    assert_eq!(outcome(&model.decide(&remove(2))), ALLOWED);
    assert_eq!(model.decide(&remove(1)).reason, Reason::Files);
    assert_eq!(outcome(&model.decide(&remove(0))), ALLOWED);
    assert_eq!(model.decide(&remove(1)).reason, Reason::Latched);
}

/// A move between tenants costs the tenant it leaves, and no file.
#[test]
fn move_between_tenants_costs_a_tenant() {
    let budget = "per = \"unit\", files = 1, tenants = 2, window = \"10m\"";
    let mut model = model("enforce", &[budget]);
    let from = |tenant| Request {
        op: Op::MoveOut,
        cost: Cost { files: 0, bytes: 0, tenant },
        ..remove(1)
    };
    assert_eq!(outcome(&model.decide(&from(1))), ALLOWED);
    assert_eq!(outcome(&model.decide(&from(2))), ALLOWED);
    assert_eq!(outcome(&model.decide(&from(1))), ALLOWED);
    assert_eq!(model.decide(&from(3)).reason, Reason::Tenants);
}

#[test]
fn budget_counts_only_its_callers() {
    let budgets = [
        "per = \"unit\", who = \"operators\", files = 1, window = \"10m\"",
        "per = \"unit\", who = \"owners\", files = 2, window = \"10m\"",
    ];
    let mut model = model("enforce", &budgets);
    let owner = request(Op::Remove, OWNER, 2, 0);
    assert_eq!(outcome(&model.decide(&owner)), ALLOWED);
    assert_eq!(outcome(&model.decide(&remove(1))), ALLOWED);
    assert_eq!(model.decide(&remove(1)).budget, Some(0));
    assert_eq!(model.decide(&owner).budget, Some(1));
}

#[test]
fn no_applicable_budget_allows_all() {
    let mut model =
        model("enforce", &["per = \"unit\", who = \"owners\", files = 1, window = \"10m\""]);
    assert_eq!(outcome(&model.decide(&remove(1_000))), ALLOWED);
    assert_eq!(outcome(&model.decide(&request(Op::Detach, OPERATOR, 0, 0))), ALLOWED);
}

/// An op that a budget does not list is free until the account has tripped.
#[test]
fn unlisted_op_is_free_until_trip() {
    let budget = "per = \"unit\", ops = [\"remove\"], files = 1, window = \"10m\"";
    let mut model = model("enforce", &[budget]);
    let replace = request(Op::Replace, OPERATOR, 9, 9);
    assert_eq!(outcome(&model.decide(&replace)), ALLOWED);
    assert_eq!(outcome(&model.decide(&remove(1))), ALLOWED);
    assert_eq!(model.decide(&remove(1)).reason, Reason::Files);
    assert_eq!(outcome(&model.decide(&replace)), (Verdict::Deny, Reason::Latched, false, Some(0)));
}

/// A detach is over a budget that lists it, and does not trip it.
#[test]
fn listed_detach_is_over_budget() {
    let detach = request(Op::Detach, OPERATOR, 0, 0);
    let mut listed = model("enforce", &["per = \"unit\", files = 1, window = \"10m\""]);
    let expected = (Verdict::Deny, Reason::UnknownCost, true, Some(0));
    assert_eq!(outcome(&listed.decide(&detach)), expected);
    assert_eq!(outcome(&listed.decide(&remove(1))), ALLOWED);

    let budget = "per = \"unit\", ops = [\"remove\"], files = 1, window = \"10m\"";
    let mut unlisted = model("enforce", &[budget]);
    assert_eq!(outcome(&unlisted.decide(&detach)), ALLOWED);
}

/// In whatever order the file has them: the narrowest actor that is over trips, and only that.
#[test]
fn the_narrowest_actor_over_trips() {
    let mut budgets = [
        "per = \"zone\", files = 10, window = \"10m\"",
        "per = \"user\", files = 10, window = \"10m\"",
        "per = \"unit\", files = 10, window = \"1h\"",
        "per = \"unit\", files = 10, window = \"10m\"",
    ];
    for turn in 0..budgets.len() {
        budgets.rotate_left(1);
        let narrowest = (2 * budgets.len() - turn - 2) % budgets.len();
        let mut model = model("enforce", &budgets);
        assert_eq!(outcome(&model.decide(&remove(9))), ALLOWED);
        let over = model.decide(&remove(2));
        assert_eq!(outcome(&over), (Verdict::Deny, Reason::Files, true, Some(narrowest)));
        assert_eq!(over.charge.accounts().count(), 0);
        let accounts = model.accounts.values();
        assert!(accounts.clone().all(|account| account.files == 9 || account.files == 0));
        assert_eq!(accounts.map(|account| account.trips).sum::<u64>(), 1);
        let later = model.decide(&remove(1));
        assert_eq!(outcome(&later), (Verdict::Deny, Reason::Latched, false, Some(narrowest)));
        // Another unit and user has not tripped, nor has everyone together.
        let other = Request { unit: 6, user: 9, ..remove(1) };
        assert_eq!(outcome(&model.decide(&other)), ALLOWED);
    }
}

/// One truncation of a huge file tripped everybody for a day, although nothing had been spent.
#[test]
fn oversized_op_trips_nobody() {
    let budgets = [
        "per = \"zone\", bytes = 50, window = \"24h\"",
        "per = \"unit\", files = 1, bytes = 100, window = \"10m\"",
    ];
    let mut model = model("enforce", &budgets);
    for bytes in [51, 101, u64::MAX] {
        let large = model.decide(&request(Op::Truncate, OPERATOR, 0, bytes));
        assert_eq!(
            (large.verdict, large.reason, large.first),
            (Verdict::Deny, Reason::Bytes, false)
        );
    }
    assert!(model.accounts.values().all(|account| (account.trips, account.bytes) == (0, 0)));
    assert_eq!(outcome(&model.decide(&request(Op::Remove, OPERATOR, 1, 50))), ALLOWED);
    // Also where a narrower actor is full: that is not the reason.
    let large = model.decide(&request(Op::Remove, OPERATOR, 1, 51));
    assert_eq!(outcome(&large), (Verdict::Deny, Reason::Bytes, false, Some(0)));
    assert!(model.accounts.values().all(|account| account.trips == 0));
}

/// A trip of a budget of a week stopped backups for a week, lock files and all.
#[test]
fn trip_lasts_ten_minutes_by_default() {
    let mut model = model("enforce", &["per = \"unit\", files = 2, bytes = 9, window = \"7d\""]);
    let at = |minutes: u64, files| Request { now: minutes * 60 * SECOND, ..remove(files) };
    assert_eq!(outcome(&model.decide(&at(2, 2))), ALLOWED);
    assert_eq!(model.decide(&at(2, 1)).reason, Reason::Files);
    assert_eq!(model.decide(&at(11, 1)).reason, Reason::Latched);
    // Still full: it trips again, and what costs none of it goes on.
    let truncate = |minutes: u64| Request {
        op: Op::Truncate,
        cost: Cost { files: 0, bytes: 1, tenant: 1 },
        ..at(minutes, 0)
    };
    assert_eq!(outcome(&model.decide(&truncate(12))), ALLOWED);
    assert_eq!(outcome(&model.decide(&at(12, 1))), (Verdict::Deny, Reason::Files, true, Some(0)));
    assert_eq!(model.decide(&truncate(13)).reason, Reason::Latched);
}

/// Each actor has its own account; a zone has one for all.
#[test]
fn each_actor_has_its_account() {
    let mut units = model("enforce", &["per = \"unit\", files = 1, window = \"10m\""]);
    let mut users = model("enforce", &["per = \"user\", files = 1, window = \"10m\""]);
    let mut zone = model("enforce", &["per = \"zone\", files = 1, window = \"10m\""]);
    let first = remove(1);
    let other_unit = Request { unit: 6, ..first };
    let other_user = Request { user: 0, ..first };
    for model in [&mut units, &mut users, &mut zone] {
        assert_eq!(outcome(&model.decide(&first)), ALLOWED);
    }
    assert_eq!(outcome(&units.decide(&other_unit)), ALLOWED);
    assert_eq!(units.decide(&other_user).verdict, Verdict::Deny);
    assert_eq!(outcome(&users.decide(&other_user)), ALLOWED);
    assert_eq!(users.decide(&other_unit).verdict, Verdict::Deny);
    assert_eq!(zone.decide(&Request { unit: 6, user: 0, ..first }).verdict, Verdict::Deny);
}

#[test]
fn an_op_that_failed_costs_nothing() {
    let budgets = [
        "per = \"unit\", files = 1, tenants = 1, window = \"10m\"",
        "per = \"zone\", bytes = 10, window = \"1h\"",
    ];
    let mut model = model("enforce", &budgets);
    for tenant in 1..50 {
        let cost = Cost { files: 1, bytes: 10, tenant };
        let decision = model.decide(&Request { cost, ..remove(1) });
        assert_eq!(outcome(&decision), ALLOWED);
        assert_eq!(decision.charge.accounts().count(), 2);
        model.give_back(&decision.charge);
    }
}

#[test]
fn trip_ends_when_window_drains() {
    let mut model = model("enforce", &["per = \"unit\", files = 2, window = \"31s\""]);
    let at = |seconds: u64| Request { now: seconds * SECOND, ..remove(1) };
    for seconds in [100, 101] {
        assert_eq!(outcome(&model.decide(&at(seconds))), ALLOWED);
    }
    assert_eq!(model.decide(&at(102)).reason, Reason::Files);
    assert_eq!(model.decide(&at(133)).reason, Reason::Latched);
    for _ in 0..2 {
        assert_eq!(outcome(&model.decide(&at(134))), ALLOWED);
    }
}

/// A daemon that owns every tenant's files was left out of every limit of tenants.
#[test]
fn tenant_limit_holds_for_everybody() {
    let budget = "per = \"unit\", who = \"operators\", files = 5, tenants = 2, window = \"10m\"";
    let mut model = model("enforce", &[budget]);
    let owner = |tenant| {
        let cost = Cost { files: 1, bytes: 0, tenant };
        Request { cost, ..request(Op::Remove, OWNER, 1, 0) }
    };
    for _ in 0..50 {
        assert_eq!(outcome(&model.decide(&owner(1))), ALLOWED, "its files are not counted");
    }
    assert_eq!(outcome(&model.decide(&remove(5))), ALLOWED);
    assert_eq!(model.decide(&remove(1)).reason, Reason::Files);
    assert_eq!(outcome(&model.decide(&owner(2))), ALLOWED, "a trip of files is not an owner's");
    assert_eq!(model.decide(&owner(0)).reason, Reason::None);
    assert_eq!(outcome(&model.decide(&owner(3))), (Verdict::Deny, Reason::Tenants, true, Some(0)));
    assert_eq!(outcome(&model.decide(&owner(1))), (Verdict::Deny, Reason::Latched, false, Some(0)));
}

#[test]
fn tenant_counts_once_it_lost_enough() {
    let zone = "mode = \"enforce\"\non_trip = \"deny\"\ntenant_counts_after = \"100 files\"";
    let budget = "per = \"unit\", tenants = 2, window = \"10m\"";
    let mut model = crate::model(zone, &[budget]);
    let op = |tenant, files| Request { cost: Cost { files, bytes: 0, tenant }, ..remove(1) };
    for tenant in 1..=60 {
        assert_eq!(outcome(&model.decide(&op(tenant, 99))), ALLOWED);
    }
    let failed = model.decide(&op(1, 1));
    assert_eq!(outcome(&failed), ALLOWED);
    model.give_back(&failed.charge);
    for tenant in [2, 3] {
        assert_eq!(outcome(&model.decide(&op(tenant, 1))), ALLOWED);
    }
    assert_eq!(model.decide(&op(4, 1)).reason, Reason::Tenants);
}

/// What a directory that leaves in one stroke has in it is not known. An owner's is in one tenant,
/// if it is in one.
#[test]
fn detach_costs_owner_its_tenant() {
    let budget = "per = \"unit\", who = \"operators\", tenants = 1, window = \"10m\"";
    let mut model = model("enforce", &[budget]);
    let detach = |tenant| {
        let cost = Cost { files: 1, bytes: 0, tenant };
        Request { cost, ..request(Op::Detach, OWNER, 1, 0) }
    };
    assert_eq!(outcome(&model.decide(&detach(1))), ALLOWED);
    assert_eq!(model.decide(&detach(0)).reason, Reason::UnknownCost);
    assert_eq!(model.decide(&detach(2)).reason, Reason::Tenants);
}

/// What may be in no zone at all has accounts of its own.
#[test]
fn unknown_places_trip_nobody_else() {
    for per in ["unit", "user", "zone"] {
        let budget = format!("per = \"{per}\", files = 3, window = \"10m\"");
        let mut model = model("enforce", &[&budget]);
        let unknown = Request { is_strict: true, ..remove(1) };
        for request in [unknown, remove(1)] {
            for _ in 0..3 {
                assert_eq!(outcome(&model.decide(&request)), ALLOWED, "per {per}");
            }
            assert!(model.decide(&request).first, "per {per}");
        }
    }
}
