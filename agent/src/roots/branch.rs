//! What lies below a protected path by its name only: mounts, and tenants that are links to
//! elsewhere. No walk up leads from there to the protected path, so each is a root of its own in
//! the same zone, with its tenant.
//!
//! A zone is what its paths lead to. What cannot be guarded there is told, one problem for each;
//! what holds no data, or what nobody can destroy through that name, is left alone: views of the
//! kernel (proc, sysfs, devpts and such), read-only filesystems, and read-only mounts of something
//! that is also mounted elsewhere.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use holdfast_abi::name_id;
use holdfast_policy::{Policy, Zone};

use super::expand::NAMED;
use super::links::{self, End};
use super::mounts::Mount;
use super::watch::{Names, Watched};
use super::{Host, Identity, Root, RootProblem, ZoneRoots, filesystem, identity, shown};
use crate::text;

/// A directory of a filesystem: the filesystem's device, and the names from its root.
type Place = ((u32, u32), PathBuf);

/// Adds the branches of every zone, and says to which tenant each root belongs. Returns what cannot
/// be guarded.
pub(super) fn grow(
    policy: &Policy,
    zones: &mut [ZoneRoots],
    watched: &mut Vec<Watched>,
    host: &Host,
) -> Vec<RootProblem> {
    let mut search = Search {
        host,
        watched,
        protected: places(zones, host),
        branches: Vec::new(),
        problems: Vec::new(),
    };
    for (index, (zone, found)) in policy.zones.iter().zip(zones.iter()).enumerate() {
        let mut from = From { index, zone, entered: HashSet::new(), untrusted: Vec::new() };
        for root in &found.roots {
            search.below(&mut from, root);
        }
        search.problems.extend(from.untrusted_problem());
    }
    let Search { protected, mut branches, mut problems, .. } = search;
    branches.sort_by(|a, b| (&a.place, &a.root.path).cmp(&(&b.place, &b.root.path)));
    let mut accepted: HashMap<Place, (usize, usize)> = HashMap::new();
    let mut shared: Vec<HashSet<Identity>> = vec![HashSet::new(); zones.len()];
    for Branch { zone: index, root, place } in branches {
        let zone = &policy.zones[index];
        if is_inside(&place, |above| protected.contains(above)) {
            // What is there is in a zone by walking up.
            continue;
        }
        let inner = protected.range(place.clone()..).next();
        if let Some((_, inner)) =
            inner.filter(|inner| inner.0 == place.0 && inner.1.starts_with(&place.1))
        {
            let message = format!(
                "{} shows a directory that holds a protected path itself ({} of its filesystem)",
                shown(&root.name()),
                shown(inner)
            );
            let help = "all that is in it would count in this zone: mount the directories that are \
                        needed, or mount it read-only";
            problems.push(RootProblem::new(zone, message, help).about(&root.name()));
            continue;
        }
        let above =
            place.1.ancestors().find_map(|above| accepted.get(&(place.0, above.to_owned())));
        if let Some(&(owner, at)) = above {
            let other = &zones[owner].roots[at];
            if owner != index {
                let message = format!(
                    "{} shows what zone `{}` guards as {}",
                    shown(&root.name()),
                    policy.zones[owner].name,
                    shown(&other.name())
                );
                let help = "it counts in that zone only: name it in one of the two zones, or mount \
                            it once";
                problems.push(RootProblem::new(zone, message, help).about(&root.name()));
                continue;
            }
            let same_tenant = same_tenant(zone, other, &root);
            if other.identity == root.identity && !same_tenant {
                // In reach of several tenants it is none's.
                shared[index].insert(root.identity);
            }
            // The nearest root says whose it is: below another tenant's it has to be one.
            if other.identity == root.identity || same_tenant {
                continue;
            }
        }
        accepted.insert(place, (index, zones[index].roots.len()));
        zones[index].roots.push(root);
    }
    for ((zone, found), shared) in policy.zones.iter().zip(zones).zip(&shared) {
        set_tenants(zone, &mut found.roots, shared);
        found.roots.sort_by(|a, b| a.path.cmp(&b.path));
    }
    problems
}

/// Where the roots of all zones are.
pub(super) fn places(zones: &[ZoneRoots], host: &Host) -> BTreeSet<Place> {
    zones.iter().flat_map(|zone| &zone.roots).map(|root| place(root, host)).collect()
}

/// Whether a path is in a zone by walking up.
pub(super) fn is_protected(path: &Path, host: &Host, places: &BTreeSet<Place>) -> bool {
    let place = host.mounts.place(path);
    place.is_some_and(|place| is_inside(&place, |above| places.contains(above)))
}

fn place(root: &Root, host: &Host) -> Place {
    host.mounts.place(&root.path).unwrap_or(((u32::MAX, u32::MAX), root.path.clone()))
}

fn is_inside(place: &Place, is_root: impl Fn(&Place) -> bool) -> bool {
    place.1.ancestors().any(|above| is_root(&(place.0, above.to_owned())))
}

/// The names from the protected path to the tenant's directory.
fn tenant_of(zone: &Zone, below: &Path) -> PathBuf {
    below.components().take(zone.tenant_depth as usize).collect()
}

fn same_tenant(zone: &Zone, one: &Root, other: &Root) -> bool {
    let tenant = |root: &Root| root.protected.join(tenant_of(zone, &root.below));
    tenant(one) == tenant(other)
}

/// By device. Inode numbers of one filesystem are used as they are; those of each other one are
/// combined with a number of its own. (Inode numbers do not use the highest bit.)
pub(super) fn salts(roots: &[Root]) -> HashMap<u64, u64> {
    let mut salts: HashMap<u64, u64> = HashMap::new();
    for root in roots {
        let first = salts.is_empty();
        salts.entry(root.identity.dev).or_insert_with(|| match first {
            true => 0,
            false => name_id(&root.name().to_string_lossy()) | 1 << 63,
        });
    }
    salts
}

pub(super) fn set_tenants(zone: &Zone, roots: &mut [Root], shared: &HashSet<Identity>) {
    let salts = salts(roots);
    let salt = |dev: u64| salts.get(&dev).copied();
    for root in roots {
        let own = salt(root.identity.dev).unwrap_or_default();
        if root.level() < zone.tenant_depth {
            root.tenant = own;
            continue;
        }
        let mut of = root.identity;
        if root.level() > zone.tenant_depth && !shared.contains(&root.identity) {
            let dir = root.protected.join(tenant_of(zone, &root.below));
            let metadata = fs::metadata(dir).ok().filter(|dir| salt(dir.dev()).is_some());
            of = metadata.map_or(of, |dir| Identity { dev: dir.dev(), ino: dir.ino() });
        }
        root.tenant = of.ino ^ salt(of.dev).unwrap_or(own);
    }
}

struct Branch {
    zone: usize,
    root: Root,
    place: Place,
}

struct Search<'a> {
    host: &'a Host,
    watched: &'a mut Vec<Watched>,
    /// Where the protected paths of all zones are.
    protected: BTreeSet<Place>,
    branches: Vec<Branch>,
    problems: Vec<RootProblem>,
}

/// The zone that is looked at.
struct From<'a> {
    index: usize,
    zone: &'a Zone,
    /// Directories that links have led to.
    entered: HashSet<Identity>,
    /// Links that somebody else than root could have made.
    untrusted: Vec<PathBuf>,
}

impl From<'_> {
    /// One problem for all of them: there can be any number.
    fn untrusted_problem(&self) -> Option<RootProblem> {
        let first = self.untrusted.first()?;
        let mut names: Vec<String> =
            self.untrusted.iter().take(NAMED).map(|path| shown(path)).collect();
        if self.untrusted.len() > NAMED {
            names.push("…".to_owned());
        }
        let message = format!(
            "links lead to {} outside the protected path, and users other than root can make or \
             replace them: {}",
            text::directories(self.untrusted.len()),
            names.join(", ")
        );
        let help = "a link is followed if root owns it and every directory above it up to the \
                    protected path, and only root can write there: change the owner and the \
                    permissions, or mount the directory there (mount --bind)";
        Some(RootProblem::new(self.zone, message, help).about(first))
    }
}

impl Search<'_> {
    /// Looks at all that lies below a root by its name.
    fn below(&mut self, from: &mut From<'_>, root: &Root) {
        let mounts = &self.host.mounts;
        let points: Vec<&Mount> = mounts.below(&root.path).collect();
        for mount in points {
            let Ok(rest) = mount.point.strip_prefix(&root.path) else { continue };
            self.mount(from, root, mount, rest);
        }
        // The administrator wrote the protected path, and the way of a link was looked at before it
        // was followed.
        self.links(from, root, Path::new(""), true);
    }

    fn mount(&mut self, from: &From<'_>, root: &Root, mount: &Mount, rest: &Path) {
        let (host, zone) = (self.host, from.zone);
        let below = root.below.join(rest);
        let hidden = |path: &Path| host.mounts.of(path).is_none_or(|top| top != mount);
        if !mount.has_data() || hidden(&mount.point) {
            return;
        }
        let above = mount.point.parent().unwrap_or(Path::new("/"));
        if host.mounts.unanswering(above).is_some() {
            // The mount above is told, and nobody looks through it.
            return;
        }
        if host.mounts.unanswering(&mount.point).is_some() {
            self.problems.push(filesystem::unguardable(zone, &mount.point, &mount.filesystem));
            return;
        }
        let is_view =
            mount.is_read_only() && host.mounts.is_elsewhere(mount.device, &root.protected);
        if is_view {
            return;
        }
        if mount.filesystem == "overlay" {
            let Some(upper) = mount.upper() else { return };
            let upper = host.mounts.place(upper);
            // Its changes are made there.
            if upper.is_some_and(|upper| is_inside(&upper, |above| self.protected.contains(above)))
            {
                return;
            }
        }
        let (identity, is_dir) = match identity(&mount.point) {
            Ok(found) => found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => {
                let message = format!("cannot look at {}: {error}", shown(&mount.point));
                let help = "check that what is mounted there works";
                self.problems.push(RootProblem::new(zone, message, help).about(&mount.point));
                return;
            }
        };
        // A file that is mounted on a file cannot be removed there.
        if !is_dir {
            return;
        }
        if let Some(problem) = filesystem::problem(zone, &mount.point, host) {
            self.problems.push(problem);
            return;
        }
        // Something that was mounted later on a directory above covers it.
        if identity.dev != mount.stat_device() {
            return;
        }
        let place = (mount.device, mount.root.clone());
        self.add(from, root, mount.point.clone(), below, identity, place);
    }

    /// Looks for links where tenants live, and above. `trusted`: only root can change names on the
    /// way.
    fn links(&mut self, from: &mut From<'_>, root: &Root, rest: &Path, trusted: bool) {
        let dir = root.path.join(rest);
        let below = root.below.join(rest);
        let level = below.components().count();
        if level >= from.zone.tenant_depth as usize || self.host.mounts.unanswering(&dir).is_some()
        {
            return;
        }
        // It may be gone by now, and what cannot be read is told where it is a protected path.
        let Ok(listing) = self.host.listings.of(&dir) else { return };
        // Where others make names all the time, no link is followed.
        if listing.is_roots {
            self.watched.push(Watched { dir: dir.clone(), names: Names::Links });
        }
        let trusted = trusted && listing.is_roots;
        for name in listing.links.iter() {
            self.link(from, root, &dir.join(name), below.join(name), trusted);
        }
        if level + 1 < from.zone.tenant_depth as usize {
            for name in listing.directories.iter() {
                self.links(from, root, &rest.join(name), trusted);
            }
        }
    }

    fn link(
        &mut self,
        from: &mut From<'_>,
        root: &Root,
        link: &Path,
        below: PathBuf,
        trusted: bool,
    ) {
        let (host, zone) = (self.host, from.zone);
        let Ok(path) = links::target(link) else { return };
        if let Some(mount) = host.mounts.unanswering(&path) {
            let message = format!(
                "{} leads to {}, which is on {}",
                shown(link),
                shown(&path),
                mount.filesystem
            );
            let help = "that cannot be guarded: run holdfast on the server, where the data is";
            self.problems.push(RootProblem::new(zone, message, help).about(link));
            return;
        }
        let identity = match links::end(&path) {
            Ok(End::Directory(identity)) => identity,
            Ok(End::BehindLink) => {
                // It may lead to a file, or back to what is guarded.
                let real = fs::canonicalize(&path);
                if real.is_ok_and(|real| real.is_dir() && !self.is_protected(&real)) {
                    let message =
                        format!("{} leads through another link to a directory", shown(link));
                    let help = "let the link name the real path of the directory";
                    self.problems.push(RootProblem::new(zone, message, help).about(link));
                }
                return;
            }
            Ok(End::Nothing) | Err(_) => return,
        };
        if self.is_protected(&path) {
            return;
        }
        let owner = fs::symlink_metadata(link).map(|link| link.uid());
        if !trusted || owner.is_ok_and(|owner| owner != 0) {
            from.untrusted.push(link.to_owned());
            return;
        }
        if let Some(problem) = filesystem::problem(zone, &path, host) {
            self.problems.push(problem);
            return;
        }
        let Some(place) = host.mounts.place(&path) else { return };
        let root = self.add(from, root, path, below, identity, place);
        if from.entered.insert(identity) {
            self.below(from, &root);
        }
    }

    fn is_protected(&self, path: &Path) -> bool {
        is_protected(path, self.host, &self.protected)
    }

    fn add(
        &mut self,
        from: &From<'_>,
        root: &Root,
        path: PathBuf,
        below: PathBuf,
        identity: Identity,
        place: Place,
    ) -> Root {
        let root = Root { path, identity, below, ..root.clone() };
        self.branches.push(Branch { zone: from.index, root: root.clone(), place });
        root
    }
}
