//! The budgets of one zone: their limits, whom they apply to, and that no two share an account.

use holdfast_abi::{MAX_BUDGETS, MAX_TENANTS, Per, Who};

use super::fields::{required, take, word};
use super::ops;
use crate::budget::{Budget, OpSet};
use crate::problem::{Fault, Mistakes, Source};
use crate::raw::{Field, RawBudget, RawBytes, RawZone};
use crate::units::{MAX_NUMBER, Window, parse_bytes};

/// What a wrong list of ops is told.
const OPS: ops::Told = ops::Told {
    none: "a budget without ops counts nothing",
    none_help: "leave `ops` out and the budget counts every op that is guarded",
    not_guarded: "a budget for it would stop nothing",
};

/// The budgets that could be read.
pub(super) fn resolve(raw: &RawZone, source: &Source<'_>, mistakes: &mut Mistakes) -> Vec<Budget> {
    let budgets = match &raw.budgets {
        Field::Given(budgets) if !budgets.value.is_empty() => &budgets.value[..],
        Field::Bad => return Vec::new(),
        Field::Given(_) | Field::Missing => {
            mistakes.missing(
                &raw.span,
                Fault::new(
                    "this zone has no budget, so nothing would be stopped in it",
                    "add a `[[zone.budget]]` with per, window and at least one of files, bytes and \
                     tenants",
                ),
            );
            return Vec::new();
        }
    };
    if let Some(first_too_many) = budgets.get(MAX_BUDGETS) {
        let message = format!("this zone has {} budgets, {MAX_BUDGETS} can be", budgets.len());
        let help = "one budget can limit files, bytes and tenants together; keep a short and a \
                    long window of each kind";
        mistakes.wrong(&first_too_many.span, Fault::new(message, help));
    }
    let mut resolved: Vec<(Budget, usize)> = Vec::new();
    for raw in budgets {
        let Some(budget) = budget(raw, mistakes) else {
            continue;
        };
        let key = |budget: &Budget| (budget.per, budget.who, budget.ops, budget.window);
        let line = source.line(raw.span.start);
        if let Some((_, first)) = resolved.iter().find(|(other, _)| key(other) == key(&budget)) {
            let message = format!(
                "the budget on line {first} already has this per, who, ops and window: {}",
                budget.label()
            );
            let help = "put both limits into one budget, or give this one another window";
            mistakes.wrong(&raw.span, Fault::new(message, help));
        }
        resolved.push((budget, line));
    }
    resolved.into_iter().map(|(budget, _)| budget).collect()
}

fn budget(raw: &RawBudget, mistakes: &mut Mistakes) -> Option<Budget> {
    let per = required(&raw.per, &raw.span, "budget", "per", "per = \"unit\"", mistakes)
        .and_then(|per| word(per, "kind of actor", Per::ALL, Per::word, mistakes));
    let who = match &raw.who {
        Field::Given(who) => word(who, "kind of caller", Who::ALL, Who::word, mistakes),
        Field::Missing => Some(Who::Everyone),
        Field::Bad => None,
    };
    let ops = match &raw.ops {
        Field::Given(ops) => ops::resolve(ops, &OPS, mistakes),
        Field::Missing => Some(OpSet::GUARDED),
        Field::Bad => None,
    };
    let files = limit(&raw.files, "files", MAX_NUMBER, mistakes);
    let bytes = bytes(&raw.bytes, mistakes);
    let tenants = limit(&raw.tenants, "tenants", MAX_TENANTS.into(), mistakes);
    if matches!(
        (&raw.files, &raw.bytes, &raw.tenants),
        (Field::Missing, Field::Missing, Field::Missing)
    ) {
        let help = "add at least one of files, bytes and tenants, as in `files = 200`";
        mistakes.missing(&raw.span, Fault::new("this budget limits nothing", help));
    }
    let window = required(&raw.window, &raw.span, "budget", "window", "window = \"10m\"", mistakes)
        .and_then(|window| take(Window::parse(&window.value), window, mistakes));
    let latch = window.and_then(|window| latch(&raw.latch, window, mistakes));
    Some(Budget {
        per: per?,
        who: who?,
        ops: ops?,
        files: files?,
        bytes: bytes?,
        tenants: tenants?.and_then(|tenants| u32::try_from(tenants).ok()),
        window: window?,
        latch: latch?,
    })
}

/// How long a trip lasts. `None` if it is wrong.
fn latch(raw: &Field<String>, window: Window, mistakes: &mut Mistakes) -> Option<Window> {
    let given = match raw {
        Field::Missing => return Some(Budget::default_latch(window)),
        Field::Bad => return None,
        Field::Given(given) => given,
    };
    let latch = take(Window::parse(&given.value), given, mistakes)?;
    if latch > window {
        let message = format!("a latch of {latch} is longer than the window of {window}");
        let help = format!(
            "after a window nothing that was spent counts any more: write at most `{window}`, or \
             leave `latch` out for {}",
            Budget::default_latch(window)
        );
        mistakes.wrong(&given.span, Fault::new(message, help));
        return None;
    }
    Some(latch)
}

fn bytes(raw: &Field<RawBytes>, mistakes: &mut Mistakes) -> Option<Option<u64>> {
    match raw {
        Field::Missing => Some(None),
        Field::Bad => None,
        Field::Given(given) => {
            let number = match &given.value {
                RawBytes::Number(number) => *number,
                RawBytes::Text(text) => i128::from(take(parse_bytes(text), given, mistakes)?),
            };
            let checked = bounded(number, "bytes", MAX_NUMBER);
            take(checked, given, mistakes).map(Some)
        }
    }
}

/// A limit that may be left out. `None` if it is wrong.
fn limit(raw: &Field<i128>, name: &str, max: u64, mistakes: &mut Mistakes) -> Option<Option<u64>> {
    match raw {
        Field::Missing => Some(None),
        Field::Bad => None,
        Field::Given(given) => take(bounded(given.value, name, max), given, mistakes).map(Some),
    }
}

fn bounded(number: i128, name: &str, max: u64) -> Result<u64, Fault> {
    if number == 0 {
        return Err(Fault::new(
            format!("a budget of zero {name} would stop every op, also ordinary ones"),
            format!("write at least 1, or leave `{name}` out if it is not to be limited"),
        ));
    }
    match u64::try_from(number) {
        Ok(number) if number <= max => Ok(number),
        Ok(_) => {
            let help = format!("the most is {max}; leave `{name}` out if it is not to be limited");
            Err(Fault::new(format!("a budget of {number} {name} is too large"), help))
        }
        Err(_) => {
            let help =
                format!("write at least 1, or leave `{name}` out if it is not to be limited");
            Err(Fault::new(format!("a budget of {number} {name} cannot be"), help))
        }
    }
}
