//! The mount table, to tell one directory under two names: a bind mount shows a part of a
//! filesystem at a second place.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::makedev;

/// Filesystems that answer when a server or a program does. Looking at what is on one can take for
/// ever, and none can be guarded.
const UNANSWERING: [&str; 13] = [
    "9p", "afs", "autofs", "beegfs", "ceph", "cifs", "fuse", "fuseblk", "lustre", "nfs", "nfs4",
    "smb3", "virtiofs",
];

/// Filesystems that hold no files anybody stores: views of the kernel, and names that something is
/// mounted on once it is used.
const PSEUDO: [&str; 23] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nfsd",
    "nsfs",
    "proc",
    "pstore",
    "resctrl",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tracefs",
];
/// Filesystems on which nothing can be destroyed.
const READ_ONLY: [&str; 4] = ["cramfs", "erofs", "iso9660", "squashfs"];

/// Every mount the agent can see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mounts {
    all: Vec<Mount>,
    /// By where it is, the one that covers the others there.
    at: BTreeMap<PathBuf, usize>,
    /// Where one is that may not answer.
    unanswering: Vec<PathBuf>,
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    id: u32,
    /// The mount that it is mounted on.
    parent: u32,
    /// Device number of the filesystem, major and minor.
    pub(crate) device: (u32, u32),
    /// The directory of the filesystem that is mounted.
    pub(crate) root: PathBuf,
    /// Where it is mounted.
    pub(crate) point: PathBuf,
    /// Type of the filesystem.
    pub(crate) filesystem: String,
    /// Whether nothing can be changed through this mount.
    read_only: bool,
    /// `upperdir` of an overlay.
    upper: Option<PathBuf>,
}

impl Mounts {
    /// Reads /proc/self/mountinfo.
    ///
    /// A service manager may have made everything read-only for the agent alone: whether others can
    /// change something is as the first process has it. What the agent cannot learn of that is as
    /// it sees it.
    pub(crate) fn read() -> io::Result<Self> {
        let mut own = Self::parse(&fs::read("/proc/self/mountinfo")?);
        if own.all.iter().any(Mount::is_read_only)
            && let Ok(table) = fs::read("/proc/1/mountinfo")
        {
            own.open_as_in(&Self::parse(&table));
        }
        Ok(own)
    }

    fn open_as_in(&mut self, host: &Self) {
        let open = host.all.iter().filter(|mount| !mount.read_only);
        let open: HashSet<_> =
            open.map(|mount| (mount.device, &mount.root, &mount.point)).collect();
        for mount in &mut self.all {
            mount.read_only &= !open.contains(&(mount.device, &mount.root, &mount.point));
        }
    }

    /// Reads the format of proc(5); lines that are not in it are left out.
    pub(crate) fn parse(table: &[u8]) -> Self {
        let all: Vec<Mount> = table.split(|&byte| byte == b'\n').filter_map(mount).collect();
        let slow = all.iter().filter(|mount| mount.may_not_answer());
        let unanswering = slow.map(|mount| mount.point.clone()).collect();
        let covered: HashSet<_> = all.iter().map(|mount| (mount.parent, &mount.point)).collect();
        // The last in the table, unless it was moved there, or mounted beneath another.
        let on_top = |mount: &Mount| !covered.contains(&(mount.id, &mount.point));
        let mut at = BTreeMap::new();
        for (index, mount) in all.iter().enumerate() {
            if on_top(mount) || !at.contains_key(&mount.point) {
                at.insert(mount.point.clone(), index);
            }
        }
        Self { at, all, unanswering }
    }

    /// The mount that a path goes through, if that may not answer: then nothing below it is to be
    /// looked at by who cannot wait. Only the names of the path count, not where links in it lead.
    pub(crate) fn unanswering(&self, path: &Path) -> Option<&Mount> {
        // There are none as a rule, and many mounts.
        self.unanswering.iter().find(|point| path.starts_with(point))?;
        self.of(path).filter(|mount| mount.may_not_answer())
    }

    /// Whether a mount shows a part of the filesystem with this device number, as the kernel has
    /// it.
    pub(crate) fn shows(&self, dev: u32) -> bool {
        self.all.iter().any(|mount| mount.device == (dev >> 20, dev & 0xf_ffff))
    }

    /// The mount that a real path goes through.
    pub(crate) fn of(&self, path: &Path) -> Option<&Mount> {
        path.ancestors().find_map(|above| self.at.get(above)).map(|&index| &self.all[index])
    }

    /// What is mounted below a path, by the names of the mount points; what another mount covers is
    /// among it.
    pub(crate) fn below<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a Mount> {
        // What is below a path follows it directly in the order of paths.
        let from = (std::ops::Bound::Excluded(path.to_owned()), std::ops::Bound::Unbounded);
        let below = self.at.range(from).take_while(move |(point, _)| point.starts_with(path));
        below.map(|(_, &index)| &self.all[index])
    }

    /// Whether a filesystem is also mounted at a place that is not below `path`.
    pub(crate) fn is_elsewhere(&self, device: (u32, u32), path: &Path) -> bool {
        self.all.iter().any(|mount| mount.device == device && !mount.point.starts_with(path))
    }

    /// The place of a real path within its filesystem, whatever it is mounted on.
    pub(crate) fn place(&self, path: &Path) -> Option<((u32, u32), PathBuf)> {
        let mount = self.of(path)?;
        let below = path.strip_prefix(&mount.point).ok()?;
        Some((mount.device, join(&mount.root, below)))
    }

    /// A path under which the agent can reach a place of a filesystem; the one that shows most of
    /// the filesystem.
    pub(crate) fn reach(&self, device: (u32, u32), place: &Path) -> Option<PathBuf> {
        let showing = self
            .all
            .iter()
            .filter(|mount| mount.device == device && place.starts_with(&mount.root));
        let candidates = showing.filter_map(|mount| {
            let path = join(&mount.point, place.strip_prefix(&mount.root).ok()?);
            // Another mount may cover it.
            let visible = self.of(&path).is_some_and(|top| top == mount);
            visible.then_some((mount.root.components().count(), path))
        });
        candidates.min_by_key(|(depth, _)| *depth).map(|(_, path)| path)
    }
}

impl Mount {
    fn may_not_answer(&self) -> bool {
        let kind = self.filesystem.split('.').next().unwrap_or_default();
        UNANSWERING.contains(&kind)
    }

    /// Whether there are files on it that can be destroyed.
    pub(crate) fn has_data(&self) -> bool {
        let kind = self.filesystem.as_str();
        !PSEUDO.contains(&kind) && !READ_ONLY.contains(&kind)
    }

    /// Whether nothing can be changed through this mount.
    pub(crate) const fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Where what is changed in an overlay is written.
    pub(crate) fn upper(&self) -> Option<&Path> {
        self.upper.as_deref()
    }

    /// The device number that stat(2) tells of what is on it.
    pub(crate) fn stat_device(&self) -> u64 {
        makedev(self.device.0, self.device.1)
    }
}

/// Without the trailing slash that joining nothing would leave.
fn join(base: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { base.to_owned() } else { base.join(below) }
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn mount(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let separator = fields.iter().skip(6).position(|field| *field == b"-")? + 6;
    let device = std::str::from_utf8(fields[2]).ok()?;
    let (major, minor) = device.split_once(':')?;
    let id = |field: &[u8]| std::str::from_utf8(field).ok()?.parse().ok();
    Some(Mount {
        id: id(fields[0])?,
        parent: id(fields[1])?,
        device: (major.parse().ok()?, minor.parse().ok()?),
        root: unescape(fields[3]),
        point: unescape(fields[4]),
        filesystem: String::from_utf8_lossy(fields.get(separator + 1)?).into_owned(),
        read_only: fields[5].split(|&byte| byte == b',').any(|option| option == b"ro"),
        upper: fields.get(separator + 3).and_then(|options| {
            let mut options = options.split(|&byte| byte == b',');
            options.find_map(|option| option.strip_prefix(b"upperdir=")).map(unescape)
        }),
    })
}

/// Blank, tab, newline and backslash are written as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = after;
            }
            _ => bytes.push(*first),
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Names from the file up to the filesystem's root, each ended by NUL, as a path from that root.
/// Empty if the event has none.
pub(crate) fn place_of(names: &[u8]) -> Vec<u8> {
    let mut names: Vec<&[u8]> =
        names.split(|&byte| byte == 0).filter(|name| !name.is_empty()).collect();
    // The root itself is called `/`.
    if names.last() == Some(&b"/".as_slice()) {
        names.pop();
    }
    names.reverse();
    names.join(&b'/')
}

/// The path of `place` (without a leading `/`) on `device`: absolute if it can be reached, else as
/// it is.
pub(crate) fn absolute(mounts: &Mounts, device: (u32, u32), place: &[u8]) -> Vec<u8> {
    let mut rooted = vec![b'/'];
    rooted.extend_from_slice(place);
    match mounts.reach(device, Path::new(std::ffi::OsStr::from_bytes(&rooted))) {
        Some(path) => path.into_os_string().into_vec(),
        None => place.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = br"21 1 8:1 / / rw - ext4 /dev/sda1 rw
22 21 8:2 / /srv rw shared:1 - xfs /dev/sdb1 rw
23 21 8:2 /customers/a\040b /mnt/one rw - xfs /dev/sdb1 rw
24 21 0:30 / /srv/tmp rw - tmpfs tmpfs rw
nonsense
";

    #[test]
    fn path_is_found_in_its_filesystem() {
        let mounts = Mounts::parse(TABLE);
        let place = |path: &str| mounts.place(Path::new(path)).unwrap();
        assert_eq!(place("/etc"), ((8, 1), "/etc".into()));
        assert_eq!(place("/srv"), ((8, 2), "/".into()));
        assert_eq!(place("/srv/customers"), ((8, 2), "/customers".into()));
        assert_eq!(place("/mnt/one/x"), ((8, 2), "/customers/a b/x".into()));
        assert_eq!(place("/srv/tmp/x"), ((0, 30), "/x".into()));
        assert_eq!(mounts.of(Path::new("/srv/tmp")).unwrap().filesystem, "tmpfs");
    }

    #[test]
    fn unresponsive_mount_is_recognized() {
        let mounts = Mounts::parse(
            br"21 1 8:1 / / rw - ext4 /dev/sda1 rw
22 21 0:40 / /srv/nfs rw - nfs4 server:/x rw
23 21 0:41 / /srv/home rw - fuse.sshfs bob@x: rw
24 22 0:30 / /srv/nfs/here rw - tmpfs tmpfs rw
",
        );
        let kind =
            |path: &str| mounts.unanswering(Path::new(path)).map(|mount| mount.filesystem.as_str());
        assert_eq!(kind("/srv/nfs"), Some("nfs4"));
        assert_eq!(kind("/srv/nfs/a/b"), Some("nfs4"));
        assert_eq!(kind("/srv/home/bob"), Some("fuse.sshfs"));
        assert_eq!(kind("/srv/nfs/here/a"), None, "another one is mounted over it");
        assert_eq!((kind("/srv/nfsx"), kind("/"), kind("/srv")), (None, None, None));
    }

    #[test]
    fn widest_visible_mount_reaches_a_place() {
        let mounts = Mounts::parse(TABLE);
        let reach = |device, place: &str| mounts.reach(device, Path::new(place));
        assert_eq!(reach((8, 2), "/customers/a b/x"), Some("/srv/customers/a b/x".into()));
        assert_eq!(reach((8, 2), "/tmp/hidden"), None, "covered by another mount");
        assert_eq!(reach((9, 9), "/x"), None);
    }

    #[test]
    fn moved_mount_is_on_top() {
        let mounts = Mounts::parse(
            br"21 1 8:1 / / rw - ext4 /dev/sda1 rw
23 24 8:32 / /srv/a rw - ext4 /dev/sdc rw
24 21 8:16 / /srv/a rw - ext4 /dev/sdb rw
",
        );
        assert_eq!(mounts.of(Path::new("/srv/a/x")).unwrap().device, (8, 32));
    }

    /// The agent's own mounts may be read-only where those of the host are not.
    #[test]
    fn read_only_is_as_others_see() {
        let table = |bob: &str, alice: &str| {
            Mounts::parse(
                format!(
                    "22 21 8:2 /bob /srv/bob {bob} - xfs /dev/sdb1 rw\n23 21 8:2 /alice /srv/alice \
                     {alice} - xfs /dev/sdb1 rw\n"
                )
                .as_bytes(),
            )
        };
        let mut own = table("ro", "ro");
        own.open_as_in(&table("ro", "rw"));
        let is_read_only = |path: &str| own.of(Path::new(path)).unwrap().is_read_only();
        assert_eq!((is_read_only("/srv/bob"), is_read_only("/srv/alice")), (true, false));
    }

    #[test]
    fn kernel_names_become_a_path() {
        assert_eq!(place_of(b"file\0t1\0customers\0/\0"), b"customers/t1/file");
        assert_eq!(place_of(b"a\xff\nb\0dir\0"), b"dir/a\xff\nb");
        assert_eq!(place_of(b""), b"");
        let mounts = Mounts::parse(TABLE);
        assert_eq!(absolute(&mounts, (8, 2), b"x/y"), b"/srv/x/y");
        assert_eq!(absolute(&mounts, (7, 7), b"x/y"), b"x/y");
    }
}
