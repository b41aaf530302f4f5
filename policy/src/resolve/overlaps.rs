//! No directory is in two zones, and no root is inside another: the paths of all zones, compared by
//! name.

use std::ops::Range;

use crate::pattern::PathPattern;
use crate::problem::{Fault, Mistakes, Source};
use crate::raw::At;

/// Paths that a policy can name; a pattern is one, and can lead to many directories.
const MAX_WRITTEN: usize = 4096;

/// The paths seen so far.
pub(super) struct Paths<'s, 't> {
    source: &'s Source<'t>,
    seen: Vec<Seen>,
}

struct Seen {
    /// The zone's place in the policy; its name may not be its own.
    index: usize,
    zone: String,
    pattern: PathPattern,
    span: Range<usize>,
}

impl<'s, 't> Paths<'s, 't> {
    pub(super) fn new(source: &'s Source<'t>) -> Self {
        Self { source, seen: Vec::new() }
    }

    /// Adds the paths of one zone; each is compared with all before it, and the first overlap is
    /// reported.
    pub(super) fn add(
        &mut self,
        index: usize,
        zone: &str,
        paths: &[At<PathPattern>],
        mistakes: &mut Mistakes,
    ) {
        for path in paths {
            let other = self.seen.iter().find(|other| other.pattern.may_overlap(&path.value));
            if let Some(other) = other {
                mistakes.wrong(&path.span, self.fault(index, &path.value, other));
            }
            if self.seen.len() == MAX_WRITTEN {
                let message = format!("there are more than {MAX_WRITTEN} paths");
                let help = "name the directory above them instead";
                mistakes.wrong(&path.span, Fault::new(message, help));
            }
            let (zone, pattern) = (zone.to_owned(), path.value.clone());
            self.seen.push(Seen { index, zone, pattern, span: path.span.clone() });
        }
    }

    fn fault(&self, index: usize, pattern: &PathPattern, other: &Seen) -> Fault {
        let relation = match (pattern.literal(), other.pattern.literal()) {
            (Some(a), Some(b)) if a == b => "is the same as",
            (Some(a), Some(b)) if a.len() > b.len() => "is inside",
            (Some(_), Some(_)) => "contains",
            _ => "can match the same directory as, or one inside or above,",
        };
        let line = self.source.line(other.span.start);
        if other.index == index {
            let message = format!(
                "`{pattern}` {relation} `{}` (line {line}) of the same zone",
                other.pattern
            );
            return Fault::new(message, "a path covers everything below it: keep one of the two");
        }
        let message =
            format!("`{pattern}` {relation} `{}` of {} (line {line})", other.pattern, other.zone);
        let help = "zones cannot overlap: a directory belongs to one zone. Name trees that lie \
                    beside each other";
        Fault::new(message, help)
    }
}
