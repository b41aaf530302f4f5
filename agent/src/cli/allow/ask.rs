//! Questions on a terminal: one line each, with a default, until the answer is one.

use std::io::{self, BufRead, Write};

use super::field::Value;
use crate::cli::{Exit, Failure};

/// Asks somebody.
pub(super) trait Ask {
    /// The answer to `question`, as `check` reads it. An empty one means the default.
    fn ask<T>(
        &mut self,
        question: &str,
        default: Option<&str>,
        check: impl Fn(&str) -> Value<T>,
    ) -> Result<T, Failure>;
}

/// Questions written to one place, answers read from another.
pub(super) struct Lines<R, W> {
    /// Where answers come from.
    pub(super) answers: R,
    /// Where questions go.
    pub(super) questions: W,
}

impl<R: BufRead, W: Write> Ask for Lines<R, W> {
    fn ask<T>(
        &mut self,
        question: &str,
        default: Option<&str>,
        check: impl Fn(&str) -> Value<T>,
    ) -> Result<T, Failure> {
        loop {
            let hint = default.map_or_else(String::new, |default| format!(" [{default}]"));
            write!(self.questions, "{question}{hint} ")?;
            self.questions.flush()?;
            let mut line = String::new();
            if self.answers.read_line(&mut line)? == 0 {
                writeln!(self.questions)?;
                return Err(Failure::new(Exit::Usage, format!("no answer to `{question}`")));
            }
            let answer = line.trim();
            let answer = if answer.is_empty() { default.unwrap_or_default() } else { answer };
            match check(answer) {
                Ok(value) => return Ok(value),
                Err(why) => writeln!(self.questions, "  {why}")?,
            }
        }
    }
}

/// Asks on standard error, and reads standard input.
pub(super) fn terminal() -> Lines<io::StdinLock<'static>, io::Stderr> {
    Lines { answers: io::stdin().lock(), questions: io::stderr() }
}

/// Whether somebody says yes; anything else is a no.
pub(super) fn confirmed(ask: &mut impl Ask, question: &str) -> Result<bool, Failure> {
    ask.ask(&format!("{question} (y/n)"), Some("n"), |answer| {
        Ok(matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(answers: &str, default: Option<&str>) -> (Result<u32, Failure>, String) {
        let mut lines = Lines { answers: answers.as_bytes(), questions: Vec::new() };
        let number = |text: &str| text.parse::<u32>().map_err(|error| error.to_string());
        let answer = lines.ask("how many?", default, number);
        (answer, String::from_utf8(lines.questions).unwrap())
    }

    #[test]
    fn asks_until_the_answer_parses() {
        let (answer, shown) = asked("many\n\n 7 \n", None);
        assert_eq!(answer.unwrap(), 7);
        assert_eq!(shown.matches("how many? ").count(), 3, "{shown}");
        assert!(shown.contains("invalid digit"), "{shown}");
    }

    /// No answer at all is an error.
    #[test]
    fn empty_answer_takes_the_default() {
        let (answer, shown) = asked("\n", Some("3"));
        assert_eq!((answer.unwrap(), shown.as_str()), (3, "how many? [3] "));
        assert_eq!(asked("", Some("3")).0.unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn only_a_yes_is_a_yes() {
        for (answer, yes) in [("y\n", true), ("YES\n", true), ("\n", false), ("sure\n", false)] {
            let mut lines = Lines { answers: answer.as_bytes(), questions: Vec::new() };
            assert_eq!(confirmed(&mut lines, "sign?").unwrap(), yes, "{answer:?}");
        }
    }
}
