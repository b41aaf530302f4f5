//! Allowances as documents.

use super::until;
use crate::allowances::{Book, Entry, EntryState, Granted, Revoked};
use crate::api::{
    AllowanceList, AllowanceReport, BindReport, ClosedReport, GrantReport, OpenAllowance, Spent,
};
use crate::audit::AllowanceRef;
use crate::clock::{Now, rfc3339};

/// Allowances that are over and are listed.
const LISTED: usize = 1000;

/// Open ones first, then those that ended last.
pub(crate) fn allowances(book: &Book, now: Now) -> AllowanceList {
    let mut open: Vec<&Entry> = book.open().collect();
    open.sort_by_key(|entry| entry.serial);
    let over = book.entries().filter(|entry| !entry.is_open());
    let mut others: Vec<(i64, AllowanceReport)> =
        over.map(|entry| (ended_ns(entry), allowance(entry, now))).collect();
    let never_seen = book.all_revoked().filter(|one| book.get(&one.id).is_none());
    others.extend(never_seen.map(|one| (one.at_ns, revoked(one))));
    others.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let open = open.into_iter().map(|entry| allowance(entry, now));
    let others = others.into_iter().take(LISTED).map(|(_, report)| report);
    AllowanceList { allowances: open.chain(others).collect() }
}

/// The allowance with this id, or that it is revoked.
pub(crate) fn allowance_of(book: &Book, id: &str, now: Now) -> Option<AllowanceReport> {
    let never_seen = || book.revoked(id).map(revoked);
    book.get(id).map(|entry| allowance(entry, now)).or_else(never_seen)
}

/// The state in a word, and how it ended if it did.
pub(super) fn state_of(state: &EntryState) -> (&'static str, Option<ClosedReport>) {
    match state {
        EntryState::Open => ("open", None),
        EntryState::Failed { .. } => ("failed", None),
        EntryState::Closed { at_ns, why, by } => {
            let (at, why) = (rfc3339(*at_ns), why.word().to_owned());
            ("closed", Some(ClosedReport { at, why, by: by.clone() }))
        }
    }
}

/// One allowance.
pub(crate) fn allowance(entry: &Entry, now: Now) -> AllowanceReport {
    let is_open = entry.is_open();
    let (state, closed) = state_of(&entry.state);
    AllowanceReport {
        id: entry.id.clone(),
        serial: entry.serial,
        digest: entry.digest.clone(),
        state: state.to_owned(),
        reason: entry.reason.clone(),
        requested_by: entry.requested_by.clone(),
        signers: entry.signers.clone(),
        opened: entry.is_used().then(|| rfc3339(entry.opened_ns)),
        opened_by: entry.is_used().then(|| entry.opened_by.clone()),
        until: is_open.then(|| until(entry.until_ns, now)),
        seconds_left: is_open.then(|| seconds_left(entry, now)),
        bind: bind(entry),
        grants: grants(entry),
        closed,
    }
}

/// Those that can be spent now, in short.
pub(crate) fn open_allowances(book: &Book, now: Now) -> Vec<OpenAllowance> {
    let short = |entry: &Entry| OpenAllowance {
        id: entry.id.clone(),
        reason: entry.reason.clone(),
        until: until(entry.until_ns, now),
        seconds_left: seconds_left(entry, now),
        bind: bind(entry),
        files: sum(entry, |grant| (grant.files, grant.used_files)),
        bytes: sum(entry, |grant| (grant.bytes, grant.used_bytes)),
    };
    book.open().map(short).collect()
}

/// Which one, for the audit log.
pub(crate) fn allowance_ref(entry: &Entry) -> AllowanceRef {
    AllowanceRef {
        id: Some(entry.id.clone()),
        digest: Some(entry.digest.clone()),
        signers: entry.signers.clone(),
    }
}

/// Who may spend it.
pub(crate) fn bind(entry: &Entry) -> BindReport {
    let tree = entry.bound.tree.as_ref();
    BindReport {
        command: tree.map(|tree| tree.command.clone()),
        pid: tree.and_then(|tree| tree.first).map(|first| first.pid),
        user: entry.bound.user.clone(),
        unit: entry.bound.unit.as_ref().and_then(|unit| unit.path.clone()),
    }
}

/// What it grants, and what was spent of that.
pub(crate) fn grants(entry: &Entry) -> Vec<GrantReport> {
    let grant = |grant: &Granted| GrantReport {
        zone: grant.zone.clone(),
        ops: grant.ops.clone(),
        subtrees: grant.subtrees.clone(),
        places: grant.places,
        files: spent(grant.files, grant.used_files),
        bytes: spent(grant.bytes, grant.used_bytes),
        tenants: spent(grant.tenants, grant.used_tenants),
    };
    entry.grants.iter().map(grant).collect()
}

fn revoked(one: &Revoked) -> AllowanceReport {
    AllowanceReport {
        id: one.id.clone(),
        serial: 0,
        digest: String::new(),
        state: "revoked".to_owned(),
        reason: String::new(),
        requested_by: String::new(),
        signers: Vec::new(),
        opened: None,
        opened_by: None,
        until: None,
        seconds_left: None,
        bind: BindReport::default(),
        grants: Vec::new(),
        closed: Some(ClosedReport {
            at: rfc3339(one.at_ns),
            why: "revoked".to_owned(),
            by: Some(one.by.clone()),
        }),
    }
}

fn ended_ns(entry: &Entry) -> i64 {
    match entry.state {
        EntryState::Closed { at_ns, .. } => at_ns,
        EntryState::Open | EntryState::Failed { .. } => entry.opened_ns,
    }
}

fn seconds_left(entry: &Entry, now: Now) -> u64 {
    entry.until_ns.saturating_sub(now.boot_ns) / 1_000_000_000
}

fn sum(entry: &Entry, side: impl Fn(&Granted) -> (u64, u64)) -> Spent {
    let add = |(limit, used): (u64, u64), grant: &Granted| {
        let (more, more_used) = side(grant);
        (limit.saturating_add(more), used.saturating_add(more_used))
    };
    let (limit, used) = entry.grants.iter().fold((0, 0), add);
    spent(limit, used)
}

fn spent(limit: u64, used: u64) -> Spent {
    Spent { limit, spent: used, left: limit.saturating_sub(used) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allowances::{Loaded, Why, test_entries};

    const NOW: Now = Now { boot_ns: 20_000_000_000, wall_ns: 20_000_000_000 };

    /// Those that ended last come next.
    #[test]
    fn list_sorts_open_allowances_first() {
        let closed = |id, at_ns| Entry {
            state: EntryState::Closed { at_ns, why: Why::Finished, by: None },
            ..test_entries::entry(id)
        };
        let mut later = test_entries::tree("later");
        later.serial += 1;
        let revoked = Revoked { id: "bad".to_owned(), at_ns: 150, by: test_entries::person() };
        let loaded = Loaded {
            entries: vec![
                closed("old", 100),
                later,
                closed("new", 200),
                test_entries::entry("open"),
            ],
            revoked: vec![revoked],
            ..Loaded::default()
        };
        let mut book = Book::default();
        let _ = book.load(loaded, "boot".to_owned(), NOW);
        let list = allowances(&book, NOW).allowances;
        let shown: Vec<(&str, &str)> =
            list.iter().map(|one| (one.id.as_str(), one.state.as_str())).collect();
        let expected = [
            ("open", "open"),
            ("later", "open"),
            ("new", "closed"),
            ("bad", "revoked"),
            ("old", "closed"),
        ];
        assert_eq!(shown, expected);
        assert_eq!(list[0].seconds_left, Some(3590));
        assert_eq!(list[0].until.as_ref().unwrap().time, "1970-01-01T01:00:10.000Z");
        assert_eq!(list[1].bind.command.as_deref(), Some("/usr/bin/clean --all"));
        assert_eq!(list[3].closed.as_ref().unwrap().why, "revoked");
        assert!(list[3].opened.is_none() && list[2].until.is_none());
        assert!(
            allowance_of(&book, "bad", NOW).is_some() && allowance_of(&book, "x", NOW).is_none()
        );
    }

    #[test]
    fn left_is_granted_minus_spent() {
        let mut entry = test_entries::entry("a");
        let _ = entry.spent(&test_entries::row(&entry, 30));
        let report = allowance(&entry, NOW);
        assert_eq!(report.grants[0].files, Spent { limit: 100, spent: 30, left: 70 });
        let mut book = Book::default();
        let loaded = Loaded { entries: vec![entry], ..Loaded::default() };
        let _ = book.load(loaded, "boot".to_owned(), NOW);
        assert_eq!(open_allowances(&book, NOW)[0].files.left, 70);
    }
}
