//! The lines of a segment. One JSON document each; the first is the head, and once the segment is closed the last one says so.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;

use holdfast_abi::{self as abi, Op};
use serde::{Deserialize, Serialize};

use super::Name;
use super::place::place;
use super::roots::RootName;
use crate::clock::{Now, rfc3339};
use crate::kernel::Gone;

/// Everything that can be in a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Line {
    /// The first line of every segment.
    Head {
        /// Rises by one.
        segment: u64,
        /// SHA-256 of the segment before; absent in the first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        previous: Option<String>,
        /// RFC 3339.
        time: String,
        /// The kernel's ring at that time.
        ring: String,
        /// Records missing so far, by zone, since that ring is there. They are in gaps already.
        lost: BTreeMap<String, u64>,
    },
    /// Something was destroyed.
    Gone(Box<Record>),
    /// Something is missing.
    Gap(Gap),
    /// From here on records are from this ring.
    Ring {
        /// RFC 3339.
        time: String,
        /// Its name.
        ring: String,
    },
    /// Whether a zone is recorded, where that changed.
    Switch {
        /// RFC 3339.
        time: String,
        /// Its name.
        zone: String,
        /// Whether it is.
        manifest: bool,
    },
    /// The agent ended; the kernel goes on recording.
    Stop {
        /// RFC 3339.
        time: String,
    },
    /// The last line of a segment that is closed.
    End {
        /// RFC 3339.
        time: String,
        /// How many records it has.
        records: u64,
    },
}

/// One op that destroyed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// RFC 3339, in UTC.
    pub(crate) time: String,
    /// Name of the zone.
    pub(crate) zone: String,
    /// The zone's root above it; absent if its path is not known any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) root: Option<Name>,
    /// From the root to the tenant's directory; empty where each root is a tenant. Absent above all tenants, and where it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<Name>,
    /// Inode number of the tenant's directory; 0 above all tenants.
    pub(crate) tenant_inode: u64,
    /// From the tenant's directory, or from the root above all tenants; empty for that directory itself.
    pub(crate) path: Name,
    /// The start of `path` is missing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) cut: bool,
    /// `file`, `directory`, `symlink` or `special`.
    pub(crate) kind: String,
    /// Permissions in octal.
    pub(crate) mode: String,
    /// Inode number.
    pub(crate) inode: u64,
    /// User it belonged to.
    pub(crate) owner: u32,
    /// An [`abi::Op`].
    pub(crate) op: String,
    /// 0 if it only went to another tenant.
    pub(crate) files: u64,
    /// Bytes.
    pub(crate) bytes: u64,
    /// Path of the unit that did it, or `cgroup N`.
    pub(crate) unit: String,
    /// Its cgroup: what budgets count by. 0 in records of former versions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) unit_id: u64,
    /// Real user.
    pub(crate) uid: u32,
    /// Login user, where one is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) login_uid: Option<u32>,
    /// Process.
    pub(crate) pid: u32,
    /// Name of the thread.
    pub(crate) comm: Name,
    /// Id of the allowance it was spent from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) allowance: Option<String>,
    /// It went over a budget in a zone that observes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) over_budget: bool,
    /// Nobody saw how the call ended: it may have failed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) unseen: bool,
    /// The call failed after all: this takes the record back that is the same otherwise.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) undone: bool,
    /// With `time_ns` and `op`, what makes the record one of a kind: the thread.
    pub(crate) tid: u32,
    /// Boot-time nanoseconds.
    pub(crate) time_ns: u64,
}

/// Records that are missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gap {
    /// RFC 3339: not before this.
    pub(crate) from: String,
    /// RFC 3339: not after this.
    pub(crate) to: String,
    /// The zone; absent if it can be any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) zone: Option<String>,
    /// How many; absent if nobody knows, none included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lost: Option<u64>,
    /// Why.
    pub(crate) why: GapWhy,
    /// How many that makes in the zone since the ring is there.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) total: u64,
}

/// Why records are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GapWhy {
    /// The kernel's ring was full: no agent took anything out, or not fast enough.
    RingFull,
    /// The host was started anew, or the guard was taken off: what was in the ring is gone.
    NewRing,
    /// A record had a form that cannot be read.
    Unreadable,
    /// A crash of the host cut a line short.
    Torn,
}

impl GapWhy {
    /// For people.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::RingFull => "the kernel's buffer was full, or it had no memory",
            Self::NewRing => "the kernel's buffer was made anew, and what it held is gone",
            Self::Unreadable => "a record could not be read",
            Self::Torn => "a crash cut a line short",
        }
    }
}

/// What makes a record one of a kind in one boot.
pub(super) type Key = (u64, u32, String, bool);

impl Record {
    /// Whether nobody knows whose it was: names are missing, and no directory of a tenant's is known. (Above all tenants nothing is
    /// missing.)
    pub(crate) const fn has_unknown_tenant(&self) -> bool {
        self.tenant.is_none() && self.cut
    }

    pub(super) fn key(&self) -> Key {
        (self.time_ns, self.tid, self.op.clone(), self.undone)
    }

    /// The record that this one takes back.
    pub(super) fn takes_back(&self) -> Option<Key> {
        self.undone.then(|| (self.time_ns, self.tid, self.op.clone(), false))
    }
}

/// A path below a root.
pub(crate) fn absolute(root: &Name, below: &Name) -> Vec<u8> {
    let mut path = root.0.clone();
    if !below.0.is_empty() {
        if path != b"/" {
            path.push(b'/');
        }
        path.extend(&below.0);
    }
    path
}

/// What the numbers of a record stand for.
pub(super) struct Meaning {
    pub(super) zone: String,
    pub(super) unit: String,
    pub(super) allowance: Option<String>,
}

/// A record of the kernel as a line.
pub(super) fn record(
    gone: &Gone<'_>,
    meaning: Meaning,
    root: Option<&RootName>,
    now: Now,
) -> Record {
    let head = &gone.head;
    let below = root.map(RootName::below).unwrap_or_default();
    let place = place(head, gone.names, gone.tenant, &below);
    let end = head.comm.iter().position(|&byte| byte == 0).unwrap_or(head.comm.len());
    let behind = now.boot_ns.saturating_sub(head.time_ns);
    Record {
        time: rfc3339(now.wall_ns.saturating_sub(i64::try_from(behind).unwrap_or(i64::MAX)).max(0)),
        zone: meaning.zone,
        root: root.map(|root| root.protected().as_os_str().as_bytes().into()),
        tenant: place.tenant,
        tenant_inode: head.tenant,
        path: place.path,
        cut: place.cut,
        kind: kind(head.mode).to_owned(),
        mode: format!("{:04o}", head.mode & 0o7777),
        inode: head.ino,
        owner: head.owner,
        op: Op::from_number(head.op).map_or("unknown", Op::word).to_owned(),
        files: head.files,
        bytes: head.bytes,
        unit: meaning.unit,
        unit_id: head.unit,
        uid: head.uid,
        login_uid: (head.login_uid != u32::MAX).then_some(head.login_uid),
        pid: head.pid,
        comm: head.comm[..end].into(),
        allowance: meaning.allowance,
        over_budget: head.flags & abi::GONE_OBSERVED != 0,
        unseen: head.flags & abi::GONE_UNSEEN != 0,
        undone: head.flags & abi::GONE_UNDONE != 0,
        tid: head.tid,
        time_ns: head.time_ns,
    }
}

/// The type of file in an `i_mode`.
fn kind(mode: u16) -> &'static str {
    match mode & 0o170_000 {
        0o100_000 => "file",
        0o040_000 => "directory",
        0o120_000 => "symlink",
        _ => "special",
    }
}

pub(super) fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const NOW: Now = Now { boot_ns: 5_000_000_000, wall_ns: 1_340_150_400_000_000_000 };

    pub(crate) fn head() -> abi::Destroyed {
        abi::Destroyed {
            time_ns: 4_000_000_000,
            files: 1,
            bytes: 12,
            tenant: 7,
            root: 2,
            ino: 99,
            unit: 5,
            allowance: 0,
            zone: 1,
            dev: 1,
            pid: 100,
            tid: 101,
            uid: 0,
            login_uid: u32::MAX,
            owner: 1000,
            mode: 0o100_640,
            op: Op::Remove as u8,
            flags: abi::GONE_OBSERVED,
            names_len: 0,
            tenant_len: 0,
            tenant_depth: 1,
            slot: 1,
            comm: *b"rm\0garbage\0\0\0\0\0\0",
            names: [0; abi::NAMES_ROOM + 512],
        }
    }

    pub(crate) fn example(tenant: &str, path: &[u8], n: u64) -> Record {
        let below = if path.is_empty() { vec![] } else { [path, b"\0"].concat() };
        let names = [below.as_slice(), tenant.as_bytes(), b"\0"].concat();
        let gone =
            Gone { head: abi::Destroyed { time_ns: n, ..head() }, names: &names, tenant: b"" };
        let meaning = Meaning { zone: "z".into(), unit: "/u".into(), allowance: None };
        record(&gone, meaning, Some(&RootName { path: "/srv".into(), level: 0 }), NOW)
    }

    #[test]
    fn a_record_says_everything_and_reads_back() {
        let record = example("alice", b"a\xff\n", 4_000_000_000);
        assert_eq!(record.time, "2012-06-19T23:59:59.000Z");
        assert_eq!(
            (record.kind.as_str(), record.mode.as_str(), record.owner),
            ("file", "0640", 1000)
        );
        assert_eq!((record.op.as_str(), record.comm.0.as_slice()), ("remove", &b"rm"[..]));
        let (root, tenant) = (record.root.clone().unwrap(), record.tenant.clone().unwrap());
        assert_eq!(absolute(&root, &tenant), b"/srv/alice");
        assert_eq!(absolute(&root, &Name::default()), b"/srv");
        assert!(record.over_budget && !record.unseen && !record.cut && record.login_uid.is_none());
        let line = Line::Gone(Box::new(record));
        let json = serde_json::to_string(&line).unwrap();
        assert!(json.bytes().all(|byte| byte >= b' '), "one line: {json}");
        assert_eq!(serde_json::from_str::<Line>(&json).unwrap(), line);
    }
}
