//! In which zone of a policy something was that was recorded under another, by the paths of both.
//! It never looks at the disk: what was there then may be elsewhere now.

use holdfast_abi::name_id;
use holdfast_policy::{PathPattern, Policy, Zone};

use crate::manifest::{Name, Record, absolute};

/// Zones of a policy, by path.
#[derive(Debug)]
pub(crate) struct Places<'a> {
    policy: &'a Policy,
}

/// Where something would have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// In this zone, and of this tenant.
    In {
        /// Its index.
        zone: usize,
        /// The tenant's number, 0 above all tenants.
        tenant: u64,
        /// Only the zone's name says so: no path of it can be compared with that of the root it was
        /// below.
        by_name: bool,
    },
    /// In none.
    Outside,
}

impl<'a> Places<'a> {
    pub(crate) fn new(policy: &'a Policy) -> Self {
        Self { policy }
    }

    /// The place of something the manifest lists.
    pub(crate) fn of(&self, record: &Record) -> Placed {
        let place = &record.dir.place;
        let Some(root) = &place.root else {
            return self.by_name(&place.zone, place.tenant_inode);
        };
        let tenant = place.tenant.clone().unwrap_or_default();
        let below = absolute(root, &tenant);
        // Where the start of the path is missing, the tenant is all that is known.
        let path = if place.cut { below } else { absolute(&Name(below), &record.path()) };
        let is_dir = place.cut || record.kind() == "directory";
        self.place(&place.zone, root, &tenant, place.tenant_inode, &path, is_dir)
    }

    /// The place of something that was denied. Of it only the zone's name is compared.
    pub(crate) fn by_name(&self, zone: &str, tenant: u64) -> Placed {
        let mut zones = self.policy.zones.iter();
        match zones.position(|candidate| candidate.name.as_str() == zone) {
            Some(zone) => Placed::In { zone, tenant, by_name: true },
            None => Placed::Outside,
        }
    }

    fn place(
        &self,
        name: &str,
        root: &Name,
        tenant: &Name,
        tenant_inode: u64,
        path: &[u8],
        is_dir: bool,
    ) -> Placed {
        let (names, root_names) = (components(path), components(&root.0));
        for (index, zone) in self.policy.zones.iter().enumerate() {
            for pattern in &zone.paths {
                let length = pattern.components().len();
                if length > names.len() || !fits(pattern, &names) {
                    continue;
                }
                let same_root = length == root_names.len();
                let tenant = match tenant_names(zone, length, &names, is_dir) {
                    None => 0,
                    // The same directory as then: by its inode, as the kernel tells tenants apart.
                    Some(of) if same_root && of[length..] == components(&tenant.0)[..] => {
                        tenant_inode
                    }
                    Some(of) => name_id_of(of),
                };
                return Placed::In { zone: index, tenant, by_name: false };
            }
        }
        // A zone whose roots lie elsewhere now, or are named by a link: its name is all there is.
        // If they lie above or below the root of then, the paths have answered.
        let related = |zone: &Zone| zone.paths.iter().any(|pattern| fits(pattern, &root_names));
        match self.policy.zone(name) {
            Some(zone) if !related(zone) => self.by_name(name, tenant_inode),
            _ => Placed::Outside,
        }
    }
}

/// The names down to the tenant's directory; none above all tenants.
fn tenant_names<'n>(
    zone: &Zone,
    root: usize,
    names: &'n [&'n [u8]],
    is_dir: bool,
) -> Option<&'n [&'n [u8]]> {
    let end = root + zone.tenant_depth as usize;
    let reaches = names.len() > end || (names.len() == end && (is_dir || zone.tenant_depth == 0));
    reaches.then(|| &names[..end])
}

/// Whether a pattern and a path agree as far as the shorter of them goes.
fn fits(pattern: &PathPattern, names: &[&[u8]]) -> bool {
    pattern.components().iter().zip(names).all(|(component, name)| component.matches(name))
}

fn components(path: &[u8]) -> Vec<&[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).collect()
}

/// A number for a tenant of which the kernel told none.
fn name_id_of(names: &[&[u8]]) -> u64 {
    // Hexadecimal: names are bytes, and ids are of text. No inode has the highest bit.
    name_id(&crate::text::hex(&names.join(&b'/'))) | 1 << 63
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::example;

    fn policy(zones: &[(&str, &str, u32)]) -> Policy {
        let zones: Vec<String> = zones
            .iter()
            .map(|(name, path, depth)| {
                format!(
                    "[[zone]]\nname = \"{name}\"\nrole = \"primary\"\npaths = [\"{path}\"]\n\
                     tenant_depth = {depth}\n\
                     [[zone.budget]]\nper = \"unit\"\nfiles = 1\nwindow = \"1m\"\n"
                )
            })
            .collect();
        Policy::parse("p", &zones.join("\n")).unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// /srv/alice/PATH in zone z.
    fn placed(zones: &[(&str, &str, u32)], path: &str) -> Placed {
        Places::new(&policy(zones)).of(&example("alice", path.as_bytes(), 1))
    }

    fn tenant(placed: Placed) -> u64 {
        let Placed::In { tenant, by_name: false, .. } = placed else { panic!("{placed:?}") };
        tenant
    }

    #[test]
    fn same_zone_has_the_kernel_tenants() {
        let inode = example("alice", b"f", 1).dir.place.tenant_inode;
        assert_eq!(
            placed(&[("other", "/x", 1), ("z", "/srv", 1)], "a/f"),
            Placed::In { zone: 1, tenant: inode, by_name: false }
        );
        // Under another name, too: it is the directory that counts.
        assert_eq!(tenant(placed(&[("renamed", "/srv", 1)], "f")), inode);
        assert_eq!(tenant(placed(&[("z", "/s*", 1)], "f")), inode);
    }

    #[test]
    fn other_paths_and_depths_change_tenants() {
        let site = [("z", "/srv/*/site", 0)];
        let (a, b) = (tenant(placed(&site, "site/f")), tenant(placed(&site, "site/d/f")));
        assert!(a == b && a >> 63 == 1);
        assert_eq!(placed(&site, "logs/f"), Placed::Outside, "no longer guarded");
        assert_eq!(placed(&[("z", "/srv/bob", 1)], "f"), Placed::Outside);
        let deep = [("z", "/srv", 2)];
        assert_eq!(tenant(placed(&deep, "f")), 0, "a file where tenants live");
        assert_ne!(tenant(placed(&deep, "a/f")), tenant(placed(&deep, "b/f")));
        let inner = [("z", "/srv/alice", 1)];
        assert_eq!(tenant(placed(&inner, "f")), 0);
        let inode = example("alice", b"f", 1).dir.place.tenant_inode;
        assert_ne!(tenant(placed(&inner, "alice/f")), inode, "another directory of that name");
    }

    #[test]
    fn moved_zone_is_known_by_name() {
        let by_name = |placed| matches!(placed, Placed::In { by_name: true, .. });
        assert!(by_name(placed(&[("z", "/data/customers", 1)], "f")));
        assert_eq!(placed(&[("y", "/data/customers", 1)], "f"), Placed::Outside);
        let mut record = example("alice", b"f", 1);
        record.dir_mut().place.root = None;
        assert!(by_name(Places::new(&policy(&[("z", "/srv", 1)])).of(&record)));
        record.dir_mut().place.root = Some(b"/srv"[..].into());
        record.dir_mut().place.cut = true;
        let cut = Places::new(&policy(&[("z", "/srv", 1)])).of(&record);
        let inode = record.dir.place.tenant_inode;
        assert_eq!(tenant(cut), inode, "the tenant is known though the path is cut");
    }
}
