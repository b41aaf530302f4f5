//! Whether the guard is up: never claimed, only concluded from what the self-test has shown.

use std::time::Duration;

use crate::clock::Now;
use crate::kernel::{Check, Coverage, Started};
use crate::report;

/// A proof older than this proves nothing any more.
const PROOF_HOLDS: Duration = Duration::from_secs(30);

/// What is known about the guard.
#[derive(Debug, Default)]
pub(crate) struct Guarding {
    /// How it came up, or why it did not; `None` before it was tried.
    pub(crate) started: Option<Result<Started, String>>,
    /// Whether a plan of this agent is in force.
    pub(crate) in_force: bool,
    /// Why the last plan is not.
    pub(crate) apply_error: Option<String>,
    /// The last proof.
    pub(crate) coverage: Option<(Coverage, Now)>,
    /// What was found when something was wrong.
    pub(crate) checks: Vec<Check>,
}

/// Whether the guard is up. What each zone does then is in [`report::guard`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The programs are loaded, a policy is in force, and the self-test has just passed.
    Up,
    /// Nothing is guarded, or it cannot be determined.
    Down {
        /// Why.
        why: String,
        /// What to do about it.
        fix: String,
    },
}

impl Standing {
    /// Whether the kernel decides about ops in the zones in force.
    pub(crate) const fn is_up(&self) -> bool {
        matches!(self, Self::Up)
    }
}

impl Guarding {
    /// Whether programs of this agent are attached.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.started, Some(Ok(_)))
    }

    /// Whether it is known how things stand: each kind of op was tried, or there is no guard to
    /// try.
    pub(crate) fn is_settled(&self) -> bool {
        match self.started {
            None => false,
            Some(Ok(_)) => self.coverage.is_some(),
            Some(Err(_)) => true,
        }
    }

    /// Whether the plan has to be put in force once more.
    pub(crate) fn needs_apply(&self) -> bool {
        self.is_up() && self.apply_error.is_some()
    }

    /// What can be said at this moment.
    pub(crate) fn standing(&self, now: Now) -> Standing {
        let why = match &self.started {
            None => Some("the guard is starting".to_owned()),
            Some(Err(error)) => Some(error.clone()),
            Some(Ok(_)) if !self.in_force => Some(match &self.apply_error {
                Some(error) => format!("the policy could not be put in force: {error}"),
                None => "no policy is in force yet".to_owned(),
            }),
            Some(Ok(_)) => self.unproven(now),
        };
        match why {
            None => Standing::Up,
            Some(why) => self.down(why),
        }
    }

    fn unproven(&self, now: Now) -> Option<String> {
        match &self.coverage {
            None => Some("the self-test has not run yet".to_owned()),
            Some((_, at)) if now.since(*at) > PROOF_HOLDS => {
                Some(format!("the last self-test is {} old", crate::clock::words(now.since(*at))))
            }
            Some((coverage, _)) if coverage.is_complete() => None,
            Some((coverage, _)) => Some(report::coverage_why(&report::coverage_ops(coverage))),
        }
    }

    fn down(&self, mut why: String) -> Standing {
        let tested = self.coverage.iter().flat_map(|(coverage, _)| &coverage.checks);
        let all = tested.filter(|_| self.is_up()).chain(&self.checks);
        let failed: Vec<&Check> = all.filter(|check| !check.ok).collect();
        for check in &failed {
            if !why.contains(&check.found) {
                why.push_str(&format!("; {}: {}", check.name, check.found));
            }
        }
        let fixes: Vec<&str> = failed.iter().filter_map(|check| check.fix.as_deref()).collect();
        let fix = if fixes.is_empty() {
            "see the agent's log, and run `holdfast doctor`".to_owned()
        } else {
            fixes.join("; ")
        };
        Standing::Down { why, fix }
    }
}

#[cfg(test)]
mod tests {
    use holdfast_abi::Op;

    use super::*;

    const NOW: Now = Now { boot_ns: 100_000_000_000, wall_ns: 0 };

    fn check(name: &'static str, ok: bool, fix: &str) -> Check {
        Check { name, ok, found: format!("{name} found"), fix: Some(fix.to_owned()) }
    }

    fn proven() -> Guarding {
        Guarding {
            started: Some(Ok(Started::Fresh)),
            in_force: true,
            coverage: Some((Coverage { ops: vec![(Op::Remove, Ok(()))], checks: vec![] }, NOW)),
            ..Guarding::default()
        }
    }

    #[test]
    fn up_needs_every_single_condition() {
        assert_eq!(proven().standing(NOW), Standing::Up);
        let mut broken = [proven(), proven(), proven(), proven(), proven(), proven()];
        broken[0].started = None;
        broken[1].started = Some(Err("no".to_owned()));
        broken[2].in_force = false;
        broken[3].coverage = None;
        broken[4].coverage = Some((Coverage::default(), NOW));
        broken[5].coverage = Some((
            Coverage {
                ops: vec![(Op::Remove, Ok(())), (Op::Replace, Err("it went on".to_owned()))],
                checks: vec![],
            },
            NOW,
        ));
        for guarding in broken {
            assert!(!guarding.standing(NOW).is_up(), "{guarding:?}");
        }
        let later = Now { boot_ns: NOW.boot_ns + 31_000_000_000, wall_ns: 0 };
        assert!(!proven().standing(later).is_up(), "a proof holds for a while only");
    }

    #[test]
    fn failed_check_says_what_to_do() {
        let mut guarding = proven();
        let (coverage, _) = guarding.coverage.as_mut().unwrap();
        coverage.checks = vec![check("programs", false, "restart the agent")];
        let Standing::Down { why, fix } = guarding.standing(NOW) else { panic!("up") };
        assert_eq!(why, "the self-test fails: programs (programs found)");
        assert_eq!(fix, "restart the agent");
    }

    #[test]
    fn standing_takes_fix_from_checks() {
        let guarding = Guarding {
            started: Some(Err("cannot start".to_owned())),
            checks: vec![check("btf", true, "unused"), check("bpf-lsm", false, "add bpf to lsm=")],
            ..Guarding::default()
        };
        let Standing::Down { why, fix } = guarding.standing(NOW) else { panic!("up") };
        assert_eq!(why, "cannot start; bpf-lsm: bpf-lsm found");
        assert_eq!(fix, "add bpf to lsm=");
    }
}
