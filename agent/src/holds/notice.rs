//! The two lines that a paused process's own terminal gets: what happened, and what to do.

use std::time::Duration;

use holdfast_policy::Budget;

use crate::api::EventReport;
use crate::clock;
use crate::text;

/// Characters of a path or name that are shown.
const ROOM: usize = 120;

/// What the lines are about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notice<'a> {
    /// Number of the hold.
    pub(crate) hold: u64,
    /// The op.
    pub(crate) event: &'a EventReport,
    /// The budget that refused it, if the policy still has it.
    pub(crate) budget: Option<&'a Budget>,
}

/// For a process that is held until somebody decides, or until it is denied in `patience` (at
/// `deadline`).
pub(crate) fn hold_notice(notice: Notice<'_>, deadline: &str, patience: Duration) -> String {
    let Notice { hold, event, .. } = notice;
    lines(
        &format!(
            "{} is PAUSED before {} of {}. {}. Nothing further is lost while it waits.",
            who(event),
            event.op,
            path(event),
            spent(notice),
        ),
        &format!(
            "to decide, as root: `holdfast hold show {hold}`, then `holdfast hold release {hold} \
             --files N` or `holdfast hold kill {hold}`. If nobody does, it is denied (Operation \
             not permitted) at {deadline}, in {}. Planned work asks for an allowance: `holdfast \
             allow new`.",
            clock::words(patience),
        ),
    )
}

/// For a process that is paused and continued at the budget's rate.
pub(crate) fn throttle_notice(notice: Notice<'_>) -> String {
    let Notice { hold, event, .. } = notice;
    lines(
        &format!(
            "{} is over budget and goes on SLOWLY, at the budget's rate: it is paused before {} of \
             {}. {}.",
            who(event),
            event.op,
            path(event),
            spent(notice),
        ),
        &format!(
            "as root, `holdfast hold show {hold}` says more, `holdfast hold kill {hold}` ends it, \
             and `holdfast hold release {hold} --files N` lets N files go at once. Planned work \
             asks for an allowance: `holdfast allow new`."
        ),
    )
}

/// A line each, whatever the terminal's cursor and modes.
fn lines(what: &str, then: &str) -> String {
    format!("\r\nholdfast: {what}\r\nholdfast: {then}\r\n")
}

fn who(event: &EventReport) -> String {
    format!("{} (pid {})", short(&text::for_terminal(event.comm.as_bytes())), event.pid)
}

fn path(event: &EventReport) -> String {
    short(&text::for_terminal(text::original(&event.path, event.path_bytes.as_deref())))
}

/// `Zone customers has lost 200 of the 200 files that "operators per unit, 10m" allows`.
fn spent(notice: Notice<'_>) -> String {
    let zone = &notice.event.zone;
    let left = notice.event.budget.as_ref();
    let Some((budget, left)) = notice.budget.zip(left) else {
        return format!("It is over a budget of zone {zone}");
    };
    let files = budget.files.zip(left.files_left);
    let files =
        files.map(|(limit, left)| format!("{} of {limit} files", limit.saturating_sub(left)));
    let bytes = budget.bytes.zip(left.bytes_left).map(|(limit, left)| {
        format!("{} of {}", text::size(limit.saturating_sub(left)), text::size(limit))
    });
    let tenants = (notice.event.reason == "tenants").then_some(budget.tenants).flatten();
    let tenants = tenants.map(|limit| format!("files of {limit} of {limit} tenants"));
    let spent: Vec<String> = files.into_iter().chain(bytes).chain(tenants).collect();
    if spent.is_empty() {
        return format!("It is over budget \"{}\" of zone {zone}", budget.label());
    }
    format!("Zone {zone} has lost {} that budget \"{}\" allows", spent.join(", "), budget.label())
}

fn short(text: &str) -> String {
    match text.char_indices().nth(ROOM) {
        // Its end says more than its beginning.
        Some(_) => {
            let skip = text.chars().count() - ROOM;
            format!("…{}", text.chars().skip(skip).collect::<String>())
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use holdfast_policy::Policy;

    use super::*;
    use crate::report;

    fn event() -> EventReport {
        let decided = report::test_events::decided(report::test_events::denied());
        report::event(&decided, Some("customers"), None, true, report::test_events::NOW)
    }

    /// The first of its two lines says what happened.
    #[test]
    fn notice_says_what_to_do() {
        let policy = Policy::parse(
            "test",
            "[[zone]]\nname = \"customers\"\nrole = \"primary\"\npaths = [\"/srv\"]\n\
             [[zone.budget]]\nper = \"unit\"\nfiles = 200\nwindow = \"10m\"\n",
        )
        .unwrap();
        let event = event();
        let budget = Some(&policy.zones[0].budgets[0]);
        let notice = Notice { hold: 7, event: &event, budget };
        let text = hold_notice(notice, "2012-06-20T00:30:00.000Z", Duration::from_secs(1800));
        for part in [
            r"rm\x1b[2J (pid 100) is PAUSED before remove of /srv/a\xff/b\x1b\x0a.",
            "Zone customers has lost 200 of 200 files that budget \"everyone per unit, 10m\" \
             allows.",
            "`holdfast hold release 7 --files N` or `holdfast hold kill 7`",
            "denied (Operation not permitted) at 2012-06-20T00:30:00.000Z, in 30m 0s.",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert_eq!(lines.len(), 4, "{text:?}");
        assert!(!lines.concat().chars().any(char::is_control), "{text:?}");
        let slow = throttle_notice(notice);
        assert!(
            slow.contains("goes on SLOWLY") && slow.contains("`holdfast hold kill 7`"),
            "{slow}"
        );
        let former = throttle_notice(Notice { budget: None, ..notice });
        assert!(former.contains("It is over a budget of zone customers"), "{former}");
    }

    #[test]
    fn long_path_loses_its_beginning() {
        let long = EventReport {
            path: format!("/srv/{}/last", "x".repeat(5000)),
            path_bytes: None,
            ..event()
        };
        let text = throttle_notice(Notice { hold: 7, event: &long, budget: None });
        assert!(text.len() < 1024 && text.contains("xxx/last"), "{text}");
    }
}
