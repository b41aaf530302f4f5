//! Whether a policy lets anything through that the one before it would have stopped. Where that
//! cannot be told it does.

use holdfast_abi::{Mode, OnTrip};

use crate::audit::OnAuditFailure;
use crate::budget::Budget;
use crate::model::{Policy, Zone};

impl Policy {
    /// Whether it is wider than `before` in any respect: such a change has to be recorded before it
    /// is put in force.
    pub fn widens(&self, before: &Self) -> bool {
        let tighter_log = self.on_audit_failure == OnAuditFailure::Deny
            || self.on_audit_failure == before.on_audit_failure;
        // Whatever else a policy says is compared as a whole.
        let zones = self.zones.clone();
        let rest = Self {
            zones,
            on_audit_failure: self.on_audit_failure,
            // How much of the manifest is kept lets nothing through; less of it may be what a full
            // disk needs.
            manifest: self.manifest,
            ..before.clone()
        };
        let kept =
            |zone: &Zone| self.zone(zone.name.as_str()).is_some_and(|now| !zone_widens(now, zone));
        !(tighter_log && rest == *self && before.zones.iter().all(kept))
    }
}

fn zone_widens(now: &Zone, before: &Zone) -> bool {
    let mode = before.mode == Mode::Enforce && now.mode != Mode::Enforce;
    let trip = now.on_trip != before.on_trip && now.on_trip != OnTrip::Deny;
    let place = now.role != before.role
        || now.tenant_depth != before.tenant_depth
        || !now.tenant_counts_after.is_as_tight_as(before.tenant_counts_after)
        || !before.paths.iter().all(|path| now.paths.contains(path));
    // Who nobody decides about is denied: the sooner the tighter.
    let patience = now.hold_timeout > before.hold_timeout;
    let kept = |budget: &Budget| now.budgets.iter().any(|other| is_as_tight(other, budget));
    // What is destroyed unseen cannot be brought back.
    let unseen = before.manifest && !now.manifest;
    mode || trip || place || patience || unseen || !before.budgets.iter().all(kept)
}

fn is_as_tight(now: &Budget, before: &Budget) -> bool {
    fn within<T: PartialOrd>(now: Option<T>, before: Option<T>) -> bool {
        match (now, before) {
            (_, None) => true,
            (Some(now), Some(before)) => now <= before,
            (None, Some(_)) => false,
        }
    }
    (now.per, now.who, now.window) == (before.per, before.who, before.window)
        && before.ops.iter().all(|op| now.ops.iter().any(|other| other == op))
        && within(now.files, before.files)
        && within(now.bytes, before.bytes)
        && within(now.tenants, before.tenants)
        && now.latch >= before.latch
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = r#"
on_audit_failure = "deny"
[[zone]]
name = "a"
role = "primary"
paths = ["/srv/a", "/srv/b"]
mode = "enforce"
on_trip = "hold"
hold_timeout = "30m"
[[zone.budget]]
per = "unit"
ops = ["remove", "truncate"]
files = 10
tenants = 3
window = "10m"
"#;

    fn policy(text: &str) -> Policy {
        Policy::parse("p.toml", text).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn widens(from: &str, to: &str) -> bool {
        assert!(BEFORE.contains(from), "{from}");
        let (before, after) = (policy(BEFORE), policy(&BEFORE.replace(from, to)));
        let widens = after.widens(&before);
        // What is tighter one way is wider the other, unless nothing has changed.
        assert!(
            widens || before.widens(&after) || before == after || to.contains("[[zone]]"),
            "{from} -> {to}"
        );
        widens
    }

    /// How much of the deletion log is kept lets no op through.
    #[test]
    fn deletion_log_size_is_not_wider() {
        let bounded = |max: &str| policy(&format!("{BEFORE}[manifest]\nmax_bytes = \"{max}\""));
        assert!(
            !bounded("1MiB").widens(&bounded("1GiB")) && !bounded("1GiB").widens(&bounded("1MiB"))
        );
    }

    #[test]
    fn what_lets_more_through_is_wider() {
        for (from, to) in [
            ("\"deny\"", "\"continue\""),
            ("\"enforce\"", "\"observe\""),
            ("\"hold\"\nhold_timeout = \"30m\"", "\"throttle\""),
            ("\"30m\"", "\"31m\""),
            ("\"/srv/a\", ", ""),
            ("\"primary\"", "\"backup\""),
            ("name = \"a\"", "name = \"b\""),
            ("[\"remove\", \"truncate\"]", "[\"remove\"]"),
            ("files = 10", "files = 11"),
            ("files = 10", "bytes = 10"),
            ("files = 10\n", ""),
            ("tenants = 3", "tenants = 4"),
            ("mode = ", "tenant_counts_after = \"2 files\"\nmode = "),
            ("mode = ", "tenant_counts_after = \"1B\"\nmode = "),
            ("window = ", "latch = \"9m\"\nwindow = "),
            ("\"10m\"", "\"5m\""),
            ("mode = ", "manifest = false\nmode = "),
            ("\"unit\"", "\"user\""),
            ("window = \"10m\"", "window = \"10m\"\n[allowances]\nany_host = true"),
        ] {
            assert!(widens(from, to), "{from} -> {to}");
        }
    }

    #[test]
    fn equal_or_stricter_is_not_wider() {
        for (from, to) in [
            ("files = 10", "files = 10"),
            ("files = 10", "files = 9"),
            ("files = 10", "files = 10\nbytes = 1000"),
            ("\"30m\"", "\"10m\""),
            ("\"hold\"\nhold_timeout = \"30m\"", "\"deny\""),
            ("\"/srv/b\"", "\"/srv/b\", \"/srv/c\""),
            ("ops = [\"remove\", \"truncate\"]\n", ""),
            (
                "window = \"10m\"",
                "window = \"10m\"\n[[zone]]\nname = \"n\"\nrole = \"backup\"\npaths = [\"/b\"]\n\
                 [[zone.budget]]\nper = \"zone\"\nfiles = 1\nwindow = \"1h\"",
            ),
        ] {
            assert!(!widens(from, to), "{from} -> {to}");
        }
        let (log_goes_on, strict) = (BEFORE.replace("\"deny\"", "\"continue\""), policy(BEFORE));
        assert!(!strict.widens(&policy(&log_goes_on)));
    }
}
