//! A list of ops: each once, and none that is not guarded.

use holdfast_abi::Op;

use crate::budget::OpSet;
use crate::problem::{Fault, Mistakes};
use crate::raw::At;
use crate::words::{did_you_mean, quoted};

/// What is said about a wrong list, in the words of what the list is for.
pub(crate) struct Told {
    /// It is empty.
    pub(crate) none: &'static str,
    pub(crate) none_help: &'static str,
    /// It has an op that is not guarded.
    pub(crate) not_guarded: &'static str,
}

/// The ops of a list, if there are any.
pub(crate) fn resolve(
    given: &At<Vec<At<String>>>,
    told: &Told,
    mistakes: &mut Mistakes,
) -> Option<OpSet> {
    if given.value.is_empty() {
        mistakes.wrong(&given.span, Fault::new(told.none, told.none_help));
    }
    let mut ops = Vec::new();
    for item in &given.value {
        match op(&item.value, told) {
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

fn op(text: &str, told: &Told) -> Result<Op, Fault> {
    let guarded: Vec<&str> = OpSet::GUARDED.iter().map(Op::word).collect();
    match Op::from_word(text) {
        Some(op) if OpSet::GUARDED.contains(op) => Ok(op),
        Some(op) => Err(Fault::new(
            format!("`{}` is not guarded yet", op.word()),
            format!("{}; guarded are {}", told.not_guarded, guarded.join(", ")),
        )),
        None => {
            let message = format!("there is no op {}", quoted(text));
            Err(Fault::new(message, did_you_mean(text, &guarded)))
        }
    }
}
