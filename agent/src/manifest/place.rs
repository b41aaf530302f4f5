//! From the names the kernel sends to a tenant and a path in it. It never looks at a disk: which
//! level is the tenant's is what the zone said when the op happened.

use std::os::unix::ffi::OsStrExt as _;

use holdfast_abi as abi;
use serde::{Deserialize, Serialize};

use super::{Name, RootName};
use crate::kernel::Gone;

/// Where something was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Name of the zone.
    pub(crate) zone: String,
    /// The zone's root above it; absent if its path is not known any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) root: Option<Name>,
    /// From the root to the tenant's directory; empty where each root is a tenant. Absent above all
    /// tenants, and where it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<Name>,
    /// Inode number of the tenant's directory; 0 above all tenants.
    pub(crate) tenant_inode: u64,
    /// From the tenant's directory, or from the root above all tenants; empty for that directory
    /// itself. In a [`super::line::Dir`] it is the directory's: see [`super::Record::path`].
    pub(super) path: Name,
    /// The start of `path` is missing.
    #[serde(default, skip_serializing_if = "super::line::is_false")]
    pub(crate) cut: bool,
}

impl Place {
    /// Where a record's file was.
    pub(super) fn of(gone: &Gone<'_>, zone: String, root: Option<&RootName>) -> Self {
        let below = root.map(RootName::below).unwrap_or_default();
        let place = place(gone.head, gone.names, gone.tenant, &below);
        let root = root.map(|root| root.protected().as_os_str().as_bytes().into());
        Self { zone, root, tenant_inode: gone.head.tenant, ..place }
    }

    /// Whether its tenant is unknown: names are missing, and no directory of a tenant's is known.
    /// (Above all tenants nothing is missing.)
    pub(crate) const fn has_unknown_tenant(&self) -> bool {
        self.tenant.is_none() && self.cut
    }
}

/// Takes names apart. `below`: those from the protected path down to the root that the kernel's
/// names end at.
fn place(head: &abi::Destroyed, names: &[u8], tenant: &[u8], below: &[&[u8]]) -> Place {
    let depth = head.tenant_depth as usize;
    if head.flags & (abi::GONE_CUT | abi::GONE_STRICT) != 0 {
        let mut all = below.to_vec();
        all.extend(downwards(tenant));
        let known = head.flags & abi::GONE_STRICT == 0
            && depth > 0
            && (all.len() == depth || below.len() >= depth);
        all.truncate(depth);
        let known = known && after_unread(&all).len() == depth;
        let path = join(after_unread(&downwards(names)));
        return Place { tenant: known.then(|| join(&all)), path, cut: true, ..Place::default() };
    }
    let mut all = below.to_vec();
    all.extend(downwards(names));
    let names = all;
    let known = after_unread(&names);
    let cut = known.len() < names.len();
    if names.len() < depth || (head.tenant == 0 && depth > 0) {
        return Place { path: join(known), cut, ..Place::default() };
    }
    let (tenant, path) = names.split_at(depth);
    if after_unread(tenant).len() < depth {
        return Place { path: join(known), cut, ..Place::default() };
    }
    let (tenant, path) = (Some(join(tenant)), join(after_unread(path)));
    Place { tenant, path, cut, ..Place::default() }
}

/// What comes after the last name that the kernel could not read: it left that one empty.
fn after_unread<'a, 'b>(names: &'a [&'b [u8]]) -> &'a [&'b [u8]] {
    let unread = names.iter().rposition(|name| name.is_empty());
    &names[unread.map_or(0, |index| index + 1)..]
}

/// Names that each end with NUL, from the last to the first.
fn downwards(names: &[u8]) -> Vec<&[u8]> {
    let mut names: Vec<&[u8]> = names.split(|&byte| byte == 0).collect();
    // What comes after the last NUL is no name.
    names.pop();
    names.reverse();
    names
}

fn join(names: &[&[u8]]) -> Name {
    Name(names.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(tenant_depth: u32, flags: u8) -> abi::Destroyed {
        abi::Destroyed { tenant_depth, flags, tenant: 7, ..super::super::line::tests::head() }
    }

    fn of(depth: u32, names: &str) -> (Option<String>, String) {
        let place = place(&head(depth, 0), names.as_bytes(), b"", &[]);
        assert!(!place.cut);
        let text = |name: Name| String::from_utf8(name.0).unwrap();
        (place.tenant.map(text), text(place.path))
    }

    #[test]
    fn the_tenant_is_at_its_level() {
        let some = |tenant: &str, path: &str| (Some(tenant.to_owned()), path.to_owned());
        assert_eq!(of(1, "f\0d\0alice\0"), some("alice", "d/f"));
        assert_eq!(of(2, "f\0site\0alice\0"), some("alice/site", "f"));
        assert_eq!(of(0, "f\0alice\0"), some("", "alice/f"));
        assert_eq!(of(1, "alice\0"), some("alice", ""), "the tenant itself");
        assert_eq!(of(2, "alice\0"), (None, "alice".to_owned()), "above all tenants");
        assert_eq!(of(0, ""), some("", ""), "a root that is a tenant");
        assert_eq!(of(1, ""), (None, String::new()), "a root");
        assert_eq!(of(1, "a\nb\0x y\0"), some("x y", "a\nb"));
    }

    #[test]
    fn file_beside_tenants_has_no_tenant() {
        let head = abi::Destroyed { tenant: 0, ..head(1, 0) };
        let place = place(&head, b"readme\0", b"", &[]);
        assert_eq!((place.tenant, place.path.0), (None, b"readme".to_vec()));
    }

    /// A level that was left out once made another directory the tenant, and another path the
    /// file's.
    #[test]
    fn unreadable_name_moves_no_other_level() {
        let of = |depth, names: &[u8]| place(&head(depth, 0), names, b"", &[]);
        let tenant = |name: &[u8]| Some(Name::from(name));
        let below = of(1, b"f\0\0d\0alice\0");
        assert_eq!(
            (below.tenant, below.path, below.cut),
            (tenant(b"alice"), b"f"[..].into(), true)
        );
        let itself = of(1, b"\0d\0alice\0");
        assert_eq!(
            (itself.tenant, itself.path, itself.cut),
            (tenant(b"alice"), b""[..].into(), true)
        );
        let whose = of(2, b"f\0d\0\0site\0");
        assert_eq!((whose.tenant, whose.path, whose.cut), (None, b"d/f"[..].into(), true));
        let deep = head(2, abi::GONE_CUT);
        assert_eq!(place(&deep, b"f\0", b"\0site\0", &[]).tenant, None);
        let deep = place(&deep, b"f\0\0d\0", b"alice\0site\0", &[]);
        assert_eq!((deep.tenant, deep.path), (tenant(b"site/alice"), b"f"[..].into()));
    }

    /// The names end at what is mounted; the tenant and the path begin above it.
    #[test]
    fn a_mount_keeps_its_tenant() {
        let of = |depth, flags, below: &[&[u8]], names: &[u8], tenant: &[u8]| {
            let place = place(&head(depth, flags), names, tenant, below);
            (place.tenant.map(|tenant| tenant.0), place.path.0)
        };
        let some = |tenant: &str, path: &str| (Some(tenant.into()), path.as_bytes().to_vec());
        assert_eq!(of(1, 0, &[b"alice"], b"f\0www\0", b""), some("alice", "www/f"));
        assert_eq!(of(1, 0, &[b"alice", b"data"], b"f\0", b""), some("alice", "data/f"));
        assert_eq!(of(2, 0, &[b"disk"], b"f\0alice\0", b""), some("disk/alice", "f"));
        let cut = abi::GONE_CUT;
        assert_eq!(of(1, cut, &[b"alice", b"data"], b"f\0", b"x\0"), some("alice", "f"));
        assert_eq!(of(2, cut, &[b"disk"], b"f\0", b"alice\0"), some("disk/alice", "f"));
        assert_eq!(of(2, cut, &[b"disk"], b"f\0", b"").0, None);
    }

    #[test]
    fn what_is_cut_keeps_its_tenant() {
        let cut = place(&head(1, abi::GONE_CUT), b"f\0deep\0", b"alice\0", &[]);
        assert_eq!(
            (cut.tenant.unwrap().0, cut.path.0, cut.cut),
            (b"alice".to_vec(), b"deep/f".to_vec(), true)
        );
        let unknown = place(&head(1, abi::GONE_STRICT), b"f\0", b"", &[]);
        assert_eq!((unknown.tenant, unknown.cut), (None, true));
        assert_eq!(place(&head(1, abi::GONE_CUT), b"f\0", b"", &[]).tenant, None);
    }
}
