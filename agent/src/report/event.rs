//! One op and what was decided, for people and documents.

use std::fmt::Display;

use holdfast_abi as abi;

use crate::api::{BudgetLeft, EventReport, Tenant, TripCause, UnitRef, Until};
use crate::clock::Now;
use crate::daemon::Decided;
use crate::text;

/// An event of the kernel as a document. `zone` and `label` are what its numbers stand for, as far
/// as known; `pauses` is whether the zone pauses ops that are over budget.
pub(crate) fn event(
    decided: &Decided,
    zone: Option<&str>,
    label: Option<&str>,
    pauses: bool,
    now: Now,
) -> EventReport {
    let raw = &decided.raw;
    let path_cut = raw.flags & abi::FLAG_PATH_CUT != 0;
    let mut path = decided.path.clone();
    if path_cut {
        path.splice(0..0, "…/".bytes());
    }
    let (path, path_bytes) = text::lossless(&path);
    EventReport {
        time: now.wall_at(raw.time_ns),
        time_ns: raw.time_ns,
        zone: zone.map_or_else(|| format!("slot {}", raw.zone), str::to_owned),
        op: word(abi::Op::from_number(raw.op).map(abi::Op::word), raw.op),
        verdict: word(abi::Verdict::from_number(raw.verdict).map(abi::Verdict::word), raw.verdict),
        reason: word(abi::Reason::from_number(raw.reason).map(abi::Reason::word), raw.reason),
        trip: raw.flags & abi::FLAG_FIRST != 0,
        files: raw.files,
        bytes: raw.bytes,
        tenant: tenant(raw),
        path,
        path_bytes,
        path_cut,
        inode: raw.ino,
        device: device(raw.dev),
        strict: raw.flags & abi::FLAG_STRICT != 0,
        kernel_thread: raw.flags & abi::FLAG_KTHREAD != 0,
        unit: UnitRef { id: raw.unit, path: decided.unit.clone() },
        uid: raw.uid,
        login_uid: (raw.login_uid != u32::MAX).then_some(raw.login_uid),
        who: who(raw.who).to_owned(),
        pid: raw.pid,
        tid: raw.tid,
        comm: text::lossless(until_nul(&raw.comm)).0,
        budget: (raw.budget != 0).then(|| BudgetLeft {
            label: label.map(str::to_owned),
            actor: raw.actor,
            files_left: (raw.files_left != u64::MAX).then_some(raw.files_left),
            bytes_left: (raw.bytes_left != u64::MAX).then_some(raw.bytes_left),
        }),
        // Only the agent's memory knows the id.
        allowance: (raw.allowance != 0).then(|| format!("serial {}", raw.allowance)),
        latched_until: (raw.latched_until != 0)
            .then(|| Until { time: now.wall_at(raw.latched_until), time_ns: raw.latched_until }),
        tripped_by: trip_cause(&raw.trip, now),
        not_held: not_held(raw, pauses).map(str::to_owned),
        paced: raw.flags & abi::FLAG_PACED != 0,
        suppressed: raw.suppressed,
    }
}

/// What has tripped an actor.
pub(super) fn trip_cause(trip: &abi::Trip, now: Now) -> Option<TripCause> {
    let limit = match trip.over {
        over if over == abi::Over::Files as u32 => abi::Reason::Files,
        over if over == abi::Over::Bytes as u32 => abi::Reason::Bytes,
        over if over == abi::Over::Tenants as u32 => abi::Reason::Tenants,
        _ => return None,
    };
    Some(TripCause {
        time: now.wall_at(trip.time_ns),
        time_ns: trip.time_ns,
        limit: limit.word().to_owned(),
        inode: trip.ino,
        device: device(trip.dev),
        tenant_inode: (trip.tenant != 0).then_some(trip.tenant),
    })
}

/// Why an op was denied where others are paused.
fn not_held(raw: &abi::Event, pauses: bool) -> Option<&'static str> {
    if raw.verdict != abi::Verdict::Deny as u8 {
        return None;
    }
    let flag = |flag| raw.flags & flag != 0;
    // Only a zone that pauses has these.
    if raw.reason == abi::Reason::Expired as u8 {
        Some("expired")
    } else if flag(abi::FLAG_AGENT_GONE) {
        Some("agent_gone")
    } else if !pauses {
        None
    } else if raw.reason == abi::Reason::UnknownCost as u8
        || abi::Op::from_number(raw.op).is_some_and(abi::Op::cost_is_unknown)
    {
        Some("unknown_cost")
    } else if flag(abi::FLAG_KTHREAD) {
        Some("kernel_thread")
    } else if flag(abi::FLAG_NOT_STOPPED) {
        Some("cannot_be_stopped")
    } else if flag(abi::FLAG_TOO_LARGE) {
        Some("too_large")
    } else {
        None
    }
}

/// What the log says about a trip.
pub(crate) fn trip_message(event: &EventReport) -> String {
    let limit = event.budget.as_ref().and_then(|budget| budget.label.as_deref());
    let until = event
        .latched_until
        .as_ref()
        .map_or_else(String::new, |until| format!(", latched until {}", until.time));
    format!(
        "trip: zone {}, {}{}: {} of {} by {} (pid {}, uid {}, unit {}), {} of budget \
         \"{}\"{until}; planned work asks for an allowance: `holdfast allow new`",
        event.zone,
        happened(&event.verdict),
        event
            .not_held
            .as_ref()
            .map_or_else(String::new, |why| format!(" instead of paused ({why})")),
        event.op,
        text::for_terminal(text::original(&event.path, event.path_bytes.as_deref())),
        text::for_terminal(event.comm.as_bytes()),
        event.pid,
        event.uid,
        text::for_terminal(event.unit.path.as_deref().unwrap_or("?").as_bytes()),
        event.reason,
        limit.unwrap_or("?"),
    )
}

/// What has happened to an op with this verdict.
fn happened(verdict: &str) -> &str {
    match abi::Verdict::from_word(verdict) {
        Some(abi::Verdict::Allow) => "let go",
        Some(abi::Verdict::Observe) => "observed",
        Some(abi::Verdict::Deny) => "denied",
        Some(abi::Verdict::Hold) => "held",
        Some(abi::Verdict::Throttle) => "throttled",
        None => verdict,
    }
}

/// Kernel device number as major:minor (linux/kdev_t.h: 12 and 20 bits).
fn device(dev: u32) -> String {
    format!("{}:{}", dev >> 20, dev & 0xf_ffff)
}

/// The word, or the number if a newer kernel program sent one this agent does not know.
fn word(word: Option<&'static str>, number: impl Display) -> String {
    word.map_or_else(|| format!("unknown({number})"), str::to_owned)
}

fn who(mask: u32) -> &'static str {
    if mask & u32::from(abi::Who::OWNER_BIT) != 0 {
        abi::Who::Owners.word()
    } else {
        abi::Who::Operators.word()
    }
}

/// The tenant of an op.
pub(super) fn tenant(raw: &abi::Event) -> Option<Tenant> {
    if raw.tenant == 0 {
        return None;
    }
    let (name, name_bytes) = text::lossless(until_nul(&raw.tenant_name));
    Some(Tenant { inode: raw.tenant, name, name_bytes })
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const NOW: Now = Now { boot_ns: 10_000_000_000, wall_ns: 1_340_150_400_000_000_000 };

    pub(crate) fn denied() -> abi::Event {
        let mut raw = abi::Event {
            time_ns: NOW.boot_ns - 1_000_000_000,
            files: 1,
            bytes: 4096,
            tenant: 77,
            ino: 88,
            unit: 5,
            budget: 9,
            actor: 5,
            files_left: 0,
            bytes_left: u64::MAX,
            latched_until: NOW.boot_ns + 60_000_000_000,
            trip: abi::Trip {
                time_ns: NOW.boot_ns - 1_000_000_000,
                ino: 88,
                tenant: 77,
                dev: (8 << 20) | 1,
                over: abi::Over::Files as u32,
            },
            allowance: 0,
            dev: (8 << 20) | 1,
            pid: 100,
            tid: 101,
            uid: 0,
            login_uid: u32::MAX,
            zone: 1,
            suppressed: 3,
            op: abi::Op::Remove as u8,
            verdict: abi::Verdict::Deny as u8,
            reason: abi::Reason::Files as u8,
            flags: abi::FLAG_FIRST,
            path_len: 0,
            who: abi::Who::OPERATOR_BIT.into(),
            comm: *b"rm\x1b[2J\0\0\0\0\0\0\0\0\0\0",
            tenant_name: [0; 64],
            path: [0; abi::PATH_ROOM + 256],
        };
        raw.tenant_name[..5].copy_from_slice(b"ten\xff\n");
        raw
    }

    pub(crate) fn decided(raw: abi::Event) -> Decided {
        Decided { raw, unit: Some("/user.slice".to_owned()), path: b"/srv/a\xff/b\x1b\n".to_vec() }
    }

    #[test]
    fn event_report_loses_no_byte() {
        let report = event(
            &decided(denied()),
            Some("customers"),
            Some("operators per unit, 10m"),
            false,
            NOW,
        );
        assert_eq!(
            (report.op.as_str(), report.verdict.as_str(), report.reason.as_str()),
            ("remove", "deny", "files")
        );
        assert_eq!(
            (report.time.as_str(), report.device.as_str()),
            ("2012-06-19T23:59:59.000Z", "8:1")
        );
        assert!(report.trip && !report.strict && !report.path_cut);
        assert_eq!(report.path, "/srv/a\\xff/b\u{1b}\n");
        assert_eq!(report.path_bytes.as_deref(), Some(b"/srv/a\xff/b\x1b\n".as_slice()));
        let tenant = report.tenant.clone().unwrap();
        assert_eq!(
            (tenant.inode, tenant.name_bytes.as_deref()),
            (77, Some(b"ten\xff\n".as_slice()))
        );
        assert_eq!(report.login_uid, None);
        let budget = report.budget.clone().unwrap();
        assert_eq!((budget.files_left, budget.bytes_left), (Some(0), None));
        assert_eq!(report.latched_until.clone().unwrap().time, "2012-06-20T00:01:00.000Z");
        let cause = report.tripped_by.clone().unwrap();
        assert_eq!(
            (cause.limit.as_str(), cause.inode, cause.device.as_str(), cause.tenant_inode),
            ("files", 88, "8:1", Some(77))
        );
        assert_eq!(cause.time, report.time);
        let json = serde_json::to_string(&report).unwrap();
        assert!(
            json.bytes().all(|byte| byte >= b' '),
            "one line without control characters: {json}"
        );
        assert_eq!(serde_json::from_str::<EventReport>(&json).unwrap(), report);
    }

    /// The zone is one that pauses.
    #[test]
    fn denial_says_why_not_held() {
        let why = |change: &dyn Fn(&mut abi::Event), pauses| {
            let mut raw = denied();
            change(&mut raw);
            let report = event(&decided(raw), Some("z"), None, pauses, NOW);
            (report.not_held, report.paced)
        };
        let told = |word: &str| (Some(word.to_owned()), false);
        assert_eq!(why(&|raw| raw.flags |= abi::FLAG_AGENT_GONE, true), told("agent_gone"));
        assert_eq!(why(&|raw| raw.flags |= abi::FLAG_NOT_STOPPED, true), told("cannot_be_stopped"));
        assert_eq!(why(&|raw| raw.flags |= abi::FLAG_TOO_LARGE, true), told("too_large"));
        assert_eq!(why(&|raw| raw.flags |= abi::FLAG_KTHREAD, true), told("kernel_thread"));
        assert_eq!(why(&|raw| raw.flags |= abi::FLAG_KTHREAD, false), (None, false));
        let unknown = abi::Reason::UnknownCost as u8;
        assert_eq!(why(&|raw| raw.reason = unknown, true), told("unknown_cost"));
        assert_eq!(why(&|raw| raw.op = abi::Op::Detach as u8, true), told("unknown_cost"));
        assert_eq!(why(&|raw| raw.reason = unknown, false), (None, false));
        assert_eq!(why(&|raw| raw.reason = abi::Reason::Expired as u8, false), told("expired"));
        assert_eq!(why(&|_| {}, true), (None, false));
        let held = |raw: &mut abi::Event| raw.verdict = abi::Verdict::Hold as u8;
        assert_eq!(why(&held, true), (None, false));
        let paced = |raw: &mut abi::Event| {
            raw.verdict = abi::Verdict::Allow as u8;
            raw.flags = abi::FLAG_PACED;
        };
        assert_eq!(why(&paced, true), (None, true));
    }

    #[test]
    fn a_trip_says_what_has_happened() {
        let message = |verdict: abi::Verdict, pauses| {
            let raw = abi::Event {
                verdict: verdict as u8,
                flags: abi::FLAG_FIRST | abi::FLAG_KTHREAD,
                ..denied()
            };
            trip_message(&event(&decided(raw), Some("z"), None, pauses, NOW))
        };
        assert!(message(abi::Verdict::Hold, true).starts_with("trip: zone z, held: remove"));
        assert!(message(abi::Verdict::Throttle, true).starts_with("trip: zone z, throttled: "));
        assert!(message(abi::Verdict::Deny, false).starts_with("trip: zone z, denied: "));
        let instead = "trip: zone z, denied instead of paused (kernel_thread): ";
        assert!(message(abi::Verdict::Deny, true).starts_with(instead));
    }

    #[test]
    fn the_log_gets_no_control_characters() {
        let message = trip_message(&event(&decided(denied()), Some("customers"), None, false, NOW));
        assert!(!message.chars().any(char::is_control), "{message:?}");
        assert!(message.contains(r"/srv/a\xff/b\x1b\x0a"), "{message}");
    }

    #[test]
    fn unknown_numbers_are_shown() {
        let mut raw = denied();
        raw.op = 200;
        raw.flags = abi::FLAG_PATH_CUT;
        raw.tenant = 0;
        raw.budget = 0;
        raw.latched_until = 0;
        let report = event(&decided(raw), None, None, false, NOW);
        assert_eq!((report.op.as_str(), report.zone.as_str()), ("unknown(200)", "slot 1"));
        assert!(report.path.starts_with("…/"));
        assert!(
            report.tenant.is_none() && report.budget.is_none() && report.latched_until.is_none()
        );
    }
}
