//! Values out of fields: what is there, what is missing, and which word of a list it is.

use std::ops::Range;

use crate::problem::{Fault, Mistakes};
use crate::raw::{At, Field};
use crate::words::{did_you_mean, is_hidden, quoted};

/// Longest path Linux takes in one call, without its closing NUL.
const MAX_PATH: usize = 4095;

/// The field, or a mistake if it is missing.
pub(crate) fn required<'f, T>(
    field: &'f Field<T>,
    span: &Range<usize>,
    what: &str,
    name: &str,
    example: &str,
    mistakes: &mut Mistakes,
) -> Option<&'f At<T>> {
    match field {
        Field::Given(given) => Some(given),
        Field::Bad => None,
        Field::Missing => {
            let message = format!("this {what} has no `{name}`");
            mistakes.missing(span, Fault::new(message, format!("add one, as in `{example}`")));
            None
        }
    }
}

/// The value, or the fault at the place it was given.
pub(crate) fn take<T, G>(
    outcome: Result<T, Fault>,
    given: &At<G>,
    mistakes: &mut Mistakes,
) -> Option<T> {
    outcome.map_err(|fault| mistakes.wrong(&given.span, fault)).ok()
}

/// The value with this word.
pub(crate) fn word<T: Copy>(
    given: &At<String>,
    name: &str,
    all: &[T],
    word_of: fn(T) -> &'static str,
    mistakes: &mut Mistakes,
) -> Option<T> {
    let found = all.iter().copied().find(|value| word_of(*value) == given.value);
    if found.is_none() {
        let words: Vec<&str> = all.iter().map(|value| word_of(*value)).collect();
        let message = format!("there is no {name} {}", quoted(&given.value));
        mistakes.wrong(&given.span, Fault::new(message, did_you_mean(&given.value, &words)));
    }
    found
}

/// The flag, or what it is if it is left out.
pub(crate) fn flag(field: &Field<bool>, default: bool) -> Option<bool> {
    match field {
        Field::Given(given) => Some(given.value),
        Field::Missing => Some(default),
        Field::Bad => None,
    }
}

/// The absolute path of a file, written in the one way there is for it.
pub(crate) fn file_path(text: &str) -> Result<String, Fault> {
    let Some(below_root) = text.strip_prefix('/') else {
        let message = format!("{} is not an absolute path", quoted(text));
        return Err(Fault::new(message, "a path starts with `/`"));
    };
    if text.len() > MAX_PATH {
        let message = format!("the path is longer than {MAX_PATH} bytes");
        return Err(Fault::new(message, "no such path can be opened: check it"));
    }
    shown_as_it_is(text)?;
    if below_root.split('/').any(|name| matches!(name, "" | "." | "..")) {
        let message = format!("{} is not written as a plain path", quoted(text));
        let help = "leave out `.`, `..`, `//` and a `/` at the end, as in `/usr/bin/rsync`";
        return Err(Fault::new(message, help));
    }
    Ok(text.to_owned())
}

/// Refuses text that is not what it looks like.
pub(crate) fn shown_as_it_is(text: &str) -> Result<(), Fault> {
    let Some(c) = text.chars().find(|c| is_hidden(*c)) else {
        return Ok(());
    };
    let message = format!("there is a character in it that nobody sees: U+{:04X}", u32::from(c));
    let help = "use printable characters only: what is signed has to be what is seen";
    Err(Fault::new(message, help))
}
