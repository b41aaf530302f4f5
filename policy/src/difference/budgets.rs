//! Budgets. One is the same as another if its account in the kernel is: then what was spent stays
//! spent.

use super::{Change, Direction};
use crate::budget::Budget;
use crate::model::Zone;
use crate::units::format_bytes;

pub(super) fn changes(before: &Zone, now: &Zone) -> Vec<Change> {
    let same =
        |a: &Budget, b: &Budget| (a.per, a.who, a.ops, a.window) == (b.per, b.who, b.ops, b.window);
    let mut changes = Vec::new();
    for old in &before.budgets {
        match now.budgets.iter().find(|new| same(old, new)) {
            Some(new) => changes.extend(limits(old, new)),
            None => {
                let text = format!("budget \"{}\" is gone: {}", old.label(), amounts(old));
                changes.push(Change::new(Direction::Looser, "budget", text));
            }
        }
    }
    for new in now.budgets.iter().filter(|new| !before.budgets.iter().any(|old| same(old, new))) {
        let text = format!("a new budget, of which nothing is spent: {}", words(new));
        changes.push(Change::new(Direction::Tighter, "budget", text));
    }
    changes
}

/// What a budget allows, in words.
pub(super) fn words(budget: &Budget) -> String {
    format!("{} for {}", amounts(budget), budget.label())
}

fn limits(old: &Budget, new: &Budget) -> Vec<Change> {
    let change = |side: &str, before: Option<u64>, now: Option<u64>, show: fn(u64) -> String| {
        let shown = |limit: Option<u64>| limit.map_or_else(|| "not limited".to_owned(), show);
        (before != now).then(|| {
            let text = format!(
                "budget \"{}\": {side} {} instead of {}",
                new.label(),
                shown(now),
                shown(before)
            );
            Change::new(Direction::of_limit(before, now), "budget", text)
        })
    };
    let plain = |n: u64| n.to_string();
    let latch = (old.latch != new.latch).then(|| {
        let direction = if new.latch > old.latch { Direction::Tighter } else { Direction::Looser };
        let text = format!(
            "budget \"{}\": a trip lasts {} instead of {}",
            new.label(),
            new.latch,
            old.latch
        );
        Change::new(direction, "budget", text)
    });
    let tenants = |budget: &Budget| budget.tenants.map(u64::from);
    [
        change("files", old.files, new.files, plain),
        change("bytes", old.bytes, new.bytes, format_bytes),
        change("tenants", tenants(old), tenants(new), plain),
        latch,
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn amounts(budget: &Budget) -> String {
    let parts = [
        budget.files.map(|files| format!("{files} files")),
        budget.bytes.map(format_bytes),
        budget.tenants.map(|tenants| format!("{tenants} tenants")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
