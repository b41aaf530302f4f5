//! Which directories are guarded where there are more than the kernel's maps have room for.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use holdfast_policy::Policy;

use super::{Found, Identity, Root, RootProblem, shown};

/// A user other than root can have this part of the room: with names that match a glob anybody
/// could fill it.
const OWNERS_PART: usize = 4;

/// Leaves out what is too much. What is guarded stays; of what is new each owner of directories
/// above gets a place in turn.
pub(super) fn fit(policy: &Policy, found: &mut Found, guarded: &HashSet<Identity>, room: usize) {
    let most = room / OWNERS_PART;
    let count: usize = found.zones.iter().map(|zone| zone.roots.len()).sum();
    if count <= most {
        return;
    }
    let mut order: Vec<(bool, usize, usize, usize)> = Vec::new();
    let mut surplus: Vec<Surplus> = vec![Surplus::default(); found.zones.len()];
    let mut owners: HashMap<u32, usize> = HashMap::new();
    // Those that are guarded take their owners' places first.
    for is_new in [false, true] {
        for (zone, roots) in found.zones.iter().enumerate() {
            for (index, root) in roots.roots.iter().enumerate() {
                if guarded.contains(&root.identity) == is_new {
                    continue;
                }
                let owner = owner(root);
                let rank = owners.entry(owner).or_default();
                *rank += 1;
                if is_new && owner != 0 && *rank > most {
                    surplus[zone].of_owner.push(index);
                } else {
                    order.push((is_new, *rank, zone, index));
                }
            }
        }
    }
    order.sort_unstable();
    for &(.., zone, index) in order.iter().skip(room) {
        surplus[zone].of_all.push(index);
    }
    for (zone, surplus) in surplus.into_iter().enumerate() {
        let roots = &mut found.zones[zone].roots;
        let problem = |indices: &[usize], message: String, help: &str| {
            let first = &roots[*indices.iter().min()?];
            let message = format!("{message}: {} …", shown(&first.path));
            Some(RootProblem::new(&policy.zones[zone], message, help).about(&first.path))
        };
        let of_owner = format!(
            "directories of one user take {most} places of {room}; {} more are not guarded",
            surplus.of_owner.len()
        );
        let help = "whoever owns the directory above makes names that match the glob: remove them, \
                    or name the directory above and set `tenant_depth`";
        found.skipped.extend(problem(&surplus.of_owner, of_owner, help));
        let of_all = format!(
            "the policy's paths lead to {count} directories and {room} can be guarded; {} are not",
            surplus.of_all.len()
        );
        let help = "name a directory above them, and set `tenant_depth` to the level at which \
                    tenants live";
        found.unusable.extend(problem(&surplus.of_all, of_all, help));
        let out: HashSet<usize> = surplus.of_owner.into_iter().chain(surplus.of_all).collect();
        let mut index = 0;
        roots.retain(|_| {
            index += 1;
            !out.contains(&(index - 1))
        });
    }
}

/// Directories of a zone that are left out.
#[derive(Clone, Debug, Default)]
struct Surplus {
    of_owner: Vec<usize>,
    of_all: Vec<usize>,
}

/// Who can make directories beside a root.
fn owner(root: &Root) -> u32 {
    let above = root.path.parent().map(fs::metadata);
    above.and_then(Result::ok).map_or(0, |above| above.uid())
}
