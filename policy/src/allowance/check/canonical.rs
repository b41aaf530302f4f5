//! Whether the text is the one that is signed, and if not, where it begins to differ.

use super::Faults;
use crate::allowance::{Allowance, Evidence, RefusedReason};
use crate::words::{printable, quoted};

/// Characters that are shown before the first that differs.
const BEFORE: usize = 30;

pub(super) fn check(evidence: &Evidence<'_>, allowance: &Allowance) -> Faults {
    let mut faults = Faults::default();
    let canonical = allowance.canonical();
    if evidence.text != canonical {
        let path: String = evidence.path.chars().map(printable).collect();
        let message = format!(
            "{path} is not in the one form that is signed: {}",
            first(evidence.text, &canonical)
        );
        let help = "have what `holdfast allow show --canonical` prints signed, and submit that";
        faults.add(RefusedReason::NotCanonical, message, help);
    }
    faults
}

/// The first difference.
fn first(text: &str, canonical: &str) -> String {
    let (mut texts, mut wanted) = (text.split('\n'), canonical.split('\n'));
    let mut line = 0;
    loop {
        line += 1;
        match (texts.next(), wanted.next()) {
            (Some(text), Some(wanted)) if text == wanted => {}
            (Some(text), Some("")) if wanted.clone().next().is_none() => {
                return format!("line {line}, {}, is too much", quoted(text));
            }
            (Some(text), Some(wanted)) => {
                let same = text.chars().zip(wanted.chars()).take_while(|(a, b)| a == b).count();
                let [text, wanted] = [text, wanted].map(|line| from(line, same));
                return format!("line {line} is {text}, and has to be {wanted}");
            }
            (Some(_), None) => return format!("line {line} is too much"),
            (None, Some("")) => return format!("line {} has no end", line - 1),
            (None, Some(wanted)) => {
                return format!("line {line} is missing, and has to be {}", quoted(wanted));
            }
            (None, None) => return "the ends of its lines".to_owned(),
        }
    }
}

/// A line from a little before the place where it differs.
fn from(line: &str, same: usize) -> String {
    let skip = same.saturating_sub(BEFORE);
    let cut = if skip > 0 { "…" } else { "" };
    let rest: String = line.chars().skip(skip).collect();
    quoted(&format!("{cut}{rest}"))
}
