//! What is guarded right now, and what each zone does: the one answer that `status`, `doctor`,
//! `explain`, the metrics and the service manager give.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use holdfast_abi::Mode;

use crate::api::{PathState, PathStatus, ZoneState};
use crate::clock::Now;
use crate::daemon::{Standing, State};
use crate::text;

/// The whole answer.
#[derive(Clone, Debug)]
pub(crate) struct GuardReport {
    /// Whether the guard is up.
    pub(crate) standing: Standing,
    /// What each zone does, in the order of the policy.
    pub(crate) zones: Vec<ZoneReport>,
}

/// What one zone does.
#[derive(Clone, Debug)]
pub(crate) struct ZoneReport {
    /// Its name.
    pub(crate) name: String,
    mode: Mode,
    /// What it does.
    pub(crate) state: ZoneState,
    /// Its protected paths, and what else of it is not guarded.
    pub(crate) paths: Vec<PathStatus>,
    /// How many directories have left their path and are still guarded.
    pub(crate) kept: usize,
    /// How many of those are on a filesystem that is no longer mounted.
    pub(crate) unmounted: usize,
}

/// What can be said at this moment.
pub(crate) fn guard(state: &State, now: Now) -> GuardReport {
    let standing = state.guarding.standing(now);
    let zones = 0..state.plan.policy.zones.len();
    let zones = zones.map(|index| zone(state, index, standing.is_up())).collect();
    GuardReport { standing, zones }
}

fn zone(state: &State, index: usize, is_up: bool) -> ZoneReport {
    let (zone, found) = (&state.plan.policy.zones[index], &state.plan.zones[index]);
    let name = zone.name.as_str();
    let in_force = state.in_force.iter().find(|in_force| in_force.name == name);
    let in_force = in_force.filter(|_| is_up);
    let mut paths = Vec::new();
    for root in &found.roots {
        let has_it = in_force.is_some_and(|zone| zone.roots.contains(&root.path));
        let path = path_status(&root.path);
        paths.push(match (has_it, is_up) {
            (true, _) => PathStatus { inode: Some(root.identity.ino), ..path },
            (false, true) => not_guarded(path, not_in_force(state), "see the agent's log"),
            (false, false) => not_guarded(path, "the guard is down", "see `holdfast status`"),
        });
    }
    for pattern in &found.missing {
        let path = Some(pattern.clone());
        paths.push(PathStatus { path, state: PathState::Missing, ..PathStatus::default() });
    }
    let ours = state.plan.skipped.iter();
    for problem in ours.filter(|problem| problem.zone().is_none_or(|zone| zone == name)) {
        let path = problem.path().map(path_status).unwrap_or_default();
        paths.push(not_guarded(path, problem.message(), problem.help()));
    }
    if let Some(error) = &state.survey_error {
        let why = format!("new directories are not guarded: {error}");
        paths.push(not_guarded(PathStatus::default(), &why, "see the agent's log"));
    }
    // What is in force is older than what was found, even if no path of it has changed.
    let all_old = paths.iter().all(|path| path.state != PathState::NotGuarded);
    if let Some(error) = state.guarding.apply_error.as_ref().filter(|_| all_old) {
        let why = format!("the kernel does not have what was found last: {error}");
        paths.push(not_guarded(PathStatus::default(), &why, "see the agent's log"));
    }
    let is_unmounted = |dev: &&u32| state.unmounted.contains(*dev);
    let all_kept = in_force.map(|zone| zone.kept.len()).unwrap_or_default();
    let unmounted = in_force.map_or(0, |zone| zone.kept.iter().filter(is_unmounted).count());
    let kept = all_kept - unmounted;
    let count = |state| paths.iter().filter(|path: &&PathStatus| path.state == state).count();
    let (guarded, unguarded) = (count(PathState::Guarded) + kept, count(PathState::NotGuarded));
    let state = match (guarded, unguarded, zone.mode) {
        _ if !is_up => ZoneState::NotGuarded,
        (0, 0, _) => ZoneState::Empty,
        (0, 1.., _) => ZoneState::NotGuarded,
        (_, 1.., _) => ZoneState::PartlyGuarded,
        (_, 0, Mode::Enforce) => ZoneState::Enforcing,
        (_, 0, Mode::Observe) => ZoneState::Observing,
    };
    ZoneReport { name: name.to_owned(), mode: zone.mode, state, paths, kept, unmounted }
}

fn path_status(path: &Path) -> PathStatus {
    let (path, path_bytes) = text::lossless(path.as_os_str().as_bytes());
    PathStatus { path: Some(path), path_bytes, ..PathStatus::default() }
}

fn not_guarded(path: PathStatus, why: &str, fix: &str) -> PathStatus {
    let (why, fix) = (Some(why.to_owned()), Some(fix.to_owned()));
    PathStatus { state: PathState::NotGuarded, why, fix, ..path }
}

/// Why the kernel does not have a directory that was found.
fn not_in_force(state: &State) -> &str {
    state.guarding.apply_error.as_deref().unwrap_or("the kernel does not have it yet")
}

impl ZoneReport {
    /// How many of its paths are in a state.
    pub(crate) fn count(&self, state: PathState) -> usize {
        self.paths.iter().filter(|path| path.state == state).count()
    }

    fn not_guarded(&self) -> impl Iterator<Item = &PathStatus> {
        self.paths.iter().filter(|path| path.state == PathState::NotGuarded)
    }
}

impl GuardReport {
    /// Whether ops over budget are stopped in every zone.
    pub(crate) fn is_enforcing(&self) -> bool {
        self.zones.iter().all(|zone| zone.state == ZoneState::Enforcing)
    }

    /// Why `path` is not guarded, and what to do, if what it is or is below is known not to be.
    pub(crate) fn not_guarded(&self, path: &Path) -> Option<&PathStatus> {
        let all = self.zones.iter().flat_map(ZoneReport::not_guarded);
        let above = |found: &&PathStatus| {
            let own = found.path.as_deref();
            own.is_some_and(|own| {
                let own = text::original(own, found.path_bytes.as_deref());
                path.starts_with(Path::new(std::ffi::OsStr::from_bytes(own)))
            })
        };
        all.filter(above).max_by_key(|found| found.path.as_ref().map_or(0, String::len))
    }

    /// The whole answer in one line.
    pub(crate) fn summary(&self) -> String {
        if let Standing::Down { why, .. } = &self.standing {
            return format!("GUARD DOWN: {}", first_line(why));
        }
        let none_enforces = self.zones.iter().all(|zone| zone.mode == Mode::Observe);
        let mut line = if self.is_enforcing() {
            "GUARD UP, ENFORCING: ops over budget are stopped".to_owned()
        } else if none_enforces {
            "GUARD UP, OBSERVING: nothing is stopped".to_owned()
        } else {
            let (n, of) = (self.named(ZoneState::Enforcing).len(), self.zones.len());
            format!("GUARD UP, {n} of {of} zones enforcing")
        };
        for (state, does) in
            [(ZoneState::Observing, "only observed"), (ZoneState::Empty, "without any directory")]
        {
            let names = self.named(state);
            let is_said = none_enforces && state == ZoneState::Observing;
            if !names.is_empty() && !is_said {
                line.push_str(&format!("; {does}: {}", names.join(", ")));
            }
        }
        let mut not_guarded = self.zones.iter().flat_map(ZoneReport::not_guarded);
        if let Some(first) = not_guarded.next() {
            let why = first.why.as_deref().map(first_line).unwrap_or_default();
            let more = match not_guarded.count() {
                0 => String::new(),
                n => format!(" (and {n} more)"),
            };
            line.push_str(&format!("; NOT GUARDED: {why}{more}"));
        }
        line
    }

    fn named(&self, state: ZoneState) -> Vec<&str> {
        let zones = self.zones.iter().filter(|zone| zone.state == state);
        zones.map(|zone| zone.name.as_str()).collect()
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use holdfast_policy::Policy;

    use super::*;
    use crate::daemon::{ZoneInForce, test_guarded};
    use crate::roots::{Identity, Root, RootProblem, ZoneRoots};

    const NOW: Now = Now { boot_ns: 1_000_000_000, wall_ns: 0 };
    const OVER: &str = "/srv/b";
    const BAD: PathState = PathState::NotGuarded;

    /// A guard that is up, with zones of these modes, each with one directory that is in force.
    fn state(modes: &[&str]) -> State {
        let zone = |(name, mode): (char, &&str)| {
            format!(
                "[[zone]]\nname = \"{name}\"\nrole = \"primary\"\npaths = [\"/srv/{name}\"]\n\
                 mode = \"{mode}\"\n[[zone.budget]]\nper = \"unit\"\nfiles = 2\nwindow = \"1h\"\n"
            )
        };
        let text: String = ('a'..).zip(modes).map(zone).collect();
        let mut state = test_guarded();
        state.plan.policy = Policy::parse("test", &text).expect("a policy");
        let path = |name: &str| PathBuf::from(format!("/srv/{name}"));
        let names = state.plan.policy.zones.iter().map(|zone| zone.name.to_string());
        let names: Vec<String> = names.collect();
        let root = |name: &String| Root::test(path(name), Identity { dev: 1, ino: 2 });
        let found = names.iter().map(|name| ZoneRoots { roots: vec![root(name)], missing: vec![] });
        state.plan.zones = found.collect();
        let in_force = (1..).zip(&names).map(|(slot, name)| ZoneInForce {
            slot,
            name: name.clone(),
            roots: vec![path(name)],
            kept: vec![],
        });
        state.in_force = in_force.collect();
        state
    }

    fn said(state: &State) -> (String, Vec<ZoneState>) {
        let guard = guard(state, NOW);
        (guard.summary(), guard.zones.iter().map(|zone| zone.state).collect())
    }

    #[test]
    fn says_what_each_zone_does() {
        use ZoneState::{Enforcing, Observing};
        let (line, zones) = said(&state(&["enforce", "enforce"]));
        assert_eq!(line, "GUARD UP, ENFORCING: ops over budget are stopped");
        assert_eq!(zones, [Enforcing, Enforcing]);
        let (line, zones) = said(&state(&["observe", "observe"]));
        assert_eq!(line, "GUARD UP, OBSERVING: nothing is stopped");
        assert_eq!(zones, [Observing, Observing]);
        assert!(!guard(&state(&["observe"]), NOW).is_enforcing());
        let (line, _) = said(&state(&["enforce", "observe"]));
        assert_eq!(line, "GUARD UP, 1 of 2 zones enforcing; only observed: b");
    }

    /// A filesystem that cannot be guarded, mounted over an enforced path: 200 files went past a
    /// budget of 20 while the metric was 1 and the exit status 0, as the directory below was still
    /// guarded.
    #[test]
    fn unsupported_mount_is_not_guarded() {
        let mut state = state(&["enforce", "enforce"]);
        state.in_force[1].kept = vec![7];
        state.plan.zones[1].roots.clear();
        let zone = &state.plan.policy.zones[1];
        let problem = RootProblem::test(zone, Path::new(OVER), "`/srv/b` is on btrfs", "move it");
        state.plan.skipped = vec![problem];
        let guard = guard(&state, NOW);
        assert_eq!(
            guard.summary(),
            "GUARD UP, 1 of 2 zones enforcing; NOT GUARDED: `/srv/b` is on btrfs"
        );
        assert_eq!(guard.zones[1].state, ZoneState::PartlyGuarded);
        assert_eq!((guard.zones[0].count(BAD), guard.zones[1].count(BAD)), (0, 1));
        assert!(!guard.is_enforcing());
        let found = guard.not_guarded(Path::new("/srv/b/customer/file")).unwrap();
        assert_eq!(found.fix.as_deref(), Some("move it"));
        assert!(guard.not_guarded(Path::new("/srv/bb")).is_none());
    }

    #[test]
    fn directory_not_in_force_is_unguarded() {
        let mut state = state(&["enforce"]);
        state.in_force[0].roots.clear();
        state.guarding.apply_error = Some("the map is full".to_owned());
        let (line, zones) = said(&state);
        assert_eq!(line, "GUARD UP, 0 of 1 zones enforcing; NOT GUARDED: the map is full");
        assert_eq!(zones, [ZoneState::NotGuarded]);
        state.in_force[0].roots = vec!["/srv/a".into()];
        let (line, zones) = said(&state);
        assert!(line.contains("the kernel does not have what was found last"), "{line}");
        assert_eq!(zones, [ZoneState::PartlyGuarded]);
        state.guarding.apply_error = None;
        state.survey_error = Some("cannot read the mount table\n  help: mount it".to_owned());
        let (line, zones) = said(&state);
        assert!(line.ends_with("not guarded: cannot read the mount table"), "{line}");
        assert_eq!(zones, [ZoneState::PartlyGuarded]);
    }

    #[test]
    fn missing_paths_alone_enforce_nothing() {
        let mut state = state(&["enforce", "enforce"]);
        state.plan.zones[0] = ZoneRoots { roots: vec![], missing: vec!["/srv/a".to_owned()] };
        let (line, zones) = said(&state);
        assert_eq!(line, "GUARD UP, 1 of 2 zones enforcing; without any directory: a");
        assert_eq!(zones, [ZoneState::Empty, ZoneState::Enforcing]);
        assert_eq!(guard(&state, NOW).zones[0].count(BAD), 0, "there is nothing to guard");
        state.in_force[0].kept = vec![7, 8];
        assert_eq!(said(&state).1[0], ZoneState::Enforcing, "guarded where they are now");
        // A tmpfs that was unmounted was "still guarded".
        state.unmounted = [7, 8].into();
        assert_eq!(said(&state).1[0], ZoneState::Empty);
        let zone = &guard(&state, NOW).zones[0];
        assert_eq!((zone.kept, zone.unmounted), (0, 2));
    }

    #[test]
    fn missing_guard_guards_no_path() {
        let mut state = state(&["enforce", "observe"]);
        state.guarding.started = Some(Err("no BPF LSM\nhere".to_owned()));
        let guard = guard(&state, NOW);
        assert_eq!(guard.summary(), "GUARD DOWN: no BPF LSM");
        for zone in &guard.zones {
            assert_eq!((zone.state, zone.count(BAD)), (ZoneState::NotGuarded, 1));
        }
    }
}
