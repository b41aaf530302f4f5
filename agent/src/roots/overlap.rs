//! Finds zones that share a directory, under whatever names.

use std::path::{Path, PathBuf};

use holdfast_policy::{Policy, Zone};

use super::{Mounts, Root, RootProblem, ZoneRoots, shown};

struct Candidate<'a> {
    zone: &'a Zone,
    root: &'a Root,
    /// Filesystem and place in it; the path itself where the mount table does not tell.
    place: ((u32, u32), PathBuf),
}

/// One problem for each pair of roots of which one is inside the other, or of two zones that share
/// one.
pub(super) fn problems(policy: &Policy, zones: &[ZoneRoots], mounts: &Mounts) -> Vec<RootProblem> {
    let mut candidates: Vec<Candidate<'_>> = Vec::new();
    for (zone, found) in policy.zones.iter().zip(zones) {
        candidates.extend(found.roots.iter().map(|root| Candidate {
            zone,
            root,
            place: mounts.place(&root.path).unwrap_or(((u32::MAX, u32::MAX), root.path.clone())),
        }));
    }
    // Sorted by components, what is inside a directory follows it directly.
    candidates.sort_by(|a, b| a.place.cmp(&b.place));
    let mut problems = Vec::new();
    let mut above: Vec<&Candidate<'_>> = Vec::new();
    for candidate in &candidates {
        while above.last().is_some_and(|outer| !contains(outer, candidate)) {
            above.pop();
        }
        problems.extend(above.last().map(|outer| describe(outer, candidate)));
        above.push(candidate);
    }
    // Paths can be apart on different mounts of one filesystem that the mount table does not show.
    problems.extend(by_path(&candidates));
    problems
}

fn contains(outer: &Candidate<'_>, inner: &Candidate<'_>) -> bool {
    outer.place.0 == inner.place.0 && inner.place.1.starts_with(&outer.place.1)
}

/// A zone inside another one that is on another filesystem: no walk leads from one to the other,
/// but nobody reads a policy that way.
fn by_path(candidates: &[Candidate<'_>]) -> Vec<RootProblem> {
    let mut sorted: Vec<&Candidate<'_>> = candidates.iter().collect();
    sorted.sort_by(|a, b| a.root.path.cmp(&b.root.path));
    let mut problems = Vec::new();
    let mut above: Vec<&Candidate<'_>> = Vec::new();
    for candidate in sorted {
        let inside = |outer: &Path| candidate.root.path.starts_with(outer);
        while above.last().is_some_and(|outer| !inside(&outer.root.path)) {
            above.pop();
        }
        let outer = above.last().filter(|outer| {
            outer.place.0 != candidate.place.0 && outer.zone.name != candidate.zone.name
        });
        problems.extend(outer.map(|outer| describe(outer, candidate)));
        above.push(candidate);
    }
    problems
}

fn describe(outer: &Candidate<'_>, inner: &Candidate<'_>) -> RootProblem {
    let same = outer.root.identity == inner.root.identity;
    let relation = if same { "is the same directory as" } else { "is inside" };
    let owner = if outer.zone.name == inner.zone.name {
        "of the same zone".to_owned()
    } else {
        format!("of zone `{}`", outer.zone.name)
    };
    let message = format!(
        "{} (`{}`) {relation} {} (`{}`) {owner}",
        shown(&inner.root.path),
        inner.root.pattern,
        shown(&outer.root.path),
        outer.root.pattern,
    );
    RootProblem::new(
        inner.zone,
        message,
        "what is destroyed there must count in one zone only: take one of the two paths out of the \
         policy",
    )
    .about(&inner.root.path)
}
