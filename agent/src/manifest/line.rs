//! The lines of a segment. One JSON document each; the first is the head, and once the segment is
//! closed the last one says so. A file's line refers to a directory and an actor by numbers, which
//! earlier lines of the same segment explain.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_abi::{self as abi, Op};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Name, Place};
use crate::clock::rfc3339;

/// What [`Line::Head`] has as its version: that of everything in the segment.
pub(super) const VERSION: u32 = 2;

/// Everything that can be in a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// The first line of every segment.
    Head {
        /// Of the segment's form: [`VERSION`].
        version: u32,
        /// Rises by one.
        segment: u64,
        /// SHA-256 of the segment before; absent in the first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        previous: Option<String>,
        /// RFC 3339.
        time: String,
        /// The kernel's ring at that time.
        ring: String,
        /// Up to where its records are kept.
        position: u64,
        /// Records missing so far, by zone, since that ring is there. They are in gaps already.
        lost: BTreeMap<String, u64>,
    },
    /// A directory, by a number that is its own in the segment.
    Dir(u32, Dir),
    /// Who destroyed something, by such a number.
    Actor(u32, Actor),
    /// When boot-time nanosecond 0 was, in nanoseconds since 1970: for records from here on.
    Clock(i64),
    /// The end of a batch: records up to this position of the ring are kept.
    Kept(u64),
    /// Something was destroyed. In the segment it is a [`FileLine`].
    #[serde(skip)]
    Gone(Box<Record>),
    /// Something is missing.
    Gap(Gap),
    /// From here on records are from this ring.
    Ring {
        /// RFC 3339.
        time: String,
        /// Its name.
        ring: String,
        /// Up to where its records were taken before.
        position: u64,
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

/// One op that destroyed something, as it is in a segment: at most 160 bytes with an ordinary name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileLine {
    /// Number of its [`Line::Dir`].
    #[serde(rename = "d")]
    pub(super) dir: u32,
    /// Number of its [`Line::Actor`].
    #[serde(rename = "a")]
    pub(super) actor: u32,
    /// Boot-time nanoseconds.
    #[serde(rename = "t")]
    pub(crate) time_ns: u64,
    /// An [`abi::Op`]; `remove` if absent.
    #[serde(rename = "o", default = "remove", deserialize_with = "op")]
    #[serde(skip_serializing_if = "is_remove")]
    pub(crate) op: Cow<'static, str>,
    /// Below the directory; empty for that directory itself.
    #[serde(rename = "n")]
    pub(super) name: Name,
    /// Inode number.
    #[serde(rename = "i")]
    pub(super) inode: u64,
    /// 0 if it only went to another tenant; 1 if absent.
    #[serde(rename = "f", default = "one", skip_serializing_if = "is_one")]
    pub(crate) files: u64,
    /// Bytes.
    #[serde(rename = "b")]
    pub(crate) bytes: u64,
    /// It went over a budget in a zone that observes.
    #[serde(rename = "over", default, skip_serializing_if = "is_false")]
    pub(crate) over_budget: bool,
    /// Nobody saw how the call ended: it may have failed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) unseen: bool,
    /// The call failed after all: this takes the record back that is the same otherwise. Readers
    /// are shown neither.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) undone: bool,
}

/// How every [`FileLine`] begins, and no [`Line`].
pub(super) const FILE: &[u8] = b"{\"d\":";

impl FileLine {
    /// What the kernel says of it.
    pub(super) fn of(head: &abi::Destroyed, dir: u32, actor: u32, name: Name) -> Self {
        Self {
            dir,
            actor,
            time_ns: head.time_ns,
            op: Cow::Borrowed(Op::from_number(head.op).map_or("unknown", Op::word)),
            name,
            inode: head.ino,
            files: head.files,
            bytes: head.bytes,
            over_budget: head.flags & abi::GONE_OBSERVED != 0,
            unseen: head.flags & abi::GONE_UNSEEN != 0,
            undone: head.flags & abi::GONE_UNDONE != 0,
        }
    }
}

/// Files of one directory that have the same owner and mode. A directory with others has several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dir {
    /// The directory; the file itself where nothing else can share the line.
    pub(crate) place: Place,
    /// `i_mode` of the files: type and permissions.
    pub(crate) mode: u16,
    /// User they belonged to.
    pub(crate) owner: u32,
}

/// Nanoseconds since 1970 of a boot time.
pub(super) fn wall_ns(time_ns: u64, clock: i64) -> i64 {
    clock.saturating_add_unsigned(time_ns).max(0)
}

/// Who destroyed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Actor {
    /// Path of the unit that did it, or `cgroup N`.
    pub(crate) unit: String,
    /// Its cgroup: what budgets count by.
    pub(crate) unit_id: u64,
    /// Real user.
    pub(crate) uid: u32,
    /// Login user, where one is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) login_uid: Option<u32>,
    /// Process.
    pub(crate) pid: u32,
    /// Thread.
    pub(crate) tid: u32,
    /// Name of the thread.
    pub(crate) comm: Name,
    /// Id of the allowance it was spent from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) allowance: Option<String>,
}

impl Actor {
    /// What the kernel says of it.
    pub(super) fn of(head: &abi::Destroyed, unit: String, allowance: Option<String>) -> Self {
        let end = head.comm.iter().position(|&byte| byte == 0).unwrap_or(head.comm.len());
        Self {
            unit,
            unit_id: head.unit,
            uid: head.uid,
            login_uid: (head.login_uid != u32::MAX).then_some(head.login_uid),
            pid: head.pid,
            tid: head.tid,
            comm: head.comm[..end].into(),
            allowance,
        }
    }
}

/// One op that destroyed something, for readers. A million fit into the memory of a small host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) file: FileLine,
    /// What it shares with other files of the directory.
    pub(crate) dir: Arc<Dir>,
    /// Who did it.
    pub(crate) actor: Arc<Actor>,
    /// As in [`Line::Clock`].
    pub(crate) clock: i64,
}

/// What makes a record one of a kind in one boot: time, thread and op.
pub(super) type Key = (u64, u32, Cow<'static, str>);

impl Record {
    pub(super) fn key(&self) -> Key {
        (self.file.time_ns, self.actor.tid, self.file.op.clone())
    }

    /// RFC 3339, in UTC.
    pub(crate) fn time(&self) -> String {
        rfc3339(wall_ns(self.file.time_ns, self.clock))
    }

    /// Its whole path, as in [`Place`].
    pub(crate) fn path(&self) -> Name {
        Name(self.path_parts().concat())
    }

    /// The same in parts: the directory, a slash unless one of both is empty, and the name.
    pub(crate) fn path_parts(&self) -> [&[u8]; 3] {
        let (dir, name) = (&self.dir.place.path.0, &self.file.name.0);
        let slash: &[u8] = if dir.is_empty() || name.is_empty() { b"" } else { b"/" };
        [dir, slash, name]
    }

    /// `file`, `directory`, `symlink` or `special`.
    pub(crate) fn kind(&self) -> &'static str {
        match self.dir.mode & 0o170_000 {
            0o100_000 => "file",
            0o040_000 => "directory",
            0o120_000 => "symlink",
            _ => "special",
        }
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            time: String,
            #[serde(flatten)]
            place: Place,
            kind: &'static str,
            mode: String,
            inode: u64,
            owner: u32,
            op: &'a str,
            files: u64,
            bytes: u64,
            #[serde(flatten)]
            actor: &'a Actor,
            #[serde(skip_serializing_if = "is_false")]
            over_budget: bool,
            #[serde(skip_serializing_if = "is_false")]
            unseen: bool,
            time_ns: u64,
        }
        let (file, dir) = (&self.file, &self.dir);
        Shown {
            time: self.time(),
            place: Place { path: self.path(), ..dir.place.clone() },
            kind: self.kind(),
            mode: format!("{:04o}", dir.mode & 0o7777),
            inode: file.inode,
            owner: dir.owner,
            op: &file.op,
            files: file.files,
            bytes: file.bytes,
            actor: &self.actor,
            over_budget: file.over_budget,
            unseen: file.unseen,
            time_ns: file.time_ns,
        }
        .serialize(serializer)
    }
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

pub(super) fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn is_one(n: &u64) -> bool {
    *n == 1
}

const fn one() -> u64 {
    1
}

fn is_remove(op: &str) -> bool {
    op == Op::Remove.word()
}

const fn remove() -> Cow<'static, str> {
    Cow::Borrowed(Op::Remove.word())
}

/// Takes no memory for a word that is known.
fn op<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'static, str>, D::Error> {
    let word = String::deserialize(deserializer)?;
    Ok(Op::from_word(&word).map_or_else(|| word.into(), |op| op.word().into()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::RootName;
    use super::*;
    use crate::clock::Now;
    use crate::kernel::Gone;

    pub(crate) const NOW: Now = Now { boot_ns: 5_000_000_000, wall_ns: 1_340_150_400_000_000_000 };

    pub(crate) fn head() -> abi::Destroyed {
        abi::Destroyed {
            kind: abi::GONE_FILE,
            dir: 1,
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
            tenant_depth: 1,
            slot: 1,
            name_len: 0,
            comm: *b"rm\0garbage\0\0\0\0\0\0",
            name: [0; abi::NAME_ROOM],
        }
    }

    /// When boot time began, by [`NOW`].
    pub(crate) const CLOCK: i64 = NOW.wall_ns - NOW.boot_ns as i64;

    /// The names of a tenant's file, as the kernel sends them.
    pub(crate) fn names(tenant: &str, path: &str) -> Vec<u8> {
        let names = path.rsplit('/').filter(|name| !name.is_empty()).chain([tenant]);
        names.flat_map(|name| [name.as_bytes(), b"\0"].concat()).collect()
    }

    pub(crate) fn place(gone: &Gone<'_>) -> Place {
        Place::of(gone, "z".into(), Some(&RootName { path: "/srv".into(), level: 0 }))
    }

    pub(crate) fn dir(gone: &Gone<'_>) -> Dir {
        Dir { place: place(gone), mode: gone.head.mode, owner: gone.head.owner }
    }

    pub(crate) fn actor(gone: &Gone<'_>) -> Actor {
        Actor::of(gone.head, "/u".into(), None)
    }

    impl Record {
        pub(crate) fn dir_mut(&mut self) -> &mut Dir {
            Arc::make_mut(&mut self.dir)
        }

        pub(crate) fn actor_mut(&mut self) -> &mut Actor {
            Arc::make_mut(&mut self.actor)
        }
    }

    pub(crate) fn record(gone: &Gone<'_>) -> Record {
        let file = FileLine::of(gone.head, 0, 0, Name::default());
        Record { file, dir: dir(gone).into(), actor: actor(gone).into(), clock: CLOCK }
    }

    pub(crate) fn example(tenant: &str, path: &[u8], n: u64) -> Record {
        let head = abi::Destroyed { time_ns: n, ..head() };
        let names = [tenant.as_bytes(), b"\0"].concat();
        let mut record = record(&Gone { head: &head, names: &names, tenant: b"" });
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let above = path[..path.len() - name.len()].strip_suffix(b"/").unwrap_or_default();
        record.dir_mut().place.path = above.into();
        record.file.name = name.into();
        record
    }

    /// Lines as they are in a segment, each record with a directory and an actor of its own.
    pub(crate) fn segment(lines: impl IntoIterator<Item = Line>) -> String {
        let mut text = String::new();
        let mut put = |json: serde_json::Result<String>| text.extend([json.unwrap(), "\n".into()]);
        for (n, line) in (0..).zip(lines) {
            let Line::Gone(record) = line else {
                put(serde_json::to_string(&line));
                continue;
            };
            let Record { file, dir, actor, clock } = *record;
            let (dir, actor) = (Arc::unwrap_or_clone(dir), Arc::unwrap_or_clone(actor));
            for line in [Line::Clock(clock), Line::Dir(n, dir), Line::Actor(n, actor)] {
                put(serde_json::to_string(&line));
            }
            put(serde_json::to_string(&FileLine { dir: n, actor: n, ..file }));
        }
        text
    }

    /// Programs read this: `holdfast manifest --json`.
    #[test]
    fn json_of_a_record_is_stable() {
        let mut record = example("alice", b"d/a\xff\n", 4_000_000_000);
        assert_eq!(
            serde_json::to_string(&record).unwrap(),
            r#"{"time":"2012-06-19T23:59:59.000Z","zone":"z","root":"/srv","tenant":"alice","#
                .to_owned()
                + r#""tenant_inode":7,"path":{"hex":"642f61ff0a"},"kind":"file","mode":"0640","#
                + r#""inode":99,"owner":1000,"op":"remove","files":1,"bytes":12,"unit":"/u","#
                + r#""unit_id":5,"uid":0,"pid":100,"tid":101,"comm":"rm","over_budget":true,"#
                + r#""time_ns":4000000000}"#
        );
        record.dir_mut().place = Place { zone: "z".into(), cut: true, ..Place::default() };
        record.dir_mut().mode = 0o041_777;
        (record.actor_mut().login_uid, record.actor_mut().allowance) = (Some(3), Some("C".into()));
        let (op, name) = ("move_out".into(), b"f"[..].into());
        record.file =
            FileLine { op, name, over_budget: false, unseen: true, undone: true, ..record.file };
        assert_eq!(
            serde_json::to_string(&record).unwrap(),
            r#"{"time":"2012-06-19T23:59:59.000Z","zone":"z","tenant_inode":0,"path":"f","#
                .to_owned()
                + r#""cut":true,"kind":"directory","mode":"1777","inode":99,"owner":1000,"#
                + r#""op":"move_out","files":1,"bytes":12,"unit":"/u","unit_id":5,"uid":0,"#
                + r#""login_uid":3,"pid":100,"tid":101,"comm":"rm","allowance":"C","#
                + r#""unseen":true,"time_ns":4000000000}"#
        );
    }

    #[test]
    fn path_is_the_files_own() {
        let path = |dir: &[u8], name: &[u8]| {
            let mut record = example("alice", name, 1);
            record.dir_mut().place.path = dir.into();
            record.path().0
        };
        assert_eq!(path(b"a/b", b"c"), b"a/b/c");
        assert_eq!((path(b"", b"c"), path(b"a/b", b"")), (b"c".to_vec(), b"a/b".to_vec()));
        assert_eq!(path(b"", b""), b"");
    }

    #[test]
    fn absolute_paths_start_at_the_root() {
        let (root, tenant) = (b"/srv"[..].into(), b"alice"[..].into());
        assert_eq!(absolute(&root, &tenant), b"/srv/alice");
        assert_eq!(absolute(&root, &Name::default()), b"/srv");
    }
}
