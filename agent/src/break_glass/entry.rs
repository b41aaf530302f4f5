//! One break-glass as it is remembered: everything a report needs, and all that a restarted agent
//! has to know.

use std::collections::BTreeMap;

use holdfast_abi as abi;
use holdfast_policy::break_glass::{Scope, Terms};
use serde::{Deserialize, Serialize};

use crate::allowances::{EntryState, Tree};
use crate::api::{Person, SignerReport};
use crate::kernel::AllowanceRow;

/// A break-glass that was opened here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Its number, from 1.
    pub(crate) number: u64,
    /// Name of its zone.
    pub(crate) zone: String,
    /// `primary` or `backup`.
    pub(crate) role: String,
    /// Why.
    pub(crate) reason: String,
    /// What let it open.
    pub(crate) proof: Proof,
    /// Who opened it.
    pub(crate) opened_by: Person,
    /// The kernel's number for it, in the boot in which it was opened.
    pub(crate) serial: u64,
    /// That boot.
    pub(crate) boot_id: String,
    /// For how long, seconds.
    pub(crate) seconds: u64,
    /// Until when it can be spent, boot-time nanoseconds of that boot.
    pub(crate) until_ns: u64,
    /// When it was opened, nanoseconds since 1970 UTC.
    pub(crate) opened_ns: i64,
    /// The process tree that may spend it; without one everybody in the zone may.
    pub(crate) tree: Option<Tree>,
    /// Most files.
    pub(crate) files: u64,
    /// Most bytes.
    pub(crate) bytes: u64,
    /// Files spent.
    pub(crate) used_files: u64,
    /// Bytes spent.
    pub(crate) used_bytes: u64,
    /// Ops that spent, by op.
    pub(crate) ops: BTreeMap<String, u64>,
    /// What became of it.
    pub(crate) state: EntryState,
}

/// What let it open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Proof {
    /// The code with this number.
    Code(u64),
    /// A signature by this person, with a key in hardware.
    Signer(SignerReport),
}

impl Entry {
    /// One that is about to be opened: its serial and times are those of that moment.
    pub(crate) fn new(
        number: u64,
        terms: &Terms,
        proof: Proof,
        by: Person,
        tree: Option<Tree>,
    ) -> Self {
        Self {
            number,
            zone: terms.zone.clone(),
            role: terms.role.word().to_owned(),
            reason: terms.reason.clone(),
            proof,
            opened_by: by,
            serial: 0,
            boot_id: String::new(),
            seconds: terms.length.as_secs(),
            until_ns: 0,
            opened_ns: 0,
            tree,
            files: terms.files,
            bytes: terms.bytes,
            used_files: 0,
            used_bytes: 0,
            ops: BTreeMap::new(),
            state: EntryState::Open,
        }
    }

    /// What events call it.
    pub(crate) fn id(&self) -> String {
        format!("break-glass-{}", self.number)
    }

    /// Whether it can be spent.
    pub(crate) fn is_open(&self) -> bool {
        self.state == EntryState::Open
    }

    /// Who may spend it.
    pub(crate) fn scope(&self) -> Scope {
        if self.tree.is_some() { Scope::Command } else { Scope::HostWide }
    }

    /// Takes over what the kernel says was spent. Whether that is news.
    pub(crate) fn spent(&mut self, row: &AllowanceRow) -> bool {
        let Some(account) = row.grants.first() else { return false };
        let by_kind = abi::Op::ALL.iter().zip(account.ops_by_kind).filter(|(_, count)| *count > 0);
        let ops = by_kind.map(|(op, count)| (op.word().to_owned(), count)).collect();
        let used = (account.used_files, account.used_bytes, ops);
        let is_news = (self.used_files, self.used_bytes) != (used.0, used.1) || self.ops != used.2;
        (self.used_files, self.used_bytes, self.ops) = used;
        is_news
    }
}
