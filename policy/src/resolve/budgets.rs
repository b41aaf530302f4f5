//! The budgets of one zone: their limits, whom they apply to, and that no two share an account.

use holdfast_abi::{MAX_BUDGETS, MAX_TENANTS, Op, Per, Who};

use super::{required, take, word};
use crate::budget::{Budget, OpSet};
use crate::problem::{Fault, Mistakes, Source};
use crate::raw::{At, Field, RawBudget, RawBytes, RawZone};
use crate::units::{MAX_NUMBER, Window, parse_bytes};
use crate::words::{did_you_mean, quoted};

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
                    "add a `[[zone.budget]]` with per, window and at least one of files, bytes and tenants",
                ),
            );
            return Vec::new();
        }
    };
    if let Some(first_too_many) = budgets.get(MAX_BUDGETS) {
        let message = format!("this zone has {} budgets, {MAX_BUDGETS} can be", budgets.len());
        let help = "one budget can limit files, bytes and tenants together; keep a short and a long window of each \
                    kind";
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
        Field::Given(ops) => op_set(ops, mistakes),
        Field::Missing => Some(OpSet::GUARDED),
        Field::Bad => None,
    };
    let files = limit(&raw.files, "files", MAX_NUMBER, mistakes);
    let bytes = bytes(&raw.bytes, mistakes);
    let tenants = limit(&raw.tenants, "tenants", MAX_TENANTS as u64, mistakes);
    if matches!(
        (&raw.files, &raw.bytes, &raw.tenants),
        (Field::Missing, Field::Missing, Field::Missing)
    ) {
        let help = "add at least one of files, bytes and tenants, as in `files = 200`";
        mistakes.missing(&raw.span, Fault::new("this budget limits nothing", help));
    }
    let window = required(&raw.window, &raw.span, "budget", "window", "window = \"10m\"", mistakes)
        .and_then(|window| take(Window::parse(&window.value), window, mistakes));
    Some(Budget {
        per: per?,
        who: who?,
        ops: ops?,
        files: files?,
        bytes: bytes?,
        tenants: tenants?.and_then(|tenants| u32::try_from(tenants).ok()),
        window: window?,
    })
}

fn op_set(given: &At<Vec<At<String>>>, mistakes: &mut Mistakes) -> Option<OpSet> {
    if given.value.is_empty() {
        let help = "leave `ops` out and the budget counts every op that is guarded";
        mistakes.wrong(&given.span, Fault::new("a budget without ops counts nothing", help));
    }
    let mut ops = Vec::new();
    for item in &given.value {
        match op(&item.value) {
            Ok(op) if ops.contains(&op) => {
                let message = format!("`{}` is listed twice", op.word());
                mistakes.wrong(&item.span, Fault::new(message, "remove one of them"));
            }
            Ok(op) => ops.push(op),
            Err(fault) => mistakes.wrong(&item.span, fault),
        }
    }
    OpSet::new(&ops)
}

fn op(text: &str) -> Result<Op, Fault> {
    let guarded: Vec<&str> = OpSet::GUARDED.iter().map(Op::word).collect();
    match Op::from_word(text) {
        Some(op) if OpSet::GUARDED.contains(op) => Ok(op),
        Some(op) => Err(Fault::new(
            format!("`{}` is not guarded yet", op.word()),
            format!("a budget for it would stop nothing; guarded are {}", guarded.join(", ")),
        )),
        None => {
            let message = format!("there is no op {}", quoted(text));
            Err(Fault::new(message, did_you_mean(text, &guarded)))
        }
    }
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
