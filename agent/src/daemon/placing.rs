//! Finds the directories and files that an allowance's patterns lead to, all of them in the zones
//! of its grants.

use std::collections::HashMap;
use std::fmt::Display;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use holdfast_abi as abi;
use holdfast_policy::PathPattern;
use holdfast_policy::allowance::{Allowance, Grant, Refused, RefusedReason};

use super::aside::late;
use super::plan::Plan;
use crate::allowances::{At, Looking, Lost, expand, open};
use crate::kernel::ActiveZone;
use crate::roots::Root;
use crate::text;

/// The roots in force of each zone, as the kernel knows them.
#[derive(Clone, Debug, Default)]
pub(super) struct Roots {
    zones: HashMap<String, Vec<abi::Learned>>,
    /// Those that are reached through a mount or a link, by their zone and the name below its path.
    branches: Vec<(String, PathBuf, abi::Learned)>,
}

impl Roots {
    /// Those of `zones`, also the ones to which no path of the policy leads any more.
    pub(super) fn of(zones: &[ActiveZone], plan: &Plan) -> Self {
        let mut all = Self::default();
        for zone in zones {
            let found = zone.roots.iter().map(|(_, root)| *root);
            let roots = found.chain(zone.kept_roots.iter().copied()).collect();
            all.zones.insert(zone.name.clone(), roots);
            let known = plan.zones.iter().flat_map(|zone| &zone.roots);
            let branches: HashMap<&Path, &Root> =
                known.filter(|root| root.level() > 0).map(|root| (&*root.path, root)).collect();
            let named = |(path, root): &(PathBuf, abi::Learned)| {
                let branch = branches.get(&**path)?;
                Some((zone.name.clone(), branch.name(), *root))
            };
            all.branches.extend(zone.roots.iter().filter_map(named));
        }
        all
    }

    /// The roots below a directory, by their names: a walk up from there does not lead to it.
    fn below<'a>(
        &'a self,
        zone: &'a str,
        dir: &'a Path,
    ) -> impl Iterator<Item = abi::Learned> + 'a {
        let below = self
            .branches
            .iter()
            .filter(move |(of, name, _)| of == zone && name != dir && name.starts_with(dir));
        below.map(|(.., root)| *root)
    }
}

/// Follows patterns.
pub(super) struct Placing<'a> {
    pub(super) roots: &'a Roots,
    /// Asks the kernel what it calls an open file.
    pub(super) learn: &'a mut dyn FnMut(File) -> io::Result<abi::Learned>,
    pub(super) looking: Looking,
}

impl Placing<'_> {
    /// Where each grant leads.
    pub(super) fn places(
        &mut self,
        allowance: &Allowance,
    ) -> Result<Vec<Vec<abi::Learned>>, Refused> {
        let mut grant_places = |grant: &Grant| {
            let mut places = Vec::new();
            for pattern in &grant.subtrees {
                places.extend(self.pattern_places(grant.zone.as_str(), pattern)?);
            }
            Ok(places)
        };
        allowance.grants.iter().map(&mut grant_places).collect()
    }

    /// Where one pattern leads.
    fn pattern_places(
        &mut self,
        zone: &str,
        pattern: &PathPattern,
    ) -> Result<Vec<abi::Learned>, Refused> {
        let all = self.roots;
        let roots = all.zones.get(zone).map(Vec::as_slice).unwrap_or_default();
        let mut places = Vec::new();
        for path in expand(pattern, &mut self.looking).map_err(|error| lost(pattern, error))? {
            let unreadable = |error| lost(pattern, Lost::Io(path.clone(), error));
            let leads_out = || {
                let path = shown(&path);
                outside(format!("`{pattern}` leads to {path}, which is not in zone {zone}"))
            };
            let (file, root) = match open(&path, roots).map_err(unreadable)? {
                At::Nothing if path.is_symlink() => {
                    return Err(outside(format!(
                        "`{pattern}` is a link, and that is not followed"
                    )));
                }
                At::Nothing => continue,
                At::Outside => return Err(leads_out()),
                At::Through(what) => {
                    let message = format!(
                        "`{pattern}` leads through {what} in zone {zone} to {}",
                        shown(&path)
                    );
                    return Err(outside(message));
                }
                At::Open { file, root } => (file, root),
            };
            self.looking.place().map_err(|error| lost(pattern, error))?;
            let root = self.prove(root, roots).map_err(unreadable)?;
            let root = root.ok_or_else(leads_out)?;
            let place = (self.learn)(file).map_err(unreadable)?;
            if place.dev != root {
                return Err(leads_out());
            }
            places.push(place);
            // Of the way to it only the part above the protected path may have links.
            let dir = fs::canonicalize(&path).map_err(unreadable)?;
            for branch in all.below(zone, &path).chain(all.below(zone, &dir)) {
                if !places.contains(&branch) {
                    self.looking.place().map_err(|error| lost(pattern, error))?;
                    places.push(branch);
                }
            }
        }
        if places.is_empty() {
            return Err(nothing(format!("`{pattern}` leads to no directory or file of this host")));
        }
        Ok(places)
    }

    /// The device of a root, if that is what the kernel calls one in force.
    fn prove(&mut self, root: File, roots: &[abi::Learned]) -> io::Result<Option<u32>> {
        let learned = (self.learn)(root)?;
        let is_root = roots.iter().any(|root| {
            (root.ino, root.dev, root.generation) == (learned.ino, learned.dev, learned.generation)
        });
        Ok(is_root.then_some(learned.dev))
    }
}

fn lost(pattern: &PathPattern, lost: Lost) -> Refused {
    match lost {
        Lost::TooLate => late(&format!("`{pattern}`")),
        Lost::TooMany(what) => Refused::new(
            RefusedReason::TooManySubtrees,
            format!("`{pattern}`: {what}"),
            "name a directory above them",
        ),
        Lost::Io(path, error) => {
            nothing(format!("`{pattern}`: cannot look at {}: {error}", shown(&path)))
        }
    }
}

fn nothing(message: String) -> Refused {
    let help = "an allowance names what is there when it is submitted: check the path, and whether \
                this is the right host";
    Refused::new(RefusedReason::NothingMatches, message, help)
}

fn outside(message: String) -> Refused {
    let help = "name a directory or file that really is in the zone";
    Refused::new(RefusedReason::OutsideZone, message, help)
}

fn shown(path: &Path) -> impl Display {
    text::for_terminal(path.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use rustix::fs::{fstat, major, minor};

    use super::*;

    /// What the kernel calls a file, but for its generation.
    fn learned(file: impl std::os::fd::AsFd) -> abi::Learned {
        let stat = fstat(file).unwrap();
        let dev = major(stat.st_dev) << 20 | minor(stat.st_dev);
        abi::Learned { serial: 0, ino: stat.st_ino, dev, generation: 7 }
    }

    struct Host {
        _dir: tempfile::TempDir,
        base: PathBuf,
        roots: Roots,
    }

    impl Host {
        /// `zone/{a,b}/cache`, guarded as zone `customers`.
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let base = std::fs::canonicalize(dir.path()).unwrap();
            for tenant in ["a", "b"] {
                std::fs::create_dir_all(base.join("zone").join(tenant).join("cache")).unwrap();
            }
            std::os::unix::fs::symlink("b", base.join("zone/friend")).unwrap();
            std::os::unix::fs::symlink("zone", base.join("link")).unwrap();
            let root = learned(File::open(base.join("zone")).unwrap());
            let zones = HashMap::from([("customers".to_owned(), vec![root])]);
            let roots = Roots { zones, branches: Vec::new() };
            Self { _dir: dir, base, roots }
        }

        /// How many places a pattern leads to, with what the kernel says about a file.
        fn places_if(
            &self,
            zone: &str,
            pattern: &str,
            learn: &mut dyn FnMut(File) -> io::Result<abi::Learned>,
        ) -> Result<usize, Refused> {
            let pattern = format!("{}/{pattern}", self.base.display());
            let pattern = PathPattern::parse(&pattern).unwrap();
            let looking = Looking::default();
            let mut placing = Placing { roots: &self.roots, learn, looking };
            placing.pattern_places(zone, &pattern).map(|places| places.len())
        }

        fn places(&self, zone: &str, pattern: &str) -> Result<usize, RefusedReason> {
            let mut learn = |file: File| Ok(learned(file.as_fd()));
            self.places_if(zone, pattern, &mut learn).map_err(|refused| refused.reason)
        }
    }

    #[test]
    fn pattern_must_lead_into_the_zone() {
        let host = Host::new();
        assert_eq!(host.places("customers", "zone/*/cache"), Ok(2));
        assert_eq!(host.places("customers", "zone/*"), Ok(2), "not the link");
        assert_eq!(host.places("customers", "zone"), Ok(1));
        for (zone, pattern, reason) in [
            ("customers", "zone*", None),
            ("customers", "b", Some(RefusedReason::NothingMatches)),
            ("customers", "b*", Some(RefusedReason::NothingMatches)),
            ("customers", "zone/friend", Some(RefusedReason::OutsideZone)),
            ("customers", "zone/fr*", Some(RefusedReason::NothingMatches)),
            ("customers", "zone/friend/cache", Some(RefusedReason::OutsideZone)),
            ("customers", "zone/friend", Some(RefusedReason::OutsideZone)),
            ("customers", "zone/fr*", Some(RefusedReason::NothingMatches)),
            ("customers", "link", Some(RefusedReason::OutsideZone)),
            ("customers", "link*", Some(RefusedReason::NothingMatches)),
            ("backups", "zone/a", Some(RefusedReason::OutsideZone)),
            ("backups", "*", Some(RefusedReason::OutsideZone)),
        ] {
            assert_eq!(host.places(zone, pattern).err(), reason, "{zone} {pattern}");
        }
    }

    /// A walk up from what is mounted in a tenant's directory does not lead to that.
    #[test]
    fn a_grant_covers_mounts_below() {
        let mut host = Host::new();
        let data = host.base.join("zone/a/data");
        std::fs::create_dir(&data).unwrap();
        let mounted = learned(File::open(&data).unwrap());
        host.roots.branches.push(("customers".to_owned(), data, mounted));
        assert_eq!(host.places("customers", "zone/a"), Ok(2));
        assert_eq!(host.places("customers", "link/a"), Ok(2), "by its real path");
        assert_eq!(host.places("customers", "zone/*"), Ok(3));
        assert_eq!(host.places("customers", "zone/b"), Ok(1));
        assert_eq!(host.places("customers", "zone/a/cache"), Ok(1));
    }

    /// The numbers of a directory can be another's by now: only the kernel tells them apart.
    #[test]
    fn recreated_directory_is_not_protected() {
        let host = Host::new();
        let mut learn = |file: File| Ok(abi::Learned { generation: 8, ..learned(file) });
        let refused = host.places_if("customers", "zone/a", &mut learn).unwrap_err();
        assert_eq!(refused.reason, RefusedReason::OutsideZone);
    }
}
