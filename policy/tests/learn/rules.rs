//! The rule by which a proposal is made, case by case.

use holdfast_abi::{Op, Per, Who};
use holdfast_policy::learn::{Bound, ProposedSide, Rules, Side, Why, ceilings};
use holdfast_policy::{Policy, Role};

use super::*;

/// The side of the first budget that limits it: one for a unit's ten minutes.
fn side(proposal: &Proposal, side: Side) -> ProposedSide {
    let sides = proposal.zones[0].budgets.iter().flat_map(|one| &one.sides);
    *sides.copied().collect::<Vec<_>>().iter().find(|one| one.side == side).expect("a limit of it")
}

/// The outliers of a unit's ten minutes.
fn short(survey: &Survey) -> Vec<(Side, u64, Why)> {
    let outliers = survey.outliers().sorted();
    let budgets = [Role::Primary, Role::Backup].map(ceilings);
    let short = outliers.iter().filter(|one| {
        let budget = &budgets[one.zone][one.budget];
        budget.per == Per::Unit && budget.window.seconds() == 600
    });
    short.map(|one| (one.side, one.amount, one.why)).collect()
}

/// A week of a job that removes so many files of a tenant each day, and of small jobs each hour.
fn week(hourly: u64, nightly: u64) -> Vec<RecordedOp> {
    let mut ops = Vec::new();
    for day in 0..7 {
        for hour in 0..24 {
            ops.extend(burst(START + day * DAY + hour * HOUR, 100 + hour, 1 + hour % 3, hourly));
        }
        ops.extend(burst(START + day * DAY + 3 * HOUR + MINUTE, 7, 1, nightly));
    }
    ops.sort_by_key(|op| op.now);
    ops
}

#[test]
fn ceilings_are_the_shipped_policys() {
    let shipped = Policy::parse("p", include_str!("../../../agent/dist/policy.toml")).unwrap();
    for zone in &shipped.zones {
        assert_eq!(ceilings(zone.role), zone.budgets, "{}", zone.name);
    }
    assert_eq!(shipped.zones.iter().map(|zone| zone.role).collect::<Vec<_>>(), Role::ALL);
}

/// A window that the record is too short for gets a limit scaled up from a shorter one.
#[test]
fn short_record_is_scaled_up() {
    // One day: 400 files at once and 20 each hour, of the copies, whose last budget is for a week.
    let day: Vec<_> = week(20, 400)
        .into_iter()
        .filter(|op| op.now < START + DAY)
        .map(|op| RecordedOp { zone: 1, ..op })
        .collect();
    assert_eq!(day.len(), 880);
    let keep = Rules { keep_alone: true, ..Rules::default() };
    let learnt = |recorded| {
        let (_, proposal) = learn_in(recorded, &policy(LOOSE), keep, &day);
        let of = |n: usize| {
            let proposed = &proposal.zones[1].budgets[n];
            (proposed.budget.files, proposed.scaled_from)
        };
        [of(1), of(2)]
    };
    // 880 and a half of it, seven times.
    assert_eq!(learnt(86_400), [(Some(600), None), (Some(9_300), Some(86_400))]);
    assert_eq!(learnt(7 * 86_400), [(Some(600), None), (Some(2_500), None)]);
    // Never above the ceiling, however short it is.
    assert_eq!(learnt(60), [(Some(10_000), Some(60)), (Some(50_000), Some(60))]);
    assert_eq!(learnt(0), [(Some(10_000), Some(0)), (Some(50_000), Some(0))]);
}

#[test]
fn repeated_peak_is_learnt_with_headroom() {
    let ops = week(120, 2_400);
    let (_, proposal) = learn(&policy(LOOSE), Rules::default(), &ops);
    let files = side(&proposal, Side::Files);
    assert_eq!((files.seen.max, files.ordinary, files.limit), (2_400, 2_400, Some(3_600)));
    assert_eq!(
        (files.bound, files.seen.p50),
        (Bound::Seen, 121),
        "a percentile is up to a 32nd too large"
    );
    let tenants = side(&proposal, Side::Tenants);
    assert_eq!((tenants.seen.max, tenants.limit, tenants.bound), (1, Some(2), Bound::Smallest));
    assert!(proposal.outliers.is_empty());
    assert_eq!(stopped(proposal.enforced(&policy(LOOSE)), &ops), Vec::<usize>::new());
    // What was not seen at all gets the smallest limit.
    let owners = &proposal.zones[0].budgets[3];
    assert_eq!((owners.budget.who, owners.budget.files), (Who::Owners, Some(10_000)));
    assert_eq!(owners.sides[0].seen.windows, 0);
}

#[test]
fn single_peak_is_left_out() {
    let mut ops = week(120, 600);
    // For nine of the ten minutes of the window.
    let start = START + 2 * DAY + 5 * HOUR;
    ops.extend((0..9_000).map(|n| remove(start + n * 9 * MINUTE / 9_000, 900, 2)));
    ops.sort_by_key(|op| op.now);
    let (_, proposal) = learn(&policy(LOOSE), Rules::default(), &ops);
    let files = side(&proposal, Side::Files);
    assert_eq!((files.seen.max, files.ordinary, files.limit), (9_000, 600, Some(900)));
    let outliers = proposal.outliers.sorted();
    assert!(outliers.iter().all(|one| one.actor == 900), "{outliers:?}");
    assert_eq!((outliers[0].side, outliers[0].amount), (Side::Files, 9_000));
    assert_eq!(outliers[0].why, Why::Alone { next: 600 });
    // Everybody's budget has not learnt it either.
    let all = proposal.zones[0].budgets[1].sides[0];
    // (A ring of 24 h covers up to 46 min more: two nights.)
    assert_eq!((all.ordinary, all.seen.max), (4_200, 13_200));
    assert_eq!(proposal.zones[0].left_out, 9_000);
    // A person may say that it was ordinary.
    let keep = Rules { keep_alone: true, ..Rules::default() };
    let (_, proposal) = learn(&policy(LOOSE), keep, &ops);
    assert_eq!(side(&proposal, Side::Files).limit, Some(12_000), "up to the ceiling");
    assert_eq!(side(&proposal, Side::Files).bound, Bound::Ceiling);
    assert!(proposal.outliers.is_empty());
}

/// A mass deletion in a short record is over the ceiling.
#[test]
fn short_record_meets_the_ceiling() {
    let mut ops: Vec<_> = burst(START, 1, 1, 60).collect();
    for tenant in 0..10 {
        ops.extend(burst(START + MINUTE + tenant * SECOND, 1, 10 + tenant, 30));
    }
    let (survey, proposal) = learn(&policy(LOOSE), Rules::default(), &ops);
    assert_eq!(short(&survey), [(Side::Tenants, 11, Why::Ceiling { ceiling: 5 })]);
    let limit = |proposal: &Proposal, of| side(proposal, of).limit;
    assert_eq!(limit(&proposal, Side::Tenants), Some(2));
    assert_eq!(limit(&proposal, Side::Files), Some(600));
    assert!(stopped(proposal.enforced(&policy(LOOSE)), &ops).len() > 150);
    // If a person raises the ceilings, a record as short as this does still not tell.
    let rules = Rules { ceiling_times: 4, ..Rules::default() };
    let (survey, proposal) = learn(&policy(LOOSE), rules, &ops);
    assert_eq!(short(&survey), [(Side::Tenants, 11, Why::Few { quarter: 5 })]);
    assert_eq!(limit(&proposal, Side::Tenants), Some(2));
    // That person has to say that it was ordinary; then what is learnt is what was seen, and no
    // more.
    let rules = Rules { keep_alone: true, ..rules };
    let (_, proposal) = learn(&policy(LOOSE), rules, &ops);
    assert_eq!(limit(&proposal, Side::Tenants), Some(17));
}

/// A mass deletion of copies is too much for a record as short as this.
#[test]
fn short_record_rejects_copies_deletion() {
    let ops = (0..10).flat_map(|tenant| burst(START + tenant * SECOND, 1, 10 + tenant, 60));
    let ops: Vec<_> = ops.map(|op| RecordedOp { zone: 1, ..op }).collect();
    let (survey, proposal) = learn(&policy(LOOSE), Rules::default(), &ops);
    assert_eq!(short(&survey), [(Side::Files, 600, Why::Few { quarter: 500 })]);
    let budget = &proposal.zones[1].budgets[0].budget;
    assert_eq!((budget.files, budget.tenants), (Some(100), Some(2)));
    assert!(stopped(proposal.enforced(&policy(LOOSE)), &ops).len() >= 480);
}

/// What is over the ceiling every night is left out every night.
#[test]
fn nightly_excess_is_left_out() {
    let ops = week(120, 18_000);
    let (survey, proposal) = learn(&policy(LOOSE), Rules::default(), &ops);
    assert_eq!(short(&survey).len(), 7);
    assert_eq!(side(&proposal, Side::Files).limit, Some(600));
    assert_eq!(proposal.zones[0].left_out, 126_000);
}

#[test]
fn unknown_cost_is_not_learnt() {
    let mut ops: Vec<_> = burst(START, 1, 1, 60).collect();
    ops.push(RecordedOp { op: Op::Detach, ..remove(START + MINUTE, 1, 1) });
    let (_, proposal) = learn(&policy(LOOSE), Rules::default(), &ops);
    assert_eq!(proposal.zones[0].unknown_cost, 1);
    assert_eq!(stopped(proposal.enforced(&policy(LOOSE)), &ops), [60]);
    // Of a zone in which nothing else was seen nothing is known.
    let (_, proposal) = learn(&policy(LOOSE), Rules::default(), &ops[60..]);
    assert!(proposal.zones[0].budgets.is_empty() && proposal.zones[1].budgets.is_empty());
    assert_eq!(proposal.policy(&policy(LOOSE)), policy(LOOSE));
}

/// Many tenants of all actors together are not limited.
#[test]
fn tenants_of_all_are_unlimited() {
    // A hundred sites a day, each cleaned up by a session of its own, within eight minutes.
    let sites = (0..700).map(|n| (n, START + n / 100 * DAY + n % 100 * 5 * SECOND));
    let ops: Vec<_> = sites.flat_map(|(n, start)| burst(start, 1_000 + n, n % 100, 3)).collect();
    let (_, proposal) = learn(&policy(LOOSE), Rules::default(), &ops);
    let all = &proposal.zones[0].budgets[1];
    assert_eq!((all.budget.tenants, all.budget.files), (None, Some(2_000)));
    let budgets = proposal.zones[0].budgets.iter();
    let limited = budgets.filter(|one| one.budget.per == Per::Zone && one.budget.tenants.is_some());
    assert_eq!(limited.count(), 0, "a budget of which no limit is left is not proposed");
    assert_eq!(side(&proposal, Side::Tenants).limit, Some(2), "of one session they are");
    assert_eq!(stopped(proposal.enforced(&policy(LOOSE)), &ops), Vec::<usize>::new());
}

#[test]
fn proposal_is_a_commented_policy() {
    let ops = week(120, 2_400);
    let before = policy(LOOSE);
    let (_, proposal) = learn(&before, Rules::default(), &ops);
    let proposed = proposal.policy(&before);
    let text = proposed
        .annotated(&|zone, budget| vec![format!("zone {zone}, budget {budget:?}"), String::new()]);
    assert!(text.contains("# zone 0, budget None\n#\n[[zone]]\nname = \"data\""), "{text}");
    assert!(text.contains("# zone 0, budget Some(2)\n#\n[[zone.budget]]"), "{text}");
    match Policy::parse("proposal", &text) {
        Ok(read) => assert_eq!(read, proposed),
        Err(problems) => panic!("{problems}"),
    }
}
