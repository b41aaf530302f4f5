//! A policy file, read and resolved on this host: everything there is to know before the kernel is
//! told.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use holdfast_abi::{Per, name_id};
use holdfast_policy::{Policy, Problems, Zone};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::message::Cause;
use crate::clock::Now;
use crate::kernel::{Desired, DesiredBase, DesiredPattern, DesiredRoot, DesiredZone};
use crate::roots::{
    self, Base, BasePattern, Found, Host, Listings, Mounts, Root, RootProblem, ZoneRoots,
};
use crate::{text, units};

/// A policy longer than this is not one.
const MAX_POLICY: u64 = 1 << 20;

/// A policy and the directories it leads to. Cannot be wrong, as far as one can tell without the
/// kernel programs.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The policy.
    pub(crate) policy: Policy,
    /// Directories of each zone, in the order of the policy.
    pub(crate) zones: Vec<ZoneRoots>,
    /// Where its patterns go on.
    pub(crate) bases: Vec<Base>,
    /// What its paths lead to and is not guarded.
    pub(crate) skipped: Vec<RootProblem>,
    /// Why its budgets per unit count other processes together than they should, if they do.
    pub(crate) shared_units: Option<String>,
    /// Which file, and when.
    pub(crate) origin: Origin,
}

/// Where a policy was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The file.
    pub(crate) path: String,
    /// SHA-256 of its text.
    pub(crate) sha256: String,
    /// Its text.
    pub(crate) text: Arc<str>,
    /// When it was read.
    pub(crate) read: Now,
}

/// Why a policy cannot be put in force. Shown as it is to whoever asked for it.
#[derive(Debug, Error)]
pub(crate) enum PlanError {
    /// The file cannot be read.
    #[error("cannot read the policy {path}: {reason}\n  help: {help}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        reason: String,
        /// What to do.
        help: &'static str,
    },
    /// It says something that cannot be.
    #[error("{0}")]
    Wrong(Box<Problems>),
    /// Nor can the one that was in force last.
    #[error("{own}\nand what was in force last cannot be used either:\n{kept}")]
    Neither {
        /// What is wrong with the policy.
        own: Box<PlanError>,
        /// What is wrong with the one before.
        kept: Box<PlanError>,
    },
    /// It does not fit this host.
    #[error("{text}")]
    Host {
        /// Every problem.
        text: String,
    },
}

/// The text of a policy file, and its SHA-256.
pub(crate) fn read_file(path: &Path) -> Result<(String, String), PlanError> {
    let unreadable = |reason: String, help| PlanError::Unreadable {
        path: path.display().to_string(),
        reason,
        help,
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_POLICY + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(error.to_string(), "check the path and its permissions"))?;
    if bytes.len() as u64 > MAX_POLICY {
        return Err(unreadable(
            "it is larger than 1 MiB".to_owned(),
            "check that this is the policy",
        ));
    }
    let sha256 = text::hex(&Sha256::digest(&bytes));
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        unreadable(format!("byte {at} is not UTF-8 text"), "save the file as UTF-8")
    })?;
    Ok((text, sha256))
}

/// Reads and checks a policy file, without looking at the host.
pub(crate) fn parse_file(path: &Path) -> Result<(Policy, String), PlanError> {
    let (text, sha256) = read_file(path)?;
    Ok((parse(path, &text)?, sha256))
}

fn parse(path: &Path, text: &str) -> Result<Policy, PlanError> {
    Policy::parse(&path.display().to_string(), text)
        .map_err(|problems| PlanError::Wrong(Box::new(problems)))
}

/// The same, and whether this host can count as the policy says. What its paths lead to is not
/// looked at.
pub(crate) fn check_file(path: &Path) -> Result<(Policy, String), PlanError> {
    let (policy, sha256) = parse_file(path)?;
    match shared_units(&policy, &Mounts::read().unwrap_or_default()) {
        None => Ok((policy, sha256)),
        Some(text) => Err(PlanError::Host { text }),
    }
}

fn shared_units(policy: &Policy, mounts: &Mounts) -> Option<String> {
    let counts_units = |zone: &&Zone| zone.budgets.iter().any(|budget| budget.per == Per::Unit);
    let zones: Vec<_> = policy.zones.iter().filter(counts_units).map(|z| z.name.as_str()).collect();
    let found = units::are_shared(mounts).filter(|_| !zones.is_empty())?;
    Some(format!(
        "budgets with per = \"unit\" cannot be counted on this host: it has {found}, where all \
         processes are one unit to the kernel (zones: {})\n  help: boot with \
         `systemd.unified_cgroup_hierarchy=1` on the kernel command line, or use per = \"user\" or \
         per = \"zone\"",
        zones.join(", ")
    ))
}

impl Plan {
    /// Reads a policy file and resolves it on this host. Whoever asks for what cannot be is told
    /// so, and nothing changes.
    pub(crate) fn read(path: &Path, now: Now) -> Result<Self, PlanError> {
        let (plan, unusable) = Self::resolve(path, now)?;
        match (unusable.is_empty(), &plan.shared_units) {
            (false, _) => Err(unfit(&unusable, path)),
            (true, Some(text)) => Err(PlanError::Host { text: text.clone() }),
            (true, None) => Ok(plan),
        }
    }

    /// The same for an agent that starts. Nobody may have asked for anything: a host changes under
    /// its policy (one customer too many for a glob, a filesystem that somebody has mounted on a
    /// directory). It is guarded as far as it can be, and the rest is said, as by an agent that was
    /// there when it happened.
    pub(crate) fn read_at_start(path: &Path, now: Now) -> Result<Self, PlanError> {
        let (mut plan, unusable) = Self::resolve(path, now)?;
        plan.skipped.extend(unusable);
        Ok(plan)
    }

    /// Also returns what it leads to and cannot be used.
    fn resolve(path: &Path, now: Now) -> Result<(Self, Vec<RootProblem>), PlanError> {
        let (text, sha256) = read_file(path)?;
        let policy = parse(path, &text)?;
        let Found { zones, bases, skipped, unusable, .. } =
            survey(&policy, &Listings::default(), &[])
                .map_err(|problem| unfit(&[problem], path))?;
        // Tests parse policies of any kind on any host.
        let mounts =
            if cfg!(test) { Mounts::default() } else { Mounts::read().unwrap_or_default() };
        let shared_units = shared_units(&policy, &mounts);
        let path = path.display().to_string();
        let origin = Origin { path, sha256, text: text.into(), read: now };
        Ok((Self { policy, zones, bases, skipped, shared_units, origin }, unusable))
    }

    /// What the kernel has to be told where `in_force` is the policy it has.
    pub(crate) fn desired(&self, cause: Cause, in_force: &Policy) -> Desired {
        let zones = self.policy.zones.iter().zip(&self.zones).map(|(zone, found)| DesiredZone {
            keep_roots: cause != Cause::Reload || names_the_same(zone, in_force),
            name: zone.name.to_string(),
            mode: zone.mode,
            on_trip: zone.on_trip,
            tenant_depth: zone.tenant_depth,
            manifest: zone.manifest,
            budgets: zone.budgets.iter().map(|budget| budget.conf(zone)).collect(),
            roots: found.roots.iter().map(desired_root).collect(),
        });
        let bases = self.bases.iter().map(|base| desired_base(base, &self.policy)).collect();
        Desired { zones: zones.collect(), bases }
    }

    /// Every path that does not exist yet.
    pub(crate) fn missing(&self) -> Vec<String> {
        self.zones.iter().flat_map(|zone| zone.missing.clone()).collect()
    }
}

fn desired_root(root: &Root) -> DesiredRoot {
    DesiredRoot { path: root.path.clone(), level: root.level(), tenant: root.tenant }
}

fn desired_base(base: &Base, policy: &Policy) -> DesiredBase {
    let pattern = |pattern: &BasePattern| DesiredPattern {
        zone: pattern.zone,
        tenant: pattern.tenant,
        depth: policy.zones[pattern.zone].tenant_depth,
        names: pattern
            .names
            .iter()
            .filter_map(|name| Some((name_id(name.as_str()), name.conf()?)))
            .collect(),
    };
    let patterns = base.patterns.iter().map(pattern).collect();
    DesiredBase { path: base.path.clone(), is_guarded: base.is_guarded, patterns }
}

fn unfit(problems: &[RootProblem], path: &Path) -> PlanError {
    PlanError::Host { text: roots::render(problems, &path.display().to_string()) }
}

/// Whether the zone had the same paths before. Only somebody who changes them says that the old
/// trees are no longer to be guarded; a directory whose path is gone says nothing.
fn names_the_same(zone: &Zone, before: &Policy) -> bool {
    let all_in = |a: &Zone, b: &Zone| a.paths.iter().all(|path| b.paths.contains(path));
    let old = before.zones.iter().find(|old| old.name == zone.name);
    old.is_some_and(|old| all_in(old, zone) && all_in(zone, old))
}

/// The directories of every zone as they are now.
/// `guarded`: those that are guarded.
pub(crate) fn survey(
    policy: &Policy,
    listings: &Listings,
    guarded: &[ZoneRoots],
) -> Result<Found, RootProblem> {
    match Host::read(listings, guarded) {
        Ok(host) => Ok(roots::resolve(policy, &host)),
        Err(error) => Err(RootProblem::host(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::test_plan;

    fn with_paths(paths: &str) -> Plan {
        let plan = test_plan();
        let text = plan.policy.to_string().replace("\"/nonexistent/customers\"", paths);
        let policy =
            Policy::parse("test.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
        Plan { policy, ..plan }
    }

    /// A reload is refused. A customer who mounted a filesystem of their own on a directory that a
    /// glob matches, or one customer more than there is room for, kept the agent from starting:
    /// after a reboot nothing at all was guarded.
    #[test]
    fn start_skips_unguardable_paths() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.toml");
        let text = test_plan().policy.to_string();
        let text =
            text.replace("\"/nonexistent/customers\"", "\"/proc/sys/kern*\", \"/nonexistent\"");
        std::fs::write(&path, text).unwrap();
        let now = Now { boot_ns: 1, wall_ns: 0 };
        let refused = Plan::read(&path, now).unwrap_err().to_string();
        assert!(refused.contains("/proc/sys/kernel") && refused.contains("cannot be guarded"));
        let plan = Plan::read_at_start(&path, now).unwrap();
        assert!(plan.zones[0].roots.is_empty());
        assert!(plan.skipped[0].to_string().contains("cannot be guarded"), "{:?}", plan.skipped);
        std::fs::write(&path, "nonsense").unwrap();
        assert!(matches!(Plan::read_at_start(&path, now), Err(PlanError::Wrong(_))));
    }

    /// All processes were one unit there: one that went over stopped all, and the log named a unit
    /// that nobody knew.
    #[test]
    fn unit_budgets_need_cgroup_v2() {
        let v1 = Mounts::parse(b"30 25 0:26 / /sys/fs/cgroup rw - tmpfs x rw\n");
        let policy = test_plan().policy;
        let why = shared_units(&policy, &v1).unwrap();
        for part in
            ["customers", "cgroup v1", "systemd.unified_cgroup_hierarchy=1", "per = \"user\""]
        {
            assert!(why.contains(part), "{part:?} in {why}");
        }
        assert_eq!(shared_units(&policy, &Mounts::default()), None);
        let text = policy.to_string().replace("per = \"unit\"", "per = \"user\"");
        let users = Policy::parse("test.toml", &text).unwrap();
        assert_eq!(shared_units(&users, &v1), None, "users can be told apart");
    }

    /// A reload does, if it changes the paths of the zone.
    #[test]
    fn only_path_changes_release_protected_paths() {
        let before = with_paths("\"/nonexistent/a\", \"/nonexistent/b*\"");
        let reordered = with_paths("\"/nonexistent/b*\", \"/nonexistent/a\"");
        let fewer = with_paths("\"/nonexistent/a\"");
        let keeps = |plan: &Plan, cause| plan.desired(cause, &before.policy).zones[0].keep_roots;
        assert!(keeps(&before, Cause::Reload));
        assert!(keeps(&reordered, Cause::Reload));
        assert!(!keeps(&fewer, Cause::Reload));
        assert!(
            !fewer.desired(Cause::Reload, &Policy { zones: vec![], ..before.policy.clone() }).zones
                [0]
            .keep_roots
        );
        let more = before.desired(Cause::Reload, &fewer.policy);
        assert!(!more.zones[0].keep_roots);
        for cause in [Cause::Start, Cause::Roots] {
            assert!(keeps(&fewer, cause), "nobody has said that the others are to be let go");
        }
    }
}
