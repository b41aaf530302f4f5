//! The options of a line: `namespaces="a,b",valid-after="20260101Z"`. What is wrong with one does
//! not keep the others from being read.

use std::ops::Range;

use super::line::{Cursor, too_long};
use super::pattern::PatternList;
use super::{BLANKS, time};
use crate::problem::{Fault, Mistakes};
use crate::words::{did_you_mean, quoted};

const KNOWN: [&str; 3] = ["namespaces", "valid-after", "valid-before"];

/// What options say.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) namespaces: Option<PatternList>,
    pub(super) valid_after: Option<i64>,
    pub(super) valid_before: Option<i64>,
}

/// One option as it is written.
struct Written<'a> {
    name: &'a str,
    value: Option<String>,
    /// All of it.
    span: Range<usize>,
    /// What stands between the quotes, or all of it.
    inside: Range<usize>,
}

/// Reads options up to a blank; `None` if something is wrong with them.
pub(super) fn read(cursor: &mut Cursor<'_>, mistakes: &mut Mistakes) -> Option<Options> {
    let mut options = Options::default();
    let mut given: Vec<String> = Vec::new();
    let mut right = true;
    let whole = cursor.at;
    while !cursor.rest.is_empty() && !cursor.rest.starts_with(BLANKS) {
        match one(cursor).and_then(|written| options.take(&written, &mut given)) {
            Ok(()) => {}
            Err((span, fault)) => {
                right = false;
                mistakes.wrong(&span, fault);
            }
        }
        if !cursor.rest.starts_with(',') {
            break;
        }
        cursor.skip(1);
        if cursor.rest.is_empty() || cursor.rest.starts_with(BLANKS) {
            right = false;
            let fault = Fault::new("there is no option behind this comma", "remove the comma");
            mistakes.wrong(&(cursor.at - 1..cursor.at), fault);
        }
    }
    if let (Some(after), Some(before)) = (options.valid_after, options.valid_before)
        && before <= after
    {
        right = false;
        let message = "`valid-before` is not later than `valid-after`";
        mistakes.wrong(&(whole..cursor.at), Fault::new(message, "this key would never be valid"));
    }
    right.then_some(options)
}

type Wrong = (Range<usize>, Fault);

/// One option, up to a comma or a blank outside its quotes.
fn one<'a>(cursor: &mut Cursor<'a>) -> Result<Written<'a>, Wrong> {
    let start = cursor.at;
    let ends = |c: char| c == ',' || BLANKS.contains(&c);
    let length = cursor.rest.find(|c| c == '=' || ends(c)).unwrap_or(cursor.rest.len());
    let name = cursor.skip(length);
    if !cursor.rest.starts_with('=') {
        let span = start..cursor.at;
        return Ok(Written { name, value: None, inside: span.clone(), span });
    }
    cursor.skip(1);
    if !cursor.rest.starts_with('"') {
        let bare = cursor.skip(cursor.rest.find(ends).unwrap_or(cursor.rest.len()));
        let fault = format!("the value of {} needs double quotes", quoted(name));
        let bare: String = bare.chars().filter(|&c| c != '"').collect();
        return Err((
            start..cursor.at,
            Fault::new(fault, format!("write {}", quoted(&format!("{name}=\"{bare}\"")))),
        ));
    }
    let open = cursor.at;
    let Some((value, length)) = dequote(&cursor.rest[1..]) else {
        cursor.skip(cursor.rest.len());
        return Err((open..cursor.at, Fault::new("this quote has no end", "close it with `\"`")));
    };
    cursor.skip(length + 2);
    let close = cursor.at;
    if cursor.rest.starts_with(|c| !ends(c)) {
        cursor.skip(cursor.rest.find(ends).unwrap_or(cursor.rest.len()));
        let fault =
            Fault::new("something stands right behind the quote", "separate options with a comma");
        return Err((close..cursor.at, fault));
    }
    Ok(Written { name, value: Some(value), span: start..close, inside: open + 1..close - 1 })
}

/// What stands up to the closing quote (`\"` is a quote inside), and how many bytes that is in the
/// text.
fn dequote(text: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, at)),
            '\\' if chars.next_if(|&(_, next)| next == '"').is_some() => value.push('"'),
            c => value.push(c),
        }
    }
    None
}

impl Options {
    fn take(&mut self, written: &Written<'_>, given: &mut Vec<String>) -> Result<(), Wrong> {
        let Written { name, value, span, inside } = written;
        let wrong = |fault: Fault| Err((span.clone(), fault));
        let lower = name.to_ascii_lowercase();
        if lower == "cert-authority" {
            let help = "list the key of each person on a line of its own";
            return wrong(Fault::new("`cert-authority`: certificates are not supported", help));
        }
        if !KNOWN.contains(&lower.as_str()) {
            let message = if name.is_empty() {
                "an option without a name".to_owned()
            } else {
                format!("there is no option {}", quoted(name))
            };
            return wrong(Fault::new(message, did_you_mean(name, &KNOWN)));
        }
        let Some(value) = value else {
            let help = format!("write `{lower}=\"…\"`");
            return wrong(Fault::new(format!("`{lower}` needs a value"), help));
        };
        if given.contains(&lower) {
            return wrong(Fault::new(format!("`{lower}` is given twice"), "keep one of the two"));
        }
        let at = |fault: Fault| (inside.clone(), fault);
        match lower.as_str() {
            "namespaces" => self.namespaces = Some(namespaces(value).map_err(at)?),
            "valid-after" => self.valid_after = Some(time::parse(value).map_err(at)?),
            _ => self.valid_before = Some(time::parse(value).map_err(at)?),
        }
        given.push(lower);
        Ok(())
    }
}

fn namespaces(value: &str) -> Result<PatternList, Fault> {
    if value.is_empty() {
        let help = "name one, as in `namespaces=\"holdfast-allowance\"`, or leave the option out";
        return Err(Fault::new("no namespace at all", help));
    }
    match too_long(value) {
        Some(fault) => Err(fault),
        None => Ok(PatternList::new(value)),
    }
}
