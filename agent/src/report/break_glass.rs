//! Break-glass as documents.

use super::allowances::state_of;
use super::until;
use crate::api::{CodeReport, CodesReport, GlassReport, GlassStatus, Spent};
use crate::break_glass::{Book, Entry, Proof};
use crate::clock::{Now, rfc3339};
use crate::daemon::State;

/// Those that are over and are shown.
const SHOWN: usize = 10;

/// Everything.
pub(crate) fn glass_status(state: &State, now: Now) -> GlassStatus {
    let book = &state.glass;
    let rule = state.plan.policy.break_glass.as_ref();
    let zones = state.plan.policy.zones.iter().map(|zone| zone.name.as_str());
    let enabled = zones.filter(|name| rule.is_some_and(|rule| rule.is_for(name)));
    let over = book.entries().filter(|entry| !entry.is_open());
    GlassStatus {
        open: book.open().map(|entry| glass(entry, now)),
        closed: over.take(SHOWN).map(|entry| glass(entry, now)).collect(),
        zones: enabled.map(str::to_owned).collect(),
        max_seconds: rule.map(|rule| rule.max_length.as_secs()),
        max_files: rule.map(|rule| rule.max_files),
        max_bytes: rule.map(|rule| rule.max_bytes),
        codes_left: book.codes_left(),
        wrong_codes: book.backoff.recent(now.boot_ns),
    }
}

/// One of them.
pub(crate) fn glass(entry: &Entry, now: Now) -> GlassReport {
    let is_open = entry.is_open();
    let (state, closed) = state_of(&entry.state);
    let spent = |limit: u64, used| Spent { limit, spent: used, left: limit.saturating_sub(used) };
    GlassReport {
        number: entry.number,
        id: entry.id(),
        serial: entry.serial,
        state: state.to_owned(),
        zone: entry.zone.clone(),
        role: entry.role.clone(),
        reason: entry.reason.clone(),
        scope: entry.scope().word().to_owned(),
        command: entry.tree.as_ref().map(|tree| tree.command.clone()),
        pid: entry.tree.as_ref().and_then(|tree| tree.first).map(|first| first.pid),
        opened: rfc3339(entry.opened_ns),
        opened_by: entry.opened_by.clone(),
        code: Book::code_of(entry),
        signer: match &entry.proof {
            Proof::Signer(signer) => Some(signer.clone()),
            Proof::Code(_) => None,
        },
        until: is_open.then(|| until(entry.until_ns, now)),
        seconds_left: is_open.then(|| entry.until_ns.saturating_sub(now.boot_ns) / 1_000_000_000),
        files: spent(entry.files, entry.used_files),
        bytes: spent(entry.bytes, entry.used_bytes),
        ops: entry.ops.clone(),
        closed,
    }
}

/// Which codes there are.
pub(crate) fn codes(book: &Book) -> CodesReport {
    let code = |row: &crate::break_glass::CodeRow| CodeReport {
        number: row.number,
        made: rfc3339(row.made_ns),
        used: row.used.as_ref().map(|used| rfc3339(used.at_ns)),
        used_by: row.used.as_ref().map(|used| used.by.clone()),
    };
    CodesReport { left: book.codes_left(), codes: book.codes().map(code).collect() }
}
