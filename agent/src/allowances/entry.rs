//! One allowance as it is remembered: everything a report needs, and all that a restarted agent has
//! to know.

use serde::{Deserialize, Serialize};

use super::command::Wanted;
use super::process::ProcessId;
use crate::api::{Person, SignerReport, UnitRef, UserRef};
use crate::kernel::AllowanceRow;

/// An allowance that was presented to this host and taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Its id.
    pub(crate) id: String,
    /// SHA-256 of the document.
    pub(crate) digest: String,
    /// Why it is wanted.
    pub(crate) reason: String,
    /// Who wants it.
    pub(crate) requested_by: String,
    /// Who signed it.
    pub(crate) signers: Vec<SignerReport>,
    /// Until when it is good, seconds since 1970 UTC: from then on nobody needs to remember its id.
    pub(crate) not_after: i64,
    /// The kernel's number for it, in the boot in which it was opened.
    pub(crate) serial: u64,
    /// That boot.
    pub(crate) boot_id: String,
    /// Until when it can be spent, boot-time nanoseconds of that boot.
    pub(crate) until_ns: u64,
    /// When it was opened, nanoseconds since 1970 UTC.
    pub(crate) opened_ns: i64,
    /// Who opened it.
    pub(crate) opened_by: Person,
    /// Who may spend it.
    pub(crate) bound: Bound,
    /// What it grants, and what was spent of that.
    pub(crate) grants: Vec<Granted>,
    /// What became of it.
    pub(crate) state: EntryState,
}

/// Who may spend an allowance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bound {
    /// This user only.
    pub(crate) user: Option<UserRef>,
    /// This unit only.
    pub(crate) unit: Option<UnitRef>,
    /// A process tree only.
    pub(crate) tree: Option<Tree>,
}

/// A process tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tree {
    /// The command line, for people; cut if it is long.
    pub(crate) command: String,
    /// Its executable.
    pub(crate) executable: String,
    /// The command that was signed, if the document says one.
    pub(crate) wanted: Option<Wanted>,
    /// Who submitted it: only a child of this process can join.
    pub(crate) submitter: ProcessId,
    /// The first process of the tree, once it has joined.
    pub(crate) first: Option<ProcessId>,
}

/// One grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Granted {
    /// The zone.
    pub(crate) zone: String,
    /// The ops.
    pub(crate) ops: Vec<String>,
    /// The patterns, as signed.
    pub(crate) subtrees: Vec<String>,
    /// How many directories and files they led to.
    pub(crate) places: usize,
    /// Most files.
    pub(crate) files: u64,
    /// Most bytes.
    pub(crate) bytes: u64,
    /// Most tenants.
    pub(crate) tenants: u64,
    /// Files spent.
    pub(crate) used_files: u64,
    /// Bytes spent.
    pub(crate) used_bytes: u64,
    /// Tenants spent in.
    pub(crate) used_tenants: u64,
    /// Ops that spent.
    pub(crate) used_ops: u64,
}

/// What became of an allowance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum EntryState {
    /// It can be spent.
    Open,
    /// It is over; its id is used up.
    Closed {
        /// When, nanoseconds since 1970 UTC.
        at_ns: i64,
        /// Why.
        why: Why,
        /// Who did it, if somebody did.
        by: Option<Person>,
    },
    /// The kernel refused it: nothing was ever spent, and its id is not used up.
    Failed {
        /// Why.
        error: String,
    },
}

/// How an allowance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    /// Its command ended.
    Finished,
    /// Nothing joined it in time, or who was to start its command is gone.
    NeverStarted,
    /// Its time is over.
    Expired,
    /// Somebody revoked it.
    Revoked,
    /// Somebody closed it.
    Closed,
    /// The host was started anew.
    Rebooted,
    /// The policy no longer has a zone of it.
    Policy,
    /// The kernel had it no more.
    Lost,
}

/// An id that can never be used here (any more).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revoked {
    /// The id.
    pub(crate) id: String,
    /// When, nanoseconds since 1970 UTC.
    pub(crate) at_ns: i64,
    /// Who did it.
    pub(crate) by: Person,
}

impl Entry {
    /// Whether it can be spent.
    pub(crate) fn is_open(&self) -> bool {
        self.state == EntryState::Open
    }

    /// Whether its id is used up.
    pub(crate) fn is_used(&self) -> bool {
        match self.state {
            EntryState::Open | EntryState::Closed { .. } => true,
            EntryState::Failed { .. } => false,
        }
    }

    /// Takes over what the kernel says was spent. Whether that is news.
    pub(crate) fn spent(&mut self, row: &AllowanceRow) -> bool {
        let mut changed = false;
        for (grant, account) in self.grants.iter_mut().zip(&row.grants) {
            let used =
                (account.used_files, account.used_bytes, account.used_tenants, account.used_ops);
            changed |= used != grant.used();
            (grant.used_files, grant.used_bytes, grant.used_tenants, grant.used_ops) = used;
        }
        changed
    }

    /// What ops without a mark find it by; `None` for a process tree.
    pub(crate) fn found_by(&self) -> Option<FoundBy> {
        self.bound.found_by()
    }
}

/// What the kernel finds an allowance by: there can be one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoundBy {
    /// The unit.
    Unit(u64),
    /// The user.
    User(u32),
}

impl Bound {
    /// What ops without a mark find it by; `None` for a process tree.
    pub(crate) fn found_by(&self) -> Option<FoundBy> {
        if self.tree.is_some() {
            return None;
        }
        let unit = self.unit.as_ref().map(|unit| FoundBy::Unit(unit.id));
        unit.or(self.user.as_ref().map(|user| FoundBy::User(user.uid)))
    }
}

impl Granted {
    /// Files, bytes, tenants and ops spent.
    pub(crate) fn used(&self) -> (u64, u64, u64, u64) {
        (self.used_files, self.used_bytes, self.used_tenants, self.used_ops)
    }
}

impl Why {
    /// The word used in reports and the audit log.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::NeverStarted => "never_started",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Closed => "closed",
            Self::Rebooted => "rebooted",
            Self::Policy => "policy",
            Self::Lost => "lost",
        }
    }

    /// What to tell people.
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            Self::Finished => "its command has ended",
            Self::NeverStarted => "its command was not started",
            Self::Expired => "its time is over",
            Self::Revoked => "it was revoked",
            Self::Closed => "it was closed on request",
            Self::Rebooted => "the host was started anew",
            Self::Policy => "the policy no longer has a zone of it",
            Self::Lost => "the kernel had it no more",
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An open one for user 1000, opened at second 10 of boot `boot` for an hour.
    pub(crate) fn entry(id: &str) -> Entry {
        Entry {
            id: id.to_owned(),
            digest: "d".repeat(64),
            reason: "move the archive".to_owned(),
            requested_by: "carol@example.com".to_owned(),
            signers: vec![SignerReport {
                person: "alice@example.com".to_owned(),
                key: "SHA256:abc".to_owned(),
                algorithm: "ssh-ed25519".to_owned(),
                touched: None,
                verified: None,
            }],
            not_after: 3610,
            serial: 10_000_000_000,
            boot_id: "boot".to_owned(),
            until_ns: 3_610_000_000_000,
            opened_ns: 10_000_000_000,
            opened_by: person(),
            bound: Bound {
                user: Some(UserRef { uid: 1000, name: Some("alice".to_owned()) }),
                ..Bound::default()
            },
            grants: vec![Granted {
                zone: "customers".to_owned(),
                ops: vec!["remove".to_owned()],
                subtrees: vec!["/srv/customers/a".to_owned()],
                places: 1,
                files: 100,
                bytes: 1 << 20,
                tenants: 1,
                used_files: 0,
                used_bytes: 0,
                used_tenants: 0,
                used_ops: 0,
            }],
            state: EntryState::Open,
        }
    }

    /// The same for a process tree that nobody has joined.
    pub(crate) fn tree(id: &str) -> Entry {
        let tree = Tree {
            command: "/usr/bin/clean --all".to_owned(),
            executable: "/usr/bin/clean".to_owned(),
            wanted: None,
            submitter: ProcessId { pid: 700, start_ticks: 900 },
            first: None,
        };
        Entry { bound: Bound { tree: Some(tree), ..Bound::default() }, ..entry(id) }
    }

    pub(crate) fn person() -> Person {
        Person { uid: 0, pid: Some(700), login_uid: Some(1000), comm: Some("holdfast".to_owned()) }
    }

    /// What the kernel has for it.
    pub(crate) fn row(entry: &Entry, files: u64) -> AllowanceRow {
        use holdfast_abi as abi;
        let grants = entry.grants.iter().map(|grant| {
            let zone = abi::name_id(&grant.zone);
            let mut account =
                abi::GrantAccount::new(zone, 1, grant.files, grant.bytes, grant.tenants);
            (account.used_files, account.used_ops, account.used_tenants) = (files, files, 1);
            account
        });
        let conf = abi::AllowanceConf {
            until_ns: entry.until_ns,
            unit: 0,
            user: abi::AllowanceConf::ANY_USER,
            grants: entry.grants.len() as u32,
            tree: entry.bound.tree.is_some().into(),
            kind: abi::AllowanceConf::SIGNED,
        };
        AllowanceRow { serial: entry.serial, conf, grants: grants.collect() }
    }

    #[test]
    fn every_entry_survives_json() {
        let by = Some(person());
        let closed = EntryState::Closed { at_ns: 1, why: Why::NeverStarted, by };
        let failed = EntryState::Failed { error: "no room".to_owned() };
        for entry in [
            entry("a"),
            tree("b"),
            Entry { state: closed, ..entry("c") },
            Entry { state: failed, serial: u64::MAX, ..entry("d") },
        ] {
            let json = serde_json::to_string(&entry).unwrap();
            assert_eq!(serde_json::from_str::<Entry>(&json).unwrap(), entry);
            let more = json.replacen('{', "{\"surprise\":1,", 1);
            assert!(serde_json::from_str::<Entry>(&more).is_err());
        }
    }

    #[test]
    fn words_are_those_of_the_json() {
        for why in [
            Why::Finished,
            Why::NeverStarted,
            Why::Expired,
            Why::Revoked,
            Why::Closed,
            Why::Rebooted,
            Why::Policy,
            Why::Lost,
        ] {
            assert_eq!(serde_json::to_value(why).unwrap(), why.word());
        }
    }

    /// A tree is found by its mark, so by no user or unit.
    #[test]
    fn failed_entry_leaves_its_id_unused() {
        let failed = Entry { state: EntryState::Failed { error: String::new() }, ..entry("a") };
        assert!(!failed.is_used() && !failed.is_open());
        assert_eq!(entry("a").found_by(), Some(FoundBy::User(1000)));
        assert_eq!(tree("a").found_by(), None);
    }
}
