//! What is wrong with a policy, and where. It renders problems; it never finds them.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

use crate::words::printable;

/// Characters of a source line that are shown around a problem.
const LINE_ROOM: usize = 120;

/// What is wrong with one value, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

impl Fault {
    pub(crate) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.help)
    }
}

impl std::error::Error for Fault {}

/// One located mistake in a policy file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub col: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: String,
    /// The source line, as far as it is shown.
    pub source: String,
    /// What marks the place when printed below `source`: blanks and carets.
    pub marker: String,
}

/// Everything that is wrong with a policy file, in the order of the file. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problems {
    path: String,
    problems: Vec<Problem>,
}

impl Problems {
    /// The problems, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.problems.iter()
    }

    /// How many there are; at least one.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.problems.len()
    }

    /// The file, as it was named to [`crate::Policy::parse`].
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let Problem { line, col, message, help, source, marker } = problem;
            let gutter = " ".repeat(line.to_string().len());
            writeln!(f, "{}:{line}:{col}: error: {message}", self.path)?;
            writeln!(f, " {line} | {source}")?;
            writeln!(f, " {gutter} | {marker}")?;
            writeln!(f, " {gutter} = help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A mistake and the bytes of the text it is about.
#[derive(Debug)]
struct Mistake {
    span: Range<usize>,
    fault: Fault,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The text is not TOML here, and what follows cannot be understood.
    Broken,
    /// A value is not TOML, or a field is given twice; what follows can be understood.
    Syntax,
    /// Something that is there is wrong.
    Wrong,
    /// Something that should be there is not.
    Missing,
}

/// Collects mistakes while a text is read.
#[derive(Debug, Default)]
pub(crate) struct Mistakes {
    list: Vec<Mistake>,
}

impl Mistakes {
    /// From `span` on the text is not TOML.
    pub(crate) fn broken(&mut self, span: Range<usize>, fault: Fault) {
        self.list.push(Mistake { span, fault, kind: Kind::Broken });
    }

    /// The field or value at `span` is not TOML.
    pub(crate) fn syntax(&mut self, span: Range<usize>, fault: Fault) {
        self.list.push(Mistake { span, fault, kind: Kind::Syntax });
    }

    /// What is at `span` is wrong.
    pub(crate) fn wrong(&mut self, span: &Range<usize>, fault: Fault) {
        self.list.push(Mistake { span: span.clone(), fault, kind: Kind::Wrong });
    }

    /// Something is missing from what is at `span`.
    pub(crate) fn missing(&mut self, span: &Range<usize>, fault: Fault) {
        self.list.push(Mistake { span: span.clone(), fault, kind: Kind::Missing });
    }

    /// The problems to show, or `None` if nothing is wrong.
    ///
    /// Where the text is not TOML, what is left of it is guesswork: something missing, anything
    /// else wrong on such a line, or anything behind the place from which on it is broken, is then
    /// not worth telling.
    pub(crate) fn into_problems(mut self, path: &str, source: &Source<'_>) -> Option<Problems> {
        self.list.sort_by_key(|mistake| (mistake.span.start, mistake.span.end));
        let line = |mistake: &Mistake| source.line(mistake.span.start);
        let broken = self.list.iter().position(|mistake| mistake.kind == Kind::Broken);
        if let Some(first) = broken.map(|index| self.list.swap_remove(index)) {
            self.list.retain(|mistake| line(mistake) < line(&first));
            self.list.push(first);
        }
        let not_toml: Vec<usize> = self
            .list
            .iter()
            .filter(|mistake| matches!(mistake.kind, Kind::Broken | Kind::Syntax))
            .map(line)
            .collect();
        self.list.retain(|mistake| match mistake.kind {
            Kind::Broken | Kind::Syntax => true,
            Kind::Wrong => !not_toml.contains(&line(mistake)),
            Kind::Missing => not_toml.is_empty(),
        });
        self.list.sort_by_key(|mistake| (mistake.span.start, mistake.span.end));
        let problems: Vec<Problem> =
            self.list.into_iter().map(|mistake| source.problem(mistake)).collect();
        let path = path.chars().map(printable).collect();
        (!problems.is_empty()).then_some(Problems { path, problems })
    }
}

/// A text and where its lines begin.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    /// The line, from 1, of the byte at `offset`.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|&start| start <= offset)
    }

    fn problem(&self, mistake: Mistake) -> Problem {
        let Mistake { span, fault, .. } = mistake;
        let start = self.boundary(span.start);
        let line = self.line(start);
        let line_start = self.starts[line - 1];
        let text = self.text[line_start..].split('\n').next().unwrap_or_default();
        let text = text.trim_end_matches('\r');
        let line_end = line_start + text.len();
        let start = start.min(line_end);
        let end = self.boundary(span.end).clamp(start, line_end);
        let before = self.text[line_start..start].chars().count();
        let marked = self.text[start..end].chars().count().max(1);
        let (source, marker) = excerpt(text, before, marked);
        let Fault { message, help } = fault;
        Problem { line, col: before + 1, message, help, source, marker }
    }

    /// The nearest place at or before `offset` that does not cut a character in two.
    fn boundary(&self, offset: usize) -> usize {
        let mut at = offset.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }
}

/// As much of a line as fits around what is marked, and the marker for it.
fn excerpt(text: &str, before: usize, marked: usize) -> (String, String) {
    let length = text.chars().count();
    let skip = if length <= LINE_ROOM { 0 } else { before.saturating_sub(LINE_ROOM / 3) };
    let cut_left = if skip > 0 { "…" } else { "" };
    let cut_right = if length > skip + LINE_ROOM { "…" } else { "" };
    let shown: String = text.chars().skip(skip).take(LINE_ROOM).map(one_column).collect();
    let blanks = " ".repeat(before - skip + cut_left.chars().count());
    let carets = "^".repeat(marked.min((skip + LINE_ROOM).saturating_sub(before)).max(1));
    (format!("{cut_left}{shown}{cut_right}"), format!("{blanks}{carets}"))
}

/// A tab as one blank, so that the carets stand where they should.
fn one_column(c: char) -> char {
    if c == '\t' { ' ' } else { printable(c) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str, span: Range<usize>) -> String {
        let mut mistakes = Mistakes::default();
        mistakes.wrong(&span, Fault::new("wrong", "do it right"));
        mistakes.into_problems("p.toml", &Source::new(text)).unwrap().to_string()
    }

    #[test]
    fn the_caret_stands_under_the_span() {
        assert_eq!(
            show("a = 1\nbc = 22\n", 11..13),
            "p.toml:2:6: error: wrong\n 2 | bc = 22\n   |      ^^\n   = help: do it right\n"
        );
    }

    /// Columns count characters, not bytes; a tab is one column.
    #[test]
    fn columns_count_characters() {
        assert_eq!(
            show("\tü = 1\r\nx", 6..7),
            "p.toml:1:6: error: wrong\n 1 |  ü = 1\n   |      ^\n   = help: do it right\n"
        );
    }

    /// A span over several lines is marked to the end of its first line.
    #[test]
    fn long_span_marks_its_first_line() {
        assert!(show("a = [\n 1,\n]\n", 4..12).contains("\n 1 | a = [\n   |     ^\n"));
    }

    /// The end of the text can be marked, and so can places beyond it.
    #[test]
    fn places_beyond_the_end_are_marked() {
        assert!(show("a", 1..1).starts_with("p.toml:1:2:"));
        assert!(show("", 0..0).starts_with("p.toml:1:1:"));
        assert!(show("a\n", 90..99).starts_with("p.toml:2:1:"));
        assert!(show("é", 1..1).starts_with("p.toml:1:1:"));
    }

    #[test]
    fn long_line_is_cut_around_place() {
        let text = format!("{}HERE{}", "x".repeat(500), "y".repeat(500));
        let shown = show(&text, 500..504);
        let lines: Vec<&str> = shown.lines().collect();
        let at = lines[2].chars().position(|c| c == '^').unwrap();
        let under: String = lines[1].chars().skip(at).take(4).collect();
        assert_eq!(under, "HERE");
        assert_eq!(lines[2].matches('^').count(), 4);
        assert!(lines[1].chars().count() < 140, "{shown}");
        assert!(shown.starts_with("p.toml:1:501:"));
    }

    /// On the line of a syntax error no other mistake is reported, and no missing field.
    #[test]
    fn broken_text_suppresses_guesses() {
        let source = Source::new("a\nb\nc\n");
        let mut mistakes = Mistakes::default();
        mistakes.wrong(&(0..1), Fault::new("same line", ""));
        mistakes.missing(&(2..3), Fault::new("missing", ""));
        mistakes.wrong(&(4..5), Fault::new("elsewhere", ""));
        mistakes.syntax(0..1, Fault::new("syntax", ""));
        let problems = mistakes.into_problems("p", &source).unwrap();
        let messages: Vec<&str> = problems.iter().map(|p| p.message.as_str()).collect();
        assert_eq!(messages, ["syntax", "elsewhere"]);
    }

    #[test]
    fn nothing_is_reported_after_a_break() {
        let source = Source::new("a\nb\nc\n");
        let mut mistakes = Mistakes::default();
        mistakes.syntax(2..2, Fault::new("same line", ""));
        mistakes.broken(4..5, Fault::new("broken again", ""));
        mistakes.broken(3..3, Fault::new("broken", ""));
        mistakes.wrong(&(0..1), Fault::new("before", ""));
        mistakes.wrong(&(4..5), Fault::new("behind", ""));
        let problems = mistakes.into_problems("p", &source).unwrap();
        let messages: Vec<&str> = problems.iter().map(|p| p.message.as_str()).collect();
        assert_eq!(messages, ["before", "broken"]);
    }
}
