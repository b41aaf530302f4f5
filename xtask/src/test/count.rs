//! Counts tests in what test runners print. Pure.

/// How many tests passed and failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Their names.
    pub failures: Vec<String>,
    /// The totals that the guest's runner itself gave, at the end of each boot.
    pub claimed: Option<(usize, usize)>,
}

impl Count {
    /// Adds one line of `cargo test`: `test result: ok. 12 passed; 0 failed; …` or
    /// `test NAME ... FAILED`.
    pub fn host_line(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.passed += number_before(result, " passed").unwrap_or(0);
            self.failed += number_before(result, " failed").unwrap_or(0);
        } else if let Some(name) = failed_test(line) {
            self.failures.push(name);
        }
    }

    /// Adds one line of `holdfast-tests`: `test NAME ... ok (3s)`, and at the end
    /// `holdfast-tests: 12 passed, 1 failed`. A guest that boots again has such an end for each
    /// boot.
    pub fn guest_line(&mut self, line: &str) {
        if let Some(totals) = line.strip_prefix("holdfast-tests: ") {
            let totals = (number_before(totals, " passed"), number_before(totals, " failed"));
            if let (Some(passed), Some(failed)) = totals {
                let (earlier_passed, earlier_failed) = self.claimed.unwrap_or_default();
                self.claimed = Some((earlier_passed + passed, earlier_failed + failed));
            }
        } else if let Some(name) = failed_test(line) {
            self.failed += 1;
            self.failures.push(name);
        } else if passed_test(line) {
            self.passed += 1;
        }
    }

    /// Why a guest's run is not to be believed, if it is not.
    pub fn doubt(&self) -> Option<String> {
        match self.claimed {
            None => Some("the runner did not get to its last line".to_owned()),
            Some(claimed) if claimed != (self.passed, self.failed) => Some(format!(
                "the runner says {} passed and {} failed, but it printed {} and {}",
                claimed.0, claimed.1, self.passed, self.failed
            )),
            Some(_) => None,
        }
    }
}

fn failed_test(line: &str) -> Option<String> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    outcome.starts_with("FAILED").then(|| name.to_owned())
}

fn passed_test(line: &str) -> bool {
    let outcome = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "));
    outcome.is_some_and(|(_, outcome)| outcome == "ok" || outcome.starts_with("ok "))
}

fn number_before(text: &str, unit: &str) -> Option<usize> {
    let before = &text[..text.find(unit)?];
    before.rsplit([' ', ',', ';']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_test() {
        let mut count = Count::default();
        for line in [
            "test a::b ... ok",
            "test a::c ... FAILED",
            "test result: FAILED. 11 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
            "test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            count.host_line(line);
        }
        assert_eq!((count.passed, count.failed), (16, 1));
        assert_eq!(count.failures, ["a::c"]);
    }

    fn guest(lines: &[&str]) -> Count {
        let mut count = Count::default();
        lines.iter().for_each(|line| count.guest_line(line));
        count
    }

    #[test]
    fn guest_runner() {
        let count = guest(&[
            "test rm_rf ... ok (3s)",
            "test find_delete ... FAILED (2s)",
            "    files left: 7",
            "holdfast-tests: 1 passed, 1 failed",
        ]);
        assert_eq!((count.passed, count.failed), (1, 1));
        assert_eq!(count.failures, ["find_delete"]);
        assert_eq!(count.doubt(), None);
    }

    #[test]
    fn a_guest_that_boots_again() {
        let mut lines = vec!["test a, boot 1 ... ok (3s)", "holdfast-tests: 1 passed, 0 failed"];
        lines.push("test a, boot 2 ... ok (3s)");
        assert!(guest(&lines).doubt().is_some());
        lines.push("holdfast-tests: 1 passed, 0 failed");
        assert_eq!((guest(&lines).passed, guest(&lines).doubt()), (2, None));
    }

    #[test]
    fn early_end_of_runner_is_doubted() {
        assert!(guest(&["test rm_rf ... ok (3s)"]).doubt().is_some());
        let text = guest(&["test a ... ok", "holdfast-tests: 2 passed, 0 failed"]).doubt().unwrap();
        assert!(text.contains("2 passed"), "{text}");
    }
}
